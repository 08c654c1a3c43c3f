"""The key: right answers to all exercises, as what a student would type, and as a text for lecturers.

The answers are those that `lipviz.course` holds and its checkers use. No other file repeats them.
"""

import re
from collections.abc import Sequence

import numpy as np

from lipviz import course
from lipviz._lessons import Lesson
from lipviz.command.teaching.lessons import exercises, heading, predictions

CHECK = re.compile(r'^course\.check\("([\w.]+)", (\w+)\)$', re.MULTILINE)
PLACEHOLDER = "answer = ..."


def answer_code(exercise: course.Exercise) -> str:
    """The right answer as program text: ``answer = …``, or the definition of a function."""
    solution = exercise.solution
    if isinstance(exercise.kind, course.Function):
        return exercise.kind.show(solution)
    if isinstance(exercise.kind, course.Array):
        return f"answer = {np.asarray(solution).tolist()}"
    return f"answer = {solution if isinstance(solution, int | str) else float(solution)!r}".replace("'", '"')


def stub(exercise: course.Exercise) -> str:
    """What stands in the place of the answer before it is given."""
    if isinstance(exercise.kind, course.Function):
        return f"def {exercise.kind.signature}:\n    return ..."
    return PLACEHOLDER


def answered(source: str) -> str:
    """A code cell of a lesson, or a whole lesson, with the right answer in each place that waits for one.

    Raises:
        ValueError: A check has no such place before it.
    """
    pieces, begin = [], 0
    for found in CHECK.finditer(source):
        part, exercise = source[begin : found.end()], course.exercise(found[1])
        before, place, after = part.rpartition(stub(exercise))
        if not place:
            raise ValueError(f"{exercise.id}: expected {stub(exercise)!r} before its check, and there is none.")
        pieces.append(f"{before}{answer_code(exercise)}{after}")
        begin = found.end()
    return "".join([*pieces, source[begin:]])


def key(lessons: Sequence[Lesson]) -> str:
    """The key of some lessons in Markdown: questions, right answers, why they are right, and known mistakes."""
    parts = ["# Key to the exercises", "For lecturers. The same code checks the answers of students."]
    for lesson in lessons:
        parts.append(f"## {heading(lesson)}")
        for exercise in exercises(lesson):
            parts += _exercise(exercise)
        for prediction in predictions(lesson):
            parts += _prediction(prediction)
    return "\n\n".join(parts) + "\n"


def _exercise(exercise):
    yield f"### {exercise.id}"
    yield exercise.to_markdown()
    yield f"```python\n{answer_code(exercise)}\n```"
    yield exercise.explanation
    known = mistakes(exercise)
    if known:
        yield "\n".join(f"- {wrong}: {comment}" for wrong, comment in known)


def _prediction(prediction):
    yield f"### Prediction {prediction.id}"
    yield prediction.to_markdown()
    truth = "The lesson measures it." if prediction.truth is None else prediction.kind.show(prediction.truth)
    yield f"**{truth}** {prediction.explanation}"


def mistakes(exercise: course.Exercise) -> list[tuple[str, str]]:
    """Wrong answers that the checker knows, as text, and what it replies to each."""
    known = getattr(exercise.kind, "mistakes", {})
    if isinstance(exercise.kind, course.Choice):
        return [(exercise.kind.show(wrong), comment) for wrong, comment in known.items()]
    return [(exercise.kind.show(wrong), comment) for wrong, comment in known.items()]
