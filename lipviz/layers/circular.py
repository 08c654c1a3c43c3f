"""A convolution on a circle that is orthogonal by construction, frequency by frequency."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.layers._arguments import Activation, Constraint, Initializer, Regularizer
from lipviz.layers.base_convolution import LipschitzConv
from lipviz.layers.base_layer import given, with_channels_last
from lipviz.layers.pooling import accumulation_dtype
from lipviz.layers.unconstrained import PadConv2D
from lipviz.parametrizations import CircularReflectorParametrization
from lipviz.types import Shape, Tensor


@keras.saving.register_keras_serializable("lipviz")
class BROConv2D(LipschitzConv, PadConv2D):
    """2-D convolution with all singular values k: a block reflector at every frequency of a circle (BRO).

    The raw kernel holds the taps of V, of shape (``*kernel_size``, max(in, filters), rank_reflector). At the frequency
    ω of the image, the layer multiplies by the first `in` rows and `filters` columns of
    k·(I − 2V̂(V̂ᴴV̂ + εI)⁻¹V̂ᴴ), where V̂ = V̂(ω). That is a convolution with a tap for each pixel of the image: `wbar`
    has them, and the layer computes by Fourier transform, in float32 at least.

    What is exact: σ1 ≤ k for every finite raw kernel and every ε, at the size that the layer is built for. Proof: see
    `lipviz.normalizers.circular`. On a circle, the frequencies do not mix. All singular values are within 1e-4·k of k
    as long as at each frequency no singular value of V̂ is smaller than about a tenth of the others, for which ε counts.

    What zero padding costs: the layer is orthogonal because its image is closed to a circle, as if its left border
    touched the right one. If you do not want that, put `keras.layers.ZeroPadding2D(p)` before it and
    `keras.layers.Cropping2D(p)` behind it. The three together use a part of the rows and columns, so their norm is at
    most k. They are not orthogonal: of the n singular values of n entries in and out, on a circle with N entries, at
    least 2n − N are k, and the others are smaller.

    What it cannot be: a single reflector is a Hermitian matrix at each frequency, and moves only the space of V̂'s
    columns. Two layers in sequence, or a sort between them, make up for that. `condense` leaves the raw kernel as it
    is.

    Args:
        filters: Number of output channels.
        kernel_size: One or two positive integers: the taps of V.
        strides: Must be 1. `InvertibleDownSampling` before it makes images smaller without a loss.
        padding: Must be "circular".
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: Must be 1.
        groups: Must be 1.
        activation: Name, function or layer, such as `GroupSort2()`.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the taps of V.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the taps of V.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the taps of V, which Keras applies after each step.
        bias_constraint: Constraint on the bias.
        rank_reflector: Number of columns of V, from 1 to max(in, filters). None takes a quarter of that.
        eps_reflector: ε, relative to the mean of the squared lengths of V̂'s columns, and at least what rounding needs.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        **kwargs: `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, in), with a known height and width. Output shape: (batch, height, width,
    filters). Channels come second with "channels_first".

    Raises:
        ValueError: If an argument is out of range, the size of the image is not known or another one than at build, or
            the initial kernel holds NaN or Inf.

    The export is a `PadConv2D` with a tap for each pixel, which costs as many products. It is for images of this size.

    Reference: Lai et al. (2025), Enhancing certified robustness via block reflector orthogonal layers and logit
    annealing loss, arXiv 2505.15174.
    """

    vanilla_class = PadConv2D
    parametrization_class = CircularReflectorParametrization
    _paddings = ("circular",)

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: Literal["circular"] = "circular",
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
        rank_reflector: int | None = None,
        eps_reflector: float = 1e-6,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**given(locals()))
        self._refuse("strides", tuple(self.strides), ((1, 1),))

    @property
    def circle(self) -> nm.Circle:
        """The images that the layer was built for; of a single pixel before."""
        return self.parametrization.operator_norm or nm.Circle((1, 1))

    @property
    def pads(self) -> tuple[int, ...]:
        """Pixels that the export copies to each side, in height and in width."""
        return tuple(taps // 2 for taps in self.circle.taps)

    def build(self, input_shape: Shape) -> None:
        self.check_input_shape(input_shape)
        height, width = self._spatial(input_shape)
        if height is None or width is None:
            raise ValueError(
                f"BROConv2D '{self.name}' needs the size of the image, at which it is orthogonal: expected a known "
                f"height and width. Received the input shape {tuple(input_shape)}. AOCConv2D takes every size."
            )
        self.parametrization.operator_norm = nm.Circle((height, width))
        super().build(input_shape)

    def raw_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return *shape[:2], *self.parametrization.raw_shape(*shape[2:])

    def constrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return *self.circle.taps, *shape[2:]

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        self._check_circle(inputs.shape)
        given = keras.backend.standardize_dtype(inputs.dtype)  # float64 where the norm of a layer in half is measured
        dtype = accumulation_dtype(given)
        kernel = ops.cast(kernel, dtype)
        outputs = with_channels_last(
            lambda x: self.circle.convolved(ops.cast(x, dtype), kernel), inputs, self.data_format
        )
        return ops.cast(outputs, given)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self._check_circle(input_shape)
        return super().compute_output_shape(input_shape)

    def _output_size(self, axis, size, pad):
        return size

    def _check_circle(self, shape):
        if self.parametrization.operator_norm is not None and self._spatial(shape) != self.circle.sizes:
            raise ValueError(
                f"BROConv2D '{self.name}' was built for images of {self.circle.sizes} pixels, at which it is "
                f"orthogonal. Received an input of shape {tuple(shape)}"
            )

    def _plain_config(self):
        return {**super()._plain_config(), "kernel_size": self.circle.taps}
