"""Functions that the layers use: their results have a largest singular value of at most 1, for every kernel."""

from typing import Any

import numpy as np
from keras.backend import standardize_dtype

from lipviz.normalizers import converged
from lipviz.normalizers._operations import in_numpy, ops
from lipviz.normalizers.bounds import (
    bound_squarings,
    deflated_bound,
    rounding_margin,
    schatten_bound,
    start_vector,
    unit,
    unit_scaled,
)
from lipviz.normalizers.checks import (
    DEFAULT_BETA_BJORCK,
    DEFAULT_EPS_BJORCK,
    DEFAULT_EPS_SPECTRAL,
    DEFAULT_MAXITER_BJORCK,
    DEFAULT_MAXITER_SPECTRAL,
)
from lipviz.normalizers.eigenvalues import bjorck_by_eigenvalues, decomposing_pays
from lipviz.normalizers.iterations import bjorck_direction, iterate, power_iteration
from lipviz.normalizers.settings import present, within
from lipviz.types import Array, Tensor


def sound_normalization(
    w: Tensor,
    u: Tensor,
    eps_spectral: float = DEFAULT_EPS_SPECTRAL,
    maxiter_spectral: int = DEFAULT_MAXITER_SPECTRAL,
    squarings: int = 6,
    hold_bound: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Divide a matrix by an upper bound of its largest singular value. This is the part before Björck.

    Args:
        w: Matrix of shape (rows, columns), tall or wide, float32 or float64.
        u: Start vector of shape (1, columns).
        eps_spectral: Tolerance of the power iteration.
        maxiter_spectral: Largest number of power iterations; with 0 the bound is looser and still sound.
        squarings: See `deflated_bound`. If there are more than 3, the smaller of it and `schatten_bound` is used.
        hold_bound: With True, no gradient flows through the bound.

    Returns:
        The tuple (W divided by the bound, transposed if it is wide; the last vector v of the power iteration on its
        Gram matrix, of shape (1, min(rows, columns)); estimate of σ1; upper bound of σ1), the last two of shape (1, 1).
        The bound is that of the prescaled matrix times its scale, before the rounding margin.
    """
    kernel, scale = unit_scaled(w)
    wide = kernel.shape[0] < kernel.shape[1]
    tall = ops.transpose(kernel) if wide else kernel
    held = ops.stop_gradient(tall) if hold_bound else tall
    gram = ops.matmul(ops.transpose(held), held)

    v = start_vector(gram, ops.matmul(u, held) if wide else u)
    v = power_iteration(lambda x: unit(ops.matmul(x, gram)), v, eps_spectral, maxiter_spectral)

    bound, theta = deflated_bound(gram, v, squarings)
    # Without Björck, the bound must be tight. Without convergence, it is up to 13 % too large, the second n^(1/256).
    if squarings > 3:
        bound = ops.minimum(bound, schatten_bound(gram, squarings))
    # At least one entry of a scaled kernel is 1, hence σ1 ≥ 1: the floor acts on zero (or denormal) kernels only.
    sigma_bound = ops.sqrt(ops.maximum(bound, 0.25))
    margin = 1 - rounding_margin(kernel.shape, standardize_dtype(tall.dtype))
    scale = ops.reshape(scale, (1, 1))
    return tall * (margin / sigma_bound), v, ops.sqrt(ops.maximum(theta, 0.0)) * scale, sigma_bound * scale


def sound_orthogonalization(
    w: Tensor,
    u: Tensor,
    eps_spectral: float = DEFAULT_EPS_SPECTRAL,
    eps_bjorck: float | None = DEFAULT_EPS_BJORCK,
    beta: float | None = DEFAULT_BETA_BJORCK,
    maxiter_spectral: int = DEFAULT_MAXITER_SPECTRAL,
    maxiter_bjorck: int = DEFAULT_MAXITER_BJORCK,
    factor: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Orthogonalize a matrix so that no singular value exceeds 1, for all arguments and every finite kernel.

    1. Prescale by the largest magnitude (no overflow, no dependence on the kernel's scale).
    2. Divide by an upper bound of σ1, so that all singular values lie in [0, 1].
    3. Björck. For β ≤ 0.5 it maps [0, 1] into itself: every iterate is sound, and more iterations only make it tighter.
    4. Shrink by `rounding_margin`.

    On a CPU, with β = 0.5, TensorFlow and JAX compute σ1 and all iterations but the last from the eigenvalues of WᵀW.
    On TensorFlow, in float32, a kernel for which the iterations converge gets their limit, the polar factor of W. It
    differs from their result by at most 1.5e-6. If min(rows, columns) is at least 96, and σ1 at most about 2.8 times
    the smallest singular value, polynomials in WᵀW compute it. One step of a power iteration then gives `u` and an
    estimate of σ1 from below.

    Otherwise, and where XLA compiles TensorFlow, a power iteration on WᵀW starts from `u` (at most `maxiter_spectral`
    steps, until one is < eps_spectral), `deflated_bound` bounds σ1, and the iterations are products with W. The results
    of the two ways differ by rounding, and by about one iteration where that bound is not tight.

    With Björck, the gradient is that of its iterations, where the divisor and the number of iterations are constant.
    After convergence, this is the gradient of the polar factor of W, which does not depend on the divisor. Without
    Björck, it is the gradient of W divided by the bound, where the vector of the power iteration is constant (with
    `set_stop_grad_spectral(False)` it flows through the vector, too).

    Args:
        w: Matrix of shape (rows, columns), tall or wide, float32 or float64.
        u: Start vector of shape (1, columns).
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck. None skips it; the result is then W divided by a bound of σ1.
        beta: Step size of Björck; None skips it.
        maxiter_spectral: Largest number of power iterations; with 0 the bound is looser and still sound.
        maxiter_bjorck: Largest number of Björck iterations.
        factor: Positive scalar tensor that multiplies the matrix. Where the matrix is large, this is faster than to
            multiply it afterwards. None is 1.

    Returns:
        The tuple (matrix with singular values in [0, factor], u of shape (1, columns), estimate of σ1 of shape (1, 1)).
        A zero matrix stays zero.
    """
    settings = (eps_spectral, eps_bjorck, beta, maxiter_spectral, maxiter_bjorck)
    arrays = arrays_of(w, u) if present().of_values and decomposing_pays() else None
    if arrays is None:
        return _orthogonalized(w, u, factor, *settings)
    raw, start = arrays
    with in_numpy():
        found = _orthogonalized(raw, start, None, *settings)
    matrix, u, sigma = map(ops.convert_to_tensor, found)
    return (matrix if factor is None else matrix * factor), u, sigma


def sound_orthogonalization_of_values(w: Tensor, u: Tensor, *settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    """`sound_orthogonalization` for cases in which nothing is differentiated. On a CPU, NumPy computes it.

    A backend that runs eagerly takes several times as long. A model with many layers would need that time at each
    build, load and export.

    Args:
        w: See `sound_orthogonalization`. Within a trace there are no values, and the backend computes it.
        u: See `sound_orthogonalization`.
        *settings: See `sound_orthogonalization`.

    Returns:
        Tensors, see `sound_orthogonalization`.
    """
    with within(of_values=True):
        return sound_orthogonalization(w, u, *settings)


def arrays_of(*tensors: Tensor) -> list[Array] | None:
    """NumPy arrays of tensors; None where one is a symbol of a trace."""
    try:
        return [np.asarray(tensor) for tensor in tensors]
    except Exception:  # every backend has an error of its own for a symbolic tensor
        return None


def _orthogonalized(w, u, factor, eps_spectral, eps_bjorck, beta, maxiter_spectral, maxiter_bjorck):
    decomposes = eps_bjorck is not None and beta == 0.5 and maxiter_bjorck and decomposing_pays()
    if decomposes and converged.is_for(w, eps_bjorck, maxiter_bjorck):
        return converged.orthogonalized(w, u, 1.0 if factor is None else factor, eps_bjorck, maxiter_bjorck)
    if decomposes:
        matrix, u, sigma = _by_eigenvalues(w, u, eps_bjorck, maxiter_bjorck)
    else:
        matrix, u, sigma = _by_products(w, u, eps_spectral, eps_bjorck, beta, maxiter_spectral, maxiter_bjorck)
    return (matrix if factor is None else matrix * factor), u, sigma


def _by_products(w, u, eps_spectral, eps_bjorck, beta, maxiter_spectral, maxiter_bjorck):
    is_orthogonal = eps_bjorck is not None and beta is not None
    wide = w.shape[0] < w.shape[1]
    squarings = bound_squarings(eps_bjorck, beta, maxiter_bjorck)
    tall, v, sigma, _ = sound_normalization(w, u, eps_spectral, maxiter_spectral, squarings, hold_bound=is_orthogonal)
    if is_orthogonal:
        tall = _shrunk(iterate(bjorck_direction, tall, beta, eps_bjorck, maxiter_bjorck))
    u = unit(ops.matmul(v, ops.transpose(tall))) if wide else v  # back to the columns' side
    return (ops.transpose(tall) if wide else tall), ops.stop_gradient(u), ops.stop_gradient(sigma)


def _by_eigenvalues(w, u, eps, maxiter):
    kernel, scale = unit_scaled(w)
    wide = kernel.shape[0] < kernel.shape[1]
    tall = ops.transpose(kernel) if wide else kernel
    tall, v, sigma = bjorck_by_eigenvalues(tall, eps, maxiter)
    tall = _shrunk(tall)
    v = unit(ops.matmul(v, ops.transpose(tall))) if wide else v
    v = ops.where(ops.sum(v * u) < 0, -v, v)  # of the two signs, the one that is nearer to `u`
    out = ops.transpose(tall) if wide else tall
    return out, ops.stop_gradient(v), ops.stop_gradient(sigma * ops.reshape(scale, (1, 1)))


def _shrunk(tall):
    return tall * (1 - rounding_margin(tall.shape, standardize_dtype(tall.dtype)))
