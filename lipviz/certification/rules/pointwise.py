"""Activations, normalizations and other maps whose constant is a number or read from a few weights."""

import math

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.certification.rules.registry import Bound, computed, exactly, layer_bound, rule, unknown
from lipviz.operators.linear import batch_normalization_factors, is_positive
from lipviz.operators.used_weights import as_computed, largest_rounding, used_factor
from lipviz.operators.weights import as_float64, to_numpy

# The largest slope of each function of Keras, entry by entry; rounded up in the last digit where it is no closed form.
_SLOPES = {
    "linear": 1.0,
    "relu": 1.0,
    "relu6": 1.0,
    "leaky_relu": 1.0,
    "elu": 1.0,
    "celu": 1.0,
    "selu": 1.0507009873554805 * 1.6732632423543772,
    "sigmoid": 0.25,
    "hard_sigmoid": 1 / 6,
    "log_sigmoid": 1.0,
    "tanh": 1.0,
    "hard_tanh": 1.0,
    "tanh_shrink": 1.0,
    "softplus": 1.0,
    "softsign": 1.0,
    "soft_shrink": 1.0,
    "squareplus": 1.0,
    "sparse_plus": 1.0,
    "sparse_sigmoid": 0.5,
    "hard_silu": 1.5,
}
# Found to the digits given (lower end, upper end): the extremum of the derivative has no closed form.
_SLOPE_RANGES = {"gelu": (1.1289, 1.1291), "silu": (1.0998, 1.0999), "mish": (1.0884, 1.0886)}


def _functions():
    """From each of Keras's functions to its name; both spellings of silu and of hard_silu are one function."""
    return {
        getattr(keras.activations, name): name
        for name in (*_SLOPES, *_SLOPE_RANGES, "softmax", "log_softmax", "sparsemax")
    }


def activation_bound(activation, shape, norm):
    """Lipschitz constant of what a layer takes as its `activation`.

    Args:
        activation: Function, Keras layer, or None.
        shape: Shape of what it is applied to, without the batch.
        norm: 1, 2 or `math.inf`.

    Returns:
        A `Bound`, infinite for a function that is not one of `keras.activations`.
    """
    if activation is None:
        return exactly(1.0, "linear")
    if isinstance(activation, keras.layers.Layer):
        return layer_bound(activation, shape, norm)
    return named_activation(_functions().get(activation), shape, norm, activation)


def named_activation(name, shape, norm, activation=None):
    """The same for one of Keras's functions by its name, with its default arguments."""
    if name in ("softmax", "log_softmax") and not shape:
        return unknown(f"a {name} along the batch")
    if name in _SLOPES:
        return exactly(_SLOPES[name], "largest slope")
    if name in _SLOPE_RANGES:
        return Bound(*_SLOPE_RANGES[name], "largest slope")
    if name == "softmax":
        return softmax_bound(shape[-1:])
    if name == "sparsemax":  # of three and more places it adds sums of sums: no projection, and not continuous
        return unknown("Keras's sparsemax jumps where its support changes")
    if name == "log_softmax":
        return _log_softmax(shape[-1], norm)
    return unknown(f"the activation {getattr(activation, '__name__', activation)!r} is not known")


def softmax_bound(sizes):
    """Of diag(p) − p pᵀ, whose norms are at most ½, where two probabilities are ½ each; 0 for a single class."""
    if math.prod(n or 2 for n in sizes) == 1:
        return exactly(0.0, "one class")
    return Bound(0.0 if None in sizes else 0.5, 0.5, "softmax")


def _log_softmax(count, norm):
    """Of I − 1 pᵀ, an oblique projection: 1 and p are at the largest angle where p is a vertex."""
    if count is None:
        return unknown("log_softmax needs the number of classes")
    if count == 1:
        return exactly(0.0, "one class")
    return exactly({1: max(1.0, count - 1.0), 2: math.sqrt(count), math.inf: 2.0}[norm], "log-softmax")


def largest_slope(*slopes):
    """Bound of a function whose slopes, entry by entry, are at most these; infinite where one is no finite number."""
    largest = float(np.max(np.abs(np.asarray(slopes, np.float64))))
    return exactly(largest, "largest slope") if math.isfinite(largest) else unknown("its slope is not finite")


# --- layers that multiply by numbers of their own ---


def factor_arrays(layer):
    """What a layer multiplies its input by, and the arrays that both are broadcast with; None for other layers.

    Returns:
        The tuple (float64 array of magnitudes, tuple of shapes), each aligned with the last axes of the input.
    """
    if isinstance(layer, keras.layers.Rescaling):
        scale = largest_rounding(as_float64(layer.scale, f"The scale of '{layer.name}'"), layer.compute_dtype)
        if scale.ndim and keras.config.image_data_format() == "channels_first":  # as Keras does
            scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
        return scale, (np.shape(layer.offset),)
    if isinstance(layer, keras.layers.Normalization):
        variance = as_float64(layer.variance, f"The variance of '{layer.name}'")
        with np.errstate(invalid="ignore"):  # of a negative one: no finite factor
            deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
        return deviation if layer.invert else 1 / deviation, (np.shape(layer.mean),)
    if isinstance(layer, keras.layers.PReLU):
        slopes = np.abs(as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'"))
        if isinstance(layer, lip.PReLUlip):
            k = used_factor(layer)
            return np.maximum(min(1.0, k), np.minimum(k, slopes)), ()
        return np.maximum(1.0, slopes), ()
    return None


def broadcast_shape(layer, shape):
    """Shape of such a layer's output, without the batch: Keras states that of the input, also where it broadcasts.

    Returns:
        A tuple, with None for unknown sizes; None where the layer's numbers do not fit the axes of a sample.
    """
    factors, others = factor_arrays(layer)
    rank = len(shape)
    own = np.broadcast_shapes(factors.shape, *others, (1,) * rank)
    leading, own = own[: len(own) - rank], own[len(own) - rank :]
    if leading not in ((), (1,)) or any(n not in (None, 1, m) and m != 1 for n, m in zip(shape, own, strict=True)):
        return None
    return tuple(n if m == 1 else m for n, m in zip(shape, own, strict=True))


def _factors(layer, shape, norm, method):
    """Bound of a diagonal matrix; where an axis of length 1 is broadcast, of the columns of each entry's copies."""
    if broadcast_shape(layer, shape) is None:
        return unknown(f"its numbers do not fit samples of shape {tuple(shape)}")
    factors, others = factor_arrays(layer)
    rank = len(shape)
    factors = np.broadcast_to(factors, np.broadcast_shapes(factors.shape, *others, (1,) * rank))
    factors = factors.reshape(factors.shape[factors.ndim - rank :])
    if not np.isfinite(factors).all():
        return unknown("its factors are not finite")
    # An axis of unknown size may turn out to be of length 1, and be broadcast.
    copied = tuple(axis for axis, n in enumerate(shape) if n in (1, None) and factors.shape[axis] > 1)
    if not copied:
        return exactly(float(factors.max()), method)
    upper = computed(float(_norms(factors, copied, norm).max()), method)
    return Bound(0.0 if None in shape else upper.lower, upper.upper, method)


def _norms(values, axes, norm):
    """Norms of an array along several axes."""
    if norm == 2:
        return np.sqrt(np.sum(np.square(values), axis=axes))
    return values.max(axis=axes) if norm == math.inf else values.sum(axis=axes)


@rule(keras.layers.Activation)
def _activation(layer, shape, norm, exact):
    return activation_bound(layer.activation, shape, norm)


@rule(keras.layers.ReLU)
def _relu(layer, shape, norm, exact):
    if layer.threshold:
        return unknown("a ReLU with a threshold jumps there")
    return largest_slope(
        0.0 if layer.max_value == 0 else 1.0, largest_rounding(layer.negative_slope, layer.compute_dtype)
    )


@rule(keras.layers.LeakyReLU)
def _leaky_relu(layer, shape, norm, exact):
    return largest_slope(1.0, largest_rounding(layer.negative_slope, layer.compute_dtype))


@rule(keras.layers.ELU)
def _elu(layer, shape, norm, exact):
    return largest_slope(1.0, largest_rounding(layer.alpha, layer.compute_dtype))


@rule(keras.layers.PReLU, lip.PReLUlip)
def _prelu(layer, shape, norm, exact):
    return _factors(layer, shape, norm, "largest slope")


@rule(keras.layers.Softmax)
def _softmax(layer, shape, norm, exact):
    axes = _sample_axes(layer.axis, shape)
    return unknown("a softmax along the batch") if axes is None else softmax_bound([shape[axis] for axis in axes])


def _sample_axes(axes, shape):
    """Axes of a tensor, the batch included, as axes of a sample; None where one is the batch."""
    axes = axes if isinstance(axes, list | tuple) else (axes,)
    places = [int(axis) % (len(shape) + 1) - 1 for axis in axes]
    return None if -1 in places else places


@rule(lip.GroupSort, lip.MaxMin, whole=True)
def _sorting(layer, shape, norm, exact):
    return exactly(used_factor(layer), "permutation")


@rule(lip.Householder, whole=True)
def _householder(layer, shape, norm, exact):
    if norm == 2:
        return exactly(used_factor(layer), "reflection")
    # Both rows and columns of a 2 × 2 reflection are |cosθ| + |sinθ|; the other branch is the identity.
    angles = as_float64(layer.theta, f"The angles of '{layer.name}'")  # which half precision does not round
    sums = np.abs(np.cos(angles)) + np.abs(np.sin(angles))
    return computed(used_factor(layer) * max(1.0, float(sums.max())), "reflection")


# --- normalizations at inference ---

_NOT_POSITIVE = "its running variance plus epsilon is not positive"


@rule(keras.layers.BatchNormalization, whole=True)
def _batch_normalization(layer, shape, norm, exact):
    if not is_positive(to_numpy(layer.moving_variance), layer.epsilon, layer.compute_dtype):
        return unknown(_NOT_POSITIVE)
    return computed(float(np.abs(batch_normalization_factors(layer)).max()), "largest factor of a channel")


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
    bound = _factors(layer, shape, norm, "largest factor of a feature")
    return Bound(bound.lower, bound.upper * (1 + 1e-6), bound.method)  # both are rounded to float32


@rule(keras.layers.Rescaling, whole=True)
def _rescaling(layer, shape, norm, exact):
    return _factors(layer, shape, norm, "factor")


@rule(lip.BatchLipNorm, whole=True)
def _batch_lip_norm(layer, shape, norm, exact):
    if not is_positive(np.max(to_numpy(layer.moving_variance)), layer.epsilon, layer.compute_dtype):
        return unknown(_NOT_POSITIVE)
    return computed(layer.lip_constant, "its running variance")


@rule(lip.BatchCentering, whole=True)
def _batch_centering(layer, shape, norm, exact):
    return exactly(layer.k_coef_lip, "shift")


@rule(lip.LayerCentering, whole=True)
def _layer_centering(layer, shape, norm, exact):
    """I − 1 1ᵀ/n over the n pixels: 0 for one pixel, else a projection of norm 1, and of sums 2(1 − 1/n)."""
    sizes = [n for axis, n in enumerate(shape) if axis != layer.channel_axis % (len(shape) + 1) - 1]
    if None in sizes:
        return Bound(0.0, layer.k_coef_lip * (1 if norm == 2 else 2), "projection")
    count = math.prod(sizes)
    return computed(layer.k_coef_lip * ((count > 1) if norm == 2 else 2 * (1 - 1 / count)), "projection")
