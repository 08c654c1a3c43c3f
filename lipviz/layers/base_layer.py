"""What all Lipschitz layers share: the factor k, and the mechanism that gives a Keras layer a constrained kernel."""

import abc
import math
import types
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer
from lipviz.parametrizations import check_finite, copied, kernel_initializer


class LipschitzLayer:
    """A layer with a Lipschitz factor.

    Attributes:
        coef_lip: Correction factor that depends on the layer's shape; None where there is none.
        is_sound: Whether the constant holds. False only for what was asked for by a name that says so.
    """

    coef_lip = None
    is_sound = True
    _k_coef_lip = 1.0

    @property
    def k_coef_lip(self):
        """Lipschitz constant that the layer is held to, positive; setting it is `set_klip_factor`."""
        return self._k_coef_lip

    @k_coef_lip.setter
    def k_coef_lip(self, value):
        self.set_klip_factor(value)

    def set_klip_factor(self, klip_factor):
        """Change the layer's Lipschitz constant.

        Args:
            klip_factor: Positive finite number.

        Raises:
            ValueError: If it is not, or the layer's dtype cannot multiply by it: in float32, numbers below 1e-31 leave
                no room for smaller entries before a backend takes them for 0.
        """
        self._k_coef_lip = nm.check_factor("k_coef_lip", klip_factor, *self._factor_dtypes())

    def _factor_dtypes(self):
        """Names of the dtypes in which something is multiplied by k; a model leaves that to its layers."""
        return () if isinstance(self, keras.Model) else (self.compute_dtype,)


def in_floats(layer, inputs):
    """Whole numbers and bools, which Keras hands over as they are, as numbers of a layer's dtype; others unchanged."""
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    return inputs if keras.backend.is_float_dtype(dtype) else ops.cast(inputs, layer.compute_dtype)


class Condensable(abc.ABC):
    """A layer that does not predict with the weight it trains."""

    @abc.abstractmethod
    def condense(self):
        """Write the constrained kernel of the present weights into the weights."""

    @abc.abstractmethod
    def vanilla_export(self):
        """Return a plain Keras layer with the same name and the same predictions."""


def given(scope):
    """The arguments that a constructor received, from its `locals()`, ready to be passed on."""
    own = {name: value for name, value in scope.items() if name not in ("self", "kwargs", "__class__")}
    return {**own, **scope.get("kwargs", {})}


def inverse_root(x):
    """1/√x of a positive tensor, exact to rounding.

    Backends approximate `rsqrt` in float32, by up to 6e-7, and compilers make it out of a division by a root. A step of
    Newton's method mends what they give.
    """
    y = ops.rsqrt(x)
    return y * (1.5 - 0.5 * x * ops.square(y))


def check_shape(layer, shape, least_axes=2, most_axes=math.inf, channel_axis=None):
    """Raise ValueError unless a layer can be built for an input of a shape, whose first axis is the batch.

    Args:
        layer: The layer.
        shape: What was received.
        least_axes: Smallest number of axes.
        most_axes: Largest number of axes.
        channel_axis: Index of the axis whose size must be known; None where there is none.
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


def with_channels_last(function, inputs, data_format):
    """Apply a function of images whose channels come last, whatever the data format.

    On a CPU, TensorFlow differentiates convolutions in no other format.
    """
    if data_format == "channels_last":
        return function(inputs)
    return ops.moveaxis(function(ops.moveaxis(inputs, 1, -1)), -1, 1)


class ConstrainedKernel(LipschitzLayer, Condensable):
    """Mixin that puts a parametrization between the kernel of a Keras layer and its use.

    A subclass lists this class before its Keras base, names the two classes below and writes its algebra in
    `linear`. Its constructor takes the arguments of both, and `get_config`, saving, `condense` and
    `vanilla_export` follow. `kernel` is the raw kernel, `wbar` the constrained one. Where its Keras base has other
    names for the kernel, or for the arguments that speak of it, the subclass says them.

    Regularizers and constraints passed by `kernel_regularizer` and `kernel_constraint` see the raw `kernel`.

    Attributes:
        vanilla_class: Plain Keras class, the base of the layer.
        parametrization_class: Subclass of `Parametrization`.
        kernel_name: Name of the weight that is constrained, and of the attribute that holds it: "kernel" by default,
            "embeddings" for a `keras.layers.Embedding`.
        kernel_prefix: What the arguments `..._initializer`, `..._regularizer` and `..._constraint` of that weight begin
            with: "kernel" by default, "depthwise" for a `keras.layers.DepthwiseConv2D`.
    """

    vanilla_class = None
    parametrization_class = None
    kernel_name = "kernel"
    kernel_prefix = "kernel"

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.parametrization_class is not None:
            for name in cls.parametrization_class.argument_names():
                if not hasattr(cls, name):
                    setattr(cls, name, _read_only(name))
            for name, meaning in cls.parametrization_class.state.items():
                setattr(cls, name, _state(name, meaning))

    def __init__(self, *args, **kwargs):
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
    def k_coef_lip(self):
        """Lipschitz constant that the kernel is held to."""
        return self.parametrization.k_coef_lip

    @k_coef_lip.setter
    def k_coef_lip(self, value):
        self.set_klip_factor(value)

    @property
    def raw_kernel(self) -> keras.Variable:
        """The weight that an optimizer trains, under the name that `kernel_name` says."""
        return getattr(self, self.kernel_name)

    @property
    def wbar(self):
        """The constrained kernel as it was stored last, a variable; inference uses it while the kernel is the same."""
        self._check_built("wbar")
        return self.parametrization.wbar

    def used_kernel(self):
        """Return the constrained kernel that inference uses: `wbar`, or what a newer kernel is constrained to.

        Returns:
            A tensor in the dtype of `wbar`. Nothing is stored.

        Raises:
            ValueError: If the layer is not built.
        """
        self._check_built("wbar")
        return self.parametrization.used_now()

    def _check_built(self, what):
        if not self.built:
            raise ValueError(f"{type(self).__name__} '{self.name}' has no {what} yet: build or call it first.")

    def refresh(self):
        """Bring `wbar` up to date with the present kernel.

        Raises:
            ValueError: If the layer is not built, or its kernel holds NaN or Inf.
        """
        self._check_built("wbar")
        self.parametrization.refresh(self.raw_kernel)

    def set_klip_factor(self, klip_factor):
        self.parametrization.set_klip_factor(nm.check_factor("k_coef_lip", klip_factor, *self._factor_dtypes()))
        if self.built:
            self.refresh()

    def set_weights(self, weights):
        super().set_weights(weights)
        self.refresh()

    # --- Keras ---

    def add_weight(self, *args, name=None, **kwargs):
        if name == self.kernel_name:  # constrained in full precision, also under a mixed policy
            kwargs["autocast"] = False
            kwargs["initializer"] = kernel_initializer(kwargs.get("initializer"))
        return super().add_weight(*args, name=name, **kwargs)

    def _factor_dtypes(self):
        return ("float64" if self.variable_dtype == "float64" else "float32", self.compute_dtype)

    def check_input_shape(self, input_shape):
        """Raise ValueError unless the layer can be built for an input of a shape."""
        check_shape(self, input_shape)

    def build(self, input_shape):
        self.check_input_shape(input_shape)
        super().build(input_shape)
        check_finite(self.raw_kernel, f"The initial kernel of '{self.name}'")
        self.parametrization.attach(self.raw_kernel, self.lip_coef(input_shape))
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:  # Keras loads it built
            self.activation.build(super().compute_output_shape(input_shape))

    @property
    def coef_lip(self):
        """Factor on the constrained kernel that the shape of the input asks for; 1 for dense layers."""
        return self.parametrization.coef_lip

    def lip_coef(self, input_shape):
        """Compute `coef_lip`: the layer's norm is at most that of its kernel's matrix over this; 1 unless overridden.

        Args:
            input_shape: Shape of the input, with None for what is not known.

        Returns:
            A positive float.
        """
        return 1.0

    def linear(self, inputs, kernel):
        """The layer's algebra without bias and activation.

        Args:
            inputs: Tensor in the layer's compute dtype.
            kernel: Constrained kernel, in the same dtype.

        Returns:
            A tensor.
        """
        raise TypeError(f"{type(self).__name__} must implement `linear(inputs, kernel)`")

    def add_bias(self, outputs):
        """Add the bias along the last axis, unless overridden."""
        return ops.add(outputs, self.bias)

    def call(self, inputs, training=None):
        """Apply the layer.

        Args:
            inputs: Tensor.
            training: Whether the kernel is constrained anew and stored. By default, as with all layers of Keras, what
                the layer around it does, and otherwise inference, which stores nothing.

        Returns:
            A tensor.
        """
        kernel = self.parametrization(ops.convert_to_tensor(self.raw_kernel), training=training)
        inputs = ops.cast(inputs, self.compute_dtype)  # whole numbers and bools, which Keras leaves as they are
        outputs = self.linear(inputs, ops.cast(kernel, self.compute_dtype))
        if self.bias is not None:
            outputs = self.add_bias(outputs)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape):
        shape = tuple(super().compute_output_shape(input_shape))
        if isinstance(self.activation, keras.layers.Layer):  # MaxMin changes the number of channels
            return self.activation.compute_output_shape(shape)
        return shape

    def get_config(self):
        return {**super().get_config(), **self.parametrization.arguments()}

    def enable_lora(self, rank, *args, **kwargs):
        """Refused: a low-rank update would be added behind the constraint."""
        raise ValueError(f"{type(self).__name__} does not support LoRA: expected lora_rank=None. Received: {rank!r}")

    def quantize(self, mode=None, *args, **kwargs):
        """Refused: rounding the kernel would break the bound. Quantize the `vanilla_export()` instead."""
        raise ValueError(
            f"{type(self).__name__} does not support quantization; quantize its `vanilla_export()`. "
            f"Received: mode={mode!r}"
        )

    # --- leaving the constraint ---

    def condense(self):
        """Write the constrained kernel of the present raw kernel into both `wbar` and the raw kernel.

        Raises:
            ValueError: If the layer is not built, or its kernel holds NaN or Inf.
        """
        self.refresh()
        self.raw_kernel.assign(copied(self.wbar))

    def vanilla_export(self):
        """Return the plain Keras layer with the same name, dtype, activation and predictions.

        Keras believes that no activation changes a shape. One that does (`MaxMin`) follows the layer, both in a
        `keras.Sequential` of that name.

        Raises:
            ValueError: If the layer is not built, or its kernel holds NaN or Inf.
        """
        self.refresh()
        input_shape = self.get_build_config()["input_shape"]
        config = self.vanilla_class.get_config(self)
        for what in ("initializer", "regularizer", "constraint"):
            config.pop(
                f"{self.kernel_prefix}_{what}", None
            )  # they speak of the raw kernel, which the export no longer has
        follows = self.compute_output_shape(input_shape) != tuple(super().compute_output_shape(input_shape))
        if follows:
            config["activation"] = None
        elif isinstance(self.activation, types.FunctionType):  # which may have no name in a configuration
            config["activation"] = self.activation
        layer = self.vanilla_class.from_config(config)
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


def _read_only(name):
    return property(lambda self: getattr(self.parametrization, name), doc=f"`{name}` of the parametrization.")


def _state(name, meaning):
    def read(self):
        self._check_built(name)
        return getattr(self.parametrization, name)

    return property(read, doc=meaning)
