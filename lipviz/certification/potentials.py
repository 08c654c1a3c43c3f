"""Residual blocks a·x − Hᵀ T φ(H x + b): gradient steps of a convex potential, if φ has slopes of at least 0.

Between two inputs, the values of φ differ by D times the difference of H x, with a diagonal D whose entries are slopes
of φ, between α and β. So the outputs of the block differ by (a·I − Hᵀ T D H) times the difference of the inputs. With a
diagonal T ≥ 0, that is a symmetric matrix. Let M = ‖T^(1/2) H‖². Then Hᵀ T D H lies between min(α, 0)·M and β·M, and
the block is Lipschitz with

    max(a − min(α, 0)·M, β·M − a),    a ≥ 0.

For M ≤ 2a/β and α ≥ 0 this is a, while a sum of bounds of the two branches gives a + β·M. A plain network may hold the
rounded kernel G of the way back. T is the best one for G ≈ −HᵀT, and what is left, E = G + HᵀT, adds
max(|α|, β)·‖E‖·‖H‖.

This is theorem 3 of Araujo et al. (2023), for SDP-based Lipschitz layers, and convex potential layers before them
(Meunier et al. 2022), for kernels as they are found in a model of any origin.
"""

import dataclasses
import math

import numpy as np
import scipy.sparse.linalg as sla

from lipviz.certification.computation import Node
from lipviz.certification.forms import Affine, Pointwise
from lipviz.certification.joint import ENTRIES, is_move, sums_of
from lipviz.certification.matrices import matrix_bound, operator_bound
from lipviz.operators.convolution import Convolution
from lipviz.operators.linear import Diagonal
from lipviz.operators.magnitudes import SCALED, norm_of_positive
from lipviz.operators.singular_values import explicit_matrix

_UP = 1 + 1e-12
_EPS = float(np.finfo(np.float64).eps)


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """The parts of a residual block.

    Attributes:
        start: Number of the node that the block takes.
        nodes: Numbers of the nodes in it, in the order of computation.
        bound: Its Lipschitz constant in l2, an upper bound.
    """

    start: int
    nodes: tuple[int, ...]
    bound: float


def block_before(nodes: tuple[Node, ...], number: int) -> Block | None:
    """The residual block that ends at a node, or None.

    Args:
        nodes: All nodes of a model.
        number: Number of a node.
    """
    form, sources = nodes[number].form, nodes[number].sources
    if not isinstance(form, Affine) or len(sources) != 2:
        return None
    for skip, branch in ((0, 1), (1, 0)):
        a = multiple_of_identity(form.parts[skip])
        found = None if a is None else _branch(nodes, sources[skip], sources[branch], form.parts[branch])
        if a is not None and found is not None:
            there, back, function, between = found
            bound = _bound(a, there, back, function)
            return None if bound is None else Block(sources[skip], (*between, number), bound)
    return None


def multiple_of_identity(operator: sla.LinearOperator) -> float | None:
    """The factor a of an operator a·I that was made of sparse matrices, or None."""
    if isinstance(operator, SCALED):
        inner = multiple_of_identity(operator.args[0])
        return None if inner is None else inner * float(operator.args[1])
    if operator.shape[0] != operator.shape[1] or not is_move(operator):
        return None
    matrix = operator.A.tocoo()
    places = np.arange(operator.shape[0])
    same = len(matrix.row) == len(places) and np.array_equal(np.sort(matrix.row), places)
    return 1.0 if same and np.array_equal(matrix.row, matrix.col) else None


def _branch(nodes, start, end, last):
    """The operators to and from the only function on the way from one node to another, its form, and all nodes."""
    back, end, behind = _walked(nodes, end, last)
    function = nodes[end].form
    if not isinstance(function, Pointwise) or len(nodes[end].sources) != 1:
        return None
    there, first, before = _walked(nodes, nodes[end].sources[0], None, start)
    if first != start or there is None or not all(_scales_as_one(nodes[number].form) for number in (*before, *behind)):
        return None
    return there, back, function, (*before, end, *behind)


def _scales_as_one(form):
    """Whether the numbers that are used are those of an affine map, or all smaller by one factor, see `Affine.off`.

    A smaller factor leaves the block a block, with a smaller M. Several factors would not.
    """
    (part,) = form.parts
    return not form.off or isinstance(part, SCALED) or (isinstance(part, Diagonal) and np.ptp(part.values) == 0)


def _walked(nodes, number, operator, until=-1):
    """The affine maps of one value each before a node as one operator, where they begin, and their numbers."""
    passed: list[int] = []
    while number != until and isinstance(form := nodes[number].form, Affine) and len(form.parts) == 1:
        operator = form.parts[0] if operator is None else _product(operator, form.parts[0])
        passed.insert(0, number)
        (number,) = nodes[number].sources
    return operator, number, passed


def _product(first, second):
    """The product of two operators; a multiple of the identity is a factor."""
    for one, other in ((first, second), (second, first)):
        if (factor := multiple_of_identity(one)) is not None:
            return other if factor == 1 else factor * other
    return first @ second


def _bound(a, there, back, function):
    """The constant of a block, or None where its way back is no transpose of its way there."""
    slopes = [np.asarray(slope, np.float64) for slope in function.slopes]
    low, high = float(slopes[0].min(initial=math.inf)), float(slopes[1].max(initial=-math.inf))
    pair = _kernels(there, back) if math.isfinite(low) and math.isfinite(high) and a >= 0 and high >= 0 else None
    if pair is None:
        return None
    weighted, norm, rest = pair
    size, steepest = weighted**2, max(abs(low), high)
    return max(a - min(low, 0.0) * size, high * size - a) * _UP + steepest * rest * norm * _UP


def _kernels(there, back):
    """Bounds of ‖T^(1/2)H‖, ‖H‖ and ‖E‖, for the best T; None where no T ≥ 0 is near."""
    back, factor = (back.args[0], float(back.args[1])) if isinstance(back, SCALED) else (back, 1.0)
    adjoint = _adjoint(back)
    if not (isinstance(there, Convolution) and isinstance(adjoint, Convolution) and _alike(there, adjoint)):
        return _matrices(there, factor * back)
    if there.groups != 1:
        return None
    first, second = there.kernel, -factor * adjoint.kernel
    weights = _weights(first.reshape(-1, first.shape[-1]), second.reshape(-1, first.shape[-1]))
    if weights is None:
        return None
    kernels = first * np.sqrt(weights), first, second - first * weights
    weighted, norm, rest = (operator_bound(there.with_kernel(kernel), 2).upper for kernel in kernels)
    # Each entry is rounded a few times. Those of the first kernel are as they are.
    sizes = kernels[0], np.abs(first) * weights + np.abs(second)
    errors = [4 * _EPS * norm_of_positive(there.with_kernel(np.abs(kernel))) for kernel in sizes]
    return weighted + errors[0], norm, rest + errors[1]


def _adjoint(operator):
    """The transpose of an operator; of a dense layer, or of one tap for each pixel, as a convolution."""
    one_pixel = isinstance(operator, Convolution) and math.prod(operator.kernel.shape[:-2]) == 1
    if not one_pixel or operator.groups != 1 or set(operator.strides) - {1}:
        return operator.T
    return operator.with_kernel(np.swapaxes(operator.kernel, -1, -2))


def _alike(first, second):
    """Whether two convolutions differ in their kernels only."""
    names = ("sizes", "strides", "padding", "dilations", "groups", "channels_first")
    return first.kernel.shape == second.kernel.shape and all(
        getattr(first, name) == getattr(second, name) for name in names
    )


def _weights(columns, others):
    """The t ≥ 0 with columns · diag(t) nearest to others; None where one is negative or they are far from it."""
    squares = np.square(columns).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(squares > 0, (columns * others).sum(axis=0) / squares, 0.0)
    near = np.linalg.norm(others - columns * weights) <= 1e-2 * np.linalg.norm(others)
    return weights if (weights >= 0).all() and np.isfinite(weights).all() and near else None


def _matrices(there, back):
    """`_kernels` from explicit matrices, where they are small enough."""
    ahead, behind = sums_of(there), sums_of(back)
    if ahead is None or behind is None or max(math.prod(each.shape) for each in (there, back)) > ENTRIES:
        return None
    first, second = explicit_matrix(there).T, -explicit_matrix(back)
    weights = _weights(first, second)
    if weights is None:
        return None
    errors = ahead.error(2), behind.error(2)
    norms = [matrix_bound(matrix, 2).upper for matrix in (first * np.sqrt(weights), first, second - first * weights)]
    most = float(weights.max(initial=0.0))
    return (
        (norms[0] + math.sqrt(most) * errors[0]) * _UP,
        norms[1] + errors[0],
        norms[2]
        + errors[1]
        + most * errors[0]
        + 4 * _EPS * float(np.linalg.norm(np.abs(first) * weights + np.abs(second))),
    )
