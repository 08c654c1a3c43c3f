"""Exercises on the norm of a convolution: counting patches, the average of them, and the matrix itself."""

import math

import numpy as np

from lipviz.course.answers import Case, Function, Number
from lipviz.course.guesses import Curve, Option, Prediction
from lipviz.course.registry import Exercise

_SIZE, _STRIDE = 7, 3
_TAPS, _IMAGE = 3, 16
_TOLERANCE = 1e-9

_PATCHES = math.ceil(_SIZE / _STRIDE)  # along an axis

PATCHES = Exercise(
    id="convolutions.patches",
    question=(
        f"Predict: a kernel of {_SIZE} × {_SIZE}, moved over a large image with a stride of {_STRIDE} along both axes. "
        "The kernel's matrix has the norm 1. By which factor do you have to multiply the kernel, so that the count of "
        "patches proves the convolution to be 1-Lipschitz?"
    ),
    kind=Number(
        tolerance=0.003,
        mistakes={
            1 / _PATCHES**2: "That is 1/P. It is sound, but √P is enough: look at the squares in the inequality.",
            1 / _SIZE: f"That is the factor for stride 1. With a stride of {_STRIDE} patches overlap less.",
            _STRIDE / _SIZE: (
                "That comes from the average number of patches that share a pixel. Some pixels are in more than that."
            ),
            1 / (_PATCHES - 1): "Some pixels are in one patch more along each axis: you rounded down.",
            _PATCHES: "That is the root of P. The kernel has to be divided by it.",
            _PATCHES**2: "That is P, the number of patches. Which factor follows from it?",
        },
    ),
    hints=(
        f"First along one axis: patches of {_SIZE} pixels begin at 0, {_STRIDE}, {2 * _STRIDE}, … How many of them "
        "contain a pixel, at the most?",
        f"Pixel {2 * _STRIDE} is in the patches that begin at 0, {_STRIDE} and {2 * _STRIDE}. Along both axes the "
        "numbers multiply, to P.",
        "The norm is at most √P times that of the matrix, and P is the square of the number along one axis.",
    ),
    solution=1 / _PATCHES,
    explanation=(
        f"Along an axis a pixel is in at most ⌈{_SIZE}/{_STRIDE}⌉ = {_PATCHES} patches, so in P = {_PATCHES**2} of "
        f"them in the plane, and the factor is 1/√P = 1/{_PATCHES} = {1 / _PATCHES:.4f}. With a stride of 1 it would "
        f"be 1/{_SIZE}: larger strides cost less of the slope, and none at all once the stride is the kernel's size."
    ),
)


def norm_after_average(taps: int, size: int) -> float:
    """Norm of a convolution that keeps the length of patches, over the root of the average number of patches.

    Args:
        taps: Height and width of the kernel, odd.
        size: Height and width of the image, at least `taps`; stride 1, zero padding that keeps the size.
    """
    reach = (taps - 1) // 2
    return taps / ((taps * size - reach * (reach + 1)) / size)


_SIXTEEN = norm_after_average(_TAPS, _IMAGE)
# A checkerboard of 3 × 3, whose norm has a closed form: that of a row of ones along each axis.
_CHECKERBOARD = _SIXTEEN * ((1 + 2 * math.cos(math.pi / (_IMAGE + 1))) / _TAPS) ** 2

AVERAGE = Exercise(
    id="convolutions.average",
    question=(
        f"Change the cell below: an image of {_IMAGE} × {_IMAGE} pixels in place of 8 × 8. The kernel has 3 × 3 pixels "
        "and leads from 1 to 16 channels, and its matrix keeps the length of each patch. Which norm is left once the "
        "kernel is divided by the root of the *average* number of patches? Guess first: is the fault larger or smaller "
        "on a larger image? Then run the cell, and answer with the number that it prints."
    ),
    kind=Number(
        tolerance=0.002,
        mistakes={
            norm_after_average(_TAPS, 8): f"That is the norm at 8 × 8. Set the size to {_IMAGE}.",
            _CHECKERBOARD: "That is the norm of the checkerboard. Choose the random kernel.",
            norm_after_average(_TAPS, 4): "That is the norm at 4 × 4, as in the lesson.",
            norm_after_average(_TAPS, 28): "That is the norm at 28 × 28.",
            1 / _SIXTEEN: "That is the claim divided by the norm. Divide the norm by the claim.",
        },
    ),
    hints=(
        f'Nothing needs computing by hand: set `"image"` to {_IMAGE} in `explorer.state = {{…}}`, and run that cell.',
        "The explorer shows it as well: write `explorer` into the last line of that cell, and read the bar of the "
        "reference's average.",
        f"Or compute it: pixels inside are in {_TAPS}² patches. On average along an axis it is {_TAPS} minus 2/n, for "
        "n pixels. Divide the one by the other.",
    ),
    solution=_SIXTEEN,
    explanation=(
        f"{_TAPS} / ({_TAPS} - 2/{_IMAGE}) = {_SIXTEEN:.4f}. Along each axis the two pixels at the ends are in one "
        "patch less, so the average is lower than the largest number by 2/n, n being the size. The fault shrinks with "
        'the size of the image, but it is never zero: a factor that holds on large images "nearly" does not hold.'
    ),
)


def convolution_matrix(kernel: np.ndarray, n: int) -> np.ndarray:
    """The matrix of a 1-D convolution as layers compute it: odd kernel, stride 1, zeros around n pixels."""
    reach = len(kernel) // 2
    matrix = np.zeros((n, n))
    for place in range(n):
        for tap, weight in enumerate(kernel):
            pixel = place + tap - reach
            if 0 <= pixel < n:
                matrix[place, pixel] = weight
    return matrix


def by_unit_images(kernel: np.ndarray, n: int) -> np.ndarray:
    """The same, computed in another way: `np.correlate` of each single pixel."""
    reach = len(kernel) // 2
    padded = [np.pad(image, reach) for image in np.eye(n)]
    return np.stack([np.correlate(image, kernel, mode="valid") for image in padded], axis=1)


def _judge_matrix(result: np.ndarray, kernel: np.ndarray, n: int) -> str:
    """Compares with what the convolution does to each single pixel, and recognizes known mistakes."""
    if result.shape != (n, n):
        return f"the shape is {result.shape}, expected {(n, n)}: as many outputs as pixels."
    expected = by_unit_images(kernel, n)
    if np.allclose(result, expected, rtol=0, atol=_TOLERANCE):
        return ""
    reach, circular = len(kernel) // 2, np.zeros((n, n))
    for tap, weight in enumerate(kernel):
        circular += weight * np.roll(np.eye(n), tap - reach, axis=1)
    mistakes = (
        (expected.T, "the kernel is flipped, or the matrix transposed: layers do not flip the kernel."),
        (circular, "the kernel wraps around at the border, as an FFT has it. Beyond the border there are zeros."),
    )
    word = next((word for wrong, word in mistakes if np.allclose(result, wrong, rtol=0, atol=_TOLERANCE)), "")
    off = np.count_nonzero(np.abs(result - expected) > _TOLERANCE)
    return word or f"{off} of {n * n} entries are off; the first row should be {np.round(expected[0], 3).tolist()}."


def _matrix_cases() -> tuple[Case, ...]:
    rng = np.random.default_rng(0)
    return (
        Case("the kernel (1, 2, 1) on 4 pixels", (np.array([1.0, 2.0, 1.0]), 4)),
        Case("a kernel of one number on 3 pixels", (np.array([-2.5]), 3)),
        Case("the kernel (1, 2, 5) on 5 pixels", (np.array([1.0, 2.0, 5.0]), 5)),
        Case("a random kernel of 5 on 8 pixels", (rng.standard_normal(5), 8)),
        Case("a random kernel of 7 on 4 pixels", (rng.standard_normal(7), 4)),
        Case("a kernel of 3 on a single pixel", (np.array([3.0, 1.0, 2.0]), 1)),
    )


MATRIX = Exercise(
    id="convolutions.matrix",
    question=(
        "Write a function `convolution_matrix(kernel, n)` in NumPy that returns the (n, n) matrix of a 1-D convolution "
        "with zero padding and stride 1, as layers compute it: output i is the sum over j of "
        "`kernel[j]` times pixel i + j - r, with r = (length - 1)/2, and pixels outside of 0 … n - 1 count as zero. "
        "The kernel is a float64 array of odd length, possibly longer than the image."
    ),
    kind=Function(signature="convolution_matrix(kernel, n)", cases=_matrix_cases(), judge=_judge_matrix),
    hints=(
        "Row i says what output i takes from each pixel. Which pixel does entry j of the kernel meet there?",
        "Start from `np.zeros((n, n))`, with two loops: over the outputs i and over the entries j of the kernel.",
        "In the loops: `p = i + j - len(kernel) // 2`, and `if 0 <= p < n:` set entry (i, p) to `kernel[j]`.",
    ),
    solution=convolution_matrix,
    explanation=(
        "Every diagonal holds one number: such a matrix is called a Toeplitz matrix. The border shows only in what is "
        "missing, at the two corners. A circular convolution fills these corners with what wraps around, which changes "
        "the norm in either direction.\n\n"
        "`np.linalg.norm(matrix, 2)` is the exact norm of the layer. In two dimensions the matrix is a Toeplitz matrix "
        "of Toeplitz matrices, and grows with the fourth power of the image's size."
    ),
)

EXERCISES = (PATCHES, AVERAGE, MATRIX)

_BELOW = {"below": "below 1", "exact": "exactly 1", "above": "above 1"}

WHOLE = Prediction(
    id="convolutions.whole",
    question=(
        "The kernel of nine equal numbers has the norm 1 as a matrix: it does not stretch a *patch*. What is the norm "
        "of the whole convolution?"
    ),
    kind=Option(
        options=_BELOW,
        replies={
            "exact": "It would be 1 if patches did not overlap.",
            "below": "The zeros around the border take something away, but much more is added elsewhere.",
        },
    ),
    explanation="Patches overlap, so that a pixel counts in each patch that contains it. The next section counts them.",
    truth="above",
)

FACTOR = Prediction(
    id="convolutions.factor",
    question=(
        "Take 16 filters of 3 × 3 on one channel, such that the kernel's matrix keeps the length of each patch. After "
        "the division by the root of the *average* number of patches, what is the norm of the convolution?"
    ),
    kind=Option(
        options=_BELOW,
        replies={
            "exact": "It would be 1 if every pixel were in equally many patches.",
            "below": (
                "Pixels at the border are in fewer patches. That makes the average smaller, and the quotient larger."
            ),
        },
    ),
    explanation=(
        "The norm is above 1 at every size. It is too large by 20 % on 4 × 4 pixels, and by 2.44 % on 28 × 28 pixels, "
        "a usual size. An average is not a bound: all the weight of an input may lie in the middle of the image, where "
        "each pixel is in many patches."
    ),
    truth="above",
)

PIXEL = Prediction(
    id="convolutions.pixel",
    question=(
        "An image of 4 × 4 pixels has a single white pixel, so its length is 1. How long is the output of the layer if "
        "that pixel is in a corner, at an edge, or in the middle? Use the counts above: the kernel keeps the length of "
        "each patch, and is then divided by √6.25 = 2.5."
    ),
    kind=Curve(
        places=("corner", "edge", "middle"),
        lowest=0,
        highest=2,
        within=0.06,
        x="place of the pixel",
        replies={
            "flat": "Count again: a corner is in 4 patches, an edge in 6, the middle in 9.",
            "falling": "It is the other way round: pixels in the middle are in more patches.",
        },
    ),
    explanation=(
        "A corner is in 4 patches, an edge in 6, the middle in 9. So the lengths are √(4/6.25) = 0.8, √(6/6.25) = 0.98 "
        "and √(9/6.25) = 1.2. No search is needed to find an input that is stretched."
    ),
)

FFT = Prediction(
    id="convolutions.fft",
    question=(
        "The kernel is a checkerboard, the image has 5 × 5 pixels with zeros around it. Compared with the norm of the "
        "convolution, is the largest gain of the FFT of size 5 too large, right, or too small?"
    ),
    kind=Option(
        options={"large": "too large", "right": "right", "small": "too small"},
        replies={
            "large": "Circular padding adds something at the border where there is nothing. But look at frequencies.",
            "right": "It is right for circular padding. Zero padding makes a small difference, in the wrong direction.",
        },
    ),
    explanation=(
        "An FFT of size 5 has the frequencies 0, ⅕ and ⅖ (and their negatives). The gain of a checkerboard is largest "
        "at ½. A circular image of 5 pixels cannot contain a checkerboard: two black squares would meet where the "
        "right border is joined to the left one. A zero-padded image has no such joint."
    ),
    truth="small",
)

PREDICTIONS = (WHOLE, FACTOR, PIXEL, FFT)
