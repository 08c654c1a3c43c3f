"""The part of a model that is small enough for matrices, as steps of a chain: what `local` bounds near an input.

It begins at the inputs, or at a value that everything behind is computed from. What is before has the bound of `graph`.
Values that are needed at the same time are stacked in one vector, so that branches are bounded together.
"""

import dataclasses
import math

import numpy as np

from lipviz.certification import placed
from lipviz.certification.computation import Computation
from lipviz.certification.ellipsoids import Bend
from lipviz.certification.forms import Affine, Opaque
from lipviz.certification.placed import Placed, moved
from lipviz.operators.singular_values import explicit_matrix
from lipviz.types import Array

_SIDE = 640  # entries of values that are needed at the same time
_ENTRIES = 2**23  # of the matrix of a step, 64 MiB


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """One step of a `Region`.

    Attributes:
        number: The node that it computes.
        matrix: Of a linear step, the matrix from the stacked values before it to those behind it; else None.
        parts: Of a linear step, its matrix for each source.
        taken: Of another step, the places of its sources among the stacked values.
        kept: Of another step, the places of the values that stay; its own come behind them.
        places: The places of its own values among the stacked values behind it.
        error: Of a linear step, a bound in l2 of how far the matrix that is used may be from this one.
    """

    number: int
    matrix: Array | None
    parts: tuple[Array, ...]
    taken: Array
    kept: Array
    places: Array
    error: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """The part of a computation behind some of its values, up to one output.

    Attributes:
        nodes: Nodes of the whole computation.
        base: Numbers of the nodes that it begins with, which change together by a vector.
        output: Number of its output.
        start: The matrix from the values of the base to the first stacked values.
        error: A bound in l2 of how far the matrix that is used may be from it.
        first: The nodes of these, as (number, its matrix for each part of the base).
        stages: What follows.
    """

    nodes: tuple
    base: tuple[int, ...]
    output: int
    start: Array
    error: float
    first: tuple[tuple[int, tuple[Array, ...]], ...]
    stages: tuple[Stage, ...]

    @property
    def computed(self) -> list[int]:
        """Numbers of the nodes that it computes."""
        return [number for number, _ in self.first if number not in self.base] + [each.number for each in self.stages]


def regions(found: Computation, output: int) -> Region | None:
    """The largest `Region` of a computation; None where even its last step is too large, or has no finite bound.

    Args:
        found: The computation.
        output: Number of the node that it shall end with.
    """
    needed = _needed(found, output)
    entries = tuple(number for number in needed if not found.nodes[number].sources)
    for base in (entries, *((number,) for number in needed if _divides(found, needed, number))):
        region = _region(found, needed, base, output)
        if region is not None:
            return region
    return None


def _needed(found, output):
    """Numbers of the nodes that a node is computed from, itself included, in ascending order."""
    needed, todo = {output}, [output]
    while todo:
        for source in found.nodes[todo.pop()].sources:
            if source not in needed:
                needed.add(source)
                todo.append(source)
    return sorted(needed)


def _divides(found, needed, number):
    """Whether all later nodes are computed from a node and from each other."""
    later = [other for other in needed if other > number]
    inner = [other for other in needed if other < number]
    return (
        bool(later)
        and all(source >= number for other in later for source in found.nodes[other].sources)
        and not any(not found.nodes[other].sources for other in later)
        and bool(inner)
    )


def _region(found, needed, base, output):
    later = [number for number in needed if number not in base and number > max(base)]
    if output in base or not later or not _fits(found, later, base):
        return None
    readers = [n for n in later if any(source in base for source in found.nodes[n].sources)]
    plain = [n for n in readers if isinstance(found.nodes[n].form, Affine) and set(found.nodes[n].sources) <= set(base)]
    first = [(n, _dense_parts(found.nodes, n, base)) for n in plain]
    if len(plain) < len(readers):  # some step takes a value of the base as it is
        first = [(n, _selecting(found.nodes, n, base)) for n in base] + first
    live = [n for n, _ in first]
    if sum(found.nodes[n].size for n in live) > _SIDE:
        return None
    start = np.concatenate([np.concatenate(parts, axis=1) for _, parts in first])
    stages = _stages(found.nodes, [n for n in later if n not in plain], live, output)
    error = sum(_error(found.nodes[n].form, parts) for n, parts in first if n in plain)
    return None if stages is None else Region(found.nodes, base, output, start, error, tuple(first), stages)


def _fits(found, later, base):
    """Whether all steps have matrices of a size that is affordable, or finite bounds."""
    for number in later:
        node = found.nodes[number]
        sources = sum(found.nodes[source].size for source in node.sources)
        if isinstance(node.form, Opaque) and not math.isfinite(node.form.bound(2, False).upper):
            return False
        if node.size > _SIDE or (sources > _SIDE and not set(node.sources) <= set(base)):
            return False
        if sources * node.size > _ENTRIES:
            return False
    return True


def _dense_parts(nodes, number, base):
    """The matrices of an affine node for each part of the base, in its order; zeros where it takes none of it."""
    node, parts = nodes[number], []
    for each in base:
        terms = [explicit_matrix(p) for p, s in zip(node.form.parts, node.sources, strict=True) if s == each]
        parts.append(sum(terms) if terms else np.zeros((node.size, nodes[each].size)))
    return tuple(parts)


def _selecting(nodes, number, base):
    size = nodes[number].size
    return tuple(np.eye(size) if each == number else np.zeros((size, nodes[each].size)) for each in base)


def _stages(nodes, steps, live, output):
    """The stages of the remaining nodes, a tuple; None where too much is needed at the same time."""
    stages = []
    for place, number in enumerate(steps):
        later = {source for other in steps[place + 1 :] for source in nodes[other].sources} | {output}
        starts = dict(zip(live, np.cumsum([0, *(nodes[n].size for n in live)]), strict=False))
        stays = [n for n in live if n in later]
        spans = {n: np.arange(starts[n], starts[n] + nodes[n].size) for n in live}
        stages.append(_stage(nodes, number, spans, stays))
        live = [*stays, number]
        if sum(nodes[n].size for n in live) > _SIDE:
            return None
    return tuple(stages)


def _stage(nodes, number, spans, stays):
    node = nodes[number]
    kept = np.concatenate([np.zeros(0, int), *(spans[n] for n in stays)])
    taken = np.concatenate([spans[source] for source in node.sources])
    places = np.arange(len(kept), len(kept) + node.size)
    if not isinstance(node.form, Affine):
        return Stage(number, None, (), taken, kept, places)
    parts = tuple(explicit_matrix(part) for part in node.form.parts)
    matrix = np.zeros((len(kept) + node.size, sum(map(len, spans.values()))))
    matrix[np.arange(len(kept)), kept] = 1.0
    for source, part in zip(node.sources, parts, strict=True):
        matrix[len(kept) :, spans[source]] += part
    return Stage(number, matrix, parts, taken, kept, places, _error(node.form, parts))


def _error(form, parts):
    """Bound in l2 of how far the matrix of an affine step that is used may be from its own, see `Affine`."""
    sizes = np.abs(np.concatenate(parts, axis=1)) if form.off else np.zeros((1, 1))
    return form.off * math.sqrt(float(sizes.sum(axis=0).max() * sizes.sum(axis=1).max())) * (1 + 1e-9)


def stacked(stage: Stage, bend: Bend, entries: int) -> Bend:
    """A `Bend` of the sources of a stage as one of the stacked values, of which some are kept.

    Args:
        stage: A stage that is not linear.
        bend: What it computes.
        entries: Number of the stacked values before it.
    """
    if not len(stage.kept) and len(stage.taken) == entries:
        return bend
    distinct = len(set(stage.taken.tolist())) == len(stage.taken)
    fixed, reach = (moved(each, stage.taken, entries, distinct) for each in (bend.fixed, bend.reach))
    count, places = len(stage.kept), np.arange(len(stage.kept))
    copied = Placed(places, stage.kept, np.ones(count), (count, entries), single=True)
    nowhere = np.zeros(0, int)
    none = Placed(nowhere, nowhere, np.zeros(0), (count, bend.free.shape[1]), single=True)
    return Bend(
        placed.stacked(copied, fixed), placed.stacked(none, bend.free), reach, bend.groups, bend.owners, bend.names
    )
