"""What stays of an explorer without its kernel; in a browser, see tests/browser/test_kept.py."""

import base64
import html
import io
import json
import re
import threading

import numpy as np
import pytest
from IPython import display
from PIL import Image

from lipviz import explorers, plots
from lipviz.explorers.shell import kept, registry
from tests.explorers.small import DEFAULTS, Small


@pytest.fixture
def published(monkeypatch):
    """What cells would display: a list of (bundle, other arguments)."""
    found = []
    monkeypatch.setattr(display, "publish_display_data", lambda bundle, **more: found.append((bundle, more)))
    return found


@pytest.fixture
def explorer(monkeypatch):
    monkeypatch.setattr(kept, "_PAUSE", 0.0)
    explorer = Small()
    yield explorer
    explorer.close()


def arrive(explorer, state="{}"):
    """Do what a page does when it shows an explorer."""
    explorer._kept.widgets[1].set_state({"value": state})


def wait_for_keepers():
    for thread in threading.enumerate():
        if thread.name == kept.THREAD:
            thread.join(300)


def state_of(markup):
    return json.loads(re.search(r'data-lipviz-state="([^"]+)"', markup)[1].replace("&quot;", '"'))


def test_a_cell_gets_the_widget_and_next_to_it_the_picture(explorer, published):
    explorer._ipython_display_()
    (widget, _), (picture, more) = published
    assert widget["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.widget.model_id
    assert widget["text/html"] == ""
    assert widget["text/plain"] == repr(explorer)
    assert 'alt="Singular values' in picture["text/html"]
    assert state_of(picture["text/html"]) == DEFAULTS
    assert more["update"] is False
    # The explorer hides the picture as long as it is there itself.
    name = re.search(r'class="lipviz-kept (lipviz-kept-\w+)"', picture["text/html"])[1]
    assert f"<style>.{name} {{ display: none; }}</style>" in explorer._kept.widgets[0].value


def test_what_a_reader_moves_is_kept_when_the_reader_pauses(explorer, published):
    explorer._ipython_display_()
    arrive(explorer)
    explorer.controls["size"].set_state({"value": 6})
    wait_for_keepers()
    picture, more = published[-1]
    assert more == {"update": True, "transient": published[1][1]["transient"]}
    assert state_of(picture["text/html"]) == {**DEFAULTS, "size": 6}
    assert "shape 6 × 6" in picture["text/html"]
    assert state_of(explorer._kept.widgets[0].value) == {**DEFAULTS, "size": 6}


def test_without_a_page_a_notebook_keeps_its_first_picture(explorer, published):
    explorer._ipython_display_()
    explorer.state = {"size": 6}
    wait_for_keepers()
    assert len(published) == 2  # so that a run without a browser always gives the same outputs


def test_an_explorer_begins_with_the_state_that_its_cell_has_kept(explorer):
    arrive(explorer, '{"size": 7, "colour": 1}')
    assert explorer.state["size"] == 7
    assert "colour" in explorer._notice.value
    arrive(explorer, "{")
    assert explorer.state["size"] == 7
    assert "A state is JSON" in explorer._notice.value


def test_nothing_is_kept_of_what_is_closed(explorer, published):
    explorer._ipython_display_()
    arrive(explorer)
    wait_for_keepers()
    count = len(published)
    explorer.close()
    explorer._kept.ask()
    explorer._kept._keep()
    wait_for_keepers()
    assert len(published) == count


def test_a_page_of_the_app_keeps_the_state_in_its_address(explorer, published, monkeypatch):
    assert "history.replaceState" not in explorer._kept.widgets[0].value
    monkeypatch.setenv("VOILA_REQUEST_URL", "http://127.0.0.1:8901/small")
    explorer.follow_address()
    explorer._ipython_display_()
    assert len(published) == 1
    arrive(explorer)
    explorer.controls["seed"].set_state({"value": 6})
    wait_for_keepers()
    assert "history.replaceState" in explorer._kept.widgets[0].value
    assert len(published) == 1


def test_a_gallery_keeps_which_explorer_is_open_and_its_state(published, monkeypatch):
    monkeypatch.setattr(kept, "_PAUSE", 0.0)
    monkeypatch.setattr(registry.Entry, "load", lambda entry: Small)
    gallery = explorers.gallery()
    gallery._ipython_display_()
    assert "lipviz-card" in published[-1][0]["text/html"]
    arrive(gallery)
    gallery.open("bjorck")
    arrive(gallery.explorer)
    gallery.explorer.controls["size"].set_state({"value": 6})
    for _ in range(2):  # the explorer, and then the gallery
        wait_for_keepers()
    found = published[-1][0]["text/html"]
    assert "shape 6 × 6" in found
    again = explorers.gallery()
    arrive(again, json.dumps(state_of(found)))
    assert again.name == "bjorck"
    assert again.explorer.state == {**DEFAULTS, "size": 6}
    arrive(again, '{"explorer": "later"}')
    assert "later" in again._message.value
    assert again.name == "bjorck"
    gallery.close()
    again.close()


def test_the_panels_are_one_picture_with_words():
    class Twice(Small):
        panels = 2

        def draw(self, data, state):
            for ax in self.figure.axes:
                plots.plot_singular_values(data, ax=ax)

    explorer = Twice()
    images = re.findall(r'alt="([^"]*)" src="data:image/png;base64,([^"]+)"', explorer.shown_picture)
    assert [html.unescape(alt) for alt, _ in images] == [explorer.alt_text(explorer.data)]
    whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(images[0][1]))))
    parts = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in explorer._image.panels]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))
    explorer.close()


def test_what_is_asked_for_often_is_done_once():
    done, gate = [], threading.Event()
    pause = kept.Pause(lambda: (done.append(1), gate.set()), 0.05)
    for _ in range(50):
        pause.ask()
    assert gate.wait(300)
    wait_for_keepers()
    assert done == [1]
