"""Muon: its steps against Newton and Schulz's iteration in float64, for kernels of every shape."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz.optimizers import Muon

RNG = np.random.default_rng(0)


def orthogonalized(g, steps=5):
    """What Muon makes of a matrix, in float64 (Jordan et al. 2024)."""
    x = g / (np.linalg.norm(g) + 1e-7)
    x = x.T if g.shape[0] > g.shape[1] else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if g.shape[0] > g.shape[1] else x


@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (4, 3, 7), (6, 4), (2, 2, 8, 3)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_the_steps_of_a_kernel_are_those_of_its_matrix(shape, nesterov):
    kernel = keras.Variable(RNG.standard_normal(shape), name="kernel", dtype="float32")
    start = ops.convert_to_numpy(kernel).astype(np.float64)
    optimizer = Muon(0.1, nesterov=nesterov)
    optimizer.build([kernel])
    momentum = np.zeros(shape)
    for gradient in RNG.standard_normal((2, *shape)):
        optimizer.apply([ops.convert_to_tensor(gradient, "float32")], [kernel])
        momentum = 0.95 * momentum + gradient
        step = (gradient + 0.95 * momentum if nesterov else momentum).reshape(-1, shape[-1])
        rate = 0.1 * 0.2 * np.sqrt(max(step.shape))
        start -= rate * orthogonalized(step).reshape(shape)
    np.testing.assert_allclose(ops.convert_to_numpy(kernel), start, rtol=0, atol=2e-5)


def test_a_gradient_of_zero_changes_nothing():
    kernel = keras.Variable(RNG.standard_normal((3, 3, 2, 4)), dtype="float32")
    before = ops.convert_to_numpy(kernel).copy()
    optimizer = Muon(0.1)
    optimizer.apply([ops.zeros((3, 3, 2, 4))], [kernel])
    np.testing.assert_array_equal(ops.convert_to_numpy(kernel), before)


def test_vectors_and_excluded_layers_are_trained_by_adam():
    shapes = {"bias": (5,), "kernel": (3, 3, 2, 5)}
    gradients = {name: RNG.standard_normal(shape).astype("float32") for name, shape in shapes.items()}

    def moved(optimizer):
        variables = [keras.Variable(np.zeros(shape), name=name, dtype="float32") for name, shape in shapes.items()]
        for _ in range(2):
            optimizer.apply([ops.convert_to_tensor(gradients[name]) for name in shapes], variables)
        return dict(zip(shapes, map(ops.convert_to_numpy, variables), strict=True))

    adam, muon, excluded = moved(keras.optimizers.Adam(0.1)), moved(Muon(0.1)), moved(Muon(0.1, ["^kern"]))
    np.testing.assert_allclose(muon["bias"], adam["bias"], atol=1e-6)
    np.testing.assert_allclose(excluded["kernel"], adam["kernel"], atol=1e-6)
    assert np.abs(muon["kernel"] - adam["kernel"]).max() > 0.01


def test_its_configuration_makes_the_same_optimizer():
    optimizer = Muon(0.03, ["logits"], momentum=0.9)
    assert optimizer.weight_decay is None
    other = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(other) is Muon
    assert other.get_config() == optimizer.get_config()
