"""The picture and the numbers of an explorer as files."""

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
    # The smallest possible image. When it has loaded, it clicks the link.
    dot = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    # Only within 20 seconds: a saved notebook, opened later, must not download the file again.
    press = f"Date.now() < {1000 * time.time() + 20_000:.0f} && this.parentElement.querySelector('a').click()"
    return (
        f'<a class="lipviz-download" download="{html.escape(name)}" href="{uri}">{html.escape(name)}</a> '
        f'<span role="status">is in your downloads; follow the link to save it again.</span>'
        f'<img src="{dot}" alt="" width="1" height="1" onload="{html.escape(press)}">'
    )
