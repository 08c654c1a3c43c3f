"""The losses of a recipe, with settings that ask for a given radius."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import keras

from lipviz import losses


class Objective(NamedTuple):
    """A loss, and what it is told for a radius r.

    Attributes:
        loss: Class in `lipviz.losses`, for one-hot labels.
        settings: Function from r to the arguments of the class, chosen on validation images of Fashion-MNIST for
            r = 0.5 (`python -m tools.loss_settings`; the page "Certified accuracy" has the table). If inputs and r are
            multiplied by a number, so is the loss, and the training stays as it is: lengths are multiples of r, and τ
            is one of 1/r.
        words: What it asks for.
    """

    loss: type[keras.Loss]
    settings: Callable[[float], dict[str, float]]
    words: str


LOSSES: Mapping[str, Objective] = {
    "offset": Objective(
        losses.OffsetCategoricalCrossentropy,
        lambda r: {"tau": 6 / r, "offset": 1.25 * r},
        "a lead of the true class of about the offset",
    ),
    "annealing": Objective(
        losses.LogitAnnealing,
        lambda r: {"temperature": r / 10, "offset": 1.25 * r, "gamma": 2.0},
        "that lead too, with hardly any gradient from samples that have it",
    ),
    "emma": Objective(
        losses.EMMACategoricalCrossentropy,
        lambda r: {"tau": 6 / r, "offset": 1.0 * r},
        "a lead of at most the offset, as far as a sample has come",
    ),
    "crossentropy": Objective(
        losses.TauCategoricalCrossentropy, lambda r: {"tau": 2 / r}, "a lead of a few times 1/τ, without an offset"
    ),
    "hkr": Objective(
        losses.MulticlassHKR,
        lambda r: {"alpha": 1000.0, "min_margin": r},
        "a margin, and large differences between the means of the classes",
    ),
    "lse_hkr": Objective(
        losses.LseHKRMulticlassLoss,
        lambda r: {"alpha": 0.995, "min_margin": r},
        "the same, against a soft maximum of the other classes",
    ),
    "soft_hkr": Objective(
        losses.SoftHKRMulticlassLoss,
        lambda r: {"alpha": 0.995, "min_margin": r, "temperature": 0.5 / r},
        "the same, against the other classes with the weights of a softmax",
    ),
    "margin": Objective(losses.MultiMargin, lambda r: {"min_margin": r}, "a lead of the radius, and no more"),
}
"""The losses that a recipe knows by name."""


def check_name(what: str, name: Any, names: Iterable[str]) -> None:
    """Refuses an unknown name, and says which there are."""
    names = sorted(names)
    if name in names:
        return
    close = difflib.get_close_matches(str(name), names, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"`{what}` must be one of {', '.join(names)}. Received: {what}={name!r}.{guess}")


def make_loss(name: str, radius: float, overrides: Mapping[str, Any]) -> keras.Loss:
    """The loss of a name, with the settings for a radius, except for those that are given.

    Raises:
        ValueError: If the loss has no setting of that name, or its value is out of range.
    """
    objective = LOSSES[name]
    settings = objective.settings(radius)
    unknown = sorted(set(overrides) - set(settings))
    if unknown:
        raise ValueError(
            f"`loss_arguments` of {name!r} may hold {', '.join(settings)}. Received: {', '.join(map(repr, unknown))}"
        )
    return objective.loss(**{**settings, **overrides})
