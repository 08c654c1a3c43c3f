"""The numerics, the layers and the models again on JAX, in a process of its own: a process has one backend."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[1]
AGAIN = ("tests/test_normalizers.py", "tests/layers", "tests/test_model.py")
# What no backend changes: how models are put together, and what is refused.
ONCE = ("nested", "subclasses", "learns", "cannot_be", "not_known", "add_and_pop", "signatures", "bad_factors")


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this run is the one on JAX")
@pytest.mark.timeout(1200)
def test_the_core_passes_on_jax():
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    chosen = " and ".join(f"not {name}" for name in ONCE)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *AGAIN],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed, run.stdout[-2000:]
    assert int(passed[1]) > 200
    assert "failed" not in run.stdout.splitlines()[-1]
    print(run.stdout.splitlines()[-1])
