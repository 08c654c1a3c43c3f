"""Almost-orthogonal layers: a dense layer and a convolution whose channels are rescaled. They need no iteration."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.layers._arguments import Activation, Constraint, Initializer, Regularizer
from lipviz.layers.base_convolution import LipschitzConv
from lipviz.layers.base_layer import given
from lipviz.layers.dense import ConstrainedDense
from lipviz.parametrizations import AOLParametrization
from lipviz.types import Shape


@keras.saving.register_keras_serializable("lipviz")
class AOLDense(ConstrainedDense):
    """Dense layer whose rows or columns are rescaled, so that its norm is at most k: almost-orthogonal (AOL).

    With P the kernel, or its transpose if that has fewer columns, the layer uses k·P·diag(t)^(−1/2), where
    ``t_i = Σ_j |PᵀP|_ij``.

    What is exact: σ1 ≤ k for every finite kernel. Proof: since ``|x_i x_j| ≤ (x_i² + x_j²)/2``,
    ‖Px‖² = Σ_ij (PᵀP)_ij x_i x_j ≤ Σ_i t_i x_i², and x = diag(t)^(−1/2) z gives ‖P diag(t)^(−1/2) z‖² ≤ ‖z‖². It is
    attained if the entries of PᵀP have the signs of s sᵀ for some s in {-1, 1}ⁿ, as for kernels without negative
    entries. A kernel with orthonormal rows or columns is only multiplied by k.

    What is not: other singular values may be small. Training tends to make the columns orthogonal, as the sums t then
    shrink. The scale of the raw kernel does not matter. A kernel that was rescaled once is changed if it is rescaled
    again, so `condense` leaves the raw kernel as it is.

    Args:
        units: Dimension of the output.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel. The default has orthonormal rows or columns.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        lora_rank: Must be None.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, ..., in). Output shape: (batch, ..., units).

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.

    References: Prach and Lampert (2022), Almost-orthogonal layers for efficient general-purpose Lipschitz networks,
    arXiv 2208.03160, who rescale the input's side always. See `lipviz.normalizers.rescaling` for the weights q of
    other papers.
    """

    parametrization_class = AOLParametrization

    def __init__(
        self,
        units: int,
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = SpectralInitializer(),  # noqa: B008 - stateless, and the reference's default
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        activity_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        lora_rank: None = None,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))


class AOLConv(LipschitzConv):
    """Mixin of convolutions that rescale by the autocorrelation of their kernel."""

    def build(self, input_shape: Shape) -> None:
        self.check_input_shape(input_shape)
        self.parametrization.operator_norm = nm.AlmostOrthogonal(tuple(self.strides), getattr(self, "groups", 1))
        super().build(input_shape)


@keras.saving.register_keras_serializable("lipviz")
class AOLConv2D(AOLConv, keras.layers.Conv2D):
    """2-D convolution whose channels are rescaled, so that its norm is at most k: almost-orthogonal (AOL).

    `AOLDense` for the matrix of the convolution. Its Gram matrix has the autocorrelation C(d) of the kernel as entries
    (see `lipviz.normalizers.rescaling`), so that ``t_o = Σ_d,o' |C(d)_oo'|`` is one number per channel, and k·K/√t is
    the kernel that the layer uses. If the input has fewer channels (for a stride, times the pixels of a cell) than the
    output, these are rescaled, and not those of the output.

    What is exact: the norm is at most k, for images of every size and every finite kernel, with zero padding and
    without: both use a part of the rows and columns of the matrix on all of ℤ², for which the bound is proved. It is
    nearly attained on large images by kernels without negative entries. Where patches do not overlap (strides =
    kernel_size), the layer is an `AOLDense` of each patch, and a kernel whose matrix has orthonormal rows or columns is
    only multiplied by k.

    Args:
        filters: Number of output channels.
        kernel_size: One or two positive integers, even ones included.
        strides: One or two positive integers.
        padding: "same" (zeros) or "valid".
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: Must be 1.
        groups: Must be 1.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, in). Output shape: (batch, new height, new width, filters). Channels come second
    with "channels_first".

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.

    Reference: Prach and Lampert (2022), arXiv 2208.03160, section 4.
    """

    vanilla_class = keras.layers.Conv2D
    parametrization_class = AOLParametrization

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: Literal["same", "valid"] = "same",
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
