"""A Sphinx extension that gives a page a slider over pictures, for readers without a kernel.

`docs/frames.toml` says which explorer draws which pictures. They are made when the site is built, and kept in
`docs/_build/frames` until lipviz or the plan of their slider changes. A page shows them by

    ```{frames} NAME
    ```

and on the page of explorers they take the place of the figure `NAME.png`. Without JavaScript, a reader sees the first
picture and its words.
"""

import html
import json
import re
from pathlib import Path

from docutils import nodes
from making_frames import kept_or_made, read_plans
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

FOLDER = "_frames"  # of the site, with the pictures
HEAVIEST = 2_000_000  # bytes of a page and its pictures

logger = logging.getLogger(__name__)


def setup(app):
    """Registers the extension with Sphinx."""
    app.add_config_value("frames_made", "all", "env")
    app.add_node(Frames, html=(visit, leave), override=True)
    app.add_directive("frames", FramesDirective)
    app.add_transform(FramesForFigures)
    app.connect("builder-inited", make)
    app.connect("html-page-context", add_files)
    app.connect("build-finished", weigh)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Frames(nodes.General, nodes.Element):
    """A slider and its pictures; its attribute `name` is that of its plan."""


def chosen(config, docs):
    """Returns the plans of the sliders that this build shows: all, or those that `frames_made` names, by name."""
    plans = read_plans(docs / "frames.toml")
    if config.frames_made == "all":
        return plans
    return {name: plans[name] for name in config.frames_made.split(",") if name}


def make(app):
    """Makes the pictures of all sliders, or takes those that were kept."""
    docs = Path(app.srcdir)
    target = Path(app.outdir) / FOLDER
    app.env.frames = {}
    for name, plan in chosen(app.config, docs).items():
        app.env.frames[name] = kept_or_made(plan, docs / "_build" / "frames" / name, target)


class FramesDirective(SphinxDirective):
    """Shows a slider, or nothing where this build does not make its pictures."""

    required_arguments = 1

    def run(self):
        """Returns the slider as a node."""
        (name,) = self.arguments
        if name not in read_plans(Path(self.env.srcdir) / "frames.toml"):
            raise self.error(f"docs/frames.toml has no table [{name}].")
        return [Frames(name=name)] if name in self.env.frames else []


class FramesForFigures(SphinxTransform):
    """Puts sliders in the place of the pictures of explorers, which a build without sliders shows."""

    default_priority = 500

    def apply(self):
        """Replaces the figures of the page of explorers."""
        if self.env.docname != "explorers/index":
            return
        for figure in list(self.document.findall(nodes.figure)):
            (image,) = figure.findall(nodes.image)
            name = Path(image["uri"]).stem
            if name in self.env.frames:
                figure.replace_self(Frames(name=name))


def add_files(app, pagename, templatename, context, doctree):
    """Adds script and style sheet to the pages that have a slider."""
    if doctree is not None and any(doctree.findall(Frames)):
        app.add_js_file("frames.js", loading_method="defer")
        app.add_css_file("frames.css")


# --- HTML ---


def visit(translator, node):
    """Writes a slider."""
    shown = translator.builder.env.frames[node["name"]]
    page = translator.builder.get_target_uri(translator.builder.current_docname)
    translator.body.append(to_html(node["name"], shown, relative_uri(page, f"{FOLDER}/")))


def leave(translator, node):
    """Ends a slider, which has no children."""


def to_html(name, shown, folder):
    """Returns the HTML of a slider.

    Args:
        name: Name of the slider; it is a part of the page's identifiers.
        shown: What `making_frames.kept_or_made` returns.
        folder: Relative address of the folder of pictures.
    """
    longest = max(len(frame["value"]) for frame in shown["frames"])  # so that no value moves the end of the slider
    frames = [frame | {"panels": [folder + panel for panel in frame["panels"]]} for frame in shown["frames"]]
    first, count = frames[0], len(frames)
    images = "".join(
        f'<img src="{source}" alt="{html.escape(first["alt"] if place == 0 else "")}" width="{width}" '
        f'height="{height}" decoding="sync">'
        for place, (source, (width, height)) in enumerate(zip(first["panels"], shown["sizes"], strict=True))
    )
    data = json.dumps(frames, ensure_ascii=False).replace("</", r"<\/")
    return f"""
<figure class="frames" id="frames-{name}">
<p>Move the slider. {_code(shown["look"])}</p>
<div class="frames-control" hidden>
<label for="slider-{name}">{html.escape(shown["label"])}</label>
<input type="range" id="slider-{name}" min="0" max="{count - 1}" step="1" value="0" autocomplete="off"
 aria-valuetext="{html.escape(first["value"])}">
<span class="frames-value" aria-hidden="true" style="min-width: {longest + 1}ch">{html.escape(first["value"])}</span>
</div>
<div class="frames-panels">{images}</div>
<p class="frames-statement" aria-live="polite">{html.escape(first["statement"])}</p>
<figcaption>{_code(shown["source"])}<noscript> Without JavaScript, this is the first of them.</noscript></figcaption>
<script type="application/json">{data}</script>
</figure>
"""


def _code(text):
    """Escaped text, in which `names` are code."""
    return re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(text))


# --- limits ---


def weigh(app, exception):
    """Warns of pages that are too heavy for a slow connection, each with all pictures of its sliders."""
    if exception is not None or app.builder.format != "html":
        return
    for page, weight in weights(Path(app.outdir)).items():
        if weight > HEAVIEST:
            logger.warning("%s and its pictures have %.2f MB, more than 2 MB", page, weight / 1e6)


def weights(site):
    """Returns the bytes of each page with a slider, its pictures included, by the page's path below the site."""
    found = {}
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        if 'class="frames"' in text:
            sources = set(re.findall(r'"([^"\s]+\.(?:png|webp|svg))"', text))
            pictures = {(path.parent / source).resolve() for source in sources}
            found[path.relative_to(site).as_posix()] = path.stat().st_size + sum(p.stat().st_size for p in pictures)
    return found
