"""Pins: what must not change by accident, as data files in `tests/pins`.

`python -m tools.pins` writes them and says what changed; `tests/test_pins*.py` compare the present values with them.
Both call `present` of a part, so that they never disagree about what is measured. A part is a module with

- `FILE`: name of its data file;
- `present()`: {name of an entry: dict of numbers, texts, arrays and lists};
- `tolerance(name, key)`: how far the value `key` of an entry may move, see `tools.pins.rounding`.

What a name or a text means is found in the part's own docstring, and so is what is not pinned.
"""

import importlib

from tools.pins import storage
from tools.pins.comparing import differences

# In the order in which the command writes them. "version_0_1" is written once, see there.
PARTS = ("names", "kernels", "version_0_1", "certificates", "explorers")


def load(name):
    """The module of a part.

    Args:
        name: One of `PARTS`.

    Raises:
        ValueError: If it is none of them.
    """
    if name not in PARTS:
        raise ValueError(f"Expected one of {', '.join(PARTS)}. Received: {name!r}")
    return importlib.import_module(f"tools.pins.{name}")


def path_of(part):
    """Where the data of a part lie."""
    return storage.FOLDER / part.FILE


def changes(part, pinned, present):
    """What differs between pinned and present entries.

    Args:
        part: Module of a part.
        pinned: Entries of its file, by name.
        present: Entries as `part.present` computes them.

    Returns:
        A dict from the name of an entry that differs to a list of sentences, each with an old and a new value.
    """
    found = {}
    for name in dict.fromkeys((*pinned, *present)):
        if name not in present:
            found[name] = ["is pinned, and there is none any more"]
        elif name not in pinned:
            found[name] = ["is new"]
        else:
            sentences = differences(pinned[name], present[name], lambda key, name=name: part.tolerance(name, key))
            if sentences:
                found[name] = sentences
    return found


def report(part, count, found, most=12):
    """What changed, in words.

    Args:
        part: Module of a part.
        count: Number of entries.
        found: As `changes` returns it.
        most: Number of sentences that are written out.

    Returns:
        Lines of text, joined.
    """
    if not found:
        return f"{part.FILE}: none of {count} entries changed"
    if len(found) == count and all(sentences == ["is new"] for sentences in found.values()):
        return f"{part.FILE}: all {count} entries are new"
    lines = [f"{name}: {sentence}" for name, sentences in found.items() for sentence in sentences]
    left = [f"… and {len(lines) - most} more"] if len(lines) > most else []
    head = f"{part.FILE}: {len(found)} of {count} entries changed:"
    return "\n  ".join([head, *lines[:most], *left])
