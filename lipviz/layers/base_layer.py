"""Base classes of the Lipschitz layers: the factor k, and a mixin that gives a Keras layer a constrained kernel."""

import abc
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, TypeAlias

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.parametrizations import check_finite, copied, kernel_initializer
from lipviz.types import ArrayLike, Shape, Tensor

if typing.TYPE_CHECKING:  # type checkers find there what Keras gives to the classes that a mixin is part of
    _Mixin: TypeAlias = keras.layers.Layer
else:
    _Mixin = object


class LipschitzLayer(_Mixin):
    """A layer with a Lipschitz factor.

    Attributes:
        coef_lip: Correction factor that depends on the layer's shape; None if there is none.
        is_sound: Whether k bounds the layer. False only for settings that say so, such as "unsound_average".
    """

    coef_lip: float | None = None
    is_sound: bool = True
    _k_coef_lip: float = 1.0

    @property
    def k_coef_lip(self) -> float:
        """Largest Lipschitz constant of the layer, positive. Setting it calls `set_klip_factor`."""
        return self._k_coef_lip

    @k_coef_lip.setter
    def k_coef_lip(self, value: float) -> None:
        self.set_klip_factor(value)

    def set_klip_factor(self, klip_factor: float) -> None:
        """Change the layer's Lipschitz constant.

        Args:
            klip_factor: Positive finite number.

        Raises:
            ValueError: If it is not, or the layer's dtype cannot multiply by it. In float32 it must be at least about
                1e-31: with a smaller factor, backends would round small entries to 0.
        """
        self._k_coef_lip = nm.check_factor("k_coef_lip", klip_factor, *self._factor_dtypes())

    def _factor_dtypes(self):
        """Names of the dtypes in which something is multiplied by k; none for a model, whose layers do that."""
        return () if isinstance(self, keras.Model) else (self.compute_dtype,)


def in_floats(layer: keras.Layer, inputs: Tensor) -> Tensor:
    """Cast integers and bools, which Keras passes on unchanged, to a layer's dtype. Floats stay as they are."""
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    return inputs if keras.backend.is_float_dtype(dtype) else ops.cast(inputs, layer.compute_dtype)


class Condensable(abc.ABC):
    """Base of layers that do not predict with the weight that they train."""

    @abc.abstractmethod
    def condense(self) -> None:
        """Replace the weights by the constrained ones."""

    @abc.abstractmethod
    def vanilla_export(self) -> keras.Layer:
        """Return a plain Keras layer with the same name and the same predictions."""


def given(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a constructor received, from its `locals()`, as a dict of keyword arguments."""
    own = {name: value for name, value in scope.items() if name not in ("self", "kwargs", "__class__")}
    return {**own, **scope.get("kwargs", {})}


def inverse_root(x: Tensor) -> Tensor:
    """1/√x of a positive tensor, exact to rounding.

    Backends approximate `rsqrt` in float32, with errors up to 6e-7, and compilers replace a division by a root by it. A
    step of Newton's method corrects the result.
    """
    y = ops.rsqrt(x)
    return y * (1.5 - 0.5 * x * ops.square(y))


def check_shape(
    layer: keras.Layer, shape: Any, least_axes: int = 2, most_axes: float = math.inf, channel_axis: int | None = None
) -> None:
    """Raise ValueError unless a layer can be built for an input of a shape, whose first axis is the batch.

    Args:
        layer: The layer.
        shape: What was received.
        least_axes: Smallest number of axes.
        most_axes: Largest number of axes.
        channel_axis: Index of the axis whose size must be known; None if there is none.
    """
    received, shape = shape, tuple(shape) if isinstance(shape, Iterable) else None
    is_shape = shape is not None and all(
        size is None or (isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 0)
        for size in shape
    )
    fits = is_shape and least_axes <= len(shape) <= most_axes and 0 not in shape[1:]
    if fits and (channel_axis is None or shape[channel_axis] is not None):
        return
    at_least = "at least " if most_axes > least_axes else ""
    channels = "" if channel_axis is None else ", a known number of channels"
    raise ValueError(
        f"{type(layer).__name__} '{layer.name}' expects an input of {at_least}{least_axes} axes, with the batch axis "
        f"first{channels} and no other axis of size 0. Received the input shape {shape if is_shape else received!r}"
    )


def with_channels_last(function: Callable[[Tensor], Tensor], inputs: Tensor, data_format: str) -> Tensor:
    """Apply a function that takes images with the channels last to images of any data format.

    On a CPU, TensorFlow can differentiate convolutions in this format only.
    """
    if data_format == "channels_last":
        return function(inputs)
    return ops.moveaxis(function(ops.moveaxis(inputs, 1, -1)), -1, 1)


class ConstrainedKernel(LipschitzLayer, Condensable):
    """Mixin that puts a parametrization between the kernel of a Keras layer and its use.

    A subclass lists this class before its Keras base, sets the two classes below and implements `linear`. Its
    constructor takes the arguments of both; `get_config`, saving, `condense` and `vanilla_export` need no further code.
    `kernel` is the raw kernel, `wbar` the constrained one. If its Keras base has other names for the kernel, or for the
    arguments of the kernel, the subclass also sets `kernel_name` and `kernel_prefix`.

    Regularizers and constraints passed by `kernel_regularizer` and `kernel_constraint` see the raw `kernel`.

    Attributes:
        vanilla_class: Plain Keras class, the base of the layer.
        parametrization_class: Subclass of `Parametrization`.
        kernel_name: Name of the weight that is constrained, and of the attribute that holds it: "kernel" by default,
            "embeddings" for a `keras.layers.Embedding`.
        kernel_prefix: What the arguments `..._initializer`, `..._regularizer` and `..._constraint` of that weight begin
            with: "kernel" by default, "depthwise" for a `keras.layers.DepthwiseConv2D`.
    """

    vanilla_class: ClassVar[Any] = None
    parametrization_class: ClassVar[Any] = None
    kernel_name: ClassVar[str] = "kernel"
    kernel_prefix: ClassVar[str] = "kernel"

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.parametrization_class is not None:
            for name in cls.parametrization_class.argument_names():
                if not hasattr(cls, name):
                    setattr(cls, name, _read_only(name))
            for name, meaning in cls.parametrization_class.state.items():
                setattr(cls, name, _state(name, meaning))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = {name: kwargs.pop(name) for name in self.parametrization_class.argument_names() if name in kwargs}
        if kwargs.get("lora_rank") is None:
            kwargs.pop("lora_rank", None)
        else:
            self.enable_lora(kwargs["lora_rank"])
        kwargs.setdefault(f"{self.kernel_prefix}_initializer", SpectralInitializer())
        parametrization = self.parametrization_class(name="parametrization", **own)
        super().__init__(*args, **kwargs)
        nm.check_factor("k_coef_lip", parametrization.k_coef_lip, *self._factor_dtypes())
        self.parametrization = parametrization

    # --- state ---

    @property
    def k_coef_lip(self) -> float:
        """Lipschitz constant of the constrained kernel."""
        return self.parametrization.k_coef_lip

    @k_coef_lip.setter
    def k_coef_lip(self, value: float) -> None:
        self.set_klip_factor(value)

    @property
    def raw_kernel(self) -> keras.Variable:
        """The weight that an optimizer trains, whose name is `kernel_name`."""
        return getattr(self, self.kernel_name)

    @property
    def wbar(self) -> keras.Variable:
        """The constrained kernel that was stored last, a variable. Inference uses it while the kernel is the same."""
        self._check_built("wbar")
        return self.parametrization.wbar

    def used_kernel(self) -> Tensor:
        """Return the constrained kernel that inference uses: `wbar`, or that of the kernel if it has changed since.

        Returns:
            A tensor in the dtype of `wbar`; it is not stored.

        Raises:
            ValueError: If the layer is not built.
        """
        self._check_built("wbar")
        return self.parametrization.used_now()

    def _check_built(self, what):
        if not self.built:
            raise ValueError(f"{type(self).__name__} '{self.name}' has no {what} yet: build or call it first.")

    def refresh(self) -> None:
        """Bring `wbar` up to date with the present kernel.

        Raises:
            ValueError: If the layer is not built, or its kernel holds NaN or Inf.
        """
        self._check_built("wbar")
        self.parametrization.refresh(self.raw_kernel)

    def set_klip_factor(self, klip_factor: float) -> None:
        self.parametrization.set_klip_factor(nm.check_factor("k_coef_lip", klip_factor, *self._factor_dtypes()))
        if self.built:
            self.refresh()

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        super().set_weights(weights)
        self.refresh()

    # --- Keras ---

    def add_weight(self, *args: Any, name: str | None = None, **kwargs: Any) -> keras.Variable:
        if name == self.kernel_name:  # constrained in full precision, also under a mixed policy
            kwargs["autocast"] = False
            kwargs["initializer"] = kernel_initializer(kwargs.get("initializer"))
            if type(self).raw_shape is not ConstrainedKernel.raw_shape:
                self.parametrization.wbar_shape = self.constrained_shape(tuple(kwargs["shape"]))
                kwargs["shape"] = self.raw_shape(kwargs["shape"])
        return super().add_weight(*args, name=name, **kwargs)

    def raw_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the raw kernel, for a constrained kernel of a shape; the same unless overridden."""
        return shape

    def constrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the constrained kernel, for a kernel that Keras asks for; the same unless overridden."""
        return shape

    def _factor_dtypes(self):
        return ("float64" if self.variable_dtype == "float64" else "float32", self.compute_dtype)

    def check_input_shape(self, input_shape: Shape) -> None:
        """Raise ValueError unless the layer can be built for an input of a shape."""
        check_shape(self, input_shape)

    def build(self, input_shape: Shape) -> None:
        self.check_input_shape(input_shape)
        super().build(input_shape)
        check_finite(self.raw_kernel, f"The initial kernel of '{self.name}'")
        self.parametrization.attach(self.raw_kernel, self.lip_coef(input_shape))
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:  # Keras loads it built
            self.activation.build(super().compute_output_shape(input_shape))

    @property
    def coef_lip(self) -> float:  # type: ignore[override]  # an attribute of the base class, computed here
        """Factor of the constrained kernel that depends on the shape of the input; 1 for dense layers."""
        return self.parametrization.coef_lip

    def lip_coef(self, input_shape: Shape) -> float:
        """Compute `coef_lip`; 1 unless overridden.

        The layer's norm is at most the norm of its kernel's matrix, divided by this factor.

        Args:
            input_shape: Shape of the input, with None for unknown sizes.

        Returns:
            A positive float.
        """
        return 1.0

    def linear(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """The linear part of the layer, without bias and activation.

        Args:
            inputs: Tensor in the layer's compute dtype.
            kernel: Constrained kernel, in the same dtype.

        Returns:
            A tensor.
        """
        raise TypeError(f"{type(self).__name__} must implement `linear(inputs, kernel)`")

    def add_bias(self, outputs: Tensor) -> Tensor:
        """Add the bias along the last axis, unless overridden."""
        return ops.add(outputs, self.bias)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the layer.

        Args:
            inputs: Tensor.
            training: Whether the constrained kernel is computed again and stored. By default, as for all Keras layers,
                the mode of the model or layer that calls this one; otherwise inference, which stores nothing.

        Returns:
            A tensor.
        """
        kernel = self.parametrization(ops.convert_to_tensor(self.raw_kernel), training=training)
        inputs = ops.cast(inputs, self.compute_dtype)  # integers and bools, which Keras does not cast
        outputs = self.linear(inputs, ops.cast(kernel, self.compute_dtype))
        if self.bias is not None:
            outputs = self.add_bias(outputs)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = tuple(super().compute_output_shape(input_shape))
        if isinstance(self.activation, keras.layers.Layer):  # MaxMin changes the number of channels
            return self.activation.compute_output_shape(shape)
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.parametrization.arguments()}

    def enable_lora(self, rank: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported: the low-rank update would be added after the constraint."""
        raise ValueError(f"{type(self).__name__} does not support LoRA: expected lora_rank=None. Received: {rank!r}")

    def quantize(self, mode: Any = None, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported: rounding the kernel would break the bound. Quantize the `vanilla_export()` instead."""
        raise ValueError(
            f"{type(self).__name__} does not support quantization; quantize its `vanilla_export()`. "
            f"Received: mode={mode!r}"
        )

    # --- leaving the constraint ---

    def condense(self) -> None:
        """Constrain the present raw kernel, and store the result in both `wbar` and the raw kernel.

        Where the constraint of `wbar` would be another kernel, the raw kernel stays: it has this `wbar` already.

        Raises:
            ValueError: If the layer is not built, or its kernel holds NaN or Inf.
        """
        self.refresh()
        if self.parametrization.keeps_constrained:
            self.raw_kernel.assign(copied(self.wbar))

    def vanilla_export(self) -> keras.Layer:
        """Return the plain Keras layer with the same name, dtype, activation and predictions.

        Keras assumes that activations do not change shapes. If one does (`MaxMin`), the result is a `keras.Sequential`
        of that name, with the plain layer and then the activation.

        Raises:
            ValueError: If the layer is not built, or its kernel holds NaN or Inf.
        """
        self.refresh()
        input_shape = self.get_build_config()["input_shape"]
        config = self._plain_config()
        for what in ("initializer", "regularizer", "constraint"):  # of the raw kernel, which the export does not have
            config.pop(f"{self.kernel_prefix}_{what}", None)
        follows = self.compute_output_shape(input_shape) != tuple(super().compute_output_shape(input_shape))
        if follows:
            config["activation"] = None
        elif isinstance(self.activation, types.FunctionType):  # a configuration may have no name for it
            config["activation"] = self.activation
        layer = self._plain_class().from_config(config)
        layer.build(input_shape)
        getattr(layer, self.kernel_name).assign(copied(self.wbar))
        if self.bias is not None:
            layer.bias.assign(copied(self.bias))
        if follows:
            activation = type(self.activation).from_config(self.activation.get_config())
            return keras.Sequential([keras.Input(tuple(input_shape)[1:]), layer, activation], name=self.name)
        if isinstance(self.activation, keras.layers.Layer):
            if not layer.activation.built:
                layer.activation.build(super().compute_output_shape(input_shape))
            layer.activation.set_weights(self.activation.get_weights())
        return layer

    def _plain_config(self):
        """The configuration of the export."""
        return self._plain_class().get_config(self)

    def _plain_class(self):
        """The class of the export, which may depend on an argument."""
        return self.vanilla_class


def _read_only(name: str) -> property:
    def read(self: "ConstrainedKernel") -> Any:
        return getattr(self.parametrization, name)

    return property(read, doc=f"`{name}` of the parametrization.")


def _state(name: str, meaning: str) -> property:
    def read(self: "ConstrainedKernel") -> keras.Variable:
        self._check_built(name)
        return getattr(self.parametrization, name)

    return property(read, doc=meaning)
