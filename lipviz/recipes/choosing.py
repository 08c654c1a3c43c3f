"""Chooses a recipe for a data set and a budget, and says why."""

import dataclasses
import math
import time
from typing import Any

import keras

from lipviz import normalizers as nm
from lipviz.recipes.recipe import Recipe
from lipviz.recipes.results import Result
from lipviz.recipes.samples import Samples, check_seed
from lipviz.types import ArrayLike

_STEPS = 1200  # of a training whose length nobody has chosen
_FEWEST_EPOCHS = 5
_TIMED, _UNTIMED = 10, 3  # steps that are measured for a budget in minutes, and steps before them, which compile
_GIVEN = "as you said"


def choose(
    x: ArrayLike,
    y: ArrayLike,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    radius: float | None = None,
    layer: str | None = None,
    loss: str | None = None,
    seed: int = 0,
) -> Recipe:
    """Chooses network, loss, schedule, augmentation and certificate for a data set and a budget. Trains nothing.

    Args:
        x: Training samples: rows of shape (n, features), series of shape (n, length, channels), or images of shape
            (n, height, width, channels) with values of about 0 to 1. At least 10.
        y: Class numbers of shape (n,) or (n, 1), or one-hot labels of shape (n, C).
        epochs: Number of epochs. With None, as many as make about 1,200 steps, at least 5.
        minutes: In the place of `epochs`: how long the training may take on this machine. Some steps of a network that
            is thrown away are measured for it, so the length of the training is only about this.
        radius: l2 norm of the changes that decisions should withstand, in the units of `x`. With None, a tenth of the
            median distance from a sample to the nearest of another class.
        layer: Name of a layer of `lipviz.layers` that gives the network its kind, such as "AOLConv2D" or "CayleyDense".
        loss: Name in `LOSSES`.
        seed: Seed of everything that is random.

    Returns:
        A `Recipe`. `print(recipe)` says what was chosen and why.

    Raises:
        TypeError: If something is no number.
        ValueError: If the data do not fit, a name is not known, or a budget is not positive.
    """
    samples, seed = Samples.of(x, y), check_seed(seed)
    if epochs is not None and minutes is not None:
        raise ValueError(f"Expected `epochs` or `minutes`, not both. Received: epochs={epochs!r}, minutes={minutes!r}")
    if minutes is not None:
        nm.check_positive("minutes", minutes)
    batch = min(256, max(8, 2 ** int(math.log2(max(1, len(samples) / 20)))))
    steps = -(-len(samples) // batch)
    usual = max(_FEWEST_EPOCHS, round(_STEPS / steps))
    chosen: dict[str, tuple[Any, str]] = {
        "radius": _radius(samples, radius, seed),
        "layer": _layer(layer, len(samples.shape)),
        "loss": ("offset", "") if loss is None else (loss, _GIVEN),
        "epochs": (usual, f"about {usual * steps:,} steps") if epochs is None else (epochs, _GIVEN),
        "batch_size": (batch, f"{steps:,} steps in an epoch of {len(samples):,} samples"),
    }
    fields = {name: value for name, (value, _) in chosen.items()}
    recipe = Recipe(samples.shape, samples.classes, seed=seed, reasons=chosen, **fields)
    return recipe if minutes is None else _within(recipe, samples, minutes)


def _radius(samples, radius, seed):
    if radius is not None:
        return nm.check_positive("radius", radius), _GIVEN
    distance = samples.distance_of_classes(seed)
    if not distance > 0:
        raise ValueError("Expected a `radius`: most samples have a copy in another class. Received: radius=None")
    tenth = float(f"{distance / 10:.2g}")
    return tenth, f"a tenth of the distance to the nearest sample of another class, {distance:.3g} in the median"


def _layer(layer, axes):
    if layer is not None:
        return layer, _GIVEN
    if axes == 2:
        return "SpectralConv1D", "orthogonal kernels, for series of any length"
    if axes == 3:
        return "SpectralConv2D", "orthogonal kernels, for images of any size"
    return "SpectralDense", "orthogonal: keeps the norms of gradients"


def _within(recipe, samples, minutes):
    """The recipe with as many epochs as fit into the minutes, at least one."""
    model = recipe.compiled(len(samples))
    rows = slice(recipe.batch_size)
    batch = [keras.ops.convert_to_tensor(part[rows]) for part in (samples.x, samples.hot)]
    for _ in range(_UNTIMED):
        model.train_on_batch(*batch)
    began = time.perf_counter()
    for _ in range(_TIMED):
        model.train_on_batch(*batch)
    step = (time.perf_counter() - began) / _TIMED
    epochs = max(1, int(60 * minutes / (step * -(-len(samples) // recipe.batch_size))))
    words = f"{minutes:g} minutes, as you said, at {1e3 * step:.3g} ms a step"
    return dataclasses.replace(recipe, epochs=epochs, reasons={**recipe.reasons, "epochs": (epochs, words)})


def train_classifier(
    x: ArrayLike,
    y: ArrayLike,
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    radius: float | None = None,
    layer: str | None = None,
    loss: str | None = None,
    seed: int = 0,
    verbose: Any = "auto",
) -> Result:
    """Chooses a recipe, says what it chose and why, trains, and measures what is proved about the classifier.

    It is `choose(x, y, ...).train(x, y, validation_data)`. Ctrl-C ends the training, and the model keeps what it has
    learned.

    Args:
        x: See `choose`.
        y: See `choose`.
        validation_data: (x, y) to measure on, once, after the training. With None, a random tenth of the training
            samples is held back for it.
        epochs: See `choose`.
        minutes: See `choose`.
        radius: See `choose`.
        layer: See `choose`.
        loss: See `choose`.
        seed: See `choose`.
        verbose: As in `keras.Model.fit`; with 0, nothing is printed.

    Returns:
        A `Result`: `model, report = train_classifier(...)`. `print(report)` writes all figures.

    Raises:
        TypeError: See `choose`.
        ValueError: See `choose`, or if `validation_data` does not fit.
    """
    recipe = choose(x, y, epochs=epochs, minutes=minutes, radius=radius, layer=layer, loss=loss, seed=seed)
    if verbose:
        print(recipe, flush=True)
    result = recipe.train(x, y, validation_data, verbose=verbose)
    if verbose:
        print(result.report, flush=True)
    return result
