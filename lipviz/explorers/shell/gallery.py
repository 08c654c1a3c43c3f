"""All explorers as cards on one page, one open at a time."""

import functools
import html
import json
from typing import TYPE_CHECKING

import ipywidgets as widgets

from lipviz.explorers.shell import cards, kept, links, page
from lipviz.explorers.shell.registry import entries, find

if TYPE_CHECKING:
    from lipviz.explorers.shell.base import Explorer

_CSS = f"""<style>
.lipviz-gallery {{ max-width: 980px; overflow: visible; }}
.lipviz-gallery h4 {{ margin: 0; font-weight: 600; font-size: 1.15em; }}
.lipviz-gallery p {{ margin: 2px 0 4px; }}
{cards.CSS}
.lipviz-card .widget-html, .lipviz-card .widget-html-content {{ margin: 0; width: auto; height: auto;
    line-height: 1.4; }}
.lipviz-card .lipviz-why {{ padding: 0 12px; }}
.lipviz-card .lipviz-why .widget-html-content {{ white-space: normal; }}
.lipviz-card > button {{ position: static; width: auto; height: auto; margin: 6px 12px 2px; padding: 0;
    text-align: left; font-weight: 600; font-size: 1.05em; line-height: 1.4; outline: none !important;
    background: none; color: inherit; box-shadow: none !important; }}
.lipviz-card > button::after {{ content: ""; position: absolute; inset: 0; }}
.lipviz-is-open .lipviz-help {{ display: none; }}
.lipviz-is-open .lipviz-cards {{ order: -1; display: flex; flex-flow: row nowrap; gap: 4px; padding: 0 0 4px;
    overflow-x: auto; scrollbar-width: thin; }}
.lipviz-is-open .lipviz-card {{ flex: none; padding: 0; border-radius: 6px; }}
.lipviz-is-open .lipviz-card:focus-within {{ outline-offset: -3px; }}
.lipviz-is-open .lipviz-card > .widget-html {{ display: none; }}
.lipviz-is-open .lipviz-card > button {{ margin: 0; padding: 2px 9px; font-size: 1em; font-weight: normal; }}
.lipviz-is-open .lipviz-card > button.mod-primary {{ background: var(--jp-brand-color1);
    color: var(--jp-layout-color0); }}
.lipviz-back {{ display: none; }}
.lipviz-is-open .lipviz-back {{ display: block; flex: none; margin: 0; border-radius: 6px; }}
</style>"""
_HELP = "Choose an explorer by mouse, or with the Tab and Enter keys. It closes when you open another one."


class Gallery:
    """Cards of all explorers. One can be open at a time, and then a row of titles takes the place of the cards.

    Attributes:
        buttons: Dict from short name to ipywidgets button.
        back: The ipywidgets button that closes the explorer that is open.
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
        self.back = page.button("All explorers", "arrow-left", "Close this explorer", self._go_back)
        self.back.add_class("lipviz-back")
        listed = widgets.Box([self.back, *(self._card(entry) for entry in entries())])
        listed.add_class("lipviz-cards")
        heading = widgets.HTML(f'{_CSS}<div class="lipviz-help"><h4>Explorers</h4><p>{_HELP}</p></div>')
        self._message, self._place = widgets.HTML(), widgets.VBox()
        self.widget = widgets.VBox([heading, self._message, listed, self._place])
        self.widget.add_class("lipviz-gallery")
        self._kept = kept.Kept(self)
        self.widget.children = (heading, *self._kept.widgets, self._message, listed, self._place)
        self._kept.update_bar()

    def _card(self, entry):
        """A thumbnail, a button that all of the card belongs to, and a sentence."""
        button = page.button(entry.title, "", entry.sentence, functools.partial(self.open, entry.name))
        self.buttons[entry.name] = button
        why = widgets.HTML(html.escape(entry.sentence))
        why.add_class("lipviz-why")
        card = widgets.VBox([widgets.HTML(cards.image(entry)), button, why])
        card.add_class("lipviz-card")
        return card

    def open(self, name: str) -> None:
        """Open an explorer, and close the one that was open. An error is shown in its place, and kept as `error`.

        Args:
            name: Short name of the explorer, as "bjorck", or the name of its class.

        Raises:
            ValueError: If there is none of that name.
        """
        entry = find(name)
        self.close_explorer()
        self.widget.add_class("lipviz-is-open")
        self._message.value = f'<p role="status">Opening {html.escape(entry.title)} …</p>'
        try:
            self.explorer, self.error = entry.load()(), None
        except Exception as error:  # of any kind: the reader must see it here, not only in a log
            self.error = error
            self.widget.remove_class("lipviz-is-open")
            self._message.value = page.alert(f"{type(error).__name__}: {error}")
            return
        self.name = entry.name
        self.explorer.when_kept(self._kept.ask)
        self._place.children = (self.explorer.widget,)
        self.buttons[entry.name].button_style = "primary"
        self._message.value = ""

    def _go_back(self):
        left = self.name
        self.close_explorer()
        if left is not None:
            self.buttons[left].focus()

    def close_explorer(self) -> None:
        """Close the explorer that is open, if any: end its work, and remove its widgets."""
        self._place.children = ()
        self.widget.remove_class("lipviz-is-open")
        if self.explorer is not None and self.name is not None:
            self.buttons[self.name].button_style = ""
            self.explorer.close()
        self.explorer = self.name = None
        self._kept.ask()

    @property
    def shown_picture(self) -> str:
        """HTML of the picture of the explorer that is open, or of all cards."""
        return cards.shown() if self.explorer is None else self.explorer.shown_picture

    @property
    def shown_state(self) -> str:
        """What is open, and in which state, as JSON."""
        if self.explorer is None:
            return "{}"
        return links.to_json({"explorer": self.name, "state": json.loads(self.explorer.shown_state)})

    def restore(self, state: str) -> None:
        """Open the explorer of an older gallery in its state, both as `shown_state` gives them."""
        try:
            asked = links.from_json(state)
            self.open(asked["explorer"])
        except (ValueError, KeyError) as error:
            self._message.value = page.alert(str(error))
            return
        if self.explorer is not None:
            self.explorer.restore(asked.get("state", {}))

    def close(self) -> None:
        """Close the explorer that is open, and the gallery."""
        self.close_explorer()
        for widget in page.all_widgets(self.widget):
            widget.close()

    def _ipython_display_(self):
        self._kept.display({**self.widget._repr_mimebundle_(), "text/plain": repr(self)})

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = self.widget._repr_mimebundle_(include=include, exclude=exclude)
        bundle["text/plain"] = repr(self)
        # What pages without widgets show instead.
        bundle["text/html"] = cards.shown()
        return bundle

    def __repr__(self):
        return f"Gallery(open={self.name!r}, explorers={list(self.buttons)})"


def gallery() -> Gallery:
    """Show all explorers as cards, each with a thumbnail and a sentence. One can be open at a time.

    Returns:
        A `Gallery`, which displays itself as the last line of a cell. `open(name)` opens an explorer from code.
    """
    return Gallery()
