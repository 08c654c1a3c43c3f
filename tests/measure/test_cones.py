"""Graphs and cones: compared with slopes and constants that are known in closed form."""

import numpy as np
import pytest

from lipviz.measure import lipschitz_cone


def waves(x):
    return x + np.sin(3 * x) / 2


PLACES = np.random.default_rng(0).uniform(-2, 2, 40)


@pytest.mark.parametrize(
    ("function", "constant"),
    [
        (waves, 2.5),
        (np.abs, 1.0),
        (lambda x: np.tanh(4 * x), 4.0),
        (lambda x: 1e6 + 3 * x, 3.0),
        (lambda x: 1e-200 * x, 1e-200),
        (np.zeros_like, 0.0),
    ],
)
def test_a_graph_stays_outside_of_all_cones_of_its_constant(function, constant):
    for place in (*PLACES, 0.0, -2.0, 2.0, 1e-17):
        cone = lipschitz_cone(function, place, constant * (1 + 1e-12))
        assert cone.is_outside, place
        assert not cone.inside.any()
        assert cone.steepest <= constant * (1 + 1e-12)
        assert (cone.place, cone.value) == (place, function(np.array([place]))[0])


def test_the_steepest_secant_is_the_largest_of_all_slopes_and_decides():
    for place in PLACES:
        cone = lipschitz_cone(waves, place, 2.0)
        slopes = np.abs(waves(cone.x) - waves(place)) / np.abs(cone.x - place)
        assert cone.steepest == pytest.approx(slopes.max(), rel=1e-12)
        assert slopes[cone.x == cone.end] == pytest.approx(cone.steepest, rel=1e-12)
        assert cone.is_outside == (slopes.max() <= 2)
        np.testing.assert_array_equal(cone.inside, slopes > 2)
    assert {lipschitz_cone(waves, place, 2.0).is_outside for place in PLACES} == {True, False}


def test_the_root_has_no_constant():
    assert not lipschitz_cone(lambda x: np.sqrt(np.abs(x)), 0.0, 9.0, low=0, high=1, count=10_001).is_outside


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"k": -1.0}, "k of at least 0. Received: -1.0"),
        ({"k": np.nan}, "k of at least 0. Received: nan"),
        ({"place": np.inf}, "finite place. Received: inf"),
        ({"low": 1.0, "high": 1.0}, "low < high and a count of at least 2. Received: 1.0, 1.0, 401"),
        ({"count": 1}, "count of at least 2"),
        ({"function": lambda x: x[:, None]}, r"finite values of shape \(1,\). Received: shape \(1, 1\)"),
        ({"function": lambda x: np.where(x > 1, np.nan, x)}, "Expected finite values"),
    ],
)
def test_bad_input_is_named(arguments, words):
    given = {"function": np.abs, "place": 0.5, "k": 1.0} | arguments
    with pytest.raises(ValueError, match=words):
        lipschitz_cone(given.pop("function"), given.pop("place"), given.pop("k"), **given)
