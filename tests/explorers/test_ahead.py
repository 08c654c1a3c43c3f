"""What is computed before somebody asks."""

import threading
import time

import numpy as np
import pytest

from lipviz import explorers
from lipviz.explorers._ahead import THREAD, Foresight, Remembered
from lipviz.explorers._controls import log_slider, next_value, slider, toggle


def ahead_threads():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


# --- memory ---


def test_results_are_kept_and_the_oldest_goes():
    asked = []
    squares = Remembered(lambda x: asked.append(x) or x * x, size=2)
    assert [squares(x) for x in (1, 2, 1, 3, 1, 2)] == [1, 4, 1, 9, 1, 4]
    assert asked == [1, 2, 3, 2]  # 2 was not asked for longest when 3 came


def test_errors_are_not_kept():
    answers = [ValueError("no"), 5]

    def fails_once(x):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    memory = Remembered(fails_once)
    with pytest.raises(ValueError, match="no"):
        memory(1)
    assert memory(1) == 5


def test_who_asks_for_what_is_under_way_waits_for_it():
    begun, go_on, asked, got = threading.Event(), threading.Event(), [], []

    def slow(x):
        asked.append(x)
        begun.set()
        go_on.wait(20)
        return [x]

    memory = Remembered(slow)
    threads = [threading.Thread(target=lambda: got.append(memory(3))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert asked == [3]
    assert len(got) == 3
    assert all(result is got[0] for result in got)


# --- foresight ---


def test_the_newest_guess_wins_and_the_thread_ends():
    seen = []
    foresight = Foresight(seen.append)
    for guess in range(5):
        foresight.expect(guess)
    deadline = time.monotonic() + 20
    while ahead_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen == [4]
    assert not ahead_threads()
    foresight.expect(7)
    foresight.expect(None)
    foresight.stop(20)
    assert seen == [4]
    assert not ahead_threads()


def test_an_error_is_left_to_who_asks():
    def fails(guess):
        raise ZeroDivisionError(guess)

    foresight = Foresight(fails)
    foresight.expect(1)
    deadline = time.monotonic() + 20
    while ahead_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not ahead_threads()  # and the tests would fail with an exception of a thread


# --- which value comes next ---


@pytest.mark.parametrize(
    ("control", "before", "after"),
    [
        (slider("", 5, 0, 6, 1, ""), 4, 6),
        (slider("", 5, 0, 6, 1, ""), 6, 4),
        (slider("", 6, 0, 6, 1, ""), 5, None),
        (slider("", 64, 2, 128, 2, ""), 128, 62),
        (slider("", 0.3, 0.0, 1.0, 0.1, ""), 0.2, 0.4),
        (slider("", 0.1, 0.0, 1.0, 0.1, ""), 0.2, 0.0),
        (slider("", 0.0, 0.0, 1.0, 0.1, ""), 0.1, None),
        (log_slider("", 1.0, -1, 1, ""), 10**-0.1, 10**0.1),
        (log_slider("", 0.1, -1, 1, ""), 1.0, None),
        (toggle("", True, ""), False, None),
    ],
)
def test_next_value(control, before, after):
    value = next_value(control, before)
    assert value == after
    assert type(value) is type(after)


# --- explorers ---


@pytest.mark.parametrize(
    ("name", "slider_name"), [("gradients", "depth"), ("convolutions", "filters"), ("layers", "inputs")]
)
def test_the_next_answer_is_there_and_the_same(name, slider_name):
    explorer, other = (explorers.find(name).load()() for _ in range(2))
    control = explorer.controls[slider_name]
    control.value -= 2 * control.step
    asked = []
    measured = explorer.measured
    explorer.measured = lambda **state: asked.append((threading.current_thread().name, state)) or measured(**state)
    control.value += control.step
    explorer._foresight.stop(0)  # what has begun goes on
    control.value -= control.step
    deadline = time.monotonic() + 20
    while ahead_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    foreseen = [state[slider_name] for thread, state in asked if thread == THREAD]
    assert foreseen[-1:] == [control.value - control.step]

    computed = []
    memory = next(value for value in vars(explorer).values() if isinstance(value, Remembered))
    inner = memory._function
    memory._function = lambda *arguments: computed.append(arguments) or inner(*arguments)
    control.value -= control.step
    explorer._foresight.stop(20)
    later = [thread for thread, state in asked if state[slider_name] == control.value]
    assert THREAD in later
    assert THREAD not in later[1:]
    assert len(computed) <= 1  # only what comes after it
    other.state = explorer.state
    assert [value for _, value in explorer.numbers(explorer.data)] == [value for _, value in other.numbers(other.data)]
    assert explorer.error is None
    for one in (explorer, other):
        one.close()
    assert not ahead_threads()


def test_moves_while_the_next_answers_are_computed_give_what_a_new_explorer_gives():
    rng = np.random.default_rng(0)
    explorer, fresh = (explorers.find("layers").load()() for _ in range(2))
    for _ in range(30):
        name = rng.choice(["inputs", "units", "seed", "maxiter"])
        control = explorer.controls[name]
        control.value = int(np.clip(control.value + rng.choice([-1, 1]), control.min, control.max))
        time.sleep(rng.uniform(0, 0.08))
    fresh.state = explorer.state
    assert explorer.error is None
    np.testing.assert_array_equal(explorer.data.spectrum.used, fresh.data.spectrum.used)
    np.testing.assert_array_equal(explorer.data.gains, fresh.data.gains)
    explorer.close()
    fresh.close()
    assert not ahead_threads()
