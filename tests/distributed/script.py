"""A worker of `test_training.py`: trains a small network, as a user's script does, and writes down what it holds.

python -m tests.distributed.script FOLDER [MODE]

Each worker writes FOLDER/INDEX.npz with all its weights. MODE "killed" kills the last worker in the second epoch, as a
machine that fails, if there is no checkpoint yet. "raises" lets it raise an error there.
"""

import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np

import lipviz
from lipviz import distributed
from lipviz.layers import FrobeniusDense, GroupSort2, SpectralDense
from lipviz.parametrizations.variables import copied

EPOCHS, BATCH, SAMPLES, SEED = 3, 12, 42, 7  # the last batch, of 6, has equal parts for two workers and for three


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, 6)).astype("float32")
    return x, rng.integers(3, size=SAMPLES).astype("int32")


def network():
    """A network with a constraint of each kind of state, and a layer that draws."""
    model = lipviz.Sequential(
        [
            keras.Input((6,)),
            SpectralDense(8),
            keras.layers.Dropout(0.0),
            GroupSort2(),
            FrobeniusDense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), loss, metrics=["accuracy"])
    return model


def weights_of(model):
    return {f"{i} {v.path}": copied(v) for i, v in enumerate(model.variables)}


class Failing(keras.callbacks.Callback):
    """Ends its worker in the middle of the second epoch, by a signal or by an error."""

    def __init__(self, mode):
        super().__init__()
        self.mode, self.epoch = mode, -1

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 2):
            if self.mode == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ArithmeticError("this worker has an error")


def main(folder, mode=""):
    workers = distributed.connect()
    keras.utils.set_random_seed(0)
    with workers.scope():
        model = network()
    checkpoint = distributed.Checkpoint(Path(folder, "checkpoints"), every=2)
    fails = mode and not checkpoint.steps() and workers.index == workers.count - 1
    history = distributed.fit(
        model,
        distributed.Batches(*data(), batch_size=BATCH, seed=SEED),
        workers=workers,
        epochs=EPOCHS,
        checkpoint=checkpoint,
        callbacks=[Failing(mode)] if fails else [],
        verbose=0,
    )
    logs = {f"history/{name}": values for name, values in history.history.items()}
    current = [each.is_current_now() for each in lipviz.model.parametrizations(model)]
    if workers.index == 0:
        model.save(Path(folder, "trained.keras"))
    np.savez(Path(folder, f"{workers.index}.npz"), current=current, **weights_of(model), **logs)


if __name__ == "__main__":
    main(*sys.argv[1:])
