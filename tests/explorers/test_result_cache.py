"""Results that are kept."""

import threading

import numpy as np
import pytest

from lipviz import explorers
from lipviz.explorers.shell.result_cache import ResultCache


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


def test_a_power_of_ten_may_differ_in_its_last_bit():
    explorer = explorers.find("layers").load()()
    state = {**explorer.state, "k": 10**-0.3}
    assert explorer.measured(**state) is explorer.measured(**{**state, "k": float(np.nextafter(10**-0.3, 1))})
    explorer.close()
