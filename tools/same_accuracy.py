"""Whether what makes training fast leaves its result alone: `python -m tools.same_accuracy`.

Trains one network on digits with the fast forms (Björck by eigenvalues, activations and poolings that XLA compiles)
and with the plain ones, from the same five seeds, and compares the accuracies on held-out images.
"""

import contextlib
import sys

import keras
import numpy as np

from lipviz import data, layers, losses, normalizers
from lipviz.compiled import compiled_where_traced
from lipviz.model import Sequential

SEEDS = range(5)
EPOCHS = 15


@contextlib.contextmanager
def plain_forms():
    """Products in place of eigenvalues, and every operation of an activation by itself."""
    with normalizers.without_eigenvalues(), compiled_where_traced(False):
        yield


def accuracy(seed):
    """Share of the test images that a network trained from a seed gets right."""
    keras.utils.set_random_seed(seed)
    (x, y), (x_test, y_test) = data.digits(seed=0)
    x, x_test = (images.reshape(-1, 8, 8, 1) for images in (x, x_test))
    model = Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.SpectralConv2D(16, 3, padding="same"),
            layers.GroupSort2(),
            layers.ScaledL2NormPooling2D((2, 2)),
            keras.layers.Flatten(),
            layers.SpectralDense(64),
            layers.GroupSort2(),
            layers.SpectralDense(10),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), losses.TauSparseCategoricalCrossentropy(tau=20.0))
    model.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0)
    return float(np.mean(model.predict(x_test, verbose=0).argmax(axis=1) == y_test))


def main():
    """Print both means and standard errors; 1 where they differ by more than one standard error."""
    fast = np.array([accuracy(seed) for seed in SEEDS])
    with plain_forms():
        plain = np.array([accuracy(seed) for seed in SEEDS])
    error = np.hypot(fast.std(ddof=1), plain.std(ddof=1)) / np.sqrt(len(SEEDS))
    for name, values in (("fast", fast), ("plain", plain)):
        print(f"{name:5}  {values.mean():.4f}  of {np.round(values, 4).tolist()}")
    print(f"difference {fast.mean() - plain.mean():+.4f}, standard error {error:.4f}")
    return int(abs(fast.mean() - plain.mean()) > error)


if __name__ == "__main__":
    sys.exit(main())
