"""Exercises on Björck's iteration W ← (1 + β) W - β W Wᵀ W, which takes every singular value to 1."""

import math
from typing import TypeVar

import numpy as np

from lipviz.course.answers import Case, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise

_Values = TypeVar("_Values", float, np.ndarray)

_BETA = 0.5
_PREDICTED = 0.5
_START, _EPS = 0.1, 1e-3


def step(s: _Values, beta: float = _BETA) -> _Values:
    """What one Björck step does to a singular value ``s``, or to an array of them."""
    return (1 + beta) * s - beta * s**3


def path_to_one(start: float, eps: float, beta: float = _BETA) -> tuple[float, ...]:
    """Values of a singular value from ``start`` on, step by step, until it is less than ``eps`` from 1.

    Args:
        start: Singular value at the beginning, in ]0, 1].
        eps: Distance from 1 to get below, positive.
        beta: Step size β, in ]0, 0.5].
    """
    path = [start]
    while abs(1 - path[-1]) >= eps:
        path.append(step(path[-1], beta))
    return tuple(path)


_PATH = path_to_one(_START, _EPS)
_COUNT = len(_PATH) - 1
_LIMIT = math.sqrt((1 + _BETA) / _BETA)
_FLIP = math.sqrt((2 + _BETA) / _BETA)

STEP = Exercise(
    id="bjorck.step",
    question=(
        f"Predict: a matrix W has a singular value of {_PREDICTED}. One Björck step with β = {_BETA} "
        f"replaces W by {1 + _BETA} W - {_BETA} W Wᵀ W. What becomes of that singular value?"
    ),
    kind=Number(
        tolerance=1e-3,
        mistakes={
            (1 + _BETA) * _PREDICTED - _BETA * _PREDICTED**2: "You squared it. W Wᵀ W has three factors W.",
            (1 + _BETA) * _PREDICTED - _PREDICTED**3: f"The cubic term has the factor β = {_BETA} as well.",
            (1 + _BETA) * _PREDICTED: "That is the first term alone.",
            1.0: "That is where it goes in the end. A single step does not get there.",
        },
    ),
    hints=(
        "Write W = U S Vᵀ. Which powers of S are in W and in W Wᵀ W? The orthogonal factors cancel.",
        "W Wᵀ W = U S³ Vᵀ, so a singular value s goes to a polynomial in s: a term in s and a term in s³.",
        f"Put s = {_PREDICTED} into {1 + _BETA} s - {_BETA} s³.",
    ),
    solution=step(_PREDICTED),
    explanation=(
        f"{1 + _BETA} · {_PREDICTED} - {_BETA} · {_PREDICTED}³ = {step(_PREDICTED)}. With W = U S Vᵀ one "
        f"step gives U ({1 + _BETA} S - {_BETA} S³) Vᵀ: the singular vectors stay, and each singular value "
        "follows its own scalar recurrence, independently of the others. That is why the slowest one decides how "
        "many steps you need."
    ),
)

ITERATIONS = Exercise(
    id="bjorck.iterations",
    question=(
        f"How many Björck steps with β = {_BETA} take a singular value of {_START} to less than {_EPS:g} from 1?"
    ),
    kind=Number(
        tolerance=0,
        mistakes={
            _COUNT - 1: "One step short: look at how far from 1 the value still is.",
            _COUNT + 1: "It is there one step earlier. Did you count the start as a step?",
        },
    ),
    hints=(
        f"Nothing but the scalar map s → {1 + _BETA} s - {_BETA} s³ is needed, over and over. A loop of a "
        "few lines answers this; or guess first, from how much a small s grows in one step.",
        f"A small s grows by a factor of about {1 + _BETA} a step, because s³ hardly counts. Close to 1 the "
        "error is about 1.5 times its own square after each step, so the end goes fast.",
        f"`s, count = {_START}, 0`, then `while abs(1 - s) >= {_EPS:g}:` apply the map to `s` and add 1 to `count`.",
    ),
    solution=_COUNT,
    explanation=(
        f"{_COUNT} steps: {', '.join(f'{s:.4f}' for s in _PATH)}. Most of them are spent on growing, by a "
        "factor of at most 1.5 each, so a smaller value takes longer; the last digits come in one or two "
        "steps.\n\n"
        "So the smallest singular value of a kernel decides how many iterations it needs."
    ),
)

DIVERGE = Exercise(
    id="bjorck.diverge",
    question=(
        f"Repeat the step σ → {1 + _BETA} σ - {_BETA} σ³ (β = {_BETA}) from a start σ > 0. From small starts "
        "the values converge to +1. What is the smallest start σ > 0 from which they do not?"
    ),
    kind=Number(
        tolerance=0.005,
        mistakes={
            _FLIP: (
                "From √5 the values jump to -√5 and back for ever, and beyond √5 they diverge. But "
                "convergence to +1 is lost at a smaller σ already."
            ),
            1.0: "1 stays where it is, as it should. Values somewhat above 1 come back to it.",
            math.sqrt(5 / 3): (
                "There the slope of the map is -1, which is what counts for starts close to a fixed point. "
                "This start is not close: see where one step takes it."
            ),
        },
    ),
    hints=(
        "Draw the map for σ from 0 to 2.5. Which values does it take, and where does it cross 0?",
        "A start that one step takes into ]0, 1] is safe, because from there every step goes up towards 1 "
        "and never beyond. Up to which σ is the image of the step positive?",
        f"Solve {1 + _BETA} σ - {_BETA} σ³ = 0 for σ > 0.",
    ),
    solution=_LIMIT,
    explanation=(
        f"√3 = {_LIMIT:.4f}. For 0 < σ < √3 one step lands between 0 and 1, since the map has its largest value, "
        "1, at σ = 1; from there the values rise to 1. At √3 the step gives 0, and 0 stays 0: a direction is "
        "lost.\n\n"
        "Between √3 and √5 the step gives a negative value. Just above √3 the values then settle at -1; "
        f"further on, at -1 or +1 in ever finer alternation. At √5 = {_FLIP:.4f} they jump between √5 and "
        "-√5 for ever, and beyond it they diverge.\n\n"
        "So a kernel must be scaled before Björck's iteration, to a spectral norm of at most 1. "
        "Step 1 of the lesson does that."
    ),
)


def bjorck(w: np.ndarray, beta: float, iterations: int) -> np.ndarray:
    """Applies ``iterations`` Björck steps to a tall or wide matrix of spectral norm 1."""
    for _ in range(iterations):
        w = (1 + beta) * w - beta * w @ w.T @ w
    return w


def _matrix(shape: tuple[int, int], smallest: float, seed: int) -> np.ndarray:
    """A random matrix whose singular values are spread evenly between ``smallest`` and 1."""
    rng = np.random.default_rng(seed)
    u, _, vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    return u * np.linspace(1, smallest, min(shape)) @ vt


def _write_cases() -> tuple[Case, ...]:
    return (
        Case("a square matrix (4×4), beta = 0.5, one step", (_matrix((4, 4), 0.3, seed=0), 0.5, 1)),
        Case("a tall matrix (6×3), beta = 0.2, one step", (_matrix((6, 3), 0.3, seed=1), 0.2, 1)),
        Case("a square matrix (3×3), beta = 0.5, no step", (_matrix((3, 3), 0.3, seed=2), 0.5, 0)),
        Case("a tall matrix (8×4), beta = 0.5, 25 steps", (_matrix((8, 4), 0.1, seed=3), 0.5, 25)),
        Case("a wide matrix (4×9), beta = 0.5, 25 steps", (_matrix((4, 9), 0.1, seed=4), 0.5, 25)),
        Case("a wide matrix (3×5), beta = 0.25, 120 steps", (_matrix((3, 5), 0.2, seed=5), 0.25, 120)),
    )


def _judge_write(result: np.ndarray, w: np.ndarray, beta: float, iterations: int) -> str:
    """Compares with the SVD W = U S Vᵀ: the iteration changes only S, which converges to the identity."""
    if result.shape != w.shape:
        return f"the shape is {result.shape}, expected {w.shape}."
    u, s, vt = np.linalg.svd(w, full_matrices=False)
    for _ in range(iterations):
        s = step(s, beta)
    if np.allclose(result, u * s @ vt, rtol=0, atol=1e-8):
        return ""
    received = np.linalg.svd(result, compute_uv=False)
    if np.allclose(received, np.sort(s)[::-1], rtol=0, atol=1e-8):
        return "the singular values are right, but the singular vectors are not those of W."
    return (
        f"the singular values of the result lie between {received.min():.6g} and {received.max():.6g}, "
        f"expected between {s.min():.6g} and {s.max():.6g}."
    )


WRITE = Exercise(
    id="bjorck.write",
    question=(
        "Write a function `bjorck(w, beta, iterations)` in NumPy that applies the step "
        "W ← (1 + β) W - β W Wᵀ W to a float64 matrix `iterations` times, and returns the "
        "result. W has a spectral norm of 1 and may be tall or wide; do not change it in place. The result "
        "is compared to 1e-8 with what the singular value decomposition W = U S Vᵀ predicts: U Vᵀ after many "
        "steps."
    ),
    kind=Function(signature="bjorck(w, beta, iterations)", cases=_write_cases(), judge=_judge_write),
    hints=(
        "One step is one line; the rest is a loop that runs `iterations` times, not at all if that is 0.",
        "`w @ w.T @ w` works for tall and wide matrices alike. `w * w` multiplies entry by entry, which is "
        "something else, and `w -= …` changes the array of the caller.",
        "In the loop: `w = (1 + beta) * w - beta * w @ w.T @ w`.",
    ),
    solution=bjorck,
    explanation=(
        "The step needs nothing but products of matrices, which GPUs do fast and every framework "
        "differentiates. The singular value decomposition that it replaces is slow there, and its derivative "
        "breaks down where singular values coincide, and at orthogonal matrices all of them do.\n\n"
        "The limit U Vᵀ is the polar factor of W: of all matrices with orthonormal columns (rows, if W is "
        "wide) the closest to W in Frobenius norm."
    ),
)

EXERCISES = (STEP, ITERATIONS, DIVERGE, WRITE)

ESTIMATE = Prediction(
    id="bjorck.estimate",
    question=(
        "Ten steps of the power iteration estimate σ₁ of a random 64 × 64 kernel, and the kernel is divided by the "
        "estimate. What is the largest singular value of the result?"
    ),
    kind=Option(
        options={"below": "below 1", "exact": "1, to four digits", "above": "above 1"},
        replies={
            "below": "It would be below 1 if the estimate were too large. A power iteration cannot overestimate.",
            "exact": "After enough steps it would be. Ten are not enough for a kernel whose singular values are close.",
        },
    ),
    explanation=(
        "A power iteration estimates σ₁ from *below*, because no vector is stretched by more than σ₁. A kernel that is "
        "divided by too small a number is too large. Only when the iteration has converged, after a hundred steps "
        "here, the error is smaller than the 0.001 that the function adds to its estimate before it divides."
    ),
    truth="above",
)

SHORT = Prediction(
    id="bjorck.short",
    question=(
        "The iteration stops when a step is shorter than `eps_bjorck` = 0.001. Take the diagonal matrix with the "
        "singular values 1 and 0.0005. How far from orthogonal is the result? Guess the distance ‖I − WᵀW‖, which is 0 "
        "for an orthogonal matrix."
    ),
    kind=Amount(
        lowest=0,
        highest=2,
        within=0.1,
        replies=(
            (0, 0.1, "You took a short step for the end of the way. It is short because the value is small."),
            (0.1, 0.9, "It is worse: the small value has hardly moved."),
        ),
    ),
    explanation=(
        "The iteration stopped because its step was *short*, not because the matrix was orthogonal. A value of 0.0005 "
        "grows by half at every step, and half of 0.0005 is below eps. The bound still holds, since no value is above "
        "1. Only the orthogonality is missing."
    ),
)

PREDICTIONS = (ESTIMATE, SHORT)
