"""Kernels and factors as layers use them: constrained, and rounded where a layer computes in half precision."""

import contextlib

import keras
from scipy.special import expit

from lipviz.layers import ConstrainedKernel
from lipviz.operators.precision import float64_scope
from lipviz.rules.used import HALF, as_computed, as_float64, named, rounded
from lipviz.types import Array


def used_kernel(layer: keras.layers.Layer, name: str = "kernel") -> Array:
    """The kernel that inference uses, in float64: constrained if it is, and rounded if the layer is in half precision.

    Args:
        layer: Built Keras layer.
        name: The attribute that holds the kernel; a constrained layer says itself which one does.

    Raises:
        ValueError: If it holds NaN or Inf, or is quantized.
    """
    if getattr(layer, "quantization_mode", None) is not None:
        raise ValueError(f"{named(layer)} is quantized: expected a kernel of floating-point numbers.")
    kernel = _constrained_kernel(layer) if isinstance(layer, ConstrainedKernel) else getattr(layer, name)
    return as_computed(layer, kernel, f"The {name.replace('_', ' ')} of {named(layer)}")


def _constrained_kernel(layer):
    with float64_scope() if layer.variable_dtype == "float64" else contextlib.nullcontext():
        return layer.used_kernel()


def residual_shares(layer: keras.layers.Layer) -> tuple[float, float]:
    """The factors of the two inputs of a `LipResidual`: k·sigmoid(alpha) and k·sigmoid(−alpha), a pair of floats.

    In half precision each is rounded, and a number halfway between two is rounded up.

    Raises:
        ValueError: If the weight holds NaN or Inf.
    """
    alpha = float(as_float64(layer.alpha, f"The weight of '{layer.name}'"))
    # 1 − sigmoid(40) is 0 by rounding, and sigmoid(−40) = 4e-18 is not.
    shares = [layer.k_coef_lip * float(expit(x)) for x in (alpha, -alpha)]
    if layer.compute_dtype in HALF:
        shares = [float(rounded(share * (1 + 1e-6), layer.compute_dtype)) for share in shares]
    first, second = shares
    return first, second
