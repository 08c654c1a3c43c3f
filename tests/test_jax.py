"""A sample of the tests of numerics, layers and models again on JAX, in a process of its own.

`python -m tools.jax_sample` chooses it by coverage, also after a test of it was renamed. It takes minutes,
so `tests/conftest.py` starts it beside the other tests, and its result is asked for at the end.
"""

import keras
import pytest

from tests.jax_run import FOLDER, SAMPLE, result


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this run is the one on JAX")
@pytest.mark.timeout(1800)
def test_the_core_passes_on_jax(request):
    output = result(request.config.stash[FOLDER])
    assert output.status == 0, output.report()
    chosen = SAMPLE.read_text(encoding="utf-8").splitlines()
    assert f"{len(chosen)} passed" in output.text.splitlines()[-1], output.text[-2000:]
