"""A convolution with more kinds of padding, and no constraint: a base for others."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from lipviz.layers._arguments import Activation, Constraint, Initializer, Regularizer
from lipviz.layers.base_layer import check_shape, given, with_channels_last
from lipviz.layers.pooling import standard_data_format
from lipviz.types import Shape, Tensor

PADDINGS = ("constant", "reflect", "symmetric", "circular")


def pad2d(
    x: Tensor,
    pads: int | Sequence[Any],
    mode: Literal["constant", "reflect", "symmetric", "circular"] = "constant",
    data_format: Literal["channels_last", "channels_first"] | None = None,
) -> Tensor:
    """Pad the two spatial axes of images.

    Args:
        x: Tensor of shape (batch, height, width, channels), or (batch, channels, height, width).
        pads: For height and for width, a number of pixels on both sides, or a pair (before, after).
        mode: What is added to a b c d by two pixels on each side: "constant" 0 0, "reflect" c b and c b, "symmetric"
            b a and d c, "circular" c d and a b.
        data_format: "channels_last" or "channels_first"; None takes Keras's.

    Returns:
        A tensor of x's dtype. It agrees with `numpy.pad`, where "circular" is called "wrap".

    Raises:
        ValueError: If an argument is out of range, or the image is too small for a mode: "reflect" needs more pixels
            than it adds to a side, "symmetric" and "circular" as many. Where sizes are not known yet, the backend
            raises an error of its own when they are.
    """
    if mode not in PADDINGS:
        raise ValueError(f"`mode` must be one of {PADDINGS}. Received: mode={mode!r}")
    if len(x.shape) != 4:
        raise ValueError(f"pad2d expects a tensor of four axes. Received the shape {tuple(x.shape)}")
    axes = (1, 2) if standard_data_format(data_format) == "channels_last" else (2, 3)
    widths = [(0, 0)] * 4
    for axis, pair in zip(axes, _pairs(pads), strict=True):
        widths[axis] = pair
        _check_room(x.shape[axis], pair, mode)
    if mode == "circular":
        for axis in axes:
            x = _wrapped(x, axis, *widths[axis])
        return x
    return x if widths == [(0, 0)] * 4 else ops.pad(x, widths, mode=mode)


def _pairs(pads):
    pads = tuple(pads) if isinstance(pads, list | tuple) else (pads,)
    pairs = [tuple(pad) if isinstance(pad, list | tuple) else (pad, pad) for pad in pads]
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for pair in pairs for n in pair)
    if len(pairs) != 2 or any(len(pair) != 2 for pair in pairs) or not whole:
        raise ValueError(f"`pads` must be two counts of pixels, or two pairs (before, after). Received: pads={pads!r}")
    return pairs


def _check_room(size, pair, mode):
    """ValueError where an image is too small for what is mirrored, or copied, from it."""
    least = max(pair) + (mode == "reflect" and max(pair) > 0)
    if mode != "constant" and size is not None and size < least:
        raise ValueError(
            f"Padding mode '{mode}' by {max(pair)} pixels needs images of at least {least}. Received a size of {size}."
        )


def _wrapped(x, axis, before, after):
    """The last entries before, and the first after, along an axis."""
    sizes = list(ops.shape(x))

    def cut(start, count):  # unlike an index, it fails where there are not enough entries and sizes are known late
        starts, counts = [0] * len(sizes), [*sizes]
        starts[axis], counts[axis] = start, count
        return ops.slice(x, starts, counts)

    if not before and not after:
        return x
    return ops.concatenate([cut(sizes[axis] - before, before), x, cut(0, after)], axis=axis)


@keras.saving.register_keras_serializable("lipviz")
class PadConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with four more kinds of padding. It has no constraint: a base for layers that have.

    "constant", "reflect", "symmetric" and "circular" add half the size of the kernel (dilated, rounded down) on each
    side, see `pad2d`, and convolve what results. With an odd kernel and stride 1 the image keeps its size, and
    "constant" is what "same" does; an even kernel makes it one pixel larger.

    Args:
        filters: Number of output channels.
        kernel_size: One or two positive integers.
        strides: One or two positive integers.
        padding: "same", "valid", "constant", "reflect", "symmetric" or "circular".
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        dilation_rate: One or two positive integers.
        activation: Name, function or layer.
        use_bias: Whether a bias is added.
        kernel_initializer: Initializer of the kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint on the kernel.
        bias_constraint: Constraint on the bias.
        **kwargs: `groups` of Keras's Conv2D; `name`, `dtype`, `trainable` of every Keras layer.

    Input shape: (batch, height, width, in). Output shape: (batch, new height, new width, filters). Channels come second
    with "channels_first".

    Raises:
        ValueError: If an argument is out of range, or the image is too small for the padding.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: Literal["same", "valid", "constant", "reflect", "symmetric", "circular"] = "same",
        data_format: Literal["channels_last", "channels_first"] | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        activation: Activation = None,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        bias_regularizer: Regularizer = None,
        activity_regularizer: Regularizer = None,
        kernel_constraint: Constraint = None,
        bias_constraint: Constraint = None,
        **kwargs: Any,
    ) -> None:
        arguments = given(locals())
        name = padding.lower() if isinstance(padding, str) else padding
        if name not in ("same", "valid", *PADDINGS):
            raise ValueError(f"`padding` must be one of {('same', 'valid', *PADDINGS)}. Received: {padding!r}")
        super().__init__(**{**arguments, "padding": "valid" if name in PADDINGS else name})
        self.padding = name

    @property
    def pads(self) -> tuple[int, ...] | None:
        """Pixels added on each side, of the height and of the width; None where Keras pads."""
        if self.padding not in PADDINGS:
            return None
        return tuple(((k - 1) * d + 1) // 2 for k, d in zip(self.kernel_size, self.dilation_rate, strict=True))

    def build(self, input_shape: Shape) -> None:
        check_shape(self, input_shape, 4, 4, channel_axis=-1 if self.data_format == "channels_last" else 1)
        super().build(input_shape)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.pads is not None:
            inputs, padding = pad2d(inputs, self.pads, padding, self.data_format), "valid"
        return with_channels_last(
            lambda x: ops.conv(
                x,
                kernel,
                strides=list(self.strides),
                padding=padding,
                dilation_rate=self.dilation_rate,
                data_format="channels_last",
            ),
            inputs,
            self.data_format,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        pads = self.pads
        if pads is None:
            return super().compute_output_shape(input_shape)
        last = self.data_format == "channels_last"
        sizes = input_shape[1:3] if last else input_shape[2:4]
        sizes = tuple(self._output_size(axis, size, pads[axis]) for axis, size in enumerate(sizes))
        return (input_shape[0], *sizes, self.filters) if last else (input_shape[0], self.filters, *sizes)

    def _output_size(self, axis, size, pad):
        reach = (self.kernel_size[axis] - 1) * self.dilation_rate[axis]
        _check_room(size, (pad, pad), self.padding)
        return None if size is None else (size + 2 * pad - reach - 1) // self.strides[axis] + 1

    def vanilla_export(self) -> keras.Layer:
        """Return the plain Conv2D with the same name, dtype, activation and predictions.

        Raises:
            ValueError: If the layer is not built, or its padding is none that Conv2D has.
        """
        if not self.built:
            raise ValueError(f"PadConv2D '{self.name}' has no kernel yet: build or call it first.")
        if self.pads is not None:
            raise ValueError(
                f"PadConv2D '{self.name}' cannot become a Conv2D, which pads as 'same' or 'valid'. Received: "
                f"padding={self.padding!r}"
            )
        config = {name: value for name, value in self.get_config().items() if not name.startswith("lora")}
        layer = keras.layers.Conv2D.from_config(config)
        input_shape = self.get_build_config()["input_shape"]
        layer.build(input_shape)
        if isinstance(layer.activation, keras.layers.Layer):  # its weights exist once it is built
            if not layer.activation.built:
                layer.activation.build(layer.compute_output_shape(input_shape))
            layer.activation.set_weights(_values(self.activation.variables))
        layer.kernel.assign(*_values([self.kernel]))  # with what LoRA adds
        if self.use_bias:
            layer.bias.assign(*_values([self.bias]))
        return layer


def _values(variables):
    """Values in memory of their own: assigning a tensor would share the buffer, which JAX may reuse."""
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]
