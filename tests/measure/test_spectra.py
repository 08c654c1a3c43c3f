import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lipviz
from lipviz import layers, measure, operators

finite = st.floats(-1e12, 1e12, allow_subnormal=False)


def dense(kernel, **settings):
    """A SpectralDense whose raw kernel is the given one."""
    kernel = np.asarray(kernel, "float32")
    layer = layers.SpectralDense(kernel.shape[1], **settings)
    layer.build((None, kernel.shape[0]))
    layer.kernel.assign(kernel)
    layer.refresh()
    return layer


# --- a matrix ---


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=finite))
def test_a_matrix_has_the_singular_values_of_its_eigenvalues(w):
    spectrum = measure.singular_values(w)
    assert spectrum.raw.shape == (min(w.shape),)
    assert (np.diff(spectrum.raw) <= 0).all()
    scale = np.abs(w).max() or 1
    gram = (w / scale) @ (w / scale).T if w.shape[0] <= w.shape[1] else (w / scale).T @ (w / scale)
    # Not the roots of the Gram matrix's eigenvalues, which are exact to 1e-7 only: ±σ are those of [[0, W], [Wᵀ, 0]].
    rows, columns = w.shape
    twofold = np.block([[np.zeros((rows, rows)), w / scale], [w.T / scale, np.zeros((columns, columns))]])
    expected = np.linalg.eigvalsh(twofold)[::-1][: min(w.shape)]
    np.testing.assert_allclose(spectrum.raw / scale, expected, atol=1e-13)
    np.testing.assert_allclose(
        spectrum.orthogonality_error, np.linalg.norm(np.eye(len(gram)) - scale**2 * gram), rtol=1e-9
    )


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_known_spectra(scale):
    np.testing.assert_allclose(measure.singular_values(scale * np.diag([3.0, 1, 2])).raw, scale * np.array([3, 2, 1.0]))
    rank_one = measure.singular_values(scale * np.outer([3.0, 4], [0.0, 1, 0]))
    np.testing.assert_allclose(rank_one.raw, [5 * scale, 0], atol=1e-15 * scale)
    assert measure.singular_values(np.zeros((2, 3))).largest == 0


def test_what_a_spectrum_of_a_matrix_says():
    spectrum = measure.singular_values([[2.0, 0], [0, 0.5]])
    assert (spectrum.name, spectrum.shape, spectrum.k, spectrum.view) == ("matrix", (2, 2), 1.0, "matrix")
    assert spectrum.normalized is None
    assert spectrum.constrained is None
    assert spectrum.used is spectrum.raw
    assert (spectrum.largest, spectrum.smallest) == (2.0, 0.5)
    assert spectrum.orthogonality_error == pytest.approx(np.hypot(3, 0.75))
    assert spectrum.orthogonality_error_spectral == 3.0


def test_a_measurement_is_frozen():
    spectrum = measure.singular_values(np.eye(2))
    with pytest.raises(AttributeError):
        spectrum.k = 2.0
    with pytest.raises(ValueError, match="read-only"):
        spectrum.raw[0] = 2.0


# --- a layer ---


@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (9, 4), (4, 9)])
@pytest.mark.parametrize("k", [1.0, 0.25])
def test_a_layer_before_between_and_after(shape, k):
    kernel = 7 * operators.random_kernel(*shape, 0.2)
    layer = dense(kernel, k_coef_lip=k)
    spectrum = measure.singular_values(layer)
    np.testing.assert_allclose(spectrum.raw, np.linalg.svd(kernel, compute_uv=False), rtol=1e-6)
    # Normalization divides by one number, between σ1 and what the bound may be off by.
    factor = spectrum.raw / spectrum.normalized * k
    np.testing.assert_allclose(factor, factor[0], rtol=1e-5)
    assert 1 - 1e-6 <= factor[0] / spectrum.raw[0] < 1.5
    np.testing.assert_array_equal(spectrum.constrained, np.linalg.svd(np.asarray(layer.wbar, float), compute_uv=False))
    assert k * (1 - 1e-3) < spectrum.smallest <= spectrum.largest <= k * (1 + 1e-6)
    assert spectrum.orthogonality_error < 1e-3
    assert spectrum.k == k


def test_without_bjorck_the_normalized_kernel_is_the_constrained_one():
    spectrum = measure.singular_values(dense(np.diag([4.0, 2, 1]), eps_bjorck=None))
    np.testing.assert_allclose(spectrum.normalized, spectrum.constrained, rtol=1e-6)
    np.testing.assert_allclose(spectrum.normalized, [1, 0.5, 0.25], rtol=1e-3)


def test_measuring_changes_nothing():
    layer = dense(operators.random_kernel(5, 5, 1e-3), maxiter_spectral=1)
    before = layer.get_weights()
    measure.singular_values(layer)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_inference_uses_is_measured_and_nothing_is_stored():
    layer = dense(np.eye(3))
    before = np.asarray(layer.wbar)
    layer.kernel.assign(np.diag([1.0, 1, 1e-9]).astype("float32"))
    spectrum = measure.singular_values(layer)
    assert spectrum.raw[-1] < 1e-8
    assert spectrum.smallest < 1e-5  # a new kernel, whose smallest value Björck's iteration hardly moves
    np.testing.assert_array_equal(layer.wbar, before)


def test_a_layer_without_bjorck_or_without_constraint():
    layer = layers.FrobeniusDense(3)
    layer.build((None, 4))
    assert measure.singular_values(layer).normalized is None
    assert measure.singular_values(layer).constrained is not None
    plain = keras.layers.Dense(3)
    plain.build((None, 4))
    spectrum = measure.singular_values(plain)
    assert spectrum.constrained is None
    np.testing.assert_array_equal(spectrum.used, np.linalg.svd(np.asarray(plain.kernel, float), compute_uv=False))


def test_a_convolution_is_measured_as_a_reshaped_kernel():
    layer = keras.layers.Conv2D(4, 3)
    layer.build((None, 8, 8, 2))
    spectrum = measure.singular_values(layer)
    assert (spectrum.view, spectrum.shape) == ("reshaped kernel", (3, 3, 2, 4))
    expected = np.linalg.svd(np.asarray(layer.kernel, float).reshape(18, 4), compute_uv=False)
    np.testing.assert_array_equal(spectrum.raw, expected)


# --- a model ---


def network():
    return lipviz.Sequential(
        [
            keras.layers.Input((6,)),
            layers.SpectralDense(4, activation=layers.GroupSort2(), name="hidden"),
            layers.SpectralDense(2, name="last"),
        ],
        name="net",
        k_coef_lip=4.0,
    )


def test_a_model_is_a_sequence_of_its_layers():
    spectra = measure.singular_values(network())
    assert isinstance(spectra, measure.NetworkSpectrum)
    assert spectra.name == "net"
    assert [layer.name for layer in spectra] == ["hidden", "last"]
    assert len(spectra) == 2
    assert spectra["last"] is spectra[1]
    assert all(layer.k == pytest.approx(2.0) for layer in spectra)
    assert 1 - 1e-3 < spectra.largest <= 1 + 1e-6
    with pytest.raises(KeyError, match=r"'first'.*hidden, last"):
        spectra["first"]


def test_a_model_with_one_layer_is_still_a_sequence():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    assert len(measure.singular_values(model)) == 1


def test_a_wrapper_of_several_kernels_is_a_sequence():
    layer = keras.layers.Bidirectional(keras.layers.SimpleRNN(3))
    layer.build((None, 5, 2))
    assert len(measure.singular_values(layer)) == 2


# --- bad input ---


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (np.full((2, 2), np.nan), ValueError, "4 of 4 entries are NaN or Inf"),
        ([[1.0, np.inf]], ValueError, "1 of 2"),
        (np.ones(3), ValueError, r"shape: \(3,\)"),
        (np.ones((2, 2, 2)), ValueError, "2-D"),
        (np.ones((0, 3)), ValueError, "shape"),
        (np.ones((2, 2), complex), TypeError, "real numbers"),
        ("kernel", TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
        (keras.layers.Dense(3), ValueError, "built"),
        (layers.SpectralDense(3), ValueError, "built"),
        (keras.Sequential([keras.layers.Dense(3)]), ValueError, "built"),
        (keras.Sequential([keras.layers.Input((3,)), keras.layers.ReLU()]), ValueError, "no kernel"),
    ],
)
def test_what_cannot_be_measured_says_why(target, error, words):
    with pytest.raises(error, match=words):
        measure.singular_values(target)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("layer_class", [keras.layers.Dense, layers.SpectralDense])
def test_a_kernel_that_is_not_finite_is_named(layer_class, bad):
    layer = layer_class(2, name="culprit")
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2), layer])
    layer.kernel.assign(np.array([[bad, 0], [0, 1]], "float32"))
    with pytest.raises(ValueError, match=r"culprit.*1 of 4"):
        measure.singular_values(model)
