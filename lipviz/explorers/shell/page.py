"""The HTML of explorers: their style sheet, pictures, results, messages and groups of controls."""

import html
from collections.abc import Callable, Iterable, Iterator, Mapping

import ipywidgets as widgets

CONTROL = "lipviz-control-"  # class of a control on the page, followed by its name
CSS = """<style>
/* Whatever lies between the picture and what scrolls must not cut off, else the picture could not stick to its edge. */
.jp-Cell:not(.jp-mod-outputsScrolled) :is(.jp-OutputArea, .jp-OutputArea-child, .jp-OutputArea-output):has(
    .lipviz-explorer), .widget-box:has(.lipviz-explorer) { overflow: visible; min-width: 0; }
.widget-box.lipviz-explorer { display: flex; flex-direction: column; max-width: 1280px; overflow: visible;
    --lipviz-panel: min(640px, 72vh); }
.lipviz-gallery:has(.lipviz-explorer) { max-width: 1280px; }
.jp-NotebookPanel .lipviz-explorer { --lipviz-panel: min(640px, 62vh); }
.lipviz-explorer > * { flex: none; }
.lipviz-explorer .widget-html-content { line-height: 1.45; }
.lipviz-heading { order: -2; overflow: visible; }
.lipviz-explorer h4, .lipviz-explorer h5 { margin: 0; font-weight: 600; }
.lipviz-explorer h4 { font-size: 1.15em; }
.lipviz-explorer h5 { font-size: 1em; }
.lipviz-explorer p { margin: 2px 0 4px; }
.widget-box:is(.lipviz-essentials, .lipviz-group) { display: grid; column-gap: 32px; overflow: visible;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, max(340px, 36%)), 1fr)); }
.lipviz-essentials > :is(:disabled, :has(:disabled, [disabled])) { display: none; }
.lipviz-group > .widget-html { grid-column: 1 / -1; }
.widget-box.lipviz-groups { flex-direction: column; overflow: visible; }
.lipviz-alert { border-left: 4px solid #B00020; padding: 4px 10px; margin: 4px 0;
    background: rgba(176, 0, 32, .08); color: inherit; }
.widget-box.lipviz-toolbar { display: flex; flex-flow: row wrap; align-items: center; gap: 2px 4px; overflow: visible; }
.lipviz-toolbar .widget-inline-hbox { width: auto; flex: 0 1 150px; }
/* An icon alone; a screen reader says the text, which has no size. */
.lipviz-explorer .lipviz-icon { font-size: 0; display: inline-flex; align-items: center; }
.lipviz-explorer .lipviz-icon i { font-size: var(--jp-widgets-font-size, 13px); margin: 0; }
/* A grey arrow, which is seen on light and on dark; JupyterLab's is nearly black in both. */
.lipviz-explorer .widget-dropdown > select { background-image: url('data:image/svg+xml,<svg xmlns="http://www.w3.org/\
2000/svg" viewBox="0 0 18 18"><path d="M4 6.5l5 5 5-5" fill="none" stroke="%23808080" stroke-width="2"/></svg>');
    text-overflow: ellipsis; padding-right: 22px; }
.lipviz-download + span { opacity: .8; }
/* The picture stays in the window while the reader moves controls above it. */
.widget-box.lipviz-stage { position: sticky; bottom: 0; z-index: 3; overflow: auto hidden;
    scroll-snap-type: x proximity; border-radius: 4px; background: #FFF; }
.widget-box.lipviz-stage > * { overflow: visible; flex: 1 1 auto; margin: 0; }
.lipviz-explorer :is(.noUi-handle, select, input, button) { scroll-margin-bottom: calc(.78 * var(--lipviz-panel)); }
.lipviz-picture { display: flex; flex-flow: row nowrap; align-items: flex-start; }
.lipviz-picture img { flex: 1 0 min(290px, 88%); scroll-snap-align: start; width: 0 !important;
    max-width: var(--lipviz-panel) !important; }
/* Pictures, however large, make no explorer wider than its place. */
.widget-box.lipviz-stage { contain: inline-size; }
.widget-box.lipviz-stage > * { min-width: 0; }
.lipviz-results { display: flex; flex-flow: row wrap; gap: 4px 28px; min-height: 190px; }
.lipviz-results > * { flex: 1 1 380px; }
.lipviz-results table { border-collapse: collapse; align-self: flex-start; font-size: .95em; }
.lipviz-results th { text-align: left; font-weight: normal; padding: 1px 16px 1px 0; }
.lipviz-results td { text-align: right; padding: 1px 0; font-variant-numeric: tabular-nums; white-space: nowrap; }
.lipviz-results tr { border-bottom: 1px solid rgba(128, 128, 128, .3); background: none !important; }
/* Rather lines of several numbers than a page that is scrolled sideways. */
@media (max-width: 900px) { .lipviz-results td { white-space: normal; } }
/* In a window as low as that of a page of 200 %, the picture would cover the control that has the focus. */
@media (max-height: 450px) {
    .widget-box.lipviz-stage { position: static; }
    .lipviz-explorer :is(.noUi-handle, select, input, button) { scroll-margin-bottom: 0; }
}
/* On a phone the picture is on top, where the hand does not cover it. */
@media (max-width: 600px) {
    .widget-box.lipviz-stage { order: -1; top: 0; bottom: auto; }
    .lipviz-picture img { flex-basis: 88%; }
    .lipviz-explorer .widget-dropdown > select { height: 30px; }
    .lipviz-toolbar .widget-inline-hbox { flex-basis: 100px; }
    .lipviz-explorer :is(.noUi-handle, select, input, button) { scroll-margin-top: 80vw; scroll-margin-bottom: 0; }
    .lipviz-explorer :is(.widget-slider, .widget-dropdown) { flex-wrap: wrap; height: auto; }
    .lipviz-explorer :is(.widget-slider, .widget-dropdown) > .widget-label { width: 100% !important; height: auto;
        line-height: 1.4; text-align: left; }
    .lipviz-explorer .widget-checkbox > .widget-label { display: none; }
}
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


def groups(controls: Mapping[str, Iterable[widgets.Widget]]) -> list[widgets.Box]:
    """Boxes with controls under a title each; `controls` is {title: controls}."""
    heads = ((widgets.HTML(f"<h5>{html.escape(title)}</h5>"), group) for title, group in controls.items())
    return [box("lipviz-group", [head, *group]) for head, group in heads]


def box(name: str, children: Iterable[widgets.Widget]) -> widgets.Box:
    """A box of a CSS class, which arranges its children. A step slider is shown with its buttons."""
    return widgets.Box([getattr(child, "shown_as", child) for child in children]).add_class(name)


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
