"""Movements of channels, against NumPy written out: where entries go, what is lost, and what is certified."""

import keras
import numpy as np
import pytest

from lipviz import certify
from lipviz.certification.computation import Affine, computation
from lipviz.layers import InvertibleDownSampling, InvertibleUpSampling, SpatialShift
from lipviz.operators.linear import moving_operator
from lipviz.operators.singular_values import explicit_matrix
from tests.layers.test_pooling import jacobian

RNG = np.random.default_rng(0)


def moved(x, shift, count, padding):
    """The first channels moved down, the next ones up, to the right, to the left."""
    y = x.copy()
    for number, (axis, step) in enumerate(((1, shift), (1, -shift), (2, shift), (2, -shift))):
        part = slice(number * count, (number + 1) * count)
        rolled = np.roll(x[..., part], step, axis=axis)
        if padding == "same":
            n = x.shape[axis]
            lost = np.arange(n) < step if step > 0 else np.arange(n) >= n + step
            rolled[(slice(None),) * axis + (lost,)] = 0
        y[..., part] = rolled
    return y


@pytest.mark.parametrize("padding", ["circular", "same"])
@pytest.mark.parametrize(
    ("shape", "shift", "share", "count"),
    [((4, 5, 9), 1, 0.25, 2), ((4, 5, 10), 2, 0.1, 1), ((2, 1, 4), 3, 0.25, 1), ((3, 3, 3), 1, 0.25, 0)],
)
def test_where_entries_go(padding, shape, shift, share, count):
    x = RNG.standard_normal((2, *shape)).astype("float32")
    want = moved(x, shift, count, padding)
    np.testing.assert_array_equal(np.array(SpatialShift(shift, share, padding)(x)), want)
    first = SpatialShift(shift, share, padding, "channels_first")(np.moveaxis(x, -1, 1))
    np.testing.assert_array_equal(np.moveaxis(np.array(first), 1, -1), want)
    np.testing.assert_array_equal(np.array(SpatialShift(shift, share, padding, k_coef_lip=2.0)(x)), 2 * want)


@pytest.mark.parametrize(("padding", "lost"), [("circular", 0), ("same", 2 * 3 + 2 * 4)])
def test_singular_values_are_k_but_for_what_is_lost(padding, lost):
    layer = SpatialShift(1, 0.25, padding, k_coef_lip=0.5, dtype="float64")
    matrix = jacobian(layer, RNG.standard_normal((1, 4, 3, 4)))
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(values, np.where(np.arange(48) < 48 - lost, 0.5, 0.0), atol=1e-12)
    np.testing.assert_array_equal(0.5 * explicit_matrix(moving_operator(layer, (4, 3, 4))), matrix)
    assert certify(layer, (4, 3, 4), search=False).upper_bound == 0.5


@pytest.mark.parametrize(
    "layer", [SpatialShift(k_coef_lip=0.3), InvertibleDownSampling(2), InvertibleUpSampling(2, k_coef_lip=0.3)]
)
def test_movements_are_affine_steps_of_a_model_that_are_bounded_with_their_neighbours(layer):
    x = keras.Input((2, 4, 4))
    first, last = keras.layers.Dense(4, use_bias=False), keras.layers.Dense(2, use_bias=False)
    model = keras.Model(x, last(keras.layers.Flatten()(layer(first(x)))))
    read = computation(model)
    assert all(isinstance(node.form, Affine) for node in read.nodes[1:])
    batch = RNG.standard_normal((2, 2, 4, 4)).astype("float32")
    np.testing.assert_allclose(read.values(batch)[-1], np.array(model(batch)), atol=1e-5)
    kernels = [np.asarray(each.kernel, np.float64) for each in (first, last)]
    moving = layer.k_coef_lip * explicit_matrix(moving_operator(layer, (2, 4, 4)))
    matrix = kernels[1].T @ moving @ np.kron(np.eye(8), kernels[0].T)
    bounds = [certify(model, search=False, method=method).upper_bound for method in ("auto", "product")]
    assert bounds[0] == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-6)
    assert bounds[0] < 0.95 * bounds[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"shift": 0}, "`shift`"),
        ({"shift": 1.5}, "shift"),
        ({"share": 0.3}, "`share` must be a number from 0 to 1/4"),
        ({"share": float("nan")}, "`share`"),
        ({"padding": "valid"}, "`padding` must be one of"),
        ({"data_format": "last"}, "data_format"),
        ({"k_coef_lip": 0}, "k_coef_lip"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        SpatialShift(**arguments)
    with pytest.raises(ValueError, match="known number of channels"):
        SpatialShift()(keras.Input((4, 4, None)))
