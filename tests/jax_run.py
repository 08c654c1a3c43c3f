"""Runs the tests of the core on JAX in the background."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

AGAIN = (
    "tests/test_normalizers.py",
    "tests/test_eigenvalues.py",
    "tests/layers",
    "tests/test_model.py",
    "tests/test_losses.py",
    "tests/test_metrics.py",
    "tests/test_callbacks.py",
    "tests/test_parallel.py",
)
# The tests that run on JAX in every test run, an id a line; `python -m tools.jax_sample` chooses them.
SAMPLE = Path(__file__).with_name("jax_sample.txt")
OPTIONS = ("-q", "--tb=short", "-p", "no:cacheprovider")
# JAX with float64, which the tests of numerics need.
ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
    # Compiling takes most of the time, and what is compiled runs a few times only. Older emitters take a third less.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip(),
    # Other tests keep the cores busy, and LAPACK's threads would wait for each other.
    "OPENBLAS_NUM_THREADS": "1",
}

# What an earlier run has compiled is taken from pytest's cache, which `--cache-clear` empties. The name of an entry is
# a hash of its operations, the versions and the settings.
CACHE = Path(__file__).parents[1] / ".pytest_cache" / "d" / "jax"
CACHING = {
    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
# A run that was ended while it wrote an entry leaves a part of it. JAX warns, and compiles again.
UNREADABLE = ("-W", "ignore:Error reading persistent compilation cache entry:UserWarning")
MOST_CACHED = 2**28  # bytes; one run leaves about 2**24

OUTPUT, STATUS = "output", "status"
# By how much its priority is below that of the other tests. It fills the gaps of those that wait for browsers and
# kernels, and is asked for last.
YIELDS = 5
FOLDER = pytest.StashKey[Path]()


@dataclasses.dataclass(frozen=True)
class Output:
    """How a run ended."""

    status: int
    text: str

    def report(self):
        """All errors and failures with their reasons, and the summary; all of it where the run itself broke off."""
        begins = re.search(r"^=+ (?:ERRORS|FAILURES) =+$", self.text, flags=re.MULTILINE)
        return self.text[begins.start() :] if begins else self.text


def empty_if_large(folder, most):
    """Remove a folder of files that have more than `most` bytes together."""
    if sum(path.stat().st_size for path in folder.glob("*")) > most:
        shutil.rmtree(folder, ignore_errors=True)


class JaxRun:
    """A pytest process on JAX that runs beside the other tests, and takes the time in which they wait.

    Args:
        folder: where its output goes, and then its exit status; any process can wait for them, see `result`.
    """

    def __init__(self, folder):
        empty_if_large(CACHE, MOST_CACHED)
        with open(folder / OUTPUT, "wb") as output:
            self._process = subprocess.Popen(
                # All that it names, also what runs on TensorFlow at night only.
                [sys.executable, "-m", "pytest", "--nightly", *OPTIONS, *UNREADABLE, f"@{SAMPLE}"],
                cwd=Path(__file__).parents[1],
                env={**os.environ, **ENVIRONMENT, **CACHING},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if hasattr(os, "setpriority"):  # before it starts threads, which have the priority of who starts them
            os.setpriority(os.PRIO_PROCESS, self._process.pid, os.getpriority(os.PRIO_PROCESS, 0) + YIELDS)
        self._watch = threading.Thread(target=self._tell_the_end, args=(folder,))
        self._watch.start()

    def _tell_the_end(self, folder):
        status = self._process.wait()
        unfinished = folder / "unfinished"
        unfinished.write_text(str(status))
        unfinished.rename(folder / STATUS)  # at once: who sees the file can read it

    def close(self):
        """End it, should it still run."""
        self._process.kill()
        self._watch.join()


def result(folder, poll=0.2):
    """Wait for the end of the run whose files are in `folder`, looking every `poll` seconds."""
    status = folder / STATUS
    while not (status.exists() and status.read_text()):  # it may be there before its text is
        time.sleep(poll)
    return Output(int(status.read_text()), (folder / OUTPUT).read_text(encoding="utf-8"))
