"""Functions of a model as diagonal ones: elementwise functions are, and sorting is in other coordinates.

The difference of two sorted vectors is a mean of permutations of the difference z of the vectors: its sum is that of z,
and its norm is no larger. In orthonormal coordinates, the first of which is the sum of a group over the root of its
size, the first is kept, and the norm of the others does not grow. For two entries, that is an absolute value:
max and min are (z_1 + z_2)/2 ± |z_1 − z_2|/2. The same holds for the positive and negative parts of a number z, whose
difference is z and whose sum is |z|.

Reference: Pauli, Havens, Araujo, Garg, Khorrami, Allgöwer and Hu (2024), Novel quadratic constraints for extending
LipSDP beyond slope-restricted activations.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse

from lipviz.certification.forms import Pointwise, Sorting, Splitting
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """A function y = G φ(T x) between two affine maps, where φ is diagonal for differences, see `semidefinite.Chain`.

    Attributes:
        low: Smallest slopes of φ, of shape (entries,), with ``|low|`` ≤ high.
        high: Largest slopes.
        ties: Numbers of the multipliers of the entries, see `semidefinite.Chain`.
        before: T, a sparse matrix; None for I.
        behind: G, a sparse matrix with orthonormal columns; None for I.
    """

    low: Array
    high: Array
    ties: Array
    before: scipy.sparse.csr_array | None = None
    behind: scipy.sparse.csr_array | None = None


def function_of(form: Pointwise | Sorting | Splitting, size: int) -> Function:
    """A form of `computation` as a `Function`.

    Args:
        form: The form.
        size: Number of entries that it returns.
    """
    if isinstance(form, Pointwise):
        return _pointwise(form, size)
    return _sorting(form, size) if isinstance(form, Sorting) else _splitting(form, size)


def beside(count: int, own: Function) -> Function:
    """A function that keeps the first entries.

    Args:
        count: Number of entries that it keeps.
        own: The function of the others.
    """
    ones = np.ones(count)
    identity = scipy.sparse.eye_array(count)
    sparse = [
        None if part is None else scipy.sparse.block_diag([identity, part], "csr") for part in (own.before, own.behind)
    ]
    ties = np.concatenate([np.arange(count), count + own.ties])
    return Function(np.concatenate([ones, own.low]), np.concatenate([ones, own.high]), ties, *sparse)


def _pointwise(form, size):
    """Where the slopes are larger below 0, φ is the negative of the function, and G gives it back its sign."""
    low, high = (np.broadcast_to(np.asarray(slope, np.float64), (size,)) for slope in form.slopes)
    turned = np.abs(low) > high
    signs = scipy.sparse.diags_array(np.where(turned, -1.0, 1.0)).tocsr() if turned.any() else None
    return Function(np.where(turned, -high, low), np.where(turned, -low, high), np.arange(size), behind=signs)


def _sorting(form, size):
    count, width = form.groups.shape
    turn = scipy.linalg.orth(np.eye(width) - 1 / width) if width > 1 else np.zeros((1, 0))
    turn = np.concatenate([np.full((width, 1), width**-0.5), turn], axis=1).T
    rows, columns = np.arange(size).reshape(count, width), form.groups
    entries = np.broadcast_to(turn, (count, width, width)).reshape(-1)
    places = (np.repeat(rows[:, :, None], width, 2).reshape(-1), np.repeat(columns[:, None], width, 1).reshape(-1))
    before = scipy.sparse.csr_array((entries, places), shape=(size, size))
    sums = np.arange(size) % width == 0
    ties = np.where(sums, np.arange(size) // width, count + np.arange(size) // width)
    high = np.full(size, form.factor)
    return Function(
        np.where(sums, high, -high), high, np.unique(ties, return_inverse=True)[1], before, before.T.tocsr()
    )


def _splitting(form, size):
    count, root = size // 2, 0.5**0.5
    places = np.arange(count)
    before = root * scipy.sparse.vstack([scipy.sparse.eye_array(count)] * 2)
    rows = np.concatenate([form.positive, form.positive, form.negative, form.negative])
    columns = np.concatenate([places, places + count, places, places + count])
    entries = root * np.repeat([1.0, 1.0, -1.0, 1.0], count)
    behind = scipy.sparse.csr_array((entries, (rows, columns)), shape=(size, size))
    high = np.full(size, form.factor)
    low = np.where(np.arange(size) < count, high, -high)
    return Function(low, high, np.arange(size), before.tocsr(), behind)


def in_coordinates(parts: Sequence[tuple[Array, float]], functions: Sequence[Function]) -> list[tuple[Array, float]]:
    """The matrices of a chain in the coordinates of the functions between them: T_i W_i G_{i−1}.

    Args:
        parts: Pairs (matrix, bound of its error in l2).
        functions: The functions between them.

    Returns:
        A list of such pairs.
    """
    found = []
    for number, (matrix, error) in enumerate(parts):
        behind = functions[number - 1].behind if number else None
        before = functions[number].before if number < len(functions) else None
        if behind is not None:
            matrix = matrix @ behind
        if before is not None:
            matrix = before @ matrix
        if before is not None or behind is not None:
            width = max(int(np.diff(part.indptr).max()) for part in (before, behind) if part is not None)
            error = error * (1 + 1e-12) + 16 * (width + 4) * _EPS * float(np.linalg.norm(matrix))
        found.append((matrix, error))
    return found
