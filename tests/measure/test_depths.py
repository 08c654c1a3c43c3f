"""Bounds by depth: those that `certify` finds for the parts of a model, above the ratios that searches find there."""

import math

import keras
import numpy as np
import pytest
from keras import layers as kl

from lipviz import certify, measure
from lipviz import layers as lip
from tests.support import singular_values


def seeded(model):
    rng = np.random.default_rng(4)
    for weight in model.weights:
        value = rng.normal(0.0, 1 / math.sqrt(math.prod(weight.shape[:-1]) or 1), weight.shape)
        weight.assign(0.5 + np.abs(value) if "variance" in weight.path else value)
    return model


def blocks():
    x = keras.Input((6,))
    y = kl.Dense(6, "relu")(x)
    z = kl.Dense(6)(kl.Dense(5, "tanh")(y)) + y
    return keras.Model(x, kl.Dense(3)(kl.ReLU()(z)))


def images():
    steps = [kl.Conv2D(3, 3, activation="relu"), kl.BatchNormalization(), kl.AveragePooling2D(2), kl.Conv2D(2, 2)]
    return keras.Sequential([keras.Input((6, 6, 2)), *steps, kl.Flatten(), kl.Dense(4)])


def sorts():
    return keras.Sequential([keras.Input((6,)), kl.Dense(6), lip.GroupSort2(), kl.Dense(6, "relu"), kl.Dense(4)])


def inputs():
    x = [keras.Input((3,)), keras.Input((2,))]
    y = kl.Dense(5, "relu")(kl.Concatenate()([kl.Dense(4)(kl.Dense(4)(x[0])), x[1]]))
    return keras.Model(x, [kl.Dense(2)(y), kl.Dense(3)(kl.Dense(4)(y))])


@pytest.mark.parametrize(
    ("make", "norm", "method"),
    [
        (blocks, 2, "auto"),
        (images, 2, "auto"),
        (images, 1, "auto"),
        (sorts, 2, "tight"),
        (inputs, "inf", "auto"),
        (inputs, 2, "product"),
    ],
)
def test_each_depth_has_the_bounds_of_the_part_that_ends_there(make, norm, method):
    model = seeded(make())
    found = measure.depth_bounds(model, norm=norm, method=method)
    ends = {op.name: op.output for op in getattr(model, "operations", model.layers)}
    assert len(found) == len(ends) - len(model.inputs) * (model.layers[0].output is model.inputs[0])
    for depth, step in enumerate(found.steps, 1):
        part = keras.Model(model.inputs, ends[step])
        bound = certify(part, norm=norm, method=method, search=False)
        assert found.together[depth] == pytest.approx(bound.upper_bound, rel=1e-12)
        if method != "tight":  # which bounds single convolutions more closely as well
            product = certify(part, norm=norm, method="product", search=False)
            assert found.product[depth] == pytest.approx(product.upper_bound, rel=1e-12)
    assert found.product[0] == found.together[0] == 1
    assert np.all(found.together <= found.product)
    assert (found.excess[-1] > 1.05) == (method != "product")
    assert np.prod(found.losses) == pytest.approx(found.excess[-1])


@pytest.mark.nightly
def test_searches_lie_below_the_bounds_at_each_depth():
    x = keras.Input((4,))
    model = seeded(keras.Model(x, kl.Dense(3)(kl.Dense(5, "relu")(x) * 2.0)))
    found = measure.depth_bounds(model, search=True, seed=0)
    assert np.all(found.found <= found.together)
    first = singular_values(np.asarray(model.layers[1].kernel, np.float64))[0]
    assert 0.8 * first < found.found[1] <= first  # smaller where ReLU cuts off a part of the direction
    assert found.found[2] == pytest.approx(2 * found.found[1], rel=1e-3)
    assert found.found[3] == certify(model, seed=0).lower_bound
    assert model.layers[1].output is not None  # it has one output as long as it is called once


def test_what_cannot_be_searched_or_bounded_is_said():
    found = measure.depth_bounds(seeded(inputs()), search=True)
    assert found.found is None
    assert "one input" in found.notes[-1]
    unknown = keras.Sequential([keras.Input((4, 2)), kl.Dense(3), kl.LSTM(3), kl.Dense(2)])
    found = measure.depth_bounds(unknown)
    assert np.isfinite(found.product).tolist() == [True, True, False, False]
    assert found.excess[-1] == 1
    with pytest.raises(ValueError, match="`method` must be one of"):
        measure.depth_bounds(unknown, method="loose")
