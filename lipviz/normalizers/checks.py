"""Defaults and checks of the arguments that many functions share."""

import math
import sys
from typing import Any

import numpy as np

from lipviz.types import DType, Tensor

DEFAULT_BETA_BJORCK = 0.5
DEFAULT_EPS_SPECTRAL = 1e-3
DEFAULT_EPS_BJORCK = 1e-3
DEFAULT_MAXITER_BJORCK = 15
DEFAULT_MAXITER_SPECTRAL = 10


# Smallest and largest factor that a dtype can multiply by. In float32 and float64, backends treat numbers below the
# smallest normal one as 0. So the smallest factor here is larger by 1/eps: entries that are smaller than the factor by
# eps remain. float16 has no such range, and keeps numbers below the smallest normal one.
_FACTORS = {
    "float16": (2.0**-14, 65504.0),
    "bfloat16": (2.0**-103, (2 - 2.0**-7) * 2.0**127),
    "float32": (2.0**-103, float(np.finfo(np.float32).max)),
    "float64": (2.0**-970, sys.float_info.max),
}


def as_number(value: Any) -> float:
    """Return a real number as a float, and NaN for anything else: a bool, a string, an array, a complex number."""
    kinds = (bool, np.bool_, str, bytes, complex, np.complexfloating)
    is_real = np.isscalar(value) and not isinstance(value, kinds)
    if not is_real:
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an int, or a fraction
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return math.nan


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a float if it is a positive, finite number, else raise ValueError."""
    number = as_number(value)
    if not 0 < number < math.inf:
        raise ValueError(f"`{name}` must be a positive finite number. Received: {name}={value!r}")
    return number


def check_factor(name: str, value: Any, *dtypes: DType) -> float:
    """Return `value` as a float if it is a positive number that dtypes can multiply by, else raise ValueError.

    Args:
        name: Name of the argument.
        value: What was received.
        *dtypes: Names of floating dtypes; others count as float32.
    """
    number = check_positive(name, value)
    for dtype in dtypes:
        least, most = _FACTORS.get(dtype, _FACTORS["float32"])
        if not least <= number <= most:
            raise ValueError(
                f"`{name}` must be a number that {dtype} can multiply by, from {least:.3g} to {most:.3g}. "
                f"Received: {name}={value!r}"
            )
    return number


def check_seed(name: str, value: Any, most: float = math.inf) -> int | None:
    """Return `value` as an int if it can seed a generator, a whole number from 0 to `most`; else raise ValueError.

    None is returned as it is: it means another seed every time.
    """
    if value is None:
        return None
    if check_count(name, value) > most:
        raise ValueError(f"`{name}` must be an integer from 0 to {most}. Received: {name}={value!r}")
    return int(value)


def check_count(name: str, value: Any) -> int:
    """Return `value` as an int if it is a whole number of at least 0, else raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"`{name}` must be an integer of at least 0. Received: {name}={value!r}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool if it is one, else raise TypeError: a string such as "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return bool(value)


def check_beta(value: Any) -> float | None:
    """Return β as a float if it lies in ]0, 0.5] (or None, which skips Björck), else raise ValueError.

    Beyond 0.5 the map s → (1+β)s − βs³ rises above 1 inside [0, 1] and iterates are no longer 1-Lipschitz.
    """
    if value is None:
        return None
    number = as_number(value)
    if not 0 < number <= 0.5:
        raise ValueError(f"`beta` of Björck must lie in ]0, 0.5]. Received: {value!r}")
    return number


def check_orthogonalization(
    eps_spectral: Any, eps_bjorck: Any, beta_bjorck: Any
) -> tuple[float, float | None, float | None]:
    """Return the two tolerances and β as floats, None where Björck is skipped; else raise ValueError."""
    eps_spectral = check_positive("eps_spectral", eps_spectral)
    eps_bjorck = None if eps_bjorck is None else check_positive("eps_bjorck", eps_bjorck)
    return eps_spectral, eps_bjorck, check_beta(beta_bjorck)


def check_matrix(name: str, value: Tensor) -> None:
    """Raise ValueError unless `value` has two axes and an entry."""
    shape = tuple(value.shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"`{name}` must be a 2-D matrix with at least one entry. Received shape: {shape}")
