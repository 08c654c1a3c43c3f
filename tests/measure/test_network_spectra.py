import keras
import numpy as np
import pytest

import lipviz
from lipviz import layers, measure, operators
from lipviz import normalizers as nm
from lipviz.measure.network_spectra import jacobian_singular_values, operator_spectra
from tests.support import convolution_matrix
from tests.support import singular_values as sigma

RNG = np.random.default_rng(0)


EINSUM = keras.layers.EinsumDense("abc,cd->abd", (3, 4))
PLAIN = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])


def built(layer, *shape):
    keras.utils.set_random_seed(1)
    layer.build((None, *shape))
    return layer


def with_kernel(layer, *shape, scale=3.0):
    """A constrained layer whose raw kernel is random, not orthogonal as it is from the start."""
    built(layer, *shape)
    layer.kernel.assign(scale * RNG.standard_normal(layer.kernel.shape))
    layer.refresh()
    return layer


def of_matrix(kernel, sizes, strides, padding="same", transposed=False):
    return np.linalg.svd(convolution_matrix(kernel, sizes, strides, padding, transposed), compute_uv=False)


# --- layers ---


@pytest.mark.parametrize("bound", ["coverage", "tight"])
@pytest.mark.parametrize("eps_bjorck", [1e-3, None])
def test_a_convolution_before_between_and_after(bound, eps_bjorck):
    layer = with_kernel(layers.SpectralConv2D(3, 3, bound=bound, k_coef_lip=2.0, eps_bjorck=eps_bjorck), 5, 4, 2)
    data = operator_spectra(layer)
    assert (data.view, data.shape, data.k) == ("operator", (60, 40), 2.0)
    raw = of_matrix(layer.kernel, (5, 4), (1, 1))
    used = of_matrix(layer.wbar, (5, 4), (1, 1))
    np.testing.assert_allclose(data.raw, raw, rtol=1e-9)
    np.testing.assert_allclose(data.constrained, used, rtol=1e-9)
    assert data.largest <= 2
    # Normalization divides by one number, and is all there is without Björck.
    factor = data.normalized / data.raw
    np.testing.assert_allclose(factor, factor[0], rtol=1e-12)
    assert data.normalized[0] <= 2
    if eps_bjorck is None:
        # Entries of the kernel in use are rounded to float32 three times, and the largest σ by less than a few of that.
        np.testing.assert_allclose(data.normalized, data.constrained, rtol=0, atol=16 * 2.0**-24 * data.largest)


@pytest.mark.parametrize(
    ("layer", "shape", "geometry"),
    [
        (layers.SpectralConv2D(3, 3, strides=2), (5, 6, 2), ((5, 6), (2, 2), "same")),
        (layers.SpectralConv2D(2, 2, padding="valid"), (4, 5, 3), ((4, 5), (1, 1), "valid")),
        (layers.FrobeniusConv2D(3, 3), (4, 4, 2), ((4, 4), (1, 1), "same")),
        (layers.SpectralConv1D(3, 3), (7, 2), ((7,), (1,), "same")),
        (layers.SpectralConv2DTranspose(2, 3, strides=2, padding="same"), (3, 3, 2), ((3, 3), (2, 2), "same", True)),
    ],
    ids=["strided", "valid", "Frobenius", "1D", "transposed"],
)
def test_constrained_convolutions_have_the_spectrum_of_their_matrix(layer, shape, geometry):
    data = operator_spectra(with_kernel(layer, *shape))
    np.testing.assert_allclose(data.raw, of_matrix(layer.kernel, *geometry), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(data.constrained, of_matrix(layer.wbar, *geometry), rtol=1e-9, atol=1e-9)
    assert (data.normalized is None) == isinstance(layer, layers.FrobeniusConv2D)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_a_dense_layer_has_the_spectrum_of_its_kernel(shape):
    layer = with_kernel(layers.SpectralDense(shape[1], k_coef_lip=0.5), shape[0])
    data, kernel = operator_spectra(layer), measure.singular_values(layer)
    for stage in ("raw", "normalized", "constrained"):
        np.testing.assert_allclose(getattr(data, stage), getattr(kernel, stage), rtol=1e-6)
    assert data.shape == shape[::-1]
    again = operator_spectra(with_kernel(layers.SpectralDense(shape[1]), 3, shape[0]))
    np.testing.assert_allclose(again.constrained, 1, atol=1e-3)  # once for each of three places
    assert again.raw.shape == (3 * min(shape),)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.Dense(3), (4,)),
        (keras.layers.Dense(3), (2, 4)),
        (keras.layers.Conv1D(3, 3, padding="causal", dilation_rate=2), (7, 2)),
        (keras.layers.Conv2D(4, 2, groups=2), (4, 5, 2)),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), (4, 4, 2)),
        (keras.layers.SeparableConv2D(3, 2), (4, 3, 2)),
        (keras.layers.Conv2DTranspose(2, 3, strides=2), (3, 3, 2)),
        (layers.PadConv2D(2, 3, padding="circular"), (4, 4, 2)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else "",
)
def test_a_plain_layer_has_the_spectrum_of_what_it_computes(layer, shape):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), layer])
    data = operator_spectra(layer)
    units = np.eye(np.prod(shape)).reshape(-1, *shape)
    zero = np.asarray(keras.ops.convert_to_numpy(layer(np.zeros((1, *shape), "float32"))))
    images = np.asarray(keras.ops.convert_to_numpy(layer(units.astype("float32")))) - zero
    want = np.linalg.svd(images.reshape(len(units), -1), compute_uv=False)
    np.testing.assert_allclose(data.raw, want, atol=1e-5 * want[0])
    assert data.shape == (images[0].size, len(units))
    assert data.normalized is data.constrained is None
    assert data.k == 1
    network = operator_spectra(model)
    assert isinstance(network, measure.NetworkSpectrum)
    np.testing.assert_array_equal(network[0].raw, data.raw)


def test_a_constrained_layer_of_ones_own():
    class Twice(layers.SpectralDense):
        def linear(self, inputs, kernel):
            return 2 * super().linear(inputs, kernel)

    layer = with_kernel(Twice(3), 4)
    data = operator_spectra(layer)
    np.testing.assert_allclose(data.raw, 2 * sigma(layer.kernel), rtol=1e-6)
    np.testing.assert_allclose(data.constrained, 2 * sigma(layer.wbar), rtol=1e-6)
    np.testing.assert_allclose(data.normalized / data.raw, data.normalized[0] / data.raw[0], rtol=1e-12)


def test_a_zero_kernel():
    layer = built(layers.SpectralConv2D(2, 3), 3, 3, 1)
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    layer.refresh()
    data = operator_spectra(layer)
    for stage in (data.raw, data.normalized, data.constrained):
        np.testing.assert_array_equal(stage, np.zeros(9))
        with pytest.raises(ValueError, match="read-only"):
            stage[0] = 1


# --- networks ---


def convolutional(size=6):
    return lipviz.Sequential(
        [
            keras.Input((size, size, 1)),
            layers.SpectralConv2D(2, 3, name="first"),
            layers.ScaledAveragePooling2D(2),
            layers.SpectralConv2D(3, 3, name="second"),
            layers.ScaledGlobalAveragePooling2D(),
            layers.SpectralDense(2, name="last"),
        ],
        name="images",
    )


def test_a_network_has_the_operators_of_its_layers():
    model = convolutional()
    data = operator_spectra(model)
    assert (data.name, [layer.name for layer in data]) == ("images", ["first", "second", "last"])
    assert [layer.shape for layer in data] == [(72, 36), (27, 18), (2, 3)]
    for spectrum in data:
        want = sigma(operators.explicit_matrix(operators.linear_operator(model.get_layer(spectrum.name))))
        np.testing.assert_allclose(spectrum.constrained, want, atol=1e-9)
    assert data.largest <= 1


def test_sizes_that_are_not_known_are_asked_for():
    model = convolutional(None)
    with pytest.raises(ValueError, match=r"first.*not known"):
        operator_spectra(model)
    data = operator_spectra(model, input_shape=(4, 6, 1))
    assert [layer.shape for layer in data] == [(48, 24), (18, 12), (2, 3)]
    np.testing.assert_allclose(data["first"].raw, of_matrix(model.layers[0].kernel, (4, 6), (1, 1)), rtol=1e-9)
    for shape in ((None, 6, 1), (4, 6, 2), "small", (4, 0, 1)):
        with pytest.raises(ValueError, match="input_shape"):
            operator_spectra(model, input_shape=shape)


def test_large_images_are_refused_or_cropped():
    model = keras.Sequential(
        [keras.Input((64, 64, 2)), keras.layers.Conv2D(2, 3, name="large"), keras.layers.Flatten()]
    )
    with pytest.raises(ValueError, match=r"'large'.*2048.*largest_image"):
        operator_spectra(model)
    cropped = operator_spectra(model, largest_image=7)
    np.testing.assert_allclose(cropped[0].raw, of_matrix(model.layers[0].kernel, (7, 7), (1, 1), "valid"), rtol=1e-9)
    # A crop is a part of the whole.
    assert cropped[0].largest <= operators.convolution_bound(operators.linear_operator(model.layers[0])).upper
    small = convolutional()
    np.testing.assert_array_equal(operator_spectra(small, largest_image=9)[0].raw, operator_spectra(small)[0].raw)
    first = built(layers.SpectralConv2D(2, 3, data_format="channels_first"), 1, 9, 5)
    assert operator_spectra(first, largest_image=4).shape == (32, 16)


@pytest.mark.parametrize(
    ("target", "arguments", "error", "words"),
    [
        (np.eye(2), {}, TypeError, "ndarray"),
        (keras.layers.Dense(2), {}, ValueError, "built"),
        (keras.Sequential([keras.Input((2,)), keras.layers.ReLU()]), {}, ValueError, "no kernel"),
        (keras.Sequential([keras.Input((3, 2)), EINSUM]), {}, TypeError, "linear"),
        (PLAIN, {"largest_image": 0}, ValueError, "largest_image"),
        (PLAIN, {"largest_image": 2.5}, ValueError, "largest_image"),
    ],
)
def test_bad_input_is_named(target, arguments, error, words):
    with pytest.raises(error, match=words):
        operator_spectra(target, **arguments)


def test_a_kernel_that_is_not_finite_is_named():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="broken")])
    model.layers[0].kernel.assign(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="broken"):
        operator_spectra(model)


# --- Jacobians ---


def test_the_jacobian_of_a_linear_network_is_a_product():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3, 2)), keras.layers.Flatten(), keras.layers.Dense(5), keras.layers.Dense(4)]
    )
    w = np.asarray(model.layers[1].kernel, np.float64) @ np.asarray(model.layers[2].kernel, np.float64)
    data = jacobian_singular_values(model, RNG.standard_normal((3, 3, 2)))
    assert (data.name, data.shape, len(data)) == (model.name, (4, 6), 3)
    np.testing.assert_allclose(data.values, np.tile(sigma(w), (3, 1)), rtol=1e-12)
    np.testing.assert_array_equal(data.largest, data.values[:, 0])
    np.testing.assert_array_equal(data.smallest, data.values[:, 3])


def test_a_network_that_keeps_gradients_and_one_that_does_not():
    def network(activation):
        layer = keras.layers.Dense(8, kernel_initializer="orthogonal")
        return keras.Sequential([keras.Input((8,)), layer, activation(), layer, activation()])

    x = RNG.standard_normal((6, 8))
    kept = jacobian_singular_values(network(layers.GroupSort2), x)
    np.testing.assert_allclose(kept.values, 1, atol=1e-5)
    model = network(keras.layers.ReLU)
    lost = jacobian_singular_values(model, x)
    assert (lost.smallest < 1e-6).all()
    np.testing.assert_allclose(lost.largest, operators.jacobian_norms(model, x), rtol=1e-9)
    np.testing.assert_array_equal(lost.quantile([0, 1]), [lost.values.min(0), lost.values.max(0)])


def test_a_jacobian_needs_a_model_and_samples_that_fit():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    for arguments, error, words in [
        ((model.layers[0], np.ones((1, 2))), TypeError, "Keras model"),
        ((model, np.ones((1, 3))), ValueError, r"\(n, 2\)"),
        ((model, np.ones((0, 2))), ValueError, "at least one"),
        ((model, [[np.nan, 1]]), ValueError, "1 of 2"),
    ]:
        with pytest.raises(error, match=words):
            jacobian_singular_values(*arguments)


def test_normalized_is_what_a_layer_starts_björck_from():
    layer = with_kernel(layers.SpectralConv2D(3, 2), 4, 4, 2)
    p = layer.parametrization
    w = keras.ops.reshape(layer.kernel, (-1, 3))
    start = nm.sound_normalization(w, keras.ops.convert_to_tensor(p.u), p.eps_spectral, p.maxiter_spectral, 3)[0]
    kernel = p.coef_lip * np.asarray(start, np.float64).reshape(layer.kernel.shape)
    np.testing.assert_allclose(operator_spectra(layer).normalized, of_matrix(kernel, (4, 4), (1, 1)), rtol=1e-5)
