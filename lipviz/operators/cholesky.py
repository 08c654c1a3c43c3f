"""Proofs of ‖A‖ ≤ t for a convolution A, by a banded Cholesky factorization of t²I − AᵀA."""

import collections
import itertools
import math

import numpy as np
import scipy.linalg

from lipviz.operators.convolution import Convolution
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)


class Band:
    """The Gram matrix of a convolution A as a band: AᵀA (of images) or A Aᵀ (of outputs), whichever is cheaper.

    Its entries are ordered (pixels, channels).

    Attributes:
        side: Its size.
        width: Its half-bandwidth: entries further from the diagonal are zero.
    """

    def __init__(self, block: Convolution):
        self.block = block
        sides = [self._extent(block, outputs) for outputs in (False, True)]
        self.outputs = sides[1][0] * sides[1][1] ** 2 < sides[0][0] * sides[0][1] ** 2
        self.side, self.width = sides[self.outputs]

    @staticmethod
    def _extent(block, outputs):
        """Size and half-bandwidth of the Gram matrix of images, or of outputs."""
        sizes, channels = (block.counts if outputs else block.sizes), block.kernel.shape[-1 if outputs else -2]
        far = 0
        for size, k, stride, dilation in zip(
            sizes, block.kernel.shape[:-2], block.strides, block.dilations, strict=True
        ):
            reach = (k - 1) * dilation // (stride if outputs else 1)
            far = far * size + min(reach, size - 1)
        side = math.prod(sizes) * channels
        return side, min((far + 1) * channels - 1, side - 1)

    @property
    def entries(self) -> int:
        """Number of entries of the band."""
        return self.side * (self.width + 1)

    @property
    def operations(self) -> float:
        """Multiplications of its Cholesky factorization."""
        return self.side * float(self.width) ** 2

    @property
    def rounding(self) -> float:
        """Bound of ‖computed − exact‖ of the Gram matrix: γ_m ‖ ``|A|`` ‖², and ‖B‖² ≤ ‖B‖₁ ‖B‖_∞."""
        magnitudes = self.block.with_kernel(np.abs(self.block.kernel))
        rows, columns = magnitudes @ np.ones(magnitudes.shape[1]), magnitudes.T @ np.ones(magnitudes.shape[0])
        return 2 * (self.block.terms + 2) * _EPS * rows.max() * columns.max()

    def gram(self) -> Array:
        """The lower half as LAPACK stores bands: an array of shape (width + 1, side)."""
        sizes = self.block.counts if self.outputs else self.block.sizes
        channels = self.block.kernel.shape[-1 if self.outputs else -2]
        band = np.zeros((self.width + 1, math.prod(sizes), channels))
        lanes = np.arange(channels)
        below = lanes[:, None] - lanes[None, :]  # row − column between two channels of the same pixel
        for far, blocks in self._blocks(sizes, channels).items():
            rows = far * channels + below
            for row, column in zip(*np.nonzero(rows >= 0), strict=True):
                band[rows[row, column], :, column] = blocks[:, row, column]
        return band.reshape(self.width + 1, -1)

    def _blocks(self, sizes, channels):
        """For each distance of two pixels, the block (row channels, column channels) of each pixel: {int: array}."""
        kernel, taps = self.block.kernel, list(np.ndindex(*self.block.kernel.shape[:-2]))
        found: dict[tuple[int, ...], Array] = collections.defaultdict(lambda: np.zeros((*sizes, channels, channels)))
        for one, other in itertools.product(taps, taps):
            ends = self._pairs(one, other)
            if ends is None:
                continue
            step, places = ends
            if step < (0,) * len(step):  # the upper half
                continue
            product = kernel[other].T @ kernel[one] if self.outputs else kernel[other] @ kernel[one].T
            found[step][places] += product
        flat: dict[int, Array] = {}
        for step, blocks in found.items():
            far = 0
            for size, way in zip(sizes, step, strict=True):
                far = far * size + way
            blocks = blocks.reshape(-1, channels, channels)
            flat[far] = flat[far] + blocks if far in flat else blocks  # two steps may have the same distance
        return flat

    def _pairs(self, one, other):
        """The pairs of pixels that two taps connect: the step from one to the other, and slices of where it starts.

        For images, both taps belong to one output, and both read pixels that exist. For outputs, both read the same
        pixel, and it exists. None where there is no such pair.
        """
        steps, places = [], []
        block = self.block
        for size, count, stride, dilation, before, t, u in zip(
            block.sizes, block.counts, block.strides, block.dilations, block.before, one, other, strict=True
        ):
            if self.outputs:
                step, rest = divmod((t - u) * dilation, stride)
                first = max(0, -step, -((t * dilation - before) // stride))
                last = min(count - 1, count - 1 - step, (size - 1 - t * dilation + before) // stride)
                place = slice(first, last + 1)
            else:
                step, rest = (u - t) * dilation, 0
                near, far = sorted((t * dilation - before, u * dilation - before))
                first, last = max(0, -(near // stride)), min(count - 1, (size - 1 - far) // stride)
                start = t * dilation - before
                place = slice(first * stride + start, last * stride + start + 1, stride)
            if rest or last < first:
                return None
            steps.append(step)
            places.append(place)
        return tuple(steps), tuple(places)


def proved(gram: Array, t: float, plan: Band) -> float | None:
    """A bound of ‖A‖ that the Cholesky factorization of t²I − AᵀA proves, or None where it breaks down."""
    band = -gram
    band[0] += t * t
    diagonal = band[0].max()
    try:
        scipy.linalg.cholesky_banded(band, overwrite_ab=True, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None
    # Rump: the factor is that of a matrix off by at most γ √(aᵢᵢ aⱼⱼ) in entry (i, j), zero outside of the band.
    gamma = (plan.width + 3) * _EPS / (1 - (plan.width + 3) * _EPS)
    backward = 2 * gamma * diagonal * min(2 * plan.width + 1, plan.side)
    return math.sqrt(t * t * (1 + 4 * _EPS) + backward + plan.rounding) * (1 + 4 * _EPS)
