"""Chains of the maps of a model, and their semidefinite bounds: from matrices, or frequency by frequency."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lipviz.certification import periodic, semidefinite
from lipviz.certification.computation import Node
from lipviz.certification.ellipsoids import Ellipsoid, enclosing
from lipviz.certification.forms import Pointwise
from lipviz.certification.functions import Function, beside, function_of, in_coordinates
from lipviz.certification.joint import ENTRIES, Joint
from lipviz.types import Array

_WIDTHS = {"auto": 1024, "tight": 2048}  # most entries of a value inside of a chain
_CUBES = {"auto": 2e9, "tight": 2e10}  # most that the cubes of all widths of a chain add up to
_FREQUENCIES = {False: 3e8, True: 1e10}  # of `periodic.Covariance`, without and with multipliers of neurons
_INPUTS = 2048  # most inputs of a chain whose first function has slopes other than from 0 up
_IMPROVING = 6e9  # steps of descent times the sum of the cubes of all widths: half a minute
_SMALL = 2.0**21  # sum of the cubes of all widths of a small chain: eight layers of 64 neurons, or one of 128
_SPARE = 1e-9  # part of an ellipsoid that is given for the error of a matrix
_EPS = float(np.finfo(np.float64).eps)
_STEPS = (5, 60)  # fewest and most steps of descent


class Link:
    """An affine map of a chain, and the function behind it.

    A value that a later map takes as well passes by the function: the map copies it, and the function keeps it. So a
    chain goes through the two branches of a residual block at once.

    Args:
        nodes: All nodes of the model.
        carried: Numbers of the nodes that pass by.
        joints: The maps of the function's input, by the numbers of the nodes that they take.
        function: Number of the node of the function; None for the last map.
    """

    def __init__(self, nodes: Sequence[Node], carried: tuple[int, ...], joints: dict[int, Joint], function: int | None):
        self.carried, self.joints, self.function = carried, joints, function
        self.starts = tuple(sorted({*carried, *joints}))
        self.sizes = {start: nodes[start].size for start in self.starts}
        self.names = [nodes[node].name for joint in joints.values() for node in joint.nodes]
        self.shape = nodes[self.starts[0]].shape
        self._node = None if function is None else nodes[function]
        self.sorts = function is not None and not isinstance(nodes[function].form, Pointwise)

    @property
    def last(self) -> int | None:
        """The last node that it takes, which may pass by; None where it takes none."""
        return max(self.starts) if self.starts else None

    @property
    def is_single(self) -> bool:
        """Whether it takes one value only."""
        return len(self.starts) == 1

    @property
    def width(self) -> int:
        """Number of entries of what it takes."""
        return sum(self.sizes.values())

    @property
    def fits(self) -> bool:
        """Whether its matrix may be computed."""
        return self.width * self._rows <= ENTRIES and all(joint.fits for joint in self.joints.values())

    @property
    def _rows(self):
        return sum(self.sizes[start] for start in self.carried) + next(iter(self.joints.values())).operator.shape[0]

    @property
    def steps(self) -> "list[periodic.Step] | None":
        """The map as steps on images, or None."""
        if not self.is_single or self.carried or len(self.shape) < 2 or next(iter(self.joints.values())).off:
            return None
        return periodic.image_steps(next(iter(self.joints.values())).operator, self.shape)

    @functools.cached_property
    def matrix(self) -> tuple[Array, float]:
        """The tuple (its matrix, a bound of its error in l2)."""
        if self.is_single and not self.carried:
            (joint,) = self.joints.values()
            return joint.matrix, joint.error_inside()
        blocks = [
            [np.eye(self.sizes[start], self.sizes[other]) if start == other else None for other in self.starts]
            for start in self.carried
        ]
        blocks.append([self.joints[start].matrix if start in self.joints else None for start in self.starts])
        rows = [next(part.shape[0] for part in row if part is not None) for row in blocks]
        filled = [
            [
                np.zeros((count, self.sizes[start])) if part is None else part
                for part, start in zip(row, self.starts, strict=True)
            ]
            for row, count in zip(blocks, rows, strict=True)
        ]
        return np.block(filled), sum(joint.error_inside() for joint in self.joints.values())

    @property
    def first_matrix(self) -> tuple[Array, float]:
        """The same for the first map of a chain, which takes one value."""
        joint = next(iter(self.joints.values()))
        return self.matrix[0], self.matrix[1] if self.carried or joint.sums is None else joint.sums.error(2)

    def behind(self) -> Function:
        """The function behind it: of the last entries, while those that pass by are kept."""
        node: Any = self._node
        own = function_of(node.form, node.size)
        return own if not self.carried else beside(sum(self.sizes[start] for start in self.carried), own)


def solvable(links: list[Link], method: str) -> "Stretch | None":
    """The `Stretch` of the last links of a chain that may be solved: matrices, and convolutions before them.

    Args:
        links: The links of the whole chain.
        method: "auto" or "tight", see `certify`.
    """
    first, cubes = len(links), 0.0  # from here on, all maps are matrices
    while first and links[first - 1].fits:
        width = links[first].width if first < len(links) else 0
        cubes += float(width) ** 3
        if width > _WIDTHS[method] or cubes > _CUBES[method]:
            break
        first -= 1
    while first < len(links) and not links[first].is_single:
        first += 1
    images: list[list[periodic.Step]] = []
    begin = first
    while begin and (steps := links[begin - 1].steps) is not None:
        images.insert(0, steps)
        begin -= 1
        if next(iter(links[begin].joints.values())).off_first:  # what is used is no larger, which counts at the start
            break
    return Stretch(links[begin:], images) if len(links) - begin > 1 else None


class Stretch:
    """A chain of the maps of a model.

    Args:
        links: Its `Link`s, the first of which takes one value.
        images: For each of the first links that is bounded by frequencies, not by its matrix, its `periodic.Step`s.

    Attributes:
        start: Number of the node that the chain starts from.
        names: Names of its affine steps.
        sorts: Whether it goes through sorting.
    """

    def __init__(self, links: list[Link], images: list[list[periodic.Step]]):
        self._links, self._images = links, images
        (self.start,) = links[0].starts
        self.names = [name for link in links for name in link.names]
        self.sorts = any(link.sorts for link in links)

    @property
    def is_small(self) -> bool:
        """Whether multipliers of single neurons take less than about a tenth of a second."""
        return not self._images and sum(float(link.width) ** 3 for link in self._links[1:]) <= _SMALL

    def solved(self, improve: bool, centred: bool = False) -> "Solved | float | None":
        """The chain with a proof, or None where there is none; where all maps are convolutions, its constant.

        Args:
            improve: Whether to search for multipliers of single neurons.
            centred: See `semidefinite.improved`.
        """
        functions = [link.behind() for link in self._links[:-1]]
        if not all((function.high > 0).all() for function in functions):
            return None
        with np.errstate(all="ignore"):  # what overflows proves nothing
            try:
                solve = self._by_frequencies if self._images else self._by_matrices
                return solve(functions, improve, centred)
            except (periodic.PeriodicError, np.linalg.LinAlgError):
                return None

    def _by_frequencies(self, functions, improve, centred):
        steps: list[periodic.Step] = []
        count = len(self._images)
        for number, image in enumerate(self._images):
            steps += image
            if number < len(functions):
                steps.append(_of_channels(functions[number], self._links[number + 1].shape))
        state = periodic.Covariance(steps, self._links[0].shape, _FREQUENCIES[improve])
        if count == len(self._links):
            return state.norm()
        first = state.factor(*self._links[count].matrix, self._links[count].shape)
        parts = [(first, 0.0), *(link.matrix for link in self._links[count + 1 :])]
        return _by_semidefinite(parts, functions[count:], improve, centred)

    def _by_matrices(self, functions, improve, centred):
        if self._links[0].width > _INPUTS and np.any(functions[0].low < 0):
            return None
        if self._links[0].width > _INPUTS:
            functions[0] = dataclasses.replace(functions[0], low=np.minimum(functions[0].low, 0.0))
        first, *others = self._links
        parts = [first.first_matrix, *(link.matrix for link in others)]
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
    found = [_proved(chain, multipliers, exponent, "semidefinite")]
    if improve and steps >= _STEPS[0]:
        better = semidefinite.improved(chain, multipliers, steps, centred)
        found.append(_proved(chain, better, exponent, "semidefinite, each neuron"))
    of_differences = centred and len(matrices[-1]) > 1
    size = (lambda solved: solved.differences().sum()) if of_differences else Solved.norm
    return min(filter(None, found), key=size, default=None)


def _proved(chain, multipliers, exponent, method):
    shape = semidefinite.proved_shape(chain, multipliers)
    return None if shape is None else Solved(chain, shape, exponent, method)


def _of_channels(function, shape):
    """Slopes of all pixels of a channel together, for images on a torus."""
    if function.before is not None:
        raise periodic.PeriodicError("it sorts")
    low, high = function.low, function.high
    if function.behind is not None:  # of either sign
        low = np.where(function.behind.diagonal() < 0, -high, low)
    low, high = (slope.reshape(-1, shape[-1]) for slope in (low, high))
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

    def ellipsoid(self) -> Ellipsoid:
        """The ellipsoid of the differences of the outputs per unit of the difference of the inputs.

        With an error E of the last matrix W, it is (1 + t) W X⁻¹ Wᵀ + (1 + 1/t) E X⁻¹ Eᵀ, for every t > 0.
        """
        found, off, shift = self._squares()
        rounding = (1 + _SPARE) * off + (1 + 1 / _SPARE) * shift**2
        return enclosing((1 + _SPARE) * found, rounding * (1 + 8 * _EPS), self.exponent)

    def differences(self) -> Array:
        """The Lipschitz constants of the differences of outputs, of shape (outputs, outputs)."""
        return _scaled(semidefinite.differences_of(self._squares()), self.exponent)


def _scaled(value, exponent):
    with np.errstate(over="ignore", under="ignore"):
        result = np.ldexp(value, exponent)
    return np.where((result < 1e-300) & (np.asarray(value) > 0), 1e-300, result)  # subnormal numbers are rounded
