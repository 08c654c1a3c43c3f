"""What a layer uses at inference, in float64: weights, factors and slopes, rounded where it rounds them."""

import math

import numpy as np
from keras import ops

from lipviz.keras_internals import call_inputs
from lipviz.parametrizations import check_finite

HALF = ("float16", "bfloat16")  # dtypes that round a weight by more than a bound may ignore


def to_numpy(value):
    """Convert an array, tensor, variable or nested lists to a NumPy array, which may share its memory."""
    return np.asarray(value)  # NumPy 2 warns where `ops.convert_to_numpy` asks for a copy of a variable


def as_float64(value, owner):
    """Convert to a finite float64 array.

    Args:
        value: Array, tensor, variable or nested lists of real numbers.
        owner: Words that name it in an error.

    Raises:
        TypeError: If it does not hold real numbers.
        ValueError: If an entry is NaN or Inf.
    """
    array = to_numpy(value)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(f"{owner} must hold real numbers. Received: {type(value).__name__} of dtype {array.dtype}")
    return check_finite(array.astype(np.float64), owner)


def as_computed(layer, weight, owner):
    """A weight in float64, as a layer uses it: rounded to float16 or bfloat16 where the layer computes in that.

    Raises:
        ValueError: If it holds NaN or Inf.
    """
    if layer.compute_dtype in HALF:
        weight = ops.cast(ops.convert_to_tensor(weight), layer.compute_dtype)
        weight = ops.cast(weight, "float32")
    return as_float64(weight, owner)  # of float64, also on JAX outside of `float64_scope()`


def rounded(value, dtype):
    """A number or array in float64, as a layer of a dtype uses it: rounded where that is float16 or bfloat16."""
    if dtype in HALF:
        value = ops.cast(ops.cast(ops.convert_to_tensor(value, "float32"), dtype), "float32")
    return np.asarray(value, np.float64)


def used_factor(layer):
    """The k that a layer multiplies its outputs by: what half precision makes of it may be larger than `k_coef_lip`."""
    return float(rounded(layer.k_coef_lip, layer.compute_dtype))


def largest_rounding(value, dtype):
    """The largest magnitude that a number of a layer's configuration may have when it is used, in float64.

    TensorFlow makes float32 of a Python number, also where a layer computes in float64; half precision rounds it again.
    """
    value = np.asarray(value, np.float64)
    with np.errstate(over="ignore"):
        roundings = (value, value.astype(np.float32).astype(np.float64), rounded(value, dtype))
    return np.max(np.abs(roundings), axis=0)


def batch_normalization_factors(layer):
    """What a batch normalization multiplies each channel by at inference: γ/√(variance + ε), in float64.

    Raises:
        ValueError: If a weight is not finite, or a variance + ε is not positive in the dtype that Keras computes in.
    """
    variance = as_float64(layer.moving_variance, f"The variance of {named(layer)}")
    gamma = as_float64(layer.gamma, f"The scale of {named(layer)}") if layer.scale else np.ones_like(variance)
    if not is_positive(variance, layer.epsilon, layer.compute_dtype):
        raise ValueError(f"The variance of {named(layer)} plus its epsilon={layer.epsilon!r} must be positive.")
    return gamma / np.sqrt(variance + layer.epsilon)


def is_positive(variance, epsilon, dtype):
    """Whether a variance plus ε can be divided by, in the dtype that a normalization computes in, float32 at least.

    Args:
        variance: Array, or 0 for one that may be so small.
        epsilon: The number that is added.
        dtype: Name of the layer's compute dtype.
    """
    wide = np.dtype("float64" if dtype == "float64" else "float32")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        total = np.asarray(variance, wide) + np.asarray(epsilon, wide)
        return bool(((total >= np.finfo(wide).tiny) & (total < math.inf)).all())


def known_input_shape(layer):
    """Shape of what a layer was built for or, where Keras keeps none, is connected to in its model.

    Args:
        layer: Keras layer.

    Returns:
        A tuple with the batch, or a list of such tuples for several inputs. None where neither tells, or the layer is
        connected to inputs of different shapes.
    """
    built_for = (layer.get_build_config() or {}).get("input_shape")
    if built_for is not None:
        return built_for
    shapes = {tuple((None, *x.shape[1:]) for x in inputs) for inputs in call_inputs(layer)}
    if len(shapes) != 1:
        return None
    (shapes,) = shapes
    return shapes[0] if len(shapes) == 1 else list(shapes)


def named(layer):
    """A layer's class and name, for messages."""
    return f"{type(layer).__name__} '{layer.name}'"
