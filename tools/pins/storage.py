"""Reads and writes the data files, such that a diff of them can be read."""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[2] / "tests" / "pins"
_WIDTH = 118


def read(path):
    """Entries of a data file by name.

    Args:
        path: Ends with .json, .npz or .txt, or is a folder with an .npz file for each entry.
    """
    if path.is_dir():
        return {file.stem: _arrays(file) for file in sorted(path.glob("*.npz"))}
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".txt":
        return dict(_named(line) for line in path.read_text(encoding="utf-8").splitlines())
    entries = {}
    for name, value in _arrays(path).items():
        entry, _, key = name.rpartition("/")
        entries.setdefault(entry, {})[key] = value
    return entries


def _arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def write(path, entries):
    """Write entries to a data file, see `read`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(_json(entries) + "\n", encoding="utf-8")
    elif path.suffix == ".txt":
        path.write_text("".join(f"{name}{entry['is']}\n" for name, entry in entries.items()), encoding="utf-8")
    else:
        arrays = {f"{name}/{key}": value for name, entry in entries.items() for key, value in entry.items()}
        np.savez_compressed(path, **arrays)


def _json(value, indent=""):
    """JSON with a line for each part that fits on one."""
    flat = json.dumps(value, ensure_ascii=False)
    if (len(indent) + len(flat) <= _WIDTH and indent.count(" ") >= 2) or not isinstance(value, dict | list):
        return flat
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {_json(part, inner)}" for key, part in value.items()]
    else:
        parts = [_json(part, inner) for part in value]
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{right}"


def _named(line):
    """A line of `names.txt`, split where the name ends; names of the command's options hold spaces."""
    if line.startswith("lipviz (command)"):
        end = min(at for mark in (":", " takes ") if (at := line.find(mark)) > 0)
    else:
        end = min((at for at in (line.find("("), line.find(" ")) if at > 0), default=len(line))
    return line[:end], {"is": line[end:]}
