"""Samples of a model's input: checks and norms."""

import keras
import numpy as np

from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike


def checked_samples(model: keras.Model, x: ArrayLike) -> Array:
    """Samples that fit a model of one input and one output, in float64.

    Args:
        model: Keras model. One that is not built on inputs takes samples of every shape.
        x: Samples of shape (n, ...), at least one.

    Returns:
        A float64 array.

    Raises:
        TypeError: If the samples do not hold real numbers.
        ValueError: If the model has several inputs or outputs, or the samples are empty, not finite or of another
            shape.
    """
    for kind in ("inputs", "outputs"):
        count = len(keras.tree.flatten(getattr(model, kind, None) or [None]))
        if count != 1:
            raise ValueError(f"Expected a model with one of its {kind}. Received: '{model.name}' with {count}")
    x = as_float64(x, "The samples")
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"Expected samples of shape (n, ...), at least one. Received shape: {x.shape}")
    expected = _sample_shape(model)
    if expected is not None and not _fits(x.shape[1:], expected):
        raise ValueError(f"Expected samples of shape (n, {_words(expected)}). Received shape: {x.shape}")
    return x


def _sample_shape(model):
    """Shape of a sample, with None for what may vary; None where the model does not say."""
    tensors = getattr(model, "inputs", None)
    return tuple(tensors[0].shape[1:]) if tensors else None


def _fits(shape, expected):
    return len(shape) == len(expected) and all(e in (None, s) for s, e in zip(shape, expected, strict=True))


def _words(shape):
    return ", ".join("any" if size is None else str(size) for size in shape)


def unit_vectors(vectors: Array, fallback: Array | None = None) -> Array:
    """Divide each sample by its l2 norm.

    Args:
        vectors: Array of shape (n, ...).
        fallback: Values for samples whose norm is zero or not finite, of the same shape; zeros by default.

    Returns:
        An array of the same shape.
    """
    flat = vectors.reshape(len(vectors), -1)
    with np.errstate(over="ignore"):
        norm = np.linalg.norm(flat, axis=1)
    known = (norm > 0) & np.isfinite(norm)
    unit = np.divide(flat, norm[:, None], out=np.zeros_like(flat), where=known[:, None]).reshape(vectors.shape)
    return unit if fallback is None else np.where(along(known, unit), unit, fallback)


def along(values: Array, like: Array) -> Array:
    """Reshape an array with one number for each sample so that it broadcasts over the samples.

    Args:
        values: Array of shape (n,).
        like: Array of shape (n, ...).

    Returns:
        An array of shape (n, 1, ...).
    """
    return values.reshape(-1, *[1] * (like.ndim - 1))
