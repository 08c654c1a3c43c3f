"""The map of the course: its lessons, how long they take, what they need, and what the reader has done."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipviz._lessons import Lesson, lessons_in
from lipviz.course import progress

_DONE, _OPEN = "✓", "○"


@dataclass(frozen=True, repr=False)
class Home:
    """The map as it is now; it shows itself in a notebook and in a terminal.

    Attributes:
        lessons: The lessons of the folder, in order.
        done: What was done, as `lipviz.course.progress.read` returns it.
    """

    lessons: tuple[Lesson, ...]
    done: Mapping[str, Mapping[str, Any]]

    def solved(self, lesson: Lesson) -> list[bool]:
        """Which exercises of a lesson are solved, in their order."""
        return [bool(self.done.get(name, {}).get("solved")) for name in lesson.exercises]

    def guessed(self, lesson: Lesson) -> int:
        """How many predictions of a lesson have a guess."""
        return sum("guess" in self.done.get(name, {}) for name in lesson.predictions)

    @property
    def next(self) -> Lesson | None:
        """The first lesson with an open exercise; None after the last one."""
        return next((lesson for lesson in self.lessons if not all(self.solved(lesson))), None)

    def _ticks(self, lesson):
        solved = self.solved(lesson)
        marks = "".join(_DONE if one else _OPEN for one in solved)
        guesses = f"{self.guessed(lesson)} of {len(lesson.predictions)} guesses" if lesson.predictions else ""
        return f"{marks} {sum(solved)} of {len(solved)} exercises" + (f", {guesses}" if guesses else "")

    def _summary(self):
        solved = sum(sum(self.solved(lesson)) for lesson in self.lessons)
        count = sum(len(lesson.exercises) for lesson in self.lessons)
        words = f"You have solved {solved} of {count} exercises."
        if self.next is None:
            return words
        return f"{words} {'Go on with' if solved else 'Begin with'} lesson {self.next.number}."

    def __repr__(self):
        rows = [f"{one.number}  {self._ticks(one)}  {one.title} ({one.minutes:g} min)" for one in self.lessons]
        return "\n".join([self._summary(), *rows])

    def _repr_html_(self):
        head = "".join(f'<th style="text-align: left">{name}</th>' for name in ("lesson", "needs", "done"))
        rows = "".join(map(self._row, self.lessons))
        return f"<p>{html.escape(self._summary())}</p><table><tr>{head}</tr>{rows}</table>"

    def _row(self, lesson):
        left = 'style="text-align: left"'
        link = f'<a href="{lesson.path.name}">{lesson.number} {html.escape(lesson.title)}</a>'
        here = "<strong>→</strong> " if lesson is self.next else ""
        return (
            f"<tr><td {left}>{here}{link}</td><td {left}>{html.escape(lesson.needs)}</td>"
            f"<td {left}>{self._ticks(lesson)}</td></tr>"
        )


def home() -> Home:
    """The map of the course with what you have done: its lessons, what they need, and ticks.

    It reads the lessons of the course's folder, or of the working directory.

    Raises:
        ValueError: If the folder has no lessons.
    """
    place = progress.folder() or Path.cwd()
    lessons = tuple(lessons_in(place))
    if not lessons:
        raise ValueError(f"home: expected a folder with the lessons of the course, received {place}.")
    return Home(lessons, progress.read())
