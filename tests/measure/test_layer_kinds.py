"""The table of kinds of layers, and what a step of a kind costs."""

import keras
import numpy as np
import pytest

from lipviz import layers
from lipviz.measure import CONVOLUTION_KINDS, DENSE_KINDS, LAYER_KINDS, LayerKind, layer_kind, step_cost

# Depthwise convolutions do not mix channels, so they take no other layer's place.
OTHERS = {"SpectralDepthwiseConv2D"}


@pytest.mark.lists
def test_every_layer_that_can_take_the_place_of_another_is_a_kind():
    constrained = {
        name
        for name in layers.__all__
        if name.endswith(("Dense", "Conv2D")) and issubclass(getattr(layers, name), layers.ConstrainedKernel)
    }
    assert constrained - OTHERS == {kind.layer for kind in LAYER_KINDS}, "enter it in measure/layer_kinds.py"


def test_kinds_have_titles_that_differ():
    assert len({kind.title for kind in LAYER_KINDS}) == len({kind.label for kind in DENSE_KINDS}) + len(
        {kind.label for kind in CONVOLUTION_KINDS}
    )
    assert all(layer_kind(kind.title) is kind for kind in LAYER_KINDS)
    assert (*DENSE_KINDS, *CONVOLUTION_KINDS) == LAYER_KINDS
    with pytest.raises(ValueError, match=r"`title` must be one of SpectralDense, .*Received: 'Dense'"):
        layer_kind("Dense")


@pytest.mark.parametrize("kind", LAYER_KINDS, ids=lambda kind: kind.title)
def test_a_kind_makes_its_layer_and_the_plain_one(kind):
    layer, plain = kind.make(4, name="mine"), kind.make_plain(4)
    assert type(layer) is getattr(layers, kind.layer)
    assert layer.name == "mine"
    assert layer.get_config() | dict(kind.arguments) == layer.get_config()
    assert type(plain) is (keras.layers.Dense if kind.is_dense else keras.layers.Conv2D)
    assert kind.is_block == kind.layer.startswith("SLL")


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
    assert cost.ratio == np.median(cost.seconds) / np.median(cost.plain_seconds)
    with pytest.raises(ValueError, match=r"`turns` must be at least 1\. Received: turns=0"):
        step_cost(layer_kind("AOLDense"), turns=0)
