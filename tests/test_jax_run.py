"""How the run on JAX is chosen, and reports what went wrong in it; the run itself is that of test_jax.py."""

import threading

from tests.jax_run import OUTPUT, STATUS, Output, empty_if_large, result
from tools.jax_sample import sample


def test_the_sample_executes_all_lines_without_tests_to_spare():
    always = "tests/test_model.py::test_after_any_fit_no_layer_exceeds_its_bound[a]"
    lines = {always: {1}, "quick": {2, 3}, "first by lines": {3, 4, 5, 6}, "slow": {2, 4, 5, 6, 7}}
    seconds = {always: 9.0, "quick": 0.1, "first by lines": 0.1, "slow": 8.0}
    # For a second, "first by lines" has the most new lines. Its lines are those of "quick" and "slow" as well.
    assert sample(lines, seconds) == [always, "quick", "slow"]


def test_a_report_has_every_reason_and_not_the_dots():
    failures = [f"____ test_{number} ____\nE   AssertionError: reason {number}\n" + "x" * 9000 for number in range(3)]
    said = "\n".join(["=== FAILURES ===", *failures, "=== short test summary info ===", "3 failed, 200 passed"])
    assert Output(1, f"....F.F\n\n{said}").report() == said


def test_a_run_that_breaks_off_is_reported_as_it_is():
    assert Output(-6, "....\nFatal Python error: Aborted\n").report() == "....\nFatal Python error: Aborted\n"


def test_a_result_is_waited_for_until_the_status_is_there(tmp_path):
    (tmp_path / OUTPUT).write_text("3 pas")

    def end():
        (tmp_path / OUTPUT).write_text("3 passed\n")
        (tmp_path / STATUS).write_text("0")

    threading.Timer(0.05, end).start()
    assert result(tmp_path, poll=0.01) == Output(0, "3 passed\n")


def test_what_is_compiled_is_kept_until_it_is_too_much(tmp_path):
    cache = tmp_path / "cache"
    empty_if_large(cache, most=10)  # there is none yet
    cache.mkdir()
    for name in "ab":
        (cache / name).write_bytes(b"12345")
    empty_if_large(cache, most=10)
    assert len(list(cache.iterdir())) == 2
    empty_if_large(cache, most=9)
    assert not cache.exists()
