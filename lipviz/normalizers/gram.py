"""Gram iteration: bounds of largest eigenvalues by repeated squaring.

Reference: Delattre et al. (2023), Efficient bound of Lipschitz constant for convolutional layers by Gram iteration.
"""

from lipviz.normalizers._operations import ops
from lipviz.types import Tensor


class GramIteration:
    """Bounds of the largest eigenvalue λ1 of one or many positive semi-definite matrices, on both sides.

    With q = 2ⁿ after n squarings, λ1(A) ≤ ‖A^q‖_F^(1/q) ≤ rank(A)^(1/2q) λ1(A), and (‖A^q‖²_F / tr A^q)^(1/q) ≤ λ1(A):
    sound after each. Before a squaring matrices are divided by their norms, which are kept as logarithms.

    Args:
        real: Real parts of the matrices, of shape (..., n, n).
        imaginary: Their imaginary parts, antisymmetric, of the same shape; None for real matrices.
    """

    def __init__(self, real: Tensor, imaginary: Tensor = None) -> None:
        self._parts = (real,) if imaginary is None else (real, imaginary)
        self._norms = self._log_norms()
        self._logs, self._power = ops.zeros_like(self._norms), 1.0

    def square(self, times: int = 1) -> None:
        """Square all matrices a number of times."""
        for _ in range(times):
            self._parts = _squared(*(part * ops.exp(-self._norms)[..., None, None] for part in self._parts))
            self._logs, self._power = self._logs + self._power * self._norms, self._power / 2
            self._norms = self._log_norms()

    @property
    def upper(self) -> Tensor:
        """Logarithms of the upper bounds, of shape (...)."""
        return self._logs + self._power * self._norms

    @property
    def lower(self) -> Tensor:
        """Logarithms of the lower bounds, of shape (...), for matrices with a trace far above 1e-15."""
        traces = ops.sum(ops.diagonal(self._parts[0], axis1=-2, axis2=-1), axis=-1)
        return self.upper + self._power * (self._norms - ops.log(traces))

    def keep(self, numbers: Tensor) -> None:
        """Go on with these of the matrices of a stack only, given as an array of ints."""
        self._parts = tuple(ops.take(part, numbers, axis=0) for part in self._parts)
        self._logs, self._norms = (ops.take(value, numbers, axis=0) for value in (self._logs, self._norms))

    def eigenvectors(self) -> tuple[Tensor, ...]:
        """Unit vectors near the first eigenvectors: columns of a high power of a matrix, which is near λ1 v vᴴ.

        Returns:
            A tuple of their real and, for complex matrices, imaginary parts, each of shape (..., n).
        """
        column = ops.argmax(ops.diagonal(self._parts[0], axis1=-2, axis2=-1), axis=-1)[..., None, None]
        columns = [ops.take_along_axis(part, column, axis=-1)[..., 0] for part in self._parts]
        length = ops.rsqrt(ops.sum(_squared_magnitudes(*columns), axis=-1, keepdims=True) + 1e-30)
        return tuple(part * length for part in columns)

    def _log_norms(self):
        """Logarithms of the Frobenius norms."""
        return 0.5 * ops.log(ops.sum(_squared_magnitudes(*self._parts), axis=(-2, -1)) + 1e-30)


def _squared_magnitudes(real, imaginary=None):
    return ops.square(real) if imaginary is None else ops.square(real) + ops.square(imaginary)


def _squared(real, imaginary=None):
    """(P + iQ)² of Hermitian matrices, in parts: QP is −(PQ)ᵀ."""
    if imaginary is None:
        return (ops.matmul(real, real),)
    mixed = ops.matmul(real, imaginary)
    return (
        ops.matmul(real, real) - ops.matmul(imaginary, imaginary),
        mixed - ops.swapaxes(mixed, -1, -2),
    )
