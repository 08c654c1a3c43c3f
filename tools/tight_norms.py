"""How close to k trained convolutions come, counted and by the norm of the whole, and what a step of either costs.

    python -m tools.tight_norms

Trains one layer on noise by 100 steps of Adam at 1e-2, and prints its exact norm over k for `bound="coverage"` and
`bound="tight"`; then the median time of a training step of a small CNN with either, taken in turns. The exit status is
1 where a norm exceeds k.
"""

import statistics
import sys
import time

import keras
import numpy as np

import lipviz
from lipviz import layers, operators

# (name, size of the image, channels, filters, kernel size, stride)
CASES = (
    ("3x3, 16 to 16, 28x28", 28, 16, 16, 3, 1),
    ("3x3, 64 to 64, 8x8", 8, 64, 64, 3, 1),
    ("3x3, stride 2, 16 to 32, 28x28", 28, 16, 32, 3, 2),
    ("7x7, 16 to 16, 16x16", 16, 16, 16, 7, 1),
    ("5x5, 1 to 8, 20x20", 20, 1, 8, 5, 1),
)
BOUNDS = ("coverage", "tight")
BATCH, STEPS, REPEATS = 256, 4, 15


def trained_norm(size, channels, filters, kernel_size, strides, bound):
    """Norm over k, from below, of a layer after 100 steps."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    layer = layers.SpectralConv2D(filters, kernel_size, strides=strides, bound=bound)
    model = lipviz.Sequential([keras.Input((size, size, channels)), layer])
    x = rng.standard_normal((64, size, size, channels)).astype("float32")
    y = rng.standard_normal((64, *model.output_shape[1:])).astype("float32")
    model.compile(keras.optimizers.Adam(1e-2), "mae")
    model.fit(x, y, batch_size=16, epochs=25, verbose=0)
    return operators.convolution_bound(operators.linear_operator(layer), "exact").lower


def network(bound):
    """The CNN whose step is timed."""
    keras.utils.set_random_seed(0)
    model = lipviz.Sequential([keras.Input((28, 28, 1))])
    for filters in (16, 32):
        model.add(layers.SpectralConv2D(filters, 3, activation=layers.GroupSort2(), bound=bound))
        model.add(layers.ScaledL2NormPooling2D())
    for layer in (keras.layers.Flatten(), layers.SpectralDense(128, activation=layers.GroupSort2())):
        model.add(layer)
    model.add(layers.SpectralDense(10))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def step_times():
    """Median milliseconds of a step with each bound."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH * STEPS, 28, 28, 1)).astype("float32")
    y = rng.integers(0, 10, len(x))
    models = {bound: network(bound) for bound in BOUNDS}
    times = {bound: [] for bound in BOUNDS}
    for repeat in range(REPEATS + 1):
        for bound, model in models.items():
            start = time.perf_counter()
            for first in range(0, len(x), BATCH):
                model.train_on_batch(x[first : first + BATCH], y[first : first + BATCH])
            if repeat:  # the first traces
                times[bound].append((time.perf_counter() - start) / STEPS)
    return {bound: 1e3 * statistics.median(values) for bound, values in times.items()}


def main():
    """Print both tables; 1 where a norm exceeds k."""
    largest = 0.0
    print(f"{'norm over k after training':32s}" + "".join(f"{bound:>10s}" for bound in BOUNDS))
    for name, *case in CASES:
        norms = [trained_norm(*case, bound) for bound in BOUNDS]
        largest = max(largest, *norms)
        print(f"{name:32s}" + "".join(f"{norm:10.4f}" for norm in norms), flush=True)
    times = step_times()
    print(f"{'step of a CNN, ms':32s}" + "".join(f"{times[bound]:10.1f}" for bound in BOUNDS))
    return int(largest > 1 + 1e-6)  # the rounding of float32, of which the kernel is


if __name__ == "__main__":
    sys.exit(main())
