"""Rescaling of a kernel's channels by row sums of its Gram matrix: norms are at most 1, without any iteration.

Let P be a matrix, and ``t_i = Σ_j |PᵀP|_ij``. Then P·diag(t)^(−1/2) has a norm of at most 1 (Prach and Lampert 2022).
Proof: for every x, with ``|x_i x_j| ≤ (x_i² + x_j²)/2``,

    ‖Px‖² = Σ_ij (PᵀP)_ij x_i x_j ≤ Σ_ij |PᵀP|_ij (x_i² + x_j²)/2 = Σ_i t_i x_i².

With x = diag(t)^(−1/2) z, the right side is ‖z‖². Larger numbers t do no harm. A matrix P with orthonormal columns has
t = 1, and is not changed. Positive weights q, with ``t_i = Σ_j |PᵀP|_ij q_j/q_i`` (Araujo et al. 2023), give no other
matrices: they have the result that P·diag(q) has with weights of 1. So the lengths of the columns of P are the weights.

The matrix of a convolution of unknown size has the same proof. With the kernel K of shape (``*taps``, in, out), the
entry of its Gram matrix for two positions depends on their distance d only, as the autocorrelation of the kernel,

    C(d)_oo' = Σ_p,c K(p + d, c, o) K(p, c, o').

So ``t_o = Σ_d,o' |C(d)_oo'|`` is the same for all positions of a channel. Zero padding, and images of any size, use a
part of the rows and columns of that matrix, which has no larger norm. For a stride s, d runs over multiples of s.

A matrix and its transpose have the same norm, so either side may be rescaled. Here it is the one with fewer channels,
of the input (for a stride, of the pixels of a cell) or of the output: the sums are shorter, and the norm nearer to 1.

References:
    Prach and Lampert (2022), Almost-orthogonal layers for efficient general-purpose Lipschitz networks, theorem 1.
    Araujo et al. (2023), A unified algebraic perspective on Lipschitz neural networks, theorem 3.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops as backend
from keras.backend import standardize_dtype

from lipviz.normalizers._operations import ops
from lipviz.normalizers.bounds import rounding_margin, unit_scaled
from lipviz.types import Array, ArrayLike, Tensor


def almost_orthogonal(w: Tensor) -> Tensor:
    """Rescale the rows or the columns of a matrix, whichever are fewer, so that its norm is at most 1.

    Args:
        w: Matrix of shape (rows, columns), float32 or float64.

    Returns:
        A matrix of the same shape. Zeros stay zeros, and rows or columns that are orthonormal stay as they are, apart
        from the margin for rounding.
    """
    w, _ = unit_scaled(w)
    is_wide = w.shape[0] < w.shape[1]
    gram = ops.matmul(w, ops.transpose(w)) if is_wide else ops.matmul(ops.transpose(w), w)
    factors = _factors(ops.sum(ops.abs(gram), axis=-1), w.shape)
    return w * (factors[:, None] if is_wide else factors)


def _factors(sums, shape):
    """(1 − margin)/√t. Where a sum is 0 or has underflowed, t is 1: it is larger, and no gradient is divided by 0."""
    dtype = standardize_dtype(sums.dtype)
    margin = 1 - rounding_margin(shape, dtype)
    has_underflowed = sums <= float(np.finfo(dtype).tiny) * 1e3
    return margin * ops.rsqrt(ops.where(has_underflowed, ops.ones_like(sums), sums))


@dataclasses.dataclass(frozen=True)
class AlmostOrthogonal:
    """`almost_orthogonal` for the kernel of a convolution, as the `operator_norm` of a parametrization.

    Args:
        strides: Strides of the convolution, one per axis.
        groups: Number of groups of channels. Between two groups, the autocorrelation is 0.
    """

    strides: tuple[int, ...]
    groups: int = 1

    def unit(self, kernel: Tensor) -> Tensor:
        """The kernel, (``*taps``, in / groups, out), with channels rescaled: the convolution's norm is at most 1."""
        if self.groups > 1:
            blocks = AlmostOrthogonal(self.strides).unit(ungrouped(kernel, self.groups, backend))
            return _grouped(blocks, self.groups, kernel.shape)
        kernel, _ = unit_scaled(kernel)
        shape = (math.prod(kernel.shape[:-1]), kernel.shape[-1])
        if not self.rescales_inputs(kernel.shape):
            return kernel * _factors(_sums(kernel, self.strides), shape)
        sums = _sums(self._adjoint(kernel, backend), (1,) * len(self.strides))
        return kernel * self._of_each_tap(_factors(sums, shape), kernel.shape)

    def exact(self, wbar: ArrayLike) -> float:
        """A bound of the convolution's norm in float64, for every image: √λ1 of the matrix ``Σ_d |C(d)|``.

        The eigenvector of λ1 has no negative entry (Perron). With its entries as weights q, the proof of this module
        gives λ1 as a bound. It is 1 for the result of `unit`, whose weights are √t.
        """
        kernel, strides = ungrouped(np.asarray(wbar, np.float64), self.groups, np), self.strides
        if self.rescales_inputs(kernel.shape):
            kernel, strides = self._adjoint(kernel, np), (1,) * len(strides)
        return math.sqrt(max(np.linalg.eigvalsh(autocorrelation_sums(kernel, strides))[-1], 0.0))

    def rescales_inputs(self, shape: Sequence[int]) -> bool:
        """Whether the input has fewer channels, times the pixels of a cell of the stride, than the output."""
        return math.prod(self.strides) * shape[-2] < shape[-1]

    def _adjoint(self, kernel, xp):
        """The kernel (``*taps``, out, cell · in) of the adjoint map, in which the pixels of a cell are channels."""
        axes = range(2 * len(self.strides))
        behind = [(0, -taps % stride) for taps, stride in self._axes(kernel.shape)]
        sizes = [size for taps, stride in self._axes(kernel.shape) for size in (-(-taps // stride), stride)]
        cells = xp.reshape(xp.pad(kernel, [*behind, (0, 0), (0, 0)]), (*sizes, *kernel.shape[-2:]))
        cells = xp.transpose(cells, (*axes[::2], len(axes) + 1, *axes[1::2], len(axes)))
        return xp.reshape(cells, (*sizes[::2], kernel.shape[-1], -1))

    def _of_each_tap(self, factors, shape):
        """Factors of the channels of `_adjoint`, for the taps that they belong to."""
        factors = backend.reshape(factors, (*self.strides, shape[-2], 1))
        counts = [-(-taps // stride) for taps, stride in self._axes(shape)]
        tiled = backend.tile(factors, (*counts, 1, 1))
        return tiled[tuple(slice(taps) for taps, _ in self._axes(shape))]

    def _axes(self, shape):
        """Pairs (taps, stride)."""
        return list(zip(shape, self.strides, strict=False))


def _sums(kernel, strides):
    """The sums t of each channel of the last axis, by a convolution of the kernel with itself."""
    reach = [(taps - 1) // stride * stride for taps, stride in zip(kernel.shape, strides, strict=False)]
    images = backend.pad(backend.moveaxis(kernel, -1, 0), [(0, 0), *((r, r) for r in reach), (0, 0)])
    products = backend.conv(images, kernel, strides=list(strides), padding="valid", data_format="channels_last")
    return backend.sum(backend.abs(products), axis=tuple(range(1, len(strides) + 2)))


def ungrouped(kernel: Tensor, groups: int, xp: Any) -> Tensor:
    """The kernel (``*taps``, in, out) of a convolution in groups, with zeros between the groups.

    Args:
        kernel: Kernel of shape (``*taps``, in / groups, out).
        groups: Number of groups.
        xp: `keras.ops` or `numpy`.
    """
    if groups == 1:
        return kernel
    *taps, inputs, outputs = kernel.shape
    parts = xp.reshape(kernel, (*taps, 1, inputs, groups, outputs // groups))
    blocks = parts * _same_group(groups, kernel.dtype, xp)
    return xp.reshape(blocks, (*taps, groups * inputs, outputs))


def _grouped(blocks, groups, shape):
    """The blocks of groups in a kernel of `ungrouped`, in its former shape."""
    *taps, inputs, outputs = shape
    parts = backend.reshape(blocks, (*taps, groups, inputs, groups, outputs // groups))
    return backend.reshape(backend.sum(parts * _same_group(groups, blocks.dtype, backend), axis=-4), tuple(shape))


def _same_group(groups, dtype, xp):
    return xp.reshape(xp.eye(groups, dtype=dtype), (groups, 1, groups, 1))


def autocorrelation_sums(kernel: ArrayLike, strides: tuple[int, ...]) -> Array:
    """The matrix ``Σ_d |C(d)|`` of a kernel, over the channels of its last axis, in float64 NumPy.

    Args:
        kernel: Array of shape (``*taps``, in, out).
        strides: Strides, one per axis.

    Returns:
        A symmetric array of shape (out, out).
    """
    kernel = np.asarray(kernel, np.float64)
    channels = kernel.shape[-1]
    steps = [range(0, taps, stride) for taps, stride in zip(kernel.shape, strides, strict=False)]
    lags = itertools.product(*([*(-d for d in axis[:0:-1]), *axis] for axis in steps))
    total = np.zeros((channels, channels))
    for lag in lags:
        ahead = kernel[tuple(slice(max(d, 0), n + min(d, 0)) for d, n in zip(lag, kernel.shape, strict=False))]
        behind = kernel[tuple(slice(max(-d, 0), n - max(d, 0)) for d, n in zip(lag, kernel.shape, strict=False))]
        total += np.abs(ahead.reshape(-1, channels).T @ behind.reshape(-1, channels))
    return total
