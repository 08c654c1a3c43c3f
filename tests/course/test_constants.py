"""Exercises of lesson 01: values by another way, wrong functions, and what explanations claim."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from lipviz import course
from lipviz.course import constants


def kinked(x):
    return 3 * np.maximum(x, 0) + 2 * np.maximum(-2 * x, 0)


def test_the_kinks_of_the_lesson():
    x = np.linspace(-2, 2, 1001)
    slopes = np.abs(np.subtract.outer(kinked(x), kinked(x))[~np.eye(1001, dtype=bool)])
    slopes /= np.abs(np.subtract.outer(x, x)[~np.eye(1001, dtype=bool)])
    assert course.exercise("constants.kink").solution == pytest.approx(slopes.max())


def test_the_product_of_norms_is_the_mistake_that_it_is_called():
    product = np.linalg.norm([[1.0], [-2.0]], 2) * np.linalg.norm([[3.0, 2.0]], 2)
    assert course.check("constants.kink", product).message.startswith("That is the product of the norms")
    assert product / course.exercise("constants.kink").solution == pytest.approx(2, abs=0.02)


def test_what_follows_from_two_bounds():
    one = course.exercise("constants.follows")
    assert course.check(one.id, "B")
    for key in set(one.kind.options) - {"b"}:
        assert course.check(one.id, key).message.startswith(one.kind.mistakes[key])


def test_a_narrow_layer_keeps_half_of_the_squares():
    rows = np.linalg.qr(np.random.default_rng(1).standard_normal((64, 32)))[0].T
    x = np.random.default_rng(2).standard_normal((64, 2000))
    stretch = np.linalg.norm(rows @ x, axis=0) / np.linalg.norm(x, axis=0)
    one = course.exercise("constants.narrow")
    assert np.linalg.norm(rows, 2) == pytest.approx(1)
    assert course.check(one.id, np.median(stretch))


def test_the_explorer_gives_the_answer_of_the_narrow_layer():
    from lipviz.explorers import LayerExplorer

    explorer = LayerExplorer()
    explorer.state = {"layer": "SpectralDense", "inputs": 64, "units": 32}
    assert explorer.error is None
    assert explorer.data.smallest > 0.999
    assert course.check("constants.narrow", np.median(explorer.data.gains))
    explorer.state = {"units": 64}
    assert not course.check("constants.narrow", np.median(explorer.data.gains))


def by_scipy(x, y):
    runs, rises = pdist(x), pdist(y)
    return (rises[runs > 0] / runs[runs > 0]).max()


def by_loops(x, y):
    best = 0.0
    for i in range(len(x)):
        for j in range(i):
            run = np.sqrt(((x[i] - x[j]) ** 2).sum())
            if run > 0:
                best = max(best, np.sqrt(((y[i] - y[j]) ** 2).sum()) / run)
    return [best]


@pytest.mark.parametrize("function", [by_scipy, by_loops])
def test_another_right_function_is_right(function):
    assert course.check("constants.steepest", function)


def neighbours(x, y):
    runs = np.linalg.norm(np.diff(x, axis=0), axis=1)
    return np.max((np.linalg.norm(np.diff(y, axis=0), axis=1) / runs)[runs > 0])


def unmasked(x, y):
    runs = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return np.max(np.linalg.norm(y[:, None] - y[None], axis=-1) / runs)


def summed(x, y):
    runs = np.abs(x[:, None] - x[None]).sum(axis=-1)
    return np.max(np.abs(y[:, None] - y[None]).sum(axis=-1)[runs > 0] / runs[runs > 0])


WRONG_FUNCTIONS = [
    (neighbours, ["passes 2 of 5", "On 30 points of a curve", "the best of neighbouring rows"]),
    (unmasked, ["passes 0 of 5", "cannot be judged", "NaN or infinity"]),
    (summed, ["passes 2 of 5", "points of the plane"]),
    (lambda x, y: constants.steepest(x, y) ** 2, ["passes 1 of 5", "the square of what was expected"]),
    (lambda x, y: 1 / constants.steepest(x, y), ["expected 2.4"]),
    (lambda x, y: y / np.linalg.norm(x), ["it returned 30 numbers"]),
    (lambda x: 1.0, ["TypeError"]),
]


@pytest.mark.parametrize(("function", "words"), WRONG_FUNCTIONS)
def test_a_wrong_function_is_told_where_and_why_it_fails(function, words):
    result = course.check("constants.steepest", function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message


def test_on_a_line_neighbours_are_enough_and_in_the_plane_they_are_not():
    x, y = course.exercise("constants.steepest").kind.cases[0].arguments
    order = np.argsort(x[:, 0])
    assert neighbours(x[order], y[order]) == pytest.approx(constants.steepest(x, y))
    x, y = course.exercise("constants.steepest").kind.cases[1].arguments
    assert neighbours(x, y) < 0.999 * constants.steepest(x, y)


def test_the_cases_have_what_they_are_called():
    twice = course.exercise("constants.steepest").kind.cases[3].arguments[0]
    assert len(np.unique(twice, axis=0)) == 10 < len(twice)
