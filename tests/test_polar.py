"""The polar factor by polynomials: in NumPy's float32 against float64, and as the layers use it on TensorFlow."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import normalizers as nm
from lipviz.normalizers import polar
from tests.support import gradient, singular_values, tensor, with_spectrum

RNG = np.random.default_rng(0)
N = 100  # columns, from which on TensorFlow uses it
SHAPES = [(130, N), (N, 130)]


def factors(w):
    """U, σ and Vᵀ in float64."""
    return np.linalg.svd(np.asarray(w, np.float64), full_matrices=False)


def computed(w, start=None):
    """The `PolarFactor` of a float32 matrix, in NumPy, from the first singular vector of its smaller side."""
    is_wide = w.shape[0] < w.shape[1]
    if start is None:
        u, _, vt = factors(w)
        start = (u.T if is_wide else vt)[:1].astype("float32")
    with nm.in_numpy():
        gram = w @ w.T if is_wide else w.T @ w
        return polar.PolarFactor.of(
            w, gram, polar.largest(gram, start)[1], polar.Form.of(w), np.eye(N, dtype="float32")
        )


def spectrum(ratio, shape=SHAPES[0], scale=1.0):
    return (scale * with_spectrum(shape, np.linspace(1, 1 / ratio, min(shape)))).astype("float32")


@pytest.mark.parametrize("ratio", [1.0, 2.0, 2.7])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_near_where_singular_values_are(shape, ratio):
    w = spectrum(ratio, shape, 7.0)
    found = computed(w)
    assert found.is_near
    u, _, vt = factors(w)
    np.testing.assert_allclose(found.before, u @ vt, rtol=0, atol=1e-4)
    with nm.in_numpy():
        small = found.step(np.float32(1.0))
    result = small.T @ found.before if w.shape[0] < w.shape[1] else found.before @ small
    np.testing.assert_allclose(result, u @ vt, rtol=0, atol=2e-6)
    assert abs(singular_values(result)[0] - 1) < 2e-6
    np.testing.assert_allclose(1.1 * found.scale**2, singular_values(w)[0] ** -2, rtol=1e-5)


@pytest.mark.parametrize("ratio", [3.5, 10.0, 1e3, 1e7])
def test_it_is_not_near_where_they_are_not(ratio):
    assert not computed(spectrum(ratio)).is_near


@pytest.mark.parametrize("w", [np.zeros((130, N), "float32"), np.full((130, N), np.nan, "float32")])
def test_zeros_and_nan_are_not_near(w):
    assert not computed(w, np.ones((1, N), "float32")).is_near


def test_a_single_large_singular_value_is_seen_from_any_start():
    """A wrong estimate of λ1 makes nothing wrong: the values above the interval show in the result."""
    w = with_spectrum(SHAPES[0], [4.0, *[1.0] * (N - 1)]).astype("float32")
    assert not computed(w, factors(w)[2][1:2].astype("float32")).is_near
    assert not computed(w, np.zeros((1, N), "float32")).is_near


@pytest.mark.parametrize(("largest", "likely"), [(1.0, True), (2.0, True), (2.2, True), (3.2, False), (10.0, False)])
def test_it_is_tried_where_most_singular_values_are_not_too_small(largest, likely):
    values = np.array([largest, *[1.0] * (N - 1)]) ** 2
    with nm.in_numpy():
        assert polar.is_likely(values.sum(), values.max(), N) == likely


def test_the_polynomial_is_near_on_the_interval_and_positive_elsewhere():
    center, radius = polar._interval()
    parts = polar._coefficients().astype("float64")
    y = np.linspace(-1, 1, 5001)
    p = sum(np.polyval(row[::-1], y) * y ** (4 * i) for i, row in enumerate(parts))
    assert np.abs(np.sqrt(center + radius * y) * p - 1).max() < 5e-5
    beside = np.concatenate([np.linspace(-center / radius, -1, 1001), np.geomspace(1, 1e6, 1001)])
    p = sum(np.polyval(row[::-1], beside) * beside ** (4 * i) for i, row in enumerate(parts))
    assert (p > 0).all()  # with a negative sign, a singular value of any size could become −1


def pulled_back(w, upstream):
    """The gradient of <upstream, polar factor of w>, in float64."""
    u, s, vt = factors(w)
    inner = u.T @ upstream @ vt.T
    middle = (inner - inner.T) / np.add.outer(s, s)
    return (
        u @ middle @ vt
        + (upstream - u @ (u.T @ upstream)) @ (vt.T / s) @ vt
        + (u / s @ u.T) @ (upstream - upstream @ vt.T @ vt)
    )


@pytest.mark.parametrize("ratio", [1.0, 2.7])
def test_the_gradient_of_the_root(ratio):
    w, inner = spectrum(ratio), RNG.standard_normal((N, N)).astype("float32")
    inner += inner.T
    found = computed(w)
    with nm.in_numpy():
        root = found.root()
        got = found.pulled_back(root, inner)
    _, s, vt = factors(w)
    np.testing.assert_allclose(root, vt.T / s @ vt, rtol=0, atol=2e-6 * ratio)
    want = vt.T @ (-(vt @ inner @ vt.T) / (np.outer(s, s) * np.add.outer(s, s))) @ vt
    assert np.linalg.norm(got - want) < 1e-4 * np.linalg.norm(want)


@pytest.fixture(scope="module", params=SHAPES)
def traced(request):
    """The constraint of one shape with its gradient, as one trace: from (w, u, upstream) to results and gradient."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow uses it")
    import tensorflow as tf

    shape = request.param

    @tf.function(input_signature=[tf.TensorSpec(s) for s in (shape, (1, shape[1]), shape)], autograph=False)
    def run(w, u, upstream):
        with tf.GradientTape() as tape:
            tape.watch(w)
            out, u, sigma = nm.sound_orthogonalization(w, u, factor=2.0)
        return out, u, sigma, tape.gradient(out, w, upstream)

    return shape, lambda *arrays: [np.asarray(x, np.float64) for x in run(*map(tensor, arrays))]


@pytest.mark.covered_by_day
@pytest.mark.parametrize(("ratio", "scale"), [(2.0, 1.0), (2.7, 1e-20), (8.0, 1.0), (8.0, 1e20), (200.0, 1.0)])
def test_the_constraint_and_its_gradient(traced, ratio, scale):
    shape, run = traced
    w, upstream = spectrum(ratio, shape, scale), RNG.standard_normal(shape)
    u, _, vt = factors(w)
    out, vector, sigma, slope = run(w, vt[:1], upstream)
    assert singular_values(out)[0] <= 2
    if ratio < 30:
        np.testing.assert_allclose(out, 2 * u @ vt, rtol=0, atol=1e-5)
        want = 2 * scale * pulled_back(w, upstream)
        assert np.linalg.norm(scale * slope - want) < 1e-4 * np.linalg.norm(want)
    np.testing.assert_allclose(sigma, singular_values(w)[0], rtol=1e-5)
    assert abs(vector @ vt[0]) > 1 - 1e-5


def test_where_the_vector_starts_changes_no_result(traced):
    shape, run = traced
    w, upstream = spectrum(2.0, shape), RNG.standard_normal(shape)
    _, _, vt = factors(w)
    first, second = (run(w, start, upstream) for start in (vt[:1], vt[-1:]))  # the second needs a decomposition
    np.testing.assert_allclose(first[0], second[0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(first[3], second[3], rtol=0, atol=1e-4 * np.abs(first[3]).max())


def test_nan_and_zeros_go_through_the_constraint(traced):
    shape, run = traced
    zeros = np.zeros(shape)
    assert not run(zeros, np.ones((1, shape[1])), zeros)[0].any()
    bad = spectrum(2.0, shape)
    bad[1, 2] = np.nan
    assert np.isnan(run(bad, np.ones((1, shape[1])), zeros)[0]).any()


def test_eager_calls_give_the_same(traced):
    shape, run = traced
    w, upstream = spectrum(2.0, shape), RNG.standard_normal(shape)
    start = factors(w)[2][:1]
    slope = gradient(
        lambda x: ops.sum(tensor(upstream) * nm.sound_orthogonalization(x, tensor(start), factor=2.0)[0]), w
    )
    np.testing.assert_allclose(slope, run(w, start, upstream)[3], rtol=0, atol=2e-5 * np.abs(slope).max())
