"""Regularizers that pull kernels towards orthogonality, where a constraint would be too much.

They add a penalty to the loss. Unlike the layers of `lipviz.layers` they promise nothing about the Lipschitz constant:
`lipviz.compute_layer_sv` measures what came out.

References:
    Wang, Chen, Chakraborty and Yu (2020), Orthogonal convolutional neural networks.
    Achour, Malgouyres and Mamalet (2022), Existence, stability and scalability of orthogonal convolutional layers.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.types import Tensor


class Lorth:
    """Distance of a convolution from an orthogonal one, computed from its kernel alone, whatever the image's size.

    With M filters on C channels, strides s and P = floor((k−1)/s)·s zeros of padding on each side,

        L_orth(K) = ‖conv(K, K, padding P, strides s) − I_r0‖²_F − max(M − C·Π s, 0),

    where conv(K, K) holds the products of all filters with all shifted ones, and I_r0 is 1 where a filter meets itself,
    not shifted. Achour et al. (2022): the convolution with circular padding on images of N outputs, each
    axis at least 2k − 1 pixels long, is a matrix A with

        ‖A Aᵀ − I‖²_F = N·L_orth   where M ≤ C·Π s,    ‖Aᵀ A − I‖²_F = N·L_orth   where M ≥ C·Π s.

    Layers with zero padding are orthogonal in their interior only where L_orth is 0.

    Args:
        dim: Number of spatial axes, 1 or 2.
        kernel_shape: Shape ``(*kernel size, C, M)`` of the kernel; None takes that of whatever is measured.
        stride: Stride, one for all axes or one per axis.
        conv_transpose: Whether the kernel, of shape ``(*kernel size, out, in)``, is that of a transposed convolution.
            Such a layer is the adjoint of a convolution from `out` to `in` channels whose kernel Keras stores as is,
            and a matrix is orthogonal when its adjoint is: the value is the same.

    Raises:
        ValueError: If an argument is out of range, or no orthogonal convolution of this shape exists.
    """

    def __init__(
        self,
        dim: Literal[1, 2],
        kernel_shape: Sequence[int] | None = None,
        stride: int | Sequence[int] = 1,
        conv_transpose: bool = False,
    ) -> None:
        if isinstance(dim, bool) or dim not in (1, 2):
            raise ValueError(f"`dim` must be 1 or 2. Received: {dim!r}")
        if not isinstance(conv_transpose, bool):
            raise ValueError(f"`conv_transpose` must be True or False. Received: {conv_transpose!r}")
        self.dim = dim
        self.stride = stride
        self.strides = _strides(stride, dim)
        self.conv_transpose = conv_transpose
        self.kernel_shape: tuple[int, ...] | None = None
        self.set_kernel_shape(kernel_shape)

    def set_kernel_shape(self, shape: Sequence[int] | None) -> None:
        """Fix the shape of the kernel.

        Args:
            shape: Shape ``(*kernel size, C, M)``, or None for any.

        Raises:
            ValueError: If it has another number of axes, or no orthogonal convolution has it.
        """
        if shape is not None:
            shape = tuple(nm.check_count("kernel_shape", length) for length in shape)
            self._check_shape(shape)
        self.kernel_shape = shape

    def _check_shape(self, shape):
        """Raise ValueError where no orthogonal convolution exists (Achour et al. 2022)."""
        if len(shape) != self.dim + 2 or 0 in shape:
            raise ValueError(
                f"Expected a kernel of {self.dim} spatial axes and two of channels, none of length 0. "
                f"Received shape: {shape}"
            )
        *reach, channels, filters = shape
        entries = channels * math.prod(reach)
        if filters > channels * math.prod(self.strides):
            if any(s > k for k, s in zip(reach, self.strides, strict=True)):
                raise ValueError(
                    "No orthogonal convolution has strides beyond its kernel and more filters than a stride has "
                    f"entries. Received: kernel of shape {shape}, strides {self.strides}"
                )
        elif filters > entries:
            raise ValueError(
                f"No orthogonal convolution has more filters than a patch has entries, {entries}. "
                f"Received: kernel of shape {shape}, strides {self.strides}"
            )

    def compute_lorth(self, w: Tensor) -> Tensor:
        """L_orth of a kernel.

        Args:
            w: Tensor of shape ``(*kernel size, C, M)``.

        Returns:
            A scalar tensor, 0 or more but for rounding.

        Raises:
            ValueError: If the shape is not the expected one.
        """
        w = ops.convert_to_tensor(w)
        shape = tuple(w.shape)
        if self.kernel_shape is None:
            self._check_shape(shape)
        elif shape != self.kernel_shape:
            raise ValueError(f"Expected a kernel of shape {self.kernel_shape}. Received shape: {shape}")
        *reach, channels, filters = shape
        paddings = [(k - 1) // s * s for k, s in zip(reach, self.strides, strict=True)]

        # The filters as a batch of M images of C channels, convolved with themselves.
        images = ops.transpose(w, (self.dim + 1, *range(self.dim + 1)))
        images = ops.pad(images, [(0, 0), *((p, p) for p in paddings), (0, 0)])
        products = ops.conv(images, w, strides=self.strides, padding="valid", data_format="channels_last")
        centre = tuple(p // s for p, s in zip(paddings, self.strides, strict=True))
        target = np.zeros(tuple(products.shape))
        target[(slice(None), *centre)] = np.eye(filters)
        surplus = max(filters - channels * math.prod(self.strides), 0)
        return ops.sum(ops.square(products - ops.convert_to_tensor(target, dtype=products.dtype))) - surplus


class Lorth2D(Lorth):
    """`Lorth` of a 2-D convolution.

    Args:
        kernel_shape: See `Lorth`.
        stride: See `Lorth`.
        conv_transpose: See `Lorth`.
    """

    def __init__(
        self, kernel_shape: Sequence[int] | None = None, stride: int | Sequence[int] = 1, conv_transpose: bool = False
    ) -> None:
        super().__init__(2, kernel_shape, stride, conv_transpose)


def _strides(stride, dim):
    """A stride as a tuple, one per axis."""
    strides = tuple(stride) if isinstance(stride, list | tuple) else (stride,) * dim
    if len(strides) != dim or any(nm.check_count("stride", s) < 1 for s in strides):
        raise ValueError(f"`stride` must be one positive integer, or {dim}. Received: {stride!r}")
    return strides


def _weight(name, value):
    """Return the weight of a penalty, a number of at least 0."""
    return 0.0 if value == 0 and not isinstance(value, bool) else nm.check_positive(name, value)


@keras.saving.register_keras_serializable("lipviz")
class LorthRegularizer(keras.regularizers.Regularizer):
    """λ·L_orth of a convolution's kernel, see `Lorth`.

    Args:
        kernel_shape: Shape of the kernel; None takes that of the layer.
        stride: Stride of the layer, which a regularizer cannot see.
        lambda_lorth: Weight λ of the penalty, at least 0.
        dim: Number of spatial axes, 1 or 2.
        conv_transpose: Whether the layer is a transposed convolution.

    Raises:
        ValueError: If an argument is out of range, or no orthogonal convolution of this shape exists.
    """

    def __init__(
        self,
        kernel_shape: Sequence[int] | None = None,
        stride: int | Sequence[int] = 1,
        lambda_lorth: float = 1.0,
        dim: Literal[1, 2] = 2,
        conv_transpose: bool = False,
    ) -> None:
        self.lorth = Lorth(dim, kernel_shape, stride, conv_transpose)
        self.lambda_lorth = _weight("lambda_lorth", lambda_lorth)

    def set_kernel_shape(self, shape: Sequence[int] | None) -> None:
        """Fix the shape of the kernel, see `Lorth.set_kernel_shape`."""
        self.lorth.set_kernel_shape(shape)

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a kernel of shape ``(*kernel size, C, M)``, a scalar tensor."""
        return self.lambda_lorth * self.lorth.compute_lorth(x)

    def get_config(self) -> dict[str, Any]:
        shape, stride = self.lorth.kernel_shape, self.lorth.stride
        return {
            "kernel_shape": None if shape is None else list(shape),
            "stride": list(stride) if isinstance(stride, list | tuple) else stride,
            "lambda_lorth": self.lambda_lorth,
            "dim": self.lorth.dim,
            "conv_transpose": self.lorth.conv_transpose,
        }


@keras.saving.register_keras_serializable("lipviz")
class OrthDenseRegularizer(keras.regularizers.Regularizer):
    """λ·‖WᵀW − I‖²_F = λ·Σ (σ² − 1)² over the singular values of a kernel; ‖WWᵀ − I‖²_F of a wide one.

    Args:
        lambda_orth: Weight λ of the penalty, at least 0.

    Raises:
        ValueError: If λ is negative or not finite, or a weight has fewer than two axes.
    """

    def __init__(self, lambda_orth: float = 1.0) -> None:
        self.lambda_orth = _weight("lambda_orth", lambda_orth)

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a kernel, as a matrix (product of the others, out); a scalar tensor."""
        x = ops.convert_to_tensor(x)
        if len(x.shape) < 2:
            raise ValueError(
                f"OrthDenseRegularizer needs a weight of at least two axes. Received shape: {tuple(x.shape)}"
            )
        w = nm.as_matrix(x)
        if w.shape[0] < w.shape[1]:  # the other Gram matrix has zeros among its eigenvalues, whatever W is
            w = ops.transpose(w)
        gram = ops.matmul(ops.transpose(w), w)
        return self.lambda_orth * ops.sum(ops.square(gram - ops.eye(gram.shape[0], dtype=gram.dtype)))

    def get_config(self) -> dict[str, Any]:
        return {"lambda_orth": self.lambda_orth}
