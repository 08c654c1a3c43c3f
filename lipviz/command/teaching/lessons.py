"""The exercises and predictions that a lesson has."""

from lipviz import course
from lipviz._lessons import Lesson


def exercises(lesson: Lesson) -> list[course.Exercise]:
    """The exercises of a lesson, in its order."""
    return [course.exercise(name) for name in lesson.exercises]


def predictions(lesson: Lesson) -> list[course.Prediction]:
    """The predictions of a lesson, in its order."""
    return [course.prediction(name) for name in lesson.predictions]


def heading(lesson: Lesson) -> str:
    """Number and title."""
    return f"{lesson.number} {lesson.title}"
