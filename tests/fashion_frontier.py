"""What a certified network reaches on Fashion-MNIST: accuracy against certified accuracy, for several temperatures.

    python -m tests.fashion_frontier [--taus T ...] [--epochs N] [--seeds S ...] [--attacked N] [--json FILE]

Trains the network of the published comparisons (two convolutions of 16 and 32 filters with 3x3 kernels, each followed
by a pooling by l2 norms, dense layers of 128 and 10 units) on all 60,000 images, and measures it on all 10,000 of the
test set, in float64. DeepFool attacks some images: the exit status is 1 where it comes closer than a certificate.
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import keras
import numpy as np

import lipviz
from lipviz import data, layers, losses, measure

EPSILONS = (36 / 255, 0.5, 1.0)
BATCH, PEAK = 256, 5e-3


@dataclasses.dataclass(frozen=True)
class Result:
    """One network. Shares are of all test images; a radius of an image that is classified wrongly counts 0."""

    tau: float
    seed: int
    epochs: int
    accuracy: float
    certified: tuple[float, ...]
    by_root: tuple[float, ...]
    mean_radius: float
    attacked: int
    closest: float
    seconds: float


def network():
    """The network of the comparisons, with convolutions normalized by what their norm is."""
    return lipviz.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.SpectralConv2D(16, 3, bound="tight", activation=layers.GroupSort2()),
            layers.ScaledL2NormPooling2D(2),
            layers.SpectralConv2D(32, 3, bound="tight", activation=layers.GroupSort2()),
            layers.ScaledL2NormPooling2D(2),
            keras.layers.Flatten(),
            layers.SpectralDense(128, activation=layers.GroupSort2()),
            layers.FrobeniusDense(10),
        ]
    )


def trained(x, y, tau, epochs, seed):
    """A network after its training. The learning rate rises for a tenth of the steps, and falls along a cosine."""
    keras.utils.set_random_seed(seed)
    model = network()
    steps = epochs * -(-len(x) // BATCH)
    rise = steps // 10
    rate = keras.optimizers.schedules.CosineDecay(PEAK / 10, steps - rise, warmup_target=PEAK, warmup_steps=rise)
    model.compile(keras.optimizers.Adam(rate), losses.TauSparseCategoricalCrossentropy(tau))
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


def by_the_root(model, x, y):
    """Certified accuracy by the rule with √2 and the constant of the whole network."""
    logits = measure.float64_copy(model).predict(x, batch_size=512, verbose=0).astype(np.float64)
    rows, others = np.arange(len(x)), logits.copy()
    others[rows, y] = -np.inf
    constant = np.sqrt(2) * measure.certify(model, search=False).upper_bound
    radii = (logits[rows, y] - others.max(axis=1)) / constant
    return tuple(float(np.mean(radii > epsilon)) for epsilon in EPSILONS)


def run(images, tau, epochs, seed, attacked):
    """Train one network, and measure it."""
    (x, y), (x_test, y_test) = images
    began = time.perf_counter()
    model = trained(x, y, tau, epochs, seed)
    seconds = time.perf_counter() - began
    radii = measure.certified_radius(model, x_test, y_test)
    closest = np.inf
    if attacked:
        found = measure.attack(model, x_test[:attacked], y_test[:attacked], method="deepfool").found
        safe = radii.radii[:attacked] > 0
        closest = float(np.min(found[safe] / radii.radii[:attacked][safe], initial=np.inf))
    certified = tuple(radii.accuracy_at(EPSILONS).certified.tolist())
    by_root = by_the_root(model, x_test, y_test)
    mean = radii.mean_radius
    return Result(tau, seed, epochs, radii.accuracy, certified, by_root, mean, attacked, closest, seconds)


def row(result):
    """A line of the table."""
    shares = " ".join(f"{share:8.3f}" for share in result.certified)
    return (
        f"{result.tau:6g} {result.seed:5d} {result.accuracy:9.4f} {shares} {result.by_root[1]:13.3f} "
        f"{result.mean_radius:12.3f} {result.closest:14.2f} {result.seconds:8.0f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--taus", type=float, nargs="+", default=[1, 2.5, 6, 10, 30])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--attacked", type=int, default=200, help="test images that DeepFool attacks")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    images = data.fashion_mnist()
    print(f"{arguments.epochs} epochs; certified at 36/255, 0.5 and 1.0 (l2 norm)")
    print("   tau  seed  accuracy   36/255      0.5      1.0  0.5, rule √2  mean radius  attack/radius  seconds")
    results = []
    for tau in arguments.taus:
        for seed in arguments.seeds:
            results.append(run(images, tau, arguments.epochs, seed, arguments.attacked))
            print(row(results[-1]), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps([dataclasses.asdict(one) for one in results], indent=1))
    return 0 if all(one.closest >= 1 for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
