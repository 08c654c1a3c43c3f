"""Samples in arrays: pairs, dictionaries, and files of NumPy."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lipviz.data.dataset import listed

_PAIRS = (("x", "y"), ("data", "target"), ("images", "labels"), ("X", "y"), ("x", "labels"))
_SPLIT = ("x_train", "y_train", "x_test", "y_test")
_MOST_CHANNELS = 16


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a file that `numpy.savez` wrote, by their names.

    Raises:
        ValueError: If the file is no such file, or holds objects.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            if isinstance(file, np.ndarray):
                raise TypeError("a single array")
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{str(path)!r}: expected arrays that numpy.savez wrote, such as x and y, received {error}."
        ) from error


def pairs_of(source: Any) -> list[tuple[Any, Any]]:
    """The pairs (x, y) of a source: one, or one for training and one for the test.

    Args:
        source: ``(x, y)``, ``((x_train, y_train), (x_test, y_test))``, or a dictionary of arrays with the names of
            either. A `sklearn.utils.Bunch`, as ``sklearn.datasets.load_wine`` returns it, is such a dictionary.

    Raises:
        TypeError: If it is something else.
        ValueError: If the names of a dictionary are others.
    """
    if isinstance(source, Mapping):
        if all(name in source for name in _SPLIT):
            return [(source["x_train"], source["y_train"]), (source["x_test"], source["y_test"])]
        for x, y in _PAIRS:
            if x in source and y in source:
                return [(source[x], source[y])]
        raise ValueError(
            f"source: expected arrays x and y, or {', '.join(_SPLIT)}, received {listed(sorted(map(str, source)))}."
        )
    if not isinstance(source, tuple | list) or len(source) != 2:
        raise TypeError(
            "source: expected the path of a table, of a folder or of an .npz file, a pair (x, y), or a dictionary, "
            f"received {type(source).__name__}."
        )
    if all(isinstance(part, tuple | list) and len(part) == 2 for part in source) and np.ndim(source[0][0]) > 1:
        return [tuple(part) for part in source]
    return [tuple(source)]


def names_of(source: Any, name: str) -> tuple[str, ...]:
    """Names of classes ("target_names", "class_names") or features in a dictionary; empty where there are none."""
    if not isinstance(source, Mapping) or source.get(name) is None:
        return ()
    return tuple(str(one) for one in np.asarray(source[name]).ravel())


def checked_inputs(x: Any, where: str = "x") -> np.ndarray:
    """Samples as rows (n, features), series (n, length, channels) or images (n, height, width, channels).

    Images without channels, of shape (n, height, width), get one: those of bytes, and those that are wider than 16.

    Raises:
        TypeError: If they are no real numbers.
        ValueError: If the shape is another one, or says too little.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{where}: expected real numbers, received {x.dtype.name}.")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise ValueError(
            f"{where}: expected rows (n, features), series (n, length, channels) or images (n, height, width, "
            f"channels), received an array of shape {x.shape}."
        )
    if x.ndim == 3:
        is_of_images = x.dtype == np.uint8 or x.shape[2] > _MOST_CHANNELS
        if not is_of_images and x.shape[1] == x.shape[2]:
            raise ValueError(
                f"{where}: expected series (n, length, channels) or images (n, height, width, channels), received an "
                f"array of shape {x.shape}, which may be either. Images without channels get one by `x[..., None]`."
            )
        x = x[..., None] if is_of_images else x
    return x
