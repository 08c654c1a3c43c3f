"""Björck's iteration by eigenvalues against the same iteration by products, and against float64 NumPy."""

import collections

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lipviz import normalizers as nm
from lipviz.layers import SpectralDense
from lipviz.normalizers import converged, eigenvalues
from lipviz.parametrizations import sharing
from tests.support import examples, gradient, singular_values, tensor, with_spectrum
from tools.pins import rounding

RNG = np.random.default_rng(0)


@pytest.fixture
def on_a_cpu():
    if not eigenvalues.decomposing_pays():
        pytest.skip("this backend or device runs Björck by products")


def orthogonalized(w, dtype, maxiter=15, eps=1e-3):
    out, u, sigma = nm.sound_orthogonalization(
        tensor(w, dtype), tensor(np.ones((1, w.shape[1])), dtype), eps_bjorck=eps, maxiter_bjorck=maxiter
    )
    return ops.convert_to_numpy(out), ops.convert_to_numpy(u), float(sigma[0, 0])


def reference(w, maxiter=15, eps=1e-3):
    """Björck's iteration on the exactly normalized matrix, in float64; and its number of steps."""
    w = w / singular_values(w)[0]
    for step in range(maxiter):
        new = 1.5 * w - 0.5 * w @ w.T @ w
        moved, w = np.linalg.norm(new - w), new
        if moved < eps:
            return w, step + 1
    return w, maxiter


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(
    st.tuples(*[st.sampled_from([1, 2, 5, 33])] * 2),
    st.integers(0, 4),
    st.sampled_from([1, 2, 7, 15, 40]),
    st.integers(0, 2**16),
)
def test_it_is_bjorcks_iteration_on_the_normalized_kernel(shape, power, maxiter, seed):
    w = with_spectrum(shape, np.geomspace(1, 10.0**-power, min(shape)), seed)
    # An eps that no rounding can move a step across.
    got, _, _ = orthogonalized(w, "float64", maxiter, eps=1e-30)
    np.testing.assert_allclose(got, reference(w, maxiter, 0.0)[0], rtol=0, atol=1e-9)


@pytest.mark.usefixtures("on_a_cpu")
@pytest.mark.parametrize("eps", [1.0, 1e-1, 1e-3, 1e-6])
def test_it_stops_where_a_step_is_short(eps):
    w = with_spectrum((9, 6), np.linspace(0.2, 1, 6))
    want, steps = reference(w, 15, eps)
    assert steps < 15 or eps < 1e-3
    np.testing.assert_allclose(orthogonalized(w, "float64", 15, eps)[0], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("condition", [1.0, 10.0, 1e3, 1e6])
@pytest.mark.parametrize("shape", [(300, 64), (64, 64), (20, 50)])
def test_float32_comes_as_near_as_products_do(shape, condition):
    w = with_spectrum(shape, np.geomspace(1, 1 / condition, min(shape)))
    want, _ = reference(w, 15, 0.0)
    got, _, _ = orthogonalized(w, "float32", eps=1e-30)
    assert singular_values(got)[0] <= 1
    # Each iteration rounds a product, and stretches what was lost; the margin of `sound_orthogonalization` comes last.
    stretched = rounding.of_products("float32", 15, max(shape), rounding.bjorck_amplification(15, 0.5, condition))
    # What eps_bjorck leaves by default is 1e-3. LAPACK, behind JAX, is the less accurate of the two in float32.
    least = 2e-3 if keras.backend.backend() == "jax" else 5e-4
    assert np.abs(got - want).max() < min(stretched.relative + nm.rounding_margin(shape, "float32"), least)


@pytest.mark.nightly
@pytest.mark.usefixtures("on_a_cpu")
@pytest.mark.parametrize("values", [[1, 1, 1, 1], [1, 0.9999, 0.5, 0.1], [1, 0.5, 0.5, 1e-3], [1, 0, 0, 0]])
@pytest.mark.parametrize("shape", [(7, 4), (4, 4), (4, 7)])
def test_both_ways_have_one_gradient(shape, values):
    """With a converged power iteration the two divide by the same number."""
    w = with_spectrum(shape, values)
    weights = tensor(RNG.standard_normal(shape), "float64")
    u = tensor(np.linalg.svd(w)[2][:1], "float64")

    def function(x):
        return ops.sum(weights * nm.sound_orthogonalization(x, u, maxiter_spectral=200, eps_bjorck=1e-30)[0])

    got = gradient(function, w)
    with nm.without_eigenvalues():
        want = gradient(function, w)
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


def test_the_vector_goes_on_in_its_direction():
    w = with_spectrum((6, 4), [1, 0.5, 0.3, 0.1])
    _, u, sigma = nm.sound_orthogonalization(tensor(3 * w), tensor(np.ones((1, 4))))
    np.testing.assert_allclose(float(sigma[0, 0]), 3, rtol=1e-5)
    for sign in (1, -1):
        _, again, _ = nm.sound_orthogonalization(tensor(w), sign * u)
        np.testing.assert_allclose(ops.convert_to_numpy(again), sign * ops.convert_to_numpy(u), atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_visible_and_raises_nothing(bad):
    w = np.eye(4)
    w[1, 2] = bad
    assert np.isnan(orthogonalized(w, "float32")[0]).any()


@pytest.mark.nightly
@pytest.mark.usefixtures("on_a_cpu")
def test_models_that_xla_compiles_run_by_products(monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("JAX compiles everything, and calls LAPACK from there")
    runs = []
    monkeypatch.setattr(sharing, "_found", collections.OrderedDict())  # another test's model may be alike
    original = converged.orthogonalized
    model = keras.Sequential([keras.Input((3,)), SpectralDense(2)])
    monkeypatch.setattr(converged, "orthogonalized", lambda *arguments: runs.append(1) or original(*arguments))
    for jit_compile in (True, False):
        model.compile("sgd", "mse", jit_compile=jit_compile)
        model.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
        assert bool(runs) is not jit_compile
