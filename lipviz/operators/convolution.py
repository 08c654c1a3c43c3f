"""A convolution as a matrix-free operator in NumPy, which does not depend on the backend."""

import functools
import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import scipy.sparse.linalg as sla

from lipviz import normalizers as nm
from lipviz.types import Array, ArrayLike

_PATCH_ENTRIES = 2**21  # of all patches laid out at once, 16 MiB


class Convolution(sla.LinearOperator):
    """A convolution as Keras computes it, without bias, matrix-free. With no spatial axis it is a matrix.

    Args:
        kernel: Array of shape ``(*kernel size, in / groups, out)``.
        sizes: Spatial sizes of the input, one per axis.
        strides: Strides, one per axis; all 1 by default.
        padding: "valid", "same" or "causal", with zeros.
        dilations: Distance of neighbouring entries of a patch, one per axis; all 1 by default.
        groups: Number of groups that channels are split into.
        channels_first: Whether images are flattened with their channels first.

    Attributes:
        input_shape: Shape of an input, without the batch.
        output_shape: Shape of an output, without the batch.

    Raises:
        ValueError: If shapes do not fit, or the output is empty.
    """

    def __init__(
        self,
        kernel: ArrayLike,
        sizes: Iterable[int] = (),
        strides: Iterable[int] | None = None,
        padding: Literal["valid", "same", "causal"] = "valid",
        dilations: Iterable[int] | None = None,
        groups: int = 1,
        channels_first: bool = False,
    ):
        self.kernel = np.asarray(kernel, np.float64)
        self.sizes = tuple(sizes)
        self.strides = (1,) * len(self.sizes) if strides is None else tuple(strides)
        self.padding = padding
        self.dilations = (1,) * len(self.sizes) if dilations is None else tuple(dilations)
        self.groups = groups
        self.channels_first = channels_first
        *reach, channels, filters = self.kernel.shape
        if len(reach) != len(self.sizes) or filters % groups:
            raise ValueError(
                "Expected a kernel of shape (*kernel size, in / groups, out), with as many axes as there are sizes. "
                f"Received: kernel of shape {self.kernel.shape}, sizes {self.sizes}, groups {groups}"
            )
        axes = zip(self.sizes, reach, self.strides, self.dilations, strict=True)
        patches = [nm.patches_along(n, (k - 1) * d + 1, s, padding) for n, k, s, d in axes]
        self.counts, self.before = tuple(c for c, _ in patches), tuple(b for _, b in patches)
        if min(self.counts, default=1) < 1:
            raise ValueError(f"An input of sizes {self.sizes} is smaller than the kernel {self.kernel.shape}.")
        self.input_shape = self._flat((*self.sizes, channels * groups))
        self.output_shape = self._flat((*self.counts, filters))
        super().__init__(np.dtype(np.float64), (math.prod(self.output_shape), math.prod(self.input_shape)))

    def _flat(self, shape):
        return (shape[-1], *shape[:-1]) if self.channels_first else shape

    def _images(self, columns, shape):
        """Columns of shape (entries, n) as images (n, *sizes, channels)."""
        images = columns.T.reshape(-1, *shape)
        return np.moveaxis(images, 1, -1) if self.channels_first else images

    def _columns(self, images):
        images = np.moveaxis(images, -1, 1) if self.channels_first else images
        return images.reshape(len(images), -1).T

    @functools.cached_property
    def _taps(self):
        """For each entry of a patch: its index, and the outputs and inputs that it connects, as slices."""
        found = []
        for tap in np.ndindex(*self.kernel.shape[:-2]):
            axes = zip(self.sizes, self.counts, self.strides, self.dilations, self.before, tap, strict=True)
            pairs = [_connected(n, c, s, t * d - b) for n, c, s, d, b, t in axes]
            if None not in pairs:
                found.append((tap, (slice(None), *(o for o, _ in pairs)), (slice(None), *(i for _, i in pairs))))
        return found

    @functools.cached_property
    def _stacked(self):
        """The matrices of these taps, of shape (taps, in, out)."""
        return np.array([self.kernel[tap] for tap, _, _ in self._taps])

    def _fits(self, images):
        """Whether all patches are laid out at once, so that one product replaces a product for each tap."""
        entries = len(images) * math.prod(self.counts) * len(self._taps) * self.kernel.shape[-2]
        return self.groups == 1 and len(self._taps) > 1 and entries <= _PATCH_ENTRIES

    def _product(self, x, matrix):
        """Images of shape (..., channels) times a matrix, or group by group."""
        if self.groups == 1:
            return x @ matrix
        x = x.reshape(*x.shape[:-1], self.groups, -1)
        return np.einsum("...gi,igo->...go", x, matrix.reshape(len(matrix), self.groups, -1)).reshape(*x.shape[:-2], -1)

    def _adjoint_product(self, y, matrix):
        if self.groups == 1:
            return y @ matrix.T
        y = y.reshape(*y.shape[:-1], self.groups, -1)
        return np.einsum("...go,igo->...gi", y, matrix.reshape(len(matrix), self.groups, -1)).reshape(*y.shape[:-2], -1)

    def _matmat(self, columns):
        x = self._images(columns, self.input_shape)
        if self._fits(x):
            patches = np.zeros((len(x), *self.counts, len(self._taps), x.shape[-1]))
            for number, (_, out, into) in enumerate(self._taps):
                patches[(*out, number)] = x[into]
            matrix = self._stacked.reshape(-1, self.kernel.shape[-1])
            y = patches.reshape(-1, len(matrix)) @ matrix
            return self._columns(y.reshape(len(x), *self.counts, -1))
        y = np.zeros((len(x), *self.counts, self.kernel.shape[-1]))
        for tap, out, into in self._taps:
            y[out] += self._product(x[into], self.kernel[tap])
        return self._columns(y)

    def largest(self, columns: Array) -> Array:
        """The largest entry of each patch, channel by channel, in the place of a sum of products; padding is left out.

        Args:
            columns: Inputs, of shape (entries, n).

        Returns:
            An array of shape (entries of the output, n), for as many output channels as there are input channels.
        """
        x = self._images(columns, self.input_shape)
        y = np.full((len(x), *self.counts, x.shape[-1]), -np.inf)
        for _, out, into in self._taps:
            y[out] = np.maximum(y[out], x[into])
        return self._columns(y)

    def _rmatmat(self, columns):
        y = self._images(columns, self.output_shape)
        x = np.zeros((len(y), *self.sizes, self.kernel.shape[-2] * self.groups))
        if self._fits(y):
            patches = y.reshape(-1, y.shape[-1]) @ self._stacked.transpose(0, 2, 1)
            for (_, out, into), patch in zip(self._taps, patches.reshape(-1, *y.shape[:-1], x.shape[-1]), strict=True):
                x[into] += patch[out]
            return self._columns(x)
        for tap, out, into in self._taps:
            x[into] += self._adjoint_product(y[out], self.kernel[tap])
        return self._columns(x)

    def _matvec(self, x):
        return self._matmat(x.reshape(-1, 1))[:, 0]

    def _rmatvec(self, y):
        return self._rmatmat(y.reshape(-1, 1))[:, 0]

    def _transpose(self):
        return TransposedConvolution(self)

    _adjoint = _transpose  # the kernel is real

    @property
    def terms(self) -> int:
        """Largest number of products that are added up for one output, of the operator or of its adjoint."""
        return math.prod(self.kernel.shape[:-2]) * max(self.kernel.shape[-2:])

    @property
    def operations(self) -> int:
        """Multiplications of a product with one image, as if none were left out at the borders."""
        return self.kernel.size * math.prod(self.counts)

    @property
    def parts(self) -> list[Array]:
        """Kernels of the groups, a list."""
        return np.split(self.kernel, self.groups, axis=-1)

    def with_kernel(self, kernel: Array) -> "Convolution":
        """The same convolution with another kernel, an array of the same shape."""
        geometry = (self.sizes, self.strides, self.padding, self.dilations, self.groups, self.channels_first)
        return Convolution(kernel, *geometry)

    def blocks(self) -> list["Convolution"]:
        """Operators whose direct sum is this one. They have the same singular values; of equal blocks one is listed.

        Returns:
            A list of `Convolution`, one for each group. Where each output reads a single pixel, they act on one pixel.
        """
        parts = list({part.tobytes(): part for part in self.parts}.values())
        if math.prod(self.kernel.shape[:-2]) == 1 and set(self.strides) <= {1}:
            return [Convolution(part.reshape(part.shape[-2:])) for part in parts]
        return [Convolution(part, self.sizes, self.strides, self.padding, self.dilations) for part in parts]


def untransposed(operator: sla.LinearOperator) -> Convolution:
    """The convolution of which an operator is the transpose, or the operator itself if it is a convolution.

    Raises:
        TypeError: If it is neither.
    """
    found = operator.T if isinstance(operator, TransposedConvolution) else operator
    if not isinstance(found, Convolution):
        raise TypeError(f"Expected a `Convolution`, or the transpose of one. Received: {type(operator).__name__}")
    return found


class TransposedConvolution(sla.LinearOperator):
    """The transpose of a convolution, whose own transpose is that convolution again.

    Args:
        convolution: A `Convolution`.
    """

    def __init__(self, convolution: Convolution):
        self._convolution = convolution
        super().__init__(convolution.dtype, convolution.shape[::-1])

    def _matmat(self, columns):
        return self._convolution._rmatmat(columns)

    def _rmatmat(self, columns):
        return self._convolution._matmat(columns)

    def _matvec(self, x):
        return self._convolution._rmatvec(x)

    def _rmatvec(self, y):
        return self._convolution._matvec(y)

    def _transpose(self):
        return self._convolution

    _adjoint = _transpose  # the kernel is real


def _connected(size, count, stride, offset):
    """Slices of the outputs o and of the inputs o·stride + offset, where both exist; None if there are none."""
    first = max(0, -(offset // stride))
    last = min(count - 1, (size - 1 - offset) // stride)
    if last < first:
        return None
    return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)
