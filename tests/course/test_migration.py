"""The numbers of lesson 12 by other ways than the exercises compute them, and answers that are wrong."""

import keras
import numpy as np
import pytest

from lipviz import course, measure, operators
from lipviz import normalizers as nm
from lipviz.course import migration

NUMBERS = {"migration.average": 1.153846, "migration.harmless": 23, "migration.disjoint": 0.6}


def test_the_exercises_and_their_numbers():
    assert [one.id for one in course.exercises("migration")] == [*NUMBERS, "migration.coverage"]
    for name, value in NUMBERS.items():
        assert course.exercise(name).solution == pytest.approx(value, abs=1e-6)
        assert course.check(name, value)


def patches(n, k):
    """All patches of an image as one matrix: the convolution of an orthogonal kernel keeps the length of each."""
    kernel = np.eye(k * k).reshape(k, k, 1, k * k)
    return operators.explicit_matrix(operators.Convolution(kernel, (n, n), (1, 1), "same"))


@pytest.mark.parametrize(("n", "k"), [(3, 3), (4, 3), (5, 3), (7, 3), (5, 5), (7, 5)])
def test_the_excess_is_the_norm_of_all_patches_over_the_root_of_their_average_number(n, k):
    matrix = patches(n, k)
    average = (matrix**2).sum() / n**2
    excess = np.linalg.norm(matrix, 2) / np.sqrt(average)
    assert migration.averaged_excess(n, k) == pytest.approx(excess * min(k, migration.coverage(n, k, 1).max()) / k)
    if migration.coverage(n, k, 1).max() == k:
        assert migration.averaged_excess(n, k) == pytest.approx(excess)


def test_the_explorers_measurement_says_the_same():
    kernel = measure.sample_kernel("random", 3, 1, 16, orthogonal=True)
    after = {n: measure.convolution_claims(kernel, n, spectrum=False).after[-1] for n in (3, 5, 8, 22, 23)}
    for n, norm in after.items():
        assert migration.averaged_excess(n) == pytest.approx(norm, rel=1e-6)
    assert after[22] >= 1.03 > after[23]
    assert measure.convolution_claims(kernel, 5, spectrum=False).methods[-1] == "reference's average"


def test_what_the_explanations_claim():
    assert "1.1538" in migration.AVERAGE.explanation
    assert "1.0244" in migration.AVERAGE.explanation
    assert "1.2000" in migration.AVERAGE.explanation
    assert "1.34" in migration.HARMLESS.explanation
    excess = [migration.averaged_excess(n) for n in range(3, 33)]
    assert (np.diff(excess) < 0).all()


def test_a_disjoint_margin_is_used_up_at_half_of_it():
    kernel = np.array([[1.0, -1.0], [0.0, 0.0]])
    x = np.array([0.6, 0.0])
    scores = x @ kernel
    assert scores[0] - scores[1] == pytest.approx(1.2)
    radius = course.exercise("migration.disjoint").solution
    for share, wins in ((0.999, True), (1.001, False)):
        moved = (x - [share * radius, 0]) @ kernel
        assert (moved[0] > moved[1]) == wins


@pytest.mark.parametrize("case", migration.COVERAGE.kind.cases, ids=lambda case: case.name)
def test_the_counts_are_those_of_keras_and_of_the_layers(case):
    n, k, s = case.arguments
    layer = keras.layers.Conv1D(k, k, strides=s, padding="same", use_bias=False)
    layer.build((None, n, 1))
    layer.kernel.assign(np.eye(k)[:, None, :])
    # Its k outputs are the entries of a patch: a pixel of 1 is seen by each patch that reads it once.
    counts = np.asarray(layer(np.eye(n)[:, :, None])).sum(axis=(1, 2))
    np.testing.assert_array_equal(migration.coverage(n, k, s), counts)
    assert counts.max() == nm.patch_coverage(n, k, s, "same")


def by_pixels(n, k, s):
    """Another right one: counts, for each pixel, the patches that hold it."""
    patches = np.arange(-(-n // s)) * s
    before = max((len(patches) - 1) * s + k - n, 0) // 2
    pixels = np.arange(n)[:, None]
    return ((pixels >= patches - before) & (pixels < patches - before + k)).sum(axis=1).astype(float)


def test_another_right_function_is_right():
    assert course.check("migration.coverage", by_pixels)
    assert course.check("migration.coverage", lambda n, k, s: by_pixels(n, k, s).astype("float32"))


def centred(n, k, s):
    """Starts the patches at the row's first pixel."""
    counts = np.zeros(n)
    for first in range(0, n, s):
        counts[first : first + k] += 1
    return counts


def negative_slices(n, k, s):
    """Forgets that a slice which begins below 0 counts from the end."""
    counts = np.zeros(n)
    patches = -(-n // s)
    before = max((patches - 1) * s + k - n, 0) // 2
    for patch in range(patches):
        counts[patch * s - before : patch * s - before + k] += 1
    return counts


WRONG = [
    (lambda n, k, s: migration.coverage(n, k, s).max(), ["shape is (), expected (5,)"]),
    (lambda n, k, s: migration.coverage(n, k, s).mean() * np.ones(n), ["passes 3 of 7", "expected [2, 3, 3, 3, 2]"]),
    (lambda n, k, s: k * np.ones(n), ["5 pixels", "said to be read by 3"]),
    (lambda n, k, s: migration.coverage(n, k, s)[::-1], ["odd padding", "backwards"]),
    (lambda n, k, s: migration.coverage(n, k, 1), ["stride 2", "at the most"]),
    (centred, ["expected [2, 3, 3, 3, 2], received [1.0, 2.0, 3.0, 3.0, 3.0]"]),
    (negative_slices, ["5 pixels"]),
]


@pytest.mark.parametrize(("function", "words"), WRONG)
def test_a_wrong_function_is_told_where_and_why_it_fails(function, words):
    result = course.check("migration.coverage", function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message
