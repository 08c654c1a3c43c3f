"""Rules of layers that copy, drop or select entries: reshaping, padding, poolings by maximum or norm, resampling."""

import dataclasses
import math

import keras

from lipviz import layers as lip
from lipviz import normalizers as nm
from lipviz.rules.bound import ISOMETRY, Bound, exactly, unknown
from lipviz.rules.registry import layer_bound, rule
from lipviz.rules.used import used_factor
from lipviz.types import Shape

# Layers of one input that keep all entries, maybe in another shape or with zeros around them.
SAME_ENTRIES = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.ActivityRegularization,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
)
# Layers that are the identity at inference.
ONLY_IN_TRAINING = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


@rule(keras.layers.InputLayer, *SAME_ENTRIES, whole=True, keeps_dtype=True, fixed=True)
def _same_entries(layer, shape, norm, exact):
    return exactly(1.0, "same entries", ISOMETRY)


@rule(*ONLY_IN_TRAINING, whole=True, keeps_dtype=True, fixed=True)
def _only_in_training(layer, shape, norm, exact):
    return exactly(1.0, "identity at inference", ISOMETRY)


@rule(
    keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D, whole=True, keeps_dtype=True, fixed=True
)
def _cropping(layer, shape, norm, exact):
    return Bound(0.0 if None in shape else 1.0, 1.0, "selection", ISOMETRY)


@rule(keras.layers.Masking, fixed=True)
def _masking(layer, shape, norm, exact):
    if layer.mask_value != 0:
        return unknown("masking by a value other than 0 is not continuous there")
    return exactly(1.0, "identity", ISOMETRY)


@rule(keras.layers.RepeatVector, whole=True, keeps_dtype=True, fixed=True)
def _repeat_vector(layer, shape, norm, exact):
    return copies(layer.n, norm)


def copies(count: int, norm: float) -> Bound:
    """Bound of a map that copies every entry `count` times."""
    root = math.sqrt(count)
    return exactly({1: float(count), 2: root, math.inf: 1.0}[norm], "copies", (root, root))


def spatial(layer: keras.layers.Layer, shape: Shape) -> Shape:
    """Sizes of the image in the shape of a layer's input, which is given without the batch."""
    return shape[1:] if getattr(layer, "data_format", None) == "channels_first" else shape[:-1]


# --- poolings ---

_MAX_POOLINGS = (keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D)
_GLOBAL_MAX = (keras.layers.GlobalMaxPooling1D, keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D)


@rule(*_MAX_POOLINGS, whole=True, keeps_dtype=True, fixed=True)
def _max_pooling(layer, shape, norm, exact):
    """Each maximum changes by at most the largest change in its window: an entry counts once per window it is in."""
    if norm == math.inf:
        return exactly(1.0, "maximum")
    axes = list(zip(spatial(layer, shape), layer.pool_size, layer.strides, strict=True))
    padding: str = layer.padding
    most = math.prod(nm.patch_coverage(size, pool, stride, padding) for size, pool, stride in axes)
    known = [(size, pool, stride) for size, pool, stride in axes if size is not None]
    here = math.prod(nm.shared_patches(*axis, padding) for axis in known) if len(known) == len(axes) else 0
    singular_values = ISOMETRY if most == 1 else (0.0, math.sqrt(most))
    # Attained where the entry that lies in most windows is by far the largest in each of them.
    lower, upper = (count if norm == 1 else math.sqrt(count) for count in (here, most))
    return Bound(lower, upper, "windows per entry", singular_values)


@rule(*_GLOBAL_MAX, whole=True, keeps_dtype=True, fixed=True)
def _global_max(layer, shape, norm, exact):
    return exactly(1.0, "maximum", ISOMETRY)


@rule(lip.ScaledL2NormPooling2D, lip.ScaledGlobalL2NormPooling2D, fixed=True)
def _norm_pooling(layer, shape, norm, exact):
    """‖x‖ of a window is 1-Lipschitz in l2, hence in l1, and √p-Lipschitz in l∞."""
    if norm != math.inf:
        return exactly(layer.k_coef_lip, "norm of a window", (0.0, layer.k_coef_lip))
    return _times_root(layer, shape, "norm of a window")


def _times_root(layer, shape, method):
    sizes = getattr(layer, "pool_size", None) or spatial(layer, shape)
    if None in sizes:
        return unknown("its bound in this norm needs the size of the image")
    return exactly(layer.k_coef_lip * math.sqrt(math.prod(sizes)), method)


@rule(lip.ScaledAveragePooling2D, lip.ScaledGlobalAveragePooling2D, fixed=True)
def _scaled_average(layer, shape, norm, exact):
    """√p times the mean of p entries: rows of norm 1, of sum √p; columns of sum 1/√p."""
    if norm == 2:
        return exactly(layer.k_coef_lip, "orthogonal rows", (layer.k_coef_lip,) * 2)
    root = _times_root(layer, shape, "mean")
    if norm == math.inf or root.upper == math.inf:
        return root
    return exactly(layer.k_coef_lip**2 / root.upper, "mean")


@rule(lip.InvertibleDownSampling, lip.InvertibleUpSampling, whole=True, fixed=True)
def _resampling(layer, shape, norm, exact):
    k = used_factor(layer)
    return exactly(k, "permutation", (k, k))


@rule(lip.SpatialShift, whole=True, fixed=True)
def _shift(layer, shape, norm, exact):
    """A permutation; with zeros, a part of one, in which some entry stays unless the image is as small as the shift."""
    k = used_factor(layer)
    if layer.padding == "circular":
        return exactly(k, "permutation", (k, k))
    return Bound(0.0, k, "movement of entries")


# --- wrappers ---


@rule(keras.layers.TimeDistributed)
def _time_distributed(layer, shape, norm, exact):
    if layer.compute_dtype != layer.layer.compute_dtype:  # the dtype decides how weights are rounded
        return unknown(f"it computes in {layer.compute_dtype}, and what it wraps in {layer.layer.compute_dtype}")
    return _of_wrapped(layer, shape[1:], norm, exact)


@rule(keras.layers.SpectralNormalization)
def _spectral_normalization(layer, shape, norm, exact):
    """It writes the normalized kernel into the layer that it wraps, while training."""
    return _of_wrapped(layer, shape, norm, exact)


def _of_wrapped(wrapper, shape, norm, exact):
    """Bound of a wrapped layer with its activation. The singular values of both together are not known."""
    return dataclasses.replace(layer_bound(wrapper.layer, shape, norm, exact), singular_values=None)
