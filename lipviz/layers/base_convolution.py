"""What all convolutions with a Lipschitz constraint on the kernel share.

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

from keras import ops

from lipviz import _moved
from lipviz import normalizers as nm
from lipviz.layers.base_layer import ConstrainedKernel, check_shape, with_channels_last
from lipviz.normalizers.fourier import FourierBound
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
