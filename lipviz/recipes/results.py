"""What a recipe returns: the trained model, and a report of what is proved about it."""

import dataclasses
from typing import Any, NamedTuple

import keras

from lipviz.certification.certificate import rounded_up
from lipviz.recipes.evaluation import Evaluation


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Report(Evaluation):
    """What a trained classifier reaches on samples that it was not trained on: an `Evaluation` with its training.

    Attributes:
        recipe: The `Recipe` that was followed; its sizes of changes are those that are reported.
        trained: Number of samples that it was trained on.
        epochs: Number of epochs that were trained; a fraction where Ctrl-C ended it.
        seconds: Time of the training.
        processor_seconds: The same in time of processors, all cores together, which other work disturbs less.
        interrupted: Whether Ctrl-C ended it.
    """

    recipe: Any
    trained: int
    epochs: float
    seconds: float
    processor_seconds: float
    interrupted: bool

    def __post_init__(self) -> None:
        if not self.epsilons:
            object.__setattr__(self, "epsilons", self.recipe.epsilons)

    def to_dict(self) -> dict[str, Any]:
        """All figures as a dict that JSON can hold: those of an `Evaluation`, and those of the training."""
        return {
            **super().to_dict(),
            "trained": self.trained,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "processor_seconds": self.processor_seconds,
            "seed": self.recipe.seed,
            "interrupted": self.interrupted,
        }

    def __str__(self) -> str:
        ended = ", ended by Ctrl-C" if self.interrupted else ""
        lines = [
            f"Trained on {self.trained:,} samples for {self.epochs:.4g} of {self.recipe.epochs} epochs{ended}: "
            f"{self.seconds:.0f} s, seed {self.recipe.seed}",
            f"Measured on {len(self.radii):,} other samples:",
            *self.figures(),
            f"Lipschitz constant of the network: at most {rounded_up(self.constant)}",
        ]
        return "\n".join(lines)


class Result(NamedTuple):
    """A trained model and what is proved about it: `model, report = result`.

    `model` is the trained `lipviz.Sequential`, with logits as outputs, and `report` a `Report`.
    """

    model: keras.Model
    report: Report
