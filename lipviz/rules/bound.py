"""The result of a rule: bounds of a map's Lipschitz constant from below and from above, and its singular values."""

import dataclasses
import math
import numbers

import numpy as np

from lipviz.types import Array, Norm

NORMS = (1, 2, math.inf)

# A generous bound of the relative error of SVDs and sums in float64.
ROUNDING = 1e-12

ISOMETRY = (1.0, 1.0)  # smallest and largest singular value of a map that moves, drops or selects distinct entries


@dataclasses.dataclass(frozen=True)
class Bound:
    """The Lipschitz constant of a map, from below and from above.

    Attributes:
        lower: Lower bound of the constant.
        upper: Upper bound of the constant; `math.inf` where none is known.
        method: How the upper bound was found, in a few words.
        singular_values: The smallest and the largest of the min(inputs, outputs) singular values of the map's Jacobian,
            over all inputs; None where a rule does not know both. They do not depend on the norm of the bound. They are
            computed from numbers as the layer rounds them, without the safety margin of `lower` and `upper`.
    """

    lower: float
    upper: float
    method: str
    singular_values: tuple[float, float] | None = None

    def __post_init__(self):
        lower, upper = float(self.lower), float(self.upper)
        if not 0 <= lower <= upper * (1 + 2 * ROUNDING):
            raise ValueError(f"Expected 0 <= lower <= upper. Received: lower={lower}, upper={upper} ({self.method})")
        object.__setattr__(self, "lower", min(lower, upper))
        object.__setattr__(self, "upper", upper)

    @property
    def attained(self) -> bool:
        """Whether the upper bound is the constant itself, to 1e-6."""
        return self.upper < math.inf and self.lower >= self.upper * (1 - 1e-6)

    def after(self, other: "Bound", method: str | None = None) -> "Bound":
        """Bound of this map after a map with the bound `other`. Nothing is known from below: its `lower` is 0."""
        product = 0.0 if 0 in (self.upper, other.upper) else not_rounded_to_0(self.upper * other.upper)
        return Bound(0.0, float(product), method or f"{other.method} · {self.method}")


def not_rounded_to_0(result: float | Array) -> Array:
    """Products or quotients of positive numbers, rounded up where they are too small for all of their digits."""
    return np.where(result < _NORMAL, result + _LEAST, result)


_NORMAL, _LEAST = float(np.finfo(np.float64).tiny), float(np.finfo(np.float64).smallest_subnormal)


def exactly(value: float, method: str, singular_values: tuple[float, float] | None = None) -> Bound:
    """A `Bound` whose lower and upper bound are the same value."""
    return Bound(value, value, method, singular_values)


def computed(value: float, method: str, singular_values: tuple[float, float] | None = None) -> Bound:
    """A `Bound` around a value computed in float64."""
    return Bound(value * (1 - ROUNDING), value * (1 + ROUNDING), method, singular_values)


def unknown(why: str, singular_values: tuple[float, float] | None = None) -> Bound:
    """A `Bound` with an infinite upper bound, and the reason."""
    return Bound(0.0, math.inf, why, singular_values)


def root_of_squares(values: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """The root of the sum of squares, also where a square would overflow, or underflow to 0.

    Args:
        values: Array of real numbers.
        axis: Axis or axes of the sum; all of them by default.

    Returns:
        An array without these axes.
    """
    exponents = np.frexp(np.abs(values).max(axis=axis, keepdims=True, initial=0.0))[1]
    with np.errstate(over="ignore", under="ignore"):
        squares = np.square(np.ldexp(values, -exponents)).sum(axis=axis, keepdims=True)
        return np.squeeze(np.ldexp(np.sqrt(squares), exponents), axis)


def check_norm(norm: Norm) -> float:
    """Return the norm as 1, 2 or `math.inf`; "inf" is accepted, too.

    Raises:
        ValueError: If it is none of these.
    """
    value = math.inf if isinstance(norm, str) and norm.strip().lower() in ("inf", "infinity", "∞") else norm
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or value not in NORMS:
        raise ValueError(f"`norm` must be 1, 2 or 'inf'. Received: norm={norm!r}")
    return next(known for known in NORMS if known == value)
