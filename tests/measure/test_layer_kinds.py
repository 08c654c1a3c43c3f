"""The table of kinds of layers, and what a step of a kind costs."""

import keras
import numpy as np
import pytest

from lipviz import layers
from lipviz.measure import CONVOLUTION_KINDS, DENSE_KINDS, LAYER_KINDS, LayerKind, layer_kind, step_cost, step_costs
from lipviz.measure.layer_kinds import ENDS

# Depthwise convolutions do not mix channels, so they take no other layer's place.
OTHERS = {"SpectralDepthwiseConv2D"}


@pytest.mark.lists
def test_every_layer_that_mixes_channels_is_a_kind():
    constrained = {
        name
        for name in layers.__all__
        if name.endswith(ENDS) and issubclass(getattr(layers, name), layers.ConstrainedKernel)
    }
    assert constrained - OTHERS == {kind.layer for kind in LAYER_KINDS}, "enter it in measure/layer_kinds.py"


def test_kinds_have_titles_and_labels_that_differ():
    convolutions = [kind for kind in LAYER_KINDS if not kind.is_dense]
    assert len({kind.title for kind in LAYER_KINDS}) == len(LAYER_KINDS)
    assert len({kind.label for kind in DENSE_KINDS}) == len(DENSE_KINDS)
    assert len({kind.label for kind in convolutions}) == len(convolutions)
    assert all(layer_kind(kind.title) is kind for kind in LAYER_KINDS)
    assert (*DENSE_KINDS, *CONVOLUTION_KINDS) == tuple(kind for kind in LAYER_KINDS if not kind.is_transposed)
    with pytest.raises(ValueError, match=r"`title` must be one of SpectralDense, .*Received: 'Dense'"):
        layer_kind("Dense")


@pytest.mark.parametrize("kind", LAYER_KINDS, ids=lambda kind: kind.title)
def test_a_kind_makes_its_layer_and_the_plain_one(kind):
    layer, plain = kind.make(4, name="mine"), kind.make_plain(4)
    assert type(layer) is getattr(layers, kind.layer)
    assert layer.name == "mine"
    assert layer.get_config() | dict(kind.arguments) == layer.get_config()
    assert isinstance(layer, keras.layers.Conv2DTranspose) == isinstance(plain, keras.layers.Conv2DTranspose)
    assert isinstance(layer, keras.layers.Dense) == isinstance(plain, keras.layers.Dense)
    assert kind.is_block == kind.layer.startswith("SLL")
    shape = (2, 4) if kind.is_dense else (2, 6, 6, 4)  # kinds that keep it can be put in a sequence, and compared
    assert tuple(layer.compute_output_shape(shape)) == tuple(plain.compute_output_shape(shape)) == shape


def test_a_kind_has_the_padding_that_it_can_have():
    reflector = layer_kind("BROConv2D")
    assert reflector.make(4).padding == "circular"
    assert layer_kind("AOCConv2D").make(4).padding == "same"
    assert layer_kind("AOCConv2D").make(4, padding="circular").padding == "circular"
    with pytest.raises(ValueError, match="padding"):
        reflector.make(4, padding="same")


@pytest.mark.parametrize(
    ("layer", "words"), [("Dense", "class in lipviz.layers"), ("MaxMin", "ends with"), (3, "ends")]
)
def test_another_layer_is_no_kind(layer, words):
    with pytest.raises(ValueError, match=words):
        LayerKind(layer, "", "")


@pytest.mark.slow
def test_the_cost_of_a_step_is_measured_in_turns():
    cost = step_cost(layer_kind("AOLDense"), turns=3, steps=1)
    assert cost.seconds.shape == cost.plain_seconds.shape == (3,)
    assert (cost.seconds > 0).all()
    assert cost.ratio == np.median(cost.seconds / cost.plain_seconds)


@pytest.mark.parametrize("name", ["turns", "steps", "batch"])
def test_counts_of_a_measurement_are_positive(name):
    with pytest.raises(ValueError, match=rf"`{name}` must be at least 1\. Received: {name}=0"):
        step_cost(layer_kind("AOLDense"), **{name: 0})


def test_steps_take_turns_in_both_orders(monkeypatch):
    calls = []

    class Step:
        def __init__(self, kind, make, batch, jit_compile):
            self.settings = (make.__name__, batch, jit_compile)

        def seconds(self, steps):
            calls.append((*self.settings, steps))
            return len(calls)

    monkeypatch.setattr(step_costs, "_Step", Step)
    cost = step_cost(layer_kind("AOLDense"), turns=2, steps=3, batch=5, jit_compile=False)
    assert [call[0] for call in calls] == ["make", "make_plain", "make_plain", "make"]
    assert {call[1:] for call in calls} == {(5, False, 3)}
    np.testing.assert_array_equal(cost.seconds, [1, 4])
    np.testing.assert_array_equal(cost.plain_seconds, [2, 3])
    assert cost.ratio == np.median([1 / 2, 4 / 3])
