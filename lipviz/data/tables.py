"""Tables in text files: columns of numbers, and one of classes."""

import collections
import csv
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lipviz.data.dataset import listed

SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".tab")
MISSING = ("error", "drop")
_ABSENT = frozenset(("", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a", "<na>"))
_DELIMITERS = ",;\t|"
_FEWEST_NUMBERED = 8  # rows from which a column that counts them is taken for their number


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """What a file holds.

    Attributes:
        x: Numbers of shape (n, features), float64.
        labels: Texts of shape (n,).
        feature_names: Names of the features.
        label: Name of the column of the labels.
        notes: What was decided, whole sentences.
    """

    x: np.ndarray
    labels: np.ndarray
    feature_names: tuple[str, ...]
    label: str
    notes: tuple[str, ...]


def read_table(
    path: str | os.PathLike[str],
    *,
    label: str | int | None,
    drop: Sequence[str] | None,
    header: bool | None,
    delimiter: str | None,
    missing: str,
) -> Table:
    """Reads a table, see `load`.

    Raises:
        ValueError: If something in it is not as it should be; the message names the line and the column.
    """
    path = Path(path)
    lines, rows = _rows(path, delimiter)
    has_header = _has_header(rows) if header is None else header
    names = [cell.strip() for cell in rows[0]] if has_header else [f"column {i + 1}" for i in range(len(rows[0]))]
    names = [name or f"column {place + 1}" for place, name in enumerate(names)]
    if len(set(names)) < len(names):
        twice = [name for name, count in collections.Counter(names).items() if count > 1]
        raise _wrong(path, "columns with different names", f"{listed(twice)} more than once")
    lines, rows = lines[has_header:], rows[has_header:]
    if not rows:
        raise _wrong(path, "rows of numbers", "a header alone")
    target = _place_of(names, label, path)
    left_out = {_place_of(names, name, path) for name in drop or ()}
    if target in left_out:
        raise _wrong(path, "a column of labels that is kept", f"drop with {names[target]!r}, which holds the labels")
    kept = [place for place in range(len(names)) if place != target and place not in left_out]
    if not kept:
        raise _wrong(path, "a column of numbers beside the labels", f"{len(names)} columns: {listed(names)}")
    lines, rows, notes = _whole(path, lines, rows, names, [*kept, target], missing)
    columns = list(zip(*rows, strict=True))
    x = np.stack([_numbers(path, columns[place], names[place], lines) for place in kept], axis=1)
    features = tuple(names[place] for place in kept)
    if drop is None:
        _check_numbering(path, x, features)
    labels = np.array([cell.strip() for cell in columns[target]])
    return Table(x, labels, features, names[target], tuple(notes))


def _rows(path, delimiter):
    """The numbers of the lines, and the cells in each, of equal number."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(path, "a text in UTF-8", f"the byte {error.object[error.start]:#x} at {error.start:,}") from error
    if "\0" in text:
        raise _wrong(path, "a text in UTF-8", "zeros, as in a binary file or in UTF-16")
    first = next((line for line in text.splitlines() if line.strip()), "")
    if delimiter is None:
        counts = {mark: first.count(mark) for mark in _DELIMITERS}
        delimiter = max(counts, key=lambda mark: counts[mark])
        if not counts[delimiter]:
            raise _wrong(path, "columns between commas, semicolons, tabs or bars", f"the first line {first[:60]!r}")
    elif not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ValueError(f"delimiter: expected one character, received {delimiter!r}.")
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, skipinitialspace=True)
    found: list[tuple[int, list[str]]] = []
    try:
        found += [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise _wrong(path, "a table", f"line {reader.line_num}: {error}") from error
    for line, row in found:
        if len(row) != len(found[0][1]):
            raise _wrong(path, f"{len(found[0][1])} columns, as in its first row", f"{len(row)} in line {line}")
    return [line for line, _ in found], [row for _, row in found]


def _has_header(rows):
    """Whether the first row holds names: no number at all, while a later row has one."""
    return not any(_is_number(cell) for cell in rows[0]) and any(_is_number(c) for row in rows[1:21] for c in row)


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip().lower() not in _ABSENT


def _place_of(names, name, path):
    """Place of a column that is given by its name or its place; the last one with None."""
    if name is None:
        return len(names) - 1
    if isinstance(name, int) and not isinstance(name, bool):
        if not -len(names) <= name < len(names):
            raise _wrong(path, f"a column from {-len(names)} to {len(names) - 1}", str(name))
        return name % len(names)
    if name in names:
        return names.index(name)
    alike = [known for known in names if known.lower() == str(name).strip().lower()]
    guess = f" Did you mean {alike[0]!r}?" if alike else ""
    raise ValueError(f"{str(path)!r}: expected one of its columns {listed(names)}, received {name!r}.{guess}")


def _whole(path, lines, rows, names, used, missing):
    """The rows without missing values, and a note where some were left out."""
    holes = [[place for place in used if row[place].strip().lower() in _ABSENT] for row in rows]
    count = sum(map(bool, holes))
    if not count:
        return lines, rows, []
    if missing == "error" or count == len(rows):
        first = next(i for i, hole in enumerate(holes) if hole)
        columns = collections.Counter(names[place] for hole in holes for place in hole)
        counts = listed([f"{number} in {name!r}" for name, number in columns.most_common()])
        advice = "Fill them in, or leave out these rows by missing='drop', or columns by drop=[…]."
        raise ValueError(
            f"{str(path)!r}: expected a value in each cell, received {count} of {len(rows)} rows with missing values, "
            f"the first in line {lines[first]}: {counts}. {advice}"
        )
    kept = [i for i, hole in enumerate(holes) if not hole]
    note = f"{count:,} of {len(rows):,} rows have missing values, and were left out."
    return [lines[i] for i in kept], [rows[i] for i in kept], [note]


def _numbers(path, cells, name, lines):
    """A column as float64."""
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        wrong = next(i for i, cell in enumerate(cells) if not _is_number(cell))
        raise _no_number(path, cells, wrong, name, lines) from None
    if not np.isfinite(values).all():
        raise _no_number(path, cells, int(np.flatnonzero(~np.isfinite(values))[0]), name, lines)
    return values


def _no_number(path, cells, wrong, name, lines):
    cell = cells[wrong].strip()
    texts = [cell for cell in cells if not _is_number(cell)]
    if cell == name:
        advice = "The line repeats the header."
    elif wrong == 0 and len(texts) == 1:
        advice = "If the first row is a header, say header=True."
    elif cell.replace(",", "", 1).lstrip("+-").isdigit():
        advice = "Write numbers with a decimal point."
    elif len(texts) > len(cells) // 2:
        advice = (
            f"If the column holds the classes, say label={name!r}. If it is no number, leave it out: drop=[{name!r}]."
        )
    else:
        advice = "Correct the cell, or leave out the line."
    return ValueError(
        f"{str(path)!r}, line {lines[wrong]}, column {name!r}: expected a number, received {cell!r}. {advice}"
    )


def _check_numbering(path, x, names):
    """Refuses a column that numbers the rows: where the file is sorted by class, it gives the label away."""
    if len(x) < _FEWEST_NUMBERED:
        return
    for values, name in zip(x.T, names, strict=True):
        if (np.diff(values) == 1).all():
            raise ValueError(
                f"{str(path)!r}: expected measurements, received the column {name!r}, which numbers the rows. Leave it "
                f"out by drop=[{name!r}], or keep it by drop=[]."
            )


def _wrong(path, expected, received):
    return ValueError(f"{str(path)!r}: expected {expected}, received {received}.")
