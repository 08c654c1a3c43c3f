"""The lessons of a folder: what their headers say, and which exercises and predictions they have.

`lipviz notebooks` reads them, and answers at once: nothing here imports NumPy, as `lipviz.course` does.
"""

import re
from dataclasses import dataclass
from pathlib import Path

PRIVATE = ".lipviz"  # hidden folder in that of the course, for what is no lesson
_ASKED = re.compile(r'^course\.(check|predict)\(\s*"([\w.]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Lesson:
    """One notebook of the course.

    Attributes:
        path: The percent-format ``.py`` file.
        title: Its topic.
        minutes: Its running time on two CPU cores.
        needs: What readers should know before it, in a few words.
        exercises: Ids of the exercises that it checks, in order.
        predictions: Ids of the predictions that it asks for, in order.
    """

    path: Path
    title: str
    minutes: float
    needs: str = ""
    exercises: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        """Two digits."""
        return self.path.name[:2]

    @property
    def topic(self) -> str:
        """The title up to its colon."""
        return self.title.partition(":")[0]


def lesson_files(folder: Path) -> list[Path]:
    """Lists the lessons in `folder`, `NN_*.py`, in the order of the course."""
    return sorted(folder.glob("[0-9][0-9]_*.py"))


def read_header(path: Path) -> dict:
    """Reads the notebook metadata in the YAML header of a percent-format notebook.

    Raises:
        ValueError: The file does not begin with such a header.
    """
    import yaml

    lines = iter(path.read_text(encoding="utf-8").splitlines())
    if next(lines, None) != "# ---":
        raise ValueError(f"{path.name}: expected a notebook that begins with a '# ---' header")
    header: list[str] = []
    for line in lines:
        if line == "# ---":
            return yaml.safe_load("\n".join(header))["jupyter"]
        header.append(line.removeprefix("#").removeprefix(" "))
    raise ValueError(f"{path.name}: expected a second '# ---' that ends the header")


def lessons_in(folder: Path) -> list[Lesson]:
    """Lists the lessons of a folder in order, with the data in their headers and the ids that they ask for.

    Raises:
        ValueError: A header is missing, or lacks the title or the minutes.
    """
    return [_lesson(path) for path in lesson_files(folder)]


def _lesson(path):
    about = read_header(path).get("lipviz", {})
    if not {"title", "minutes"} <= about.keys():
        raise ValueError(f"{path.name}: expected lipviz.title and lipviz.minutes in its header, got {about}")
    asked = _ASKED.findall(path.read_text(encoding="utf-8"))
    exercises, predictions = (tuple(name for k, name in asked if k == kind) for kind in ("check", "predict"))
    return Lesson(path, str(about["title"]), about["minutes"], str(about.get("needs", "")), exercises, predictions)
