"""Write what lessons repeat of other files: the questions, the ways to other lessons, and the map of the course.

    python -m tools.lesson_texts            writes them into notebooks/
    python -m tools.lesson_texts --check    only says which files are out of date

Questions stand in `lipviz.course`. A Markdown cell with the metadata `question="tour.compose"` holds the text of that
exercise or prediction, so that readers see it before anything runs. A cell that only shows a question by
`course.exercise` becomes such a cell. Titles, minutes and needs stand in the headers of the lessons.
"""

import argparse
import re
import sys
import textwrap
from pathlib import Path

from lipviz import course
from lipviz._lessons import lessons_in

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
INDEX = NOTEBOOKS / "index.py"
WIDTH = 118  # of a line, behind "# "
SHOWN = re.compile(r'^# %%\ncourse\.(?:exercise|prediction)\("([\w.]+)"\)\s*$')
QUESTION = re.compile(r'^# %% \[markdown\] question="([\w.]+)"$')
WAY, MAP = '# %% [markdown] tags=["way"]', '# %% [markdown] tags=["map"]'
LAUNCH = 'tags=["launch"'


def cells_of(text):
    """The header of a percent-format notebook, and its cells."""
    return re.split(r"^(?=# %%)", text, flags=re.MULTILINE)


def as_cell(head, text):
    """A Markdown cell with a text, whose lines are wrapped; lines of tables are not."""
    lines = []
    for paragraph in text.split("\n\n"):
        whole = paragraph.startswith("|")
        lines += [*(paragraph.splitlines() if whole else textwrap.wrap(paragraph, WIDTH, **_WRAP)), ""]
    return "\n".join([head, *(f"# {line}".rstrip() for line in lines[:-1]), "", ""])


_WRAP = {"break_long_words": False, "break_on_hyphens": False}


def question(name):
    """The text of an exercise, or of a prediction."""
    known = {one.id: one for one in (*course.exercises(), *course.predictions())}
    if name not in known:
        raise ValueError(f"no exercise or prediction is called {name!r}")
    text = known[name].to_markdown()
    return f"**Predict.** {text}" if known[name] in course.predictions() else text


def way(lessons, place):
    """Links to the lesson before, the map, and the lesson after."""
    before = f"← [{_short(lessons[place - 1])}]({lessons[place - 1].path.name}) · " if place else ""
    after = lessons[place + 1] if place + 1 < len(lessons) else None
    behind = f" · [{_short(after)}]({after.path.name}) →" if after else ""
    return f"{before}[All lessons](index.py){behind}"


def _short(lesson):
    return f"{lesson.number} {lesson.topic}"


def with_texts(lessons, place):
    """The text of a lesson with its questions, and its ways after the first cells and at the end."""
    header, *cells = cells_of(lessons[place].path.read_text(encoding="utf-8"))
    cells = [cell for cell in cells if not cell.startswith(WAY)]
    for i, cell in enumerate(cells):
        shown = SHOWN.match(cell)
        head = f'# %% [markdown] question="{shown[1]}"' if shown else cell.partition("\n")[0]
        if found := QUESTION.match(head):
            cells[i] = as_cell(head, question(found[1]))
    links = as_cell(WAY, way(lessons, place))
    first = 1 + sum(LAUNCH in cell.partition("\n")[0] for cell in cells)
    cells[first:first] = [links]
    cells[-1] = cells[-1].rstrip("\n") + "\n\n"
    return "".join([header, *cells, links]).rstrip("\n") + "\n"


def index(lessons):
    """The text of the index with the map of the lessons."""
    rows = [
        f"| [{one.number} {one.title}]({one.path.name}) | {one.minutes:g} | {one.needs} | {len(one.exercises)} |"
        for one in lessons
    ]
    table = "\n".join(["| lesson | minutes | needs | exercises |", "|:---|:---|:---|:---|", *rows])
    parts = cells_of(INDEX.read_text(encoding="utf-8"))
    return "".join(as_cell(MAP, table) if part.startswith(MAP) else part for part in parts)


def up_to_date():
    """The text that each notebook should have, by its path."""
    lessons = lessons_in(NOTEBOOKS)
    texts = {one.path: with_texts(lessons, place) for place, one in enumerate(lessons)}
    return {**texts, INDEX: index(lessons)}


def main():
    """Write what is out of date, or (`--check`) name it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    check = parser.parse_args().check
    stale = {path: text for path, text in up_to_date().items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"{'out of date' if check else 'written'}: {path.name}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
