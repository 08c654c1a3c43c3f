"""What the tests of the pins share."""

import os

import keras
import pytest

from tools import pins
from tools.pins import storage


def assert_unchanged(part):
    """Compare the present values of a part with its data file.

    Args:
        part: Module of `tools.pins`.
    """
    pinned, present = storage.read(pins.path_of(part)), part.present()
    if keras.backend.backend() != "tensorflow":  # a part of the cases is measured there
        pinned = {name: entry for name, entry in pinned.items() if name in present}
    assert len(pinned) > 4
    found = pins.changes(part, pinned, present)
    if found:
        name = part.__name__.rpartition(".")[2]
        how = f"`python -m tools.pins {name}`, in a commit that says why"
        if hasattr(part, "write_once"):
            how = "nothing: what version 0.1 wrote must load and predict the same for ever"
        text = pins.report(part, len(pinned), found)
        pytest.fail(f"{text}{os.linesep}If this is meant, what updates the pins is {how}.", pytrace=False)
