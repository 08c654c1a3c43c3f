"""All explorers on one page, one open at a time."""

import functools
import html
from typing import TYPE_CHECKING

import ipywidgets as widgets

from lipviz.explorers.shell import page
from lipviz.explorers.shell.registry import entries, find

if TYPE_CHECKING:
    from lipviz.explorers.shell.base import Explorer

_CSS = """<style>
.lipviz-gallery { max-width: 980px; overflow: visible; }
.lipviz-gallery h4 { margin: 0; font-weight: 600; font-size: 1.15em; }
.lipviz-gallery p { margin: 2px 0 4px; }
.lipviz-gallery-list { display: grid; grid-template-columns: max-content 1fr; gap: 0 10px; overflow: visible; }
.lipviz-gallery-list .widget-html-content { line-height: 1.3; }
.lipviz-gallery-list .widget-html { overflow: visible; height: auto; align-self: center; }
</style>"""
_HELP = "Choose an explorer by mouse, or with the Tab and Enter keys. It closes when you open another one."


class Gallery:
    """A list of all explorers, and below it the one that is open.

    Attributes:
        buttons: Dict from short name to ipywidgets button.
        explorer: The `Explorer` that is open, or None.
        name: Its short name, or None.
        error: The exception that is shown, or None.
        widget: The ipywidgets box that a notebook displays.
    """

    def __init__(self):
        self.explorer: Explorer | None = None
        self.name: str | None = None
        self.error: Exception | None = None
        self.buttons: dict[str, widgets.Button] = {}
        cells = []
        for entry in entries():
            button = page.button(entry.title, "", entry.sentence, functools.partial(self.open, entry.name))
            self.buttons[entry.name] = button
            cells += [button, widgets.HTML(html.escape(entry.sentence))]
        heading = widgets.HTML(f"{_CSS}<h4>Explorers</h4><p>{_HELP}</p>")
        rows = widgets.Box(cells)
        rows.add_class("lipviz-gallery-list")
        self._message, self._place = widgets.HTML(), widgets.VBox()
        self.widget = widgets.VBox([heading, rows, self._message, self._place])
        self.widget.add_class("lipviz-gallery")

    def open(self, name: str) -> None:
        """Open an explorer, and close the one that was open. An error is shown in its place, and kept as `error`.

        Args:
            name: Short name of the explorer, as "bjorck", or the name of its class.

        Raises:
            ValueError: If there is none of that name.
        """
        entry = find(name)
        self.close_explorer()
        self._message.value = f'<p role="status">Opening {html.escape(entry.title)} …</p>'
        try:
            self.explorer, self.error = entry.load()(), None
        except Exception as error:  # of any kind: the reader must see it here, not only in a log
            self.error = error
            self._message.value = page.alert(f"{type(error).__name__}: {error}")
            return
        self.name = entry.name
        self._place.children = (self.explorer.widget,)
        self.buttons[entry.name].button_style = "primary"
        self._message.value = ""

    def close_explorer(self) -> None:
        """Close the explorer that is open, if any: end its work, and remove its widgets."""
        self._place.children = ()
        if self.explorer is not None and self.name is not None:
            self.buttons[self.name].button_style = ""
            self.explorer.close()
        self.explorer = self.name = None

    def close(self) -> None:
        """Close the explorer that is open, and the gallery."""
        self.close_explorer()
        for widget in page.all_widgets(self.widget):
            widget.close()

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = self.widget._repr_mimebundle_(include=include, exclude=exclude)
        bundle["text/plain"] = repr(self)
        # What pages without widgets show instead.
        rows = (f"<li><b>{html.escape(e.title)}</b>: {html.escape(e.sentence)}</li>" for e in entries())
        bundle["text/html"] = f"<ul>{''.join(rows)}</ul>"
        return bundle

    def __repr__(self):
        return f"Gallery(open={self.name!r}, explorers={list(self.buttons)})"


def gallery() -> Gallery:
    """Show all explorers, each with its name and a sentence. One can be open at a time.

    Returns:
        A `Gallery`, which displays itself as the last line of a cell. `open(name)` opens an explorer from code.
    """
    return Gallery()
