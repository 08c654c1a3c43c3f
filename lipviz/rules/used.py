"""Weights, factors and slopes that a layer uses at inference, in float64. They are rounded where the layer rounds."""

import math

import keras
import numpy as np
from keras import ops

from lipviz.keras_internals import call_inputs
from lipviz.parametrizations import check_finite
from lipviz.types import Array, ArrayLike, DType, Shape, Tensor

HALF = ("float16", "bfloat16")  # dtypes that round a weight by more than a bound may ignore


def to_numpy(value: ArrayLike) -> Array:
    """Convert an array, tensor, variable or nested lists to a NumPy array, which may share its memory."""
    return np.asarray(value)  # NumPy 2 warns where `ops.convert_to_numpy` asks for a copy of a variable


def as_float64(value: ArrayLike, owner: str) -> Array:
    """Convert to a finite float64 array.

    Args:
        value: Array, tensor, variable or nested lists of real numbers.
        owner: Words that name it in an error.

    Raises:
        TypeError: If it does not hold real numbers.
        ValueError: If an entry is NaN or Inf, or nested lists have several lengths.
    """
    try:
        array = to_numpy(value)
    except ValueError as error:  # of nested lists
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(f"{owner} must be rows of one length. Received: rows of several lengths") from None
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(f"{owner} must hold real numbers. Received: {type(value).__name__} of dtype {array.dtype}")
    values = array.astype(np.float64)
    check_finite(values, owner)
    return values


def as_computed(layer: keras.layers.Layer, weight: Tensor, owner: str) -> Array:
    """A weight in float64, as a layer uses it: rounded to float16 or bfloat16 where the layer computes in that.

    Raises:
        ValueError: If it holds NaN or Inf.
    """
    if layer.compute_dtype in HALF:
        weight = ops.cast(ops.convert_to_tensor(weight), layer.compute_dtype)
        weight = ops.cast(weight, "float32")
    return as_float64(weight, owner)  # float64 also on JAX outside of `float64_scope()`


def rounded(value: ArrayLike, dtype: DType) -> Array:
    """A number or array in float64, as a layer of a dtype uses it: rounded where that is float16 or bfloat16."""
    if dtype in HALF:
        value = ops.cast(ops.cast(ops.convert_to_tensor(value, "float32"), dtype), "float32")
    return np.asarray(value, np.float64)


def used_factor(layer: keras.layers.Layer) -> float:
    """The factor k of a layer's outputs as the layer uses it: half precision may round it above `k_coef_lip`."""
    return float(rounded(layer.k_coef_lip, layer.compute_dtype))


def roundings(value: ArrayLike, dtype: DType) -> Array:
    """A number of a layer's configuration in all ways in which it may be rounded before it is used, in float64.

    TensorFlow converts a Python number to float32, even where a layer computes in float64. Half precision rounds it
    again.

    Returns:
        An array of shape (3, *shape of the value).
    """
    value = np.asarray(value, np.float64)
    with np.errstate(over="ignore"):
        return np.stack([value, value.astype(np.float32).astype(np.float64), rounded(value, dtype)])


def largest_rounding(value: ArrayLike, dtype: DType) -> Array:
    """The largest magnitude of the `roundings` of a number, in float64."""
    return np.abs(roundings(value, dtype)).max(axis=0)


def with_margin(values: Array) -> tuple[Array, float]:
    """One of several roundings of each number, which stands for all of them.

    Args:
        values: Array of shape (roundings, ...), see `roundings`.

    Returns:
        The tuple (the rounding of the largest magnitude, of shape (...); how far others are from it at most, relative
        to it).
    """
    largest = np.take_along_axis(values, np.abs(values).argmax(axis=0)[None], axis=0)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.where(largest == 0, 0.0, np.abs(values - largest) / np.abs(largest))
    return largest, float(off.max(initial=0.0) * (1 + 1e-12))


def batch_normalization_factors(layer: keras.layers.Layer) -> Array:
    """Factor of each channel in a batch normalization at inference: γ/√(variance + ε), in float64.

    Raises:
        ValueError: If a weight is not finite, or a variance + ε is not positive in the dtype that Keras computes in.
    """
    variance = as_float64(layer.moving_variance, f"The variance of {named(layer)}")
    gamma = as_float64(layer.gamma, f"The scale of {named(layer)}") if layer.scale else np.ones_like(variance)
    if not is_positive(variance, layer.epsilon, layer.compute_dtype):
        raise ValueError(f"The variance of {named(layer)} plus its epsilon={layer.epsilon!r} must be positive.")
    return gamma / np.sqrt(variance + layer.epsilon)


def is_positive(variance: ArrayLike, epsilon: float, dtype: DType) -> bool:
    """Whether all variances plus ε are positive and finite, in the dtype of a normalization, at least float32.

    Subnormal numbers do not count as positive.

    Args:
        variance: Variances; 0 where they may be arbitrarily small.
        epsilon: The number that is added.
        dtype: Name of the layer's compute dtype.
    """
    wide = np.dtype("float64" if dtype == "float64" else "float32")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        total = np.asarray(variance, wide) + np.asarray(epsilon, wide)
        return bool(((total >= np.finfo(wide).tiny) & (total < math.inf)).all())


def known_input_shape(layer: keras.layers.Layer) -> Shape | list[Shape] | None:
    """Shape of the input that a layer was built for or, where Keras keeps none, of its input in its model.

    Args:
        layer: Keras layer.

    Returns:
        A tuple with the batch, or a list of such tuples for several inputs. None where neither is
        known, or the model calls the layer on inputs of different shapes.
    """
    built_for = (layer.get_build_config() or {}).get("input_shape")
    if built_for is not None:
        return built_for
    shapes = {tuple((None, *x.shape[1:]) for x in inputs) for inputs in call_inputs(layer)}
    if len(shapes) != 1:
        return None
    (only,) = shapes
    return only[0] if len(only) == 1 else list(only)


def named(layer: keras.layers.Layer) -> str:
    """A layer's class and name, for messages."""
    return f"{type(layer).__name__} '{layer.name}'"
