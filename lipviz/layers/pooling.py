"""Poolings and resamplings with a Lipschitz bound.

Windows do not overlap. So every entry of the input belongs to at most one window, and the constant of a pooling is that
of a single window, a function of p = height · width numbers:

    average · √p      the scalar product with a unit vector
    √(Σ x² + ε)       its gradient x / √(Σ x² + ε) has a norm of at most 1
    a resampling      a permutation of the entries

Half precision is computed in float32, and the result is rounded to half precision.

References:
    Boureau, Ponce and LeCun (2010), A theoretical analysis of feature pooling in visual recognition.
    Anil, Lucas and Grosse (2019), Sorting out Lipschitz function approximation (the resampling).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.compiled import may_compile
from lipviz.layers._fused import WindowNorm, norms_of_windows
from lipviz.layers.base_layer import LipschitzLayer, check_shape, in_floats, inverse_root
from lipviz.types import DType, Shape, Tensor


def standard_data_format(value: Any) -> Literal["channels_last", "channels_first"]:
    """Return "channels_last" or "channels_first"; None takes Keras's. ValueError for anything else."""
    value = keras.config.image_data_format() if value is None else value
    if value not in ("channels_last", "channels_first"):
        raise ValueError(f"`data_format` must be 'channels_last', 'channels_first' or None. Received: {value!r}")
    return value


def accumulation_dtype(dtype: DType) -> DType:
    """The dtype in which numbers of a dtype are added, at least float32."""
    return "float64" if dtype == "float64" else "float32"


def positive_pair(name: str, value: Any) -> tuple[int, int]:
    """Return a positive integer, or two, as a tuple of two; ValueError for anything else."""
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in pair)
    if len(pair) != 2 or not whole:
        raise ValueError(f"`{name}` must be a positive integer, or two of them. Received: {name}={value!r}")
    height, width = pair
    return int(height), int(width)


def _non_negative(name, value):
    number = nm.as_number(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"`{name}` must be a finite number of at least 0. Received: {name}={value!r}")
    return number


class _Scaled(LipschitzLayer):
    """Mixin of layers that take images and multiply their output by k."""

    def build(self, input_shape: Shape) -> None:
        check_shape(self, input_shape, 4, 4)
        self.built = True

    def scaled(self, outputs: Tensor, factor: Tensor = 1.0) -> Tensor:
        """Multiply by k and a factor, at no cost if the product is 1, and cast to the layer's dtype."""
        factor = factor * self.k_coef_lip
        one = isinstance(factor, float) and factor == 1
        return ops.cast(outputs if one else outputs * factor, self.compute_dtype)

    def wide(self, inputs: Tensor) -> Tensor:
        """The input in the dtype of sums."""
        return ops.cast(inputs, self._wide_dtype)

    def _is_wide(self, inputs):
        """Whether the layer computes in the dtype of its input, and sums need no wider one."""
        return keras.backend.standardize_dtype(inputs.dtype) == self.compute_dtype == self._wide_dtype

    @property
    def _wide_dtype(self):
        return accumulation_dtype(self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k_coef_lip": self.k_coef_lip}


class _L2Norm(LipschitzLayer):
    """Mixin of the poolings that take a norm: ε, and a square root whose gradient is finite."""

    def set_eps(self, eps_grad_sqrt: float) -> None:
        self.eps_grad_sqrt = _non_negative("eps_grad_sqrt", eps_grad_sqrt)

    def root(self, squares: Tensor) -> Tensor:
        """√(squares + ε), k-Lipschitz as a function of the numbers that were squared, also where squares underflow.

        Without ε, the slope of the root is infinite at 0. Near 0, where squares have lost digits, it may exceed that of
        the norm. So squares below a floor t count as t, and the root is shifted by √t. The result is continuous, and
        nowhere steeper than the norm.
        """
        floor = self.floor
        if self.eps_grad_sqrt >= floor:
            return ops.sqrt(squares + self.eps_grad_sqrt)
        return ops.sqrt(ops.where(squares < floor, floor, squares)) - math.sqrt(floor)  # keeps NaN

    @property
    def floor(self) -> float:
        """Smallest square that has not lost digits."""
        info = np.finfo(accumulation_dtype(self.compute_dtype))
        return float(info.tiny / info.eps)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "eps_grad_sqrt": self.eps_grad_sqrt}


class _WindowPooling(_Scaled, keras.layers.AveragePooling2D):
    """Base of poolings over windows that do not overlap."""

    def __init__(
        self,
        pool_size: int | Sequence[int],
        strides: int | Sequence[int] | None,
        padding: str,
        data_format: Literal["channels_last", "channels_first"] | None,
        k_coef_lip: float,
        **kwargs: Any,
    ) -> None:
        padding = padding.lower() if isinstance(padding, str) else padding
        super().__init__(pool_size, strides=strides, padding=padding, data_format=data_format, **kwargs)
        self.set_klip_factor(k_coef_lip)
        if self.strides != self.pool_size:
            raise ValueError(
                f"{type(self).__name__} has a bound for windows that do not overlap and leave nothing out: expected "
                f"`strides` to be None or the pool_size {self.pool_size}. Received: strides={self.strides}"
            )
        if padding != "valid":
            raise ValueError(f"{type(self).__name__} expects padding='valid'. Received: padding={padding!r}")

    def set_klip_factor(self, klip_factor: float) -> None:
        super().set_klip_factor(klip_factor)
        nm.check_factor("k_coef_lip · √(entries of a window)", self.k_coef_lip * self.root_of_size, self._wide_dtype)

    def average(self, inputs: Tensor) -> Tensor:
        """The mean of each window."""
        return keras.layers.AveragePooling2D.call(self, inputs)

    @property
    def root_of_size(self) -> float:
        """√ of the number of entries in a window."""
        return math.sqrt(math.prod(self.pool_size))


@keras.saving.register_keras_serializable("lipviz")
class ScaledAveragePooling2D(_WindowPooling):
    """The average of each window times √(height · width) of the window, times k.

    What is exact: a linear map whose singular values are all k, or 0: k along constant windows, 0 where the average
    is 0. Rows and columns at the end that fill no window are left out, as by Keras.

    Args:
        pool_size: One or two positive integers.
        strides: Must be pool_size; None means that.
        padding: Must be "valid".
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        **kwargs: `name`, `dtype` of every Keras layer.

    Input shape: (batch, height, width, channels). Output shape: (batch, height // pool height, width // pool width,
    channels). Channels come second with "channels_first".

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] | None = None,
        padding: Literal["valid"] = "valid",
        data_format: Literal["channels_last", "channels_first"] | None = None,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, k_coef_lip, **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        return self.scaled(self.average(self.wide(inputs)), self.root_of_size)


@keras.saving.register_keras_serializable("lipviz")
class ScaledL2NormPooling2D(_L2Norm, _WindowPooling):
    """The l2 norm of each window, √(mean of squares + ε) · √(height · width), times k.

    What is exact: without ε, the Jacobian has orthogonal rows of norm k, so the layer keeps the norm of gradients. Only
    for windows of zeros, the gradient is defined as 0. With ε, and p entries in a window, the rows are
    k·x / √(Σ x² + p·ε). They are shorter than k, by less than 1 % if the window's norm is above 7·√(p·ε). A window of
    zeros gives k·√(p·ε).

    In float32, squares of numbers above about 1e19 are infinite, and so is the output. Without ε, a norm is too small
    by up to √p · 3.2e-16 (√p · 1.1e-146 in float64), and a norm below that is 0, because squares have lost their digits
    there. An ε below 1e-31 (1e-292 in float64) counts as 0.

    Args:
        pool_size: One or two positive integers.
        strides: Must be pool_size; None means that.
        padding: Must be "valid".
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        eps_grad_sqrt: ε, at least 0.
        **kwargs: `name`, `dtype` of every Keras layer.

    Input shape: (batch, height, width, channels). Output shape: (batch, height // pool height, width // pool width,
    channels). Channels come second with "channels_first".

    Raises:
        ValueError: If an argument is out of range.

    Reference: Boureau, Ponce and LeCun (2010).
    """

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] | None = None,
        padding: Literal["valid"] = "valid",
        data_format: Literal["channels_last", "channels_first"] | None = None,
        k_coef_lip: float = 1.0,
        eps_grad_sqrt: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, k_coef_lip, **kwargs)
        self.set_eps(eps_grad_sqrt)

    def call(self, inputs: Tensor) -> Tensor:
        if self.eps_grad_sqrt >= self.floor and self._is_wide(inputs) and may_compile(self, inputs):
            return norms_of_windows(self._norm(), inputs)
        return self.scaled(self.root(self.average(ops.square(self.wide(inputs)))), self.root_of_size)

    def _norm(self):
        axis = 1 if self.data_format == "channels_last" else 2
        eps = math.prod(self.pool_size) * self.eps_grad_sqrt
        return WindowNorm(self.pool_size, axis, self.k_coef_lip, eps)


class _GlobalPooling(_Scaled, keras.layers.GlobalAveragePooling2D):
    """Base of poolings over the whole image."""

    def __init__(
        self, data_format: Literal["channels_last", "channels_first"] | None, k_coef_lip: float, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.set_klip_factor(k_coef_lip)

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        return (1, 2) if self.data_format == "channels_last" else (2, 3)

    def sum(self, inputs: Tensor) -> Tensor:
        """The sum over the image."""
        return ops.sum(inputs, axis=self.spatial_axes, keepdims=self.keepdims)


@keras.saving.register_keras_serializable("lipviz")
class ScaledGlobalAveragePooling2D(_GlobalPooling):
    """The average over the image times √(height · width), times k.

    What is exact: a linear map whose singular values are all k, or 0.

    Args:
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        **kwargs: `keepdims` of Keras's layer; `name`, `dtype` of every Keras layer.

    Input shape: (batch, height, width, channels). Output shape: (batch, channels), or (batch, 1, 1, channels) with
    `keepdims=True`. Channels come second with "channels_first".

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, k_coef_lip, **kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        return self.scaled(self.sum(self.wide(inputs)), self._one_over_root_of_size(inputs))

    def _one_over_root_of_size(self, inputs):
        size = math.prod(ops.shape(inputs)[axis] for axis in self.spatial_axes)
        if isinstance(size, int):
            return 1 / math.sqrt(size)
        return inverse_root(ops.cast(size, accumulation_dtype(self.compute_dtype)))


@keras.saving.register_keras_serializable("lipviz")
class ScaledGlobalL2NormPooling2D(_L2Norm, _GlobalPooling):
    """The l2 norm over the image, √(sum of squares + ε), times k.

    `ScaledL2NormPooling2D` says what is exact, and what ε and the range of a dtype change; here ε replaces p·ε.

    Args:
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        k_coef_lip: Lipschitz constant of the layer in the l2 norm.
        eps_grad_sqrt: ε, at least 0.
        **kwargs: `keepdims` of Keras's layer; `name`, `dtype` of every Keras layer.

    Input shape: (batch, height, width, channels). Output shape: (batch, channels), or (batch, 1, 1, channels) with
    `keepdims=True`. Channels come second with "channels_first".

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        k_coef_lip: float = 1.0,
        eps_grad_sqrt: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, k_coef_lip, **kwargs)
        self.set_eps(eps_grad_sqrt)

    def call(self, inputs: Tensor) -> Tensor:
        return self.scaled(self.root(self.sum(ops.square(self.wide(inputs)))))


class _Resampling(_Scaled, keras.layers.Layer):
    """Base of the two resamplings: arguments, and shapes of four axes seen as (batch, height, width, channels)."""

    def __init__(
        self,
        pool_size: int | Sequence[int],
        data_format: Literal["channels_last", "channels_first"] | None,
        k_coef_lip: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = positive_pair("pool_size", pool_size)
        self.data_format = standard_data_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self.set_klip_factor(k_coef_lip)

    def resampled(self, batch: int | None, height: int | None, width: int | None, channels: int | None) -> Shape:
        """Sizes of the output for those of the input, which may be None; ValueError if they are not divisible."""
        raise TypeError(f"{type(self).__name__} must implement `resampled`")

    def moved(self, inputs: Tensor, sizes: Sequence[Any], resampled: Sequence[Any]) -> Tensor:
        """The entries in their new places, channels last or first."""
        raise TypeError(f"{type(self).__name__} must implement `moved`")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._ordered(*self.resampled(*self._sizes(input_shape)))

    def call(self, inputs: Tensor) -> Tensor:
        sizes = self._sizes(inputs.shape)
        self.resampled(*sizes)
        if None in sizes[1:]:  # with a batch size of -1, an indivisible size could go unnoticed
            sizes = self._sizes(ops.shape(inputs))
        sizes = [-1 if size is None else size for size in sizes]
        return self.scaled(self.moved(in_floats(self, inputs), sizes, self.resampled(*sizes)))

    def _sizes(self, shape):
        shape = tuple(shape)
        if len(shape) != 4:
            raise ValueError(f"{type(self).__name__} expects inputs of four axes. Received the shape {shape}")
        return shape if self.data_format == "channels_last" else (shape[0], *shape[2:], shape[1])

    def _ordered(self, batch, height, width, channels):
        last = self.data_format == "channels_last"
        return (batch, height, width, channels) if last else (batch, channels, height, width)

    def _divided(self, what, size, divisor):
        """A size over a divisor; None stays None. Sizes in a graph that is traced are no ints, and not checked."""
        if size is None:
            return None
        if isinstance(size, int) and size % divisor:
            raise ValueError(
                f"{type(self).__name__} with pool_size={self.pool_size} expects a {what} that {divisor} divides. "
                f"Received: {size}"
            )
        return size // divisor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_size": self.pool_size, "data_format": self.data_format}


@keras.saving.register_keras_serializable("lipviz")
class InvertibleDownSampling(_Resampling):
    """Move the pixels of each window into the channels: fewer pixels, more channels.

    What is exact: a permutation of the entries, so all singular values are k and nothing is rounded for k = 1. Entry
    (i, j) of the window of channel c goes to channel (c · pool height + i) · pool width + j, with either data format:
    the order of PyTorch's PixelUnshuffle.

    Args:
        pool_size: One or two positive integers, (height, width) of a window.
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        name: Name of the layer.
        dtype: Dtype or dtype policy of the layer.
        k_coef_lip: Factor that multiplies the output.
        **kwargs: `trainable` of every Keras layer.

    Input shape: (batch, height, width, channels). Output shape: (batch, height / pool height, width / pool width,
    channels · pool height · pool width). Channels come second with "channels_first".

    Raises:
        ValueError: If an argument is out of range, or the window does not divide the image.
    """

    def __init__(
        self,
        pool_size: int | Sequence[int],
        data_format: Literal["channels_last", "channels_first"] | None = "channels_last",
        name: str | None = None,
        dtype: Any = None,
        *,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, data_format, k_coef_lip, name=name, dtype=dtype, **kwargs)

    def resampled(self, batch: int | None, height: int | None, width: int | None, channels: int | None) -> Shape:
        rows, columns = self.pool_size
        channels = None if channels is None else channels * rows * columns
        return batch, self._divided("height", height, rows), self._divided("width", width, columns), channels

    def moved(self, inputs: Tensor, sizes: Sequence[Any], resampled: Sequence[Any]) -> Tensor:
        (batch, _, _, channels), (_, height, width, _) = sizes, resampled
        rows, columns = self.pool_size
        if self.data_format == "channels_last":
            split, order = (batch, height, rows, width, columns, channels), (0, 1, 3, 5, 2, 4)
        else:
            split, order = (batch, channels, height, rows, width, columns), (0, 1, 3, 5, 2, 4)
        return ops.reshape(ops.transpose(ops.reshape(inputs, split), order), self._ordered(*resampled))


@keras.saving.register_keras_serializable("lipviz")
class InvertibleUpSampling(_Resampling):
    """Move channels into windows of pixels: the inverse of `InvertibleDownSampling`.

    What is exact: a permutation of the entries, so all singular values are k and nothing is rounded for k = 1. It is
    the order of PyTorch's PixelShuffle.

    Args:
        pool_size: One or two positive integers, (height, width) of a window.
        data_format: "channels_last" or "channels_first"; None takes Keras's.
        name: Name of the layer.
        dtype: Dtype or dtype policy of the layer.
        k_coef_lip: Factor that multiplies the output.
        **kwargs: `trainable` of every Keras layer.

    Input shape: (batch, height, width, channels). Output shape: (batch, height · pool height, width · pool width,
    channels / (pool height · pool width)). Channels come second with "channels_first".

    Raises:
        ValueError: If an argument is out of range, or the size of the window does not divide the channels.
    """

    def __init__(
        self,
        pool_size: int | Sequence[int],
        data_format: Literal["channels_last", "channels_first"] | None = "channels_last",
        name: str | None = None,
        dtype: Any = None,
        *,
        k_coef_lip: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, data_format, k_coef_lip, name=name, dtype=dtype, **kwargs)

    def resampled(self, batch: int | None, height: int | None, width: int | None, channels: int | None) -> Shape:
        rows, columns = self.pool_size
        height = None if height is None else height * rows
        width = None if width is None else width * columns
        return batch, height, width, self._divided("number of channels", channels, rows * columns)

    def moved(self, inputs: Tensor, sizes: Sequence[Any], resampled: Sequence[Any]) -> Tensor:
        (batch, height, width, _), (_, _, _, channels) = sizes, resampled
        rows, columns = self.pool_size
        if self.data_format == "channels_last":
            split, order = (batch, height, width, channels, rows, columns), (0, 1, 4, 2, 5, 3)
        else:
            split, order = (batch, channels, rows, columns, height, width), (0, 1, 4, 2, 5, 3)
        return ops.reshape(ops.transpose(ops.reshape(inputs, split), order), self._ordered(*resampled))
