"""The polar factor of a well-conditioned matrix by polynomials in its Gram matrix, without a decomposition.

Let W have the singular values σ, and A = WᵀW. Where all σ lie in [c/3, c], one polynomial p of degree 12 in A is 1/σ,
up to 5e-5 of it, for all of them. So W p(A) is nearly the polar factor of W. A step of Björck squares its distance.
Since p(A) commutes with A, this is the polar factor of W itself, and not that of another matrix nearby.

Whether all σ lie there is not assumed, but seen in the result: the Gram matrix B of W p(A) has the eigenvalues σ² p²,
and ``‖B − I‖`` bounds the distance of each from 1. For every σ at which σ² p² is near 1, p is positive.

The gradient multiplies in the basis of eigenvectors by the divided differences −1/(στ(σ + τ)). They are a Cauchy
matrix, whose singular values decay fast: on the same interval, three products φ(σ) φ(τ) give them up to 1e-4
(Beckermann and Townsend 2017, On the singular values of matrices with displacement structure). So the gradient of
A^(−1/2) is a sum of three products −φ(A) E φ(A), where φ(A) is a combination of I, A, A², A^(−1/2), A^(1/2) and 1/A.

A decomposition of 128 columns takes as long as 20 to 50 products of that size. All of this takes 14.
"""

import functools
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from lipviz.normalizers._operations import ops
from lipviz.types import Array, Tensor

_RATIO = 3.0  # of the largest singular value in the interval to the smallest one
_DEGREE = 12
_TERMS = 3  # of the divided differences
_POWERS = 5  # of the Gram matrix, from 0 to 4, that polynomials are put together of
_LARGEST_SHARE = 1.1  # end of the interval over the estimate of λ1
# Up to this ``‖B − I‖``, each singular value is within 1e-3 of 1, and after a step of Björck within 1.5e-6.
_TOLERANCE = 2e-3
# Mean of the eigenvalues but the first, over the end of the interval, below which it is unlikely that all lie there.
_LEAST_MEAN = 0.18
# With fewer columns, a decomposition takes about as long.
_LEAST_SIDE = 96
# With more, a product of two small matrices takes longer than a transposition.
_MOST_READ = 128
# With more, ``‖B − I‖`` in the Frobenius norm is too large a bound of the spectral norm.
_MOST_SUMMED = 512


class Form(NamedTuple):
    """Which operations a matrix needs. In graphs, all matrices of one form share them, whatever their sizes.

    Attributes:
        is_wide: Whether it has fewer rows than columns.
        is_small: Whether TensorFlow reads WᵀW faster transposed, in a product, than it transposes it.
        is_quick: Whether polynomials are faster than a decomposition.
        is_summed: Whether the Frobenius norm of ``B − I`` is a bound that is small enough.
    """

    is_wide: bool
    is_small: bool
    is_quick: bool
    is_summed: bool

    @classmethod
    def of(cls, w: Tensor) -> "Form":
        """The form of a matrix whose shape is known."""
        side = min(w.shape)
        return cls(w.shape[0] < w.shape[1], side <= _MOST_READ, side >= _LEAST_SIDE, side <= _MOST_SUMMED)

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        """XᵀY; of wide matrices XYᵀ."""
        return ops.matmul(x, ops.transpose(y)) if self.is_wide else ops.matmul(ops.transpose(x), y)

    def times(self, x: Tensor, small: Tensor) -> Tensor:
        """X times a small matrix, on the side where it fits."""
        return ops.matmul(ops.transpose(small), x) if self.is_wide else ops.matmul(x, small)


class PolarFactor(NamedTuple):
    """W p(A), and what its gradient needs. Matrices but the first have the shape of A.

    Attributes:
        before: W p(A), in the shape of W.
        gram: B, its Gram matrix.
        inverse_root: p(A).
        y: A, moved and scaled so that the interval is [−1, 1].
        square: Y².
        scale: Scalar by which singular values are multiplied, so that the interval ends at 1.
        is_near: Scalar of bools: whether W p(A) is nearly the polar factor of W.
        one: The identity.
    """

    before: Tensor
    gram: Tensor
    inverse_root: Tensor
    y: Tensor
    square: Tensor
    scale: Tensor
    is_near: Tensor
    one: Tensor

    @classmethod
    def of(cls, w: Tensor, gram: Tensor, top: Tensor, form: Form, one: Tensor) -> "PolarFactor":
        """Compute it.

        Args:
            w: Matrix W of shape (rows, columns), rows ≥ columns, or its transpose; float32.
            gram: A.
            top: Estimate of the largest eigenvalue of A.
            form: The form of W.
            one: The identity, of the shape of A.
        """
        scale = ops.rsqrt(_LARGEST_SHARE * top)
        powers = _powers(gram * (scale * scale), one)
        inverse_root = scale * _polynomial(powers)
        before = form.times(w, inverse_root)
        product = form.inner(before, before)
        is_near = _is_near_identity(product - one, form)
        return cls(before, product, inverse_root, powers[1], powers[2], scale, is_near, one)

    @classmethod
    def unlikely(cls, w: Tensor, gram: Tensor, top: Tensor) -> "PolarFactor":
        """What stands for it where it is not computed: the same shapes, and `is_near` false."""
        return cls(w, gram, gram, gram, gram, top, ops.zeros_like(top) > 0, gram)

    def step(self, factor: Tensor) -> Tensor:
        """What a step of Björck multiplies W p(A) by, times a factor."""
        return 1.5 * factor * self.one - (0.5 * factor) * self.gram

    def root(self) -> Tensor:
        """A^(−1/2), for a matrix W that is near."""
        return ops.matmul(self.inverse_root, self.step(1.0))

    def pulled_back(self, root: Tensor, inner: Tensor) -> Tensor:
        """The gradient of <E, A^(−1/2)> with respect to A, for a symmetric E.

        Args:
            root: The result of `root`.
            inner: E.
        """
        root = root / self.scale
        basis = [self.one, self.y, self.square, root, ops.matmul(root, self.y), ops.matmul(root, root)]
        factors = [_combined(row, basis) for row in _terms()]
        total = sum(ops.matmul(factor, ops.matmul(inner, factor)) for factor in factors)
        return total * (-self.scale * self.scale * self.scale)


def largest(gram: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Estimates of the first eigenvector and the largest eigenvalue of A, by a step of the power method.

    Args:
        gram: A.
        start: Vector of shape (1, columns), near the first eigenvector.

    Returns:
        The tuple (unit vector of shape (1, columns), lower bound of the eigenvalue).
    """
    ahead = ops.matmul(start, gram)
    square = ops.sum(ops.square(ahead))
    return ahead * ops.rsqrt(square), ops.sqrt(square / ops.sum(ops.square(start)))


def is_likely(size: Tensor, top: Tensor, columns: float | Tensor) -> Tensor:
    """Whether `PolarFactor.is_near` is likely: if most singular values are in the middle of the interval.

    Args:
        size: Trace of A.
        top: Estimate of the largest eigenvalue of A.
        columns: Number of its columns.
    """
    return size - top > (columns - 1) * _LEAST_MEAN * _LARGEST_SHARE * top


def _is_near_identity(rest, form):
    power = 2
    if not form.is_summed:
        rest, power = ops.matmul(rest, rest), 4
    return ops.sum(ops.square(rest)) < _TOLERANCE**power  # not if there is NaN


def _powers(gram, one):
    """I, Y, … Y⁴ for a Gram matrix whose interval ends at 1."""
    center, radius = _interval()
    y = gram * (1 / radius) - (center / radius) * one
    square = ops.matmul(y, y)
    return [one, y, square, ops.matmul(square, y), ops.matmul(square, square)]


def _polynomial(powers):
    """The polynomial p as Q + Y⁴(R + Y⁴S), where Q, R and S are combinations of powers (Paterson, Stockmeyer)."""
    parts = [_combined(row, powers) for row in _coefficients()]
    return parts[0] + ops.matmul(powers[4], parts[1] + ops.matmul(powers[4], parts[2]))


def _combined(coefficients, matrices):
    """A linear combination of matrices."""
    return sum(float(c) * matrix for c, matrix in zip(coefficients, matrices, strict=True) if c)


def _interval():
    """Center and radius of the interval of the eigenvalues, whose end is 1."""
    least = 1 / _RATIO**2
    return (1 + least) / 2, (1 - least) / 2


@functools.cache
def _coefficients() -> Array:
    """Coefficients of the three parts of p, one row each, for the powers of Y. The last has the power 12 as well."""
    center, radius = _interval()
    nodes = np.cos(np.pi * (np.arange(300) + 0.5) / 300)
    root = np.sqrt(center + radius * nodes)
    weights, matrix = np.ones_like(nodes), chebyshev.chebvander(nodes, _DEGREE) * root[:, None]
    for _ in range(50):  # Lawson's iteration: from least squares to the smallest largest error
        scaled = np.sqrt(weights)
        found = np.linalg.lstsq(matrix * scaled[:, None], scaled, rcond=None)[0]
        weights *= np.abs(matrix @ found - 1) + 1e-9
        weights /= weights.max()
    powers = chebyshev.cheb2poly(found)
    parts = np.zeros((3, _POWERS), "float32")
    parts[:, :4] = powers[:12].reshape(3, 4)
    parts[2, 4] = powers[12]
    return parts


@functools.cache
def _terms() -> Array:
    """Coefficients of each φ, one row each, for I, Y, Y², S, S·Y and S², where S is A^(−1/2)."""
    center, radius = _interval()
    nodes = np.cos(np.pi * (np.arange(200) + 0.5) / 200)
    sigma = np.sqrt(center + radius * nodes)
    # Times (στ)^(3/2), the divided differences are (στ)^(1/2) / (σ + τ), whose entries have about the same size.
    values, vectors = np.linalg.eigh(np.sqrt(np.outer(sigma, sigma)) / np.add.outer(sigma, sigma))
    wanted = vectors[:, -_TERMS:] * np.sqrt(values[-_TERMS:])
    basis = np.stack([np.ones(200), nodes, nodes**2, 1 / sigma, nodes / sigma, 1 / sigma**2], axis=1)
    return np.linalg.lstsq(basis * sigma[:, None] ** 1.5, wanted, rcond=None)[0].T.astype("float32")
