"""The data of certificates: bounds of layers and certified radii. The proofs are computed elsewhere."""

import dataclasses
import math
from typing import Any, Protocol

import numpy as np

from lipviz.certification.provenance import RadiiOrigin
from lipviz.rules.bound import Bound
from lipviz.rules.used import to_numpy
from lipviz.types import Array, ArrayLike

EPSILONS = (0.0, 36 / 255, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class LayerBound:
    """The Lipschitz constant of one step of a model, from below and from above, with respect to its own input.

    Attributes:
        name: Name of the layer, after the names of the models that contain it; its activation is a step of its own.
        kind: Class of the layer or of the operation.
        lower: Lower bound of the constant.
        upper: Upper bound of the constant; infinite where none is known.
        method: How the upper bound was found, or why there is none.
        milliseconds: Time that the bound took.
    """

    name: str
    kind: str
    lower: float
    upper: float
    method: str
    milliseconds: float

    @property
    def attained(self) -> bool:
        """Whether the upper bound is the constant itself, to 1e-6."""
        return Bound(self.lower, self.upper, self.method).attained

    def to_dict(self) -> dict[str, Any]:
        """All fields as a dict, and `attained`; infinity is None."""
        return {**dataclasses.asdict(self), "upper": finite_or_none(self.upper), "attained": self.attained}


@dataclasses.dataclass(frozen=True)
class StretchBound:
    """The Lipschitz constant of several steps of a model together, smaller than what their own bounds give.

    Attributes:
        steps: Names of the steps that are bounded together, without the functions between them: a tuple.
        upper: Upper bound of the constant, with respect to the value that the first of them takes.
        product: The bound that was known before.
        method: How it was found.
        milliseconds: Time that it took.
    """

    steps: tuple[str, ...]
    upper: float
    product: float
    method: str
    milliseconds: float

    @property
    def name(self) -> str:
        """The first and the last step."""
        return self.steps[0] if len(self.steps) == 1 else f"{self.steps[0]} → {self.steps[-1]}"

    def to_dict(self) -> dict[str, Any]:
        """All fields as a dict; infinity is None."""
        return {
            **dataclasses.asdict(self),
            "steps": list(self.steps),
            "upper": finite_or_none(self.upper),
            "product": finite_or_none(self.product),
        }


def finite_or_none(value: float) -> float | None:
    """The number, or None for infinity, which JSON does not have."""
    return None if value == math.inf else value


@dataclasses.dataclass(frozen=True, eq=False)
class CertifiedRadii:
    """Certified radius of each of n samples.

    Attributes:
        radii: Of shape (n,), float64, in the units of the input: no change of a smaller l2 norm changes the decision.
            0 for a misclassified sample, where labels are known, and for a tie. Infinite where two logits differ by a
            constant.
        predicted: Predicted class, of shape (n,); 0 or 1 with one output.
        margins: Difference of the largest and the second largest logit, or magnitude of the one output: (n,), float64.
        labels: True classes, of shape (n,); None where they are not known.
        bounds: Lipschitz constants of the differences of logits, of shape (C, C).
        origin: The model and samples that they belong to; None where `certified_radius` did not make them.
    """

    radii: Array = dataclasses.field(repr=False)
    predicted: Array = dataclasses.field(repr=False)
    margins: Array = dataclasses.field(repr=False)
    labels: Array | None = dataclasses.field(repr=False)
    bounds: Array = dataclasses.field(repr=False)
    origin: RadiiOrigin | None = dataclasses.field(default=None, repr=False)

    def __len__(self):
        return len(self.radii)

    def __str__(self):
        origin = self.origin
        covered = "" if origin is None or not origin.arithmetic else f" They hold in {origin.arithmetic}"
        return f"Certified radii of {len(self)} samples, {self.mean_radius:.6g} in the mean.{covered}"

    @property
    def correct(self) -> Array | None:
        """Whether each sample is classified correctly, of shape (n,); None where labels are not known."""
        return None if self.labels is None else self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """Share of the samples that are classified correctly.

        Raises:
            ValueError: If labels are not known.
        """
        return float(self._known_correct().mean())

    def _known_correct(self) -> Array:
        if self.correct is None:
            raise ValueError("The accuracy needs labels. Expected certified_radius(model, x, y). Received: no y.")
        return self.correct

    @property
    def mean_radius(self) -> float:
        """Mean of the radii; where labels are known, a misclassified sample counts 0."""
        return float(self.radii.mean())

    @property
    def median_radius(self) -> float:
        """Median of the radii."""
        return float(np.median(self.radii))

    def accuracy_at(self, epsilons: ArrayLike = EPSILONS) -> "CertifiedAccuracy":
        """Certified accuracy: share of samples that are correct, and stay so for every change up to ε.

        Args:
            epsilons: Sizes of changes in the l2 norm, finite and at least 0: a number or an array of shape (m,).

        Returns:
            A `CertifiedAccuracy`.

        Raises:
            TypeError: If the sizes are not real numbers.
            ValueError: If labels are not known, or a size is out of its range.
        """
        epsilons = check_epsilons(epsilons)
        accuracy = self.accuracy
        safe = self._known_correct() & (self.radii > epsilons[:, None])
        return CertifiedAccuracy(epsilons, safe.mean(axis=1), accuracy, len(self))


class _Attacked(Protocol):
    """What `CertifiedAccuracy.beside` reads of a `lipviz.certification.Attack`, whose module needs this one."""

    def __len__(self) -> int: ...

    def accuracy_at(self, epsilons: ArrayLike) -> Array: ...


@dataclasses.dataclass(frozen=True, eq=False)
class CertifiedAccuracy:
    """Share of samples that no change up to ε can misclassify, for several ε.

    Attributes:
        epsilons: Of shape (m,), in the units of the input.
        certified: Share of samples that are correct and whose radius exceeds ε, of shape (m,). At ε = 0 that is the
            accuracy with ties counted as wrong.
        accuracy: Share of samples that are correct.
        samples: Number of samples.
        empirical: Share of samples that an attack up to ε left correct, of shape (m,); None where there was none. The
            share that no attack can break lies between the two.
    """

    epsilons: Array
    certified: Array
    accuracy: float
    samples: int
    empirical: Array | None = None

    def beside(self, attacked: _Attacked) -> "CertifiedAccuracy":
        """A copy that has the accuracy under attack, too.

        Args:
            attacked: An `Attack` on the same samples with their labels, which was allowed every ε.

        Returns:
            A `CertifiedAccuracy`.

        Raises:
            ValueError: If it has another number of samples.
        """
        if len(attacked) != self.samples:
            raise ValueError(f"Expected an attack on the same {self.samples} samples. Received: {len(attacked)}")
        return dataclasses.replace(self, empirical=attacked.accuracy_at(self.epsilons))


def check_epsilons(epsilons: ArrayLike, owner: str = "epsilons") -> Array:
    """Sizes of changes as a float64 array of shape (m,).

    Raises:
        TypeError: If they are not real numbers.
        ValueError: If there is none, or one is negative, infinite or NaN.
    """
    array = to_numpy(epsilons)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"`{owner}` must hold real numbers. Received: {epsilons!r}")
    array = np.atleast_1d(array.astype(np.float64))
    if array.ndim != 1 or array.size == 0 or not np.all((array >= 0) & np.isfinite(array)):
        raise ValueError(f"`{owner}` must hold finite numbers of at least 0, in one axis. Received: {epsilons!r}")
    return array
