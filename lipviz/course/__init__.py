"""The exercises of the course, and the function that checks their answers.

In a notebook::

    from lipviz import course

    course.exercise("tour.compose")         # the question
    course.check("tour.compose", 4.2)       # right or not, and why; each wrong answer brings a stronger hint
    course.hint("tour.compose")             # a hint without an answer
    course.solution("tour.compose")         # after the last hint, or a right answer
    course.predict("tour.fooled")           # a guess opens the answer
    course.home()                           # the map of the lessons, with what you have done
    course.say("Long sentences.")           # prints them in lines of whole words

What was answered is kept in the folder of the course, see `lipviz.course.progress`. Every call returns an
object that shows itself in a notebook and in a terminal. No answer raises an error, whatever it is. Each lesson has a
module here that declares its exercises and predictions.
"""

from lipviz.course import (
    activations,
    bjorck,
    cells,
    certificates,
    choice,
    constants,
    convolutions,
    depth,
    explanations,
    export,
    margins,
    migration,
    own_data,
    tour,
    training,
    wasserstein,
)
from lipviz.course.answers import Array, Case, Choice, Function, Number
from lipviz.course.asking import Asked
from lipviz.course.guesses import Amount, Curve, Option, Prediction
from lipviz.course.lesson_map import Home, home
from lipviz.course.progress import save_progress
from lipviz.course.registry import (
    Exercise,
    check,
    exercise,
    exercises,
    hint,
    predict,
    prediction,
    predictions,
    register,
    reset,
    solution,
)
from lipviz.course.result import Result, Status
from lipviz.course.sentences import say

__all__ = [
    "Amount",
    "Array",
    "Asked",
    "Case",
    "Choice",
    "Curve",
    "Exercise",
    "Function",
    "Home",
    "Number",
    "Option",
    "Prediction",
    "Result",
    "Status",
    "check",
    "exercise",
    "exercises",
    "hint",
    "home",
    "predict",
    "prediction",
    "predictions",
    "register",
    "reset",
    "save_progress",
    "say",
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
    own_data,
):
    register(*_lesson.EXERCISES, *getattr(_lesson, "PREDICTIONS", ()))

cells.follow()
