"""Singular values of the linear maps of layers, at each stage of the constraint, and of a network's Jacobian.

`singular_values` decomposes kernels as matrices. The singular values of a convolution as a map from images to images
are different: they depend on the size of the image, its padding and the strides.
"""

import dataclasses
import types

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.certification.graph import Trace, input_flows
from lipviz.keras_internals import inner_layers
from lipviz.layers import ConstrainedKernel
from lipviz.measure.gradients import GradientMeter
from lipviz.measure.spectra import LayerSpectrum, NetworkSpectrum, normalized_matrix
from lipviz.operators.convolution import untransposed
from lipviz.operators.convolution_spectrum import conv_singular_values
from lipviz.operators.linear import (
    CONVOLUTIONS,
    DEPTHWISE,
    SEPARABLE,
    TRANSPOSED,
    input_shape,
    is_channels_first,
    linear_operator,
    probed,
)
from lipviz.operators.weights import layers_with_kernel, raw_kernel
from lipviz.rules.used import as_float64, to_numpy
from lipviz.types import Array, ArrayLike, Shape

_WINDOWED = CONVOLUTIONS + TRANSPOSED + DEPTHWISE + SEPARABLE


@dataclasses.dataclass(frozen=True, eq=False)
class JacobianSpectra:
    """Singular values of a network's Jacobian at each of n samples.

    Attributes:
        name: Name of the model.
        shape: (outputs, inputs) of the Jacobian.
        values: Descending along the last axis, of shape (n, min(outputs, inputs)), float64.
    """

    name: str
    shape: tuple[int, int]
    values: np.ndarray = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def largest(self) -> Array:
        """Largest singular value of each sample, of shape (n,): how much the network stretches there at most."""
        return self.values[:, 0]

    @property
    def smallest(self) -> Array:
        """Smallest singular value of each sample, of shape (n,)."""
        return self.values[:, -1]

    def quantile(self, q: ArrayLike) -> Array:
        """Quantiles over the samples, rank by rank.

        Args:
            q: Number in [0, 1], or an array of them.

        Returns:
            A float64 array of the shape of `q`, then (min(outputs, inputs),).
        """
        return np.quantile(self.values, np.asarray(q, float), axis=0)


def jacobian_singular_values(model: keras.Model, x: ArrayLike) -> JacobianSpectra:
    """All singular values of a network's Jacobian at each sample: how much of a gradient the whole network keeps.

    The Jacobian is taken by automatic differentiation of a `float64_copy` at inference, one gradient per output. At a
    kink it is the Jacobian of the branch that the backend takes.

    Args:
        model: Built Keras model with one input and one output, of at most 4096 entries.
        x: Samples of shape (n, ...), in the model's units.

    Returns:
        A `JacobianSpectra`, exact to about 1e-15·σ1.

    Raises:
        TypeError: If `model` is no Keras model, or `x` does not hold real numbers.
        ValueError: If the model is not built, has several inputs or outputs or weights that are not finite, or if `x`
            is empty, not finite or of another shape than the model's input.
    """
    meter = GradientMeter(model, x, compiled=False)
    parts = []
    for jacobians in meter.jacobians():
        parts.append(np.linalg.svd(jacobians, compute_uv=False))
    return JacobianSpectra(model.name, jacobians.shape[1:], np.concatenate(parts))


def operator_spectra(
    target: keras.Layer, input_shape: Shape | None = None, largest_image: int | None = None
) -> LayerSpectrum | NetworkSpectrum:
    """Decompose the linear map of each layer on a whole input: before normalization, before Björck and after.

    Convolutions are decomposed as operators on images, with their padding and strides. "normalized" is the kernel that
    the layer would use without Björck: the raw kernel divided by its first bound, times k and, for a convolution, times
    the factor for its geometry. The kernel that inference uses is measured as it is stored.

    Args:
        target: Built Keras layer or model, of lipviz or plain: dense layers, and convolutions (transposed, depthwise
            and separable ones too). Layers without a kernel are left out.
        input_shape: Shape of an input of `target` without the batch, needed where that was built for unknown sizes; by
            default layers have the sizes that they were built for.
        largest_image: Largest length of an image along each axis. Convolutions of larger images are decomposed on
            images of this length: their spectra hardly differ, and the largest singular value is not larger.

    Returns:
        A `LayerSpectrum` with the view "operator"; for a model, or a layer that wraps several with a kernel, a
        `NetworkSpectrum`.

    Raises:
        TypeError: If it is no Keras layer, or a layer with a kernel is not known to be linear.
        ValueError: If it is not built, has no kernel, or one with NaN or Inf; if a size is not known; or if an operator
            has more than 2048 rows and columns; the message says what helps.
    """
    if not isinstance(target, keras.layers.Layer):
        raise TypeError(f"operator_spectra expects a Keras layer or model. Received: {type(target).__name__}")
    if largest_image is not None and nm.check_count("largest_image", largest_image) < 1:
        raise ValueError(f"`largest_image` must be at least 1. Received: {largest_image!r}")
    layers = _linear_layers(target)
    shapes = _shapes(target, input_shape, {id(layer) for layer in layers.values()})
    spectra = tuple(
        _of_layer(name, layer, _cropped(layer, shapes.get(id(layer)), largest_image)) for name, layer in layers.items()
    )
    if len(spectra) == 1 and not isinstance(target, keras.Model):
        return spectra[0]
    return NetworkSpectrum(target.name, spectra)


def _linear_layers(target):
    """`layers_with_kernel`, and separable convolutions, which have two kernels."""
    separable = [layer for layer in [target, *inner_layers(target)] if isinstance(layer, SEPARABLE)]
    if not separable or not target.built:
        return layers_with_kernel(target)
    layers = [layer for layer in [target, *inner_layers(target)] if layer.built]
    return {layer.path: layer for layer in layers if layer in separable or raw_kernel(layer) is not None}


def _shapes(target, shape, layers):
    """Input shapes of some layers, by their ids, for an input shape of the target; the first use of a layer counts."""
    if shape is None:
        return {}
    trace = Trace(2, only_graph=True)
    trace.follow(target, input_flows(target, shape))
    found = {layer: tuple(uses[0][0][1:]) for layer, uses in trace.taken.items() if layer in layers}
    if any(None in shape for shape in found.values()):
        raise ValueError(f"`input_shape` must hold every size. Received: input_shape={shape!r}")
    return found


def _cropped(layer, shape, largest):
    """The shape to measure at; None for the layer's own."""
    if largest is None or not isinstance(layer, _WINDOWED):
        return shape
    shape = input_shape(layer) if shape is None else shape
    channel = 0 if is_channels_first(layer) else len(shape) - 1
    cropped = tuple(size if axis == channel else min(size, largest) for axis, size in enumerate(shape))
    return None if cropped == shape else cropped


def _of_layer(name, layer, shape):
    try:
        return _decomposed(name, layer, shape)
    except ValueError as error:
        raise ValueError(f"The operator of '{name}' cannot be decomposed: {error}{_remedy(layer)}") from error


def _remedy(layer):
    if not isinstance(layer, _WINDOWED):
        return ""
    return " In `operator_spectra` you can choose a smaller `largest_image`; `singular_values` decomposes the kernel."


def _decomposed(name, layer, shape):
    stages = {"normalized": None, "constrained": None}
    is_constrained = isinstance(layer, ConstrainedKernel)
    if is_constrained:
        shape = input_shape(layer) if shape is None else shape
        operator = linear_operator(layer, shape)
        kernel = as_float64(layer.raw_kernel, f"The kernel of '{name}'")
        raw = _raw_values(layer, operator, shape, kernel)
        factor = _normalization(layer, kernel)
        stages["normalized"] = None if factor is None else _frozen(factor * raw)
        stages["constrained"] = _frozen(conv_singular_values(operator))
    else:
        operator = linear_operator(layer, shape)
        raw = conv_singular_values(layer if shape is None else operator)
    k = layer.k_coef_lip if is_constrained else 1.0
    return LayerSpectrum(name=name, shape=operator.shape, raw=_frozen(raw), k=k, view="operator", **stages)


def _raw_values(layer, operator, shape, kernel):
    """Those of the operator with the raw kernel; of the raw kernel as a matrix where it is no kernel of the layer."""
    if layer.parametrization.wbar_shape is not None:
        return np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)
    return conv_singular_values(_with_kernel(layer, operator, shape, kernel))


def _with_kernel(layer, operator, shape, kernel):
    """The operator of a layer, or its transpose, with another kernel."""
    try:
        base = untransposed(operator)
    except TypeError:  # the linear map is defined outside lipviz
        other = types.SimpleNamespace(name=layer.name, linear=layer.linear, kernel=kernel, compute_dtype="float64")
        return probed(other, shape)
    return base.with_kernel(kernel.reshape(base.kernel.shape))


def _normalization(layer, kernel):
    """What the raw kernel is multiplied by before Björck; None where the layer has no such step."""
    normalized = normalized_matrix(layer)
    if normalized is None:
        return None
    p = layer.parametrization
    matrix = kernel.reshape(-1, kernel.shape[-1])
    place = np.unravel_index(np.abs(matrix).argmax(), matrix.shape)
    if matrix[place] == 0:
        return 1.0
    if p.operator_norm is not None:
        normalized = p.operator_norm.unit(keras.ops.reshape(normalized, kernel.shape))
    normalized = as_float64(normalized, f"The normalized kernel of '{layer.name}'").reshape(matrix.shape)
    return p.k_coef_lip * p.coef_lip * normalized[place] / matrix[place]


def _frozen(values):
    values = to_numpy(values)
    values.flags.writeable = False
    return values
