"""The anatomy of explorers, on one that is as small as they get."""

import asyncio
import base64
import csv
import html
import io
import json
import re
import threading
import time

import numpy as np
import pytest
from PIL import Image

from lipviz import measure
from lipviz.explorers.shell import base, controls, page
from lipviz.explorers.shell.base import Explorer
from tests.explorers.small import DEFAULTS, Small, Working
from tests.support import living_widgets


def source(explorer):
    """What the page shows as a picture: the sources of all panels."""
    return explorer._image.panels


# --- state ---


def test_it_starts_with_a_picture_and_its_defaults(explorer):
    assert explorer.state == DEFAULTS
    assert explorer.error is None
    assert explorer.data.shape == (4, 4)
    assert source(explorer)[0].startswith(b"\x89PNG")
    assert "shape 4 × 4" in explorer._image.alt


def test_a_moved_slider_shows_at_once(explorer):
    before = source(explorer)
    explorer.controls["seed"].value = 3
    assert source(explorer) == before  # the spectrum is the same
    explorer.controls["smallest"].value = 0.01
    assert source(explorer) != before
    assert explorer.data.smallest == pytest.approx(0.01)
    assert "0.0100" in explorer._results.value


def test_the_front_end_moves_the_slider(explorer):
    before = source(explorer)
    explorer.controls["size"].set_state({"value": 7})
    assert explorer.state["size"] == 7
    assert explorer.data.shape == (7, 7)
    assert source(explorer) != before


def test_the_state_makes_a_round_trip(explorer):
    explorer.state = {"size": 6, "smallest": 0.02, "spectrum": "one small"}
    kept, picture = explorer.state, source(explorer)
    assert kept == {**DEFAULTS, "size": 6, "smallest": 0.02, "spectrum": "one small"}
    explorer.reset()
    assert source(explorer) != picture
    explorer.state = kept
    assert explorer.state == kept
    assert source(explorer) == picture


def test_a_state_of_several_values_is_computed_once(explorer):
    explorer.computed.clear()
    explorer.state = {"size": 6, "seed": 2, "smallest": 0.3}
    assert explorer.computed == [(6, 2)]


def test_reset_restores(explorer):
    before = source(explorer)
    explorer.controls["size"].value = 2
    explorer.controls["spectrum"].value = "one small"
    assert explorer.buttons["reset"].description == "Reset"
    explorer.buttons["reset"].click()
    assert explorer.state == DEFAULTS
    assert source(explorer) == before


def test_controls_that_do_not_matter_are_greyed_out(explorer):
    explorer.state = {"size": 1}
    assert [name for name, control in explorer.controls.items() if control.disabled] == ["smallest"]
    explorer.state = {"size": 2}
    assert not explorer.controls["smallest"].disabled


# --- errors ---


def test_an_error_is_shown_and_cleared(explorer):
    before = source(explorer)
    explorer.controls["seed"].value = 13
    assert isinstance(explorer.error, ValueError)
    assert 'role="alert"' in explorer._alert.value
    assert "`seed` must not be 13 &lt;today&gt;. Received: 13" in explorer._alert.value
    assert "last values" in explorer._alert.value
    assert source(explorer) == before
    explorer.controls["seed"].value = 12
    assert explorer.error is None
    assert explorer._alert.value == ""


@pytest.mark.parametrize("act", ["move", "drag"])
def test_ctrl_c_is_shown_ends_the_cell_and_the_next_move_is_answered(act, explorer, monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    before, moves = source(explorer), {"move": explorer.refresh, "drag": lambda: explorer._drag("seed", 3)}
    with monkeypatch.context() as patch:
        patch.setattr(explorer, "compute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            moves[act]()
    assert "The kernel was interrupted. Move a control" in explorer._alert.value
    assert source(explorer) == before
    explorer.controls["size"].value = 5
    assert (explorer.error, explorer._alert.value) == (None, "")
    assert source(explorer) != before


def test_an_error_in_a_panel_of_another_size_is_shown(explorer, monkeypatch):
    def broken(*_):
        raise KeyError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(explorer, "draw", broken)
        explorer._fit(explorer._room.size)
    assert "KeyError" in explorer._alert.value
    explorer.refresh()
    assert (explorer.error, explorer._alert.value) == (None, "")


def test_an_unexpected_error_is_shown_with_its_kind(explorer):
    explorer.controls["seed"].set_state({"value": 14})
    assert isinstance(explorer.error, KeyError)
    assert "KeyError" in explorer._alert.value


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 99}, "`size` takes 1 to 9. Received: 99"),
        ({"smallest": 1e-9}, "`smallest` takes 0.001 to 1"),
        ({"smallest": 2.0}, "[0, 1]"),  # the computation itself knows better
        ({"size": "many"}, "Received"),
        ({"spectrum": "odd"}, "one of 'even', 'one small'"),
        ({"seed": 5, "share": float("nan")}, "`share` takes 0 to 1. Received: nan"),
    ],
)
def test_a_state_that_cannot_be_is_refused_as_a_whole(explorer, values, words):
    before = source(explorer)
    explorer.state = values
    assert words in str(explorer.error)
    assert explorer.state == DEFAULTS
    assert source(explorer) == before
    explorer.reset()
    assert explorer.error is None


def test_an_unknown_name_is_an_error_of_the_program(explorer):
    with pytest.raises(ValueError, match=r"size, smallest, share, seed, spectrum.*Received: colour"):
        explorer.state = {"colour": 1}


def test_an_explorer_may_begin_with_an_error():
    class Unlucky(Small):
        def make_controls(self):
            groups = super().make_controls()
            groups["Draw"]["seed"].value = 13
            return groups

    explorer = Unlucky()
    assert explorer.data is None
    assert "last values" not in explorer._alert.value
    assert "text/html" not in explorer._repr_mimebundle_()
    with pytest.raises(ValueError, match="must not be 13"):
        explorer.static()
    explorer.state = {"seed": 1}
    assert explorer.error is None
    assert explorer.data is not None
    explorer.close()


# --- dragging ---


def tell(explorer, **content):
    """What a page says of a slider that is dragged; nothing at its end."""
    explorer._image._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


def test_a_dragged_slider_shows_where_it_is_and_changes_the_state_at_its_end(explorer):
    before = source(explorer)
    tell(explorer, name="smallest", position=-2.5, number=4)
    assert explorer.data.smallest == pytest.approx(10**-2.5)
    assert explorer.state == DEFAULTS
    assert source(explorer) != before
    assert explorer._image.answered == 4
    tell(explorer)  # back where it was, so the slider itself sends nothing
    assert source(explorer) == before
    assert explorer.data.smallest == pytest.approx(0.1)


def test_axes_keep_their_limits_until_a_slider_is_let_go(explorer):
    (ax,) = explorer.figure.axes
    before = ax.get_xlim(), ax.get_ylim(), ax.get_yticks().tolist()
    for number, size in enumerate((9, 2, 7)):
        tell(explorer, name="size", position=size, number=number)
        assert explorer.data.shape == (size, size)
        assert (ax.get_xlim(), ax.get_ylim(), ax.get_yticks().tolist()) == before
    explorer.controls["size"].set_state({"value": 7})
    tell(explorer)
    assert ax.get_xlim()[1] > before[0][1]
    of_seven = source(explorer)
    explorer.reset()
    explorer.state = {"size": 7}
    assert source(explorer) == of_seven


def test_only_the_newest_position_is_answered(explorer):
    async def drag():
        for number in range(1, 6):
            tell(explorer, name="size", position=3 + number, number=number)
        await asyncio.sleep(0.01)  # what has come is answered before this returns
        assert explorer._image.answered == 5
        tell(explorer, name="size", position=1, number=6)
        explorer.controls["size"].set_state({"value": 6})
        tell(explorer)
        await asyncio.sleep(0.01)

    explorer.computed.clear()
    asyncio.run(drag())
    assert [size for size, _ in explorer.computed] == [8, 6]
    assert explorer.data.shape == (6, 6)


def test_an_error_in_a_drag_is_shown_and_the_drag_goes_on(explorer):
    for seed, message in ((13, "must not be 13"), (14, "KeyError")):
        tell(explorer, name="seed", position=seed, number=seed)
        assert message in explorer._alert.value
        assert explorer._image.answered == seed
    tell(explorer, name="seed", position=15, number=15)
    assert explorer._alert.value == ""
    tell(explorer)
    assert explorer.error is None


@pytest.mark.parametrize(
    ("control", "position", "value"),
    [
        (base.slider("", 4, 1, 9, 1, ""), 5.0000001, 5),
        (base.slider("", 0.5, 0.0, 1.0, 0.1, ""), 0.30000000000000004, 0.3),
        (base.slider("", 0.5, 0.0, 1.0, 0.1, ""), 1.2, 1.0),
        (base.log_slider("", 0.1, -3, 0, ""), -2, 0.01),
    ],
)
def test_value_at(control, position, value):
    found = controls.value_at(control, position)
    assert found == pytest.approx(value, rel=1e-15)
    assert type(found) is type(control.value)


# --- anatomy ---


def test_every_control_has_a_label_a_help_text_and_waits_for_release(explorer):
    for control in explorer.controls.values():
        assert control.description
        assert control.tooltip
        assert getattr(control, "continuous_update", False) is False
        assert getattr(control, "readout", True)


def test_text_is_escaped(explorer):
    page = explorer.widget.children[0].value + explorer._results.value
    assert "Small &lt;explorer&gt;" in page
    assert "σ &lt; 1.0 &amp; more." in page
    assert 'role="status"' in explorer._results.value


def test_it_shows_itself(explorer):
    bundle = explorer._repr_mimebundle_()
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == explorer.widget.model_id
    assert 'alt="Singular values' in bundle["text/html"]
    assert bundle["text/plain"] == repr(explorer)
    assert repr(explorer).startswith("Small(size=4, smallest=0.1")


def test_the_static_picture_is_the_present_one(explorer):
    first = explorer.static()
    explorer.controls["size"].value = 8
    second = explorer.static()
    assert first.png != second.png
    assert "8 × 8" in second.alt


def test_the_base_leaves_the_work_to_its_subclasses():
    with pytest.raises(TypeError, match="abstract"):
        Explorer()


def test_closing_removes_every_widget():
    explorer = Small()
    widgets = list(page.all_widgets(explorer.widget))
    assert len(widgets) > 10
    explorer.close()
    assert all(widget.comm is None for widget in widgets)


def test_closing_leaves_no_model_of_a_widget():
    before = living_widgets()
    explorer = Small()
    assert len(living_widgets() - before) > 50  # each widget has a layout, and most a style: models of their own
    explorer.close()
    assert living_widgets() == before


# --- threads ---


def test_threads_take_turns_and_the_newest_request_wins():
    inside, all_asked = threading.Event(), threading.Event()
    all_asked.set()

    class Slow(Small):
        def compute(self, **state):
            self.running += 1
            self.most = max(self.most, self.running)
            inside.set()
            assert all_asked.wait(300)
            self.running -= 1
            return super().compute(**state)

        running = most = 0

    explorer = Slow()
    explorer.computed.clear()
    inside.clear()
    all_asked.clear()
    threads = []
    for size in range(5, 10):
        asked = explorer._asked
        threads.append(threading.Thread(target=explorer.controls["size"].set_state, args=({"value": size},)))
        threads[-1].start()
        assert inside.wait(300)  # the first one computes, and the others wait for it
        while explorer._asked == asked:
            time.sleep(0.001)
    all_asked.set()
    for thread in threads:
        thread.join()
    assert explorer.error is None
    assert explorer.most == 1
    assert explorer.data.shape == (9, 9)
    assert [size for size, _ in explorer.computed] == [5, 9]  # what had been overtaken was left out
    explorer.close()


def ink(explorer):
    """Number of dark pixels of the picture."""
    png = source(explorer)[0]
    return (np.asarray(Image.open(io.BytesIO(png)).convert("L")) < 160).sum()


def test_many_fast_moves_leave_no_corrupt_picture(explorer):
    inks = []
    for i in range(24):
        explorer.controls["size"].value = 2 + i % 8
        assert explorer.error is None
        inks.append(ink(explorer))
    assert inks[:8] == inks[8:16] == inks[16:]
    assert max(inks) < 2 * min(inks)


def test_other_renderings_of_the_figure_do_not_disturb_the_picture(explorer):
    explorer.controls["smallest"].value = 0.05
    before = ink(explorer), source(explorer)
    explorer._repr_mimebundle_()
    explorer.figure.savefig(io.BytesIO(), dpi=30, format="svg")
    explorer.controls["smallest"].value = 0.06
    assert ink(explorer) == pytest.approx(before[0], rel=0.05)
    explorer.controls["smallest"].value = 0.05
    assert source(explorer) == before[1]


# --- long work ---


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "lipviz-explorer"]


@pytest.fixture
def working():
    explorer = Working()
    yield explorer
    explorer.gate.set()
    explorer.close()
    assert workers() == []


def test_work_runs_in_a_thread_and_draws_each_piece(working):
    pictures = []
    working._image.observe(lambda change: pictures.append(change["new"]), names="panels")
    working.start()
    assert working.wait(300)
    assert [i for _, i in working.worked] == [1, 2, 3, 4, 5]
    assert len(pictures) == 5
    assert working.data.shape == (5, 5)
    assert working._bar.value == 1
    assert working._bar.description == "done 100 %"
    assert working.work_state == "idle"
    assert workers() == []


def test_the_buttons_start_pause_step_and_stop(working):
    start, step, stop = (working.buttons[name] for name in ("start", "step", "stop"))
    assert (start.description, stop.disabled) == ("Start", True)
    step.click()
    assert not working.wait(300)
    assert working.data.shape == (1, 1)
    assert (start.description, stop.disabled) == ("Continue", False)
    step.click()
    working.wait(300)
    assert working.data.shape == (2, 2)
    working.gate.clear()
    start.click()
    assert start.description == "Pause"
    start.click()
    assert start.description == "Continue"
    working.gate.set()
    assert not working.wait(300)
    shown = working.data.shape
    stop.click()
    assert working.wait(300)
    assert start.description == "Start"
    assert working.data.shape == shown
    start.click()
    assert working.wait(300)
    assert working.worked[-5:] == [(0, i) for i in range(1, 6)]  # from the beginning


def test_the_newest_work_wins(working):
    working.gate.clear()
    for seed in (1, 2, 3):
        working.start(lambda seed=seed: working.work(4, seed))
    working.gate.set()
    assert working.wait(300)
    assert working.worked[-5:] == [(3, i) for i in range(1, 6)]
    assert all(i == 1 for seed, i in working.worked if seed != 3)
    assert working.data.shape == (5, 5)


def test_a_control_that_restarts_begins_anew_and_another_does_not(working):
    working.controls["seed"].value = 4
    assert working.wait(300)
    assert [seed for seed, _ in working.worked] == [4] * 5
    forgotten = working.forgotten
    working.controls["size"].value = 6
    assert working.work_state == "idle"
    assert working.data.shape == (6, 6)
    assert working.forgotten == forgotten
    working.state = {"seed": 13}  # what cannot be computed is not begun
    assert working.work_state == "idle"
    assert "must not be 13" in str(working.error)


def test_a_control_that_restarts_says_so_while_it_is_dragged_and_shows_a_preview(working):
    before, computed = source(working), len(working.computed)
    tell(working, name="seed", position=7, number=1)
    assert "Let go of the slider to begin again with seed 7." in working._results.value
    assert (source(working), len(working.computed), working.worked) == (before, computed, [])
    working.preview = lambda data, state: measure.singular_values(np.eye(state["seed"]))
    tell(working, name="seed", position=3, number=2)
    assert source(working) != before
    assert working.data.shape == (4, 4)
    tell(working)  # back where it was
    assert source(working) == before
    assert "Let go" not in working._results.value


def test_the_work_of_others_does_not_replace_the_preview(working):
    working.start(paused=True)
    tell(working, name="seed", position=7, number=1)
    working.step()
    working.wait(300)
    assert working._bar.value == 0.2
    assert "Let go" in working._results.value
    assert working.data.shape == (4, 4)


def test_the_work_begins_with_the_first_page_where_it_shall(working):
    working._kept.widgets[1].set_state({"value": "{}"})
    assert working.work_state == "idle"
    again = Working()
    again.works_at_once = True
    try:
        assert again.work_state == "idle"
        again._kept.widgets[1].set_state({"value": "{}"})
        assert again.wait(300)
        assert [i for _, i in again.worked] == [1, 2, 3, 4, 5]
        again._begin()  # it has been done
        assert again.work_state == "idle"
    finally:
        again.close()


def test_reset_ends_the_work(working):
    working.start(paused=True)
    working.step()
    working.wait(300)
    working.reset()
    assert working.wait(300)
    assert working.data.shape == (4, 4)
    assert working._bar.value == 0
    assert working.worked == [(0, 1)]


@pytest.mark.parametrize("has_page", [True, False])
def test_an_explorer_that_was_on_a_page_forgets_its_work_when_it_is_closed(has_page, monkeypatch):
    did = []
    monkeypatch.setattr(base._memory, "give_back", lambda: did.append("gave back"))
    explorer = Working()
    explorer.gate.set()
    explorer._kept._text.value = "{}" if has_page else ""
    explorer.forget = lambda: did.append("forgot")
    explorer.close()
    assert did == ["forgot", "gave back"] * has_page


def test_an_error_of_the_work_is_shown_in_place(working):
    working.controls["seed"].value = 15
    assert working.wait(300)
    assert isinstance(working.error, KeyError)
    assert "halfway" in working._alert.value
    working.controls["seed"].value = 2
    assert working.wait(300)
    assert working.error is None
    assert working._alert.value == ""


def test_closing_ends_paused_work(working):
    working.start(paused=True)
    assert not working.wait(300)
    assert len(workers()) == 1
    working.close()
    assert workers() == []


def test_waiting_has_a_limit_and_work_cannot_wait_for_itself(working):
    working.gate.clear()
    working.start()
    assert not working.wait(0.05)
    working.gate.set()
    assert working.wait(300)

    def itself():
        working.wait()
        yield

    working.start(itself)
    working.wait(300)
    assert "wait for itself" in str(working.error)


def test_an_explorer_without_work_has_no_buttons_for_it(explorer):
    assert set(explorer.buttons) == {"more", "reset", "png", "svg", "csv", "code"}
    with pytest.raises(TypeError, match="no long work"):
        explorer.work()


# --- files ---


def test_the_picture_and_the_numbers_are_saved(explorer, tmp_path):
    for kind in ("png", "svg", "csv"):
        explorer.save(tmp_path / f"small.{kind}")
    with Image.open(tmp_path / "small.png") as image:
        assert image.width > 900
    svg = (tmp_path / "small.svg").read_text()
    assert "<svg" in svg
    assert "Singular values" in svg
    with (tmp_path / "small.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["quantity", "value"], ["smallest", "0.1000"]]
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.csv.*small\.pdf"):
        explorer.save(tmp_path / "small.pdf")


@pytest.mark.parametrize("kind", ["png", "svg", "csv"])
def test_a_button_offers_a_download(explorer, kind):
    explorer.buttons[kind].click()
    found = re.search(r'download="([^"]+)" href="data:([^;]+);base64,([^"]+)"', explorer._files.value)
    assert found[1] == f"small-explorer.{kind}"
    assert base64.b64decode(found[3]) == explorer._encoded(kind)
    explorer.controls["size"].value = 5
    assert explorer._files.value == ""  # it belonged to the picture before


def test_code_without_more_is_that_of_the_explorer(explorer):
    explorer.controls["size"].value = 13 - 7
    text = explorer.code()
    assert text.startswith(f"from {Small.__module__} import Small\n\nexplorer = Small()\nexplorer.state = dict(")
    assert text.endswith("\nexplorer\n")
    made = {}
    exec(text, made)
    assert made["explorer"].state == explorer.state
    made["explorer"].close()


def test_the_code_is_that_of_the_picture_not_of_a_state_without_one(explorer):
    before = explorer.code()
    explorer.controls["seed"].value = 13
    assert explorer.error is not None
    assert explorer.code() == before


def test_a_button_offers_the_code(explorer, monkeypatch):
    explorer.buttons["code"].click()
    assert f">{html.escape(explorer.code())}</pre>" in explorer._files.value
    monkeypatch.setattr(explorer, "code_lines", lambda data, state: [][0])
    explorer.buttons["code"].click()
    assert "IndexError" in explorer._alert.value


def test_a_table_that_fails_is_shown_in_place(explorer, monkeypatch):
    monkeypatch.setattr(explorer, "table", lambda data: [][0])
    explorer.buttons["csv"].click()
    assert "IndexError" in explorer._alert.value


def test_the_state_can_be_shared_as_json(explorer):
    explorer.state = {"size": 6, "spectrum": "one small"}
    shared = json.dumps(explorer.state)
    explorer.reset()
    explorer.state = json.loads(shared)
    assert explorer.state["size"] == 6
    assert explorer.error is None


# --- what is drawn ---


def test_what_has_no_name_is_drawn_anew_when_it_changes():
    class Bars(Small):
        def draw(self, data, state):
            (ax,) = self.figure.axes
            ax.clear()
            ax.bar([0, 1], [data.smallest, 1], color="black")

    explorer = Bars()
    before = source(explorer)
    explorer.controls["smallest"].value = 0.5
    assert source(explorer) != before
    explorer.close()


@pytest.mark.slow
def test_images_keep_their_colours():
    class Field(Small):
        def draw(self, data, state):
            (ax,) = self.figure.axes
            ax.clear()
            ax.set_axis_off()
            colour = (1.0, 0.0, 0.0) if data.smallest < 0.5 else (0.0, 0.0, 1.0)
            ax.imshow(np.full((4, 4, 3), colour), gid="field")

    explorer = Field()
    explorer.controls["smallest"].value = 1.0
    png = source(explorer)[0]
    colours = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    assert [0, 0, 255] in colours.tolist()
    explorer.close()
