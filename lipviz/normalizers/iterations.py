"""Power iteration, Björck's iteration and RKO, by the reference's formulas to the letter.

A power iteration estimates σ1 from below, so that what is divided by its estimate may exceed 1.
"""

from collections.abc import Callable, Sequence

from keras import random as keras_random

from lipviz.normalizers._operations import ops
from lipviz.normalizers.checks import (
    DEFAULT_BETA_BJORCK,
    DEFAULT_EPS_BJORCK,
    DEFAULT_EPS_SPECTRAL,
    DEFAULT_MAXITER_BJORCK,
    DEFAULT_MAXITER_SPECTRAL,
    check_beta,
    check_count,
    check_matrix,
    check_positive,
)
from lipviz.normalizers.settings import Settings, present
from lipviz.types import Tensor


def set_stop_grad_spectral(value: bool) -> None:
    """Choose whether gradients flow through the vector of the power iteration.

    Args:
        value: True (the state at import) holds the vector constant, so that dσ/dW = v uᵀ as in Miyato et al.
            False differentiates the iterations too.

    Raises:
        TypeError: If `value` is not a bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f"set_stop_grad_spectral expects True or False. Received: {value!r}")
    Settings.holds_vector = value


def held(vector: Tensor) -> Tensor:
    """The vector of a power iteration, constant for gradients unless `set_stop_grad_spectral` says otherwise."""
    return ops.stop_gradient(vector) if present().holds_vector else vector


def frobenius_norm(x: Tensor) -> Tensor:
    """Frobenius norm, with a finite gradient at zero (the offset is far below the rounding of float32)."""
    return ops.sqrt(ops.sum(ops.square(x)) + 1e-30)


def l2_normalize(x: Tensor, axis: int | Sequence[int] | None = None, epsilon: float = 1e-12) -> Tensor:
    """Divide `x` by max(‖x‖, √epsilon).

    Args:
        x: Tensor of any shape.
        axis: Axis (or axes) of the norm; None means all of them.
        epsilon: Lower bound on the squared norm.

    Returns:
        A tensor with the shape of `x`.
    """
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), epsilon))


def iterate(direction: Callable[[Tensor], Tensor], state: Tensor, step: Tensor, eps: float, maxiter: int) -> Tensor:
    """Repeat x ← x + step·direction(x) until the increment's norm is below eps, at most `maxiter` times.

    The count is static. From convergence on increments are multiplied by zero: the state, and the gradient through
    it, pass unchanged, while NaN stays NaN.
    """
    for iteration in range(maxiter):
        increment = step * direction(state)
        state = state + increment
        if iteration < maxiter - 1:
            moved = ops.stop_gradient(ops.sum(ops.square(increment))) >= eps * eps
            step = step * ops.cast(moved, state.dtype)
    return state


def bjorck_direction(w: Tensor) -> Tensor:
    """W − W Wᵀ W: where a step of Björck's iteration moves a matrix of shape (rows, columns), before the factor β."""
    if w.shape[0] < w.shape[1]:  # the smaller of the two Gram matrices
        return w - ops.matmul(ops.matmul(w, ops.transpose(w)), w)
    return w - ops.matmul(w, ops.matmul(ops.transpose(w), w))


def bjorck_step(w: Tensor, beta: float = DEFAULT_BETA_BJORCK) -> Tensor:
    """One step of Björck's iteration, (1+β)W − β W Wᵀ W; every singular value s becomes (1+β)s − βs³.

    Args:
        w: Matrix of shape (rows, columns).
        beta: Step size β in ]0, 0.5].

    Returns:
        A matrix with the shape of `w`.
    """
    return w + beta * bjorck_direction(w)


def bjorck_normalization(
    w: Tensor, eps: float = DEFAULT_EPS_BJORCK, beta: float = DEFAULT_BETA_BJORCK, maxiter: int = DEFAULT_MAXITER_BJORCK
) -> Tensor:
    """Push all singular values of a matrix towards 1 (Björck and Bowie 1971; Anil et al. 2019, eq. 3).

    Args:
        w: Matrix of shape (rows, columns) whose largest singular value is about 1; from √((2+β)/β) on
            (√5 at β = 0.5) the iteration diverges.
        eps: Stops when ‖W_t − W_{t−1}‖_F < eps. This bounds the last increment, not the distance to
            orthogonality: a singular value below eps/β hardly moves.
        beta: Step size β in ]0, 0.5].
        maxiter: Largest number of iterations.

    Returns:
        A matrix with the shape of `w`.

    Raises:
        ValueError: If an argument is out of range or `w` is not a matrix.
    """
    check_positive("eps", eps)
    if check_beta(beta) is None:
        raise ValueError("`beta` of Björck must lie in ]0, 0.5]. Received: None")
    check_count("maxiter", maxiter)
    w = ops.convert_to_tensor(w)
    check_matrix("w", w)
    return iterate(bjorck_direction, w, beta, eps, maxiter)


def power_iteration(step: Callable[[Tensor], Tensor], u: Tensor, eps: float, maxiter: int) -> Tensor:
    """Repeat u ← step(u) until it moves by less than eps, at most `maxiter` times."""
    return held(iterate(lambda x: step(x) - x, held(u), 1.0, eps, maxiter))


def spectral_normalization(
    kernel: Tensor, u: Tensor | None, eps: float = DEFAULT_EPS_SPECTRAL, maxiter: int = DEFAULT_MAXITER_SPECTRAL
) -> tuple[Tensor, Tensor, Tensor]:
    """Divide a matrix by an estimate of its largest singular value (Miyato et al. 2018, alg. 1).

    The estimate never exceeds σ1, so that the result may exceed 1 while the power iteration has not converged;
    `eps` in the denominator keeps kernels whose norm is of the order of eps from reaching 1.

    Args:
        kernel: Matrix of shape (in, out).
        u: Start vector of shape (1, out); None draws one.
        eps: The iteration stops when ‖u_t − u_{t−1}‖ < eps; also added to σ.
        maxiter: Largest number of iterations.

    Returns:
        The tuple (kernel / (σ + eps), u of shape (1, out), σ of shape (1, 1)).

    Raises:
        ValueError: If an argument is out of range or shapes do not fit.
    """
    check_positive("eps_spectral", eps)
    check_count("maxiter_spectral", maxiter)
    kernel = ops.convert_to_tensor(kernel)
    check_matrix("kernel", kernel)
    if u is None:
        u = keras_random.normal((1, kernel.shape[-1]), dtype=kernel.dtype)
    u = ops.convert_to_tensor(u)
    if tuple(u.shape) != (1, kernel.shape[-1]):
        raise ValueError(f"`u` must have the shape {(1, kernel.shape[-1])}. Received shape: {tuple(u.shape)}")
    transposed = ops.transpose(kernel)
    u = power_iteration(
        lambda x: l2_normalize(ops.matmul(l2_normalize(ops.matmul(x, transposed)), kernel)), u, eps, maxiter
    )
    v = ops.matmul(u, transposed)
    v = l2_normalize(held(v))
    sigma = ops.matmul(ops.matmul(v, kernel), ops.transpose(u))
    return kernel / (sigma + eps), u, sigma


def as_matrix(kernel: Tensor) -> Tensor:
    """Reshape a kernel (..., out) to the matrix (product of the others, out)."""
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


def reshaped_kernel_orthogonalization(
    kernel: Tensor,
    u: Tensor | None,
    adjustment_coef: float,
    eps_spectral: float = DEFAULT_EPS_SPECTRAL,
    eps_bjorck: float | None = DEFAULT_EPS_BJORCK,
    beta: float | None = DEFAULT_BETA_BJORCK,
    maxiter_spectral: int = DEFAULT_MAXITER_SPECTRAL,
    maxiter_bjorck: int = DEFAULT_MAXITER_BJORCK,
) -> tuple[Tensor, Tensor, Tensor]:
    """Reshape a kernel to a matrix, normalize it, orthogonalize it (RKO; Serrurier et al. 2021, section 4).

    Args:
        kernel: Tensor of shape (..., out), reshaped to (product of the others, out).
        u: Start vector of the power iteration, of shape (1, out), or None.
        adjustment_coef: Factor multiplied onto the result.
        eps_spectral: See `spectral_normalization`.
        eps_bjorck: See `bjorck_normalization`; None skips Björck.
        beta: See `bjorck_normalization`; None skips Björck.
        maxiter_spectral: See `spectral_normalization`.
        maxiter_bjorck: See `bjorck_normalization`.

    Returns:
        The tuple (constrained kernel in the kernel's own shape, u, σ).

    Raises:
        ValueError: If an argument is out of range or shapes do not fit.
    """
    kernel = ops.convert_to_tensor(kernel)
    shape = kernel.shape
    w, u, sigma = spectral_normalization(as_matrix(kernel), u, eps_spectral, maxiter_spectral)
    if eps_bjorck is not None and beta is not None:
        w = bjorck_normalization(w, eps_bjorck, beta, maxiter_bjorck)
    return ops.reshape(w * adjustment_coef, shape), u, sigma
