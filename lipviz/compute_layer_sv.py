"""Smallest and largest singular value of each layer, as a map from its input to its output, as its rule knows them.

Of a layer with a kernel it is the linear part that is measured, with the kernel that inference uses and at the image
size that the layer was built for: bias and activation, also one passed by `activation=`, are not in it. Of a layer that
is not linear it is the range that the singular values of its Jacobian lie in, over all inputs.
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
      format), average poolings and batch normalization (at inference): exact, the extreme ones of the min(inputs,
      outputs) singular values of the layer's matrix. Beyond 2048 inputs and outputs that share weights the method is
      iterative: see `lipviz.operators.extreme_singular_values` for its tolerance.
    * `GroupSort` and its kin, `MaxMin`, scaled averages and resamplings: (k, k), exact at every input. So it is with
      1 for flattening, padding, dropout at inference, and max pooling without overlaps.
    * ReLU and other activations as layers, max pooling with overlaps, and l2-norm pooling: the range over all inputs.
    * `Add`, `Subtract` and `Average` of n inputs: of the map from all of them together, such as √n.
    * Anything else, models and wrappers included: (None, None).

    Args:
        layer: Built Keras layer, of lipviz or not.
        supplementary_type2sv: Dict from a type to a function of a layer that returns its (smallest, largest). It goes
            before all of the above, for subclasses too; the nearest base class counts.

    Returns:
        The tuple (smallest, largest) of floats, or (None, None) where the type is not known.

    Raises:
        TypeError: If it is no Keras layer.
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
        model: Built Keras model; nested ones are opened, and input layers left out.
        supplementary_type2sv: See `compute_layer_sv`. A type of model given here is not opened.

    Returns:
        A dict from the name of a layer to (smallest, largest), in the model's order. Where two layers of different
        models share a name, all go by "model/layer". A layer that is used several times is there once.

    Raises:
        TypeError: If it is no Keras model.
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
    """From the ids of layers to what they take in the graph of a model: a shape with the batch, or a list of several.

    Those that are used for several shapes, and those of a model without a graph, are left out.
    """
    trace = Trace(2, only_graph=True)
    try:
        trace.follow(model, input_flows(model))
    except ValueError:  # a model that does not say what it takes
        return {}
    once = {key: uses[0] for key, uses in trace.taken.items() if all(shapes == uses[0] for shapes in uses)}
    return {key: shapes if len(shapes) > 1 else shapes[0] for key, shapes in once.items()}


def _leaves(model, path, known):
    """Yields the path and the layer of everything that is no model, and no input."""
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
    """What the functions of `supplementary_type2sv` say of a layer, or None."""
    kind = next((kind for kind in type(layer).__mro__ if kind in known), None)
    return None if kind is None else _pair(known[kind](layer), kind)


def _singular_values(layer, shape=None):
    """What the rule of a layer says for a shape with the batch, or a list of such; by default as it was built."""
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
    """Of a layer of several inputs, as a map from all of them together."""
    if shapes is None:
        raise ValueError(f"{named(layer)} must be built before it is measured: call it on data, or `build` it.")
    shapes = shapes if isinstance(shapes[0], list | tuple) else [shapes]
    flows = [
        merging.Flow(keras.KerasTensor((None, *shape[1:]), layer.compute_dtype), unit)
        for shape, unit in zip(shapes, np.eye(len(shapes)), strict=True)
    ]
    return merging.merge(layer, flows, 2).bound.singular_values or _UNKNOWN
