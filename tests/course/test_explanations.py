"""The exercises of lesson 09, by another way than their module computes them."""

import itertools

import numpy as np
import pytest

from lipviz import course
from lipviz.course import explanations


def test_the_exercises():
    names = [one.id for one in course.exercises("explanations")]
    assert names == [f"explanations.{name}" for name in ("beyond", "distance", "relu", "walk")]


def test_beyond_by_walking_in_small_steps():
    """An affine score of slope 1: walk three times its value, a thousandth at a time."""
    direction = np.array([0.6, -0.8])
    x = 0.7 * direction
    length = 3 * (direction @ x)
    for _ in range(1000):
        x = x - length / 1000 * direction
    assert course.exercise("explanations.beyond").solution == pytest.approx(direction @ x, abs=1e-9)


def test_distance_by_projection():
    """The nearest point of the plane 6 + g·z = 0 to the origin, by least squares."""
    gradient = np.array([[2.0, -2.0, 2.0, 2.0]])
    assert np.linalg.norm(gradient) == 4
    nearest = np.linalg.lstsq(gradient, [-6.0], rcond=None)[0]
    assert course.exercise("explanations.distance").solution == pytest.approx(np.linalg.norm(nearest))


def _norms(activation, slopes, count=200):
    """Norms of the gradients of a chain of random orthogonal layers at random points, by hand."""
    rng = np.random.default_rng(0)
    sizes = (64, 32, 16, 8, 1)
    kernels = [np.linalg.qr(rng.standard_normal(shape))[0] for shape in itertools.pairwise(sizes)]
    norms = []
    for x in rng.standard_normal((count, sizes[0])):
        jacobian = np.eye(sizes[0])
        for kernel in kernels[:-1]:
            x = kernel.T @ x
            jacobian = slopes(x) @ kernel.T @ jacobian
            x = activation(x)
        norms.append(np.linalg.norm(kernels[-1].T @ jacobian))
    return np.array(norms)


def _pairs_sorted(x):
    return np.sort(x.reshape(-1, 2), axis=1).ravel()


def _pair_permutation(x):
    order = (np.argsort(x.reshape(-1, 2), axis=1) + 2 * np.arange(len(x) // 2)[:, None]).ravel()
    return np.eye(len(x))[order]


def test_what_is_claimed_about_relu_and_sorting():
    sorting = _norms(_pairs_sorted, _pair_permutation)
    relu = _norms(lambda x: np.maximum(x, 0), lambda x: np.diag((x > 0) * 1.0))
    np.testing.assert_allclose(sorting, 1, atol=1e-12)
    # Of 56 channels some are negative, but for 2⁻⁵⁶ of the points; and what is left is not nothing.
    assert (relu < 1 - 1e-12).all()
    assert relu.max() > 0


@pytest.mark.parametrize("name", ["relu"])
def test_every_wrong_choice_gets_a_word(name):
    one = course.exercise(f"explanations.{name}")
    for key in set(one.kind.options) - {one.solution}:
        assert course.check(one.id, key).message.startswith(one.kind.mistakes[key])


def _walk_by_loop(x, score, gradient, goal):
    out = np.array(x)
    for i in range(len(x)):
        g = gradient[i].ravel()
        if g @ g:
            out[i] += ((goal - score[i]) / (g @ g) * g).reshape(x[i].shape)
    return out


def test_another_right_function_is_right_and_reaches_the_goal():
    assert course.check("explanations.walk", _walk_by_loop)
    for case in course.exercise("explanations.walk").kind.cases:
        x, score, gradient, goal = case.arguments
        moved = (explanations.walk(*case.arguments) - x).reshape(len(x), -1)
        flat = gradient.reshape(len(x), -1)
        reached = score + np.sum(moved * flat, axis=1)
        zero = ~flat.any(axis=1)
        np.testing.assert_allclose(reached[~zero], goal, atol=1e-12)
        assert not moved[zero].any()


def _factor(x, values):
    return values.reshape(-1, *[1] * (x.ndim - 1))


def _squares(x, gradient):
    return np.sum(gradient**2, axis=tuple(range(1, x.ndim)))


WRONG = [
    (lambda x, s, g, goal: x + _factor(x, goal - s) * g, ["passes 1 of 6", "norm 1. These have other norms"]),
    (
        lambda x, s, g, goal: x + _factor(x, (goal - s) / np.sqrt(_squares(x, g) + 1e-300)) * g,
        ["passes 1 of 6", "divide once more"],
    ),
    (lambda x, s, g, goal: x + _factor(x, (goal - s) / _squares(x, g)) * g, ["passes 5 of 6", "NaN or infinity"]),
    (
        lambda x, s, g, goal: 2 * x - _walk_by_loop(x, s, g, goal),
        ["passes 0 of 6", "the opposite direction"],
    ),
    (lambda x, s, g, goal: x + _factor(x, goal - s) * g / np.sum(g**2), ["passes 2 of 6", "over the whole batch"]),
    (lambda x, s, g, goal: x - _factor(x, s / (_squares(x, g) + 1e-300)) * g, ["passes 4 of 6", "expected -1.5"]),
    (
        lambda x, s, g, goal: np.where(g.any(), _walk_by_loop(x, s, g, goal) + ~g.any(axis=-1, keepdims=True), x),
        ["nowhere to go"],
    ),
    (lambda x, s, g, goal: _walk_by_loop(x, s, g, goal).reshape(len(x), -1), ["passes 5 of 6", "the shape is (5, 16)"]),
]


@pytest.mark.parametrize(("function", "words"), WRONG)
def test_a_wrong_walk_is_told_where_and_why_it_fails(function, words):
    result = course.check("explanations.walk", function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message
