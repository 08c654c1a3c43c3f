"""The HTML of explorers: their style sheet, pictures, results, messages and groups of controls."""

import html

import ipywidgets as widgets

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


def heading(title, help_text):
    """The top of an explorer, with the style sheet of all of it."""
    return f"{CSS}<h4>{html.escape(title)}</h4><p>{html.escape(help_text)}</p>"


def alert(words, more=""):
    """A message that stands out, and that a screen reader says at once."""
    return f'<div class="lipviz-alert" role="alert"><b>This cannot be shown.</b> {html.escape(words)}{more}</div>'


def group(title, controls):
    """A box with controls under a title."""
    box = widgets.VBox([widgets.HTML(f"<h5>{html.escape(title)}</h5>"), *controls])
    box.add_class("lipviz-group")
    return box


def toolbar(buttons):
    """A row of buttons and the like, in several lines where the page is narrow."""
    box = widgets.Box(list(buttons))
    box.add_class("lipviz-toolbar")
    return box


def button(text, icon, help_text, on_click):
    """A button that calls a function of no arguments."""
    made = widgets.Button(description=text, icon=icon, tooltip=help_text, layout=widgets.Layout(width="auto"))
    made.on_click(lambda _button: on_click())
    return made


def all_widgets(widget):
    """A widget and all that it holds: its children, its layout and its style, each of which is a widget of its own."""
    for child in getattr(widget, "children", ()):
        yield from all_widgets(child)
    for name in ("layout", "style"):
        if isinstance(getattr(widget, name, None), widgets.Widget):
            yield getattr(widget, name)
    yield widget


# ipywidgets ties the label of a slider to nothing, and its handle tells a screen reader the position: for a slider
# over powers of ten, the exponent. The first picture to arrive puts both right, and keeps them so.
_NAME_SLIDERS = """
const box = this.closest('.lipviz-explorer');
if (!box.dataset.named) {
    box.dataset.named = 'yes';
    for (const slider of box.querySelectorAll('.widget-slider')) {
        const handle = slider.querySelector('.noUi-handle'), readout = slider.querySelector('.widget-readout');
        const tell = () => handle.getAttribute('aria-valuetext') === readout.textContent ||
            handle.setAttribute('aria-valuetext', readout.textContent);
        handle.setAttribute('aria-label', slider.querySelector('.widget-label').textContent);
        new MutationObserver(tell).observe(slider, {subtree: true, childList: true, characterData: true,
            attributeFilter: ['aria-valuetext']});
        tell();
    }
}"""


def pictures(panels):
    """Pictures side by side, or below one another where the page is narrow."""
    images = "".join(panel.to_html() for panel in panels)
    images = images.replace("<img ", f'<img onload="{html.escape(_NAME_SLIDERS)}" ', 1)
    return f'<div class="lipviz-picture">{images}</div>'


def results(statement, numbers=()):
    """A statement, and a table of (name, value) pairs."""
    rows = "".join(f"<tr><th scope='row'>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in numbers)
    table = f"<table>{rows}</table>" if rows else ""
    return f'<div class="lipviz-results"><p role="status">{html.escape(statement)}</p>{table}</div>'
