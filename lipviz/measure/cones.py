"""The graph of a function of one number, and the double cone that a Lipschitz constant forbids it at a point."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from lipviz.types import Array

_ROUNDINGS = 4  # of the values of a function, relative to their size


@dataclasses.dataclass(frozen=True, eq=False)
class LipschitzCone:
    """A graph, and the double cone at one of its points, whose sides have the slopes ±k.

    The cone holds what lies above the upper side or below the lower side: ``|y − value| > k |x − place|``. If the
    function is k-Lipschitz, its graph has no point there.

    Attributes:
        name: Name of the function.
        x: Places of the graph, increasing, of shape (n,).
        y: Values of the function there, of shape (n,).
        place: Place of the point.
        value: Value of the function there.
        k: Slope of the sides of the cone.
        steepest: Steepness of the steepest secant from the point to a point of the graph.
        end: Place of the other end of this secant.
        inside: Which points of the graph lie in the cone, of shape (n,).
    """

    name: str
    x: Array = dataclasses.field(repr=False)
    y: Array = dataclasses.field(repr=False)
    place: float
    value: float
    k: float
    steepest: float
    end: float
    inside: Array = dataclasses.field(repr=False)

    @property
    def is_outside(self) -> bool:
        """Whether the whole graph lies outside of the cone."""
        return not self.inside.any()


def lipschitz_cone(
    function: Callable[[Array], Array],
    place: float,
    k: float,
    *,
    low: float = -2.0,
    high: float = 2.0,
    count: int = 401,
    name: str = "f",
) -> LipschitzCone:
    """Compare a graph with the cone of a Lipschitz constant at one of its points.

    Differences that the rounding of the values can cause do not count.

    Args:
        function: Function of an array of shape (n,) that returns its values there, of shape (n,).
        place: Place of the point.
        k: Slope of the sides of the cone, at least 0.
        low: First place of the graph.
        high: Last place of the graph.
        count: Number of places, at least 2.
        name: Name of the function.

    Returns:
        A `LipschitzCone`.

    Raises:
        ValueError: If a number is not finite, k is negative, the places are too few or not in order, or the function
            returns another shape.
    """
    if not (math.isfinite(k) and k >= 0):
        raise ValueError(f"Expected a k of at least 0. Received: {k!r}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high and count >= 2):
        raise ValueError(f"Expected low < high and a count of at least 2. Received: {low!r}, {high!r}, {count!r}")
    if not math.isfinite(place):
        raise ValueError(f"Expected a finite place. Received: {place!r}")
    x = np.linspace(low, high, count)
    (value, *_), y = _values(function, np.array([place])), _values(function, x)
    rise, run = np.abs(y - value), np.abs(x - place)
    # What rounding may add to a rise is taken off, so that neighbours of the point get no wild slopes.
    rise = np.maximum(rise - _ROUNDINGS * np.finfo(np.float64).eps * (np.abs(y) + abs(value)), 0.0)
    slope = np.divide(rise, run, out=np.zeros_like(run), where=run > 0)
    best = int(np.argmax(slope))
    return LipschitzCone(
        name, x, y, float(place), float(value), float(k), float(slope[best]), float(x[best]), rise > k * run
    )


def _values(function, x):
    y = np.asarray(function(x), np.float64)
    if y.shape != x.shape or not np.isfinite(y).all():
        raise ValueError(f"Expected finite values of shape {x.shape}. Received: shape {y.shape}, {y!r}")
    return y
