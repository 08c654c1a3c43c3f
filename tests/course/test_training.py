"""The numbers of lesson 11 by other ways than the exercises compute them, and answers that are wrong."""

import itertools

import numpy as np
import pytest

from lipviz import course, losses
from lipviz.course import training
from lipviz.utils import process_labels_for_multi_gpu

NUMBERS = {"training.pairs": 3, "training.devices": 5 / 3, "training.rounding": 0.240416}


def kr(labels, outputs):
    return float(np.mean(losses.kr(np.asarray(labels, "float32"), np.asarray(outputs, "float32"))))


def test_the_exercises_and_their_numbers():
    assert [one.id for one in course.exercises("training")] == [*NUMBERS, "training.weigh"]
    for name, value in NUMBERS.items():
        assert course.exercise(name).solution == pytest.approx(value, abs=1e-5)
        assert course.check(name, value)


def mean_over_pairs(positive, negative):
    pairs = list(itertools.product((0, 1), repeat=2))
    return np.mean([kr(pair, [(negative, positive)[y] for y in pair]) for pair in pairs])


def test_the_loss_itself_says_so_for_all_pairs():
    assert mean_over_pairs(2.5, -1.5) == pytest.approx(course.exercise("training.pairs").solution)


def test_the_share_is_three_quarters_for_any_scores_and_batches_jump_with_an_offset():
    for positive, negative in ((3, -1), (103, 99), (-5, 2)):
        assert mean_over_pairs(positive, negative) == pytest.approx(0.75 * (positive - negative), rel=1e-5)
    assert kr([1, 1], [103, 103]) == pytest.approx(103)
    assert kr([0, 0], [99, 99]) == pytest.approx(-99)


@pytest.mark.parametrize("devices", [1, 2, 3, 4, 6, 12])
def test_split_batches_are_those_of_the_loss(devices):
    parts = zip(np.split(training._LABELS, devices), np.split(training._OUTPUTS, devices), strict=True)
    by_loss = np.mean([kr(y, f) for y, f in parts])
    assert training.split_kr(training._LABELS, training._OUTPUTS, devices) == pytest.approx(by_loss, abs=1e-6)


def test_what_the_explanation_of_devices_claims():
    values = [training.split_kr(training._LABELS, training._OUTPUTS, devices) for devices in (1, 2, 4)]
    assert values == pytest.approx([3, 2, 1.25])


def test_the_batch_is_that_of_the_lesson():
    from pathlib import Path

    lesson = Path(__file__).parents[2] / "notebooks" / "11_train_for_real.py"
    text = lesson.read_text(encoding="utf-8")
    assert f"labels = np.array({training._LABELS.tolist()}, " in text
    assert f"outputs = np.array({training._OUTPUTS.astype(int).tolist()}, " in text
    assert "\nDEVICES = 4\n" in text


def test_rounding_cannot_turn_the_class_within_the_radius_and_can_beyond():
    radius = course.exercise("training.rounding").solution
    steepest = np.array([-1, 1]) / np.sqrt(2)
    worst = np.array([-0.03, 0.03])
    for share, safe in ((0.999, True), (1.001, False)):
        rounded = np.array([1.3, 0.9]) + share * radius * steepest + worst
        assert (rounded[0] > rounded[1]) == safe


@pytest.mark.parametrize("case", training.WEIGH.kind.cases, ids=lambda case: case.name)
def test_the_weights_are_those_of_the_library_and_do_what_they_are_for(case):
    (labels,) = case.arguments
    weights = training.weigh(labels)
    np.testing.assert_allclose(weights, np.asarray(process_labels_for_multi_gpu(labels)), rtol=1e-6)
    outputs = np.random.default_rng(0).standard_normal(len(labels))
    sides = [outputs[labels > 0], outputs[labels <= 0]]
    means = [side.mean() if len(side) else 0.0 for side in sides]
    assert np.mean(weights * outputs) == pytest.approx(means[0] - means[1])


def test_another_right_function_is_right():
    def by_shares(labels):
        share = (labels > 0).mean()
        with np.errstate(divide="ignore"):
            return np.where(labels > 0, 1 / np.float64(share), -1 / np.float64(1 - share))

    assert course.check("training.weigh", by_shares)
    assert course.check("training.weigh", lambda labels: np.asarray(process_labels_for_multi_gpu(labels)))


WRONG = [
    (lambda y: training.weigh(y) / len(y), ["passes 0 of 5", "those of a sum"]),
    (lambda y: np.abs(training.weigh(y)), ["not the signs"]),
    (lambda y: training.weigh(y)[:, None], ["shape is (4, 1), expected (4,)"]),
    (lambda y: np.where(y > 0, 1.0, -1.0), ["expected [2.0, 2.0, -2.0, -2.0]"]),
    (lambda y: len(y) * (y / y.sum() - (1 - y) / (len(y) - y.sum())), ["labels -1 and 1", "no positive label"]),
    (
        lambda y: len(y) * (np.maximum(y, 0) / np.sum(y > 0) - (y <= 0) / np.sum(y <= 0)),
        ["passes 3 of 5", "no positive label", "NaN"],
    ),
]


@pytest.mark.parametrize(("function", "words"), WRONG)
def test_a_wrong_function_is_told_where_and_why_it_fails(function, words):
    result = course.check("training.weigh", function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message
