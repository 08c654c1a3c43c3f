"""Whether what makes training fast leaves its result alone: `python -m tools.same_accuracy [ACTIVATION ...]`.

Trains networks on digits with the fast forms (Björck by eigenvalues, activations and poolings that XLA compiles) and
with references (Björck by products, sorts by `keras.ops.sort`, every operation by itself), from the same five seeds.
It compares the accuracies on held-out images.
"""

import argparse
import contextlib
import sys
import warnings

import keras
import numpy as np
from keras import ops

from lipviz import data, layers, losses, normalizers
from lipviz.compiled import compiled_where_traced
from lipviz.model import Sequential

SEEDS = range(5)
EPOCHS = 15


class Sorted(keras.layers.Layer):
    """Groups of n neighbouring channels, sorted by `keras.ops.sort`."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def call(self, inputs):
        groups = ops.reshape(inputs, (-1, *inputs.shape[1:-1], inputs.shape[-1] // self.n, self.n))
        return ops.reshape(ops.sort(groups, axis=-1), (-1, *inputs.shape[1:]))


class TwoHalves(keras.layers.Layer):
    """The channels of relu(x), then those of relu(−x)."""

    def call(self, inputs):
        return ops.concatenate([ops.relu(inputs), ops.relu(-inputs)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


# From a name to the activation of lipviz, and to the reference. Those with weights of their own are the same layers.
ACTIVATIONS = {
    "GroupSort2": (layers.GroupSort2, lambda: Sorted(2)),
    "GroupSort4": (lambda: layers.GroupSort(n=4), lambda: Sorted(4)),
    "MaxMin": (layers.MaxMin, TwoHalves),
    "PReLUlip": (layers.PReLUlip, layers.PReLUlip),
    "Householder": (layers.Householder, layers.Householder),
}


@contextlib.contextmanager
def plain_forms():
    """Products in place of eigenvalues, and every operation of an activation or pooling by itself."""
    with normalizers.without_eigenvalues(), compiled_where_traced(False):
        yield


def accuracy(seed, activation):
    """Share of the test images that a network trained from a seed gets right."""
    keras.utils.set_random_seed(seed)
    (x, y), (x_test, y_test) = data.digits(seed=0)
    x, x_test = (images.reshape(-1, 8, 8, 1) for images in (x, x_test))
    model = Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.SpectralConv2D(16, 3, padding="same"),
            activation(),
            layers.ScaledL2NormPooling2D((2, 2)),
            keras.layers.Flatten(),
            layers.SpectralDense(64),
            activation(),
            layers.SpectralDense(10),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), losses.TauSparseCategoricalCrossentropy(tau=20.0))
    model.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0)
    return float(np.mean(model.predict(x_test, verbose=0).argmax(axis=1) == y_test))


def differs(name):
    """Print both means of an activation; whether they differ by more than two standard errors."""
    own, reference = ACTIVATIONS[name]
    fast = np.array([accuracy(seed, own) for seed in SEEDS])
    with plain_forms():
        plain = np.array([accuracy(seed, reference) for seed in SEEDS])
    error = np.hypot(fast.std(ddof=1), plain.std(ddof=1)) / np.sqrt(len(SEEDS))
    print(name)
    for form, values in (("fast", fast), ("reference", plain)):
        print(f"  {form:9}  {values.mean():.4f}  of {np.round(values, 4).tolist()}")
    difference = fast.mean() - plain.mean()
    print(f"  difference {difference:+.4f}, standard error {error:.4f}", flush=True)
    return abs(difference) > 2 * error


def main():
    """Compare the activations that are named, all by default; 1 where one differs."""
    warnings.filterwarnings("ignore", message=".*is not known to be 1-Lipschitz")  # of the references
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("activations", nargs="*", metavar="ACTIVATION", help=f"one of {', '.join(ACTIVATIONS)}")
    names = parser.parse_args().activations or list(ACTIVATIONS)
    unknown = [name for name in names if name not in ACTIVATIONS]
    if unknown:
        parser.error(f"Expected activations out of {', '.join(ACTIVATIONS)}. Received: {', '.join(unknown)}")
    return int(any([differs(name) for name in names]))


if __name__ == "__main__":
    sys.exit(main())
