"""Kernels of layers, models and arrays as float64 matrices, and random kernels with given singular values."""

from typing import Any, Literal

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.keras_internals import inner_layers
from lipviz.layers import ConstrainedKernel
from lipviz.rules.used import as_float64, named
from lipviz.types import Array, ArrayLike

SPECTRA = ("even", "geometric", "one small")


def as_float64_matrix(value: ArrayLike, owner: str) -> Array:
    """Convert a kernel of shape (..., out) to a finite float64 matrix of shape (product of the other sizes, out).

    Raises:
        TypeError: If it does not hold real numbers.
        ValueError: If it has fewer than two axes, no entry, or holds NaN or Inf.
    """
    array = as_float64(value, owner)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{owner} must have two axes or more, and an entry. Received shape: {array.shape}")
    return array.reshape(-1, array.shape[-1])


def raw_kernel(layer: keras.layers.Layer) -> Any:
    """The weight that an optimizer trains: `kernel`, or the one that a constrained layer names; None if there is none.

    Args:
        layer: Built Keras layer, of lipviz or not.
    """
    return layer.raw_kernel if isinstance(layer, ConstrainedKernel) else getattr(layer, "kernel", None)


def layers_with_kernel(target: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """The layers with a kernel inside a layer or a model, itself included, by name.

    Args:
        target: Built Keras layer or model, of lipviz or not.

    Returns:
        A dict from name to layer in the model's order, nested models included, each layer once. Where two layers
        have the same name, all keys are paths.

    Raises:
        ValueError: If it is not built, or no layer of it has a kernel.
    """
    if not target.built:
        raise ValueError(f"{named(target)} must be built before it is measured: call it on data, or `build` it.")
    layers = [target, *inner_layers(target)]
    layers = [layer for layer in layers if layer.built and raw_kernel(layer) is not None]
    if not layers:
        raise ValueError(f"{named(target)} has no kernel to measure. Expected one, as of a Dense layer.")
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        names = [layer.path for layer in layers]
    return dict(zip(names, layers, strict=True))


def kernels(target: keras.layers.Layer | ArrayLike) -> dict[str, Array]:
    """The raw kernels of a layer or a model, or an array itself, as matrices.

    Args:
        target: Keras layer or model, or an array of two axes or more.

    Returns:
        A dict from name to float64 matrix of shape (product of the other sizes, out).

    Raises:
        TypeError: If it does not hold real numbers.
        ValueError: If there is no kernel, or one holds NaN or Inf.
    """
    if not isinstance(target, keras.layers.Layer):
        return {"kernel": as_float64_matrix(target, "The kernel")}
    found = layers_with_kernel(target)
    return {name: as_float64_matrix(raw_kernel(layer), f"The kernel of '{name}'") for name, layer in found.items()}


def random_kernel(
    rows: int,
    columns: int,
    smallest: float = 0.1,
    spectrum: Literal["even", "geometric", "one small"] = "even",
    seed: int | None = 0,
) -> Array:
    """Draw a matrix with given singular values, the largest 1, and random singular vectors.

    Args:
        rows: Number of rows, at least 1.
        columns: Number of columns, at least 1.
        smallest: Smallest singular value, in [0, 1]; above 0 for "geometric".
        spectrum: "even" spaces the values evenly from 1 to `smallest`, "geometric" by a constant factor; "one
            small" makes all 1 but the last. A matrix with one row or column has the one value 1.
        seed: Seed of the singular vectors.

    Returns:
        A float64 array of shape (rows, columns).

    Raises:
        ValueError: If an argument is out of range.
    """
    rows, columns = nm.check_count("rows", rows), nm.check_count("columns", columns)
    if min(rows, columns) < 1:
        raise ValueError(f"A kernel needs a row and a column. Received: rows={rows}, columns={columns}")
    if not 0 <= smallest <= 1 or (smallest == 0 and spectrum == "geometric"):
        raise ValueError(f"`smallest` must lie in [0, 1], above 0 for 'geometric'. Received: {smallest!r}")
    if spectrum not in SPECTRA:
        raise ValueError(f"`spectrum` must be one of {SPECTRA}. Received: {spectrum!r}")
    rng = np.random.default_rng(nm.check_seed("seed", seed))
    count = min(rows, columns)
    left, _ = np.linalg.qr(rng.standard_normal((rows, count)))
    right, _ = np.linalg.qr(rng.standard_normal((columns, count)))
    return left * _spectrum(spectrum, count, smallest) @ right.T


def _spectrum(kind, count, smallest):
    if kind == "even":
        return np.linspace(1, smallest, count)
    if kind == "geometric":
        return np.geomspace(1, smallest, count)
    values = np.ones(count)
    values[1:][-1:] = smallest  # the last, unless it is the first
    return values
