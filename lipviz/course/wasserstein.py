"""Exercises on the Wasserstein-1 distance: squares, other networks, samples of a distribution, points of a line."""

import math

import numpy as np

from lipviz.course.answers import Case, Choice, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise

_SIDE, _VALUE = 20, 0.5
_K = 2.5
_TOLERANCE = 1e-9

SQUARES = Exercise(
    id="wasserstein.squares",
    question=(
        "Predict: half of the images are black, 64 × 64 pixels of value 0. The others show one square of "
        f"{_SIDE} × {_SIDE} pixels of value {_VALUE} on black. What is the Wasserstein-1 distance between the two "
        "classes, for the Euclidean distance between images?"
    ),
    kind=Number(
        tolerance=0.01,
        mistakes={
            _SIDE: "That would be right for a white square, of value 1. This one is grey.",
            _SIDE**2 * _VALUE: (
                "That adds up the pixels, which is the l1 distance between two images. The Euclidean one is the "
                "root of the sum of squares."
            ),
            _SIDE**2 * _VALUE**2: "That is the square of the distance. Take the root.",
            _SIDE * _VALUE**2: "You squared the value and took the root of the number of pixels only.",
        },
    ),
    hints=(
        "All mass leaves one point of the space of images, the black one. So there is a single way to transport it.",
        "The distance is that between a black image and one with a square. How many pixels differ, and by how much?",
        f"{_SIDE}² pixels differ, each by {_VALUE}: take the root of {_SIDE}² · {_VALUE}².",
    ),
    solution=math.sqrt(_SIDE**2 * _VALUE**2),
    explanation=(
        f"√({_SIDE}² · {_VALUE}²) = {_SIDE} · {_VALUE} = {_SIDE * _VALUE:g}. As all black images are the same point, "
        "there is nothing to choose: every transport plan sends that point to the squares, each at this distance, "
        "wherever the square stands in its image. So the answer is the same for squares at random places."
    ),
)

STEEP = Exercise(
    id="wasserstein.steep",
    question=(
        "Change the experiment with the moons: allow the network a slope of 5/2, by another `k` in the second line of "
        "the cell. By which factor does that make its last estimate larger? Predict it before you run it, then answer "
        "with the quotient that you get."
    ),
    kind=Number(
        tolerance=0.15,
        mistakes={
            1: "Then nothing changed. Is `k=5 / 2` in the second call, and in that one only?",
            1 / _K: "The other way round: divide the new estimate by the old one.",
            _K**2: "That is the square. The estimate is a difference of two means of f; how does f itself change?",
        },
    ),
    hints=(
        "If f is 1-Lipschitz, what is the Lipschitz constant of 5 f? And its estimate?",
        "The functions with slopes up to k are exactly k times the functions with slopes up to 1.",
        "So the largest estimate is k · W1, and both networks come close to their largest one.",
    ),
    solution=_K,
    explanation=(
        f"About {_K}: the k-Lipschitz functions are k times the 1-Lipschitz ones, so the largest estimate is k · W1. "
        "It follows that an estimate says nothing unless you know k. A critic with an unknown constant, as from "
        "clipped weights, can order distances at best, and does not measure them.\n\n"
        "It also means that an estimate divided by a *proved* k stays a lower bound of W1. That is what "
        "`.reached` shows: the share of k · W1."
    ),
)

RELU = Exercise(
    id="wasserstein.relu",
    question=(
        "Change the clouds and the network: two circles, the outer one high and the inner one low, and ReLU in place "
        "of GroupSort2. `(x, y), _ = data.circles(400)`, then "
        '`toys.kr_training(x[y == 0], x[y == 1], activation="relu", steps=300).reached`, and the same with '
        '`activation="groupsort2"`. Which share of the exact distance does the network with ReLU reach?'
    ),
    kind=Choice(
        options={
            "a": "95 % or more, as GroupSort2 does",
            "b": "about half",
            "c": "almost nothing",
            "d": "more than 100 %",
        },
        mistakes={
            "a": "That is what the other activation reaches. Is `activation` spelled as in the question?",
            "c": "The share is small, but the network does learn. Look at `.reached`.",
            "d": "Both networks are 1-Lipschitz, and then the estimate is at most the distance.",
        },
    ),
    hints=(
        "The best f is the distance from the center, which looks like a funnel. In which directions is it steep?",
        "A ReLU that is off has lost the slope of its neuron there, and one that is on is linear.",
        "Run both lines and compare `.reached`: one of the two is far from 1, and more steps hardly help.",
    ),
    solution="b",
    explanation=(
        "Between 40 and 60 %. All the layers of both networks have singular values of 1, so nothing is lost there. But "
        "a ReLU cuts off what is negative, and the slope with it. To be a funnel, f needs a slope of 1 in every "
        "direction, and a 1-Lipschitz network of ReLUs with a slope of 1 everywhere is linear.\n\n"
        "The estimate is still a lower bound, so nothing false was said. GroupSort2 reorders numbers instead of "
        "cutting them off, keeps the slope, and comes close to the truth. Lesson 03 is about this."
    ),
)

SAMPLE = Exercise(
    id="wasserstein.sample",
    question=(
        "Find out: draw two clouds of n points from the *same* distribution, `rng.standard_normal((n, 2))` twice with "
        "`rng = np.random.default_rng(0)`, and compute their exact distance, "
        "`measure.wasserstein_distance(first, second).distance`, for n = 50, 200 and 800. What do you find?"
    ),
    kind=Choice(
        options={
            "a": "0, but for rounding: both clouds have the same distribution",
            "b": "a positive number that becomes smaller with n",
            "c": "about the same positive number for each n",
            "d": "a positive number that grows with n",
        },
        mistakes={
            "a": "The distributions are the same, but not the points: each has to travel to one of the other cloud.",
            "c": "Compute all three. What happens to the way from a point to its nearest neighbours as n grows?",
            "d": "It is a mean over the points, not a sum. What happens to the ways as the clouds become denser?",
        },
    ),
    hints=(
        "Two clouds of a single point each: how far apart are they, though they have the same distribution?",
        "A point has to go to a point of the other cloud. How far is the nearest one, in a dense cloud?",
        "`for n in (50, 200, 800): print(measure.wasserstein_distance(rng.standard_normal((n, 2)), "
        "rng.standard_normal((n, 2))).distance)`",
    ),
    solution="b",
    explanation=(
        "The distance between two samples is not the distance between their distributions. Here the distance of the "
        "distributions is 0, and that of the samples about 0.4, 0.3 and 0.15: four times as many points reduce it to "
        "somewhat more than a half in the plane, and by much less in high dimension.\n\n"
        "So what this lesson computes is the distance between the *points that it was given*. A network that was "
        "trained on few images learns these images by heart; evaluate its estimate on fresh ones, and it is a fair "
        "number again: for a fixed 1-Lipschitz f, its mean is at most the distance of the distributions."
    ),
)


def distance_on_a_line(x: np.ndarray, y: np.ndarray) -> float:
    """The Wasserstein-1 distance between equally many numbers: the smallest goes to the smallest, and so on."""
    return np.mean(np.abs(np.sort(x) - np.sort(y)))


def between_steps(x: np.ndarray, y: np.ndarray) -> float:
    """The same, computed in another way: the area between the two distribution functions, which are step functions."""
    points = np.sort(np.concatenate([x, y]))
    below = [np.searchsorted(np.sort(cloud), points[:-1], side="right") / len(cloud) for cloud in (x, y)]
    return float(np.sum(np.abs(below[0] - below[1]) * np.diff(points)))


def _judge_line(result: np.ndarray, x: np.ndarray, y: np.ndarray) -> str:
    """Compares with the area between the distribution functions, and recognizes known mistakes."""
    if result.size != 1:
        return f"the result has {result.size} numbers, expected one."
    value, expected = result.item(), between_steps(x, y)

    def is_close(other):
        return math.isclose(value, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)

    if is_close(expected):
        return ""
    mistakes = (
        (np.mean(np.abs(x - y)), "you sent each x to the y at the same place of the array; there is a cheaper way."),
        (
            abs(np.mean(x) - np.mean(y)),
            "that is the distance between the two means, the estimate of a linear f. It is a lower bound only.",
        ),
        (np.mean(x) - np.mean(y), "that is the difference of the means, which can even be negative."),
        (np.mean(y) - np.mean(x), "that is the difference of the means, which can even be negative."),
        (math.sqrt(np.mean((np.sort(x) - np.sort(y)) ** 2)), "that is the root of the mean square: W2, not W1."),
        (np.sum(np.abs(np.sort(x) - np.sort(y))), "that is the sum of the ways; W1 is their mean."),
        (np.abs(x[:, None] - y).mean(), "that is the mean over all pairs, as if every x went to every y."),
        (
            np.abs(x[:, None] - y).min(axis=1).mean(),
            "each x went to the nearest y, so that some y received too much and others nothing.",
        ),
    )
    word = next((word for wrong, word in mistakes if is_close(wrong)), "")
    return word or f"the result is {value:.6g}, expected {expected:.6g}."


def _line_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    return (
        Case("x = (0, 1, 3), y = (4, 2, 0)", (np.array([0.0, 1.0, 3.0]), np.array([4.0, 2.0, 0.0]))),
        Case("one number each", (np.array([-1.5]), np.array([2.0]))),
        Case("wide and narrow around 0", (np.array([-3.0, 3.0, -1.0, 1.0]), np.array([0.5, -0.5, 0.3, -0.1]))),
        Case("the same numbers in another order", (np.arange(6.0), np.arange(6.0)[::-1].copy())),
        Case("numbers that repeat", (np.array([1.0, 1.0, 1.0, 5.0]), np.array([1.0, 5.0, 5.0, 5.0]))),
        Case("two hundred of each", (rng.standard_normal(200), 1 - rng.exponential(size=200))),
    )


LINE = Exercise(
    id="wasserstein.line",
    question=(
        "Write a function `distance_on_a_line(x, y)` in NumPy that returns the Wasserstein-1 distance between two "
        "clouds on a line: float64 arrays x and y of the same length n, all points of equal weight, in no particular "
        "order. Do not change them in place. It is checked to 1e-9."
    ),
    kind=Function(signature="distance_on_a_line(x, y)", cases=_line_cases(), judge=_judge_line),
    hints=(
        "Two heaps are at 0 and 1, two holes at 2 and 3. Which heap goes to which hole? Does it help if ways cross?",
        "On a line the best match never crosses: the leftmost heap goes to the leftmost hole, the next to the next.",
        "Sort both arrays; then take the mean of the absolute differences.",
    ),
    solution=distance_on_a_line,
    explanation=(
        "On a line no linear program is needed: if x₁ < x₂ went to y₂ > y₁ and y₁, swapping the ends would be no "
        "longer. So sorting both finds the best match, in n log n steps.\n\n"
        "There is a second formula, the area between the two distribution functions, and it is the one that your "
        "answer was checked with. Its f has the slope +1 or -1 according to which of the two functions is above."
    ),
)

EXERCISES = (SQUARES, STEEP, RELU, SAMPLE, LINE)

POTENTIAL = Prediction(
    id="wasserstein.potential",
    question="Which of these three 1-Lipschitz functions comes closest to W₁?",
    kind=Option(
        options={
            "origin": "the distance from the origin",
            "second": "minus the second coordinate",
            "first": "minus the first coordinate",
        },
        replies={
            "origin": "It gives a negative number: the holes are farther from the origin than the heaps.",
            "second": "The sand hardly moves up or down, so this function sees little of its way.",
        },
    ),
    explanation="The sand has to move to the right, so a function that decreases to the right is a good guess.",
    truth="first",
)

SQUARE = Prediction(
    id="wasserstein.distance",
    question=(
        "How far apart are the two classes, in Euclidean distance between images? A white square has 35 · 35 pixels of "
        "the value 1, where a black image has the value 0."
    ),
    kind=Amount(
        lowest=0,
        highest=5000,
        within=0.5,
        replies=(
            (1220, 1230, "That is the square of the distance, 35 · 35. Take the root."),
            (64, 64, "That is the side of the image, not of the square."),
        ),
    ),
    explanation="Each of the 35 · 35 pixels differs by 1, and the root of 35 · 35 is 35.",
)

RECKLESS = Prediction(
    id="wasserstein.reckless",
    question="Which of the two estimates ends above the exact distance?",
    kind=Option(
        options={
            "bad": "that of the 1-Lipschitz network, trained badly",
            "free": "that of the network without the constraint",
            "both": "both",
            "neither": "neither",
        },
        replies={
            "bad": "A bad training makes an estimate small. It cannot make it too large.",
            "both": "The 1-Lipschitz network cannot: every 1-Lipschitz function gives a lower bound.",
            "neither": "Nothing keeps the network without the constraint from becoming steeper.",
        },
    ),
    explanation=(
        "No training, however bad, brings the estimate of the 1-Lipschitz network above the exact distance. The "
        "inequality above prevents it, and that holds at every step, for all weights. The unconstrained network can "
        "become steeper and steeper. Its estimate grows as long as you train, and measures nothing."
    ),
    truth="free",
)

PREDICTIONS = (POTENTIAL, SQUARE, RECKLESS)
