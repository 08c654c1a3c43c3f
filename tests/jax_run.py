"""Runs the tests of the core on JAX in the background."""

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
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
    # Compiling takes most of the time, and what is compiled runs a few times only.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    # Other tests keep the cores busy, and LAPACK's threads would wait for each other.
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclasses.dataclass(frozen=True)
class Output:
    """How a run ended."""

    status: int
    text: str

    def report(self):
        """All errors and failures with their reasons, and the summary; all of it where the run itself broke off."""
        begins = re.search(r"^=+ (?:ERRORS|FAILURES) =+$", self.text, flags=re.MULTILINE)
        return self.text[begins.start() :] if begins else self.text


class JaxRun:
    """A pytest process on JAX that runs beside this one."""

    def __init__(self):
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - open as long as the run
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *OPTIONS, f"@{SAMPLE}"],
            cwd=Path(__file__).parents[1],
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )

    def result(self):
        """Wait for the end."""
        status = self._process.wait()
        self._file.seek(0)
        return Output(status, self._file.read())

    def close(self):
        """End it, should it still run."""
        self._process.kill()
        self._process.wait()
        self._file.close()


RUN = pytest.StashKey[JaxRun]()
