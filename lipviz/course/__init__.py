"""The exercises of the course, and the function that checks their answers.

In a notebook::

    from lipviz import course

    course.exercise("tour.compose")         # the question
    course.check("tour.compose", 4.2)       # right or not, and why; each wrong answer brings a stronger hint
    course.hint("tour.compose")             # a hint without an answer
    course.solution("tour.compose")         # after the last hint, or a right answer

Every call returns an object that shows itself in a notebook and in a terminal. No answer raises an error, whatever
it is. Each lesson has a module here that declares its exercises.
"""

from lipviz.course import (
    activations,
    bjorck,
    certificates,
    choice,
    constants,
    convolutions,
    depth,
    explanations,
    export,
    margins,
    migration,
    tour,
    training,
    wasserstein,
)
from lipviz.course.answers import Array, Case, Choice, Function, Number
from lipviz.course.registry import Exercise, check, exercise, exercises, hint, register, reset, solution
from lipviz.course.result import Result, Status

__all__ = [
    "Array",
    "Case",
    "Choice",
    "Exercise",
    "Function",
    "Number",
    "Result",
    "Status",
    "check",
    "exercise",
    "exercises",
    "hint",
    "register",
    "reset",
    "solution",
]

# In the order of the course.
for _lesson in (
    tour,
    constants,
    bjorck,
    activations,
    convolutions,
    depth,
    wasserstein,
    margins,
    certificates,
    explanations,
    export,
    training,
    migration,
    choice,
):
    register(*_lesson.EXERCISES)
