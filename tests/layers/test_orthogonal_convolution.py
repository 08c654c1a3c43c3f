"""Orthogonal convolutions, by explicit matrices in float64: circles, strides, zero padding and none."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import certify, vanillaModel
from lipviz import normalizers as nm
from lipviz.layers import AOCConv2D, AOCConv2DTranspose, MaxMin, PadConv2D
from lipviz.operators.precision import float64_scope
from tests.support import convolution_matrix, finite_differences, gradient, predicted, tensor

RNG = np.random.default_rng(0)
# Filters, kernel, strides, shape of the image.
SQUARE = (4, (3, 3), (1, 1), (6, 5, 4))
GEOMETRIES = [
    SQUARE,
    (5, (3, 1), (1, 1), (5, 4, 2)),
    (2, (3, 5), (1, 1), (6, 6, 3)),
    (1, (3, 3), (1, 1), (5, 5, 1)),
    (6, (3, 3), (2, 2), (6, 4, 2)),
    (14, (3, 5), (2, 3), (4, 6, 2)),
    (3, (3, 3), (3, 1), (6, 5, 1)),
]
geometries = pytest.mark.parametrize(("filters", "kernel", "strides", "shape"), GEOMETRIES)


def built(filters, kernel, strides, shape, padding="same", scale=1.0, **arguments):
    layer = AOCConv2D(filters, kernel, strides, padding, use_bias=False, **arguments)
    layer.build((None, *shape))
    layer.kernel.assign(scale * RNG.standard_normal(layer.kernel.shape))
    layer.refresh()
    return layer


def circular_matrix(kernel, sizes, strides):
    """The matrix of a convolution on a circle: columns of copied pixels are added up."""
    pads = [taps // 2 for taps in kernel.shape[:2]]
    padded = [n + 2 * p for n, p in zip(sizes, pads, strict=True)]
    matrix = convolution_matrix(kernel, padded, strides, "valid")
    channels = kernel.shape[2]
    pixels = np.pad(np.arange(np.prod(sizes)).reshape(sizes), [(p, p) for p in pads], mode="wrap").reshape(-1)
    result = np.zeros((len(matrix), np.prod(sizes), channels))
    np.add.at(result, (slice(None), pixels), matrix.reshape(len(matrix), -1, channels))
    return result.reshape(len(matrix), -1)


@geometries
def test_all_singular_values_on_a_circle_are_k(filters, kernel, strides, shape):
    for scale in (0.0, 1.0, 1e3):
        layer = built(filters, kernel, strides, shape, "circular", scale, k_coef_lip=0.7)
        matrix = circular_matrix(np.asarray(layer.wbar, np.float64), shape[:2], strides)
        values = np.linalg.svd(matrix, compute_uv=False)
        assert 0.7 * (1 - 1e-4) <= values[-1] <= values[0] <= 0.7 * (1 + 1e-13)
        x = RNG.standard_normal((2, *shape)).astype("float32")
        expected = x.reshape(2, -1) @ matrix.T
        np.testing.assert_allclose(np.array(layer(x)).reshape(2, -1), expected, atol=1e-5)


@geometries
def test_zero_padding_keeps_the_norm_and_none_keeps_complete_rows(filters, kernel, strides, shape):
    wbar = np.asarray(built(filters, kernel, strides, shape).wbar, np.float64)
    for padding in ("same", "valid"):
        values = np.linalg.svd(convolution_matrix(wbar, shape[:2], strides, padding), compute_uv=False)
        assert values[0] <= 1 + 1e-13
        if padding == "valid" and filters <= np.prod(strides) * shape[-1]:
            assert values[-1] >= 1 - 1e-4


def test_what_zero_padding_costs_is_at_the_border():
    """An image that is 0 near the border keeps its norm; the smallest singular value of the whole is far below 1."""
    layer = built(*SQUARE[:3], (8, 8, 4))
    matrix = convolution_matrix(np.asarray(layer.wbar, np.float64), (8, 8), (1, 1), "same")
    image = np.zeros((8, 8, 4))
    image[1:-1, 1:-1] = RNG.standard_normal((6, 6, 4))
    assert np.linalg.norm(matrix @ image.reshape(-1)) == pytest.approx(np.linalg.norm(image), rel=1e-4)
    assert np.linalg.svd(matrix, compute_uv=False)[-1] < 0.9


@pytest.mark.parametrize("kernel", [(2, 4), (4, 2)])
def test_even_kernels(kernel):
    wbar = np.asarray(built(4, kernel, (1, 1), (6, 6, 4)).wbar, np.float64)
    values = np.linalg.svd(convolution_matrix(wbar, (7, 6), (1, 1), "valid"), compute_uv=False)
    assert 1 - 1e-4 <= values[-1] <= values[0] <= 1 + 1e-13


@pytest.mark.parametrize(("shape", "strides"), [((3, 2, 2, 3), (1, 1)), ((2, 3, 3, 2), (1, 1)), ((3, 2, 1, 3), (2, 1))])
def test_gradient(shape, strides):
    start = RNG.standard_normal(nm.orthogonal_parameters(shape, strides))
    weights = RNG.standard_normal(shape)

    def value(v):
        return ops.sum(nm.orthogonal_convolution(ops.convert_to_tensor(v), shape, strides) * weights)

    directions = RNG.standard_normal((2, *start.shape))
    with float64_scope():
        found = np.tensordot(directions, gradient(value, start), start.ndim)
        expected = finite_differences(lambda steps: value(start + np.tensordot(steps, directions, 1)), np.zeros(2))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize(("padding", "cls"), [("same", keras.layers.Conv2D), ("circular", PadConv2D)])
def test_exports_predict_the_same_and_condensing_changes_nothing(padding, cls):
    layer = AOCConv2D(4, 3, padding=padding, activation=MaxMin(), k_coef_lip=2.0)
    model = keras.Sequential([keras.Input((6, 6, 2)), layer])
    x = tensor(RNG.standard_normal((2, 6, 6, 2)))
    before = predicted(model, x)
    plain = vanillaModel(model)
    assert type(plain.layers[-1].layers[0]) is cls
    np.testing.assert_allclose(predicted(plain, x), before, atol=1e-6)
    layer.condense()
    np.testing.assert_allclose(predicted(model, x), before, atol=1e-6)
    bounds = [certify(network, search=False).upper_bound for network in (model, plain)]
    np.testing.assert_allclose(bounds, 2, rtol=1e-4)
    assert max(bounds) <= 2 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("arguments", "shape", "expected"),
    [
        ({"kernel_size": 2, "strides": 3}, (6, 6, 2), "at least as large as its strides"),
        ({"padding": "circular", "kernel_size": 4}, (6, 6, 2), "odd kernel"),
        ({"padding": "circular", "strides": 2}, (6, 5, 2), "multiples of its strides"),
        ({"padding": "circular", "strides": 2}, (None, 6, 2), "multiples of its strides"),
        ({"padding": "reflect"}, (6, 6, 2), "padding='same' or 'valid' or 'circular'"),
        ({"dilation_rate": 2}, (6, 6, 2), "dilation_rate"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, shape, expected):
    with pytest.raises(ValueError, match=expected):
        AOCConv2D(**({"filters": 4, "kernel_size": 3} | arguments)).build((None, *shape))


# Filters, kernel, strides, padding, shape of the input.
TRANSPOSED = [
    (2, (3, 3), (1, 1), "same", (4, 5, 3)),
    (3, (3, 3), (2, 2), "same", (3, 4, 5)),
    (2, (2, 2), (2, 2), "same", (3, 3, 8)),
    (2, (3, 4), (2, 1), "valid", (3, 3, 4)),
    (1, (3, 3), (2, 3), "valid", (3, 2, 7)),
]


@pytest.mark.parametrize(("filters", "kernel", "strides", "padding", "shape"), TRANSPOSED)
def test_a_transposed_convolution_is_the_adjoint_of_one(filters, kernel, strides, padding, shape):
    layer = AOCConv2DTranspose(filters, kernel, strides, padding, use_bias=False, k_coef_lip=0.7)
    layer.build((None, *shape))
    layer.kernel.assign(RNG.standard_normal(layer.kernel.shape))
    layer.refresh()
    outputs = layer.compute_output_shape((None, *shape))[1:]
    wbar = np.asarray(layer.wbar, np.float64)
    matrix = convolution_matrix(wbar, outputs[:2], strides, padding).T
    x = RNG.standard_normal((2, *shape)).astype("float32")
    np.testing.assert_allclose(np.array(layer(x)).reshape(2, -1), x.reshape(2, -1) @ matrix.T, atol=1e-5)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert values[0] <= 0.7 * (1 + 1e-13)
    if kernel == strides or (padding == "valid" and shape[-1] <= np.prod(strides) * filters):
        assert values[-1] >= 0.7 * (1 - 1e-4)
    bounds = [certify(each, shape, search=False).upper_bound for each in (layer, layer.vanilla_export())]
    assert max(bounds) <= 0.7 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("groups", "filters", "kernel", "strides", "channels"),
    [(2, 4, (3, 3), (1, 1), 4), (3, 3, (3, 3), (1, 1), 6), (2, 8, (3, 3), (2, 2), 2), (4, 4, (1, 3), (1, 1), 4)],
)
def test_groups_are_orthogonal_convolutions_side_by_side(groups, filters, kernel, strides, channels):
    layer = built(filters, kernel, strides, (4, 6, channels), "circular", groups=groups)
    wbar = np.asarray(layer.wbar, np.float64)
    assert wbar.shape == (*kernel, channels // groups, filters)
    whole = np.zeros((*kernel, channels, filters))
    inputs, outputs = channels // groups, filters // groups
    for i in range(groups):
        part = slice(i * outputs, (i + 1) * outputs)
        whole[:, :, i * inputs : (i + 1) * inputs, part] = wbar[..., part]
    matrix = circular_matrix(whole, (4, 6), strides)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert 1 - 1e-4 <= values[-1] <= values[0] <= 1 + 1e-13
    x = RNG.standard_normal((2, 4, 6, channels)).astype("float32")
    np.testing.assert_allclose(np.array(layer(x)).reshape(2, -1), x.reshape(2, -1) @ matrix.T, atol=1e-5)
    if inputs > 1:  # no two groups have the same kernel
        assert not np.allclose(wbar[..., :outputs], wbar[..., outputs : 2 * outputs])
    assert certify(layer, (4, 6, channels), search=False).upper_bound <= 1 + 1e-9


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: AOCConv2DTranspose(4, 2, 3), "at least as large as its strides"),
        (lambda: AOCConv2DTranspose(4, 3, padding="circular"), "padding"),
        (lambda: AOCConv2DTranspose(4, 3, 2, output_padding=1), "output_padding"),
        (lambda: AOCConv2D(4, 3, groups=3), "groups"),
        (lambda: AOCConv2D(4, 3, groups=2).build((None, 6, 6, 3)), "groups"),
    ],
)
def test_settings_of_groups_and_of_adjoints_that_do_not_fit_are_refused(make, expected):
    with pytest.raises(ValueError, match=expected):
        make()


def test_an_image_that_does_not_fit_is_refused_at_the_call():
    layer = AOCConv2D(4, 3, 2, "circular")
    layer.build((None, 6, 6, 2))
    with pytest.raises(ValueError, match="multiples of its strides"):
        layer(np.zeros((1, 5, 6, 2), "float32"))
