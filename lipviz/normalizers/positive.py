"""A proof in floating point that a real symmetric matrix is positive definite: its Cholesky factorization succeeds.

The factor is that of a matrix that is off by at most γ √(aᵢᵢ aⱼⱼ) in entry (i, j), with γ about n ε, hence in norm by γ
times the trace. So a margin of that size is subtracted from the diagonal before.

Reference: Rump (2006), Verification of positive definiteness, BIT 46.
"""

import numpy as np
import scipy.linalg

from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)


def cholesky(matrix: Array) -> Array | None:
    """The lower factor L of a symmetric float64 matrix, with zeros above; None where the factorization breaks down."""
    lower, failed = scipy.linalg.lapack.dpotrf(matrix, lower=1, clean=1)
    return None if failed or not np.isfinite(lower).all() else lower


def backward_error(matrix: Array) -> float:
    """Bound in norm of the backward error of a factorization of a symmetric matrix less a small multiple of I."""
    return 2 * (len(matrix) + 4) * _EPS * float(np.abs(np.diagonal(matrix)).sum())


def is_above(matrix: Array, least: float, off: float = 0.0) -> bool:
    """Whether a symmetric matrix is proved to have no eigenvalue of `least` or below.

    Args:
        matrix: float64 array of shape (n, n).
        least: A number of at least 0.
        off: Bound in norm of how far the matrix may be from the one that is meant.
    """
    shifted = matrix.copy()
    shifted.flat[:: len(matrix) + 1] -= least + off + backward_error(matrix)
    return cholesky(shifted) is not None
