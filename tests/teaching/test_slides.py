"""Slides: what becomes of the cells of a lesson, and a page that loads nothing."""

import re
from pathlib import Path

import jupytext
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lipviz import course
from lipviz.command import cli, lab
from lipviz.command.teaching import key, making_slides, plans, running
from lipviz.command.teaching.slide_page import page
from lipviz.command.teaching.slides import LINES, rendered, slides_of

WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "0"}}
DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
FIGURE = (
    f'<figure style="margin:0"><img alt="A dot." src="{DOT}" style="width:460px"><figcaption>Dot.</figcaption></figure>'
)
ANSWER = f"<details><summary>Guess first</summary><p><em>42</em></p><p>Since it is so.</p>{FIGURE}</details>"


def shown(**data):
    data = {name.replace("_", "/"): value for name, value in data.items()}
    return new_output("execute_result", {"text/plain": "<object>", **data})


def text(source, **metadata):
    return new_markdown_cell(source, metadata=metadata)


def code(source, *outputs, **metadata):
    return new_code_cell(source, outputs=list(outputs), metadata=metadata)


def lesson():
    """A small lesson with everything that lessons have."""
    return new_notebook(
        cells=[
            text("# A lesson\n\n**You will learn** that $a \\le b$."),
            text("On [Binder].", tags=["launch"]),
            code("install()", tags=["launch", "remove-cell"]),
            text("[All lessons](index.py)", tags=["way"]),
            code("import numpy as np"),
            text("## First\n\nSee [lesson 01](01_bound_a_network.py), and compute:\n\n$$x^2.$$"),
            code("print(1)\nprint(2)", new_output("stream", name="stdout", text="1\n"),
                 new_output("stream", name="stdout", text="<2>\n"),
                 new_output("stream", name="stderr", text="a warning\n")),
            text("**Predict.** How many?", question="tour.certain"),
            code("course.predict(1)", new_output("execute_result", {**WIDGET, "text/plain": "x", "text/html": ANSWER})),
            text("It goes on."),
            code("plot()", shown(text_html=FIGURE)),
            code("bar()", new_output("display_data", {**WIDGET, "text/plain": "0epoch"})),
            text("### Exercise 1: predict"),
            text("What is it?", question="tour.compose"),
            code('answer = ...\n\ncourse.check("tour.compose", answer)', shown(text_html="<p>No answer yet</p>")),
            text("## Last\n\n" + "\n\n".join(f"Paragraph {number} with some words." for number in range(20))),
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def slides():
    return slides_of(lesson(), {"First": "5 minutes.\nSay <this>."}, key=True)


def test_headings_begin_slides_and_what_is_about_the_notebook_is_left_out(slides):
    titles = [slide.title for slide in slides]
    columns = [slide.title for slide in slides if slide.column]
    assert titles[:6] == ["A lesson", "First", "Predict", "Answer", "Answer", "First"]
    assert columns == ["A lesson", "First", "Last"]
    everything = "".join("".join(slide.blocks) for slide in slides)
    for left_out in ("Binder", "install", "All lessons", "No answer yet", "0epoch", "a warning", ".py", "&lt;object"):
        assert left_out not in everything, left_out


def test_questions_and_their_answers_are_on_slides_of_their_own(slides):
    question, answer, figure, after = slides[2:6]
    assert "How many?" in question.blocks[0]
    assert "a number from 0 to 100" in question.blocks[0]
    assert "42" not in question.blocks[0]
    assert answer.blocks[0].startswith('<div class="answer"><p><em>42</em>')
    assert "<summary>Guess" not in answer.blocks[0]
    assert "<img" not in answer.blocks[0]
    assert "<img" in figure.blocks[0]
    assert "It goes on" in after.blocks[0]


def test_the_answer_to_an_exercise_is_in_the_notes_of_a_lecturer_only(slides):
    (exercise,) = [slide for slide in slides if slide.title.startswith("Exercise")]
    assert exercise.notes == f"Answer: {key.answer_code(course.exercise('tour.compose'))}"
    assert "1.5" not in "".join(exercise.blocks)
    (without,) = [slide for slide in slides_of(lesson()) if slide.title.startswith("Exercise")]
    assert without.notes == ""


def test_what_was_printed_is_together_and_code_is_folded(slides):
    blocks = "".join(slides[1].blocks)
    assert "<pre>1\n&lt;2&gt;</pre>" in blocks
    assert blocks.count("<details><summary>Code</summary>") == 1
    assert blocks.count("<math") == 1
    assert "x^2" not in blocks


def test_figures_keep_their_words_and_lose_their_size(slides):
    found = [block for slide in slides for block in slide.blocks if "<img" in block]
    assert len(found) == 2  # one belongs to the answer
    for block in found:
        assert block.startswith("<figure>")
        assert 'alt="A dot."' in block
        assert "<figcaption>Dot.</figcaption>" in block
        assert "style=" not in block


def test_a_full_slide_goes_on_below(slides):
    last = [slide for slide in slides if slide.title == "Last"]
    assert len(last) > 1
    assert [slide.column for slide in last] == [True] + [False] * (len(last) - 1)
    assert all(slide.lines <= LINES for slide in last)
    words = " ".join(block for slide in last for block in slide.blocks)
    assert re.findall(r"Paragraph (\d+)", words) == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    ("source", "formulas"),
    [("`$a$` costs 3 \\$, and 4 $", 0), ("$a$, $b_i$", 2), ("$$a$$\n\n$c$", 2), ("```\n$a$\n```", 0)],
)
def test_formulas_and_what_only_looks_like_one(source, formulas):
    assert rendered(source).count("<math") == formulas


def loads(html):
    """Addresses in a page that a browser would load, apart from those that hold their content."""
    body = re.sub(r"<script>.*</script>", "", html, flags=re.DOTALL)
    tags = re.findall(r"<(?:img|script|link|iframe|source|video|audio|object|embed)\b[^>]*>", body)
    found = [address for tag in tags for address in re.findall(r'(?:src|href|data)="([^"]*)"', tag)]
    styles = html.partition("</style>")[0]
    found += re.findall(r"(?:url\(|@import)\s*['\"]?([^)'\";]+)", styles)
    return [address for address in found if not address.startswith("data:")]


def test_the_page_is_complete_and_loads_nothing(slides):
    html = page("A lesson", slides)
    assert loads(html) == []
    assert html.count("<section>") == len(slides) + 3
    assert '<aside class="notes">5 minutes.<br>Say &lt;this&gt;.</aside>' in html
    assert html.count("</script>") == 1
    assert "<!--" not in html


def test_a_quick_run_has_the_settings_of_the_metadata_and_leaves_the_code_as_it_was(monkeypatch):
    class Client:
        def __init__(self, notebook, **settings):
            self.ran = [cell.source for cell in notebook.cells]
            runs.append(self)

        def create_kernel_manager(self):
            return type("Manager", (), {"kernel_spec_manager": type("Specs", (), {"kernel_dirs": []})})

        def execute(self, **settings):
            pass

    runs = []
    monkeypatch.setattr(running, "NotebookClient", Client)
    notebook = new_notebook(cells=[code("EPOCHS = 30", nbmake={"mock": {"EPOCHS": 1}}), code("fit()")])
    for quick in (True, False):
        running.run(notebook, quick=quick)
    assert [run.ran[0] for run in runs] == ["EPOCHS = 30\nEPOCHS = 1", "EPOCHS = 30"]
    assert notebook.cells[0].source == "EPOCHS = 30"


def test_the_command_writes_slides_with_the_plan_and_replaces_nothing(tmp_path, capsys):
    words = ["slides", "0", "--no-run", "--folder", str(tmp_path / "new")]
    assert cli.main(words) == 0
    path = tmp_path / "new" / "00_take_the_tour.html"
    assert capsys.readouterr().out == f"{path} is written\n"
    html = path.read_text(encoding="utf-8")
    assert loads(html) == []
    assert plans.plan(lab.lessons()[0]).steps[0].show in html
    path.write_text("mine")
    assert cli.main(words) == 1
    line = f"lipviz: {path} exists already; remove it, or choose another folder with --folder\n"
    assert capsys.readouterr() == ("", line)
    assert path.read_text() == "mine"


def test_a_folder_that_is_a_file_is_one_line_before_anything_runs(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["slides", "0", "--folder", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(f"lipviz: cannot write to {tmp_path / 'file'}: ")


def test_a_lesson_that_fails_is_one_line(tmp_path, monkeypatch):
    def fail(notebook, *, quick):
        raise making_slides.CellExecutionError("…\nValueError: \x1b[31mno\x1b[0m", "ValueError", "no")

    monkeypatch.setattr(running, "run", fail)
    told = []
    with pytest.raises(lab.LabError, match=r"^lesson 00 failed: ValueError: no$"):
        making_slides.write(lab.lessons()[:1], tmp_path, tell=told.append)
    assert told == ["running lesson 00 A tour: train a network that keeps a promise (about 1 min) …"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nightly
@pytest.mark.slow
def test_each_lesson_can_become_slides_and_none_has_an_answer():
    for one in lab.lessons():
        slides = slides_of(jupytext.read(Path(one.path)), plans.notes(one))
        blocks = "".join(block for slide in slides for block in slide.blocks)
        assert "course.check(" not in blocks
        questions = sum('class="question"' in block for slide in slides for block in slide.blocks)
        assert questions == len(one.exercises) + len(one.predictions)
        assert {step.section for step in plans.plan(one).steps if step.section.startswith("Exercise")} <= {
            slide.title for slide in slides
        }
