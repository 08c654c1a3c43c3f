"""Exercises, and the functions that check an answer, give a hint, and show the solution."""

import difflib
import html
from dataclasses import dataclass
from typing import Any

from lipviz import _moved
from lipviz.course.answers import Answer, AnswerFormatError, describe
from lipviz.course.result import Result, Status, to_html


@dataclass(frozen=True, repr=False)
class Exercise:
    """A question, how its answers are judged, and the texts of the replies.

    Printing one shows its question and nothing of its solution.

    Attributes:
        id: Lesson and name, such as ``"tour.compose"``.
        question: The question in plain text; paragraphs are separated by empty lines, code is in backticks.
        kind: Kind of answer, which judges it.
        hints: From gentle to nearly the solution.
        solution: An answer that is right: a number, a key, an array or a function.
        explanation: Why it is right.
    """

    id: str
    question: str
    kind: Answer
    hints: tuple[str, ...]
    solution: Any
    explanation: str

    def __post_init__(self):
        lesson, dot, name = self.id.partition(".")
        if not (lesson and dot and name):
            raise ValueError(f'id: expected "lesson.name", received {self.id!r}.')
        if isinstance(self.hints, str) or not self.hints:
            raise ValueError(f"hints of {self.id}: expected a tuple of at least one hint, received {self.hints!r}.")

    @property
    def lesson(self) -> str:
        """First part of the id."""
        return self.id.partition(".")[0]

    @property
    def _parts(self) -> tuple[str, str]:
        return self.question, f"Expected: {self.kind.expects}."

    def __repr__(self):
        return "\n".join((f"Exercise {self.id}", *self._parts))

    def _repr_html_(self):
        heading = f"<p><strong>Exercise</strong> <small>{html.escape(self.id)}</small></p>"
        return f"<div>{heading}{''.join(map(to_html, self._parts))}</div>"


_RENAMED = {"certificates.dial": "certificates.tau"}  # ids of the last release, in copies of its lessons
_exercises: dict[str, Exercise] = {}
_hints_given: dict[str, int] = {}
_solved: set[str] = set()


def register(*new: Exercise) -> None:
    """Makes exercises known to `check`.

    Args:
        *new: The exercises.

    Raises:
        ValueError: If an id is taken.
    """
    for one in new:
        if one.id in _exercises:
            raise ValueError(f"id: expected one that is free, received {one.id!r}.")
        _exercises[one.id] = one


def exercises(lesson: str | None = None) -> tuple[Exercise, ...]:
    """All exercises in their order, or those of one lesson.

    Args:
        lesson: Name of a lesson, such as ``"tour"``; None for all.

    Raises:
        ValueError: If no exercise belongs to that lesson.
    """
    found = tuple(one for one in _exercises.values() if lesson in (None, one.lesson))
    if lesson is not None and not found:
        lessons = sorted({one.lesson for one in _exercises.values()})
        raise ValueError(f"lesson: expected one of {', '.join(lessons)}, received {lesson!r}.")
    return found


def exercise(exercise_id: str) -> Exercise:
    """The exercise with this id, which shows its question in a notebook.

    Args:
        exercise_id: Such as ``"tour.compose"``.

    Raises:
        TypeError: If the id is not a string.
        ValueError: If there is no such exercise; the message names those that are spelled alike.
    """
    if not isinstance(exercise_id, str):
        raise TypeError(f'exercise_id: expected a string such as "tour.compose", received {exercise_id!r}.')
    if exercise_id in _RENAMED:
        _moved.warn(exercise_id, _RENAMED[exercise_id], 2)
        exercise_id = _RENAMED[exercise_id]
    if exercise_id in _exercises:
        return _exercises[exercise_id]
    close = difflib.get_close_matches(exercise_id, _exercises, n=3)
    advice = f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(_exercises)}."
    raise ValueError(f"exercise_id: no exercise is called {exercise_id!r}. {advice}")


def check(exercise_id: str, answer: Any) -> Result:
    """Says whether an answer is right, and why; each wrong answer brings the next hint.

    A placeholder (``...`` or None), or an answer of another kind, does not use up a hint.

    Args:
        exercise_id: Such as ``"tour.compose"``.
        answer: Of the kind that the exercise asks for.

    Returns:
        The reply, true if the answer is right. Show it as the last line of a cell.

    Raises:
        TypeError: If the id is not a string.
        ValueError: If there is no such exercise. No answer raises.
    """
    one = exercise(exercise_id)
    if answer is None or answer is Ellipsis:
        message = f"Put your answer in place of {describe(answer)}: {one.kind.expects}."
        return Result(one.id, Status.UNREADABLE, message)
    try:
        fault = one.kind.fault(answer, one.solution)
    except AnswerFormatError as error:
        return Result(one.id, Status.UNREADABLE, str(error))
    if fault is None:
        _solved.add(one.id)
        return Result(one.id, Status.RIGHT, one.explanation)
    return Result(one.id, Status.WRONG, "\n\n".join(part for part in (fault, _next_hint(one)) if part))


def hint(exercise_id: str) -> Result:
    """Gives the next hint without an answer; after the last one, gives that one again.

    Args:
        exercise_id: Such as ``"tour.compose"``.

    Raises:
        TypeError: If the id is not a string.
        ValueError: If there is no such exercise.
    """
    one = exercise(exercise_id)
    return Result(one.id, Status.HINT, _next_hint(one))


def solution(exercise_id: str) -> Result:
    """Shows the solution and why it is right, to a reader who has solved the exercise or had every hint.

    Args:
        exercise_id: Such as ``"tour.compose"``.

    Returns:
        The solution; before that, how many hints are left.

    Raises:
        TypeError: If the id is not a string.
        ValueError: If there is no such exercise.
    """
    one = exercise(exercise_id)
    left = len(one.hints) - _hints_given.get(one.id, 0)
    if left > 0 and one.id not in _solved:
        message = (
            f"Try first: check an answer, or ask for `course.hint({one.id!r})`. "
            f"The solution comes after {left} more {'hint' if left == 1 else 'hints'}."
        )
        return Result(one.id, Status.HINT, message)
    return Result(one.id, Status.SOLUTION, one.explanation, code=one.kind.show(one.solution))


def reset(exercise_id: str | None = None) -> None:
    """Forgets the hints given and the right answers, of one exercise or of all.

    Args:
        exercise_id: Such as ``"tour.compose"``; None for all.

    Raises:
        TypeError: If the id is neither a string nor None.
        ValueError: If there is no such exercise.
    """
    for one in exercises() if exercise_id is None else (exercise(exercise_id),):
        _hints_given.pop(one.id, None)
        _solved.discard(one.id)


def _next_hint(one: Exercise) -> str:
    """Text of the next hint, with its number; the last one also says how to see the solution."""
    number = min(_hints_given.get(one.id, 0) + 1, len(one.hints))
    _hints_given[one.id] = number
    text = f"Hint {number} of {len(one.hints)}: {one.hints[number - 1]}"
    if number == len(one.hints):
        text += f"\n\nIf that does not help, `course.solution({one.id!r})` shows the solution."
    return text
