"""Masks: which steps of a series count. Keras computes them from values, and passes them on with these.

A mask is not continuous where a value reaches the number that marks a step as masked. Nor is a layer that computes with
it. A mask that no layer uses has no effect. The layers themselves tell which of them make, pass on, drop and use masks;
they are read here as `keras.layers.Layer.__call__` does.
"""

import inspect
from typing import Any

import keras

from lipviz.certification.merging import Flow
from lipviz.keras_internals import inner_layers

# Keras attaches this to a value whose mask cannot be computed here.
UNKNOWN = "a mask"

_BATCH_NORMALIZATION = keras.layers.BatchNormalization.call  # it uses a mask in training only
_TIME_DISTRIBUTED = keras.layers.TimeDistributed.call  # it passes a mask to the layer that it wraps
# Operations that may return their input itself, with its mask.
_MAY_RETURN_THEIR_INPUT = ("Cast", "Copy", "GetItem", "Pad", "Reshape", "Roll", "Squeeze", "StopGradient", "Transpose")


def uses(layer: keras.layers.Layer) -> bool:
    """Whether a layer, or one inside of it, computes with a mask at inference.

    Args:
        layer: Keras layer.
    """
    takes = any(name == "mask" or name.endswith("_mask") for name in inspect.signature(layer.call).parameters)
    if takes and type(layer).call not in (_BATCH_NORMALIZATION, _TIME_DISTRIBUTED):
        return True
    return any(uses(inner) for inner in inner_layers(layer, deep=False))


def behind_layer(layer: keras.layers.Layer, inputs: Any, masks: Any, outputs: list[keras.KerasTensor]) -> list[Any]:
    """The masks that Keras attaches to what a layer returns.

    Args:
        layer: Keras layer.
        inputs: The symbolic tensors that it takes, in their structure.
        masks: Their masks in the same structure, symbolic tensors or None.
        outputs: List of the symbolic tensors that it returns.

    Returns:
        A list as long as `outputs`, with None where there is no mask.
    """
    found = [None] * len(outputs)
    if layer.supports_masking:
        found = _computed(layer, inputs, masks, outputs)
    given = [mask for mask in keras.tree.flatten(masks) if mask is not None]
    if not given:
        return found
    tensors = keras.tree.flatten(inputs)
    return [
        mask if mask is not None or not _may_return(layer, tensors, output) else given[0]
        for mask, output in zip(found, outputs, strict=True)
    ]


def _computed(layer, inputs, masks, outputs):
    given = any(mask is not None for mask in keras.tree.flatten(masks))
    if not given and not _makes_masks(layer):
        return [None] * len(outputs)
    try:
        found = keras.tree.flatten(layer.compute_mask(inputs, masks))
    except Exception:  # of the backend, or of a layer that needs values
        found = [UNKNOWN] * len(outputs)
    return (found + [None] * len(outputs))[: len(outputs)]


def _makes_masks(layer):
    return type(layer).compute_mask is not keras.layers.Layer.compute_mask


def _may_return(layer, tensors, output):
    """Whether a layer may return its input itself. A layer of Keras or lipviz that has weights does not."""
    is_known = type(layer).__module__.startswith(("keras.", "lipviz."))
    return not (is_known and layer.weights) and any(tuple(x.shape) == tuple(output.shape) for x in tensors)


def behind_operation(operation: keras.Operation, flows: list[Flow], outputs: list[keras.KerasTensor]) -> list[Any]:
    """The masks of what an operation of `keras.ops` returns. It ignores masks, but may return its input itself.

    Args:
        operation: `keras.Operation`.
        flows: The flows that it takes.
        outputs: List of the symbolic tensors that it returns.
    """
    if type(operation).__name__ not in _MAY_RETURN_THEIR_INPUT:
        return [None] * len(outputs)
    kept = {flow.shape: flow.mask for flow in flows if flow.mask is not None}
    return [kept.get(tuple(output.shape)) for output in outputs]
