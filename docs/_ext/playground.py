"""A Sphinx extension that puts the playground, a page that needs no server, into the site as `playground/`."""

import shutil
from pathlib import Path


def setup(app):
    """Registers the extension with Sphinx."""
    # Before Sphinx looks whether the folder of downloads exists.
    app.connect("config-inited", copy_playground, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def copy_playground(app, config):
    """Copies the playground from the package to where `html_extra_path` takes it from."""
    docs = Path(app.srcdir)
    target = docs / "_build" / "downloads" / "playground"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(docs.parent / "lipviz" / "playground", target)
