"""`lipviz slides`: runs lessons and writes their slides, one HTML file for each."""

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import jupytext
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from lipviz._lessons import Lesson
from lipviz.command.lab import LabError
from lipviz.command.teaching import plans, running
from lipviz.command.teaching.lessons import heading
from lipviz.command.teaching.slide_page import page
from lipviz.command.teaching.slides import slides_of

Tell = Callable[[str], None]


def write(
    lessons: Sequence[Lesson], folder: Path, *, outputs: str = "full", key: bool = False, tell: Tell = print
) -> list[Path]:
    """Writes slides of lessons.

    Args:
        lessons: The lessons.
        folder: Where the files go; it is made if it is missing. No file in it is replaced.
        outputs: "full" runs the lessons with the settings of readers, "quick" with short trainings, and "none" does not
            run them, so that slides have no results.
        key: Whether the speaker notes hold the answers to the exercises.
        tell: Takes a line about what is being done.

    Returns:
        The files.

    Raises:
        LabError: A file is there already or cannot be written, or a lesson fails.
    """
    folder = folder.expanduser().absolute()
    paths = [folder / f"{lesson.path.stem}.html" for lesson in lessons]
    with _writing(folder):
        there = next((path for path in paths if path.exists()), None)
        if there is not None:
            raise LabError(f"{there} exists already; remove it, or choose another folder with --folder")
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:  # what cannot be written fails before the lessons run
            path.touch()
            path.unlink()
    for lesson, path in zip(lessons, paths, strict=True):
        text = _page(lesson, outputs, key, tell)
        with _writing(folder):
            path.write_text(text, encoding="utf-8")
        tell(f"{path} is written")
    return paths


@contextlib.contextmanager
def _writing(folder):
    try:
        yield
    except OSError as error:
        raise LabError(f"cannot write to {folder}: {error.strerror} ({error.filename})") from error


def _page(lesson, outputs, key, tell):
    notebook = jupytext.read(lesson.path)
    if outputs != "none":
        minutes = f"about {lesson.minutes:g} min" if outputs == "full" else "with short trainings"
        tell(f"running lesson {heading(lesson)} ({minutes}) …")
        try:
            running.run(notebook, quick=outputs == "quick")
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            last = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip().splitlines()[-1]
            raise LabError(f"lesson {lesson.number} failed: {last}") from error
    slides = slides_of(notebook, plans.notes(lesson), key=key)
    if outputs == "quick":
        slides[0].blocks.append(_QUICK)
    slides[0].blocks.append(_KEYS)
    return page(heading(lesson), slides)


_QUICK = "<p><em>The numbers on these slides come from short trainings. In the lesson they are different.</em></p>"
_KEYS = "<p><small>Space: next slide. Esc: all slides. S: speaker notes.</small></p>"
