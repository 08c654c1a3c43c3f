"""Exercises of lesson 05: what depth and pooling leave of a gradient, and a down-sampling that loses nothing."""

import math

import numpy as np

from lipviz.course.answers import Case, Function, Number
from lipviz.course.registry import Exercise

_SHARE = math.sqrt(0.5)  # of a gradient, that a layer with half of its neurons on passes on
_LEFT = 1e-3
_LAYERS = math.ceil(math.log(_LEFT) / math.log(_SHARE))
_SIDE, _WINDOW = 8, 2
_LOST = _SIDE**2 - (_SIDE // _WINDOW) ** 2
_SLOPE = 0.2  # of the leaky ReLU
_LEAKY = math.sqrt((1 + _SLOPE**2) / 2)

VANISH = Exercise(
    id="depth.vanish",
    question=(
        "Predict: in a network of orthogonal matrices, each followed by a ReLU, half of the neurons of every layer are "
        "off, and each layer passes on √½ of the length of a gradient. After how many layers is less than a thousandth "
        "of it left for the first time?"
    ),
    kind=Number(
        tolerance=0,
        mistakes={
            math.ceil(math.log(_LEFT) / math.log(0.5)): "That is for a half per layer. It is √½, about 0.71.",
            _LAYERS - 1: "One layer short: there it is still a little more than a thousandth.",
            _LAYERS + 1: "It happens one layer earlier.",
        },
    ),
    hints=(
        "After two layers the factor is √½ · √½. Does that help to count?",
        "Every two layers halve the gradient. How many halvings make a thousandth? 2¹⁰ = 1024.",
        "Find the smallest whole n with 0.5^(n/2) < 0.001.",
    ),
    solution=_LAYERS,
    explanation=(
        f"{_LAYERS} layers: two of them halve the gradient, and ten halvings leave 1/1024 of it. After 50 layers "
        f"{_SHARE**50:.0e} is left.\n\n"
        "That is why deep ReLU networks are started with matrices larger by √2, and why a 1-Lipschitz network, which "
        "cannot do that, has to sort."
    ),
)

LOST = Exercise(
    id="depth.lost",
    question=(
        f"Predict: an average pooling with windows of {_WINDOW} × {_WINDOW} is a linear map from images of "
        f"{_SIDE} × {_SIDE} pixels with one channel to smaller ones. How many independent directions, in which an "
        "image can change, does it not notice at all?"
    ),
    kind=Number(
        tolerance=0,
        mistakes={
            (_SIDE // _WINDOW) ** 2: "So many numbers come out. How many directions are behind them?",
            _SIDE**2: "Then nothing at all would come through.",
            _WINDOW**2 - 1: "That is right for a single window. How many windows are there?",
        },
    ),
    hints=(
        "Think of a single window. Which changes of its four pixels leave their average as it was?",
        "In a window of four pixels, three independent changes keep the average. Count the windows.",
        f"{_SIDE}² numbers go in, ({_SIDE}/{_WINDOW})² come out, and these are independent of each other.",
    ),
    solution=_LOST,
    explanation=(
        f"{_SIDE**2} pixels go in and {(_SIDE // _WINDOW) ** 2} averages come out, so {_LOST} directions are lost: "
        "three in each window. A checkerboard is one of them.\n\n"
        "No factor in front of the average brings them back. Invertible down-sampling keeps them as channels, and "
        "leaves it to the training what to forget."
    ),
)

LEAKY = Exercise(
    id="depth.leaky",
    question=(
        'Change the cell below: put "leaky_relu" in place of "relu". It multiplies a negative input by 0.2 instead of '
        "by 0. Which share of a gradient does a layer pass on? (The cell prints the median after 50 layers, to the "
        "power of 1/50.) Guess first: does the leak mend it?"
    ),
    kind=Number(
        tolerance=0.01,
        mistakes={
            _SHARE: "That is ReLU's. Did you change `first`?",
            (1 + _SLOPE) / 2: "That is the mean of both slopes. The squares have to be averaged.",
            (1 + _SLOPE**2) / 2: "That is the share of the square. Take its root.",
            1.0: "That is what GroupSort2 keeps.",
        },
    ),
    hints=(
        'Only the word after `"first":` changes. The number is printed when the cell has run.',
        "By thought: half of the entries of a gradient keep their size, half are multiplied by 0.2. What becomes of "
        "the sum of squares?",
        "The root of the mean of 1² and 0.2².",
    ),
    solution=_LEAKY,
    explanation=(
        f"√((1² + 0.2²)/2) = {_LEAKY:.3f}, hardly more than ReLU's {_SHARE:.3f}: a leak of 0.2 carries only 0.04 of a "
        f"square. After 50 layers {_LEAKY**50:.0e} is left.\n\n"
        "A leak helps against neurons that are dead for good, not against a gradient that fades."
    ),
)


def downsample(x: np.ndarray, p: int) -> np.ndarray:
    """Returns an image (height, width, channels) with each window of p × p pixels as the channels of one pixel."""
    height, width, channels = x.shape
    windows = x.reshape(height // p, p, width // p, p, channels)
    return windows.transpose(0, 2, 1, 3, 4).reshape(height // p, width // p, p * p * channels)


def _judge_downsample(result: np.ndarray, x: np.ndarray, p: int) -> str:
    """Says what keeps the result from holding each window of an image as one pixel, in any order of channels."""
    height, width, channels = x.shape
    expected = (height // p, width // p, p * p * channels)
    if result.shape != expected:
        return f"the shape is {result.shape}, expected {expected}."
    if not np.array_equal(np.sort(result, axis=None), np.sort(x, axis=None)):
        return "its entries are not those of the image, each once: nothing shall be computed, only moved."
    for i in range(height // p):
        for j in range(width // p):
            window = x[i * p : (i + 1) * p, j * p : (j + 1) * p]
            if not np.array_equal(np.sort(result[i, j]), np.sort(window, axis=None)):
                return (
                    f"pixel ({i}, {j}) does not hold rows {i * p} to {(i + 1) * p - 1} and columns {j * p} to "
                    f"{(j + 1) * p - 1} of the image. Entries came from other windows: a reshape alone does not cut "
                    "windows out."
                )
    return ""


def _downsample_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    shapes = (((4, 4, 1), 2), ((8, 8, 1), 2), ((4, 6, 3), 2), ((6, 9, 2), 3), ((2, 2, 1), 1), ((4, 4, 2), 4))
    return tuple(
        Case(f"an image of {h} × {w} × {c}, p = {p}", (rng.permutation(h * w * c).reshape(h, w, c) / 8.0, p))
        for (h, w, c), p in shapes
    )


DOWNSAMPLE = Exercise(
    id="depth.downsample",
    question=(
        "Build an invertible down-sampling: write a function `downsample(x, p)` that takes an image x of shape "
        "(height, width, channels), with p a divisor of height and of width, and returns one of shape (height/p, "
        "width/p, p·p·channels). Pixel (i, j) of the result holds all entries of the window of p × p pixels that "
        "begins at row i·p and column j·p, in any order that you like. Do not change x itself."
    ),
    kind=Function(signature="downsample(x, p)", cases=_downsample_cases(), judge=_judge_downsample),
    hints=(
        "Four numbers describe a pixel's place: the window's row, the row within the window, and the same for columns.",
        "`x.reshape(height // p, p, width // p, p, channels)` gives each of them an axis of its own. Which axes belong "
        "side by side in the end?",
        "Move them with `.transpose(0, 2, 1, 3, 4)`, then reshape to `(height // p, width // p, p * p * channels)`.",
    ),
    solution=downsample,
    explanation=(
        "Reshape, transpose, reshape: a permutation of the entries. As a matrix it is orthogonal, so that it keeps all "
        "distances and all gradients, and its inverse is its transpose (`InvertibleUpSampling`).\n\n"
        "Two loops over windows do the same, or slices: `x[a::p, b::p]` for all a and b, put side by side as channels."
    ),
)

EXERCISES = (VANISH, LOST, LEAKY, DOWNSAMPLE)
