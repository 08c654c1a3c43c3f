"""Dense layers with a Lipschitz constraint on the kernel."""

import keras
from keras import ops

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.layers.base_layer import ConstrainedKernel, check_shape, given
from lipviz.parametrizations import DisjointFrobeniusParametrization, SpectralParametrization


class _ConstrainedDense(ConstrainedKernel, keras.layers.Dense):
    vanilla_class = keras.layers.Dense

    def check_input_shape(self, input_shape):
        check_shape(self, input_shape, channel_axis=-1)

    def linear(self, inputs, kernel):
        return ops.matmul(inputs, kernel)


@keras.saving.register_keras_serializable("lipviz")
class SpectralDense(_ConstrainedDense):
    """Dense layer whose kernel has all its singular values at most k, and at k where Björck converges.

    What is exact: σ1 ≤ k for every finite kernel and every setting. At the default β and maxiter all singular
    values lie within 1e-3·k of k where the raw kernel has σmin/σ1 ≥ 0.1; for others see
    `lipviz.measure.singular_values`, which reports ‖I − W̄ᵀW̄‖. With `eps_bjorck=None` only the largest is
    brought to k, from below. Gradients: see `lipviz.normalizers.sound_orthogonalization`.

    Args:
        units: Dimension of the output.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, applied before ours.
        bias_constraint: Constraint on the bias.
        lora_rank: Only None.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck, or None for a layer that is at most k-Lipschitz without orthogonality.
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
        units,
        activation=None,
        use_bias=True,
        kernel_initializer=SpectralInitializer(),  # noqa: B008 - stateless, and the reference's default
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        lora_rank=None,
        k_coef_lip=1.0,
        eps_spectral=nm.DEFAULT_EPS_SPECTRAL,
        eps_bjorck=nm.DEFAULT_EPS_BJORCK,
        beta_bjorck=nm.DEFAULT_BETA_BJORCK,
        maxiter_spectral=nm.DEFAULT_MAXITER_SPECTRAL,
        maxiter_bjorck=nm.DEFAULT_MAXITER_BJORCK,
        **kwargs,
    ):
        super().__init__(**given(locals()))


@keras.saving.register_keras_serializable("lipviz")
class FrobeniusDense(_ConstrainedDense):
    """Dense layer normalized by Euclidean norms: exact and cheap, meant for a last layer.

    With one unit both modes give a kernel of norm k. With more, `disjoint_neurons=True` makes every output
    k-Lipschitz on its own, while the layer as a whole lies anywhere in [k, k√units]: use it as a last layer only.
    `False` divides by the Frobenius norm, which makes the layer k-Lipschitz, attained for kernels of rank one.

    Args:
        units: Dimension of the output.
        activation: Name, function or layer.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, applied before ours.
        bias_constraint: Constraint on the bias.
        lora_rank: Only None.
        disjoint_neurons: Divide each column by its own norm (True), or all by the Frobenius norm.
        k_coef_lip: Lipschitz constant of each output, or of the layer.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, ..., in). Output shape: (batch, ..., units).

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.
    """

    parametrization_class = DisjointFrobeniusParametrization

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        kernel_initializer=SpectralInitializer(),  # noqa: B008 - stateless, and the reference's default
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        lora_rank=None,
        disjoint_neurons=True,
        k_coef_lip=1.0,
        **kwargs,
    ):
        super().__init__(**given(locals()))
