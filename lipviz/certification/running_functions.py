"""Rounding errors of functions: elementwise ones, sorting, and splitting into positive and negative parts."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.certification.arithmetic import Arithmetic, numbers_of
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
from lipviz.rules import activations
from lipviz.rules.activations import ULPS, Rounding
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
    """An elementwise function: its values in float64, and its `Rounding`."""

    values: Callable[[Array], Array]
    rounding: Rounding = activations.EXACT


def _function(node):
    """The `_Function` of an activation."""
    op = node.op.activation if isinstance(node.op, keras.layers.Activation) else node.op
    if isinstance(op, keras.layers.Layer):
        read = next((read for cls, read in _ACTIVATIONS if isinstance(op, cls) and computes_as(op, cls)), None)
        if read is None:
            raise UnknownRoundingError("no bound of its rounding")
        return read(op, node)
    entry = activations.elementwise(op)
    if entry is None or entry.rounding is None:
        raise UnknownRoundingError(f"no bound of the rounding of {getattr(op, '__name__', op)}")
    return _Function(entry.values, entry.rounding)


def _of_relu(layer, node):
    slope, largest = layer.negative_slope or 0.0, layer.max_value
    top = math.inf if largest is None else largest
    if not slope and largest is None:
        return _Function(activations.between(0.0, top))
    constant = 0.0 if top == math.inf else 8 * abs(top)
    rounding = Rounding(output=8, input=_lost_slopes(slope, node), constant=constant)
    return _Function(lambda x: np.clip(x, 0.0, top) - slope * np.maximum(-x, 0.0), rounding)


def _of_leaky_relu(layer, node):
    slope = layer.negative_slope
    return _Function(activations.leaky(slope), Rounding(output=4, input=_lost_slopes(slope, node)))


def _lost_slopes(slopes, node):
    """Error by slopes that are so small that they may be set to 0, in units of u·|x|."""
    numbers, sizes = numbers_of(node.dtype), np.abs(slopes)
    return numbers.tiny / numbers.unit if ((sizes > 0) & (sizes < numbers.tiny)).any() else 0.0


def _of_elu(layer, node):
    return _Function(activations.elu(layer.alpha), activations.elu_rounding(layer.alpha))


def _of_prelu(layer, node):
    negative = as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'")
    positive = 1.0
    if isinstance(layer, lip.PReLUlip):
        k = layer.k_coef_lip
        positive, negative = min(1.0, k), np.clip(negative, -k, k)
    negative = np.broadcast_to(negative, node.shape).reshape(-1)
    rounding = Rounding(output=4, input=_lost_slopes(negative, node))
    return _Function(activations.leaky(negative, positive), rounding)


def _of_beta_abs(layer, node):
    k = layer.k_coef_lip
    if k == 1:
        return _Function(lambda x: _of_signs(layer, node, x))
    rounding = Rounding(output=4, input=_lost_slopes(np.array([k]), node))
    return _Function(lambda x: k * _of_signs(layer, node, x), rounding)


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
    slope, rounding = form.bound.upper, function.rounding
    factor = rounding.output * slope + rounding.input
    is_exact = not (rounding.output or rounding.input or rounding.constant)

    def step(x):
        numbers = numbers_of(node.dtype)
        x = cast(x, node.dtype)
        values = function.values(x.values)
        if x.is_bare:
            return x.with_values(values)
        moved = sloped(x, values, slope * x.entries, slope)
        if is_exact:
            return dataclasses.replace(moved, dtype=node.dtype)
        terms = rounding.output * np.abs(values) + rounding.input * np.abs(x.values) + rounding.constant
        sizes = Sizes(terms, factor * x.entries, factor * (x.change + x.rest), factor * (x.change + x.total))
        return rounded(moved, sizes, numbers.unit, (4 + slope) * numbers.tiny, node.dtype)

    return step
