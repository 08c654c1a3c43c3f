"""Lipschitz constants of the functions of `keras.activations`, from their slopes."""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np

from lipviz.rules.bound import Bound, exactly, unknown
from lipviz.types import Shape, Tensor

# Smallest and largest slope of each elementwise function of Keras whose slopes are at least 0. Where the largest has no
# closed form, its last digit is rounded up.
_SLOPES = {
    "linear": (1.0, 1.0),
    "relu": (0.0, 1.0),
    "relu6": (0.0, 1.0),
    "leaky_relu": (0.2, 1.0),
    "elu": (0.0, 1.0),
    "celu": (0.0, 1.0),
    "selu": (0.0, 1.0507009873554805 * 1.6732632423543772),
    "sigmoid": (0.0, 0.25),
    "hard_sigmoid": (0.0, 1 / 6),
    "log_sigmoid": (0.0, 1.0),
    "tanh": (0.0, 1.0),
    "hard_tanh": (0.0, 1.0),
    "tanh_shrink": (0.0, 1.0),
    "softplus": (0.0, 1.0),
    "softsign": (0.0, 1.0),
    "soft_shrink": (0.0, 1.0),
    "squareplus": (0.0, 1.0),
    "sparse_plus": (0.0, 1.0),
    "sparse_sigmoid": (0.0, 0.5),
}
# Smallest and largest slope of functions that also fall. They have slopes of 0 as well.
_FALLING = {"hard_silu": (-0.5, 1.5)}
# Bounds of the largest slope from below and from above: the extremum of the derivative has no closed form.
_SLOPE_RANGES = {"gelu": (1.1289, 1.1291), "silu": (1.0998, 1.0999), "mish": (1.0884, 1.0886)}
# Bounds from below of their smallest slope.
_SMALLEST_SLOPES = {"gelu": -0.1291, "silu": -0.0999, "mish": -0.1126}
# They are not elementwise, or their slope is not bounded.
_OTHERS = ("softmax", "log_softmax", "sparsemax", "exponential")


def _functions():
    """The names of Keras's functions, by function. Keras has a second name for silu and for hard_silu."""
    return {getattr(keras.activations, name): name for name in (*_SLOPES, *_FALLING, *_SLOPE_RANGES, *_OTHERS)}


def function_bound(function: Callable[..., Tensor], shape: Shape, norm: float) -> Bound:
    """Lipschitz constant of a function that a layer has as its `activation`.

    Args:
        function: The function.
        shape: Shape of its input, without the batch.
        norm: 1, 2 or `math.inf`.

    Returns:
        A `Bound`, infinite for a function that is not one of `keras.activations`.
    """
    return named_function(_functions().get(function), shape, norm, function)


def named_function(name: str | None, shape: Shape, norm: float, function: Callable[..., Tensor] | None = None) -> Bound:
    """Lipschitz constant of a function of `keras.activations`, by its name, with its default arguments."""
    if name in ("softmax", "log_softmax") and not shape:
        return unknown(f"a {name} along the batch")
    if name in _SLOPES:
        return exactly(_SLOPES[name][1], "largest slope", _SLOPES[name])
    if name in _FALLING:
        largest = max(map(abs, _FALLING[name]))
        return exactly(largest, "largest slope", (0.0, largest))
    if name in _SLOPE_RANGES:
        return Bound(*_SLOPE_RANGES[name], "largest slope")
    if name == "softmax":
        return softmax_bound(shape[-1:])
    if name == "sparsemax":  # for three or more entries it adds up cumulative sums: no projection, and not continuous
        return unknown("Keras's sparsemax is not continuous where its support changes")
    if name == "log_softmax":
        return _log_softmax(shape[-1], norm)
    slopes = (0.0, math.inf) if name == "exponential" else None
    return unknown(f"the activation {getattr(function, '__name__', function)!r} is not known", slopes)


def named_slopes(name: str) -> tuple[float, float] | None:
    """The smallest and the largest slope of an elementwise function of `keras.activations`, with their signs.

    Args:
        name: Its name.

    Returns:
        Bounds from below and from above; None for a function that is not known, or not elementwise.
    """
    if name in _SLOPE_RANGES:
        return _SMALLEST_SLOPES[name], _SLOPE_RANGES[name][1]
    return _SLOPES.get(name) or _FALLING.get(name)


def softmax_bound(sizes: Sequence[int | None]) -> Bound:
    """Bound of a softmax; 0 for a single class.

    Its Jacobian is diag(p) − p pᵀ. All norms of that are at most ½, which is attained where two probabilities are ½.
    """
    if math.prod(n or 2 for n in sizes) == 1:
        return exactly(0.0, "one class", (0.0, 0.0))
    return Bound(0.0 if None in sizes else 0.5, 0.5, "softmax", (0.0, 0.5))


def _log_softmax(count, norm):
    """Bound of a log-softmax. Its Jacobian I − 1 pᵀ is an oblique projection, with the largest norm at vertices p."""
    if count is None:
        return unknown("log_softmax needs the number of classes")
    if count == 1:
        return exactly(0.0, "one class", (0.0, 0.0))
    largest = {1: max(1.0, count - 1.0), 2: math.sqrt(count), math.inf: 2.0}[norm]
    return exactly(largest, "log-softmax", (0.0, math.sqrt(count)))


def largest_slope(*slopes: float) -> Bound:
    """Bound of an elementwise function with these slopes; infinite where one of them is not finite."""
    largest = float(np.max(np.abs(np.asarray(slopes, np.float64))))
    return exactly(largest, "largest slope") if math.isfinite(largest) else unknown("its slope is not finite")
