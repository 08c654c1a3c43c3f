"""Affine forms: of layers and operations that scale, add, move, copy or drop entries."""

import dataclasses
import math

import keras
import numpy as np
import scipy.sparse
import scipy.sparse.linalg as sla

from lipviz.certification.forms import Affine, NoFormError
from lipviz.certification.graph import Step
from lipviz.certification.merging import Flow
from lipviz.certification.step_values import run, sizes_of, taken
from lipviz.operators.linear import linear_operator, moving_operator
from lipviz.operators.used_weights import residual_shares
from lipviz.rules.used import as_float64


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
    """A layer of lipviz that moves entries, and multiplies by k."""
    operator = moving_operator(step.op, sizes_of(flow))
    return Affine((operator,), np.zeros(operator.shape[0]))


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
    """A sum or difference by `keras.ops` of two values; of a value and a constant, its form is not known."""
    if len(step.flows) != 2 or len(step.args) != 2:
        raise NoFormError("it adds a constant")
    return added(step, output)


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
