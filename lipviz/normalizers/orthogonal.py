"""Matrices with orthonormal columns from free parameters, by the solution of one linear system.

*Cayley* (Trockman and Kolter 2021). Cut W, of shape (n + m, n), into U of n rows and V of m rows, and let
A = U − Uᵀ + VᵀV. Then

    Q = [(I − A)(I + A)⁻¹; −2 V (I + A)⁻¹]

has orthonormal columns. Proof: I + A is invertible, as xᵀ(I + A)x ≥ ‖x‖². And
(I − A)ᵀ(I − A) = (I + A)ᵀ(I + A) − 2(A + Aᵀ), where A + Aᵀ = 2VᵀV, so (I + A)ᵀ QᵀQ (I + A) = (I + A)ᵀ(I + A).

*Block reflector* (Lai et al. 2025). For V of shape (n, r) and ε ≥ 0, let H = I − 2V(VᵀV + εI)⁻¹Vᵀ. With the singular
values s of V, H has the eigenvalues 1 − 2s²/(s² + ε) in ]−1, 1], and n − r times 1. So its norm is at most 1, and for
ε = 0 it is orthogonal: it reflects the space of V's columns. Each matrix of n of its rows or columns keeps that.

*Orthogonal convolutions* (Li et al. 2019; with strides, Boissin et al. 2025). For a projection P, the convolution with
the two taps [P, I − P] is orthogonal on ℤ: its symbol P + (I − P) e^(iω) is unitary. So is every sequence of such
factors along both axes. A matrix M with orthonormal rows or columns, on patches that do not overlap, is a convolution
with a stride that keeps norms, or is the adjoint of one. The kernel of a sequence is the block convolution of kernels.

Rounding. The first two end with one step of Björck's iteration, Q ← 3/2 Q − 1/2 QQᵀQ. It maps singular values from
[0, √3] into [0, 1], and 1 + e to 1 − 3/2 e². So what rounding did to the solution leaves a norm of at most 1, apart
from the rounding of the step itself, for which there is a margin. Of a reflector, rounding changes VᵀV by some matrix
E. If ε is at least ‖E‖, then VᵀV + E + εI ⪰ VᵀV, and the proof holds for the rounded matrix. So ε grows with ‖VᵀV‖ and
the precision: without that, columns that are nearly parallel gave norms far above 1.

References:
    Trockman and Kolter (2021), Orthogonalizing convolutional layers with the Cayley transform.
    Lai et al. (2025), Enhancing certified robustness via block reflector orthogonal layers and logit annealing loss.
    Li et al. (2019), Preventing gradient attenuation in Lipschitz constrained convolutional networks.
    Boissin et al. (2025), An adaptive orthogonal convolution scheme for efficient and flexible CNN architectures.
    Schreiber and Parlett (1988), Block reflectors: theory and computation.
"""

import math
from collections.abc import Sequence

from keras import ops
from keras.backend import standardize_dtype

from lipviz.normalizers.bounds import rounding_margin, unit_scaled
from lipviz.normalizers.iterations import bjorck_step, frobenius_norm
from lipviz.types import Tensor

_LENGTH = 20.0  # of W's columns, in the mean of squares, above which it is shrunk: I + A is then well conditioned
_ROUNDING = (
    0.25  # share of the margin for rounding: norms before the step of Björck then stay below 1.0001, far from √3
)


def cayley(w: Tensor) -> Tensor:
    """The Cayley transform of a matrix: a matrix with orthonormal columns or, where it is wide, orthonormal rows.

    A matrix whose Frobenius norm is above 20·√min(rows, columns) is shrunk to that first. In float32, the condition
    number of I + A would be too large otherwise.

    Args:
        w: Matrix of shape (rows, columns), float32 or float64.

    Returns:
        A matrix of the same shape. Zero is mapped to the identity, whose further rows or columns are 0.
    """
    return _shrunk(_transformed(w))


def _transformed(w):
    """`cayley` without the margin of rounding."""
    if w.shape[0] < w.shape[1]:
        return ops.transpose(_transformed(ops.transpose(w)))
    n = w.shape[1]
    w, factor = unit_scaled(w)
    w = w * ops.minimum(factor, _LENGTH * math.sqrt(n) / frobenius_norm(w))
    upper, lower = w[:n], w[n:]
    skew = upper - ops.transpose(upper) + ops.matmul(ops.transpose(lower), lower)
    unit = ops.eye(n, dtype=w.dtype)
    # Q (I + A) = [I − A; −2V], as a system for Qᵀ.
    right = ops.concatenate([unit - skew, -2.0 * lower], axis=0)
    return bjorck_step(ops.transpose(_solved(ops.transpose(unit + skew), ops.transpose(right))))


def _solved(matrix, right):
    """The solution of a linear system; NaN for a matrix that is not finite, for which TensorFlow raises an error."""
    is_finite = ops.all(ops.isfinite(matrix))
    found = ops.solve(ops.where(is_finite, matrix, ops.eye(matrix.shape[0], dtype=matrix.dtype)), right)
    return ops.where(is_finite, found, ops.full_like(found, math.nan))


def block_reflector(v: Tensor, rows: int, columns: int, eps: float = 1e-6) -> Tensor:
    """The first rows and columns of I − 2V(VᵀV + εI)⁻¹Vᵀ.

    Args:
        v: Matrix V of shape (max(rows, columns), r), float32 or float64.
        rows: Number of rows of the result.
        columns: Number of columns of the result.
        eps: ε, relative to the mean of the squared lengths of V's columns. It is at least what rounding needs, about
            4e-7·‖VᵀV‖ in float32.

    Returns:
        A matrix of shape (rows, columns) whose columns, or rows if it is wide, are orthonormal up to ε². For V = 0 it
        is the identity.
    """
    v, _ = unit_scaled(v)
    gram = ops.matmul(ops.transpose(v), v)
    count = v.shape[1]
    least = _ROUNDING * rounding_margin(v.shape, standardize_dtype(v.dtype)) * frobenius_norm(gram)
    epsilon = ops.maximum(ops.maximum(eps * ops.trace(gram) / count, least), 1e-20)
    inner = _solved(gram + epsilon * ops.eye(count, dtype=v.dtype), ops.transpose(v[:columns]))
    result = ops.eye(rows, columns, dtype=v.dtype) - 2.0 * ops.matmul(v[:rows], inner)
    return _shrunk(bjorck_step(result))


def orthogonal_convolution(parameters: Tensor, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    """The kernel of a convolution that is orthogonal on ℤ²: of the stride, after or before factors of two taps each.

    All matrices are Cayley transforms of parts of the parameters. The projections have half of the channels as rank,
    and every second factor has its taps in the other order, so that the kernel's weight is in its middle.

    Args:
        parameters: Tensor of the shape `orthogonal_parameters(shape, strides)`.
        shape: Shape of the kernel, (height, width, in, out).
        strides: Strides, none larger than the kernel.

    Returns:
        A tensor of that shape. Rows or columns of the convolution's matrix are orthonormal, whichever are fewer.
    """
    height, width, inputs, outputs = shape
    patch = strides[0] * strides[1] * inputs
    first = _transformed(parameters[0, :patch, :outputs])
    kernel = ops.reshape(first, (*strides, inputs, outputs))
    after = _factors_follow(shape, strides)
    axes = [0] * (height - strides[0]) + [1] * (width - strides[1])
    for number, axis in enumerate(axes):
        half, place = (outputs if after else inputs) // 2, number % 2
        part = parameters[1 + number // 2, : outputs if after else inputs, place * half : (place + 1) * half]
        kernel = _with_factor(kernel, part, axis, after, number % 2 == 0)
    return kernel


def orthogonal_parameters(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int, int]:
    """Shape of the parameters of `orthogonal_convolution`: matrices of the stride, and of two factors each.

    Args:
        shape: Shape of the kernel, (height, width, in, out).
        strides: Strides, none larger than the kernel.

    Returns:
        The tuple (number of matrices, rows, columns).
    """
    height, width, inputs, outputs = shape
    channels = outputs if _factors_follow(shape, strides) else inputs
    factors = height - strides[0] + width - strides[1]
    rows = max(strides[0] * strides[1] * inputs, channels)
    return 1 + -(-factors // 2), rows, max(outputs, channels)


def _factors_follow(shape, strides):
    """Whether the factors act on the output's channels: on the more numerous ones, but before a stride."""
    return max(strides) == 1 and shape[-1] > shape[-2]


def _with_factor(kernel, part, axis, after, is_first):
    """The block convolution of a kernel with [P, I − P] along an axis, or with [I − P, P]."""
    if part.shape[1] == 0:  # a single channel has no projection but 0
        projected = ops.zeros_like(kernel)
    else:
        basis = _transformed(part)
        steps = (basis, ops.transpose(basis))
        if after:
            projected = ops.matmul(ops.matmul(kernel, steps[0]), steps[1])
        else:
            projected = ops.matmul(steps[0], ops.matmul(steps[1], kernel))
    rest = kernel - projected
    first, second = (projected, rest) if is_first else (rest, projected)
    none = ops.zeros_like(ops.take(kernel, [0], axis=axis))
    return ops.concatenate([first, none], axis=axis) + ops.concatenate([none, second], axis=axis)


def _shrunk(q):
    return q * (1 - rounding_margin(q.shape, standardize_dtype(q.dtype)))
