import itertools

import keras
import numpy as np
import pytest
import scipy.sparse.linalg as sla
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from lipviz import layers, operators
from lipviz import normalizers as nm
from lipviz.normalizers import symbols
from lipviz.operators import (
    Convolution,
    cholesky,
    conv_singular_values,
    convolution,
    convolution_bound,
    convolution_spectrum,
    size_free_bound,
)
from lipviz.operators import convolution_bounds as convolutions
from tests.random_convolutions import (
    bounds_of,
    is_broken,
    kernel_of,
    matrix_of,
    no_explicit_matrix,
    random_convolution,
)
from tests.support import convolution_matrix

RNG = np.random.default_rng(0)


def norm(operator):
    return np.linalg.norm(matrix_of(operator), 2)


# --- products ---


@pytest.mark.parametrize("padding", ["same", "causal", "valid"])
def test_patches_that_share_an_entry_are_counted(padding):
    for size, taps, stride, dilation in itertools.product((1, 2, 5, 9), (1, 2, 3, 5), (1, 2, 3), (1, 2)):
        reach = (taps - 1) * dilation + 1
        counted = nm.shared_patches(size, taps, stride, padding, dilation)
        if padding == "valid" and size < reach:
            assert counted == 0
            continue
        reads = Convolution(np.ones((taps, 1, 1)), (size,), (stride,), padding, (dilation,))
        assert counted == (matrix_of(reads) != 0).sum(axis=0).max()


@pytest.mark.parametrize("entries", [0, 2**21])
def test_a_product_is_that_of_the_matrix(entries, monkeypatch):
    """Tap by tap, and with all patches laid out at once."""
    monkeypatch.setattr(convolution, "_PATCH_ENTRIES", entries)
    together = 0
    for seed in range(80):
        operator = random_convolution(seed)
        together += operator._fits(np.empty((3, 1)))
        x, y = RNG.standard_normal((operator.shape[1], 3)), RNG.standard_normal((operator.shape[0], 3))
        matrix = matrix_of(operator)
        scale = np.abs(matrix).sum() + 1e-300
        np.testing.assert_allclose((operator @ x) / scale, matrix @ x / scale, atol=1e-14)
        np.testing.assert_allclose((operator.T @ y) / scale, matrix.T @ y / scale, atol=1e-14)
    assert (together > 20) if entries else (together == 0)


# --- both sides ---


@pytest.mark.slow
def test_no_norm_is_outside_of_its_bounds():
    tightness = {"fast": [], "exact": [], "size_free": []}
    for seed in range(60):
        operator = random_convolution(1000 + seed)
        exact = norm(operator)
        for name, (lower, upper, _) in bounds_of(operator).items():
            assert not is_broken(lower, upper, exact), (seed, name, lower, exact, upper)
            if exact:
                tightness[name].append((upper / exact, lower / exact))
        assert not is_broken(*sides(convolution_bound(operator)), exact)
    upper, lower = np.median(tightness["fast"], axis=0)
    assert upper < 1.05
    assert lower > 1 - 1e-6
    assert np.max(tightness["exact"]) < 1.001
    assert np.median(tightness["size_free"], axis=0)[0] < 1.35


def sides(bound):
    return bound.lower, bound.upper


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(8, 9), (12, 7)])
def test_how_tight_on_random_kernels(sizes, strides):
    operator = Convolution(RNG.standard_normal((3, 3, 4, 6)), sizes, (strides, strides), "same")
    found = bounds_of(operator)
    exact = norm(operator)
    assert found["fast"][1] < 1.06 * exact
    assert exact <= found["exact"][1] < 1.0003 * exact
    small = convolution_bound(operator)
    assert small.method == "explicit"
    assert 0 <= small.gap < 1e-10


def test_what_a_bound_says():
    bound = convolution_bound(Convolution(np.ones((3, 3, 1, 1)), (28, 28), padding="same"))
    exact = (1 + 2 * np.cos(np.pi / 29)) ** 2  # of each axis that of a tridiagonal matrix of ones
    assert exact * (1 - 1e-7) <= bound.lower <= exact * (1 + 1e-12)
    assert exact * (1 - 1e-12) <= bound.upper
    assert bound.method == "circulant"
    assert bound.gap == bound.upper / bound.lower - 1 < 1e-4
    assert bound.milliseconds > 0
    with pytest.raises(AttributeError):
        bound.upper = 1.0


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e12, 1e300])
def test_scale_does_not_matter(scale):
    kernel = RNG.standard_normal((3, 2, 2, 3))
    for mode in convolutions.MODES:
        with no_explicit_matrix():
            one = convolution_bound(Convolution(kernel, (5, 6), padding="same"), mode)
            other = convolution_bound(Convolution(scale * kernel, (5, 6), padding="same"), mode)
        np.testing.assert_allclose(np.array(sides(other)) / scale, sides(one), rtol=1e-9)
    np.testing.assert_allclose(size_free_bound(scale * kernel) / scale, size_free_bound(kernel), rtol=1e-12)


def test_a_zero_kernel():
    operator = Convolution(np.zeros((3, 3, 2, 2)), (4, 4))
    for mode in convolutions.MODES:
        bound = convolution_bound(operator, mode)
        assert sides(bound) == (0, 0)
        assert (bound.method, bound.gap) == ("zero", 0)
    assert size_free_bound(operator.kernel) == 0
    np.testing.assert_array_equal(conv_singular_values(operator), np.zeros(8))


def test_a_transposed_convolution_has_the_norm_of_its_adjoint():
    layer = keras.layers.Conv2DTranspose(3, 4, strides=2, padding="same")
    layer.build((None, 5, 6, 2))
    operator = operators.linear_operator(layer)
    exact = np.linalg.norm(convolution_matrix(layer.kernel, (5, 6), (2, 2), "same", transposed=True), 2)
    for mode in convolutions.MODES:
        with no_explicit_matrix():
            assert not is_broken(*sides(convolution_bound(operator, mode)), exact)
            assert convolution_bound(operator.T, mode).upper == convolution_bound(operator, mode).upper
    assert isinstance(operator.T, Convolution)
    assert operator.T.T.H is operator.T
    np.testing.assert_array_equal(operators.explicit_matrix(operator), operators.explicit_matrix(operator.T).T)


def test_without_spatial_axes_it_is_a_matrix():
    operator = Convolution(RNG.standard_normal((1, 1, 70, 65)), (3, 3))
    exact = np.linalg.norm(operator.kernel[0, 0], 2)
    with no_explicit_matrix():
        bound = convolution_bound(operator)
    assert not is_broken(*sides(bound), exact)
    assert bound.gap < 0.05
    assert bound.upper < exact * (1 + 1e-9)


@pytest.mark.parametrize("groups", [1, 2, 12])
def test_groups_are_bounded_apart(groups):
    operator = Convolution(RNG.standard_normal((3, 3, 2, 3 * groups)), (4, 5), padding="same", groups=groups)
    with no_explicit_matrix():
        bound = convolution_bound(operator, "exact")
    parts = [
        np.linalg.norm(convolution_matrix(part, (4, 5), (1, 1), "same"), 2)
        for part in np.split(operator.kernel, groups, axis=-1)
    ]
    assert bound.lower <= max(parts) <= bound.upper < 1.0003 * max(parts)


# --- what the proofs rest on ---


@pytest.mark.parametrize("size", [3, 5, 7])
def test_a_plain_fft_of_the_images_size_is_no_bound(size):
    checkerboard = kernel_of("checkerboard", (3, 3, 1, 1))
    operator = Convolution(checkerboard, (size, size), padding="same")
    fourier = np.abs(np.fft.fft2(checkerboard[..., 0, 0], (size, size))).max()
    exact = (1 + 2 * np.cos(np.pi / (size + 1))) ** 2
    assert norm(operator) == pytest.approx(exact, rel=1e-12)
    assert fourier == pytest.approx((1 + 2 * np.cos(np.pi / size)) ** 2, rel=1e-12)  # which is smaller
    with no_explicit_matrix():
        assert convolution_bound(operator).upper >= exact * (1 - 1e-12)


@given(st.integers(0, 10**6))
def test_the_circulant_holds_the_convolution(seed):
    """Row by row: no entry wraps, and every frequency is one of the twisted circulant's."""
    rng = np.random.default_rng(seed)
    n, k, s, d = (int(rng.integers(1, high)) for high in (9, 6, 4, 3))
    operator = Convolution(rng.standard_normal((k, 1, 1)), (n,), (s,), str(rng.choice(["same", "causal"])), (d,))
    (axis,) = convolutions._axes(operator)
    size, phases = axis.size, len(axis.values)
    twist = float(rng.choice([0.0, np.pi, 1.0]))
    circulant = np.zeros((size, phases, size), complex)
    for o, tap in np.ndindex(size, k):
        turns, place = divmod(o + axis.shifts[tap], size)
        circulant[o, axis.phases[tap], place] += np.exp(1j * twist * turns) * operator.kernel[tap, 0, 0]
    held = np.zeros(operator.shape, complex)
    for o in range(operator.counts[0]):
        for i in range(n):
            entry, value = divmod(i + operator.before[0], s)
            if value in axis.values:
                held[o, i] = _at(circulant, o, list(axis.values).index(value), entry, twist)
    np.testing.assert_allclose(held, matrix_of(operator), atol=1e-12)
    grid = [(2 * np.pi * np.arange(size) + twist) / size]
    found, _ = symbols.largest_symbol(operator.kernel, [axis], grid, grid)
    exact = np.linalg.norm(circulant.reshape(size, -1), 2)
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-12)


def _at(circulant, o, phase, entry, twist):
    turns, place = divmod(entry, circulant.shape[-1])
    return circulant[o % len(circulant), phase, place] * np.exp(-1j * twist * turns)


@given(st.integers(0, 10**6))
def test_the_band_is_the_gram_matrix(seed):
    (block, *_) = random_convolution(seed).blocks()
    band = cholesky.Band(convolutions._ordered(block))
    matrix = operators.explicit_matrix(band.block)
    gram = matrix @ matrix.T if band.outputs else matrix.T @ matrix
    assert gram.shape == (band.side, band.side)
    found = band.gram()
    lower = np.zeros_like(gram)
    for distance in range(band.width + 1):
        diagonal = np.diagonal(gram, -distance)
        np.testing.assert_allclose(found[distance, : len(diagonal)], diagonal, rtol=0, atol=1e-12 * np.abs(gram).max())
        lower += np.diag(diagonal, -distance)
    np.testing.assert_array_equal(lower, np.tril(gram))  # nothing is outside of the band


def test_cholesky_proves_no_bound_that_does_not_hold():
    operator = Convolution(RNG.standard_normal((3, 3, 2, 2)), (6, 6), padding="same")
    band = cholesky.Band(operator)
    exact = norm(operator)
    assert cholesky.proved(band.gram(), exact * (1 - 1e-9), band) is None
    assert exact < cholesky.proved(band.gram(), exact * (1 + 1e-6), band) < exact * (1 + 2e-6)


def test_what_is_too_large_for_cholesky_falls_back_and_says_so(monkeypatch):
    operator = Convolution(RNG.standard_normal((3, 3, 4, 4)), (8, 8), padding="same")
    exact = norm(operator)
    for name in ("CHOLESKY_ENTRIES", "CHOLESKY_OPERATIONS"):
        with monkeypatch.context() as patch, no_explicit_matrix():
            patch.setattr(convolutions, name, 10)
            bound = convolution_bound(operator, "exact")
        assert bound.method == "section, too large for Cholesky"
        assert not is_broken(*sides(bound), exact)


# --- images of any size ---


@pytest.mark.parametrize(
    ("taps", "strides", "dilations"),
    [((3,), (1,), (1,)), ((4,), (1,), (3,)), ((5,), (2,), (1,)), ((3,), (2,), (2,)), ((2, 3), (1, 1), (1, 1))],
)
@pytest.mark.parametrize("kind", ["gaussian", "checkerboard", "ones"])
def test_a_bound_for_every_size_is_the_limit_of_growing_ones(taps, strides, dilations, kind):
    kernel = kernel_of(kind, (*taps, 2, 2))
    bound = size_free_bound(kernel, strides, dilations)
    found = 0.0
    for size in (1, 2, 5, 12) + ((24, 80) if len(taps) == 1 else ()):
        for padding in ("same", "valid"):
            sizes = [max(size, (k - 1) * d + 1) for k, d in zip(taps, dilations, strict=True)]
            found = max(found, norm(Convolution(kernel, sizes, strides, padding, dilations)))
    assert found <= bound < 1.08 * found


def test_the_factor_of_the_grid_is_needed_and_enough():
    kernel = np.array([1.0, -1.0]).reshape(2, 1, 1)  # σ(K̂(ω)) = 2 |sin(ω/2)|
    for points in (2, 3, 5, 9, 17):
        grid = np.abs(1 - np.exp(2j * np.pi * np.arange(points) / points)).max()
        bound = convolutions._size_free(kernel, (1,), (1,), points)
        assert bound >= 2 - 1e-12
        if points % 2:
            assert grid < 2
            assert bound == pytest.approx(2, rel=1e-12)  # the comparison is attained
    with pytest.raises(ValueError, match=r"exceed the kernel's reach of 1. Received: points=1"):
        size_free_bound(kernel, points=1)


def test_groups_of_a_bound_for_every_size():
    kernel = RNG.standard_normal((3, 3, 1, 4))
    parts = [size_free_bound(kernel[..., i : i + 1]) for i in range(4)]
    assert size_free_bound(kernel, groups=4) == pytest.approx(max(parts))


# --- all singular values ---


def spectrum_of(matrix):
    return np.linalg.svd(matrix, compute_uv=False)


@given(st.integers(0, 10**6))
def test_the_whole_spectrum(seed):
    operator = random_convolution(seed)
    expected = spectrum_of(matrix_of(operator))
    for found in (conv_singular_values(operator), conv_singular_values(operator.T)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * len(expected) * max(expected[0], 1e-300))


@pytest.mark.parametrize(
    ("strides", "dilation", "kernel_size", "fourier"),
    [(1, 1, 3, True), (2, 1, 3, True), (3, 1, 5, True), (1, 2, (1, 3), True), (1, 2, 2, True), (1, 1, 2, False)],
)
def test_circular_padding_is_a_fourier_transform(strides, dilation, kernel_size, fourier):
    layer = layers.PadConv2D(3, kernel_size, strides, "circular", dilation_rate=dilation)
    layer.build((None, 6, 12, 2))
    assert convolution_spectrum.is_circular(layer, (6, 12)) == fourier
    expected = spectrum_of(operators.explicit_matrix(operators.linear_operator(layer)))
    np.testing.assert_allclose(conv_singular_values(layer), expected, atol=1e-12)


def test_large_circular_images_and_large_depthwise_ones():
    layer = layers.PadConv2D(4, 3, padding="circular", data_format="channels_first")
    layer.build((None, 4, 24, 48))
    values = conv_singular_values(layer)
    assert values.shape == (24 * 48 * 4,)
    assert (np.diff(values) <= 0).all()
    depthwise = keras.layers.DepthwiseConv2D(3, padding="same")
    depthwise.build((None, 8, 8, 40))
    values = conv_singular_values(depthwise)
    assert values.shape == (8 * 8 * 40,)
    assert values[0] == pytest.approx(convolution_bound(operators.linear_operator(depthwise)).upper)


def test_a_pointwise_convolution_repeats_its_matrix():
    layer = keras.layers.Conv2D(3, 1)
    layer.build((None, 40, 40, 2))
    expected = np.repeat(spectrum_of(np.asarray(layer.kernel, float)[0, 0]), 1600)
    np.testing.assert_allclose(conv_singular_values(layer), expected)


def test_a_spectrum_that_is_too_long_is_refused():
    layer = keras.layers.Conv2D(32, 3, padding="same")
    layer.build((None, 28, 28, 16))
    with pytest.raises(ValueError, match=r"a side of at most 2048.*`convolution_bound`"):
        conv_singular_values(layer)


# --- bad arguments ---


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda: convolution_bound(Convolution(np.ones((3, 1, 1)), (4,)), "slow"), ValueError, "'fast', 'exact'"),
        (lambda: convolution_bound(sla.aslinearoperator(np.eye(3))), TypeError, "Received: MatrixLinearOperator"),
        (lambda: convolution_bound(np.eye(3)), TypeError, "Expected a `Convolution`"),
        (lambda: convolution_bound(Convolution(np.full((1, 1, 1), np.nan), (4,))), ValueError, "NaN"),
        (lambda: size_free_bound(np.full((1, 1, 1), np.inf)), ValueError, "Inf"),
        (lambda: size_free_bound(np.ones((3, 1, 3)), groups=2), ValueError, "groups 2"),
        (lambda: conv_singular_values(keras.layers.Conv2D(2, 3)), ValueError, "built"),
        (lambda: conv_singular_values(keras.layers.ReLU()), (TypeError, ValueError), "ReLU"),
    ],
)
def test_what_cannot_be_bounded_says_why(function, error, words):
    with pytest.raises(error, match=words):
        function()


# --- threads ---


def test_bounds_are_computed_with_blas_on_one_thread(monkeypatch):
    """Threads of BLAS that wait for each other on busy cores take a hundred times as long as one."""
    seen = []
    found = convolutions._matrix_norm
    monkeypatch.setattr(convolutions, "_matrix_norm", lambda kernel: seen.append(blas_threads()) or found(kernel))
    with threadpool_limits(2, user_api="blas"):
        convolution_bound(Convolution(np.ones((3, 1, 1)), (4,)))
        size_free_bound(np.ones((3, 1, 1)))
        assert blas_threads() == {2}
    assert seen == [{1}, {1}]


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
