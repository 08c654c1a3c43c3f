"""Assignments: the exercises of lessons as notebooks in the source formats of nbgrader and of otter-grader.

Both tools make the version of the students from such a notebook, without the answers, and grade submissions. An
exercise becomes a question, a cell for the answer, and a test with points, which calls the checker of the course. The
rest of the lesson is left out, so that a submission is graded in seconds, without a training.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from lipviz import course
from lipviz._lessons import Lesson
from lipviz.command.lab import LabError
from lipviz.command.teaching.key import PLACEHOLDER, answer_code
from lipviz.command.teaching.lessons import exercises, heading

IMPORTS = "import numpy as np\n\nfrom lipviz import course"
KERNEL = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_NBGRADER_SETTINGS = '''"""Settings of nbgrader. Type the commands of nbgrader in this folder."""

c = get_config()  # noqa: F821 - nbgrader defines it
c.CourseDirectory.course_id = "lipviz"
# What students find in the place of an answer.
c.ClearSolutions.code_stub = {"python": "# Your answer goes here, in place of the dots."}
'''


def points(exercise: course.Exercise) -> int:
    """What an exercise is worth: 2 for a function to write, 1 for any other answer."""
    return 2 if isinstance(exercise.kind, course.Function) else 1


def write(tool: str, lessons: Sequence[Lesson], folder: Path) -> list[Path]:
    """Writes the exercises of lessons for a tool.

    Args:
        tool: "nbgrader" or "otter".
        lessons: The lessons; each becomes one assignment.
        folder: A new or an empty folder.

    Returns:
        The paths of the notebooks.

    Raises:
        LabError: The folder is not empty, or cannot be written.
    """
    make, place = {"nbgrader": (for_nbgrader, _in_source), "otter": (for_otter, _beside)}[tool]
    folder = folder.expanduser().absolute()
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise LabError(f"{folder} exists already and is not an empty folder; choose a new name, or remove it")
        paths = [place(folder, lesson) for lesson in lessons]
        for path, lesson in zip(paths, lessons, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(make(lesson), path)
        if tool == "nbgrader":
            (folder / "nbgrader_config.py").write_text(_NBGRADER_SETTINGS, encoding="utf-8")
    except OSError as error:
        raise LabError(f"cannot write to {folder}: {error.strerror} ({error.filename})") from error
    return paths


def next_steps(tool: str, paths: Sequence[Path]) -> list[str]:
    """Lines that say what to type next.

    Args:
        tool: "nbgrader" or "otter".
        paths: What `write` returned.
    """
    if tool == "nbgrader":
        return [
            "These notebooks hold the answers. What students get is made by:",
            f"  cd {paths[0].parents[2]}",
            *(f"  nbgrader generate_assignment {path.stem}" for path in paths),
        ]
    return [
        "These notebooks hold the answers. What students get, and the autograder, are made by:",
        f"  cd {paths[0].parent}",
        *(f"  otter assign {path.name} {path.stem}" for path in paths),
    ]


def _in_source(folder, lesson):
    return folder / "source" / lesson.path.stem / f"{lesson.path.stem}.ipynb"


def _beside(folder, lesson):
    return folder / f"{lesson.path.stem}.ipynb"


def _notebook(first: list[NotebookNode], lesson: Lesson, cells_of: Callable) -> NotebookNode:
    """A notebook with a title, and the cells of each exercise, which get ids that do not change from run to run."""
    cells = [*first, new_markdown_cell(_title(lesson))]
    for number, exercise in enumerate(exercises(lesson), 1):
        cells += cells_of(exercise, _question(exercise, number))
    for place, cell in enumerate(cells):
        cell.id = f"{lesson.path.stem[:20]}-{place}"
    return new_notebook(cells=cells, metadata=KERNEL)


def _title(lesson):
    return (
        f"# Exercises of lesson {heading(lesson)}\n\nPut your answer in place of the dots, and run the cell below it. "
        "It says whether the answer is right. After a wrong answer you get a hint, and can try again. "
        f"`{lesson.path.name}` is the lesson."
    )


def _question(exercise, number):
    worth = points(exercise)
    mark = "1 point" if worth == 1 else f"{worth} points"
    return new_markdown_cell(f"## Exercise {number} ({mark})\n\n{exercise.to_markdown()}")


def given(exercise: course.Exercise) -> str:
    """The name under which the check finds the answer."""
    return exercise.kind.signature.partition("(")[0] if isinstance(exercise.kind, course.Function) else "answer"


# --- nbgrader ---


def for_nbgrader(lesson: Lesson) -> NotebookNode:
    """The exercises of a lesson as a source notebook of nbgrader."""
    imports = new_code_cell(IMPORTS, metadata={"nbgrader": _marked("imports", locked=True)})
    return _notebook([imports], lesson, _for_nbgrader)


def _for_nbgrader(exercise, question):
    name = exercise.id.replace(".", "-")
    test = (
        f'reply = course.check("{exercise.id}", {given(exercise)})\n'
        "print(reply)\nassert reply.correct  # without it, there are no points"
    )
    graded = _marked(f"{name}-test", locked=True, grade=True, points=points(exercise))
    return [
        question,
        new_code_cell(_nbgrader_answer(exercise), metadata={"nbgrader": _marked(name, solution=True)}),
        new_code_cell(test, metadata={"nbgrader": graded}),
    ]


def _marked(name, **marks):
    """Metadata by which nbgrader knows a cell, version 3 of its schema."""
    of_all = {"grade": False, "locked": False, "solution": False, "task": False, "schema_version": 3}
    return {**of_all, "grade_id": name, **marks}


def _nbgrader_answer(exercise):
    """The cell of an answer. What stands between two comments is cut out; what is left is the cell before an answer."""
    begin, end = "### BEGIN SOLUTION", "### END SOLUTION"
    code = answer_code(exercise)
    if not isinstance(exercise.kind, course.Function):
        return f"{PLACEHOLDER}\n{begin}\n{code}\n{end}"
    header, _, body = code.partition("\n")
    return f"{header}\n    {begin}\n{body}\n    {end}\n    return ..."


# --- otter-grader ---


def for_otter(lesson: Lesson) -> NotebookNode:
    """The exercises of a lesson as a master notebook of Otter Assign."""
    name = lesson.path.stem
    config = f"# ASSIGNMENT CONFIG\nname: {name}\nsolutions_pdf: false\nexport_cell:\n  pdf: false\ngenerate: true"
    return _notebook([new_raw_cell(config), new_code_cell(IMPORTS)], lesson, _for_otter)


def _for_otter(exercise, question):
    name = exercise.id.replace(".", "_")
    test = f'reply = course.check("{exercise.id}", {given(exercise)})\nassert reply.correct, reply'
    return [
        new_raw_cell(f"# BEGIN QUESTION\nname: {name}\npoints: {points(exercise)}"),
        question,
        new_raw_cell("# BEGIN SOLUTION"),
        new_code_cell(_otter_answer(exercise)),
        new_raw_cell("# END SOLUTION"),
        new_raw_cell("# BEGIN TESTS"),
        new_code_cell(test),
        new_raw_cell("# END TESTS"),
        new_raw_cell("# END QUESTION"),
    ]


def _otter_answer(exercise):
    """The cell of an answer. Otter puts three dots in the place of what is marked."""
    code = answer_code(exercise)
    if not isinstance(exercise.kind, course.Function):
        return f"{code} # SOLUTION"
    header, _, body = code.partition("\n")
    return f"{header}\n    # BEGIN SOLUTION\n{body}\n    # END SOLUTION"
