"""Axes of convolutions in polyphase form, and sizes of circulants that hold them; see `lipviz.normalizers.fourier`."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lipviz.normalizers.patches import image_size, patches_along


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis in polyphase form: tap t reads phase `phases[t]` at `shifts[t]` entries from the output's own.

    Attributes:
        shifts: Array of ints, of shape (taps,).
        phases: The same, numbered from 0 without gaps.
        values: The phases' residues modulo the stride, of shape (number of phases,).
        size: Smallest size of a circulant in which the axis does not wrap.
    """

    shifts: np.ndarray
    phases: np.ndarray
    values: np.ndarray
    size: int = 0


def polyphase(taps: int, stride: int, dilation: int, size: int | None = None, count: int = 0, before: int = 0) -> Axis:
    """The polyphase form of an axis; with `size` None, without the size of a circulant."""
    reach = np.arange(taps) * dilation
    values, phases = np.unique(reach % stride, return_inverse=True)
    shifts = reach // stride
    if size is None:
        return Axis(shifts, phases, values)
    least = 1
    for phase, value in enumerate(values):
        own = shifts[phases == phase]
        # Entries q of this phase that exist, at q·stride + value − before of the image. Outputs are 0 … count − 1.
        first, last = -(-(before - value) // stride), (size - 1 + before - value) // stride
        if first <= last:  # o + p − q is a multiple of N only if it is 0
            least = max(least, count + own.max() - first, last - own.min() + 1)
    return Axis(shifts, phases, values, int(least))


def axis_up_to(size: int, taps: int, stride: int, padding: str, transposed: bool = False, dilation: int = 1) -> Axis:
    """Polyphase form of an axis whose circulant contains the convolution on images of `size` and smaller ones."""
    axis = polyphase(taps, stride, dilation)
    least = int(axis.shifts.max()) + 1  # no two taps fall onto the same entry
    for length in range(1, size + 1):
        image = image_size(length, taps, stride, padding, transposed)
        count, before = patches_along(image, (taps - 1) * dilation + 1, stride, padding)
        if count > 0:
            least = max(least, polyphase(taps, stride, dilation, image, count, before).size)
    return dataclasses.replace(axis, size=least)


def enlarged(axes: Sequence[Axis], counts: Sequence[int]) -> list[Axis]:
    """The axes with somewhat larger circulants, on which the bound by a section is tighter."""
    sizes = [count + int(axis.shifts.max()) for axis, count in zip(axes, counts, strict=True)]
    return [dataclasses.replace(axis, size=max(axis.size, n)) for axis, n in zip(axes, sizes, strict=True)]
