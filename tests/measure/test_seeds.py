"""What a measurement says to a seed that cannot be one."""

import inspect

import keras
import numpy as np
import pytest

from lipviz import certification, measure, operators, toys, utils
from lipviz import layers as lip
from lipviz.toys import training as toy_training

LABELLED = [(np.eye(4), np.arange(4) % 2)] * 2
CLASSES = [(np.eye(4), np.arange(4) % 3)] * 2
X = np.random.default_rng(0).standard_normal((8, 2))


def network():
    return keras.Sequential([keras.Input((2,)), lip.SpectralDense(2)])


def built():
    layer = lip.SpectralDense(2)
    layer.build((None, 2))
    return layer


DRAWS = {
    "random_kernel": lambda seed: operators.random_kernel(3, 2, seed=seed),
    "sample_kernel": lambda seed: measure.sample_kernel("random", seed=seed),
    "measure_layer": lambda seed: measure.measure_layer(built(), seed=seed),
    "activation_shape": lambda seed: measure.activation_shape(lip.GroupSort2(), seed=seed),
    "bjorck_convergence": lambda seed: measure.bjorck_convergence(np.eye(3), seed=seed),
    "secant_ratios": lambda seed: certification.secant_ratios(network(), X, pairs=3, seed=seed),
    "gradient_ascent_ratio": lambda seed: certification.gradient_ascent_ratio(network(), X, steps=1, seed=seed),
    "gradient_flow": lambda seed: measure.gradient_flow(network(), X, seed=seed),
    "gradient_depth": lambda seed: measure.gradient_depth(depths=(2,), width=4, samples=3, seed=seed),
    "depth_bounds": lambda seed: measure.depth_bounds(network(), seed=seed),
    "random_gradient_flows": lambda seed: measure.random_gradient_flows("relu", 2, 4, 3, seed=seed),
    "convolution_power": lambda seed: measure.convolution_power(np.ones((1, 1, 1, 1)), 2, iterations=1, seed=seed),
    "jacobian_norms": lambda seed: operators.jacobian_norms(network(), X, seed=seed),
    "evaluate_lip_const": lambda seed: utils.evaluate_lip_const(network(), X, seed=seed),
    "toy_network": lambda seed: toys.toy_network("groupsort2", 4, 1, seed=seed),
    "linear_regions": lambda seed: measure.linear_regions(network(), resolution=5, seed=seed),
    "attack": lambda seed: certification.attack(network(), X, epsilon=0.1, seed=seed),
    "certify": lambda seed: certification.certify(network(), seed=seed),
    "certify without a search": lambda seed: certification.certify(network(), search=False, seed=seed),
    "toy_classifier": lambda seed: toys.toy_classifier(X, np.arange(8) % 2, width=4, depth=1, steps=1, seed=seed),
    "fit_steps": lambda seed: toys.fit_steps(np.sin, width=4, depth=1, steps=1, seed=seed),
    "kr_steps": lambda seed: toys.kr_steps(X, -X, width=4, depth=1, steps=1, seed=seed),
    "kr_steps of a model": lambda seed: toys.kr_steps(X, -X, network(), steps=1, seed=seed),
    "kind_spectra": lambda seed: measure.kind_spectra(measure.DENSE_KINDS[:1], seed=seed),
    "kind_network": lambda seed: toys.kind_network(measure.DENSE_KINDS[0], seed=seed),
    "kind_steps": lambda seed: toys.kind_steps(*CLASSES, measure.DENSE_KINDS[0], steps=1, seed=seed),
    "tradeoff_steps": lambda seed: toys.tradeoff_steps(*LABELLED, width=4, depth=1, steps=1, seed=seed),
    "ToyTrainer.restart": lambda seed: toy_training.ToyTrainer.restart(None, seed),
    "ActivationProbe.measure": lambda seed: measure.ActivationProbe(lip.GroupSort2(), 2, 5).measure(seed=seed),
    "evaluate_lip_const_gen": lambda seed: utils.evaluate_lip_const_gen(network(), iter([(X, X)]), seed=seed),
}
LIMITED = {"attack", "toy_network", "toy_classifier", "fit_steps", "kr_steps", "tradeoff_steps"} | {
    "kind_network",
    "kind_steps",
}


@pytest.mark.parametrize("name", list(DRAWS))
def test_a_seed_is_a_whole_number(name):
    for seed in ("a", 1.5, -1, True, [1, 2]):
        with pytest.raises(ValueError, match=r"`seed` must be an integer of at least 0\. Received: seed="):
            DRAWS[name](seed)
    if name in LIMITED:
        with pytest.raises(ValueError, match=r"`seed` must be an integer from 0 to (4294967295|2147483647)"):
            DRAWS[name](2**32)


def test_no_measurement_with_a_seed_is_forgotten():
    packages = (certification, measure, operators, toys)
    functions = {name: getattr(package, name) for package in packages for name in package.__all__}
    seeded = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and "seed" in inspect.signature(function).parameters
    }
    assert seeded <= DRAWS.keys()
