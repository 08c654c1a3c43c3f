"""Upper bounds of the largest singular value, and the margins and scales that keep rounding harmless."""

import math
from collections.abc import Iterable

import numpy as np
from keras.backend import standardize_dtype

from lipviz import _moved
from lipviz.normalizers._operations import ops
from lipviz.normalizers.iterations import frobenius_norm
from lipviz.types import DType, Tensor


def floating(x: Tensor) -> Tensor:
    """Return `x` as a tensor in float64 where it has that dtype, else in float32."""
    x = ops.convert_to_tensor(x)
    return x if standardize_dtype(x.dtype) == "float64" else ops.cast(x, "float32")


def rounding_margin(shape: Iterable[int], dtype: DType) -> float:
    """Relative margin that covers the rounding of a matrix product of this shape.

    Rounding errors of a product of length n grow like √n; measured spectra stay several times below this.

    Args:
        shape: Shape of the matrix.
        dtype: Floating dtype in which the products are computed, as a string.

    Returns:
        A float, 1.9e-6 for a 64 × 64 matrix in float32.
    """
    return (8 + math.sqrt(max(shape))) * float(np.finfo(dtype).eps)


def unit_scaled(w: Tensor, axis: int | tuple[int, ...] | None = None) -> tuple[Tensor, Tensor]:
    """Divide by the largest magnitude along `axis`, so that no product over- or underflows.

    Zeros and denormal numbers are not scaled. No gradient flows through the factor, since the functions that use it do
    not depend on the scale.

    Returns:
        The tuple (scaled tensor, factor).
    """
    largest = ops.max(ops.abs(w), axis=axis, keepdims=True)
    tiny = float(np.finfo(standardize_dtype(w.dtype)).tiny)
    factor = ops.stop_gradient(ops.where(largest <= tiny, ops.ones_like(largest), largest))
    return w / factor, factor


def unit(x: Tensor) -> Tensor:
    """x/‖x‖; zero stays zero."""
    return x * ops.rsqrt(ops.sum(ops.square(x)) + 1e-30)


def start_vector(gram: Tensor, v: Tensor) -> Tensor:
    """The unit vector of `v`; a coordinate vector if `v` is zero or in the null space, which no iteration leaves."""
    v = unit(v)
    # The coordinate vector of the longest column is in the null space of a Gram matrix only if the matrix is 0.
    coordinate = ops.one_hot(ops.argmax(ops.diagonal(gram)), gram.shape[0], dtype=gram.dtype)[None, :]
    return ops.where(ops.sum(ops.square(ops.matmul(v, gram))) > 1e-12, v, coordinate)


def schatten_bound(gram: Tensor, squarings: int) -> Tensor:
    """Bound the largest eigenvalue of a symmetric positive semi-definite matrix from above.

    Repeated squaring (Gram iteration, Delattre et al. 2023): with q = 2^squarings,
    λ1(A) ≤ ‖A^q‖_F^(1/q) ≤ rank(A)^(1/2q) λ1(A), sound after every squaring.

    `GramIteration` computes a norm and its logarithm after each squaring. This function, which each training step
    without Björck runs and differentiates, computes a norm after three squarings, and no logarithm.

    Args:
        gram: Matrix of shape (n, n).
        squarings: Number of squarings.

    Returns:
        A scalar tensor.
    """
    bound = frobenius_norm(gram)
    factor, power = bound, 1.0
    while squarings:
        gram = gram / factor
        together = min(squarings, 3)  # from norm 1, three squarings do not underflow for any n that fits into memory
        for _ in range(together):
            gram = ops.matmul(gram, gram)
        factor = frobenius_norm(gram)
        power *= 0.5**together
        bound = bound * factor**power
        squarings -= together
    return bound


def deflated_bound(gram: Tensor, v: Tensor, squarings: int) -> tuple[Tensor, Tensor]:
    """Bound λ1 of a symmetric positive semi-definite matrix, tight where `v` is its first eigenvector.

    Split the space into v and its complement: A = [[θ, rᵀ], [r, B]], hence λ1(A) ≤ λ1([[θ, ‖r‖], [‖r‖, β]])
    for every β ≥ λ1(B), here Schatten's. It holds for every unit vector (and for v = 0), and equals θ, exact,
    once the power iteration behind `v` has converged and β ≤ θ.

    Args:
        gram: Matrix of shape (n, n).
        v: Unit vector of shape (1, n).
        squarings: See `schatten_bound`.

    Returns:
        The tuple (bound, θ = v A vᵀ) of scalar tensors.
    """
    av = ops.matmul(v, gram)
    theta = ops.sum(av * v)
    rest = av - theta * v
    outer = ops.matmul(ops.transpose(v), rest)
    complement = gram - theta * ops.matmul(ops.transpose(v), v) - outer - ops.transpose(outer)
    beta = schatten_bound(complement, squarings)
    half = (theta - beta) / 2
    return (theta + beta) / 2 + ops.sqrt(half * half + ops.sum(rest * rest) + 1e-30), theta


def bound_squarings(eps_bjorck: float | None, beta: float | None, maxiter_bjorck: int) -> int:
    """Number of squarings for the bound of σ1: few with Björck, whose iterations correct a loose bound.

    Without Björck, the bound alone determines how tight the result is.
    """
    return 3 if eps_bjorck is not None and beta is not None and maxiter_bjorck > 5 else 6


def __getattr__(name):
    return _moved.name_of(__name__, name)
