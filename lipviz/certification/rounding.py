"""A bound of the rounding errors of a model in float64, from the sizes of its hidden values.

A hidden value h has ‖h(x)‖ <= ‖h(0)‖ + G‖x‖, with G the constant of all that lies before it. A step that computes n
products or sums per entry has an error of a small multiple of n·u times the sizes of its terms, with u = 2⁻⁵³. Every
later step multiplies that error by its own constant. `graph` follows these errors along the graph as if they were two
more inputs of the model, of sizes 1 and ‖x‖. So the result has an error of at most a + b‖x‖.

This is the classical analysis to first order in u, doubled to cover higher orders. It leaves out underflow and
overflow.

Reference: Higham (2002), Accuracy and stability of numerical algorithms, chapter 3.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.certification.merging import Flow
from lipviz.layers import ConstrainedKernel, PadConv2D
from lipviz.layers.blocks import ResidualBlock
from lipviz.operators.precision import NotInFloat64Error, float64_scope
from lipviz.operators.used_weights import used_kernel
from lipviz.rules import activations
from lipviz.rules.algebra import constrained_class
from lipviz.rules.bound import root_of_squares
from lipviz.rules.registry import find_rule
from lipviz.types import Array, Tensor

_UNIT = 2.0**-53
_FUNCTION = 16  # roundings that a function such as tanh is allowed
# On JAX, Keras computes a few layers (means, batch and layer normalization) in float32. What is known to be computed in
# float64 there is listed below; `rules.activations` says it of activations. TensorFlow interpolates images in float32,
# and on every backend Keras makes float32 of whole numbers that it normalizes or takes a mean of.
_OF_FLOAT32 = 2e-6
_EXACT_ON_JAX = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.InputLayer,
    keras.layers.Dropout,
    keras.layers.Rescaling,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
    lip.GroupSort,
    lip.MaxMin,
    lip.BetaAbs,
    lip.SpatialShift,
    lip.PReLUlip,
)
# Each output entry of these is computed from one input entry.
_OF_ONE_ENTRY = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.PReLU,
    keras.layers.BatchNormalization,
    keras.layers.Rescaling,
    keras.layers.Normalization,
    lip.GroupSort,
    lip.MaxMin,
    lip.BetaAbs,
    lip.SpatialShift,
    lip.Householder,
    lip.BatchCentering,
    lip.BatchLipNorm,
)
# For inputs of whole numbers they compute in float32, and return the result in the dtype of the layer.
_NORMALIZATIONS = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)
_MIXING = (keras.activations.softmax, keras.activations.log_softmax, keras.activations.sparsemax)


def at_zero(operation: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The outputs of a layer or operation for tensors, at inference.

    Raises:
        NotInFloat64Error: If it cannot take a single sample, or the backend cannot compute it in float64.
    """
    parameters = inspect.signature(operation.call).parameters
    if isinstance(operation, keras.layers.Layer) and "training" in parameters:
        kwargs = {**kwargs, "training": False}
    with float64_scope():
        try:
            return operation(*args, **kwargs)
        except (TypeError, ValueError, NotImplementedError):  # their messages say enough
            raise
        except Exception as error:  # its class depends on the backend
            reason = str(error).strip().split("\n")[-1]
            message = f"'{operation.name}' cannot be computed for one sample of zeros: {reason}"
            raise NotInFloat64Error(message) from error


def with_errors(
    gains: Array, flows: list[Flow], results: list[Tensor], errors: Callable[[float, float, bool], float]
) -> Array:
    """Add a step's own errors to the last two entries of its gains.

    Args:
        gains: Gains of the step's outputs, of shape (inputs + 2,).
        flows: The flows that the step takes.
        results: The tensors that it returns where all inputs are 0.
        errors: Function of (size of the inputs, size of the outputs, whether the constants that the step adds count)
            that returns the error of the step.
    """
    taken = [_norm(flow.at_zero) for flow in flows]
    returned = math.hypot(*map(_norm, results))
    slope = math.hypot(*(np.abs(flow.gains[:-2]).sum() for flow in flows))
    own = np.zeros_like(gains)
    own[-2] = errors(math.hypot(*taken), returned, True)
    own[-1] = errors(slope, 0.0, False)
    return gains + own


def of_operation(
    operation: keras.Operation, flows: list[Flow], results: list[Tensor], upper: float
) -> Callable[[float, float, bool], float]:
    """Error of an operation of `keras.ops`, or of a layer of several inputs: a function for `with_errors`."""
    sizes = [max(math.prod(flow.at_zero.shape), 1) for flow in flows]
    entries = max(math.prod(result.shape) for result in results)
    reduces = type(operation).__name__ in ("Sum", "Mean", "Softmax")
    in_float64 = _operates_in_float64(operation) and not any(map(_is_less, results))
    unit = _unit(max(sizes) if reduces else len(flows), in_float64)
    factor = max(upper, 1.0) * math.sqrt(max(entries / min(sizes), 1.0))
    hidden = _hidden(operation, entries)
    return lambda taken, returned, adds: unit * (_product(factor, taken) + returned + (hidden if adds else 0.0))


_EXACT_OPERATIONS = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Negative", "Maximum", "Minimum")


def of_layer(
    layer: keras.layers.Layer, flows: list[Flow], results: list[Tensor], uppers: list[float]
) -> Callable[[float, float, bool], float]:
    """Error of a layer of one input, with its activation: a function for `with_errors`.

    Args:
        layer: Keras layer in float64.
        flows: A list of the one `Flow` that it takes.
        results: The tensors that it returns where all inputs are 0.
        uppers: Upper bounds of the layer and, if it has one of its own, of its activation.
    """
    if isinstance(layer, ResidualBlock):
        return _of_block(layer, results)
    before = math.prod(flows[0].at_zero.shape)
    after = max(math.prod(result.shape) for result in results)
    linear = _has_kernels(layer)
    first = uppers[0]
    if linear:
        terms, factor = _terms(layer, before), _magnitudes(layer, first, min(before, after))
    else:
        mixes = not isinstance(layer, _OF_ONE_ENTRY) or getattr(layer, "activation", None) in _MIXING
        terms, factor = (before if mixes else _FUNCTION), first
    in_float64 = (linear or _is_in_float64(layer)) and not any(map(_is_less, results))
    unit = _unit(terms, in_float64 and not (isinstance(layer, _NORMALIZATIONS) and _is_whole(flows[0].at_zero)))
    activation = getattr(layer, "activation", None) if len(uppers) > 1 else None
    hidden = _hidden(activation or _inner(layer), after)
    offsets = _offsets(layer, first, after) + (hidden if activation is None else 0.0)
    behind = _unit(after if activation in _MIXING else _FUNCTION, _applies_in_float64(activation))

    def errors(taken, returned, adds):
        between = _product(factor, taken) + (offsets if adds else 0.0)
        if len(uppers) == 1:
            return unit * (between + returned)
        own = returned + (hidden if adds else 0.0)
        return (unit + behind) * _product(uppers[1], between) + behind * own

    return errors


def _of_block(layer, results):
    """Error of k·x − 2W̄ σ(W̄ᵀx/k + b), from the sizes of its hidden values."""
    kernel, k = used_kernel(layer), layer.k_coef_lip
    magnitudes = float(root_of_squares(kernel, axis=(-2, -1)).sum())  # a matrix per tap, as in `_magnitudes`
    pixels = max(math.prod(result.shape) for result in results) / kernel.shape[-2]
    # At 0, no activation of a block exceeds 1, and neither do the values that it computes with.
    added = math.sqrt(pixels * kernel.shape[-1])
    if layer.bias is not None:
        added += float(root_of_squares(np.asarray(layer.bias, np.float64))) * math.sqrt(pixels)
    taps = math.prod(kernel.shape[:-2])
    in_float64 = _applies_in_float64(layer.activation) and not any(map(_is_less, results))
    unit = _unit(2 + taps * sum(kernel.shape[-2:]), in_float64)

    def errors(taken, returned, adds):
        hidden = _product(magnitudes / k, taken) + (added if adds else 0.0)
        return unit * (_product(k, taken) + 2 * _product(magnitudes, hidden) + returned)

    return errors


def _hidden(function, entries):
    """Size of the intermediate values of a function that do not vanish with its input and output."""
    function = getattr(function, "activation", function)  # of a layer `Activation`
    name = getattr(function, "__name__", type(function).__name__).lower()
    entry = activations.ELEMENTWISE.get(name)
    if entry is None or not entry.hidden:
        return 0.0
    return abs(getattr(function, "alpha", entry.hidden)) * math.sqrt(entries)  # α of a layer or an operation


def _inner(layer):
    return layer.layer if isinstance(layer, keras.layers.Wrapper) else layer


def _product(factor, size):
    """The product; 0 where either is 0, even if the other is infinite."""
    return factor * size if factor and size else 0.0


def _unit(terms, in_float64):
    """Error of a step relative to the sizes of what it adds up."""
    rounds = 2 * (terms + _FUNCTION) * _UNIT
    return rounds if in_float64 else max(rounds, _OF_FLOAT32)


def _is_in_float64(layer):
    """Whether the backend computes a layer without a kernel in float64."""
    inner = _inner(layer)
    if isinstance(inner, keras.layers.UpSampling2D) and inner.interpolation != "nearest":
        return False
    if isinstance(layer, keras.layers.Activation):
        return _applies_in_float64(layer.activation)
    return keras.backend.backend() != "jax" or isinstance(layer, _EXACT_ON_JAX)


def _is_less(tensor):
    """Whether a tensor holds floating-point numbers of less than 64 bits."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return keras.backend.is_float_dtype(dtype) and dtype != "float64"


def _is_whole(tensor):
    return not keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))


def _operates_in_float64(operation):
    """Whether the backend computes an operation in float64."""
    name = type(operation).__name__
    if name in activations.OPERATIONS:
        return activations.ELEMENTWISE[activations.OPERATIONS[name]].is_in_float64
    return keras.backend.backend() != "jax" or name in _EXACT_OPERATIONS


def _applies_in_float64(function):
    """Whether the backend computes an activation in float64."""
    entry = activations.elementwise(function)
    return keras.backend.backend() != "jax" if entry is None else entry.is_in_float64


def _has_kernels(layer):
    """Whether a layer is a linear map, given by kernels, and a shift."""
    found = find_rule(layer)
    names = [layer.kernel_name] if isinstance(layer, ConstrainedKernel) else ["kernel", "depthwise_kernel"]
    return found is not None and found.linear and any(hasattr(layer, name) for name in names)


def _kernels(layer):
    """The kernels of a linear layer of Keras or lipviz; none where its algebra is not known."""
    names = ("depthwise_kernel", "pointwise_kernel") if hasattr(layer, "depthwise_kernel") else ("kernel",)
    theirs = isinstance(layer, ConstrainedKernel) and constrained_class(layer) is None
    return [] if theirs else [used_kernel(layer, name) for name in names]


def _terms(layer, entries):
    """How many products a linear layer sums up for one entry."""
    kernels = _kernels(layer)
    return 1 + sum(kernel.size // min(kernel.shape[-2:]) for kernel in kernels) if kernels else entries + 1


def _magnitudes(layer, upper, side):
    """Bound of the norm of the matrix of magnitudes of a linear layer, from that of its matrix or from its kernel."""
    crude = upper * math.sqrt(side)
    kernels = _kernels(layer)
    if not kernels or isinstance(layer, PadConv2D):
        return crude
    # One matrix per tap, each applied to pixels that do not overlap.
    return min(crude, math.prod(float(root_of_squares(kernel, axis=(-2, -1)).sum()) for kernel in kernels))


def _offsets(layer, upper, entries):
    """Size of the constants that a layer adds or subtracts, even if they cancel."""
    total = 0.0
    for weight in layer.weights:
        if len(weight.shape) == 1 and "variance" not in weight.name:
            value = np.asarray(weight, np.float64)
            total += float(root_of_squares(value)) * math.sqrt(entries / max(value.size, 1))
    return _product(total, max(upper, 1.0))


def _norm(tensor):
    return float(root_of_squares(np.asarray(tensor, np.float64).reshape(-1)))
