"""Exercises of lesson 03: values by another way, wrong functions, and what explanations claim."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipviz import certification, course, measure
from lipviz.course import activations
from lipviz.layers import GroupSort2
from tests.support import examples


def sorted_pairs(z):
    return np.sort(np.reshape(z, (-1, 2)), axis=1).ravel()


def test_the_gradient_before_a_sort_by_differences():
    z, gradient = np.array([2.0, -1, -3, 0.5]), np.array([3.0, 1, 4, 2])
    before = [gradient @ (sorted_pairs(z + h) - sorted_pairs(z - h)) / 2e-6 for h in 1e-6 * np.eye(4)]
    one = course.exercise("activations.backward")
    np.testing.assert_allclose(one.solution, before, atol=1e-6)
    assert np.linalg.norm(one.solution) == pytest.approx(np.sqrt(30))
    assert np.linalg.norm(gradient * (z > 0)) == pytest.approx(np.sqrt(13))


@pytest.mark.slow
@given(st.lists(st.floats(-9, 9), min_size=4, max_size=4, unique=True))
def test_a_sort_backwards_keeps_scalar_products(z):
    back = activations.sort_pairs_backward(z, sorted_pairs(z))
    np.testing.assert_array_equal(back, z)  # what each channel became returns to it


def test_the_gradient_that_arrives_is_not_the_answer():
    assert "2 of 4 entries are off" in course.check("activations.backward", [3, 1, 4, 2]).message
    assert course.check("activations.backward", (1, 3, 4, 2))


@pytest.mark.slow
@given(st.integers(0, 10_000))
@settings(max_examples=examples(50))
def test_no_relu_network_of_one_hidden_layer_has_slopes_more_than_1_apart(seed):
    rng = np.random.default_rng(seed)
    w, v, b = rng.standard_normal((3, int(rng.integers(1, 30))))
    w, v = w / np.linalg.norm(w), v / np.linalg.norm(v)
    x = np.linspace(-20, 20, 2001)
    slopes = np.diff(np.maximum(x[:, None] * w + b, 0) @ v) / np.diff(x)
    assert np.ptp(slopes) <= 1 + 1e-9


def test_half_is_reached():
    s = course.exercise("activations.steepness").solution
    x = np.linspace(-2, 2, 11)
    w, v = np.array([1, -1]) / np.sqrt(2), np.array([1, 1]) / np.sqrt(2)
    np.testing.assert_allclose(np.maximum(x[:, None] * w, 0) @ v, s * np.abs(x), atol=1e-12)


def test_the_slope_that_keeps_lengths():
    from lipviz.layers import PReLUlip

    slope = course.exercise("activations.slope").solution
    kept = {a: measure.activation_shape(PReLUlip(), slope=a).is_isometry.all() for a in (slope, -0.5, 0.0, 0.25, 1.0)}
    assert kept == {slope: True, -0.5: False, 0.0: False, 0.25: False, 1.0: True}


def test_the_folded_line_in_keras_is_certified():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2), GroupSort2(), keras.layers.Dense(1)])
    w, v = activations.fold(1.0)
    network.set_weights([w[None], np.zeros(2), v[:, None], np.zeros(1)])
    x = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(network.predict(x[:, None], verbose=0)[:, 0], np.abs(x), atol=1e-6)
    assert certification.certify(network, search=False).upper_bound == pytest.approx(1, abs=1e-6)


def other_order(s):
    share = np.sqrt(abs(s) / 2)
    return [[-share, share], np.sign(s) * np.array([-share, share])]


def test_another_right_function_is_right():
    assert course.check("activations.fold", other_order)


def only_the_larger(s):
    return [[1.0, -1.0], [0.0, s]]


def without_the_sign(s):
    return activations.fold(abs(s))


def unshared(s):
    return [[1 / np.sqrt(2), -1 / np.sqrt(2)], [-s / np.sqrt(2), s / np.sqrt(2)]]


WRONG_FUNCTIONS = [
    (
        only_the_larger,
        ["passes 0 of 5", "On s = 1: the network is 1·|x|, but the norm of w is 1.41421", "above √|s| = 1"],
    ),
    (without_the_sign, ["passes 3 of 5", "On s = -1: the network computes 1·|x|, expected -1·|x|"]),
    (unshared, ["passes 2 of 5", "On s = 4", "the norm of v is 4"]),
    (lambda s: np.eye(2), ["at x = -2 the network gives", "expected 2"]),
    (lambda s: activations.fold(s)[0], ["shape is (2,), expected (2, 2)"]),
    (lambda s: activations.fold(s)[::-1], ["passes 2 of 5"]),
    (lambda: 0, ["TypeError"]),
]


@pytest.mark.parametrize(("function", "words"), WRONG_FUNCTIONS)
def test_a_wrong_function_is_told_where_and_why_it_fails(function, words):
    result = course.check("activations.fold", function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message
