"""The slopes that an elementwise function has on an interval: bounds of its difference quotients from both sides.

A derivative has its extrema on an interval at the ends, or at one of a few points that are known for each function. A
jump of the derivative, as that of ReLU at 0, counts if it lies inside.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.special

from lipviz.certification.forms import Pointwise
from lipviz.types import Array

_ROUNDING = 1e-14  # of a derivative in float64, absolute and relative; that of a function may be far from 0


@dataclasses.dataclass(frozen=True)
class _Derivative:
    """The derivative of a function.

    Attributes:
        from_right: The derivative from the right, a function of an array.
        from_left: The derivative from the left; the same for a smooth function.
        extrema: Points where it may have an extremum or a jump, each with its least and its largest value there.
    """

    from_right: Callable[[Array], Array]
    from_left: Callable[[Array], Array]
    extrema: tuple[tuple[float, float, float], ...] = ()


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
    if form.name == "leaky_relu":
        return _of_sides(0.2, 1.0, low, high)
    least, most = (np.broadcast_to(np.asarray(slope, np.float64), low.shape) for slope in form.slopes)
    if form.name not in _DERIVATIVES:
        return least, most
    smallest, largest = _extremes(_DERIVATIVES[form.name], low, high)
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
    if derivative.from_left is derivative.from_right:
        smallest = smallest - _ROUNDING * (1 + np.abs(smallest))
        largest = largest + _ROUNDING * (1 + np.abs(largest))
    return smallest, largest


def _steps(*pieces):
    """A piecewise constant derivative: the slope of each piece, between the points where it jumps."""
    slopes, points = np.array(pieces[::2], np.float64), np.array(pieces[1::2], np.float64)
    jumps = zip(points, slopes, slopes[1:], strict=False)
    return _Derivative(
        lambda x: slopes[np.searchsorted(points, x, "right")],
        lambda x: slopes[np.searchsorted(points, x, "left")],
        tuple((float(point), float(min(a, b)), float(max(a, b))) for point, a, b in jumps),
    )


def _smooth(derivative, *extrema):
    """A continuous derivative. Beyond ±700 it is constant to 1e-200, and exp would overflow."""

    def at(x):
        return derivative(np.clip(x, -700.0, 700.0))

    return _Derivative(at, at, extrema)


def _normal(x):
    return np.exp(-np.square(x) / 2) / np.sqrt(2 * np.pi)


def _silu(x):
    share = scipy.special.expit(x)
    return share * (1 + x * (1 - share))


def _softsign(x):
    return np.square(1 / (1 + np.abs(x)))


_SELU = 1.0507009873554805, 1.7580993408473766  # its slopes on both sides of 0
_WIDE = 1e-6  # beside a point that is known to so many digits, its extreme value counts as well


def _around(point, least, most):
    """An extremum at a rounded point: it counts where an interval comes near."""
    return tuple((point + shift, least, most) for shift in (-_WIDE, 0.0, _WIDE))


# gelu has its steepest slopes at ±√2, silu at ±2.3993572805. The extreme values are rounded outward.
_DERIVATIVES = {
    "linear": _steps(1.0),
    "relu": _steps(0.0, 0.0, 1.0),
    "relu6": _steps(0.0, 0.0, 1.0, 6.0, 0.0),
    "hard_tanh": _steps(0.0, -1.0, 1.0, 1.0, 0.0),
    "elu": _smooth(lambda x: np.exp(np.minimum(x, 0.0))),
    "celu": _smooth(lambda x: np.exp(np.minimum(x, 0.0))),
    "selu": _Derivative(
        lambda x: np.where(x >= 0, _SELU[0], np.nextafter(_SELU[1] * np.exp(np.minimum(x, 0.0)), 0.0)),
        lambda x: np.where(x > 0, _SELU[0], np.nextafter(_SELU[1] * np.exp(np.minimum(x, 0.0)), 2.0)),
        ((0.0, *_SELU),),
    ),
    "tanh": _smooth(lambda x: 1 - np.square(np.tanh(x)), (0.0, 1.0, 1.0)),
    "sigmoid": _smooth(lambda x: scipy.special.expit(x) * scipy.special.expit(-x), (0.0, 0.25, 0.25)),
    "softplus": _smooth(scipy.special.expit),
    "log_sigmoid": _smooth(lambda x: scipy.special.expit(-x)),
    "softsign": _Derivative(_softsign, _softsign, ((0.0, 1.0, 1.0),)),
    "gelu": _smooth(
        lambda x: scipy.special.ndtr(x) + x * _normal(x),
        *_around(-np.sqrt(2), -0.1291, -0.1288),
        *_around(np.sqrt(2), 1.1288, 1.1291),
    ),
    "silu": _smooth(_silu, *_around(-2.3993572805, -0.0999, -0.0997), *_around(2.3993572805, 1.0997, 1.0999)),
}
