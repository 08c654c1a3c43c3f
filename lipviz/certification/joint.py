"""Affine steps that follow each other or meet again, as one map of the value that they all come from.

The product of the bounds of two steps is larger than the bound of both together, and so is the sum of the bounds of two
branches. Here the steps between two functions that are not affine are one map, W₂W₁, I + W, or W₁ above W₂.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
import scipy.sparse
import scipy.sparse.linalg as sla

from lipviz.certification.computation import Computation
from lipviz.certification.forms import Affine
from lipviz.certification.matrices import matrix_bound
from lipviz.operators.convolution import Convolution, TransposedConvolution
from lipviz.operators.linear import Diagonal
from lipviz.operators.magnitudes import PRODUCT, SCALED, SUM, TRANSPOSED, UnknownEntriesError, largest_sums
from lipviz.operators.singular_values import explicit_matrix
from lipviz.rules.bound import root_of_squares
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
ENTRIES = 2**22  # most entries of a matrix, 32 MiB
_SIDE = 2048  # largest smaller side of a matrix whose norm is wanted
_STEPS = 32  # most steps that one product with a joint map computes
_ROUNDED = 8  # roundings of a weight before it is used, as in √(variance + ε)


@dataclasses.dataclass(frozen=True)
class Sums:
    """What bounds the rounding errors of an operator, and whether it mixes entries.

    Attributes:
        columns: Largest sum of magnitudes in a column.
        rows: Largest sum of magnitudes in a row.
        terms: Most products that are added up for an entry, plus some for the rounding of weights.
        mixing: Number of factors that do more than move, drop or copy entries, or multiply all by one number.
    """

    columns: float
    rows: float
    terms: int
    mixing: int

    def error(self, norm: float) -> float:
        """Bound of the norm of (computed matrix − exact matrix)."""
        size = {1: self.columns, 2: math.sqrt(self.columns) * math.sqrt(self.rows), math.inf: self.rows}[norm]
        return 2 * self.terms * _EPS * size


def sums_of(operator: sla.LinearOperator) -> Sums | None:
    """The `Sums` of an operator; None for one whose parts are not known."""
    try:
        rows, columns = largest_sums(operator)
    except UnknownEntriesError:
        return None
    return Sums(columns, rows, *_terms_and_mixing(operator))


def is_move(operator: sla.LinearOperator) -> bool:
    """Whether an operator only moves, drops or copies entries, and does not stretch."""
    found = sums_of(operator) if type(operator).__name__ == "MatrixLinearOperator" else None
    return found is not None and found.mixing == 0


def _terms_and_mixing(operator):
    """See `Sums`."""
    if isinstance(operator, Convolution):
        return operator.terms + _ROUNDED, 1
    if isinstance(operator, Diagonal):
        return 1 + _ROUNDED, int(not np.all(operator.values == operator.values[:1]))
    if isinstance(operator, TransposedConvolution):
        return _terms_and_mixing(operator.T)
    if isinstance(operator, PRODUCT | SUM):
        (terms, mixing), (more, mixing_too) = map(_terms_and_mixing, operator.args)
        together = mixing + mixing_too
        return terms + more + 2, together if isinstance(operator, PRODUCT) else max(together, 1) + 1
    if isinstance(operator, SCALED):
        terms, mixing = _terms_and_mixing(operator.args[0])
        return terms + 1, mixing
    return _terms_and_mixing(operator.A) if isinstance(operator, TRANSPOSED) else _of_matrix(operator.A)


def _of_matrix(matrix):
    if not scipy.sparse.issparse(matrix):
        return max(matrix.shape) + _ROUNDED, 1
    counts = [np.diff(rows.indptr).max(initial=0) for rows in (matrix.tocsr(), matrix.tocsc())]
    moves = bool(np.all(matrix.data == 1)) and max(counts) <= 1
    return int(max(counts[0], 1)) + 2, 0 if moves else 1


@dataclasses.dataclass(frozen=True, eq=False)
class Joint:
    """An affine value as a map of an earlier value, without the constant that it adds.

    Attributes:
        operator: The map.
        nodes: Numbers of the affine nodes in it, in the order of computation.
        length: Number of products with single steps that a product with it computes.
        off: Sum of the relative errors of its factors, see `Affine`, without that of a diagonal that is the first.
        off_first: Relative error of a diagonal that is its first factor.
    """

    operator: sla.LinearOperator
    nodes: tuple[int, ...]
    length: int
    off: float = 0.0
    off_first: float = 0.0

    @functools.cached_property
    def sums(self) -> Sums | None:
        """The `Sums` of its operator as the first map of a bound, where a smaller diagonal in front adds nothing."""
        found = sums_of(self.operator)
        return found and dataclasses.replace(found, terms=found.terms + _roundings(self.off))

    def error_inside(self) -> float:
        """Bound in l2 of (computed matrix − matrix that is used), wherever the map stands; its sums must be known."""
        assert self.sums is not None
        return dataclasses.replace(self.sums, terms=self.sums.terms + _roundings(self.off_first)).error(2)

    @property
    def fits(self) -> bool:
        """Whether its matrix may be computed."""
        return self.sums is not None and math.prod(self.operator.shape) <= ENTRIES

    @functools.cached_property
    def matrix(self) -> Array:
        """Its matrix, as computed in float64; `sums.error` bounds the error."""
        operator = self.operator
        if isinstance(operator, Convolution) and not operator.sizes and operator.groups == 1:
            return operator.kernel.T
        return explicit_matrix(operator)

    def bound(self, norm: float) -> float:
        """Upper bound of its norm; infinite where its matrix is too large."""
        if not self.fits or (norm == 2 and min(self.operator.shape) > _SIDE):
            return math.inf
        assert self.sums is not None
        return matrix_bound(self.matrix, norm).upper + self.sums.error(norm)

    def differences(self) -> Array:
        """Upper bounds of the norms of the differences of two rows in l2, of shape (rows, rows); of a single row, its.

        Its matrix must fit.
        """
        assert self.sums is not None
        rows, error = self.matrix, self.sums.error(2)
        norms = [root_of_squares(rows - (row if len(rows) > 1 else 0.0), axis=-1) for row in rows]
        return (np.stack(norms) + 2 * error) * (1 + (len(rows[0]) + 8) * _EPS)


def _roundings(off):
    """A relative error as a number of roundings, as `Sums` counts them."""
    return math.ceil(off * (1 + off) / (2 * _EPS))


class Joints:
    """The affine nodes of a `Computation` as maps of values that are not affine, or where such maps would be long.

    Args:
        computation: A `Computation`.
    """

    def __init__(self, computation: Computation):
        self._nodes = computation.nodes
        self._found: dict[int, dict[int, Joint]] = {}
        for number, node in enumerate(self._nodes):
            if isinstance(node.form, Affine):
                self._found[number] = self._composed(number, node)

    def of(self, number: int) -> Mapping[int, Joint]:
        """The maps of which an affine node is the sum, by the number of the node that each takes."""
        return self._found[number]

    def _composed(self, number, node):
        found: dict[int, Joint] = {}
        for part, source in zip(node.form.parts, node.sources, strict=True):
            before = self._found.get(source, {})
            length = sum(joint.length for joint in (*before.values(), *found.values()))
            if not before or length >= _STEPS:  # what it takes is no affine value, or the map would be long
                first = node.form.off if isinstance(part, Diagonal) else 0.0
                _add(found, source, Joint(part, (number,), 1, node.form.off - first, first))
                continue
            for start, joint in before.items():
                nodes, off = (*joint.nodes, number), joint.off + node.form.off
                _add(found, start, Joint(part @ joint.operator, nodes, joint.length + 1, off, joint.off_first))
        return found


def _add(found, start, joint):
    """Add a map to those that are known, by where they start."""
    if start in found:
        other = found[start]
        nodes = tuple(sorted({*other.nodes, *joint.nodes}))
        off = max(each.off + each.off_first for each in (other, joint))
        joint = Joint(other.operator + joint.operator, nodes, other.length + joint.length, off)
    found[start] = joint
