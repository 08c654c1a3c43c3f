"""Slopes of the functions of `keras.activations`."""

import math

import keras
import numpy as np

from lipviz.rules.bound import Bound, exactly, unknown

# The smallest and the largest slope of each function of Keras, entry by entry, in magnitude; the largest is rounded up
# in the last digit where it is no closed form.
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
    "hard_silu": (0.0, 1.5),
}
# Found to the digits given (lower end, upper end): the extremum of the derivative has no closed form.
_SLOPE_RANGES = {"gelu": (1.1289, 1.1291), "silu": (1.0998, 1.0999), "mish": (1.0884, 1.0886)}
# What has no slope entry by entry, or none that is bounded.
_OTHERS = ("softmax", "log_softmax", "sparsemax", "exponential")


def _functions():
    """From each of Keras's functions to its name; both spellings of silu and of hard_silu are one function."""
    return {getattr(keras.activations, name): name for name in (*_SLOPES, *_SLOPE_RANGES, *_OTHERS)}


def function_bound(function, shape, norm):
    """Lipschitz constant of a function that a layer takes as its `activation`.

    Args:
        function: Function.
        shape: Shape of what it is applied to, without the batch.
        norm: 1, 2 or `math.inf`.

    Returns:
        A `Bound`, infinite for a function that is not one of `keras.activations`.
    """
    return named_function(_functions().get(function), shape, norm, function)


def named_function(name, shape, norm, function=None):
    """The same for one of Keras's functions by its name, with its default arguments."""
    if name in ("softmax", "log_softmax") and not shape:
        return unknown(f"a {name} along the batch")
    if name in _SLOPES:
        return exactly(_SLOPES[name][1], "largest slope", _SLOPES[name])
    if name in _SLOPE_RANGES:
        return Bound(*_SLOPE_RANGES[name], "largest slope")
    if name == "softmax":
        return softmax_bound(shape[-1:])
    if name == "sparsemax":  # of three and more places it adds sums of sums: no projection, and not continuous
        return unknown("Keras's sparsemax jumps where its support changes")
    if name == "log_softmax":
        return _log_softmax(shape[-1], norm)
    slopes = (0.0, math.inf) if name == "exponential" else None
    return unknown(f"the activation {getattr(function, '__name__', function)!r} is not known", slopes)


def softmax_bound(sizes):
    """Of diag(p) − p pᵀ, whose norms are at most ½, where two probabilities are ½ each; 0 for a single class."""
    if math.prod(n or 2 for n in sizes) == 1:
        return exactly(0.0, "one class", (0.0, 0.0))
    return Bound(0.0 if None in sizes else 0.5, 0.5, "softmax", (0.0, 0.5))


def _log_softmax(count, norm):
    """Of I − 1 pᵀ, an oblique projection: 1 and p are at the largest angle where p is a vertex."""
    if count is None:
        return unknown("log_softmax needs the number of classes")
    if count == 1:
        return exactly(0.0, "one class", (0.0, 0.0))
    largest = {1: max(1.0, count - 1.0), 2: math.sqrt(count), math.inf: 2.0}[norm]
    return exactly(largest, "log-softmax", (0.0, math.sqrt(count)))


def largest_slope(*slopes):
    """Bound of a function whose slopes, entry by entry, are at most these; infinite where one is no finite number."""
    largest = float(np.max(np.abs(np.asarray(slopes, np.float64))))
    return exactly(largest, "largest slope") if math.isfinite(largest) else unknown("its slope is not finite")
