"""Operators with the magnitudes of the entries of others, which bound sums of absolute values."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg as sla

from lipviz.operators.convolution import Convolution, TransposedConvolution
from lipviz.operators.linear import Diagonal

_MARGIN = 1 + 1e-9  # far above the rounding of float64
_STEPS = 5
_UNDERFLOW = 1e-280  # sums of a product below which its entries may lose digits
_LEAST = 1e-30  # so that all entries of a vector stay positive
_one = sla.aslinearoperator(np.eye(1))
PRODUCT, SUM, SCALED = type(_one @ _one), type(_one + _one), type(2.0 * _one)
TRANSPOSED = type(_one.T)


class UnknownEntriesError(ValueError):
    """The entries of an operator cannot be read."""


def magnitudes(operator: sla.LinearOperator) -> sla.LinearOperator:
    """An operator of the same shape, with entries that are at least the magnitudes of those of another.

    They are the magnitudes, except for a product or a sum of operators: it has the product or the sum of theirs.

    Args:
        operator: A convolution or its transpose, a `Diagonal`, an operator of a matrix, or a product, sum or multiple
            of such.

    Raises:
        UnknownEntriesError: If it is another one.
    """
    if isinstance(operator, Convolution):
        return operator.with_kernel(np.abs(operator.kernel))
    if isinstance(operator, TransposedConvolution):
        return magnitudes(operator.T).T
    if isinstance(operator, Diagonal):
        return Diagonal(np.abs(operator.values))
    if isinstance(operator, PRODUCT):
        first, second = operator.args
        return magnitudes(first) @ magnitudes(second)
    if isinstance(operator, SUM):
        first, second = operator.args
        return magnitudes(first) + magnitudes(second)
    if isinstance(operator, SCALED):
        part, factor = operator.args
        return abs(factor) * magnitudes(part)
    if hasattr(operator, "A"):
        return sla.aslinearoperator(abs(operator.A))
    raise UnknownEntriesError(f"The entries of a {type(operator).__name__} cannot be read.")


def largest_sums(operator: sla.LinearOperator) -> tuple[float, float]:
    """Bounds of the largest sum of magnitudes in a row, and of that in a column.

    Args:
        operator: What `magnitudes` takes, or a product, sum, multiple or transpose of such. A product has the product
            of the sums of its factors, and a sum has their sum.

    Returns:
        The tuple (of a row, of a column).

    Raises:
        UnknownEntriesError: See `magnitudes`; or if entries of a product may underflow.
    """
    if isinstance(operator, PRODUCT | SUM):
        join: Callable[[Iterable[float]], float] = math.prod if isinstance(operator, PRODUCT) else sum
        parts = list(zip(*map(largest_sums, operator.args), strict=True))
        rows, columns = map(join, parts)
        if any(min(part) > 0 and total < _UNDERFLOW for part, total in zip(parts, (rows, columns), strict=True)):
            raise UnknownEntriesError("The entries of a product are too small for float64.")
    elif isinstance(operator, SCALED):
        rows, columns = (abs(float(operator.args[1])) * size for size in largest_sums(operator.args[0]))
    elif isinstance(operator, TRANSPOSED):
        columns, rows = largest_sums(operator.A)
    else:
        sizes = magnitudes(operator)
        sums = sizes @ np.ones(sizes.shape[1]), sizes.T @ np.ones(sizes.shape[0])
        rows, columns = (float(each.max(initial=0.0)) for each in sums)
    return rows, columns


def norm_of_positive(operator: sla.LinearOperator) -> float:
    """Upper bound of the norm in l2 of an operator without negative entries.

    For every x > 0, the largest eigenvalue of M = AᵀA is at most max (Mx)_i / x_i, the bound of Collatz and Wielandt. A
    few steps of the power method make it nearly exact.
    """
    x = np.ones(operator.shape[1])
    best = math.inf
    for _ in range(_STEPS):
        image = operator.T @ (operator @ x)
        best = min(best, float((image / x).max(initial=0.0)))
        top = image.max(initial=0.0)
        if not 0 < top < math.inf:
            break
        x = np.maximum(image / top, _LEAST)
    return math.sqrt(best) * _MARGIN


def norm_of_small(operator: sla.LinearOperator, below: float) -> float:
    """Upper bound of how much a product changes where entries of small magnitude become 0: the norm of that change.

    Args:
        operator: See `magnitudes`.
        below: Entries of a magnitude below this one become 0, or stay what they are.
    """
    if isinstance(operator, Convolution):
        kernel = _small(operator.kernel, below)
        return norm_of_positive(operator.with_kernel(kernel)) if kernel.any() else 0.0
    if isinstance(operator, TransposedConvolution):
        return norm_of_small(operator.T, below)
    if isinstance(operator, Diagonal):
        return float(_small(operator.values, below).max(initial=0.0))
    if isinstance(operator, SUM):
        return sum(norm_of_small(part, below) for part in operator.args)
    if isinstance(operator, PRODUCT):
        first, second = operator.args
        changes = norm_of_small(first, below), norm_of_small(second, below)
        norms = [norm_of_positive(magnitudes(part)) if any(changes) else 0.0 for part in (first, second)]
        return changes[0] * norms[1] + norms[0] * changes[1]
    if isinstance(operator, SCALED):
        part, factor = operator.args
        return abs(factor) * norm_of_small(part, below)
    if hasattr(operator, "A"):
        return norm_of_positive(sla.aslinearoperator(_small(operator.A, below)))
    raise UnknownEntriesError(f"The entries of a {type(operator).__name__} cannot be read.")


def _small(entries: Any, below: float) -> Any:
    """Magnitudes of the entries of an array or a sparse matrix, and 0 in the place of those that are not small."""
    sizes = abs(entries)
    if scipy.sparse.issparse(sizes):
        sizes = sizes.tocsr()
        sizes.data = _small(sizes.data, below)
        return sizes
    return np.where(sizes < below, sizes, 0.0)
