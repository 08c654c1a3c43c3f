"""Which controls stay beside the picture of each explorer, and how the others are shown."""

import ipywidgets as widgets
import pytest

from lipviz import explorers
from lipviz.explorers.shell import page
from lipviz.explorers.shell.disclosure import Disclosure
from tools.pins.explorers import _undrawn


@pytest.mark.parametrize("entry", explorers.entries(), ids=lambda entry: entry.name)
def test_two_to_four_controls_with_an_effect_stay_beside_the_picture(entry):
    explorer = _undrawn(entry)
    # Every value of every choice: which controls have an effect depends on them.
    for name, control in explorer.controls.items():
        for value in _values(control):
            used = explorer.enabled({**explorer.state, name: value}).intersection(explorer.essentials)
            assert 2 <= len(used) <= 4, f"{sorted(used)} at {name} = {value!r}"
    shown = list(page.all_widgets(explorer.widget))
    for name, control in explorer.controls.items():
        assert sum(widget is control for widget in shown) == 1, f"{name} is not on the page once"
        assert control.description[0].isupper()
        assert "_" not in control.description
    assert ("more" in explorer.buttons) == bool(set(explorer.controls) - set(explorer.essentials))
    explorer.close()


def _values(control):
    if isinstance(control, widgets.Checkbox):
        return [False, True]
    return [value for _, value in control.options] if hasattr(control, "options") else [control.value]


def test_a_button_shows_and_hides_a_box():
    disclosure = Disclosure("settings", [widgets.Label("one")])
    assert not disclosure.is_open
    assert disclosure.box.layout.display == "none"
    assert disclosure.button.description == "More settings"
    disclosure.button.click()
    assert disclosure.is_open
    assert disclosure.box.layout.display is None
    assert disclosure.button.description == "Fewer settings"
    disclosure.button.click()
    assert not disclosure.is_open


def test_state_and_reset_cover_hidden_controls():
    explorer = _undrawn(explorers.find("bjorck"))
    explorer.state = {"rows": 3, "eps_bjorck": 0.01}
    assert explorer.state["rows"] == 3
    explorer.reset()
    assert (explorer.state["rows"], explorer.state["eps_bjorck"]) == (64, 1e-3)
    explorer.close()
