"""Convolutions with a Lipschitz constraint on the kernel.

The kernel, reshaped to a matrix W of shape (height · width · in, out), maps patches to outputs. Its spectral norm is
not that of the convolution: with P the largest number of patches that share one pixel,

    ‖conv(x)‖² = Σ ‖Wᵀ patch‖² ≤ ‖W‖² Σ ‖patch‖² ≤ ‖W‖² P ‖x‖²,

so the constrained kernel is multiplied by 1/√P (`coef_lip`). P takes zero padding, stride and the size of the image
into account (`lipviz.normalizers.patch_coverage`). A transposed convolution is the adjoint of a convolution that reads
its output. So the same factor makes it sound, with the kernel reshaped to (height · width · out, in).

With `bound="tight"`, the kernel is divided by a bound of the norm of the convolution itself instead. This bound is
computed by Fourier transform, for the size that the layer is built for (`lipviz.normalizers.fourier`). It is never
larger than √P ‖W‖.

Reference: Serrurier et al. (2021), Achieving robustness in classification using optimal transport with hinge
regularization, appendix C. Its averaged factor is no upper bound for stride 1; here it is `bound="unsound_average"`.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from lipviz import _moved
from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.layers._arguments import Activation, Constraint, Initializer, Regularizer
from lipviz.layers.base_layer import ConstrainedKernel, check_shape, given, with_channels_last
from lipviz.normalizers.fourier import FourierBound
from lipviz.parametrizations import FrobeniusParametrization, SpectralParametrization
from lipviz.types import Shape, Tensor

BOUNDS = ("coverage", "tight", "unsound_average")


class LipschitzConv(ConstrainedKernel):
    """Mixin of all convolutions: the settings that have a bound, and the convolution itself."""

    transposed = False
    _paddings: tuple[str, ...] = ("same", "valid")
    _dilates = False  # whether there is a bound for patches with gaps
    _has_groups = False  # whether there is one for groups of channels

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "convolve" in vars(cls):  # a subclass written for the last release
            _moved.warn(f"{cls.__name__}.convolve", f"{cls.__name__}.convolution_op", 2)
            cls.convolution_op = _by_convolve  # type: ignore[method-assign]  # of a subclass

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refuse("padding", self.padding, self._paddings)
        if not self._dilates:
            self._refuse("dilation_rate", self.dilation_rate, ((1,) * self.rank,))
        if not self._has_groups:
            self._refuse("groups", getattr(self, "groups", 1), (1,))
        self._refuse("output_padding", getattr(self, "output_padding", None), (None,))

    def _refuse(self, name, value, allowed):
        if value not in allowed:
            expected = " or ".join(map(repr, allowed))
            raise ValueError(f"{type(self).__name__} has a bound for {name}={expected} only. Received: {value!r}")

    def _spatial(self, shape):
        return tuple(shape[1:-1] if self.data_format == "channels_last" else shape[2:])

    def check_input_shape(self, input_shape: Shape) -> None:
        axes = self.rank + 2
        check_shape(self, input_shape, axes, axes, channel_axis=-1 if self.data_format == "channels_last" else 1)

    def linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return self.convolution_op(inputs, kernel)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """The convolution itself, without bias and activation, in the layer's data format."""
        return with_channels_last(lambda x: self._convolved(x, kernel), inputs, self.data_format)

    def _convolved(self, inputs, kernel):
        convolution = ops.conv_transpose if self.transposed else ops.conv
        return convolution(
            inputs, kernel, strides=list(self.strides), padding=self.padding, data_format="channels_last"
        )

    def convolve(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """The convolution with channels last, under its old name."""
        _moved.warn("convolve", "convolution_op", 2)
        return self._convolved(inputs, kernel)

    def add_bias(self, outputs: Tensor) -> Tensor:
        if self.data_format == "channels_last":
            return ops.add(outputs, self.bias)
        return ops.add(outputs, ops.reshape(self.bias, (1, -1) + (1,) * self.rank))


class ConstrainedConv(LipschitzConv):
    """Mixin of convolutions whose kernel's matrix is constrained: the factor that the input's shape needs."""

    _bounds: tuple[str, ...] = BOUNDS

    def __init__(self, *args: Any, bound: str = "coverage", **kwargs: Any) -> None:
        if bound not in self._bounds:
            raise ValueError(f"`bound` must be one of {self._bounds}. Received: bound={bound!r}")
        super().__init__(*args, **kwargs)
        self.bound = bound
        self._largest: Sequence[Any] | None = None

    @property
    def is_sound(self) -> bool:  # type: ignore[override]  # an attribute of the base class, computed here
        """Whether the layer's norm is at most k. False for `bound="unsound_average"`."""
        return self.bound != "unsound_average"

    def build(self, input_shape: Shape) -> None:
        self.check_input_shape(input_shape)
        if self.bound == "tight":
            self.parametrization.operator_norm = self._norm(self._spatial(input_shape))
        super().build(input_shape)

    def _norm(self, sizes):
        if None in sizes:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' has bound='tight', which needs the size of the image: expected "
                f"an input of known sizes. Received the sizes {sizes}. With bound='coverage' it takes every size."
            )
        return self._norm_up_to(sizes)

    def _norm_up_to(self, sizes):
        return FourierBound(self.kernel_size, sizes, self.strides, self.padding, self.transposed)

    def lip_coef(self, input_shape: Shape) -> float:
        sizes = self._spatial(input_shape)
        if not self.is_sound:
            return averaged_factor(sizes, self.kernel_size, self.strides)
        if self.bound == "tight":
            self._largest = sizes
            return 1.0
        here, anywhere = self._patches(sizes), self._patches((None,) * len(sizes))
        # If a larger image has more patches that share a pixel, the factor holds up to this size only.
        self._largest = [size if p < most else math.inf for size, p, most in zip(sizes, here, anywhere, strict=True)]
        return _factor(here)

    def _patches(self, sizes):
        """Largest number of patches that share an entry, along each axis."""
        return _patches(sizes, self.kernel_size, self.strides, self.padding, self.transposed)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        self._check_size(inputs.shape)
        return super().call(inputs, training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._check_size(input_shape)  # symbolic inputs are checked only here
        return super().compute_output_shape(input_shape)

    def _check_size(self, shape):
        if self._largest is None:
            return
        for size, largest in zip(self._spatial(shape), self._largest, strict=True):
            if largest < math.inf and (size is None or size > largest):
                raise ValueError(
                    f"{type(self).__name__} '{self.name}' {self._limit(largest)}. Received an input of shape "
                    f"{tuple(shape)}. Build it with None for the sizes, and bound='coverage', and it takes all of them."
                )

    def _limit(self, largest):
        """The reason for refusing larger images."""
        if self.bound == "tight":
            return f"has bound='tight', which holds up to the size {largest} that it was built for"
        factor = f"its factor {self.coef_lip:.6g} holds up to the size {largest}"
        return f"was built for images no larger than its kernel: {factor}"

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bound": self.bound}


def _by_convolve(layer, inputs, kernel):
    return with_channels_last(lambda x: layer.convolve(x, kernel), inputs, layer.data_format)


def coverage_factor(
    sizes: Shape,
    kernel_size: Sequence[int],
    strides: Sequence[int],
    padding: Literal["same", "valid"],
    transposed: bool = False,
) -> float:
    """1/√P, with P the largest number of patches that share a pixel of an image of these sizes.

    Args:
        sizes: Sizes of the layer's input; None for one that is not known.
        kernel_size: Sizes of a patch.
        strides: Distances of neighbouring patches.
        padding: "same" or "valid".
        transposed: Whether the layer is a transposed convolution.

    Returns:
        A float in ]0, 1].
    """
    return _factor(_patches(sizes, kernel_size, strides, padding, transposed))


def _factor(patches):
    return 1 / math.sqrt(math.prod(patches))


def _patches(sizes, kernel_size, strides, padding, transposed):
    axes = zip(sizes, kernel_size, strides, strict=True)
    return [nm.patch_coverage(*axis, padding, transposed) for axis in axes]


def averaged_factor(sizes: Shape, kernel_size: Sequence[int], strides: Sequence[int]) -> float:
    """The factor of the reference library, for comparison: from the mean number of patches per pixel, not the most."""
    if max(strides) > 1:
        return math.prod(math.ceil(k / s) for k, s in zip(kernel_size, strides, strict=True)) ** -0.5
    known = [n for n in sizes if n is not None]
    if len(known) < len(sizes):
        raise ValueError(f"bound='unsound_average' needs the size of the image. Received the sizes {sizes}")
    rest = [(k - 1) // 2 for k in kernel_size]
    patches = (k * n - d * (d + 1) for n, k, d in zip(known, kernel_size, rest, strict=True))
    return math.sqrt(math.prod(known) / math.prod(patches))


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
