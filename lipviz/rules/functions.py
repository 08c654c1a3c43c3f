"""Lipschitz constants of the functions of `keras.activations`, from what `activations` states of them."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from lipviz.rules.activations import ELEMENTWISE, REFUSED, name_of
from lipviz.rules.bound import Bound, exactly, unknown
from lipviz.types import Shape, Tensor


def function_bound(function: Callable[..., Tensor], shape: Shape, norm: float) -> Bound:
    """Lipschitz constant of a function that a layer has as its `activation`.

    Args:
        function: The function.
        shape: Shape of its input, without the batch.
        norm: 1, 2 or `math.inf`.

    Returns:
        A `Bound`, infinite for a function that is not one of `keras.activations`.
    """
    return named_function(name_of(function), shape, norm, function)


def named_function(name: str | None, shape: Shape, norm: float, function: Callable[..., Tensor] | None = None) -> Bound:
    """Lipschitz constant of a function of `keras.activations`, by its name, with its default arguments."""
    if name in ("softmax", "log_softmax") and not shape:
        return unknown(f"a {name} along the batch")
    if name in ELEMENTWISE:
        return _of_slopes(ELEMENTWISE[name])
    if name == "softmax":
        return softmax_bound(shape[-1:])
    if name == "log_softmax":
        return _log_softmax(shape[-1], norm)
    slopes = (0.0, math.inf) if name == "exponential" else None
    return unknown(
        REFUSED.get(name or "", f"the activation {getattr(function, '__name__', function)!r} is not known"), slopes
    )


def _of_slopes(entry):
    lower, upper = entry.largest
    if entry.steepest:
        return Bound(lower, upper, "largest slope")
    return exactly(upper, "largest slope", (max(entry.slopes[0], 0.0), upper))


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
