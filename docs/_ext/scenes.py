"""What sliders of the site show that no control of an explorer reaches: an explorer, and its moments."""

import keras
import numpy as np

from lipviz import data
from lipviz.explorers.frames import Moment
from lipviz.explorers.layers import LayerExplorer
from lipviz.losses import TauCategoricalCrossentropy
from lipviz.toys.networks import toy_network, training


def tuned_export(values):
    """A layer of an exported network, which trains on without its constraint, as in the lesson on exports.

    Args:
        values: Numbers of training steps, in ascending order.

    Returns:
        An explorer, and a list with a `Moment` for each number.
    """
    (x, y), _ = data.digits()
    x, targets = x.reshape(len(x), -1), np.eye(10, dtype="float32")[y]
    network = toy_network(width=64, inputs=64, outputs=10)
    *_, _losses = training(network, x, targets, TauCategoricalCrossentropy(5.0), 60, 60, 0.02)
    export = network.vanilla_export()
    export.compile(keras.optimizers.Adam(1e-3), TauCategoricalCrossentropy(5.0))
    (layer, *_) = (layer for layer in export.layers if isinstance(layer, keras.layers.Dense))
    explorer = LayerExplorer(layer)
    return explorer, list(_moments(explorer, export, x, targets, values))


def _moments(explorer, network, x, targets, values):
    done = 0
    for value in values:
        for _ in range(value - done):
            network.train_on_batch(x, targets)
        done = value
        explorer.refresh()
        yield Moment(explorer.data, explorer.state)
