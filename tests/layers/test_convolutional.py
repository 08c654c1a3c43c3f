"""Convolutions: the norm of the whole operator, by its explicit matrix, at every size, stride and setting."""

import itertools
from unittest import mock

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipviz import Sequential, vanillaModel
from lipviz import normalizers as nm
from lipviz.layers import (
    FrobeniusConv2D,
    GroupSort2,
    MaxMin,
    SpectralConv1D,
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
)
from lipviz.normalizers import fourier
from lipviz.normalizers.fourier import FourierBound
from lipviz.operators.precision import float64_scope
from tests.support import (
    KINDS,
    convolution_matrix,
    examples,
    finite_differences,
    gradient,
    make_kernel,
    predicted,
    singular_values,
    tensor,
    with_spectrum,
)

RNG = np.random.default_rng(0)
TWO_D = (SpectralConv2D, SpectralConv2DTranspose, FrobeniusConv2D)
two_d = pytest.mark.parametrize("cls", TWO_D)
# What is stored is held to k in float64, and its norm is computed in float64: a hundred times its rounding, or so.
ROUNDING = 1e-13


def built(cls, sizes=(6, 5), channels=2, filters=3, kernel_size=3, **arguments):
    layer = cls(filters, kernel_size, **arguments)
    layer.build((None, *sizes, channels))
    return layer


def operator(layer, sizes):
    """The explicit matrix of what inference uses."""
    return convolution_matrix(layer.wbar, sizes, layer.strides, layer.padding, layer.transposed)


def norm(layer, sizes):
    return np.linalg.norm(operator(layer, sizes), 2)


# --- the operator ---


@pytest.mark.covered_by_day
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel_size", "strides"), [(3, 1), (2, 2), ((2, 3), (3, 1)), (4, 3), (1, 2)])
@two_d
def test_the_explicit_matrix_is_what_the_layer_computes(cls, kernel_size, strides, padding):
    layer = built(cls, (7, 6), kernel_size=kernel_size, strides=strides, padding=padding)
    layer.bias.assign(RNG.standard_normal(3))
    x = RNG.standard_normal((2, 7, 6, 2)).astype("float32")
    got = np.array(layer(x, training=False))
    want = x.reshape(2, -1) @ operator(layer, (7, 6)).T
    np.testing.assert_allclose(got - np.array(layer.bias), want.reshape(got.shape), atol=1e-5)
    assert got.shape == layer.compute_output_shape((2, 7, 6, 2))


@pytest.mark.parametrize(("transposed", "padding"), list(itertools.product([False, True], ["same", "valid"])))
def test_coverage_counts_the_patches_of_an_entry(transposed, padding):
    for kernel_size, stride in itertools.product(range(1, 7), range(1, 5)):
        most = 1
        for size in range(1, 14):
            if transposed or padding == "same" or size >= kernel_size:
                ones = np.ones((kernel_size, 1, 1))
                matrix = convolution_matrix(ones, (size,), (stride,), padding, transposed)
                most = max(most, (matrix != 0).sum(axis=1 if transposed else 0).max())
            assert nm.patch_coverage(size, kernel_size, stride, padding, transposed) == most
        assert nm.patch_coverage(None, kernel_size, stride, padding, transposed) == most == -(-kernel_size // stride)


# --- the bound ---

settings_of_spectral = st.fixed_dictionaries(
    {},
    optional={
        "eps_bjorck": st.none(),
        "beta_bjorck": st.sampled_from([0.05, 0.3, 0.5]),
        "maxiter_bjorck": st.sampled_from([0, 1, 15]),
        "maxiter_spectral": st.sampled_from([0, 1]),
        "k_coef_lip": st.sampled_from([1e-3, 0.7, 1e3]),
    },
)


@pytest.mark.slow
@settings(max_examples=examples(20))
@given(
    st.sampled_from(TWO_D),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from(["same", "valid"]),
    st.sampled_from([(1, 1), (1, 4), (3, 2)]),
    st.booleans(),
    settings_of_spectral,
    st.tuples(st.sampled_from(KINDS), st.integers(-12, 12), st.integers(0, 99)),
)
def test_no_kernel_exceeds_k_at_any_size(cls, sizes, kernel_size, strides, padding, channels, dynamic, further, kind):
    if padding == "valid" and cls is not SpectralConv2DTranspose:
        sizes = tuple(map(max, sizes, kernel_size))
    if cls is FrobeniusConv2D:
        further = {name: value for name, value in further.items() if name == "k_coef_lip"}
    layer = cls(channels[1], kernel_size, strides=strides, padding=padding, use_bias=False, **further)
    layer.build((None, *((None, None) if dynamic else sizes), channels[0]))
    shape = layer.kernel.shape
    flat = make_kernel(kind[0], (int(np.prod(shape[:-1])), shape[-1]), 10.0 ** kind[1], kind[2])
    layer.kernel.assign(flat.reshape(shape))
    layer.refresh()
    assert norm(layer, sizes) <= layer.k_coef_lip * (1 + ROUNDING)
    # The factor holds for whatever is smaller, too.
    smaller = tuple(max(1, size - 1) for size in sizes)
    if padding == "same" or cls is SpectralConv2DTranspose:
        assert norm(layer, smaller) <= layer.k_coef_lip * (1 + ROUNDING)


@pytest.mark.parametrize(("n", "kernel_size", "k"), [(9, 5, 1.0), (3, 5, 2.0), (6, 2, 0.5)])
def test_one_dimension(n, kernel_size, k):
    layer = built(SpectralConv1D, (n,), kernel_size=kernel_size, k_coef_lip=k, strides=2)
    # All singular values of the kernel's matrix are 1 over the root of the patches on an entry, here 3, 2 and 1. With 3
    # entries no patch is whole, but each tap lies in one: ‖A‖² ≥ ‖A‖_F²/rank ≥ 3 · (1/2)/6.
    assert {9: 3**-0.5, 3: 0.5, 6: 1}[n] * (1 - 1e-3) * k <= norm(layer, (n,)) <= k * (1 + ROUNDING)
    x = RNG.standard_normal((2, n, 2)).astype("float32")
    want = x.reshape(2, -1) @ operator(layer, (n,)).T
    np.testing.assert_allclose(np.array(layer(x, training=False)).reshape(2, -1), want, atol=1e-5)


@pytest.mark.nightly
def test_how_tight():
    ones = built(SpectralConv2D, (28, 28), 1, 1, kernel_initializer="ones")
    assert norm(ones, (28, 28)) > 0.99
    wide = built(SpectralConv2D, (28, 28), 1, 16, kernel_initializer="glorot_uniform")
    assert norm(wide, (28, 28)) > 0.999  # wide kernels attain it
    whole = built(FrobeniusConv2D, (28, 28), 1, 1, kernel_initializer="ones")
    assert norm(whole, (28, 28)) > 0.99
    unfold = built(SpectralConv2DTranspose, (4, 4), 4, 1, kernel_size=2, strides=2)
    np.testing.assert_allclose(np.linalg.svd(operator(unfold, (4, 4)), compute_uv=False), 1, atol=1e-3)


@pytest.mark.parametrize("cls", [SpectralConv2D, SpectralConv2DTranspose, SpectralConv1D])
def test_the_kernels_matrix_has_all_its_singular_values_at_k(cls):
    sizes = (6,) if cls is SpectralConv1D else (6, 6)
    layer = built(cls, sizes, channels=3, filters=4, k_coef_lip=2.0)
    shape = layer.kernel.shape
    values = np.linspace(0.1, 1, min(int(np.prod(shape[:-1])), shape[-1]))
    layer.kernel.assign(with_spectrum((int(np.prod(shape[:-1])), shape[-1]), values).reshape(shape))
    layer.refresh()
    np.testing.assert_allclose(singular_values(layer.wbar), 2 * layer.coef_lip, rtol=1e-3)


# --- the tight bound ---

TIGHT = (*TWO_D, SpectralConv1D)


def set_kernel(layer, kind, scale=1.0, seed=0):
    shape = layer.kernel.shape
    flat = make_kernel(kind, (int(np.prod(shape[:-1])), shape[-1]), scale, seed)
    layer.kernel.assign(flat.reshape(shape))
    layer.refresh()


@pytest.mark.slow
@settings(max_examples=examples(10))
@given(
    st.sampled_from(TWO_D),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.sampled_from([(1, 1), (3, 3), (2, 4), (5, 1)]),
    st.sampled_from([(1, 1), (2, 2), (1, 3)]),
    st.sampled_from(["same", "valid"]),
    st.sampled_from([(1, 1), (1, 4), (3, 2)]),
    settings_of_spectral,
    st.tuples(st.sampled_from(KINDS), st.integers(-12, 12), st.integers(0, 99)),
    st.integers(0, 3),
    st.sampled_from([0, 400]),
)
def test_no_kernel_exceeds_k_with_the_tight_bound(
    cls, sizes, kernel_size, strides, padding, channels, further, kind, less, sites
):
    with mock.patch.object(fourier, "_SECTION_SITES", sites):  # by circulants alone, or by a section
        check_tight(cls, sizes, kernel_size, strides, padding, channels, further, kind, less)


def check_tight(cls, sizes, kernel_size, strides, padding, channels, further, kind, less):
    if padding == "valid" and cls is not SpectralConv2DTranspose:
        sizes = tuple(map(max, sizes, kernel_size))
    if cls is FrobeniusConv2D:
        further = {name: value for name, value in further.items() if name == "k_coef_lip"}
    layer = built(cls, sizes, *channels, kernel_size, strides=strides, padding=padding, bound="tight", **further)
    set_kernel(layer, kind[0], 10.0 ** kind[1], kind[2])
    assert np.isfinite(np.asarray(layer.wbar)).all()
    assert norm(layer, sizes) <= layer.k_coef_lip * (1 + ROUNDING)
    # What a training step uses is what inference uses, and what holds for an image holds for smaller ones.
    step = layer.parametrization.constrain(layer.kernel)[0]
    np.testing.assert_allclose(step, layer.wbar, rtol=1e-5, atol=1e-6 * layer.k_coef_lip)
    least = kernel_size if padding == "valid" and cls is not SpectralConv2DTranspose else (1, 1)
    smaller = tuple(max(n - less, m) for n, m in zip(sizes, least, strict=True))
    assert norm(layer, smaller) <= layer.k_coef_lip * (1 + ROUNDING)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("cls", "sizes", "kernel_size", "strides", "channels", "least"),
    [
        (SpectralConv2D, (9, 9), 3, 1, (3, 4), 0.97),
        (SpectralConv2D, (10, 9), 3, 2, (3, 4), 0.97),
        (SpectralConv2D, (10, 9), (5, 2), (1, 2), (3, 2), 0.96),
        (SpectralConv2DTranspose, (5, 6), 3, 2, (4, 3), 0.97),
        (SpectralConv1D, (40,), 5, 1, (4, 4), 0.97),
        (FrobeniusConv2D, (9, 9), 3, 1, (3, 4), 0.97),
    ],
)
def test_how_tight_the_tight_bound_is(cls, sizes, kernel_size, strides, channels, least):
    for seed, k in enumerate((1.0, 0.3)):
        found = []
        for bound in ("coverage", "tight"):
            layer = built(cls, sizes, *channels, kernel_size, strides=strides, bound=bound, k_coef_lip=k)
            set_kernel(layer, "gaussian", seed=seed)
            found.append(norm(layer, sizes) / k)
        assert found[0] <= found[1]
        assert least < found[1] <= 1
        assert layer.is_sound
        assert layer.coef_lip == 1


@pytest.mark.slow
def test_the_tight_bound_is_no_looser_than_coverage_where_that_is_attained():
    for channels, kernel_size, sizes in (((1, 16), 3, (12, 12)), ((2, 3), 5, (2, 3)), ((4, 3), 1, (6, 5))):
        layer = built(SpectralConv2D, sizes, *channels, kernel_size, bound="tight")
        reference = built(SpectralConv2D, sizes, *channels, kernel_size)
        for some in (layer, reference):
            set_kernel(some, "gaussian")
        assert norm(layer, sizes) >= norm(reference, sizes) * (1 - 1e-4)


@pytest.mark.parametrize("cls", TIGHT)
def test_the_tight_bound_needs_a_size_and_holds_up_to_it(cls):
    sizes = (6,) if cls is SpectralConv1D else (6, 5)
    with pytest.raises(ValueError, match=r"'tight', which needs the size of the image.*\(None"):
        built(cls, (None, *sizes[1:]), bound="tight")
    layer = built(cls, sizes, bound="tight")
    assert np.isfinite(np.array(layer(np.ones((1, *sizes[:-1], sizes[-1] - 2, 2))))).all()
    with pytest.raises(ValueError, match=r"bound='tight', which holds up to the size \d"):
        layer(np.ones((1, *sizes[:-1], 9, 2)))
    with pytest.raises(ValueError, match="bound='coverage', and it takes all of them"):
        keras.Sequential([keras.Input((*sizes[:-1], None, 2)), layer])


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("arguments", "dtype", "how"),
    [
        pytest.param({}, "float32", {"jit_compile": True}, marks=pytest.mark.nightly),  # XLA takes seconds
        ({"eps_bjorck": None}, "float64", {}),
        pytest.param({"strides": 2, "kernel_size": 4}, "float32", {"run_eagerly": True}, marks=pytest.mark.nightly),
    ],
)
def test_the_tight_bound_survives_training(arguments, dtype, how):
    sizes = (6, 7)
    layers = [SpectralConv2D(**{"filters": 4, "kernel_size": 3, "bound": "tight", "dtype": dtype, **arguments})]
    if "jit_compile" not in how:
        layers.append(SpectralConv2DTranspose(3, 2, strides=2, bound="tight", dtype=dtype))
    model = Sequential([keras.Input((*sizes, 2), dtype=dtype), *layers])
    model.compile(keras.optimizers.SGD(1.0), "mae", **how)
    x = RNG.standard_normal((20, *sizes, 2))
    model.fit(x, RNG.standard_normal((20, *model.output_shape[1:])), batch_size=4, epochs=2, verbose=0)
    for layer in layers:
        for _ in range(2):
            assert norm(layer, layer.get_build_config()["input_shape"][1:3]) <= layer.k_coef_lip * (1 + ROUNDING)
            layer.condense()


@pytest.mark.slow
def test_the_tight_bound_survives_saving_and_export(tmp_path):
    layer = SpectralConv2D(4, 3, bound="tight", activation=MaxMin())
    model = Sequential([keras.Input((7, 6, 2)), layer, keras.layers.Flatten()])
    model.compile("adam", "mae", run_eagerly=True)
    x = RNG.standard_normal((8, 7, 6, 2)).astype("float32")
    model.fit(x, RNG.standard_normal((8, *model.output_shape[1:])), verbose=0)
    want = predicted(model, x)
    loaded = copied(model, tmp_path)
    assert loaded.layers[0].bound == "tight"
    np.testing.assert_array_equal(predicted(loaded, x), want)
    loaded.layers[0].refresh()
    np.testing.assert_allclose(loaded.layers[0].wbar, layer.wbar, atol=1e-6)
    np.testing.assert_allclose(predicted(vanillaModel(model), x), want, rtol=1e-5, atol=1e-5)


def test_a_kernel_of_nan_leaves_the_tight_kernel_as_it_was():
    layer = built(SpectralConv2D, bound="tight")
    before = np.array(keras.ops.convert_to_numpy(layer.wbar))
    layer.kernel.assign(np.full(layer.kernel.shape, np.nan))
    assert np.isnan(np.array(layer(np.ones((1, 6, 5, 2)), training=True))).all()
    np.testing.assert_array_equal(layer.wbar, before)
    with pytest.raises(ValueError, match="finite"):
        layer.refresh()


@pytest.mark.covered_by_day
@pytest.mark.parametrize(
    ("kernel_shape", "sizes", "strides", "transposed"),
    [
        ((3, 3, 2, 3), (8, 7), (1, 1), False),
        ((3, 2, 3, 1), (6, 6), (2, 1), False),
        ((3, 3, 2, 4), (5, 4), (2, 2), True),
    ],
)
@pytest.mark.parametrize("sites", [0, 400])
def test_the_tight_bound_has_the_gradient_of_the_norm(kernel_shape, sizes, strides, transposed, sites, monkeypatch):
    monkeypatch.setattr(fourier, "_SECTION_SITES", sites)
    bounds = FourierBound(kernel_shape[:2], sizes, strides, "same", transposed)
    kernel = with_spectrum((int(np.prod(kernel_shape[:-1])), kernel_shape[-1]), np.ones(kernel_shape[-1]))
    kernel = (kernel / 2).reshape(kernel_shape)  # coverage has no say
    weights = RNG.standard_normal(kernel_shape)
    margin = float(bounds.unit(tensor(kernel, "float64"))[0, 0, 0, 0]) * bounds.exact(kernel) / kernel[0, 0, 0, 0]

    def unit(w):  # as the layer uses it, in NumPy
        return np.sum(weights * w) * margin / bounds.exact(w)

    assert margin == pytest.approx(1, abs=1e-6)
    with float64_scope():
        for function, expected in (
            (bounds.bound, bounds.exact),
            (lambda w: keras.ops.sum(tensor(weights, "float64") * bounds.unit(w)), unit),
        ):
            slope = gradient(function, tensor(kernel, "float64"))
            np.testing.assert_allclose(slope, finite_differences(expected, kernel), atol=1e-5)


@pytest.mark.parametrize("sites", [0, 400])
def test_the_bound_in_keras_ops_is_that_in_numpy(sites, monkeypatch):
    monkeypatch.setattr(fourier, "_SECTION_SITES", sites)
    for shape, sizes, strides in (
        ((3, 3, 5, 4), (9, 9), (1, 1)),
        ((4, 3, 2, 9), (30, 6), (1, 2)),
        ((5, 2, 2), (9,), (1,)),
    ):
        bounds = FourierBound(shape[:-2], sizes, strides, "same")
        kernel = make_kernel("gaussian", (int(np.prod(shape[:-1])), shape[-1])).reshape(shape)
        kernel /= np.linalg.norm(kernel)
        found = float(bounds.bound(keras.ops.convert_to_tensor(kernel, dtype="float32")))
        np.testing.assert_allclose(found, bounds.exact(kernel), rtol=1e-3)
        assert found > bounds.exact(kernel) * (1 - 1e-6)


# --- sizes ---


@two_d
def test_a_factor_for_small_images_refuses_larger_ones(cls):
    small = built(cls, (3, 3), kernel_size=5, padding="same")
    anywhere = built(cls, (None, None), kernel_size=5)
    assert anywhere.coef_lip == pytest.approx(1 / 5)
    if small.coef_lip == anywhere.coef_lip:
        pytest.fail("no patch is cut off, so this tests nothing")
    assert norm(small, (3, 3)) <= 1
    assert np.isfinite(np.array(small(np.ones((1, 3, 3, 2))))).all()
    assert np.isfinite(np.array(small(np.ones((1, 2, 3, 2))))).all()
    with pytest.raises(ValueError, match=r"holds up to the size 3. Received an input of shape \(1, 8, 3, 2\)"):
        small(np.ones((1, 8, 3, 2)))
    with pytest.raises(ValueError, match="Build it with None"):
        keras.Sequential([keras.Input((None, 3, 2)), small])
    assert np.isfinite(np.array(anywhere(np.ones((1, 8, 3, 2))))).all()


def test_a_layer_built_for_an_image_larger_than_its_kernel_takes_every_size():
    layer = built(SpectralConv2D, (8, 8))
    assert layer.coef_lip == pytest.approx(1 / 3)
    for n in (1, 2, 9, 20):
        assert norm(layer, (n, n)) <= 1
        assert layer(np.ones((1, n, n, 2)), training=False).shape == (1, n, n, 3)


# --- the reference's factor ---


@pytest.mark.parametrize(("n", "kernel_size"), [(28, 3), (8, 3), (4, 3), (8, 5), (8, 7)])
def test_the_references_factor_is_no_bound_and_says_so(n, kernel_size):
    layer = built(SpectralConv2D, (n, n), 1, kernel_size**2, kernel_size=kernel_size, bound="unsound_average")
    # The kernel's matrix is orthogonal: AᵀA is diagonal, and has the number of patches on each entry over their mean.
    patches = convolution_matrix(np.ones((kernel_size, 1, 1)), (n,), (1,), "same").sum(axis=0)
    excess = patches.max() / patches.mean()  # of an axis; squared for two, and the root of that for the norm
    assert excess > 1.02
    assert excess * (1 - 1e-3) <= norm(layer, (n, n)) <= excess * (1 + 1e-6)
    assert not layer.is_sound
    assert built(SpectralConv2D).is_sound
    clone = SpectralConv2D.from_config(layer.get_config())
    assert not clone.is_sound
    with pytest.warns(UserWarning, match=f"'{clone.name}' has the factor bound='unsound_average'"):
        Sequential([keras.Input((n, n, 1)), clone])
    with pytest.raises(ValueError, match="needs the size of the image"):
        built(SpectralConv2D, (None, 8), bound="unsound_average")


# --- a layer's life ---


SIZES = [(7, 6), (7, 6), (4, 3), (8, 6)]


def network(**arguments):
    return Sequential(
        [
            keras.Input((7, 6, 2)),
            SpectralConv2D(4, 3, activation=GroupSort2(), **arguments),
            SpectralConv2D(6, 2, strides=2, **arguments),
            SpectralConv2DTranspose(2, 3, strides=2, activation=MaxMin(), **arguments),
            FrobeniusConv2D(4, 3, padding="valid"),
            keras.layers.Flatten(),
            SpectralDense(2),
        ],
        k_coef_lip=2.0,
    )


def copied(model, folder):
    """What a file makes of a model."""
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def assert_bound(model):
    convolutions = [layer for layer in model.layers if hasattr(layer, "strides")]
    for layer, sizes in zip(convolutions, SIZES, strict=True):
        assert norm(layer, sizes) <= layer.k_coef_lip == pytest.approx(2 ** (1 / 5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "arguments", "eager"),
    [("adam", {}, False), pytest.param("sgd", {"eps_bjorck": None}, True, marks=pytest.mark.nightly)],
)
def test_the_bound_survives_training_saving_and_export(optimizer, arguments, eager, tmp_path):
    model = network(**arguments)
    rate = keras.optimizers.Adam(1e-1) if optimizer == "adam" else keras.optimizers.SGD(10.0)
    model.compile(rate, "mae", run_eagerly=eager)
    x, y = RNG.standard_normal((32, 7, 6, 2)), RNG.standard_normal((32, 2))
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    assert_bound(model)
    want = predicted(model, x)

    loaded = copied(model, tmp_path)
    np.testing.assert_array_equal(predicted(loaded, x), want)
    assert_bound(loaded)

    plain = vanillaModel(model)
    assert [type(layer).__name__ for layer in plain.layers[:4]] == ["Conv2D", "Conv2D", "Sequential", "Conv2D"]
    reloaded = copied(plain, tmp_path)
    np.testing.assert_array_equal(predicted(reloaded, x), predicted(plain, x))
    np.testing.assert_allclose(predicted(plain, x), want, rtol=1e-6, atol=1e-6)

    model.condense()
    assert_bound(model)
    np.testing.assert_allclose(predicted(model, x), want, atol=1e-4)


@pytest.mark.parametrize("cls", [*TWO_D, SpectralConv1D])
def test_channels_first_is_the_same_transposed(cls):
    sizes = (6,) if cls is SpectralConv1D else (6, 5)
    last = built(cls, sizes, activation=GroupSort2(), filters=4)
    first = cls(4, 3, data_format="channels_first", activation=GroupSort2(data_format="channels_first"))
    first.build((None, 2, *sizes))
    last.bias.assign(RNG.standard_normal(4))
    first.set_weights(last.get_weights())
    x = RNG.standard_normal((2, *sizes, 2)).astype("float32")
    got = np.moveaxis(np.array(first(np.moveaxis(x, -1, 1), training=False)), 1, -1)
    np.testing.assert_allclose(got, last(x, training=False), atol=1e-5)
    assert first.coef_lip == last.coef_lip


# --- bad arguments ---


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (SpectralConv2D, {"padding": "reflect"}, "padding"),
        (SpectralConv1D, {"padding": "causal"}, "padding='same' or 'valid' only. Received: 'causal'"),
        (SpectralConv2D, {"dilation_rate": 2}, r"dilation_rate=\(1, 1\) only"),
        (SpectralConv2D, {"groups": 3}, "groups=1 only. Received: 3"),
        (SpectralConv2DTranspose, {"output_padding": 0}, "output_padding=None only"),
        (SpectralConv2D, {"bound": "averaged"}, "'coverage', 'tight', 'unsound_average'"),
        (SpectralConv2DTranspose, {"bound": "unsound_average"}, r"must be one of \('coverage', 'tight'\)"),
        (SpectralConv2D, {"kernel_size": 0}, "kernel_size"),
        (FrobeniusConv2D, {"eps_bjorck": None}, "eps_bjorck"),
        (SpectralConv2D, {"k_coef_lip": -1}, "k_coef_lip"),
    ],
)
def test_bad_arguments_are_refused_at_construction(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**{"filters": 3, "kernel_size": 3, **arguments})


# --- names ---


@two_d
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_convolution_has_the_name_that_keras_gives_it(cls, data_format):
    layer = cls(2, 3, data_format=data_format)
    shape = (5, 4, 2) if data_format == "channels_last" else (2, 5, 4)
    layer.build((None, *shape))
    x = tensor(RNG.standard_normal((1, *shape)), "float32")
    images = layer.convolution_op(x, layer.wbar)
    np.testing.assert_array_equal(images, layer.linear(x, layer.wbar))
    last = x if data_format == "channels_last" else keras.ops.moveaxis(x, 1, -1)
    with pytest.warns(DeprecationWarning, match="use `convolution_op`") as found:
        old = layer.convolve(last, layer.wbar)
    assert [warning.filename for warning in found] == [__file__]
    np.testing.assert_array_equal(images, old if data_format == "channels_last" else keras.ops.moveaxis(old, -1, 1))


def test_a_subclass_may_override_the_convolution_by_its_old_name():
    with pytest.warns(DeprecationWarning, match=r"`Twice\.convolve` .* use `Twice\.convolution_op`"):

        class Twice(SpectralConv2D):
            def convolve(self, inputs, kernel):
                return 2 * keras.ops.conv(inputs, kernel, padding="same", data_format="channels_last")

    layers = [built(cls, data_format="channels_first", sizes=(2, 5), channels=4) for cls in (Twice, SpectralConv2D)]
    layers[1].set_weights(layers[0].get_weights())
    x = tensor(RNG.standard_normal((1, 2, 5, 4)), "float32")
    np.testing.assert_allclose(layers[0](x), 2 * np.asarray(layers[1](x)), rtol=1e-6)
