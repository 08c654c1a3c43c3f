"""Predictions: each registered one, the kinds of guess, and what a notebook and a page without a kernel show."""

import asyncio
import html
import json
import re

import numpy as np
import pytest

from lipviz import course
from lipviz.course.guesses import shape_of

IDS = [one.id for one in course.predictions()]
AMOUNT = course.Amount(0, 100, within=5, unit=" %", replies=((0, 20, "Too careful."),))
OPTION = course.Option({"a": "it grows", "b": "it shrinks"}, {"b": "Look at the sign."})
CURVE = course.Curve(("2", "64"), 0, 1, 0.1, replies={"flat": "Not flat."})


def asked(kind, truth, **arguments):
    return course.Asked(course.Prediction("test.one", "How many?", kind, "So it is."), truth, **arguments)


@pytest.mark.parametrize("name", IDS)
def test_a_prediction_is_complete(name):
    one = course.prediction(name)
    assert one.question.endswith((".", "?", ")"))
    assert len(one.explanation) > 60
    assert len(one.question) < 600
    if one.truth is not None:
        assert course.Asked(one).commit(one.truth).status is course.Status.CLOSE
    if isinstance(one.kind, course.Option):
        assert one.truth in one.kind.options
        assert set(one.kind.replies) == set(one.kind.options) - {one.truth}, "each wrong choice gets an answer"


def test_a_range_is_said_as_people_write_numbers():
    assert course.Amount(0.001, 1e6).expects == "a number from 0.001 to 1,000,000"
    assert AMOUNT.expects == "a number from 0 to 100 %"
    assert [course.Amount(0, 1e9).show(x) for x in (4512, 3e6, 0.69315, 0)] == ["4,510", "3,000,000", "0.693", "0"]
    assert CURVE.expects == "2 numbers from 0 to 1, at 2, 64"


@pytest.mark.parametrize(
    ("kind", "truth", "guess", "status", "words"),
    [
        (AMOUNT, 40, 44.9, "CLOSE", "You said 44.9 %. It is 40 %."),
        (AMOUNT, 40, 10, "FAR", "4 times too small. Too careful."),
        (AMOUNT, 40, 100, "FAR", "2.5 times too large."),
        (course.Amount(1, 1e6, ratio=2), 100, 51, "CLOSE", "It is 100."),
        (course.Amount(1, 1e6, ratio=2), 100, 49, "FAR", "It is 100."),
        (course.Amount(-1, 1, within=0.1), 0.0, -0.5, "FAR", "You said -0.5. It is 0."),
        (OPTION, "a", " A ", "CLOSE", "it grows"),
        (OPTION, "a", "b", "FAR", "It is: it grows. Look at the sign."),
        (CURVE, [0.9, 0.6], [1.0, 0.55], "CLOSE", "close to the true one everywhere"),
        (CURVE, np.array([0.9, 0.6]), [0.9, 0.9], "FAR", "at 64: you said 0.9, and it is 0.6. Not flat."),
    ],
)
def test_the_reply_answers_the_guess(kind, truth, guess, status, words):
    reply = asked(kind, truth).commit(guess)
    assert reply.status is course.Status[status]
    assert words in reply.message
    assert reply.message.endswith("So it is.")


@pytest.mark.parametrize(
    ("kind", "truth", "guesses"),
    [
        (AMOUNT, 40, [None, ..., "much", -1, 101, float("nan"), [1, 2], {}]),
        (OPTION, "a", [None, "c", 1, ["a"], ""]),
        (CURVE, [0.9, 0.6], [None, 0.5, [1], [1, 2, 3], [0.5, 1.5], [0.5, float("nan")], "flat"]),
    ],
)
def test_what_is_no_guess_is_not_kept(kind, truth, guesses):
    one = asked(kind, truth)
    for guess in guesses:
        assert one.commit(guess).status is course.Status.UNREADABLE
        assert one.guess is None


def test_a_guess_stays_until_it_is_reset():
    asked(CURVE, [0.9, 0.6]).commit([1.0, 0.5])
    assert asked(CURVE, [0.9, 0.6]).guess == [1.0, 0.5]
    assert asked(OPTION, "a").guess is None  # a lesson of another version asked for something else
    course.reset()
    assert asked(CURVE, [0.9, 0.6]).guess is None


@pytest.mark.parametrize(("kind", "truth"), [(AMOUNT, None), (AMOUNT, float("nan")), (OPTION, "c")])
def test_a_lesson_without_the_truth_fails(kind, truth):
    with pytest.raises(ValueError, match=r"truth of test\.one: expected"):
        asked(kind, truth)


@pytest.mark.parametrize(
    ("values", "shape"),
    [([1, 1, 1.05], "flat"), ([0, 0.5, 1], "rising"), ([1, 1, 0], "falling"), ([0, 1, 0], "other"), ([0, 0], "flat")],
)
def test_shapes(values, shape):
    assert shape_of(values) == shape


def test_a_page_without_a_kernel_folds_the_answer():
    page = asked(AMOUNT, 40, reveal=["line <1>", course.exercise("tour.compose")]).folded
    assert page.startswith("<details><summary>Guess first")
    assert "40 %" in page
    assert "<pre>line &lt;1&gt;</pre>" in page
    assert "A network is a chain" in page


def test_a_terminal_says_how_to_commit():
    one = asked(AMOUNT, 40)
    assert "40 %" not in repr(one)
    assert "commit" in repr(one)
    one.commit(1)
    assert "It is 40 %" in repr(one)


# The form


def form(kind, truth, **arguments):
    from lipviz.explorers.shell.prediction import Form

    return Form(asked(kind, truth, **arguments))


def test_a_number_opens_the_answer():
    made = form(AMOUNT, 40, reveal="measured: 40 %")
    (field,) = made.control.children
    made.button.click()
    assert "Type a number first" in made.answer.value
    for typed, words in (("1/2 <", "Type a number, such as 0.5 or 1e-3. Received: 1/2 &lt;"), ("101", "No answer yet")):
        field.value = typed
        made.button.click()
        assert words in made.answer.value
    assert made.opened.outputs == ()
    field.value = "38,5 %"
    made.button.click()
    assert "You said 38.5 %" in made.answer.value
    assert made.opened.outputs[0]["text"] == "measured: 40 %\n"
    assert made.button.layout.display == "none"
    again = form(AMOUNT, 40, reveal="measured: 40 %")  # in another session
    assert "You said 38.5 %" in again.answer.value
    assert len(again.opened.outputs) == 1


def test_enter_commits_the_value_that_follows_it_once():
    made = form(AMOUNT, 40, reveal="measured: 40 %")
    (field,) = made.control.children

    async def typed():
        field._handle_custom_msg({"event": "submit"}, [])
        field.value = "38"
        await asyncio.sleep(0.3)

    asyncio.run(typed())
    assert "You said 38 %" in made.answer.value
    made.commit()
    assert len(made.opened.outputs) == 1


@pytest.mark.parametrize(
    ("lowest", "highest", "unit", "typed", "value"),
    [
        (0.01, 10_000, "", "1,000", None),  # 1 or 1000
        (100, 1e6, "", "1,000", 1000),
        (1, 1e7, "", "2,500,000", 2.5e6),
        (0, 4, "", "1,250", 1.25),
        (0, 1, "", "0,125", 0.125),
        (0, 1, "", "50 %", 0.5),
        (0, 100, " %", "50%", 50),
        (0, 100, " %", "50", 50),
        (-1, 1, "", "\u22120,5", -0.5),
        (0, 100, " mg", "12 mg", 12),
        (0, 100, "", " ", "nothing"),
        (0, 100, "", "1/2", None),
        (0, 100, "", "1,2,3", None),
    ],
)
def test_a_number_is_read_as_it_is_meant(lowest, highest, unit, typed, value):
    from lipviz.explorers.shell.prediction import as_number

    kind = course.Amount(lowest, highest, unit=unit)
    if value is None:
        with pytest.raises(ValueError, match=r"Type (a number|it without a comma)"):
            as_number(typed, kind)
    else:
        assert as_number(typed, kind) == (None if value == "nothing" else pytest.approx(value))


def test_a_choice_and_a_curve_open_the_answer():
    made = form(OPTION, "a")
    made.button.click()
    assert "Choose one first" in made.answer.value
    made.control.children[0].value = "b"
    made.button.click()
    assert "Look at the sign." in made.answer.value
    course.reset()
    made = form(CURVE, [0.9, 0.6], reveal=[course.exercise("tour.compose")])
    assert [slider.description for slider in made.control.children] == ["2", "64"]
    made.control.children[0].value = 0.9
    made.button.click()
    assert "close to the true one" in made.answer.value
    assert "text/html" in made.opened.outputs[0]["data"]


def test_a_notebook_gets_the_form_and_a_page_the_folded_text():
    bundle = asked(AMOUNT, 40)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].startswith("<details>")
    assert json.dumps(bundle["text/plain"])


# Questions as Markdown


def test_markdown_shows_what_the_text_says():
    from markdown_it import MarkdownIt

    from lipviz.course.result import to_html, to_markdown

    def words(page):
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page))).strip()

    texts = [one.question for one in (*course.exercises(), *course.predictions())]
    for text in [*texts, "2 * 3 * x, *stressed*, `a * b`, _x_, a_b and a < b\n\nNext."]:
        assert words(MarkdownIt().render(to_markdown(text))) == words(to_html(text)), text
