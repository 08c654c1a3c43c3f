"""Exercises of lesson 01: what a Lipschitz constant is, what bounds say of it, and what random inputs see."""

import math

import numpy as np

from lipviz.course.answers import Case, Choice, Function, Number
from lipviz.course.guesses import Amount, Curve, Option, Prediction
from lipviz.course.registry import Exercise

_HIDDEN = (1.0, -2.0)  # x is multiplied by these, cut off by ReLU,
_OUT = (3.0, 2.0)  # multiplied by these, and added up
_SLOPES = (_HIDDEN[0] * _OUT[0], _HIDDEN[1] * _OUT[1])  # for positive inputs, and for negative ones
_PRODUCT = math.hypot(*_HIDDEN) * math.hypot(*_OUT)
_INPUTS, _UNITS = 64, 32
_TOLERANCE = 1e-9

KINK = Exercise(
    id="constants.kink",
    question=(
        f"Predict: a small network takes one number x and returns {_OUT[0]:g}·relu(x) + {_OUT[1]:g}·relu(−2x), where "
        "relu(z) is the larger of z and 0. What is its Lipschitz constant, the smallest that holds?"
    ),
    kind=Number(
        tolerance=1e-3,
        mistakes={
            _SLOPES[0] - _SLOPES[1]: "That is the sum, as if both ReLUs could be active at once. Can they?",
            _PRODUCT: "That is the product of the norms of both layers: an upper bound, but not the smallest one.",
            math.hypot(*_OUT): "That is the norm of the last layer's weights. Draw the graph instead.",
            _SLOPES[0]: "Look at the graph on the left of 0 as well.",
            _OUT[1]: "Of the left piece you forgot the 2 inside of the ReLU.",
            sum(_SLOPES): "Slopes do not add up here: for each x only one of the ReLUs is active.",
            -sum(_SLOPES): "Slopes do not add up here: for each x only one of the ReLUs is active.",
        },
    ),
    hints=(
        "Draw the graph. It has two straight pieces. What is the slope of each?",
        "Of relu(x) and relu(−2x), one is always 0. So for x > 0 the network is one straight line, for x < 0 another.",
        "The steepest secant lies within the steeper piece. Secants across the kink at 0 are flatter than that.",
    ),
    solution=max(map(abs, _SLOPES)),
    explanation=(
        f"The slope is {_SLOPES[0]:g} on the right and −{-_SLOPES[1]:g} on the left, so no secant is steeper than "
        f"{max(map(abs, _SLOPES)):g}, and those on the left are as steep as that.\n\n"
        f"The product of the norms of its layers, ‖(1, −2)‖ · ‖(3, 2)‖ = {_PRODUCT:.2f}, is a true bound about twice "
        "too large. It assumes that both ReLUs are active at once. Such excess factors multiply with every layer."
    ),
)

FOLLOWS = Exercise(
    id="constants.follows",
    question=(
        "A search over a million pairs of inputs found that a network stretches none of them by more than 0.93. "
        "`lipviz.certify` says: at most 1.2. What follows for the network's Lipschitz constant L?"
    ),
    kind=Choice(
        {
            "a": "L is at most 0.93",
            "b": "L lies between 0.93 and 1.2",
            "c": "L is 0.93 up to a small error",
            "d": "L is 1.2",
        },
        {
            "a": "The search saw a million pairs. There are infinitely many others.",
            "c": "Remember the 512 dimensions: there the best of ten thousand pairs was at 56 %.",
            "d": "An upper bound need not be attained: the steepest directions of the layers may not line up.",
        },
    ),
    hints=(
        "One of the two numbers was found on some pairs, the other was proved for all.",
        "A pair that is stretched by 0.93 exists. Does that bound L from below or from above?",
        "L is the smallest number that no pair exceeds: no less than what was found, no more than what was proved.",
    ),
    solution="b",
    explanation=(
        "What is found is a lower bound: that pair exists, so L ≥ 0.93. What is proved is an upper bound: L ≤ 1.2. No "
        "more is known. To say that a network is 1-Lipschitz one needs an upper bound of 1; to refute it, one single "
        "pair that is stretched by more than 1."
    ),
)

NARROW = Exercise(
    id="constants.narrow",
    question=(
        f"Change the cell below: let the layer have {_INPUTS} inputs and {_UNITS} units in place of 64. All of its "
        f"singular values are still 1, and there are {_UNITS} of them. Guess the median stretch of random inputs, then "
        "run the cell and answer with that number."
    ),
    kind=Number(
        tolerance=0.02,
        mistakes={
            1.0: "That is the largest singular value: what the best direction gets. A random one gets less.",
            _UNITS / _INPUTS: "That is the share of the squared length. Take its root.",
            math.sqrt(_INPUTS / _UNITS): "No input is stretched by more than the largest singular value, 1.",
        },
    ),
    hints=(
        f'Set `"units"` to {_UNITS} in `explorer.state = {{…}}`, run that cell and read the printed number.',
        f"The layer keeps the part of an input that lies in {_UNITS} of the {_INPUTS} directions, and drops the rest.",
        "A random input has about the same share of its squared length in every direction. How many of the "
        f"{_INPUTS} shares are kept? Take the root for lengths.",
    ),
    solution=math.sqrt(_UNITS / _INPUTS),
    explanation=(
        f"About √({_UNITS}/{_INPUTS}) = {math.sqrt(_UNITS / _INPUTS):.3f}. Singular values of 1 mean that what the "
        f"layer keeps has its full length; but {_INPUTS - _UNITS} of {_INPUTS} directions are dropped, since "
        f"{_UNITS} outputs cannot hold more.\n\n"
        "The constant is still 1: it describes the best direction, not a typical one."
    ),
)


def steepest(x: np.ndarray, y: np.ndarray) -> float:
    """Returns the largest ratio of the distance of two rows of ``y`` to that of the same rows of ``x``."""
    runs = np.linalg.norm(x[:, None] - x[None], axis=-1)
    rises = np.linalg.norm(y[:, None] - y[None], axis=-1)
    return np.max(rises[runs > 0] / runs[runs > 0])


def _largest_by_rows(x, y):
    """The same, computed in another way: row by row, with squares."""
    best = 0.0
    for i in range(len(x) - 1):
        runs = np.sum((x[i + 1 :] - x[i]) ** 2, axis=1)
        rises = np.sum((y[i + 1 :] - y[i]) ** 2, axis=1)
        best = max(best, float(np.max(rises[runs > 0] / runs[runs > 0], initial=0.0)))
    return math.sqrt(best)


def _judge_steepest(result: np.ndarray, x: np.ndarray, y: np.ndarray) -> str:
    """Says why ``result`` is not the largest ratio over all pairs of different samples."""
    if result.size != 1:
        return f"it returned {result.size} numbers, expected one: the largest ratio."
    value, expected = float(result.reshape(())), _largest_by_rows(x, y)
    if math.isclose(value, expected, rel_tol=_TOLERANCE):
        return ""
    neighbours = np.linalg.norm(np.diff(x, axis=0), axis=1) > 0
    rises = np.linalg.norm(np.diff(y, axis=0), axis=1)[neighbours]
    runs = np.linalg.norm(np.diff(x, axis=0), axis=1)[neighbours]
    if math.isclose(value, np.max(rises / runs), rel_tol=_TOLERANCE):
        return (
            f"it returned {value:.6g}, expected {expected:.6g}. That is the best of neighbouring rows: try all pairs."
        )
    if math.isclose(value, expected**2, rel_tol=_TOLERANCE):
        return f"it returned {value:.6g}, the square of what was expected."
    return f"it returned {value:.10g}, expected {expected:.10g}."


def _steepest_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    line = rng.permutation(np.linspace(-2, 2, 30))[:, None]
    plane = rng.standard_normal((40, 2))
    images = rng.uniform(size=(25, 64))
    twice = rng.permutation(np.concatenate([plane[:10], plane[:10]]))
    return (
        Case("30 points of a curve, in any order", (line, line + np.sin(3 * line) / 2)),
        Case("points of the plane and one output", (plane, np.sin(3 * plane[:, :1]) - 2 * plane[:, 1:])),
        Case("64 inputs and 10 outputs", (images, np.tanh(images @ rng.standard_normal((64, 10))))),
        Case("samples among which some are equal", (twice, twice @ rng.standard_normal((2, 3)))),
        Case("a function that is constant", (plane, np.ones((40, 3)))),
    )


STEEPEST = Exercise(
    id="constants.steepest",
    question=(
        "Write a function `steepest(x, y)` that takes samples x of shape (n, d) and what a network made of them, y of "
        "shape (n, m), both float64. It returns one number, the largest ratio ‖yᵢ − yⱼ‖ / ‖xᵢ − xⱼ‖ over all pairs of "
        "samples. Pairs of equal samples are left out. It is checked to a relative error of 1e-9."
    ),
    kind=Function(signature="steepest(x, y)", cases=_steepest_cases(), judge=_judge_steepest),
    hints=(
        "`x[:, None] - x[None]` has the shape (n, n, d): all differences at once. Two loops will do as well.",
        "`np.linalg.norm(…, axis=-1)` makes distances of them. Where the distance of inputs is 0, there is no ratio.",
        "With `runs` and `rises` the two tables of distances: the largest of `rises[runs > 0] / runs[runs > 0]`.",
    ),
    solution=steepest,
    explanation=(
        "That is the lower bound of `certification.secant_ratios`, over all pairs instead of random ones. Of n samples "
        "there are n(n − 1)/2 pairs.\n\n"
        "On a line, sorted, neighbours are enough: a secant over several steps is an average of the steps' slopes, so "
        "that one of them is at least as steep. In the plane there are no neighbours in this sense."
    ),
)

EXERCISES = (KINK, FOLLOWS, NARROW, STEEPEST)

CONE = Prediction(
    id="constants.cone",
    question=(
        "The constant of f(x) = x + ½ sin 3x is 2.5. Give the sides of the cone a smaller slope, 2. At which of its "
        "points does the graph enter the cone?"
    ),
    kind=Option(
        options={
            "all": "at every point",
            "some": "at points near which the graph is steep",
            "none": "at no point, since 2 is nearly 2.5",
        },
        replies={
            "all": "Near its hills and valleys the graph is flat, and a cone of slope 2 is wide enough there.",
            "none": "Where the slope of the graph is 2.5, it rises faster than the sides of that cone.",
        },
    ),
    explanation=(
        "Only where a secant through the point is steeper than 2. So one point at which the graph enters the cone "
        "refutes a constant. Points at which it does not enter prove nothing."
    ),
    truth="some",
)

PAIRS = Prediction(
    id="constants.pairs",
    question=(
        "Draw 10,000 random pairs, keep the largest stretch, and divide it by σ₁. Which share of the constant will "
        "that find for a random matrix in 2 dimensions? In 8, 64 and 512? Draw the curve."
    ),
    kind=Curve(
        places=("2", "8", "64", "512"),
        lowest=0,
        highest=1,
        within=0.1,
        x="dimension",
        replies={
            "flat": "You expected that a sample works equally well everywhere. In high dimensions it does not.",
            "rising": "You expected the opposite. More dimensions have more directions to miss.",
            "falling": "It falls, as you said. Compare how far.",
        },
    ),
    explanation=(
        "In 512 dimensions, ten thousand pairs find little more than half of the constant, and the first hundred pairs "
        "find nearly as much. A random direction contains a little of every singular vector. So all random directions "
        "are stretched by about the same factor, an average of the singular values."
    ),
)

GAP = Prediction(
    id="constants.gap",
    question=(
        "Divide the product of all σ₁, which is proved, by the largest ratio that was found. For two layers this is "
        "close to 1. How large is it for the deepest of the networks?"
    ),
    kind=Amount(
        lowest=1,
        highest=1_000_000,
        ratio=2.5,
        replies=(
            (1, 2, "You trusted the product. For two layers that is justified."),
            (10_000, 1_000_000, "The product is loose, but each layer loses only a little."),
        ),
    ),
    explanation=(
        "Nobody knows where between the two the constant lies. A certificate from the product is true for the deepest "
        "network, and of little use."
    ),
)

PREDICTIONS = (CONE, PAIRS, GAP)
