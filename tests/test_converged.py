"""Björck's constraint in float32 on TensorFlow, in graphs, against float64 NumPy and against products in float64."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import normalizers as nm
from lipviz.normalizers import converged
from tests.support import gradient, make_kernel, singular_values, tensor, with_spectrum

RNG = np.random.default_rng(0)
SHAPES = [(40, 12), (12, 40)]

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow uses it")


@functools.cache
def constraint(eps=1e-3, maxiter=15):
    """The constraint as one trace for each shape: a function of (matrix, factor)."""

    def run(w, factor):
        u = ops.ones((1, w.shape[1]))
        return nm.sound_orthogonalization(w, u, eps_bjorck=eps, maxiter_bjorck=maxiter, factor=factor)

    return nm.as_one_trace(run)


def in_graph(w, factor=1.0):
    """The result in float64, u and σ of a float64 matrix, computed in float32."""
    out, u, sigma = constraint()(tensor(w), tensor(factor))
    return np.asarray(out, np.float64), np.asarray(u, np.float64), float(sigma[0, 0])


def polar(w):
    u, _, vt = np.linalg.svd(w, full_matrices=False)
    return u @ vt


def bjorck(w, maxiter=15):
    """The iterations in float64, after an exact division."""
    w = w / singular_values(w)[0]
    for _ in range(maxiter):
        w = 1.5 * w - 0.5 * w @ w.T @ w
    return w


def pulled_back(w, upstream, factor=1.0, **settings):
    """Gradient of <upstream, constraint(w)>."""
    weights = tensor(upstream)
    return gradient(lambda x: ops.sum(weights * constraint(**settings)(x, tensor(factor))[0]), w.astype("float32"))


def by_products(w, upstream):
    """The same gradient in float64, by Björck's products with the exact divisor."""
    start = tensor(np.linalg.svd(w)[2][:1], "float64")

    def function(x):
        return ops.sum(
            tensor(upstream, "float64")
            * nm.sound_orthogonalization(x, start, maxiter_spectral=200, eps_bjorck=1e-30)[0]
        )

    with nm.without_eigenvalues():
        return gradient(function, w)


@pytest.mark.parametrize("condition", [1.0, 3.0, 25.0, 40.0, 1e3, 1e5])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_result_of_the_iterations(shape, condition):
    w = with_spectrum(shape, np.geomspace(1, 1 / condition, min(shape)))
    out, u, sigma = in_graph(3 * w, 0.5)
    np.testing.assert_allclose(out, 0.5 * bjorck(w), rtol=0, atol=1e-4 if condition > 31 else 5e-6)
    np.testing.assert_allclose(sigma, 3, rtol=1e-5)
    if condition > 1 and min(shape) > 1:
        assert np.abs(u @ np.linalg.svd(w)[2][0]) > 1 - 1e-5
    if condition < 31:
        np.testing.assert_allclose(out, 0.5 * polar(w), rtol=0, atol=5e-6)


@pytest.mark.covered_by_day
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("kind", ["gaussian", "spectrum", "rank_one", "zero", "single", "repeated"])
@pytest.mark.parametrize("shape", [*SHAPES, (7, 1)])
def test_no_singular_value_exceeds_the_factor(shape, kind, scale):
    out, u, sigma = in_graph(make_kernel(kind, shape, scale).astype("float32"), 2.0)
    assert singular_values(out)[0] <= 2
    assert np.isfinite(u).all()
    assert np.isfinite(sigma)
    assert kind != "zero" or not out.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_visible_and_raises_nothing(bad):
    w = RNG.standard_normal((40, 12))
    w[1, 2] = bad
    assert np.isnan(in_graph(w)[0]).any()


@pytest.mark.covered_by_day
@pytest.mark.parametrize("condition", [1.0, 3.0, 25.0, 40.0, 1e3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_the_iterations(shape, condition):
    w = with_spectrum(shape, np.geomspace(1, 1 / condition, min(shape)))
    upstream = RNG.standard_normal(shape)
    want = by_products(w, upstream)
    np.testing.assert_allclose(
        pulled_back(w, upstream), want, rtol=0, atol=2e-4 * np.abs(upstream).max() * np.linalg.norm(want, 2)
    )


@functools.cache
def second_derivatives():
    """From (w, upstream, direction) to the derivative of a gradient along a direction; traced once, for 6 × 4."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((6, 4))] * 3, autograph=False)
    def along(x, upstream, direction):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = ops.sum(upstream * nm.sound_orthogonalization(x, ops.ones((1, 4)))[0])
            slope = ops.sum(inner.gradient(value, x) * direction)
        return outer.gradient(slope, x)

    return along


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("condition", [3.0, 100.0])
def test_second_derivatives_are_those_of_the_iterations(condition):
    w = with_spectrum((6, 4), np.geomspace(1, 1 / condition, 4))
    upstream, direction = RNG.standard_normal((2, 6, 4))
    direction *= 1e-3 / condition
    want = (by_products(w + direction, upstream) - by_products(w - direction, upstream)) / 2
    got = second_derivatives()(*map(tensor, (w, upstream, direction)))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3 * np.abs(want).max())


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_gradient_follows_scale_and_factor(scale):
    w, upstream = with_spectrum((40, 12), np.linspace(0.2, 1, 12)), RNG.standard_normal((40, 12))
    want = pulled_back(w, upstream)
    got = scale * pulled_back(scale * w, upstream, 3.0) / 3
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_the_factor_has_a_gradient():
    w, upstream = with_spectrum((40, 12), np.linspace(0.2, 1, 12)), RNG.standard_normal((40, 12))
    got = gradient(lambda k: ops.sum(tensor(upstream) * constraint()(tensor(w), k)[0]), np.float32(2.0))
    np.testing.assert_allclose(got, np.sum(upstream * polar(w)), rtol=1e-4)


@pytest.mark.parametrize(
    ("eps", "maxiter", "takes"), [(1e-3, 15, True), (1e-3, 7, False), (1e-1, 15, False), (1e-30, 15, True)]
)
def test_it_is_used_where_the_iterations_converge(eps, maxiter, takes):
    assert converged.is_for(tensor(np.eye(3)), eps, maxiter) is takes
    assert not converged.is_for(tensor(np.eye(3), "float64"), eps, maxiter)
