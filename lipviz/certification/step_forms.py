"""The form of each step of a graph, from its class: which module builds it."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.certification import affine_forms, function_forms, merging
from lipviz.certification.forms import Affine, Form, NoFormError, Opaque, Pointwise
from lipviz.certification.graph import Step, reason_and_flows
from lipviz.certification.merging import Flow
from lipviz.certification.step_values import linear_shape, offset_of, on_rows, run, sizes_of, taken
from lipviz.operators.linear import NotLinearError, linear_operator
from lipviz.rules import activations, rearranging
from lipviz.rules.algebra import computes_as
from lipviz.rules.registry import activation_bound, find_rule, layer_bounds, why_unknown


def form_of(step: Step, output: int = 0) -> Form:
    """The form of a value that a step returns.

    Args:
        step: A layer or an operation, and what it takes.
        output: The number of the value among several.
    """
    try:
        return _known_form(step, output)
    except NoFormError as why:
        return _opaque(step, output, str(why))


def of_activation(activation: Callable[..., Any], flow: Flow) -> Form:
    """The form of the activation of a layer.

    Args:
        activation: A function or a layer.
        flow: What it takes.
    """
    if isinstance(activation, keras.layers.Layer):
        return form_of(Step(activation, (flow,), {}, flow, {}))
    shape = flow.shape[1:]
    bound, entry = activation_bound(activation, shape, 2), activations.elementwise(activation)
    if entry is None:
        name = getattr(activation, "__name__", "its activation")
        return Opaque(
            f"the form of {name} is not known",
            lambda norm, exact: activation_bound(activation, shape, norm),
            on_rows(activation, shape),
        )
    name = activations.name_of(activation) or ""
    return Pointwise(name, on_rows(activation, shape), bound, entry.slopes)


def _known_form(step, output):
    whole = not all(keras.backend.is_float_dtype(flow.tensor.dtype) for flow in step.flows)
    if whole and not isinstance(step.op, _CONVERTING):
        raise NoFormError("it takes whole numbers")
    if not isinstance(step.op, keras.layers.Layer):
        return _of_operation(step, output)
    reason, flows = reason_and_flows(step)
    if reason is not None:
        raise NoFormError(reason.method)
    return _of_layer(step, flows[0]) if len(flows) == 1 else _of_merge(step, flows, output)


def _of_operation(step, output):
    build = _OPERATIONS.get(type(step.op).__name__) if type(step.op).__module__.startswith("keras.") else None
    if build is None or _operation_bound(step, 2).upper == math.inf:
        raise NoFormError(_UNKNOWN)
    return build(step, output)


def _of_layer(step, flow):
    """The form of a layer of one input."""
    layer, shape = step.op, sizes_of(flow)
    found = find_rule(layer)
    why = why_unknown(layer, found, shape)
    if why is not None or found is None:
        raise NoFormError(str(why))
    if isinstance(layer, keras.layers.Activation) and computes_as(layer, keras.layers.Activation):
        return of_activation(layer.activation, flow)
    if found.linear:
        try:
            return Affine((linear_operator(layer, shape),), offset_of(layer, linear_shape(layer, flow)))
        except (NotLinearError, ValueError) as error:
            raise NoFormError(str(error)) from error
    build, bound = _builder(layer, _LAYERS), found.bound(layer, shape, 2, False)
    if build is None or bound.upper == math.inf:
        raise NoFormError(bound.method if bound.upper == math.inf else _UNKNOWN)
    return build(step, flow)


def _of_merge(step, flows, output):
    """The form of a layer of several inputs."""
    build = _builder(step.op, _MERGES)
    if build is None or merging.merge(step.op, flows, 2).bound.upper == math.inf:
        raise NoFormError(_UNKNOWN)
    return build(step, output)


def _builder(layer, known):
    return next((build for cls, build in known.items() if isinstance(layer, cls) and computes_as(layer, cls)), None)


def _opaque(step, output, why):
    """The form of a step that only a bound is known of."""
    flows = taken(step)

    def values(*arrays):
        given = {id(flow): x.reshape(-1, *flow.shape[1:]) for flow, x in zip(flows, arrays, strict=True)}
        return run(step, given, output).reshape(len(arrays[0]), -1).astype(np.float64)

    return Opaque(why, lambda norm, exact: _bound(step, norm, exact), values)


def _bound(step, norm, exact):
    """Bound of a step with respect to all its sources together."""
    if not isinstance(step.op, keras.layers.Layer):
        return _operation_bound(step, norm)
    reason, flows = reason_and_flows(step)
    if reason is not None:
        return reason
    if len(flows) != 1:
        return merging.merge(step.op, flows, norm).bound
    whole = not keras.backend.is_float_dtype(flows[0].tensor.dtype)
    first, *others = (bound for _, bound in layer_bounds(step.op, flows[0].shape[1:], norm, exact, whole))
    for bound in others:
        first = bound.after(first)
    return first


def _operation_bound(step, norm):
    return merging.operate(step.op, step.args, step.kwargs, step.spec, norm).bound


_UNKNOWN = "its form is not known"


_CONVERTING = (keras.layers.Rescaling, keras.layers.Normalization)  # whole numbers, before they compute
# Layers of one input that copy, drop or move entries, or add zeros, and round nothing.
COPYING = (
    *rearranging.SAME_ENTRIES,
    *rearranging.ONLY_IN_TRAINING,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.RepeatVector,
)
_LAYERS = {
    keras.layers.BatchNormalization: affine_forms.normalized,
    **dict.fromkeys(_CONVERTING, affine_forms.scaled),
    **dict.fromkeys((lip.BatchLipNorm, lip.BatchCentering), affine_forms.centered),
    lip.LayerCentering: affine_forms.without_means,
    **dict.fromkeys(
        (keras.layers.UpSampling1D, keras.layers.UpSampling2D, keras.layers.UpSampling3D), affine_forms.interpolated
    ),
    **dict.fromkeys(COPYING, affine_forms.selected),
    **dict.fromkeys((lip.InvertibleDownSampling, lip.InvertibleUpSampling, lip.SpatialShift), affine_forms.moved),
    lip.GroupSort: function_forms.sorting,
    lip.MaxMin: function_forms.splitting,
    lip.BetaAbs: function_forms.signs,
    **dict.fromkeys(
        (
            keras.layers.ReLU,
            keras.layers.LeakyReLU,
            keras.layers.ELU,
            keras.layers.PReLU,
            lip.PReLUlip,
        ),
        function_forms.activation_layer,
    ),
}


_MERGES = {
    **dict.fromkeys((keras.layers.Add, keras.layers.Subtract, keras.layers.Average), affine_forms.added),
    keras.layers.Concatenate: affine_forms.selection,
    lip.LipResidual: affine_forms.residual,
}


_OPERATIONS = {
    **dict.fromkeys(
        (
            *("Reshape", "Ravel", "Transpose", "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze", "Flip", "Roll", "Copy"),
            *("Concatenate", "Stack", "GetItem", "Split"),
        ),
        affine_forms.selection,
    ),
    "Pad": affine_forms.padding,
    "Negative": affine_forms.negative,
    **dict.fromkeys(("Multiply", "Divide", "TrueDivide"), affine_forms.multiplied),
    **dict.fromkeys(("Sum", "Mean"), affine_forms.reduced),
    **dict.fromkeys(("Add", "Subtract"), affine_forms.added_values),
    **dict.fromkeys(activations.OPERATIONS, function_forms.function_of_ops),
}
