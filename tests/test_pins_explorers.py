"""Words and numbers of all explorers at 24 states each, as `tests/pins` holds them."""

import keras
import pytest

from tests.pins_support import assert_unchanged
from tools.pins import explorers, storage


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the networks of some explorers start from TensorFlow's numbers"
)
def test_words_and_numbers():
    assert_unchanged(explorers)


@pytest.mark.lists
def test_every_explorer_is_pinned_at_24_states():
    from lipviz.explorers import entries

    pinned = storage.read(storage.FOLDER / explorers.FILE)
    names = {entry.name for entry in entries()}
    assert not names - explorers.COMPUTED.keys(), "say what rounds, in COMPUTED of tools/pins/explorers.py"
    assert not [name for name in names if f"{name}, controls" not in pinned], "run `python -m tools.pins explorers`"
    for entry in entries():
        shown = [pinned[f"{entry.name}, state {i}"] for i in range(24)]
        assert sum("alt" in state for state in shown) >= 16, f"too many states of '{entry.name}' are refused"
        states = [tuple(state["state"].items()) for state in shown]
        too_few = f"states of '{entry.name}' repeat: let fewer stand at an end, in _AT_ENDS of tools/pins/explorers.py"
        assert len(set(map(str, states))) == 24, too_few
