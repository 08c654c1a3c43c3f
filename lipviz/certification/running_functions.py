"""Rounding errors of functions: elementwise ones, sorting, and splitting into positive and negative parts."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from scipy.special import erf, expit

from lipviz import layers as lip
from lipviz.certification.arithmetic import ULPS, Arithmetic, numbers_of
from lipviz.certification.computation import Node
from lipviz.certification.forms import Sorting
from lipviz.certification.running import (
    UP,
    Sizes,
    Step,
    UnknownRoundingError,
    cast,
    norms,
    rounded,
    sloped,
    without_small,
)
from lipviz.rules.algebra import computes_as
from lipviz.rules.used import as_computed, as_float64, roundings, with_margin
from lipviz.types import Array


def ordering(node: Node) -> Step:
    """Sorting, or splitting into positive and negative parts: exact, but for a factor."""
    form: Any = node.form
    unit = 0.0 if form.factor == 1 else 2.1  # the factor is rounded, and so is the product
    if 0 < form.factor < numbers_of(node.dtype).tiny:
        raise UnknownRoundingError(f"its factor {form.factor:.3g} may be set to 0")

    def step(x):
        numbers = numbers_of(node.dtype)
        values = _ordered(form, x.values, node.size)
        if x.is_bare:
            return x.with_values(values)
        x = cast(x, node.dtype)
        entries = form.factor * _reach(form, x.entries, node.size)
        moved = sloped(x, values, entries, form.factor)
        sizes = Sizes(np.abs(values), entries, form.factor * (x.change + x.rest), form.factor * (x.change + x.total))
        tiny = numbers.tiny * (2 + 2 * form.factor) * (unit > 0)
        return rounded(moved, sizes, unit * numbers.unit, tiny, node.dtype)

    return step


def _ordered(form, rows, size):
    result = np.empty((len(rows), size))
    if isinstance(form, Sorting):
        result[:, form.groups] = form.factor * np.sort(rows[:, form.groups], axis=-1)
    else:
        result[:, form.positive] = form.factor * np.maximum(rows, 0.0)
        result[:, form.negative] = form.factor * np.maximum(-rows, 0.0)
    return result


def _reach(form, rows, size):
    """How far errors of entries move those of the result, without the factor."""
    result = np.empty((len(rows), size))
    if isinstance(form, Sorting):
        result[:, form.groups] = rows[:, form.groups].max(axis=-1, keepdims=True)
    else:
        result[:, form.positive] = result[:, form.negative] = rows
    return result


def reflected(node: Node, sources: Sequence[Node], arithmetic: Arithmetic) -> Step:
    """The `Householder` of lipviz: z − 2 relu(v·z) v times k, for pairs z of an entry of each half of the channels.

    With magnitudes, the terms of an entry z_1 add up to ``|z_1| + 2 (|v_1 z_1| + |v_2 z_2|) |v_1|``.
    """
    layer, (source,) = node.op, sources
    first, second, sine, cosine = _pairs(layer, source)
    numbers, wide = numbers_of(layer.compute_dtype), numbers_of("float32")
    factor, off = with_margin(roundings(layer.k_coef_lip, layer.compute_dtype))
    k = float(factor)
    growth = (1 + numbers.sum_growth(14)) * (1 + wide.sum_growth(4 * ULPS + 24)) * (1 + off) - 1
    tiny = 24 * numbers.tiny * (1 + k)

    def values(rows):
        z1, z2 = rows[:, first], rows[:, second]
        twice = 2 * np.maximum(z1 * sine - z2 * cosine, 0.0)
        return z1 - twice * sine, z2 + twice * cosine

    def joined(parts):
        result = np.empty((len(parts[0]), source.size))
        result[:, first], result[:, second] = parts
        return k * result

    def sizes(rows):
        z1, z2 = rows[:, first], rows[:, second]
        twice = 2 * (z1 * np.abs(sine) + z2 * np.abs(cosine))
        return z1 + twice * np.abs(sine), z2 + twice * np.abs(cosine)

    def reach(rows):
        mixed = 2 * np.abs(sine * cosine)
        return rows[:, first] + mixed * rows[:, second], rows[:, second] + mixed * rows[:, first]

    def step(x):
        if x.is_bare:
            return x.with_values(joined(values(x.values)))
        x = without_small(cast(x, layer.compute_dtype))
        moved = sloped(x, joined(values(x.values)), joined(reach(x.entries)), k * UP)
        beside = 3 * k * (x.change + x.rest), 3 * k * (x.change + x.total)
        terms = Sizes(joined(sizes(np.abs(x.values))), joined(sizes(x.entries)), *beside)
        small = tuple(4 * numbers.tiny * (norms(x.values) + each) for each in beside)
        return rounded(moved, terms, growth, tiny, layer.compute_dtype, (small[0], small[1]))

    return step


def _pairs(layer, source):
    """Places of the first and the second entries of all pairs, with the sine and the cosine of half their angles."""
    axis = layer.channel_axis % (len(source.shape) + 1) - 1
    places = np.moveaxis(np.arange(source.size).reshape(source.shape), axis, -1)
    half = as_float64(layer.theta, f"The angles of '{layer.name}'") / 2
    first, second = np.split(places, 2, axis=-1)
    angles = np.broadcast_to(half, first.shape).reshape(-1)
    return first.reshape(-1), second.reshape(-1), np.sin(angles), np.cos(angles)


@dataclasses.dataclass(frozen=True)
class _Function:
    """An elementwise function φ, whose error is at most u·(output·|φ(x)| + input·|x| + constant).

    Attributes:
        values: φ of a float64 array of shape (n, entries).
        output: See above.
        input: See above.
        constant: See above.
    """

    values: Callable[[Array], Array]
    output: float = 0.0
    input: float = 0.0
    constant: float = 0.0


def _softplus(x):
    return np.logaddexp(0.0, x)


def _elu(alpha, scale=1.0):
    return lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _leaky(slope):
    return lambda x: np.where(x > 0, x, slope * x)


# Errors of functions that exp or tanh computes are those of numbers of at most 1, or relative: 2u for each ULP.
_F = 2.0 * ULPS


_SELU = (1.6732632423543772, 1.0507009873554805)


_FUNCTIONS = {
    "linear": _Function(lambda x: x),
    "relu": _Function(lambda x: np.maximum(x, 0.0)),
    "relu6": _Function(lambda x: np.clip(x, 0.0, 6.0)),
    "hard_tanh": _Function(lambda x: np.clip(x, -1.0, 1.0)),
    "leaky_relu": _Function(_leaky(0.2), output=4),
    "elu": _Function(_elu(1.0), output=4, constant=_F + 4),
    "celu": _Function(_elu(1.0), output=4, constant=_F + 8),
    "selu": _Function(_elu(*_SELU), output=8, constant=2 * (_F + 8)),
    "sigmoid": _Function(expit, constant=_F),
    "hard_sigmoid": _Function(lambda x: np.clip(x / 6 + 0.5, 0.0, 1.0), constant=8, input=1),
    "tanh": _Function(np.tanh, constant=_F),
    "softplus": _Function(_softplus, output=8, constant=_F + 8),
    "log_sigmoid": _Function(lambda x: -_softplus(-x), output=8, constant=_F + 8),
    "softsign": _Function(lambda x: x / (1 + np.abs(x)), output=8),
    "silu": _Function(lambda x: x * expit(x), output=4, input=_F),
    "gelu": _Function(lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), output=8, input=_F + 8),
    "mish": _Function(lambda x: x * np.tanh(_softplus(x)), output=8, input=2 * _F + 16),
}


def _function(node):
    """The `_Function` of an activation."""
    op = node.op.activation if isinstance(node.op, keras.layers.Activation) else node.op
    if isinstance(op, keras.layers.Layer):
        read = next((read for cls, read in _ACTIVATIONS if isinstance(op, cls) and computes_as(op, cls)), None)
        if read is None:
            raise UnknownRoundingError("no bound of its rounding")
        return read(op, node)
    name = next((name for name in _FUNCTIONS if getattr(keras.activations, name) is op), None)
    if name is None:
        raise UnknownRoundingError(f"no bound of the rounding of {getattr(op, '__name__', op)}")
    return _FUNCTIONS[name]


def _of_relu(layer, node):
    slope, largest = layer.negative_slope or 0.0, layer.max_value
    top = math.inf if largest is None else largest
    found = _Function(lambda x: np.clip(x, 0.0, top) - slope * np.maximum(-x, 0.0))
    if not slope and largest is None:
        return found
    constant = 0.0 if largest is None else 8 * abs(largest)
    return dataclasses.replace(found, output=8, input=_lost_slopes(slope, node), constant=constant)


def _of_leaky_relu(layer, node):
    slope = layer.negative_slope
    return _Function(_leaky(slope), output=4, input=_lost_slopes(slope, node))


def _lost_slopes(slopes, node):
    """Error by slopes that are so small that they may be set to 0, in units of u·|x|."""
    numbers, sizes = numbers_of(node.dtype), np.abs(slopes)
    return numbers.tiny / numbers.unit if ((sizes > 0) & (sizes < numbers.tiny)).any() else 0.0


def _of_elu(layer, node):
    return _Function(_elu(layer.alpha), output=8, constant=abs(layer.alpha) * (_F + 8))


def _of_prelu(layer, node):
    negative = as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'")
    positive = 1.0
    if isinstance(layer, lip.PReLUlip):
        k = layer.k_coef_lip
        positive, negative = min(1.0, k), np.clip(negative, -k, k)
    negative = np.broadcast_to(negative, node.shape).reshape(-1)
    lost = _lost_slopes(negative, node)
    return _Function(lambda x: np.where(x > 0, positive * x, negative * x), output=4, input=lost)


def _of_beta_abs(layer, node):
    k = layer.k_coef_lip
    if k == 1:
        return _Function(lambda x: _of_signs(layer, node, x))
    return _Function(lambda x: k * _of_signs(layer, node, x), output=4, input=_lost_slopes(np.array([k]), node))


def _of_signs(layer, node, x):
    """x, with magnitudes in the place of some channels, for rows of entries."""
    images = x.reshape(len(x), *node.shape)
    spread = [1] * images.ndim
    spread[layer.channel_axis] = -1
    negative = layer.slopes(images.shape).reshape(spread) < 0
    return np.where(negative, np.abs(images), images).reshape(x.shape)


_ACTIVATIONS = (
    (lip.BetaAbs, _of_beta_abs),
    (keras.layers.ReLU, _of_relu),
    (keras.layers.LeakyReLU, _of_leaky_relu),
    (keras.layers.ELU, _of_elu),
    (lip.PReLUlip, _of_prelu),
    (keras.layers.PReLU, _of_prelu),
)


def pointwise(node: Node) -> Step:
    """An elementwise function."""
    function = _function(node)
    form: Any = node.form
    slope = form.bound.upper
    factor = function.output * slope + function.input
    is_exact = not (function.output or function.input or function.constant)

    def step(x):
        numbers = numbers_of(node.dtype)
        x = cast(x, node.dtype)
        values = function.values(x.values)
        if x.is_bare:
            return x.with_values(values)
        moved = sloped(x, values, slope * x.entries, slope)
        if is_exact:
            return dataclasses.replace(moved, dtype=node.dtype)
        terms = function.output * np.abs(values) + function.input * np.abs(x.values) + function.constant
        sizes = Sizes(terms, factor * x.entries, factor * (x.change + x.rest), factor * (x.change + x.total))
        return rounded(moved, sizes, numbers.unit, (4 + slope) * numbers.tiny, node.dtype)

    return step
