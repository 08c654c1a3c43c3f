"""Exercises of lesson 08, by other ways than they compute."""

import numpy as np
import pytest

from lipviz import certification, course
from lipviz.course import certificates
from lipviz.explorers import TradeoffExplorer


def test_the_numbers():
    assert course.exercise("certificates.left").solution == 540
    assert course.exercise("certificates.pair").solution == pytest.approx(0.559017, abs=1e-6)


def test_the_pair_is_where_the_features_of_two_classes_meet():
    """The shortest move of the features that makes the two logits equal, over all directions."""
    one, two = np.array([1.0, 0.0]), np.array([0.6, 0.8])
    angles = np.linspace(0, 2 * np.pi, 100_001)
    moves = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    falls = moves @ (two - one)  # how fast the lead of 0.5 shrinks in each direction
    assert 0.5 / falls.max() == pytest.approx(course.exercise("certificates.pair").solution, rel=1e-6)


def test_the_run_of_a_tau_is_what_the_explorer_shows():
    explorer = TradeoffExplorer()
    begins = explorer.data.runs[explorer.data.chosen].mean_radius
    explorer.state = {"loss": "crossentropy", "tau": 100.0}
    shown = explorer.data.runs[explorer.data.chosen].mean_radius
    explorer.close()
    assert course.check("certificates.tau", shown)
    assert course.check("certificates.tau", round(shown, 2))
    assert "where the explorer begins" in course.check("certificates.tau", round(begins, 2)).message


def test_a_copy_of_the_last_release_finds_the_exercise_by_its_old_id():
    with pytest.warns(DeprecationWarning, match=r"use `certificates\.tau`"):
        assert course.exercise("certificates.dial") is course.exercise("certificates.tau")


def test_the_share_is_that_of_the_library():
    """Of the affine classifier x ↦ x, whose three logits are the input itself."""
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False)])
    model.layers[0].kernel.assign(np.eye(3))
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((500, 3)).astype("float32"), rng.integers(3, size=500)
    epsilons = (0.0, 0.3, 1.0)
    expected = certification.certified_radius(model, x, labels).accuracy_at(epsilons).certified
    np.testing.assert_array_equal([certificates.share(x, labels, 1.0, one) for one in epsilons], expected)


def without_root(logits, labels, k, epsilon):
    return certificates.share(logits, labels, k / np.sqrt(2), epsilon)


def of_all(logits, labels, k, epsilon):
    top = np.sort(logits, axis=1)
    return np.mean((top[:, -1] - top[:, -2]) / (np.sqrt(2) * k) > epsilon)


def margins(logits, labels):
    return np.array([row[label] - np.delete(row, label).max() for row, label in zip(logits, labels, strict=True)])


def with_ties(logits, labels, k, epsilon):
    return np.mean(margins(logits, labels) >= np.sqrt(2) * k * epsilon)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (without_root, ["divided by √2"]),
        (of_all, ["images that are wrong"]),
        (with_ties, ["images with ties"]),
        (lambda logits, labels, k, epsilon: np.zeros(3), ["shape (3,)"]),
        (lambda logits, labels, k, epsilon: 2.0, ["the result is 2"]),
    ],
)
def test_a_wrong_function_is_told_why(function, words):
    result = course.check("certificates.share", function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message


def test_another_right_function_is_right():
    def share(logits, labels, k, epsilon):
        return float(np.mean(margins(logits, labels) > epsilon * k * 2**0.5))

    assert course.check("certificates.share", share)
