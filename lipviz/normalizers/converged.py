"""Björck's iteration in TensorFlow on a CPU, with as few operations as a kernel needs.

Where the iteration converges, its result is the polar factor W(WᵀW)^(-1/2) up to 1.5 eps², which is about as much as
rounding. If all singular values are within a factor of 2.8, `PolarFactor` computes it by products. If they are within a
factor of 30, a decomposition does, without a recursion on the eigenvalues or a separation of the small ones. For any
other kernel, `Spectrum` computes the iteration, as one operation of a graph.

Factors are multiplied into matrices of the size of WᵀW. The kernel may be much larger.
"""

import functools
import math
from typing import NamedTuple

import keras
from keras.backend import standardize_dtype

from lipviz.keras_internals import released_with_graph
from lipviz.normalizers._operations import ops
from lipviz.normalizers.backends import as_one_call, builds_graph
from lipviz.normalizers.bounds import rounding_margin, unit, unit_scaled
from lipviz.normalizers.eigenvalues import SMALL, Spectrum, most_together, shrinkage, usable
from lipviz.normalizers.polar import LEAST_SIDE, PolarFactor, is_likely, largest
from lipviz.normalizers.settings import present
from lipviz.types import Tensor

# Between these squares of Frobenius norms, no product of float32 over- or underflows.
_IN_RANGE = (1e-10, 1e10)
# For a smaller eps of Björck, 1.5 eps² is within the rounding of float32, or below.
_LARGEST_EPS = 1e-3


def is_for(w: Tensor, eps: float, maxiter: int) -> bool:
    """Whether `orthogonalized` can be used: in float32, where the settings make Björck converge."""
    return (
        keras.backend.backend() == "tensorflow"
        and not present().in_numpy
        and standardize_dtype(w.dtype) == "float32"
        and maxiter <= most_together("float32")
        and _converges(eps, maxiter)
    )


def _converges(eps, maxiter):
    """Whether Björck brings the smallest singular value of each well-conditioned kernel within 1.5 eps² of 1."""
    s = math.sqrt(SMALL)
    for _ in range(maxiter):
        s = 1.5 * s - 0.5 * s**3
    return eps <= _LARGEST_EPS and 1 - s <= 1.5 * eps * eps


def orthogonalized(w: Tensor, u: Tensor, factor: Tensor, eps: float, maxiter: int) -> tuple[Tensor, Tensor, Tensor]:
    """Orthogonalize a matrix so that no singular value exceeds a factor, with Björck's β = 0.5.

    See `sound_orthogonalization`. The last step is one of Björck's on the matrix itself.

    Args:
        w: Matrix of shape (rows, columns), tall or wide, float32.
        u: Vector of shape (1, columns), where the power iteration goes on. Of the two signs, the result's vector has
            the one that is nearer to it.
        factor: Positive number or scalar tensor.
        eps: Tolerance of Björck.
        maxiter: Largest number of iterations.

    Returns:
        The tuple (matrix with singular values in [0, factor]; the first right singular vector, of shape (1, columns);
        σ1 of `w`, of shape (1, 1)). The last two are estimates where `PolarFactor` computes the matrix.
    """

    def function(w, factor):
        step = (_Step if min(w.shape) < LEAST_SIDE else _QuickStep)(w, u, factor, eps, maxiter)
        return (step.result, step.vector, step.sigma), lambda upstream, *_: step.gradient(upstream)

    out, v, sigma = released_with_graph(ops.custom_gradient(function)(w, ops.convert_to_tensor(factor, "float32")))
    v = unit(ops.matmul(v, out)) if w.shape[0] < w.shape[1] else v
    v = ops.where(ops.sum(v * u) < 0, -v, v)
    return out, ops.stop_gradient(v), ops.stop_gradient(sigma)


class _Found(NamedTuple):
    """What a decomposition gives: the matrix before the last step, and its gradient G S + X L (K ∘ (Y + Yᵀ)) Rᵀ.

    In it, G is the upstream gradient, and Y = Bᵀ XᵀG V with the eigenvectors V.

    Attributes:
        before: W before the last step, in the shape of W.
        want: Its Gram matrix, without its rounding.
        top: Largest eigenvalue.
        x: X, of the shape of W: W itself, or W·V.
        straight: S, the function of WᵀW that all steps multiply W by.
        vectors: V.
        basis: B, which is V where X is W, and otherwise the identity.
        left: L.
        right: R.
        differences: K, so that L K R has the divided differences of that function.
    """

    before: Tensor
    want: Tensor
    top: Tensor
    x: Tensor
    straight: Tensor
    vectors: Tensor
    basis: Tensor
    left: Tensor
    right: Tensor
    differences: Tensor


class _Step:
    """The constraint of one matrix, by a decomposition."""

    def __init__(self, w: Tensor, u: Tensor, factor: Tensor, eps: float, maxiter: int) -> None:
        self._given_factor = factor
        self._factor = factor * (1 - rounding_margin(w.shape, "float32"))
        gram = _inner(w, w)
        size = ops.sum(ops.diagonal(gram))
        is_in_range = ops.logical_and(size > _IN_RANGE[0], size < _IN_RANGE[1])  # not if there is NaN
        w, gram, self._scale = ops.cond(is_in_range, lambda: (w, gram, ops.ones_like(size)), lambda: _rescaled()(w))
        self.result, self.vector, top = self._compute(w, gram, u, eps, maxiter)
        self.sigma = ops.reshape(ops.sqrt(top) * self._scale, (1, 1))

    def _compute(self, w, gram, u, eps, maxiter):
        """The tuple (result, first eigenvector of the Gram matrix, its largest eigenvalue)."""
        self._found = _Found(*_decomposed(w, gram, eps, maxiter))
        return _last_step(self._found, self._factor), self._found.vectors[:, -1][None, :], self._found.top

    def gradient(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of <upstream, result> with respect to the matrix and the factor."""
        factor = self._factor / self._scale
        straight, through_gram = self._pulled_back(upstream)
        gradient = _times(upstream, factor * straight) + _times(self._found.x, factor * through_gram)
        return gradient, ops.sum(upstream * self.result) / self._given_factor

    def _pulled_back(self, upstream):
        return _pulled_back(self._found, upstream)


class _QuickStep(_Step):
    """The constraint of one matrix, by products where the singular values are close together."""

    def _compute(self, w, gram, u, eps, maxiter):
        vector, top = largest(gram, ops.matmul(u, ops.transpose(w)) if _is_wide(w) else u)
        self._polar = polar = PolarFactor(
            *ops.cond(
                is_likely(ops.sum(ops.diagonal(gram)), top, gram.shape[0]),
                lambda: tuple(PolarFactor.of(w, gram, top)),
                lambda: tuple(PolarFactor.unlikely(w, gram, top)),
            )
        )

        def by_products():
            unused = [gram] * 6  # what only a decomposition gives
            found = _Found(polar.before, polar.gram, top, w, *unused)
            return _times(polar.before, polar.step(self._factor)), vector, *found

        def by_decomposition():
            found = _Found(*_decomposed(w, gram, eps, maxiter))
            return _last_step(found, self._factor), found.vectors[:, -1][None, :], *found

        result, first, *found = ops.cond(polar.is_near, by_products, by_decomposition)
        self._found = _Found(*found)
        return result, first, self._found.top

    def _pulled_back(self, upstream):
        def by_products():
            root = self._polar.root()
            inner = _inner(self._found.x, upstream)
            return root, self._polar.pulled_back(root, inner + ops.transpose(inner))

        return ops.cond(self._polar.is_near, by_products, lambda: _pulled_back(self._found, upstream))


def _decomposed(w, gram, eps, maxiter):
    values, vectors = ops.eigh(gram)
    return ops.cond(
        values[0] > SMALL * values[-1],
        lambda: tuple(_by_roots(w, values, vectors)),
        lambda: _iterated(eps, maxiter)(w, values, vectors),
    )


def _by_roots(w, values, vectors):
    """The polar factor. The divided differences of 1/√x are −1/√(xy)/(√x + √y)."""
    roots = ops.sqrt(values)
    scaled = vectors / roots
    straight = ops.matmul(scaled, ops.transpose(vectors))
    differences = -1 / (ops.expand_dims(roots, 1) + roots)
    before = _times(w, straight)
    return _Found(before, _eye(vectors), values[-1], w, straight, vectors, vectors, scaled, scaled, differences)


def _last_step(found, factor):
    gram = _inner(found.before, found.before)
    shrink = shrinkage(gram, found.want)
    factor = 0.5 * factor * ops.sqrt(shrink)
    return _times(found.before, 3 * factor * _eye(gram) - (factor * shrink) * gram)


def _pulled_back(found, upstream):
    """S and L (K ∘ (Y + Yᵀ)) Rᵀ, see `_Found`."""
    half = ops.matmul(_inner(found.x, upstream), found.vectors)
    inner = found.differences * _symmetric_product(found.basis, half)
    return found.straight, ops.matmul(ops.matmul(found.left, inner), ops.transpose(found.right))


def _is_wide(w):
    return w.shape[0] < w.shape[1]


def _inner(x, y):
    """XᵀY; of wide matrices XYᵀ."""
    return ops.matmul(x, ops.transpose(y)) if _is_wide(x) else ops.matmul(ops.transpose(x), y)


def _times(x, small):
    """X times a small matrix, on the side where it fits."""
    return ops.matmul(ops.transpose(small), x) if _is_wide(x) else ops.matmul(x, small)


def _symmetric_product(x, y):
    """XᵀY + YᵀX of square matrices."""
    product = ops.matmul(ops.transpose(x), y)
    # In TensorFlow, a product that reads a matrix transposed is faster than a transposition, if the matrix is small.
    small = x.shape[0] <= 128
    return product + (ops.matmul(ops.transpose(y), x) if small else ops.transpose(product))


def _in_graphs(function):
    """A function that is one operation in graphs."""
    call = as_one_call(function)
    return lambda *arguments: (call if builds_graph() else function)(*arguments)


def _eye(like):
    return ops.eye(like.shape[0], dtype="float32")


@functools.cache
def _iterated(eps, maxiter):
    """A function of a matrix and the decomposition of its Gram matrix that returns a `_Found`, as a tuple."""

    def run(w, values, vectors):
        is_wide = w.shape[0] < w.shape[1]
        spectrum = Spectrum(ops.transpose(w) if is_wide else w, eps, maxiter, False, (values, vectors))
        before, want = spectrum.before_last()
        one, v = _eye(vectors), spectrum.vectors
        x = spectrum.columns
        if is_wide:
            before, x = ops.transpose(before), ops.transpose(x)
        return tuple(
            _Found(before, want, spectrum.top, x, spectrum.polynomial(), v, one, one, v, spectrum.differences())
        )

    return _in_graphs(run)


@functools.cache
def _rescaled():
    """A function of a matrix: it over its largest magnitude, its Gram matrix with NaN replaced, and that magnitude."""

    def run(w):
        w, scale = unit_scaled(w)
        return w, usable(_inner(w, w)), ops.reshape(scale, ())

    return _in_graphs(run)
