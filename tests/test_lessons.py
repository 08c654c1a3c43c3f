"""What every lesson has: a header, objectives, an explorer, a surprise, exercises, captions and references."""

import ast
import builtins
import re
import symtable
from pathlib import Path

import jupytext
import pytest

from lipviz import course, explorers
from lipviz.command.lab import read_header
from tools import lesson_texts

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
MOST_MINUTES = 3

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
    assert [path.name[:2] for path in LESSONS] == [f"{number:02d}" for number in range(15)]


@each
def test_the_header_is_that_of_every_lesson(lesson):
    header = read_header(lesson)
    assert header["kernelspec"] == {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    assert header["jupytext"] == read_header(LESSONS[0])["jupytext"]
    assert set(header["lipviz"]) == {"minutes", "needs", "title"}
    assert isinstance(header["lipviz"]["needs"], str), "quote it: YAML takes 00 for a number"
    assert 1 <= header["lipviz"]["minutes"] <= MOST_MINUTES


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
def test_it_says_where_readers_are_and_at_its_end_what_they_have_seen(lesson, cells):
    text, _, notebook = cells(lesson)
    before, _, where = notebook.cells[0].source.partition("\n\n**Where you are.** ")
    assert "**It takes**" in before.rpartition("\n\n")[2]
    assert re.fullmatch(r"[^.?!]+\.", where.replace("\n", " ")), "one sentence, at the end of the first cell"
    recap = re.search(r"^## What you have seen\n\n((?:(?:\* |  ).*\n)+)\n## (.*)", text, flags=re.MULTILINE)
    assert recap, "three to five points under the heading 'What you have seen'"
    assert 3 <= len(re.findall(r"^\* ", recap[1], flags=re.MULTILINE)) <= 5
    assert recap[2] in ("Where to go next", "References")


@each
def test_half_of_the_exercises_stand_beside_their_idea(lesson, cells):
    _, _, notebook = cells(lesson)
    sources = [cell.source for cell in notebook.cells]
    ends = re.compile(r"^## (More exercises|One more exercise|What you have seen)$", flags=re.MULTILINE)
    end = next(place for place, text in enumerate(sources) if ends.search(text))
    beside = sum(bool(re.search(r"^### Exercise", text, re.MULTILINE)) for text in sources[:end])
    assert 2 * beside >= len(questions(notebook, "check"))


@each
def test_it_has_a_surprise_and_references(lesson, cells):
    text, code, _ = cells(lesson)
    assert "**Surprise**" in text or "course.predict(" in code
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
    text, code, notebook = cells(lesson)
    headings = re.findall(r"^### Exercise (\d+): \w+", text, flags=re.MULTILINE)
    asked = questions(notebook, "check")
    checked = re.findall(r'^course\.check\("([\w.]+)", \w+\)', code, flags=re.MULTILINE)
    assert [int(number) for number in headings] == list(range(1, len(asked) + 1))
    assert len(asked) >= 3
    assert asked == checked
    (topic,) = {name.partition(".")[0] for name in asked}
    assert asked == [one.id for one in course.exercises(topic)]


@each
def test_its_predictions_are_asked_where_the_answer_opens(lesson, cells):
    _, code, notebook = cells(lesson)
    asked = questions(notebook, "predict")
    assert asked == re.findall(r'^course\.predict\("([\w.]+)"', code, flags=re.MULTILINE)
    assert len(asked) >= 2
    (topic,) = {name.partition(".")[0] for name in questions(notebook, "check")}
    assert asked == [one.id for one in course.predictions(topic)]
    others = [
        cell.source for cell in notebook.cells if cell.cell_type == "markdown" and "question" not in cell.metadata
    ]
    assert not [text for text in others if re.search(r"\bPredict\b", text)], "ask by `course.predict`"


@pytest.mark.parametrize("lesson", LESSONS[7:], ids=lambda path: path.stem)
def test_a_cell_that_asks_asserts_nothing(lesson, cells):
    """Readers see the cell beside the form, and an assert says what is true before they have guessed."""
    _, _, notebook = cells(lesson)
    asking = [cell.source for cell in notebook.cells if "course.predict(" in cell.source and cell.cell_type == "code"]
    assert asking
    assert not [source for source in asking if re.search(r"^ *assert ", source, flags=re.MULTILINE)]


def questions(notebook, kind):
    """Ids of the Markdown cells with the question of an exercise ("check") or a prediction ("predict")."""
    known = {one.id for one in (course.exercises() if kind == "check" else course.predictions())}
    names = [cell.metadata["question"] for cell in notebook.cells if "question" in cell.metadata]
    return [name for name in names if name in known]


@each
def test_an_exercise_runs_first_in_a_new_kernel(lesson, cells):
    """Where readers go on after a restart, there is no NameError, also in a cell that an exercise asks to change."""
    _, _, notebook = cells(lesson)
    asked, source = questions(notebook, "check"), None
    for cell in notebook.cells:
        if cell.metadata.get("question") in asked:
            source = ""
        elif source is not None and cell.cell_type == "code":
            source += f"{cell.source}\n\n"
            assert _unknown_names(source) == set(), source  # of the cells up to this one
            if re.search(r"^course\.check\(", cell.source, flags=re.MULTILINE):
                assert _unknown_names(cell.source) == set(), cell.source
                source = None
    assert source is None


@each
def test_an_exercise_names_no_explorer_that_is_not_there(lesson, cells):
    """In a lesson from top to bottom, an exercise with "the explorer" comes after one, or brings its own."""
    _, _, notebook = cells(lesson)
    asked, is_there, waits = questions(notebook, "check"), False, False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            is_there = is_there or "Explorer(" in cell.source
            if "course.check(" in cell.source:
                assert is_there or not waits, cell.source
                waits = False
        elif cell.metadata.get("question") in asked:
            waits = "explorer" in cell.source


def _unknown_names(source):
    """Names that a cell uses before it defines them, beside Python's own; bodies of functions define nothing."""
    table = symtable.symtable(source, "cell", "exec")
    defined = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    local = {name for child in table.get_children() for name in child.get_identifiers()}
    return used - defined - local - set(dir(builtins))


def test_what_lessons_repeat_of_other_files_is_up_to_date():
    stale = [path.name for path, text in lesson_texts.up_to_date().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `python -m tools.lesson_texts`"


def test_the_map_of_the_course_is_a_notebook_that_runs(monkeypatch):
    notebook = jupytext.read(ROOT / "notebooks" / "index.py")
    assert read_header(ROOT / "notebooks" / "index.py")["kernelspec"] == read_header(LESSONS[0])["kernelspec"]
    monkeypatch.chdir(ROOT / "notebooks")
    (code,) = (cell.source for cell in notebook.cells if cell.cell_type == "code")
    *_, last = code.splitlines()
    assert last == "course.home()"
    shown = course.home()._repr_html_()
    assert all(f'href="{path.name}"' in shown for path in LESSONS)


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
