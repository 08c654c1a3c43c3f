"""The numerics against float64 NumPy: the reference's formulas to the letter, and the sound bound."""

import contextlib

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lipviz import normalizers as nm
from tests.support import (
    convolution_matrix,
    examples,
    finite_differences,
    gradient,
    kernels,
    make_kernel,
    singular_values,
    tensor,
    with_spectrum,
)


def bjorck_numpy(w, eps, beta, maxiter):
    for _ in range(maxiter):
        new = (1 + beta) * w - beta * w @ w.T @ w
        done = np.linalg.norm(new - w) < eps
        w = new
        if done:
            break
    return w


def power_numpy(kernel, u, eps, maxiter):
    for _ in range(maxiter):
        v = u @ kernel.T
        new = (v / np.linalg.norm(v)) @ kernel
        new = new / np.linalg.norm(new)
        done = np.linalg.norm(new - u) < eps
        u = new
        if done:
            break
    v = u @ kernel.T
    return u, (v / np.linalg.norm(v)) @ kernel @ u.T


# Where eigenvalues are fast, the products that serve elsewhere are tested as well.
WAYS = pytest.mark.parametrize("way", [contextlib.nullcontext, nm.without_eigenvalues], ids=["default", "products"])


def orthogonalize(w, dtype="float32", u=None, way=contextlib.nullcontext, **settings):
    w = np.asarray(w)
    u = np.random.default_rng(1).standard_normal((1, w.shape[1])) if u is None else u
    with way():
        out, u, sigma = nm.sound_orthogonalization(tensor(w, dtype), tensor(u, dtype), **settings)
    return ops.convert_to_numpy(out), ops.convert_to_numpy(u), float(sigma[0, 0])


# --- in NumPy ---


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (1, 3), (3, 1)])
@pytest.mark.parametrize("scale", [1.0, 0.0, 1e-3])
def test_in_numpy_the_same_code_computes_the_same(shape, scale):
    rng = np.random.default_rng(2)
    w, u = scale * rng.standard_normal(shape), rng.standard_normal((1, shape[1]))

    def results(w, u):
        squarings = nm.bound_squarings(1e-3, 0.5, 3)
        found = [nm.bjorck_normalization(0.3 * w, 1e-3, 0.5, 4)]
        found += nm.spectral_normalization(w, u, 1e-3, 4)
        found += nm.sound_normalization(w, u, 1e-3, 4, squarings)
        for way in ((1e-3, 0.5, 4, 20), (1e-3, 0.4, 4, 5), (None, None, 4, 5)):  # the first by eigenvalues
            found += nm.sound_orthogonalization(w, u, 1e-3, *way)
        return found

    want = [ops.convert_to_numpy(value) for value in results(tensor(w, "float64"), tensor(u, "float64"))]
    with nm.in_numpy():
        got = results(w, u)
    for one, other in zip(got, want, strict=True):
        assert isinstance(one, np.ndarray | np.floating)
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)


def test_in_numpy_float32_stays_what_it_is_and_nan_is_no_error():
    w = np.random.default_rng(0).standard_normal((6, 4)).astype("float32")
    u = np.ones((1, 4), "float32")
    with nm.in_numpy():
        found = nm.sound_orthogonalization(w, u)
        lost, _, _ = nm.sound_orthogonalization(np.where(np.eye(6, 4) > 0, np.nan, w), u)
    assert {value.dtype for value in found} == {np.dtype("float32")}
    assert singular_values(found[0])[-1] > 1 - 1e-3
    assert singular_values(found[0])[0] <= 1
    assert np.isnan(lost).all()


@pytest.mark.slow
def test_values_are_told_from_symbols():
    rng = np.random.default_rng(0)
    w, u = tensor(rng.standard_normal((6, 4))), tensor(rng.standard_normal((1, 4)))
    want = ops.convert_to_numpy(nm.sound_orthogonalization(w, u, 1e-3, 1e-6)[0])
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit
    else:
        import tensorflow as tf

        compiled = tf.function

    def kernel(w, u):
        return nm.sound_orthogonalization_of_values(w, u, 1e-3, 1e-6)[0]

    for function in (kernel, compiled(kernel)):
        got = function(w, u)
        assert ops.is_tensor(got)
        np.testing.assert_allclose(ops.convert_to_numpy(got), want, atol=1e-5)


def test_numpy_is_used_within_the_context_only():
    w = np.full((2, 2), np.nan)
    with nm.in_numpy():
        assert isinstance(nm.bjorck_step(w), np.ndarray)  # silent about NaN
    assert ops.is_tensor(nm.bjorck_step(tensor(np.eye(2))))


# --- the reference's formulas ---


@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (6, 6), (4, 1), (1, 4)])
@pytest.mark.parametrize(
    ("eps", "beta", "maxiter"), [(1e-3, 0.5, 15), (1e-1, 0.3, 15), (1e-3, 0.5, 0), (1e-9, 0.1, 40)]
)
def test_bjorck_follows_its_formula(shape, eps, beta, maxiter):
    w = with_spectrum(shape, np.linspace(0.2, 1, min(shape)))
    got = nm.bjorck_normalization(tensor(w, "float64"), eps, beta, maxiter)
    np.testing.assert_allclose(got, bjorck_numpy(w, eps, beta, maxiter), rtol=1e-10, atol=1e-12)


def test_bjorck_converges_to_the_polar_factor():
    w = with_spectrum((12, 7), np.linspace(0.3, 1, 7))
    left, _, right = np.linalg.svd(w, full_matrices=False)
    got = nm.bjorck_normalization(tensor(w, "float64"), eps=1e-9, maxiter=30)
    np.testing.assert_allclose(got, left @ right, rtol=0, atol=1e-12)


def test_eps_of_bjorck_bounds_the_last_increment_only():
    got = nm.bjorck_normalization(tensor(np.diag([1.0, 0.001]), "float64"))
    assert singular_values(got)[-1] < 0.01


@pytest.mark.covered_by_day
@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (1, 3), (3, 1)])
@pytest.mark.parametrize("maxiter", [0, 1, 10, 500])
def test_spectral_normalization_follows_its_formula(shape, maxiter):
    rng = np.random.default_rng(3)
    w, u = rng.standard_normal(shape), rng.standard_normal((1, shape[1]))
    got, got_u, got_sigma = nm.spectral_normalization(tensor(w, "float64"), tensor(u, "float64"), 1e-3, maxiter)
    want_u, want_sigma = power_numpy(w, u, 1e-3, maxiter)
    np.testing.assert_allclose(got_u, want_u, rtol=0, atol=1e-9)
    np.testing.assert_allclose(got_sigma, want_sigma, rtol=1e-9)
    np.testing.assert_allclose(got, w / (want_sigma + 1e-3), rtol=1e-8)


def test_spectral_normalization_draws_a_vector():
    _, u, sigma = nm.spectral_normalization(tensor(np.diag([3.0, 1.0])), None, maxiter=100)
    assert tuple(u.shape) == (1, 2)
    assert float(sigma[0, 0]) == pytest.approx(3, rel=1e-4)


@pytest.mark.slow
def test_rko_reshapes_and_skips_bjorck():
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 4))
    full, _, _ = nm.reshaped_kernel_orthogonalization(tensor(kernel), None, 2.0, maxiter_spectral=200)
    assert tuple(full.shape) == (3, 3, 2, 4)
    np.testing.assert_allclose(singular_values(full), 2.0, atol=2e-2)
    for skip in ({"eps_bjorck": None}, {"beta": None}):
        only, _, sigma = nm.reshaped_kernel_orthogonalization(tensor(kernel), None, 2.0, maxiter_spectral=200, **skip)
        np.testing.assert_allclose(only, 2 * kernel / (float(sigma[0, 0]) + 1e-3), rtol=1e-4)


def test_gradient_through_the_power_iteration_is_a_choice():
    w = np.random.default_rng(0).standard_normal((4, 3))
    u = np.ones((1, 3))

    def sigma(x):
        return ops.sum(nm.spectral_normalization(x, tensor(u, "float64"), 1e-3, 2)[2])

    held = gradient(sigma, w)
    try:
        nm.set_stop_grad_spectral(False)
        np.testing.assert_allclose(gradient(sigma, w), finite_differences(sigma, w), atol=1e-7)
    finally:
        nm.set_stop_grad_spectral(True)
    assert np.linalg.matrix_rank(held, tol=1e-9) == 1  # v uᵀ
    with pytest.raises(TypeError, match="True or False"):
        nm.set_stop_grad_spectral(1)


# --- bad input ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nm.bjorck_normalization(np.eye(2), eps=0), "eps"),
        (lambda: nm.bjorck_normalization(np.eye(2), beta=0.6), "beta"),
        (lambda: nm.bjorck_normalization(np.eye(2), beta=0), "beta"),
        (lambda: nm.bjorck_normalization(np.eye(2), beta=None), "beta"),
        (lambda: nm.bjorck_normalization(np.eye(2), maxiter=-1), "maxiter"),
        (lambda: nm.bjorck_normalization(np.eye(2), maxiter=1.5), "maxiter"),
        (lambda: nm.bjorck_normalization(np.ones(3)), "2-D"),
        (lambda: nm.bjorck_normalization(np.ones((0, 3))), "2-D"),
        (lambda: nm.spectral_normalization(np.eye(2), None, eps=-1), "eps_spectral"),
        (lambda: nm.spectral_normalization(np.eye(2), None, eps=float("nan")), "eps_spectral"),
        (lambda: nm.spectral_normalization(np.eye(2), np.ones((1, 3))), "`u`"),
        (lambda: nm.spectral_normalization(np.ones((2, 2, 2)), None), "2-D"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- the sound bound ---


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(kernels(), st.integers(0, 4), st.integers(0, 2**16), st.booleans())
def test_the_deflated_bound_is_a_bound_for_every_vector(w, squarings, seed, zero_vector):
    w = w / max(np.abs(w).max(), 1e-300)
    v = np.random.default_rng(seed).standard_normal((1, w.shape[1]))
    v = 0 * v if zero_vector else v / np.linalg.norm(v)
    bound, theta = nm.deflated_bound(tensor(w.T @ w, "float64"), tensor(v, "float64"), squarings)
    largest = np.linalg.eigvalsh(w.T @ w)[-1]
    assert float(bound) >= largest * (1 - 1e-12)
    assert float(theta) <= largest * (1 + 1e-12) + 1e-300


def test_the_deflated_bound_is_exact_at_the_first_eigenvector():
    w = with_spectrum((30, 20), np.linspace(0.1, 1, 20))
    v = np.linalg.svd(w)[2][:1]
    bound, _ = nm.deflated_bound(tensor(w.T @ w, "float64"), tensor(v, "float64"), 5)
    assert float(bound) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("context", [contextlib.nullcontext, nm.in_numpy])
def test_gram_iteration_bounds_eigenvalues_on_both_sides(context, is_complex):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((6, 9, 5)) + 1j * is_complex * rng.standard_normal((6, 9, 5))
    grams = w.conj().transpose(0, 2, 1) @ w
    values, vectors = np.linalg.eigh(grams)
    parts = (grams.real, grams.imag) if is_complex else (grams.real,)
    with context():
        iteration = nm.GramIteration(*(part if context is nm.in_numpy else tensor(part, "float64") for part in parts))
        for squarings in range(10):
            upper, lower = (np.exp(np.asarray(logs)) for logs in (iteration.upper, iteration.lower))
            assert (upper >= values[:, -1] * (1 - 1e-12)).all()
            assert (upper <= values[:, -1] * 5 ** (1 / 2 ** (squarings + 1)) * (1 + 1e-12)).all()
            assert (lower <= values[:, -1] * (1 + 1e-12)).all()
            iteration.square()
        assert (lower >= 0.999 * values[:, -1]).all()
        iteration.keep(np.array([4, 1]))
        real, *imaginary = iteration.eigenvectors()
        found = np.asarray(real) + (1j * np.asarray(imaginary[0]) if is_complex else 0)
        np.testing.assert_allclose(np.exp(np.asarray(iteration.upper)), values[[4, 1], -1], rtol=2e-3)
    aligned = np.abs(np.einsum("ni,ni->n", found.conj(), vectors[[4, 1], :, -1]))
    np.testing.assert_allclose(aligned, 1, rtol=1e-9)


SETTINGS = st.fixed_dictionaries(
    {
        "eps_spectral": st.sampled_from([1e-9, 1e-3, 1.0]),
        "eps_bjorck": st.sampled_from([None, 1e-9, 1e-3, 1.0]),
        "beta": st.sampled_from([None, 0.05, 0.3, 0.5]),
        "maxiter_spectral": st.sampled_from([0, 1, 10]),
        "maxiter_bjorck": st.sampled_from([0, 1, 6, 15]),
    }
)


@pytest.mark.slow
@WAYS
@settings(max_examples=examples(40))
@given(w=kernels(), arguments=SETTINGS)
def test_no_kernel_and_no_setting_exceeds_one(way, w, arguments):
    out, u, _ = orthogonalize(w, way=way, **arguments)
    assert np.isfinite(out).all()
    assert np.isfinite(u).all()
    assert singular_values(out)[0] <= 1


@pytest.mark.covered_by_day
@pytest.mark.parametrize("shape", [(784, 64), (1568, 128), (256, 256), (64, 784)])
@pytest.mark.parametrize("kind", ["gaussian", "spectrum", "ones", "twins"])
@WAYS
def test_large_kernels_stay_below_one(shape, kind, way):
    assert singular_values(orthogonalize(make_kernel(kind, shape), way=way)[0])[0] <= 1


@WAYS
@pytest.mark.parametrize("scale", [3e38, 1e-37, 1e-45])
def test_the_ends_of_float32(scale, way):
    signs = np.sign(np.random.default_rng(0).standard_normal((8, 5)))
    out, _, _ = orthogonalize(np.float32(scale) * signs, way=way)
    assert np.isfinite(out).all()
    assert singular_values(out)[0] <= 1


@pytest.mark.slow
@WAYS
@settings(max_examples=examples(20))
@given(shape=st.tuples(*[st.sampled_from([1, 2, 7, 40])] * 2), power=st.integers(-12, 12), seed=st.integers(0, 2**16))
def test_moderate_kernels_become_orthogonal(way, shape, power, seed):
    size = min(shape)
    values = np.sort(np.random.default_rng(seed).uniform(0.1, 1, size))[::-1].copy()
    values[0], values[-1] = 1, 0.1 if size > 1 else 1
    out, _, _ = orthogonalize(10.0**power * with_spectrum(shape, values, seed), way=way)
    assert np.abs(singular_values(out) - 1).max() < 1e-3


# Six squarings bound σ1 by σ1 · n^(1/256) at the most; of the rest, 1e-5, is the rounding of a dozen products.
LOOSE = -1 / 256


@pytest.mark.slow
@settings(max_examples=examples(30))
@given(kernels())
def test_without_bjorck_the_kernel_is_scaled_and_tight(w):
    out, _, _ = orthogonalize(w, eps_bjorck=None)
    if not w.any():
        assert not out.any()
        return
    assert min(w.shape) ** LOOSE * (1 - 1e-5) <= singular_values(out)[0] <= 1
    large = np.abs(w) > np.abs(w).max() * 1e-4
    ratio = out[large].astype(np.float64) / w[large]
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-5)


@pytest.mark.parametrize("maxiter_spectral", [0, 1, 3, 10])
@pytest.mark.parametrize("side", [64, 300])
def test_without_bjorck_few_power_iterations_leave_it_tight(side, maxiter_spectral):
    w = np.random.default_rng(side).standard_normal((side, side))
    start = np.random.default_rng(1).standard_normal((1, side))
    out, _, _ = orthogonalize(w, u=start, eps_bjorck=None, maxiter_spectral=maxiter_spectral)
    assert side**LOOSE * (1 - 1e-5) <= singular_values(out)[0] <= 1


def test_a_vector_in_the_null_space_is_left_behind():
    w = np.diag([2.0, 0.0])
    for wide in (w, w[:1]):
        _, u, sigma = orthogonalize(wide, u=np.array([[0.0, 1.0]]))
        assert abs(u[0, 0]) == pytest.approx(1, abs=1e-5)
        assert sigma == pytest.approx(2, rel=1e-5)


# --- gradients: of the computation with the vector and the number of iterations held constant ---


def weighted(seed, shape, settings, u):
    weights = tensor(np.random.default_rng(seed).standard_normal(shape), "float64")
    return lambda x: ops.sum(
        weights * nm.sound_orthogonalization(tensor(x, "float64") if isinstance(x, np.ndarray) else x, u, **settings)[0]
    )


def converged_vector(w):
    return tensor(np.linalg.svd(w)[2][:1], "float64")


@pytest.mark.covered_by_day
@pytest.mark.slow
@WAYS
@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3), (4, 1), (1, 4)])
def test_gradient_where_bjorck_has_converged(shape, way):
    w = with_spectrum(shape, np.linspace(0.5, 1, min(shape)))
    function = weighted(0, shape, {"eps_bjorck": 1e-12, "maxiter_bjorck": 30}, converged_vector(w))
    with way():
        np.testing.assert_allclose(gradient(function, w), finite_differences(function, w), atol=2e-7)


HARD = pytest.mark.parametrize("values", [[1, 0.3, 1e-3], [1, 0.999, 1e-3], [1, 0.5, 0.0]])


@pytest.mark.covered_by_day
@pytest.mark.parametrize(
    "arguments",
    [
        {"eps_bjorck": 1e-30, "maxiter_bjorck": 8},
        {"eps_bjorck": 1e-30, "maxiter_bjorck": 3, "beta": 0.2},
        {"eps_bjorck": 1e-3},
    ],
)
@HARD
@WAYS
def test_gradient_where_bjorck_has_not_converged_holds_the_divisor(way, arguments, values):
    w = with_spectrum((6, 3), values)
    weights = np.random.default_rng(1).standard_normal((6, 3))
    u = tensor(np.ones((1, 3)), "float64")
    bjorck = {"eps": 1e-3, "beta": 0.5, "maxiter": 15}
    bjorck |= {name.removesuffix("_bjorck"): value for name, value in arguments.items()}
    squarings = nm.bound_squarings(bjorck["eps"], bjorck["beta"], bjorck["maxiter"])
    divided, *_ = nm.sound_normalization(tensor(w, "float64"), u, squarings=squarings)
    factor = np.linalg.norm(divided) / np.linalg.norm(w)

    def iterations(x):
        return ops.sum(tensor(weights, "float64") * nm.bjorck_normalization(tensor(factor * x, "float64"), **bjorck))

    want = finite_differences(iterations, w)
    with way():
        got = gradient(weighted_by(weights, arguments, np.ones((1, 3))), w)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6 * np.abs(want).max())


@pytest.mark.slow
@HARD
def test_gradient_without_bjorck_goes_through_the_bound(values):
    w = with_spectrum((6, 3), values)
    u = tensor(np.random.default_rng(5).standard_normal((1, 3)), "float64")
    _, v, _ = nm.sound_orthogonalization(tensor(w, "float64"), u, eps_bjorck=None)
    function = weighted(1, (6, 3), {"eps_bjorck": None, "maxiter_spectral": 0}, v)
    np.testing.assert_allclose(gradient(function, w), finite_differences(function, w), rtol=1e-5, atol=1e-6)
    full = weighted(1, (6, 3), {"eps_bjorck": None}, u)
    np.testing.assert_allclose(gradient(full, w), gradient(function, w), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("eps_bjorck", [None, 1e-3])
def test_gradient_of_a_wide_kernel_is_that_of_its_transpose(eps_bjorck):
    w = with_spectrum((3, 6), [1, 0.3, 1e-3])
    u = np.random.default_rng(5).standard_normal((1, 6))
    weights = np.random.default_rng(1).standard_normal((3, 6))
    wide = gradient(weighted_by(weights, {"eps_bjorck": eps_bjorck}, u), w)
    tall = gradient(weighted_by(weights.T, {"eps_bjorck": eps_bjorck}, u @ w.T), w.T.copy())
    np.testing.assert_allclose(wide, tall.T, rtol=1e-9, atol=1e-12)


def weighted_by(weights, settings, u):
    u, weights = tensor(u, "float64"), tensor(weights, "float64")
    return lambda x: ops.sum(weights * nm.sound_orthogonalization(x, u, **settings)[0])


@pytest.mark.parametrize("kind", ["zero", "rank_one", "orthogonal", "single", "ones"])
@pytest.mark.parametrize("eps_bjorck", [None, 1e-3])
@WAYS
def test_gradient_is_finite_for_degenerate_kernels(way, kind, eps_bjorck):
    w = make_kernel(kind, (6, 4)).astype("float32")
    u = tensor(np.ones((1, 4)))
    with way():
        got = gradient(lambda x: ops.sum(nm.sound_orthogonalization(x, u, eps_bjorck=eps_bjorck)[0]), w)
    assert np.isfinite(got).all()


def test_gradient_does_not_depend_on_the_scale_of_the_kernel():
    w = with_spectrum((6, 4), np.linspace(0.5, 1, 4))
    u = converged_vector(w)
    small, large = (gradient(weighted(0, (6, 4), {}, u), scale * w) * scale for scale in (1e-9, 1e9))
    np.testing.assert_allclose(small, large, rtol=1e-9, atol=1e-14)


# --- the reference's convolution operators ---


def wrapped(x):
    """Circular padding by one pixel."""
    x = ops.concatenate([x[:, -1:], x, x[:, :1]], axis=1)
    return ops.concatenate([x[:, :, -1:], x, x[:, :, :1]], axis=2)


@pytest.mark.parametrize("pad_func", [None, wrapped])
@pytest.mark.parametrize("conv_first", [True, False])
@pytest.mark.parametrize(("sizes", "stride"), [((5, 4), 1), ((6, 4), 2), ((5, 7), 3)])
def test_convolution_operators_are_adjoint(sizes, stride, conv_first, pad_func):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 2, 4)).astype("float32")
    u = rng.standard_normal((2, *sizes, 2 if conv_first else 4)).astype("float32")
    linear, adjoint = nm.get_conv_operators(kernel, u.shape, stride, conv_first, pad_func)
    image = np.array(linear(u))
    v = rng.standard_normal(image.shape).astype("float32")
    back = np.array(adjoint(v))
    assert back.shape == u.shape
    assert np.sum(image * v) == pytest.approx(np.sum(u * back), rel=1e-4, abs=1e-4)
    if pad_func is None and conv_first:
        want = u.reshape(2, -1) @ convolution_matrix(kernel, sizes, (stride, stride), "same").T
        np.testing.assert_allclose(image.reshape(2, -1), want, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("conv_first", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_the_power_iteration_finds_the_norm_of_the_convolution(conv_first):
    # Positive, so that the largest singular value stands alone.
    kernel = np.random.default_rng(0).uniform(size=(3, 3, 2, 3)).astype("float32")
    u = np.random.default_rng(1).standard_normal((1, 6, 6, 2 if conv_first else 3)).astype("float32")
    normalized, u, sigma = nm.spectral_normalization_conv(kernel, u, conv_first=conv_first, eps=1e-6, maxiter=300)
    want = np.linalg.norm(convolution_matrix(kernel, (6, 6), (1, 1), "same"), 2)
    assert float(sigma) == pytest.approx(want, rel=1e-4)
    np.testing.assert_allclose(normalized, kernel / want, rtol=1e-3)
    kept, _, one = nm.spectral_normalization_conv(kernel, u, eps=-1)
    assert one == 1.0
    np.testing.assert_array_equal(kept, kernel)


def test_operators_of_other_shapes_are_refused():
    kernel = np.ones((3, 3, 2, 4), "float32")
    with pytest.raises(ValueError, match=r"Received: \(3, 3, 2, 4\) and \(1, 5, 5, 4\)"):
        nm.get_conv_operators(kernel, (1, 5, 5, 4))
    with pytest.raises(ValueError, match="positive whole number"):
        nm.get_conv_operators(kernel, (1, 5, 5, 2), stride=1.5)
