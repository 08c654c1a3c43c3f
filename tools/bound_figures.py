"""The figures of the bounds of several steps together: against the product, LipSDP, exact arithmetic and attacks.

    python -m tools.bound_figures [PART ...] [--attacks N]

Prints one table in Markdown for each part, all in one run. Times are those of processors:

* digits: certified accuracy at ε = .25 of 64-64-10 networks with ReLU, trained without regularization; and a search
  for flips inside of their local radii, by the networks as deployed in float32.
* tour: the two networks of the first lesson, and how long a local radius takes.
* random: bounds of random networks of ten layers (He), over the product.
* cnn: the CNN of the benchmark, plain Keras, without a matrix of a whole layer's map.
* lipsdp: small random networks, beside LipSDP-Neuron by an interior-point method.
* exact: small networks in rational arithmetic: their constants, and the errors of their logits.

The exit status is 1 where a figure misses its aim.
"""

import argparse
import sys
import time

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import lipviz
from lipviz import data, layers, losses
from lipviz.certification import Arithmetic, certified_radius
from lipviz.certification.deployed import Deployed
from lipviz.command.bench.networks import cnn
from tools.lipsdp import lipsdp
from tools.radii_in_arithmetic import flips
from tools.rational import exact_logits, exceeds, fractions

EPSILON = 0.25
METHODS = ("product", "auto", "tight")
SMALL = ((5, 8, 7, 9, 3), (10, 16, 16, 4), (10, 24, 24, 10))


def table(title, names):
    """Print the head of a table."""
    print(f"\n**{title}**\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}", flush=True)


def row(*cells):
    """Print a row; numbers with three digits."""
    print("| " + " | ".join(cell if isinstance(cell, str) else f"{cell:.3g}" for cell in cells) + " |", flush=True)


def timed(function):
    """The tuple (result of a call, seconds of processor time that it took)."""
    began = time.process_time()
    return function(), time.process_time() - began


# --- networks ---


def digits_split():
    """Images as vectors in [0, 1]: 1,347 for training, 450 for tests."""
    x, y = load_digits(return_X_y=True)
    return train_test_split((x / 16).astype("float32"), y.astype("int32"), test_size=450, random_state=0, stratify=y)


def digits_network(seed, x, y):
    """64-64-10 with ReLU, after 100 epochs of Adam at 1e-3."""
    keras.utils.set_random_seed(seed)
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((64,)), dense(64, "relu"), dense(64, "relu"), dense(10)])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=100, verbose=0)
    return model


def random_network(widths, seed):
    """Dense layers with ReLU, with normal weights of variance 2/inputs (He)."""
    keras.utils.set_random_seed(seed)
    dense, he = keras.layers.Dense, keras.initializers.HeNormal(seed)
    inner = [dense(n, "relu", kernel_initializer=he.clone()) for n in widths[1:-1]]
    model = keras.Sequential([keras.Input(widths[:1]), *inner, dense(widths[-1], kernel_initializer=he.clone())])
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.kernel.assign(rng.normal(0, np.sqrt(2 / layer.kernel.shape[0]), layer.kernel.shape))
    return model


def matrices(model):
    """The matrices of its dense layers, float64."""
    return [np.asarray(layer.kernel, np.float64).T for layer in model.layers]


def upper(model, method):
    """The tuple (bound, seconds)."""
    found, seconds = timed(lambda: lipviz.certify(model, method=method, search=False))
    return found.upper_bound, seconds


# --- parts: each returns whether its aim is reached ---


def digits(chosen):
    """Certified accuracy of three networks, and attacks inside of their radii."""
    x_train, x, y_train, y = digits_split()
    table(
        f"Digits, 64-64-10 with ReLU, certified at ε = {EPSILON}",
        ["seed", "accuracy", *METHODS, "local", "local, float32", "local, ms an image", "attacks", "flips"],
    )
    reached = True
    for seed in range(3):
        model = digits_network(seed, x_train, y_train)
        found = [certified_radius(model, x, y, method=method) for method in METHODS]
        local, seconds = timed(lambda: certified_radius(model, x, y, local=True))  # noqa: B023 - called at once
        deployed = certified_radius(model, x, y, local=True, arithmetic="float32")
        shares = [float(each.accuracy_at(EPSILON).certified[0]) for each in (*found, local, deployed)]
        tried, changed = flips(model, Arithmetic("float32"), deployed, x, -(-chosen.attacks // 3), seed)
        row(str(seed), local.accuracy, *shares, 1000 * seconds / len(x), str(tried), str(changed))
        reached &= shares[1] >= 0.45 and shares[3] >= 0.55 and not changed
        reached &= bool(np.all(local.radii >= found[1].radii))
    return reached


def tour(chosen):
    """Local radii of the networks of the first lesson."""
    (x_train, y_train), (x, y) = data.digits()
    table(
        "The networks of the first lesson, 128-64-10, on digits", ["network", "radius", "local radius", "ms an image"]
    )
    reached = True
    for name, dense, activation in (
        ("Dense, ReLU", keras.layers.Dense, keras.layers.ReLU),
        ("SpectralDense, GroupSort2", layers.SpectralDense, layers.GroupSort2),
    ):
        keras.utils.set_random_seed(0)
        inner = [keras.layers.Flatten(), dense(128), activation(), dense(64), activation(), dense(10)]
        model = lipviz.Sequential([keras.Input(x.shape[1:]), *inner])
        model.compile("adam", losses.TauCategoricalCrossentropy(10.0))
        model.fit(x_train, keras.utils.to_categorical(y_train, 10), batch_size=64, epochs=20, verbose=0)
        certified_radius(model, x[:2], y[:2], local=True)  # traces the network
        everywhere = certified_radius(model, x, y)
        local, seconds = timed(lambda: certified_radius(model, x, y, local=True))  # noqa: B023 - called at once
        row(name, everywhere.mean_radius, local.mean_radius, 1000 * seconds / len(x))
        reached &= bool(np.all(local.radii >= everywhere.radii))
    return reached


def random(chosen):
    """Bounds of ten layers over the product."""
    table("Random networks of ten layers", ["seed", "widths", "product", "product / auto", "product / tight", "s", "s"])
    reached = True
    for seed in range(5):
        widths = [int(n) for n in np.random.default_rng(seed).integers(64, 257, 10)]
        model = random_network((64, *widths[:9], 10), seed)
        (product, _), (auto, fast), (tight, slow) = (upper(model, method) for method in METHODS)
        row(str(seed), f"{min(widths)} to {max(widths)}", product, product / auto, product / tight, fast, slow)
        reached &= product / auto >= 8 and product / tight >= 10
    return reached


def convolutions(chosen):
    """The CNN of the benchmark."""
    table("The benchmark's CNN, plain Keras", ["product", "auto", "tight", "s, auto", "s, tight"])
    (product, _), (auto, fast), (tight, slow) = (upper(cnn("plain"), method) for method in METHODS)
    row(product, auto, tight, fast, slow)
    return max(fast, slow) <= 60 and tight <= auto <= product


def beside_lipsdp(chosen):
    """Small networks, with the time of each."""
    table(
        "Small random networks, ReLU",
        ["widths", "product", "auto", "tight", "LipSDP", "s, auto", "s, tight", "s, LipSDP"],
    )
    reached = True
    for widths in SMALL:
        model = random_network(widths, 0)
        (product, _), (auto, fast), (tight, slow) = (upper(model, method) for method in METHODS)
        reference, longest = timed(lambda: lipsdp(matrices(model)))  # noqa: B023 - called at once
        row("-".join(map(str, widths)), product, auto, tight, reference, fast, slow, longest)
        reached &= reference * (1 - 1e-4) <= tight <= 1.02 * reference
    return reached


def exact(chosen):
    """Constants and errors in rational arithmetic."""
    table("Rational arithmetic", ["what", "cases", "violations"])
    networks = [random_network((3, 4, 4, 2), seed) for seed in range(10)]
    wrong = sum(exceeds(matrices(model), upper(model, method)[0]) for model in networks for method in METHODS[1:])
    row("constants of 3-4-4-2, all 256 patterns of neurons", str(2 * len(networks)), str(wrong))
    count = violations = 0
    for dtype in ("float32", "float16", "bfloat16"):
        for seed in range(5):
            found = list(_errors_of_logits(dtype, seed))
            count, violations = count + len(found), violations + sum(found)
    row("errors of logits of 9-12-8-3 in float32, float16 and bfloat16", str(count), str(violations))
    return not wrong and not violations


def _errors_of_logits(dtype, seed):
    """For points of a ball and pairs of logits, whether the computed difference is off by more than is claimed."""
    plain = random_network((9, 12, 8, 3), seed)
    deployed = Deployed(plain, Arithmetic(dtype), (9,))
    rng, radius = np.random.default_rng(seed), 0.5
    x = 3 * rng.standard_normal((1, 9))
    bound = deployed.errors(x, np.array([[radius]]), np.array([1]))[0][0, :, 0]
    directions = rng.standard_normal((20, 9))
    points = x + radius * (1 - 1e-9) * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    logits = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(deployed.network(np.float32(points)), "float32")))
    for point, computed in zip(points, logits, strict=True):
        wanted, had = exact_logits(deployed.network, point), fractions(computed)
        for other in (0, 2):
            yield abs((had[1] - had[other]) - (wanted[1] - wanted[other])) > bound[other]


PARTS = {
    "digits": digits,
    "tour": tour,
    "random": random,
    "cnn": convolutions,
    "lipsdp": beside_lipsdp,
    "exact": exact,
}


def main(arguments=None):
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which: {', '.join(PARTS)}; all by default")
    parser.add_argument("--attacks", type=int, default=10_000, help="number of attacks")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"expected some of {', '.join(PARTS)}. Received: {', '.join(sorted(unknown))}")
    missed = [name for name in chosen.parts or PARTS if not PARTS[name](chosen)]
    print(f"\nMissed: {', '.join(missed)}" if missed else "\nEach aim is reached.")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
