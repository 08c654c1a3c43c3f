"""What a layer uses of its weights and numbers: constrained kernels, and what half precision rounds."""

import contextlib

import numpy as np
from keras import ops
from scipy.special import expit

from lipviz.layers import ConstrainedKernel
from lipviz.operators.precision import float64_scope
from lipviz.operators.weights import as_float64, named

HALF = ("float16", "bfloat16")  # dtypes that round a weight by more than a bound may ignore


def used_kernel(layer, name="kernel"):
    """The kernel that inference uses, in float64: the constrained one where there is one, rounded where less is used.

    Args:
        layer: Built Keras layer.
        name: The attribute that holds the kernel.

    Raises:
        ValueError: If it holds NaN or Inf, or is quantized.
    """
    if getattr(layer, "quantization_mode", None) is not None:
        raise ValueError(f"{named(layer)} is quantized: expected a kernel of floating-point numbers.")
    kernel = getattr(layer, name)
    if isinstance(layer, ConstrainedKernel):
        with float64_scope() if layer.variable_dtype == "float64" else contextlib.nullcontext():
            kernel = layer.used_kernel()
    return as_computed(layer, kernel, f"The {name.replace('_', ' ')} of {named(layer)}")


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


def residual_shares(layer):
    """What a `LipResidual` multiplies its two inputs by: k·sigmoid(alpha) and k·sigmoid(−alpha), a pair of floats.

    In half precision each is what rounding makes of it, and of two neighbours that are equally near the larger one.

    Raises:
        ValueError: If the weight holds NaN or Inf.
    """
    alpha = float(as_float64(layer.alpha, f"The weight of '{layer.name}'"))
    # 1 − sigmoid(40) is 0 by rounding, and sigmoid(−40) = 4e-18 is not.
    shares = [layer.k_coef_lip * float(expit(x)) for x in (alpha, -alpha)]
    if layer.compute_dtype in HALF:
        shares = [float(rounded(share * (1 + 1e-6), layer.compute_dtype)) for share in shares]
    return tuple(shares)


def largest_rounding(value, dtype):
    """The largest magnitude that a number of a layer's configuration may have when it is used, in float64.

    TensorFlow makes float32 of a Python number, also where a layer computes in float64; half precision rounds it again.
    """
    value = np.asarray(value, np.float64)
    with np.errstate(over="ignore"):
        roundings = (value, value.astype(np.float32).astype(np.float64), rounded(value, dtype))
    return np.max(np.abs(roundings), axis=0)
