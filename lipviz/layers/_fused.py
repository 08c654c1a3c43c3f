"""Activations and norm poolings as functions that XLA compiles, with gradients written by hand.

A norm pooling directly after a sort in pairs computes both in one function, which neither writes nor keeps the sorted
entries: the pooling finds the input of the sort in a note on its own input. So nothing need be said to fuse the two
layers, whatever the model. TensorFlow drops the sort itself unless something else uses its result.
"""

import dataclasses
import functools
import math

import numpy as np
from keras import ops

from lipviz.compiled import Compiled
from lipviz.types import Shape, Tensor

_NOTE = "lipviz_sorted_from"


@dataclasses.dataclass(frozen=True)
class PairSort:
    """k P x, where the permutation P sorts neighbouring channels of x in pairs.

    Attributes:
        axis: Index of the channel axis, at least 1.
        k: Factor.
    """

    axis: int
    k: float

    def __call__(self, x: Tensor) -> Tensor:
        """Sort a tensor of an even number of channels. A pair with a NaN stays as it is."""
        pairs = self._pairs(x)
        others = ops.flip(pairs, 2)
        is_first = np.array([True, False]).reshape(1, 1, 2, *[1] * (len(pairs.shape) - 3))
        ordered = ops.where(
            is_first, ops.where(pairs > others, others, pairs), ops.where(others > pairs, others, pairs)
        )
        return self._scaled(_like(ordered, x))

    def transposed(self, x: Tensor, y: Tensor) -> Tensor:
        """Return k Pᵀ y for the P of x: the entries of y go where those of x came from."""
        pairs, moved = self._pairs(x), self._pairs(y)
        swap = pairs[:, :, :1] > pairs[:, :, 1:]
        return self._scaled(_like(ops.where(swap, ops.flip(moved, 2), moved), x))

    def _pairs(self, x):
        """The pairs along axis 2."""
        after = x.shape[self.axis + 1 :]
        rest = [math.prod(after)] if after else []
        return ops.reshape(x, (-1, x.shape[self.axis] // 2, 2, *rest))

    def _scaled(self, x):
        return x if self.k == 1 else x * self.k


def _like(x, other):
    return ops.reshape(x, (-1, *other.shape[1:]))


@functools.lru_cache(maxsize=256)
def _pair_sort(sort):
    return Compiled(sort, lambda upstream, output, x: (sort.transposed(x, upstream),))


def sorted_pairs(sort: PairSort, x: Tensor) -> Tensor:
    """Sort a tensor in a compiled function, and leave a note for a pooling."""
    output = _pair_sort(sort)(x)
    setattr(output, _NOTE, (sort, x))
    return output


@dataclasses.dataclass(frozen=True)
class WindowNorm:
    """k √(sum of squares + ε) of each window.

    Attributes:
        windows: Pair of the height and width of a window.
        axis: Index of the first of the two axes of the image: 1 or 2.
        k: Factor.
        eps: ε.
    """

    windows: tuple[int, int]
    axis: int
    k: float
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """The norms of all windows of images, whose last rows and columns are left out if they fill no window."""
        squares = ops.sum(self._in_windows(ops.square(x)), axis=(self.axis + 1, self.axis + 3))
        return self._scaled(ops.sqrt(squares + self.eps))

    def factors(self, upstream: Tensor, output: Tensor, shape: Shape) -> Tensor:
        """For each entry, the number by which its gradient exceeds the entry, as a tensor of the input's shape."""
        axis, (rows, columns) = self.axis, self.windows
        height, width = output.shape[axis : axis + 2]
        quotient = self._scaled(self._scaled(upstream / output))
        spread = ops.expand_dims(quotient, (axis + 1, axis + 3))
        repeats = [1] * len(spread.shape)
        repeats[axis + 1], repeats[axis + 3] = rows, columns
        before, after = shape[1:axis], shape[axis + 2 :]
        spread = ops.reshape(ops.tile(spread, repeats), (-1, *before, height * rows, width * columns, *after))
        return ops.pad(spread, self._left_out(shape)) if self._left_out(shape) else spread

    def _in_windows(self, x):
        axis, (rows, columns) = self.axis, self.windows
        height, width = (size // count for size, count in zip(x.shape[axis : axis + 2], self.windows, strict=True))
        whole = [slice(None)] * axis + [slice(height * rows), slice(width * columns)]
        before, after = x.shape[1:axis], x.shape[axis + 2 :]
        return ops.reshape(x[tuple(whole)], (-1, *before, height, rows, width, columns, *after))

    def _left_out(self, shape):
        rest = [size % count for size, count in zip(shape[self.axis : self.axis + 2], self.windows, strict=True)]
        return any(rest) and [(0, rest[i - self.axis] if 0 <= i - self.axis < 2 else 0) for i in range(len(shape))]

    def _scaled(self, x):
        return x if self.k == 1 else x * self.k


@functools.lru_cache(maxsize=256)
def _window_norm(norm, sort):
    """A norm pooling, after a sort or None."""
    if sort is None:
        return Compiled(norm, lambda upstream, output, x: (x * norm.factors(upstream, output, x.shape),))

    def pull_back(upstream, output, x):  # with y = k P x, the gradient k Pᵀ (y · factors) is k² x · Pᵀ factors
        return (sort.k * x * sort.transposed(x, norm.factors(upstream, output, x.shape)),)

    return Compiled(lambda x: norm(sort(x)), pull_back)


def norms_of_windows(norm: WindowNorm, x: Tensor) -> Tensor:
    """Pool a tensor in a compiled function, together with the sort that computed it, if one did."""
    sort, inputs = getattr(x, _NOTE, (None, x))
    return _window_norm(norm, sort)(inputs)
