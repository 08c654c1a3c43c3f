"""What radii lose in the arithmetic of a network, and a search for flips inside of them.

    python -m tools.radii_in_arithmetic [--network NAME ...] [--attacks N]

Trains networks on scikit-learn's digits. For each arithmetic it prints the mean radius, what is lost of the radii of
float64, how many radii become 0, and the time for a sample. Then it attacks: from each sample with a radius, it goes
towards the boundary of each other class, almost to the end of the radius, and tries that point and points around it,
some numbers of float32 further. The deployed network decides there, in its own arithmetic. The exit status is 1 where a
decision changes.
"""

import argparse
import dataclasses
import sys
import time

import keras
import numpy as np
from keras import ops

import lipviz
from lipviz import data, layers, losses
from lipviz.certification import Arithmetic, certified_radius, logits_model
from lipviz.certification.deployed import Deployed
from lipviz.command.bench.networks import cnn
from lipviz.operators.autodiff import Jacobians

TRIED = (
    Arithmetic("float32"),
    Arithmetic("float16", "float32"),
    Arithmetic("bfloat16", "float32"),
    Arithmetic("float16"),
    Arithmetic("bfloat16"),
)
SHARES = (1 - 1e-9, 1 - 1e-6)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A network, and how it is trained."""

    make: object
    loss: object
    epochs: int
    scale: int = 0  # of pixels; 0 flattens the images


def mlp():
    """64-64-10 with ReLU."""
    dense = keras.layers.Dense
    return keras.Sequential([keras.Input((64,)), dense(64, "relu"), dense(64, "relu"), dense(10)])


def lipschitz_mlp():
    """64-64-10 with constrained kernels and sorting."""
    hidden = [layers.SpectralDense(64, activation=layers.GroupSort2()) for _ in range(2)]
    return lipviz.Sequential([keras.Input((64,)), *hidden, layers.FrobeniusDense(10)])


SETTINGS = {
    "mlp": Setting(mlp, keras.losses.SparseCategoricalCrossentropy(from_logits=True), 30),
    "lipschitz mlp": Setting(lipschitz_mlp, losses.TauSparseCategoricalCrossentropy(20.0), 20),
    "cnn": Setting(lambda: cnn("plain"), keras.losses.SparseCategoricalCrossentropy(from_logits=True), 4, 3),
    "lipschitz cnn": Setting(lambda: cnn("lipviz"), losses.TauSparseCategoricalCrossentropy(20.0), 4, 3),
}


def images(x, scale):
    """Digits as vectors, or enlarged to 28 × 28 pixels."""
    if not scale:
        return x.reshape(len(x), -1)
    return np.pad(np.kron(x, np.ones((1, scale, scale, 1), x.dtype)), ((0, 0), (2, 2), (2, 2), (0, 0)))


def trained(setting, x, y):
    """A network fitted to images."""
    keras.utils.set_random_seed(0)
    model = setting.make()
    model.compile(keras.optimizers.Adam(1e-3), setting.loss)
    model.fit(x, y, epochs=setting.epochs, batch_size=64, verbose=0)
    lipviz.model.refresh(model)
    return model


def table(model, x, y):
    """Print a row for each arithmetic; returns the results in float32."""
    exact = certified_radius(model, x, y)
    print(f"accuracy {exact.accuracy:.3f}, mean radius {exact.mean_radius:.4f} in float64", flush=True)
    print(f"{'arithmetic':28}{'mean radius':>12}{'lost':>9}{'became 0':>10}{'at .25':>8}{'CPU ms':>8}")
    had = exact.radii > 0
    found = {}
    for arithmetic in TRIED:
        began = time.process_time()
        radii = certified_radius(model, x, y, arithmetic=arithmetic)
        milliseconds = 1000 * (time.process_time() - began) / len(x)
        lost, gone = 1 - radii.mean_radius / exact.mean_radius, (radii.radii[had] == 0).mean()
        name = f"{arithmetic.dtype}, sums in {arithmetic.accumulation}"
        numbers = f"{radii.mean_radius:12.4f}{lost:9.2%}{gone:10.1%}{radii.accuracy_at(0.25).certified[0]:8.3f}"
        print(f"{name:28}{numbers}{milliseconds:8.2f}", flush=True)
        found[arithmetic] = radii
    return found


def ends(x, radius, directions, rng):
    """Points near the rim of a ball in some directions, and their neighbours in float32."""
    for direction in directions:
        for share in SHARES:
            point = x + share * radius * direction
            yield point
            near = np.float32(point)
            yield near + rng.integers(-1, 2, near.shape) * np.spacing(np.abs(near)).astype(np.float64)


def slopes(jacobian, chosen):
    """Directions in which each other logit gains on the chosen one, as fast as it can, of norm 1."""
    gains = np.delete(jacobian - jacobian[chosen], chosen, axis=0)
    return gains / np.maximum(np.linalg.norm(gains, axis=1, keepdims=True), 1e-30)


def flips(model, arithmetic, found, x, count, seed=0):
    """The tuple (attacks, decisions that change) of a search inside of the radii."""
    rng, network = np.random.default_rng(seed), Deployed(model, arithmetic, x.shape[1:]).network
    classes = found.bounds.shape[0]
    rows = np.flatnonzero(found.radii > 0)[: 1 + count // (len(SHARES) * (classes - 1))]
    groups = Jacobians(logits_model(model), x[rows].astype(np.float64), np.eye(classes)).groups()
    tried = changed = 0
    for row, jacobian in zip(rows, (each for group in groups for each in group), strict=True):
        if tried >= count:
            break
        center, radius, chosen = x[row].reshape(-1).astype(np.float64), found.radii[row], found.predicted[row]
        points = np.array(list(ends(center, radius, slopes(jacobian, chosen), rng)))
        points = points[np.linalg.norm(points - center, axis=1) < radius]
        logits = network(points.reshape(-1, *x.shape[1:]).astype(np.float32), training=False)
        decided = np.asarray(ops.convert_to_numpy(ops.cast(logits, "float32"))).argmax(axis=1)
        tried, changed = tried + len(points), changed + int((decided != chosen).sum())
    return tried, changed


def main(arguments=None):
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="which networks")
    parser.add_argument("--attacks", type=int, default=10_000, help="attacks on each network and arithmetic")
    chosen = parser.parse_args(arguments)
    (x_train, y_train), (x_test, y_test) = data.digits()
    total = 0
    for name in chosen.network:
        setting = SETTINGS[name]
        model = trained(setting, images(x_train, setting.scale), y_train)
        x = images(x_test, setting.scale)
        print(f"\n{name}: {len(x)} samples", flush=True)
        for arithmetic, found in table(model, x, y_test).items():
            if chosen.attacks and (found.radii > 0).any():
                tried, changed = flips(model, arithmetic, found, x, chosen.attacks)
                print(f"{arithmetic.dtype}, sums in {arithmetic.accumulation}: {tried} attacks, {changed} flips")
                total += changed
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
