"""Almost-orthogonal layers: the formula of the sums, and norms by explicit matrices in float64."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from keras import ops

from lipviz import certify
from lipviz import normalizers as nm
from lipviz.layers import AOLConv2D, AOLDense
from lipviz.operators.precision import float64_scope
from tests.support import (
    KINDS,
    convolution_matrix,
    examples,
    finite_differences,
    gradient,
    kernels,
    make_kernel,
    singular_values,
    tensor,
    with_spectrum,
)

RNG = np.random.default_rng(0)
ROUNDING = 1e-13  # `refresh` holds to k in float64 what it stores
# Taps, strides, channels of the input and of the output: both sides are rescaled, and both with strides.
GEOMETRIES = [
    ((3, 3), (1, 1), 2, 3),
    ((3, 2), (1, 1), 3, 2),
    ((2, 4), (2, 1), 2, 3),
    ((3, 3), (2, 2), 1, 6),
    ((2, 3), (3, 2), 2, 14),
    ((2, 2), (2, 2), 1, 4),
    ((1, 1), (1, 1), 2, 2),
]


def rescaled(w):
    """The formula in NumPy: P diag(t)^(−1/2), of the side that is shorter."""
    if w.shape[0] < w.shape[1]:
        return rescaled(w.T).T
    return w / np.sqrt(np.abs(w.T @ w).sum(axis=1))


def in_float64(function, w):
    with float64_scope():
        return np.array(function(tensor(w, "float64")))


def kernel_of(kind, taps, inputs, outputs):
    return make_kernel(kind, (np.prod(taps) * inputs, outputs)).reshape(*taps, inputs, outputs)


# --- matrices ---


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6), (6, 1)])
def test_the_formula_of_a_matrix(shape):
    w = RNG.standard_normal(shape)
    np.testing.assert_allclose(in_float64(nm.almost_orthogonal, w), rescaled(w), rtol=1e-13)


@given(kernels())
@settings(max_examples=examples(40))
def test_no_matrix_has_a_norm_above_1(w):
    result = np.array(nm.almost_orthogonal(tensor(w)))
    assert np.isfinite(result).all()
    assert singular_values(result)[0] <= 1
    np.testing.assert_array_equal(result[np.asarray(w, "float32") == 0], 0)


def test_where_the_bound_is_attained():
    """Signs of s sᵀ in the Gram matrix; orthonormal rows or columns, which stay as they are."""
    w = np.abs(RNG.standard_normal((6, 4))) * np.array([1, -1, -1, 1])
    assert singular_values(in_float64(nm.almost_orthogonal, w))[0] == pytest.approx(1, rel=1e-12)
    for shape in ((7, 3), (3, 7), (4, 4)):
        w = with_spectrum(shape, np.ones(min(shape)))
        np.testing.assert_allclose(in_float64(nm.almost_orthogonal, 5 * w), w, atol=1e-13)


def test_weights_are_lengths_of_columns():
    """t_i = Σ_j |PᵀP|_ij q_j/q_i, and weights of 1 for P·diag(q)."""
    w, q = RNG.standard_normal((6, 4)), RNG.uniform(0.2, 5, 4)
    t = np.abs(w.T @ w) @ q / q
    np.testing.assert_allclose(in_float64(nm.almost_orthogonal, w * q), w / np.sqrt(t), rtol=1e-13)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4)])
def test_gradient_of_a_matrix(shape):
    w, weights = RNG.standard_normal(shape), RNG.standard_normal(shape)

    def value(v):
        return ops.sum(nm.almost_orthogonal(ops.convert_to_tensor(v)) * weights)

    with float64_scope():
        np.testing.assert_allclose(gradient(value, w), finite_differences(value, w), atol=1e-7)


# --- convolutions ---


def matrix_of(kernel, sizes, strides, padding="same"):
    return convolution_matrix(kernel, sizes, strides, padding)


@pytest.mark.parametrize(("taps", "strides", "inputs", "outputs"), GEOMETRIES)
def test_the_sums_are_those_of_the_explicit_matrix(taps, strides, inputs, outputs):
    """In the middle of a large image the Gram matrix has the same rows as on all of ℤ²."""
    kernel = RNG.standard_normal((*taps, inputs, outputs))
    sizes = tuple(6 * stride + 3 * (reach - 1) for reach, stride in zip(taps, strides, strict=True))
    matrix = matrix_of(kernel, sizes, strides, "valid").T  # (inputs, outputs), as kernels are
    found = in_float64(nm.AlmostOrthogonal(strides).unit, kernel)
    if np.prod(strides) * inputs >= outputs:
        t = np.abs(matrix.T @ matrix).sum(axis=1).reshape(-1, outputs).max(axis=0)
        np.testing.assert_allclose(found, kernel / np.sqrt(t), rtol=1e-12)
        return
    t = np.abs(matrix @ matrix.T).sum(axis=1).reshape(*sizes, inputs)
    for tap in np.ndindex(*taps):
        phase = tuple(slice(p % s, None, s) for p, s in zip(tap, strides, strict=True))
        np.testing.assert_allclose(found[tap], kernel[tap] / np.sqrt(t[phase].max(axis=(0, 1)))[:, None], rtol=1e-12)


@pytest.mark.covered_by_day
@pytest.mark.parametrize(("taps", "strides", "inputs", "outputs"), GEOMETRIES)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_no_convolution_has_a_norm_above_k(taps, strides, inputs, outputs, padding):
    layer = AOLConv2D(outputs, taps, strides, padding, k_coef_lip=0.7, use_bias=False)
    layer.build((None, None, None, inputs))
    for kind, scale in zip(KINDS, itertools.cycle((1.0, 1e-12, 1e12)), strict=False):
        layer.kernel.assign((scale * kernel_of(kind, taps, inputs, outputs)).astype("float32"))
        layer.refresh()
        wbar = np.asarray(layer.wbar, np.float64)
        assert np.isfinite(wbar).all()
        for sizes in ((6, 5), (3, 4)):
            assert np.linalg.norm(matrix_of(wbar, sizes, strides, padding), 2) <= 0.7 * (1 + ROUNDING)
        assert layer.parametrization.operator_norm.exact(wbar) == pytest.approx(0.7 * (kind != "zero"), rel=1e-5)


def test_where_the_bound_of_a_convolution_is_attained():
    operator = nm.AlmostOrthogonal((1, 1))
    kernel = in_float64(operator.unit, np.ones((3, 3, 2, 2)))
    assert 0.97 < np.linalg.norm(matrix_of(kernel, (16, 16), (1, 1)), 2) <= 1
    orthogonal = with_spectrum((8, 5), np.ones(5)).reshape(2, 2, 2, 5)  # of patches that do not overlap
    np.testing.assert_allclose(in_float64(nm.AlmostOrthogonal((2, 2)).unit, orthogonal), orthogonal, atol=1e-13)


@pytest.mark.parametrize(("strides", "inputs", "outputs"), [((1, 1), 1, 3), ((1, 1), 3, 2), ((2, 1), 1, 3)])
def test_gradient_of_a_convolution(strides, inputs, outputs):
    kernel, weights = RNG.standard_normal((2, 3, 2, inputs, outputs))
    operator = nm.AlmostOrthogonal(strides)

    def value(v):
        return ops.sum(operator.unit(ops.convert_to_tensor(v)) * weights)

    with float64_scope():
        np.testing.assert_allclose(gradient(value, kernel), finite_differences(value, kernel), atol=1e-7)


# --- layers ---


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 3, 5, 3), (2, 3, 2, 4)])
def test_a_channel_of_zeros_has_a_gradient_of_moderate_size(shape):
    """It can be learned, and a step does not make it so large that all others are nearly 0 beside it."""
    function = nm.almost_orthogonal if len(shape) == 2 else nm.AlmostOrthogonal((1, 1)).unit
    kernel, weights = RNG.standard_normal((2, *shape)).astype("float32")
    zeros = np.zeros_like(kernel)
    one = kernel.copy()
    one[..., 1] = 0
    one[..., 1, :] = 0
    for start in (zeros, one):
        found = gradient(lambda w: ops.sum(function(ops.convert_to_tensor(w)) * weights), start)
        assert np.abs(found)[start == 0].min() > 0
        assert np.abs(found).max() < 100


@pytest.mark.parametrize(("layer", "shape"), [(AOLDense(3), (5,)), (AOLConv2D(3, 3, 2), (6, 5, 2))])
def test_condensing_keeps_the_raw_kernel_and_the_predictions(layer, shape):
    x = tensor(RNG.standard_normal((2, *shape)))
    layer.build((None, *shape))
    layer.kernel.assign(RNG.standard_normal(layer.kernel.shape))
    before, kernel = np.array(layer(x)), np.array(layer.kernel)
    layer.condense()
    np.testing.assert_array_equal(np.array(layer.kernel), kernel)
    np.testing.assert_allclose(np.array(layer(x)), before, atol=1e-6)
    assert certify(layer, shape, search=False).upper_bound <= 1 + 1e-6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"groups": 2}, "groups=1"),
        ({"dilation_rate": 2}, r"dilation_rate=\(1, 1\)"),
        ({"padding": "circular"}, "padding"),
        ({"k_coef_lip": 0.0}, "k_coef_lip"),
        ({"kernel_size": 0}, "kernel_size"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        AOLConv2D(**({"filters": 4, "kernel_size": 3} | arguments))


def test_configurations_hold_no_more_than_the_arguments():
    assert "bound" not in AOLConv2D(2, 3).get_config()
    assert AOLConv2D.from_config(AOLConv2D(2, 3, strides=2, k_coef_lip=2.0).get_config()).k_coef_lip == 2.0
    assert isinstance(AOLDense(2), keras.layers.Dense)
