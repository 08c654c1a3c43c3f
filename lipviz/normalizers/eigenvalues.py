"""Björck's iteration by the eigenvalues of the Gram matrix: the same result, without its many products.

A step W ← W(3I − WᵀW)/2 multiplies W by a polynomial in A = WᵀW. With A = VΛVᵀ, all steps together are one product
W·V p(Λ) Vᵀ, and p follows from Λ by the same recursion on numbers. Its gradient follows from the divided differences
of p (Daleckii and Krein 1965; Higham 2008, Functions of Matrices, theorem 3.11).
"""

import math
from contextlib import AbstractContextManager

import keras
import numpy as np
from keras.backend import standardize_dtype

from lipviz.normalizers._operations import ops
from lipviz.normalizers.settings import present, within
from lipviz.types import Tensor

# Rounding errors of A grow with the square of what p multiplies small singular values by. Up to here a step on W
# itself repairs them.
_LARGEST_GAIN = {"float32": 500.0, "float64": 1e6}
# Eigenvectors of eigenvalues below this part of the largest are mixed up by the rounding of the Gram matrix.
_SMALL = 1e-3


def without_eigenvalues() -> AbstractContextManager[None]:
    """Within this context, Björck's iteration is run by products with the kernel, as for GPUs.

    XLA's own algorithm for eigenvalues takes much longer than the products that it would save.
    """
    return within(by_eigenvalues=False)


def decomposing_pays() -> bool:
    """Whether eigenvalues are faster than products: on a CPU, with LAPACK or Eigen behind `keras.ops.eigh`."""
    return (
        present().by_eigenvalues
        and keras.backend.backend() in ("tensorflow", "jax")
        and all(device.startswith("cpu") for device in keras.distribution.list_devices())
    )


def bjorck_by_eigenvalues(tall: Tensor, eps: float, maxiter: int) -> tuple[Tensor, Tensor, Tensor]:
    """Divide a matrix by its largest singular value, and run Björck's iteration on it, with β = 0.5.

    The last step is one on the matrix itself. It maps [0, √3] into [0, 1]: whatever rounding did before, within those
    limits, the result is sound.

    Args:
        tall: Matrix of shape (rows, columns), rows ≥ columns, entries of magnitude ≤ 1, one of them 1 unless it is 0.
        eps: Björck stops when an increment's Frobenius norm is below this.
        maxiter: Largest number of iterations, at least 1.

    Returns:
        The tuple (matrix with singular values of at most 1 up to `rounding_margin`; the first right singular vector,
        of shape (1, columns); the largest singular value of `tall`, of shape (1, 1)).
    """
    together = int(math.log(_LARGEST_GAIN[standardize_dtype(tall.dtype)]) / math.log(1.5))
    w, vector, sigma = _differentiable(tall, eps, min(maxiter, together), is_scaled=False)
    for done in range(together, maxiter, together):
        w, _, _ = _differentiable(w, eps, min(maxiter - done, together), is_scaled=True)
    return w, vector, sigma


def _differentiable(w, eps, maxiter, is_scaled):
    def function(w):
        spectrum = _Spectrum(w, eps, maxiter, is_scaled)

        def gradient(*upstream):
            upstream = upstream[0][0] if isinstance(upstream[0], tuple | list) else upstream[0]  # JAX gives one tuple
            return spectrum.gradient(upstream)

        return (spectrum.result(), spectrum.vectors[:, -1][None, :], spectrum.sigma), gradient

    return ops.custom_gradient(function)(w)


class _Spectrum:
    """A matrix W by the eigenvectors of its Gram matrix, and what Björck's iteration makes of it.

    Attributes:
        vectors: Eigenvectors V.
        columns: W·V, whose columns are orthogonal.
        x: Eigenvalues over the largest one.
        factors: p(x): all steps together turn W into W·V p(x) Vᵀ.
        slopes: Derivative of p.
        before: The same factors without the last step.
    """

    def __init__(self, w: Tensor, eps: float, maxiter: int, is_scaled: bool) -> None:
        self.dtype = standardize_dtype(w.dtype)
        self._decompose(w)
        top = ops.max(self.values)
        # A kernel with an entry of 1 has σ1 ≥ 1: the floor acts on zero kernels only.
        self.divisor = ops.ones_like(top) if is_scaled else ops.maximum(top, 0.25)
        self.sigma = ops.reshape(ops.sqrt(top), (1, 1))
        self.x = self.values / self.divisor
        self._iterate(eps, maxiter)

    def _decompose(self, w):
        gram = _gram(w)
        # Eigen raises where it meets NaN. The kernel's own NaN reach the result by the product with it.
        usable = ops.where(ops.isfinite(ops.sum(gram)), gram, ops.eye(gram.shape[0], dtype=gram.dtype))
        values, self.vectors = ops.eigh(usable)
        self.columns = ops.matmul(w, self.vectors)
        has_small = values[0] < _SMALL * values[-1]
        self.vectors, self.columns = ops.cond(has_small, self._turned, lambda: (self.vectors, self.columns))
        # Accurate also where eigenvalues drown in the rounding of the large ones.
        self.values = ops.sum(ops.square(self.columns), axis=0)

    def _turned(self):
        """V and W·V after a first-order step of Jacobi's one-sided method, which parts the small eigenvectors."""
        gram = _gram(self.columns)
        values = ops.diagonal(gram)
        gaps = values - _column(values)
        is_safe = ops.abs(gram) < 0.03 * ops.abs(gaps)
        turn = ops.eye(gram.shape[0], dtype=gram.dtype) + ops.where(is_safe, gram, 0.0) / ops.where(is_safe, gaps, 1.0)
        turn = 1.5 * turn - 0.5 * ops.matmul(turn, _gram(turn))  # orthogonal up to the fourth power of its angles
        return ops.matmul(self.vectors, turn), ops.matmul(self.columns, turn)

    def _iterate(self, eps, maxiter):
        """The recursion on numbers: x ← x m² with m = (3 − x)/2, as often as W would be changed, and p = Π m."""
        # In y = −x/2 a step is three operations, and a model with many layers has thousands of steps to trace.
        y, states, three_halves = -0.5 * self.x, [], ops.convert_to_tensor(1.5, self.dtype)
        for _ in range(maxiter):
            states.append(y)
            m = y + three_halves
            y = y * m * m
        states = ops.stack(states)
        steps, states = states + three_halves, -2 * states
        is_small = ops.sum(states * ops.square(1 - states), axis=1) < (2 * eps) ** 2  # 4 ‖increment‖²
        last = ops.where(ops.any(is_small), ops.argmax(is_small), maxiter - 1)
        count = ops.cast(np.arange(maxiter)[:, None], last.dtype)
        one = ops.ones_like(steps)
        self.before = ops.prod(ops.where(count < last, steps, one), axis=0)
        self.factors = ops.prod(ops.where(count <= last, steps, one), axis=0)
        self.end_before = ops.take(states, last, axis=0)
        # dx_j = Π m (m − x) over the steps before, and p'/p = Σ m'/m.
        grown = ops.cumprod(ops.concatenate([one[:1], steps[:-1] * (steps[:-1] - states[:-1])]), axis=0)
        self.slopes = -0.5 * self.factors * ops.sum(ops.where(count <= last, grown / steps, 0 * one), axis=0)

    def result(self) -> Tensor:
        """W after all steps, the last of them by products."""
        transposed = ops.transpose(self.vectors)
        w = ops.matmul(self.columns * (self.before * ops.rsqrt(self.divisor)), transposed)
        gram = _gram(w)
        # The squares of W's singular values are at most 1, and what this error adds.
        error = gram - ops.matmul(self.vectors * self.end_before, transposed)
        shrink = 1 / ops.maximum((1 + ops.sqrt(ops.sum(ops.square(error)))) / 2.5, 1.0)
        return ops.sqrt(shrink) * (1.5 * w - ops.matmul(w, gram * (0.5 * shrink)))

    def gradient(self, upstream: Tensor) -> Tensor:
        """Of <upstream, W p(WᵀW)>, the divisor and the number of iterations held constant."""
        v, transposed, scale = self.vectors, ops.transpose(self.vectors), ops.rsqrt(self.divisor)
        inner = ops.matmul(ops.matmul(ops.transpose(self.columns), upstream), v)
        inner = self._divided_differences() * (inner + ops.transpose(inner)) * (scale / self.divisor)
        straight = ops.matmul(v * (self.factors * scale), transposed)
        return ops.matmul(upstream, straight) + ops.matmul(self.columns, ops.matmul(inner, transposed))

    def _divided_differences(self):
        """(p(x) − p(y)) / (x − y) for all pairs of eigenvalues; the mean of the two slopes where they are close."""
        x, y = _column(self.x), self.x
        # Here cancellation, eps/t, and what the mean leaves out, t², are about equal.
        close = (4 * float(np.finfo(self.dtype).eps)) ** (1 / 3)
        gaps = x - y
        is_far = ops.abs(gaps) > close * (x + y)
        quotient = (_column(self.factors) - self.factors) / ops.where(is_far, gaps, 1.0)
        return ops.where(is_far, quotient, (_column(self.slopes) + self.slopes) / 2)


def _column(x):
    return ops.expand_dims(x, 1)


def _gram(w):
    return ops.matmul(ops.transpose(w), w)
