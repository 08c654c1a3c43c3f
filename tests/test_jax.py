"""The numerics, the layers and the models again on JAX, in a process of its own: a process has one backend.

It takes minutes, so `tests/conftest.py` starts it beside the other tests, and its result is asked for at the end. With
`-n`, one of the processes waits for it while others go on.
"""

import contextlib
import re

import keras
import pytest

from tests.jax_run import RUN, JaxRun


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this run is the one on JAX")
@pytest.mark.timeout(1800)
def test_the_core_passes_on_jax(request):
    with contextlib.closing(request.config.stash.get(RUN, None) or JaxRun()) as run:
        output = run.result()
    assert output.status == 0, output.report()
    passed = re.search(r"(\d+) passed", output.text)
    assert passed, output.text[-2000:]
    assert int(passed[1]) > 150
    print(output.text.splitlines()[-1])
