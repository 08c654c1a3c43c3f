"""A sample of the tests of numerics, layers and models again on JAX, in a process of its own.

`python -m tools.jax_sample` chooses it by coverage, also after a test of it was renamed. It takes minutes,
so `tests/conftest.py` starts it beside the other tests, and its result is asked for at the end. With `-n`, one of the
processes waits for it while others go on.
"""

import contextlib

import keras
import pytest

from tests.jax_run import RUN, SAMPLE, JaxRun


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this run is the one on JAX")
@pytest.mark.timeout(1800)
def test_the_core_passes_on_jax(request):
    with contextlib.closing(request.config.stash.get(RUN, None) or JaxRun()) as run:
        output = run.result()
    assert output.status == 0, output.report()
    chosen = SAMPLE.read_text(encoding="utf-8").splitlines()
    assert f"{len(chosen)} passed" in output.text.splitlines()[-1], output.text[-2000:]
