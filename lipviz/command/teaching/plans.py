"""The teaching plans: what a lecturer shows and students do, minute by minute; and the pages that show the plans.

The plans are the files `plan_of_NN.toml` beside this module, and `sessions.toml`, which puts lessons into sessions of
90 minutes. `python -m tools.teaching` writes the pages into `docs/teaching`. Speaker notes of slides come from the same
files.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipviz._lessons import Lesson
from lipviz.command.teaching.key import mistakes
from lipviz.command.teaching.lessons import exercises, heading

FOLDER = Path(__file__).with_name("plans")
SESSION_MINUTES = 90


@dataclass(frozen=True)
class Step:
    """A part of a plan.

    Attributes:
        minutes: How long it takes.
        section: Heading of the lesson that it is about.
        show: What the lecturer shows or says.
        do: What students do.
        stumble: Where they stumble, and what helps; "" if nowhere in particular.
    """

    minutes: int
    section: str
    show: str
    do: str
    stumble: str = ""


@dataclass(frozen=True)
class Plan:
    """The plan of a lesson.

    Attributes:
        aims: What students can do afterwards; each goes on from "Students can".
        before: What they should know.
        misconceptions: Pairs of what students believe, and the answer that helps.
        steps: The parts in order.
    """

    aims: tuple[str, ...]
    before: str
    misconceptions: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]

    @property
    def minutes(self) -> int:
        """Sum of the steps."""
        return sum(step.minutes for step in self.steps)


@dataclass(frozen=True)
class Session:
    """90 minutes.

    Attributes:
        title: Its subject.
        lessons: Numbers of its lessons.
        opening: How it begins, for `opening_minutes`.
        closing: How it ends, for `closing_minutes`.
        opening_minutes: Minutes before the first lesson.
        closing_minutes: Minutes after the last one.
    """

    title: str
    lessons: tuple[str, ...]
    opening: str
    closing: str
    opening_minutes: int = 5
    closing_minutes: int = 5


def plan(lesson: Lesson) -> Plan:
    """The plan of a lesson.

    Raises:
        ValueError: There is none.
    """
    path = FOLDER / f"plan_of_{lesson.number}.toml"
    if not path.exists():
        raise ValueError(f"lesson {lesson.number}: expected its plan in {path}.")
    read: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    steps = tuple(Step(**step) for step in read["steps"])
    believed = tuple((one["belief"], one["answer"]) for one in read["misconceptions"])
    return Plan(tuple(read["aims"]), read["before"], believed, steps)


def sessions() -> list[Session]:
    """All sessions in order."""
    read = tomllib.loads((FOLDER / "sessions.toml").read_text(encoding="utf-8"))
    return [Session(**{**one, "lessons": tuple(one["lessons"])}) for one in read["sessions"]]


def notes(lesson: Lesson) -> dict[str, str]:
    """What the speaker notes of a lesson say, by the heading at which they begin."""
    said: dict[str, str] = {}
    for step in plan(lesson).steps:
        lines = [f"{step.minutes} minutes.", step.show, f"Students: {step.do}"]
        lines += [f"Stumbling block: {step.stumble}"] if step.stumble else []
        said[step.section] = "\n".join(filter(None, [said.get(step.section, ""), *lines]))
    return said


# --- pages ---


def page(lesson: Lesson) -> str:
    """The page of a lesson for lecturers, in Markdown."""
    one = plan(lesson)
    parts = [
        _WRITTEN,
        f"# {heading(lesson)}",
        f"{one.minutes} minutes, of which the lesson computes for about {lesson.minutes:g} on two CPU cores.",
        "## Aims\n\nStudents can",
        "\n".join(f"- {aim}" for aim in one.aims),
        f"## Prerequisites\n\n{one.before}",
        "## Plan",
        _steps(one),
        "## What students believe, and what helps",
        "\n\n".join(f"**{belief}** {answer}" for belief, answer in one.misconceptions),
        "## Wrong answers that the checkers recognize",
        "When a student gives one of these answers, the notebook replies with the text beside it, and a hint.",
        _known(lesson),
    ]
    return "\n\n".join(parts) + "\n"


_WRITTEN = "<!-- written by `python -m tools.teaching`; the texts are in lipviz/command/teaching/plans -->"


def _steps(one):
    rows = ["| minutes | section | you show | students do |", "|---|---|---|---|"]
    begin = 0
    for step in one.steps:
        end = begin + step.minutes
        stumble = f" *They stumble:* {step.stumble}" if step.stumble else ""
        rows.append(f"| {begin}–{end} | {_cell(step.section)} | {_cell(step.show)} | {_cell(step.do + stumble)} |")
        begin = end
    return "\n".join(rows)


def _known(lesson):
    rows = ["| exercise | answer | reply |", "|---|---|---|"]
    for exercise in exercises(lesson):
        for wrong, reply in mistakes(exercise):
            rows.append(f"| `{exercise.id}` | {_cell(wrong)} | {_cell(reply)} |")
    tried = [f"`{one.id}`" for one in exercises(lesson) if not mistakes(one)]
    if tried:
        rows += ["", f"The checker of {', '.join(tried)} tries the answer, and names the first thing that is wrong."]
    return "\n".join(rows)


def _cell(text):
    """Text that stays in a cell of a table."""
    return text.replace("|", "\\|")


def sessions_page(lessons: list[Lesson]) -> str:
    """The page of all sessions, in Markdown."""
    by_number = {lesson.number: lesson for lesson in lessons}
    parts = [_WRITTEN, "# Sessions of 90 minutes"]
    for number, session in enumerate(sessions(), 1):
        parts.append(f"## {number}. {session.title}")
        rows = ["| minutes | what |", "|---|---|", f"| 0–{session.opening_minutes} | {_cell(session.opening)} |"]
        begin = session.opening_minutes
        for name in session.lessons:
            lesson = by_number[name]
            end = begin + plan(lesson).minutes
            rows.append(f"| {begin}–{end} | [{heading(lesson)}]({lesson.path.stem}.md) |")
            begin = end
        rows.append(f"| {begin}–{begin + session.closing_minutes} | {_cell(session.closing)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"
