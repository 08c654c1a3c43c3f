"""Residual blocks: their formula, Jacobians in float64, what certify reads of them, and their plain copies."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import Sequential, certify, measure, vanillaModel
from lipviz.certification import rounding
from lipviz.layers import SLLConv2D, SLLDense
from lipviz.layers.blocks import MONOTONE
from lipviz.operators.linear import linear_operator
from lipviz.operators.precision import float64_scope
from lipviz.rules.activations import ELEMENTWISE
from lipviz.rules.functions import function_bound
from lipviz.rules.registry import layer_bound
from tests.layers.test_pooling import jacobian
from tests.support import convolution_matrix, predicted, tensor

RNG = np.random.default_rng(0)
BLOCKS = {
    "narrow": (SLLDense, (2,), (4,)),
    "wide": (SLLDense, (7,), (4,)),
    "odd": (SLLConv2D, (3, 3), (4, 3, 2)),
    "even": (SLLConv2D, (2, (2, 4)), (3, 4, 3)),
}
blocks = pytest.mark.parametrize("kind", BLOCKS)


def built(kind, dtype="float64", **arguments):
    cls, own, shape = BLOCKS[kind]
    layer = cls(*own, dtype=dtype, **arguments)
    layer.build((None, *shape))
    layer.kernel.assign(RNG.standard_normal(layer.kernel.shape))
    if layer.bias is not None:
        layer.bias.assign(RNG.standard_normal(layer.bias.shape))
    layer.refresh()
    return layer, shape


def matrix_of(layer, shape):
    """The matrix of x ↦ W̄ᵀx, of shape (hidden, inputs), in float64."""
    wbar = np.asarray(layer.wbar, np.float64)
    return wbar.T if wbar.ndim == 2 else convolution_matrix(wbar, shape[:-1], (1, 1), "same")


@blocks
@pytest.mark.parametrize("k", [1.0, 0.3])
def test_formula(kind, k):
    layer, shape = built(kind, k_coef_lip=k)
    x = RNG.standard_normal((3, *shape))
    w, flat = matrix_of(layer, shape), x.reshape(3, -1)
    bias = np.tile(np.array(layer.bias), w.shape[0] // layer.bias.shape[0])
    expected = k * flat - 2 * np.maximum(flat @ w.T / k + bias, 0) @ w
    tolerance = 1e-13 if keras.backend.backend() == "tensorflow" else 1e-6
    np.testing.assert_allclose(np.array(layer(x)).reshape(3, -1), expected, atol=tolerance)


@pytest.mark.covered_by_day
@blocks
@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky_relu"])
def test_no_jacobian_beats_k_and_certify_states_it(kind, activation):
    layer, shape = built(kind, k_coef_lip=0.7, activation=activation)
    for scale in (0.1, 10.0):
        norm = np.linalg.norm(jacobian(layer, scale * RNG.standard_normal((1, *shape))), 2)
        assert norm <= 0.7 * (1 + 1e-6)  # on JAX, Keras computes tanh in float32
    bound = layer_bound(layer, shape, 2)
    assert bound.upper <= 0.7 * (1 + 1e-9)
    assert bound.lower == (0.7 if kind == "narrow" else 0.0)
    for norm in (1, np.inf):
        matrix = matrix_of(layer, shape)
        both = np.linalg.norm(matrix, norm) * np.linalg.norm(matrix.T, norm)
        assert layer_bound(layer, shape, norm).upper == pytest.approx(0.7 + 2 * both / 0.7, rel=1e-9)
        assert layer_bound(layer, (None,) * (len(shape) - 1) + shape[-1:], norm).upper >= (0.7 + 2 * both / 0.7) * 0.999


def test_certify_reads_the_weights_and_not_the_promise():
    layer, shape = built("wide", dtype="float32")
    layer.parametrization.wbar.store(2.0 * np.array(layer.wbar))
    norm = np.linalg.norm(np.array(layer.wbar, np.float64), 2)
    assert layer_bound(layer, shape, 2).upper == pytest.approx(2 * norm**2 - 1, rel=1e-9)
    layer.activation = keras.activations.gelu
    assert layer_bound(layer, shape, 2).upper == np.inf


@pytest.mark.parametrize(("k", "size"), [(1e-3, 200.0), (1e3, 40.0)])
def test_half_precision_overflows_only_with_the_output(k, size):
    layer = SLLDense(64, kernel_initializer="ones", k_coef_lip=k, dtype="mixed_float16")
    x = np.where(np.arange(64) % 2, size, -0.5 * size)[None]
    w = np.ones((64, 64)) / 64
    expected = k * (x - 2 * np.maximum(x @ w, 0) @ w.T)
    found = np.array(ops.cast(layer(tensor(x, "float32")), "float32"))
    np.testing.assert_allclose(found, expected, atol=5e-3 * k * size)


def test_a_step_that_is_compiled_already_uses_another_k():
    layer = SLLDense(6)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile("sgd", "mse")
    x = RNG.standard_normal((4, 4)).astype("float32")
    model.predict_on_batch(x)
    layer.k_coef_lip = 0.1
    np.testing.assert_allclose(model.predict_on_batch(x), predicted(model, tensor(x)), atol=1e-6)


@blocks
def test_a_block_is_no_linear_map_and_is_measured_by_its_jacobian(kind):
    layer, shape = built(kind, activation="tanh")
    with pytest.raises(TypeError, match="not known to be linear"):
        linear_operator(layer)
    measured = measure.measure_layer(layer)
    assert not measured.is_linear
    assert len(measured.spectrum.used) == np.prod(shape)
    assert measured.largest <= 1 + 1e-6


@blocks
def test_the_export_is_plain_and_predicts_the_same(kind, tmp_path):
    layer, shape = built(kind, dtype="float32", k_coef_lip=2.0, activation="tanh")
    model = Sequential([keras.Input(shape), layer], k_coef_lip=2.0)
    plain = vanillaModel(model)
    kinds = {type(inner) for inner in plain.layers[-1].layers}
    assert all(cls.__module__.startswith("keras.") for cls in kinds)
    x = tensor(RNG.standard_normal((2, *shape)))
    np.testing.assert_allclose(predicted(plain, x), predicted(model, x), atol=1e-5)
    assert certify(plain, search=False).upper_bound <= 6 * (1 + 1e-6)  # the sum of both terms
    layer.condense()
    np.testing.assert_allclose(predicted(plain, x), predicted(model, x), atol=1e-5)


@blocks
def test_the_error_of_a_block_in_float64_is_within_what_certificates_allow(kind):
    layer, shape = built(kind, k_coef_lip=0.3)
    x = 100 * RNG.standard_normal((1, *shape))
    with float64_scope():
        found, at_zero = (np.array(layer(tensor(value, "float64"))).reshape(-1) for value in (x, np.zeros_like(x)))
    w, k = matrix_of(layer, shape).astype(np.longdouble), np.longdouble(0.3)
    bias = np.tile(np.array(layer.bias), w.shape[0] // layer.bias.shape[0])
    exact = k * x.reshape(-1) - 2 * np.maximum(w @ x.reshape(-1) / k + bias, 0) @ w
    errors = rounding.of_layer(layer, [], [at_zero.reshape(1, *shape)], [0.3])
    allowed = errors(np.linalg.norm(x), np.linalg.norm(found), True)
    assert 0 < np.linalg.norm((found - exact).astype(np.float64)) <= allowed < 1e-9


def test_the_listed_activations_are_those_with_slopes_from_0_to_1():
    assert {name for name, entry in ELEMENTWISE.items() if entry.slopes[0] >= 0 and entry.slopes[1] <= 1} == {*MONOTONE}
    points = np.linspace(-6, 6, 2001)
    for name in MONOTONE:
        function = getattr(keras.activations, name)
        assert function_bound(function, (3,), 2).upper <= 1
        values = np.array(ops.convert_to_numpy(function(tensor(points))), np.float64)
        slopes = np.diff(values) / np.diff(points)
        assert -1e-3 <= slopes.min() <= slopes.max() <= 1 + 1e-3, name


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: SLLDense(3, "gelu"), "slopes in"),
        (lambda: SLLDense(3, keras.layers.ReLU()), "slopes in"),
        (lambda: SLLDense(3, abs), "slopes in"),
        (lambda: SLLConv2D(3, 3, 2), r"strides=\(1, 1\)"),
        (lambda: SLLConv2D(3, 3, padding="valid"), "padding='same'"),
        (lambda: SLLConv2D(4, 3, groups=2), "groups=1"),
    ],
)
def test_what_a_block_cannot_do_is_said(make, expected):
    with pytest.raises(ValueError, match=expected):
        make()
