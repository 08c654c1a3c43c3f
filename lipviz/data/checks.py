"""Checks of arguments."""

import math
import numbers
from collections.abc import Callable


def check_integer(name: str, value: int, at_least: int, at_most: int | None = None) -> None:
    """Refuses what is no whole number of a range: a TypeError or a ValueError."""
    expected = f"an integer >= {at_least}" if at_most is None else f"an integer from {at_least} to {at_most}"
    message = f"{name}: expected {expected}, received {value!r}."
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(message)
    if value < at_least or (at_most is not None and value > at_most):
        raise ValueError(message)


def check_real(name: str, value: float, holds: Callable[[float], bool], expected: str) -> None:
    """Refuses what is no finite number with a property, which `expected` says in words."""
    message = f"{name}: expected {expected}, received {value!r}."
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(message)
    if not (math.isfinite(value) and holds(value)):
        raise ValueError(message)
