"""A bound of the norm of a convolution from its autocorrelation: for every size, with zeros and on circles."""

import math
from collections.abc import Sequence

import numpy as np

from lipviz import normalizers as nm
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_MOST = 3e9  # multiplications, for which the bound takes about a second


def autocorrelation_bound(kernel: Array, strides: Sequence[int], dilations: Sequence[int]) -> float:
    """√λ1 of the matrix ``Σ_d |C(d)|`` of a kernel's autocorrelation, see `lipviz.normalizers.rescaling`.

    It bounds the convolution on all of ℤ, of which every zero padding uses a part. On a circle, entries of the
    autocorrelation whose distances differ by whole turns are added, and the sum of magnitudes does not grow. So it is
    a bound there, too. For the kernel of an orthogonal convolution it is the norm itself, up to rounding.

    Args:
        kernel: Array of shape (``*taps``, in, out), of one group.
        strides: One per axis.
        dilations: One per axis.

    Returns:
        A float, rounded up; infinite where it would take long.
    """
    # With stride 1, a dilation only stretches the distances d.
    steps = [1 if stride == 1 else dilation for stride, dilation in zip(strides, dilations, strict=True)]
    kernel = _dilated(kernel, steps)
    taps, (inputs, outputs) = kernel.shape[:-2], kernel.shape[-2:]
    norm = nm.AlmostOrthogonal(tuple(strides))
    channels = math.prod(strides) * inputs if norm.rescales_inputs(kernel.shape) else outputs
    lags = math.prod(2 * -(-k // s) - 1 for k, s in zip(taps, strides, strict=True))
    if lags * kernel.size * channels > _MOST:
        return math.inf
    sizes = np.abs(kernel)
    axes = tuple(range(len(taps)))
    # Each entry is a sum of products, and off by so many units of the same sum of magnitudes.
    entries = sizes.sum(axis=(*axes, -1)).max(initial=0.0) * sizes.sum(axis=(*axes, -2)).max(initial=0.0)
    terms = math.prod(taps) * max(inputs, outputs) + lags + 4 * channels + 8
    return math.sqrt(norm.exact(kernel) ** 2 + 4 * terms * _EPS * float(entries)) * (1 + 4 * _EPS)


def _dilated(kernel, steps):
    """The kernel with zeros between its taps."""
    if max(steps, default=1) == 1:
        return kernel
    taps = [(k - 1) * step + 1 for k, step in zip(kernel.shape, steps, strict=False)]
    wide = np.zeros((*taps, *kernel.shape[-2:]))
    wide[tuple(slice(None, None, step) for step in steps)] = kernel
    return wide
