"""A layer that scales and shifts the inputs in front of a network costs its bounds nothing."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from lipviz import certify

RNG = np.random.default_rng(0)
VARIANCE, MEAN = RNG.uniform(0.5, 2, 12), RNG.normal(size=12)
KERNELS = [0.4 * RNG.normal(size=shape) for shape in ((12, 16), (16, 10), (10, 4))]
BIASES = [RNG.normal(size=len(kernel.T)) for kernel in KERNELS]
BALL = {"around": RNG.normal(size=(2, 12)), "radius": 0.1}


def network(*front, factors=1.0, shift=0.0):
    """A network whose first kernel holds factors and shifts of the inputs, behind other layers."""
    model = keras.Sequential([keras.Input((12,)), *front, kl.Dense(16, "relu"), kl.Dense(10, "relu"), kl.Dense(4)])
    scaled = [np.reshape(factors, (-1, 1)) * KERNELS[0], *KERNELS[1:]]
    biases = [BIASES[0] + shift @ KERNELS[0] if np.ndim(shift) else BIASES[0], *BIASES[1:]]
    for layer, kernel, bias in zip(model.layers[len(front) :], scaled, biases, strict=True):
        layer.set_weights([kernel, bias])
    return model


def _divided():
    inputs = keras.Input((12,))
    return keras.Model(inputs, network()(inputs / 255.0))


PAIRS = {  # with a layer in front, and without: with its factors in the first kernel
    "Rescaling": (lambda: network(kl.Rescaling(1 / 255)), lambda: network(factors=1 / 255)),
    "an operation": (_divided, lambda: network(factors=1 / 255)),
    "Normalization": (
        lambda: network(kl.Normalization(mean=MEAN, variance=VARIANCE)),
        lambda: network(factors=VARIANCE**-0.5, shift=-MEAN * VARIANCE**-0.5),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_numbers_in_front_cost_nothing(name):
    with_front, without = (build() for build in PAIRS[name])
    settings = [{"method": method, "norm": norm} for method in ("auto", "tight") for norm in (1, 2, "inf")]
    ball = BALL if name == "Normalization" else {key: 255 * value for key, value in BALL.items()}
    for each in (*settings, *({"norm": norm, **ball} for norm in (1, 2, "inf"))):
        found, wanted = (certify(model, search=False, **each).upper_bound for model in (with_front, without))
        # The kernels that hold the factors are rounded to float32. Larger numbers stand for all roundings of a factor.
        assert wanted * (1 - 1e-6) <= found <= wanted * (1 + 2e-5)


def test_numbers_between_two_kernels_have_room_for_every_rounding():
    factors = np.array([0.1, 0.7, 3.3])
    kernels = [RNG.normal(size=shape) for shape in ((3, 3), (3, 2))]
    model = keras.Sequential([keras.Input((3,)), kl.Dense(3), kl.Rescaling(factors), kl.Dense(2)])
    for layer, kernel in zip(model.layers[::2], kernels, strict=True):
        layer.set_weights([kernel, np.zeros(len(kernel.T))])
    kernels = [np.float64(np.float32(kernel)) for kernel in kernels]
    for used in (factors, np.float64(np.float32(factors))):
        product = kernels[0] * used @ kernels[1]
        for norm, constant in ((1, np.abs(product).sum(axis=1).max()), (2, np.linalg.norm(product, 2))):
            bound = certify(model, norm=norm, search=False).upper_bound
            assert constant <= bound <= constant * (1 + 1e-5)


def test_whole_numbers_that_are_rescaled_keep_the_bound_of_several_steps():
    def bound(dtype):
        inputs = keras.Input((12,), dtype=dtype)
        return certify(keras.Model(inputs, network()(kl.Rescaling(1 / 255)(inputs))), search=False).upper_bound

    assert bound("uint8") == pytest.approx(bound("float32"), rel=1e-9)
