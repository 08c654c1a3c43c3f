"""Memory that nothing uses goes back."""

import gc
import weakref

import keras
import numpy as np
import pytest

from lipviz import Sequential, _memory, layers


def test_give_back_frees_what_is_in_a_cycle():
    class Node:
        pass

    node = Node()
    node.self = node
    referred = weakref.ref(node)
    del node
    _memory.give_back()
    assert referred() is None


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow keeps gradients by name")
@pytest.mark.parametrize(
    "layer", [layers.SpectralDense, pytest.param(layers.FrobeniusDense, marks=pytest.mark.nightly)]
)
def test_a_model_that_was_trained_leaves_no_graph_of_its_steps(layer):
    framework = pytest.importorskip("tensorflow.python.framework.ops")
    x = np.ones((4, 3), "float32")

    def names_after_a_training():
        model = Sequential([keras.Input((3,)), layer(2)])
        model.compile("sgd", "mse")
        model.fit(x, x[:, :2], verbose=0)
        del model
        _memory.give_back()
        gc.collect()
        return set(framework.gradient_registry.list())

    before = names_after_a_training()  # with what is traced once for all models
    assert names_after_a_training() == before
