"""Choose the tests that run on JAX in every test run.

    python -m tools.jax_sample [--cases N]

Runs the tests of the core on JAX with coverage, N cases of each test with parameters (1 by default), and writes
`tests/jax_sample.txt`: cheap tests that execute, together, every line of lipviz that all of them execute. To these come
the tests that are named in `ALWAYS`, because a line that runs is not yet a line that is right.
`python -m tools.nightly jax` runs all cases of all tests.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tests.jax_run import AGAIN, ENVIRONMENT, OPTIONS, SAMPLE

# Soundness and gradients on random inputs, every copy of a trained model, and training on two devices: ends of ids.
ALWAYS = (
    "test_no_kernel_and_no_setting_exceeds_one",
    "test_no_kernel_exceeds_k_at_any_size",
    "test_no_kernel_exceeds_k_with_the_tight_bound",
    "test_gradient_where_bjorck_has_converged",
    "test_gradient_where_bjorck_has_not_converged_holds_the_divisor",
    "test_both_ways_have_one_gradient",
    "test_after_any_fit_no_layer_exceeds_its_bound",
    "test_citizenship.py::test_every_copy_predicts_the_same",
    "test_two_devices_train_the_same_network_as_one",
)
ROOT = Path(__file__).parents[1]
LEAST = 0.2  # seconds that each test costs besides its own


def main():
    """Run the tests, choose, and write the sample."""
    parser = argparse.ArgumentParser(prog="python -m tools.jax_sample", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1, metavar="N", help="cases of each test with parameters (1)")
    cases = parser.parse_args().cases
    with tempfile.TemporaryDirectory() as folder:
        lines, seconds = measured(Path(folder), cases)
    chosen = sample(lines, seconds)
    SAMPLE.write_text("\n".join(sorted(chosen)) + "\n", encoding="utf-8")
    took = sum(seconds[name] for name in chosen)
    everything = len(set().union(*lines.values()))
    print(f"{len(chosen)} of {len(seconds)} tests, {took:.0f} of {sum(seconds.values()):.0f} s: {everything} lines.")


def measured(folder, cases):
    """Run the tests on JAX.

    Args:
        folder: Where coverage and times are written.
        cases: Number of cases of each test with parameters.

    Returns:
        The lines that each test executes, {test: {(file, line)}}, and its seconds, {test: seconds}.
    """
    data, times = folder / "coverage", folder / "times.xml"
    run = [sys.executable, "-m", "pytest", *OPTIONS, *AGAIN, f"--cases={cases}", "--cov=lipviz", "--cov-context=test"]
    run += ["--cov-report=", "-o", "junit_family=xunit1", f"--junitxml={times}"]
    done = subprocess.run(run, cwd=ROOT, env={**os.environ, **ENVIRONMENT, "COVERAGE_FILE": str(data)})
    if done.returncode:
        sys.exit("The tests must pass on JAX before a sample of them is chosen.")
    return lines_of(data), seconds_of(times)


def lines_of(path):
    """Lines of lipviz by the test that executed them, from a coverage file with contexts."""
    from coverage import CoverageData

    data = CoverageData(str(path))
    data.read()
    lines = {}
    for file in data.measured_files():
        for line, contexts in data.contexts_by_lineno(file).items():
            for context in filter(None, contexts):  # the empty one is that of imports
                lines.setdefault(context.rpartition("|")[0], set()).add((file, line))
    return lines


def seconds_of(path):
    """Seconds of each test, from a JUnit file."""
    cases = ElementTree.parse(path).iter("testcase")
    passed = (case for case in cases if case.find("skipped") is None)
    return {f"{case.get('file')}::{case.get('name')}": float(case.get("time")) for case in passed}


def sample(lines, seconds):
    """Choose tests that execute all lines together, by the greedy way: the most new lines for a second.

    Then those go, the dearest first, whose lines the others execute as well.

    Args:
        lines: {test: {(file, line)}}.
        seconds: {test: seconds}.

    Returns:
        A list of tests: those of `ALWAYS` first.
    """
    always = [name for name in seconds if name.partition("[")[0].endswith(ALWAYS)]
    chosen = list(always)
    left = set().union(*lines.values()).difference(*(lines.get(name, ()) for name in chosen))
    while left:
        best = max(lines, key=lambda name: len(lines[name] & left) / (seconds.get(name, 1.0) + LEAST))
        chosen.append(best)
        left -= lines[best]
    return without_spare(chosen, always, lines, seconds)


def without_spare(chosen, always, lines, seconds):
    """Leave out tests of which the others execute every line, the dearest first, but none of `always`."""
    counts = Counter(line for name in chosen for line in lines.get(name, ()))
    kept = list(chosen)
    for name in sorted(set(chosen) - set(always), key=lambda name: (-seconds.get(name, 1.0), name)):
        if all(counts[line] > 1 for line in lines[name]):
            counts.subtract(lines[name])
            kept.remove(name)
    return kept


if __name__ == "__main__":
    main()
