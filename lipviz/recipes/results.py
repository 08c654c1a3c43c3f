"""What a recipe returns: the trained model, and a report of what is proved about it."""

import dataclasses
from typing import Any, NamedTuple

import keras

from lipviz._version import __version__
from lipviz.certification import Certificate, CertifiedRadii
from lipviz.types import ArrayLike


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """What a trained classifier reaches on samples that it was not trained on.

    Attributes:
        recipe: The `Recipe` that was followed.
        radii: Certified radius of each of these samples, with its constants for pairs of classes.
        certificate: The bound of the Lipschitz constant of the whole network.
        trained: Number of samples that it was trained on.
        epochs: Number of epochs that were trained; a fraction where Ctrl-C ended it.
        seconds: Time of the training.
        processor_seconds: The same in time of processors, all cores together, which other work disturbs less.
        interrupted: Whether Ctrl-C ended it.
    """

    recipe: Any
    radii: CertifiedRadii = dataclasses.field(repr=False)
    certificate: Certificate = dataclasses.field(repr=False)
    trained: int
    epochs: float
    seconds: float
    processor_seconds: float
    interrupted: bool

    @property
    def accuracy(self) -> float:
        """Share of the samples that are classified correctly."""
        return self.radii.accuracy

    @property
    def constant(self) -> float:
        """Proved upper bound of the Lipschitz constant of the network, in the l2 norm."""
        return float(self.certificate.upper_bound)

    def certified_at(self, epsilons: ArrayLike) -> list[float]:
        """Share of the samples that are correct and stay so under every change of each size.

        Args:
            epsilons: Sizes in the l2 norm, finite and at least 0.
        """
        return [float(share) for share in self.radii.accuracy_at(epsilons).certified]

    def to_dict(self) -> dict[str, Any]:
        """All figures as a dict that JSON can hold; the certified accuracies are those for the recipe's sizes."""
        sizes = self.recipe.epsilons
        return {
            "accuracy": self.accuracy,
            "certified": dict(zip((f"{size:.4g}" for size in sizes), self.certified_at(sizes), strict=True)),
            "mean_radius": self.radii.mean_radius,
            "constant": self.constant,
            "measured": len(self.radii),
            "trained": self.trained,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "processor_seconds": self.processor_seconds,
            "seed": self.recipe.seed,
            "interrupted": self.interrupted,
            "versions": {"lipviz": __version__, "keras": keras.__version__, "backend": keras.backend.backend()},
        }

    def __str__(self) -> str:
        ended = ", ended by Ctrl-C" if self.interrupted else ""
        shares = zip(self.recipe.epsilons, self.certified_at(self.recipe.epsilons), strict=True)
        lines = [
            f"Trained on {self.trained:,} samples for {self.epochs:.4g} of {self.recipe.epochs} epochs{ended}: "
            f"{self.seconds:.0f} s, seed {self.recipe.seed}",
            f"Measured on {len(self.radii):,} other samples:",
            f"  correct                                      {self.accuracy:.4f}",
            *(f"  and no change up to {size:<7.4g} alters the class  {share:.4f}" for size, share in shares),
            f"  certified radius in the mean                 {self.radii.mean_radius:.4g}",
            f"Lipschitz constant of the network: at most {self.constant:.6g}",
        ]
        return "\n".join(lines)


class Result(NamedTuple):
    """A trained model and what is proved about it: `model, report = result`.

    `model` is the trained `lipviz.Sequential`, with logits as outputs, and `report` a `Report`.
    """

    model: keras.Model
    report: Report
