"""Scaling as a part of the model: a first layer that takes raw numbers, and the network behind it.

A certified radius is a length of the numbers that a network sees. If these were scaled before, the radius is one of
scaled numbers, and the model alone does not say how they were scaled. `with_scaling` puts the scaling into the model,
so that it takes raw numbers and cannot be used with another scaling. `behind_scaling` takes it off again for a proof.
"""

import keras
import numpy as np

from lipviz.certification.arithmetic import numbers_of
from lipviz.data import Scaling
from lipviz.types import Array

_LAYERS = (keras.layers.Normalization, keras.layers.Rescaling)
_ROUNDINGS = 8  # of a scaled number: root, maximum, difference, quotient (or product with an inverse), with room


def with_scaling(model: keras.Model, scaling: Scaling) -> keras.Model:
    """A model that takes raw numbers: it scales them, and calls a trained model, whose weights it shares.

    Args:
        model: Built model that takes scaled numbers, with one input.
        scaling: How they were scaled, such as the `scaling` of a `lipviz.data.Dataset`.

    Returns:
        A `keras.Model`, which can be saved. The model itself where the scaling changes nothing.

    Raises:
        TypeError: If an argument is none of these.
        ValueError: If the model is not built, has several inputs, or takes another number of features.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`with_scaling` expects a Keras model. Received: {type(model).__name__}")
    if not isinstance(scaling, Scaling):
        raise TypeError(f"`scaling` must be a `lipviz.data.Scaling`. Received: {type(scaling).__name__}")
    if not model.built or not isinstance(model.input_shape, tuple):
        raise ValueError(f"Expected a built model with one input. Received: '{model.name}'")
    if scaling.changes_nothing:
        return model
    shape = model.input_shape[1:]
    if scaling.scale.ndim and scaling.scale.shape != shape[-1:]:
        raise ValueError(
            f"Expected the scaling of the {shape[-1]} features or channels that '{model.name}' takes. Received: one of "
            f"{scaling.scale.size}"
        )
    return keras.Sequential([keras.Input(shape), _layer(scaling), model], name=f"{model.name}_of_raw_numbers")


def _layer(scaling: Scaling) -> keras.layers.Layer:
    if not scaling.scale.ndim:
        return keras.layers.Rescaling(1 / float(scaling.scale), -float(scaling.offset / scaling.scale), name="scaling")
    mean, variance = scaling.offset.tolist(), np.square(scaling.scale).tolist()
    return keras.layers.Normalization(axis=-1, mean=mean, variance=variance, name="scaling")


def behind_scaling(model: keras.Model) -> tuple[keras.Model, Scaling, float]:
    """The network behind the first layer of a model, if that layer scales.

    Args:
        model: Built model.

    Returns:
        The network; the scaling; and the largest relative error that rounding makes of a scaled number, see
        `scaling_error`. Without such a layer: the model, `Scaling.none()` and 0.
    """
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if len(layers) < 2 or not isinstance(layers[0], _LAYERS):
        return model, Scaling.none(), 0.0
    first = layers[0]
    scaling = _scaling_of(first)
    rest = _behind(model, layers)
    if scaling is None or rest is None:
        return model, Scaling.none(), 0.0
    return rest, scaling, _ROUNDINGS * numbers_of(first.compute_dtype).unit


def _behind(model, layers):
    """The model without its first layer; None if something takes the input past that layer."""
    if len(layers) == 2 and isinstance(layers[1], keras.Model):
        return layers[1]
    try:
        return keras.Model(layers[0].output, model.outputs[0], name=model.name)
    except (AttributeError, ValueError):
        return None


def _scaling_of(layer: keras.layers.Layer) -> Scaling | None:
    """The scaling of a layer; None if it mirrors numbers, or scales another axis than the last one."""
    if isinstance(layer, keras.layers.Rescaling):
        scale, offset = np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
        return _named(-offset / scale, 1 / scale) if (scale > 0).all() and not scale.ndim + offset.ndim else None
    mean, variance = (keras.ops.convert_to_numpy(part).astype(np.float64) for part in (layer.mean, layer.variance))
    if layer.invert or mean.size not in (1, mean.shape[-1]):
        return None
    size = () if mean.size == 1 else (-1,)
    return _named(mean.reshape(size), np.maximum(np.sqrt(variance), keras.backend.epsilon()).reshape(size))


def _named(offset: Array, scale: Array) -> Scaling:
    if not scale.ndim:
        return Scaling(offset, scale, f"{float(scale):.6g} in the units of the data")
    return Scaling(offset, scale, "one standard deviation of a feature, as the scaling in the model has it")


def scaling_error(x: Array, scaling: Scaling, error: float) -> Array:
    """Bound of the l2 norm of what rounding changes of scaled samples, of shape (n,).

    Args:
        x: Scaled samples of shape (n, ...), float64.
        scaling: Their scaling.
        error: Largest relative error of one number, see `behind_scaling`. A `Rescaling` adds its offset to a product
            of about its size, so that its error is relative to both.
    """
    shifts = np.broadcast_to(np.abs(scaling.offset / scaling.scale), x.shape[1:])
    sizes = np.abs(x) if scaling.offset.ndim else np.abs(x) + shifts
    return error * np.sqrt(np.square(sizes).reshape(len(x), -1).sum(axis=1)) * (1 + 1e-9)
