import itertools
import time

import keras
import numpy as np
import pytest
import scipy.linalg
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lipviz import layers, measure, operators
from lipviz import normalizers as nm
from tests.support import examples, kernels
from tests.support import singular_values as sigma

SETTINGS = ("eps_spectral", "eps_bjorck", "beta_bjorck", "maxiter_spectral", "maxiter_bjorck")


def of_the_layers(kernel, data, seed=0):
    """What `sound_orthogonalization` makes of the kernel, from the same start."""
    u = np.random.default_rng(seed).standard_normal((1, kernel.shape[1])).astype(data.dtype)
    with nm.without_eigenvalues():
        w, _, estimate = nm.sound_orthogonalization(
            keras.ops.convert_to_tensor(kernel.astype(data.dtype)),
            keras.ops.convert_to_tensor(u),
            data.eps_spectral,
            data.eps_bjorck,
            data.beta_bjorck,
            data.maxiter_spectral,
            data.maxiter_bjorck,
        )
    return np.asarray(w), float(np.asarray(estimate)[0, 0])


def iterate(w, beta, count):
    """Björck in float64 NumPy: all iterates."""
    iterates = [w]
    for _ in range(count):
        w = iterates[-1]
        iterates.append((1 + beta) * w - beta * w @ w.T @ w)
    return iterates


def assert_agrees(kernel, **settings):
    data = measure.bjorck_convergence(kernel, repeats=1, **settings)
    w, estimate = of_the_layers(kernel, data)
    # A step rounds by a few 2⁻²⁴ of the norm, and later steps enlarge that as much as they enlarge a small value.
    growth = data.constrained / np.maximum(data.normalized, np.finfo("float32").tiny)
    off = np.abs(data.constrained - sigma(w))
    assert (off <= 2e-6 + 4 * 2.0**-24 * np.clip(growth, 0, 1.5**data.iterations)).all(), (off, growth)
    assert data.sigma_estimate == pytest.approx(estimate, rel=1e-5)
    scale = np.abs(kernel).max()
    np.testing.assert_allclose(data.raw, sigma(kernel), atol=1e-12 * scale)
    assert data.sigma_bound >= data.raw[0] * (1 - 1e-6)
    # Everything that a step can promise: soundness, and that no step leads away from orthogonality.
    assert max(data.constrained[0], data.normalized[0]) <= 1
    assert len(data.errors) == data.iterations + 1 <= data.maxiter_bjorck + 1
    assert (np.diff(data.errors) <= 1e-5).all()
    assert (data.increments[:-1] >= data.eps_bjorck).all()
    assert data.converged == (data.iterations > 0 and data.increments[-1] < data.eps_bjorck)


@pytest.mark.slow
@settings(max_examples=examples(50))
@given(
    kernel=kernels((1, 2, 5, 8)),
    beta=st.sampled_from([0.05, 0.25, 0.5]),
    maxiter_bjorck=st.sampled_from([0, 1, 6, 15]),
    maxiter_spectral=st.sampled_from([0, 10]),
)
@example(1e12 * np.ones((1, 1)), 0.5, 15, 10)
@example(1e-12 * np.outer([1.0, 2, 3], [1.0, -1]), 0.5, 15, 10)
@example(np.zeros((3, 3)), 0.5, 15, 10)
def test_it_is_what_the_layers_do(kernel, beta, maxiter_bjorck, maxiter_spectral):
    assert_agrees(kernel, beta_bjorck=beta, maxiter_bjorck=maxiter_bjorck, maxiter_spectral=maxiter_spectral)


def test_it_is_what_a_layer_holds():
    layer = layers.SpectralDense(5, kernel_initializer="glorot_uniform")
    layer.build((None, 7))
    for _ in range(20):
        layer.refresh()  # until the layer's own vector has converged, whatever it started from
    data = measure.bjorck_convergence(layer.kernel, **{name: getattr(layer, name) for name in SETTINGS})
    np.testing.assert_allclose(data.constrained, sigma(layer.wbar), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)])
def test_steps_are_those_of_numpy(shape, dtype):
    kernel = 3 * operators.random_kernel(*shape, 0.3, "geometric")
    data = measure.bjorck_convergence(kernel, dtype=dtype, beta_bjorck=0.4, maxiter_bjorck=40)
    margin = 1 - nm.rounding_margin(shape, dtype)
    iterates = iterate(kernel / data.sigma_bound * margin, 0.4, data.iterations)
    near = 1e-5 if dtype == "float32" else 1e-12
    gram = [w.T @ w if shape[0] >= shape[1] else w @ w.T for w in iterates]
    np.testing.assert_allclose(data.errors, [np.linalg.norm(np.eye(len(g)) - g) for g in gram], atol=near)
    steps = [np.linalg.norm(new - old) for old, new in itertools.pairwise(iterates)]
    np.testing.assert_allclose(data.increments, steps, atol=near)
    np.testing.assert_allclose(data.normalized, sigma(iterates[0]), atol=near)
    np.testing.assert_allclose(data.constrained, margin * sigma(iterates[-1]), atol=near)
    assert data.converged


def test_the_limit_is_the_polar_factor():
    kernel = operators.random_kernel(6, 4, 0.2)
    polar, _ = scipy.linalg.polar(kernel)
    u = np.ones((1, 4), "float32")
    w, _, _ = nm.sound_orthogonalization(
        keras.ops.convert_to_tensor(kernel.astype("float32")), keras.ops.convert_to_tensor(u), maxiter_bjorck=40
    )
    np.testing.assert_allclose(np.asarray(w), polar, atol=2e-5)
    data = measure.bjorck_convergence(kernel, maxiter_bjorck=40)
    np.testing.assert_allclose(data.constrained, sigma(polar), atol=2e-5)
    assert data.orthogonality_error < 1e-4


@pytest.mark.parametrize("maxiter_spectral", [0, 1, 10])
@pytest.mark.parametrize("spectrum", ["even", "geometric", "one small"])
def test_the_bound_is_above_the_exact_value(spectrum, maxiter_spectral):
    kernel = operators.random_kernel(20, 20, 0.5, spectrum)
    data = measure.bjorck_convergence(kernel, maxiter_spectral=maxiter_spectral)
    assert data.sigma_estimate <= 1 + 1e-6
    # Of the squares: θ of a vector, at most √(θ(1 − θ)) beside it, and for the rest a bound by eighth powers, which is
    # at most the 16th root of 20 too large. No θ makes the whole larger than this, however far the iteration came.
    theta, rest = np.linspace(0, 1, 10_001), 20 ** (1 / 16)
    worst = ((theta + rest) / 2 + np.sqrt((theta - rest) ** 2 / 4 + theta * (1 - theta))).max()
    assert 1 - 1e-6 <= data.sigma_bound <= np.sqrt(worst) < 1.22


def test_the_scale_of_a_kernel_does_not_matter():
    kernel = operators.random_kernel(6, 6, 0.1)
    small, large = (measure.bjorck_convergence(scale * kernel) for scale in (1e-30, 1e30))
    np.testing.assert_allclose(small.constrained, large.constrained, atol=1e-6)
    assert large.raw[0] / small.raw[0] == pytest.approx(1e60, rel=1e-5)


def test_no_iterations_at_all():
    data = measure.bjorck_convergence(operators.random_kernel(4, 4, 0.1), maxiter_bjorck=0)
    assert data.iterations == 0
    assert not data.converged
    assert data.increments.shape == (0,)
    np.testing.assert_allclose(data.constrained, data.normalized, atol=1e-5)


def test_a_kernel_of_more_axes_is_reshaped():
    kernel = np.random.default_rng(0).standard_normal((3, 3, 2, 4))
    data = measure.bjorck_convergence(kernel)
    assert data.shape == (18, 4)
    np.testing.assert_allclose(data.raw, sigma(kernel.reshape(18, 4)))


def test_the_time_is_that_of_a_run():
    began = time.perf_counter()
    data = measure.bjorck_convergence(np.eye(3), repeats=5)
    assert 0 < 3 * data.seconds <= time.perf_counter() - began  # of five runs, three took the median or longer


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"eps_spectral": 0}, ValueError, "eps_spectral"),
        ({"eps_bjorck": None}, ValueError, "eps_bjorck"),
        ({"eps_bjorck": float("nan")}, ValueError, "eps_bjorck"),
        ({"beta_bjorck": 0.9}, ValueError, "0.9"),
        ({"beta_bjorck": 0}, ValueError, "beta"),
        ({"beta_bjorck": None}, ValueError, "beta_bjorck"),
        ({"maxiter_spectral": -1}, ValueError, "maxiter_spectral"),
        ({"maxiter_bjorck": 2.5}, ValueError, "maxiter_bjorck"),
        ({"dtype": "float16"}, ValueError, "float16"),
        ({"repeats": 0}, ValueError, "repeats"),
        ({"kernel": np.full((2, 2), np.nan)}, ValueError, "4 of 4"),
        ({"kernel": np.full((2, 2), 1e300)}, ValueError, "float32"),
        ({"kernel": np.ones(3)}, ValueError, "shape"),
        ({"kernel": "W"}, TypeError, "real numbers"),
    ],
)
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        measure.bjorck_convergence(**{"kernel": np.eye(2), **arguments})
