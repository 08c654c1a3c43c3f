"""A convolution and its adjoint as functions, and the power iteration on them."""

from collections.abc import Callable

import numpy as np
from keras import ops

from lipviz.normalizers.checks import (
    DEFAULT_EPS_SPECTRAL,
    DEFAULT_MAXITER_SPECTRAL,
    check_count,
    check_positive,
)
from lipviz.normalizers.iterations import held, l2_normalize, power_iteration
from lipviz.types import Tensor


def get_conv_operators(
    kernel: Tensor,
    u_shape: tuple[int, int, int, int],
    stride: float = 1.0,
    conv_first: bool = True,
    pad_func: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Build a 2-D convolution and its adjoint as functions, channels last.

    Args:
        kernel: Tensor of shape (height, width, in, out).
        u_shape: Shape (batch, height, width, channels) of what the first operator takes, all known.
        stride: Distance of neighbouring patches, one whole number for both axes.
        conv_first: True: the first operator is the convolution, and `u_shape` that of an image. False: it is the
            adjoint, and `u_shape` that of a convolution's output, of an image `stride` times as large.
        pad_func: Function that pads an image, linear; a "valid" convolution follows. None pads with zeros ("same").

    Returns:
        The tuple (linear operator, its adjoint) of functions from tensors to tensors.

    Raises:
        ValueError: If the kernel is not 4-D, `u_shape` does not fit it, or the stride is no positive whole number.
    """
    kernel = ops.convert_to_tensor(kernel)
    if stride != int(stride) or stride < 1:
        raise ValueError(f"`stride` must be a positive whole number. Received: stride={stride!r}")
    stride = int(stride)
    channels = 2 if conv_first else 3
    if len(kernel.shape) != 4 or len(u_shape) != 4 or u_shape[-1] != kernel.shape[channels]:
        raise ValueError(
            f"Expected a kernel of shape (height, width, in, out) and `u_shape` of shape (batch, height, width, "
            f"{'in' if conv_first else 'out'}). Received: {tuple(kernel.shape)} and {tuple(u_shape)}"
        )
    sizes = [n if conv_first else n * stride for n in u_shape[1:3]]
    if pad_func is None:
        pads = [_same_pads(n, k, stride) for n, k in zip(sizes, kernel.shape[:2], strict=True)]

        def pad_func(x):
            return ops.pad(x, [(0, 0), *pads, (0, 0)])

    image = (u_shape[0], *sizes, kernel.shape[2])
    unpad, padded = _adjoint_of_padding(pad_func, image)

    def convolve(x):
        return ops.conv(pad_func(x), kernel, strides=stride, padding="valid", data_format="channels_last")

    def adjoint(y):
        x = ops.conv_transpose(y, kernel, strides=stride, padding="valid", data_format="channels_last")
        # What no patch reaches at the far end is missing, what the last stride adds is too much.
        missing = [(0, max(n - m, 0)) for n, m in zip(padded, x.shape[1:3], strict=True)]
        return unpad(ops.pad(x, [(0, 0), *missing, (0, 0)])[:, : padded[0], : padded[1]])

    return (convolve, adjoint) if conv_first else (adjoint, convolve)


def _same_pads(size, kernel_size, stride):
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def _adjoint_of_padding(pad_func, shape):
    """The adjoint of a padding that copies pixels or writes zeros, as a function; and the padded sizes."""
    batch, height, width, channels = shape
    # Pad the numbers of the pixels, from 1 on: what comes out tells where each entry was copied from, 0 from nowhere.
    numbers = ops.reshape(ops.arange(1, height * width + 1, dtype="float32"), (1, height, width, 1))
    origins = np.rint(ops.convert_to_numpy(pad_func(numbers))).astype("int32")[0, :, :, 0]

    def unpad(x):
        rows = ops.reshape(ops.transpose(x, (1, 2, 0, 3)), (origins.size, batch * channels))
        sums = ops.segment_sum(rows, ops.convert_to_tensor(origins.ravel()), num_segments=height * width + 1)[1:]
        return ops.transpose(ops.reshape(sums, (height, width, batch, channels)), (2, 0, 1, 3))

    return unpad, origins.shape


def spectral_normalization_conv(
    kernel: Tensor,
    u: Tensor,
    stride: float = 1.0,
    conv_first: bool = True,
    pad_func: Callable[[Tensor], Tensor] | None = None,
    eps: float = DEFAULT_EPS_SPECTRAL,
    maxiter: int = DEFAULT_MAXITER_SPECTRAL,
) -> tuple[Tensor, Tensor, Tensor]:
    """Divide a convolution's kernel by an estimate of the norm of the whole convolution, by power iteration.

    Like `spectral_normalization` it estimates from below, and for images of the size of `u` only.

    Args:
        kernel: Tensor of shape (height, width, in, out).
        u: Start, a 4-D tensor; see `get_conv_operators`.
        stride: See `get_conv_operators`.
        conv_first: See `get_conv_operators`.
        pad_func: See `get_conv_operators`.
        eps: The iteration stops when ‖u_t − u_{t−1}‖ < eps; also added to σ. Negative: nothing is done, and σ is 1.
        maxiter: Largest number of iterations.

    Returns:
        The tuple (kernel / (σ + eps), u with its own shape, σ).

    Raises:
        ValueError: If an argument is out of range or shapes do not fit.
    """
    kernel, u = ops.convert_to_tensor(kernel), ops.convert_to_tensor(u)
    if eps < 0:
        return kernel, u, 1.0
    check_positive("eps_spectral", eps)
    check_count("maxiter_spectral", maxiter)
    linear, adjoint = get_conv_operators(kernel, tuple(u.shape), stride, conv_first, pad_func)
    u = power_iteration(lambda x: l2_normalize(adjoint(l2_normalize(linear(x)))), u, eps, maxiter)
    image = linear(u)
    v = l2_normalize(held(image))
    sigma = ops.sum(v * image)
    return kernel / (sigma + eps), u, sigma
