"""Forms of functions: elementwise ones, sorting in groups, and splitting into positive and negative parts."""

import math

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.certification import merging
from lipviz.certification.forms import NoFormError, Pointwise, Sorting, Splitting
from lipviz.certification.graph import Step
from lipviz.certification.merging import Flow
from lipviz.certification.step_values import on_rows, sizes_of
from lipviz.rules import activations
from lipviz.rules.pointwise import broadcast_shape
from lipviz.rules.registry import layer_bound
from lipviz.rules.used import as_computed, as_float64, roundings, used_factor


def sorting(step: Step, flow: Flow) -> Sorting:
    """Sorting of channels."""
    layer, shape = step.op, sizes_of(flow)
    axis = layer.channel_axis % (len(shape) + 1) - 1
    size = layer.group_size(tuple(flow.shape))
    places = np.arange(math.prod(shape)).reshape(shape)
    groups = np.moveaxis(places, axis, -1).reshape(-1, size)
    return Sorting(groups, used_factor(layer))


def splitting(step: Step, flow: Flow) -> Splitting:
    """Positive and negative parts."""
    layer, shape = step.op, tuple(flow.shape)
    doubled = tuple(keras.tree.flatten(step.spec)[0].shape)[1:]
    places = np.arange(math.prod(doubled)).reshape(doubled)
    positive, negative = np.split(places, 2, axis=layer.channel_axis % len(shape) - 1)
    return Splitting(positive.reshape(-1), negative.reshape(-1), used_factor(layer))


def signs(step: Step, flow: Flow) -> Pointwise:
    """X or |x|, times k: linear on both sides of 0."""
    layer, shape = step.op, sizes_of(flow)
    k = used_factor(layer)
    spread = [1] * (1 + len(shape))
    spread[layer.channel_axis] = -1
    negative = np.copysign(k, layer.slopes((1, *shape))).reshape(spread)
    negative = np.broadcast_to(negative, (1, *shape)).reshape(-1)
    return Pointwise("", on_rows(layer, shape), layer_bound(layer, shape, 2), (negative, k), (negative, k))


def activation_layer(step: Step, flow: Flow) -> Pointwise:
    """An activation that is a layer with arguments of its own."""
    layer, shape = step.op, flow.shape[1:]
    if isinstance(layer, keras.layers.PReLU) and broadcast_shape(layer, shape) != tuple(shape):
        raise NoFormError("it broadcasts its input")
    plain = isinstance(layer, keras.layers.ReLU) and not layer.negative_slope and layer.max_value is None
    bound = layer_bound(layer, shape, 2)
    return Pointwise(
        "relu" if plain else "",
        on_rows(layer, shape),
        bound,
        _slopes_of_layer(layer, shape, bound),
        _sides(layer, shape),
        _derivative(layer, shape),
    )


_WIDENED = 2.0**-7  # more than half precision rounds a slope by


def _slopes_of_layer(layer, shape, bound):
    """The slopes of an activation that is a layer, with room for any rounding of its arguments."""
    if isinstance(layer, keras.layers.PReLU):
        k = layer.k_coef_lip if isinstance(layer, lip.PReLUlip) else math.inf
        falling = np.clip(as_float64(layer.alpha, f"The slopes of '{layer.name}'"), -k, k)
        falling = np.broadcast_to(falling, shape).reshape(-1)
        return _wider(np.minimum(falling, min(1.0, k)), np.maximum(falling, min(1.0, k)), bound)
    own = layer.alpha if isinstance(layer, keras.layers.ELU) else layer.negative_slope
    flat = isinstance(layer, keras.layers.ELU) or getattr(layer, "max_value", None) is not None
    slopes = (float(own), 1.0, *((0.0,) if flat else ()))
    return _wider(min(slopes), max(slopes), bound)


def _wider(low, high, bound):
    """Slopes that hold however the layer rounds them."""
    low, high = low - _WIDENED * np.abs(low), high + _WIDENED * np.abs(high)
    return np.maximum(low, -bound.upper), np.minimum(high, bound.upper)


def _sides(layer, shape):
    """Slopes of a layer for negative and for positive entries; None where these are not all."""
    is_leaky = isinstance(layer, keras.layers.LeakyReLU)
    if is_leaky or (isinstance(layer, keras.layers.ReLU) and layer.max_value is None and layer.negative_slope):
        return float(layer.negative_slope), 1.0
    if not isinstance(layer, keras.layers.PReLU) or isinstance(layer, lip.PReLUlip):
        return None
    alpha = as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'")
    fits = np.broadcast_shapes(alpha.shape, shape) == tuple(shape)
    return (np.broadcast_to(alpha, shape).reshape(-1), 1.0) if fits else None


def _derivative(layer, shape):
    """The derivative of a layer with arguments, if it is not told by `_sides`; else None.

    In float64 no backend rounds the α of an ELU and the k of a PReLUlip, but TensorFlow rounds the largest value of a
    ReLU to float32.
    """
    if isinstance(layer, keras.layers.ELU):
        return activations.elu_derivative(float(layer.alpha))
    if isinstance(layer, keras.layers.ReLU) and layer.max_value is not None:
        largest = roundings(layer.max_value, layer.compute_dtype)
        return activations.relu_derivative(float(layer.negative_slope or 0.0), largest.min(), largest.max())
    if isinstance(layer, lip.PReLUlip):
        k = float(layer.k_coef_lip)
        falling = np.clip(as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'"), -k, k)
        return activations.sided_derivative(np.broadcast_to(falling, shape).reshape(-1), min(1.0, k))
    return None


def function_of_ops(step: Step, output: int) -> Pointwise:
    """A function of `keras.ops` with its default arguments."""
    name = activations.OPERATIONS[type(step.op).__name__]
    (flow,) = step.flows
    if any(getattr(step.op, argument, None) for argument in ("negative_slope", "max_value", "threshold")):
        raise NoFormError("its arguments are not the default ones")
    values, slopes = on_rows(step.op, flow.shape[1:]), activations.ELEMENTWISE[name].slopes
    if getattr(step.op, "approximate", False):  # the gelu by tanh has the same bounds, and other slopes in between
        name = ""
    return Pointwise(name, values, merging.operate(step.op, step.args, step.kwargs, step.spec, 2).bound, slopes)
