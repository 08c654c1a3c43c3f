"""What steps of a graph take, and what they return for arrays."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from lipviz.certification import rounding
from lipviz.certification.forms import NoFormError
from lipviz.certification.graph import Step, reason_and_flows
from lipviz.certification.merging import Flow
from lipviz.layers import ConstrainedKernel
from lipviz.operators.linear import is_plain
from lipviz.operators.precision import float64_scope
from lipviz.rules.algebra import computes_as
from lipviz.rules.used import as_computed
from lipviz.types import Array, Shape


def taken(step: Step) -> list[Flow]:
    """The flows that a step depends on, a list."""
    return reason_and_flows(step)[1] if isinstance(step.op, keras.layers.Layer) else step.flows


def unwrapped(step: Step) -> Step:
    """A step by the layer inside of a wrapper, where both compute the same at inference; otherwise the step itself."""
    layer = step.op
    kind = next((kind for kind in _WRAPPERS if isinstance(layer, kind) and computes_as(layer, kind)), None)
    if kind is None or layer.layer.compute_dtype != layer.compute_dtype:
        return step
    if kind is keras.layers.TimeDistributed and not is_plain(layer.layer, (keras.layers.Dense,)):
        return step
    return dataclasses.replace(step, op=layer.layer)


_WRAPPERS = (keras.layers.SpectralNormalization, keras.layers.TimeDistributed)


def sizes_of(flow: Flow) -> tuple[int, ...]:
    """The shape of a value, without the batch.

    Raises:
        NoFormError: If a size is not known.
    """
    sizes = tuple(size for size in flow.shape[1:] if size is not None)
    if len(sizes) + 1 < len(flow.shape):
        raise NoFormError(f"it takes a value of the shape {flow.shape}")
    return sizes


def run(step: Step, given: dict[int, Array], output: int = 0) -> Array:
    """A value that a step returns for arrays in the place of its flows.

    Args:
        step: The step.
        given: An array, with a batch, for each flow: a dict by the flows' ids.
        output: Number of the value among several.
    """

    def tensor(leaf):
        return ops.convert_to_tensor(given[id(leaf)]) if isinstance(leaf, Flow) else leaf

    with float64_scope():
        results = rounding.at_zero(step.op, *keras.tree.map_structure(tensor, (step.args, step.kwargs)))
        return np.asarray(ops.convert_to_numpy(keras.tree.flatten(results)[output]))


def on_rows(function: Callable[..., Any], shape: Shape) -> Callable[[Array], Array]:
    """A function of tensors of a shape, without the batch, or a layer, as one of arrays of shape (n, entries)."""

    def values(x):
        with float64_scope():
            result = function(ops.convert_to_tensor(np.asarray(x, np.float64).reshape(-1, *shape)))
            return np.asarray(ops.convert_to_numpy(result), np.float64).reshape(len(x), -1)

    return values


def linear_shape(layer: keras.layers.Layer, flow: Flow) -> tuple[int, ...]:
    """Shape of the output of a linear layer before its activation, which may change the number of channels."""
    states: Any = super(ConstrainedKernel, layer) if isinstance(layer, ConstrainedKernel) else layer
    return tuple(states.compute_output_shape((1, *flow.shape[1:])))[1:]


def offset_of(layer: keras.layers.Layer, shape: tuple[int, ...]) -> Array:
    """The bias of a linear layer at each entry of its output, of shape (entries,)."""
    bias = getattr(layer, "bias", None)
    if bias is None or not getattr(layer, "use_bias", True):
        return np.zeros(math.prod(shape))
    values = as_computed(layer, bias, f"The bias of '{layer.name}'")
    first = getattr(layer, "data_format", None) == "channels_first"
    values = values.reshape((-1,) + (1,) * (len(shape) - 1)) if first else values
    return np.broadcast_to(values, shape).reshape(-1).copy()
