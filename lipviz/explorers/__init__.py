"""Explorers: controls that drive a measurement and its picture. The only part of lipviz that needs ipywidgets.

`gallery()` shows all of them. Each is imported when it is first asked for.

Explorers come with the extra ``lab``: ``pip install "lipviz[lab]"``.
"""

import importlib
from typing import Any

from lipviz import _extras

_extras.need("lipviz.explorers")

from lipviz.explorers.shell.registry import entries, find, register

_MODULES = {entry.class_name: entry.name for entry in entries()} | {
    "Explorer": "shell.base",
    "gallery": "shell.gallery",
    "opened": "shell.opening",
    "choice": "shell.controls",
    "log_slider": "shell.controls",
    "slider": "shell.controls",
    "toggle": "shell.controls",
}

__all__ = ["entries", "find", "register", *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"lipviz.explorers.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'lipviz.explorers' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
