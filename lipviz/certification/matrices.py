"""Rules that need a matrix: of dense layers, convolutions, average poolings and interpolations."""

import collections
import hashlib
import math
from collections.abc import Hashable, Sequence
from typing import Literal

import keras
import numpy as np
import scipy.sparse.linalg as sla

from lipviz.layers import ConstrainedKernel, PadConv2D, SLLConv2D, SLLDense
from lipviz.layers.blocks import is_monotone
from lipviz.normalizers.threads import one_blas_thread
from lipviz.operators.convolution import Convolution, TransposedConvolution
from lipviz.operators.convolution_bounds import ConvolutionNormBounds, convolution_bound, size_free_bound
from lipviz.operators.convolution_spectrum import circular_symbols, gram_of, is_circular
from lipviz.operators.linear import (
    AVERAGES,
    CONVOLUTIONS,
    DEPTHWISE,
    GLOBAL_AVERAGES,
    SEPARABLE,
    TRANSPOSED,
    NotLinearError,
    geometry,
    is_plain,
    linear_operator,
    per_channel,
)
from lipviz.operators.precision import float64_scope
from lipviz.operators.singular_values import explicit_matrix, proved_norm
from lipviz.operators.used_weights import used_kernel
from lipviz.rules.bound import Bound, computed, unknown
from lipviz.rules.functions import function_bound
from lipviz.rules.rearranging import copies, spatial
from lipviz.rules.registry import rule
from lipviz.rules.used import used_factor
from lipviz.types import Array

_EXACT_SIDE = 256  # of a matrix, for its SVD: a tenth of a second
_EXPLICIT_SIDE = 1024  # of an operator that has no structure of its own
_EXPLICIT_SIZE = 2**24
_MOST_OF_CIRCLE = 1e10  # multiplications of matrices at all frequencies of a circle: some seconds
_MOST_PIXELS = 1024  # of an image that is interpolated


def matrix_bound(matrix: Array, norm: float) -> Bound:
    """Norm of a matrix A of shape (out, in) as a map x → A x.

    l2: largest singular value, by SVD where the smaller side is at most 256. Of larger matrices, Lanczos' method finds
    it, and a Cholesky factorization proves it. l∞: largest row sum of magnitudes. l1: largest column sum of magnitudes.

    Args:
        matrix: float64 array.
        norm: 1, 2 or `math.inf`.

    Returns:
        A `Bound`.
    """
    if norm == 2:
        with one_blas_thread():
            if min(matrix.shape) <= _EXACT_SIDE:
                return computed(float(np.linalg.norm(matrix, 2)), "SVD")
            lower, upper = proved_norm(matrix)
        return Bound(lower, upper, "Cholesky" if upper else "zero")
    return computed(np.abs(matrix).sum(axis=0 if norm == 1 else 1).max(initial=0.0), _SUMS[norm])


_SUMS = {1: "column sums", math.inf: "row sums"}


class Memory:
    """The last bounds, by array and settings: the same ones are asked for again while weights do not change.

    Args:
        most: Number of bounds that are kept.
    """

    def __init__(self, most: int):
        self.most = most
        self._found: collections.OrderedDict[Hashable, Bound] = collections.OrderedDict()  # the oldest first

    def recall(self, array: Array, *settings: Hashable) -> tuple[Bound | None, Hashable]:
        """The bound that was kept for an array and these settings, or None; and the key for `keep`."""
        key = (hashlib.blake2b(np.ascontiguousarray(array).tobytes()).digest(), array.shape, *settings)
        if key in self._found:
            self._found.move_to_end(key)
        return self._found.get(key), key

    def keep(self, key: Hashable, bound: Bound) -> Bound:
        """Keep a bound, and return it."""
        self._found[key] = bound
        if len(self._found) > self.most:
            self._found.popitem(last=False)
        return bound


MEMORY = Memory(512)


@rule(keras.layers.Dense, linear=True, whole=True)
def _dense(layer, shape, norm, exact):
    kernel = used_kernel(layer)
    bound, key = MEMORY.recall(kernel, "dense", norm)
    return bound or MEMORY.keep(key, matrix_bound(kernel.T, norm))


# --- convolutions ---


@rule(*CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE, PadConv2D, linear=True, whole=True)
def _convolution(layer, shape, norm, exact):
    if getattr(layer, "output_padding", None) is not None:
        return unknown(f"output_padding={layer.output_padding} is not known")
    if None in shape:
        return _of_any_size(layer, norm)
    bound = operator_bound(linear_operator(layer, shape), norm, exact)
    if bound.upper == math.inf and is_circular(layer):
        return _on_circle(layer, spatial(layer, shape), norm)
    return bound


def _on_circle(layer, sizes, norm):
    """Bound of a convolution on a circle whose matrix would be too large: in l2 from all frequencies."""
    if norm != 2 or not is_circular(layer, sizes):
        return _circle_of_any_size(layer, norm)
    *_, inputs, outputs = used_kernel(layer).shape
    if math.prod(sizes) * inputs * outputs * min(math.prod(layer.strides) * inputs, outputs) > _MOST_OF_CIRCLE:
        return _circle_of_any_size(layer, norm)
    with one_blas_thread():
        squares = [np.linalg.eigvalsh(gram_of(symbols)).max() for symbols in circular_symbols(layer, sizes)]
    return computed(math.sqrt(max(*squares, 0.0)), "Fourier, on a circle")


def _circle_of_any_size(layer, norm):
    """Bound of a convolution on a circle of any size. A stride that does not divide it leaves out some outputs."""
    kernel, groups, ones = used_kernel(layer), layer.groups, (1,) * len(layer.strides)
    if norm != 2:
        return _sums_of_any_size(kernel, norm, groups)
    if math.prod(16 * n for n in kernel.shape[:2]) * kernel[0, 0].size * min(kernel.shape[2:]) > _MOST_OF_CIRCLE:
        return unknown("its kernel is too large for a bound on circles of every size")
    return Bound(0.0, size_free_bound(kernel, ones, layer.dilation_rate, groups), "symbol, on every circle")


def operator_bound(operator: sla.LinearOperator, norm: float, exact: bool = False) -> Bound:
    """Norm of a linear operator: of a convolution or its adjoint by its structure, of others from their matrix.

    Args:
        operator: SciPy `LinearOperator`.
        norm: 1, 2 or `math.inf`.
        exact: Whether minutes may be spent on a convolution for a smaller bound, see `convolution_bound`.

    Returns:
        A `Bound`, infinite where the operator is too large and has no known structure.
    """
    is_adjoint = isinstance(operator, TransposedConvolution)
    convolution = operator.T if is_adjoint else operator
    if isinstance(convolution, Convolution):
        if norm != 2:
            return _sums(convolution, norm, is_adjoint)
        mode: Literal["fast", "exact"] = "exact" if exact else "fast"
        bound, key = MEMORY.recall(convolution.kernel, *_settings(convolution), mode)
        return bound or MEMORY.keep(key, _from(convolution_bound(convolution, mode=mode)))
    if min(operator.shape) <= _EXPLICIT_SIDE and math.prod(operator.shape) <= _EXPLICIT_SIZE:
        return matrix_bound(explicit_matrix(operator), norm)
    return unknown(f"an operator of shape {operator.shape} is too large for its matrix")


def _settings(operator):
    """What the norm of a convolution depends on, besides its kernel."""
    return operator.sizes, operator.strides, operator.padding, operator.dilations, operator.groups


_DUAL = {1: math.inf, math.inf: 1}


def _from(bound: ConvolutionNormBounds):
    return Bound(min(bound.lower, bound.upper), bound.upper, bound.method)


def _at_every_size(kernel, strides, dilations=None, groups=1):
    return Bound(0.0, size_free_bound(kernel, strides, dilations, groups), "symbol, at every size")


def _sums(operator, norm, is_adjoint):
    """The largest sum of magnitudes along a row (l∞) or a column (l1) of the matrix of a convolution or its adjoint."""
    positive = operator.with_kernel(np.abs(operator.kernel))
    matrix = positive.T if is_adjoint else positive
    if norm == 1:
        matrix = matrix.T
    sums = matrix @ np.ones(matrix.shape[1])
    return computed(sums.max(initial=0.0), _SUMS[norm])


def _of_any_size(layer, norm):
    """A bound for every size of the image: all patches that share a pixel count, padded or not."""
    if is_circular(layer):
        return _circle_of_any_size(layer, norm)
    if isinstance(layer, PadConv2D) and layer.pads is not None:
        return unknown("its padding copies pixels: a bound needs the size of the image")
    kernel = used_kernel(layer)
    groups = getattr(layer, "groups", 1)
    if is_plain(layer, DEPTHWISE):
        kernel, groups = per_channel(kernel), kernel.shape[-2]
    if norm != 2 and is_plain(layer, TRANSPOSED):  # its kernel is that of the convolution that reads its output
        norm = _DUAL[norm]
    return _kernel_of_any_size(kernel, layer, norm, groups)


def _kernel_of_any_size(kernel, layer, norm, groups=1):
    if norm == 2:
        return _at_every_size(kernel, layer.strides, layer.dilation_rate, groups)
    return _sums_of_any_size(kernel, norm, groups)


def _sums_of_any_size(kernel, norm, groups):
    magnitudes = np.abs(kernel)
    axes = tuple(range(kernel.ndim - 2))
    # A row of the matrix holds a whole patch; a column at most every tap, once.
    sums = magnitudes.sum(axis=(*axes, -2) if norm == math.inf else (*axes, -1))
    if norm == 1 and groups > 1:
        parts = np.split(magnitudes, groups, axis=-1)
        sums = np.concatenate([part.sum(axis=(*axes, -1)) for part in parts])
    return Bound(0.0, sums.max(initial=0.0), f"{_SUMS[norm]} at every size")


@rule(*SEPARABLE, linear=True, whole=True)
def _separable(layer, shape, norm, exact):
    """Bound of one convolution, whose kernel is the product of both. The product of two bounds would be looser."""
    depthwise = used_kernel(layer, "depthwise_kernel")
    pointwise = used_kernel(layer, "pointwise_kernel")
    kernel = np.einsum("...im,imo->...io", depthwise, pointwise.reshape(*depthwise.shape[-2:], -1))
    if None in shape:
        return _kernel_of_any_size(kernel, layer, norm)
    operator = linear_operator(layer, shape)
    if min(operator.shape) <= _EXPLICIT_SIDE and math.prod(operator.shape) <= _EXPLICIT_SIZE:
        return matrix_bound(explicit_matrix(operator), norm)
    return operator_bound(Convolution(kernel, **geometry(layer, shape)), norm, exact)


# --- residual blocks ---


@rule(SLLDense, SLLConv2D, whole=True)
def _residual_block(layer, shape, norm, exact):
    """k·x − 2W̄ σ(W̄ᵀx/k + b): see `lipviz.layers.blocks`, with the norm of the kernel that the layer uses."""
    if not is_monotone(layer.activation):
        return unknown(f"the activation {layer.activation!r} of a residual block has other slopes than from 0 to 1")
    k, slope = used_factor(layer), function_bound(layer.activation, shape, norm).upper
    there, back = _both_ways(layer, shape, norm, exact)
    moved = computed(2 * slope / k * there.upper * back.upper, there.method).upper
    if norm != 2:
        return Bound(0.0, k + moved, "sum of the block and its input")
    # A direction that the kernel does not reach is only multiplied by k.
    kernel = layer.raw_kernel.shape
    misses = isinstance(layer, SLLDense) and kernel[0] > kernel[1]
    return Bound(k if misses else 0.0, max(k, moved - k), f"convex potential · {there.method}")


def _both_ways(layer, shape, norm, exact):
    """Bounds of the linear map of a residual block, and of its adjoint."""
    kernel = used_kernel(layer)
    if isinstance(layer, SLLDense):
        first = matrix_bound(kernel.T, norm)
        return first, first if norm == 2 else matrix_bound(kernel, norm)
    if None in shape:
        first = _kernel_of_any_size(kernel, layer, norm)
        return first, first if norm == 2 else _kernel_of_any_size(kernel, layer, _DUAL[norm])
    operator = Convolution(kernel, **geometry(layer, shape))
    first = operator_bound(operator, norm, exact)
    return first, first if norm == 2 else operator_bound(operator.T, norm, exact)


# --- interpolation ---


@rule(keras.layers.UpSampling1D, keras.layers.UpSampling2D, keras.layers.UpSampling3D)
def _up_sampling(layer, shape, norm, exact):
    count = math.prod(layer.size) if isinstance(layer.size, list | tuple) else layer.size
    if getattr(layer, "interpolation", "nearest") == "nearest":
        return copies(count, norm)
    sizes = [size for size in spatial(layer, shape) if size is not None]
    if len(sizes) < len(shape) - 1 or math.prod(sizes) > _MOST_PIXELS:
        return unknown(f"interpolation='{layer.interpolation}' is bounded for known sizes up to 1024 pixels")
    matrix = channel_matrix(layer, sizes)
    bound = matrix_bound(matrix, norm)
    if np.array_equal(matrix * 2.0**20, np.round(matrix * 2.0**20)):
        return bound
    # TensorFlow computes the weights in float32. Where they are not exact there, each is off by a few roundings.
    magnitudes = np.abs(matrix)
    off = 1e-6 * math.sqrt(magnitudes.sum(axis=0).max() * magnitudes.sum(axis=1).max())
    return Bound(max(bound.lower - off, 0.0), bound.upper + off, bound.method)


def channel_matrix(layer: keras.layers.Layer, sizes: Sequence[int]) -> Array:
    """Matrix of a layer that does the same to each channel, for one channel, in float64.

    Args:
        layer: Keras layer.
        sizes: Sizes of the image.
    """
    count = math.prod(sizes)
    units = np.eye(count).reshape(count, *sizes, 1)
    config = layer.get_config() | {"dtype": "float64", "data_format": "channels_last"}
    with float64_scope():
        return np.asarray(type(layer).from_config(config)(units), np.float64).reshape(count, -1).T


# --- average poolings ---


@rule(*AVERAGES, linear=True)
def _average(layer, shape, norm, exact):
    if layer.padding == "valid":
        size = math.prod(layer.pool_size)
        kernel = np.full((*layer.pool_size, 1, 1), 1 / size)
        if None in shape:
            if norm == 2:
                return _at_every_size(kernel, layer.strides)
            return Bound(0.0, 1.0 if norm == math.inf else _overlap(layer) / size, "windows at every size")
        sizes = shape[1:] if layer.data_format == "channels_first" else shape[:-1]
        return operator_bound(Convolution(kernel, sizes, layer.strides), norm, exact)
    if None in shape:
        return unknown("with padding='same' its bound needs the size of the image")
    return _nonnegative(_one_channel(layer, shape), norm)


def _overlap(layer):
    return math.prod(-(-k // s) for k, s in zip(layer.pool_size, layer.strides, strict=True))


def _one_channel(layer, shape):
    last = layer.data_format == "channels_last"
    return linear_operator(layer, (*shape[:-1], 1) if last else (1, *shape[1:]))


def _nonnegative(operator, norm):
    """Norm of an operator without negative entries: sums of its rows and columns; in l2 Schur's √(‖A‖₁‖A‖∞)."""
    rows = (operator @ np.ones(operator.shape[1])).max()
    columns = (operator.T @ np.ones(operator.shape[0])).max()
    if norm != 2:
        return computed(columns if norm == 1 else rows, _SUMS[norm])
    if min(operator.shape) <= _EXPLICIT_SIDE and math.prod(operator.shape) <= _EXPLICIT_SIZE:
        return matrix_bound(explicit_matrix(operator), 2)
    return Bound(0.0, math.sqrt(rows * columns) * (1 + 1e-12), "row and column sums")


@rule(*GLOBAL_AVERAGES, linear=True)
def _global_average(layer, shape, norm, exact):
    sizes = shape[1:] if layer.data_format == "channels_first" else shape[:-1]
    if None in sizes:  # the smallest image is a single pixel
        return Bound(0.0, 1.0, "mean of at least one pixel")
    count = math.prod(sizes)
    return computed({1: 1 / count, 2: 1 / math.sqrt(count), math.inf: 1.0}[norm], "mean")


@rule(ConstrainedKernel, linear=True)
def _constrained(layer, shape, norm, exact):
    """A constrained layer that lipviz does not know, probed with every unit vector."""
    if None in shape:
        return unknown("its matrix is found by probing, which needs the size of the input")
    try:
        operator = linear_operator(layer, shape)
    except NotLinearError as error:
        return unknown(str(error))
    return operator_bound(operator, norm, exact)
