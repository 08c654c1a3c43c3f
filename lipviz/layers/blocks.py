"""Residual blocks that are 1-Lipschitz: gradient steps of convex potentials, with an almost-orthogonal kernel (SLL).

A block maps x to x − 2 V σ(Vᵀx + b), where σ acts on each entry with slopes in [0, 1], and ‖V‖ ≤ 1. Proof: wherever it
is differentiable, its Jacobian is I − 2VDVᵀ, with D diagonal and 0 ⪯ D ⪯ I. This is a symmetric matrix, and
0 ⪯ VDVᵀ ⪯ VVᵀ ⪯ I. So its eigenvalues lie in [−1, 1].

The paper writes x − 2W T⁻¹ σ(Wᵀx + b), with T diagonal, so that T ⪰ WᵀW. With V = W T^(−1/2), which is the kernel of an
almost-orthogonal layer (`lipviz.normalizers.rescaling`), and a ReLU, which commutes with positive factors, both are the
same block, for another bias.

With k, a block is k·x − 2W̄ σ(W̄ᵀx/k + b), where W̄ = kV is the kernel that the layer holds: k times the block above.

References:
    Meunier et al. (2022), A dynamical system perspective for Lipschitz neural networks, theorem 2 and section 4.
    Araujo et al. (2023), A unified algebraic perspective on Lipschitz neural networks, theorem 3, arXiv 2303.03169.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from lipviz.initializers import SpectralInitializer
from lipviz.layers._arguments import Activation, Constraint, Initializer, Regularizer
from lipviz.layers.base_layer import ConstrainedKernel, given, with_channels_last
from lipviz.layers.dense import ConstrainedDense
from lipviz.layers.rescaled import AOLConv
from lipviz.parametrizations import AOLParametrization, copied
from lipviz.types import Shape, Tensor

# The functions of `keras.activations` that act on each entry and have slopes in [0, 1].
MONOTONE = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "celu", "sigmoid", "hard_sigmoid", "log_sigmoid", "tanh"),
    *("hard_tanh", "tanh_shrink", "softplus", "softsign", "soft_shrink", "squareplus", "sparse_plus", "sparse_sigmoid"),
)


def is_monotone(activation: Callable[..., Any]) -> bool:
    """Whether a function is one of `keras.activations` that acts on each entry, with slopes in [0, 1]."""
    return any(activation is getattr(keras.activations, name) for name in MONOTONE)


class ResidualBlock(ConstrainedKernel):
    """Mixin of residual blocks x − 2 V σ(Vᵀx + b); a subclass implements `adjoint` and `exported`."""

    vanilla_class = keras.Model
    parametrization_class = AOLParametrization

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not is_monotone(self.activation):
            raise ValueError(
                f"`activation` of {type(self).__name__} must be one of {MONOTONE}, which have slopes in [0, 1]. "
                f"Received: activation={self.activation!r}"
            )

    def adjoint(self, hidden: Tensor, kernel: Tensor) -> Tensor:
        """The adjoint of `linear`: from the hidden values to the input's space."""
        raise TypeError(f"{type(self).__name__} must implement `adjoint(hidden, kernel)`")

    def exported(self) -> tuple[keras.layers.Layer, keras.layers.Layer]:
        """Plain Keras layers, without weights yet: of `linear` with bias and activation, and of `adjoint`."""
        raise TypeError(f"{type(self).__name__} must implement `exported()`")

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """k·x − 2W̄ σ(W̄ᵀx/k + b).

        Args:
            inputs: Tensor.
            training: Whether the constrained kernel is computed and stored, as in a training step.

        Returns:
            A tensor of the shape of the inputs.
        """
        kernel = self.parametrization(ops.convert_to_tensor(self.raw_kernel), training=training)
        kernel = ops.cast(kernel, self.compute_dtype)
        inputs = ops.cast(inputs, self.compute_dtype)
        k = ops.cast(self.parametrization.k, self.compute_dtype)  # the variable, which compiled steps see change
        # Divided before or after, so that half precision overflows in no sum: W̄ᵀx is about as large as k·x.
        hidden = self.linear(inputs / ops.maximum(k, 1.0), kernel) / ops.minimum(k, 1.0)
        if self.bias is not None:
            hidden = self.add_bias(hidden)
        hidden = ops.cast(self.activation(hidden), self.compute_dtype)  # on JAX, Keras computes some in float32
        return inputs * k - 2 * self.adjoint(hidden, kernel)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def vanilla_export(self) -> keras.Model:
        """Return a plain Keras model with the same name and the same predictions: two layers and an `Add`.

        It is k·(x − 2V σ(Vᵀx + b)), with V = W̄/k. `certify` recognizes such a block, and proves k.

        Raises:
            ValueError: If the layer is not built, or its kernel holds NaN or Inf.
        """
        self.refresh()
        shape = tuple(self.get_build_config()["input_shape"])
        there, back = self.exported()
        x = keras.Input(shape[1:], dtype=self.compute_dtype)
        block = keras.layers.Add(dtype=self.dtype_policy)([x, back(there(x))])
        if self.k_coef_lip != 1:
            block = keras.layers.Rescaling(self.k_coef_lip, dtype=self.dtype_policy)(block)
        model = keras.Model(x, block, name=self.name)
        kernel = copied(self.wbar) / self.k_coef_lip
        there.kernel.assign(kernel)
        back.kernel.assign(-2 * np.reshape(kernel.T if kernel.ndim == 2 else kernel, back.kernel.shape))
        if self.bias is not None:
            there.bias.assign(copied(self.bias))
        return model


@keras.saving.register_keras_serializable("lipviz")
class SLLDense(ResidualBlock, ConstrainedDense):
    """Residual block x − 2 V σ(Vᵀx + b), k-Lipschitz, with an almost-orthogonal V (SLL).

    What is exact: the constant is at most k, for every finite kernel and bias, by the proof in `lipviz.layers.blocks`.
    It is k where x moves in a direction that V does not reach, which exists if units < in. V is the kernel of an
    `AOLDense` of as many units. Where these are at most as many as the inputs, this is W T^(−1/2) of the paper.

    `certify` reads the kernel that the layer uses: with ‖V‖ from its singular values in float64, the constant is at
    most k·max(1, 2s‖V‖² − 1), where s is the largest slope of σ. In l1 and l∞, the block may stretch: it is bounded
    there by k·(1 + 2s‖V‖‖Vᵀ‖).

    Args:
        units: Number of hidden units, the columns of V.
        activation: Name or function of `keras.activations`, elementwise with slopes in [0, 1]: "relu" by default,
            "tanh", "softplus", ... (`lipviz.layers.blocks.MONOTONE`).
        use_bias: Whether a bias is added to the hidden units.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        lora_rank: Must be None.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm. It multiplies the output.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, ..., in). Output shape: the same.

    Raises:
        ValueError: If an argument is out of range, the activation is another one, or the initial kernel holds NaN or
            Inf.

    References: see `lipviz.layers.blocks`.
    """

    def __init__(
        self,
        units: int,
        activation: Activation = "relu",
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

    def adjoint(self, hidden: Tensor, kernel: Tensor) -> Tensor:
        return ops.matmul(hidden, ops.transpose(kernel))

    def exported(self) -> tuple[keras.layers.Layer, keras.layers.Layer]:
        inputs = self.raw_kernel.shape[0]
        there = keras.layers.Dense(self.units, self.activation, self.use_bias, dtype=self.dtype_policy)
        return there, keras.layers.Dense(inputs, use_bias=False, dtype=self.dtype_policy)


@keras.saving.register_keras_serializable("lipviz")
class SLLConv2D(ResidualBlock, AOLConv, keras.layers.Conv2D):
    """Residual block x − 2 V σ(Vᵀx + b) of a convolution and its adjoint, k-Lipschitz for images of every size (SLL).

    `SLLDense` with the convolution of an `AOLConv2D` in the place of x ↦ Vᵀx, and its adjoint behind the activation.
    The adjoint of a convolution with zero padding is again one, so that the proof holds with the padding as it is.

    Args:
        filters: Number of hidden channels.
        kernel_size: One or two positive integers, even ones included.
        strides: Must be 1: the block adds its input.
        padding: Must be "same" (zeros).
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: Must be 1.
        groups: Must be 1.
        activation: See `SLLDense`.
        use_bias: Whether a bias is added to the hidden channels.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm. It multiplies the output.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, channels), or (batch, channels, height, width) with "channels_first". Output
    shape: the same.

    Raises:
        ValueError: If an argument is out of range, the activation is another one, or the initial kernel holds NaN or
            Inf.

    References: see `lipviz.layers.blocks`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: Literal["same"] = "same",
        data_format: Literal["channels_last", "channels_first"] | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        groups: int = 1,
        activation: Activation = "relu",
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
        self._refuse("strides", tuple(self.strides), ((1, 1),))
        self._refuse("padding", self.padding, ("same",))

    def adjoint(self, hidden: Tensor, kernel: Tensor) -> Tensor:
        return with_channels_last(lambda x: self._turned_back(x, kernel), hidden, self.data_format)

    def _turned_back(self, hidden, kernel):
        return ops.conv_transpose(hidden, kernel, strides=1, padding="same", data_format="channels_last")

    def exported(self) -> tuple[keras.layers.Layer, keras.layers.Layer]:
        shared = {"padding": "same", "data_format": self.data_format, "dtype": self.dtype_policy}
        there = keras.layers.Conv2D(
            self.filters, self.kernel_size, activation=self.activation, use_bias=self.use_bias, **shared
        )
        channels = self.raw_kernel.shape[-2]
        return there, keras.layers.Conv2DTranspose(channels, self.kernel_size, use_bias=False, **shared)
