"""All singular values of a convolution."""

import collections
import math
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import scipy.sparse.linalg as sla

from lipviz.layers.unconstrained import PadConv2D
from lipviz.normalizers.polyphase import polyphase
from lipviz.normalizers.symbols import symbols_on
from lipviz.operators.convolution import Convolution, untransposed
from lipviz.operators.linear import input_shape, is_plain, linear_operator
from lipviz.operators.singular_values import EXPLICIT_SIDE, explicit_matrix
from lipviz.operators.used_weights import used_kernel
from lipviz.types import Array

_EXPLICIT_SIZE = 2**27  # entries of an explicit matrix, 1 GiB


def conv_singular_values(layer: keras.layers.Layer | sla.LinearOperator) -> Array:
    """All singular values of a convolution, descending: min(outputs, inputs) of them.

    By Fourier transform where that is exact: circular padding with odd kernels, and strides that divide the image
    (Sedghi, Gupta and Long 2019, The singular values of convolutional layers). Else from explicit matrices, one per
    group.

    Args:
        layer: Built Keras layer, see `linear_operator`, or an operator of SciPy such as `Convolution`.

    Returns:
        A float64 array.

    Raises:
        TypeError: If the layer's type is not known to be linear.
        ValueError: If no group has a side of at most 2048, or the layer is not built for a known size.
    """
    if isinstance(layer, sla.LinearOperator):
        operator = layer
    elif is_plain(layer, (PadConv2D,)) and is_circular(layer, _spatial_sizes(layer)):
        return _circular_values(layer, _spatial_sizes(layer))
    else:
        operator = linear_operator(layer)
    parts = _parts(operator)
    values = np.concatenate([np.tile(_values(part), times) for part, times in parts])
    # Inputs that no patch reads add singular values of 0.
    values = np.concatenate([values, np.zeros(max(0, min(operator.shape) - len(values)))])
    return np.sort(values)[::-1][: min(operator.shape)]


def is_circular(layer: keras.layers.Layer, sizes: Sequence[int | None] | None = None) -> bool:
    """Whether a layer is a convolution on a circle: circular padding by an odd kernel, and strides that divide it.

    Args:
        layer: Built Keras layer.
        sizes: Sizes of the image, which the strides must divide; None leaves them out.
    """
    if not is_plain(layer, (PadConv2D,)) or layer.padding != "circular":
        return False
    taps = used_kernel(layer).shape[:2]
    odd = all((k - 1) * d % 2 == 0 for k, d in zip(taps, layer.dilation_rate, strict=True))
    fits = sizes is None or all(n is not None and n % s == 0 for n, s in zip(sizes, layer.strides, strict=True))
    return odd and fits


def circular_symbols(layer: keras.layers.Layer, sizes: Sequence[int]) -> Iterator[Array]:
    """Yield the matrices of a convolution on a circle at its frequencies, of shape (n, rows, columns), by groups.

    Their singular values are those of the convolution, beside zeros of inputs that no patch reads.

    Args:
        layer: A layer that `is_circular` for these sizes.
        sizes: Sizes of the image.
    """
    kernel, axes, grids = used_kernel(layer), [], []
    for k, s, d, n in zip(kernel.shape, layer.strides, layer.dilation_rate, sizes, strict=False):
        axes.append(polyphase(k, s, d))
        grids.append(2 * np.pi * np.arange(n // s) / (n // s))
    for part in np.split(kernel, getattr(layer, "groups", 1), axis=-1):
        for _, symbols in symbols_on(part, axes, grids):
            yield symbols


def gram_of(symbols: Array) -> Array:
    """The smaller Gram matrices of matrices of shape (n, rows, columns)."""
    tall = symbols if symbols.shape[1] >= symbols.shape[2] else symbols.swapaxes(1, 2)
    return tall.conj().swapaxes(1, 2) @ tall


def _spatial_sizes(layer):
    shape = input_shape(layer)
    return shape[1:] if layer.data_format == "channels_first" else shape[:-1]


def _circular_values(layer, sizes):
    values = np.concatenate([np.linalg.svd(each, compute_uv=False).ravel() for each in circular_symbols(layer, sizes)])
    kernel, groups = used_kernel(layer), getattr(layer, "groups", 1)
    places = math.prod(n // s for n, s in zip(sizes, layer.strides, strict=True))
    inputs = places * math.prod(layer.strides) * kernel.shape[-2] * groups
    full = min(inputs, places * kernel.shape[-1])
    values = np.concatenate([values, np.zeros(max(0, full - len(values)))])
    return np.sort(values)[::-1]


def _parts(operator):
    """Operators whose direct sum is the given one, each with the number of times that it occurs."""
    try:
        operator = untransposed(operator)
    except TypeError:
        return [(operator, 1)]
    kernels = collections.Counter(part.tobytes() for part in operator.parts)
    shape = operator.parts[0].shape
    alone = math.prod(shape[:-2]) == 1 and set(operator.strides) <= {1}
    parts = []
    for data, times in kernels.items():
        kernel = np.frombuffer(data).reshape(shape)
        if alone:  # each output reads a single pixel
            parts.append((Convolution(kernel.reshape(shape[-2:])), times * math.prod(operator.sizes)))
        else:
            geometry = (operator.sizes, operator.strides, operator.padding, operator.dilations)
            parts.append((Convolution(kernel, *geometry), times))
    return parts


def _values(operator):
    side = min(operator.shape)
    if side > EXPLICIT_SIDE or math.prod(operator.shape) > _EXPLICIT_SIZE:
        raise ValueError(
            f"All singular values of an operator of shape {operator.shape} are too many to compute: expected a side of "
            f"at most {EXPLICIT_SIDE}. Build the layer for smaller images, or ask for the largest one "
            "(`convolution_bound`) or both extremes (`extreme_singular_values`)."
        )
    return np.linalg.svd(explicit_matrix(operator), compute_uv=False)
