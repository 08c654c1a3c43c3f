"""The list of explorers, and the gallery that shows them."""

import gc
import html
import subprocess
import sys
import weakref

import pytest

from lipviz import explorers
from lipviz.explorers.shell import cards, page, registry
from lipviz.explorers.shell import gallery as shell_gallery
from lipviz.explorers.shell.base import Explorer
from tests.support import living_widgets


@pytest.fixture
def gallery():
    gallery = explorers.gallery()
    yield gallery
    gallery.close()


@pytest.fixture
def recorder(monkeypatch):
    """In place of explorers that take seconds to make: one that counts, and one that cannot be made."""
    made = []

    class Quick(Explorer):
        title = "Quick"

        def __init__(self):
            made.append(self)
            self.is_closed = False
            super().__init__()

        def make_controls(self):
            return {}

        def compute(self):
            return 1

        def draw(self, data, state): ...

        def alt_text(self, data):
            return "Nothing."

        def statement(self, data):
            return "It is so."

        def close(self):
            self.is_closed = True
            super().close()

    def load(entry):
        if entry.name == "boundaries":
            raise ImportError("no <luck>")
        return Quick

    monkeypatch.setattr(registry.Entry, "load", load)
    return made


def test_the_list_names_explorers_that_exist():
    entries = explorers.entries()
    names = [entry.name for entry in entries]
    assert {"bjorck", "boundaries", "wasserstein"} <= set(names)
    assert len({entry.title for entry in entries}) == len(names)
    for entry in entries:
        assert entry.sentence.endswith(".")
        assert entry.class_name in explorers.__all__


@pytest.mark.parametrize("entry", explorers.entries(), ids=lambda entry: entry.name)
def test_each_class_has_its_anatomy(entry):
    kind = entry.load()
    assert getattr(explorers, entry.class_name) is kind
    assert issubclass(kind, Explorer)
    assert kind.__name__.endswith("Explorer") or entry.name == "playground"
    assert kind.title
    assert kind.help_text.endswith(".")
    assert kind.__doc__


@pytest.mark.parametrize("name", ["bjorck", "BJORCK", "BjorckExplorer"])
def test_an_explorer_is_found_by_its_names(name):
    assert explorers.find(name).class_name == "BjorckExplorer"


@pytest.mark.parametrize("name", ["", "nothing", None, "bjorck "])
def test_another_name_is_refused_with_a_list(name):
    with pytest.raises(ValueError, match=r"bjorck.*Received"):
        explorers.find(name)


def test_unknown_attributes_are_refused():
    with pytest.raises(AttributeError, match="Colour"):
        explorers.ColourExplorer  # noqa: B018
    assert "gallery" in dir(explorers)


def test_the_list_imports_nothing_heavy():
    program = (
        "import sys; sys.argv = ['lipviz']; from lipviz import explorers; explorers.entries();"
        "print({'ipywidgets', 'keras', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_the_gallery_makes_nothing_before_it_is_asked(gallery, recorder):
    assert recorder == []
    assert list(gallery.buttons) == [entry.name for entry in explorers.entries()]
    for entry in explorers.entries():
        assert gallery.buttons[entry.name].description == entry.title
        assert gallery.buttons[entry.name].tooltip == entry.sentence


def test_one_is_open_at_a_time(gallery, recorder):
    gallery.buttons["bjorck"].click()
    assert gallery.name == "bjorck"
    assert gallery._place.children == (recorder[0].widget,)
    assert gallery.buttons["bjorck"].button_style == "primary"
    gallery.open("WassersteinExplorer")
    assert recorder[0].is_closed
    assert not recorder[1].is_closed
    assert gallery.explorer is recorder[1]
    assert gallery.buttons["bjorck"].button_style == ""
    gallery.close_explorer()
    assert recorder[1].is_closed
    assert gallery.name is None
    assert gallery._place.children == ()


def test_the_way_back_leads_to_all_cards(gallery, recorder):
    assert "lipviz-is-open" not in gallery.widget._dom_classes
    gallery.open("layers")
    assert "lipviz-is-open" in gallery.widget._dom_classes
    gallery.back.click()
    assert recorder[0].is_closed
    assert gallery.name is None
    assert "lipviz-is-open" not in gallery.widget._dom_classes
    gallery.back.click()  # nothing is open


def test_a_list_of_links_names_and_describes_each():
    listed = cards.linked(lambda entry: f"to/{entry.name}?a&b")
    for entry in explorers.entries():
        link = f'<a href="to/{entry.name}?a&amp;b" aria-describedby="lipviz-why-{entry.name}">{entry.title}</a>'
        assert link in listed
        assert f'<p id="lipviz-why-{entry.name}">{html.escape(entry.sentence)}</p>' in listed


def test_an_explorer_without_a_thumbnail_has_a_card_with_its_title():
    own = registry.Entry("own", "OwnExplorer", "Own <one>", "It is mine.", "")
    assert "<svg" in cards.image(own)
    assert ">Own &lt;one&gt;<" in cards.image(own)


def test_one_that_cannot_be_made_is_told_in_place(gallery, recorder):
    gallery.open("bjorck")
    gallery.open("boundaries")
    assert isinstance(gallery.error, ImportError)
    assert "no &lt;luck&gt;" in gallery._message.value
    assert "lipviz-is-open" not in gallery.widget._dom_classes
    assert gallery.explorer is None
    gallery.open("bjorck")
    assert gallery.error is None
    assert gallery._message.value == ""
    with pytest.raises(ValueError, match="Expected one of"):
        gallery.open("nothing")
    assert gallery.name == "bjorck"


def test_it_shows_itself(gallery):
    bundle = gallery._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == gallery.widget.model_id
    for entry in explorers.entries():
        assert f"<b>{entry.title}.</b> {html.escape(entry.sentence)}" in bundle["text/html"]
        assert f'alt="{html.escape(entry.shows)}"' in bundle["text/html"]
    assert "Gallery(open=None" in bundle["text/plain"]


def test_closing_removes_every_widget(recorder):
    before = living_widgets()
    gallery = shell_gallery.gallery()
    gallery.open("bjorck")
    widgets = list(page.all_widgets(gallery.widget))
    closed = weakref.ref(gallery.explorer)
    gallery.close()
    assert all(widget.comm is None for widget in widgets)
    assert living_widgets() == before  # and their layouts and styles
    del widgets
    recorder.clear()
    gc.collect()
    assert closed() is None  # its memory is free, of which its pictures take most
