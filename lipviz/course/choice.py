"""Questions of lesson 13: what a constraint leaves of a kernel, what depth makes of it, and which layer to choose."""

import math

import numpy as np

from lipviz.course.answers import Case, Choice, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise

_WIDTH = 64
_PASSED, _LEFT = 0.8, 0.1
_LAYERS = math.ceil(math.log(_LEFT) / math.log(_PASSED))

FROBENIUS = Exercise(
    id="choice.frobenius",
    question=(
        f"Predict: the raw kernel of a `FrobeniusDense` is an orthogonal matrix of {_WIDTH} × {_WIDTH}. The layer "
        "divides it by its Frobenius norm, the root of the sum of all squared entries. All singular values of the "
        "result are the same. What are they?"
    ),
    kind=Number(
        tolerance=0.001,
        mistakes={
            1.0: "That is what the other layers would leave. The Frobenius norm of this kernel is not 1.",
            1 / _WIDTH: "Nearly: the Frobenius norm is the root of the sum of the squares.",
            math.sqrt(_WIDTH): "That is the Frobenius norm. The kernel is divided by it.",
        },
    ),
    hints=(
        "The squared Frobenius norm is the sum of the squares of all singular values.",
        f"An orthogonal matrix of {_WIDTH} × {_WIDTH} has {_WIDTH} singular values, and all of them are 1.",
        f"The Frobenius norm is √{_WIDTH}. Divide 1 by it.",
    ),
    solution=1 / math.sqrt(_WIDTH),
    explanation=(
        f"1/√{_WIDTH} = {1 / math.sqrt(_WIDTH):.3f}: the squares of {_WIDTH} singular values of 1 add up to {_WIDTH}. "
        "So even the best possible kernel passes on an eighth of every change only. The Frobenius norm bounds the "
        "largest singular value, but it is far above it where there are many of about the same size."
    ),
)

LAYERS = Exercise(
    id="choice.layers",
    question=(
        f"Predict: every layer of a network multiplies the length of each change by {_PASSED}. After how many layers "
        "is less than a tenth of the length left for the first time?"
    ),
    kind=Number(
        tolerance=0,
        mistakes={
            _LAYERS - 1: f"One layer short: {_PASSED}^{_LAYERS - 1} is still a little more than a tenth.",
            _LAYERS + 1: "It happens one layer earlier.",
            5: "Each layer takes away a fifth of what is left, and not a fifth of the whole.",
        },
    ),
    hints=(
        f"After two layers the factor is {_PASSED} · {_PASSED} = {_PASSED**2:.2f}.",
        f"Find the smallest whole n with {_PASSED}^n < {_LEFT}.",
        f"n is the next whole number above log({_LEFT}) / log({_PASSED}).",
    ),
    solution=_LAYERS,
    explanation=(
        f"{_LAYERS} layers: {_PASSED}^{_LAYERS - 1} = {_PASSED ** (_LAYERS - 1):.3f} and {_PASSED}^{_LAYERS} = "
        f"{_PASSED**_LAYERS:.3f}. A singular value of {_PASSED} looks harmless in one layer. In a stack singular "
        "values multiply, so depth punishes everything below 1."
    ),
)

PADDING = Exercise(
    id="choice.padding",
    question=(
        'Find out with the explorer: choose the convolutions and the padding "valid" (none), with 2 layers. Which kind '
        'keeps all singular values at 1? And is that still so with the padding "same" (zeros)?'
    ),
    kind=Choice(
        options={
            "a": "AOCConv2D, and also with zeros",
            "b": "AOCConv2D, but not with zeros",
            "c": "SpectralConv2D, and also with zeros",
            "d": "SpectralConv2D(bound='tight'), but not with zeros",
        },
        mistakes={
            "a": "Look again at its row with zeros: are all the points on the line at 1?",
            "c": "Its kernel as a matrix is orthogonal. Is the convolution as a whole?",
            "d": "Its largest singular value is near 1. Where are the others?",
        },
    ),
    hints=(
        "Each point of a row is a singular value. Look for a row whose points are all on the line at 1.",
        "Now set the padding to zeros. Zeros cut patches at the border of the image.",
        "With zeros no row of the convolutions has all its points at 1.",
    ),
    solution="b",
    explanation=(
        "AOCConv2D is orthogonal with circular padding, and without padding as long as it has few filters. Zeros at "
        "the border cut patches, so some singular values are smaller there. The norm is at most 1 in all three cases."
    ),
)


def cheapest(smallest: np.ndarray, cost: np.ndarray, least: float) -> int:
    """Returns the place of the smallest cost among those whose smallest singular value is at least `least`, or -1."""
    fits = smallest >= least
    if not fits.any():
        return -1
    return int(np.argmin(np.where(fits, cost, np.inf)))


def _judge_cheapest(result: np.ndarray, smallest: np.ndarray, cost: np.ndarray, least: float) -> str:
    """Says why a place is not that of the cheapest layer that keeps enough."""
    if result.size != 1:
        return f"it returned {result.size} numbers, expected one place."
    place, expected = result.item(), cheapest(smallest, cost, least)
    if place == expected:
        return ""
    if expected == -1:
        return f"it returned {place}, expected -1: no smallest singular value is at least {least}."
    if place not in range(len(cost)):
        return f"it returned {place}, which is no place of an array of {len(cost)}."
    if smallest[int(place)] < least:
        return f"it chose place {place}, whose smallest singular value {smallest[int(place)]:.2f} is below {least}."
    return f"it chose place {place} with the cost {cost[int(place)]:.1f}; place {expected} costs {cost[expected]:.1f}."


CHEAPEST = Exercise(
    id="choice.cheapest",
    question=(
        "Build a choice: write a function `cheapest(smallest, cost, least)`. The array `smallest` holds the smallest "
        "singular value of each kind of layer, the array `cost` the cost of a step. The function returns the place of "
        "the cheapest kind whose smallest singular value is at least `least`, and -1 if there is none."
    ),
    kind=Function(
        signature="cheapest(smallest, cost, least)",
        cases=(
            Case("three kinds, two of which fit", (np.array([1.0, 0.2, 1.0]), np.array([6.5, 1.2, 2.4]), 0.99)),
            Case("a value at the limit", (np.array([0.5, 0.4]), np.array([3.0, 1.0]), 0.5)),
            Case("kinds of which none fits", (np.array([0.1, 0.3, 0.2]), np.array([1.0, 2.0, 3.0]), 0.9)),
            Case("kinds that all fit", (np.array([1.0, 0.9, 0.8]), np.array([3.0, 2.0, 2.5]), 0.0)),
        ),
        judge=_judge_cheapest,
    ),
    hints=(
        "First find the kinds that fit: `fits = smallest >= least` is an array of True and False.",
        "`np.where(fits, cost, np.inf)` makes the others infinitely expensive. `np.argmin` finds the smallest entry.",
        "If `fits.any()` is False, return -1. Otherwise return `np.argmin(np.where(fits, cost, np.inf))`.",
    ),
    solution=cheapest,
    explanation=(
        "A choice is a condition and a cost: among the layers that keep what you need, take the cheapest. Which "
        "condition you need depends on the depth. In a network of one hidden layer a smallest singular value of 0.1 "
        "does little harm; in one of eight it leaves nothing."
    ),
)

EXERCISES = (FROBENIUS, LAYERS, PADDING, CHEAPEST)

SPECTRA = Prediction(
    id="choice.spectra",
    question="For which of the seven kinds are all singular values of the layer 1, to three digits?",
    kind=Option(
        options={
            "spectral": "only for SpectralDense with Björck's iteration",
            "three": "for SpectralDense with Björck's iteration, CayleyDense and BRODense",
            "residual": "for these three, and for SLLDense",
            "all": "for all of them: each is 1-Lipschitz",
        },
        replies={
            "spectral": "There are other ways to an orthogonal matrix than an iteration.",
            "residual": "Where a neuron of SLLDense is off, a change passes as it is. Where it is on, it loses a part.",
            "all": "The constant bounds the largest singular value only. It says nothing about the others.",
        },
    ),
    explanation=(
        "A constant of 1 is a promise about the *largest* singular value. Three kinds make all of them 1. The kinds "
        "that only divide leave the largest about ten times as large as the smallest, as in the raw kernel. "
        "`FrobeniusDense` is the worst: none of its values reaches a quarter."
    ),
    truth="three",
)

GAIN = Prediction(
    id="choice.gain",
    question=(
        "One layer of `AOLDense` has a gain of about 0.4: so much is left of the length of a random change. What is "
        "the gain of eight such layers?"
    ),
    kind=Amount(
        lowest=0,
        highest=1,
        within=0.001,
        ratio=2,
        replies=(
            (0.3, 1, "You expected that the first layer takes away what there is to take. Each layer takes its share."),
            (0.03, 0.3, "Factors multiply: two layers have about 0.4 · 0.4 = 0.16 already."),
        ),
    ),
    explanation=(
        "The activations mix the directions, so that each layer shortens a change by about the same factor. The gain "
        "of eight layers is near 0.4 to the power of 8."
    ),
)

DEEPER = Prediction(
    id="choice.deeper",
    question=(
        "With one hidden layer, the network of `SpectralDense(eps_bjorck=None)` has a certified accuracy of 93 % at "
        "ε = 0.1; with Björck's iteration it is 95 %. Now both have four hidden layers. What is the certified accuracy "
        "of the one without Björck's iteration?"
    ),
    kind=Amount(
        lowest=0,
        highest=100,
        within=10,
        unit=" %",
        replies=(
            (80, 100, "You expected that more layers hardly change it. It was so for the orthogonal kinds only."),
            (10, 80, "It is worse: each of the four layers takes its share, and no margin is left."),
        ),
    ),
    explanation=(
        "Its proof is as good as that of the others, but there is nothing to prove: its margins are too "
        "small. Four orthogonal layers reach more than one layer does."
    ),
)

PREDICTIONS = (SPECTRA, GAIN, DEEPER)
