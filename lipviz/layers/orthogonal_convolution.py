"""Convolutions that are orthogonal by construction, with strides, and their adjoints: gradients keep their norms."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.layers._arguments import Activation, Constraint, Initializer, Regularizer
from lipviz.layers.base_layer import given
from lipviz.layers.rescaled import AOLConv
from lipviz.layers.unconstrained import PadConv2D
from lipviz.parametrizations import OrthogonalConvParametrization
from lipviz.types import Shape, Tensor


class OrthogonalConv(AOLConv):
    """Mixin of convolutions whose kernel is that of `lipviz.normalizers.orthogonal_convolution`."""

    parametrization_class = OrthogonalConvParametrization

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if any(taps < stride for taps, stride in zip(self.kernel_size, self.strides, strict=True)):
            raise ValueError(
                f"{type(self).__name__} expects a kernel at least as large as its strides. Received: "
                f"kernel_size={self.kernel_size}, strides={self.strides}"
            )

    def raw_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return nm.orthogonal_parameters(shape, self.strides, getattr(self, "groups", 1))


@keras.saving.register_keras_serializable("lipviz")
class AOCConv2D(OrthogonalConv, PadConv2D):
    """2-D convolution that is k times an orthogonal one, with strides: an adaptive orthogonal convolution (AOC).

    The kernel is the block convolution of an orthogonal matrix on patches that do not overlap (the stride), and of
    factors with two taps, [P, I − P], where P is a projection (BCOP).

    What is exact, for every finite raw kernel:

    * With "circular" padding, all singular values are k, up to rounding. With "valid" padding they are, if the filters
      are at most strides² times the input's channels: then every row of the matrix is complete.
    * With "same" padding (zeros) the norm is at most k, but the layer is not orthogonal: at the border, rows are cut,
      and some singular values are smaller. With n entries of the image and N of a circle that is larger by half the
      kernel, at least 2n − N of the n are k: 93 % for 3×3 on 28×28.

    Proof: the symbol P + (I − P) e^(iω) of a factor is unitary, and the matrix of the stride has orthonormal rows or
    columns; so their product on ℤ² keeps norms, or is the adjoint of one that does. A circle of n pixels has the
    symbol at n of its frequencies (a stride must divide n). Zero padding and none use a part of the rows and columns.
    What rounding leaves above k is removed by the sums of `AOLConv2D`, which are 1 but for rounding.

    What it cannot be: all orthogonal convolutions, of which there are more than such sequences (Li et al. 2019). With a
    stride, the factors act on the input's channels, before the stride: a single channel is only moved by them.
    Each group of channels has a kernel of its own. `condense` leaves the raw kernel as it is.

    Args:
        filters: Number of output channels.
        kernel_size: One or two positive integers, at least the strides; odd with "circular" padding.
        strides: One or two positive integers.
        padding: "same" (zeros), "valid" or "circular".
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: Must be 1.
        groups: Number of groups of channels. It divides the input's channels and the filters. On a CPU, a
            training step in TensorFlow takes tens of times as long with groups as without, here as in
            `keras.layers.Conv2D`: the gradients of grouped convolutions are slow. A prediction takes one to eight
            times as long.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel, of the shape `lipviz.normalizers.orthogonal_parameters`.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, in). Output shape: (batch, new height, new width, filters). Channels come second
    with "channels_first". With "circular" padding and a stride, height and width must be known multiples of it.

    Raises:
        ValueError: If an argument is out of range, the size of the image does not fit, or the initial kernel holds NaN
            or Inf.

    The export is a `keras.layers.Conv2D`; with "circular" padding, which Keras does not have, a `PadConv2D`.

    References: see `lipviz.normalizers.orthogonal`.
    """

    vanilla_class = PadConv2D
    _has_groups = True
    _paddings = ("same", "valid", "circular")

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: Literal["same", "valid", "circular"] = "same",
        data_format: Literal["channels_last", "channels_first"] | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        groups: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = SpectralInitializer(),  # noqa: B008 - stateless, and the reference's default
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        activity_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))
        if self.padding == "circular" and any(taps % 2 == 0 for taps in self.kernel_size):
            raise ValueError(
                f"AOCConv2D with padding='circular' expects an odd kernel. Received: kernel_size={self.kernel_size}"
            )

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        self._check_circle(input_shape)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        self._check_circle(inputs.shape)
        return PadConv2D.convolution_op(self, inputs, kernel)

    def _check_circle(self, shape):
        sizes = self._spatial(shape)
        fits = (
            stride == 1 or (n is not None and n % stride == 0) for n, stride in zip(sizes, self.strides, strict=True)
        )
        if self.padding == "circular" and not all(fits):
            raise ValueError(
                f"AOCConv2D '{self.name}' with padding='circular' expects an image whose known sizes are multiples of "
                f"its strides {self.strides}. Received the input shape {tuple(shape)}"
            )

    def _plain_class(self):
        return PadConv2D if self.padding == "circular" else keras.layers.Conv2D


@keras.saving.register_keras_serializable("lipviz")
class AOCConv2DTranspose(OrthogonalConv, keras.layers.Conv2DTranspose):
    """Transposed 2-D convolution that is k times an orthogonal one: the adjoint of an `AOCConv2D` (AOC).

    It reads images of the size that the adjoint returns, and returns those that it reads. With a stride, it makes
    images larger without a loss.

    What is exact, for every finite raw kernel:

    * Where patches do not overlap (strides = kernel_size), all singular values are k, up to rounding.
    * With "valid" padding they are, if the input's channels are at most strides² times the filters: the matrix is the
      transpose of one whose rows are complete. So every input keeps its norm, times k.
    * With "same" padding, what lies outside of the image is cut off: the norm is at most k, and an input whose patches
      lie inside keeps its norm. Inputs at the border lose what is cut.

    Proof: a matrix and its transpose have the same singular values; see `AOCConv2D` for that of the convolution.

    There is no circular padding, and there are no groups: Keras has no plain layer for them. `condense` leaves the raw
    kernel as it is.

    Args:
        filters: Number of output channels.
        kernel_size: One or two positive integers, at least the strides.
        strides: One or two positive integers.
        padding: "same" or "valid".
        output_padding: Must be None.
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: Must be 1.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel, of the shape `lipviz.normalizers.orthogonal_parameters`.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, in). Output shape: (batch, height · stride, width · stride, filters) with "same"
    padding; with "valid", kernel_size − stride more along each axis. Channels come second with "channels_first".

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.

    The export is a `keras.layers.Conv2DTranspose`.

    References: see `lipviz.normalizers.orthogonal`.
    """

    vanilla_class = keras.layers.Conv2DTranspose
    transposed = True

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: Literal["same", "valid"] = "same",
        output_padding: None = None,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = SpectralInitializer(),  # noqa: B008 - stateless, and the reference's default
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        activity_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))
