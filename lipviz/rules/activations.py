"""What is known of each function of `keras.activations`: its slopes, its values, and how backends round it.

This is the only place that states it. `rules.functions` makes bounds of it, `certification.slopes` slopes in intervals,
`certification.running_functions` bounds of rounding errors, and `certification.rounding` those of float64.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from scipy.special import erf, expit, ndtr

from lipviz.types import Array

ULPS = 16  # errors of tanh, exp, erf and the like that are allowed for, in units of 2u
_F = 2.0 * ULPS  # the same in units of u


@dataclasses.dataclass(frozen=True, eq=False)
class Derivative:
    """The derivative of a function.

    Attributes:
        from_right: The derivative from the right, a function of a float64 array.
        from_left: The derivative from the left; the same for a smooth function.
        extrema: Points where it may have an extremum or a jump, each with its least and its largest value there.
        is_exact: Whether it is computed without a rounding.
    """

    from_right: Callable[[Array], Array]
    from_left: Callable[[Array], Array]
    extrema: tuple[tuple[float, float | Array, float | Array], ...] = ()
    is_exact: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Rounding:
    """Bound of the error of a function φ of an entry x: u·(output·``|φ(x)|`` + input·``|x|`` + constant).

    Attributes:
        output: See above.
        input: See above.
        constant: See above.
    """

    output: float = 0.0
    input: float = 0.0
    constant: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Elementwise:
    """A function of Keras that acts on each entry, with its default arguments.

    Attributes:
        slopes: Bounds of its smallest and its largest slope, with their signs. They are attained, or approached, unless
            `steepest` is given.
        values: The function of a float64 array, in NumPy.
        derivative: Its derivative.
        rounding: Its error in floating point; None where no bound is known.
        steepest: Bound from below of its largest slope in magnitude, where that has no closed form.
        operation: The class of `keras.ops` that computes it, if that has no arguments that change it; else "".
        sides: Its slopes for negative and for positive x, for a function that is linear on both sides of 0 and whose
            slopes a backend may round; else None.
        hidden: Size of intermediate values that do not vanish where x and φ(x) do.
        float32_on: Backends on which Keras computes it in float32, or with constants that are rounded to that, even in
            float64.
    """

    slopes: tuple[float, float]
    values: Callable[[Array], Array]
    derivative: Derivative
    rounding: Rounding | None = None
    steepest: float = 0.0
    operation: str = ""
    sides: tuple[float, float] | None = None
    hidden: float = 0.0
    float32_on: tuple[str, ...] = ()

    @property
    def is_in_float64(self) -> bool:
        """Whether Keras computes it in float64 on this backend, where that is asked for."""
        return keras.backend.backend() not in self.float32_on

    @property
    def largest(self) -> tuple[float, float]:
        """Its largest slope in magnitude, from below and from above."""
        upper = max(map(abs, self.slopes))
        return self.steepest or upper, upper


# --- derivatives ---


def _steps(*pieces):
    """A piecewise constant derivative: the slope of each piece, between the points where it jumps."""
    slopes, points = np.array(pieces[::2], np.float64), np.array(pieces[1::2], np.float64)
    jumps = zip(points, slopes, slopes[1:], strict=False)
    return Derivative(
        lambda x: slopes[np.searchsorted(points, x, "right")],
        lambda x: slopes[np.searchsorted(points, x, "left")],
        tuple((float(point), float(min(a, b)), float(max(a, b))) for point, a, b in jumps),
        is_exact=True,
    )


def _smooth(derivative, *extrema):
    """A continuous derivative. Beyond ±700 it is constant to 1e-200, and exp would overflow."""

    def at(x):
        return derivative(np.clip(x, -700.0, 700.0))

    return Derivative(at, at, extrema)


_WIDE = 1e-6  # beside a point that is known to so many digits, its extreme value counts as well


def _around(point, least, most):
    """An extremum at a rounded point: it counts where an interval comes near."""
    return tuple((point + shift, least, most) for shift in (-_WIDE, 0.0, _WIDE))


def _at_0(negative, positive, beyond):
    """A derivative that jumps at 0, from `negative` to `positive`, and is `beyond(x)` below 0."""
    ends = min(negative, positive), max(negative, positive)
    return Derivative(
        lambda x: np.where(x >= 0, positive, beyond(np.minimum(x, 0.0))),
        lambda x: np.where(x > 0, positive, beyond(np.minimum(x, 0.0))),
        ((0.0, *ends),),
    )


def relu_derivative(negative: float, low: float, high: float) -> Derivative:
    """Of the function with a slope for negative x that is x from 0 to a largest value, and constant beyond that.

    The largest value is known to be from `low` to `high`: a backend may round it.
    """
    return Derivative(
        lambda x: np.where(x < 0, negative, np.where(x < high, 1.0, 0.0)),
        lambda x: np.where(x <= 0, negative, np.where(x <= low, 1.0, 0.0)),
        ((0.0, min(negative, 0.0), max(negative, 1.0)), (low, 0.0, 1.0), (high, 0.0, 1.0)),
        is_exact=True,
    )


def elu_derivative(alpha: float) -> Derivative:
    """Of an ELU of any α."""
    return _at_0(alpha, 1.0, lambda x: alpha * np.exp(x))


def sided_derivative(negative: Array, positive: float) -> Derivative:
    """Of a function with one slope for negative and one for positive x, which differ from entry to entry."""
    jump = 0.0, np.minimum(negative, positive), np.maximum(negative, positive)
    return Derivative(
        lambda x: np.where(x >= 0, positive, negative),
        lambda x: np.where(x > 0, positive, negative),
        (jump,),
        is_exact=True,
    )


def _hard_silu_slopes():
    def inside(x):
        return (2 * np.clip(x, -3.0, 3.0) + 3) / 6

    return Derivative(
        lambda x: np.where(x < -3, 0.0, np.where(x < 3, inside(x), 1.0)),
        lambda x: np.where(x <= -3, 0.0, np.where(x <= 3, inside(x), 1.0)),
        ((-3.0, -0.5, 0.0), (3.0, 1.0, 1.5)),
    )


def _normal(x):
    return np.exp(-np.square(x) / 2) / np.sqrt(2 * np.pi)


def _silu_slope(x):
    share = expit(x)
    return share * (1 + x * (1 - share))


def _mish_slope(x):
    inner = np.tanh(_softplus(x))
    return inner + x * expit(x) * (1 - np.square(inner))


# --- values ---


def _softplus(x):
    return np.logaddexp(0.0, x)


def elu(alpha: float, scale: float = 1.0) -> Callable[[Array], Array]:
    """Values of an ELU: scale · x for positive x, scale · α · (exp(x) − 1) for others."""
    return lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def leaky(negative: float | Array, positive: float = 1.0) -> Callable[[Array], Array]:
    """Values of a function with one slope for negative and one for positive x; each may be an array."""
    return lambda x: np.where(x > 0, positive * x, negative * x)


def between(low: float, high: float) -> Callable[[Array], Array]:
    """Values of a function that is x between two limits, and constant outside."""
    return lambda x: np.clip(x, low, high)


def elu_rounding(alpha: float) -> Rounding:
    """The error of an ELU of any α."""
    return Rounding(output=8, constant=abs(alpha) * (_F + 8))


EXACT = Rounding()
_SELU = (1.0507009873554805, 1.6732632423543772)  # its slope for positive x, and α
_SELU_STEEPEST = _SELU[0] * _SELU[1]


# The last digit of a slope that has no closed form is rounded outward, as is that of the extreme values of derivatives.
ELEMENTWISE = {
    "linear": Elementwise((1.0, 1.0), lambda x: x, _steps(1.0), EXACT),
    "relu": Elementwise((0.0, 1.0), between(0.0, math.inf), _steps(0.0, 0.0, 1.0), EXACT, operation="Relu"),
    "relu6": Elementwise((0.0, 1.0), between(0.0, 6.0), _steps(0.0, 0.0, 1.0, 6.0, 0.0), EXACT, operation="Relu6"),
    "hard_tanh": Elementwise(
        (0.0, 1.0), between(-1.0, 1.0), _steps(0.0, -1.0, 1.0, 1.0, 0.0), EXACT, operation="HardTanh"
    ),
    "leaky_relu": Elementwise((0.2, 1.0), leaky(0.2), _steps(0.2, 0.0, 1.0), Rounding(output=4), sides=(0.2, 1.0)),
    "elu": Elementwise((0.0, 1.0), elu(1.0), _at_0(1.0, 1.0, np.exp), Rounding(output=4, constant=_F + 4), hidden=1.0),
    "celu": Elementwise((0.0, 1.0), elu(1.0), _at_0(1.0, 1.0, np.exp), Rounding(output=4, constant=_F + 8), hidden=1.0),
    "selu": Elementwise(
        (0.0, _SELU_STEEPEST),
        elu(_SELU[1], _SELU[0]),
        _at_0(_SELU_STEEPEST, _SELU[0], lambda x: _SELU_STEEPEST * np.exp(x)),
        Rounding(output=8, constant=2 * (_F + 8)),
        operation="Selu",
        hidden=_SELU_STEEPEST,
    ),
    "sigmoid": Elementwise(
        (0.0, 0.25),
        expit,
        _smooth(lambda x: expit(x) * expit(-x), (0.0, 0.25, 0.25)),
        Rounding(constant=_F),
        operation="Sigmoid",
    ),
    "hard_sigmoid": Elementwise(
        (0.0, 1 / 6),
        lambda x: np.clip(x / 6 + 0.5, 0.0, 1.0),
        _steps(0.0, -3.0, 1 / 6, 3.0, 0.0),
        Rounding(constant=8, input=1),
        operation="HardSigmoid",
    ),
    "log_sigmoid": Elementwise(
        (0.0, 1.0),
        lambda x: -_softplus(-x),
        _smooth(lambda x: expit(-x)),
        Rounding(output=8, constant=_F + 8),
        operation="LogSigmoid",
    ),
    "tanh": Elementwise(
        (0.0, 1.0),
        np.tanh,
        _smooth(lambda x: 1 - np.square(np.tanh(x)), (0.0, 1.0, 1.0)),
        Rounding(constant=_F),
        operation="Tanh",
        float32_on=("jax",),
    ),
    "tanh_shrink": Elementwise(
        (0.0, 1.0),
        lambda x: x - np.tanh(x),
        _smooth(lambda x: np.square(np.tanh(x)), (0.0, 0.0, 0.0)),
        Rounding(output=2, constant=_F + 2),
        operation="TanhShrink",
    ),
    "softplus": Elementwise(
        (0.0, 1.0), _softplus, _smooth(expit), Rounding(output=8, constant=_F + 8), operation="Softplus"
    ),
    "softsign": Elementwise(
        (0.0, 1.0),
        lambda x: x / (1 + np.abs(x)),
        _smooth(lambda x: np.square(1 / (1 + np.abs(x))), (0.0, 1.0, 1.0)),
        Rounding(output=8),
        operation="Softsign",
    ),
    "soft_shrink": Elementwise(
        (0.0, 1.0), lambda x: x - np.clip(x, -0.5, 0.5), _steps(1.0, -0.5, 0.0, 0.5, 1.0), Rounding(output=2)
    ),
    "squareplus": Elementwise(  # in floating point, its square may overflow
        (0.0, 1.0), lambda x: (x + np.hypot(x, 2.0)) / 2, _smooth(lambda x: (1 + x / np.hypot(x, 2.0)) / 2)
    ),
    "sparse_plus": Elementwise(
        (0.0, 1.0),
        lambda x: np.where(x < 1, np.square(np.clip(x, -1.0, 1.0) + 1) / 4, x),
        _smooth(lambda x: (np.clip(x, -1.0, 1.0) + 1) / 2),
        Rounding(output=_F + 8),
    ),
    "sparse_sigmoid": Elementwise(
        (0.0, 0.5),
        lambda x: (np.clip(x, -1.0, 1.0) + 1) / 2,
        _steps(0.0, -1.0, 0.5, 1.0, 0.0),
        Rounding(constant=4),
    ),
    "hard_silu": Elementwise(
        (-0.5, 1.5),
        lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0),
        _hard_silu_slopes(),
        Rounding(output=4, input=16),
        operation="HardSilu",
    ),
    "silu": Elementwise(
        (-0.0999, 1.0999),
        lambda x: x * expit(x),
        _smooth(_silu_slope, *_around(-2.3993572805, -0.0999, -0.0997), *_around(2.3993572805, 1.0997, 1.0999)),
        Rounding(output=4, input=_F),
        steepest=1.0998,
        operation="Silu",
    ),
    "gelu": Elementwise(
        (-0.1291, 1.1291),
        lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
        _smooth(
            lambda x: ndtr(x) + x * _normal(x),
            *_around(-math.sqrt(2), -0.1291, -0.1288),
            *_around(math.sqrt(2), 1.1288, 1.1291),
        ),
        Rounding(output=8, input=_F + 8),
        steepest=1.1289,
        operation="Gelu",
        float32_on=("tensorflow",),
    ),
    "mish": Elementwise(
        (-0.1126, 1.0886),
        lambda x: x * np.tanh(_softplus(x)),
        _smooth(_mish_slope, *_around(-2.2563763957, -0.1126, -0.1124), *_around(1.4905712024, 1.0884, 1.0886)),
        Rounding(output=8, input=2 * _F + 16),
        steepest=1.0884,
        operation="Mish",
    ),
}
MIXING = ("softmax", "log_softmax")  # functions of several entries; `rules.functions` bounds them
REFUSED = {
    "sparsemax": "Keras's sparsemax is not continuous where its support changes",
    "exponential": "the slope of exp is not bounded",
    "glu": "the slope of a product of two values is not bounded",
    "hard_shrink": "hard_shrink is not continuous",
    "threshold": "a threshold is not continuous",
}
OPERATIONS = {entry.operation: name for name, entry in ELEMENTWISE.items() if entry.operation}


@functools.cache
def _names():
    return {getattr(keras.activations, name): name for name in (*ELEMENTWISE, *MIXING, *REFUSED)}


def name_of(function: Any) -> str | None:
    """The name of a function in this table; None for one that is not of `keras.activations`.

    Keras has a second name for some functions, which counts as the first.
    """
    try:
        return _names().get(function)
    except TypeError:  # it has no hash
        return None


def elementwise(function: Any) -> Elementwise | None:
    """The `Elementwise` of a function of `keras.activations`; None for another."""
    return ELEMENTWISE.get(name_of(function) or "")
