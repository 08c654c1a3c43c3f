"""Exercises of lesson 03: gradients through activations, the slopes of a ReLU network, |x| from a sort."""

import math

import numpy as np

from lipviz.course.answers import Array, Case, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
from lipviz.course.registry import Exercise
from lipviz.types import ArrayLike

_BEFORE = (2.0, -1.0, -3.0, 0.5)
_GRADIENT = (3.0, 1.0, 4.0, 2.0)
_TOLERANCE = 1e-9


def sort_pairs_backward(z: ArrayLike, gradient: ArrayLike) -> np.ndarray:
    """Returns the gradient at the input of GroupSort2, from its channels z and the gradient at its output."""
    order = np.argsort(np.reshape(z, (-1, 2)), axis=1)
    before = np.empty_like(order, dtype=float)
    np.put_along_axis(before, order, np.reshape(gradient, (-1, 2)), axis=1)
    return before.ravel()


def _words(values):
    return ", ".join(f"{value:g}" for value in values)


BACKWARD = Exercise(
    id="activations.backward",
    question=(
        f"Predict: GroupSort2 receives the four channels ({_words(_BEFORE)}) and sorts each pair of neighbours, the "
        f"smaller one first. The gradient at its output is ({_words(_GRADIENT)}). What is the gradient with "
        "respect to the four channels?"
    ),
    kind=Array(tolerance=1e-6),
    hints=(
        "What comes out of GroupSort2? For each of the four outputs, from which channel does it come?",
        "Each output is one of the channels, so its entry of the gradient goes back to that channel. A pair that was "
        "in order already stays as it is.",
        "The first pair (2, −1) comes out as (−1, 2): it was swapped, so its two entries of the gradient swap as well. "
        "The second pair was in order.",
    ),
    solution=sort_pairs_backward(_BEFORE, _GRADIENT),
    explanation=(
        "A sort permutes numbers, so backwards it permutes the entries of the gradient: the first two swap, the last "
        f"two stay. The length stays what it was, √{sum(g * g for g in _GRADIENT):g}.\n\n"
        "A ReLU would have passed back (3, 0, 0, 2): the channels −1 and −3 are cut off, and the length falls to √13."
    ),
)

STEEPNESS = Exercise(
    id="activations.steepness",
    question=(
        "A network with one number as its input, one hidden layer of ReLUs and one output computes "
        "Σ vᵢ relu(wᵢ x + bᵢ) + c. The constraints ‖w‖ ≤ 1 and ‖v‖ ≤ 1 make it 1-Lipschitz. It should equal s·|x| "
        "for some s > 0. What is the largest s that is possible, at any width?"
    ),
    kind=Number(
        tolerance=1e-3,
        mistakes={
            1.0: "That is right for GroupSort2. Here, which neurons can be active on both sides of 0?",
            2.0: "The whole network is 1-Lipschitz, so s is at most 1 in any case.",
            math.sqrt(0.5): "Both vectors have to be shared between the two sides, w as well as v.",
            0.25: "You can have more: let half of each squared norm serve the right side, half the left.",
        },
    ),
    hints=(
        "The slope at x is the sum of vᵢ wᵢ over the neurons that are active there. By how much does it change from "
        "x < 0 to x > 0?",
        "The slopes differ by a sum of some of the numbers ± vᵢ wᵢ. The sum of all |vᵢ wᵢ| is at most ‖v‖·‖w‖ "
        "(Cauchy and Schwarz).",
        "So two slopes are never more than 1 apart. Those of s·|x| are s and −s.",
    ),
    solution=0.5,
    explanation=(
        "Two slopes differ by at most Σ |vᵢ wᵢ| ≤ ‖v‖·‖w‖ ≤ 1, and those of s·|x| differ by 2s, so that s ≤ ½. Two "
        "neurons reach it: w = (1, −1)/√2 and v = (1, 1)/√2 give (relu(x) + relu(−x))/2.\n\n"
        "That network spends half of its norm on a neuron that is off. A sort is never off."
    ),
)

SLOPE = Exercise(
    id="activations.slope",
    question=(
        "PReLUlip passes a positive input on as it is, and multiplies a negative one by a slope between −1 and 1. With "
        "the slope 1 it is no activation at all: it bends nothing. Change the slope in the cell below until the "
        "explorer states that lengths are kept all along the line, although the activation bends. Which slope is that?"
    ),
    kind=Number(
        tolerance=1e-6,
        mistakes={
            1.0: "There it keeps lengths, but it is the identity. Look for another one.",
            0.0: "That is ReLU, which loses most.",
            0.25: "That is the slope that it starts with. Read the sentence for it.",
            -0.5: "That bends more, but negative inputs are still halved.",
        },
    ),
    hints=(
        "The Jacobian is diagonal: 1 for a positive channel, the slope for a negative one. Which slopes keep lengths?",
        "A number times a keeps its absolute value for two values of a only.",
        "Try the other end of the slider.",
    ),
    solution=-1.0,
    explanation=(
        "With the slope −1, PReLUlip is the absolute value: negative inputs are mirrored, not shortened, and the "
        "Jacobian is diagonal with entries ±1.\n\n"
        "So what ruins ReLU is not that it acts on single channels, but that it is monotone: a monotone function of "
        "one number with slopes ±1 can only have the slope 1 everywhere, or −1 everywhere. Then it does not bend."
    ),
)


def fold(s: float) -> np.ndarray:
    """Returns the weights before and after a sort of a pair, as two rows, whose network is s·|x|."""
    share = np.sqrt(abs(s) / 2)
    return np.array([[share, -share], [-np.sign(s) * share, np.sign(s) * share]])


def _judge_fold(result: np.ndarray, s: float) -> str:
    """Says why two rows of weights do not make s·|x| with norms of at most √|s|."""
    if result.shape != (2, 2):
        return f"the shape is {result.shape}, expected (2, 2): a row w and a row v."
    w, v = np.asarray(result, float)
    x = np.linspace(-2, 2, 41)
    received = np.sort(x[:, None] * w, axis=1) @ v
    if not np.allclose(received, s * np.abs(x), rtol=0, atol=_TOLERANCE):
        if np.allclose(received, -s * np.abs(x), rtol=0, atol=_TOLERANCE):
            return f"the network computes {-s:g}·|x|, expected {s:g}·|x|: mind that the smaller number comes first."
        worst = x[np.abs(received - s * np.abs(x)).argmax()]
        value = float(np.sort(worst * w) @ v)
        return f"at x = {worst:g} the network gives {value:.6g}, expected {s * abs(worst):.6g}."
    limit = math.sqrt(abs(s))
    norms = {"w": float(np.linalg.norm(w)), "v": float(np.linalg.norm(v))}
    for name, norm in norms.items():
        if norm > limit * (1 + _TOLERANCE):
            return (
                f"the network is {s:g}·|x|, but the norm of {name} is {norm:.6g}, above √|s| = {limit:.6g}. The "
                f"product of the norms certifies {norms['w'] * norms['v']:.6g} only."
            )
    return ""


FOLD = Exercise(
    id="activations.fold",
    question=(
        "Build s·|x| from a sort. The network multiplies a number x by a pair of weights w = (w₁, w₂), sorts the two "
        "products with GroupSort2, the smaller one first, and returns their scalar product with v = (v₁, v₂). Write a "
        "function `fold(s)` that takes a number s, not 0, and returns an array of shape (2, 2) with the rows w and v. "
        "The network must equal s·|x| for all x, and both rows have a norm of at most √|s|, so that the whole is "
        "certified to be |s|-Lipschitz."
    ),
    kind=Function(
        signature="fold(s)",
        cases=tuple(Case(f"s = {s:g}", (s,)) for s in (1.0, 4.0, 0.25, -1.0, -2.25)),
        judge=_judge_fold,
    ),
    hints=(
        "Begin with s = 1. The larger of x and −x is |x|. What is the smaller one?",
        "Sorting (x, −x) gives (−|x|, |x|). Use both of them: −1 times the first and +1 times the second, and then set "
        "the norms right.",
        "For s = 1: w = (1, −1)/√2 and v = (−1, 1)/√2. For other s multiply both by √|s|, and v by the sign of s.",
    ),
    solution=fold,
    explanation=(
        "Sorting (x, −x)·c gives (−c|x|, c|x|), and v = (−c, c) makes 2c²|x| of it; with c = √(|s|/2) that is "
        "|s|·|x|, and both norms are √|s|. The larger number alone, v = (0, 1), would need a w of norm √2: half of "
        "what the pair carries would be thrown away.\n\n"
        "A ReLU has no such second half: where it is off, it passes nothing."
    ),
)

EXERCISES = (STEEPNESS, BACKWARD, SLOPE, FOLD)

ERROR = Prediction(
    id="activations.error",
    question=(
        "Which of the two networks will fit `|x|` better, and by how much? Guess the error with ReLU, divided by the "
        "error with GroupSort2."
    ),
    kind=Amount(
        lowest=0.001,
        highest=1000,
        ratio=2,
        replies=(
            (0.001, 0.9, "You expected ReLU to be better. Without the constraint it is as good."),
            (0.9, 1.5, "You expected a tie: both activations are piecewise linear, and both are 1-Lipschitz."),
        ),
    ),
    explanation=(
        "Both keep the promise: no slope is steeper than 1. But the network with ReLU cannot use what the promise "
        "allows. Its slopes stay well below 1."
    ),
)

SIZE = Prediction(
    id="activations.size",
    question=(
        "Perhaps the ReLU network only needs more neurons. Which of these networks with ReLU comes near the error that "
        "GroupSort2 has with width 16 and 3 hidden layers?"
    ),
    kind=Option(
        options={
            "wide": "the one with four times the width",
            "deep": "the one with eight hidden layers",
            "none": "none of them",
        },
        replies={
            "wide": "More neurons add more kinks, but no steeper slopes.",
            "deep": "Depth helps, but slowly.",
        },
    ),
    explanation=(
        "The size is not the cause. With one hidden layer, the slopes of such a ReLU network differ by at most 1, for "
        "every width. The best that it can do is ±½ (you will show that in exercise 1)."
    ),
    truth="none",
)

LETTER = Prediction(
    id="activations.letter",
    question="What does a sort of the two coordinates do to the letter F?",
    kind=Option(
        options={
            "nothing": "nothing",
            "cut": "it flattens a part of the letter onto a line",
            "fold": "it folds the letter along the diagonal",
            "turn": "it turns the whole letter",
        },
        replies={
            "nothing": "Where the first coordinate is the larger one, the two change places.",
            "cut": "That is what ReLU does.",
            "turn": "Only a part of the plane moves: the points whose coordinates are in the wrong order.",
        },
    ),
    explanation=(
        "Points on one side of the diagonal stay. Those on the other side are mirrored at it. A fold keeps every "
        "length, while ReLU flattens three quarters of the plane onto two lines."
    ),
    truth="fold",
)

SAWTOOTH = Prediction(
    id="activations.sawtooth",
    question="Which of these networks will have the largest error on the sawtooth?",
    kind=Option(
        options={
            "relu": "the one with ReLU",
            "pairs": "the one with MaxMin or GroupSort2, which sort pairs only",
            "fullsort": "the one with FullSort, which mixes all channels",
            "learned": "the one with Householder or PReLUlip, which have to learn a parameter as well",
        },
        replies={
            "pairs": "A pair is enough: layers in between bring any two channels together.",
            "fullsort": "A sort of all channels moves numbers, and loses none. The next layer can find each of them.",
            "learned": "The parameter helps. PReLUlip can become |x|, and Householder a sort of pairs.",
        },
    ),
    explanation=(
        "ReLU is the only one that cannot keep lengths: where it is off, it passes nothing on. So its teeth are the "
        "flattest."
    ),
    truth="relu",
)

PREDICTIONS = (ERROR, SIZE, LETTER, SAWTOOTH)
