"""Rules of activations, normalizations and other layers whose constant is a number, or depends on a few weights."""

import dataclasses
import math
from typing import NamedTuple

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.rules.bound import Bound, computed, exactly, root_of_squares, unknown
from lipviz.rules.functions import largest_slope, softmax_bound
from lipviz.rules.registry import activation_bound, rule
from lipviz.rules.used import (
    as_computed,
    as_float64,
    batch_normalization_factors,
    is_positive,
    largest_rounding,
    rounded,
    roundings,
    to_numpy,
    used_factor,
    with_margin,
)
from lipviz.types import Array, Shape

# --- layers that multiply by numbers of their own ---


class Factors(NamedTuple):
    """Magnitudes of the factors that a layer multiplies its input by. Arrays are aligned with the last axes of that.

    Attributes:
        largest: Upper bounds of the factors, whichever way these are rounded, float64.
        sides: The factors as the layer uses them: one array for all entries, or one for positive and one for negative
            entries.
        shapes: Shapes of further arrays that the input is broadcast with.
    """

    largest: Array
    sides: tuple[Array, ...]
    shapes: tuple[tuple[int, ...], ...] = ()


def factors_of(layer: keras.layers.Layer) -> Factors | None:
    """The `Factors` of a layer; None for a layer that has none."""
    return next((read(layer) for cls, read in _FACTORS.items() if isinstance(layer, cls)), None)


def _of_rescaling(layer):
    scale = _scale(layer)
    used = np.abs(rounded(scale, layer.compute_dtype))
    return Factors(largest_rounding(scale, layer.compute_dtype), (used,), (np.shape(layer.offset),))


def _scale(layer):
    scale = as_float64(layer.scale, f"The scale of '{layer.name}'")
    if scale.ndim and keras.config.image_data_format() == "channels_first":  # as Keras does
        scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
    return scale


def _of_normalization(layer):
    variance = as_float64(layer.variance, f"The variance of '{layer.name}'")
    with np.errstate(invalid="ignore"):  # a negative variance has no finite factor
        deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    factors = deviation if layer.invert else 1 / deviation
    return Factors(factors, (factors,), (np.shape(layer.mean),))


class Scaling(NamedTuple):
    """What a layer multiplies its input by, and what it adds. Arrays are aligned with the last axes of the input.

    Attributes:
        factors: The factors, float64. None is smaller in magnitude than the one that is used.
        offset: The numbers that are added, float64.
        off: How far the numbers that are used are from these at most, relative to them.
    """

    factors: Array
    offset: Array
    off: float


def scaling_of(layer: keras.layers.Rescaling | keras.layers.Normalization) -> Scaling:
    """The `Scaling` of a layer that scales and shifts its input."""
    if isinstance(layer, keras.layers.Rescaling):
        factors, off = with_margin(roundings(_scale(layer), layer.compute_dtype))
        offset, too = with_margin(roundings(as_float64(layer.offset, "The offset"), layer.compute_dtype))
        return Scaling(factors, offset, max(off, too))
    factors = _of_normalization(layer).largest
    mean = as_float64(layer.mean, f"The mean of '{layer.name}'")
    return Scaling(factors * (1 + _ROUNDED), mean if layer.invert else -mean * factors, 2 * _ROUNDED)


_ROUNDED = 1e-6  # more than float32 rounds the numbers of a normalization by


def _of_prelu(layer):
    negative = np.abs(as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'"))
    positive = np.ones_like(negative)
    if isinstance(layer, lip.PReLUlip):
        k = used_factor(layer)
        positive, negative = min(1.0, k) * positive, np.minimum(k, negative)
    return Factors(np.maximum(positive, negative), (positive, negative))


_FACTORS = {
    keras.layers.Rescaling: _of_rescaling,
    keras.layers.Normalization: _of_normalization,
    keras.layers.PReLU: _of_prelu,
}


def broadcast_shape(layer: keras.layers.Layer, shape: Shape) -> Shape | None:
    """Shape of the output of a layer with `Factors`, without the batch.

    Keras states the shape of the input, even where the layer broadcasts it.

    Returns:
        A tuple, with None for unknown sizes; None where the layer has no factors, or these do not fit a sample or each
        other.
    """
    factors = factors_of(layer)
    if factors is None:
        return None
    rank = len(shape)
    try:
        own = np.broadcast_shapes(factors.largest.shape, *factors.shapes, (1,) * rank)
    except ValueError:  # a scale and an offset of different lengths
        return None
    leading, own = own[: len(own) - rank], own[len(own) - rank :]
    if leading not in ((), (1,)) or any(n not in (None, 1, m) and m != 1 for n, m in zip(shape, own, strict=True)):
        return None
    return tuple(n if m == 1 else m for n, m in zip(shape, own, strict=True))


def _diagonal(layer, shape, norm, method):
    """Bound of a layer that multiplies by its `Factors`.

    Its matrix is diagonal. Where an axis of length 1 is broadcast, it has a column for each entry, with the factors of
    all copies of the entry.
    """
    factors = factors_of(layer)
    if factors is None or broadcast_shape(layer, shape) is None:
        return unknown(f"its numbers do not fit samples of shape {tuple(shape)}")
    largest, *sides = (_spread(array, factors, len(shape)) for array in (factors.largest, *factors.sides))
    if not np.isfinite(largest).all():
        return unknown("its factors are not finite")
    singular_values = _extremes([_norms(side, _copied(side, shape, (1,)), 2) for side in sides])
    # An axis of unknown size may have length 1, and is broadcast then.
    copied = _copied(largest, shape, (1, None))
    if not copied:
        return exactly(float(largest.max()), method, singular_values)
    upper = computed(float(_norms(largest, copied, norm).max()), method)
    return Bound(0.0 if None in shape else upper.lower, upper.upper, method, singular_values)


def _spread(array, factors, rank):
    """An array of `Factors` over all axes of a sample."""
    array = np.broadcast_to(array, np.broadcast_shapes(factors.largest.shape, *factors.shapes, (1,) * rank))
    return array.reshape(array.shape[array.ndim - rank :])


def _copied(array, shape, sizes):
    """Axes along which entries are copied: the sample has one of the `sizes` there, and the array is longer."""
    return tuple(axis for axis, n in enumerate(shape) if n in sizes and array.shape[axis] > 1)


def _extremes(arrays):
    """Smallest and largest entry of several arrays."""
    return min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)


def _norms(values, axes, norm):
    """Norms of an array of magnitudes along several axes."""
    if not axes:
        return values
    if norm == 2:
        return root_of_squares(values, axis=axes)
    return values.max(axis=axes) if norm == math.inf else values.sum(axis=axes)


@rule(keras.layers.Activation, fixed=True)
def _activation(layer, shape, norm, exact):
    bound = activation_bound(layer.activation, shape, norm)
    if bound.singular_values is None:
        return bound
    flattest, steepest = rounded(bound.singular_values, layer.compute_dtype)
    return dataclasses.replace(bound, singular_values=(float(flattest), float(steepest)))


@rule(keras.layers.ReLU, fixed=True)
def _relu(layer, shape, norm, exact):
    if layer.threshold:
        return unknown("a ReLU with a threshold is not continuous there")
    if layer.max_value is not None and math.isnan(layer.max_value):
        return unknown("its max_value is NaN")
    steepest = 0.0 if layer.max_value == 0 else 1.0
    flat = () if layer.max_value is None else (0.0,)
    return _sloped(layer, layer.negative_slope, steepest, *flat)


def _sloped(layer, argument, *slopes):
    """Bound of an activation with these slopes and one more, an argument of the layer."""
    bound = largest_slope(*slopes, float(largest_rounding(argument, layer.compute_dtype)))
    used = np.abs([*slopes, float(rounded(argument, layer.compute_dtype))])
    return dataclasses.replace(bound, singular_values=_extremes([used]))


@rule(keras.layers.LeakyReLU, fixed=True)
def _leaky_relu(layer, shape, norm, exact):
    return _sloped(layer, layer.negative_slope, 1.0)


@rule(keras.layers.ELU, fixed=True)
def _elu(layer, shape, norm, exact):
    return _sloped(layer, layer.alpha, 1.0, 0.0)


@rule(keras.layers.PReLU, lip.PReLUlip)
def _prelu(layer, shape, norm, exact):
    return _diagonal(layer, shape, norm, "largest slope")


@rule(keras.layers.Softmax, fixed=True)
def _softmax(layer, shape, norm, exact):
    axes = _sample_axes(layer.axis, shape)
    return unknown("a softmax along the batch") if axes is None else softmax_bound([shape[axis] for axis in axes])


def _sample_axes(axes, shape):
    """Axes of a tensor, the batch included, as axes of a sample; None where one is the batch."""
    axes = axes if isinstance(axes, list | tuple) else (axes,)
    places = [int(axis) % (len(shape) + 1) - 1 for axis in axes]
    return None if -1 in places else places


@rule(lip.GroupSort, lip.MaxMin, whole=True, fixed=True)
def _sorting(layer, shape, norm, exact):
    k = used_factor(layer)
    return exactly(k, "permutation", (k, k))


@rule(lip.BetaAbs, whole=True, fixed=True)
def _beta_abs(layer, shape, norm, exact):
    k = used_factor(layer)
    return exactly(k, "signs", (k, k))


@rule(lip.Householder, whole=True)
def _householder(layer, shape, norm, exact):
    k = used_factor(layer)
    if norm == 2:
        return exactly(k, "reflection", (k, k))
    # Both rows and columns of a 2 × 2 reflection are |cosθ| + |sinθ|; the other branch is the identity.
    angles = as_float64(layer.theta, f"The angles of '{layer.name}'")  # which half precision does not round
    sums = np.abs(np.cos(angles)) + np.abs(np.sin(angles))
    return computed(k * max(1.0, float(sums.max())), "reflection", (k, k))


# --- normalizations at inference ---

_NOT_POSITIVE = "its running variance plus epsilon is not positive"


@rule(keras.layers.BatchNormalization, whole=True)
def _batch_normalization(layer, shape, norm, exact):
    if not is_positive(to_numpy(layer.moving_variance), layer.epsilon, layer.compute_dtype):
        return unknown(_NOT_POSITIVE)
    factors = np.abs(batch_normalization_factors(layer))
    return computed(float(factors.max()), "largest factor of a channel", _extremes([factors]))


@rule(keras.layers.LayerNormalization)
def _layer_normalization(layer, shape, norm, exact):
    """Centering, then z → z/√(‖z‖²/n + ε), whose Jacobian is symmetric with eigenvalues in [0, 1/√ε]."""
    if getattr(layer, "rms_scaling", False):
        return unknown("with rms_scaling=True the input is not centered, and may be large where its variance is 0")
    if _sample_axes(layer.axis, shape) is None:
        return unknown("it normalizes along the batch")
    if norm != 2:
        return unknown("layer normalization is bounded in l2 only")
    if not is_positive(0.0, layer.epsilon, layer.compute_dtype):
        return unknown("its epsilon is no positive number, so that nothing bounds it at inputs without variance")
    gamma = 1.0
    if layer.scale:  # Keras computes in float32 at least, whatever the layer's dtype is
        gamma = np.abs(as_float64(layer.gamma, f"The scale of '{layer.name}'")).max()
    return Bound(0.0, float(gamma) / math.sqrt(layer.epsilon) * (1 + 1e-12), "1/√ε at inputs without variance")


@rule(keras.layers.Normalization, whole=True)
def _normalization(layer, shape, norm, exact):
    bound = _scaling(layer, layer.mean, shape, norm, "largest factor of a feature")
    return dataclasses.replace(bound, upper=bound.upper * (1 + _ROUNDED))


@rule(keras.layers.Rescaling, whole=True, fixed=True)
def _rescaling(layer, shape, norm, exact):
    return _scaling(layer, layer.offset, shape, norm, "factor")


def _scaling(layer, added, shape, norm, method):
    if not np.isfinite(roundings(as_float64(added, f"What '{layer.name}' adds"), layer.compute_dtype)).all():
        return unknown(f"what it adds is too large for {layer.compute_dtype}")
    return _diagonal(layer, shape, norm, method)


@rule(lip.BatchLipNorm, whole=True)
def _batch_lip_norm(layer, shape, norm, exact):
    if not is_positive(np.max(to_numpy(layer.moving_variance)), layer.epsilon, layer.compute_dtype):
        return unknown(_NOT_POSITIVE)
    return computed(layer.lip_constant, "its running variance", (layer.lip_constant,) * 2)


@rule(lip.BatchCentering, whole=True, fixed=True)
def _batch_centering(layer, shape, norm, exact):
    return exactly(layer.k_coef_lip, "shift", (layer.k_coef_lip,) * 2)


@rule(lip.LayerCentering, whole=True, fixed=True)
def _layer_centering(layer, shape, norm, exact):
    """Its matrix is I − 1 1ᵀ/n over the n pixels: a projection of norm 1, and 0 for a single pixel.

    The magnitudes in a row or a column add up to 2(1 − 1/n).
    """
    sizes = [n for axis, n in enumerate(shape) if axis != layer.channel_axis % (len(shape) + 1) - 1]
    k = layer.k_coef_lip
    if None in sizes:
        return Bound(0.0, k * (1 if norm == 2 else 2), "projection", (0.0, k))
    count = math.prod(sizes)
    largest = k * (count > 1)
    return computed(largest if norm == 2 else k * 2 * (1 - 1 / count), "projection", (0.0, largest))
