"""Logits of a classifier in float64, its decisions, and the labels and samples that fit it."""

import keras
import numpy as np
from keras import ops

from lipviz.certification.classifiers import logits_model
from lipviz.operators.precision import at_inference, float64_scope
from lipviz.operators.samples import checked_samples
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike

BATCH = 128  # larger ones are hardly faster, and what they take in float64 stays with the process


def checked(model: keras.Model, x: ArrayLike) -> tuple[keras.Model, Array]:
    """The float64 logits of a model, and samples that fit it.

    Returns:
        The tuple (`logits_model`, float64 samples).

    Raises:
        TypeError: See `certified_radius`.
        ValueError: See `certified_radius`.
    """
    samples = fitting(model, x)
    return logits_model(model), samples


def fitting(model: keras.Model, x: ArrayLike) -> Array:
    """Samples that fit a model, float64; see `checked`."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a Keras model. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"Model '{model.name}' must be built before it is measured: call it on data, or `build` it.")
    x = checked_samples(model, x)
    dtype = _sample_dtype(model)
    if not keras.backend.is_float_dtype(dtype) and not _holds(dtype, x):
        raise ValueError(
            f"Expected samples of the model's input dtype, {dtype}: other numbers are rounded before the model sees "
            f"them. Received values in [{x.min():g}, {x.max():g}]"
        )
    return x


def _sample_dtype(model):
    tensors = getattr(model, "inputs", None)
    return tensors[0].dtype if tensors else "float32"


def _holds(dtype, x):
    """Whether a dtype of whole numbers holds all of the values."""
    with np.errstate(invalid="ignore"):
        return np.array_equal(x.astype(dtype).astype(np.float64), x)


def logits(network: keras.Model, x: Array) -> Array:
    """Outputs of a float64 network at inference, of shape (n, C).

    Raises:
        ValueError: If it has several outputs, one of another rank or with another number of rows, or a layer that has
            no float64 form here.
    """
    parts = []
    with float64_scope():
        for start in range(0, len(x), BATCH):
            part = at_inference(network, x[start : start + BATCH])
            if isinstance(part, list | tuple | dict) or len(part.shape) != 2:
                shape = f"{len(part)} outputs" if isinstance(part, list | tuple | dict) else f"shape {part.shape}"
                raise ValueError(f"Expected a classifier with one output of shape (batch, C). Received: {shape}")
            if len(part) != len(x[start : start + BATCH]):
                raise ValueError(
                    f"Expected one row of logits for each sample. Received: {len(part)} rows for "
                    f"{len(x[start : start + BATCH])} samples; the model mixes them"
                )
            parts.append(np.asarray(ops.convert_to_numpy(part), np.float64))  # logits may be whole numbers
    return np.concatenate(parts)


def decisions(scores: Array) -> Array:
    """Class of each row of logits (n, C): the index of the largest; for C = 1, whether it is positive."""
    return (scores[:, 0] > 0).astype(np.int64) if scores.shape[1] == 1 else scores.argmax(axis=1)


def class_numbers(y: ArrayLike, count: int, classes: int) -> Array:
    """Labels as class numbers.

    Args:
        y: Class numbers of shape (n,) or (n, 1), or one-hot rows of shape (n, C) in {0, 1} or {-1, 1}. Of two classes
            with one output: 0 and 1, or −1 and 1.
        count: Number of samples n.
        classes: Number of outputs C.

    Returns:
        Integers of shape (n,).

    Raises:
        TypeError: If they are not real numbers.
        ValueError: If a shape does not fit, or a number is no class.
    """
    y = as_float64(y, "The labels")
    if y.shape not in ((count,), (count, 1), (count, classes)):
        raise ValueError(
            f"Expected labels of shape ({count},), ({count}, 1) or one-hot of shape ({count}, {classes}), one for each "
            f"sample and output. Received shape: {y.shape}"
        )
    if classes > 1 and y.shape == (count, classes):
        return _hot(y)
    y = y.reshape(-1)
    known = set(range(max(classes, 2)))
    found = set(np.unique(y).tolist())
    if classes == 1 and found <= {-1.0, 1.0}:
        return (y > 0).astype(np.int64)
    if not found <= known:
        names = "0 and 1, or −1 and 1" if classes == 1 else f"whole numbers from 0 to {classes - 1}"
        raise ValueError(f"Expected labels that are {names}. Received: {sorted(found - known)[:5]}")
    return y.astype(np.int64)


def _hot(y):
    hot = y == 1
    if not (np.isin(y, (0, 1)).all() or np.isin(y, (-1, 1)).all()) or (hot.sum(axis=1) != 1).any():
        row = int(np.argmax(~np.isin(y, (-1, 0, 1)).all(axis=1) | (hot.sum(axis=1) != 1)))
        raise ValueError(f"Expected one-hot labels, a single 1 in a row of 0 or of −1. Received: {y[row]} in row {row}")
    return hot.argmax(axis=1)


def gaps_of(scores: Array, predicted: Array, bounds: Array) -> tuple[Array, Array]:
    """How far the largest logit is above each other one, and the Lipschitz constants of these differences.

    Args:
        scores: Logits of shape (n, C).
        predicted: The class of each sample, of shape (n,).
        bounds: Lipschitz constants of the differences of logits, of shape (C, C).

    Returns:
        The tuple (gaps, infinite for the class itself; constants), both of shape (n, C). Of one logit, the first is its
        magnitude.
    """
    count = len(scores)
    if scores.shape[1] == 1:
        return np.abs(scores), np.full((count, 1), bounds[0, 0])
    gaps = scores[np.arange(count), predicted][:, None] - scores
    gaps[np.arange(count), predicted] = np.inf  # the class itself is no rival
    return gaps, bounds[predicted]
