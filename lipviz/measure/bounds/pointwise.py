"""Activations, normalizations and other maps whose constant is a number or read from a few weights."""

import math

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.measure.bounds.registry import Bound, computed, exactly, layer_bound, rule, unknown
from lipviz.measure.operators import as_computed, batch_normalization_factors

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
    if name in _SLOPES:
        return exactly(_SLOPES[name], "largest slope")
    if name in _SLOPE_RANGES:
        return Bound(*_SLOPE_RANGES[name], "largest slope")
    if name == "softmax":
        return softmax_bound(shape[-1:])
    if name == "sparsemax" and norm == 2:
        return exactly(1.0, "projection")
    if name == "log_softmax":
        return _log_softmax(shape[-1], norm)
    return unknown(f"the activation {getattr(activation, '__name__', activation)!r} is not known")


def softmax_bound(sizes):
    """Of diag(p) − p pᵀ, whose norms are at most ½, where two probabilities are ½ each; 0 for a single class."""
    if math.prod(n or 2 for n in sizes) == 1:
        return exactly(0.0, "one class")
    return exactly(0.5, "softmax")


def _log_softmax(count, norm):
    """Of I − 1 pᵀ, an oblique projection: 1 and p are at the largest angle where p is a vertex."""
    if count is None:
        return unknown("log_softmax needs the number of classes")
    if count == 1:
        return exactly(0.0, "one class")
    return exactly({1: max(1.0, count - 1.0), 2: math.sqrt(count), math.inf: 2.0}[norm], "log-softmax")


@rule(keras.layers.Activation)
def _activation(layer, shape, norm, exact):
    return activation_bound(layer.activation, shape, norm)


@rule(keras.layers.ReLU)
def _relu(layer, shape, norm, exact):
    if layer.threshold:
        return unknown("a ReLU with a threshold jumps there")
    slope = abs(float(layer.negative_slope))
    rises = 0.0 if layer.max_value == 0 else 1.0
    return exactly(max(rises, slope), "largest slope")


@rule(keras.layers.LeakyReLU)
def _leaky_relu(layer, shape, norm, exact):
    return exactly(max(1.0, abs(float(layer.negative_slope))), "largest slope")


@rule(keras.layers.ELU)
def _elu(layer, shape, norm, exact):
    return exactly(max(1.0, abs(float(layer.alpha))), "largest slope")


@rule(keras.layers.PReLU)
def _prelu(layer, shape, norm, exact):
    slopes = np.abs(as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'"))
    return exactly(max(1.0, float(slopes.max(initial=0.0))), "largest slope")


@rule(lip.PReLUlip)
def _prelu_lip(layer, shape, norm, exact):
    k = layer.k_coef_lip
    slopes = np.abs(as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'"))
    return exactly(max(min(1.0, k), min(k, float(slopes.max(initial=0.0)))), "largest slope")


@rule(keras.layers.Softmax)
def _softmax(layer, shape, norm, exact):
    axes = layer.axis if isinstance(layer.axis, list | tuple) else (layer.axis,)
    axes = [axis - 1 if axis > 0 else axis for axis in axes]
    if 0 in (layer.axis if isinstance(layer.axis, list | tuple) else (layer.axis,)):
        return unknown("a softmax along the batch")
    return softmax_bound([shape[axis] for axis in axes])


@rule(lip.GroupSort, lip.MaxMin)
def _sorting(layer, shape, norm, exact):
    return exactly(layer.k_coef_lip, "permutation")


@rule(lip.Householder)
def _householder(layer, shape, norm, exact):
    if norm == 2:
        return exactly(layer.k_coef_lip, "reflection")
    # Both rows and columns of a 2 × 2 reflection are |cosθ| + |sinθ|; the other branch is the identity.
    angles = as_computed(layer, layer.theta, f"The angles of '{layer.name}'")
    sums = np.abs(np.cos(angles)) + np.abs(np.sin(angles))
    return computed(layer.k_coef_lip * max(1.0, float(sums.max())), "reflection")


# --- normalizations at inference ---


@rule(keras.layers.BatchNormalization)
def _batch_normalization(layer, shape, norm, exact):
    return computed(float(np.abs(batch_normalization_factors(layer)).max()), "largest factor of a channel")


@rule(keras.layers.LayerNormalization)
def _layer_normalization(layer, shape, norm, exact):
    """Centering, then z → z/√(‖z‖²/n + ε), whose Jacobian is symmetric with eigenvalues in [0, 1/√ε]."""
    if norm != 2:
        return unknown("layer normalization is bounded in l2 only")
    gamma = 1.0
    if layer.scale or getattr(layer, "rms_scaling", False):
        gamma = np.abs(as_computed(layer, layer.gamma, f"The scale of '{layer.name}'")).max()
    return Bound(0.0, float(gamma) / math.sqrt(layer.epsilon) * (1 + 1e-12), "1/√ε at inputs without variance")


@rule(keras.layers.Normalization)
def _normalization(layer, shape, norm, exact):
    variance = np.asarray(layer.variance, np.float64)
    if not np.isfinite(variance).all():
        raise ValueError(f"The variance of '{layer.name}' holds NaN or Inf.")
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    factor = deviation if layer.invert else 1 / deviation
    return computed(float(factor.max()) * (1 + 1e-6), "largest factor of a feature")  # both are rounded to float32


@rule(keras.layers.Rescaling)
def _rescaling(layer, shape, norm, exact):
    scale = np.abs(np.asarray(layer.scale, np.float64)).max()
    if not math.isfinite(scale):
        raise ValueError(f"The scale of '{layer.name}' holds NaN or Inf.")
    return exactly(float(scale), "factor")


@rule(lip.BatchLipNorm)
def _batch_lip_norm(layer, shape, norm, exact):
    return computed(layer.lip_constant, "its running variance")


@rule(lip.BatchCentering)
def _batch_centering(layer, shape, norm, exact):
    return exactly(layer.k_coef_lip, "shift")


@rule(lip.LayerCentering)
def _layer_centering(layer, shape, norm, exact):
    """I − 1 1ᵀ/n over the n pixels: 0 for one pixel, else a projection of norm 1, and of sums 2(1 − 1/n)."""
    sizes = [n for axis, n in enumerate(shape) if axis != layer.channel_axis % (len(shape) + 1) - 1]
    if None in sizes:
        return Bound(0.0, layer.k_coef_lip * (1 if norm == 2 else 2), "projection")
    count = math.prod(sizes)
    return computed(layer.k_coef_lip * ((count > 1) if norm == 2 else 2 * (1 - 1 / count)), "projection")
