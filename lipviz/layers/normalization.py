"""Normalizations with a known constant: centering, per sample or per batch, and one division for all channels.

`keras.layers.BatchNormalization` divides each channel by its own deviation and multiplies by a learned scale. So no
constant is guaranteed for it. These parts of it have a known constant:

    centering                      x − mean, a projection or a shift
    one division for all channels  multiplies the constant by 1 / √(largest variance), a number that can be read

Statistics are computed and kept in float32 at least. If a statistic of a batch is not finite, the running one does not
change, so that the layer can recover.

Reference: Serrurier et al., the layers of the same names in the PyTorch library deel-torchlip.
"""

import math
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.layers._arguments import Constraint, Initializer, Regularizer
from lipviz.layers.base_layer import LipschitzLayer, check_shape, inverse_root
from lipviz.layers.pooling import accumulation_dtype, standard_data_format
from lipviz.types import Shape, Tensor


def _mean(x, axes):
    """Mean over some axes, which are kept with length 1. On JAX, `ops.mean` computes float64 in float32."""
    count = math.prod(ops.shape(x)[axis] for axis in axes)
    return ops.sum(x, axis=axes, keepdims=True) / ops.cast(count, x.dtype)


class _Centering(keras.layers.Layer, LipschitzLayer):
    """Base: subtract a mean, multiply by k, add one learned number per channel."""

    least_axes = 2

    def __init__(
        self,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        use_bias: bool = True,
        bias_initializer: Initializer = "zeros",
        bias_regularizer: Regularizer = None,
        bias_constraint: Constraint = None,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data_format = standard_data_format(data_format)
        self.use_bias = use_bias
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.bias = None
        self.set_klip_factor(k_coef_lip)

    @property
    def channel_axis(self) -> int:
        """Index of the channel axis."""
        return -1 if self.data_format == "channels_last" else 1

    def build(self, input_shape: Shape) -> None:
        check_shape(self, input_shape, self.least_axes, channel_axis=self.channel_axis)
        channels: Any = input_shape[self.channel_axis]  # known: just checked
        self.input_spec = keras.layers.InputSpec(min_ndim=self.least_axes, axes={self.channel_axis: channels})
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(channels,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                autocast=False,
            )
        self.add_statistics(channels)
        self.built = True

    def add_statistics(self, channels: int) -> None:
        """Create the running statistics, if there are any."""

    def wide(self, inputs: Tensor) -> Tensor:
        """The input in the dtype of the statistics."""
        return ops.cast(inputs, accumulation_dtype(self.compute_dtype))

    def spatial_axes(self, x: Tensor) -> tuple[int, ...]:
        """All axes but the batch's and the channels'."""
        return tuple(axis for axis in range(1, len(x.shape)) if axis != self.channel_axis % len(x.shape))

    def per_channel(self, values: Tensor, x: Tensor) -> Tensor:
        """One number per channel, shaped and cast so that it broadcasts against x."""
        shape = [1] * len(x.shape)
        shape[self.channel_axis] = -1
        return ops.reshape(ops.cast(values, x.dtype), shape)

    def finished(self, centered: Tensor, factor: Tensor = None) -> Tensor:
        """Multiply by k and a factor, add the bias, and cast to the layer's dtype."""
        if factor is not None or self.k_coef_lip != 1:
            centered = centered * (self.k_coef_lip if factor is None else self.k_coef_lip * factor)
        if self.use_bias:
            centered = centered + self.per_channel(self.bias, centered)
        return ops.cast(centered, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "data_format": self.data_format,
            "use_bias": self.use_bias,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
            "k_coef_lip": self.k_coef_lip,
        }


@keras.saving.register_keras_serializable("lipviz")
class LayerCentering(_Centering):
    """x minus its mean over the spatial axes, of each sample and channel, times k, plus a bias per channel.

    What is exact: without the bias, the layer is k times an orthogonal projection, in training and at inference. Its
    singular values are k, and 0 for images that are constant in a channel. For an image of one pixel, the output is the
    bias.

    Args:
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        use_bias: Whether a bias is added.
        bias_initializer: Initializer of the bias.
        bias_regularizer: Regularizer of the bias.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Factor that multiplies the centered input.
        **kwargs: `name`, `dtype` of every Keras layer.

    Input shape: (batch, spatial axes, channels), of which there is at least one; channels come second with
    "channels_first". Output shape: the same.

    Raises:
        ValueError: If an argument is out of range, or the input has no spatial axis.
    """

    least_axes = 3

    def call(self, inputs: Tensor) -> Tensor:
        x = self.wide(inputs)
        return self.finished(x - _mean(x, self.spatial_axes(x)))


@keras.saving.register_keras_serializable("lipviz")
class BatchCentering(_Centering):
    """x minus its mean over the batch and the spatial axes, times k, plus a bias per channel.

    At inference the mean is a running mean. The layer then shifts its input and multiplies it by k: it is k-Lipschitz,
    and attains k everywhere. In training the output for a sample depends on the whole batch, so it is not a function of
    that sample. As a function of the batch, the layer without the bias is k times an orthogonal projection.

    As with `keras.layers.BatchNormalization`, `layer(x)` is inference and `fit` is training. A layer that is not
    `trainable` uses its running mean and does not change it.

    Args:
        momentum: Weight of the past in the running mean, in [0, 1]: new = momentum · old + (1 − momentum) · batch.
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        use_bias: Whether a bias is added.
        bias_initializer: Initializer of the bias.
        bias_regularizer: Regularizer of the bias.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Factor that multiplies the centered input.
        **kwargs: `name`, `dtype` of every Keras layer.

    Attributes:
        moving_mean: The running mean, a variable of shape (channels,) that starts at 0.

    Input shape: (batch, channels), or with spatial axes between or, with "channels_first", after them. Output shape:
    the same.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        use_bias: bool = True,
        bias_initializer: Initializer = "zeros",
        bias_regularizer: Regularizer = None,
        bias_constraint: Constraint = None,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            data_format, use_bias, bias_initializer, bias_regularizer, bias_constraint, k_coef_lip, **kwargs
        )
        self.momentum = nm.as_number(momentum)
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"`momentum` must lie in [0, 1]. Received: momentum={momentum!r}")

    def add_statistics(self, channels: int) -> None:
        self.moving_mean = self._running("moving_mean", channels, "zeros")

    def _running(self, name, channels, initializer):
        return self.add_weight(
            name=name,
            shape=(channels,),
            dtype=accumulation_dtype(self.variable_dtype),
            initializer=initializer,
            trainable=False,
            autocast=False,
            aggregation="mean",
        )

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        x = self.wide(inputs)
        return self.finished(x - self.mean(x, training and self.trainable))

    def mean(self, x: Tensor, of_batch: bool | None) -> Tensor:
        """Mean of each channel: that of the batch, which changes the running mean, or the running mean itself."""
        if not of_batch:
            return self.per_channel(self.moving_mean, x)
        return self._batch_statistic(self.moving_mean, x)

    def _batch_statistic(self, running, values):
        """The mean of `values` over all axes but that of the channels; it changes the running mean."""
        batch = _mean(values, (0, *self.spatial_axes(values)))
        old = ops.convert_to_tensor(running)
        share = ops.cast(ops.reshape(ops.stop_gradient(batch), (-1,)), old.dtype)
        new = self.momentum * old + (1 - self.momentum) * share
        running.assign(ops.where(ops.isfinite(share), new, old))
        return batch

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable("lipviz")
class BatchLipNorm(BatchCentering):
    """`BatchCentering`, then one division for all channels, by √(largest channel variance + epsilon).

    At inference, with running statistics, the layer shifts its input and multiplies it by one number, `lip_constant` =
    k / √(largest running variance + epsilon). This is its constant, attained everywhere, and it is **not** k. To bound
    a model, multiply by `lip_constant`. While it exceeds k, `is_sound` is False. It changes in training, and is at most
    k / √epsilon. In training, the output for a sample depends on the whole batch, and neither constant applies to it.

    The modes are those of `BatchCentering`. The variance of a batch is the mean of the squares of the centered values.
    If a channel is constant over the batch, its output is the bias: nothing is divided by 0.

    Args:
        momentum: Weight of the past in the running statistics, in [0, 1].
        epsilon: Added to the variance. Positive.
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        use_bias: Whether a bias is added.
        bias_initializer: Initializer of the bias.
        bias_regularizer: Regularizer of the bias.
        bias_constraint: Constraint on the bias.
        k_coef_lip: Factor that multiplies the normalized input.
        **kwargs: `name`, `dtype` of every Keras layer.

    Attributes:
        moving_mean: The running mean, a variable of shape (channels,) that starts at 0.
        moving_variance: The running variance, a variable of shape (channels,) that starts at 1.

    Input shape: (batch, channels), or with spatial axes between or, with "channels_first", after them. Output shape:
    the same.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        use_bias: bool = True,
        bias_initializer: Initializer = "zeros",
        bias_regularizer: Regularizer = None,
        bias_constraint: Constraint = None,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            momentum, data_format, use_bias, bias_initializer, bias_regularizer, bias_constraint, k_coef_lip, **kwargs
        )
        self.epsilon = nm.check_positive("epsilon", epsilon)

    @property
    def lip_constant(self) -> float:
        """Lipschitz constant at inference, k / √(largest running variance + epsilon), of the layer as it is now.

        A float, read eagerly. ValueError if the layer is not built.
        """
        if not self.built:
            raise ValueError(f"BatchLipNorm '{self.name}' has no constant yet: build or call it first.")
        largest = np.max(np.asarray(ops.convert_to_numpy(self.moving_variance), "float64"))
        return float(self.k_coef_lip / math.sqrt(largest + self.epsilon))

    @property
    def is_sound(self) -> bool:  # type: ignore[override]  # an attribute of the base class, computed here
        """Whether k bounds the layer as it is now: `lip_constant` does not exceed it."""
        return self.built and self.lip_constant <= self.k_coef_lip

    def add_statistics(self, channels: int) -> None:
        super().add_statistics(channels)
        self.moving_variance = self._running("moving_variance", channels, "ones")

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        x = self.wide(inputs)
        of_batch = training and self.trainable
        centered = x - self.mean(x, of_batch)
        if of_batch:
            variance = self._batch_statistic(self.moving_variance, ops.square(centered))
        else:
            variance = ops.cast(self.moving_variance, x.dtype)
        return self.finished(centered, inverse_root(ops.max(variance) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
