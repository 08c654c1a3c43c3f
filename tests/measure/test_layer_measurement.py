"""Single layers as maps, against explicit matrices."""

import math

import keras
import numpy as np
import pytest

from lipviz import layers
from lipviz.measure.layer_measurement import float64_layer, measure_layer
from tests.support import convolution_matrix


def built(layer, *shape):
    layer.build((None, *shape))
    return layer


def test_a_dense_layer():
    layer = built(layers.SpectralDense(5, k_coef_lip=2.0), 7)
    data = measure_layer(layer)
    values = np.linalg.svd(np.asarray(layer.wbar, np.float64), compute_uv=False)
    np.testing.assert_allclose(data.spectrum.used, values, rtol=1e-12)
    assert (data.input_shape, data.output_shape) == ((7,), (5,))
    assert data.has_kernel
    assert data.is_linear
    assert data.keeps_k
    assert data.k == 2
    assert data.bound.upper >= data.largest
    assert (data.gains <= data.largest * (1 + 1e-12)).all()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 300))
    expected = np.linalg.norm(np.asarray(layer.wbar, np.float64).T @ x, axis=0) / np.linalg.norm(x, axis=0)
    np.testing.assert_allclose(data.gains, expected, rtol=1e-12)


def test_a_convolution():
    layer = built(layers.SpectralConv2D(3, 3, bound="unsound_average"), 5, 5, 1)
    data = measure_layer(layer)
    matrix = convolution_matrix(np.asarray(layer.wbar), (5, 5), (1, 1), "same")
    np.testing.assert_allclose(data.spectrum.used, np.linalg.svd(matrix, compute_uv=False), atol=1e-12)
    assert not data.is_sound
    assert data.keeps_k is (data.largest <= 1 + 1e-6)
    assert data.output_shape == (5, 5, 3)


@pytest.mark.parametrize(
    ("layer", "values", "linear"),
    [
        (layers.ScaledAveragePooling2D(2, k_coef_lip=3.0), {3.0}, True),
        (layers.ScaledL2NormPooling2D(2, eps_grad_sqrt=0.0), {1.0}, False),
        (layers.ScaledGlobalAveragePooling2D(), {1.0}, True),
        (layers.ScaledGlobalL2NormPooling2D(eps_grad_sqrt=0.0), {1.0}, False),
        (layers.InvertibleDownSampling(2), {1.0}, True),
        (layers.LayerCentering(k_coef_lip=0.5), {0.5, 0.0}, True),
        (layers.BatchCentering(), {1.0}, True),
        (keras.layers.Flatten(), {1.0}, True),
    ],
)
def test_layers_without_a_kernel(layer, values, linear):
    data = measure_layer(built(layer, 4, 4, 2))
    assert {float(value) + 0.0 for value in np.round(data.spectrum.used, 5)} == values
    assert data.is_linear is linear
    assert not data.has_kernel
    assert data.spectrum.constrained is None
    assert data.bound.upper == pytest.approx(max(values))


def test_batch_lip_norm_does_not_keep_k():
    layer = built(layers.BatchLipNorm(), 3, 3, 2)
    layer.moving_variance.assign([0.1, 0.01])
    data = measure_layer(layer)
    assert data.largest == pytest.approx(layer.lip_constant, rel=1e-6)
    assert data.keeps_k is False
    assert data.is_sound is False


def test_a_plain_layer_promises_nothing():
    data = measure_layer(built(keras.layers.Dense(4), 3))
    assert data.k is None
    assert data.keeps_k is None
    assert data.has_kernel
    assert data.bound.upper >= data.largest


def test_a_layer_without_a_rule():
    class Twice(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    data = measure_layer(built(keras.layers.Softmax(), 3))
    assert not data.is_linear
    layer = Twice()
    layer(np.zeros((1, 3)))
    data = measure_layer(layer)
    np.testing.assert_allclose(data.spectrum.used, 2, rtol=1e-9)
    assert data.bound.upper == math.inf


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (lambda: keras.layers.Dense(3), ValueError, "must be built"),
        (lambda: built(keras.layers.Conv2D(1, 3), None, None, 1), ValueError, "not known"),
        (lambda: built(keras.layers.Dense(3000), 2), ValueError, "at most 2048"),
        (lambda: keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)]), TypeError, "Sequential"),
        (lambda: np.ones(3), TypeError, "ndarray"),
        (lambda: built(keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(math.nan)), 2),
         ValueError, "finite"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(layer, error, message):
    with pytest.raises(error, match=message):
        measure_layer(layer())


def test_a_copy_in_float64_shares_nothing():
    layer = built(layers.PReLUlip(alpha_initializer=keras.initializers.Constant(0.5)), 3)
    copy = float64_layer(layer, (3,))
    assert copy.alpha.dtype == "float64"
    copy.alpha.assign(np.zeros(3))
    np.testing.assert_allclose(np.asarray(layer.alpha), 0.5)
    with pytest.raises(ValueError, match=r"Expected \(4,\)"):
        float64_layer(layer, (4,))
