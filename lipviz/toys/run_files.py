"""Results of trainings as JSON, one a line: for the tables that come with lipviz."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_rows(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Write dicts of numbers, texts and arrays as JSON, one a line. Floats are rounded to five decimals.

    Args:
        rows: The dicts.
        path: File to write.
    """
    lines = [json.dumps({name: _rounded(value) for name, value in row.items()}, ensure_ascii=False) for row in rows]
    Path(path).write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read what `write_rows` wrote, as dicts in which lists are float64 arrays.

    Args:
        path: File.
    """
    rows = json.loads(Path(path).read_text(encoding="utf-8"))
    return [
        {name: np.array(value, float) if isinstance(value, list) else value for name, value in row.items()}
        for row in rows
    ]


def _rounded(value):
    if isinstance(value, np.ndarray):
        return [_rounded(entry) for entry in value.tolist()]
    return round(value, 5) if isinstance(value, float) else value
