"""Exercises on gradients as explanations: how far they lead, how long they are, and how to follow them."""

import numpy as np

from lipviz.course.answers import Case, Choice, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise

_SCORE, _TIMES = 0.7, 3
_LOGIT, _NORM = 6.0, 4.0

BEYOND = Exercise(
    id="explanations.beyond",
    question=(
        f"Predict: a 1-Lipschitz network has the score f(x) = {_SCORE}, and its gradient has norm 1 and the same "
        f"direction all the way. You walk {_TIMES} times as far as the certificate: "
        f"x' = x - {_TIMES} f(x) ∇f(x). What is the score f(x')?"
    ),
    kind=Number(
        tolerance=1e-3,
        mistakes={
            0.0: "The score is 0 after one such step. You went on.",
            _SCORE - _TIMES: f"The step is {_TIMES} f(x) long, not {_TIMES}.",
            -_TIMES * _SCORE: "The score falls by that much. From which value?",
            _SCORE * (1 + _TIMES): "You walked uphill. Mind the minus sign.",
        },
    ),
    hints=(
        "How long is the step, and how much does the score change for each unit of length along the gradient?",
        "Along a gradient of norm 1 the score falls by as much as you walk, for as long as the gradient does not turn.",
        f"The step has the length {_TIMES} · {_SCORE}. Take that off {_SCORE}.",
    ),
    solution=_SCORE - _TIMES * _SCORE,
    explanation=(
        f"{_SCORE} - {_TIMES} · {_SCORE} = {_SCORE - _TIMES * _SCORE:g}. One step of length f(x) reaches the boundary, "
        "a second one the mirrored score, a third one goes further into the other class.\n\n"
        "With a norm of 1, scores and distances are the same, so you can say beforehand where you will be. In a "
        "real network the gradient turns a little on the way: the walk then has to correct itself, and is longer."
    ),
)

DISTANCE = Exercise(
    id="explanations.distance",
    question=(
        f"An ordinary network has the score f(x) = {_LOGIT:g} at an image. Around it, to beyond the boundary, the "
        f"score is affine (a plane), with a gradient of norm {_NORM:g}. What is the l2 norm of the shortest change of "
        "the image that brings the score to 0?"
    ),
    kind=Number(
        tolerance=1e-3,
        mistakes={
            _LOGIT: "That is right for a gradient of norm 1. This score falls faster than you walk.",
            _LOGIT * _NORM: "That is the length of the step f ∇f, which goes much too far here.",
            _LOGIT / _NORM**2: "That is the factor in front of the gradient. How long is the change itself?",
            _NORM / _LOGIT: "The other way round: the steeper the score, the nearer the boundary.",
        },
    ),
    hints=(
        "By how much does the score fall, if you walk one unit straight down the gradient?",
        f"It falls by {_NORM:g} for each unit of length; no way down is faster. How many units take off {_LOGIT:g}?",
        "For an affine score the boundary is at the distance |f| / ‖∇f‖.",
    ),
    solution=_LOGIT / _NORM,
    explanation=(
        f"{_LOGIT:g} / {_NORM:g} = {_LOGIT / _NORM:g}. The change is -f ∇f / ‖∇f‖²: its factor has the squared "
        "norm, its length the norm.\n\n"
        "So a large score says nothing about the distance to the boundary as long as the norm of the gradient is not "
        "known. For a network whose gradients have norm 1 the score is the distance, and it is certified too: no way "
        "is shorter, affine or not."
    ),
)

RELU = Exercise(
    id="explanations.relu",
    question=(
        "Change the lesson: in the 1-Lipschitz network put `keras.layers.ReLU()` in the place of every `GroupSort2()`, "
        "train it as before, and print the norms of its gradients on the test images with "
        "`measure.input_gradient_norms(model, x_test)`. What has become of them?"
    ),
    kind=Choice(
        options={
            "a": "all of them are still within 0.001 of 1",
            "b": "none is above 1, and more than half are below 0.995",
            "c": "some are above 1",
            "d": "all of them are 0",
        },
        mistakes={
            "a": "Did the layers really change? A ReLU passes only the gradients of positive entries.",
            "c": "A ReLU never stretches a distance either, so the network is still 1-Lipschitz.",
            "d": "Some entries are positive, and a ReLU lets their gradients pass.",
        },
    ),
    hints=(
        "Is ReLU 1-Lipschitz? What does it do to the gradient of an entry that is negative?",
        "On its way back, the gradient is multiplied by 1 where the entry was positive and by 0 where it was not. "
        "What does that do to its norm?",
        "Setting entries of a vector to 0 cannot make it longer, and makes it shorter unless they were 0 already.",
    ),
    solution="b",
    explanation=(
        "With slopes of 0 and 1 a ReLU keeps the bound, so no norm exceeds 1; but wherever an entry is negative, its "
        "share of the gradient is lost. A sort permutes the entries of the gradient and loses nothing.\n\n"
        "Then |f| is still a certificate, but the step f ∇f falls short of the boundary, and the walk is longer: "
        "the certificate still holds, but the boundary is farther away than it says. Training keeps as much slope as "
        "it can, so little is lost in this shallow network; with more layers it adds up."
    ),
)


def walk(x: np.ndarray, score: np.ndarray, gradient: np.ndarray, goal: float) -> np.ndarray:
    """One Newton step of each sample along its gradient, to where an affine score would be ``goal``."""
    axes = tuple(range(1, x.ndim))
    squares = np.sum(gradient**2, axis=axes)
    factors = np.where(squares > 0, (goal - score) / np.where(squares > 0, squares, 1.0), 0.0)
    return x + factors.reshape(-1, *(1 for _ in axes)) * gradient


def _judge_walk(result: np.ndarray, x: np.ndarray, score: np.ndarray, gradient: np.ndarray, goal: float) -> str:
    """Says why a batch of samples is not one Newton step away from ``x``."""
    if result.shape != x.shape:
        return f"the shape is {result.shape}, expected that of x, {x.shape}."
    expected = walk(x, score, gradient, goal)
    if np.allclose(result, expected, rtol=0, atol=1e-8):
        return ""
    flat = tuple(range(1, x.ndim))
    norms = np.sqrt(np.sum(gradient**2, axis=flat))
    moved, wanted = result - x, expected - x
    if np.allclose(moved, -wanted, rtol=0, atol=1e-8):
        return "you walked the right distance in the opposite direction."
    if not np.allclose(result[norms == 0], x[norms == 0], rtol=0, atol=1e-8):
        return "a sample whose gradient is zero has nowhere to go, and should stay where it is."
    column = norms.reshape(-1, *(1 for _ in flat))
    if np.allclose(moved, wanted * column, rtol=0, atol=1e-8):
        return "the steps have the length |goal - score|, which is right only where the norm is 1: divide once more."
    if np.allclose(moved, wanted * column**2, rtol=0, atol=1e-8):
        return "this is the step for gradients of norm 1. These have other norms."
    if np.allclose(moved * np.sum(norms**2), wanted * column**2, rtol=0, atol=1e-8):
        return "you took one norm over the whole batch. Each sample has its own gradient."
    reached = score + np.sum(gradient * moved, axis=flat)
    return f"an affine score would be {reached[0]:.4g} at the first sample then, expected {goal:g}."


def _walk_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)

    def case(name, shape, goal, scale=1.0, zero=False):
        gradient = scale * rng.standard_normal(shape)
        if zero:
            gradient[-1] = 0
        return Case(name, (rng.standard_normal(shape), rng.standard_normal(shape[0]), gradient, goal))

    first = rng.standard_normal((1, 5))
    unit = Case(
        "one flat sample with a gradient of norm 1, goal 0",
        (rng.standard_normal((1, 5)), np.array([0.8]), first / np.linalg.norm(first), 0.0),
    )
    return (
        unit,
        case("one flat sample (1×6) with another norm, goal 0", (1, 6), 0.0, scale=2.0),
        case("four flat samples (4×3), goal 0", (4, 3), 0.0),
        case("four flat samples (4×3), goal -1.5", (4, 3), -1.5),
        case("a batch of images (5×4×4×1), goal 0.5", (5, 4, 4, 1), 0.5, scale=3.0),
        case("three samples (3×6), one with a gradient of zero, goal 0", (3, 6), 0.0, zero=True),
    )


WALK = Exercise(
    id="explanations.walk",
    question=(
        "Write `walk(x, score, gradient, goal)`, one step of the walk of this lesson. `x` and `gradient` are arrays of "
        "the same shape (n, …), `score` has shape (n,), `goal` is a number. Move each sample along its own gradient, "
        "to where its score would be `goal` if the score were affine. A sample whose gradient is zero stays where it "
        "is. Return a new array of the shape of `x`, exact to 1e-8."
    ),
    kind=Function(signature="walk(x, score, gradient, goal)", cases=_walk_cases(), judge=_judge_walk),
    hints=(
        "For one sample: if you move by t ∇f, by how much does an affine score change? Which t takes it to the goal?",
        "The score changes by t ‖∇f‖², so t = (goal - score) / ‖∇f‖². Sum the squares over all axes but the first, and "
        "give t as many axes as x has, before you multiply.",
        "`squares = np.sum(gradient**2, axis=tuple(range(1, x.ndim)), keepdims=True)` has the right axes already; "
        "`score.reshape(-1, *[1] * (x.ndim - 1))` fits them. Where `squares` is 0, take t = 0 (`np.where`).",
    ),
    solution=walk,
    explanation=(
        "Along the gradient an affine score changes by t ‖∇f‖², so t = (goal - f) / ‖∇f‖². Repeated, this is Newton's "
        "method along the steepest way; for goal = 0 it is DeepFool for two classes.\n\n"
        "For a network that keeps gradients at norm 1 the division does nothing: f ∇f is the step, and its length is "
        "the certificate."
    ),
)

EXERCISES = (BEYOND, DISTANCE, RELU, WALK)

NORM = Prediction(
    id="explanations.norm",
    question=(
        "No gradient of the 1-Lipschitz network is longer than 1. How long is the *shortest* one, over all test images?"
    ),
    kind=Amount(
        lowest=0,
        highest=1,
        within=0.05,
        replies=((0, 0.95, "You expected some flat places. A sort has none, unlike a ReLU."),),
    ),
    explanation=(
        "The constraint promises a norm of *at most* 1. The architecture makes it *exactly* 1 everywhere, up to "
        "rounding."
    ),
)

NOISE = Prediction(
    id="explanations.noise",
    question=(
        "We add random noise of length 0.5 to every image. How similar, as a cosine, is the new map of the *ordinary* "
        "network to its old one? (1 means the same direction, 0 means nothing in common.)"
    ),
    kind=Amount(
        lowest=-1,
        highest=1,
        within=0.06,
        replies=((-1, 0.9, "You took a map that looks like noise for one that changes like noise."),),
    ),
    explanation=(
        "Both maps hardly change. So the map of the ordinary network is not noise. It is a correct map of a function "
        "that depends on scattered pixels."
    ),
)

DRAWING = Prediction(
    id="explanations.drawing",
    question="For which of the two networks does the change look like a drawing?",
    kind=Option(
        options={
            "ordinary": "for the ordinary network",
            "constrained": "for the 1-Lipschitz network",
            "both": "for both",
        },
        replies={
            "ordinary": "It decides by scattered pixels, so that is what its change consists of.",
            "both": "Compare the third rows: one of them has shapes, the other one scattered pixels.",
        },
    ),
    explanation=(
        "The gradients of the 1-Lipschitz network point to the other class: the change removes shafts and soles, or "
        "adds them. The change for the ordinary network has no shape that we recognize."
    ),
    truth="constrained",
)

PREDICTIONS = (NORM, NOISE, DRAWING)
