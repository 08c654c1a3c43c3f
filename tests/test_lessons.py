"""What every lesson has: a header, objectives, an explorer, a surprise, exercises, captions and references."""

import re
from pathlib import Path

import jupytext
import pytest

from lipviz import course, explorers
from lipviz.command.lab import read_header

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
MOST_MINUTES = {"08": 6, "11": 6}

each = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def cells():
    """The cells of a lesson: (all Markdown, all code, the notebook)."""
    known = {}

    def read(lesson):
        if lesson not in known:
            notebook = jupytext.read(lesson)
            texts = [
                "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == kind)
                for kind in ("markdown", "code")
            ]
            known[lesson] = (*texts, notebook)
        return known[lesson]

    return read


def test_the_course_is_complete():
    assert [path.name[:2] for path in LESSONS] == [f"{number:02d}" for number in range(14)]


@each
def test_the_header_is_that_of_every_lesson(lesson):
    header = read_header(lesson)
    assert header["kernelspec"] == {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    assert header["jupytext"] == read_header(LESSONS[0])["jupytext"]
    assert set(header["lipviz"]) == {"minutes", "title"}
    assert 1 <= header["lipviz"]["minutes"] <= MOST_MINUTES.get(lesson.name[:2], 3)


@each
def test_it_begins_with_what_one_learns_needs_and_waits_for(lesson, cells):
    text, _, notebook = cells(lesson)
    header = read_header(lesson)["lipviz"]
    first = notebook.cells[0].source
    assert first.startswith(f"# {header['title']}\n")
    for words in ("**You will learn**", "**You need**", "**It takes**"):
        assert words in first
    assert len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1
    stated = r"\*\*It takes\*\* (?:about |less than |up to )?(\w+) minutes? of computing"
    (said,) = re.findall(stated, first.replace("\n", " "))
    assert NUMBERS.index({"a": "one"}.get(said, said)) == header["minutes"]


@each
def test_it_has_a_surprise_and_references(lesson, cells):
    text, code, _ = cells(lesson)
    assert "**Surprise**" in text
    assert re.search(r"^## (Where to go next|References)", text, flags=re.MULTILINE)
    assert "set_random_seed(" in code
    assert len(re.findall(r"^ *assert ", code, flags=re.MULTILINE)) >= 5


@each
def test_it_shows_and_drives_an_explorer(lesson, cells):
    _, code, notebook = cells(lesson)
    names = {entry.load().__name__ for entry in explorers.entries()}
    assert names & set(re.findall(r"\w+Explorer", code))
    assert any(cell.source.rstrip().endswith("\nexplorer") for cell in notebook.cells if cell.cell_type == "code")
    assert "explorer.state = " in code
    assert "assert explorer.error is None" in code


@each
def test_its_exercises_are_headed_asked_and_checked(lesson, cells):
    text, code, _ = cells(lesson)
    headings = re.findall(r"^### Exercise (\d+): \w+", text, flags=re.MULTILINE)
    asked = re.findall(r'^course\.exercise\("([\w.]+)"\)', code, flags=re.MULTILINE)
    checked = re.findall(r'^course\.check\("([\w.]+)", \w+\)', code, flags=re.MULTILINE)
    assert [int(number) for number in headings] == list(range(1, len(asked) + 1))
    assert len(asked) >= 3
    assert asked == checked
    (topic,) = {name.partition(".")[0] for name in asked}
    assert asked == [one.id for one in course.exercises(topic)]


@each
def test_every_picture_has_words_and_a_caption(lesson, cells):
    _, code, _ = cells(lesson)
    pictures = code.count("plots.picture(")
    assert pictures
    assert code.count("caption=") == pictures
    assert "pyplot" not in code


@each
def test_its_quick_settings_change_settings_that_exist(lesson, cells):
    _, _, notebook = cells(lesson)
    for cell in notebook.cells:
        for name in cell.metadata.get("nbmake", {}).get("mock", {}):
            assert re.search(rf"^{name} = ", cell.source, flags=re.MULTILINE)
