"""Björck's iteration by the eigenvalues of the Gram matrix: the same result with fewer matrix products.

A step W ← W(3I − WᵀW)/2 multiplies W by a polynomial in A = WᵀW. With A = VΛVᵀ, all steps together are one product
W·V p(Λ) Vᵀ, and p follows from Λ by the same recursion on numbers. Its gradient follows from the divided differences
of p (Daleckii and Krein 1965; Higham 2008, Functions of Matrices, theorem 3.11).
"""

import math
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
from keras.backend import standardize_dtype

from lipviz.keras_internals import with_noted_graph
from lipviz.normalizers._operations import ops
from lipviz.normalizers.settings import present, within
from lipviz.types import DType, Tensor

# Rounding errors of A grow with the square of the largest factor that p has at small singular values. Up to these
# factors, a step on W itself corrects them.
_LARGEST_GAIN = {"float32": 500.0, "float64": 1e6}
# Eigenvalues below this share of the largest one have eigenvectors that the rounding of the Gram matrix mixes.
SMALL = 1e-3


def without_eigenvalues() -> AbstractContextManager[None]:
    """Within this context, Björck's iteration uses products with the kernel, as on GPUs.

    XLA's own algorithm for eigenvalues takes much longer than the products that it would replace.
    """
    return within(by_eigenvalues=False)


def decomposing_pays() -> bool:
    """Whether eigenvalues are faster than products: on a CPU, with LAPACK or Eigen behind `keras.ops.eigh`."""
    return (
        present().by_eigenvalues
        and keras.backend.backend() in ("tensorflow", "jax")
        and all(device.startswith("cpu") for device in keras.distribution.list_devices())
    )


def most_together(dtype: DType) -> int:
    """Largest number of iterations that one decomposition replaces: 15 in float32, 34 in float64."""
    return int(math.log(_LARGEST_GAIN[dtype]) / math.log(1.5))


def bjorck_by_eigenvalues(tall: Tensor, eps: float, maxiter: int) -> tuple[Tensor, Tensor, Tensor]:
    """Divide a matrix by its largest singular value, and run Björck's iteration on it, with β = 0.5.

    The last step is a step on the matrix itself. It maps singular values in [0, √3] to [0, 1]. So the result is sound
    if rounding before it left them in [0, √3].

    Args:
        tall: Matrix of shape (rows, columns), rows ≥ columns, entries of magnitude ≤ 1, one of them 1 unless it is 0.
        eps: Björck stops when an increment's Frobenius norm is below this.
        maxiter: Largest number of iterations, at least 1.

    Returns:
        The tuple (matrix with singular values of at most 1 up to `rounding_margin`; the first right singular vector,
        of shape (1, columns); the largest singular value of `tall`, of shape (1, 1)).
    """
    together = most_together(standardize_dtype(tall.dtype))
    w, vector, sigma = _differentiable(tall, eps, min(maxiter, together), is_scaled=False)
    for done in range(together, maxiter, together):
        w, _, _ = _differentiable(w, eps, min(maxiter - done, together), is_scaled=True)
    return w, vector, sigma


def _differentiable(w, eps, maxiter, is_scaled):
    def function(w):
        spectrum = Spectrum(w, eps, maxiter, is_scaled)

        def gradient(*upstream):
            upstream = upstream[0][0] if isinstance(upstream[0], tuple | list) else upstream[0]  # on JAX, a tuple
            return spectrum.gradient(upstream)

        return (spectrum.result(), spectrum.vectors[:, -1][None, :], spectrum.sigma), gradient

    return with_noted_graph(ops.custom_gradient(function)(w))


def usable(gram: Tensor) -> Tensor:
    """A Gram matrix, or the identity if it is not finite.

    Eigen raises an error on NaN. If the kernel has NaN, the result gets them from the product with the kernel.
    """
    return ops.where(ops.isfinite(ops.sum(gram)), gram, ops.eye(ops.shape(gram)[0], dtype=gram.dtype))


def shrinkage(gram: Tensor, want: Tensor) -> Tensor:
    """Factor of σ² that keeps all σ of a matrix within [0, √2.5], where Björck's step maps them into [0, 1].

    Args:
        gram: Gram matrix of the matrix.
        want: What it is up to rounding: a matrix with eigenvalues of at most 1.

    Returns:
        A scalar tensor, 1 unless rounding was very large.
    """
    return 1 / ops.maximum((1 + ops.sqrt(ops.sum(ops.square(gram - want)))) / 2.5, 1.0)


class Spectrum:
    """A matrix W in terms of the eigenvectors of its Gram matrix, and the result of Björck's iteration.

    Args:
        w: Tall matrix W.
        eps: Björck stops when an increment's Frobenius norm is below this.
        maxiter: Largest number of iterations.
        is_scaled: Whether σ1 is at most 1 already; otherwise W is divided by it.
        decomposition: Eigenvalues and eigenvectors of WᵀW, if they are known.

    Attributes:
        vectors: Eigenvectors V.
        columns: W·V, whose columns are orthogonal.
        top: Largest eigenvalue.
        x: Eigenvalues over the largest one.
        factors: p(x): all steps together turn W into W·V p(x) Vᵀ.
        slopes: Derivative of p.
        before: The same factors without the last step.
    """

    def __init__(self, w: Tensor, eps: float, maxiter: int, is_scaled: bool, decomposition: Any = None) -> None:
        self.dtype = standardize_dtype(w.dtype)
        self._set_columns(w, *(decomposition or ops.eigh(usable(_gram(w)))))
        self.top = ops.max(self.values)
        one = ops.ones_like(self.top)
        # All kernels but zeros are scaled so that σ1 is far above this.
        self.divisor = one if is_scaled else ops.where(self.top > 1e-16, self.top, 0.25 * one)
        self.sigma = ops.reshape(ops.sqrt(self.top), (1, 1))
        self.x = self.values / self.divisor
        self._iterate(eps, maxiter)

    def _set_columns(self, w, values, vectors):
        self.vectors, self.columns = vectors, ops.matmul(w, vectors)
        has_small = values[0] < SMALL * values[-1]
        self.vectors, self.columns = ops.cond(has_small, self._turned, lambda: (self.vectors, self.columns))
        # More accurate than `values`, where eigenvalues are smaller than the rounding error of the large ones.
        self.values = ops.sum(ops.square(self.columns), axis=0)

    def _turned(self):
        """V and W·V after a first-order step of Jacobi's one-sided method, which separates the small eigenvectors."""
        gram = _gram(self.columns)
        values = ops.diagonal(gram)
        gaps = values - _column(values)
        is_safe = ops.abs(gram) < 0.03 * ops.abs(gaps)
        turn = ops.eye(ops.shape(gram)[0], dtype=gram.dtype) + ops.where(is_safe, gram, 0.0) / ops.where(
            is_safe, gaps, 1.0
        )
        turn = 1.5 * turn - 0.5 * ops.matmul(turn, _gram(turn))  # orthogonal up to the fourth power of its angles
        return ops.matmul(self.vectors, turn), ops.matmul(self.columns, turn)

    def _iterate(self, eps, maxiter):
        """The recursion on numbers: x ← x m² with m = (3 − x)/2, for as many steps as on W, and p = Π m."""
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

    def before_last(self) -> tuple[Tensor, Tensor]:
        """W after all steps but the last, and its Gram matrix, both up to rounding."""
        transposed = ops.transpose(self.vectors)
        w = ops.matmul(self.columns * (self.before * ops.rsqrt(self.divisor)), transposed)
        return w, ops.matmul(self.vectors * self.end_before, transposed)

    def result(self) -> Tensor:
        """W after all steps, the last of them by products."""
        w, want = self.before_last()
        gram = _gram(w)
        shrink = shrinkage(gram, want)
        return ops.sqrt(shrink) * (1.5 * w - ops.matmul(w, gram * (0.5 * shrink)))

    def polynomial(self) -> Tensor:
        """p(WᵀW), of shape (columns, columns), with the factor of the division before."""
        return ops.matmul(self.vectors * (self.factors * ops.rsqrt(self.divisor)), ops.transpose(self.vectors))

    def differences(self) -> Tensor:
        """The divided differences of p(WᵀW), of shape (columns, columns)."""
        return self._divided_differences() * (ops.rsqrt(self.divisor) / self.divisor)

    def gradient(self, upstream: Tensor) -> Tensor:
        """Gradient of <upstream, W p(WᵀW)>, where the divisor and the number of iterations are constant."""
        inner = ops.matmul(ops.matmul(ops.transpose(self.columns), upstream), self.vectors)
        inner = self.differences() * (inner + ops.transpose(inner))
        through_gram = ops.matmul(self.columns, ops.matmul(inner, ops.transpose(self.vectors)))
        return ops.matmul(upstream, self.polynomial()) + through_gram

    def _divided_differences(self):
        """(p(x) − p(y)) / (x − y) for all pairs of eigenvalues; the mean of the two slopes where they are close."""
        x, y = _column(self.x), self.x
        # At this distance t, the errors by cancellation, eps/t, and by the mean, t², are about equal.
        close = (4 * float(np.finfo(self.dtype).eps)) ** (1 / 3)
        gaps = x - y
        is_far = ops.abs(gaps) > close * (x + y)
        quotient = (_column(self.factors) - self.factors) / ops.where(is_far, gaps, 1.0)
        return ops.where(is_far, quotient, (_column(self.slopes) + self.slopes) / 2)


def _column(x):
    return ops.expand_dims(x, 1)


def _gram(w):
    return ops.matmul(ops.transpose(w), w)
