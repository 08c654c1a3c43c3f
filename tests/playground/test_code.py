"""The code that the playground hands out runs, and trains what is seen."""

import functools
import json

import keras
import numpy as np
import pytest

import lipviz
from lipviz import layers, losses
from tests.playground.node import HERE, node, printed

ADDRESSES = [
    "depth=1&width=4&k=2",
    "data=own&points=250.-1000.1_-2000.0.0_0.1.1&activation=maxmin&width=8&depth=2&loss=hkr&margin=0.2&rate=0.1&decay=0.3",
    "activation=relu&depth=3&tau=100",
]


@functools.cache
def codes():
    return json.loads(printed(node(), HERE / "code.js", given=json.dumps(ADDRESSES)))


@pytest.mark.slow
def test_code_trains_both_networks(capsys):
    scope = run(0)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("ordinary: ")
    assert second.startswith("constrained: ")
    assert "of 80 points are right, smallest certified radius" in second
    model = scope["constrained"]
    assert model.k_coef_lip == 2
    assert int(model.optimizer.iterations) == 2
    assert [type(layer) for layer in model.layers] == [layers.SpectralDense, layers.GroupSort2, layers.SpectralDense]
    assert np.ptp(scope["y"]) == 1


@pytest.fixture
def fits(monkeypatch):
    """How `fit` is called; it does nothing."""
    calls = []
    for model in (keras.Model, lipviz.Sequential):
        monkeypatch.setattr(model, "fit", lambda self, x, y, **settings: calls.append(settings))
    return calls


def run(number):
    scope = {}
    exec(compile(codes()[number], "code", "exec"), scope)
    return scope


def test_code_has_the_points_that_are_seen_and_hkr(fits):
    scope = run(1)
    np.testing.assert_array_equal(scope["x"], [[0.25, -1], [-2, 0], [0, 0.001]])
    np.testing.assert_array_equal(scope["y"], [1, 0, 1])
    assert [layer.units for layer in scope["constrained"].layers[::2]] == [4, 4, 1]
    assert [type(layer) for layer in scope["ordinary"].layers[1::2]] == [layers.MaxMin] * 2
    config = scope["constrained"].loss.get_config()
    assert type(scope["constrained"].loss) is losses.HKR
    assert (config["alpha"], config["min_margin"]) == pytest.approx((10, 0.2))
    assert float(scope["ordinary"].optimizer.learning_rate) == pytest.approx(0.1)
    assert scope["ordinary"].optimizer.weight_decay == pytest.approx(0.3)
    assert fits == [{"batch_size": 3, "epochs": 2, "verbose": 0}] * 2


def test_code_has_the_depth_and_the_loss_that_are_seen(fits):
    model = run(2)["constrained"]
    assert [type(layer) for layer in model.layers[1::2]] == [keras.layers.ReLU] * 3
    assert type(model.loss) is losses.TauBinaryCrossentropy
    assert model.loss.get_config()["tau"] == pytest.approx(100)
    assert model.optimizer.weight_decay is None
    assert len(fits) == 2
