"""Cards of explorers in HTML: a thumbnail, a title, and a sentence that says why one would open it."""

import base64
import html
from collections.abc import Callable

from lipviz.explorers.shell.registry import Entry, entries

# Colours come from the page: JupyterLab's variables, or those of the page itself.
CSS = """
.lipviz-cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(clamp(150px, 30%, 320px), 1fr));
    gap: 16px; margin: 0; padding: 0; list-style: none; overflow: visible; }
.lipviz-card { position: relative; display: flex; flex-direction: column; margin: 0; padding: 0 0 10px;
    overflow: hidden; border: 1px solid var(--lipviz-line, var(--jp-border-color1, #8883)); border-radius: 8px;
    background: var(--lipviz-card, var(--jp-layout-color1, transparent)); }
.lipviz-card:hover { border-color: var(--lipviz-accent, var(--jp-brand-color1, #0072b2)); }
.lipviz-card:focus-within { outline: 3px solid var(--lipviz-accent, var(--jp-brand-color1, #0072b2));
    outline-offset: 1px; }
.lipviz-card :is(img, .lipviz-blank) { display: block; width: 100%; height: auto; aspect-ratio: 5 / 3;
    background: #fff; }
"""
# How a list of links looks; in a notebook, cards are widgets.
LINKS_CSS = """
.lipviz-card h2 { margin: 10px 12px 4px; padding: 0; border: 0; font-size: 1.05rem; line-height: 1.3; }
.lipviz-card p { margin: 0 12px; font-size: .875rem; line-height: 1.4; }
.lipviz-card a { color: inherit; text-decoration: none; outline: none; }
.lipviz-card a::after { content: ""; position: absolute; inset: 0; }
"""


_LETTERS = 12  # of a title in large type on a placeholder
# In place of a thumbnail: the title, and below it the slope that a Lipschitz constant allows. The card says the title.
_PLACEHOLDER = (
    '<svg class="lipviz-blank" viewBox="0 0 480 288" aria-hidden="true" font-family="sans-serif">'
    '<path d="M60 236 240 176l180 60" fill="none" stroke="#0072B2" stroke-width="5" stroke-linejoin="round"/>'
    '<text x="240" y="130" text-anchor="middle" font-size="{size}" font-weight="600" fill="#6B6B6B">{title}</text>'
    "</svg>"
)


def image(entry: Entry) -> str:
    """An `<img>` element with the thumbnail of an explorer, which it contains, and its words; else a placeholder."""
    if not entry.thumbnail.exists():
        size = round(56 * min(1, _LETTERS / len(entry.title)))
        return _PLACEHOLDER.format(size=size, title=html.escape(entry.title))
    data = base64.b64encode(entry.thumbnail.read_bytes()).decode("ascii")
    return f'<img src="data:image/webp;base64,{data}" alt="{html.escape(entry.shows)}" width="480" height="288">'


def linked(address: Callable[[Entry], str]) -> str:
    """Cards of all explorers as a list of links. It needs the style sheets `CSS` and `LINKS_CSS`.

    A link is named by the title, and described by the sentence. All of its card can be clicked.

    Args:
        address: Function from an entry to where its card leads.

    Returns:
        A `<ul>` element.
    """
    cards = "".join(_card(entry, html.escape(address(entry))) for entry in entries())
    # Without bullets, Safari would not call it a list.
    return f'<ul class="lipviz-cards" role="list">{cards}</ul>'


def _card(entry, address):
    why = f"lipviz-why-{entry.name}"
    return (
        f'<li class="lipviz-card">{image(entry)}'
        f'<h2><a href="{address}" aria-describedby="{why}">{html.escape(entry.title)}</a></h2>'
        f'<p id="{why}">{html.escape(entry.sentence)}</p></li>'
    )


def shown() -> str:
    """Cards of all explorers that lead nowhere, with their style sheets, for places without a kernel."""
    cards = "".join(
        f'<div class="lipviz-card">{image(entry)}<p><b>{html.escape(entry.title)}.</b> '
        f"{html.escape(entry.sentence)}</p></div>"
        for entry in entries()
    )
    return (
        f'<style>{CSS}{LINKS_CSS}.lipviz-card p {{ margin-top: 8px; }}</style><div class="lipviz-cards">{cards}</div>'
    )
