"""Exercises on margins: what they certify, the loss HKR, and the effect of its α."""

import math

import numpy as np

from lipviz.course.answers import Case, Choice, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise

_K, _OUTPUT = 4, -1.2
_POSITIVE, _NEGATIVE, _ALPHA, _MARGIN = (0.4, -0.1), (-0.3, 0.05), 10, 0.3
_TOLERANCE = 1e-9


def hkr(outputs: np.ndarray, labels: np.ndarray, alpha: float, min_margin: float) -> float:
    """The loss HKR of outputs of shape (n,) with labels 0 and 1: a mean difference, and a mean hinge."""
    positive = labels == 1
    distance = outputs[positive].mean() - outputs[~positive].mean()
    hinge = np.maximum(0, min_margin / 2 - np.where(positive, outputs, -outputs)).mean()
    return alpha * hinge - distance


_OUTPUTS = np.array([*_POSITIVE, *_NEGATIVE])
_LABELS = np.repeat([1, 0], [len(_POSITIVE), len(_NEGATIVE)])
_DISTANCE = float(-hkr(_OUTPUTS, _LABELS, 0, 0))
_LOSS = float(hkr(_OUTPUTS, _LABELS, _ALPHA, _MARGIN))

RADIUS = Exercise(
    id="margins.radius",
    question=(
        f"Predict: a classifier with one output, whose sign decides, is {_K}-Lipschitz. For one point its output is "
        f"{_OUTPUT}, which is the right sign. Within which radius is the decision certain not to change?"
    ),
    kind=Number(
        tolerance=0.005,
        mistakes={
            abs(_OUTPUT): f"That would be the radius of a 1-Lipschitz network. This one may fall {_K} times as fast.",
            abs(_OUTPUT) * _K: "The steeper the network may be, the *smaller* the radius.",
            abs(_OUTPUT) / _K / math.sqrt(2): (
                "The √2 belongs to the difference of two logits, which can move against each other. Here is one output."
            ),
            _OUTPUT
            / _K: "A radius has no sign. What counts is the magnitude of the output, which is its distance to 0.",
        },
    ),
    hints=(
        "The decision changes where the output reaches 0. How far is it from there now?",
        f"A move of length r changes the output by at most {_K} r.",
        f"Solve {_K} r = {abs(_OUTPUT)}.",
    ),
    solution=abs(_OUTPUT) / _K,
    explanation=(
        f"{abs(_OUTPUT)} / {_K} = {abs(_OUTPUT) / _K:g}. The output has to travel {abs(_OUTPUT)} to change its sign, "
        f"and travels at most {_K} for each unit of the input. Multiplying a network by {_K} multiplies its outputs "
        "and its constant alike, so no radius is gained by it: a margin means nothing without the constant."
    ),
)

LOSS = Exercise(
    id="margins.loss",
    question=(
        f"Predict: a network has the outputs {_POSITIVE[0]} and {_POSITIVE[1]} on two positive points, and "
        f"{_NEGATIVE[0]} and {_NEGATIVE[1]} on two negative ones. What is its loss HKR with α = {_ALPHA} and "
        f"min_margin = {_MARGIN}?"
    ),
    kind=Number(
        tolerance=1e-3,
        mistakes={
            float(hkr(_OUTPUTS, _LABELS, _ALPHA, 2 * _MARGIN)): "Each side has to keep *half* of min_margin.",
            float(hkr(_OUTPUTS, _LABELS, _ALPHA, 0)): "That is the loss with a margin of 0.",
            _LOSS + 2 * _DISTANCE: "The sign of KR: a large distance makes the loss small.",
            4 * (_LOSS + _DISTANCE) - _DISTANCE: "The hinge is the mean over the points, not their sum.",
            _LOSS + _DISTANCE: "That is the hinge alone, with its factor. KR is missing.",
            -_DISTANCE: "That is KR alone, with its sign. The hinge is missing.",
        },
    ),
    hints=(
        "Two parts. KR is the mean of the positive outputs minus that of the negative ones, and has a minus sign.",
        f"The hinge is max(0, {_MARGIN / 2} - s), with s the output, and for negative points minus the output. Which "
        "of the four points have a hinge above 0?",
        f"KR is {_DISTANCE:g}. The four hinges are 0, {_MARGIN / 2 - _POSITIVE[1]:g}, 0 and "
        f"{_MARGIN / 2 + _NEGATIVE[1]:g}. Take {_ALPHA} times their mean, and subtract KR.",
    ),
    solution=_LOSS,
    explanation=(
        f"{_ALPHA} · {(_LOSS + _DISTANCE) / _ALPHA:g} - {_DISTANCE:g} = {_LOSS:g}. The two points on the right side, "
        "beyond half the margin, have a hinge of 0, and count for KR only. The two others are on the wrong side: their "
        f"hinge is the distance to 0 plus {_MARGIN / 2:g}."
    ),
)

ALPHA = Exercise(
    id="margins.alpha",
    question=(
        "Change the lesson's experiment: train on the moons with `loss=HKR(alpha=100, min_margin=0.29)` and compare "
        "with α = 10. What happens to the test accuracy, and to the distance KR between the mean outputs?"
    ),
    kind=Choice(
        options={
            "a": "both rise",
            "b": "the accuracy rises, the distance falls",
            "c": "the accuracy falls, the distance rises",
            "d": "both fall",
        },
        mistakes={
            "a": "The distance is what KR alone is best at. Which part of the loss does α weigh?",
            "c": "That is what a smaller α does.",
            "d": "The hinge penalizes points on the wrong side. A larger α counts it more.",
        },
    ),
    hints=(
        "α weighs the hinge. At the two ends, 0 and infinity, you have seen what becomes of both numbers.",
        "Copy the cell of the first classifier with alpha=100, and print both numbers as the later cell does.",
        "A larger α goes towards the hinge alone: compare the last two rows of the table in the lesson.",
    ),
    solution="b",
    explanation=(
        "At α = 100 all or nearly all test points are right, and the distance between the means falls from about 1.05 "
        "to between 0.6 and 0.7, and with it the median certified radius. More accuracy costs robustness, and α "
        "sets the balance. The network allows both: the loss decides which 1-Lipschitz function it becomes."
    ),
)


def _judge_hkr(result: np.ndarray, outputs: np.ndarray, labels: np.ndarray, alpha: float, min_margin: float) -> str:
    """Compares with sums over single points, and recognizes known mistakes."""
    if result.size != 1:
        return f"the result has {result.size} numbers, expected one."
    sides: list[list[float]] = [[], []]
    for output, label in zip(outputs.tolist(), labels.tolist(), strict=True):
        sides[label].append(output)
    distance = sum(sides[1]) / len(sides[1]) - sum(sides[0]) / len(sides[0])

    def hinges(margin):
        return [max(0.0, margin - s) for s in sides[1]], [max(0.0, margin + s) for s in sides[0]]

    up, down = hinges(min_margin / 2)
    count, value = len(outputs), result.item()
    expected = alpha * sum(up + down) / count - distance
    if _close(value, expected):
        return ""
    mistakes = (
        (alpha * sum(map(sum, hinges(min_margin))) / count - distance, "each side has to keep half of `min_margin`."),
        (alpha * sum(up + down) / count + distance, "the sign of KR is wrong: a large distance makes the loss small."),
        (alpha * sum(up + down) - distance, "you summed the hinges; take their mean."),
        (
            alpha * (sum(up) / len(up) + sum(down) / len(down)) / 2 - distance,
            "you averaged the hinge in each class; its mean is over all points, whatever their class.",
        ),
        (
            alpha * sum(up + down) / count - (sum(sides[1]) - sum(sides[0])) / count,
            "KR is a difference of two means, each over its own class: divide by the sizes of the classes.",
        ),
    )
    word = next((word for wrong, word in mistakes if _close(value, wrong)), "")
    return word or f"the result is {value:.6g}, expected {expected:.6g}."


def _close(value, other):
    return math.isclose(value, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def _hkr_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    labels = (rng.random(50) < 0.3).astype(int)
    outputs = rng.standard_normal(50)
    return (
        Case("the four points of exercise 2", (_OUTPUTS, _LABELS, float(_ALPHA), _MARGIN)),
        Case(
            "three positive points and one negative",
            (np.array([0.2, -0.4, 1.0, 0.1]), np.array([1, 1, 1, 0]), 2.0, 1.0),
        ),
        Case("alpha = 0", (outputs, labels, 0.0, 1.0)),
        Case("a margin of 0", (outputs, labels, 5.0, 0.0)),
        Case("fifty points, fewer positive ones", (outputs, labels, 10.0, 0.29)),
        Case("points that keep every margin", (np.array([-3.0, 2.0, -2.0]), np.array([0, 1, 0]), 10.0, 1.0)),
    )


WRITE = Exercise(
    id="margins.hkr",
    question=(
        "Write a function `hkr(outputs, labels, alpha, min_margin)` in NumPy that returns the loss HKR as one number: "
        "α times the hinge, minus KR. `outputs` is a float64 array of shape (n,), `labels` holds 0 and 1, each at "
        "least once, in any order and not equally often. It is checked to 1e-9. Change nothing in place."
    ),
    kind=Function(signature="hkr(outputs, labels, alpha, min_margin)", cases=_hkr_cases(), judge=_judge_hkr),
    hints=(
        "`outputs[labels == 1].mean()` is the mean over the positive points. KR is a difference of two such means.",
        "For the hinge, turn the sign of the outputs of negative points: `np.where(labels == 1, outputs, -outputs)`.",
        "The hinge is the mean over *all* points of `np.maximum(0, min_margin / 2 - s)`, with s from the last hint.",
    ),
    solution=hkr,
    explanation=(
        "KR weighs both classes alike, however many points they have: each mean is over its own class. The hinge "
        "weighs each point alike. So with unequal classes the hinge cares more for the frequent one; KR does not.\n\n"
        "In a training by batches KR is that of each batch, which is why batches should hold both classes."
    ),
)

EXERCISES = (RADIUS, LOSS, ALPHA, WRITE)

EXTREMES = Prediction(
    id="margins.extremes",
    question=(
        "Which network classifies better: the one that only makes the *distance* between the classes large (KR alone), "
        "or the one that does not use this distance at all (the hinge alone)?"
    ),
    kind=Option(
        options={"kr": "KR alone", "hinge": "the hinge alone", "same": "both are about as good"},
        replies={
            "kr": "It is strictly better at what KR measures. That is not the number of right answers.",
            "same": "KR alone gets the points at the tips of the moons wrong.",
        },
    ),
    explanation=(
        "The network that moves the classes furthest apart classifies worst, although it is *strictly better* at what "
        "KR measures. The threshold 0 is not the cause: with the best of all thresholds, its accuracy is hardly higher."
    ),
    truth="hinge",
)

MOVES = Prediction(
    id="margins.moves",
    question=(
        "Now 500 moves in random directions, each just shorter than the certified radius, try to change the decision "
        "of each point. How many of these thousands of moves succeed, in per cent?"
    ),
    kind=Amount(
        lowest=0,
        highest=100,
        within=0,
        unit=" %",
        replies=((0.001, 100, "A certified radius is not an average: inside of it, *every* move fails."),),
    ),
    explanation=(
        "None. A certificate speaks of all moves, so that no number of attempts can break it. Attempts can only find a "
        "mistake in the proof or in the program."
    ),
)

PREDICTIONS = (MOVES, EXTREMES)
