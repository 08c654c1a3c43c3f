"""The slopes that an elementwise function has on an interval: bounds of its difference quotients from both sides.

A derivative has its extrema on an interval at the ends, or at one of a few points that are known for each function. A
jump of the derivative, as that of ReLU at 0, counts if it lies inside.
"""

import numpy as np

from lipviz.certification.forms import Pointwise
from lipviz.rules.activations import ELEMENTWISE
from lipviz.types import Array

_ROUNDING = 1e-14  # of a derivative in float64, absolute and relative; that of a function may be far from 0


def slope_range(form: Pointwise, low: Array, high: Array) -> tuple[Array, Array]:
    """Bounds of (φ(b) − φ(a)) / (b − a) for all a < b in an interval, for each entry.

    Args:
        form: The function.
        low: Lower ends, of shape (entries,).
        high: Upper ends, at least the lower ones.

    Returns:
        The tuple (smallest, largest) of arrays of shape (entries,). Where nothing more is known of the function, they
        are its slopes everywhere.
    """
    if form.sides is not None:
        return _of_sides(*form.sides, low, high)
    entry = ELEMENTWISE.get(form.name)
    if entry is not None and entry.sides is not None:
        return _of_sides(*entry.sides, low, high)
    derivative = form.derivative or (entry and entry.derivative)
    least, most = (np.broadcast_to(np.asarray(slope, np.float64), low.shape) for slope in form.slopes)
    if derivative is None:
        return least, most
    smallest, largest = _extremes(derivative, low, high)
    return np.maximum(smallest, least), np.minimum(largest, most)


def _of_sides(negative, positive, low, high):
    """Slopes of a function that is linear on both sides of 0. TensorFlow may round its arguments to float32."""
    negative = np.asarray(negative, np.float64)
    off = np.abs(np.float32(negative) - negative)
    below, above = low < 0, (high > 0) | (low >= 0)
    smallest = np.minimum(np.where(below, negative - off, np.inf), np.where(above, positive, np.inf))
    largest = np.maximum(np.where(below, negative + off, -np.inf), np.where(above, positive, -np.inf))
    return smallest, largest


def _extremes(derivative, low, high):
    """Smallest and largest derivative on an interval, rounded outward where it is not a plain number."""
    first, last = derivative.from_right(low), derivative.from_left(high)
    smallest, largest = np.minimum(first, last), np.maximum(first, last)
    for point, least, most in derivative.extrema:
        inside = (low < point) & (point < high)
        smallest = np.where(inside, np.minimum(smallest, least), smallest)
        largest = np.where(inside, np.maximum(largest, most), largest)
    if not derivative.is_exact:
        smallest = smallest - _ROUNDING * (1 + np.abs(smallest))
        largest = largest + _ROUNDING * (1 + np.abs(largest))
    return smallest, largest
