"""The linear maps of layers as operators in float64.

Each is a SciPy `LinearOperator` of shape (outputs, inputs), both flattened as Keras does. It is computed in NumPy, from
the kernel that inference uses and the geometry of the layer. It does not depend on the backend, so that each can be
tested against the other.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import scipy.sparse
import scipy.sparse.linalg as sla
from keras import ops

from lipviz.layers import ConstrainedKernel
from lipviz.layers.unconstrained import PadConv2D
from lipviz.operators.convolution import Convolution
from lipviz.operators.precision import float64_scope
from lipviz.operators.singular_values import EXPLICIT_SIDE
from lipviz.operators.used_weights import used_kernel
from lipviz.rules.algebra import computes_as, constrained_class, is_linear_otherwise
from lipviz.rules.used import (
    batch_normalization_factors,
    known_input_shape,
    named,
    to_numpy,
)
from lipviz.types import Array, Shape

_COLUMNS = 256  # of unit vectors, at a time

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
AVERAGES = (keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D)
GLOBAL_AVERAGES = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)
_IDENTITIES = (keras.layers.Reshape, keras.layers.Identity)


def input_shape(layer: keras.layers.Layer) -> tuple[int, ...]:
    """Shape of the input that a layer was built for, without the batch.

    Args:
        layer: Built Keras layer.

    Returns:
        A tuple of ints.

    Raises:
        ValueError: If it is not built, has several inputs, or a size is not known.
    """
    if not layer.built:
        raise ValueError(f"{named(layer)} must be built before it is measured: call it on data, or `build` it.")
    shape = known_input_shape(layer)
    lengths = [length for length in shape or () if length is None or isinstance(length, int | np.integer)]
    if shape is None or len(lengths) < len(shape):
        raise ValueError(
            f"{named(layer)} must have one input of a known shape: expected a layer that was built by `build`, or is "
            f"part of a Sequential or functional model. Received: {shape}"
        )
    sizes = tuple(length for length in lengths[1:] if length is not None)
    if len(sizes) < len(lengths) - 1:
        raise ValueError(
            f"The singular values of {named(layer)} depend on the size of its input, which is not known. "
            f"Expected a layer built for a fixed size. Received the input shape: {tuple(shape)}"
        )
    return sizes


def linear_operator(layer: keras.layers.Layer, shape: Sequence[int] | None = None) -> sla.LinearOperator:
    """The linear part of a layer at inference: without bias and activation.

    Args:
        layer: Built Keras layer with one input, of lipviz or not: dense, convolutional (transposed, depthwise and
            separable ones too), average pooling, batch normalization, flattening, or with a `linear(inputs, kernel)`.
        shape: Shape of its input, without the batch; by default, the shape that it was built for.

    Returns:
        A SciPy `LinearOperator` of shape (outputs, inputs), float64. It holds a copy of the weights.

    Raises:
        TypeError: If the layer's type is not known to be linear.
        ValueError: If the layer is not built for a known size, or its weights are not finite.
    """
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(f"Expected a Keras layer. Received: {type(layer).__name__}")
    shape = input_shape(layer) if shape is None else tuple(shape)
    for kinds, build in _OPERATORS:
        if is_plain(layer, kinds):
            return build(layer, shape)
    if isinstance(layer, ConstrainedKernel) and is_linear_otherwise(layer):
        return probed(layer, shape)
    raise NotLinearError(f"{named(layer)} is not known to be linear.")


def is_plain(layer: keras.layers.Layer, kinds: tuple[type, ...]) -> bool:
    """Whether a layer computes the same as one of some Keras classes, apart from the kernel that it uses."""
    if isinstance(layer, ConstrainedKernel):
        ours = constrained_class(layer)
        return ours is not None and issubclass(ours.vanilla_class, kinds)
    return any(isinstance(layer, kind) and computes_as(layer, kind) for kind in kinds)


def operator_blocks(layer: keras.layers.Layer, shape: Sequence[int] | None = None) -> list[sla.LinearOperator]:
    """Operators that together have the singular values of a layer's linear part; see `linear_operator`.

    They are cheaper than the whole operator. Of a dense layer it is the kernel, whatever other axes the input has; of a
    pooling or a depthwise convolution, one channel; of a transposed convolution, the convolution whose adjoint it is.
    """
    shape = input_shape(layer) if shape is None else tuple(shape)
    operator = linear_operator(layer, shape)
    if is_plain(layer, TRANSPOSED):
        operator = operator.T
    elif is_plain(layer, AVERAGES):
        operator = _average(layer, (*_spatial(layer, shape), 1), channels_first=False)
    return operator.blocks() if isinstance(operator, Convolution) else [operator]


def is_channels_first(layer: keras.layers.Layer) -> bool:
    """Whether a layer takes images with their channels first."""
    return getattr(layer, "data_format", "channels_last") == "channels_first"


def _spatial(layer, shape):
    return shape[1:] if is_channels_first(layer) else shape[:-1]


def geometry(layer: keras.layers.Layer, shape: Shape) -> dict[str, Any]:
    """Arguments of `Convolution` for a convolutional layer of Keras, except kernel and groups."""
    return {
        "sizes": _spatial(layer, shape),
        "strides": layer.strides,
        "padding": layer.padding,
        "dilations": layer.dilation_rate,
        "channels_first": is_channels_first(layer),
    }


def _dense(layer, shape):
    kernel = used_kernel(layer)
    return Convolution(kernel.reshape((1,) * (len(shape) - 1) + kernel.shape), shape[:-1])


def _convolution(layer, shape):
    return Convolution(used_kernel(layer), **geometry(layer, shape), groups=layer.groups)


def _padded_convolution(layer, shape):
    """A convolution without padding, after an operator that copies entries into the padding."""
    if layer.pads is None:
        return _convolution(layer, shape)
    first, sizes = is_channels_first(layer), _spatial(layer, shape)
    mode = {"circular": "wrap"}.get(layer.padding, layer.padding)
    places = np.arange(1, math.prod(shape) + 1).reshape(shape)  # 0 marks entries that "constant" adds
    pads = [(p, p) for p in layer.pads]
    places = np.pad(places, [(0, 0), *pads] if first else [*pads, (0, 0)], mode=mode).reshape(-1)
    (rows,) = np.nonzero(places)
    copies = scipy.sparse.csr_array(
        (np.ones(len(rows)), (rows, places[rows] - 1)), shape=(len(places), math.prod(shape))
    )
    arguments = geometry(layer, shape) | {
        "sizes": [n + 2 * p for n, p in zip(sizes, layer.pads, strict=True)],
        "padding": "valid",
    }
    return Convolution(used_kernel(layer), **arguments, groups=layer.groups) @ sla.aslinearoperator(copies)


def _transposed(layer, shape):
    """A transposed convolution: the adjoint of the convolution that reads its output."""
    if getattr(layer, "output_padding", None) is not None:
        raise ValueError(f"{named(layer)}: expected output_padding=None. Received: {layer.output_padding}")
    arguments = geometry(layer, shape)
    arguments["sizes"] = _spatial(layer, layer.compute_output_shape((1, *shape))[1:])
    return Convolution(used_kernel(layer), **arguments).T


def per_channel(kernel: Array) -> Array:
    """The kernel (*size, in, multiplier) of a depthwise convolution as one of a grouped convolution."""
    return kernel.reshape(*kernel.shape[:-2], 1, -1)


def _depthwise(layer, shape):
    kernel = used_kernel(layer)
    return Convolution(per_channel(kernel), **geometry(layer, shape), groups=kernel.shape[-2])


def _separable(layer, shape):
    depthwise, pointwise = (used_kernel(layer, name) for name in ("depthwise_kernel", "pointwise_kernel"))
    first = Convolution(per_channel(depthwise), **geometry(layer, shape), groups=depthwise.shape[-2])
    return Convolution(pointwise, first.counts, channels_first=first.channels_first) @ first


class Diagonal(sla.LinearOperator):
    """A diagonal matrix as an operator.

    Args:
        values: Its diagonal, a float64 array of shape (entries,).
    """

    def __init__(self, values: Array):
        self.values = values
        super().__init__(np.dtype(np.float64), (len(values), len(values)))

    def _matvec(self, x):
        return self.values * x.reshape(-1)

    def _matmat(self, x):
        return self.values[:, None] * x

    _rmatvec, _rmatmat = _matvec, _matmat

    def _transpose(self):
        return self

    _adjoint = _transpose


def _average(layer, shape, channels_first=None):
    """Average pooling: the sum of each window, divided by the number of its entries that are not padding."""
    first = is_channels_first(layer) if channels_first is None else channels_first
    sizes, channels = (shape[1:], shape[0]) if first else (shape[:-1], shape[-1])
    pool = tuple(layer.pool_size)
    weight = 1 / math.prod(pool) if layer.padding == "valid" else 1.0
    kernel = np.full((*pool, 1, channels), weight)
    sums = Convolution(kernel, sizes, layer.strides, layer.padding, groups=channels, channels_first=first)
    return sums if layer.padding == "valid" else Diagonal(1 / (sums @ np.ones(sums.shape[1]))) @ sums


def _global_average(layer, shape):
    sizes = _spatial(layer, shape)
    channels = math.prod(shape) // math.prod(sizes)
    kernel = np.full((*sizes, 1, channels), 1 / math.prod(sizes))
    return Convolution(kernel, sizes, groups=channels, channels_first=is_channels_first(layer))


def _batch_normalization(layer, shape):
    axis = layer.axis if layer.axis < 0 else layer.axis - 1 - len(shape)  # counted from the end: there is no batch
    factors = batch_normalization_factors(layer).reshape((-1,) + (1,) * (-axis - 1))
    return Diagonal(np.broadcast_to(factors, shape).reshape(-1))


def _identity(layer, shape):
    return Diagonal(np.ones(math.prod(shape)))


def _flatten(layer, shape):
    """Keras flattens images with channels first as if the channels were last."""
    if not is_channels_first(layer) or len(shape) < 2:
        return _identity(layer, shape)
    order = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).reshape(-1)
    places = np.arange(len(order))
    return sla.aslinearoperator(scipy.sparse.csr_array((np.ones(len(order)), (places, order))))


def moving_operator(layer: keras.layers.Layer, shape: Sequence[int]) -> sla.LinearOperator:
    """The operator of a layer that moves or drops entries, without its factor k: a matrix of ones.

    A copy of the layer in float64 is run on the numbers of the entries.

    Args:
        layer: `InvertibleDownSampling`, `InvertibleUpSampling` or `SpatialShift`.
        shape: Shape of its input, without the batch.
    """
    count = math.prod(shape)
    config = layer.get_config() | {"dtype": "float64", "k_coef_lip": 1.0}
    with float64_scope():
        numbers = np.arange(1.0, count + 1).reshape(1, *shape)  # 0 marks entries that the layer adds
        places = np.asarray(type(layer).from_config(config)(ops.convert_to_tensor(numbers))).reshape(-1).astype(int)
    (rows,) = np.nonzero(places)
    matrix = scipy.sparse.csr_array((np.ones(len(rows)), (rows, places[rows] - 1)), shape=(len(places), count))
    return sla.aslinearoperator(matrix)


def probed(layer: keras.layers.Layer, shape: Sequence[int]) -> sla.LinearOperator:
    """The matrix of a constrained layer that lipviz does not know, from its `linear` of every unit vector."""
    size = math.prod(shape)
    if size > 4 * EXPLICIT_SIDE:
        raise ValueError(f"{named(layer)} has too many inputs, {size}, to be probed one by one.")
    kernel = used_kernel(layer)
    columns = []
    with float64_scope():
        for start in range(0, size, _COLUMNS):
            units = np.eye(min(_COLUMNS, size - start), size, start).reshape(-1, *shape)
            images = layer.linear(ops.convert_to_tensor(units), ops.convert_to_tensor(kernel))
            columns.append(to_numpy(ops.convert_to_numpy(images)).reshape(len(units), -1).T)
    matrix = np.concatenate(columns, axis=1)
    _check_linear(layer, kernel, shape, matrix)
    return sla.aslinearoperator(matrix)


def _check_linear(layer, kernel, shape, matrix):
    """Raise NotLinearError if the `linear` of a layer differs from its matrix, at inputs from small to large."""
    x = np.random.default_rng(0).standard_normal((7, *shape)) * 10.0 ** np.arange(-3, 4).reshape(-1, *[1] * len(shape))
    with float64_scope():
        images = layer.linear(ops.convert_to_tensor(x), ops.convert_to_tensor(kernel))
        images = to_numpy(ops.convert_to_numpy(images)).reshape(len(x), -1)
    x = x.reshape(len(x), -1)
    allowed = 1e-6 * np.linalg.norm(matrix) * np.linalg.norm(x, axis=1)
    if not (np.linalg.norm(images - x @ matrix.T, axis=1) <= allowed).all():
        raise NotLinearError(f"The `linear` of {named(layer)} is not linear.")


class NotLinearError(TypeError):
    """A layer is not known to be linear, or is not."""


_OPERATORS = (
    ((keras.layers.Dense,), _dense),
    ((PadConv2D,), _padded_convolution),
    (TRANSPOSED, _transposed),
    (CONVOLUTIONS, _convolution),
    (DEPTHWISE, _depthwise),
    (SEPARABLE, _separable),
    (AVERAGES, _average),
    (GLOBAL_AVERAGES, _global_average),
    ((keras.layers.BatchNormalization,), _batch_normalization),
    ((keras.layers.Flatten,), _flatten),
    (_IDENTITIES, _identity),
)
