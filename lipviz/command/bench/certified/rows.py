"""The data file of the benchmark: one JSON object in each line, one line for each network that was trained.

Each row has the keys of `KEYS`. What was asked for is in "settings", and "hash" is that of the settings alone: the
command skips what is there already. Other programs may append rows of other libraries; `ROW` says what they must hold.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEYS: Mapping[str, tuple[type, ...]] = {
    "hash": (str,),
    "library": (str,),
    "layer": (str,),
    "loss": (str,),
    "budget": (str,),
    "seed": (int,),
    "measured_on": (str,),
    "accuracy": (float, int),
    "certified": (dict,),
    "deepfool": (dict,),
    "pgd": (dict,),
    "seconds": (float, int),
    "settings": (dict,),
    "versions": (dict,),
}
"""What each row must hold, with its type; `certified`, `deepfool` and `pgd` are shares by the size of the change."""


def hash_of(settings: Mapping[str, Any]) -> str:
    """Twelve digits that differ if the settings differ."""
    words = json.dumps(settings, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def read(path: Path) -> list[dict[str, Any]]:
    """All rows of a file; none if there is no file.

    Raises:
        ValueError: If a line is no row. The last line may be torn, since its process may have been killed: it counts as
            absent, and `append` removes it.
    """
    whole, _ = _lines(path)
    return [_row(path, number, line) for number, line in enumerate(whole, 1) if line.strip()]


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Writes one more row, as a whole, after removing what a killed process has left of its own."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    _row(path, 0, text)
    whole, torn = _lines(path)
    with path.open("ab") as file:
        if torn:
            file.truncate(path.stat().st_size - len(torn))
        elif whole and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def torn_end(path: Path) -> bool:
    """Whether the last line of a file is no JSON and has no end, so that its process was killed while it wrote it."""
    return bool(_lines(path)[1])


def _lines(path):
    """The lines of a file as text, and the bytes of its torn last line, which are no JSON and have no end."""
    found = path.read_bytes() if path.exists() else b""
    *whole, last = found.split(b"\n")
    if last:
        try:
            json.loads(last)
        except ValueError:  # json.JSONDecodeError and UnicodeDecodeError
            return [line.decode("utf-8", "replace") for line in whole], last
        whole.append(last)
    return [line.decode("utf-8", "replace") for line in whole], b""


def _row(path, number, line):
    where = f"Line {number} of {path}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}. Expected one row in each line") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where} is no row. Expected an object of JSON. Received: {type(row).__name__}")
    for key, kinds in KEYS.items():
        if key not in row or not isinstance(row[key], kinds) or isinstance(row[key], bool):
            received = repr(row[key]) if key in row else "nothing"
            raise ValueError(f"{where}: expected {key!r} to be a {kinds[0].__name__}. Received: {received}")
    if row["hash"] != hash_of(row["settings"]):
        raise ValueError(f"{where}: its hash is not that of its settings. Expected: {hash_of(row['settings'])}")
    return row
