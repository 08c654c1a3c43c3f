"""Nonlinear steps near an input: what each computes in a box, as a `Bend` of `ellipsoids` or with slopes in intervals.

A neuron whose slope is known in the whole box is linear there. Two entries that are sorted, and cannot change places in
the box, are copied.
"""

import dataclasses
import math

import numpy as np

from lipviz.certification import jacobians
from lipviz.certification.ellipsoids import Bend
from lipviz.certification.forms import Form, Opaque, Pointwise, Sorting, Splitting
from lipviz.certification.jacobians import Enclosure
from lipviz.certification.placed import Placed, diagonal
from lipviz.certification.slopes import slope_range
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)


@dataclasses.dataclass(frozen=True, eq=False)
class Local:
    """A nonlinear step in a box around its input.

    Attributes:
        bend: What it computes, for `ellipsoids`.
        steepest: How far each output moves at most, as a matrix of shape (outputs, entries) times how far each
            entry moves.
        open: Entries of the step whose slope, or whose place, is not fixed in the box.
    """

    bend: Bend
    steepest: Placed
    open: int


def local_form(form: Form, size: int, centre: Array, box: Array) -> Local:
    """A step in the box of all values within `box` of `centre`.

    Args:
        form: A `Pointwise`, `Sorting`, `Splitting`, or `Opaque` of finite bound.
        size: Number of outputs.
        centre: Values of the sources, of shape (entries,).
        box: How far each may move, of shape (entries,), at least 0.
    """
    if isinstance(form, Pointwise):
        return _sloped(*slope_range(form, centre - box, centre + box))
    if isinstance(form, Sorting):
        return _sorting(form, centre, box)
    if isinstance(form, Splitting):
        return _splitting(form, size, centre, box)
    if not isinstance(form, Opaque):
        raise TypeError(f"Expected a step that is not linear. Received: {type(form).__name__}")
    return _opaque(form.bound(2, False).upper, size, len(centre))


def enclosed(form: Form, size: int, centre: Array, box: Array, source: Enclosure) -> Enclosure | None:
    """The Jacobians of a step in a box, after those of its source; None where only a bound of the step is known."""
    if isinstance(form, Pointwise):
        return jacobians.sloped(source, *slope_range(form, centre - box, centre + box))
    if isinstance(form, Sorting):
        return _sorted_jacobians(form, centre, box, source)
    if isinstance(form, Splitting):
        low, high = (form.factor * side for side in _positive(centre, box))
        parts = jacobians.sloped(source, low, high), jacobians.sloped(source, low - form.factor, high - form.factor)
        centres, radii = (np.empty((size, source.centre.shape[1])) for _ in range(2))
        for places, part in zip((form.positive, form.negative), parts, strict=True):
            centres[places], radii[places] = part.centre, part.radius
        return Enclosure(centres, radii)
    return None


# --- one entry by itself ---


def _sloped(low, high):
    """Slopes between two arrays: the mean slope, and an error of at most half of their difference."""
    middle, half = (low + high) / 2, (high - low) / 2
    (rows,) = np.nonzero(half > 0)
    rounding = 2 * _EPS * np.maximum(np.abs(low), np.abs(high))
    reach = half[rows] + rounding[rows]
    count, groups = len(low), np.arange(len(rows))
    free = Placed(rows, groups, np.ones(len(rows)), (count, len(rows)), single=True)
    bend = Bend(
        diagonal(middle), free, Placed(groups, rows, reach, (len(rows), count), single=True), groups, groups, rows
    )
    return Local(bend, diagonal(np.maximum(np.abs(low), np.abs(high))), len(rows))


def _positive(centre, box):
    """Slopes of relu: the smallest and the largest in the box."""
    return (centre - box >= 0).astype(float), (centre + box > 0).astype(float)


def _splitting(form, size, centre, box):
    """k·relu(±x) = k(±x + ``|x|``)/2, where ``|x|`` is x or −x, or has slopes between −1 and 1."""
    low, high = _positive(centre, box)
    count, half = len(centre), form.factor / 2
    (rows,) = np.nonzero(low < high)
    sign = np.where(low < high, 0.0, 2 * low - 1)
    entries = np.arange(count)
    places = np.concatenate([form.positive, form.negative])
    values = np.concatenate([half * (sign + 1), half * (sign - 1)])
    fixed = Placed(places, np.tile(entries, 2), values, (size, count))
    both, groups = np.concatenate([form.positive[rows], form.negative[rows]]), np.arange(len(rows))
    free = Placed(both, np.tile(groups, 2), np.ones(2 * len(rows)), (size, len(rows)))
    reach = Placed(groups, rows, np.full(len(rows), half), (len(rows), count), single=True)
    slopes = form.factor * np.concatenate([high, 1 - low])
    steepest = Placed(places, np.tile(entries, 2), slopes, (size, count))
    return Local(Bend(fixed, free, reach, groups, groups, rows), steepest, 2 * len(rows))


# --- entries of a group ---


def _may_move(form, centre, box):
    """For each group: whether its entries may change places in the box; and the order of its entries at the centre."""
    values, reach = centre[form.groups], box[form.groups]
    order = np.argsort(values, axis=1, kind="stable")
    low, high = (np.take_along_axis(side, order, 1) for side in (values - reach, values + reach))
    highest = np.maximum.accumulate(high, axis=1)
    return (highest[:, :-1] > low[:, 1:]).any(axis=1), np.take_along_axis(form.groups, order, 1)


def _sorting(form, centre, box):
    """Sorting keeps the mean of a group, and does not stretch what is left without it."""
    moves, order = _may_move(form, centre, box)
    count, size = len(centre), form.groups.shape[1]
    moving = form.groups[moves]
    fixed = _matrix(
        count,
        (form.groups[~moves].reshape(-1), order[~moves].reshape(-1), form.factor),
        (np.repeat(moving, size), np.tile(moving, (1, size)).reshape(-1), form.factor / size),
    )
    free, reach = _without_mean(moving, form.factor, count)
    names = np.flatnonzero(moves)
    steepest = _matrix(
        count,
        (form.groups[~moves].reshape(-1), order[~moves].reshape(-1), form.factor),
        (np.repeat(moving, size), np.tile(moving, (1, size)).reshape(-1), form.factor),
    )
    groups = np.repeat(np.arange(len(names)), size - 1)
    bend = Bend(fixed, free, reach, groups, groups, names)
    return Local(bend, steepest, len(names) * size)


def _without_mean(moving, factor, count):
    """The matrices F and H of groups that may be sorted anew: an orthonormal basis of what is left without the mean."""
    number, size = moving.shape
    width = size - 1
    basis = np.array([np.r_[np.ones(i), -i, np.zeros(width - i)] / math.sqrt(i * (i + 1)) for i in range(1, size)]).T
    columns = np.arange(number * width).reshape(number, 1, width)
    places = np.broadcast_to(moving[:, :, None], (number, size, width)), np.repeat(columns, size, axis=1)
    values = np.broadcast_to(basis.reshape(size, width), (number, size, width)).reshape(-1)
    outputs, inner = (place.reshape(-1) for place in places)
    free = Placed(outputs, inner, values, (count, number * width))
    return free, Placed(inner, outputs, factor * values, (number * width, count))


def _sorted_jacobians(form, centre, box, source):
    moves, order = _may_move(form, centre, box)
    result = jacobians.mixed(source, form.groups, form.factor)
    fixed, from_rows = form.groups[~moves].reshape(-1), order[~moves].reshape(-1)
    result.centre[fixed] = form.factor * source.centre[from_rows]
    result.radius[fixed] = (form.factor * source.radius[from_rows] + 2 * _EPS * np.abs(result.centre[fixed])) * (
        1 + 8 * _EPS
    ) + 1e-290
    return result


# --- all entries together ---


def _opaque(bound, size, count):
    """‖y‖ ≤ L‖x‖, whatever is between them."""
    factor = bound * (1 + 4 * _EPS)
    bend = Bend(
        Placed(np.zeros(0, int), np.zeros(0, int), np.zeros(0), (size, count), single=True),
        diagonal(np.ones(size)),
        diagonal(np.full(count, factor)),
        np.zeros(count, int),
        np.zeros(size, int),
        np.zeros(1, int),
    )
    rows, columns = (each.reshape(-1) for each in np.indices((size, count)))
    return Local(bend, Placed(rows, columns, np.full(size * count, bound), (size, count)), size)


def _matrix(count, *parts):
    """A square matrix from (rows, columns, one value for all of them) for each part."""
    rows, columns = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    values = np.concatenate([np.full(len(part[0]), part[2]) for part in parts])
    return Placed(rows, columns, values, (count, count))
