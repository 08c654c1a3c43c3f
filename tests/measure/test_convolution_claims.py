"""Claims about norms of convolutions, against explicit matrices and layers."""

import numpy as np
import pytest
import scipy.sparse.linalg as sla

from lipviz import layers
from lipviz.measure.claims import (
    KERNEL_KINDS,
    METHODS,
    convolution_claims,
    largest_singular_value,
    sample_kernel,
)
from lipviz.measure.convolution_motion import convolution_power
from lipviz.operators import Convolution
from tests.support import convolution_matrix

COUNT, FOURIER, FFT, AVERAGE = METHODS
GEOMETRIES = [(3, 6, 1, "same"), (3, 7, 2, "same"), (2, 5, 1, "same"), (4, 6, 3, "valid"), (5, 5, 1, "valid"),
              (1, 4, 1, "same"), (7, 3, 1, "same")]  # fmt: skip


def by_name(data, values):
    return dict(zip(data.methods, values, strict=True))


@pytest.mark.parametrize("kind", KERNEL_KINDS)
@pytest.mark.parametrize(("size", "image", "stride", "padding"), GEOMETRIES)
def test_the_norm_and_the_spectrum_are_those_of_the_matrix(kind, size, image, stride, padding):
    kernel = sample_kernel(kind, size, 2, 3, seed=1)
    data = convolution_claims(kernel, image, stride, padding)
    values = np.linalg.svd(convolution_matrix(kernel, (image,) * 2, (stride,) * 2, padding), compute_uv=False)
    assert data.norm == pytest.approx(values[0], rel=1e-12)
    # They are the roots of eigenvalues, which are off by rounding of the largest times the side.
    rounding = np.sqrt(len(values) * np.finfo(float).eps)
    np.testing.assert_allclose(data.spectrum, values, rtol=0, atol=rounding * values[0])
    assert data.kernel_norm == pytest.approx(1, rel=1e-12)
    # What is proved holds.
    assert (data.claims[data.is_proved] >= values[0] * (1 - 1e-9)).all()
    assert not data.is_below_norm[data.is_proved].any()
    np.testing.assert_array_equal(data.is_below_norm, data.claims < data.norm * (1 - 1e-9))
    with pytest.warns(DeprecationWarning, match="use `ConvolutionClaims.is_below_norm`"):
        np.testing.assert_array_equal(data.lies, data.is_below_norm)
    np.testing.assert_allclose(data.after * data.claims, data.norm)
    # Zero padding never gains more than an image without borders. Of each axis there are 16 frequencies or more for
    # each step of the reach, of which one is so close to the largest gain.
    assert data.norm <= data.gains.max() / np.cos(np.pi / 32) ** 2


def test_a_layer_normalized_so_has_the_norm_that_is_said():
    for bound, name in (("unsound_average", AVERAGE), ("coverage", COUNT)):
        kernel = sample_kernel("random", 3, 1, 16, orthogonal=True)
        layer = layers.SpectralConv2D(16, 3, bound=bound)
        layer.build((None, 8, 8, 1))
        layer.kernel.assign(kernel)
        layer.refresh()
        matrix = convolution_matrix(np.asarray(layer.wbar), (8, 8), (1, 1), "same")
        data = convolution_claims(kernel, 8)
        assert by_name(data, data.after)[name] == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-3)
    assert by_name(data, data.is_below_norm) == {COUNT: False, FOURIER: False, FFT: False, AVERAGE: True}


def test_a_plain_fft_may_lie():
    data = convolution_claims(sample_kernel("checkerboard", 3), 5)
    assert by_name(data, data.is_below_norm)[FFT]
    frequencies = 2 * np.pi * np.arange(5) / 5
    row = np.abs([np.sum((-1.0) ** np.arange(3) * np.exp(1j * w * np.arange(3))) for w in frequencies]) / np.sqrt(3)
    np.testing.assert_allclose(data.grid_gains, (row * row.max())[:3] / np.sqrt(1), rtol=1e-9)


def test_gains_over_frequencies_are_those_of_waves():
    kernel = sample_kernel("random", 3, 2, 2, seed=4)
    data = convolution_claims(kernel, 6, spectrum=False)
    assert data.spectrum is None
    index = 7
    omega = 2 * np.pi * data.frequencies[index]
    found = 0.0
    for other in np.linspace(-np.pi, np.pi, 97):
        wave = np.exp(1j * (omega * np.arange(3)[:, None] + other * np.arange(3)))
        found = max(found, np.linalg.norm(np.einsum("hw,hwio->io", wave, kernel), 2))
    assert data.gains[index] == pytest.approx(found, rel=1e-6)


def test_large_operators_are_measured_by_lanczos():
    kernel = sample_kernel("random", 3, 2, 2, seed=2)
    operator = Convolution(kernel, (13, 13), padding="same")
    assert largest_singular_value(operator) == pytest.approx(sla.svds(operator, k=1, return_singular_vectors=False)[0])
    assert largest_singular_value(Convolution(np.zeros((3, 3, 2, 2)), (13, 13), padding="same")) == 0


def test_zero_and_extreme_kernels():
    data = convolution_claims(np.zeros((3, 3, 1, 2)), 5)
    assert data.norm == 0
    assert not data.is_below_norm.any()
    np.testing.assert_array_equal(data.after, 0)


@pytest.mark.covered_by_day
@pytest.mark.parametrize("image", [5, 20])  # by an explicit matrix, and by Lanczos' method
@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e-10, 1e170, 1e300])
def test_scale_changes_nothing_else(scale, image):
    kernel = sample_kernel("random", 3, 2, 2, seed=3)
    data, scaled = convolution_claims(kernel, image), convolution_claims(scale * kernel, image)
    np.testing.assert_allclose(scaled.after, data.after, rtol=1e-9)
    for name in ("kernel_norm", "norm", "claims", "gains", "grid_gains", "spectrum"):
        if (want := getattr(data, name)) is None:
            assert getattr(scaled, name) is None
        else:  # a singular value is known to 1e-8 of the largest, because it is that of a square
            np.testing.assert_allclose(getattr(scaled, name) / scale, want, rtol=1e-9, atol=3e-8 * data.norm)
    operator = Convolution(kernel, (image,) * 2, padding="same")
    want = np.linalg.norm(convolution_matrix(kernel, (image,) * 2, (1, 1), "same"), 2)
    assert largest_singular_value(operator) == pytest.approx(want, rel=1e-9)
    operator = Convolution(scale * kernel, (image,) * 2, padding="same")
    assert largest_singular_value(operator) / scale == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("kind", KERNEL_KINDS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_sample_kernels_have_norm_one(kind, size):
    kernel = sample_kernel(kind, size, 2, 3)
    assert kernel.shape == (size, size, 2, 3)
    values = np.linalg.svd(sample_kernel(kind, size, 2, 3, orthogonal=True).reshape(-1, 3), compute_uv=False)
    assert np.linalg.norm(kernel.reshape(-1, 3), 2) == pytest.approx(1)
    assert ((np.abs(values - 1) < 1e-9) | (values < 1e-9)).all()
    assert values[0] == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": np.ones((3, 3))}, r"shape: \(3, 3\)"),
        ({"kernel": np.full((2, 2, 1, 1), np.nan)}, "finite"),
        ({"image": 0}, "image=0"),
        ({"image": (3, 4, 5)}, "image="),
        ({"strides": 0}, "strides=0"),
        ({"padding": "circular"}, "circular"),
        ({"image": 2, "padding": "valid"}, "smaller than the kernel"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    arguments = {"kernel": np.ones((3, 3, 1, 1)), **settings}
    with pytest.raises(ValueError, match=message):
        convolution_claims(**arguments)
    with pytest.raises(ValueError, match="kind"):
        sample_kernel("odd")
    with pytest.raises(ValueError, match="filters=0"):
        sample_kernel(filters=0)


# --- the image that is stretched most ---


@pytest.mark.parametrize(("size", "image", "stride", "padding"), GEOMETRIES)
def test_a_power_iteration_on_the_matrix(size, image, stride, padding):
    kernel = sample_kernel("random", size, 2, 3, seed=4) * 1e-3
    matrix = convolution_matrix(kernel, (image,) * 2, (stride,) * 2, padding)
    data = convolution_power(kernel, image, stride, padding, iterations=60, seed=1)
    assert data.iterations == 60
    np.testing.assert_allclose(data.kernel, kernel, rtol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(data.images.reshape(61, -1), axis=1), 1)
    for t in (0, 1, 5):
        np.testing.assert_allclose(data.gains[t], np.linalg.norm(matrix @ data.images[t].ravel()), rtol=1e-12)
        following = matrix.T @ (matrix @ data.images[t].ravel())
        np.testing.assert_allclose(data.images[t + 1].ravel(), following / np.linalg.norm(following), atol=1e-12)
    norm = np.linalg.norm(matrix, 2)
    assert (np.diff(data.gains) >= -1e-12 * norm).all()
    assert 0.9 * norm <= data.gains[-1] <= norm * (1 + 1e-12)
    # A kernel of ones, of a single entry each, counts the patches that see a pixel.
    ones = convolution_matrix(np.ones((size, size, 1, 1)), (image,) * 2, (stride,) * 2, padding)
    np.testing.assert_array_equal(data.coverage, ones.sum(axis=0).reshape(image, image))


def test_an_orthogonal_kernel_stretches_most_what_most_patches_see():
    kernel = sample_kernel("random", 3, 1, 16, orthogonal=True)
    data = convolution_power(kernel, 6, iterations=80)
    assert data.at(80).gain == pytest.approx(np.sqrt(data.coverage.max()), rel=1e-9)
    assert np.abs(data.at(99).image[data.coverage < 9]).max() < 1e-9


def test_a_power_iteration_on_zeros_stays_there():
    data = convolution_power(np.zeros((3, 3, 1, 1)), 5, iterations=2)
    np.testing.assert_array_equal(data.gains, 0)
    np.testing.assert_array_equal(data.images[1:], 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"iterations": -1}, "iterations"),
        ({"padding": "full"}, "padding"),
        ({"image": 2, "padding": "valid"}, "smaller"),
        ({"kernel": np.ones((3, 3))}, "shape"),
    ],
)
def test_a_power_iteration_that_cannot_be(arguments, words):
    with pytest.raises(ValueError, match=words):
        convolution_power(**{"kernel": np.ones((3, 3, 1, 1))} | arguments)
    with pytest.raises(ValueError, match="step"):
        convolution_power(np.ones((1, 1, 1, 1)), 2, iterations=1).at(-1)
