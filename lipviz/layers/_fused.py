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
        return _times(_like(ordered, x), self.k)

    def transposed(self, x: Tensor, y: Tensor) -> Tensor:
        """Return k Pᵀ y for the P of x: the entries of y go where those of x came from."""
        pairs, moved = self._pairs(x), self._pairs(y)
        swap = pairs[:, :, :1] > pairs[:, :, 1:]
        return _times(_like(ops.where(swap, ops.flip(moved, 2), moved), x), self.k)

    def _pairs(self, x):
        """The pairs along axis 2."""
        after = x.shape[self.axis + 1 :]
        rest = [math.prod(after)] if after else []
        return ops.reshape(x, (-1, x.shape[self.axis] // 2, 2, *rest))


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
        return _times(ops.sqrt(squares + self.eps), self.k)

    def factors(self, upstream: Tensor, output: Tensor, shape: Shape) -> Tensor:
        """For each entry, the number by which its gradient exceeds the entry, as a tensor of the input's shape."""
        axis, (rows, columns) = self.axis, self.windows
        height, width = output.shape[axis : axis + 2]
        quotient = _times(upstream / output, self.k**2)
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
    if sort is not None and _has_view(norm, sort, inputs.shape):
        return _norms_of_view(norm, sort, inputs)
    return _window_norm(norm, sort)(inputs)


def _has_view(norm, sort, shape):
    """Whether the view below exists, and its windows are small enough to be written out."""
    whole = all(size % count == 0 for size, count in zip(shape[1:3], norm.windows, strict=True))
    return norm.axis == 1 and sort.axis == 3 and whole and math.prod(norm.windows) <= 16


def _norms_of_view(norm, sort, x):
    """The same, of a view of shape (…, rows, width, columns, pairs, 2), on which XLA's code is fastest."""
    (rows, columns), (height, width, channels) = norm.windows, x.shape[1:]
    view = ops.reshape(x, (-1, rows, width // columns, columns, channels // 2, 2))
    return ops.reshape(_view_norm(norm, sort)(view), (-1, height // rows, width // columns, channels))


@functools.lru_cache(maxsize=256)
def _view_norm(norm, sort):
    rows, columns = norm.windows
    factor = sort.k * norm.k

    def total(x):
        return sum(x[:, i, :, j] for i in range(rows) for j in range(columns))

    def norms(x):
        first, second = _columns(x)
        swap = first > second
        first, second = ops.square(first), ops.square(second)
        squares = [total(ops.where(swap, second, first)), total(ops.where(swap, first, second))]
        roots = ops.sqrt(_times(ops.stack(squares), sort.k**2) + norm.eps)
        return _times(ops.moveaxis(roots, 0, -1), norm.k)

    def pull_back(upstream, output, x):
        quotient = ops.expand_dims(_times(upstream / output, factor**2), (1, 3))
        (first, second), (lower, upper) = _columns(x), _columns(quotient)
        swap = first > second
        pulled = [first * ops.where(swap, upper, lower), second * ops.where(swap, lower, upper)]
        return (ops.moveaxis(ops.stack(pulled), 0, -1),)

    return Compiled(norms, pull_back)


def _columns(x):
    """The two entries along the last axis, as two tensors."""
    first = ops.moveaxis(x, -1, 0)
    return first[0], first[1]


def _times(x, factor):
    return x if factor == 1 else x * factor


# --- sorting in larger groups ---

# XLA compiles a network of more channels in more than half a second.
_LARGEST_GROUP = 8


def has_network(n: int) -> bool:
    """Whether `sorted_groups` sorts groups of n."""
    return 1 < n <= _LARGEST_GROUP


def comparators(n: int) -> list[tuple[int, int]]:
    """The pairs (i, j) of Batcher's odd-even merge sort, in order: n numbers are sorted if each i takes the smaller."""
    return [
        (i + j, i + j + k)
        for p in _powers_below(n)
        for k in reversed([power for power in _powers_below(n) if power <= p])
        for j in range(k % p, n - k, 2 * k)
        for i in range(min(k, n - j - k))
        if (i + j) // (2 * p) == (i + j + k) // (2 * p)
    ]


def _powers_below(n):
    return [2**exponent for exponent in range((n - 1).bit_length())]


def sorted_groups(x: Tensor, axis: int, n: int) -> Tensor:
    """Sort groups of n neighbouring entries along an axis, in a compiled function."""
    rest = [math.prod(x.shape[axis + 1 :])] if x.shape[axis + 1 :] else []
    groups = ops.reshape(x, (-1, n, *rest))  # outside of the function, which is faster on two axes
    return _like(_group_sort(n)(groups), x)


@functools.lru_cache(maxsize=_LARGEST_GROUP)
def _group_sort(n):
    """The compiled sort along the second of two or three axes, of length n, by a network of comparisons."""
    network = comparators(n)

    def columns(x):
        first = ops.moveaxis(x, 1, 0)
        return [first[i] for i in range(n)]

    def joined(columns):
        return ops.moveaxis(ops.stack(columns), 0, 1)

    def ordered(x):
        values, swaps = columns(x), []
        for i, j in network:
            swaps.append(values[i] > values[j])
            _exchange(values, i, j, swaps[-1])
        return values, swaps

    def pull_back(upstream, output, x):
        moved = columns(upstream)
        for (i, j), swap in reversed(list(zip(network, ordered(x)[1], strict=True))):
            _exchange(moved, i, j, swap)
        return (joined(moved),)

    return Compiled(lambda x: joined(ordered(x)[0]), pull_back)


def _exchange(columns, i, j, where):
    """Exchange two tensors of a list in the places that a mask has."""
    first, second = columns[i], columns[j]
    columns[i], columns[j] = ops.where(where, second, first), ops.where(where, first, second)


# --- activations of single entries or of halves of the channels ---


@functools.lru_cache(maxsize=256)
def max_min(axis: int) -> Compiled:
    """The compiled concat(relu(x), relu(−x)) along an axis."""

    def both(x):
        signs = np.array([1, -1]).reshape(2, *[1] * (len(x.shape) - axis))
        signed = ops.expand_dims(x, axis) * ops.cast(signs, x.dtype)
        return ops.reshape(ops.relu(signed), (-1, *x.shape[1:axis], 2 * x.shape[axis], *x.shape[axis + 1 :]))

    def pull_back(upstream, output, x):
        of_positive, of_negative = ops.split(upstream, 2, axis)
        otherwise = ops.where(ops.equal(x, 0), ops.zeros((), x.dtype), -of_negative)  # NaN keeps a NaN
        return (ops.where(x > 0, of_positive, otherwise),)

    return Compiled(both, pull_back)


def two_slopes(x: Tensor, slopes: Tensor, positive: float) -> Tensor:
    """Multiply positive x by a factor, and the others by slopes."""
    return ops.where(x > 0, x * positive, x * slopes)


@functools.lru_cache(maxsize=256)
def compiled_two_slopes(positive: float) -> Compiled:
    """The compiled `two_slopes`, a function of x and slopes. Its sums over the batch need at least float32."""

    def pull_back(upstream, output, x, slopes):
        of_slopes = ops.where(x > 0, ops.zeros((), x.dtype), x * upstream)
        return two_slopes_pulled(x, upstream, slopes), _summed(of_slopes, slopes.shape)

    def two_slopes_pulled(x, upstream, slopes):
        return ops.where(x > 0, upstream * positive, upstream * slopes)

    return Compiled(lambda x, slopes: two_slopes(x, slopes, positive), pull_back)


@functools.lru_cache(maxsize=256)
def compiled_fixed_slopes(positive: float) -> Compiled:
    """The compiled `two_slopes` with slopes that are constants: a function of x and slopes."""

    def pull_back(upstream, output, x, slopes):
        return ops.where(x > 0, upstream * positive, upstream * slopes), ops.zeros_like(slopes)

    return Compiled(lambda x, slopes: two_slopes(x, slopes, positive), pull_back)


def reflected(x: Tensor, sine: Tensor, cosine: Tensor, axis: int) -> Tensor:
    """Return z − 2 relu(v·z) v with v = (sine, −cosine), for pairs z of an entry of each half of the channels."""
    z1, z2 = ops.split(x, 2, axis=axis)
    twice = 2 * ops.relu(z1 * sine - z2 * cosine)
    return ops.concatenate([z1 - twice * sine, z2 + twice * cosine], axis=axis)


@functools.lru_cache(maxsize=256)
def compiled_reflection(axis: int) -> Compiled:
    """The compiled `reflected`, a function of x, sine and cosine. Its sums over the batch need at least float32."""

    def pull_back(upstream, output, x, sine, cosine):
        z1, z2 = ops.split(x, 2, axis=axis)
        g1, g2 = ops.split(upstream, 2, axis=axis)
        distance, along = z1 * sine - z2 * cosine, g1 * sine - g2 * cosine
        zero = ops.zeros((), x.dtype)
        twice = ops.where(distance > 0, 2 * along, zero)
        of_sine = ops.where(distance > 0, -2 * (along * z1 + distance * g1), zero)
        of_cosine = ops.where(distance > 0, 2 * (along * z2 + distance * g2), zero)
        of_x = ops.concatenate([g1 - twice * sine, g2 + twice * cosine], axis=axis)
        return of_x, _summed(of_sine, (1, *sine.shape[1:])), _summed(of_cosine, (1, *cosine.shape[1:]))

    return Compiled(functools.partial(reflected, axis=axis), pull_back)


def _summed(x, shape):
    """The sum over the axes along which a tensor of a shape was broadcast to x, in this shape."""
    lengths = (1,) * (len(x.shape) - len(shape)) + tuple(shape)
    axes = [0, *(i for i, length in enumerate(lengths) if i and length == 1)]
    return ops.reshape(ops.sum(x, axis=axes), shape)
