"""Exercises of lesson 12: what an averaged factor leaves, disjoint neurons, and how often a pixel is read."""

import numpy as np

from lipviz.course.answers import Case, Function, Number
from lipviz.course.guesses import Amount, Prediction
from lipviz.course.registry import Exercise

_KERNEL = 3
_SIDE = 5
_HARMLESS = 1.03
_MARGIN = 1.2


def averaged_excess(n: int, k: int = _KERNEL) -> float:
    """Norm of a convolution after its division by the averaged factor, if its kernel keeps the length of every patch.

    Stride 1, zero padding, an odd kernel, on images that are not smaller than the kernel.

    Args:
        n: Height and width of the image.
        k: Height and width of the kernel.
    """
    d = (k - 1) // 2
    return k * n / (k * n - d * (d + 1))


_EXCESS = averaged_excess(_SIDE)
_SIZES = range(_KERNEL, 33)
_FIRST_HARMLESS = next(n for n in _SIZES if averaged_excess(n) < _HARMLESS)

AVERAGE = Exercise(
    id="migration.average",
    question=(
        f"Predict: a {_KERNEL} × {_KERNEL} convolution (stride 1, zero padding) on images of {_SIDE} × {_SIDE} pixels "
        "has so many output channels that it keeps the length of every patch. It is divided by the square root of the "
        "average number of patches that read a pixel, as in the reference. What is its norm after that?\n\n"
        f"The patches lie around each pixel, and those at the border stick out. In one row of {_SIDE} pixels, how many "
        "patches read each pixel?"
    ),
    kind=Number(
        tolerance=0.002,
        mistakes={
            1.0: "That is what it was meant to be. In the middle of the image a pixel counts more than on average.",
            1 / _EXCESS: "Upside down: the largest number of patches is above the average, so the norm is above 1.",
            np.sqrt(_EXCESS): "That is one axis. There are two, and the root is taken of the product of both.",
            _EXCESS**2: "Those are the squares of lengths: take the square root.",
            _KERNEL: "That is the norm before the division.",
        },
    ),
    hints=(
        "Before the division the squared length of the output is the sum of the squared lengths of all patches: each "
        "pixel counts as often as it is read. So the norm is the root of the largest such count.",
        f"In a row of {_SIDE} pixels the counts are 2, 3, 3, 3, 2. For an image, the counts of the two axes multiply, "
        "and so do their averages.",
        "The norm is the root of (3 · 3) over (average · average), which is 3 over the average of 2, 3, 3, 3, 2.",
    ),
    solution=_EXCESS,
    explanation=(
        f"The counts in a row are 2, 3, 3, 3, 2: at most 3, on average {(_KERNEL * _SIDE - 2) / _SIDE:g}. For an image "
        "both are squared, and the norm takes the root again: "
        f"3 / {(_KERNEL * _SIDE - 2) / _SIDE:g} = {_EXCESS:.4f}.\n\n"
        "A change in the middle of the image is stretched by that much, whatever the weights are. At 28 × 28 it is "
        f"{averaged_excess(28):.4f}, at 4 × 4 {averaged_excess(4):.4f}. Only an image without a border would make "
        "average and maximum the same."
    ),
)

DISJOINT = Exercise(
    id="migration.disjoint",
    question=(
        "A network ends with `FrobeniusDense(10, disjoint_neurons=True)`, so that each of its ten outputs is "
        "1-Lipschitz by itself; nothing more is known of them. For an image the largest output leads the runner-up by "
        f"a margin of {_MARGIN}. What is the largest radius (l2 norm) within which the class is certain?"
    ),
    kind=Number(
        tolerance=0.002,
        mistakes={
            _MARGIN / np.sqrt(2): (
                "That holds where the ten outputs are 1-Lipschitz together, as one vector. Here each may move by the "
                "whole change, all at once."
            ),
            _MARGIN: "Both outputs can move: the winner down, the runner-up up.",
            _MARGIN / 10: "Only two outputs decide, however many there are.",
            _MARGIN / np.sqrt(20): "Only two outputs decide, however many there are.",
        },
    ),
    hints=(
        "Only the winner and the runner-up matter. How fast can their difference fall?",
        "Two outputs with opposite weights, such as x and -x, are each 1-Lipschitz. What is the constant of their "
        "difference?",
        "The difference is 2-Lipschitz: it has fallen to 0 after half the margin.",
    ),
    solution=_MARGIN / 2,
    explanation=(
        f"{_MARGIN} / 2 = {_MARGIN / 2:g}. A change of length r moves each output by up to r, so the difference of two "
        "by up to 2 r, and opposite weights do that.\n\n"
        "`CategoricalProvableRobustAccuracy(disjoint_neurons=True)`, the default, divides by 2; say "
        "`disjoint_neurons=False` only after a last layer like `SpectralDense`. `certified_radius` needs no such "
        "switch: it looks at the weights of each pair of outputs, and often finds a larger radius."
    ),
)

HARMLESS = Exercise(
    id="migration.harmless",
    question=(
        '"On larger images the border hardly counts, so the average will do." Take the kernel "random" in the '
        "explorer, 3 × 3, from 1 to 16 channels, its matrix orthogonal, stride 1, padding same. Change the image size. "
        "What is the smallest size at which the norm after division by the reference's average is below "
        f"{_HARMLESS:g}?"
    ),
    kind=Number(
        tolerance=0,
        mistakes={
            _FIRST_HARMLESS - 1: f"Nearly: there it is {averaged_excess(_FIRST_HARMLESS - 1):.4f}. One pixel more.",
            _FIRST_HARMLESS + 1: "A smaller one will do as well: go back by one.",
            28: "That is the size of MNIST's images, and there it is below that. But is it the smallest?",
            8: "That is where the slider stands at the beginning. Move it to the right.",
        },
    ),
    hints=(
        "Move the slider `image size`, and read the sentence below the picture, or the bar named reference's average.",
        "By code: `explorer.state = {'image': n}` in a loop over n, and `explorer.data.after[-1]` for each.",
        f"`next(n for n in range(3, 33) if 3 * n / (3 * n - 2) < {_HARMLESS:g})`: the norm is 3n / (3n - 2).",
    ),
    solution=_FIRST_HARMLESS,
    explanation=(
        f"{_FIRST_HARMLESS} pixels: 3n / (3n - 2) = {averaged_excess(_FIRST_HARMLESS):.4f} there. The excess falls "
        "only like 1/n, since a larger image has more border pixels, too.\n\n"
        f"And factors multiply: ten layers of {_HARMLESS:g} may stretch by {_HARMLESS**10:.2f}. Poolings make images "
        "smaller on the way through a network, so that its last convolutions are the worst ones."
    ),
)


def coverage(n: int, k: int, s: int) -> np.ndarray:
    """Returns how many patches read each of ``n`` pixels in a row: kernel ``k``, stride ``s``, padding "same"."""
    patches = -(-n // s)
    before = max((patches - 1) * s + k - n, 0) // 2
    counts = np.zeros(n, int)
    for patch in range(patches):
        first = patch * s - before
        counts[max(first, 0) : first + k] += 1
    return counts


def _judge_coverage(result: np.ndarray, n: int, k: int, s: int) -> str:
    """Compares with the counts, and recognizes common mistakes."""
    right = coverage(n, k, s)
    if result.shape != (n,):
        return f"the shape is {result.shape}, expected {(n,)}: a count for each pixel."
    if np.array_equal(result, right):
        return ""
    if np.array_equal(result, right[::-1]):
        return "the counts are those of the row read backwards: where padding is odd, the extra zero is at the end."
    if result.min() == result.max() == k:
        return f"every pixel is said to be read by {k} patches; at the border, and with a stride, there are fewer."
    if result.max() > right.max():
        return f"a pixel is read by {right.max()} patches at the most, and yours says {result.max():g}."
    return f"expected {right.tolist()}, received {result.tolist()}."


COVERAGE = Exercise(
    id="migration.coverage",
    question=(
        "Write a function `coverage(n, k, s)` that returns, for a row of n pixels, how many patches read each of them: "
        "an array of n whole numbers. The kernel has k taps and the stride is s. Padding is Keras's same: there are "
        "⌈n / s⌉ patches; max((patches - 1) · s + k - n, 0) zeros are added in all, half of them (rounded down) "
        "before the row, the others after it.\n\n"
        "For both axes, lipviz multiplies an orthogonal kernel by one over the root of the largest count."
    ),
    kind=Function(
        signature="coverage(n, k, s)",
        cases=(
            Case("5 pixels, a kernel of 3, stride 1", (5, 3, 1)),
            Case("4 pixels, a kernel of 1, stride 1", (4, 1, 1)),
            Case("6 pixels, a kernel of 2, stride 2", (6, 2, 2)),
            Case("7 pixels, a kernel of 4, stride 1 (odd padding)", (7, 4, 1)),
            Case("8 pixels, a kernel of 5, stride 2", (8, 5, 2)),
            Case("3 pixels, a kernel of 7, stride 1", (3, 7, 1)),
            Case("6 pixels, a kernel of 1, stride 3 (pixels that nobody reads)", (6, 1, 3)),
        ),
        judge=_judge_coverage,
    ),
    hints=(
        "Go through the patches, not through the pixels: each patch adds 1 to the pixels that it reads.",
        "Patch number p begins at pixel p · s minus the zeros before the row, and has k taps. Some of them fall "
        "outside of the row, on zeros: leave these out. A slice may end beyond an array, but must not begin below 0.",
        "With `first = p * s - before`: `counts[max(first, 0) : first + k] += 1`, for every p in `range(patches)`.",
    ),
    solution=coverage,
    explanation=(
        "The squared length of a convolution's output is at most the squared norm of the kernel's matrix, times the "
        "sum of the squared lengths of the patches, in which each pixel counts as often as it is read. So the largest "
        "count bounds the norm, whatever the kernel; the average does not.\n\n"
        "With a stride s the count is at most ⌈k / s⌉, and there the reference's factor is sound. A bound that looks "
        'at the weights as well, `bound="tight"`, is often much smaller.'
    ),
)

EXERCISES = (AVERAGE, HARMLESS, DISJOINT, COVERAGE)

ENTRIES = Prediction(
    id="migration.entries",
    question="What is the Euclidean length of the vector of all 16 entries of an orthogonal 4 × 4 matrix?",
    kind=Amount(
        lowest=0,
        highest=100,
        within=0.01,
        replies=(
            (0.99, 1.01, "That is the length of each row. There are four of them."),
            (3.99, 4.01, "That is the sum of the squares. Take the root."),
        ),
    ),
    explanation=(
        "Each of the four rows has the length 1, so the sum of all squares is 4, and the length is 2. A white pixel of "
        "length 1 becomes 16 numbers of this length."
    ),
    truth=2.0,
)

SIGN = Prediction(
    id="migration.sign",
    question="How long must the change be to alter the sign? The reference says: at least 1.0141.",
    kind=Amount(
        lowest=0,
        highest=2,
        within=0.006,
        replies=((1.0141, 2, "You trusted the certificate of the reference. It assumes a norm that is too small."),),
    ),
    explanation=(
        "The sign turns at a shorter change than the reference promises. lipviz measures the constant of the weights, "
        "and promises less."
    ),
)

PREDICTIONS = (ENTRIES, SIGN)
