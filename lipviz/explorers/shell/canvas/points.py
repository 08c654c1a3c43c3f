"""Points of the plane with one of two classes: as text, from arrays and from CSV files."""

import csv
import math
import os
import re
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import traitlets

from lipviz.measure.fields import planar
from lipviz.toys.side_by_side import EXTENT
from lipviz.types import Array, ArrayLike

MOST_POINTS = 1000
MOST_BYTES = 1_000_000  # of a file
_DECIMALS = 3  # of coordinates, so that a page, a link and copied code have the very same points
_FILLED = 1.6  # where the outermost points lie after scaling
_SMALLEST = 1.0  # extent of points that are taken as they are
_POINT = re.compile(r"(-?\d{1,4})\.(-?\d{1,4})\.([01])")
_LIMIT = f"at most {MOST_POINTS:,} points"


# --- text ---


def text_of(points: Array) -> str:
    """Points x, y and class, of shape (n, 3), as text: thousandths and the class, as "250.-1000.1_0.500.0"."""
    return "_".join(f"{round(1000 * x)}.{round(1000 * y)}.{int(label)}" for x, y, label in points)


def points_of(text: str) -> Array:
    """Points of shape (n, 3) from their text, see `text_of`.

    Raises:
        ValueError: If it is no such text, or a point lies outside of the picture, or there are too many.
    """
    if not text:
        return np.zeros((0, 3))
    matches = [_POINT.fullmatch(part) for part in text.split("_")[: MOST_POINTS + 1]]
    if len(matches) > MOST_POINTS or None in matches:
        raise ValueError(f"Expected {_LIMIT} as text, such as 250.-1000.1_0.500.0.")
    points = np.array([[int(one) for one in match.groups()] for match in matches if match], np.float64)
    points[:, :2] /= 1000
    if np.abs(points[:, :2]).max() > EXTENT:
        raise ValueError(f"Expected points inside of the picture, from −{EXTENT:g} to {EXTENT:g}.")
    return points


class PointsControl(widgets.Text):
    """Points as the value of a control, which is not visible: they are edited on the canvas."""

    range_words = f"{_LIMIT} inside of the picture, as text such as 250.-1000.1_0.500.0"

    def __init__(self, value: str = ""):
        super().__init__(value, description="Own points", layout=widgets.Layout(display="none"))

    @traitlets.validate("value")
    def _check(self, proposal):
        try:
            points_of(proposal["value"])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error
        return proposal["value"]


# --- arrays ---


def placed(x: ArrayLike, y: ArrayLike) -> tuple[Array, str]:
    """Points of any place and size, moved into the picture.

    Those that lie inside and are not small stay where they are. All others are moved and scaled, by the same factor
    along both axes, so that discs stay discs.

    Args:
        x: Points of shape (n, 2).
        y: Labels of shape (n,), of two kinds: the smaller one becomes class 0, the other one class 1.

    Returns:
        The tuple (points of shape (n, 3), words): what was done to them, or "".

    Raises:
        TypeError: If the points are not real numbers.
        ValueError: If they are not finite or of another shape, there are too many, or not two kinds of labels.
    """
    x = planar(x, "The points")
    labels = np.asarray(y)
    if labels.shape != (len(x),):
        raise ValueError(f"Expected a label for each of {len(x)} points. Received labels of shape {labels.shape}")
    if len(x) > MOST_POINTS:
        step = -(-len(x) // MOST_POINTS)
        raise ValueError(f"Expected {_LIMIT}. Received: {len(x):,}. Take some of them, such as x[::{step}].")
    kinds, classes = np.unique(labels, return_inverse=True)
    if len(kinds) != 2:
        raise ValueError(f"Expected labels of two kinds. Received: {len(kinds)}, {_some(kinds)}")
    places, words = _moved(x)
    return np.column_stack([places, classes]), words


def _some(kinds):
    return ", ".join(map(str, kinds[:3])) + (", …" if len(kinds) > 3 else "")


def _moved(x):
    low, high = x.min(axis=0), x.max(axis=0)
    extent = float((high - low).max())
    if np.abs(x).max() <= EXTENT and extent >= _SMALLEST:
        return np.round(x, _DECIMALS), ""
    unit = extent / (2 * _FILLED) or 1.0
    words = f"The points are moved and scaled into the picture: a length of 1 there is {unit:.4g} of your units."
    return np.round((x - (low + high) / 2) / unit, _DECIMALS), words


# --- files ---


def check_size(name: str, size: int) -> None:
    """Raise ValueError if a file of some bytes is too large to be read."""
    if size > MOST_BYTES:
        raise ValueError(
            f"Expected a file of at most {MOST_BYTES / 1e6:g} MB, with {_LIMIT}. "
            f"Received: {name} with {size / 1e6:.1f} MB. Take some of its rows."
        )


def from_file(path: str | os.PathLike[str]) -> tuple[Array, Array]:
    """Points and labels from a CSV file, see `from_csv`.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is too large, or see `from_csv`.
    """
    path = Path(path)
    check_size(path.name, path.stat().st_size)
    return from_csv(path.read_text(encoding="utf-8-sig", errors="replace"))


def from_csv(text: str) -> tuple[Array, Array]:
    """Points and labels from rows of two coordinates and a label, separated by commas, semicolons, tabs or spaces.

    A first row of words is taken for names. Empty rows and those that begin with # are left out.

    Returns:
        The tuple (points of shape (n, 2), labels of shape (n,) as text or, where all are numbers, as float64).

    Raises:
        ValueError: If a row has another number of entries or a coordinate that is no finite number, or there is none.
    """
    rows = [(number, row) for number, row in enumerate(_rows(text), 1) if row and not row[0].startswith("#")]
    if rows and not any(map(_is_number, rows[0][1][:2])):
        rows = rows[1:]
    if not rows:
        raise ValueError("Expected rows of two numbers and a label. Received: none")
    if len(rows) > MOST_POINTS:
        raise ValueError(f"Expected {_LIMIT}. Received: {len(rows):,} rows. Take some of them.")
    x = np.array([_coordinates(number, row) for number, row in rows])
    labels = [row[2] for _, row in rows]
    return x, np.array([float(label) for label in labels] if all(map(_is_number, labels)) else labels)


def _rows(text):
    """Rows of stripped entries."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    mark = next((mark for mark in "\t;," if mark in first), None)
    split = csv.reader(lines, delimiter=mark) if mark else (line.split() for line in lines)
    return [[entry.strip() for entry in row] for row in split]


def _is_number(entry):
    try:
        return math.isfinite(float(entry))
    except ValueError:
        return False


def _coordinates(number, row):
    if len(row) != 3 or not row[2]:
        raise ValueError(f"Row {number}: expected two numbers and a label. Received: {_short(', '.join(row))}")
    if not all(map(_is_number, row[:2])):
        raise ValueError(f"Row {number}: expected two finite numbers. Received: {_short(', '.join(row[:2]))}")
    return [float(entry) for entry in row[:2]]


def _short(text):
    return text if len(text) <= 40 else f"{text[:40]} …"
