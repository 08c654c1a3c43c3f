"""Activations that keep the norm of gradients: sorting in groups, and MaxMin."""

import keras
from keras import ops

from lipviz import normalizers as nm
from lipviz.layers.base_layer import LipschitzLayer


class _ChannelActivation(keras.layers.Layer, LipschitzLayer):
    """Base of activations that act along the channel axis and may multiply by k."""

    def __init__(self, data_format="channels_last", k_coef_lip=1.0, **kwargs):
        super().__init__(**kwargs)
        if data_format not in ("channels_last", "channels_first"):
            raise ValueError(f"`data_format` must be 'channels_last' or 'channels_first'. Received: {data_format!r}")
        self.data_format = data_format
        self.set_klip_factor(k_coef_lip)
        self.supports_masking = True

    @property
    def channel_axis(self):
        """Index of the channel axis."""
        return -1 if self.data_format == "channels_last" else 1

    def channels(self, shape):
        """Number of channels of an input shape; ValueError where it is unknown."""
        if len(shape) < 2 or shape[self.channel_axis] is None:
            raise ValueError(
                f"{type(self).__name__} needs a batch axis and a known number of channels. "
                f"Received input shape: {tuple(shape)}"
            )
        return shape[self.channel_axis]

    def build(self, input_shape):
        self.channels(input_shape)
        self.built = True

    def scaled(self, outputs):
        """Multiply by k, at no cost for k = 1."""
        return outputs if self.k_coef_lip == 1 else outputs * self.k_coef_lip

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "data_format": self.data_format, "k_coef_lip": self.k_coef_lip}


@keras.saving.register_keras_serializable("lipviz")
class GroupSort(_ChannelActivation):
    """Sort ascending within groups of n neighbouring channels (Anil, Lucas and Grosse 2019, section 4.1).

    A sort permutes its inputs, so its Jacobian is a permutation matrix: the norm of a gradient is kept, at ties too.

    Args:
        n: Size of a group; None, or more than there are channels, sorts all of them.
        data_format: "channels_last" or "channels_first".
        k_coef_lip: Factor multiplied onto the output.
        **kwargs: `name`, `dtype` of every Keras layer.

    Input shape: any with at least two axes. Output shape: the same.

    Raises:
        ValueError: If n is no positive integer, or does not divide the channels (at build).
    """

    def __init__(self, n=None, data_format="channels_last", k_coef_lip=1.0, **kwargs):
        super().__init__(data_format, k_coef_lip, **kwargs)
        if n is not None and nm.check_count("n", n) < 1:
            raise ValueError(f"`n` must be None or a positive integer. Received: n={n!r}")
        self.n = n

    def group_size(self, shape):
        """Number of channels sorted together for an input shape; ValueError where n does not divide them."""
        channels = self.channels(shape)
        size = channels if self.n is None or self.n > channels else self.n
        if channels % size:
            raise ValueError(
                f"{type(self).__name__} expects a number of channels that its group size n={self.n} divides. "
                f"Received: {channels} channels in the input shape {tuple(shape)}"
            )
        return size

    def build(self, input_shape):
        self.group_size(input_shape)
        self.built = True

    def call(self, inputs):
        size = self.group_size(inputs.shape)
        axis = self.channel_axis % len(inputs.shape)
        shape = [-1 if length is None else length for length in inputs.shape]
        before, after = shape[:axis], shape[axis + 1 :]
        if shape.count(-1) > 1:
            dynamic = ops.shape(inputs)
            before, after = list(dynamic[:axis]), list(dynamic[axis + 1 :])
        grouped = ops.reshape(inputs, [*before, shape[axis] // size, size, *after])
        ordered = _sort_pairs(grouped, axis + 1) if size == 2 else ops.sort(grouped, axis=axis + 1)
        return self.scaled(ops.reshape(ordered, [*before, shape[axis], *after]))

    def get_config(self):
        return {**super().get_config(), "n": self.n}


def _sort_pairs(x, axis):
    """Sort along an axis of length 2. Unlike min and max, a selection routes gradients one to one at ties."""
    a, b = ops.split(x, 2, axis=axis)
    swap = a > b
    return ops.concatenate([ops.where(swap, b, a), ops.where(swap, a, b)], axis=axis)


@keras.saving.register_keras_serializable("lipviz")
class GroupSort2(GroupSort):
    """`GroupSort` in pairs.

    Args:
        **kwargs: Those of `GroupSort` but n.
    """

    def __init__(self, **kwargs):
        super().__init__(n=_fixed(kwargs, 2), **kwargs)


@keras.saving.register_keras_serializable("lipviz")
class FullSort(GroupSort):
    """`GroupSort` of all channels at once.

    Args:
        **kwargs: Those of `GroupSort` but n.
    """

    def __init__(self, **kwargs):
        super().__init__(n=_fixed(kwargs, None), **kwargs)


def _fixed(kwargs, n):
    """Take the n of a config out of `kwargs`; any other than the class's own is refused."""
    if (received := kwargs.pop("n", n)) != n:
        raise ValueError(f"The group size of this class is fixed at n={n}. Received: n={received!r}")
    return n


@keras.saving.register_keras_serializable("lipviz")
class MaxMin(_ChannelActivation):
    """concat(relu(x), relu(−x)) along the channels, whose number doubles (Blot, Cord and Thome 2016).

    Each entry of the input appears in one of the two halves and as 0 in the other: norms are kept.

    Args:
        data_format: "channels_last" or "channels_first".
        k_coef_lip: Factor multiplied onto the output.
        **kwargs: `name`, `dtype` of every Keras layer.

    Input shape: any with at least two axes. Output shape: the same with twice the channels.
    """

    def call(self, inputs):
        return self.scaled(ops.concatenate([ops.relu(inputs), ops.relu(-inputs)], axis=self.channel_axis))

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self.channel_axis] = 2 * self.channels(input_shape)
        return tuple(shape)
