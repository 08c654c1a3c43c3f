"""The largest eigenvalue of many Hermitian matrices in float64: found by Lanczos' method, proved by Cholesky's.

If the factorization of tI − A succeeds in floating point, A has no eigenvalue above t by more than the factorization's
backward error (Rump 2006, Verification of positive definiteness, BIT 46). It costs a small part of what the eigenvalues
cost. Matrices are tried one by one with the largest value so far, and only where that fails, an eigenvalue is computed.
In random order, that happens about log n times for n matrices.
"""

import numpy as np
import scipy.linalg
import scipy.sparse.linalg as sla

from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_DECOMPOSED = 8  # side up to which all eigenvalues are computed, which is as fast
_ROOMS = (1e-10, 1e-8, 1e-6)  # above what Lanczos' method found, which may not have converged

_FACTORIZE = {"d": scipy.linalg.lapack.dpotrf, "D": scipy.linalg.lapack.zpotrf}


def largest_eigenvalue(matrices: Array, floor: float) -> tuple[float, int | None]:
    """Bound the eigenvalues of positive semi-definite matrices from above, tight where they exceed a value.

    Args:
        matrices: Array of shape (n, c, c), Hermitian, float64 or complex128. It is best in random order.
        floor: Value of interest, at least 0.

    Returns:
        The tuple (bound of all eigenvalues, index of the matrix at which it was found). It is (floor, None) if no
        eigenvalue exceeds the floor. Else the bound exceeds the largest eigenvalue by a relative 1e-9 or less, apart
        from matrices whose first eigenvalues are hard to tell apart (1e-6).
    """
    if matrices.shape[-1] <= _DECOMPOSED:
        return _decomposed(matrices, floor)
    place = None
    for number, matrix in enumerate(matrices):
        if not is_below(matrix, floor):
            floor, place = proved_eigenvalue(matrix), number
    return floor, place


def are_below(matrices: Array, bound: float) -> bool:
    """Whether all of some positive semi-definite matrices are proved to have no eigenvalue above `bound`.

    Args:
        matrices: See `largest_eigenvalue`.
        bound: A float.
    """
    return all(is_below(matrix, bound) for matrix in matrices)


def _decomposed(matrices, floor):
    values = np.linalg.eigvalsh(matrices)[:, -1]
    index = int(np.argmax(values))
    value = max(float(values[index]), 0.0) * (1 + rounding_of_eigenvalues(matrices.shape[-1]))
    return (value, index) if value > floor else (floor, None)


def rounding_of_eigenvalues(side: int) -> float:
    """Relative margin for the largest eigenvalue that LAPACK computes: it is that of a matrix off by about n ε ‖A‖."""
    return 4 * side * _EPS


def is_below(matrix: Array, bound: float) -> bool:
    """Whether a positive semi-definite matrix is proved to have no eigenvalue above `bound`.

    Args:
        matrix: Array of shape (c, c), Hermitian, float64 or complex128.
        bound: A float.
    """
    if bound <= 0:
        return not np.any(matrix)
    shifted = -matrix
    shifted.flat[:: len(matrix) + 1] += bound * (1 - _backward_error(len(matrix)))
    factorize = _FACTORIZE[matrix.dtype.char]
    # LAPACK takes columns first: the transpose, which has the same eigenvalues.
    return factorize(shifted.T, lower=1, clean=0, overwrite_a=1)[1] == 0


def _backward_error(side):
    """Bound of the backward error of a factorization of tI − A, relative to t, for A ≥ 0.

    The factor is that of a matrix off by at most γ √(aᵢᵢ aⱼⱼ) in entry (i, j), hence in norm by γ times the trace,
    which is at most n t. In complex arithmetic, an inner product of n terms has 2n products in each of its two parts,
    so that γ is about √2 · 2n · ε/2. The rounding of tI − A itself is one more term.
    """
    return 3 * (side + 4) * _EPS * side


def proved_eigenvalue(matrix: Array) -> float:
    """A proved upper bound of the largest eigenvalue of a positive semi-definite matrix, close to it.

    Args:
        matrix: Array of shape (c, c), Hermitian, float64 or complex128.

    Returns:
        A float.
    """
    return proved_above(matrix, lanczos_eigenvalue(matrix))


def proved_above(matrix: Array, found: float) -> float:
    """The same as `proved_eigenvalue`, from an estimate of the eigenvalue from below, at least 0."""
    for room in _ROOMS:
        bound = found * (1 + room + _backward_error(len(matrix)))
        if is_below(matrix, bound):
            return bound
    return max(float(np.linalg.eigvalsh(matrix)[-1]), 0.0) * (1 + rounding_of_eigenvalues(len(matrix)))


def lanczos_eigenvalue(matrix: Array) -> float:
    """The largest eigenvalue of a positive semi-definite matrix by Lanczos' method (ARPACK), which is no proof.

    Where that does not converge, and up to 8 rows, all eigenvalues are computed.

    Args:
        matrix: Array of shape (c, c), Hermitian.

    Returns:
        A float of at least 0. Apart from rounding, it does not exceed the largest eigenvalue.
    """
    if len(matrix) <= _DECOMPOSED:
        return max(float(np.linalg.eigvalsh(matrix)[-1]), 0.0)
    start = np.random.default_rng(0).standard_normal(len(matrix)).astype(matrix.dtype)
    if not np.any(matrix @ start):
        return 0.0
    try:
        values = sla.eigsh(matrix, 1, which="LA", v0=start, tol=1e-11, return_eigenvectors=False)
    except sla.ArpackError:
        values = np.linalg.eigvalsh(matrix)
    return max(float(values[-1]), 0.0)
