"""Exercises of the tour: how Lipschitz constants compose, what a margin guarantees, how to set a norm."""

import math

import numpy as np

from lipviz.course.answers import Case, Function, Number
from lipviz.course.guesses import Amount, Prediction
from lipviz.course.registry import Exercise

# Their product is neither their sum nor mean nor maximum, so that no wrong rule gives the right number.
_CONSTANTS = (2, 0.25, 3)
_TOP, _RUNNER_UP = 2.1, 0.7
_MARGIN = _TOP - _RUNNER_UP
_NORM_TOLERANCE = 1e-9

COMPOSE = Exercise(
    id="tour.compose",
    question=(
        f"A network is a chain of three layers with the Lipschitz constants {_CONSTANTS[0]}, {_CONSTANTS[1]} "
        f"and {_CONSTANTS[2]}. What is the smallest Lipschitz constant that these three numbers guarantee "
        "for the whole network?"
    ),
    kind=Number(
        tolerance=1e-3,
        mistakes={
            sum(_CONSTANTS): "That is the sum. The layers act one after the other, not side by side.",
            max(_CONSTANTS): "That is the largest. The other two layers stretch or shrink as well.",
            sum(_CONSTANTS) / 3: "That is the mean. Follow one pair of points through all three layers.",
        },
    ),
    hints=(
        "Take two inputs at distance 1. How far apart can their images be after the first layer?",
        f"After the first layer they are at most {_CONSTANTS[0]} apart. The second layer multiplies whatever "
        f"distance it receives by at most {_CONSTANTS[1]}.",
        "Lipschitz constants of maps that follow each other multiply.",
    ),
    solution=math.prod(_CONSTANTS),
    explanation=(
        "Each layer multiplies a distance by at most its constant, so together they multiply it by at most "
        f"{_CONSTANTS[0]} · {_CONSTANTS[1]} · {_CONSTANTS[2]} = {math.prod(_CONSTANTS):g}.\n\n"
        "This is a bound: the true constant is smaller when the direction that one layer stretches most is "
        "not the one that the next layer stretches most."
    ),
)

RADIUS = Exercise(
    id="tour.radius",
    question=(
        "A classifier maps an image to a vector of logits and is 1-Lipschitz: the Euclidean distance between "
        "two vectors of logits is at most that between the two images. For one image the largest logit is "
        f"{_TOP} and the runner-up {_RUNNER_UP}. What is the largest radius, in Euclidean distance, within "
        "which these facts guarantee that no change of the image alters the class?"
    ),
    kind=Number(
        tolerance=0.005,
        mistakes={
            _MARGIN: (
                "That is the margin itself. It would be the radius if the difference of two logits were "
                "1-Lipschitz, but both logits can move at once: one down, the other up."
            ),
            _MARGIN / 2: (
                "Within that radius the class is safe, but you can promise more. You let each logit move by "
                "the whole change. The vector moves by no more than that in all, so the two "
                "logits cannot both move that far."
            ),
            _MARGIN
            * math.sqrt(2): "The factor √2 is right, but a difference that falls faster gives a smaller radius.",
        },
    ),
    hints=(
        "The class changes when the difference of the two logits falls to 0. How fast can that difference fall?",
        "If the vector of logits moves by at most r in Euclidean length, how much can the difference of two "
        "of its coordinates change? Try the move (-a, +a), whose length is a√2.",
        "The difference of two coordinates changes by at most √2 times the length of the move. Find the r at "
        f"which √2 · r reaches the margin {_TOP} - {_RUNNER_UP}.",
    ),
    solution=_MARGIN / math.sqrt(2),
    explanation=(
        f"({_TOP} - {_RUNNER_UP}) / √2 = {_MARGIN / math.sqrt(2):.4f}. The difference of logits i and j is "
        "the scalar product of the logits with e_i - e_j, a vector of length √2. So a change of length "
        "r, which moves the logits by at most r, changes the difference by at most √2 · r.\n\n"
        "The worst case takes one logit down by r/√2 and the other up by r/√2. Every other class starts at "
        "or below the runner-up, so it needs at least the same radius."
    ),
)


def scale(w: np.ndarray, k: float) -> np.ndarray:
    """Returns the positive multiple of ``w`` whose spectral norm is ``k``."""
    return w * (k / np.linalg.norm(w, ord=2))


def _judge_scale(result: np.ndarray, w: np.ndarray, k: float) -> str:
    """Says why ``result`` is not the positive multiple of ``w`` whose spectral norm is ``k``."""
    if result.shape != w.shape:
        return f"the shape is {result.shape}, expected {w.shape}."
    if result.dtype != np.float64:
        return f"the result is {result.dtype}, expected float64."
    norm = np.linalg.norm(result, ord=2)
    if not math.isclose(norm, k, rel_tol=_NORM_TOLERANCE):
        if math.isclose(np.linalg.norm(result), k, rel_tol=_NORM_TOLERANCE):
            return f"the Frobenius norm is {k:g}, but the spectral norm is {norm:.6g}: these are two norms."
        return f"the spectral norm is {norm:.10g}, expected {k:g}."
    if not np.allclose(result, scale(w, k), rtol=0, atol=1e-8 * k):
        return f"the spectral norm is {k:g}, but the direction changed: return W times one positive number."
    return ""


def _scale_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    return (
        Case("a square matrix (4×4), k = 1", (rng.standard_normal((4, 4)), 1.0)),
        Case("a tall matrix (6×3), k = 2.5", (rng.standard_normal((6, 3)), 2.5)),
        Case("a wide matrix (3×7), k = 0.5", (rng.standard_normal((3, 7)), 0.5)),
        Case(
            "a matrix of rank one (4×3), k = 3",
            (np.outer(rng.standard_normal(4), rng.standard_normal(3)), 3.0),
        ),
        Case("a matrix with tiny entries (5×4), k = 1", (1e-3 * rng.standard_normal((5, 4)), 1.0)),
        Case("a matrix with large entries (2×5), k = 10", (1e3 * rng.standard_normal((2, 5)), 10.0)),
    )


SCALE = Exercise(
    id="tour.scale",
    question=(
        "Write a function `scale(w, k)` that takes a float64 matrix W, not zero, and a number k > 0, and "
        "returns a matrix of the same shape and direction (a positive multiple of W) whose spectral norm is "
        "k. The spectral norm is the largest singular value; it is checked to a relative error of 1e-9 on "
        "tall, wide, square and rank-one matrices. Do not change W itself."
    ),
    kind=Function(signature="scale(w, k)", cases=_scale_cases(), judge=_judge_scale),
    hints=(
        "A norm satisfies ‖c W‖ = c ‖W‖ for c > 0. Which c takes the spectral norm of W to k?",
        "Divide W by its spectral norm and multiply by k. Check that what you divide by is the largest "
        "singular value, whether it is above or below k.",
        "`np.linalg.norm(w, ord=2)` is the spectral norm of a matrix; without `ord=2` it is the Frobenius norm.",
    ),
    solution=scale,
    explanation=(
        "One multiplication by k / σ₁ takes the largest singular value σ₁ to k and all others along with it: "
        "the linear map is then k-Lipschitz and no smaller constant holds.\n\n"
        "The smaller singular values stay smaller, so most directions are shrunk. Björck's iteration "
        "corrects this."
    ),
)

EXERCISES = (COMPOSE, RADIUS, SCALE)

FOOLED = Prediction(
    id="tour.fooled",
    question=(
        "You have seen what the attacks make of the bag. Now take the second image, the trousers. From which strength "
        "on will the 1-Lipschitz network err? Guess before you look at that image above."
    ),
    kind=Amount(
        lowest=0,
        highest=4,
        ratio=1.25,
        replies=(
            (0, 0.8, "You expected about the strength that fools an ordinary network. This one keeps its distance."),
            (3.5, 4, "It is hard to fool, but it can be fooled: at that strength, everybody sees the change."),
        ),
    ),
    explanation=(
        "Set the strength a little below that, and compare the pictures. At this strength the change is in plain "
        "sight. An ordinary network of the same size errs long before that."
    ),
)

WILD = Prediction(
    id="tour.wild",
    question=(
        "The constrained network stretches no change by more than 1. The ordinary one has about the same accuracy. By "
        "which factor does it stretch the change that it stretches most?"
    ),
    kind=Amount(
        lowest=0.01,
        highest=10_000,
        ratio=2,
        replies=(
            (0.01, 3, "Accuracy says what happens at the test images, and nothing about what happens beside them."),
            (1000, 10_000, "So bad it is not: these images are simple, and the network is small."),
        ),
    ),
    explanation=(
        "Nothing in its training keeps this factor small: a large factor helps to bring the loss near 0. And the "
        "search finds only a lower bound. The largest stretch of all may be larger."
    ),
)

CERTAIN = Prediction(
    id="tour.certain",
    question=(
        "For which share of the test images, in per cent, does this network give the right digit under *every* change "
        "of the image up to a length of 0.25?"
    ),
    kind=Amount(
        lowest=0,
        highest=100,
        within=10,
        unit=" %",
        replies=(
            (0, 30, "You were too careful. The margins are small numbers, but so is 0.25 √2."),
            (99, 100, "Not all: images near a boundary have small margins, and some are misclassified anyway."),
        ),
    ),
    explanation=(
        "It is one division per image: the margin over √2. The share falls when the changes may be larger. Two images "
        "of different digits are about 3 apart, so that much larger radii are possible in principle."
    ),
)

PREDICTIONS = (FOOLED, WILD, CERTAIN)
