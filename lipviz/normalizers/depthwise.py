"""Depthwise convolutions: each channel of an image has filters of its own, and meets no other channel.

The operator is a direct sum of one operator per channel, so its norm is the largest of theirs, exactly. The kernel, of
shape (``*taps``, channels, multiplier), is a stack of matrices (taps, multiplier), one per channel, which map patches
of a channel to its outputs. What holds for the matrix of a convolution's kernel holds for each of them.
"""

import dataclasses
import functools
import math

import numpy as np
from keras.backend import standardize_dtype

from lipviz.normalizers._operations import in_numpy, ops
from lipviz.normalizers.bounds import rounding_margin, unit_scaled
from lipviz.normalizers.checks import DEFAULT_BETA_BJORCK, DEFAULT_EPS_BJORCK, DEFAULT_MAXITER_BJORCK
from lipviz.normalizers.fourier import FourierBound
from lipviz.normalizers.gram import GramIteration
from lipviz.normalizers.iterations import iterate
from lipviz.normalizers.patches import patch_coverage, patches_along
from lipviz.normalizers.polyphase import Axis, axis_up_to, enlarged
from lipviz.normalizers.settings import present
from lipviz.normalizers.sound import arrays_of
from lipviz.normalizers.symbols import section_norm
from lipviz.types import ArrayLike, Tensor

_SQUARINGS = 9  # a bound of λ1 of n × n is then too large by a factor of n^(1/1024) at most
_SECTION_SITES = 64  # outputs up to which each channel has a section's matrix
_SECTION_ROUNDING = 168  # see `lipviz.normalizers.fourier`
_SYMBOLS = 2**21  # complex entries at a time, 32 MiB


def channel_matrices(kernel: Tensor) -> Tensor:
    """The matrices of a kernel, one per channel.

    Args:
        kernel: Array or tensor of shape (``*taps``, channels, multiplier).

    Returns:
        The same entries in the shape (channels, product of the taps, multiplier).
    """
    return ops.swapaxes(ops.reshape(kernel, (-1, *kernel.shape[-2:])), 0, 1)


def channelwise_orthogonalization(
    kernel: Tensor,
    eps_bjorck: float | None = DEFAULT_EPS_BJORCK,
    beta: float | None = DEFAULT_BETA_BJORCK,
    maxiter_bjorck: int = DEFAULT_MAXITER_BJORCK,
) -> Tensor:
    """`sound_orthogonalization` of each channel of a depthwise kernel by itself: no singular value exceeds 1.

    Each matrix is divided by its largest magnitude and then by an upper bound of σ1, from Gram iteration; with one
    filter per channel that is its Euclidean norm. Björck follows where there are more. No power iteration is needed, so
    there is no state.

    With Björck the divisor is held constant for gradients, unless it is that norm; see `sound_orthogonalization`.

    Args:
        kernel: Tensor of shape (``*taps``, channels, multiplier), float32 or float64.
        eps_bjorck: Björck ends where the increment of all channels together is below it; None skips Björck.
        beta: Step size of Björck in ]0, 0.5]; None skips Björck.
        maxiter_bjorck: Largest number of Björck iterations.

    Returns:
        A tensor of the kernel's shape. Channels that are zero stay zero.
    """
    arrays = arrays_of(kernel) if present().of_values else None
    if arrays is None:
        return _orthogonalized(kernel, eps_bjorck, beta, maxiter_bjorck)
    (values,) = arrays
    with in_numpy():
        result = _orthogonalized(values, eps_bjorck, beta, maxiter_bjorck)
    return ops.convert_to_tensor(result)


def _orthogonalized(kernel, eps_bjorck, beta, maxiter_bjorck):
    stack, _ = unit_scaled(channel_matrices(kernel), (1, 2))
    is_wide = stack.shape[1] < stack.shape[2]
    tall = ops.swapaxes(stack, 1, 2) if is_wide else stack
    has_bjorck = tall.shape[2] > 1 and eps_bjorck is not None and beta is not None
    squares = _squared_bound(ops.stop_gradient(tall) if has_bjorck else tall)
    margin = 1 - rounding_margin(tall.shape[1:], standardize_dtype(tall.dtype))
    # At least one entry of a scaled matrix is 1, hence σ1 ≥ 1: the floor acts on zeros only.
    tall = tall * (margin / ops.sqrt(ops.maximum(squares, 0.25)))[:, None, None]
    if has_bjorck:
        tall = iterate(_bjorck_direction, tall, beta, eps_bjorck, maxiter_bjorck) * margin
    stack = ops.swapaxes(tall, 1, 2) if is_wide else tall
    return ops.reshape(ops.swapaxes(stack, 0, 1), kernel.shape)


def _squared_bound(tall):
    """Upper bounds of σ1² of tall matrices, of shape (channels,); exact for those of one column."""
    if tall.shape[2] == 1:
        return ops.sum(ops.square(tall), axis=(1, 2))
    iteration = GramIteration(ops.matmul(ops.swapaxes(tall, 1, 2), tall))
    iteration.square(_SQUARINGS)
    return ops.exp(iteration.upper)


def _bjorck_direction(tall):
    return tall - ops.matmul(tall, ops.matmul(ops.swapaxes(tall, 1, 2), tall))


# --- the norm of the whole operator ---


@dataclasses.dataclass(frozen=True, eq=False)
class DepthwiseFourierBound(FourierBound):
    """Upper bounds of the norms of a depthwise convolution's channels on images up to a size, functions of its kernel.

    The bound of each channel is that of `lipviz.normalizers.fourier`: of the section for up to 64 outputs, where its
    matrix is small enough to have one for each channel, of the circulants for more; or what `coverage` says of a kernel
    whose matrices have norms of at most 1, if that is smaller.

    Args:
        dilations: Distances of neighbouring entries of a patch, one per axis.
    """

    dilations: tuple[int, ...] = (1, 1)

    @functools.cached_property
    def axes(self) -> list[Axis]:
        """The `Axis` of each. A section is closer on a somewhat larger circulant."""
        axes = [axis_up_to(*geometry) for geometry in self._along_axes()]
        return enlarged(axes, self.counts) if self.is_section else axes

    @functools.cached_property
    def counts(self) -> tuple[int, ...]:
        """Outputs along each axis."""
        axes = self._along_axes()
        reach = [(taps - 1) * dilation + 1 for _, taps, *_, dilation in axes]
        counts = [patches_along(axis[0], r, axis[2], self.padding)[0] for axis, r in zip(axes, reach, strict=True)]
        return tuple(max(count, 1) for count in counts)

    @functools.cached_property
    def is_section(self) -> bool:
        """Whether the outputs are few enough for a section's matrix of each channel."""
        return math.prod(self.counts) <= _SECTION_SITES

    @functools.cached_property
    def coverage(self) -> float:
        """Norm of a channel's operator over that of its matrix, at the most: √(patches that share an entry)."""
        return math.sqrt(math.prod(patch_coverage(*geometry) for geometry in self._along_axes()))

    def _along_axes(self):
        axes = zip(self.sizes, self.kernel_size, self.strides, self.dilations, strict=True)
        return [(size, taps, stride, self.padding, False, dilation) for size, taps, stride, dilation in axes]

    def unit(self, kernel: Tensor) -> Tensor:
        """Divide each channel of a kernel by a bound of the norm of its convolution; zero stays zero.

        Args:
            kernel: Tensor of shape (``*taps``, channels, multiplier), float32 or float64, whose matrices have norms of
                at most 1, and of that order unless they are 0.

        Returns:
            A tensor of the kernel's shape, with a gradient.
        """
        shape = (math.prod(self.kernel_size), kernel.shape[-1])
        margin = 1 - 4 * rounding_margin(shape, standardize_dtype(kernel.dtype))
        # No circulant's norm is below that of the matrix, N being at least the number of taps.
        return kernel * (margin / ops.maximum(self.bound(kernel), 0.5))[:, None]

    def bound(self, kernel: Tensor) -> Tensor:
        """Bound the norms of the channels of a kernel whose matrices have norms of at most 1.

        Args:
            kernel: Tensor of shape (``*taps``, channels, multiplier), float32 or float64.

        Returns:
            A tensor of shape (channels,), with a gradient.
        """
        squares = self._squares(kernel)
        squares = self._of_section(squares[0]) if self.is_section else ops.min(ops.max(squares, axis=1), axis=0)
        return ops.minimum(ops.sqrt(squares + 1e-30), self.coverage)

    def _of_section(self, squares):
        """λ1 of each channel's section from σ² of shape (frequencies, channels); its eigenvector has the gradient."""
        features = ops.convert_to_tensor(self.features, dtype=squares.dtype)
        sigmas = ops.sqrt(ops.transpose(ops.stop_gradient(squares)))
        weighted = features * sigmas[:, None, :, None]
        weighted = ops.reshape(weighted, (sigmas.shape[0], -1, features.shape[-1]))
        iteration = GramIteration(ops.matmul(ops.swapaxes(weighted, 1, 2), weighted))
        iteration.square(_SQUARINGS)
        (first,) = iteration.eigenvectors()
        shares = ops.sum(ops.square(ops.matmul(features, ops.transpose(first))), axis=0)
        total = ops.sum(shares * squares, axis=0) + 1e-30
        margin = _SECTION_ROUNDING * float(np.finfo(standardize_dtype(squares.dtype)).eps)
        return ops.exp(iteration.upper) * (1 + margin) ** 2 * (total / ops.stop_gradient(total))

    def _squares(self, kernel):
        """Bounds of σ1² of each channel's symbol, of shape (choices of φ, frequencies, channels)."""
        waves = ops.convert_to_tensor(self.waves, dtype=kernel.dtype)
        real, imaginary = (_symbols(waves[part], kernel, ops) for part in (0, 1))
        if real.shape[-2] < real.shape[-1]:  # σ is that of the transpose
            real, imaginary = (ops.swapaxes(part, -1, -2) for part in (real, imaginary))
        if real.shape[-1] == 1:
            return ops.sum(ops.square(real) + ops.square(imaginary), axis=(-2, -1))
        if real.shape[-1] == 2:
            return _of_two_columns(real, imaginary)
        stacked = ops.concatenate([real, imaginary], axis=-2)
        turned = ops.concatenate([imaginary, -real], axis=-2)
        adjoint = ops.swapaxes(stacked, -1, -2)
        iteration = GramIteration(ops.matmul(adjoint, stacked), ops.matmul(adjoint, turned))
        iteration.square(_SQUARINGS)
        return ops.exp(iteration.upper)

    def exact(self, kernel: ArrayLike) -> float:
        """The largest of the bounds in float64 NumPy, of any kernel, and without what Gram iteration adds.

        Args:
            kernel: Array of shape (``*taps``, channels, multiplier).

        Returns:
            A float.
        """
        kernel = np.asarray(kernel, np.float64)
        if self.is_section:
            return max(self._exact_section(kernel[..., c : c + 1, :]) for c in range(kernel.shape[-2]))
        waves = self.waves[0] + 1j * self.waves[1]
        step = max(1, _SYMBOLS // (math.prod(waves.shape[:-1]) * kernel.shape[-1]))
        return max(self._exact(kernel[..., i : i + step, :], waves) for i in range(0, kernel.shape[-2], step))

    def _exact_section(self, channel):
        norm = float(np.linalg.norm(channel.reshape(-1, channel.shape[-1]), 2))
        return min(norm * self.coverage, section_norm(channel, self.axes, self.grids[0], self.features))

    def _exact(self, kernel, waves):
        symbols = _symbols(waves, kernel, np)
        rounding = 4 * (1 + kernel.shape[-1] + 8 * math.prod(self.kernel_size)) * float(np.finfo(np.float64).eps)
        bounds = np.linalg.norm(symbols, 2, axis=(-2, -1)).max(axis=1).min(axis=0) * (1 + rounding)
        with in_numpy():
            norms = np.linalg.norm(channel_matrices(kernel), 2, axis=(1, 2))
        return float(np.minimum(bounds, norms * self.coverage).max())


def _of_two_columns(real, imaginary):
    """σ1² of complex matrices of shape (..., rows, 2): the larger root of the characteristic polynomial of KᴴK."""
    (first, second), (i_first, i_second) = ((part[..., 0], part[..., 1]) for part in (real, imaginary))
    a = ops.sum(ops.square(first) + ops.square(i_first), axis=-1)
    d = ops.sum(ops.square(second) + ops.square(i_second), axis=-1)
    product = ops.sum(first * second + i_first * i_second, axis=-1)
    i_product = ops.sum(first * i_second - i_first * second, axis=-1)
    squares = ops.square((a - d) / 2) + ops.square(product) + ops.square(i_product)
    return (a + d) / 2 + ops.sqrt(squares + 1e-30)


def _symbols(waves, kernel, library):
    """K̂ of each channel, of shape (choices of φ, frequencies, channels, phases, multiplier)."""
    channels, multiplier = kernel.shape[-2:]
    product = library.matmul(waves, library.reshape(kernel, (-1, channels * multiplier)))
    return library.swapaxes(library.reshape(product, (*waves.shape[:-1], channels, multiplier)), -3, -2)
