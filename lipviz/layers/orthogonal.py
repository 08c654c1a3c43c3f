"""Dense layers that are orthogonal by construction, at every step of a training: they need no iteration."""

from typing import Any

import keras

from lipviz.initializers import SpectralInitializer
from lipviz.layers._arguments import Activation, Constraint, Initializer, Regularizer
from lipviz.layers.base_layer import given
from lipviz.layers.dense import ConstrainedDense
from lipviz.parametrizations import BlockReflectorParametrization, CayleyParametrization


@keras.saving.register_keras_serializable("lipviz")
class CayleyDense(ConstrainedDense):
    """Dense layer with all singular values k: the Cayley transform of its raw kernel.

    The raw kernel W of shape (n + m, n) is cut into U of n rows and V of m rows. With A = U − Uᵀ + VᵀV, the layer uses
    k·[(I − A)(I + A)⁻¹; −2V(I + A)⁻¹]. Where W is wide, it uses the transpose of that of Wᵀ.

    What is exact: σ1 ≤ k for every finite kernel, and all singular values are within 1e-5·k of k, as long as the
    entries of the raw kernel are of moderate size. Proof: (I − A)ᵀ(I − A) + 4VᵀV = (I + A)ᵀ(I + A), so the columns are
    orthonormal; one step of Björck's iteration after that maps what rounding has left above 1 below it
    (`lipviz.normalizers.orthogonal`).

    What it cannot be: a square matrix with the eigenvalue −1, such as a reflection, is only a limit of Cayley
    transforms, for W that grows without end. Square results are rotations (their determinant is kⁿ). Raw kernels of a
    Frobenius norm above 20·√n are shrunk. `condense` leaves the raw kernel as it is, since the transform of a transform
    is another matrix.

    Args:
        units: Dimension of the output.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel. Zeros give the identity.
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

    Reference: Trockman and Kolter (2021), Orthogonalizing convolutional layers with the Cayley transform, arXiv
    2104.07167.
    """

    parametrization_class = CayleyParametrization

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


@keras.saving.register_keras_serializable("lipviz")
class BRODense(ConstrainedDense):
    """Dense layer with all singular values k: a block reflector of low rank (BRO).

    The raw kernel is V, of shape (max(in, units), rank_reflector). The layer uses the first `in` rows and `units`
    columns of k·(I − 2V(VᵀV + εI)⁻¹Vᵀ).

    What is exact: σ1 ≤ k for every finite kernel and every ε. Proof: for each singular value s of V, the matrix has the
    eigenvalue 1 − 2s²/(s² + ε) in ]−1, 1], and the others are 1; the larger side is complete, so rows or columns stay
    orthonormal where it is cut. All singular values are within 1e-5·k of k, as long as no singular value of V is
    smaller than about a tenth of the others, for which ε counts. A random V has none, as long as its rank is at most
    half of its rows; of a square one, singular values down to 0.2 k were measured. For columns that are nearly
    parallel, some are between 0 and k: the rounding of VᵀV hides in which direction they differ.

    What it cannot be: a single reflector moves only the space of V's columns, and a square one is symmetric. Two layers
    in sequence, or a sort between them, make up for that. The rank decides about the cost, and how much is moved: with
    `rank_reflector` = max(in, units), nothing but −k times the identity is left. `condense` leaves the raw kernel as it
    is.

    Args:
        units: Dimension of the output.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of V.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of V.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on V, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        lora_rank: Must be None.
        rank_reflector: Number of columns of V, from 1 to max(in, units). None takes a quarter of that.
        eps_reflector: ε, relative to the mean of the squared lengths of V's columns, and at least what rounding needs.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, ..., in). Output shape: (batch, ..., units).

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.

    Reference: Lai et al. (2025), Enhancing certified robustness via block reflector orthogonal layers and logit
    annealing loss, arXiv 2505.15174.
    """

    parametrization_class = BlockReflectorParametrization

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
        rank_reflector: int | None = None,
        eps_reflector: float = 1e-6,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))

    def raw_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.parametrization.raw_shape(*shape)
