"""The page of slides: one HTML file with reveal.js in it, which loads nothing from elsewhere."""

import html
import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path

from pygments.formatters import HtmlFormatter

from lipviz.command.teaching.slides import Slide, rendered

_PAGES = Path(__file__).resolve().parents[1] / "pages"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{styles}
</style>
</head>
<body>
<div class="reveal"><div class="slides">
{slides}
</div></div>
<script>
{scripts}
</script>
</body>
</html>
"""


def page(title: str, slides: Sequence[Slide]) -> str:
    """The HTML page with some slides.

    Args:
        title: Title of the window, in plain text.
        slides: The slides in order; the first one begins a column.
    """
    reveal = _reveal()
    styles = [
        (reveal / "dist" / "reveal.css").read_text(encoding="utf-8"),
        HtmlFormatter(style="default").get_style_defs(".highlight"),
        (_PAGES / "slides.css").read_text(encoding="utf-8"),
    ]
    scripts = [
        (reveal / "dist" / "reveal.js").read_text(encoding="utf-8"),
        (reveal / "plugin" / "notes" / "notes.js").read_text(encoding="utf-8"),
        (_PAGES / "slides.js").read_text(encoding="utf-8"),
    ]
    return _PAGE.format(
        title=html.escape(title),
        styles="\n".join(styles),
        slides=_columns(slides),
        scripts="\n".join(map(_embedded, scripts)),
    )


def _reveal():
    """The folder of reveal.js, in the package that brings it."""
    return importlib.resources.files("sphinx_revealjs") / "_static" / "revealjs"


def _embedded(script):
    """A script that cannot end the element that it stands in, without the address of a map of its source."""
    script = re.sub(r"^//# sourceMappingURL=.*$", "", script, flags=re.MULTILINE)
    script = re.sub(r"</(script)", r"<\\/\1", script, flags=re.IGNORECASE)
    return script.replace("<!--", "\\x3C!--")  # behind it, a browser would look for two ends


def _columns(slides):
    columns: list[list[str]] = []
    for slide in slides:
        if slide.column or not columns:
            columns.append([])
        columns[-1].append(_section(slide))
    return "\n".join("<section>\n{}\n</section>".format("\n".join(column)) for column in columns)


def _section(slide):
    heading = re.sub(r"</?p>", "", rendered(slide.title)).strip()
    title = f"<h2>{heading}</h2>" if slide.title else ""
    notes = f'<aside class="notes">{html.escape(slide.notes).replace(chr(10), "<br>")}</aside>' if slide.notes else ""
    return f"<section>{title}{''.join(slide.blocks)}{notes}</section>"
