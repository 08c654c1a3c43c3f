"""What a layer uses of its weights and numbers: constrained kernels, and what half precision rounds."""

import contextlib

from scipy.special import expit

from lipviz.layers import ConstrainedKernel
from lipviz.operators.precision import float64_scope
from lipviz.rules.used import HALF, as_computed, as_float64, named, rounded


def used_kernel(layer, name="kernel"):
    """The kernel that inference uses, in float64: the constrained one where there is one, rounded where less is used.

    Args:
        layer: Built Keras layer.
        name: The attribute that holds the kernel; a constrained layer says itself which one does.

    Raises:
        ValueError: If it holds NaN or Inf, or is quantized.
    """
    if getattr(layer, "quantization_mode", None) is not None:
        raise ValueError(f"{named(layer)} is quantized: expected a kernel of floating-point numbers.")
    if isinstance(layer, ConstrainedKernel):
        with float64_scope() if layer.variable_dtype == "float64" else contextlib.nullcontext():
            kernel = layer.used_kernel()
    else:
        kernel = getattr(layer, name)
    return as_computed(layer, kernel, f"The {name.replace('_', ' ')} of {named(layer)}")


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
