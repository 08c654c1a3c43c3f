import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipviz import measure, operators
from lipviz import normalizers as nm
from lipviz.measure.bjorck_map import bjorck_iterations_map, bjorck_moment, bjorck_paths, divergence_limit
from lipviz.operators.precision import float64_scope
from tests.support import examples, with_spectrum


def steps_of_the_layers(matrix, beta, count):
    """All iterates of a matrix by `bjorck_step`, in float64."""
    iterates = [matrix]
    with float64_scope():
        for _ in range(count):
            step = nm.bjorck_step(keras.ops.convert_to_tensor(iterates[-1]), beta)
            iterates.append(np.asarray(keras.ops.convert_to_numpy(step)))
    return iterates


def count_by_hand(sigma, beta, tol, maxiter):
    """Iterations of one singular value, one at a time: (count or -1, diverges, last)."""
    last, diverges = sigma, sigma > np.sqrt((2 + beta) / beta)
    inside = [abs(1 - last**2) <= tol]
    for _ in range(maxiter + 16):  # it must stay
        last = (1 + beta) * last - beta * last**3 if abs(last) < 1e30 else np.inf
        inside.append(abs(1 - last**2) <= tol)
    diverges = diverges or not np.isfinite(last)
    outside = [i for i, ok in enumerate(inside) if not ok]
    count = outside[-1] + 1 if outside else 0
    return (count if count <= maxiter else -1), diverges, last


# --- paths ---


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 1)])
@pytest.mark.parametrize(("largest", "smallest"), [(1.0, 0.0), (1.7, 0.02), (1.0, 1.0)])
def test_a_path_is_that_of_a_matrix(shape, largest, smallest):
    start = np.linspace(largest, smallest, min(shape))
    betas = (0.1, 0.5, 0.8)
    data = bjorck_paths(start, betas, iterations=6, eps=(1e-2,))
    assert data.errors.shape == data.frobenius_errors.shape == (3, 1, 7)
    for i, beta in enumerate(betas):
        iterates = steps_of_the_layers(with_spectrum(shape, start), beta, 6)
        for t, w in enumerate(iterates):
            gap = np.eye(min(shape)) - (w.T @ w if shape[0] >= shape[1] else w @ w.T)
            np.testing.assert_allclose(data.errors[i, 0, t], np.linalg.norm(gap, 2), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(data.frobenius_errors[i, 0, t], np.linalg.norm(gap), rtol=1e-9, atol=1e-12)
        moves = [np.linalg.norm(b - a) for a, b in itertools.pairwise(iterates)]
        np.testing.assert_allclose(data.increments[i, 0], moves, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("eps", [1e-1, 1e-3])
@pytest.mark.parametrize("beta", [0.2, 0.5])
def test_a_path_stops_where_a_layer_does(eps, beta):
    kernel = operators.random_kernel(12, 12, 0.1, "geometric")
    layer = measure.bjorck_convergence(kernel, eps_bjorck=eps, beta_bjorck=beta, dtype="float64", repeats=1)
    data = bjorck_paths(layer.normalized, (beta,), iterations=15, eps=(eps,))
    assert data.stops[0, 0, 0] == layer.iterations
    np.testing.assert_allclose(data.frobenius_errors[0, 0, : layer.iterations + 1], layer.errors, rtol=1e-6, atol=1e-9)


def test_stops_and_counts_of_what_never_arrives():
    data = bjorck_paths({"zero": np.zeros(3), "lost": [3.0], "done": [1.0]}, (0.5, 1.5), 8, eps=(1e-3, 1e-1))
    assert data.names == ("zero", "lost", "done")
    np.testing.assert_array_equal(data.iterations_to(1e-3), [[-1, -1, 0], [-1, -1, 0]])
    assert (data.stops[:, 0] == 1).all()  # a layer sees that nothing moves
    assert (data.stops[:, 1] == 8).all()
    assert np.isinf(data.errors[:, 1, -1]).all()
    assert not np.isnan(data.errors).any()
    assert not np.isnan(data.increments).any()


def test_kinds_of_spectra_and_no_iteration():
    data = bjorck_paths(iterations=0, eps=())
    assert data.names == ("even", "geometric", "one small")
    assert data.stops.shape == (1, 3, 0)
    np.testing.assert_allclose(data.errors[..., 0], 0.99)
    assert bjorck_paths(["even"], iterations=0).stops.tolist() == [[[0]]]
    assert [len(start) for start in bjorck_paths(count=5).starts] == [5, 5, 5]


# --- the map ---


@settings(max_examples=examples(50))
@given(
    beta=st.floats(0.01, 0.99),
    sigma=st.floats(0, 3),
    tol=st.sampled_from([1e-1, 1e-3, 1e-6]),
    maxiter=st.sampled_from([0, 1, 7, 40]),
)
def test_an_entry_of_the_map_is_counted_by_hand(beta, sigma, tol, maxiter):
    data = bjorck_iterations_map([beta], [sigma], tol, maxiter)
    count, diverges, last = count_by_hand(sigma, beta, tol, maxiter)
    assert data.iterations[0, 0] == count
    assert data.flipped[0, 0] == (count >= 0 and last < 0)
    assert data.diverges[0, 0] or not diverges


def test_what_the_map_says_of_a_matrix():
    sigmas = np.array([0.1, 0.4, 0.7, 1.0])
    data = bjorck_iterations_map([0.25, 0.5], sigmas, tol=1e-4, maxiter=60)
    for i, beta in enumerate(data.betas):
        iterates = steps_of_the_layers(with_spectrum((7, 4), sigmas), beta, 60)
        errors = np.array([np.linalg.norm(np.eye(4) - w.T @ w, 2) for w in iterates])
        assert data.iterations[i].max() == data.iterations[i, 0] == np.argmax(errors <= 1e-4)


def test_where_it_arrives_and_where_not():
    data = bjorck_iterations_map(maxiter=250)
    assert data.iterations.shape == data.diverges.shape == (len(data.betas), len(data.sigmas))
    betas, sigmas = np.meshgrid(data.betas, data.sigmas, indexing="ij")
    within = sigmas < data.limits[:, None]
    near = np.isclose(sigmas, data.limits[:, None])
    assert (near | (data.diverges == ~within)).all()  # up to β = 2 that is all there is to divergence
    assert not (data.reached & data.diverges).any()
    near_one = (betas <= 0.9) & within & (sigmas < 1.4)
    assert near_one.any()
    assert data.reached[near_one].all()
    assert not data.flipped[sigmas < np.sqrt((1 + betas) / betas)].any()
    assert data.flipped.any()
    repelled = (betas > 1.05) & (np.abs(sigmas - 1) > 0.05)
    assert repelled.any()
    assert not data.reached[repelled].any()


def test_all_but_cycles_are_lost_beyond_two():
    """A third of what is left goes with each iteration, so that 200 of them leave 1e-35 of any interval."""
    data = bjorck_iterations_map([2.5, 3.0], np.linspace(0.1, 0.9, 30), maxiter=200)
    assert data.diverges.all()


@pytest.mark.parametrize("beta", [0.05, 0.5, 1.0, 2.0, 7.0])
def test_the_limit_only_changes_its_sign(beta):
    """Until rounding throws an iterate off it."""
    limit = divergence_limit(beta)
    assert (1 + beta) * limit - beta * limit**3 == pytest.approx(-limit, rel=1e-12)
    data = bjorck_iterations_map([beta], [0.0, limit, 1.01 * limit], maxiter=10)
    assert data.iterations[0].tolist() == [-1, -1, -1]
    assert data.diverges[0, [0, 2]].tolist() == [False, True]


@pytest.mark.parametrize(
    ("function", "arguments", "error", "words"),
    [
        (bjorck_paths, {"betas": 0}, ValueError, "betas"),
        (bjorck_paths, {"betas": [0.5, np.nan]}, ValueError, "betas"),
        (bjorck_paths, {"betas": "large"}, TypeError, "betas"),
        (bjorck_paths, {"eps": [-1]}, ValueError, "eps"),
        (bjorck_paths, {"iterations": 2.5}, ValueError, "iterations"),
        (bjorck_paths, {"starts": [[1.0]]}, ValueError, "shape"),
        (bjorck_paths, {"starts": []}, ValueError, "at least one"),
        (bjorck_paths, {"starts": {}}, ValueError, "at least one"),
        (bjorck_paths, {"starts": {"a": [-1.0]}}, ValueError, "'a'.*-1"),
        (bjorck_paths, {"starts": {"a": [np.inf]}}, ValueError, "finite"),
        (bjorck_paths, {"starts": ["odd"]}, ValueError, "odd"),
        (bjorck_paths, {"starts": 1j}, TypeError, "real"),
        (bjorck_paths, {"smallest": 2}, ValueError, "smallest"),
        (bjorck_iterations_map, {"betas": [0.5, 0.2]}, ValueError, "increase"),
        (bjorck_iterations_map, {"betas": []}, ValueError, "betas"),
        (bjorck_iterations_map, {"sigmas": [0.5, 0.5]}, ValueError, "increase"),
        (bjorck_iterations_map, {"sigmas": [-0.5]}, ValueError, "sigmas"),
        (bjorck_iterations_map, {"tol": 0}, ValueError, "tol"),
        (bjorck_iterations_map, {"maxiter": -1}, ValueError, "maxiter"),
    ],
)
def test_bad_input_is_named(function, arguments, error, words):
    with pytest.raises(error, match=words):
        function(**arguments)


# --- one moment ---


def test_the_values_of_a_path_are_those_of_a_matrix():
    start = np.array([1.0, 0.6, 0.02])
    data = bjorck_paths({"three": start, "lost": [3.0]}, (0.2, 0.5), iterations=6, eps=())
    for i, beta in enumerate((0.2, 0.5)):
        for t, w in enumerate(steps_of_the_layers(with_spectrum((5, 3), start), beta, 6)):
            np.testing.assert_allclose(data.values[0][i, t], np.linalg.svd(w, compute_uv=False), rtol=1e-12)
    assert np.isinf(data.values[1][1, -1, 0])


@pytest.mark.parametrize("step", [0.0, 0.25, 1.0, 1.5, 3.0, 3.75, 5.0, 9.0])
def test_a_moment_is_that_of_a_matrix(step):
    start, beta = np.array([0.9, 0.5, 0.1]), 0.3
    data = bjorck_moment(start, step, beta, iterations=4)
    iterates = steps_of_the_layers(with_spectrum((4, 3), start), beta, 4)
    if step < 1:
        expected = 1 + step * (start - 1)
    else:
        w = iterates[min(int(step) - 1, 4)]
        share = step % 1 if step < 5 else 0.0
        expected = np.linalg.svd(w + share * beta * (w - w @ w.T @ w), compute_uv=False)
    np.testing.assert_allclose(data.now, expected, rtol=1e-12)
    assert data.step == min(step, 5.0)
    assert data.iteration == max(data.step - 1, 0)
    assert len(data.path) == 1 + int(data.iteration)
    assert data.error == pytest.approx(np.linalg.norm(1 - expected**2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.5], -1.0), "step"),
        (([0.5], np.nan), "step"),
        (([3.0], 2.0), "without bound"),
        (([0.5], 1.0, [0.2, 0.3]), "one step size"),
        (([], 1.0), "spectrum"),
    ],
)
def test_a_moment_that_cannot_be(arguments, words):
    with pytest.raises(ValueError, match=words):
        bjorck_moment(*arguments)
