"""A Sphinx extension that turns the lessons into pages.

A lesson that the tests ran is shown with the outputs that it had there; one that they did not run, or that has changed
since, is run here. Nothing that a page shows needs the internet: widgets, which need scripts from elsewhere, are left
out, and what they carry along for pages without a kernel is shown in their place.
"""

import base64
import io
import re
from pathlib import Path

import frames
import jupytext
import nbformat
from PIL import Image
from sphinx.errors import ExtensionError
from sphinx.util import logging

from lipviz.command.lab import lesson_files
from lipviz.command.teaching.running import run as run_lesson

WIDGET = "application/vnd.jupyter.widget-view+json"
SITE = re.compile(r"^# \[glossary\]: (\S+/)glossary\.html$", re.MULTILINE)  # as lessons link to it
HEAVY = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]{200000,})")  # a picture of 150 kB or more

logger = logging.getLogger(__name__)


def setup(app):
    """Registers the extension with Sphinx."""
    app.add_config_value("lessons_run", True, "", bool)
    # Before Sphinx looks whether the folder of downloads exists.
    app.connect("config-inited", write_pages, priority=400)
    return {"parallel_read_safe": True}


def write_pages(app, config):
    """Writes a page for every lesson, and the notebook without outputs that Colab opens and readers download."""
    docs = Path(app.srcdir)
    sliders = frames.chosen(config, docs)
    pages, downloads = _empty(docs / "lessons", "*.ipynb"), _empty(docs / "_build" / "downloads" / "notebooks", "*")
    for lesson in lesson_files(docs.parent / "notebooks"):
        notebook = executed(lesson, docs / "_build" / "lessons", run=config.lessons_run)
        if lesson.stem in sliders:
            _add_slider(notebook, lesson.stem)
        nbformat.write(page(notebook, lesson.stem), pages / f"{lesson.stem}.ipynb")
        download = jupytext.read(lesson)
        site = SITE.search(lesson.read_text(encoding="utf-8"))
        _lead_to(download, f"{site[1]}lessons/index.html" if site else "index.ipynb", "{}.ipynb")
        nbformat.write(download, downloads / f"{lesson.stem}.ipynb")


def _empty(folder, pattern):
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(pattern):
        path.unlink()
    return folder


def executed(lesson, kept, *, run):
    """Returns a lesson with its outputs: those that were kept if it has not changed since, or else by running it.

    Raises:
        ExtensionError: it would have to be run, and `run` is False.
    """
    path = kept / f"{lesson.stem}.ipynb"
    source = jupytext.read(lesson)
    if path.exists():
        notebook = nbformat.read(path, as_version=4)
        if _cells(notebook) == _cells(source):
            return notebook
    if not run:
        raise ExtensionError(f"{lesson.name} has not been run as it is now: python -m pytest notebooks/{lesson.name}")
    logger.info("running %s", lesson.name)
    run_lesson(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(source, path)
    return source


def _cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def _lead_to(notebook, index, lesson):
    """Makes the links between lessons lead to the map at `index`, and to lessons at `lesson`, in place."""
    for cell in notebook.cells:
        if "way" in cell.metadata.get("tags", ()):
            links = cell.source.replace("](index.py)", f"]({index})")
            cell.source = re.sub(r"\]\((\d\d_\w+)\.py\)", lambda found: f"]({lesson.format(found[1])})", links)


def _add_slider(notebook, name):
    """Adds the slider of a lesson behind the cell of its explorer, in place of the picture of an initial state."""
    place = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and "Explorer(" in cell.source)
    if "Explorer()" in notebook.cells[place].source:
        notebook.cells[place].outputs = []
    notebook.cells.insert(place + 1, nbformat.v4.new_markdown_cell(f"```{{frames}} {name}\n```"))


def page(notebook, name):
    """Returns a notebook as it is shown: without widgets, with a link to itself and a note where its run was quick."""
    notebook.metadata.pop("widgets", None)
    _lead_to(notebook, "index.md", "{}.ipynb")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_shown, cell.outputs) if output]
    settings = notebook.metadata.get("lipviz", {}).get("quick_settings")
    if settings:
        shown = ", ".join(f"`{name} = {value}`" for name, value in settings.items())
        text = (
            f"```{{note}}\nThe outputs on this page come from a quick run ({shown}). In your notebook they do not.\n```"
        )
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(text))
    # Not in Markdown, where Sphinx would look for a page of that name.
    link = f'<a href="../notebooks/{name}.ipynb" download>Download this lesson as a notebook</a>'
    notebook.cells.append(nbformat.v4.new_markdown_cell(link))
    return notebook


def _shown(output):
    """Returns what a page without a kernel shows of an output, None where that is nothing."""
    data = output.get("data", {})
    if "text/html" in data:
        data["text/html"] = HEAVY.sub(_as_webp, data["text/html"])
    if WIDGET not in data:
        return output
    del data[WIDGET]
    # A widget alone, such as a progress bar, says nothing worth reading in its text.
    return output if data.keys() - {"text/plain"} else None


def _as_webp(match):
    """Returns the address of a picture as WebP, which loses nothing and takes half of the bytes."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
        image.convert("RGB").save(stream, "webp", lossless=True, quality=50, method=3)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
