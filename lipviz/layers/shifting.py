"""Movements of channels by a few pixels: they mix the neighbourhood of a pixel without a product."""

from typing import Any, Literal

import keras
from keras import ops

from lipviz import normalizers as nm
from lipviz.layers.base_layer import LipschitzLayer, check_shape, in_floats
from lipviz.layers.pooling import standard_data_format
from lipviz.types import Shape, Tensor

PADDINGS = ("circular", "same")


@keras.saving.register_keras_serializable("lipviz")
class SpatialShift(keras.layers.Layer, LipschitzLayer):
    """Move groups of channels by a few pixels: down, up, to the right, to the left. The others stay.

    Of n channels, ⌊share·n⌋ are moved in each direction, the first ones down. A dense layer of the channels (a
    `CayleyDense` or `BRODense` on images) behind it mixes what came from five pixels. Both together are a sparse
    orthogonal convolution.

    What is exact: with "circular" padding, a permutation of the entries, so all singular values are k, and nothing is
    rounded for k = 1. With "same" padding, pixels that leave the image are lost, and zeros enter on the other side:
    the norm is k, but as many singular values are 0 as entries are lost.

    Among the depthwise convolutions with a few taps, only movements keep the norms of all images on circles of every
    size, up to the sign (Hu, Hu and Fredrikson 2026). For the autocorrelation of such taps is 0 but at 0, and the
    product of the two taps that are farthest apart is an entry of it.

    Args:
        shift: Number of pixels, positive.
        share: Share of the channels that is moved in each direction, from 0 to 1/4. By default, all channels move.
        padding: "circular" or "same" (zeros).
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        k_coef_lip: Factor that multiplies the output.
        **kwargs: `name`, `dtype` of every Keras layer.

    Input shape: (batch, height, width, channels); channels come second with "channels_first". Output shape: the same.

    Raises:
        ValueError: If an argument is out of range, or the number of channels is not known (at build).

    References:
        Wu et al. (2018), Shift: A zero FLOP, zero parameter alternative to spatial convolutions.
        Hu, Hu and Fredrikson (2026), LipNeXt: Scaling up Lipschitz-based certified robustness to billion-parameter
        models, arXiv 2601.18513.
    """

    def __init__(
        self,
        shift: int = 1,
        share: float = 0.25,
        padding: Literal["circular", "same"] = "circular",
        data_format: Literal["channels_last", "channels_first"] | None = None,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shift = nm.check_count("shift", shift)
        if self.shift < 1:
            raise ValueError(f"`shift` must be a positive integer. Received: shift={shift!r}")
        self.share = nm.as_number(share)
        if not 0 <= self.share <= 0.25:
            raise ValueError(f"`share` must be a number from 0 to 1/4, of four directions. Received: share={share!r}")
        if padding not in PADDINGS:
            raise ValueError(f"`padding` must be one of {PADDINGS}. Received: padding={padding!r}")
        self.padding = padding
        self.data_format = standard_data_format(data_format)
        self.set_klip_factor(k_coef_lip)

    @property
    def channel_axis(self) -> int:
        """Index of the channel axis."""
        return -1 if self.data_format == "channels_last" else 1

    def build(self, input_shape: Shape) -> None:
        check_shape(self, input_shape, 4, 4, channel_axis=self.channel_axis)
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        inputs = in_floats(self, inputs)
        channel_axis = self.channel_axis % 4
        height, width = (1, 2) if channel_axis == 3 else (2, 3)
        channels = inputs.shape[channel_axis]
        count = int(self.share * channels + 1e-9)
        *parts, rest = ops.split(inputs, [count, 2 * count, 3 * count, 4 * count], axis=channel_axis)
        moves = zip(parts, (height, height, width, width), (self.shift, -self.shift) * 2, strict=True)
        moved = [self._moved(part, axis, step) for part, axis, step in moves] if count else []
        whole = ops.concatenate([*moved, rest], axis=channel_axis)
        return whole if self.k_coef_lip == 1 else whole * self.k_coef_lip

    def _moved(self, x, axis, step):
        """Images whose pixels are moved along an axis."""
        if self.padding == "circular":
            return ops.roll(x, step, axis=axis)
        widths = [(0, 0)] * 4
        widths[axis] = (max(step, 0), max(-step, 0))
        cut = [slice(None)] * 4
        cut[axis] = slice(None, -step) if step > 0 else slice(-step, None)
        return ops.pad(x, widths)[tuple(cut)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "shift": self.shift,
            "share": self.share,
            "padding": self.padding,
            "data_format": self.data_format,
            "k_coef_lip": self.k_coef_lip,
        }
