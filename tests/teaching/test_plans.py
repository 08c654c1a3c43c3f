"""The teaching plans: they speak of the lessons as they are, and fit into their time."""

import re

import pytest

from lipviz.command import lab
from lipviz.command.teaching import plans
from tools import teaching

LESSONS = {lesson.number: lesson for lesson in lab.lessons()}
OWN_TIME = {"half an hour": 30, "40 minutes": 40, "an hour": 60}


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)
def test_a_plan_follows_its_lesson_and_leaves_the_time_that_the_lesson_asks_for(lesson):
    text = lesson.path.read_text(encoding="utf-8")
    headings = re.findall(r"^# #+ (.+)$", text, re.MULTILINE)
    plan = plans.plan(lesson)
    places = [headings.index(step.section) for step in plan.steps]
    assert places == sorted(places)
    (own,) = re.findall(r"and\s(?:# )?(half an hour|40 minutes|an hour) of\syour time", text.replace("\n# ", " "))
    assert plan.minutes >= OWN_TIME[own] + lesson.minutes
    assert min(step.minutes for step in plan.steps) >= 3
    assert len(plan.aims) >= 3
    assert len(plan.misconceptions) >= 3


def test_sessions_take_90_minutes_and_teach_every_lesson_once():
    assert sorted(number for session in plans.sessions() for number in session.lessons) == sorted(LESSONS)
    for session in plans.sessions():
        inside = sum(plans.plan(LESSONS[number]).minutes for number in session.lessons)
        assert session.opening_minutes + inside + session.closing_minutes == plans.SESSION_MINUTES, session.title


def test_speaker_notes_say_what_the_plan_says():
    plan = plans.plan(LESSONS["00"])
    notes = plans.notes(LESSONS["00"])
    for step in plan.steps:
        assert f"{step.minutes} minutes.\n{step.show}\nStudents: {step.do}" in notes[step.section]
        assert step.stumble in notes[step.section]


@pytest.mark.lists
def test_the_pages_for_lecturers_are_up_to_date():
    pages = teaching.up_to_date()
    assert {path: path.read_text(encoding="utf-8") for path in pages} == pages, "run `python -m tools.teaching`"
    assert {path.name for path in teaching.PAGES.glob("*.md")} == {"index.md", *(path.name for path in pages)}


def test_a_lesson_without_a_plan_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"^lesson 00: expected its plan in .*plan_of_00\.toml\.$"):
        plans.plan(LESSONS["00"])
