"""How often a kernel is constrained: to build, call, save, load, copy and export a model."""

import keras
import numpy as np
import pytest

import lipviz
from lipviz import parametrizations
from lipviz.layers import SpectralDense
from lipviz.measure.model_file import load_model_file
from lipviz.normalizers import sound
from lipviz.parametrizations import Parametrization

X = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")


class Counts:
    """Evaluations since it was read last: of constraints, and orthogonalizations, an initializer's included."""

    def __init__(self, monkeypatch):
        self._constrained = self._orthogonalized = 0
        constrain, orthogonalize = Parametrization.constrain, sound._orthogonalized

        def counted_constrain(parametrization, kernel):
            self._constrained += 1
            return constrain(parametrization, kernel)

        def counted_orthogonalize(*arguments):
            self._orthogonalized += 1
            return orthogonalize(*arguments)

        monkeypatch.setattr(Parametrization, "constrain", counted_constrain)
        monkeypatch.setattr(sound, "_orthogonalized", counted_orthogonalize)

    def read(self):
        counts = self._constrained, self._orthogonalized
        self._constrained = self._orthogonalized = 0
        return counts


@pytest.fixture
def counts(monkeypatch):
    return Counts(monkeypatch)


def network(kind=lipviz.Sequential):
    return kind([keras.Input((6,)), *(SpectralDense(5) for _ in range(3))])


# --- values ---


def test_a_layer_is_built_by_one_orthogonalization_of_its_first_kernel_and_one_constraint(counts):
    layer = SpectralDense(5)
    layer.build((None, 6))
    assert counts.read() == (1, 2)  # the initializer's own, and that of the kernel that it drew
    layer(X)
    layer(X, training=False)
    layer.used_kernel()
    assert counts.read() == (0, 0)
    layer(X, training=True)
    assert counts.read() == (1, 1)


@pytest.mark.parametrize("inside", [False, True])
def test_a_layer_that_is_built_within_a_trace_has_what_it_has_outside(inside, counts):
    layer = SpectralDense(5, kernel_initializer=keras.initializers.GlorotUniform(seed=1))
    if inside:
        with keras.StatelessScope():
            layer.build((None, 6))
    else:
        layer.build((None, 6))
    assert counts.read() == (1, 1)
    wbar, sig = (np.array(value) for value in (layer.wbar, layer.sig))
    layer.refresh()
    np.testing.assert_array_equal(layer.wbar, wbar)
    np.testing.assert_array_equal(layer.sig, sig)
    assert layer.parametrization.is_current_now()


@pytest.mark.parametrize("kind", [keras.Sequential, lipviz.Sequential])
def test_a_model_is_saved_for_nothing_and_loaded_at_the_cost_of_building_it(kind, tmp_path, counts):
    model = network(kind)
    assert counts.read() == (3, 6)
    model.save(tmp_path / "m.keras")
    assert counts.read() == (0, 0)
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert counts.read() == (3, 6)  # Keras builds the layers, and does not say that weights follow
    np.testing.assert_array_equal(loaded(X), model(X))
    assert counts.read() == (0, 0)
    kind.from_config(model.get_config())
    assert counts.read() == (3, 6)
    keras.models.clone_model(model)
    assert counts.read() == (3, 6)


def test_who_knows_that_weights_follow_orthogonalizes_nothing(tmp_path, counts):
    model = network()
    model.save(tmp_path / "m.keras")
    counts.read()
    with parametrizations.unfilled():
        loaded = keras.models.load_model(tmp_path / "m.keras")
    assert counts.read() == (0, 0)
    again = load_model_file(tmp_path / "m.keras")
    assert counts.read() == (0, 0)
    for copy in (loaded, again):
        for got, want in zip(copy.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(copy(X), model(X))


def test_a_file_that_proves_nothing_is_constrained_once_for_each_layer(tmp_path, counts):
    model = network()
    model.layers[1].kernel.assign(2 * np.asarray(model.layers[1].kernel))
    counts.read()
    model.save(tmp_path / "m.keras")
    assert counts.read() == (1, 1)  # of the layer that was moved
    proof = Parametrization._is_of_kernel
    try:
        Parametrization._is_of_kernel = lambda self, store: False
        load_model_file(tmp_path / "m.keras")
    finally:
        Parametrization._is_of_kernel = proof
    assert counts.read() == (3, 3)


def test_an_export_refreshes_each_layer_once(counts):
    model = network()
    counts.read()
    model.vanilla_export()
    assert counts.read() == (3, 3)
