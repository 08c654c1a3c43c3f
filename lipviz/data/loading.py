"""Loads data of your own: a table, a folder of images, or arrays."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lipviz.data import array_sources, image_folders, tables
from lipviz.data.checks import check_real
from lipviz.data.class_labels import numbered
from lipviz.data.dataset import Dataset, Scaling, listed
from lipviz.data.splits import Samples, generator, split_of_classes, stratified_order

SCALINGS = ("auto", "standard", "pixels", "none")
_OF_TABLES = ("label", "drop", "header", "delimiter")
_OF_IMAGES = ("size", "color")


def load(
    source: Any,
    *,
    label: str | int | None = None,
    drop: Sequence[str] | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    missing: Literal["error", "drop"] = "error",
    size: tuple[int, int] | None = None,
    color: Literal["grey", "rgb"] | None = None,
    class_names: Sequence[str] | None = None,
    scaling: Literal["auto", "standard", "pixels", "none"] = "auto",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Your own data, split into samples for training and for the test: ``(x_train, y_train), (x_test, y_test)``.

    *A table* is a text file, such as `.csv` or `.tsv`, with a column of class labels and columns of numbers. Columns of
    text, missing values and columns that only number the rows are errors that say what to do.

    *A folder of images* has one subfolder for each class. If its subfolders are ``train`` and ``test`` (or ``val``),
    these hold the classes, and the images of ``test`` are the test set. Transparent images are put on white.

    *Arrays* are ``(x, y)``, ``((x_train, y_train), (x_test, y_test))``, an `.npz` file, or a dictionary with the
    names ``x`` and ``y``, such as ``sklearn.datasets.load_wine()``. x holds rows, series (n, length, channels) or
    images.

    The samples of each class are drawn at random for the test, in their proportions, and at least one of each. Scaling
    reads the training samples only. Class numbers are in the alphabetical order of the labels, or in their order as
    whole numbers.

    Args:
        source: Path of a file or folder, or arrays.
        label: Tables: name or place of the column of labels; the last one by default.
        drop: Tables: names of columns to leave out.
        header: Tables: whether the first row holds the names of the columns. By default, it does where it has no number
            and a later row has one.
        delimiter: Tables: what separates columns; by default, whichever of comma, semicolon, tab and bar is most
            frequent in the first row.
        missing: What missing or infinite values do: "error", or "drop", which leaves out their samples. In a table,
            an empty cell is missing, and so are ``NA``, ``NaN``, ``null``, ``none``, ``?`` and ``-``.
        size: Folders: height and width in pixels that all images get, without regard to their proportions. By default,
            images of different sizes are an error.
        color: Folders: "grey" or "rgb". By default, "grey" if all images are.
        class_names: Names of all classes, in the order of their numbers, where a source may lack some of them.
        scaling: "standard": each feature, or channel of series, gets the mean 0 and the standard deviation 1 on the
            training samples; constant ones are only shifted. "pixels": division by 255. "none". "auto": "pixels" for
            images from 0 to 255, "none" for other images, "standard" for everything else.
        test_fraction: Share of the samples of each class that is held back for the test, from 0 on and below 1. With 0,
            all are for training. Without effect where the source has its own test set.
        seed: Seed of the order of the samples, and of the split.

    Returns:
        A `Dataset`, with the names of classes and features, and the `Scaling`. A certified radius is one of the scaled
        numbers; `Scaling.alone` says it in the units of each feature.

    Raises:
        DatasetNotFoundError: If there is no such file or folder.
        ImportError: If a folder is given, and Pillow is not installed.
        TypeError: If an argument has the wrong type, or samples are no numbers.
        ValueError: If something in the data is not as it should be. The message says where, and what to do.
    """
    rng = generator(seed)
    check_real("test_fraction", test_fraction, lambda v: 0 <= v < 1, "a number from 0 on, below 1")
    _check_choices(missing, color, scaling, size, drop)
    own = {"label": label, "drop": drop, "header": header, "delimiter": delimiter, "size": size, "color": color}
    raw = _read(source, own, missing)
    raw = raw.without_holes(missing)
    every = np.concatenate([np.asarray(y, dtype=object) if _mixed(raw) else np.asarray(y) for _, y in raw.pairs])
    y, names = numbered(every, raw.labels_are, class_names)
    parts = _parts(raw, y, names, test_fraction, rng)
    return _scaled(raw, parts, names, scaling)


@dataclasses.dataclass(frozen=True, eq=False)
class _Raw:
    """What a source holds: pairs of samples and labels, one or, with its own test set, two."""

    pairs: list[tuple[np.ndarray, np.ndarray]]
    source: str
    labels_are: str
    feature_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def without_holes(self, missing):
        """Without samples that are not finite, or with an error where these are not to be left out."""
        finite = [np.isfinite(x.reshape(len(x), -1)).all(axis=1) for x, _ in self.pairs]
        count, total = sum(int((~one).sum()) for one in finite), sum(map(len, finite))
        if not count:
            return self
        if missing == "error" or count == total:
            first = int(np.flatnonzero(~np.concatenate(finite))[0])
            raise ValueError(
                f"{self.source}: expected finite numbers, received NaN or Inf in {count} of {total} samples, the first "
                f"is {first}. Leave them out by missing='drop'."
            )
        kept = [(x[one], y[one]) for (x, y), one in zip(self.pairs, finite, strict=True)]
        note = f"{count:,} of {total:,} samples have missing or infinite values, and were left out."
        return dataclasses.replace(self, pairs=kept, notes=(*self.notes, note))


def _check_choices(missing, color, scaling, size, drop):
    choices = (
        ("missing", missing, tables.MISSING),
        ("scaling", scaling, SCALINGS),
        ("color", color, (None, *image_folders.COLORS)),
    )
    for name, value, possible in choices:
        if value not in possible:
            raise ValueError(f"{name}: expected one of {', '.join(map(repr, possible))}, received {value!r}.")
    if size is not None and not (
        isinstance(size, tuple | list)
        and len(size) == 2
        and all(isinstance(one, int | np.integer) and one > 0 for one in size)
    ):
        raise ValueError(f"size: expected (height, width) in pixels, received {size!r}.")
    if isinstance(drop, str):
        raise TypeError(f"drop: expected a list of names, received the text {drop!r}. Write [{drop!r}].")


def _read(source, own, missing):
    """What a source holds, a `_Raw`."""
    if not isinstance(source, str | os.PathLike):
        _refuse(own, (*_OF_TABLES, *_OF_IMAGES), "arrays")
        return _of_arrays(source, "arrays")
    path = Path(source).expanduser()
    if not path.exists():
        raise _not_found(path)
    if path.is_dir():
        _refuse(own, _OF_TABLES, "a folder of images")
        return _of_folder(path, own)
    _refuse(own, _OF_IMAGES, "a file")
    if path.suffix.lower() == ".npz":
        _refuse(own, _OF_TABLES, "an .npz file")
        return _of_arrays(array_sources.read_arrays(path), path.name)
    if path.suffix.lower() not in tables.SUFFIXES:
        raise ValueError(
            f"{str(path)!r}: expected a table ({', '.join(tables.SUFFIXES)}), an .npz file or a folder of images, "
            f"received a file {path.suffix or 'without an ending'}."
        )
    table = tables.read_table(path, missing=missing, **{name: own[name] for name in _OF_TABLES})
    where = f"{path.name}, column {table.label!r}"
    return _Raw([(table.x, table.labels)], path.name, where, table.feature_names, notes=table.notes)


def _not_found(path):
    from lipviz.data.real_images import DatasetNotFoundError

    beside = path.parent if path.parent.is_dir() else None
    close = (
        []
        if beside is None
        else [one.name for one in sorted(beside.iterdir()) if one.stem.lower() == path.stem.lower()]
    )
    guess = f" Did you mean {close[0]!r}?" if close else ""
    where = "" if beside else f" Its folder {str(path.parent)!r} is missing, too."
    return DatasetNotFoundError(f"There is no file or folder {str(path)!r}.{guess}{where}")


def _refuse(own, names, what):
    given = [name for name in names if own[name] is not None]
    if given:
        raise ValueError(f"{listed(given)}: expected no such argument for {what}, received {own[given[0]]!r}.")


def _of_folder(folder, own):
    found = [
        image_folders.read_folder(part, size=own["size"], color=own["color"]) for part in image_folders.parts_of(folder)
    ]
    shapes = {images.shape[1:] for images, _, _ in found}
    if len(shapes) > 1:
        words = " and ".join("×".join(map(str, shape)) for shape in sorted(shapes))
        raise ValueError(f"{str(folder)!r}: expected images of one kind, received {words}. Say `size` and `color`.")
    notes = tuple(note for _, _, notes in found for note in notes)
    pairs = [(images, labels) for images, labels, _ in found]
    return _Raw(pairs, f"Folder {folder.name}", f"the subfolders of {str(folder)!r}", notes=notes)


def _of_arrays(source, where):
    pairs = []
    for x, y in array_sources.pairs_of(source):
        x, y = array_sources.checked_inputs(x), np.asarray(y)
        if y.ndim == 0 or len(y) != len(x):
            raise ValueError(f"y: expected one label for each of {len(x):,} samples, received shape {y.shape}.")
        pairs.append((x, y))
    if len({x.shape[1:] for x, _ in pairs}) > 1:
        raise ValueError(
            f"x: expected samples of one shape, received {' and '.join(str(x.shape[1:]) for x, _ in pairs)}."
        )
    features = array_sources.names_of(source, "feature_names")
    features = features if len(features) == pairs[0][0].shape[-1] else ()
    classes = array_sources.names_of(source, "target_names") or array_sources.names_of(source, "class_names")
    return _Raw(pairs, where, "y", features, classes)


def _mixed(raw):
    """Whether the labels of the two parts differ in kind, as texts and numbers do."""
    return len({np.asarray(y).dtype.kind in "US" for _, y in raw.pairs}) > 1


def _parts(raw, y, names, test_fraction, rng) -> tuple[Samples, Samples]:
    """Unscaled training and test samples with their class numbers, both in a stratified order."""
    if len(raw.pairs) == 2:
        cut = len(raw.pairs[0][0])
        labels = y[:cut], y[cut:]
        orders = [stratified_order(each, rng) for each in labels]
        train, test = ((x[o], each[o]) for (x, _), each, o in zip(raw.pairs, labels, orders, strict=True))
        if len(train[1]) and len(np.unique(train[1])) < 2:
            raise ValueError(f"{raw.labels_are}: expected at least two classes for training, received one.")
        return train, test
    x, _ = raw.pairs[0]
    if not test_fraction:
        order = stratified_order(y, rng)
        return (x[order], y[order]), (x[:0], y[:0])
    counts = np.bincount(y, minlength=len(names))
    if (counts == 1).any():
        few = listed([repr(names[place]) for place in np.flatnonzero(counts == 1)])
        raise ValueError(
            f"{raw.labels_are}: expected at least two samples of each class, one for training and one for the test, "
            f"received one of {few}, among {len(y):,} samples."
        )
    kept, held = split_of_classes(y, test_fraction, rng)
    return (x[kept], y[kept]), (x[held], y[held])


def _scaled(raw, parts, names, wanted) -> Dataset:
    (x, _), _ = parts
    chosen = _chosen(x, wanted)
    scaling = Scaling.none()
    notes = list(raw.notes)
    if chosen == "standard":
        scaling = Scaling.standard(x, raw.feature_names)
        flat = x.reshape(-1, x.shape[-1])
        constant = np.flatnonzero((flat == flat[:1]).all(axis=0))
        if constant.size:
            shown = listed([raw.feature_names[i] if raw.feature_names else f"column {i + 1}" for i in constant])
            notes.append(f"Constant among the training samples, so that it is only shifted: {shown}.")
    elif chosen == "pixels":
        scaling = Scaling.pixels()
    if raw.class_names and len(raw.class_names) == len(names) and _are_numbers(names):
        names = raw.class_names
    train, test = ((scaling.scaled(x).astype(np.float32), y) for x, y in parts)
    return Dataset(train, test, tuple(names), raw.feature_names, scaling, raw.source, tuple(notes), len(raw.pairs) == 2)


def _are_numbers(names):
    return list(names) == [str(place) for place in range(len(names))]


def _chosen(x, wanted):
    """The kind of scaling that "auto" stands for."""
    largest = float(np.abs(x.astype(np.float64)).max())
    if wanted == "pixels" and (largest > 255 or x.min() < 0):
        raise ValueError(
            f"scaling: expected values from 0 to 255 for 'pixels', received {float(x.min()):g} to {largest:g}."
        )
    if wanted != "auto":
        return wanted
    if x.ndim < 4:
        return "standard"
    if x.dtype.kind in "iu" and (largest > 255 or x.min() < 0):
        raise ValueError(
            f"x: expected images with values from 0 to 1, or from 0 to 255, received {float(x.min()):g} to "
            f"{largest:g}. Say a `scaling`."
        )
    return "pixels" if x.dtype.kind in "iu" or (largest > 1 and x.min() >= 0 and largest <= 255) else "none"
