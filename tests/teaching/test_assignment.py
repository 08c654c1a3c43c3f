"""Assignments: notebooks in the source formats of both tools, whose marks cut out every answer."""

import os
import re

import nbformat
import pytest

from lipviz import course
from lipviz.command import cli, lab
from lipviz.command.teaching import assignment, key
from lipviz.command.teaching.lessons import exercises

LESSONS = lab.lessons()


def without_solutions(tool, source):
    """A cell as the tool hands it to students."""
    if tool == "nbgrader":
        return re.sub(r"### BEGIN SOLUTION.*?### END SOLUTION", "# …", source, flags=re.DOTALL)
    source = re.sub(r"^(\w+ = ).* # SOLUTION$", r"\1...", source, flags=re.MULTILINE)
    return re.sub(r"# BEGIN SOLUTION\n.*?# END SOLUTION", "...", source, flags=re.DOTALL)


def reply_to(source, exercise):
    """The reply of the checker to what a cell defines."""
    names = {}
    exec(f"{assignment.IMPORTS}\n{source}", names)
    return course.check(exercise.id, names[assignment.given(exercise)])


@pytest.mark.parametrize("tool", ["nbgrader", "otter"])
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.number)
def test_a_lecturer_has_right_answers_and_students_have_none(tool, lesson):
    notebook = {"nbgrader": assignment.for_nbgrader, "otter": assignment.for_otter}[tool](lesson)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code.pop(0) == assignment.IMPORTS
    for exercise, answer, test in zip(exercises(lesson), code[::2], code[1::2], strict=True):
        assert f'course.check("{exercise.id}", {assignment.given(exercise)})' in test
        assert reply_to(answer, exercise).correct
        handed_out = without_solutions(tool, answer)
        assert "SOLUTION" not in handed_out
        assert reply_to(handed_out, exercise).status is course.Status.UNREADABLE
        body = key.answer_code(exercise).splitlines()[isinstance(exercise.kind, course.Function) :]
        assert not any(line.strip() in handed_out for line in body if line.strip())


def test_points_stand_in_the_question_and_in_what_the_tools_read():
    lesson = LESSONS[0]
    worth = [assignment.points(exercise) for exercise in exercises(lesson)]
    assert worth == [1, 1, 2]
    marks = [cell.metadata.get("nbgrader", {}) for cell in assignment.for_nbgrader(lesson).cells]
    assert [mark["points"] for mark in marks if mark.get("grade")] == worth
    assert all(mark["locked"] for mark in marks if mark.get("grade"))
    names = [mark["grade_id"] for mark in marks if mark]
    assert len(set(names)) == len(names)
    cells = assignment.for_otter(lesson).cells
    raw = "\n".join(cell.source for cell in cells if cell.cell_type == "raw")
    assert [int(found) for found in re.findall(r"^points: (\d+)$", raw, re.MULTILINE)] == worth
    questions = [cell.source for cell in cells if cell.cell_type == "markdown"][1:]
    assert [re.search(r"\((\d) point", text)[1] for text in questions] == [str(number) for number in worth]


def test_the_command_writes_says_what_is_next_and_replaces_nothing(tmp_path, capsys):
    folder = tmp_path / "new" / "course"
    assert cli.main(["assignment", "--for", "nbgrader", "0", "3", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "hold the answers" in printed
    assert f"cd {folder}\n  nbgrader generate_assignment 00_take_the_tour\n" in printed
    assert (folder / "nbgrader_config.py").exists()
    written = {path.name: path.read_bytes() for path in folder.rglob("*.ipynb")}
    assert set(written) == {"00_take_the_tour.ipynb", "03_sort_instead_of_cut.ipynb"}
    assert cli.main(["assignment", "--for", "otter", "0", str(folder)]) == 1
    line = f"lipviz: {folder} exists already and is not an empty folder; choose a new name, or remove it\n"
    assert capsys.readouterr() == ("", line)
    assert {path.name: path.read_bytes() for path in folder.rglob("*.ipynb")} == written


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["assignment", "--for", "otter", "0", str(tmp_path / "file" / "below")]) == 1
    assert cli.main(["assignment", "--for", "otter", "0", str(tmp_path / "file")]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"lipviz: cannot write to {tmp_path / 'file' / 'below'}: ")
    assert "exists already" in second


def test_a_lesson_in_the_place_of_the_folder_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["assignment", "--for", "otter", "0", "8"]) == 1
    assert capsys.readouterr() == ("", "lipviz: expected a folder after the lessons, received '8'\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert cli.main(["assignment", "--for", "otter", "0", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err.startswith(f"lipviz: cannot write to {tmp_path / 'new'}: Permission denied")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["0", "folder"], "the following arguments are required: --for"),
        (["--for", "otter", "0"], "the following arguments are required: FOLDER"),
        (["--for", "gradescope", "0", "folder"], "invalid choice: 'gradescope'"),
    ],
)
def test_careless_arguments(words, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["assignment", *words])
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err
