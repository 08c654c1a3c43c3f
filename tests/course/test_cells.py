"""What happens after the cells of a lesson."""

import types

import pytest
from IPython.core.events import EventManager, available_events
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult

from lipviz.course import cells


@pytest.mark.parametrize(
    ("source", "name", "helped"),
    [
        ('x = 1\nanswer = b\n\ncheck("x", answer)', "b", True),
        ("answer = both  # I think", "both", True),
        ("answer = b + 1", "b", False),
        ("answer = 4", "course", False),
        ("other = b", "b", False),
    ],
)
def test_an_answer_without_quotes_is_explained(source, name, helped):
    words = cells.advice(NameError(f"name {name!r} is not defined", name=name), source)
    quotes, above = (
        f'needs quotes. Write answer = "{name}" and run',
        f"If a cell above makes {name}, run that cell first",
    )
    assert (quotes if helped else above) in words


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "Write your answer behind the ="),
        ("50 %", "Leave out the sign %"),
        ("0.7/√2", "Write 2 ** 0.5 for a root"),
        ("\u22121.4", "Type it as - on the keyboard"),
        ("2 · 3", "multiplies with *"),
        ("1.4/sqrt(2)", "np.sqrt"),
        ("1.4/np.sqrt(2)", "Write import numpy as np above"),
        ("1.4/math.sqrt(2)", "Write import math above"),
        ("1.4/2^0.5", "^ is no power"),
        ("2^3", "^ is no power"),
        ("1.4 1.5", None),
        ("2 ** 0.5", None),
        ("unknown + 1", "If a cell above makes unknown"),
        ('"a^b"', None),
        ("0.99  # 50 % of √2^2", None),
    ],
)
def test_an_answer_that_is_no_python_is_explained(typed, words):
    source, error = f"x = 1\nanswer = {typed}\n", None
    try:
        exec(compile(source, "cell", "exec"), {})
    except Exception as raised:
        error = raised
    advice = cells.advice(error, source)
    assert (advice is None) if words is None else (words in advice)


def test_other_errors_are_left_alone():
    assert cells.advice(None, "answer = b") is None
    assert cells.advice(ValueError("b"), "answer = b") is None


def test_memory_goes_back_after_long_cells_only(monkeypatch):
    calls, clock = [], iter([0.0, 0.5, 1.0, 3.0, 5.0])
    monkeypatch.setattr(cells, "give_back", lambda: calls.append(1))
    monkeypatch.setattr(cells.time, "monotonic", lambda: next(clock))
    follower = cells.Follower()
    result = types.SimpleNamespace(error_before_exec=None, error_in_exec=None, info=types.SimpleNamespace(raw_cell="1"))
    follower.after(result)  # the cell that imported the course: nobody knows when it began
    for calls_after in (0, 1):
        follower.before()
        follower.after(result)
        assert len(calls) == calls_after


def test_a_shell_tells_of_its_cells(capsys):
    shell = types.SimpleNamespace()
    shell.events = EventManager(shell, available_events)
    cells.Follower().register(shell)
    result = ExecutionResult(ExecutionInfo("answer = b", False, False, False, None))
    result.error_in_exec = NameError("name 'b' is not defined", name="b")
    shell.events.trigger("pre_run_cell", result.info)
    shell.events.trigger("post_run_cell", result)
    assert capsys.readouterr().out == 'A letter or a word needs quotes. Write answer = "b" and run the cell again.\n'
