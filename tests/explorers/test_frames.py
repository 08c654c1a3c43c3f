"""Pictures of an explorer in several states, on the same axes."""

import io
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lipviz import explorers
from lipviz.explorers.frames import frames, of_control, of_work

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bjorck():
    explorer = explorers.BjorckExplorer()
    yield explorer
    explorer.close()


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


def test_a_control_moves_and_everything_else_stays(bjorck):
    moments = list(of_control(bjorck, "maxiter_bjorck", [0, 3]))
    assert [moment.state["maxiter_bjorck"] for moment in moments] == [0, 3]
    assert [moment.data.iterations for moment in moments] == [0, 3]
    assert moments[0].state | {"maxiter_bjorck": 3} == moments[1].state


def test_a_value_that_cannot_be_shown_is_an_error(bjorck):
    with pytest.raises(ValueError, match="shows an error"):
        list(of_control(bjorck, "maxiter_bjorck", [999]))
    with pytest.raises(ValueError, match="Received: iterations"):
        list(of_control(bjorck, "iterations", [1]))


def test_a_refused_value_is_an_error_before_anything_is_trained():
    explorer = explorers.BoundaryExplorer()
    with pytest.raises(ValueError, match="`steps` takes"):
        list(of_control(explorer, "steps", [10_000], work=True))
    assert explorer.work_state == "idle"
    explorer.close()


def test_axes_keep_their_limits(bjorck):
    moments = list(of_control(bjorck, "smallest", [1.0, 1e-3]))
    own = []
    for moment in moments:
        frames(bjorck, [moment])
        own.append(bjorck.figure.axes[0].get_ylim())
    shown = frames(bjorck, moments)
    assert own[0] != own[1]
    assert bjorck.figure.axes[0].get_ylim() == (min(low for low, _ in own), max(high for _, high in own))
    assert [frame.statement for frame in shown] == [bjorck.statement(moment.data) for moment in moments]
    assert [frame.alt for frame in shown] == [bjorck.alt_text(moment.data) for moment in moments]
    assert not np.array_equal(pixels(shown[0].panels[0]), pixels(shown[1].panels[0]))
    assert shown[0].panels[0].alt == shown[0].alt


@pytest.mark.slow
def test_work_is_shown_from_its_beginning_to_its_end():
    explorer = explorers.BoundaryExplorer()
    explorer.state = {"steps": 50, "width": 4, "depth": 1}
    moments = of_work(explorer, [0, 0.4, 1])
    assert [len(moment.data.losses) for moment in moments] == [0, 20, 50]
    assert explorer.work_state == "idle"
    first, *_, last = frames(explorer, moments)
    # The axis of losses has none to fit before the first step: it keeps the limits of the others.
    assert explorer.figure.axes[1].get_ylim()[1] < 1
    assert first.panels[0].width == last.panels[0].width
    explorer.close()


@pytest.mark.lists
def test_every_explorer_and_every_lesson_has_a_slider_on_the_site():
    tables = tomllib.loads((ROOT / "docs" / "frames.toml").read_text(encoding="utf-8"))
    names = {entry.name for entry in explorers.entries()}
    lessons = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}
    assert set(tables) == names | lessons, "enter a slider in docs/frames.toml, and look at it on the built page"
    assert all(len(table["values"]) >= 8 for table in tables.values())
    assert sum(len(table["values"]) for table in tables.values()) <= 9 * len(tables)
    assert all(tables[name]["explorer"] == name for name in names)
