"""What a rule says of a map: its Lipschitz constant from below and from above, and its singular values."""

import dataclasses
import math
import numbers

NORMS = (1, 2, math.inf)

# What SVDs and sums in float64 may be off by, with room to spare, relative to the result.
ROUNDING = 1e-12

ISOMETRY = (1.0, 1.0)  # singular values of what moves, drops or selects different entries


@dataclasses.dataclass(frozen=True)
class Bound:
    """The Lipschitz constant of a map, from below and from above.

    Attributes:
        lower: A number that the constant is at least.
        upper: A number that the constant is at most; `math.inf` where nothing is known.
        method: How the upper one was found, in a few words.
        singular_values: The smallest and the largest of its Jacobian's min(inputs, outputs) singular values, over all
            inputs, whatever norm the bound speaks of; None where a rule does not know both. They are what is computed
            with numbers as the layer rounds them, without the room that `lower` and `upper` leave.
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
    def attained(self):
        """Whether the upper bound is the constant itself, to 1e-6."""
        return self.upper < math.inf and self.lower >= self.upper * (1 - 1e-6)

    def after(self, other, method=None):
        """Bound of a composition whose inner map has the bound `other`: nothing is known from below."""
        product = 0.0 if 0 in (self.upper, other.upper) else self.upper * other.upper
        return Bound(0.0, product, method or f"{other.method} · {self.method}")


def exactly(value, method, singular_values=None):
    """A `Bound` whose two sides agree."""
    return Bound(value, value, method, singular_values)


def computed(value, method, singular_values=None):
    """A `Bound` around a value computed in float64."""
    return Bound(value * (1 - ROUNDING), value * (1 + ROUNDING), method, singular_values)


def unknown(why, singular_values=None):
    """A `Bound` of infinity."""
    return Bound(0.0, math.inf, why, singular_values)


def check_norm(norm):
    """Return the norm as 1, 2 or `math.inf`; "inf" is understood.

    Raises:
        ValueError: If it is something else.
    """
    value = math.inf if isinstance(norm, str) and norm.strip().lower() in ("inf", "infinity", "∞") else norm
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or value not in NORMS:
        raise ValueError(f"`norm` must be 1, 2 or 'inf'. Received: norm={norm!r}")
    return math.inf if value == math.inf else int(value)
