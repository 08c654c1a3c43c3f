"""Labels as people write them, and the class numbers that they become."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lipviz.data.dataset import listed

_MOST_CLASSES = 1000


def numbered(values: np.ndarray, where: str, names: Sequence[str] | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers, and the name of each class.

    Texts are classes in alphabetical order, and whole numbers in the order of their size. Rows of a single 1 among 0
    are one-hot labels.

    Args:
        values: Texts, whole numbers or truth values of shape (n,) or (n, 1), or one-hot rows (n, C).
        where: What holds them, for messages.
        names: Names of all classes, in the order of their numbers; by default, those that occur.

    Returns:
        Class numbers from 0 on, int32, of shape (n,), and the names.

    Raises:
        TypeError: If `names` are no texts.
        ValueError: If labels are no whole numbers; with `names`, if one occurs that has none; without, if there are
            fewer than two classes or far too many.
    """
    values = np.asarray(values)
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim == 2:
        values = _of_hot(values, where)
    if values.ndim != 1:
        raise ValueError(f"{where}: expected one label for each sample, received an array of shape {values.shape}.")
    words, found = _words(values, where)
    if names is not None:
        found = _checked_names(names, found, where)
    else:
        _check_count(found, words, where)
    place = {name: number for number, name in enumerate(found)}
    return np.array([place[word] for word in words], np.int32), tuple(found)


def _of_hot(values, where):
    hot = values == values.max()
    if values.dtype.kind not in "fiub" or not np.isin(values, (0, 1)).all() or (hot.sum(axis=1) != 1).any():
        raise ValueError(f"{where}: expected one label for each sample, or one-hot rows, received other rows.")
    return hot.argmax(axis=1)


def _words(values, where):
    """The label of each sample as text, and all that occur, in order."""
    if values.dtype.kind in "iub":
        words = [str(value) for value in values.tolist()]
        return words, sorted(set(words), key=_size)
    if values.dtype.kind == "f":
        return _of_numbers(values.tolist(), where)
    words = [str(value).strip() for value in values.tolist()]
    numbers = _as_numbers(words)
    if numbers is not None:
        return _of_numbers(numbers, where)
    return words, sorted(set(words))


def _size(word):
    return {"False": 0, "True": 1}[word] if word in ("False", "True") else int(word)


def _as_numbers(words):
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _of_numbers(numbers, where):
    for number in numbers:
        if number != number or abs(number) == np.inf or number != round(number):
            different = len(set(numbers))
            raise ValueError(
                f"{where}: expected classes, texts or whole numbers, received {number:g} and {different - 1} other "
                "numbers. If it measures something, it is a feature and no label: name the column of the classes by "
                "`label`."
            )
    words = [str(int(number)) for number in numbers]
    return words, sorted(set(words), key=int)


def _checked_names(names: Any, found: list[str], where: str) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names: expected texts, one for each class, received {names!r}.")
    if len(set(names)) < len(names):
        raise ValueError(f"class_names: expected different names, received {', '.join(names)}.")
    missing = [name for name in found if name not in names]
    if missing:
        raise ValueError(f"{where}: expected the classes {listed(list(names))}, received {listed(missing)} as well.")
    return list(names)


def _check_count(found, words, where):
    if len(found) < 2:
        only = f"only {found[0]!r}" if found else "none"
        raise ValueError(f"{where}: expected at least two classes, received {only}.")
    if len(found) > max(2, min(_MOST_CLASSES, len(words) // 2)):
        raise ValueError(
            f"{where}: expected a few classes with several samples each, received {len(found)} different labels for "
            f"{len(words)} samples, such as {listed(found[:3])}. Name the column of the classes by `label`."
        )
