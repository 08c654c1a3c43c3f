"""The picture and the numbers of an explorer as files, and its code as text to copy."""

import base64
import csv
import html
import io
import os
import time
from pathlib import Path
from typing import Any

import matplotlib

from lipviz.plots import picture

KINDS = {"png": "image/png", "svg": "image/svg+xml", "csv": "text/csv"}


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Kind of a file, "png", "svg" or "csv", from the end of its path.

    Raises:
        ValueError: If it is none of `KINDS`.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise ValueError(f"Expected a path that ends with {', '.join('.' + kind for kind in KINDS)}. Received: {path}")
    return kind


def encoded(explorer: Any, kind: str) -> bytes:
    """The present picture ("png", "svg") or its numbers ("csv") as bytes."""
    if kind == "csv":
        columns, rows = explorer.table(explorer.data)
        text = io.StringIO(newline="")
        csv.writer(text).writerows([columns, *rows])
        return text.getvalue().encode()
    alt = explorer.alt_text(explorer.data)
    if kind == "png":
        return picture(explorer.figure, alt).png
    stream = io.BytesIO()
    metadata = {"Title": explorer.title, "Description": alt, "Date": None}
    with matplotlib.rc_context({"svg.hashsalt": "lipviz"}):  # the same picture gives the same file
        explorer.figure.savefig(stream, format="svg", metadata=metadata)
    return stream.getvalue()


def download(name: str, kind: str, content: bytes) -> str:
    """HTML that downloads a file: a link that clicks itself once, and stays on the page.

    A data URI needs no server, so it works wherever the page came from.
    """
    uri = f"data:{KINDS[kind]};base64,{base64.b64encode(content).decode('ascii')}"
    return (
        f'<a class="lipviz-download" download="{html.escape(name)}" href="{uri}">{html.escape(name)}</a> '
        f'<span role="status">is in your downloads; follow the link to save it again.</span>'
        f"{_pressed('a')}"
    )


# A page may not copy by itself, or only for a short while after a click. Then the text is selected instead.
_COPY = """
const box = this.closest('.lipviz-copy'), text = box.querySelector('pre'), words = box.querySelector('[role=status]');
const select = () => {
    const all = document.createRange();
    all.selectNodeContents(text);
    getSelection().removeAllRanges();
    getSelection().addRange(all);
    words.textContent = 'Selected: press Ctrl+C, or ⌘C, to copy it.';
};
const copied = navigator.clipboard ? navigator.clipboard.writeText(text.textContent) : Promise.reject();
copied.then(() => { words.textContent = 'Copied.'; }, select);"""


def copyable(text: str) -> str:
    """HTML that shows a text, copies it once, and has a button to copy it again."""
    return (
        f'<div class="lipviz-copy"><button type="button" class="jupyter-button" style="width: auto" '
        f'onclick="{html.escape(_COPY)}">Copy</button> <span role="status"></span>'
        f'<pre tabindex="0" style="max-height: 16em; overflow: auto; margin: 4px 0; padding: 6px 10px; '
        f'border-left: 4px solid rgba(128, 128, 128, .5)">{html.escape(text)}</pre>'
        f"{_pressed('button')}</div>"
    )


def _pressed(selector):
    """An image without a picture that presses a neighbour once, when it has loaded."""
    # Only within 20 seconds: a saved notebook, opened later, must not do it again.
    press = f"Date.now() < {1000 * time.time() + 20_000:.0f} && this.parentElement.querySelector('{selector}').click()"
    dot = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="  # the smallest possible image
    return f'<img src="{dot}" alt="" width="1" height="1" onload="{html.escape(press)}">'
