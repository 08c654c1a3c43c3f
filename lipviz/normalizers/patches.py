"""Where the patches of a convolution lie along one axis, and how many of them share an entry."""

import math

import numpy as np


def patches_along(size: int, reach: int, stride: int, padding: str) -> tuple[int, int]:
    """Count the patches along an axis.

    Args:
        size: Length of the axis.
        reach: Length of a patch, from its first entry to its last.
        stride: Distance of neighbouring patches.
        padding: "same", "causal" or "valid", as Keras pads.

    Returns:
        The tuple (number of patches, number of zeros before the first entry).

    Raises:
        ValueError: If the padding is not known.
    """
    if padding == "same":
        count = -(-size // stride)
        return count, max((count - 1) * stride + reach - size, 0) // 2
    if padding == "causal":
        return (size - 1) // stride + 1, reach - 1
    if padding == "valid":
        return (size - reach) // stride + 1, 0
    raise ValueError(f"`padding` must be 'valid', 'same' or 'causal'. Received: {padding!r}")


def image_size(size: int, kernel_size: int, stride: int, padding: str, transposed: bool = False) -> int:
    """Length of the axis that patches are read from; for a transposed convolution, that of its output.

    Args:
        size: Length of the axis of the layer's input.
        kernel_size: Length of a patch.
        stride: Distance of neighbouring patches.
        padding: "same" or "valid".
        transposed: Whether the layer is a transposed convolution.

    Returns:
        An int.
    """
    if not transposed:
        return size
    return size * stride + (max(kernel_size - stride, 0) if padding == "valid" else 0)


def shared_patches(size: int, kernel_size: int, stride: int, padding: str, dilation: int = 1) -> int:
    """Largest number of patches of a convolution that share one entry, along an axis of exactly this length.

    Args:
        size: Length of the axis that patches are read from.
        kernel_size: Number of entries of a patch.
        stride: Distance of neighbouring patches.
        padding: "same", "causal" or "valid".
        dilation: Distance of neighbouring entries of a patch.

    Returns:
        An int; 0 if there is no patch.
    """
    count, before = patches_along(size, (kernel_size - 1) * dilation + 1, stride, padding)
    entries = (np.arange(count)[:, None] * stride + np.arange(kernel_size) * dilation - before).ravel()
    return int(np.bincount(entries[(entries >= 0) & (entries < size)], minlength=1).max())


def patch_coverage(
    size: int | None, kernel_size: int, stride: int, padding: str, transposed: bool = False, dilation: int = 1
) -> int:
    """Largest number of patches of a convolution that share one entry of its input, along one axis.

    Args:
        size: Length of the axis of the layer's input; None if it is not known: the result then holds for every size.
        kernel_size: Number of entries of a patch.
        stride: Distance of neighbouring patches.
        padding: "same" or "valid".
        transposed: Whether the layer is a transposed convolution, and the patches lie in its output; not with dilation.
        dilation: Distance of neighbouring entries of a patch.

    Returns:
        A positive int that holds for `size` and all smaller sizes, at most ceil(kernel_size / stride) without
        dilation.
    """
    most = -(-kernel_size // (stride // math.gcd(stride, dilation)))
    found = 1
    for length in range(1, (size or 0) + 1):
        if found == most:
            break
        image = image_size(length, kernel_size, stride, padding, transposed)
        found = max(found, shared_patches(image, kernel_size, stride, padding, dilation))
    return most if size is None else found
