"""Bounds near an input hold for all pairs of a ball, and tend to the norm of the Jacobian."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from lipviz import layers as lip
from lipviz.certification.computation import Pointwise, of_trace
from lipviz.certification.graph import Trace, input_flows
from lipviz.certification.local import LocalBounds
from lipviz.certification.slopes import slope_range
from lipviz.operators.precision import float64_copy, float64_scope
from lipviz.rules.functions import function_bound

FUNCTIONS = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "sigmoid", "hard_sigmoid", "log_sigmoid"),
    *("tanh", "hard_tanh", "softplus", "softsign", "gelu", "silu", "mish", "hard_silu", "soft_shrink", "squareplus"),
)


def _as_form(name):
    function = getattr(keras.activations, name)

    def values(x):
        with float64_scope():
            return np.asarray(function(keras.ops.convert_to_tensor(x)))

    bound = function_bound(function, (1,), 2)
    return Pointwise(name, values, bound, (-bound.upper, bound.upper))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_hold_all_difference_quotients_of_an_interval(name):
    form, rng = _as_form(name), np.random.default_rng(1)
    low = np.concatenate([rng.normal(0, 3, 300), [0.0, -1.0, 2.0, -6.0, -np.sqrt(2), 0.0]])
    high = low + np.concatenate([rng.exponential(1.0, 300), [0.0, 1.0, 1e-3, 12.0, 2 * np.sqrt(2), 3.0]])
    smallest, largest = slope_range(form, low, high)
    grid = np.linspace(low, high, 64)
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients = np.diff(form.values(grid), axis=0) / np.diff(grid, axis=0)
    rounding = 1e-12 if keras.backend.backend() == "tensorflow" else 1e-5
    off = rounding * (1 + np.abs(grid).max(axis=0)) / np.maximum((high - low) / 63, 1e-300)
    wide = high > low
    assert (quotients.min(axis=0) >= smallest - off)[wide].all()
    assert (quotients.max(axis=0) <= largest + off)[wide].all()
    assert (smallest <= largest).all()
    assert (np.abs(largest) <= form.bound.upper).all()


def _chain(shape, *steps):
    return keras.Sequential([keras.Input(shape), *steps])


def _residual():
    inputs = keras.Input((5,))
    y = kl.Dense(5, activation="tanh")(inputs)
    z = kl.Add()([inputs, kl.Dense(5)(y)])
    z = kl.Concatenate()([kl.Dense(4, activation="relu")(z), z])
    return keras.Model(inputs, kl.Dense(3)(kl.Add()([z, kl.Dense(9, activation="relu")(z)])))


MODELS = {
    "relu": lambda: _chain((4,), kl.Dense(8, activation="relu"), kl.Dense(7, activation="relu"), kl.Dense(3)),
    "smooth": lambda: _chain((4,), kl.Dense(8, activation="gelu"), kl.Dense(7, activation="softplus"), kl.Dense(3)),
    "slopes": lambda: _chain((4,), kl.Dense(6), kl.LeakyReLU(), kl.Dense(5), kl.PReLU(), kl.Dense(2, "tanh")),
    "sorting": lambda: _chain((4,), kl.Dense(6), lip.GroupSort(3), kl.Dense(6), lip.GroupSort2(), kl.Dense(2)),
    "splitting": lambda: _chain((4,), kl.Dense(5), lip.MaxMin(), kl.Dense(3), lip.FullSort(), kl.Dense(2)),
    "image": lambda: _chain(
        (6, 6, 1), kl.Conv2D(3, 3, activation="relu"), kl.MaxPooling2D(), kl.Flatten(), kl.Dense(5, "relu"), kl.Dense(2)
    ),
    "branches": _residual,
    "large before": lambda: _chain((30, 30, 1), kl.Conv2D(2, 5, activation="relu"), kl.Flatten(), kl.Dense(6, "relu")),
    "linear": lambda: _chain((3,), kl.Dense(4), kl.Dense(2)),
}


def _made(name):
    keras.utils.set_random_seed(4)
    model, rng = MODELS[name](), np.random.default_rng(2)
    for weight in model.weights:
        if len(weight.shape) == 1 and "alpha" not in weight.path:
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return float64_copy(model)


def _bounds(model, norm=2):
    inputs, trace = input_flows(model, model.input_shape[1:], rounds=True), Trace(norm, rounds=True)
    found = of_trace(trace, inputs, trace.follow(model, inputs))
    return found, LocalBounds(found, found.outputs[0], norm)


def _within(rng, count, entries, norm):
    """Points of the unit ball, many of them on its boundary."""
    x = rng.standard_normal((count, entries))
    if norm == 1:
        x *= rng.random((count, entries)) < 0.4
        x[:entries] = np.eye(entries)[: min(count, entries)]
    if norm == np.inf:
        x = np.sign(x)
    sizes = np.maximum(np.linalg.norm(x, norm, axis=1, keepdims=True), 1e-300)
    return x / sizes * rng.choice([1.0, 1.0, 0.5], (count, 1))


@pytest.mark.parametrize("norm", [1, 2, np.inf])
@pytest.mark.parametrize("name", MODELS)
def test_no_pair_of_a_ball_is_stretched_more_than_its_bound(name, norm):
    model, rng = _made(name), np.random.default_rng(6)
    found, bounds = _bounds(model, norm)
    assert bounds.region is not None
    size = found.nodes[0].size
    centre = rng.standard_normal((1, size))
    last = 0.0
    for radius in (1e-3, 0.1, 0.6, 3.0):
        (near,) = bounds.near(centre.reshape(1, *found.nodes[0].shape))
        constant = near.constants(radius).bound
        pairs = centre + radius * _within(rng, 600, size, norm).reshape(2, -1, size)
        pairs[1, :150] = pairs[0, :150] + 1e-3 * (pairs[1, :150] - pairs[0, :150])
        x, y = (found.values(part.reshape(-1, *found.nodes[0].shape))[found.outputs[0]] for part in pairs)
        far = np.linalg.norm(pairs[0] - pairs[1], norm, axis=1)
        ratios = np.linalg.norm(x - y, norm, axis=1)[far > 0] / far[far > 0]
        assert ratios.max() <= constant * (1 + 1e-7)
        assert last <= constant * (1 + 1e-2)  # larger balls have larger bounds, but for the search for θ
        last = constant
