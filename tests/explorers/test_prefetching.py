"""What is computed before somebody asks."""

import random
import threading
import time

import keras
import numpy as np
import pytest

from lipviz import explorers
from lipviz.explorers.shell import prefetching
from lipviz.explorers.shell.controls import log_slider, next_value, slider, toggle
from lipviz.explorers.shell.prefetching import THREAD, Prefetcher, ResultCache
from lipviz.explorers.shell.threads import undisturbed


def prefetching_threads():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def settle():
    """Wait until nothing is computed ahead any more."""
    for thread in prefetching_threads():
        thread.join(300)
    assert not prefetching_threads()


# --- cache ---


def test_results_are_kept_and_the_oldest_goes():
    asked = []
    squares = ResultCache(lambda x: asked.append(x) or x * x, size=2)
    assert [squares(x) for x in (1, 2, 1, 3, 1, 2)] == [1, 4, 1, 9, 1, 4]
    assert asked == [1, 2, 3, 2]  # 2 was not asked for longest when 3 came


def test_errors_are_not_kept():
    answers = [ValueError("no"), 5]

    def fails_once(x):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = ResultCache(fails_once)
    with pytest.raises(ValueError, match="no"):
        cache(1)
    assert cache(1) == 5


def test_who_asks_for_what_is_under_way_waits_for_it():
    begun, go_on, asked, got = threading.Event(), threading.Event(), [], []

    def slow(x):
        asked.append(x)
        begun.set()
        go_on.wait(300)
        return [x]

    cache = ResultCache(slow)
    threads = [threading.Thread(target=lambda: got.append(cache(3))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(300)
    go_on.set()
    for thread in threads:
        thread.join(300)
    assert asked == [3]
    assert len(got) == 3
    assert all(result is got[0] for result in got)


# --- prefetching ---


def test_the_newest_guess_wins_and_the_thread_ends():
    seen = []
    prefetcher = Prefetcher(seen.append)
    with undisturbed():  # whatever the machine does meanwhile, nothing is computed ahead
        for guess in range(5):
            prefetcher.prefetch(guess)
    settle()
    assert seen == [4]
    with undisturbed():
        prefetcher.prefetch(7)
        prefetcher.prefetch(None)
    settle()
    assert seen == [4]


def test_a_guess_that_waits_for_an_answer_can_be_replaced():
    seen = []
    prefetcher = Prefetcher(seen.append)
    with undisturbed():
        prefetcher.prefetch(1)
        time.sleep(5 * prefetching._IDLE_TIME)  # it has rested, and waits
        prefetcher.prefetch(2)
    settle()
    assert seen == [2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_an_error_is_left_to_who_asks(error):
    seen = []

    def fails(guess):
        seen.append(guess)
        raise error(guess)

    prefetcher = Prefetcher(fails)
    for guess in (1, 2):  # the second one needs a new thread
        prefetcher.prefetch(guess)
        settle()
    assert seen == [1, 2]


@pytest.mark.slow
def test_a_program_may_end_while_something_is_computed_ahead(run_program):
    """As a daemon, the thread made TensorFlow abort the process."""
    code = """
import threading
from lipviz import explorers
ended = threading.Event()
e = explorers.find("activations").load()()
control = e.controls["channels"]
measured = e.measured
e.measured = lambda **state: ended.wait() and measured(**state) and print("ahead", flush=True)
control.set_state({"value": control.value - 1})
print("the end", flush=True)
ended.set()
"""
    done = run_program(code)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["the end", "ahead"]), done.stderr


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


def move(control, value):
    """As a page does it."""
    control.set_state({"value": value})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "slider_name"),
    [("gradients", "depth"), ("convolutions", "filters"), ("layers", "inputs"), ("activations", "channels")],
)
def test_the_next_answer_is_there_and_the_same(name, slider_name):
    explorer, other = (explorers.find(name).load()() for _ in range(2))
    control = explorer.controls[slider_name]
    cache = next(value for value in vars(explorer).values() if isinstance(value, ResultCache))
    inner, computed = cache._function, []

    def function(*arguments):
        computed.append(threading.current_thread().name)
        return inner(*arguments)

    cache._function = function
    move(control, control.value - control.step)
    settle()
    assert computed == [threading.current_thread().name, THREAD]
    with undisturbed():  # nothing is computed ahead before that is called off
        move(control, control.value - control.step)
        explorer._prefetcher.prefetch(None)
    assert len(computed) == 2  # it was there
    other.state = explorer.state
    assert explorer.error is None
    assert explorer.numbers(explorer.data) == other.numbers(other.data)
    for one in (explorer, other):
        one.close()
    settle()


@pytest.mark.slow
def test_nothing_is_computed_ahead_of_code_or_for_own_objects():
    called = []
    explorer = explorers.find("activations").load()(lambda x: called.append(1) or 2 * x)
    before = len(called)
    for value in (3, 2):
        move(explorer.controls["channels"], value)
    asked = len(called)
    assert asked > before
    settle()
    assert len(called) == asked
    explorer.state = {"activation": "relu"}
    explorer.controls["channels"].value = 3
    assert not prefetching_threads()
    explorer.close()


@pytest.mark.slow
def test_moves_while_the_next_answers_are_computed_give_what_a_new_explorer_gives():
    rng = np.random.default_rng(0)
    explorer, fresh = (explorers.find("layers").load()() for _ in range(2))
    state, policy = random.getstate(), keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")  # of this thread alone
    try:
        for _ in range(30):
            name, sign = rng.choice(["inputs", "units", "seed", "maxiter", "k"]), int(rng.choice([-1, 1]))
            control = explorer.controls[name]
            if name == "k":
                move(control, float(np.clip(control.value * 10 ** (0.1 * sign), 0.1, 10)))
            else:
                move(control, int(np.clip(control.value + sign, control.min, control.max)))
            time.sleep(rng.uniform(0, 3 * prefetching._IDLE_TIME))
        fresh.state = explorer.state
        settle()
    finally:
        keras.config.set_dtype_policy(policy)
    assert explorer.error is None
    np.testing.assert_array_equal(explorer.data.spectrum.used, fresh.data.spectrum.used)
    np.testing.assert_array_equal(explorer.data.gains, fresh.data.gains)
    assert random.getstate() == state  # Keras draws seeds from it
    explorer.close()
    fresh.close()


def test_a_power_of_ten_may_differ_in_its_last_bit():
    explorer = explorers.find("layers").load()()
    state = {**explorer.state, "k": 10**-0.3}
    assert explorer.measured(**state) is explorer.measured(**{**state, "k": float(np.nextafter(10**-0.3, 1))})
    explorer.close()
