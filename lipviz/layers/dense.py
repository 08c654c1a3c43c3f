"""Dense layers with a Lipschitz constraint on the kernel."""

from typing import Any

import keras
from keras import ops

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.layers._arguments import Activation, Constraint, Initializer, Regularizer
from lipviz.layers.base_layer import ConstrainedKernel, check_shape, given
from lipviz.parametrizations import DisjointFrobeniusParametrization, SpectralParametrization
from lipviz.types import Shape, Tensor


class ConstrainedDense(ConstrainedKernel, keras.layers.Dense):
    """Base of dense layers: the matrix product."""

    vanilla_class = keras.layers.Dense

    def check_input_shape(self, input_shape: Shape) -> None:
        check_shape(self, input_shape, channel_axis=-1)

    def linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return ops.matmul(inputs, kernel)


@keras.saving.register_keras_serializable("lipviz")
class SpectralDense(ConstrainedDense):
    """Dense layer whose kernel has no singular value above k; all are k where Björck converges.

    What is exact: σ1 ≤ k for every finite kernel and every setting. With the default β and maxiter, all singular values
    lie within 1e-3·k of k if the raw kernel has σmin/σ1 ≥ 0.1. For other kernels see `lipviz.measure.singular_values`,
    which reports ‖I − W̄ᵀW̄‖. With `eps_bjorck=None`, only the largest singular value is brought to k, from below. For
    gradients see `lipviz.normalizers.sound_orthogonalization`.

    Args:
        units: Dimension of the output.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        lora_rank: Must be None.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck. None skips Björck: the layer is k-Lipschitz, not orthogonal.
        beta_bjorck: Step size of Björck in ]0, 0.5].
        maxiter_spectral: Largest number of power iterations in a training step.
        maxiter_bjorck: Largest number of Björck iterations in a training step.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, ..., in). Output shape: (batch, ..., units).

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.

    Reference: Anil, Lucas and Grosse (2019), Sorting out Lipschitz function approximation, section 4.2.
    """

    parametrization_class = SpectralParametrization

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
        eps_spectral: float = nm.DEFAULT_EPS_SPECTRAL,
        eps_bjorck: float | None = nm.DEFAULT_EPS_BJORCK,
        beta_bjorck: float | None = nm.DEFAULT_BETA_BJORCK,
        maxiter_spectral: int = nm.DEFAULT_MAXITER_SPECTRAL,
        maxiter_bjorck: int = nm.DEFAULT_MAXITER_BJORCK,
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))


@keras.saving.register_keras_serializable("lipviz")
class FrobeniusDense(ConstrainedDense):
    """Dense layer whose kernel is divided by Euclidean norms: exact and cheap, meant as a last layer.

    With one unit, both modes give a kernel of norm k. With more units, `disjoint_neurons=True` makes every output
    k-Lipschitz by itself, and the constant of the whole layer is in [k, k√units]: use it as a last layer only.
    `disjoint_neurons=False` divides by the Frobenius norm. The layer is then k-Lipschitz; kernels of rank one attain k.

    Args:
        units: Dimension of the output.
        activation: Name, function or layer.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        lora_rank: Must be None.
        disjoint_neurons: With True, each column is divided by its own norm; with False, by the Frobenius norm.
        k_coef_lip: Lipschitz constant in the l2 norm: of each output with disjoint neurons, otherwise of the layer.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, ..., in). Output shape: (batch, ..., units).

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.
    """

    parametrization_class = DisjointFrobeniusParametrization

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
        disjoint_neurons: bool = True,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))
