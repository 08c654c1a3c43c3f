"""Layers that copy, drop or select entries: reshaping, padding, poolings by maximum or norm, resampling."""

import math

import keras
import numpy as np

from lipviz import layers as lip
from lipviz import normalizers as nm
from lipviz.certification.rules.linear import matrix_bound
from lipviz.certification.rules.registry import Bound, exactly, layer_bound, rule, unknown
from lipviz.operators.precision import float64_scope
from lipviz.operators.used_weights import used_factor

_EXPLICIT_SIDE = 1024


@rule(
    keras.layers.InputLayer,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.ActivityRegularization,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
    whole=True,
)
def _same_entries(layer, shape, norm, exact):
    return exactly(1.0, "same entries")


@rule(
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    whole=True,
)
def _only_in_training(layer, shape, norm, exact):
    return exactly(1.0, "identity at inference")


@rule(keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D, whole=True)
def _cropping(layer, shape, norm, exact):
    return Bound(0.0 if None in shape else 1.0, 1.0, "selection")


@rule(keras.layers.Masking)
def _masking(layer, shape, norm, exact):
    if layer.mask_value != 0:
        return unknown("masking by a value other than 0 jumps there")
    return exactly(1.0, "identity")


@rule(keras.layers.RepeatVector, whole=True)
def _repeat_vector(layer, shape, norm, exact):
    return _copies(layer.n, norm)


def _copies(count, norm):
    """Every entry is copied `count` times."""
    return exactly({1: float(count), 2: math.sqrt(count), math.inf: 1.0}[norm], "copies")


@rule(keras.layers.UpSampling1D, keras.layers.UpSampling2D, keras.layers.UpSampling3D)
def _up_sampling(layer, shape, norm, exact):
    count = math.prod(layer.size) if isinstance(layer.size, list | tuple) else layer.size
    if getattr(layer, "interpolation", "nearest") == "nearest":
        return _copies(count, norm)
    sizes = _spatial(layer, shape)
    if None in sizes or math.prod(sizes) > _EXPLICIT_SIDE:
        return unknown(f"interpolation='{layer.interpolation}' is bounded for known sizes up to 1024 pixels")
    matrix = _probed(layer, sizes)
    bound = matrix_bound(matrix, norm)
    if np.array_equal(matrix * 2.0**20, np.round(matrix * 2.0**20)):
        return bound
    # TensorFlow computes weights in float32: where that does not hold them, each is off by a few of its roundings.
    magnitudes = np.abs(matrix)
    off = 1e-6 * math.sqrt(magnitudes.sum(axis=0).max() * magnitudes.sum(axis=1).max())
    return Bound(max(bound.lower - off, 0.0), bound.upper + off, bound.method)


def _spatial(layer, shape):
    return shape[1:] if getattr(layer, "data_format", None) == "channels_first" else shape[:-1]


def _probed(layer, sizes):
    """Matrix of what a layer does to one channel, in float64."""
    count = math.prod(sizes)
    units = np.eye(count).reshape(count, *sizes, 1)
    config = layer.get_config() | {"dtype": "float64", "data_format": "channels_last"}
    with float64_scope():
        return np.asarray(type(layer).from_config(config)(units), np.float64).reshape(count, -1).T


# --- poolings ---

_MAX_POOLINGS = (keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D)
_GLOBAL_MAX = (keras.layers.GlobalMaxPooling1D, keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D)


@rule(*_MAX_POOLINGS, whole=True)
def _max_pooling(layer, shape, norm, exact):
    """Each maximum changes by at most the largest change in its window: an entry counts once per window it is in."""
    if norm == math.inf:
        return exactly(1.0, "maximum")
    sizes = _spatial(layer, shape)
    axes = zip(sizes, layer.pool_size, layer.strides, strict=True)
    most = math.prod(nm.patch_coverage(*axis, layer.padding) for axis in axes)
    here = 0 if None in sizes else _most_windows(sizes, layer)
    # Attained where the entry in most windows is the largest of each by far.
    return Bound(*(count if norm == 1 else math.sqrt(count) for count in (here, most)), "windows per entry")


def _most_windows(sizes, layer):
    """Number of windows that share an entry at these very sizes."""
    axes = zip(sizes, layer.pool_size, layer.strides, strict=True)
    return math.prod(nm.shared_patches(*axis, layer.padding) for axis in axes)


@rule(*_GLOBAL_MAX, whole=True)
def _global_max(layer, shape, norm, exact):
    return exactly(1.0, "maximum")


@rule(lip.ScaledL2NormPooling2D, lip.ScaledGlobalL2NormPooling2D)
def _norm_pooling(layer, shape, norm, exact):
    """‖x‖ of a window is 1-Lipschitz in l2, hence in l1, and √p-Lipschitz in l∞."""
    if norm != math.inf:
        return exactly(layer.k_coef_lip, "norm of a window")
    return _times_root(layer, shape, "norm of a window")


def _times_root(layer, shape, method):
    sizes = getattr(layer, "pool_size", None) or _spatial(layer, shape)
    if None in sizes:
        return unknown("its bound in this norm needs the size of the image")
    return exactly(layer.k_coef_lip * math.sqrt(math.prod(sizes)), method)


@rule(lip.ScaledAveragePooling2D, lip.ScaledGlobalAveragePooling2D)
def _scaled_average(layer, shape, norm, exact):
    """√p times the mean of p entries: rows of norm 1, of sum √p; columns of sum 1/√p."""
    if norm == 2:
        return exactly(layer.k_coef_lip, "orthogonal rows")
    root = _times_root(layer, shape, "mean")
    if norm == math.inf or root.upper == math.inf:
        return root
    return exactly(layer.k_coef_lip**2 / root.upper, "mean")


@rule(lip.InvertibleDownSampling, lip.InvertibleUpSampling, whole=True)
def _resampling(layer, shape, norm, exact):
    return exactly(used_factor(layer), "permutation")


# --- wrappers ---


@rule(keras.layers.TimeDistributed)
def _time_distributed(layer, shape, norm, exact):
    if layer.compute_dtype != layer.layer.compute_dtype:  # it decides what weights are rounded to
        return unknown(f"it computes in {layer.compute_dtype}, and what it wraps in {layer.layer.compute_dtype}")
    return layer_bound(layer.layer, shape[1:], norm, exact)


@rule(keras.layers.SpectralNormalization)
def _spectral_normalization(layer, shape, norm, exact):
    """It writes the normalized kernel into the layer that it wraps, while training."""
    return layer_bound(layer.layer, shape, norm, exact)
