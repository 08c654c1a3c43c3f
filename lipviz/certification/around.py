"""The bound of `certify` in balls around inputs: checks of its arguments, and a search for a lower bound inside."""

import dataclasses
import math
import numbers
from typing import Any

import keras
import numpy as np

from lipviz.certification.computation import Computation, UnknownFormError, of_trace
from lipviz.certification.graph import Trace, fits, input_dtypes, input_flows
from lipviz.certification.local import LocalBounds
from lipviz.certification.tight import Method
from lipviz.copies import NotCopiedError
from lipviz.keras_internals import inner_layers
from lipviz.normalizers.threads import one_blas_thread
from lipviz.operators.precision import NotInFloat64Error, float64_copy
from lipviz.rules.used import HALF, as_float64
from lipviz.types import Array, ArrayLike, Shape

_SEARCHED = 1024  # entries of an input up to which a search tries each
_LENGTHS = (1.0, 0.5, 0.1)  # of the pairs of a search, relative to the radius


@dataclasses.dataclass(frozen=True)
class FoundAround:
    """What is known in balls around inputs.

    Attributes:
        upper: Bound that holds in each ball; infinite where there is none.
        lower: Largest ratio of a pair that a search found in one of the balls; 0 without one.
        notes: Remarks for the reader, whole sentences.
    """

    upper: float
    lower: float
    notes: tuple[str, ...]


def checked_balls(
    model: keras.layers.Layer, shapes: tuple[Shape, ...], around: ArrayLike | None, radius: Any
) -> tuple[Array, float]:
    """The centres of balls, a float64 array of shape (n, ...), and their radius.

    Args:
        model: Built Keras model or layer.
        shapes: Shapes of its inputs, without the batch.
        around: One input, or several of shape (n, ...).
        radius: Radius of all balls.

    Raises:
        TypeError: If `around` does not hold real numbers, or `radius` is no number.
        ValueError: If one of both is missing; if inputs do not fit the model, are not finite or none; if the radius is
            not positive and finite; or if the model takes whole numbers, or several inputs.
    """
    if around is None or radius is None:
        raise ValueError(f"A ball needs both `around` and `radius`. Received: radius={radius!r} and {_given(around)}")
    if isinstance(radius, bool | np.bool_) or not isinstance(radius, numbers.Real):
        raise TypeError(f"`radius` must be a number. Received: radius={radius!r}")
    if not (0 < float(radius) < math.inf):
        raise ValueError(f"`radius` must be positive and finite. Received: radius={radius!r}")
    if len(shapes) > 1:
        raise ValueError(f"A ball needs a model of one input. Received: '{model.name}' with {len(shapes)}")
    if not keras.backend.is_float_dtype(input_dtypes(model)[0]):
        raise ValueError(
            f"A ball needs inputs that are floating-point numbers. Received: '{model.name}' with an input of dtype "
            f"{input_dtypes(model)[0]}: most points of a ball are no inputs of it"
        )
    x = as_float64(around, "`around`")
    x = x[None] if fits([x.shape], shapes) else x
    if not fits([x.shape[1:]], shapes) or not len(x) or None in x.shape:
        raise ValueError(
            f"`around` must be an input of shape {shapes[0]}, or several of shape {('n', *shapes[0])}. "
            f"Received shape: {x.shape if len(x) != 1 else x.shape[1:]}"
        )
    return x, float(radius)


def _given(around):
    return "around=None" if around is None else "an array"


def bounds_around(
    model: keras.layers.Layer, x: Array, radius: float, norm: float, search: bool, method: Method = "auto"
) -> FoundAround:
    """Bounds in balls around inputs.

    Args:
        model: Built Keras model or layer of one input.
        x: Centres, of shape (n, ...).
        radius: Radius of the balls, in the norm.
        norm: 1, 2 or `math.inf`.
        search: Whether to search for a lower bound.
        method: How what is not bounded in the balls is bounded, see `certify`.
    """
    try:
        found, bounds = _read(model, x, norm, method)
    except (TypeError, NotImplementedError, UnknownFormError, NotCopiedError, NotInFloat64Error) as error:
        return FoundAround(math.inf, 0.0, (_only_global(str(error).strip().split("\n")[0]),))
    if bounds.region is None:
        return FoundAround(
            math.inf, 0.0, (_only_global("its last steps are too large, or have no form that is known"),)
        )
    with one_blas_thread(), np.errstate(all="ignore"):  # what is not finite proves nothing, and is not counted
        nears = list(bounds.near(x))
        constants = [near.constants(radius) for near in nears]
        uppers = [each.bound for each in constants]
        upper = _upper(uppers, nears, x, radius) if norm == 2 else max(uppers)
        lower = max(_searched(found, each, radius, norm) for each in x) if search else 0.0
    return FoundAround(upper, lower, tuple(_notes(bounds, constants)))


def _upper(constants, nears, x, radius):
    """The bound of all balls in l2, from those of each. Larger balls are tried of those that decide it.

    By their rules, balls that hold others have larger bounds in l1 and l∞. In l2 the multipliers are searched for, and
    a larger ball may get better ones.
    """
    left = set(range(len(x)))
    while (worst := int(np.argmax(constants))) in left:
        left.remove(worst)
        constants[worst] = min(constants[worst], _of_larger(nears[worst], x[worst], radius))
    return constants[worst]


def _of_larger(near, x, radius):
    """The least bound of balls of radius 4^k that hold the one of a radius around x, and of one that is huge."""
    last = math.ceil(math.log(1 + float(np.abs(x).max(initial=0.0)) * math.sqrt(x.size), _GRID)) + 1
    first = max(math.floor(math.log(radius, _GRID)), last - _BALLS)
    larger = [*(math.ldexp(1.0, 2 * k) for k in range(first, min(last, _LAST) + 1)), _EVERYWHERE]
    return min((near.restarted().constants(each).bound for each in larger if each > radius), default=math.inf)


_GRID = 4  # factor between the radii of larger balls
_LAST = 500  # a larger power of it would overflow
_BALLS = 12  # most of them
_EVERYWHERE = 1e30  # a radius at which hardly a slope is known


def _read(model, x, norm, method):
    """The computation of a model in float64, and its bounds near inputs."""
    if not isinstance(model, keras.Model):
        raise TypeError("it needs a model, not a layer")
    if any(layer.compute_dtype in HALF for layer in (model, *inner_layers(model))):
        raise TypeError("it computes in float64, and the model in half precision")
    network = float64_copy(model)
    inputs, trace = input_flows(network, x.shape[1:], rounds=True), Trace(norm, method == "tight", rounds=True)
    found = of_trace(trace, inputs, trace.follow(network, inputs))
    if len(found.outputs) > 1:
        raise TypeError("it needs a model of one output")
    return found, LocalBounds(found, found.outputs[0], norm, method)


def _only_global(why):
    return f"The upper bound is that of all inputs, and not of the ball alone: {why.rstrip('.')}."


def _notes(bounds, constants):
    worst = max(constants, key=lambda each: each.open)
    if worst.entries:
        most = "" if len(constants) == 1 else " at most"
        yield f"Of {worst.entries} entries of activations,{most} {worst.open} have no fixed slope in the ball."
    begin = bounds.region.nodes[bounds.region.base[0]]
    if begin.sources:
        yield f"What is before '{begin.name}' has the bound of all inputs."


# --- a lower bound ---


def _searched(found: Computation, x: Array, radius: float, norm: float) -> float:
    """The largest ratio of pairs on lines through an input, along the direction that its derivative stretches most."""
    direction = _direction(found, x, radius, norm)
    if direction is None:
        return 0.0
    steps = radius * np.array(_LENGTHS)[:, None]
    ends = [x.reshape(1, -1) + sign * steps * direction for sign in (1, -1)]
    values = [_outputs(found, end, x.shape) for end in ends]
    far = np.linalg.norm(ends[0] - ends[1], norm, axis=1)
    noise = 1e-12 * max(float(np.abs(value).max()) for value in values) * math.sqrt(values[0].shape[1])
    ratios = (np.linalg.norm(values[0] - values[1], norm, axis=1) - noise) / np.maximum(far, 1e-300) * (1 - 1e-9)
    return max(float(np.nan_to_num(ratios, nan=0.0, posinf=0.0).max()), 0.0)


def _direction(found, x, radius, norm):
    """A vector of norm 1 that the derivative at an input stretches most; None where the input is too large to tell."""
    if x.size > _SEARCHED:
        return None
    step = 1e-3 * radius
    units = np.eye(x.size) * step
    flat = x.reshape(1, -1)
    slopes = (_outputs(found, flat + units, x.shape) - _outputs(found, flat - units, x.shape)) / (2 * step)
    if not np.isfinite(slopes).all():
        return None
    if norm == 2:
        return np.linalg.svd(slopes.T, full_matrices=False)[2][:1]
    if norm == 1:
        return np.eye(x.size)[[int(np.abs(slopes).sum(axis=1).argmax())]]
    signs = np.sign(slopes[:, int(np.abs(slopes).sum(axis=0).argmax())])
    return np.where(signs == 0, 1.0, signs)[None]


def _outputs(found, points, shape):
    return found.values(points.reshape(-1, *shape))[found.outputs[0]]
