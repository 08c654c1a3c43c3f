"""What a certified network reaches on Fashion-MNIST: accuracy against certified accuracy, for several values of τ.

    python -m tools.fashion_frontier [--taus T ...] [--epochs N] [--seeds S ...] [--validate] [--json FILE] ...

Trains the network of the published comparisons (two convolutions of 16 and 32 filters with 3x3 kernels, each followed
by a pooling by l2 norms, dense layers of 128 and 10 units) on all 60,000 images, and measures it on all 10,000 of the
test set, in float64. With `--validate`, settings can be chosen without a look at the test set: it trains on the first
50,000 images and measures on the other 10,000 of the training set. DeepFool attacks some images: the exit status is 1
where it comes closer than a certificate.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from lipviz import certification, data, operators
from lipviz.recipes import Recipe
from lipviz.recipes.networks import LAST
from lipviz.recipes.recipe import SCHEDULES

EPSILONS = (36 / 255, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Result:
    """One network. Shares are of all images it was measured on; the radius of an image that is wrong counts 0."""

    tau: float
    recipe: Recipe
    validated: bool
    accuracy: float
    certified: tuple[float, ...]
    by_root: tuple[float, ...]
    mean_radius: float
    attacked: int
    closest: float
    seconds: float


def recipe_of(arguments, tau, seed):
    """How a network is trained for the published comparisons: by Adam, with a cross-entropy."""
    return Recipe(
        (28, 28, 1),
        10,
        radius=0.5,
        epochs=arguments.epochs,
        layer_arguments={"bound": arguments.bound},
        last=arguments.last,
        loss="crossentropy",
        loss_arguments={"tau": tau},
        optimizer="adam",
        learning_rate=arguments.rate,
        schedule=arguments.schedule,
        seed=seed,
    )


def by_the_root(model, x, y):
    """Certified accuracy by the rule with √2 and the constant of the whole network."""
    logits = operators.float64_copy(model).predict(x, batch_size=512, verbose=0).astype(np.float64)
    rows, others = np.arange(len(x)), logits.copy()
    others[rows, y] = -np.inf
    constant = np.sqrt(2) * certification.certify(model, search=False).upper_bound
    radii = (logits[rows, y] - others.max(axis=1)) / constant
    return tuple(float(np.mean(radii > epsilon)) for epsilon in EPSILONS)


def split(images, validated):
    """What to train on and what to measure on."""
    (x, y), test = images
    return ((x[:50_000], y[:50_000]), (x[50_000:], y[50_000:])) if validated else ((x, y), test)


def run(images, tau, recipe, validated, attacked):
    """Train one network, and measure it."""
    (x, y), (x_test, y_test) = split(images, validated)
    model, report = recipe.train(x, y, (x_test, y_test), verbose=0)
    radii = report.radii.radii
    closest = np.inf
    if attacked:
        found = certification.attack(model, x_test[:attacked], y_test[:attacked], method="deepfool").found
        safe = radii[:attacked] > 0
        closest = float(np.min(found[safe] / radii[:attacked][safe], initial=np.inf))
    return Result(
        tau=tau,
        recipe=recipe,
        validated=validated,
        accuracy=report.accuracy,
        certified=tuple(report.certified_at(EPSILONS)),
        by_root=by_the_root(model, x_test, y_test),
        mean_radius=report.radii.mean_radius,
        attacked=attacked,
        closest=closest,
        seconds=report.seconds,
    )


def row(result):
    """A line of the table."""
    shares = " ".join(f"{share:8.4f}" for share in result.certified)
    return (
        f"{result.tau:6g} {result.recipe.seed:5d} {result.accuracy:9.4f} {shares} {result.by_root[1]:13.4f} "
        f"{result.mean_radius:12.3f} {result.closest:14.2f} {result.seconds:8.0f}"
    )


def arguments_of_the_command():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--taus", type=float, nargs="+", default=[1, 2.5, 6, 10, 30])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--bound", choices=["tight", "coverage"], default="tight", help="of the convolutions")
    parser.add_argument("--last", choices=LAST, default="FrobeniusDense", help="kind of the last layer")
    parser.add_argument("--schedule", choices=SCHEDULES, default="cosine", help="of the learning rate")
    parser.add_argument("--rate", type=float, default=2e-2, help="the learning rate, or its peak")
    parser.add_argument("--validate", action="store_true", help="measure on images that were kept from training")
    parser.add_argument("--attacked", type=int, default=200, help="images that DeepFool attacks")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    return parser.parse_args()


def main():
    arguments = arguments_of_the_command()
    images = data.fashion_mnist()
    print(recipe_of(arguments, arguments.taus[0], arguments.seeds[0]))
    print("certified at 36/255, 0.5 and 1.0 (l2 norm)", "of images kept from training" * arguments.validate)
    print("   tau  seed  accuracy   36/255      0.5      1.0  0.5, rule √2  mean radius  attack/radius  seconds")
    results = []
    for tau in arguments.taus:
        for seed in arguments.seeds:
            recipe = recipe_of(arguments, tau, seed)
            results.append(run(images, tau, recipe, arguments.validate, arguments.attacked))
            print(row(results[-1]), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps([dataclasses.asdict(one) for one in results], indent=1))
    return 0 if all(one.closest >= 1 for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
