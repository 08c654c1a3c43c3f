"""The image that a convolution stretches most, as the power iteration finds it, and how many patches see each pixel."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from lipviz import normalizers as nm
from lipviz.measure.claims import checked_convolution
from lipviz.types import ArrayLike


@dataclasses.dataclass(frozen=True, eq=False)
class ConvolutionPower:
    """The images of a power iteration on a 2-D convolution, each of norm 1, and what the convolution makes of them.

    Attributes:
        kernel: The kernel, of shape (height, width, in, out).
        coverage: Number of patches that see each pixel, of shape (rows, columns) of the image.
        images: The image after 0, 1, … iterations, of shape (iterations + 1, rows, columns, in).
        gains: Norm of the convolution of each image, of shape (iterations + 1,): it never falls, and each is a lower
            bound of the convolution's norm.
    """

    kernel: np.ndarray = dataclasses.field(repr=False)
    coverage: np.ndarray = dataclasses.field(repr=False)
    images: np.ndarray = dataclasses.field(repr=False)
    gains: np.ndarray = dataclasses.field(repr=False)

    @property
    def iterations(self) -> int:
        """Number of iterations."""
        return len(self.gains) - 1

    def at(self, step: int) -> "PowerMoment":
        """The iteration after some steps; from `iterations` on it is the last image.

        Args:
            step: Number of steps, at least 0.

        Returns:
            A `PowerMoment`.

        Raises:
            ValueError: If the step is negative or no whole number.
        """
        return PowerMoment(self, min(nm.check_count("step", step), self.iterations))


@dataclasses.dataclass(frozen=True, eq=False)
class PowerMoment:
    """A power iteration on a convolution after some steps.

    Attributes:
        power: The whole `ConvolutionPower`.
        step: Number of steps.
    """

    power: ConvolutionPower
    step: int

    @property
    def image(self) -> np.ndarray:
        """The present image, of shape (rows, columns, in)."""
        return self.power.images[self.step]

    @property
    def gain(self) -> float:
        """Norm of its convolution."""
        return float(self.power.gains[self.step])


def convolution_power(
    kernel: ArrayLike,
    image: int | Sequence[int] = (8, 8),
    strides: int | Sequence[int] = 1,
    padding: Literal["same", "valid"] = "same",
    iterations: int = 40,
    seed: int | None = 0,
) -> ConvolutionPower:
    """Find the image that a 2-D convolution stretches most, by x ← KᵀKx / ‖KᵀKx‖ from random noise on.

    Args:
        kernel: Array of shape (height, width, in, out).
        image: Size of the image, one number or two.
        strides: One number or two.
        padding: "same" or "valid".
        iterations: Number of iterations.
        seed: Seed of the noise; None draws other noise each time.

    Returns:
        A `ConvolutionPower`. Where an image becomes zero, as with a kernel of zeros, the iteration stays there.

    Raises:
        TypeError: If the kernel does not hold real numbers.
        ValueError: See `convolution_claims`.
    """
    operator, unit = checked_convolution(kernel, image, strides, padding)
    iterations = nm.check_count("iterations", iterations)
    x = np.random.default_rng(nm.check_seed("seed", seed)).standard_normal(operator.shape[1])
    images, gains = [], []
    for _ in range(iterations + 1):
        x = x / (np.linalg.norm(x) or 1.0)
        y = operator @ x
        images.append(x.reshape(operator.input_shape))
        gains.append(np.linalg.norm(y))
        x = operator.T @ y
    kernel = operator.kernel * unit
    return ConvolutionPower(kernel, _coverage(operator), np.array(images), unit * np.array(gains))


def _coverage(operator):
    """Number of patches that see each pixel."""
    ones = operator.with_kernel(np.ones((*operator.kernel.shape[:2], 1, 1)))
    seen = ones.T @ np.ones(ones.shape[0])
    return seen.reshape(operator.sizes).round().astype(int)
