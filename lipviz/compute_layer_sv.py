"""Smallest and largest singular value of each layer, as a map from its input to its output.

Of a layer with a kernel it is the linear part that is measured, with the kernel that inference uses and at the image
size that the layer was built for: bias and activation, also one passed by `activation=`, are not in it. Of a layer that
is not linear it is the range that the singular values of its Jacobian lie in, over all inputs.
"""

import math

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.layers.activations import GroupSort, Householder, MaxMin, PReLUlip
from lipviz.layers.base_layer import ConstrainedKernel, LipschitzLayer
from lipviz.layers.normalization import BatchCentering, BatchLipNorm, LayerCentering
from lipviz.layers.pooling import (
    InvertibleDownSampling,
    InvertibleUpSampling,
    ScaledAveragePooling2D,
    ScaledGlobalAveragePooling2D,
    ScaledGlobalL2NormPooling2D,
    ScaledL2NormPooling2D,
)
from lipviz.layers.residual import LipResidual
from lipviz.layers.unconstrained import PadConv2D
from lipviz.operators import linear as operators
from lipviz.operators.singular_values import extreme_singular_values
from lipviz.operators.used_weights import residual_shares
from lipviz.operators.weights import as_float64

_UNKNOWN = (None, None)
_ISOMETRY = (1.0, 1.0)

# Permutations, selections of different entries, translations, and maps that copy each entry to one place.
_ISOMETRIC = (
    keras.layers.InputLayer,
    keras.layers.Identity,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.Concatenate,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.Dropout,  # and what else only acts in training
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
)
_LINEAR = (
    keras.layers.Dense,
    PadConv2D,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)
_MAX_POOLINGS = (keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D)
# Of lipviz: all singular values are k, or anything up to k.
_ALL_K = (
    GroupSort,
    Householder,
    MaxMin,
    ScaledAveragePooling2D,
    ScaledGlobalAveragePooling2D,
    InvertibleDownSampling,
    InvertibleUpSampling,
    BatchCentering,
)
_UP_TO_K = (ScaledL2NormPooling2D, ScaledGlobalL2NormPooling2D, LayerCentering)
# Derivatives of activations that are passed by name.
_SLOPES = {
    "linear": (1.0, 1.0),
    "relu": (0.0, 1.0),
    "leaky_relu": (0.2, 1.0),
    "elu": (0.0, 1.0),
    "sigmoid": (0.0, 0.25),
    "tanh": (0.0, 1.0),
    "softsign": (0.0, 1.0),
    "softplus": (0.0, 1.0),
    "softmax": (0.0, 0.5),  # attained where two classes share everything
    "exponential": (0.0, math.inf),
}


def compute_layer_sv(layer, supplementary_type2sv={}):  # noqa: B006 - the reference's default, never changed
    """Smallest and largest singular value of a layer, in float64.

    * Dense layers, convolutions (transposed, depthwise, separable; any stride, padding, dilation, groups and data
      format), average poolings and batch normalization (at inference): exact, the extreme ones of the min(inputs,
      outputs) singular values of the layer's matrix. Beyond 2048 inputs and outputs that share weights the method is
      iterative: see `lipviz.extreme_singular_values` for its tolerance.
    * `GroupSort` and its kin, `MaxMin`, scaled averages and resamplings: (k, k), exact at every input. So it is with
      1 for flattening, padding, dropout at inference, and max pooling without overlaps.
    * ReLU and other activations as layers, max pooling with overlaps, and l2-norm pooling: the range over all inputs.
    * `Add`, `Subtract` and `Average` of n inputs: of the map from all of them together, such as √n.
    * Anything else, models and wrappers included: (None, None).

    Args:
        layer: Built Keras layer, of lipviz or not.
        supplementary_type2sv: Dict from a type to a function of a layer that returns its (smallest, largest). It goes
            before all of the above, for subclasses too; the nearest base class counts.

    Returns:
        The tuple (smallest, largest) of floats, or (None, None) where the type is not known.

    Raises:
        TypeError: If it is no Keras layer.
        ValueError: If the layer is not built, the size of its input is not known but matters, a weight is not finite,
            or a function of `supplementary_type2sv` does not return two values.
    """
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(f"compute_layer_sv expects a Keras layer. Received: {type(layer).__name__}")
    for kind in type(layer).__mro__:
        if kind in supplementary_type2sv:
            return _pair(supplementary_type2sv[kind](layer), kind)
    if isinstance(layer, ConstrainedKernel) or operators.is_plain(layer, _LINEAR):
        try:
            return _of_blocks(operators.operator_blocks(layer))
        except operators.NotLinearError:  # a constrained layer of someone else's
            return _UNKNOWN
    if isinstance(layer, LipschitzLayer):
        return _of_lipschitz_layer(layer)
    for kinds, function in _FORMULAS:
        if operators.is_plain(layer, kinds):
            return function(layer)
    return _UNKNOWN


def compute_model_sv(model, supplementary_type2sv={}):  # noqa: B006 - the reference's default, never changed
    """Smallest and largest singular value of every layer of a model, see `compute_layer_sv`.

    Args:
        model: Built Keras model; nested ones are opened, and input layers left out.
        supplementary_type2sv: See `compute_layer_sv`. A type of model given here is not opened.

    Returns:
        A dict from the name of a layer to (smallest, largest), in the model's order. Where two layers of different
        models share a name, all go by "model/layer". A layer that is used several times is there once.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If the model is not built, or as for `compute_layer_sv`.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"compute_model_sv expects a Keras model. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"Model '{model.name}' must be built before it is measured: call it on data, or `build` it.")
    found = {id(layer): (path, layer) for path, layer in reversed(list(_leaves(model, (), supplementary_type2sv)))}
    found = list(reversed(found.values()))
    names = [layer.name for _, layer in found]
    if len(set(names)) < len(names):
        names = ["/".join(path) for path, _ in found]
    if len(set(names)) < len(names):
        raise ValueError(f"The layers of a model need different names. Received: {names}")
    return {name: compute_layer_sv(layer, supplementary_type2sv) for name, (_, layer) in zip(names, found, strict=True)}


def _leaves(model, path, known):
    """Yields the path and the layer of everything that is no model, and no input."""
    for layer in model.layers:
        here = (*path, layer.name)
        if isinstance(layer, keras.Model) and not any(kind in known for kind in type(layer).__mro__):
            yield from _leaves(layer, here, known)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield here, layer


def _pair(values, kind):
    if not isinstance(values, list | tuple) or len(values) != 2:
        raise ValueError(f"The function for {kind.__name__} must return (smallest, largest). Received: {values!r}")
    return tuple(values)


def _of_blocks(blocks):
    extremes = [extreme_singular_values(block) for block in blocks]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def _of_values(values):
    """Extremes of the magnitudes on a diagonal."""
    values = np.abs(values)
    return float(values.min()), float(values.max())


def _of_lipschitz_layer(layer):
    """Of lipviz's layers without a kernel, those of other people left out."""
    k = layer.k_coef_lip
    for kinds, function in (
        ((BatchLipNorm,), lambda: (layer.lip_constant,) * 2),
        (_ALL_K, lambda: (k, k)),
        (_UP_TO_K, lambda: (0.0, k)),
        ((PReLUlip,), lambda: _slopes(layer.limited(_alpha(layer)), min(1.0, k))),
        ((LipResidual,), lambda: _of_shares(layer)),
    ):
        if operators.is_plain(layer, kinds):
            return function()
    return _UNKNOWN


def _alpha(layer):
    _check_built(layer)
    return as_float64(layer.alpha, f"The slopes of '{layer.name}'")


def _of_shares(layer):
    _check_built(layer)
    return (math.hypot(*residual_shares(layer)),) * 2


def _slopes(negative, positive=1.0):
    """Smallest and largest slope of an activation that is linear on either side of 0."""
    low, high = _of_values(negative)
    return min(low, positive), max(high, positive)


# --- layers without a kernel ---


def _isometry(layer):
    return _ISOMETRY


def _batch_normalization(layer):
    _check_built(layer)
    return _of_values(operators.batch_normalization_factors(layer))


def _check_built(layer):
    if not layer.built:
        raise ValueError(f"{type(layer).__name__} '{layer.name}' must be built before it is measured.")


def _rescaling(layer):
    return _of_values(as_float64(layer.scale, f"The scale of '{layer.name}'"))


def _up_sampling(layer):
    """Each entry is copied to every pixel of a window; other interpolations than that are not known."""
    if getattr(layer, "interpolation", "nearest") != "nearest":
        return _UNKNOWN
    copies = math.sqrt(np.prod(layer.size))
    return copies, copies


def _repeat_vector(layer):
    return math.sqrt(layer.n), math.sqrt(layer.n)


def _max_pooling(layer):
    """A selection of entries. Where windows overlap, several may select the same one, as many as share it."""
    _check_built(layer)
    shape = operators.known_input_shape(layer)
    if shape is None:
        sizes = (None,) * len(layer.pool_size)  # as many windows share an entry as at any size
    else:
        sizes = shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
    axes = zip(sizes, layer.pool_size, layer.strides, strict=True)
    shared = math.prod(nm.patch_coverage(n, k, s, layer.padding) for n, k, s in axes)
    return _ISOMETRY if shared == 1 else (0.0, math.sqrt(shared))


def _activation(layer):
    return _SLOPES.get(getattr(layer.activation, "__name__", None), _UNKNOWN)


def _relu(layer):
    """Without a threshold, where it jumps."""
    if layer.threshold:
        return _UNKNOWN
    low, high = _slopes(layer.negative_slope)
    return (low if layer.max_value is None else 0.0), high


def _leaky_relu(layer):
    return _slopes(layer.negative_slope)


def _elu(layer):
    return 0.0, max(1.0, float(layer.alpha))


def _prelu(layer):
    return _slopes(_alpha(layer))


def _inputs(layer):
    """Number of inputs of a layer that merges several."""
    _check_built(layer)
    return len(operators.known_input_shape(layer) or ())


def _sum(layer):
    return math.sqrt(_inputs(layer)), math.sqrt(_inputs(layer))


def _mean(layer):
    return 1 / math.sqrt(_inputs(layer)), 1 / math.sqrt(_inputs(layer))


_FORMULAS = (
    (_ISOMETRIC, _isometry),
    ((keras.layers.BatchNormalization,), _batch_normalization),
    ((keras.layers.Rescaling,), _rescaling),
    ((keras.layers.UpSampling1D, keras.layers.UpSampling2D, keras.layers.UpSampling3D), _up_sampling),
    ((keras.layers.RepeatVector,), _repeat_vector),
    (_MAX_POOLINGS, _max_pooling),
    ((keras.layers.Activation,), _activation),
    ((keras.layers.ReLU,), _relu),
    ((keras.layers.LeakyReLU,), _leaky_relu),
    ((keras.layers.ELU,), _elu),
    ((keras.layers.PReLU,), _prelu),
    ((keras.layers.Softmax,), lambda layer: _SLOPES["softmax"]),
    ((keras.layers.Add, keras.layers.Subtract), _sum),
    ((keras.layers.Average,), _mean),
)
