"""The key: what it gives as answers is right, by the checkers of the students, and students do not stumble on it."""

import ast

import jupytext
import pytest

from lipviz import course
from lipviz.command import cli, lab
from lipviz.command.teaching import key

LESSONS = lab.lessons()


def last_value(source):
    """Runs a cell in a new namespace, as a new kernel does; returns the value of its last line."""
    *before, last = ast.parse(source).body
    names = {}
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.number)
def test_each_answer_of_the_key_is_right_where_a_student_types_it(lesson):
    cells = [cell.source for cell in jupytext.read(lesson.path).cells if cell.cell_type == "code"]
    checks = [source for source in cells if key.CHECK.search(source)]
    assert len(checks) == len(lesson.exercises)
    for source, name in zip(checks, lesson.exercises, strict=True):
        assert last_value(source).status is course.Status.UNREADABLE  # before the answer
        reply = last_value(key.answered(source))
        assert (reply.exercise, reply.correct) == (name, True), reply
        assert reply.message == course.exercise(name).explanation  # nothing is rounded


def test_a_check_without_a_place_for_its_answer_is_refused():
    with pytest.raises(ValueError, match=r"tour\.compose: expected 'answer = \.\.\.' before its check"):
        key.answered('course.check("tour.compose", answer)')


def test_the_key_is_printed_where_it_is_asked_for(capsys):
    assert cli.main(["notebooks", "--key", "tour"]) == 0
    printed = capsys.readouterr().out
    for name in LESSONS[0].exercises:
        exercise = course.exercise(name)
        assert key.answer_code(exercise) in printed
        assert exercise.explanation in printed
    assert "bjorck.step" not in printed
    assert all(reply in printed for reply in course.exercise("tour.compose").kind.mistakes.values())


def test_without_the_switch_no_answer_is_printed(capsys):
    assert cli.main(["notebooks", "0", "2"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "file",
        "00_take_the_tour.py",
        "02_orthogonalize_a_kernel.py",
    ]


@pytest.mark.parametrize("name", ["8", "08", "08_certify_fashion", "notebooks/08_certify_fashion.py", "certificates"])
def test_a_lesson_has_several_names(name):
    assert [lesson.number for lesson in lab.find_lessons([name, "08"])] == ["08"]


@pytest.mark.parametrize("words", [["notebooks"], ["slides"], ["assignment", "--for", "otter", "FOLDER"]])
def test_an_unknown_lesson_is_one_line(words, capsys):
    assert cli.main([*words[:3], "99", *words[3:]]) == 1
    line = "lipviz: there is no lesson '99'; there are 00, 01, 02, 03, 04, 05, 06, 07, 08, 09, 10, 11, 12, 13"
    assert capsys.readouterr() == ("", f"{line} (`lipviz notebooks` lists them)\n")
