"""The way from `certify` to the norm of a kernel is short, as `tools/way.py` measures it."""

import pytest

from tools.way import MODELS, Way, way


@pytest.mark.parametrize("name", MODELS)
def test_the_norm_of_a_kernel_is_six_functions_away(name):
    found = way(name)
    assert found.frames[0] == "certification/upper_bounds.py: certify"
    assert found.frames[-1].startswith("certification/matrices.py: ")
    assert len(found.frames) <= 6, found.frames
    assert found.returns <= {"Dense": 6, "SpectralDense": 11, "SpectralConv2D": 13}[name], found.files


def test_returns_are_counted():
    assert Way((), ("a", "a", "b", "c")).returns == 0
    assert Way((), ("a", "b", "a", "b", "b", "c", "a")).returns == 3
