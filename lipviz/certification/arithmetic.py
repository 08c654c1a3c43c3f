"""The arithmetic in which a network is computed: its numbers, and what a bound of its errors covers."""

import dataclasses
import os
import re
import sys
from typing import Any, ClassVar

import keras
import numpy as np

from lipviz.rules.activations import ULPS

_DTYPES = ("float32", "float16", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """A floating-point arithmetic in which a network is computed, for `certified_radius`.

    Attributes:
        dtype: "float32", "float16" or "bfloat16": what the layers compute in. Weights are rounded to it.
        accumulation: The dtype in which dense and convolutional layers add up products: `dtype`, the default, which is
            the worst case, or "float32". Matrix units of GPUs and of recent CPUs add up products of half precision in
            float32; it is for you to know whether yours do.

    Raises:
        ValueError: If a dtype is none of these, or sums have fewer digits than their terms.
    """

    dtype: str
    accumulation: str = ""

    excluded: ClassVar[str] = "Winograd, Strassen and FFT products, TF32, and fast-math"

    def __post_init__(self):
        object.__setattr__(self, "accumulation", self.accumulation or self.dtype)
        if self.dtype not in _DTYPES or self.accumulation not in (self.dtype, "float32"):
            raise ValueError(
                "Expected arithmetic='float32', 'float16' or 'bfloat16', or an `Arithmetic` whose accumulation is "
                f"its dtype or 'float32'. Received: dtype={self.dtype!r}, accumulation={self.accumulation!r}"
            )

    def __str__(self):
        sums = "" if self.dtype == "float32" else f", products added up in {self.accumulation}"
        return (
            f"{self.dtype}{sums}: for every order of summation, fused or not, with subnormal numbers kept or set to 0, "
            f"and functions such as tanh that are right to {ULPS} units in the last place. It excludes {self.excluded}."
        )


def as_arithmetic(arithmetic: Any) -> Arithmetic:
    """The `Arithmetic` that is given by itself or by its dtype.

    Raises:
        TypeError: If it is neither.
        ValueError: If the dtype is not known.
    """
    if isinstance(arithmetic, Arithmetic):
        return arithmetic
    if not isinstance(arithmetic, str):
        raise TypeError(
            f"`arithmetic` must be 'float32', 'float16', 'bfloat16' or an `Arithmetic`. Received: {arithmetic!r}"
        )
    return Arithmetic(arithmetic)


# --- numbers ---


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numbers of a dtype.

    Attributes:
        unit: Unit roundoff u: the largest relative error of a rounding to the nearest number.
        tiny: Smallest normal number. What is below it in magnitude may become 0.
        largest: Largest finite number.
    """

    unit: float
    tiny: float
    largest: float

    def sum_growth(self, roundings: int) -> float:
        """γ = n·u / (1 − n·u): the relative error after n roundings; infinite where n·u is 1 or more."""
        error = roundings * self.unit
        return error / (1 - error) if error < 1 else np.inf


def numbers_of(dtype: str) -> Numbers:
    """The `Numbers` of a dtype. Those of float64 count as those of float32; whole numbers have no rounding."""
    if not keras.backend.is_float_dtype(dtype):
        return Numbers(0.0, 0.0, np.inf)
    return _NUMBERS["float32" if dtype == "float64" else dtype]


_NUMBERS = {
    "float32": Numbers(2.0**-24, 2.0**-126, (2 - 2.0**-23) * 2.0**127),
    "float16": Numbers(2.0**-11, 2.0**-14, 65504.0),
    "bfloat16": Numbers(2.0**-8, 2.0**-126, (2 - 2.0**-7) * 2.0**127),
}


# --- the machine ---


def check_machine() -> None:
    """Raise ValueError where this process computes float32 with fewer digits, as far as its settings tell."""
    for reason in (_onednn(), _xla(), *(found for found in (_SETTINGS.get(keras.backend.backend(), list)()) if found)):
        if reason:
            raise ValueError(f"The arithmetic cannot be certified: {reason}")


def _onednn():
    for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        mode = os.environ.get(name, "").strip()
        if mode.upper() not in ("", "STRICT"):
            return f"{name}={mode} lets oneDNN round float32 to fewer digits. Expected STRICT, or no such variable."
    return ""


def _xla():
    found = re.search(r"--xla_\w*fast_math(?:=(?:true|1))?(?=\s|$)", os.environ.get("XLA_FLAGS", "").lower())
    return f"XLA_FLAGS has {found[0]}, which lets XLA change formulas. Expected no fast-math." if found else ""


def _of_tensorflow():
    tf: Any = sys.modules.get("tensorflow")
    if tf is None:
        return
    if tf.config.get_visible_devices("GPU") and tf.config.experimental.tensor_float_32_execution_enabled():
        yield (
            "TensorFlow multiplies float32 in TF32 on this GPU. Expected "
            "tf.config.experimental.enable_tensor_float_32_execution(False)."
        )
    options = tf.config.optimizer.get_experimental_options()
    if any(value is True for name, value in options.items() if name.startswith("auto_mixed_precision")):
        yield "TensorFlow replaces float32 by half precision. Expected no `auto_mixed_precision` among its options."


def _of_jax():
    jax: Any = sys.modules.get("jax")
    if jax is None:
        return
    precision = jax.config.jax_default_matmul_precision
    exact = ("float32", "highest") if jax.default_backend() != "cpu" else (None, "default", "float32", "highest")
    if precision not in exact:
        yield (
            f"JAX multiplies float32 with fewer digits here (jax_default_matmul_precision={precision!r}). Expected "
            "jax.config.update('jax_default_matmul_precision', 'highest')."
        )


_SETTINGS = {"tensorflow": _of_tensorflow, "jax": _of_jax}
