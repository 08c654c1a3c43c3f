"""What a measurement says to a seed that cannot be one."""

import keras
import numpy as np
import pytest

from lipviz import layers as lip
from lipviz import measure, utils

X = np.random.default_rng(0).standard_normal((8, 2))


def network():
    return keras.Sequential([keras.Input((2,)), lip.SpectralDense(2)])


def built():
    layer = lip.SpectralDense(2)
    layer.build((None, 2))
    return layer


DRAWS = {
    "random_kernel": lambda seed: measure.random_kernel(3, 2, seed=seed),
    "sample_kernel": lambda seed: measure.sample_kernel("random", seed=seed),
    "measure_layer": lambda seed: measure.measure_layer(built(), seed=seed),
    "activation_shape": lambda seed: measure.activation_shape(lip.GroupSort2(), seed=seed),
    "bjorck_convergence": lambda seed: measure.bjorck_convergence(np.eye(3), seed=seed),
    "secant_ratios": lambda seed: measure.secant_ratios(network(), X, pairs=3, seed=seed),
    "gradient_ascent_ratio": lambda seed: measure.gradient_ascent_ratio(network(), X, steps=1, seed=seed),
    "gradient_flow": lambda seed: measure.gradient_flow(network(), X, seed=seed),
    "gradient_depth": lambda seed: measure.gradient_depth(depths=(2,), width=4, samples=3, seed=seed),
    "jacobian_norms": lambda seed: measure.jacobian_norms(network(), X, seed=seed),
    "evaluate_lip_const": lambda seed: utils.evaluate_lip_const(network(), X, seed=seed),
    "toy_network": lambda seed: measure.toy_network("groupsort2", 4, 1, seed=seed),
    "linear_regions": lambda seed: measure.linear_regions(network(), resolution=5, seed=seed),
    "attack": lambda seed: measure.attack(network(), X, epsilon=0.1, seed=seed),
}


@pytest.mark.parametrize("name", list(DRAWS))
def test_a_seed_is_a_whole_number(name):
    for seed in ("a", 1.5, -1, True, [1, 2]):
        with pytest.raises(ValueError, match=r"`seed` must be an integer of at least 0\. Received: seed="):
            DRAWS[name](seed)
    if name == "attack":
        with pytest.raises(ValueError, match="`seed` must be an integer from 0 to 4294967295"):
            DRAWS[name](2**32)
