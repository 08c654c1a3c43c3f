"""Trains and measures one network of the benchmark, and makes a row of it."""

import datetime
import os
import platform
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from lipviz import certification
from lipviz._version import __version__
from lipviz.command.bench.certified.plan import ATTACKED, EPSILONS, VALIDATION, Run
from lipviz.data import Split
from lipviz.recipes.results import Report

PGD_STEPS, PGD_STARTS = 40, 1


def part(images: Split, validated: bool) -> Split:
    """What to train on, and what to measure on."""
    (x, y), test = images
    if not validated:
        return (x, y), test
    return (x[:-VALIDATION], y[:-VALIDATION]), (x[-VALIDATION:], y[-VALIDATION:])


def measured(run: Run, images: Split, verbose: Any = 0) -> dict[str, Any]:
    """Trains a network, certifies it, attacks it, and returns its row.

    Args:
        run: What to train.
        images: Fashion-MNIST, as `lipviz.data.fashion_mnist` returns it.
        verbose: As in `keras.Model.fit`.

    Raises:
        KeyboardInterrupt: If Ctrl-C ends the training: a network that was trained for a shorter time is no row.
        RuntimeError: If an attack changes a decision within a certified radius: then a certificate is false.
    """
    (x, y), (x_test, y_test) = part(images, run.validated)
    model, report = run.recipe.train(x, y, (x_test, y_test), verbose=verbose)
    if report.interrupted:
        raise KeyboardInterrupt
    return row(run, model, report, x_test, y_test)


def row(run: Run, model: keras.Model, report: Report, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The row of a trained network; see `measured` for errors."""
    sizes = list(EPSILONS.values())
    certified = dict(zip(EPSILONS, report.certified_at(sizes), strict=True))
    deepfool, pgd = attacked(model, report.radii.radii[:ATTACKED], x[:ATTACKED], y[:ATTACKED])
    return {
        "hash": run.hash,
        "library": run.library,
        "layer": run.layer,
        "loss": run.recipe.loss,
        "budget": run.budget,
        "seed": run.recipe.seed,
        "measured_on": run.measured_on,
        "accuracy": report.accuracy,
        "certified": certified,
        "mean_radius": report.radii.mean_radius,
        "deepfool": deepfool,
        "pgd": pgd,
        "constant": report.constant,
        "epochs": report.epochs,
        "seconds": round(report.seconds, 1),
        "processor_seconds": round(report.processor_seconds, 1),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "settings": run.settings,
    }


def versions() -> dict[str, Any]:
    """With what it was measured."""
    return {
        "lipviz": __version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def attacked(
    model: keras.Model, radii: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """Accuracy under DeepFool and under PGD for each size of the change; see `measured` for errors."""
    found = certification.attack(model, x, y, method="deepfool")
    _check(found, radii)
    shares = found.accuracy_at(list(EPSILONS.values()))
    deepfool = {name: float(share) for name, share in zip(EPSILONS, shares, strict=True)}
    pgd = {}
    for name, epsilon in EPSILONS.items():
        found = certification.attack(model, x, y, epsilon, "pgd", PGD_STEPS, PGD_STARTS)
        _check(found, radii)
        pgd[name] = 1 - found.success_rate
    return deepfool, pgd


def _check(found, radii):
    broken = int(np.sum(found.success & (found.distances < radii)))
    if broken:
        raise RuntimeError(f"{found.method} changed {broken} decisions within their certified radii: they are not true")


Measure = Callable[[Run, Split], dict[str, Any]]
