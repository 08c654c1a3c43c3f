"""Spectra of the linear maps that layers are, stage by stage; and that of a whole network, of its Jacobian.

`singular_values` decomposes kernels as matrices. The singular values of a convolution as a map from images to images
are others: they depend on the size of the image, its padding and the strides.
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

    def __len__(self):
        return len(self.values)

    @property
    def largest(self):
        """Largest singular value of each sample, of shape (n,): how much the network stretches there at most."""
        return self.values[:, 0]

    @property
    def smallest(self):
        """Smallest singular value of each sample, of shape (n,)."""
        return self.values[:, -1]

    def quantile(self, q):
        """Quantiles over the samples, rank by rank.

        Args:
            q: Number in [0, 1], or an array of them.

        Returns:
            A float64 array of the shape of `q`, then (min(outputs, inputs),).
        """
        return np.quantile(self.values, q, axis=0)


def jacobian_singular_values(model, x):
    """All singular values of a network's Jacobian at each sample: what the network as a whole keeps of a gradient.

    The Jacobian is taken by automatic differentiation of a `float64_copy` at inference, one gradient per output. At a
    kink it is that of the branch that the backend takes.

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


def operator_spectra(target, input_shape=None, largest_image=None):
    """Decompose each layer's linear map, of an input as a whole: before normalization, before Björck and after.

    Convolutions are decomposed as operators on images, with their padding and strides. "normalized" is what the layer
    would use if it left out Björck: the raw kernel over its first bound, times k and, of a convolution, times the
    factor that its geometry asks for. What inference uses is measured as it is stored.

    Args:
        target: Built Keras layer or model, of lipviz or plain: dense layers, and convolutions (transposed, depthwise
            and separable ones too). Layers without a kernel are left out.
        input_shape: Shape of an input of `target` without the batch, where that was built for unknown sizes; by default
            layers have the sizes that they were built for.
        largest_image: Where images are longer, convolutions are decomposed on images of this length only, along each
            axis: their spectra are hardly others, and the largest singular value is smaller at the most, if at all.

    Returns:
        A `LayerSpectrum` with the view "operator"; for a model, or a layer that wraps several with a kernel, a
        `NetworkSpectrum`.

    Raises:
        TypeError: If it is no Keras layer, or a layer with a kernel is not known to be linear.
        ValueError: If it is not built, has no kernel, or one with NaN or Inf; if a size is not known; or if an operator
            has more than 2048 rows and columns, and what helps.
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
    """`layers_with_kernel`, and separable convolutions, which have two."""
    separable = [layer for layer in [target, *inner_layers(target)] if isinstance(layer, SEPARABLE)]
    if not separable or not target.built:
        return layers_with_kernel(target)
    layers = [layer for layer in [target, *inner_layers(target)] if layer.built]
    return {layer.path: layer for layer in layers if layer in separable or raw_kernel(layer) is not None}


def _shapes(target, shape, layers):
    """Shapes of the inputs of some layers, by their ids, where the target is given one; a layer's first use counts."""
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
    if isinstance(layer, ConstrainedKernel):
        shape = input_shape(layer) if shape is None else shape
        operator = linear_operator(layer, shape)
        kernel = as_float64(layer.raw_kernel, f"The kernel of '{name}'")
        raw = conv_singular_values(_with_kernel(layer, operator, shape, kernel))
        factor = _normalization(layer, kernel)
        stages["normalized"] = None if factor is None else _frozen(factor * raw)
        stages["constrained"] = _frozen(conv_singular_values(operator))
    else:
        operator = linear_operator(layer, shape)
        raw = conv_singular_values(layer if shape is None else operator)
    k = layer.k_coef_lip if isinstance(layer, ConstrainedKernel) else 1.0
    return LayerSpectrum(name=name, shape=operator.shape, raw=_frozen(raw), k=k, view="operator", **stages)


def _with_kernel(layer, operator, shape, kernel):
    """The operator of a layer, or its transpose, with another kernel."""
    try:
        base = untransposed(operator)
    except TypeError:  # the algebra is someone else's
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
