"""Exercises of lesson 05: what depth and pooling leave of a gradient, and a down-sampling that loses nothing."""

import math

import numpy as np

from lipviz.course.answers import Case, Function, Number
from lipviz.course.guesses import Amount, Option, Prediction
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
            (_SIDE // _WINDOW) ** 2: "That is how many numbers come out. How many directions are lost?",
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
        "training decides which of them to ignore."
    ),
)

LEAKY = Exercise(
    id="depth.leaky",
    question=(
        'Change the cell below: put "leaky_relu" in place of "relu". It multiplies a negative input by 0.2 instead of '
        "by 0. Which share of a gradient does a layer pass on? (The cell prints the median after 50 layers, to the "
        "power of 1/50.) Guess first: does the leak solve the problem?"
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
        "By reasoning: half of the entries of a gradient keep their size, half are multiplied by 0.2. What becomes of "
        "the sum of squares?",
        "The root of the mean of 1² and 0.2².",
    ),
    solution=_LEAKY,
    explanation=(
        f"√((1² + 0.2²)/2) = {_LEAKY:.3f}, hardly more than ReLU's {_SHARE:.3f}: a leak of 0.2 carries only 0.04 of a "
        f"square. After 50 layers {_LEAKY**50:.0e} is left.\n\n"
        "A leak helps against neurons that are always off, not against a gradient that fades."
    ),
)


def downsample(x: np.ndarray, p: int) -> np.ndarray:
    """Returns an image (height, width, channels) with each window of p × p pixels as the channels of one pixel."""
    height, width, channels = x.shape
    windows = x.reshape(height // p, p, width // p, p, channels)
    return windows.transpose(0, 2, 1, 3, 4).reshape(height // p, width // p, p * p * channels)


def _judge_downsample(result: np.ndarray, x: np.ndarray, p: int) -> str:
    """Says why the result does not hold each window of an image as one pixel, in any order of channels."""
    height, width, channels = x.shape
    expected = (height // p, width // p, p * p * channels)
    if result.shape != expected:
        return f"the shape is {result.shape}, expected {expected}."
    if not np.array_equal(np.sort(result, axis=None), np.sort(x, axis=None)):
        return "its entries are not those of the image, each once: entries must only be moved, not changed."
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

FIFTY = Prediction(
    id="depth.fifty",
    question=(
        "How long is the gradient after fifty such matrices, with a ReLU after each, as a share of its length before? "
        "You may write 1e-3 for 0.001."
    ),
    kind=Amount(
        lowest=0,
        highest=1,
        ratio=5,
        replies=(
            (0.1, 1, "The matrices keep every length, but ReLU does not. What it loses multiplies, fifty times."),
            (1e-4, 0.1, "You saw that ReLU loses something. Fifty small losses multiply to an enormous one."),
        ),
    ),
    explanation=(
        "A ReLU switches off half of its neurons. That halves the *square* of the gradient's length, so each layer "
        "passes on √(1/2) ≈ 0.71 of the length, and 0.71 to the power of 50 is almost 0. GroupSort2 only swaps "
        "neighbours, so it keeps the length at any depth."
    ),
)

POOLINGS = Prediction(
    id="depth.poolings",
    question="Which of the five keep the *distances* of all pairs of images?",
    kind=Option(
        options={
            "all": "all except the average",
            "three": "the scaled average, the maximum and the invertible one",
            "one": "only the invertible one",
            "none": "none of them",
        },
        replies={
            "all": "These keep, or nearly keep, the length of gradients. Distances are another matter.",
            "three": "These three keep the length of every *gradient*. Distances are another matter.",
            "none": "One of them throws no number away.",
        },
    ),
    explanation=(
        "The scaled average and the maximum pass back *all* of a gradient's length, and still they reduce the distance "
        "of some pairs of images by a factor of 3, 10 or more. These are two different properties. The rows of a "
        "matrix with few rows can be orthonormal. Then gradients, which are multiplied by its transpose, keep their "
        "length. But the matrix maps 64 numbers to 16, and loses every difference that lies in the other 48 directions."
    ),
    truth="one",
)

PREDICTIONS = (FIFTY, POOLINGS)
