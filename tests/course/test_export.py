"""The exercises of lesson 10, by another way than their module computes them."""

import math

import ml_dtypes
import numpy as np
import pytest

from lipviz import course
from lipviz.course import export


def test_the_exercises():
    names = [one.id for one in course.exercises("export")]
    assert names == [f"export.{name}" for name in ("radius", "bfloat16", "tuned", "shrink")]


def test_the_radius_is_reached_and_not_beaten():
    """The steepest 1.25-Lipschitz map of two logits changes its class at the radius, and no sooner."""
    radius = course.exercise("export.radius").solution

    def difference(r):
        logits = np.array([3.0, 1.6]) + 1.25 * r * np.array([-1, 1]) / math.sqrt(2)
        return logits[0] - logits[1]

    assert difference(radius) == pytest.approx(0, abs=1e-12)
    assert difference(0.999 * radius) > 0
    assert 1.4 / math.sqrt(2) / radius == pytest.approx(1.25)  # "a quarter more"


def test_rounding_is_that_of_bfloat16_and_float16():
    values = np.random.default_rng(0).uniform(-1, 1, 2000)
    np.testing.assert_array_equal(export.rounded(values), values.astype(ml_dtypes.bfloat16).astype(float))
    large = values[np.abs(values) > 1e-3]
    np.testing.assert_array_equal(export.rounded(large, bits=11), large.astype(np.float16).astype(float))


def test_the_column():
    one = course.exercise("export.bfloat16")
    entries = export._ENTRIES
    column = np.full(entries, 1 / math.sqrt(entries)).astype(ml_dtypes.bfloat16).astype(float)
    assert one.solution == pytest.approx(math.sqrt(np.sum(column**2)), abs=1e-12)
    assert 1.002 < one.solution <= 1 + 2**-8
    assert abs(one.solution - (1 + 2**-8)) > one.kind.tolerance  # the worst case is another answer


def test_where_one_step_of_adam_takes_an_orthogonal_kernel():
    """Adam's first step has entries of its learning rate, whatever the gradient is: only signs are left to try."""
    rng = np.random.default_rng(0)
    for shape in ((128, 64), (64, 10)):
        kernel = np.linalg.qr(rng.standard_normal(shape))[0]
        for _ in range(20):
            step = 1e-5 * np.sign(rng.standard_normal(shape))
            assert 1e-5 < np.linalg.norm(kernel + step, 2) - 1 < 0.01
            assert shape != (128, 64) or 1e-4 < np.linalg.norm(step, 2) < 1e-3


def test_every_wrong_choice_that_a_reader_may_make_gets_a_word():
    one = course.exercise("export.tuned")
    assert set(one.kind.mistakes) == set(one.kind.options) - {one.solution}
    for key, word in one.kind.mistakes.items():
        assert course.check(one.id, key).message.startswith(word)


# Rounding soundly


def _to_nearest(w):
    return w.astype(np.float16)


def _towards_zero(w):
    result = w.astype(np.float16)
    return np.where(np.abs(result.astype(float)) > np.abs(w), np.nextafter(result, np.float16(0)), result)


def _by_a_bound(w):
    return ((1 - 2**-11 * np.linalg.norm(w)) * w).astype(np.float16)


def test_other_right_functions_are_right():
    assert course.check("export.shrink", _by_a_bound)
    assert course.check("export.shrink", lambda w: _by_a_bound(w).astype(float))


def test_rounding_alone_is_unsound_on_every_orthogonal_case_and_the_solution_on_none():
    cases = [case.arguments[0] for case in course.exercise("export.shrink").kind.cases]
    for w in cases:
        assert np.linalg.svd(w)[1].max() <= 1 + 1e-14
        assert np.linalg.svd(export.shrink(w).astype(float))[1].max() <= 1
    unsound = [np.linalg.norm(_to_nearest(w).astype(float), 2) > 1 for w in cases]
    assert unsound == [False, False, True, True, True, True]


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_without_a_loop(seed):
    rng = np.random.default_rng(seed)
    w = np.linalg.qr(rng.standard_normal(rng.integers((40, 2), (80, 40))))[0]
    assert np.linalg.norm(_by_a_bound(w).astype(float), 2) <= 1


WRONG = [
    (_to_nearest, ["passes 2 of 6", "five equal entries", "after rounding, expected at most 1"]),
    (_towards_zero, ["passes 5 of 6", "an orthogonal matrix (8×8)"]),
    (lambda w: w / np.linalg.norm(w, 2), ["passes 1 of 6", "no float16 numbers"]),
    (lambda w: _to_nearest(w) / np.linalg.norm(_to_nearest(w).astype(float), 2), ["no float16 numbers"]),
    (lambda w: (0.99 * w).astype(np.float16), ["passes 0 of 6", "gave away too much"]),
    (lambda w: export.shrink(w).ravel(), ["passes 0 of 6", "the shape is (9,)"]),
    (lambda w: np.linalg.norm(w.astype(np.float16), 2) * w, ["TypeError"]),
]


@pytest.mark.parametrize(("function", "words"), WRONG)
def test_a_wrong_rounding_is_told_where_and_why_it_fails(function, words):
    result = course.check("export.shrink", function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message
