"""Bounds of several steps of a model together, which are smaller than the product of the bounds of single steps.

* Affine steps between two functions are one map, see `joint`.
* A residual block x − Hᵀ T φ(H x) is a gradient step of a convex potential, see `potentials`.
* A chain of such maps with elementwise functions between them is bounded by semidefinite programming in l2, see
  `semidefinite`.

Every result is a minimum with the product, so none is larger. What is tried depends on sizes only, never on a clock.
"""

import dataclasses
import math
import time
from typing import Any, Literal

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.certification import ellipsoids, merging
from lipviz.certification.chains import Link, Solved, Stretch, solvable
from lipviz.certification.computation import Computation, UnknownFormError, of_trace
from lipviz.certification.ellipsoids import Ellipsoid
from lipviz.certification.forms import Affine, Entry, Pointwise, Sorting, Splitting
from lipviz.certification.graph import Trace
from lipviz.certification.joint import Joints, is_move
from lipviz.certification.merging import Flow
from lipviz.certification.potentials import block_before
from lipviz.certification.results import StretchBound
from lipviz.normalizers.threads import one_blas_thread
from lipviz.operators.precision import NotInFloat64Error
from lipviz.rules.bound import not_rounded_to_0, root_of_squares
from lipviz.rules.registry import is_linear
from lipviz.types import Array

METHODS = ("auto", "product", "tight")
Method = Literal["auto", "product", "tight"]

_GAIN = 1 - 1e-6  # of the former bound: what is less is no gain
_VALUES = {"auto": 2**22, "tight": 2**24}  # most entries of all values of a model together


def tighter(
    trace: Trace,
    inputs: Any,
    outputs: Any,
    method: Method,
    logits: Flow | None = None,
    inside: bool = False,
    everywhere: bool = False,
) -> "tuple[Tighter | None, str]":
    """The `Tighter` of a model that a trace followed.

    Args:
        trace: A `Trace` that followed the model.
        inputs: The flows that entered it.
        outputs: The flows that left it.
        method: See `certify`.
        logits: The flow whose entries are compared, see `Tighter`.
        inside: Whether the logits are computed inside of the layer that returns the flow, before its softmax or
            sigmoid.
        everywhere: See `Tighter`.

    Returns:
        The tuple (`Tighter`, ""), or (None, why there is none, in words).
    """
    if method == "product":
        return None, ""
    if method == "auto" and not _may_gain(trace):
        return None, ""
    sizes = [flow.size for _, leaving in trace.visits for flow in leaving]
    if None in sizes or sum(filter(None, sizes)) > _VALUES[method]:
        return None, "its values have unknown sizes, or too many entries"
    try:
        found = of_trace(trace, inputs, outputs)
        number = None if logits is None else found.number_of(logits)
        if number is not None and inside:
            number = _before_activation(found, number)
        with one_blas_thread():
            return Tighter(found, trace.norm, method, number, everywhere), ""
    except (UnknownFormError, NotInFloat64Error) as error:
        return None, str(error).rstrip(".")


def bounded_before(
    found: Computation, number: int, norm: float, method: Method, reader: int | None = None
) -> tuple[Array, list[Ellipsoid]]:
    """What is known of one value of a model, from bounds of several steps before it together.

    Args:
        found: The `Computation` of the model.
        number: Number of the node of the value.
        norm: 1, 2 or `math.inf`.
        method: See `certify`.
        reader: Number of an affine node behind it, which is computed from it alone; optional.

    Returns:
        The tuple (gains of the value, at most those of its node, of shape (inputs,); ellipsoids of the differences of
        the reader per unit of the difference of all inputs in l2, as far as some are known).
    """
    node, start = found.nodes[number], _before_moves(found.nodes, number)
    outputs = (start,) if reader is None else (start, reader)
    part = dataclasses.replace(found, nodes=found.nodes[: outputs[-1] + 1], outputs=outputs)
    if method == "product" or sum(each.size for each in part.nodes) > _VALUES[method]:
        return node.gains, []
    with one_blas_thread():
        together = Tighter(part, norm, method)
        ratio = _ratio(together.gains[start], found.nodes[start].gains)
        return np.minimum(node.gains, merging.times(node.gains, ratio)), together.ellipsoids(outputs[-1])


def _before_moves(nodes, number):
    """The value that only moves before a node, as in `Flatten`: a chain of images ends there."""
    while isinstance(form := nodes[number].form, Affine) and len(form.parts) == 1 and is_move(form.parts[0]):
        (number,) = nodes[number].sources
    return number


def _may_gain(trace):
    """Whether a linear layer comes behind another one with elementwise functions between them, or values meet again.

    It is quick, and most networks of constrained layers with sorting activations have no such place.
    """
    linear: set[int] = set()  # ids of the flows that come from a linear layer, with elementwise functions behind it
    for step, leaving in trace.visits:
        behind = any(_origin(trace, flow) in linear for flow in step.flows)
        layer = step.op if isinstance(step.op, keras.layers.Layer) else None
        mixes = isinstance(layer, keras.layers.BatchNormalization) or (layer is not None and is_linear(layer))
        if behind and (mixes or len(step.flows) > 1):
            return True
        if (behind or mixes) and not _sorts(step.op) and not _sorts(getattr(step.op, "activation", None)):
            linear |= {id(flow) for flow in leaving}
    return False


def _origin(trace, flow):
    while id(flow) in trace.same:
        flow = trace.same[id(flow)]
    return id(flow)


def _sorts(function):
    return isinstance(function, _SORTING)


_SORTING = (lip.GroupSort, lip.MaxMin, lip.BetaAbs, lip.ScaledL2NormPooling2D, lip.ScaledGlobalL2NormPooling2D)


def _before_activation(found, number):
    """Number of the node before the activation of a layer, or of the layer if it has none of its own."""
    node = found.nodes[number]
    return number if isinstance(node.form, Affine) else node.sources[0]


class Tighter:
    """The gains of all values of a model, with the bounds of several steps together.

    Args:
        computation: The `Computation` of the model.
        norm: 1, 2 or `math.inf`.
        method: "auto" or "tight", see `certify`.
        logits: Number of the node whose entries are compared with each other; None for none.
        everywhere: Whether each value is bounded as if the model returned it. Without it, only values that are returned
            or used by other than affine steps are, and chains end only where they cannot go on.

    Attributes:
        gains: For each node, how much a change of each input changes it, of shape (inputs,).
        stretches: A `StretchBound` for each bound of several steps that is smaller than what was known.
        differences: Lipschitz constants of the differences of all logits, of shape (C, C), as far as they are known
            from several steps together; None without logits.
    """

    def __init__(
        self,
        computation: Computation,
        norm: float,
        method: Method,
        logits: int | None = None,
        everywhere: bool = False,
    ):
        self._computation, self._nodes = computation, computation.nodes
        self._logits = logits
        self.differences: Array | None = None
        self._norm, self._method = norm, method
        self._joints = Joints(computation)
        self._needed, self._extended, self._sorted = self._uses()
        if everywhere:
            self._needed, self._extended, self._sorted = set(range(len(self._nodes))), set(), set()
        self.gains: list[Array] = []
        self.stretches: list[StretchBound] = []
        self._solved: dict[int, list[tuple[int, Solved]]] = {}  # for each node, the start of a chain and its proof
        for number in range(len(self._nodes) if logits is None else logits + 1):
            self._visit(number)
        if logits is not None:
            self.differences = self._of_logits(logits)

    @property
    def outputs(self) -> list[Array]:
        """The gains of the values that the model returns."""
        return [self.gains[number] for number in self._computation.outputs]

    def gains_of(self, flow: Flow) -> Array:
        """The gains of a value of the trace, of shape (inputs,)."""
        return self.gains[self._computation.number_of(flow)]

    def _uses(self):
        """Nodes that other than affine steps take, and those behind which a chain goes on, without or with sorting."""
        needed = set(self._computation.outputs)
        extended: set[int] = set()
        sorting: set[int] = set()
        if self._logits is not None:
            needed.add(self._logits)
        for number, node in enumerate(self._nodes):
            if not isinstance(node.form, Affine):
                needed |= set(node.sources)
                continue
            for start in self._joints.of(number):
                needed.add(start)
                form = self._nodes[start].form
                if isinstance(form, Pointwise | Sorting | Splitting):
                    (extended if isinstance(form, Pointwise) else sorting).update(self._nodes[start].sources)
        returned = self._returned()
        return needed, extended - returned, sorting - returned

    def _returned(self):
        """Nodes whose chains count even if they go on: those that the model returns, also behind a function."""
        outputs = self._computation.outputs
        behind = (self._nodes[number].sources for number in outputs if not isinstance(self._nodes[number].form, Affine))
        return {*outputs, *(source for sources in behind for source in sources)}

    def _visit(self, number):
        node = self._nodes[number]
        self.gains.append(self._by_ratio(node))
        if isinstance(node.form, Pointwise):
            self._keep(number, merging.times(self.gains[node.sources[0]], node.form.bound.upper))
        if self._norm == 2:
            self._by_potential(number)
        if isinstance(node.form, Affine) and number in self._needed:
            self._jointly(number)
            if self._norm == 2 and number != self._logits:
                for chain in self._chains(number):
                    self._by_chain(number, chain)

    def _by_ratio(self, node):
        """The gains of a node by its own bound: they shrink at least as much as those of all its sources."""
        if isinstance(node.form, Entry) or not node.sources:
            return node.gains
        ratios = [_ratio(self.gains[source], self._nodes[source].gains) for source in node.sources]
        return merging.times(node.gains, np.max(ratios, axis=0))

    def _keep(self, number, gains):
        """Take smaller gains for a node; returns whether they are smaller."""
        before = self.gains[number]
        self.gains[number] = np.minimum(before, gains)
        return bool(np.any(gains < before * _GAIN))

    def _jointly(self, number):
        """Bound an affine node by the maps that it is the sum of."""
        joints = self._joints.of(number)
        start = time.perf_counter()
        if not any(joint.length > 1 and joint.sums is not None and joint.sums.mixing > 1 for joint in joints.values()):
            return
        gains = sum(merging.times(self.gains[source], joint.bound(self._norm)) for source, joint in joints.items())
        former = self.gains[number]
        if self._keep(number, gains):
            names = [self._nodes[node].name for joint in joints.values() for node in joint.nodes]
            self._note(names, former, gains, joints, "one matrix", start)

    def _by_potential(self, number):
        """Bound a node as a residual block that is a gradient step of a potential."""
        start = time.perf_counter()
        block = block_before(self._nodes, number)
        if block is None:
            return
        former = self.gains[number]
        gains = merging.times(self.gains[block.start], block.bound)
        if self._keep(number, gains):
            names = [self._nodes[node].name for node in block.nodes]
            self._note(names, former, gains, [block.start], "convex potential", start)

    def _note(self, names, former, gains, starts, method, since):
        """Add a row for a stretch that starts at several nodes."""
        before = np.max([self.gains[start] for start in starts], axis=0)
        former, upper = (float(np.max(_ratio(after, before))) for after in (former, gains))
        names = tuple(dict.fromkeys(names))
        self.stretches.append(StretchBound(names, upper, former, method, 1000 * (time.perf_counter() - since)))

    def _chains(self, number):
        """The chains that end at an affine node and are not part of a longer one: without sorting, and with it.

        Sorting gains only with a multiplier for each neuron.
        """
        if number not in self._extended:
            yield from filter(None, [self.chain(number)])
            if self._method == "tight" and number not in self._sorted:
                chain = self.chain(number, sorting=True)
                if chain is not None and chain.sorts:
                    yield chain

    def _by_chain(self, number, chain):
        """Bound an affine node by a chain that ends there."""
        since = time.perf_counter()
        solved = chain.solved(self._method == "tight")
        if solved is None:
            return
        upper, how = (
            (solved, "semidefinite, frequencies") if isinstance(solved, float) else (solved.norm(), solved.method)
        )
        if isinstance(solved, Solved):
            self._solved.setdefault(number, []).append((chain.start, solved))
        gains = merging.times(self.gains[chain.start], upper)
        former = self.gains[number]
        if self._keep(number, gains):
            self._note(chain.names, former, gains, [chain.start], how, since)

    def ellipsoids(self, number: int) -> list[Ellipsoid]:
        """Ellipsoids of the differences of a node per unit of the difference of all inputs, by chains that end there.

        Args:
            number: Number of an affine node that the model returns, other than the logits. The norm is l2.
        """
        with np.errstate(all="ignore"):  # what is not finite proves nothing
            chains = [(solved.ellipsoid(), _total(self.gains[start])) for start, solved in self._solved.get(number, [])]
            return [ellipsoids.times(each, total) for each, total in chains if total < math.inf]

    def _of_logits(self, number):
        """Lipschitz constants of the differences of all logits, or of the single one."""
        count = self._nodes[number].size
        whole = (1.0 if count == 1 else math.sqrt(2)) * _total(self.gains[number])
        found = np.full((count, count), whole)
        if isinstance(self._nodes[number].form, Affine):
            joints = self._joints.of(number)
            if all(joint.fits for joint in joints.values()):
                parts = (merging.times(j.differences(), _total(self.gains[s])) for s, j in joints.items())
                found = np.minimum(found, sum(parts))
            for chain in self._chains(number):
                solved = chain.solved(self._method == "tight" or chain.is_small, centred=True)
                if isinstance(solved, Solved):
                    own = solved.differences() if count > 1 else np.full((1, 1), solved.norm())
                    found = np.minimum(found, merging.times(own, _total(self.gains[chain.start])))
        if count > 1:
            np.fill_diagonal(found, 0.0)
        return found

    def chain(self, number: int, sorting: bool = False) -> Stretch | None:
        """The longest chain that ends at an affine node and may be solved; None where there is none.

        Args:
            number: Number of the node.
            sorting: Whether it may go through sorting.
        """
        links = [Link(self._nodes, (), dict(self._joints.of(number)), None)]
        while (function := links[0].last) is not None and self._is_link(self._nodes[function], sorting):
            carried = tuple(start for start in links[0].starts if start != function)
            links.insert(
                0, Link(self._nodes, carried, dict(self._joints.of(self._nodes[function].sources[0])), function)
            )
        return solvable(links, self._method)

    def _is_link(self, node, sorting):
        """Whether a chain may go on before a node."""
        if not isinstance(node.form, Pointwise) and not (sorting and isinstance(node.form, Sorting | Splitting)):
            return False
        return isinstance(self._nodes[node.sources[0]].form, Affine) and _is_bounded(node)


def _is_bounded(node):
    """Whether the slopes of a function are finite, and not all 0."""
    if isinstance(node.form, Pointwise):
        return all(np.isfinite(slope).all() for slope in node.form.slopes)
    return 0 < node.form.factor < math.inf


def _total(gains):
    """The constant of a value with respect to all inputs together, in l2."""
    return float(root_of_squares(gains))


def _ratio(after, before):
    """The quotient of gains: 0 where the first are 0, and 1 where the second are infinite, which says nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(before == math.inf, 1.0, not_rounded_to_0(after / before))
    return np.where(after == 0, 0.0, ratio)
