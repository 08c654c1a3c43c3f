"""Bounds of several steps of a model together, which are smaller than the product of the bounds of single steps.

* Affine steps between two functions are one map, see `joint`.
* A chain of such maps with elementwise functions between them is bounded by semidefinite programming in l2, see
  `semidefinite`.

Every result is a minimum with the product, so none is larger. What is tried depends on sizes only, never on a clock.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from lipviz.certification import merging, periodic, semidefinite
from lipviz.certification.computation import (
    Affine,
    Computation,
    Entry,
    Node,
    Pointwise,
    Sorting,
    Splitting,
    UnknownFormError,
    of_trace,
)
from lipviz.certification.functions import function_of, in_coordinates
from lipviz.certification.graph import Trace
from lipviz.certification.joint import Joint, Joints
from lipviz.certification.merging import Flow
from lipviz.certification.results import StretchBound
from lipviz.normalizers.threads import one_blas_thread
from lipviz.operators.precision import NotInFloat64Error
from lipviz.types import Array

METHODS = ("auto", "product", "tight")
Method = Literal["auto", "product", "tight"]

_WIDTHS = {"auto": 1024, "tight": 2048}  # most entries of a value inside of a chain
_INPUTS = 2048  # most inputs of a chain whose first function has slopes other than from 0 up
_IMPROVING = 6e9  # steps of descent times the sum of the cubes of all widths: half a minute
_STEPS = (5, 60)  # fewest and most steps of descent
_GAIN = 1 - 1e-6  # of the former bound: what is less is no gain


_VALUES = {"auto": 2**22, "tight": 2**24}  # most entries of all values of a model together


def tighter(
    trace: Trace, inputs: Any, outputs: Any, method: Method, logits: Flow | None = None, inside: bool = False
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

    Returns:
        The tuple (`Tighter`, ""), or (None, why there is none, in words).
    """
    if method == "product":
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
            return Tighter(found, trace.norm, method, number), ""
    except (UnknownFormError, NotInFloat64Error) as error:
        return None, str(error).rstrip(".")


def _before_activation(found, number):
    """Number of the node before the activation of a layer, or of the layer if it has none of its own."""
    node = found.nodes[number]
    return number if isinstance(node.form, Affine) else node.sources[0]


def check_method(method: str) -> Method:
    """The method of `certify`, checked.

    Raises:
        ValueError: If it is not known.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {METHODS}. Received: method={method!r}")
    return method  # type: ignore[return-value]


class Tighter:
    """The gains of all values of a model, with the bounds of several steps together.

    Args:
        computation: The `Computation` of the model.
        norm: 1, 2 or `math.inf`.
        method: "auto" or "tight", see `certify`.
        logits: Number of the node whose entries are compared with each other; None for none.

    Attributes:
        gains: For each node, how much a change of each input changes it, of shape (inputs,).
        stretches: A `StretchBound` for each bound of several steps that is smaller than what was known.
        differences: Lipschitz constants of the differences of all logits, of shape (C, C), as far as they are known
            from several steps together; None without logits.
    """

    def __init__(self, computation: Computation, norm: float, method: Method, logits: int | None = None):
        self._computation, self._nodes = computation, computation.nodes
        self._logits = logits
        self.differences: Array | None = None
        self._norm, self._method = norm, method
        self._joints = Joints(computation)
        self._needed, self._extended, self._sorted = self._uses()
        self.gains: list[Array] = []
        self.stretches: list[StretchBound] = []
        for number in range(len(self._nodes) if logits is None else logits + 1):
            self._visit(number)
        if logits is not None:
            self.differences = self._of_logits()

    @property
    def outputs(self) -> list[Array]:
        """The gains of the values that the model returns."""
        return [self.gains[number] for number in self._computation.outputs]

    def _uses(self):
        """Nodes that other than affine steps take, and those behind which a chain goes on, without or with sorting."""
        needed, extended, sorting = set(self._computation.outputs), set(), set()
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
        return needed, extended, sorting

    def _visit(self, number):
        node = self._nodes[number]
        self.gains.append(self._by_ratio(node))
        if isinstance(node.form, Pointwise):
            self._keep(number, merging.times(self.gains[node.sources[0]], node.form.bound.upper))
        elif isinstance(node.form, Affine) and number in self._needed:
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
        gains = merging.times(self.gains[chain.start], upper)
        former = self.gains[number]
        if self._keep(number, gains):
            self._note(chain.names, former, gains, [chain.start], how, since)

    def _of_logits(self):
        """Lipschitz constants of the differences of all logits, or of the single one."""
        number = self._logits
        count = self._nodes[number].size
        whole = (1.0 if count == 1 else math.sqrt(2)) * _total(self.gains[number])
        found = np.full((count, count), whole)
        if isinstance(self._nodes[number].form, Affine):
            joints = self._joints.of(number)
            if all(joint.fits for joint in joints.values()):
                parts = (merging.times(j.differences(), _total(self.gains[s])) for s, j in joints.items())
                found = np.minimum(found, sum(parts))
            for chain in self._chains(number):
                solved = chain.solved(self._method == "tight", centred=True)
                if isinstance(solved, Solved):
                    own = solved.differences() if count > 1 else np.full((1, 1), solved.norm())
                    found = np.minimum(found, merging.times(own, _total(self.gains[chain.start])))
        if count > 1:
            np.fill_diagonal(found, 0.0)
        return found

    def chain(self, number: int, sorting: bool = False) -> "Stretch | None":
        """The longest chain that ends at an affine node and may be solved; None where there is none.

        Args:
            number: Number of the node.
            sorting: Whether it may go through sorting.
        """
        maps, functions = [], []
        while (joint := self._only(number)) is not None:
            start, found = joint
            maps.insert(0, found)
            node = self._nodes[start]
            if not self._is_link(node, sorting):
                break
            functions.insert(0, start)
            number = node.sources[0]
        if not maps:
            return None
        functions = functions[-(len(maps) - 1) :] if len(maps) > 1 else []
        return _solvable(self._nodes, maps, functions, start, self._method)

    def _is_link(self, node, sorting):
        """Whether a chain may go on before a node."""
        if not isinstance(node.form, Pointwise) and not (sorting and isinstance(node.form, Sorting | Splitting)):
            return False
        before = node.sources[0]
        return isinstance(self._nodes[before].form, Affine) and self._only(before) is not None and _is_bounded(node)

    def _only(self, number):
        """The tuple (start, `Joint`) of an affine node that is a map of one value; else None."""
        joints = self._joints.of(number)
        return next(iter(joints.items())) if len(joints) == 1 else None


def _is_bounded(node):
    """Whether the slopes of a function are finite, and not all 0."""
    if isinstance(node.form, Pointwise):
        return all(np.isfinite(slope).all() for slope in node.form.slopes)
    return 0 < node.form.factor < math.inf


def _total(gains):
    """The constant of a value with respect to all inputs together, in l2."""
    return float(np.linalg.norm(gains))


def _ratio(after, before):
    """The quotient of gains, 0 where both are 0, and infinite where they are not known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(after == before, 1.0, after / before)
    return np.where(after == 0, 0.0, np.nan_to_num(ratio, nan=1.0, posinf=math.inf))


def _solvable(nodes, maps, functions, start, method):
    """The `Stretch` of the last maps of a chain that may be solved: matrices, and convolutions before them."""
    starts = [start, *functions]
    first = len(maps)  # from here on, all maps are matrices
    while first and maps[first - 1].fits and (first == len(maps) or nodes[starts[first]].size <= _WIDTHS[method]):
        first -= 1
    images: list[list[periodic.Step]] = []
    begin = first
    while begin:
        steps = _image_steps(maps[begin - 1], nodes[starts[begin - 1]].shape)
        if steps is None:
            break
        images.insert(0, steps)
        begin -= 1
    if len(maps) - begin < 2:
        return None
    return Stretch(nodes, maps[begin:], functions[begin:], starts[begin], images)


def _image_steps(joint, shape):
    return periodic.image_steps(joint.operator, shape) if len(shape) > 1 else None


class Stretch:
    """A chain of the maps of a model.

    Args:
        nodes: All nodes of the model.
        maps: A `Joint` for each map, in the order of computation.
        functions: Numbers of the nodes of the functions between them.
        start: Number of the node that the chain starts from.
        images: For each of the first maps that is bounded by frequencies, not by its matrix, its `periodic.Step`s.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        maps: list[Joint],
        functions: list[int],
        start: int,
        images: list[list[periodic.Step]],
    ):
        self.start = start
        self.names = [nodes[n].name for joint in maps for n in joint.nodes]
        self._maps, self._images = maps, images
        self._shapes = [nodes[n].shape for n in (start, *functions)]
        self.sorts = any(not isinstance(nodes[n].form, Pointwise) for n in functions)
        self._functions = [function_of(nodes[n].form, nodes[n].size) for n in functions]

    def solved(self, improve: bool, centred: bool = False) -> "Solved | float | None":
        """The chain with a proof, or None where there is none; where all maps are convolutions, its constant.

        Args:
            improve: Whether to search for multipliers of single neurons.
            centred: See `semidefinite.improved`.
        """
        if not all((function.high > 0).all() for function in self._functions):
            return None
        with np.errstate(all="ignore"):  # what overflows proves nothing
            try:
                return self._by_frequencies(improve, centred) if self._images else self._by_matrices(improve, centred)
            except (periodic.PeriodicError, np.linalg.LinAlgError):
                return None

    def _by_frequencies(self, improve, centred):
        steps: list[periodic.Step] = []
        count = len(self._images)
        for number, image in enumerate(self._images):
            steps += image
            if number < len(self._functions):
                steps.append(_of_channels(self._functions[number], self._shapes[number + 1]))
        state = periodic.Covariance(steps, self._shapes[0])
        if count == len(self._maps):
            return state.norm()
        first = state.factor(self._maps[count].matrix, _error(self._maps[count]), self._shapes[count])
        parts = [(first, 0.0), *((joint.matrix, _error(joint)) for joint in self._maps[count + 1 :])]
        return _by_semidefinite(parts, self._functions[count:], improve, centred)

    def _by_matrices(self, improve, centred):
        functions, inputs = list(self._functions), self._maps[0].operator.shape[1]
        if inputs > _INPUTS and np.any(functions[0].low < 0):
            return None
        if inputs > _INPUTS:
            functions[0] = dataclasses.replace(functions[0], low=np.minimum(functions[0].low, 0.0))
        parts = [(joint.matrix, _error(joint)) for joint in self._maps]
        return _by_semidefinite(parts, functions, improve, centred)


def _by_semidefinite(parts, functions, improve, centred):
    """A `Solved` of a chain of pairs (matrix, error), or None."""
    parts = in_coordinates(parts, functions)
    matrices, errors = zip(*parts, strict=True)
    slopes = tuple((function.low, function.high) for function in functions)
    chain, exponent = semidefinite.Chain(matrices, errors, slopes, tuple(f.ties for f in functions)).scaled()
    if not functions:
        count = matrices[0].shape[1]
        return Solved(chain, semidefinite.Shape(np.eye(count), np.ones(count), 1.0), exponent, "semidefinite")
    multipliers = semidefinite.fast(chain)
    if multipliers is None:
        return None
    steps = int(min(_IMPROVING / sum(len(m) ** 3 for m in multipliers), _STEPS[1]))
    if improve and steps >= _STEPS[0]:
        better = semidefinite.improved(chain, multipliers, steps, centred)
        shape = semidefinite.proved_shape(chain, better)
        if shape is not None:
            return Solved(chain, shape, exponent, "semidefinite, each neuron")
    shape = semidefinite.proved_shape(chain, multipliers)
    return None if shape is None else Solved(chain, shape, exponent, "semidefinite")


def _error(joint):
    return joint.sums.error(2)


def _of_channels(function, shape):
    """Slopes of all pixels of a channel together, for images on a torus."""
    if function.before is not None:
        raise periodic.PeriodicError("it sorts")
    low, high = (slope.reshape(-1, shape[-1]) for slope in (function.low, function.high))
    return periodic.Slopes(np.minimum(low.min(axis=0), 0.0), high.max(axis=0))


@dataclasses.dataclass(frozen=True, eq=False)
class Solved:
    """A chain whose `semidefinite.Shape` is proved.

    Attributes:
        chain: The chain, scaled.
        shape: Its shape.
        exponent: e: the constant of the original chain is 2^e times that of this one.
        method: How the multipliers were found.
    """

    chain: semidefinite.Chain
    shape: semidefinite.Shape
    exponent: int
    method: str

    def _squares(self):
        return self.shape.squares(self.chain.matrices[-1], self.chain.errors[-1])

    def norm(self) -> float:
        """The Lipschitz constant."""
        return float(_scaled(semidefinite.norm_of(self._squares()), self.exponent))

    def differences(self) -> Array:
        """The Lipschitz constants of the differences of outputs, of shape (outputs, outputs)."""
        return _scaled(semidefinite.differences_of(self._squares()), self.exponent)


def _scaled(value, exponent):
    with np.errstate(over="ignore", under="ignore"):
        result = np.ldexp(value, exponent)
    return np.where((result < 1e-300) & (np.asarray(value) > 0), 1e-300, result)  # subnormal numbers are rounded
