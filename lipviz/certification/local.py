"""Lipschitz constants in balls around inputs.

In a ball, most neurons of a network have a known slope: they are dead, or linear. `regions` says which steps of a
model are bounded in this way, `ellipsoids` and `jacobians` bound them, and `bends` says what a step computes in a box.
The box of a value holds it in the whole ball. It follows from the constants of the values before it, step by step.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lipviz.certification import bends, ellipsoids, jacobians, multipliers
from lipviz.certification.computation import Computation
from lipviz.certification.ellipsoids import Bend, Ellipsoid, Linear
from lipviz.certification.forms import Opaque, Pointwise, Sorting, Splitting
from lipviz.certification.regions import regions, stacked
from lipviz.certification.tight import Method, bounded_before
from lipviz.normalizers.largest_eigenvalue import lanczos_eigenvalue, proved_above
from lipviz.rules.activations import ELEMENTWISE
from lipviz.rules.bound import root_of_squares
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_UP = 1 + 1e-12  # covers a few roundings of numbers of one sign
# Errors in float64, relative to the sizes of values: of functions, and of what a backend may compute in float32.
_FUNCTION = 1e-13
_FLOAT32 = 4e-6
_ROUNDS = 12  # improvements of θ for one constant


@dataclasses.dataclass(frozen=True, eq=False)
class Constants:
    """What is proved in one ball.

    Attributes:
        bound: Bound of the Lipschitz constant of the output.
        open: Number of neurons, or of entries that are sorted, whose slope is not fixed in the ball.
        entries: Number of all of them.
    """

    bound: float
    open: int
    entries: int


class LocalBounds:
    """Bounds of a model near inputs.

    Args:
        found: The model as a computation, read from a trace with rounding errors, of a model in float64. Without these
            errors, `near_values` is there.
        output: Number of the node that is bounded.
        norm: 1, 2 or `math.inf`, of inputs and of outputs.
        method: How what is before the region is bounded, see `certify`.

    Attributes:
        region: The part of the model that is bounded near an input; None where there is none.
    """

    def __init__(self, found: Computation, output: int, norm: float = 2, method: Method = "product"):
        self._found, self._norm, self._method = found, norm, method
        self.region: Any = regions(found, output)
        if self.region is None:
            return
        self._factor, self._offset, self._slope, known = self._before()
        if not math.isfinite(self._factor):
            self.region = None
            return
        self._start: Any = ellipsoids.ball(self.region.start, self.region.error) if norm == 2 else None
        self._square: Any = None  # the matrix of the first ellipsoid over 4^exponent, without its rounding
        if norm == 2:
            scaled, self._exponent = ellipsoids.scaled(self.region.start)
            self._square = scaled @ scaled.T
        for each in known:
            if _size(each) < _size(self._start):
                self._start, self._square, self._exponent = each, each.matrix, each.exponent
        self._linear = [
            None if stage.matrix is None else ellipsoids.Linear(stage.matrix, stage.error)
            for stage in self.region.stages
        ]

    def _before(self):
        """What is known of what is before the region.

        Returns:
            The tuple (its Lipschitz constant, a, b, ellipsoids): it is computed with an error of a + b‖x‖. The
            ellipsoids are those of the first stacked values, per unit of the base's difference by that constant.
        """
        base = self.region.base[0]
        if not self._found.nodes[base].sources:
            return 1.0, 0.0, 0.0, []
        rounding = self._found.flows[base].gains[len(self._found.nodes[base].gains) :]
        offset, slope = rounding if len(rounding) else (0.0, 0.0)
        first, *others = (number for number, _ in self.region.first)
        reader = None if others or first == base else first
        gains, known = bounded_before(self._found, base, self._norm, self._method, reader)
        sizes = np.abs(gains)
        total = root_of_squares(sizes) if self._norm == 2 else sizes.max() if self._norm == 1 else sizes.sum()
        factor = float(total) * _UP
        known = [ellipsoids.times(each, _UP / factor) for each in known] if factor > 1e-300 else []
        return factor, 4 * float(offset), 4 * float(slope), known

    def near(self, *inputs: Array) -> Iterator["Near"]:
        """What is bounded near each of n samples, one after the other.

        Args:
            *inputs: An array of shape (n, ...) for each input of the model.
        """
        values = self._found.values(*inputs)
        rows = [np.asarray(x, np.float64).reshape(len(x), -1) for x in inputs]
        sizes = root_of_squares(np.concatenate(rows, axis=1), axis=1)
        return self.near_values(values, self._offset + self._slope * sizes)

    def near_values(self, values: Sequence[Array], base: Array) -> Iterator["Near"]:
        """What is bounded near each of n samples whose values are known.

        Args:
            values: The values of all nodes, or of those of the region, each of shape (n, entries).
            base: How far those that the region begins with may be off in l2, of shape (n,).
        """
        errors = _errors(self.region, values, base)
        for row in range(len(base)):
            centres = {number: values[number][row] for number in errors}
            yield Near(self, centres, {number: error[row] for number, error in errors.items()})


@dataclasses.dataclass(eq=False)
class _Chain:
    """The steps of a region in a ball.

    Attributes:
        steps: A `Linear` or a `Bend` for each.
        ratios: The ratios of each `Bend`; None for a linear step.
        solved: The y of `ellipsoids.bent` of each `Bend`; None for a linear step.
        last: The ellipsoid behind all of them, proved.
    """

    steps: list[Any] = dataclasses.field(default_factory=list)
    ratios: list[Any] = dataclasses.field(default_factory=list)
    solved: list[Array | None] = dataclasses.field(default_factory=list)
    last: Any = None

    def add(self, step: Linear | Bend, ratios: Array | None = None, y: Array | None = None) -> None:
        """Add a step."""
        self.steps.append(step)
        self.ratios.append(ratios)
        self.solved.append(y)


class Near:
    """The values of a region at one input, and the boxes of all balls around it so far.

    Args:
        bounds: The `LocalBounds`.
        centres: The value of each node of the region, of shape (entries,): a dict by the node's number.
        errors: How far the computed values may be off, likewise.
    """

    def __init__(self, bounds: LocalBounds, centres: dict[int, Array], errors: dict[int, Array]):
        self._bounds, self._region = bounds, bounds.region
        self._centres, self._errors = centres, errors
        self._inner = 0.0
        self._boxes = {number: np.zeros(len(centre)) for number, centre in centres.items()}
        self._ratios: dict[int, Array] = {}
        self.open = self.entries = 0

    def restarted(self) -> "Near":
        """The same values, with no ball so far."""
        return Near(self._bounds, self._centres, self._errors)

    # --- boxes ---

    @property
    def state(self) -> tuple[float, dict[int, Array]]:
        """The last ball: its radius and its boxes. Set it to go back to a smaller one."""
        return self._inner, dict(self._boxes)

    @state.setter
    def state(self, value: tuple[float, dict[int, Array]]) -> None:
        self._inner, self._boxes = value[0], dict(value[1])

    def _box(self, number):
        return self._boxes[number] + self._errors[number]

    def _source(self, number):
        """Centre and box of the sources of a node, stacked."""
        sources = self._region.nodes[number].sources
        return (
            np.concatenate([self._centres[source] for source in sources]),
            np.concatenate([self._box(source) for source in sources]),
        )

    def _grown(self, number, boxes, widths, step, plain):
        """Box of a node in a larger ball: how far it may move beyond the ball inside, or by intervals alone."""
        moved = np.nan_to_num((boxes[number] + widths * step) * _UP, nan=np.inf, posinf=np.inf)
        return moved if plain is None else np.fmin(moved, plain * _UP)

    def _by_intervals(self, stage, local):
        sources = self._region.nodes[stage.number].sources
        if local is None:
            pairs = zip(stage.parts, sources, strict=True)
            moved = sum(np.abs(part) @ self._boxes[source] for part, source in pairs)
            return moved * (1 + self._region.nodes[stage.number].form.off)
        return local.steepest @ np.concatenate([self._boxes[source] for source in sources])

    # --- l2 ---

    def _followed(self, radius):
        """The `_Chain` of the region in a ball; the boxes become those of the ball. None where nothing is proved."""
        old, step = dict(self._boxes), (radius - self._inner) * self._bounds._factor * _UP
        ellipsoid: Any = self._bounds._start
        chain = _Chain()
        self._enter(old, ellipsoid.widths, step, radius)
        self.open = self.entries = 0
        for stage, linear in zip(self._region.stages, self._bounds._linear, strict=True):
            local = None
            if linear is not None:
                ellipsoid = ellipsoids.mapped(ellipsoid, linear)
                chain.add(linear)
            else:
                local = self._local(stage)
                bend = stacked(stage, local.bend, len(ellipsoid.matrix))
                ellipsoid, ratio, y = ellipsoids.bent(ellipsoid, bend, self._known(stage.number, bend))
                chain.add(bend, ratio, y)
            if ellipsoid is None:
                self._boxes = old
                return None
            plain = self._by_intervals(stage, local)
            self._boxes[stage.number] = self._grown(stage.number, old, ellipsoid.widths[stage.places], step, plain)
        self._keep(chain.steps, chain.ratios)
        self._inner = radius
        chain.last = ellipsoid
        return chain

    def _enter(self, old, widths, step, radius):
        start = 0
        for number in self._region.base:
            self._boxes[number] = np.full(len(self._centres[number]), radius * self._bounds._factor * _UP)
        for number, _ in self._region.first:
            places = slice(start, start + len(self._centres[number]))
            self._boxes[number] = self._grown(number, old, widths[places], step, None)
            start = places.stop

    def _local(self, stage):
        node = self._region.nodes[stage.number]
        local = bends.local_form(node.form, node.size, *self._source(stage.number))
        self.open += local.open
        self.entries += node.size
        return local

    def _known(self, number, bend):
        """The ratios of a node's groups in the ball before; NaN for groups that are new."""
        if number not in self._ratios:
            return np.full(bend.count, np.nan)
        return self._ratios[number][bend.names]

    def _keep(self, steps, ratios):
        for stage, bend, ratio in zip(self._region.stages, steps, ratios, strict=True):
            if isinstance(bend, Bend):
                known = np.full(max(self._region.nodes[stage.number].size, 1), np.nan)
                known[bend.names] = ratio
                self._ratios[stage.number] = known

    def _settled(self, chain, goal, rounds):
        """The last ellipsoid with better θ, proved; None where that fails."""
        exponent = self._bounds._exponent + sum(step.exponent for step in chain.steps if not isinstance(step, Bend))
        first = np.ldexp(chain.last.matrix, 2 * (chain.last.exponent - exponent)), chain.solved
        ratios: list[Any] = multipliers.settled(self._bounds._square, chain.steps, chain.ratios, goal, rounds, first)
        self._keep(chain.steps, ratios)
        ellipsoid: Any = self._bounds._start
        for step, ratio in zip(chain.steps, ratios, strict=True):
            if isinstance(step, Bend):
                ellipsoid, _, _ = ellipsoids.bent(ellipsoid, step, ratio)
            else:
                ellipsoid = ellipsoids.mapped(ellipsoid, step)
            if ellipsoid is None:
                return None
        return ellipsoid

    def ellipsoids(self, radius: float, goal: Callable[[Array], tuple[float, Array]], rounds: int) -> list[Ellipsoid]:
        """Proved ellipsoids of the output in the l2 ball of a radius, at least that of the ball before.

        Args:
            radius: The radius.
            goal: See `multipliers.settled`.
            rounds: How often θ is improved.

        Returns:
            A list, empty where nothing could be proved.
        """
        with np.errstate(all="ignore"):  # what is not finite proves nothing
            chain = self._followed(radius)
            if chain is None:
                return []
            has_bends = any(isinstance(step, Bend) for step in chain.steps)
            better = self._settled(chain, goal, rounds) if has_bends else None
        return [chain.last] if better is None else [chain.last, better]

    @property
    def factor(self) -> float:
        """Lipschitz constant of what is before the region."""
        return self._bounds._factor

    def constants(self, radius: float) -> Constants:
        """What is proved in the ball of a radius, in the norm of the bounds."""
        with np.errstate(all="ignore"):  # what is not finite proves nothing
            if self._bounds._norm != 2:
                found = [self._by_jacobians(radius)]
            else:
                found = list(map(_norm, self.ellipsoids(radius, multipliers.largest_eigenvalue, _ROUNDS)))
        bound = min((each for each in found if not math.isnan(each)), default=math.inf)
        return Constants(bound * self.factor * _UP, self.open, self.entries)

    # --- l1 and l∞ ---

    def _by_jacobians(self, radius):
        norm, region, factor = self._bounds._norm, self._region, self._bounds._factor
        step, known, start = radius * factor * _UP, {}, 0
        old = {number: np.zeros(len(centre)) for number, centre in self._centres.items()}
        for number in region.base:
            self._boxes[number] = np.full(len(self._centres[number]), step)
        for number, _ in region.first:
            rows = region.start[start : start + len(self._centres[number])]
            off = 0.0 if number in region.base else region.nodes[number].form.off
            known[number], start = jacobians.known(rows, off), start + len(rows)
            self._boxes[number] = self._grown(number, old, known[number].widths(norm), step, None)
        self.open = self.entries = 0
        for stage in region.stages:
            node, local = region.nodes[stage.number], None
            if stage.matrix is not None:
                sources = [known[source] for source in node.sources]
                known[stage.number] = jacobians.mapped(sources, list(stage.parts), node.form.off)
            else:
                local = self._local(stage)
                centre, box = self._source(stage.number)
                found = bends.enclosed(node.form, node.size, centre, box, known[node.sources[0]])
                if found is None:
                    return math.inf
                known[stage.number] = found
            plain = self._by_intervals(stage, local)
            widths = known[stage.number].widths(norm)
            self._boxes[stage.number] = self._grown(stage.number, old, widths, step, plain)
        last = known[region.output]
        return last.norm(norm) if jacobians.is_finite(last) else math.inf


def _size(ellipsoid):
    """The logarithm of the trace of an ellipsoid's matrix; infinite where that is not finite."""
    trace = float(np.trace(ellipsoid.matrix))
    return math.log(trace) + ellipsoid.exponent * math.log(4) if 0 < trace < math.inf else math.inf


def _norm(ellipsoid):
    """The square root of the largest eigenvalue, proved; infinite where the matrix is not finite."""
    if not np.isfinite(ellipsoid.matrix).all():
        return math.inf
    square = proved_above(ellipsoid.matrix, lanczos_eigenvalue(ellipsoid.matrix))
    with np.errstate(over="ignore"):
        return float(np.ldexp(math.sqrt(square) * (1 + 4 * _EPS), ellipsoid.exponent))


# --- rounding of the values at the centre ---


def _errors(region, values, base):
    """How far the values of a region may be off, of shape (n, entries): a dict by the nodes' numbers."""
    errors = {number: np.broadcast_to(base[:, None], values[number].shape) for number in region.base}
    for number, parts in region.first:
        node = region.nodes[number]
        if number not in region.base:
            errors[number] = _of_affine(node.form, parts, [(values[b], errors[b]) for b in region.base])
    for stage in region.stages:
        node = region.nodes[stage.number]
        taken = [(values[source], errors[source]) for source in node.sources]
        if stage.matrix is not None:
            errors[stage.number] = _of_affine(node.form, stage.parts, taken)
        else:
            errors[stage.number] = _of_function(node.form, values[stage.number], taken)
    return errors


def _of_affine(form, parts, taken):
    terms = sum(part.shape[1] for part in parts) + len(parts) + 2
    gamma = 2 * terms * _EPS + form.off
    off = sum(
        (error + gamma * (np.abs(x) + error)) @ np.abs(part).T for part, (x, error) in zip(parts, taken, strict=True)
    )
    return (off + gamma * np.abs(form.offset)) * _UP


def _of_function(form, result, taken):
    if isinstance(form, Opaque):
        bound = form.bound(2, False).upper
        off = np.sqrt(sum(np.square(error).sum(axis=1, keepdims=True) for _, error in taken))
        size = np.sqrt(sum(np.square(x).sum(axis=1, keepdims=True) for x, _ in taken))
        own = _FLOAT32 * (1 + bound * size + np.abs(result).max(axis=1, keepdims=True))
        return np.broadcast_to((bound * off + own) * _UP, result.shape)
    ((x, error),) = taken
    if isinstance(form, Pointwise):
        exact, entry = form.name == "relu" or form.sides is not None, ELEMENTWISE.get(form.name)
        unit = 4 * _EPS if exact else _FUNCTION if entry is not None and entry.is_in_float64 else _FLOAT32
        steepest = form.bound.upper
        return (steepest * error + unit * (np.abs(result) + steepest * np.abs(x) + (not exact))) * _UP
    off = np.empty(result.shape)
    if isinstance(form, Sorting):
        off[:, form.groups] = error[:, form.groups].max(axis=-1, keepdims=True)
    if isinstance(form, Splitting):
        off[:, form.positive], off[:, form.negative] = error, error
    return (form.factor * off + 2 * _EPS * np.abs(result)) * _UP
