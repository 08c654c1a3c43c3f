"""Smallest and largest singular value of each layer, as a map from its input to its output.

For a layer with a kernel, they are those of its linear part: with the kernel that inference uses, at the image size
that the layer was built for. The bias and the activation are not part of it, not even one passed as `activation=`. For
a layer that is not linear, all singular values of its Jacobian lie between the two, at every input.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from lipviz.certification import merging
from lipviz.certification.graph import Trace, input_flows
from lipviz.operators import linear as operators
from lipviz.operators.singular_values import extreme_singular_values
from lipviz.rules.registry import find_rule, sample_shape, why_unknown
from lipviz.rules.used import as_float64, known_input_shape, named

_UNKNOWN = (None, None)


def compute_layer_sv(
    layer: keras.Layer, supplementary_type2sv: Mapping[type, Callable[[Any], Sequence[float]]] = {}
) -> tuple[float, float] | tuple[None, None]:
    """Smallest and largest singular value of a layer, in float64.

    * Dense layers, convolutions (transposed, depthwise, separable; any stride, padding, dilation, groups and data
      format), average poolings and batch normalization (at inference): the smallest and the largest of the
      min(inputs, outputs) singular values of the layer's matrix, exact. Beyond 2048 inputs and outputs that share
      weights the method is iterative: see `lipviz.operators.extreme_singular_values` for its tolerance.
    * `GroupSort` and similar activations, `MaxMin`, scaled averages and resamplings: (k, k), exact at every input.
      Flattening, padding, dropout at inference, and max pooling without overlaps: (1, 1), exact too.
    * ReLU and other activations as layers, max pooling with overlaps, and l2-norm pooling: the range over all inputs.
    * `Add`, `Subtract` and `Average` of n inputs: those of the map from all inputs together, such as √n.
    * All other layers, including models and wrappers: (None, None).

    Args:
        layer: Built Keras layer, of lipviz or not.
        supplementary_type2sv: Dict from a class of layers to a function that takes a layer and returns (smallest,
            largest). It takes precedence over all of the above, also for subclasses: the nearest base class counts.

    Returns:
        The tuple (smallest, largest) of floats, or (None, None) where the type is not known.

    Raises:
        TypeError: If `layer` is not a Keras layer.
        ValueError: If the layer is not built, the size of its input is not known but matters, a weight is not finite,
            or a function of `supplementary_type2sv` does not return two values.
    """
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(f"compute_layer_sv expects a Keras layer. Received: {type(layer).__name__}")
    return _given(layer, supplementary_type2sv) or _singular_values(layer)


def compute_model_sv(
    model: keras.Model, supplementary_type2sv: Mapping[type, Callable[[Any], Sequence[float]]] = {}
) -> dict[str, tuple[float, float] | tuple[None, None]]:
    """Smallest and largest singular value of every layer of a model, see `compute_layer_sv`.

    Args:
        model: Built Keras model. Layers of nested models are included, input layers are not.
        supplementary_type2sv: See `compute_layer_sv`. A nested model whose class is in it counts as one layer.

    Returns:
        A dict from the name of a layer to (smallest, largest), in the model's order. If layers of different
        models have the same name, all keys are "model/layer". A layer that is used several times appears once.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model is not built, or as for `compute_layer_sv`.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"compute_model_sv expects a Keras model. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"Model '{model.name}' must be built before it is measured: call it on data, or `build` it.")
    leaves = reversed(list(_leaves(model, (), supplementary_type2sv)))
    once = {id(layer): (path, layer) for path, layer in leaves}
    found = list(reversed(once.values()))
    names = [layer.name for _, layer in found]
    if len(set(names)) < len(names):
        names = ["/".join(path) for path, _ in found]
    if len(set(names)) < len(names):
        raise ValueError(f"The layers of a model need different names. Received: {names}")
    shapes = _shapes_in(model)
    return {
        name: _given(layer, supplementary_type2sv) or _singular_values(layer, shapes.get(id(layer)))
        for name, (_, layer) in zip(names, found, strict=True)
    }


def _shapes_in(model):
    """Dict from the id of a layer to its input shape in the graph of a model, with the batch axis, or a list of shapes.

    Layers that are used with several shapes, and those of a model without a graph, are left out.
    """
    trace = Trace(2, only_graph=True)
    try:
        trace.follow(model, input_flows(model))
    except ValueError:  # a model that does not say what it takes
        return {}
    once = {key: uses[0] for key, uses in trace.taken.items() if all(shapes == uses[0] for shapes in uses)}
    return {key: shapes if len(shapes) > 1 else shapes[0] for key, shapes in once.items()}


def _leaves(model, path, known):
    """Yield the path and the layer of each layer that is neither a model nor an input layer."""
    for layer in model.layers:
        here = (*path, layer.name)
        if isinstance(layer, keras.Model) and not any(kind in known for kind in type(layer).__mro__):
            yield from _leaves(layer, here, known)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield here, layer


def _pair(values, kind):
    if not isinstance(values, list | tuple) or len(values) != 2:
        raise ValueError(f"The function for {kind.__name__} must return (smallest, largest). Received: {values!r}")
    return tuple(values)


def _given(layer, known):
    """What the functions of `supplementary_type2sv` return for a layer, or None."""
    kind = next((kind for kind in type(layer).__mro__ if kind in known), None)
    return None if kind is None else _pair(known[kind](layer), kind)


def _singular_values(layer, shape=None):
    """What the rule of a layer says for an input shape with the batch axis (default: as built), or a list of shapes."""
    shape = known_input_shape(layer) if shape is None else shape
    if isinstance(layer, tuple(merging.MERGES)):
        return _of_merge(layer, shape)
    found = find_rule(layer)
    if found is None:
        return _UNKNOWN
    if not (found.fixed or layer.built):
        raise ValueError(f"{named(layer)} must be built before it is measured: call it on data, or `build` it.")
    if found.linear:
        return _of_matrix(layer, shape)
    for weight in layer.weights:
        as_float64(weight, f"The weight '{weight.name}' of {named(layer)}")
    shape = sample_shape(layer, shape)
    if why_unknown(layer, found, shape) is not None:
        return _UNKNOWN
    return found.bound(layer, shape, 2, False).singular_values or _UNKNOWN


def _of_matrix(layer, shape):
    try:
        blocks = operators.operator_blocks(layer, None if shape is None or None in shape[1:] else shape[1:])
    except operators.NotLinearError:  # a constrained layer of someone else's
        return _UNKNOWN
    extremes = [extreme_singular_values(block) for block in blocks]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def _of_merge(layer, shapes):
    """Singular values of a layer of several inputs, as a map from all of them together."""
    if shapes is None:
        raise ValueError(f"{named(layer)} must be built before it is measured: call it on data, or `build` it.")
    shapes = shapes if isinstance(shapes[0], list | tuple) else [shapes]
    flows = [
        merging.Flow(keras.KerasTensor((None, *shape[1:]), layer.compute_dtype), unit)
        for shape, unit in zip(shapes, np.eye(len(shapes)), strict=True)
    ]
    return merging.merge(layer, flows, 2).bound.singular_values or _UNKNOWN
