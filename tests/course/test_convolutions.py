"""Exercises of lesson 04, by other ways than they compute their values themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import convolution_matrix as full_matrix

from lipviz import course, measure, operators
from lipviz.course import convolutions
from tests.support import examples


def test_the_lesson_has_its_exercises():
    names = ["patches", "average", "matrix"]
    assert [one.id for one in course.exercises("convolutions")] == [f"convolutions.{name}" for name in names]


def test_the_factor_is_sound_and_none_larger_is():
    """The kernel of ones attains the count of patches in the limit of large images; one along an axis is enough."""
    factor = course.exercise("convolutions.patches").solution
    counts = operators.Convolution(np.ones((7, 1, 1)), (60,), (3,), "same").T @ np.ones(20)
    assert factor == pytest.approx(1 / counts.max())  # 1/√P in the plane, P being a square
    # A wide kernel keeps every patch's length, so the pixel in most patches is stretched by √P.
    wide = np.eye(49).reshape(7, 7, 1, 49)
    norm = measure.largest_singular_value(operators.Convolution(factor * wide, (21, 21), (3, 3), "same"))
    assert norm == pytest.approx(1)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_the_norm_after_the_average_is_that_of_the_layer(size):
    kernel = measure.sample_kernel("random", 3, 1, 16, orthogonal=True)
    claims = measure.convolution_claims(kernel, size, spectrum=False)
    assert claims.methods[-1] == "reference's average"
    assert convolutions.norm_after_average(3, size) == pytest.approx(claims.after[-1])


def test_the_answer_is_what_the_explorer_says():
    from lipviz.explorers import ConvolutionExplorer

    explorer = ConvolutionExplorer()
    explorer.state = {"kernel": "random", "image": 16}
    assert explorer.error is None
    assert course.check("convolutions.average", explorer.data.after[-1])
    explorer.state = {"kernel": "checkerboard"}  # as the explorer opens
    assert explorer.data.after[-1] == pytest.approx(convolutions._CHECKERBOARD)
    explorer.close()


def by_scipy(kernel, n):
    """Rows of the full convolution with the kernel turned round, without those at both ends."""
    reach = len(kernel) // 2
    return full_matrix(kernel[::-1], n, mode="full")[reach : reach + n]


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(st.lists(st.floats(-9, 9), min_size=1, max_size=9).filter(lambda k: len(k) % 2), st.integers(1, 9))
def test_all_ways_to_the_matrix_agree(kernel, n):
    kernel = np.array(kernel)
    expected = operators.explicit_matrix(operators.Convolution(kernel[:, None, None], (n,), padding="same"))
    for function in (convolutions.convolution_matrix, convolutions.by_unit_images, by_scipy):
        np.testing.assert_allclose(function(kernel, n), expected, atol=1e-12)


def circular(kernel, n):
    return sum(w * np.roll(np.eye(n), j - len(kernel) // 2, axis=1) for j, w in enumerate(kernel))


def in_place(kernel, n):
    kernel[0] = 0
    return np.zeros((n, n))


WRONG_FUNCTIONS = [
    (lambda k, n: convolutions.convolution_matrix(k[::-1], n), ["(1, 2, 5)", "flipped"]),
    (lambda k, n: convolutions.convolution_matrix(k, n).T, ["flipped"]),
    (circular, ["wraps around"]),
    (lambda k, n: full_matrix(k, n, mode="full"), ["expected (4, 4)"]),
    (lambda k, n: np.eye(n), ["10 of 16 entries are off", "[2.0, 1.0, 0.0, 0.0]"]),
    (in_place, ["in place"]),
]


@pytest.mark.parametrize(("function", "words"), WRONG_FUNCTIONS)
def test_a_wrong_function_is_told_why(function, words):
    result = course.check("convolutions.matrix", function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message


@pytest.mark.parametrize("function", [by_scipy, convolutions.by_unit_images])
def test_other_right_functions_are_right(function):
    assert course.check("convolutions.matrix", function)
