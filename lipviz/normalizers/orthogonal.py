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
the precision: without that, columns that are nearly parallel gave norms far above 1. How large ‖E‖ is in the worst case
is not proved. `refresh` checks the exact norm in float64, so what is stored, exported and certified does not depend on
that, and one step of a training has an error that later steps do not keep.

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
from lipviz.types import Tensor

_LENGTH = 20.0  # of W's columns, in the mean of squares, above which it is shrunk: I + A is then well conditioned
# Share of the margin for rounding. A fifth of it was enough for the most singular V that were tried, of up to 256
# columns: random, nearly parallel, of half rank, with singular values down to 1e-6. With none, norms of 1e5 were
# measured.
_ROUNDING = 0.25


def cayley(w: Tensor) -> Tensor:
    """The Cayley transform of a matrix: a matrix with orthonormal columns or, where it is wide, orthonormal rows.

    A matrix whose Frobenius norm is above 20·√min(rows, columns) is shrunk to that first. In float32, the condition
    number of I + A would be too large otherwise.

    Args:
        w: Matrix of shape (rows, columns), float32 or float64.

    Returns:
        A matrix of the same shape. Zero is mapped to the identity, whose further rows or columns are 0.
    """
    return shrunk(_transformed(w))


def _transformed(w):
    """`cayley` of one or more matrices, of shape (..., rows, columns), without the margin of rounding."""
    if w.shape[-2] < w.shape[-1]:
        return turned(_transformed(turned(w)))
    n = w.shape[-1]
    w, factor = unit_scaled(w, axis=(-2, -1))
    length = ops.sqrt(ops.sum(ops.square(w), axis=(-2, -1), keepdims=True) + 1e-30)
    w = w * ops.minimum(factor, _LENGTH * math.sqrt(n) / length)
    upper, lower = w[..., :n, :], w[..., n:, :]
    skew = upper - turned(upper) + ops.matmul(turned(lower), lower)
    unit = ops.eye(n, dtype=w.dtype)
    # Q (I + A) = [I − A; −2V], as a system for Qᵀ.
    right = ops.concatenate([unit - skew, -2.0 * lower], axis=-2)
    return corrected(turned(solved(turned(unit + skew), turned(right))))


def turned(w: Tensor) -> Tensor:
    """The transposes of matrices of shape (..., rows, columns)."""
    return ops.swapaxes(w, -2, -1)


def corrected(q: Tensor) -> Tensor:
    """One step of Björck's iteration for matrices of shape (..., rows, columns): 3/2 Q − 1/2 QQᵀQ."""
    is_wide = q.shape[-2] < q.shape[-1]
    cubed = ops.matmul(ops.matmul(q, turned(q)), q) if is_wide else ops.matmul(q, ops.matmul(turned(q), q))
    return 1.5 * q - 0.5 * cubed


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """The solutions of linear systems; NaN if a matrix is not finite, for which TensorFlow raises an error."""
    is_finite = ops.all(ops.isfinite(matrix))
    found = ops.solve(ops.where(is_finite, matrix, ops.eye(matrix.shape[-1], dtype=matrix.dtype)), right)
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
    epsilon = reflector_epsilon(gram, eps * ops.trace(gram) / count)
    inner = solved(gram + epsilon * ops.eye(count, dtype=v.dtype), ops.transpose(v[:columns]))
    result = ops.eye(rows, columns, dtype=v.dtype) - 2.0 * ops.matmul(v[:rows], inner)
    return shrunk(corrected(result))


def reflector_epsilon(gram: Tensor, wanted: Tensor) -> Tensor:
    """ε of reflectors, at least what the rounding of VᵀV needs (see the module), and never 0.

    Args:
        gram: VᵀV, of shape (..., r, r), as it was computed.
        wanted: ε without rounding, a scalar.

    Returns:
        A tensor of shape (..., 1, 1).
    """
    size = ops.sqrt(ops.sum(ops.square(gram), axis=(-2, -1), keepdims=True) + 1e-30)
    least = _ROUNDING * rounding_margin(gram.shape[-2:], standardize_dtype(gram.dtype)) * size
    return ops.maximum(ops.maximum(wanted, least), 1e-20)


def orthogonal_convolution(parameters: Tensor, shape: Sequence[int], strides: Sequence[int], groups: int = 1) -> Tensor:
    """The kernel of a convolution that is orthogonal on ℤ²: of the stride, after or before factors of two taps each.

    All matrices are Cayley transforms of parts of the parameters. The projections have half of the channels as rank,
    and every second factor has its taps in the other order, so that the kernel's weight is in its middle.

    Args:
        parameters: Tensor of the shape `orthogonal_parameters(shape, strides, groups)`.
        shape: Shape of the kernel, (height, width, in / groups, out).
        strides: Strides, none larger than the kernel.
        groups: Number of groups of channels, each with a kernel of its own.

    Returns:
        A tensor of that shape. Rows or columns of the convolution's matrix are orthonormal, whichever are fewer.
    """
    height, width, inputs, outputs = shape[0], shape[1], shape[2], shape[3] // groups
    parameters = ops.reshape(parameters, (groups, -1, *parameters.shape[1:]))
    patch = strides[0] * strides[1] * inputs
    first = _transformed(parameters[:, 0, :patch, :outputs])
    kernel = ops.reshape(first, (groups, *strides, inputs, outputs))
    after = _factors_follow(inputs, outputs, strides)
    channels = outputs if after else inputs
    axes = [1] * (height - strides[0]) + [2] * (width - strides[1])
    for number, axis in enumerate(axes):
        half, place = channels // 2, number % 2
        part = parameters[:, 1 + number // 2, :channels, place * half : (place + 1) * half]
        kernel = _with_factor(kernel, part, axis, after, number % 2 == 0)
    return ops.reshape(ops.moveaxis(kernel, 0, -2), tuple(shape))


def orthogonal_parameters(shape: Sequence[int], strides: Sequence[int], groups: int = 1) -> tuple[int, int, int]:
    """Shape of the parameters of `orthogonal_convolution`: matrices of the stride, and of two factors each.

    Args:
        shape: Shape of the kernel, (height, width, in / groups, out).
        strides: Strides, none larger than the kernel.
        groups: Number of groups of channels.

    Returns:
        The tuple (number of matrices, rows, columns). Those of the first group come first.
    """
    height, width, inputs, outputs = shape[0], shape[1], shape[2], shape[3] // groups
    channels = outputs if _factors_follow(inputs, outputs, strides) else inputs
    factors = height - strides[0] + width - strides[1]
    rows = max(strides[0] * strides[1] * inputs, channels)
    return groups * (1 + -(-factors // 2)), rows, max(outputs, channels)


def _factors_follow(inputs, outputs, strides):
    """Whether the factors act on the output's channels: on the more numerous ones, but before a stride."""
    return max(strides) == 1 and outputs > inputs


def _with_factor(kernel, part, axis, after, is_first):
    """Kernels (groups, height, width, in, out) after or before a factor [P, I − P], or [I − P, P], along an axis."""
    if part.shape[-1] == 0:  # a single channel has no projection but 0
        projected = ops.zeros_like(kernel)
    else:
        basis = _transformed(part)[:, None, None]
        steps = (basis, turned(basis))
        if after:
            projected = ops.matmul(ops.matmul(kernel, steps[0]), steps[1])
        else:
            projected = ops.matmul(steps[0], ops.matmul(steps[1], kernel))
    rest = kernel - projected
    first, second = (projected, rest) if is_first else (rest, projected)
    none = ops.zeros_like(ops.take(kernel, [0], axis=axis))
    return ops.concatenate([first, none], axis=axis) + ops.concatenate([none, second], axis=axis)


def shrunk(q: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """Multiply by 1 less the margin for the rounding of a product of a shape, by default that of the matrix itself."""
    return q * (1 - rounding_margin(q.shape if shape is None else shape, standardize_dtype(q.dtype)))
