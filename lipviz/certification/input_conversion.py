"""Conversion of the inputs of a nested model: Keras converts them to the shapes and dtypes of its `Input`s."""

import dataclasses

import keras
from keras import ops

from lipviz.certification.merging import Flow, times
from lipviz.operators.precision import float64_scope
from lipviz.rules.bound import Bound, unknown


def converted(model: keras.Model, flows: list[Flow]) -> list[tuple[Flow, Bound | None]]:
    """The flows that the layers of a functional or Sequential model get.

    Args:
        model: Keras model.
        flows: List of a `Flow` for each of its inputs, in its own order.

    Returns:
        A list of tuples (flow, bound), one for each input: the flow that the layers get, and an infinite `Bound` where
        the conversion has no Lipschitz constant, else None.
    """
    own = keras.tree.flatten(getattr(model, "inputs", None) or ())
    if len(own) != len(flows):  # a model that states no inputs
        return [(flow, None) for flow in flows]
    return [_converted(flow, tensor) for flow, tensor in zip(flows, own, strict=True)]


def _converted(flow, own):
    if len(flow.shape) != len(own.shape):
        reshaped = unknown(f"Keras makes the shape {tuple(own.shape)} of the shape {flow.shape}")
        return dataclasses.replace(flow, gains=times(flow.gains, reshaped.upper)), reshaped
    if flow.tensor.dtype == own.dtype:
        return flow, None
    bound = (
        None if keras.backend.is_float_dtype(own.dtype) else unknown(f"a conversion to {own.dtype} is not continuous")
    )
    with float64_scope():
        at_zero = None if flow.at_zero is None else ops.cast(flow.at_zero, own.dtype)
    gains = flow.gains if bound is None else times(flow.gains, bound.upper)
    return Flow(keras.KerasTensor(flow.tensor.shape, own.dtype), gains, at_zero, flow.mask, flow.shapes), bound
