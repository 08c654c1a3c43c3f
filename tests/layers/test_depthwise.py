"""Depthwise convolutions: the norm of each channel and of the whole, by explicit matrices in float64."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipviz import Sequential, measure, vanillaModel
from lipviz import normalizers as nm
from lipviz.layers import MaxMin, SpectralConv2D, SpectralDepthwiseConv2D
from lipviz.normalizers.depthwise import DepthwiseFourierBound
from lipviz.operators.precision import float64_scope
from lipviz.rules.registry import layer_bound
from tests.support import (
    KINDS,
    convolution_matrix,
    examples,
    finite_differences,
    gradient,
    make_kernel,
    predicted,
    tensor,
    with_spectrum,
)

RNG = np.random.default_rng(0)
# What is stored is held to k in float64, and its norm is computed in float64: a hundred times its rounding, or so.
ROUNDING = 1e-13
bounds = pytest.mark.parametrize("bound", ["coverage", "tight"])


def built(sizes=(6, 5), channels=3, kernel_size=3, **arguments):
    layer = SpectralDepthwiseConv2D(kernel_size, **arguments)
    layer.build((None, *sizes, channels))
    return layer


def blocks(layer, sizes, kernel=None):
    """The explicit matrix of each channel: patches with gaps are patches of a kernel with zeros."""
    kernel = np.asarray(layer.wbar if kernel is None else kernel, np.float64)
    reach = [(taps - 1) * d + 1 for taps, d in zip(kernel.shape[:2], layer.dilation_rate, strict=True)]
    wide = np.zeros((*reach, *kernel.shape[2:]))
    wide[:: layer.dilation_rate[0], :: layer.dilation_rate[1]] = kernel
    channels = range(kernel.shape[2])
    return [convolution_matrix(wide[:, :, c : c + 1], sizes, layer.strides, layer.padding) for c in channels]


def operator(layer, sizes):
    """The explicit matrix of the layer, (outputs, inputs): each channel reads its own and writes its own."""
    parts = blocks(layer, sizes)
    channels, (rows, columns), multiplier = len(parts), parts[0].shape, layer.depth_multiplier
    matrix = np.zeros((rows // multiplier, channels, multiplier, columns, channels))
    for c, part in enumerate(parts):
        matrix[:, c, :, :, c] = part.reshape(-1, multiplier, columns)
    return matrix.reshape(rows * channels, columns * channels)


def norms(layer, sizes):
    return np.array([np.linalg.norm(block, 2) for block in blocks(layer, sizes)])


GEOMETRIES = [
    {},
    {"kernel_size": 2, "strides": 2},
    {"kernel_size": 4, "strides": 3},
    {"kernel_size": (2, 3)},
    {"kernel_size": 3, "dilation_rate": 2},
    {"kernel_size": (3, 2), "dilation_rate": (1, 3)},
]


# --- the operator ---


@pytest.mark.parametrize(
    ("geometry", "padding", "multiplier"), list(itertools.product(GEOMETRIES, ["same", "valid"], [1, 2]))
)
def test_the_explicit_matrix_is_what_the_layer_computes(geometry, padding, multiplier):
    layer = built((7, 6), padding=padding, depth_multiplier=multiplier, **geometry)
    layer.bias.assign(RNG.standard_normal(layer.bias.shape))
    x = RNG.standard_normal((2, 7, 6, 3)).astype("float32")
    got = np.array(layer(x, training=False))
    want = x.reshape(2, -1) @ operator(layer, (7, 6)).T
    np.testing.assert_allclose(got - np.array(layer.bias), want.reshape(got.shape), atol=1e-5)
    assert got.shape == layer.compute_output_shape((2, 7, 6, 3))


def test_the_norm_is_the_largest_of_the_channels():
    layer = built(depth_multiplier=2)
    assert np.linalg.norm(operator(layer, (6, 5)), 2) == pytest.approx(norms(layer, (6, 5)).max(), rel=1e-12)


@pytest.mark.parametrize(("padding", "dilation"), list(itertools.product(["same", "valid"], [1, 2, 3])))
def test_coverage_counts_the_patches_with_gaps_of_an_entry(padding, dilation):
    for taps, stride in itertools.product(range(1, 5), range(1, 5)):
        kernel = np.zeros(((taps - 1) * dilation + 1, 1, 1))
        kernel[::dilation] = 1
        most = 1
        for size in range(1, 24):
            if padding == "same" or size >= len(kernel):
                matrix = convolution_matrix(kernel, (size,), (stride,), padding)
                most = max(most, int((matrix != 0).sum(axis=0).max()))
            assert nm.patch_coverage(size, taps, stride, padding, dilation=dilation) == most
        assert nm.patch_coverage(None, taps, stride, padding, dilation=dilation) == most


# --- what is exact ---


@pytest.mark.parametrize("multiplier", [1, 2, 9, 12])
def test_each_channel_has_equal_singular_values(multiplier):
    layer = built(channels=4, depth_multiplier=multiplier, k_coef_lip=2.0)
    # Channels of very different scales: each is constrained by itself.
    kernel = make_kernel("gaussian", (9, 4 * multiplier), seed=1).reshape(layer.kernel.shape)
    layer.kernel.assign(kernel * np.array([1e-8, 1.0, 30.0, 1e9])[:, None])
    layer.refresh()
    values = np.linalg.svd(layer.parametrization.as_matrices(np.asarray(layer.wbar, np.float64)), compute_uv=False)
    np.testing.assert_allclose(values, 2 * layer.coef_lip, rtol=1e-3 if multiplier > 1 else 1e-5)
    assert values.max() <= 2 * layer.coef_lip * (1 + ROUNDING)


def test_one_filter_a_channel_is_divided_by_its_norm():
    kernel = RNG.standard_normal((3, 2, 4, 1))
    want = kernel / np.linalg.norm(kernel, axis=(0, 1), keepdims=True)
    np.testing.assert_allclose(nm.channelwise_orthogonalization(tensor(kernel)), want, rtol=1e-5)


def test_more_filters_have_the_polar_factor_of_each_channel():
    kernel = np.stack([with_spectrum((6, 3), [3.0, 2.0, 0.9], seed) for seed in range(4)], axis=1).reshape(3, 2, 4, 3)
    u, _, v = np.linalg.svd(np.swapaxes(kernel.reshape(6, 4, 3), 0, 1), full_matrices=False)
    want = np.swapaxes(u @ v, 0, 1).reshape(kernel.shape)
    np.testing.assert_allclose(nm.channelwise_orthogonalization(tensor(kernel)), want, atol=1e-4)


def test_without_bjorck_each_channel_keeps_its_direction():
    layer = built(channels=2, depth_multiplier=3, eps_bjorck=None)
    kernel, wbar = (layer.parametrization.as_matrices(np.asarray(w, np.float64)) for w in (layer.kernel, layer.wbar))
    sigma = np.linalg.norm(kernel, 2, axis=(1, 2))[:, None, None]
    np.testing.assert_allclose(wbar, layer.coef_lip * kernel / sigma, rtol=5e-3)


def test_a_channel_of_zeros_stays_zero_and_leaves_the_others_alone():
    layer = built(channels=2, depth_multiplier=2, bound="tight")
    before = np.array(layer.wbar)
    kernel = np.array(layer.kernel)
    kernel[:, :, 0] = 0
    layer.kernel.assign(kernel)
    layer.refresh()
    assert not np.any(np.array(layer.wbar)[:, :, 0])
    np.testing.assert_allclose(np.array(layer.wbar)[:, :, 1], before[:, :, 1], rtol=1e-5)


# --- the bound ---


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from([{"strides": 1}, {"strides": 2}, {"strides": 3}, {"dilation_rate": 2}, {"dilation_rate": (3, 1)}]),
    st.sampled_from(["same", "valid"]),
    st.sampled_from([(1, 1), (3, 1), (2, 2), (1, 5)]),
    st.sampled_from(["coverage", "coverage of any size", "tight"]),
    st.fixed_dictionaries(
        {},
        optional={
            "eps_bjorck": st.none(),
            "beta_bjorck": st.sampled_from([0.05, 0.5]),
            "maxiter_bjorck": st.sampled_from([0, 1, 15]),
            "k_coef_lip": st.sampled_from([1e-3, 0.7, 1e3]),
        },
    ),
    st.tuples(st.sampled_from(KINDS), st.integers(-12, 12), st.integers(0, 99)),
)
def test_no_channel_exceeds_k_at_any_size(sizes, kernel_size, geometry, padding, channels, bound, further, kind):
    probe = SpectralDepthwiseConv2D(kernel_size, **geometry)
    if padding == "valid":
        reach = [(n - 1) * d + 1 for n, d in zip(kernel_size, probe.dilation_rate, strict=True)]
        sizes = tuple(map(max, sizes, reach))
    layer = SpectralDepthwiseConv2D(
        kernel_size, padding=padding, depth_multiplier=channels[1], bound=bound.split()[0], **geometry, **further
    )
    layer.build((None, *((None, None) if "any" in bound else sizes), channels[0]))
    flat = make_kernel(kind[0], (int(np.prod(kernel_size)), channels[0] * channels[1]), 10.0 ** kind[1], kind[2])
    layer.kernel.assign(flat.reshape(layer.kernel.shape))
    layer.refresh()
    assert norms(layer, sizes).max() <= layer.k_coef_lip * (1 + ROUNDING)
    smaller = tuple(max(1, size - 1) for size in sizes)
    if padding == "same":
        assert norms(layer, smaller).max() <= layer.k_coef_lip * (1 + ROUNDING)


def test_where_patches_do_not_overlap_every_channel_attains_k():
    layer = built((6, 6), kernel_size=2, strides=2, k_coef_lip=3.0)
    np.testing.assert_allclose(norms(layer, (6, 6)), 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "arguments", "least"),
    [
        ((16, 16), {}, 0.98),
        ((16, 16), {"depth_multiplier": 3}, 0.98),
        ((16, 16), {"depth_multiplier": 3, "strides": 2}, 0.96),
        ((16, 16), {"dilation_rate": 2}, 0.9),
        ((8, 8), {}, 0.96),
        ((8, 8), {"depth_multiplier": 3, "strides": 2}, 0.96),
        ((8, 8), {"padding": "valid"}, 0.96),
    ],
)
def test_how_tight_the_tight_bound_is(sizes, arguments, least):
    layer = built(sizes, 4, bound="tight", **arguments)
    kernel = make_kernel("gaussian", (9, layer.kernel.shape[-1] * 4), seed=3)
    layer.kernel.assign(kernel.reshape(layer.kernel.shape))
    layer.refresh()
    found = norms(layer, sizes)
    assert found.max() <= 1 + ROUNDING
    assert found.min() >= least  # of every channel, and not of the largest alone


@pytest.mark.covered_by_day
@pytest.mark.parametrize("multiplier", [2, 3])
@pytest.mark.parametrize("sizes", [(6, 7), (14, 15)])  # for which there are sections, and circulants
@pytest.mark.parametrize("geometry", [*GEOMETRIES, {"kernel_size": 3, "strides": 2}])
def test_the_bound_in_keras_ops_is_that_in_numpy(geometry, sizes, multiplier):
    layer = SpectralDepthwiseConv2D(**({"kernel_size": 3} | geometry))
    kernel = RNG.standard_normal((*layer.kernel_size, 3, multiplier))
    kernel /= np.sqrt(np.sum(kernel**2, axis=(0, 1, 3), keepdims=True))
    bound = DepthwiseFourierBound(layer.kernel_size, sizes, layer.strides, "same", dilations=layer.dilation_rate)
    found = np.array(keras.ops.convert_to_numpy(bound.bound(tensor(kernel))))
    exact = np.array([bound.exact(kernel[:, :, c : c + 1]) for c in range(3)])
    np.testing.assert_allclose(found, exact, rtol=2e-3)
    assert (found > exact * (1 - 1e-6)).all()
    assert bound.exact(kernel) == pytest.approx(exact.max(), rel=1e-12)
    assert (exact * (1 + ROUNDING) >= [np.linalg.norm(block, 2) for block in blocks(layer, sizes, kernel)]).all()


@pytest.mark.parametrize("sizes", [(6, 7), (17, 18)])
@pytest.mark.parametrize(("multiplier", "strides"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_the_tight_bound_has_the_gradient_of_the_norm(multiplier, strides, sizes):
    bound = DepthwiseFourierBound((3, 3), sizes, (strides, strides), "same")
    assert bound.is_section == (sizes == (6, 7))
    kernel = 1 + 0.3 * np.random.default_rng(0).standard_normal((3, 3, 2, multiplier))  # σ1 is far from σ2
    kernel /= 2 * np.sqrt(np.sum(kernel**2, axis=(0, 1, 3), keepdims=True))  # coverage has no say
    with float64_scope():
        slope = gradient(lambda w: keras.ops.sum(bound.bound(w)), tensor(kernel, "float64"))
    want = finite_differences(lambda w: sum(bound.exact(w[:, :, c : c + 1]) for c in range(2)), kernel)
    np.testing.assert_allclose(slope, want, atol=2e-3)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_the_gradient_is_that_of_the_polar_factors(multiplier):
    kernel = np.stack([with_spectrum((9, multiplier), np.full(multiplier, 1.0), seed) for seed in range(2)], axis=1)
    kernel, weights = kernel.reshape(3, 3, 2, multiplier), RNG.standard_normal((3, 3, 2, multiplier))

    def polar(w):
        u, _, v = np.linalg.svd(np.swapaxes(w.reshape(9, 2, multiplier), 0, 1), full_matrices=False)
        return np.sum(weights * np.swapaxes(u @ v, 0, 1).reshape(w.shape))

    def ours(w):
        return keras.ops.sum(tensor(weights, "float64") * nm.channelwise_orthogonalization(w, 1e-9))

    with float64_scope():
        slope = gradient(ours, tensor(kernel, "float64"))
    np.testing.assert_allclose(slope, finite_differences(polar, kernel), atol=1e-5)


# --- the layer ---


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", pytest.param("mixed_float16", marks=pytest.mark.nightly)])
def test_training_saving_condensing_and_export(dtype, tmp_path):
    layer = SpectralDepthwiseConv2D(
        3, depth_multiplier=2, bound="tight", dtype=dtype, activation=MaxMin(), depthwise_regularizer="l2"
    )
    model = Sequential([keras.Input((6, 5, 3), dtype=layer.compute_dtype), layer], k_coef_lip=2.0)
    x = RNG.standard_normal((4, 6, 5, 3)).astype(layer.compute_dtype)
    # One of both is compiled, which takes most of the time.
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False, run_eagerly=dtype == "float32")
    model.train_on_batch(x, np.ones(model.compute_output_shape(x.shape)))
    layer.refresh()
    assert norms(layer, (6, 5)).max() <= 2 * (1 + ROUNDING)
    want = predicted(model, x)

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predicted(loaded, x), want)
    assert loaded.layers[0].bound == "tight"
    tolerance = 2e-2 if dtype == "mixed_float16" else 1e-5
    np.testing.assert_allclose(predicted(vanillaModel(model), x), want, atol=tolerance)
    layer.condense()
    np.testing.assert_array_equal(layer.kernel, layer.wbar)


def test_the_export_is_keras_own():
    layer = built(depth_multiplier=2, dilation_rate=2, name="mine")
    export = layer.vanilla_export()
    assert type(export) is keras.layers.DepthwiseConv2D
    assert (export.name, export.dilation_rate, export.depth_multiplier) == ("mine", (2, 2), 2)
    x = RNG.standard_normal((2, 6, 5, 3)).astype("float32")
    np.testing.assert_allclose(export(x), layer(x), atol=1e-6)


def test_channels_first_is_the_same_layer():
    last, first = (
        built(depth_multiplier=2),
        SpectralDepthwiseConv2D(3, depth_multiplier=2, data_format="channels_first"),
    )
    first.build((None, 3, 6, 5))
    first.set_weights(last.get_weights())
    x = RNG.standard_normal((2, 6, 5, 3)).astype("float32")
    np.testing.assert_allclose(np.moveaxis(np.array(first(np.moveaxis(x, -1, 1))), 1, -1), last(x), atol=1e-6)


@pytest.mark.parametrize("geometry", [{}, {"strides": 2, "depth_multiplier": 2}, {"dilation_rate": 2}])
@bounds
def test_a_certificate_knows_the_norm(geometry, bound):
    layer = built((7, 6), kernel_size=3, bound=bound, **geometry)
    exact = norms(layer, (7, 6)).max()
    stated = layer_bound(layer, (7, 6, 3), 2)
    assert stated.lower <= exact <= stated.upper <= exact * 1.05
    assert exact <= layer_bound(layer, (None, None, 3), 2).upper


def test_spectra_are_those_of_all_channels():
    layer = built(channels=4, depth_multiplier=2, k_coef_lip=3.0)
    spectrum = measure.singular_values(layer)
    assert spectrum.raw.shape == (8,)
    np.testing.assert_allclose(spectrum.constrained, 1, rtol=1e-3)  # k over the root of nine patches


def test_a_factor_for_small_images_refuses_larger_ones():
    small = built((4, 4), dilation_rate=2)
    assert small.coef_lip > built((9, 9), dilation_rate=2).coef_lip == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="was built for images no larger than its kernel"):
        small(np.zeros((1, 9, 9, 3)))
    with pytest.raises(ValueError, match=r"bound='tight', which holds up to the size \d"):
        built((4, 4), bound="tight")(np.zeros((1, 9, 9, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": 2, "dilation_rate": 2}, r"dilation_rate=\(1, 1\) only"),
        ({"bound": "unsound_average"}, r"must be one of \('coverage', 'tight'\)"),
        ({"depth_multiplier": 0}, "depth_multiplier"),
        ({"depth_multiplier": 1.5}, "depth_multiplier"),
        ({"depth_multiplier": None}, "depth_multiplier"),
        ({"eps_bjorck": -1.0}, "eps_bjorck"),
        ({"k_coef_lip": 0.0}, "k_coef_lip"),
    ],
)
def test_what_has_no_bound_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpectralDepthwiseConv2D(3, **arguments)


def test_with_one_channel_it_is_the_full_convolution():
    depthwise, full = built(channels=1, depth_multiplier=4), SpectralConv2D(4, 3)
    full.build((None, 6, 5, 1))
    full.kernel.assign(depthwise.kernel)
    full.refresh()
    np.testing.assert_allclose(depthwise.wbar, full.wbar, atol=1e-4)
