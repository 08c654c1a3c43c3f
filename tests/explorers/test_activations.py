import itertools

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import layers
from lipviz.explorers.activations import _ACTIVATIONS, ActivationExplorer

EXPLORER = ActivationExplorer


def source(explorer):
    return explorer._image.panels


def statement(explorer):
    return explorer.statement(explorer.data)


def test_it_starts_with_an_activation_that_keeps_gradients(explorer):
    assert explorer.error is None
    assert "the Jacobian is orthogonal" in statement(explorer)
    assert explorer.data.is_isometry.all()
    # The contrast is in the picture from the start.
    assert explorer.data.kept_by_relu.min() < 0.9


@pytest.mark.parametrize("activation", list(_ACTIVATIONS))
def test_every_activation_and_what_is_said_of_it(explorer, activation):
    explorer.state = {"activation": activation}
    assert explorer.error is None
    data = explorer.data
    index = data.nearest(explorer.state["place"])
    outputs, inputs = data.shape
    isometric = np.allclose(data.values[index], 1, atol=1e-6)
    assert ("is orthogonal" in statement(explorer)) is bool(isometric and outputs == inputs)
    assert ("orthonormal columns" in statement(explorer)) is bool(isometric and outputs > inputs)
    assert ("not orthogonal" in statement(explorer)) is not isometric
    assert f"{data.values[index][0]:.7f}" in explorer._results.value
    columns, rows = explorer.table(data)
    assert len(rows) == len(data.places)
    assert len(columns) == len(rows[0]) == 1 + inputs + outputs + 3


@pytest.mark.nightly
def test_every_corner(explorer):
    values = {"activation": ("groupsort", "householder", "prelulip", "maxmin"), "channels": (2, 8), "group": (1, 2),
              "angle": (0, 360), "slope": (-1.0, 1.0), "place": (-3.0, 3.0), "seed": (0, 20)}  # fmt: skip
    corners = list(itertools.product(*values.values()))
    for corner in np.random.default_rng(0).choice(len(corners), 24, replace=False):
        explorer.state = dict(zip(values, corners[corner], strict=True))
        assert explorer.error is None
        expected = {"groupsort": True, "householder": True, "maxmin": True, "prelulip": True}
        assert bool(explorer.data.is_isometry.all()) is expected[explorer.state["activation"]]
    explorer.state = {"activation": "prelulip", "slope": 0.0, "channels": 2}
    assert not explorer.data.is_isometry.all()


def test_the_plane(explorer):
    explorer.state = {"view": "plane", "activation": "householder", "angle": 60}
    assert explorer.error is None
    assert explorer.data.shape == (2, 2)
    assert explorer.controls["channels"].disabled
    assert explorer.figure.axes[0].get_title(loc="left") == "Image of the plane"
    explorer.state = {"activation": "maxmin"}
    assert "2 of 4" in next(t.get_text() for t in explorer.figure.axes[0].texts if t.get_gid() == "name")
    explorer.state = {"view": "line"}
    assert explorer.figure.axes[0].get_aspect() == "auto"
    assert explorer.data.shape == (8, 4)


def test_a_moved_place_moves_the_statement_only(explorer):
    explorer.state = {"activation": "tanh"}
    data, before = explorer.data, statement(explorer)
    explorer.controls["place"].value = -2.0
    assert explorer.data.outputs is data.outputs
    assert statement(explorer) != before
    assert "At t = -2.00" in statement(explorer)


def test_moves_change_the_picture_and_come_back(explorer):
    before = source(explorer)
    for name, value in (("activation", "relu"), ("channels", 6), ("seed", 4), ("place", -1.0)):
        explorer.controls[name].value = value
        assert explorer.error is None
        assert source(explorer) != before
        explorer.reset()
        assert source(explorer) == before


def test_parameters_that_do_not_matter_are_greyed_out(explorer):
    for activation, used in (("groupsort", "group"), ("householder", "angle"), ("prelulip", "slope"), ("relu", None)):
        explorer.state = {"activation": activation}
        enabled = {name for name in ("group", "angle", "slope") if not explorer.controls[name].disabled}
        assert enabled == ({used} - {None})


def test_bad_values_are_explained_in_place(explorer):
    explorer.state = {"activation": "groupsort", "group": 3}
    assert "n=3 divides" in str(explorer.error)
    assert 'role="alert"' in explorer._alert.value
    explorer.state = {"channels": 6}
    assert explorer.error is None
    explorer.reset()
    explorer.state = {"channels": 99}
    assert "99" in str(explorer.error)


@pytest.mark.slow
def test_ones_own():
    for own, name in ((layers.PReLUlip(name="mine"), "mine"), (ops.sin, "sin"), ("gelu", "gelu")):
        explorer = ActivationExplorer(own)
        assert explorer.error is None
        assert explorer.state["activation"] == "yours"
        assert explorer.data.name == name
        explorer.close()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (7, "Received: 7"),
        (keras.Sequential([keras.layers.Input((2,)), keras.layers.ReLU()], name="net"), "model: 'net'"),
        (keras.layers.RepeatVector(3), "of vectors"),
        ("none", "none"),
        (np.ones(3), "Expected a layer"),
    ],
)
def test_what_is_no_activation_is_explained(own, message):
    explorer = ActivationExplorer(own)
    assert message in str(explorer.error)
    explorer.state = {"activation": "relu"}
    assert explorer.error is None
    explorer.close()
