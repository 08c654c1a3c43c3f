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

from lipviz.normalizers._operations import ops
from lipviz.normalizers.backends import as_one_call, as_one_trace, in_graphs
from lipviz.normalizers.bounds import rounding_margin, unit, unit_scaled
from lipviz.normalizers.eigenvalues import SMALL, Spectrum, most_together, shrinkage, usable
from lipviz.normalizers.polar import Form, PolarFactor, is_likely, largest
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
    factor = ops.convert_to_tensor(factor, "float32") * (1 - rounding_margin(w.shape, "float32"))
    compute = _computed(Form.of(w), eps, maxiter)
    out, v, sigma = compute(w, u, factor, ops.eye(min(w.shape), dtype="float32"))
    return ops.reshape(out, w.shape), ops.stop_gradient(ops.reshape(v, u.shape)), ops.stop_gradient(sigma)


@functools.cache
def _computed(form, eps, maxiter):
    """What is computed of (matrix, vector, largest singular value allowed, identity), for all shapes of a form.

    Graphs hold it as a function, which TensorFlow traces once. Its hundreds of operations would take longer to trace
    than those of all the rest of a layer.
    """

    def run(w, u, factor, one):
        def function(w, factor):
            step = (_QuickStep if form.is_quick else _Step)(w, u, factor, one, _Way(form, eps, maxiter))
            return (step.result, step.vector, step.sigma), lambda upstream, *_: step.gradient(upstream)

        out, v, sigma = ops.custom_gradient(function)(w, factor)
        v = unit(ops.matmul(v, out)) if form.is_wide else v
        return out, ops.where(ops.sum(v * u) < 0, -v, v), sigma

    return in_graphs(run, as_one_trace, [(None, None), (1, None), (), (None, None)])


class _Way(NamedTuple):
    """How a matrix is computed: its form, and the tolerance and the largest number of iterations of Björck."""

    form: Form
    eps: float
    maxiter: int


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

    def __init__(self, w: Tensor, u: Tensor, factor: Tensor, one: Tensor, way: _Way) -> None:
        self._factor, self._one, self._way, self._form = factor, one, way, way.form
        gram = self._form.inner(w, w)
        size = ops.sum(ops.diagonal(gram))
        is_in_range = ops.logical_and(size > _IN_RANGE[0], size < _IN_RANGE[1])  # not if there is NaN
        w, gram, self._scale = ops.cond(
            is_in_range, lambda: (w, gram, ops.ones_like(size)), lambda: _rescaled(self._form)(w)
        )
        self.result, self.vector, top = self._compute(w, gram, u)
        self.sigma = ops.reshape(ops.sqrt(top) * self._scale, (1, 1))

    def _compute(self, w, gram, u):
        """The tuple (result, first eigenvector of the Gram matrix, its largest eigenvalue)."""
        self._found = _Found(*self._decomposed(w, gram))
        return self._last_step(self._found), self._found.vectors[:, -1][None, :], self._found.top

    def gradient(self, upstream: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of <upstream, result> with respect to the matrix and the factor."""
        factor = self._factor / self._scale
        straight, through_gram = self._pulled_back(upstream)
        times = self._form.times
        gradient = times(upstream, factor * straight) + times(self._found.x, factor * through_gram)
        return gradient, ops.sum(upstream * self.result) / self._factor

    def _decomposed(self, w, gram):
        values, vectors = ops.eigh(gram)
        return ops.cond(
            values[0] > SMALL * values[-1],
            lambda: tuple(self._by_roots(w, values, vectors)),
            lambda: _iterated(self._way)(w, values, vectors, self._one),
        )

    def _by_roots(self, w, values, vectors):
        """The polar factor. The divided differences of 1/√x are −1/√(xy)/(√x + √y)."""
        roots = ops.sqrt(values)
        scaled = vectors / roots
        straight = ops.matmul(scaled, ops.transpose(vectors))
        differences = -1 / (ops.expand_dims(roots, 1) + roots)
        before = self._form.times(w, straight)
        return _Found(before, self._one, values[-1], w, straight, vectors, vectors, scaled, scaled, differences)

    def _last_step(self, found):
        gram = self._form.inner(found.before, found.before)
        shrink = shrinkage(gram, found.want)
        factor = 0.5 * self._factor * ops.sqrt(shrink)
        return self._form.times(found.before, 3 * factor * self._one - (factor * shrink) * gram)

    def _pulled_back(self, upstream):
        """S and L (K ∘ (Y + Yᵀ)) Rᵀ, see `_Found`."""
        found = self._found
        half = ops.matmul(self._form.inner(found.x, upstream), found.vectors)
        inner = found.differences * self._symmetric_product(found.basis, half)
        return found.straight, ops.matmul(ops.matmul(found.left, inner), ops.transpose(found.right))

    def _symmetric_product(self, x, y):
        """XᵀY + YᵀX of square matrices."""
        product = ops.matmul(ops.transpose(x), y)
        other = ops.matmul(ops.transpose(y), x) if self._form.is_small else ops.transpose(product)
        return product + other


class _QuickStep(_Step):
    """The constraint of one matrix, by products where the singular values are close together."""

    def _compute(self, w, gram, u):
        vector, top = largest(gram, ops.matmul(u, ops.transpose(w)) if self._form.is_wide else u)
        columns = ops.sum(ops.diagonal(self._one))
        self._polar = polar = PolarFactor(
            *ops.cond(
                is_likely(ops.sum(ops.diagonal(gram)), top, columns),
                lambda: tuple(PolarFactor.of(w, gram, top, self._form, self._one)),
                lambda: tuple(PolarFactor.unlikely(w, gram, top)),
            )
        )

        def by_products():
            unused = [gram] * 6  # what only a decomposition gives
            found = _Found(polar.before, polar.gram, top, w, *unused)
            return self._form.times(polar.before, polar.step(self._factor)), vector, *found

        def by_decomposition():
            found = _Found(*self._decomposed(w, gram))
            return self._last_step(found), found.vectors[:, -1][None, :], *found

        result, first, *found = ops.cond(polar.is_near, by_products, by_decomposition)
        self._found = _Found(*found)
        return result, first, self._found.top

    def _pulled_back(self, upstream):
        def by_products():
            root = self._polar.root()
            inner = self._form.inner(self._found.x, upstream)
            return root, self._polar.pulled_back(root, inner + ops.transpose(inner))

        return ops.cond(self._polar.is_near, by_products, lambda: super(_QuickStep, self)._pulled_back(upstream))


@functools.cache
def _iterated(way):
    """From a matrix, the eigenvalues and -vectors of its Gram matrix, and the identity to a `_Found`, as a tuple."""

    def run(w, values, vectors, one):
        is_wide = way.form.is_wide
        spectrum = Spectrum(ops.transpose(w) if is_wide else w, way.eps, way.maxiter, False, (values, vectors))
        before, want = spectrum.before_last()
        v = spectrum.vectors
        x = spectrum.columns
        if is_wide:
            before, x = ops.transpose(before), ops.transpose(x)
        return tuple(
            _Found(before, want, spectrum.top, x, spectrum.polynomial(), v, one, one, v, spectrum.differences())
        )

    return in_graphs(run, as_one_call)


@functools.cache
def _rescaled(form):
    """A function of a matrix: it over its largest magnitude, its Gram matrix with NaN replaced, and that magnitude."""

    def run(w):
        w, scale = unit_scaled(w)
        return w, usable(form.inner(w, w)), ops.reshape(scale, ())

    return in_graphs(run, as_one_call)
