"""The HTML of explorers: their style sheet, pictures, results, messages and groups of controls."""

import html
from collections.abc import Callable, Iterable, Iterator

import ipywidgets as widgets

CONTROL = "lipviz-control-"  # class of a control on the page, followed by its name
CSS = """<style>
.lipviz-explorer { max-width: 960px; overflow: visible; }
.lipviz-explorer .widget-html-content { line-height: 1.45; }
.lipviz-explorer .lipviz-groups { display: block; columns: 2 340px; column-gap: 32px; overflow: visible; }
.lipviz-explorer .lipviz-group { break-inside: avoid; margin: 0 0 6px; overflow: visible; }
.lipviz-explorer h4, .lipviz-explorer h5 { margin: 0; font-weight: 600; }
.lipviz-explorer h4 { font-size: 1.15em; }
.lipviz-explorer h5 { font-size: 1em; }
.lipviz-explorer p { margin: 2px 0 4px; }
.lipviz-alert { border-left: 4px solid #B00020; padding: 4px 10px; margin: 4px 0;
    background: rgba(176, 0, 32, .08); color: inherit; }
.lipviz-toolbar { display: flex; flex-flow: row wrap; align-items: center; gap: 2px 4px; overflow: visible; }
.lipviz-toolbar .widget-inline-hbox { width: auto; flex: 0 1 230px; }
.lipviz-download + span { opacity: .8; }
.lipviz-picture { display: flex; flex-flow: row wrap; align-items: flex-start; }
.lipviz-picture img { flex: 1 1 380px; min-width: 0; max-width: min(460px, 100%) !important; }
.lipviz-results { display: flex; flex-flow: row wrap; gap: 4px 28px; min-height: 190px; }
.lipviz-results > * { flex: 1 1 380px; }
.lipviz-results table { border-collapse: collapse; align-self: flex-start; font-size: .95em; }
.lipviz-results th { text-align: left; font-weight: normal; padding: 1px 16px 1px 0; }
.lipviz-results td { text-align: right; padding: 1px 0; font-variant-numeric: tabular-nums; white-space: nowrap; }
.lipviz-results tr { border-bottom: 1px solid rgba(128, 128, 128, .3); background: none !important; }
</style>"""


def heading(title: str, help_text: str) -> str:
    """The heading of an explorer, with the style sheet of the whole explorer."""
    return f"{CSS}<h4>{html.escape(title)}</h4><p>{html.escape(help_text)}</p>"


def alert(words: str, more: str = "") -> str:
    """A message in a coloured box, which a screen reader says at once; `more` is HTML."""
    return f'<div class="lipviz-alert" role="alert"><b>This cannot be shown.</b> {html.escape(words)}{more}</div>'


def notice(words: str) -> str:
    """A sentence in the same box, about something that is no error, with a button that removes it."""
    button = '<button type="button" aria-label="Remove this message" style="all: revert; float: right"'
    remove = html.escape("this.parentElement.remove()")
    return f'<div class="lipviz-alert" role="status">{button} onclick="{remove}">×</button>{html.escape(words)}</div>'


def group(title: str, controls: Iterable[widgets.Widget]) -> widgets.VBox:
    """A box with controls under a title."""
    box = widgets.VBox([widgets.HTML(f"<h5>{html.escape(title)}</h5>"), *controls])
    box.add_class("lipviz-group")
    return box


def toolbar(buttons: Iterable[widgets.Widget]) -> widgets.Box:
    """A row of buttons and similar widgets, on several lines if the page is narrow."""
    box = widgets.Box(list(buttons))
    box.add_class("lipviz-toolbar")
    return box


def button(text: str, icon: str, help_text: str, on_click: Callable[[], object]) -> widgets.Button:
    """A button that calls a function of no arguments."""
    made = widgets.Button(description=text, icon=icon, tooltip=help_text, layout=widgets.Layout(width="auto"))
    made.on_click(lambda _button: on_click())
    return made


def all_widgets(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    """A widget and all that belongs to it: its children, its layout and its style, which are widgets, too."""
    for child in getattr(widget, "children", ()):
        yield from all_widgets(child)
    for name in ("layout", "style"):
        if isinstance(getattr(widget, name, None), widgets.Widget):
            yield getattr(widget, name)
    yield widget


def results(statement: str, numbers: Iterable[tuple[str, str]] = ()) -> str:
    """A statement, and a table of (name, value) pairs."""
    rows = "".join(f"<tr><th scope='row'>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in numbers)
    table = f"<table>{rows}</table>" if rows else ""
    return f'<div class="lipviz-results"><p role="status">{html.escape(statement)}</p>{table}</div>'
