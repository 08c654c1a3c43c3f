import itertools

import keras
import numpy as np
import pytest

from lipviz import measure, toys
from lipviz.explorers.gradients import _NAMES, GradientDepthExplorer

X = np.random.default_rng(0).standard_normal((20, 2))


EXPLORER = GradientDepthExplorer


@pytest.fixture(scope="module")
def model():
    return toys.toy_network("groupsort2", 4, 1, outputs=2)


def source(explorer):
    return explorer._image.panels


def statement(explorer):
    return explorer.statement(explorer.data)


def test_it_starts_with_what_fifty_layers_leave(explorer):
    assert explorer.error is None
    data = explorer.data
    assert data.way.activations == ("relu", "groupsort2")
    assert data.way.median[0, -1] < 1e-6
    assert data.way.median[1, -1] == pytest.approx(1)
    assert "GroupSort2 leaves 100 %" in statement(explorer)
    expected = measure.gradient_depth(("relu", "groupsort2"), data.way.depths.tolist(), 64, 64, 0)
    np.testing.assert_array_equal(data.way.norms, expected.norms)
    np.testing.assert_array_equal(data.norms[0].norms, data.way.norms[0, -1])


def test_every_activation_has_a_name():
    assert set(_NAMES) == set(measure.DEPTH_ACTIVATIONS)


@pytest.mark.nightly
def test_every_corner(explorer):
    # A new frame for new activations takes time: each pair meets one corner, and each corner one pair or two.
    corners = itertools.cycle(itertools.product((2, 50), (2, 16), (0, 20)))
    for (first, second), (depth, width, seed) in zip(
        itertools.pairwise([*_NAMES, "relu", "relu"]), corners, strict=False
    ):
        explorer.state = {"depth": depth, "width": width, "seed": seed, "first": first, "second": second}
        assert explorer.error is None
        way = explorer.data.way
        assert way.depths[-1] == depth
        assert len(way.activations) == len({first, second})
        for name, median in zip(way.activations, way.median[:, -1], strict=True):
            if name in ("groupsort2", "fullsort", "abs", "linear"):
                assert median == pytest.approx(1)
                assert f"{_NAMES[name]} leaves 100 %" in statement(explorer)


def test_the_widest(explorer):
    explorer.state = {"width": 128, "depth": 3}
    assert explorer.error is None
    assert explorer.data.way.width == 128


@pytest.mark.slow
def test_moves_change_the_picture_and_come_back(explorer):
    before = source(explorer)
    for name, value in (("first", "tanh"), ("second", "elu"), ("depth", 11), ("width", 8), ("seed", 3)):
        explorer.controls[name].value = value
        assert explorer.error is None
        assert source(explorer) != before
        explorer.reset()
        assert source(explorer) == before


def test_the_table_for_files(explorer):
    explorer.state = {"depth": 6, "width": 8}
    columns, rows = explorer.table(explorer.data)
    assert [row[0] for row in rows] == explorer.data.way.depths.tolist()
    assert columns[2] == "relu median"
    np.testing.assert_allclose([row[2] for row in rows], explorer.data.way.median[0])
    np.testing.assert_allclose([row[5] for row in rows], explorer.data.way.median[1])


@pytest.mark.slow
def test_ones_own_model(model):
    explorer = GradientDepthExplorer(model, X)
    assert explorer.error is None
    assert explorer.state["network"] == "yours"
    assert explorer.controls["depth"].disabled
    data = explorer.data
    expected = measure.input_gradient_norms(model, X)
    np.testing.assert_allclose(data.norms[0].norms, expected.norms, atol=1e-6)
    assert data.norms[0].largest <= data.certified * (1 + 1e-6)
    assert "certified constant" in statement(explorer)
    explorer.state = {"output": 1}
    np.testing.assert_allclose(explorer.data.norms[0].norms, measure.input_gradient_norms(model, X, 1).norms, atol=1e-6)
    assert explorer.controls["seed"].disabled
    assert explorer.table(explorer.data)[1][0][0] == "input"
    kept = explorer.data
    explorer.refresh()
    assert explorer.data is kept  # measured once
    model.layers[-1].set_klip_factor(0.5)
    explorer.refresh()
    assert explorer.data is not kept
    model.layers[-1].set_klip_factor(1.0)
    explorer.state = {"network": "random"}
    assert explorer.error is None
    assert explorer.data.way.activations == ("relu", "groupsort2")
    explorer.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda model: (model, None), "a model and samples"),
        (lambda model: (None, X), "a model and samples"),
        (lambda model: (model, X[:, :1]), "shape"),
        (lambda model: (model, X[:0]), "at least one"),
        (lambda model: (model, np.full((3, 2), np.nan)), "finite"),
        (lambda model: (keras.Sequential([keras.layers.Dense(3)]), X), "built"),
        (lambda model: (keras.layers.Dense(3), X), "Keras model"),
        (lambda model: ("model", X), "Keras model"),
    ],
)
def test_what_cannot_be_measured_is_explained(model, arguments, message):
    explorer = GradientDepthExplorer(*arguments(model))
    assert message in str(explorer.error)
    assert 'role="alert"' in explorer._alert.value
    explorer.state = {"network": "random", "depth": 3, "width": 4}
    assert explorer.error is None
    explorer.close()
