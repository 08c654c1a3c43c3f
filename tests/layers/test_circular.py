"""Convolutions on a circle, by explicit matrices in float64: reflectors at every frequency."""

import types

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import certify, vanillaModel
from lipviz import normalizers as nm
from lipviz.certification import rounding
from lipviz.certification.running_errors import UnknownRoundingError
from lipviz.layers import AOCConv2D, BROConv2D, MaxMin, PadConv2D
from lipviz.normalizers.circular import Circle, circular_reflector
from lipviz.operators.convolution_spectrum import conv_singular_values
from lipviz.operators.precision import float64_scope
from lipviz.rules.registry import layer_bound
from tests.layers.test_orthogonal_convolution import circular_matrix
from tests.support import finite_differences, gradient, predicted, tensor

RNG = np.random.default_rng(0)
# Filters, kernel, rank, shape of the image.
GEOMETRIES = [
    (4, (3, 3), None, (6, 5, 4)),
    (5, (3, 2), 2, (4, 6, 2)),
    (2, (1, 5), 3, (3, 4, 3)),
    (1, (3, 3), 1, (2, 2, 1)),
    (2, (2, 2), None, (1, 4, 2)),
]
geometries = pytest.mark.parametrize(("filters", "kernel", "rank", "shape"), GEOMETRIES)


def built(filters, kernel, rank, shape, scale=1.0, **arguments):
    layer = BROConv2D(filters, kernel, rank_reflector=rank, use_bias=False, **arguments)
    layer.build((None, *shape))
    layer.kernel.assign(scale * RNG.standard_normal(layer.kernel.shape))
    layer.refresh()
    return layer


def matrix_of(layer, shape):
    return circular_matrix(np.asarray(layer.wbar, np.float64), shape[:2], (1, 1))


def reflected(v, sizes, rows, columns, eps):
    """The matrix of the layer in NumPy, from the formula at each frequency: of shape (outputs, inputs)."""
    taps = np.zeros((*sizes, *v.shape[2:]))
    for place in np.ndindex(v.shape[:2]):  # taps beyond the circle go round it again
        taps[place[0] % sizes[0], place[1] % sizes[1]] += v[place]
    transform = np.fft.fft2(taps, axes=(0, 1)).conj()  # e^(iωd)
    count = v.shape[-1]
    mean = np.square(np.abs(transform)).sum(axis=-2).mean()
    inner = transform.conj().swapaxes(-1, -2) @ transform + eps * mean * np.eye(count)
    whole = np.eye(v.shape[2]) - 2 * transform @ np.linalg.inv(inner) @ transform.conj().swapaxes(-1, -2)
    symbol = whole[..., :rows, :columns]
    units = np.eye(np.prod(sizes) * rows).reshape(-1, *sizes, rows)
    images = np.fft.ifft2((np.fft.fft2(units, axes=(1, 2))[..., None, :] @ symbol)[..., 0, :], axes=(1, 2))
    np.testing.assert_allclose(images.imag, 0, atol=1e-12)
    return images.real.reshape(len(units), -1).T


@geometries
def test_formula(filters, kernel, rank, shape):
    v = RNG.standard_normal((*kernel, max(filters, shape[-1]), rank or 1))
    with float64_scope():
        found = np.array(circular_reflector(tensor(v, "float64"), Circle(shape[:2]), shape[-1], filters, 1e-9))
    matrix = circular_matrix(found, shape[:2], (1, 1))
    np.testing.assert_allclose(matrix, reflected(v, shape[:2], shape[-1], filters, 1e-9), atol=1e-6)


@geometries
def test_all_singular_values_are_k(filters, kernel, rank, shape):
    for scale in (0.0, 1.0, 1e3):
        layer = built(filters, kernel, rank, shape, scale, k_coef_lip=0.7)
        matrix = matrix_of(layer, shape)
        values = np.linalg.svd(matrix, compute_uv=False)
        assert values[0] <= 0.7 * (1 + 1e-13)
        if rank != 3:  # for a rank of all channels, V̂ may be nearly singular at a frequency
            assert values[-1] >= 0.7 * (1 - 1e-4)
        x = RNG.standard_normal((2, *shape)).astype("float32")
        found = np.array(layer(x)).reshape(2, -1)
        np.testing.assert_allclose(found, x.reshape(2, -1) @ matrix.T, atol=1e-5)
        np.testing.assert_allclose(conv_singular_values(layer), values, atol=1e-12)


def test_no_norm_exceeds_k_where_columns_are_nearly_parallel_or_zero():
    for spread in (0.0, 1e-5, 1e-3):
        layer = built(6, 3, 3, (4, 4, 6))
        v = RNG.standard_normal((3, 3, 6, 1)) * np.ones(3) + spread * RNG.standard_normal((3, 3, 6, 3))
        layer.kernel.assign(v)
        step = np.array(layer.parametrization.constrain(layer.kernel)[0])  # as in training, without the eager check
        assert layer.circle.exact(step) <= 1


def test_the_layer_is_the_identity_for_zeros_and_a_reflection_for_others():
    layer = built(3, 1, 1, (2, 3, 3), 0.0)
    np.testing.assert_allclose(matrix_of(layer, (2, 3, 3)), np.eye(18), atol=2e-5)
    matrix = matrix_of(built(4, 3, 2, (4, 4, 4)), (4, 4, 4))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    np.testing.assert_allclose(matrix @ matrix, np.eye(64), atol=1e-4)
    assert np.trace(matrix) == pytest.approx(64 - 2 * 2 * 16, abs=1e-2)


@pytest.mark.parametrize("make", [lambda: built(3, 3, 1, (8, 8, 3)), lambda: AOCConv2D(3, 3, padding="circular")])
def test_what_zero_padding_costs(make):
    """Between ZeroPadding2D and Cropping2D, of n singular values on a circle of N entries at least 2n − N are k."""
    layer = make()
    if not layer.built:
        layer.build((None, 8, 8, 3))
    whole = circular_matrix(np.asarray(layer.wbar, np.float64), (8, 8), (1, 1)).reshape(8, 8, 3, 8, 8, 3)
    part = whole[1:-1, 1:-1, :, 1:-1, 1:-1].reshape(108, 108)
    values = np.linalg.svd(part, compute_uv=False)
    assert values[0] <= 1 + 1e-13
    assert (values >= 1 - 1e-4).sum() >= 2 * 108 - 192
    assert values[-1] < 0.9
    x, inner = keras.Input((6, 6, 3)), keras.layers.ZeroPadding2D(1)
    model = keras.Model(x, keras.layers.Cropping2D(1)(layer(inner(x))))
    assert certify(model, search=False).upper_bound <= 1 + 1e-9


@pytest.mark.parametrize("eps", [1e-6, 0.1])
def test_gradient(eps):
    circle, shape = Circle((3, 4)), (2, 3, 3, 2)
    start, weights = RNG.standard_normal(shape), RNG.standard_normal((*circle.taps, 3, 2))

    def value(v):
        return ops.sum(circular_reflector(ops.convert_to_tensor(v), circle, 3, 2, eps) * weights)

    directions = RNG.standard_normal((2, *shape))
    with float64_scope():
        found = np.tensordot(directions, gradient(value, start), 4)
        expected = finite_differences(lambda steps: value(start + np.tensordot(steps, directions, 1)), np.zeros(2))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(found).max() > 0.1


def test_the_export_is_a_convolution_of_all_pixels():
    layer = BROConv2D(4, 3, activation=MaxMin(), k_coef_lip=2.0)
    model = keras.Sequential([keras.Input((6, 5, 2)), layer])
    x = tensor(RNG.standard_normal((2, 6, 5, 2)))
    before = predicted(model, x)
    plain = vanillaModel(model)
    assert type(plain.layers[-1].layers[0]) is PadConv2D
    np.testing.assert_allclose(predicted(plain, x), before, atol=1e-5)
    layer.condense()
    np.testing.assert_allclose(predicted(model, x), before, atol=1e-6)
    for each in (model, plain):
        assert certify(each, search=False).upper_bound <= 2 * (1 + 1e-9)


def test_the_error_of_the_layer_in_float64_is_within_what_certificates_allow():
    layer = built(3, 3, 1, (5, 6, 2), dtype="float64")
    x = 100 * RNG.standard_normal((1, 5, 6, 2))
    with float64_scope():
        found = np.array(layer(tensor(x, "float64"))).reshape(-1)
    exact = matrix_of(layer, (5, 6, 2)).astype(np.longdouble) @ x.reshape(-1).astype(np.longdouble)
    flow = types.SimpleNamespace(at_zero=np.zeros((1, 5, 6, 2)))
    errors = rounding.of_layer(layer, [flow], [np.zeros((1, 5, 6, 3))], [1.0])
    allowed = errors(np.linalg.norm(x), np.linalg.norm(found), True)
    assert 0 < np.linalg.norm((found - exact).astype(np.float64)) <= allowed < 1e-8


def test_certificates_for_float32_speak_of_the_export_only():
    from lipviz.certification import certified_radius

    model = keras.Sequential([keras.Input((4, 4, 2)), BROConv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2)])
    x = RNG.standard_normal((2, 4, 4, 2)).astype("float32")
    with pytest.raises((ValueError, UnknownRoundingError), match="Fourier"):
        certified_radius(model, x, arithmetic="float32")
    assert (certified_radius(vanillaModel(model), x, arithmetic="float32").radii > 0).all()


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5)])
def test_bounds_on_circles_too_large_for_their_matrix(kernel):
    layer = AOCConv2D(16, kernel, padding="circular", use_bias=False)
    layer.build((None, 12, 10, 16))
    for shape in ((12, 10, 16), (None, None, 16)):
        assert layer_bound(layer, shape, 2).upper <= 1 + 1e-9
        wbar = np.abs(np.asarray(layer.wbar, np.float64))
        assert layer_bound(layer, shape, np.inf).upper == pytest.approx(wbar.sum(axis=(0, 1, 2)).max())
        assert layer_bound(layer, shape, 1).upper == pytest.approx(wbar.sum(axis=(0, 1, 3)).max())
    assert layer_bound(layer, (12, 10, 16), 2).lower >= 1 - 1e-4
    plain = PadConv2D(16, kernel, 3, "circular")  # a stride that does not divide the image
    plain.build((None, 16, 16, 16))
    known, free = (layer_bound(plain, shape, 2) for shape in ((16, 16, 16), (None, None, 16)))
    assert known.upper <= free.upper < np.inf


@pytest.mark.parametrize(
    ("arguments", "shape", "expected"),
    [
        ({"padding": "same"}, (4, 4, 2), "padding='circular'"),
        ({"strides": 2}, (4, 4, 2), "strides"),
        ({"groups": 2}, (4, 4, 2), "groups=1"),
        ({}, (None, 4, 2), "needs the size of the image"),
        ({"rank_reflector": 5}, (4, 4, 2), "at most 4"),
        ({"rank_reflector": 0}, (4, 4, 2), "rank_reflector"),
        ({"eps_reflector": 0.0}, (4, 4, 2), "eps_reflector"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, shape, expected):
    with pytest.raises(ValueError, match=expected):
        BROConv2D(4, 3, **arguments).build((None, *shape))


def test_an_image_of_another_size_is_refused():
    layer = built(2, 3, 1, (4, 5, 2))
    for shape in ((1, 5, 5, 2), (1, 4, 4, 2)):
        with pytest.raises(ValueError, match=r"built for images of \(4, 5\)"):
            layer(np.zeros(shape, "float32"))
    with pytest.raises(ValueError, match=r"built for images of \(4, 5\)"):
        layer(keras.Input((None, 5, 2)))


def test_waves_of_all_sizes_are_inverse_to_each_other():
    for sizes in ((1, 1), (1, 2), (3, 4), (5, 2)):
        circle = nm.Circle(sizes)
        taps = RNG.standard_normal((*sizes, 2, 3))
        with float64_scope():
            found = np.array(circle.taps_of(circle.symbol(tensor(taps, "float64"), circle.middle)))
        assert found.shape == (*circle.taps, 2, 3)
        np.testing.assert_allclose(found[: sizes[0], : sizes[1]], taps, atol=1e-13)
        assert not found[sizes[0] :].any()
        assert not found[:, sizes[1] :].any()


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (3, 4), (5, 2)])
def test_a_kernel_acts_on_real_waves_as_on_images(sizes):
    circle = Circle(sizes)
    kernel = np.zeros((*circle.taps, 2, 3))
    kernel[: sizes[0], : sizes[1]] = RNG.standard_normal((*sizes, 2, 3))
    with float64_scope():
        down, along = (np.array(circle.basis(axis, "float64")) for axis in (0, 1))
        blocks = np.array(circle.blocks(tensor(kernel, "float64")))
        images = RNG.standard_normal((2, *sizes, 2))
        found = np.array(circle.convolved(tensor(images, "float64"), tensor(kernel, "float64")))
        nothing = np.array(circle.convolved(tensor(images[:0], "float64"), tensor(kernel, "float64")))
    for waves, size in ((down, sizes[0]), (along, sizes[1])):
        np.testing.assert_allclose(waves.reshape(-1, size).T @ waves.reshape(-1, size), np.eye(size), atol=1e-13)
    matrix = circular_matrix(kernel, sizes, (1, 1))
    np.testing.assert_allclose(found.reshape(2, -1), images.reshape(2, -1) @ matrix.T, atol=1e-12)
    assert nothing.shape == (0, *sizes, 3)
    largest = max(np.linalg.norm(block, 2) for block in blocks)  # a basis of length 1 changes no norm
    assert largest == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-12)
