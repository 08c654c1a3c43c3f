"""Affine forms: of layers and operations that scale, add, move, copy or drop entries."""

import dataclasses
import math

import keras
import numpy as np
import scipy.sparse
import scipy.sparse.linalg as sla

from lipviz import layers as lip
from lipviz.certification.forms import Affine, NoFormError
from lipviz.certification.graph import Step
from lipviz.certification.matrices import channel_matrix
from lipviz.certification.merging import Flow
from lipviz.certification.step_values import run, sizes_of, taken
from lipviz.operators.linear import Diagonal, linear_operator, moving_operator
from lipviz.operators.used_weights import residual_shares
from lipviz.rules.pointwise import broadcast_shape, scaling_of
from lipviz.rules.used import as_float64, roundings, with_margin


def normalized(step: Step, flow: Flow) -> Affine:
    """Batch normalization at inference."""
    layer, shape = step.op, sizes_of(flow)
    operator = linear_operator(layer, shape)
    axis = layer.axis if layer.axis < 0 else layer.axis - 1 - len(shape)
    spread = (-1,) + (1,) * (-axis - 1)
    mean, beta = (
        np.broadcast_to(as_float64(value, f"A weight of '{layer.name}'").reshape(spread), shape).reshape(-1)
        for value in (layer.moving_mean, layer.beta if layer.center else np.zeros(shape[axis]))
    )
    return Affine((operator,), beta - operator @ mean)


def scaled(step: Step, flow: Flow) -> Affine:
    """A layer that scales and shifts its input by numbers of its own."""
    layer, shape = step.op, sizes_of(flow)
    if broadcast_shape(layer, shape) != shape:
        raise NoFormError(_BROADCASTS)
    return _diagonal(*scaling_of(layer), shape)


def centered(step: Step, flow: Flow) -> Affine:
    """A layer of lipviz that subtracts running means, and multiplies by one number."""
    layer, shape = step.op, sizes_of(flow)
    spread = [1] * len(shape)
    spread[layer.channel_axis % (len(shape) + 1) - 1] = -1
    mean, bias = (
        as_float64(value, f"A weight of '{layer.name}'").reshape(spread)
        for value in (layer.moving_mean, layer.bias if layer.use_bias else np.zeros(layer.moving_mean.shape))
    )
    own = layer.lip_constant if isinstance(layer, lip.BatchLipNorm) else layer.k_coef_lip
    factor, off = with_margin(roundings(own, layer.compute_dtype))
    return _diagonal(factor, bias - factor * mean, off, shape)


def _diagonal(factors, offset, off, shape):
    """A step that multiplies by factors, and adds an offset, see `Affine`."""
    if not (np.isfinite(factors).all() and np.isfinite(offset).all()):
        raise NoFormError("its numbers overflow")
    factors, offset = (np.broadcast_to(each, (1, *shape)).reshape(-1) for each in (factors, offset))
    return Affine((Diagonal(factors),), offset, off)


def without_means(step: Step, flow: Flow) -> Affine:
    """A layer of lipviz that subtracts from each channel its mean over all pixels, times a number."""
    layer, shape = step.op, sizes_of(flow)
    pixels = tuple(axis for axis in range(len(shape)) if axis != layer.channel_axis % (len(shape) + 1) - 1)
    places = np.arange(math.prod(shape)).reshape(shape)
    means = np.broadcast_to(np.arange(places.max(axis=pixels).size).reshape(_kept(shape, pixels)), shape).reshape(-1)
    count = math.prod(shape[axis] for axis in pixels)
    channels = len(means) // count
    mean = scipy.sparse.csr_array((np.full(len(means), 1 / count), (means, places.reshape(-1))))
    factor, off = with_margin(roundings(layer.k_coef_lip, layer.compute_dtype))
    operator = Diagonal(np.ones(len(means))) - _chosen(means, channels) @ sla.aslinearoperator(mean)
    bias = as_float64(layer.bias, f"The bias of '{layer.name}'") if layer.use_bias else np.zeros(channels)
    return Affine((float(factor) * operator,), bias[means], off)


def _kept(shape, axes):
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape))


def interpolated(step: Step, flow: Flow) -> Affine:
    """Nearest pixels, or an interpolation whose weights a backend may round to float32."""
    layer, shape = step.op, sizes_of(flow)
    if getattr(layer, "interpolation", "nearest") == "nearest":
        return selection(step)
    first = layer.data_format == "channels_first"
    sizes, channels = (shape[1:], shape[0]) if first else (shape[:-1], shape[-1])
    pair = scipy.sparse.eye_array(channels), scipy.sparse.csr_array(channel_matrix(layer, sizes))
    matrix = scipy.sparse.kron(*(pair if first else pair[::-1]), "csr")
    return Affine((sla.aslinearoperator(matrix),), np.zeros(matrix.shape[0]), _INTERPOLATED)


_INTERPOLATED = 1e-6  # more than the weights of an interpolation are rounded by
_BROADCASTS = "it broadcasts its input"


def selection(step: Step, output: int = 0) -> Affine:
    """A step that copies, drops or moves entries: it is run on the numbers of the entries."""
    flows = taken(step)
    sizes = [flow.size for flow in flows]
    starts = np.cumsum([1, *sizes])  # 0 marks entries that the step adds
    given = {
        id(flow): np.arange(start, start + size, dtype=np.int32).reshape(1, *flow.shape[1:])
        for flow, start, size in zip(flows, starts, sizes, strict=False)
    }
    places = run(step, given, output).reshape(-1).astype(np.int64)
    parts = tuple(_chosen(places - start, size) for start, size in zip(starts, sizes, strict=False))
    return Affine(parts, np.zeros(len(places)))


def selected(step: Step, flow: Flow) -> Affine:
    """The `selection` of a layer of one input."""
    return selection(step)


def moved(step: Step, flow: Flow) -> Affine:
    """A layer of lipviz that moves or drops entries, and multiplies by a number."""
    layer = step.op
    operator = moving_operator(layer, sizes_of(flow))
    factor, off = with_margin(roundings(layer.k_coef_lip, layer.compute_dtype))
    return Affine((float(factor) * operator,), np.zeros(operator.shape[0]), off)


def padding(step: Step, output: int) -> Affine:
    """Padding by a number, which is an offset: the numbers of entries are padded by zeros."""
    places = selection(dataclasses.replace(step, args=step.args[:1], kwargs={}), output)
    (flow,) = step.flows
    return Affine(places.parts, run(step, {id(flow): np.zeros((1, *sizes_of(flow)))}, output).reshape(-1))


def _chosen(places, size):
    """The operator that takes entry `places[i]` into entry i, and 0 where there is no such place."""
    (rows,) = np.nonzero((places >= 0) & (places < size))
    matrix = scipy.sparse.csr_array((np.ones(len(rows)), (rows, places[rows])), shape=(len(places), size))
    return sla.aslinearoperator(matrix)


def added(step: Step, output: int) -> Affine:
    """A sum, a difference or a mean of values, which are broadcast to one shape."""
    flows = taken(step)
    share = 1 / len(flows) if isinstance(step.op, keras.layers.Average) else 1.0
    subtracts = type(step.op).__name__ == "Subtract"
    return _weighted(step, flows, [-share if subtracts and number else share for number in range(len(flows))], output)


def added_values(step: Step, output: int) -> Affine:
    """A sum or difference by `keras.ops`, of two values, or of a value and a constant."""
    if len(step.flows) == 2:
        return added(step, output)
    constant, comes_first = _constant(step)
    subtracts = type(step.op).__name__ == "Subtract"
    sign = -1.0 if subtracts and comes_first else 1.0
    offset, off = with_margin(roundings(constant, _dtype(step)))
    return _unspread(step, np.asarray(sign), -offset if subtracts and not comes_first else offset, off)


def multiplied(step: Step, output: int) -> Affine:
    """The product of a value and a constant, or a value divided by one."""
    constant, _ = _constant(step)
    values = roundings(constant, _dtype(step))
    with np.errstate(divide="ignore"):
        values = values if type(step.op).__name__ == "Multiply" else 1 / values
    factors, off = with_margin(values)
    return _unspread(step, factors, np.zeros(()), off)


def negative(step: Step, output: int) -> Affine:
    """The negative of a value."""
    return _unspread(step, np.asarray(-1.0), np.zeros(()), 0.0)


def _constant(step):
    """The constant of an operation of a value and a constant, and whether it comes first."""
    comes_first = not isinstance(step.args[0], Flow)
    return as_float64(step.args[0 if comes_first else 1], "A constant"), comes_first


def _dtype(step):
    return keras.backend.standardize_dtype(keras.tree.flatten(step.spec)[0].dtype)


def _unspread(step, factors, offset, off):
    (flow,) = step.flows
    shape = sizes_of(flow)
    if tuple(keras.tree.flatten(step.spec)[0].shape)[1:] != shape:
        raise NoFormError(_BROADCASTS)
    return _diagonal(factors, offset, off, shape)


def reduced(step: Step, output: int) -> Affine:
    """A sum or a mean over some axes."""
    (flow,) = step.flows
    shape, rank = sizes_of(flow), len(flow.shape)
    axes = tuple(int(axis) % rank - 1 for axis in np.atleast_1d(step.op.axis))
    kept = _kept(shape, axes)
    places = np.broadcast_to(np.arange(math.prod(kept)).reshape(kept), shape).reshape(-1)
    weight = 1 / math.prod(shape[axis] for axis in axes) if type(step.op).__name__ == "Mean" else 1.0
    matrix = scipy.sparse.csr_array((np.full(len(places), weight), (places, np.arange(len(places)))))
    return Affine((sla.aslinearoperator(matrix),), np.zeros(matrix.shape[0]))


def residual(step: Step, output: int) -> Affine:
    """The weighted mean of a residual layer."""
    return _weighted(step, taken(step), residual_shares(step.op), output)


def _weighted(step, flows, factors, output):
    shape = tuple(keras.tree.flatten(step.spec)[output].shape)[1:]
    return Affine(
        tuple(factor * _spread(flow, shape) for flow, factor in zip(flows, factors, strict=True)),
        np.zeros(math.prod(shape)),
    )


def _spread(flow, shape):
    """The operator that broadcasts a value to a shape."""
    places = np.broadcast_to(np.arange(flow.size).reshape(flow.shape[1:]), shape)
    return _chosen(places.reshape(-1), flow.size)
