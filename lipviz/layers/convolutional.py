"""Convolutions whose kernel is orthogonalized or divided by its Frobenius norm; `base_convolution` has the proofs."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.layers._arguments import Activation, Constraint, Initializer, Regularizer
from lipviz.layers.base_convolution import BOUNDS, ConstrainedConv
from lipviz.layers.base_layer import given
from lipviz.parametrizations import FrobeniusParametrization, SpectralParametrization


@keras.saving.register_keras_serializable("lipviz")
class SpectralConv2D(ConstrainedConv, keras.layers.Conv2D):
    """2-D convolution that is k-Lipschitz: RKO of the kernel, times a factor that counts overlapping patches.

    What is exact: the layer's norm is at most k, for every input size, stride, kernel and setting (`bound="coverage"`).
    Where Björck converges, all singular values of the kernel's matrix are k·coef_lip, as for `SpectralDense`. The
    largest singular value of the convolution is between about 0.6 k and k. It is k if the kernel's matrix is square or
    wide, that is with at least height · width · in filters. With `bound="tight"`, it is nearly k for every kernel.

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
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck, or None to skip it.
        beta_bjorck: Step size of Björck in ]0, 0.5].
        maxiter_spectral: Largest number of power iterations in a training step.
        maxiter_bjorck: Largest number of Björck iterations in a training step.
        bound: "coverage" multiplies the kernel by a factor that depends on how many patches overlap. "tight" divides it
            by a bound of the norm of the convolution itself, which every step computes by Fourier transform. The
            largest singular value is then between 0.97 k and k on images of at least twice the kernel's size. The sizes
            of the image must be known at build, and larger images are refused later. The bound costs additional time in
            each step: for each frequency, a dozen products of square matrices of side min(in · stride², filters). The
            number of frequencies is half of the pixels over stride², or a few times as many. If the output has n ≤ 400
            pixels, a dozen products of n × n matrices are added. "unsound_average" is the factor of the reference
            library, for comparison only: the norm exceeds k (by 2.4 % for 3×3 on 28×28, by up to 27 % on small images),
            and `is_sound` is False.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, in). Output shape: (batch, new height, new width, filters). Channels come second
    with "channels_first". A layer that was built for images smaller than its kernel refuses larger ones, and so does
    one with `bound="tight"`.

    Raises:
        ValueError: If an argument is out of range, the initial kernel holds NaN or Inf, or the bound needs a size that
            is not known.

    Reference: Serrurier et al. (2021), appendix C; the factor is that of this module.
    """

    vanilla_class = keras.layers.Conv2D
    parametrization_class = SpectralParametrization

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
        eps_spectral: float = nm.DEFAULT_EPS_SPECTRAL,
        eps_bjorck: float | None = nm.DEFAULT_EPS_BJORCK,
        beta_bjorck: float | None = nm.DEFAULT_BETA_BJORCK,
        maxiter_spectral: int = nm.DEFAULT_MAXITER_SPECTRAL,
        maxiter_bjorck: int = nm.DEFAULT_MAXITER_BJORCK,
        *,
        bound: Literal["coverage", "tight", "unsound_average"] = "coverage",
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))


@keras.saving.register_keras_serializable("lipviz")
class SpectralConv1D(ConstrainedConv, keras.layers.Conv1D):
    """1-D convolution that is k-Lipschitz: `SpectralConv2D` in one dimension.

    Args:
        filters: Number of output channels.
        kernel_size: Positive integer.
        strides: Positive integer.
        padding: "same" (zeros) or "valid".
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: Must be 1.
        groups: Must be 1.
        activation: Name, function or layer.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        eps_spectral: See `SpectralConv2D`.
        eps_bjorck: See `SpectralConv2D`.
        beta_bjorck: See `SpectralConv2D`.
        maxiter_spectral: See `SpectralConv2D`.
        maxiter_bjorck: See `SpectralConv2D`.
        bound: See `SpectralConv2D`.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, steps, in). Output shape: (batch, new steps, filters).

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.
    """

    vanilla_class = keras.layers.Conv1D
    parametrization_class = SpectralParametrization

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: Literal["same", "valid"] = "same",
        data_format: Literal["channels_last", "channels_first"] | None = None,
        dilation_rate: int | Sequence[int] = 1,
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
        eps_spectral: float = nm.DEFAULT_EPS_SPECTRAL,
        eps_bjorck: float | None = nm.DEFAULT_EPS_BJORCK,
        beta_bjorck: float | None = nm.DEFAULT_BETA_BJORCK,
        maxiter_spectral: int = nm.DEFAULT_MAXITER_SPECTRAL,
        maxiter_bjorck: int = nm.DEFAULT_MAXITER_BJORCK,
        *,
        bound: Literal["coverage", "tight", "unsound_average"] = "coverage",
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))


@keras.saving.register_keras_serializable("lipviz")
class SpectralConv2DTranspose(ConstrainedConv, keras.layers.Conv2DTranspose):
    """Transposed 2-D convolution that is k-Lipschitz: the adjoint of a `SpectralConv2D` that reads its output.

    What is exact: the layer's norm is at most k, for every input size, stride, kernel and setting. It is k
    times an isometry if patches do not overlap (strides = kernel_size) and a patch has at least as many output entries
    as there are input channels.

    Args:
        filters: Number of output channels.
        kernel_size: One or two positive integers, even ones included.
        strides: One or two positive integers.
        padding: "same" or "valid".
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: Must be 1.
        activation: Name, function or layer.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        eps_spectral: See `SpectralConv2D`.
        eps_bjorck: See `SpectralConv2D`.
        beta_bjorck: See `SpectralConv2D`.
        maxiter_spectral: See `SpectralConv2D`.
        maxiter_bjorck: See `SpectralConv2D`.
        output_padding: Must be None.
        bound: "coverage" or "tight", see `SpectralConv2D`.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, in). Output shape: (batch, height · stride, width · stride, filters) with "same"
    padding. Channels come second with "channels_first".

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.

    The reference library reshapes the kernel to (height · width · in, out), which gives norms up to k·stride.
    """

    vanilla_class = keras.layers.Conv2DTranspose
    parametrization_class = SpectralParametrization
    transposed = True
    _bounds = BOUNDS[:2]

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: Literal["same", "valid"] = "same",
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
        eps_spectral: float = nm.DEFAULT_EPS_SPECTRAL,
        eps_bjorck: float | None = nm.DEFAULT_EPS_BJORCK,
        beta_bjorck: float | None = nm.DEFAULT_BETA_BJORCK,
        maxiter_spectral: int = nm.DEFAULT_MAXITER_SPECTRAL,
        maxiter_bjorck: int = nm.DEFAULT_MAXITER_BJORCK,
        *,
        output_padding: None = None,
        bound: Literal["coverage", "tight"] = "coverage",
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))


@keras.saving.register_keras_serializable("lipviz")
class FrobeniusConv2D(ConstrainedConv, keras.layers.Conv2D):
    """2-D convolution whose kernel is divided by its Frobenius norm: cheap, but tight only for kernels of rank one.

    What is exact: the layer's norm is at most k, for every input size, stride and kernel.

    Args:
        filters: Number of output channels.
        kernel_size: One or two positive integers, even ones included.
        strides: One or two positive integers.
        padding: "same" (zeros) or "valid".
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: Must be 1.
        groups: Must be 1.
        activation: Name, function or layer.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the raw kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the raw kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the raw kernel, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        bound: See `SpectralConv2D`.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, in). Output shape: (batch, new height, new width, filters). Channels come second
    with "channels_first".

    Raises:
        ValueError: If an argument is out of range, or the initial kernel holds NaN or Inf.
    """

    vanilla_class = keras.layers.Conv2D
    parametrization_class = FrobeniusParametrization

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
        *,
        bound: Literal["coverage", "tight", "unsound_average"] = "coverage",
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))
