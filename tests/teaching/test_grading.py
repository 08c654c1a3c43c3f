"""nbgrader and otter-grader grade sample submissions: one that is right, one that is half right, one that is wrong.

Each tool is run as a lecturer runs it, by its command, on what `lipviz assignment` wrote. The lesson is the first one:
two numbers for a point each, and a function for two points.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lipviz import course
from lipviz.command import lab
from lipviz.command.teaching import assignment
from lipviz.command.teaching.key import PLACEHOLDER, answer_code

pytestmark = [pytest.mark.nightly, pytest.mark.slow]

WRONG_FUNCTION = "def scale(w, k):\n    return w * (k / np.linalg.norm(w))"
# What students typed for the three exercises, and how many points that is worth.
SUBMISSIONS = {
    "right": ([answer_code(course.exercise(f"tour.{name}")) for name in ("compose", "radius", "scale")], 4),
    "half": (["answer = 1.5", "answer = 0.99", WRONG_FUNCTION], 2),
    "wrong": (["answer = 5.25", PLACEHOLDER, WRONG_FUNCTION], 0),
}


def need(tool):
    """Skips the test where a tool is missing, or fails it where LIPVIZ_REQUIRE_GRADERS is set to 1."""
    if importlib.util.find_spec(tool) is None:
        missing = pytest.fail if os.environ.get("LIPVIZ_REQUIRE_GRADERS") == "1" else pytest.skip
        missing(f'{tool} is not installed: pip install -e ".[graders]"')


def command(*words, cwd):
    """Runs a tool where its commands and those of its packages are found; returns what it said."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env={**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def submit(handed_out, answers, path):
    """Writes what a student hands in: the notebook that was handed out, with something typed into each answer."""
    notebook = nbformat.read(handed_out, as_version=4)
    places = [cell for cell in notebook.cells if cell.cell_type == "code" and is_answer(cell.source)]
    for cell, answer in zip(places, answers, strict=True):
        cell.source = answer
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def is_answer(source):
    return source.startswith((PLACEHOLDER, "def "))


@pytest.fixture
def lesson():
    (found,) = lab.find_lessons(["0"])
    return found


def test_nbgrader(lesson, tmp_path):
    need("nbgrader")
    name = lesson.path.stem
    assignment.write("nbgrader", [lesson], tmp_path / "course")
    folder = tmp_path / "course"
    command("nbgrader", "generate_assignment", name, cwd=folder)
    released = folder / "release" / name / f"{name}.ipynb"
    assert not any(answer in released.read_text() for answer in ("1.5", "0.98", "ord=2", "SOLUTION"))
    for student, (answers, _) in SUBMISSIONS.items():
        submit(released, answers, folder / "submitted" / student / name / f"{name}.ipynb")
    command("nbgrader", "autograde", name, cwd=folder)
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "lipviz") as gradebook:
        found = {student: gradebook.find_submission(name, student) for student in SUBMISSIONS}
        assert {one.max_score for one in found.values()} == {4}
        assert {student: one.score for student, one in found.items()} == {s: n for s, (_, n) in SUBMISSIONS.items()}


def test_otter(lesson, tmp_path):
    need("otter")
    name = lesson.path.stem
    assignment.write("otter", [lesson], tmp_path)
    command("otter", "assign", f"{name}.ipynb", "made", cwd=tmp_path)
    handed_out = tmp_path / "made" / "student" / f"{name}.ipynb"
    assert not any(answer in handed_out.read_text() for answer in ("1.5", "0.98", "ord=2", "SOLUTION"))
    (autograder,) = (tmp_path / "made" / "autograder").glob("*.zip")
    for student, (answers, points) in SUBMISSIONS.items():
        submission = tmp_path / student / f"{name}.ipynb"
        submit(handed_out, answers, submission)
        command("otter", "run", "-a", str(autograder), "-o", str(submission.parent), str(submission), cwd=tmp_path)
        results = json.loads((submission.parent / "results.json").read_text())
        assert sum(test["score"] for test in results["tests"] if "score" in test) == points, student
        assert ("That is the sum." in json.dumps(results)) == (student == "wrong")  # what the checker replied
