"""What the tests of the pins share."""

import os

import keras
import pytest

from tools import pins
from tools.pins import storage


def assert_unchanged(part, names=None):
    """Compare the present values of a part with its data file.

    Args:
        part: Module of `tools.pins`.
        names: Entries to measure, where the part can choose; all by default.
    """
    pinned, present = storage.read(pins.path_of(part)), part.present(names) if names else part.present()
    assert len(pinned) > 4
    if names or keras.backend.backend() != "tensorflow":  # where a part of the cases is measured
        pinned = {name: entry for name, entry in pinned.items() if name in present}
    found = pins.changes(part, pinned, present)
    if found:
        name = part.__name__.rpartition(".")[2]
        how = f"`python -m tools.pins {name}`, in a commit that says why"
        if hasattr(part, "write_once"):
            how = "nothing: what version 0.1 wrote must load and predict the same for ever"
        text = pins.report(part, len(pinned), found)
        pytest.fail(f"{text}{os.linesep}If this is meant, what updates the pins is {how}.", pytrace=False)
