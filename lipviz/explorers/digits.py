"""Kernels of a small network that learned to read digits, trained once per process."""

import functools
import threading
from collections.abc import Callable

import keras

from lipviz import data, operators
from lipviz.types import Array

_EPOCHS = 6
_LOCK = threading.Lock()


def digits_kernels(progress: Callable[[str], None] | None = None) -> dict[str, Array]:
    """Kernels of a plain network 64 → 64 → 32 → 10 after a few epochs on scikit-learn's digits.

    Args:
        progress: Function of a text, called with the progress of the training; not called if it is done already. None
            reports nothing.

    Returns:
        A dict from name of the layer, "first", "second" or "last", to float64 matrix.
    """
    with _LOCK:  # two explorers at the same time must not train twice
        return _trained(_Same(progress or _ignore))


def _ignore(text):
    """Take the place of a function that shows progress."""


class _Same:
    """A function that equals every other one, so that the cache keeps one network for all of them."""

    def __init__(self, function):
        self.function = function

    def __eq__(self, other):
        return isinstance(other, _Same)

    def __hash__(self):
        return 0


@functools.cache
def _trained(progress):
    progress = progress.function
    progress("Training a network on digits, once for this session …")
    (x, y), _ = data.digits()
    # Seeds of their own instead of Keras's global one, which belongs to the reader.
    initializers = (keras.initializers.GlorotUniform(seed=seed) for seed in range(3))
    network = keras.Sequential(
        [
            keras.layers.Input(x.shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(64, "relu", kernel_initializer=next(initializers), name="first"),
            keras.layers.Dense(32, "relu", kernel_initializer=next(initializers), name="second"),
            keras.layers.Dense(10, kernel_initializer=next(initializers), name="last"),
        ]
    )
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    report = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: progress(f"Training a network on digits: epoch {epoch + 1} of {_EPOCHS} …")
    )
    network.fit(x, y, batch_size=64, epochs=_EPOCHS, shuffle=False, verbose=0, callbacks=[report])
    return operators.kernels(network)
