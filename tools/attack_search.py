"""Search for a change inside of a certified radius that flips a decision: there must be none.

    python -m tools.attack_search [--attempts N] [--data digits|fashion]

Trains a certified network on each data set and attacks it with the methods of `lipviz.certification.attack`: by
projected gradient descent at 0.5 to 0.999 of each sample's radius, from the sample and from random starts, and by
attacks that look for the smallest change. Besides, it attacks at fixed sizes, for the accuracy under attack. Prints a
table for each data set; the exit status is 1 where a flip lies inside of a radius, or where no attack succeeded
outside, as then the search itself does not work.
"""

import argparse
import dataclasses
import sys
import time

import keras
import numpy as np

import lipviz
from lipviz import certification, data, layers, losses

EPSILONS = (36 / 255, 0.5, 1.0)
FACTORS = (0.999, 0.9, 0.99, 0.5)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained on, and attacked."""

    load: object
    convolutions: tuple  # (filters, strides)
    width: int
    tau: float
    epochs: int
    deepfool: int  # samples for the attacks that take long
    hopskipjump: int


SETTINGS = {
    "digits": Setting(data.digits, ((16, 1),), 64, 20.0, 15, 256, 4),
    "fashion": Setting(lambda: data.fashion_mnist(6000, 1200), ((16, 2), (32, 2)), 64, 20.0, 4, 128, 2),
}


def trained(setting, x, y):
    """A Lipschitz network fitted to images."""
    keras.utils.set_random_seed(0)
    model = lipviz.Sequential([keras.layers.Input(x.shape[1:])])
    for filters, strides in setting.convolutions:
        model.add(layers.SpectralConv2D(filters, 3, strides=strides, activation=layers.GroupSort2()))
    model.add(keras.layers.Flatten())
    model.add(layers.SpectralDense(setting.width, activation=layers.GroupSort2()))
    model.add(layers.FrobeniusDense(10))
    loss = losses.TauSparseCategoricalCrossentropy(tau=setting.tau)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(x, y, epochs=setting.epochs, batch_size=64, verbose=0)
    return model


class Search:
    """Attempts on one network, and what came of them."""

    def __init__(self, model, x, y):
        self.model, self.x, self.y = model, x, y
        self.radii = certification.certified_radius(model, x, y)
        self.attempts = self.inside = self.outside = 0
        self.smallest = np.inf  # distance over radius

    def attack(self, rows, **settings):
        """Attack some samples, and count what is found inside of their radii."""
        found = certification.attack(self.model, self.x[rows], self.y[rows], **settings)
        radii = self.radii.radii[rows]
        certified = radii > 0
        self.attempts += len(rows)
        self.inside += int(np.sum(certified & (found.found < radii)))
        self.outside += int(np.sum(certified & (found.found >= radii) & found.success))
        ratios = found.found[certified] / radii[certified]
        self.smallest = min(self.smallest, ratios.min(initial=np.inf))
        return found

    def run(self, attempts, setting, rng):
        """Attack until there were so many attempts: the accuracies under attack at EPSILONS."""
        everything = np.arange(len(self.x))
        certified = np.flatnonzero(self.radii.radii > 0)
        under_attack = [self.attack(everything, epsilon=e, steps=20).accuracy_at(e)[0] for e in EPSILONS]
        self.attack(rng.permutation(certified)[: setting.deepfool], method="deepfool")
        self.attack(rng.permutation(certified)[: setting.hopskipjump], method="hopskipjump", steps=5)
        self.attack(certified, epsilon=1.5 * self.radii.radii[certified], steps=20)
        turn = 0
        while self.attempts < attempts:
            rows = rng.permutation(certified)[: attempts - self.attempts]
            factor = FACTORS[turn % len(FACTORS)]
            starts = 1 + turn % 2
            self.attack(rows, epsilon=factor * self.radii.radii[rows], steps=20, starts=starts, seed=turn)
            turn += 1
        return under_attack


def report(name, search, under_attack, seconds):
    certified = search.radii.accuracy_at(EPSILONS)
    print(f"{name}: {len(search.x)} test images, accuracy {certified.accuracy:.4f}, ", end="")
    print(f"mean radius {search.radii.mean_radius:.4f}, {seconds:.0f} s")
    print("  eps        certified  under attack")
    for row in zip(EPSILONS, certified.certified, under_attack, strict=True):
        print("  {:.4f}     {:.4f}     {:.4f}".format(*row))
    print(f"  attempts {search.attempts}, flips outside of the radius {search.outside}, inside {search.inside}")
    print(f"  smallest distance / radius {search.smallest:.4f}", flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attempts", type=int, default=10_000, help="in all, shared by the data sets")
    parser.add_argument("--data", choices=sorted(SETTINGS), action="append", help="one data set; both by default")
    chosen = parser.parse_args(arguments)
    names = chosen.data or list(SETTINGS)
    failed = False
    for name in names:
        start = time.perf_counter()
        setting = SETTINGS[name]
        (x_train, y_train), (x, y) = setting.load()
        search = Search(trained(setting, x_train, y_train), x, y)
        attempts = -(-chosen.attempts // len(names))
        under_attack = search.run(attempts, setting, np.random.default_rng(0))
        report(name, search, under_attack, time.perf_counter() - start)
        failed |= search.inside > 0 or search.outside == 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
