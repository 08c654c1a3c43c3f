"""What is proved about a classifier on samples, and what attacks find beside it."""

import dataclasses
import datetime
import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from lipviz import _extras, certification
from lipviz import normalizers as nm
from lipviz.certification import Attack, Certificate, CertifiedRadii
from lipviz.certification.arithmetic import Arithmetic
from lipviz.certification.certificate import rounded_down, rounded_up
from lipviz.certification.fingerprint import Fingerprint
from lipviz.certification.provenance import fingerprint_or_why, versions
from lipviz.certification.results import check_epsilons, finite_or_none
from lipviz.certification.scores import class_numbers, fitting
from lipviz.certification.tight import Method
from lipviz.data import Scaling
from lipviz.recipes.scaling import behind_scaling, scaling_error
from lipviz.types import Array, ArrayLike

_SHARES = (0.25, 0.5, 1.0, 2.0)  # of the median radius, that are reported
_AUTO = "auto"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """What a classifier reaches on samples that it was not trained on.

    If the first layer of the model scales its input, all lengths are those of scaled numbers, see `scaling`.

    Attributes:
        radii: Certified radius of each of n samples, with its constants for pairs of classes.
        certificate: The bound of the Lipschitz constant of the whole network.
        epsilons: Sizes of changes that are reported.
        local: Certified radii of the first m samples, with bounds near each of them; None if they were not computed.
        attacks: Attacks on these m samples: "deepfool", and "pgd" for each of the sizes; empty if there were none.
        tight: The bound of the constant by the method "tight"; None if it was not computed.
        scaling: How the first layer of the model scales its input.
        class_names: Names of the classes, in the order of the outputs; empty where they are not known.
        feature_names: Names of the features; empty where they are not known.
        source: Where the samples come from, in words.
        model: Name of the model.
        fingerprint: Hashes of the model; None where it could not be hashed.
        created: Date and time in UTC, as ISO 8601 writes it.
        versions: Versions of the packages that computed it, a dict.
        notes: What was assumed or left out, whole sentences.
    """

    radii: CertifiedRadii = dataclasses.field(repr=False)
    certificate: Certificate = dataclasses.field(repr=False)
    epsilons: tuple[float, ...] = ()
    local: CertifiedRadii | None = dataclasses.field(default=None, repr=False)
    attacks: tuple[Attack, ...] = dataclasses.field(default=(), repr=False)
    tight: Certificate | None = dataclasses.field(default=None, repr=False)
    scaling: Scaling = dataclasses.field(default_factory=Scaling.none)
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    source: str = ""
    model: str = ""
    fingerprint: Fingerprint | None = dataclasses.field(default=None, repr=False)
    created: str = ""
    versions: dict[str, str] = dataclasses.field(default_factory=versions, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of the samples that are classified correctly."""
        return self.radii.accuracy

    @property
    def constant(self) -> float:
        """Proved upper bound of the Lipschitz constant of the network, in the l2 norm."""
        return float(self.certificate.upper_bound)

    @property
    def compared(self) -> int:
        """The number m of samples with local bounds or attacks; 0 without both."""
        return max([0 if self.local is None else len(self.local), *map(len, self.attacks)])

    def first(self, count: int) -> CertifiedRadii:
        """The radii of the first samples."""
        found = self.radii
        rows = {name: getattr(found, name)[:count] for name in ("radii", "predicted", "margins", "labels")}
        return dataclasses.replace(found, **rows)

    @property
    def found(self) -> Array:
        """Norm of the smallest change that an attack found for each of the first m samples; infinite without one."""
        return np.minimum.reduce([attack.found for attack in self.attacks])

    @property
    def contradictions(self) -> int:
        """Number of samples with an attack within their certified radius: 0, unless something is wrong."""
        if not self.attacks:
            return 0
        proved = (self.first(self.compared) if self.local is None else self.local).radii
        return int((self.found < proved).sum())

    def certified_at(self, epsilons: ArrayLike) -> list[float]:
        """Share of the samples that are correct and stay so under every change of each size.

        Args:
            epsilons: Sizes in the l2 norm, finite and at least 0.
        """
        return [float(share) for share in self.radii.accuracy_at(epsilons).certified]

    def locally_certified_at(self, epsilons: ArrayLike) -> list[float] | None:
        """The same for the first m samples, with bounds near each of them; None if they were not computed."""
        return None if self.local is None else [float(v) for v in self.local.accuracy_at(epsilons).certified]

    def attacked_at(self, epsilons: ArrayLike) -> list[float] | None:
        """Share of the first m samples that the attacks left correct; None without attacks."""
        if not self.attacks:
            return None
        return [float(share) for share in (self.found > check_epsilons(epsilons)[:, None]).mean(axis=1)]

    def to_dict(self) -> dict[str, Any]:
        """All figures as a dict that JSON can hold. Numbers are not rounded, and infinity is None.

        * "accuracy", "mean_radius", "median_radius", "smallest_radius" (of the samples that are correct);
        * "constant", and with it "constant_found" by search and "constant_tight", where they were computed;
        * "measured", the number of samples, and "radii", one for each; "predicted" and "labels" likewise;
        * "certified", "certified_near" (with local bounds) and "attacked": shares by the size of the change;
        * "compared": number of samples of the last two, and "distances", what attacks found for them;
        * "arithmetic": the arithmetic that radii hold in;
        * "scaling": "offset", "scale" and "unit" of what the first layer does;
        * "classes", "features", "source", "model", "fingerprint", "created", "versions", "notes".
        """
        sizes = self.epsilons
        right = self.radii.radii[self.radii.predicted == self.radii.labels]
        figures = {
            "accuracy": self.accuracy,
            "certified": _by_size(sizes, self.certified_at(sizes)),
            "mean_radius": finite_or_none(self.radii.mean_radius),
            "median_radius": finite_or_none(self.radii.median_radius),
            "smallest_radius": finite_or_none(float(right.min())) if len(right) else None,
            "constant": finite_or_none(self.constant),
            "measured": len(self.radii),
        }
        if self.certificate.lower_bound:
            figures["constant_found"] = self.certificate.lower_bound
        if self.tight is not None:
            figures["constant_tight"] = finite_or_none(self.tight.upper_bound)
        return {**figures, **self._beside(), **self._origin()}

    def _beside(self):
        near, left = self.locally_certified_at(self.epsilons), self.attacked_at(self.epsilons)
        figures: dict[str, Any] = {"compared": self.compared}
        if near is not None:
            figures["certified_near"] = _by_size(self.epsilons, near)
        if left is not None:
            figures["attacked"] = _by_size(self.epsilons, left)
            figures["distances"] = [finite_or_none(float(value)) for value in self.found]
            figures["contradictions"] = self.contradictions
        return figures

    def _origin(self):
        hashes = self.fingerprint
        return {
            "radii": [finite_or_none(float(radius)) for radius in self.radii.radii],
            "predicted": self.radii.predicted.tolist(),
            "labels": np.asarray(self.radii.labels).tolist(),
            "arithmetic": self.arithmetic,
            "scaling": {
                "offset": self.scaling.offset.tolist(),
                "scale": self.scaling.scale.tolist(),
                "unit": self.scaling.unit,
            },
            "classes": list(self.class_names),
            "features": list(self.feature_names),
            "source": self.source,
            "model": self.model,
            "fingerprint": None if hashes is None else dataclasses.asdict(hashes),
            "created": self.created,
            "versions": dict(self.versions),
            "notes": list(self.notes),
        }

    @property
    def arithmetic(self) -> str:
        """The arithmetic that radii hold in, in words."""
        origin = self.radii.origin
        return origin.arithmetic if origin is not None and origin.arithmetic else "float64"

    def to_json(self, indent: int | None = 2) -> str:
        """The dict as JSON text.

        Args:
            indent: Spaces per level; None for one line.
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def figures(self) -> list[str]:
        """The figures in words, a line for each size of changes."""
        near, left = self.locally_certified_at(self.epsilons), self.attacked_at(self.epsilons)
        lines = [f"  correct                                      {self.accuracy:.4f}"]
        for place, (size, share) in enumerate(zip(self.epsilons, self.certified_at(self.epsilons), strict=True)):
            line = f"  and no change up to {size:<7.4g} alters the class  {share:.4f}"
            line += f", near each sample {near[place]:.4f}" if near else ""
            lines.append(line + (f", attacked {left[place]:.4f}" if left else ""))
        lines.append(f"  certified radius in the mean                 {self.radii.mean_radius:.4g}")
        return lines

    def __str__(self) -> str:
        few = 0 < self.compared < len(self.radii)
        beside = f" (bounds near samples, and attacks: the first {self.compared:,} of them)" if few else ""
        found = f", at least {rounded_down(self.certificate.lower_bound)}" if self.certificate.lower_bound else ""
        tight = "" if self.tight is None else f"; at most {rounded_up(self.tight.upper_bound)} by the method 'tight'"
        lines = [
            f"'{self.model}' on {len(self.radii):,} samples{f' of {self.source}' if self.source else ''}{beside}:",
            *self.figures(),
            f"Lipschitz constant of the network: at most {rounded_up(self.constant)}{found}{tight}",
            f"A length of 1 is {self.scaling.unit}.",
            f"Radii hold in {self.arithmetic}",
            *self.notes,
        ]
        return "\n".join(lines)


def _by_size(sizes, shares):
    return dict(zip((f"{size:.4g}" for size in sizes), shares, strict=True))


def evaluate(
    model: keras.Model,
    x: ArrayLike,
    y: ArrayLike,
    *,
    epsilons: Sequence[float] | None = None,
    compared: int = 200,
    local: bool = True,
    attack: bool = True,
    tight: bool = True,
    method: Method = "auto",
    arithmetic: str | Arithmetic | None = "auto",
    class_names: Sequence[str] = (),
    feature_names: Sequence[str] = (),
    source: str = "",
) -> Evaluation:
    """Measures what is proved about a classifier on samples, and attacks it.

    If the first layer of the model is a `Normalization` or a `Rescaling`, as `with_scaling` adds it, it is set apart:
    radii and distances are lengths of the scaled numbers, in which features of different units can be compared. What
    the rounding of this layer changes is subtracted from the radii.

    Args:
        model: Built classifier, see `certified_radius`.
        x: Samples of shape (n, ...), as the model takes them: raw ones if its first layer scales them.
        y: Class numbers of shape (n,), or one-hot labels.
        epsilons: Sizes of changes to report; by default, a quarter, a half, one and two times the median radius.
        compared: Number of samples, from the first on, for local bounds and attacks, which take longer.
        local: Whether to bound the network near each of these samples as well.
        attack: Whether to attack them: "deepfool", and "pgd" for each size. Without the package for it, a note says so.
        tight: Whether to bound the constant by the method "tight" as well, which may take seconds.
        method: How all other constants are bounded, see `certify`.
        arithmetic: See `certified_radius`. "auto" is "float32" for networks that compute in it and whose rounding is
            known, and None, an evaluation in float64, for others; a note says why.
        class_names: Names of the classes, in the order of the outputs.
        feature_names: Names of the features.
        source: Where the samples come from, in words.

    Returns:
        An `Evaluation`.

    Raises:
        TypeError: See `certified_radius`.
        ValueError: See `certified_radius`, or if there are more labels than outputs.
    """
    compared = nm.check_count("compared", compared)
    if not isinstance(model, keras.Model):
        raise TypeError(f"`evaluate` expects a Keras model. Received: {type(model).__name__}")
    network, scaling, error = behind_scaling(model)
    raw = _fitting(model, x)
    scaled = raw if scaling.changes_nothing else scaling.scaled(raw)
    labels = class_numbers(y, len(raw), int(model.output_shape[-1]))
    work = _Work(network, scaled, labels, scaling, error, method)
    radii, notes = work.radii(arithmetic)
    sizes = _sizes(radii.radii) if epsilons is None else tuple(float(v) for v in check_epsilons(epsilons))
    few = slice(min(compared, len(raw)))
    used = arithmetic if arithmetic != _AUTO else ("float32" if radii.origin.arithmetic else None)
    near = work.local(few, used) if local and compared else None
    attacks, why = work.attacks(few, sizes) if attack and compared else ((), ())
    certificate = certification.certify(network, scaled.shape[1:], method=method)
    return Evaluation(
        radii=radii,
        certificate=certificate,
        epsilons=sizes,
        local=near,
        attacks=attacks,
        tight=certification.certify(network, scaled.shape[1:], method="tight", search=False) if tight else None,
        scaling=scaling,
        class_names=tuple(class_names),
        feature_names=tuple(feature_names),
        source=source,
        model=model.name,
        fingerprint=fingerprint_or_why(model)[0],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        notes=(*notes, *why, *_doubts(model, scaled, scaling, radii)),
    )


class _Work:
    """The parts of an evaluation, on the network behind its scaling."""

    def __init__(self, network, x, labels, scaling, error, method):
        self.network, self.x, self.labels, self.method = network, x, labels, method
        self.off, self.error = scaling_error(x, scaling, error), error

    def radii(self, arithmetic):
        """Certified radii of all samples, and notes."""
        if arithmetic != _AUTO:
            return self._radii(slice(None), arithmetic), ()
        kinds = {layer.compute_dtype for layer in self.network.layers if layer.weights}
        if kinds - {"float32"}:
            words = f"Radii hold in float64 only, as the network computes in {', '.join(sorted(kinds))}."
            return self._radii(slice(None), None), (words,)
        try:
            return self._radii(slice(None), "float32"), ()
        except ValueError as error:
            why = " ".join(str(error).split())
            return self._radii(slice(None), None), (f"Radii hold in float64 only, not for its rounding: {why}",)

    def local(self, few, arithmetic):
        return self._radii(few, arithmetic, local=True)

    def _radii(self, part, arithmetic, local=False):
        found = certification.certified_radius(
            self.network, self.x[part], self.labels[part], method=self.method, arithmetic=arithmetic, local=local
        )
        if arithmetic is None or not self.error:
            return found
        # What the scaling rounds in float32 moves the sample that the network sees, and the change of it.
        shrunk = np.maximum(0.0, (found.radii - self.off[part]) / (1 + self.error)) * (1 - 1e-12)
        return dataclasses.replace(found, radii=shrunk)

    def attacks(self, few, sizes):
        """Attacks on the first samples, and notes."""
        if missing := _extras.missing("lipviz.certification.attack"):
            return (), (f"Attacks were left out: {', '.join(missing)} is not installed.",)
        x, labels = self.x[few], self.labels[few]
        found = [certification.attack(self.network, x, labels, method="deepfool")]
        found += [certification.attack(self.network, x, labels, size, "pgd") for size in sizes if size > 0]
        return tuple(found), ()


def _fitting(model, x):
    """Samples in float64 that the model takes, rounded to its float32 as `predict` rounds them."""
    return np.asarray(fitting(model, x)).astype(np.float32).astype(np.float64)


def _sizes(radii):
    """Sizes of changes around the median of the radii that are not 0, to two digits."""
    positive = radii[(radii > 0) & np.isfinite(radii)]
    middle = float(np.median(positive)) if len(positive) else 1.0
    return tuple(float(f"{share * middle:.2g}") for share in _SHARES)


def _doubts(model, scaled, scaling, radii):
    """What a careful reader should know."""
    largest = float(np.abs(scaled).max())
    if scaling.changes_nothing and largest > 20:
        yield (
            f"The first layer of the model does not scale its input, and samples have values up to {largest:.4g}. If "
            "it was trained on scaled samples, these figures are not its own: save the model with its scaling, see "
            "`lipviz.recipes.with_scaling`."
        )
    classes = max(2, int(model.output_shape[-1]))
    if radii.accuracy < 1 / classes:
        yield (
            f"Fewer samples are correct than a guess among {classes} classes would be. Do the numbers of the classes "
            "mean the same as in the training, and the columns?"
        )
