"""Exercises of lesson 06, by other ways than they compute their values themselves."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lipviz import course, data
from lipviz.course import wasserstein
from lipviz.measure import wasserstein_distance
from tests.support import examples


def test_the_lesson_has_its_exercises():
    names = ["squares", "steep", "relu", "sample", "line"]
    assert [one.id for one in course.exercises("wasserstein")] == [f"wasserstein.{name}" for name in names]


@pytest.mark.parametrize("random_position", [False, True])
def test_the_squares_are_as_far_apart_as_optimal_transport_says(random_position):
    (x, y), _ = data.squares(40, side=20, value=0.5, random_position=random_position)
    found = wasserstein_distance(x[y == 1], x[y == 0]).distance
    assert course.exercise("wasserstein.squares").solution == pytest.approx(found)


def test_a_steeper_potential_has_a_steeper_estimate():
    """k times the best 1-Lipschitz function is the best k-Lipschitz one: on a line, by its own formula."""
    x, y = np.sort(np.random.default_rng(0).standard_normal((2, 30)))
    exact = stats.wasserstein_distance(x, y)
    k = course.exercise("wasserstein.steep").solution
    assert stats.wasserstein_distance(k * x, k * y) == pytest.approx(k * exact)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_trained_network_answers_the_exercise_within_its_tolerance():
    from lipviz.toys import kr_training

    (x, y), _ = data.two_moons(60)
    steep = kr_training(x[y == 0], x[y == 1], k=5 / 2, width=8, depth=1, steps=60, learning_rate=0.03)
    assert course.check("wasserstein.steep", steep.estimates[-1] / steep.exact)


@pytest.mark.nightly
@pytest.mark.slow
def test_relu_reaches_about_half_on_circles():
    from lipviz.toys import kr_training

    (x, y), _ = data.circles(100)
    reached = kr_training(x[y == 0], x[y == 1], activation="relu", width=16, steps=120, learning_rate=0.02).reached
    assert abs(reached - 0.555) < 3 * 0.036  # mean and three standard deviations over ten draws of circles and weights
    assert course.exercise("wasserstein.relu").solution == "b"


def test_samples_of_one_law_come_closer_with_their_number():
    rng = np.random.default_rng(0)
    found = [
        wasserstein_distance(rng.standard_normal((n, 2)), rng.standard_normal((n, 2))).distance for n in (50, 200, 800)
    ]
    assert found[0] > 1.3 * found[1] > 1.3**2 * found[2] > 0.1
    assert found == pytest.approx([0.4, 0.3, 0.15], abs=0.06)  # what the explanation says
    assert course.exercise("wasserstein.sample").solution == "b"


@settings(max_examples=examples(60))
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=20))
def test_both_formulas_on_a_line_agree_with_scipy(pairs):
    x, y = np.array(pairs).T
    expected = stats.wasserstein_distance(x, y)
    assert wasserstein.distance_on_a_line(x, y) == pytest.approx(expected, abs=1e-12)
    assert wasserstein.between_steps(x, y) == pytest.approx(expected, abs=1e-12)


WRONG_FUNCTIONS = [
    (lambda x, y: np.mean(np.abs(x - y)), "at the same place of the array"),
    (lambda x, y: abs(np.mean(x) - np.mean(y)), "lower bound only"),
    (lambda x, y: np.mean(y) - np.mean(x), "passes 4 of 6"),
    (lambda x, y: math.sqrt(np.mean((np.sort(x) - np.sort(y)) ** 2)), "W2, not W1"),
    (lambda x, y: np.sum(np.abs(np.sort(x) - np.sort(y))), "the sum of the ways"),
    (lambda x, y: np.abs(x[:, None] - y).mean(), "every x went to every y"),
    (lambda x, y: np.abs(x[:, None] - y).min(axis=1).mean(), "nearest y"),
    (lambda x, y: np.abs(np.sort(x) - np.sort(y)), "has 3 numbers, expected one"),
    (lambda x, y: 7.0, "the result is 7, expected 0.666667"),
    (lambda x, y: np.mean(np.abs((x.sort() or x) - np.sort(y))), "in place"),
]


@pytest.mark.parametrize(("function", "words"), WRONG_FUNCTIONS)
def test_a_wrong_function_is_told_why(function, words):
    result = course.check("wasserstein.line", function)
    assert result.status is course.Status.WRONG
    assert words in result.message


@pytest.mark.parametrize(
    "function",
    [
        stats.wasserstein_distance,
        wasserstein.between_steps,
        lambda x, y: np.array([[np.mean(np.abs(np.sort(y) - np.sort(x)))]]),
        lambda x, y: wasserstein_distance(x, y).distance,
    ],
)
def test_other_right_functions_are_right(function):
    assert course.check("wasserstein.line", function)
