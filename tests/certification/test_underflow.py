"""Bounds are above the truth where weights are so small, or inputs so large, that products leave float64's range."""

import math
from fractions import Fraction

import keras
import numpy as np
import pytest
from keras import layers as kl

from lipviz import certify
from lipviz.certification import certified_radius
from lipviz.certification.merging import times
from lipviz.rules.bound import exactly

SCALES = [(1e-310,), (1e-200, 1e-200), (1e-170, 1e-150), (1e-310, 1e-310, 1e300, 1e300), (1e-200, 1e-200, 1e300)]


def network(scales, activation=None):
    steps = [kl.Dense(2, activation, use_bias=False, dtype="float64") for _ in scales]
    model = keras.Sequential([keras.Input((2,), dtype="float64"), *steps])
    for layer, scale in zip(model.layers, scales, strict=True):
        layer.set_weights([scale * np.array([[1.0, 0.25], [0.5, 2.0]])])
    return model


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("scales", SCALES, ids=str)
def test_the_bound_of_tiny_weights_is_above_the_truth(scales, activation):
    """All entries are positive, so that a ReLU network is the product of its kernels where inputs are positive."""
    model = network(scales, activation)
    product = [[Fraction(1), Fraction(0)], [Fraction(0), Fraction(1)]]
    for layer in model.layers:
        kernel = [[Fraction(float(entry)) for entry in row] for row in np.asarray(layer.kernel)]
        product = [[sum(a * b[j] for a, b in zip(row, kernel, strict=True)) for j in (0, 1)] for row in product]
    if product[1][1] == 0:
        pytest.skip("this backend has set the weights to 0")
    for method in ("product", "auto", "tight"):
        for norm in (1, 2, "inf"):
            bound = certify(model, norm=norm, method=method, search=False).upper_bound
            assert bound == math.inf or Fraction(bound) >= product[1][1]


def test_products_are_0_only_where_a_factor_is():
    found = times(np.array([1e-200, 0.0, 5e-324, math.inf, 2.0]), np.array([1e-200, math.inf, 0.5, 0.0, 3.0]))
    np.testing.assert_array_equal(found > 0, [True, False, True, False, True])
    assert found[4] == 6
    assert exactly(1e-200, "").after(exactly(1e-200, "")).upper > 0


@pytest.mark.parametrize("settings", [{}, {"local": True}, {"arithmetic": "float32"}], ids=str)
def test_inputs_whose_squares_overflow_have_a_radius_and_no_warning(settings):
    model = network((1.0, 0.5), "relu")
    found = certified_radius(model, [[1e200, 0.0], [1.0, 2.0]], **settings)
    near = certified_radius(model, [[1e100, 0.0]], **settings)
    assert found.radii[1] > 0
    if settings.get("arithmetic"):
        assert found.radii[0] == 0  # no number of float32
    else:
        np.testing.assert_allclose(found.radii[0], 1e100 * near.radii[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda model: certify(model, search="no"), "search"),
        (lambda model: certified_radius(model, np.ones((1, 2)), local="yes"), "local"),
        (lambda model: certified_radius(model, np.ones((1, 2)), local=1), "local"),
    ],
)
def test_flags_are_true_or_false(call, name):
    with pytest.raises(TypeError, match=f"`{name}` must be True or False"):
        call(network((1.0,)))


def test_the_old_flag_contradicts_the_product():
    with pytest.warns(DeprecationWarning, match="exact"), pytest.raises(ValueError, match="not both"):
        certify(network((1.0,)), exact=True, method="product")
