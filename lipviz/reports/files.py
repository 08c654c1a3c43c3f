"""Writes a report to a file, as HTML or as JSON."""

import os
from pathlib import Path

from lipviz import _extras
from lipviz._files import write_whole
from lipviz.recipes import Evaluation
from lipviz.reports.page import html_page

_PAGES, _FIGURES = (".html", ".htm"), (".json",)


def check_target(path: str | os.PathLike[str]) -> Path:
    """Refuses a file that a report cannot be written to, before the work begins.

    Raises:
        FileNotFoundError: If its folder is missing.
        ImportError: If it is a page, and matplotlib is not installed.
        IsADirectoryError: If it is a folder.
        ValueError: If its name ends in another way than `.html` or `.json`.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Expected a file for the report, such as report.html.")
    if path.suffix.lower() not in (*_PAGES, *_FIGURES):
        raise ValueError(f"Expected a report that ends in .html or .json. Received: {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} for the report {path.name!r}.")
    if path.suffix.lower() in _PAGES:
        _extras.need("lipviz.plots")
    return path


def write(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Writes a report: a page where the name ends in `.html`, figures where it ends in `.json`.

    Args:
        evaluation: What `lipviz.recipes.evaluate` returned, or the report of a training.
        path: Path of the file, which is replaced.

    Raises:
        FileNotFoundError: If its folder is missing.
        ImportError: If it is a page, and matplotlib is not installed.
        IsADirectoryError: If it is a folder.
        TypeError: If `evaluation` is none.
        ValueError: If the name of the file ends in another way.
    """
    if not isinstance(evaluation, Evaluation):
        raise TypeError(f"`write` expects an `Evaluation`. Received: {type(evaluation).__name__}")
    path = check_target(path)
    text = evaluation.to_json() + "\n" if path.suffix.lower() in _FIGURES else html_page(evaluation)
    write_whole(path, text.encode("utf-8"))
