"""Activations that keep the norm of gradients: sorting, MaxMin, signs, reflections; and PReLU with a limit."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.compiled import may_compile
from lipviz.layers._arguments import Initializer, Regularizer
from lipviz.layers._fused import (
    PairSort,
    compiled_fixed_slopes,
    compiled_reflection,
    compiled_two_slopes,
    has_network,
    max_min,
    reflected,
    sorted_groups,
    sorted_pairs,
    two_slopes,
)
from lipviz.layers.base_layer import LipschitzLayer, check_shape, in_floats
from lipviz.layers.pooling import accumulation_dtype
from lipviz.types import Array, Shape, Tensor


class _ChannelActivation(keras.layers.Layer, LipschitzLayer):
    """Base of activations that act along the channel axis and may multiply by k."""

    def __init__(
        self,
        data_format: Literal["channels_last", "channels_first"] = "channels_last",
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if data_format not in ("channels_last", "channels_first"):
            raise ValueError(f"`data_format` must be 'channels_last' or 'channels_first'. Received: {data_format!r}")
        self.data_format = data_format
        self.set_klip_factor(k_coef_lip)
        self.supports_masking = True

    @property
    def channel_axis(self) -> int:
        """Index of the channel axis."""
        return -1 if self.data_format == "channels_last" else 1

    def channels(self, shape: Shape) -> int:
        """Number of channels of an input shape; ValueError if it is not known."""
        check_shape(self, shape, channel_axis=self.channel_axis)
        return shape[self.channel_axis]  # type: ignore[return-value]  # known: just checked

    def build(self, input_shape: Shape) -> None:
        self.channels(input_shape)
        self.built = True

    def scaled(self, outputs: Tensor) -> Tensor:
        """Multiply by k, at no cost for k = 1."""
        return outputs if self.k_coef_lip == 1 else outputs * self.k_coef_lip

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "k_coef_lip": self.k_coef_lip}


@keras.saving.register_keras_serializable("lipviz")
class GroupSort(_ChannelActivation):
    """Sort ascending within groups of n neighbouring channels (Anil, Lucas and Grosse 2019, section 4.1).

    Sorting permutes the inputs, so the Jacobian is a permutation matrix. The norm of a gradient is kept, also at ties.

    What is exact: the sort. Nothing is rounded for k = 1.

    Args:
        n: Number of channels in a group. With None, or a number above that of the channels, all channels form one
            group.
        data_format: "channels_last" or "channels_first".
        k_coef_lip: Factor that multiplies the output.
        **kwargs: `name`, `dtype` of every Keras layer.

    Input shape: any with at least two axes. Output shape: the same.

    Raises:
        ValueError: If n is not a positive integer, or does not divide the number of channels (at build).
    """

    def __init__(
        self,
        n: int | None = None,
        data_format: Literal["channels_last", "channels_first"] = "channels_last",
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, k_coef_lip, **kwargs)
        if n is not None and nm.check_count("n", n) < 1:
            raise ValueError(f"`n` must be None or a positive integer. Received: n={n!r}")
        self.n = n

    def group_size(self, shape: Shape) -> int:
        """Number of channels that are sorted together for an input shape; ValueError if n does not divide them."""
        channels = self.channels(shape)
        size = channels if self.n is None or self.n > channels else self.n
        if channels % size:
            raise ValueError(
                f"{type(self).__name__} expects a number of channels that its group size n={self.n} divides. "
                f"Received: {channels} channels in the input shape {tuple(shape)}"
            )
        return size

    def build(self, input_shape: Shape) -> None:
        self.group_size(input_shape)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        inputs = in_floats(self, inputs)
        size = self.group_size(inputs.shape)
        axis = self.channel_axis % len(inputs.shape)
        if size == 2 and may_compile(self, inputs):
            return sorted_pairs(PairSort(axis, self.k_coef_lip), inputs)
        if has_network(size) and may_compile(self, inputs):
            return self.scaled(sorted_groups(inputs, axis, size))
        shape = [-1 if length is None else length for length in inputs.shape]
        before, after = shape[:axis], shape[axis + 1 :]
        if shape.count(-1) > 1:
            dynamic = ops.shape(inputs)
            before, after = list(dynamic[:axis]), list(dynamic[axis + 1 :])
        grouped = ops.reshape(inputs, [*before, shape[axis] // size, size, *after])
        ordered = _sort_pairs(grouped, axis + 1) if size == 2 else ops.sort(grouped, axis=axis + 1)
        return self.scaled(ops.reshape(ordered, [*before, shape[axis], *after]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


def _sort_pairs(x, axis):
    """Sort along an axis of length 2. At ties, unlike min and max, `where` passes each gradient to one input."""
    a, b = ops.split(x, 2, axis=axis)
    swap = a > b
    return ops.concatenate([ops.where(swap, b, a), ops.where(swap, a, b)], axis=axis)


@keras.saving.register_keras_serializable("lipviz")
class GroupSort2(GroupSort):
    """`GroupSort` in pairs.

    Args:
        **kwargs: Arguments of `GroupSort` other than n.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(n=_fixed(kwargs, 2), **kwargs)


@keras.saving.register_keras_serializable("lipviz")
class FullSort(GroupSort):
    """`GroupSort` of all channels at once.

    Args:
        **kwargs: Arguments of `GroupSort` other than n.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(n=_fixed(kwargs, None), **kwargs)


def _fixed(kwargs, n):
    """Take n out of `kwargs`, where a config has it; ValueError if it is not the n of the class."""
    if (received := kwargs.pop("n", n)) != n:
        raise ValueError(f"The group size of this class is fixed at n={n}. Received: n={received!r}")
    return n


@keras.saving.register_keras_serializable("lipviz")
class MaxMin(_ChannelActivation):
    """concat(relu(x), relu(−x)) along the channels, whose number doubles (Blot, Cord and Thome 2016).

    Each entry of the input appears, up to its sign, in one of the two halves, and the other has 0: norms are kept.

    Args:
        data_format: "channels_last" or "channels_first".
        k_coef_lip: Factor that multiplies the output.
        **kwargs: `name`, `dtype` of every Keras layer.

    Input shape: any with at least two axes. Output shape: the same with twice the channels.
    """

    def call(self, inputs: Tensor) -> Tensor:
        inputs = in_floats(self, inputs)
        if may_compile(self, inputs):
            return self.scaled(max_min(self.channel_axis % len(inputs.shape))(inputs))
        return self.scaled(ops.concatenate([ops.relu(inputs), ops.relu(-inputs)], axis=self.channel_axis))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = list(input_shape)
        shape[self.channel_axis] = 2 * self.channels(input_shape)
        return tuple(shape)


@keras.saving.register_keras_serializable("lipviz")
class BetaAbs(_ChannelActivation):
    """``|x|`` for a share β of the channels, the first ones, and x for the others: β-Abs (Hu, Hu and Fredrikson 2026).

    Of n channels, the first ⌊βn⌋ are replaced by their magnitudes. All slopes are −1 or 1, also at 0, where the slope
    is −1. So the Jacobian is a diagonal matrix of signs, and the norms of gradients are kept, times k. With β = 1/2,
    and rotations of pairs of channels by 45° before and behind it, it sorts pairs: max and min of (a, b) are
    ``(a + b)/2 ± |a − b|/2``. Orthogonal layers around it contain such rotations.

    What is exact: all of it. Nothing is rounded for k = 1.

    Args:
        beta: Share β of the channels, from 0 to 1.
        data_format: "channels_last" or "channels_first".
        k_coef_lip: Factor that multiplies the output.
        **kwargs: `name`, `dtype` of every Keras layer.

    Input shape: any with at least two axes. Output shape: the same.

    Raises:
        ValueError: If an argument is out of range, or the number of channels is not known (at build).

    Reference: Hu, Hu and Fredrikson (2026), LipNeXt: Scaling up Lipschitz-based certified robustness to
    billion-parameter models, arXiv 2601.18513.
    """

    def __init__(
        self,
        beta: float = 0.5,
        data_format: Literal["channels_last", "channels_first"] = "channels_last",
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, k_coef_lip, **kwargs)
        self.beta = nm.as_number(beta)
        if not 0 <= self.beta <= 1:
            raise ValueError(f"`beta` must be a number from 0 to 1. Received: beta={beta!r}")

    def slopes(self, shape: Shape) -> Array:
        """The slopes of negative entries for an input shape: −k or k for each channel, of shape (channels,)."""
        channels = self.channels(shape)
        count = math.floor(self.beta * channels + 1e-9)  # 0.29 · 100 is a little less than 29 in floating point
        return np.where(np.arange(channels) < count, -self.k_coef_lip, self.k_coef_lip)

    def call(self, inputs: Tensor) -> Tensor:
        inputs = in_floats(self, inputs)
        shape = [1] * len(inputs.shape)
        shape[self.channel_axis] = -1
        slopes = ops.convert_to_tensor(self.slopes(inputs.shape).reshape(shape), inputs.dtype)
        if may_compile(self, inputs):
            return compiled_fixed_slopes(self.k_coef_lip)(inputs, slopes)
        return two_slopes(inputs, slopes, self.k_coef_lip)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta}


@keras.saving.register_keras_serializable("lipviz")
class Householder(_ChannelActivation):
    """Reflect pairs of channels on one side of a learned line (Singla, Singla and Feizi 2022).

    The channels are cut into two halves. Entry i of the first and entry i of the second form a pair (z1, z2), which has
    an angle θ of its own:

        (z1, z2)                                     where z1 sin(θ/2) − z2 cos(θ/2) ≤ 0
        (z1 cosθ + z2 sinθ, z1 sinθ − z2 cosθ)       elsewhere

    The reflection does not change points on its line, so the function is continuous. Both pieces are orthogonal, so for
    every θ, norms and gradients are kept, times k. θ = π/2 sorts the pair in ascending order. With
    v = (sin(θ/2), −cos(θ/2)), the function is z − 2 relu(v·z) v.

    Args:
        data_format: "channels_last" or "channels_first".
        k_coef_lip: Factor that multiplies the output.
        theta_initializer: Initializer of the angles; None starts at π/2.
        **kwargs: `name`, `dtype` of every Keras layer.

    Attributes:
        theta: The angles, a variable of shape (channels / 2,).

    Input shape: any with at least two axes, and an even number of channels. Output shape: the same.

    Raises:
        ValueError: If an argument is out of range, or the number of channels is odd (at build).
    """

    def __init__(
        self,
        data_format: Literal["channels_last", "channels_first"] = "channels_last",
        k_coef_lip: float = 1.0,
        theta_initializer: Initializer = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, k_coef_lip, **kwargs)
        self.theta_initializer = None if theta_initializer is None else keras.initializers.get(theta_initializer)

    def build(self, input_shape: Shape) -> None:
        channels = self.channels(input_shape)
        if channels % 2:
            raise ValueError(
                f"Householder expects an even number of channels. Received: {channels} channels in the input shape "
                f"{tuple(input_shape)}"
            )
        start = self.theta_initializer or keras.initializers.Constant(math.pi / 2)
        self.theta = self.add_weight(name="theta", shape=(channels // 2,), initializer=start, autocast=False)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        shape = [1] * len(inputs.shape)
        shape[self.channel_axis] = -1
        half = ops.reshape(ops.cast(self.theta, accumulation_dtype(self.compute_dtype)) / 2, shape)
        # On JAX, Keras computes both in float32. The reflection is orthogonal if the sum of their squares is 1.
        sine, cosine = (ops.cast(function(half), half.dtype) for function in (ops.sin, ops.cos))
        unit = _inverse_root_near_one(ops.square(sine) + ops.square(cosine))
        sine, cosine = (ops.cast(value * unit, self.compute_dtype) for value in (sine, cosine))
        inputs, axis = in_floats(self, inputs), self.channel_axis % len(inputs.shape)
        if _adds_exactly(self, inputs) and may_compile(self, inputs):
            return self.scaled(compiled_reflection(axis)(inputs, sine, cosine))
        return self.scaled(reflected(inputs, sine, cosine, axis))

    def get_config(self) -> dict[str, Any]:
        start = self.theta_initializer
        return {**super().get_config(), "theta_initializer": start and keras.initializers.serialize(start)}


def _adds_exactly(layer, inputs):
    """Whether a layer computes in the dtype of its input, and adds gradients of its weights in no wider one."""
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    return dtype == layer.compute_dtype == accumulation_dtype(dtype)


def _inverse_root_near_one(x):
    """1/√x for x ≈ 1, by two steps of Newton's method. Unlike `rsqrt`, it is exact for x = 1."""
    y = 1.5 - 0.5 * x
    return y * (1.5 - 0.5 * x * ops.square(y))


class _Within(keras.constraints.Constraint):
    """Constraint that keeps the slopes of a `PReLUlip` within its present k."""

    def __init__(self, layer: "PReLUlip") -> None:
        self.layer = layer

    def __call__(self, w: Tensor) -> Tensor:
        return self.layer.limited(w)


@keras.saving.register_keras_serializable("lipviz")
class PReLUlip(keras.layers.PReLU, LipschitzLayer):
    """PReLU that is k-Lipschitz: x · min(1, k) for positive x, x · α for the others, with slopes α in [−k, k].

    α is limited in two places. The forward pass limits it, so that the constant holds for every loaded or assigned
    value. A Keras constraint limits it after each step of an optimizer, so that it does not drift to values at which
    the limited slope has no gradient. A slope that is NaN stays NaN.

    What is exact: the layer acts on each entry by itself. Its constant is the larger of min(1, k) and the largest
    magnitude of α, which is at most k.

    Args:
        k_coef_lip: Lipschitz constant of the layer.
        alpha_initializer: Initializer of the slopes. Values outside [−k, k] are limited.
        alpha_regularizer: Regularizer of the slopes.
        shared_axes: Axes, counted from 1 (0 is the batch), along which entries share one slope: [1, 2] gives images
            one slope per channel. None gives each entry of the input's shape its own, as Keras does.
        **kwargs: `name`, `dtype` of every Keras layer.

    Attributes:
        alpha: The slopes, a variable of the input's shape without the batch, with 1 for shared axes.

    Input shape: any with at least two axes; sizes of axes that are not shared must be known. Output shape: the same.

    Raises:
        ValueError: If an argument is out of range, or a size is not known (at build).
    """

    shared_axes: list[int] | None

    def __init__(
        self,
        k_coef_lip: float = 1.0,
        alpha_initializer: Initializer = "zeros",
        alpha_regularizer: Regularizer = None,
        shared_axes: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("alpha_constraint", None) is not None:
            raise ValueError("PReLUlip sets the constraint of its slopes itself: expected no `alpha_constraint`.")
        super().__init__(alpha_initializer, alpha_regularizer, _Within(self), shared_axes, **kwargs)
        for axis in self.shared_axes or ():
            if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or axis < 1:
                raise ValueError(f"`shared_axes` must be axes counted from 1. Received: shared_axes={shared_axes!r}")
        self.shared_axes = self.shared_axes and [int(axis) for axis in self.shared_axes]
        self.set_klip_factor(k_coef_lip)

    def set_klip_factor(self, klip_factor: float) -> None:
        super().set_klip_factor(klip_factor)
        if self.built:
            self.alpha.assign(self.limited(ops.convert_to_tensor(self.alpha)))

    def limited(self, slopes: Tensor) -> Tensor:
        """Limit slopes to [−k, k]. Unlike `clip`, `where` has gradient 1 at the limit itself, and keeps NaN."""
        k, slopes = self.k_coef_lip, ops.convert_to_tensor(slopes)
        return ops.where(slopes > k, k, ops.where(slopes < -k, -k, slopes))

    def build(self, input_shape: Shape) -> None:
        shared = self.shared_axes or ()
        check_shape(self, input_shape)
        unknown = [axis for axis, size in enumerate(input_shape) if axis and size is None and axis not in shared]
        if unknown or any(axis >= len(input_shape) for axis in shared):
            raise ValueError(
                "PReLUlip expects a batch axis and further axes, of known sizes except for its "
                f"shared_axes={self.shared_axes}. Received the input shape {tuple(input_shape)}"
            )
        super().build(input_shape)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        inputs = in_floats(self, inputs)
        slopes = self.limited(ops.cast(self.alpha, self.compute_dtype))
        positive = min(1.0, self.k_coef_lip)
        if _adds_exactly(self, inputs) and may_compile(self, inputs):
            return compiled_two_slopes(positive)(inputs, slopes)
        return two_slopes(inputs, slopes, positive)

    def get_config(self) -> dict[str, Any]:
        config = {name: value for name, value in super().get_config().items() if name != "alpha_constraint"}
        return {**config, "k_coef_lip": self.k_coef_lip}
