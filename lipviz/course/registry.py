"""Exercises, and the functions that check an answer, give a hint, and show the solution."""

import difflib
import html
from dataclasses import dataclass
from typing import Any

from lipviz import _moved
from lipviz.course import progress
from lipviz.course.answers import Answer, AnswerFormatError, Number, describe, written
from lipviz.course.asking import Asked
from lipviz.course.guesses import Prediction
from lipviz.course.result import Result, Status, to_html, to_markdown


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

    def to_markdown(self) -> str:
        """The question, and what is expected, as lessons hold them in a Markdown cell."""
        return f"{to_markdown(self.question)}\n\n{to_markdown(f'Expected: {self.kind.expects}.')}"


_RENAMED = {"certificates.dial": "certificates.tau"}  # ids of the last release, in copies of its lessons
_exercises: dict[str, Exercise] = {}
_predictions: dict[str, Prediction] = {}


def register(*new: Exercise | Prediction) -> None:
    """Makes exercises known to `check`, and predictions to `predict`.

    Args:
        *new: The exercises and predictions.

    Raises:
        ValueError: If an id is taken.
    """
    for one in new:
        if one.id in _exercises or one.id in _predictions:
            raise ValueError(f"id: expected one that is free, received {one.id!r}.")
        if isinstance(one, Prediction):
            _predictions[one.id] = one
        else:
            _exercises[one.id] = one


def exercises(lesson: str | None = None) -> tuple[Exercise, ...]:
    """All exercises in their order, or those of one lesson.

    Args:
        lesson: Name of a lesson, such as ``"tour"``; None for all.

    Raises:
        ValueError: If no exercise belongs to that lesson.
    """
    return _of_lesson(_exercises, lesson)


def predictions(lesson: str | None = None) -> tuple[Prediction, ...]:
    """All predictions in their order, or those of one lesson; see `exercises`."""
    return _of_lesson(_predictions, lesson)


def _of_lesson(known, lesson):
    found = tuple(one for one in known.values() if lesson in (None, one.lesson))
    if lesson is not None and not found:
        lessons = sorted({one.lesson for one in known.values()})
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
    return _found(_exercises, exercise_id, "exercise")


def prediction(prediction_id: str) -> Prediction:
    """The prediction with this id; see `exercise`."""
    return _found(_predictions, prediction_id, "prediction")


def _found(known, name, kind):
    if not isinstance(name, str):
        raise TypeError(
            f"{kind}_id: expected a string such as {next(iter(known), 'tour.compose')!r}, received {name!r}."
        )
    if name in _RENAMED:
        _moved.warn(name, _RENAMED[name], 3)
        name = _RENAMED[name]
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=3)
    advice = f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(known)}."
    raise ValueError(f"{kind}_id: no {kind} is called {name!r}. {advice}")


def check(exercise_id: str, answer: Any) -> Result:
    """Says whether an answer is right, and why; each wrong answer brings the next hint.

    A placeholder (``...`` or None), an answer of another kind, and a number that is wrong only in its units, its sign
    or its last digits do not use up a hint.

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
        before, code = _said_before(one)
        return Result(one.id, Status.UNREADABLE, "\n\n".join(filter(None, (message, before))), code=code)
    try:
        fault = one.kind.fault(answer, one.solution)
    except AnswerFormatError as error:
        return Result(one.id, Status.UNREADABLE, str(error))
    kept = written(answer)
    if fault is None:
        progress.note(one.id, answer=kept, solved=True)
        remark = one.kind.remark(answer, one.solution) if isinstance(one.kind, Number) else ""
        return Result(one.id, Status.RIGHT, "\n\n".join(filter(None, (remark, one.explanation))))
    progress.note(one.id, answer=kept)
    nearly = one.kind.nearly(answer, one.solution) if isinstance(one.kind, Number) and not fault else ""
    if nearly:
        return Result(one.id, Status.WRONG, nearly)
    return Result(one.id, Status.WRONG, "\n\n".join(part for part in (fault, _next_hint(one)) if part))


def predict(prediction_id: str, truth: Any = None, reveal: Any = None) -> Asked:
    """Asks for a guess, which opens the answer. Show it as the last line of a cell; the lesson goes on without a guess.

    Args:
        prediction_id: Such as ``"constants.pairs"``.
        truth: What is true, where the lesson measures it; None for what is registered.
        reveal: What the guess opens beside the reply: a text, a picture, or any object that a notebook shows, or a list
            of them.

    Returns:
        The question, as a form in a notebook. Its method ``commit(guess)`` does the same in code.

    Raises:
        TypeError: If the id is not a string.
        ValueError: If there is no such prediction, or its truth is not known.
    """
    return Asked(prediction(prediction_id), truth, reveal)


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
    done = progress.record(one.id)
    left = len(one.hints) - done.get("hints", 0)
    if left > 0 and not done.get("solved"):
        message = (
            f"Try first: check an answer, or ask for `course.hint({one.id!r})`. "
            f"The solution comes after {left} more {'hint' if left == 1 else 'hints'}."
        )
        return Result(one.id, Status.HINT, message)
    return Result(one.id, Status.SOLUTION, one.explanation, code=one.kind.show(one.solution))


def reset(exercise_id: str | None = None) -> None:
    """Forgets the hints given, answers and ticks, or the guess: of one exercise or prediction, or of all.

    Args:
        exercise_id: Such as ``"tour.compose"``; None for all.

    Raises:
        TypeError: If the id is neither a string nor None.
        ValueError: If there is no such exercise or prediction.
    """
    if exercise_id is None:
        progress.forget(progress.read())
    elif isinstance(exercise_id, str) and exercise_id in _predictions:
        progress.forget([exercise_id])
    else:
        progress.forget([exercise(exercise_id).id])


def _said_before(one: Exercise) -> tuple[str, str]:
    """What the reader answered last, in an earlier session or in this one, in words and as code; "" if nothing."""
    done = progress.record(one.id)
    answer = done.get("answer")
    if not isinstance(answer, str):
        return "", ""
    verdict = "which is right" if done.get("solved") else "which is not right yet"
    if "\n" in answer:
        return f"Your last answer, {verdict}:", answer
    return f"Your last answer was `{answer}`, {verdict}.", ""


def _next_hint(one: Exercise) -> str:
    """Text of the next hint, with its number; the last one also says how to see the solution."""
    number = min(progress.record(one.id).get("hints", 0) + 1, len(one.hints))
    progress.note(one.id, hints=number)
    text = f"Hint {number} of {len(one.hints)}: {one.hints[number - 1]}"
    if number == len(one.hints):
        text += f"\n\nIf that does not help, `course.solution({one.id!r})` shows the solution."
    return text
