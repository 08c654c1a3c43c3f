"""One image with the decision of a classifier, its certificate and an attack: all that a picture of it shows."""

import dataclasses
import functools
import math
from typing import Any

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.certification.attacks import Attack
from lipviz.certification.radii import certified_radius
from lipviz.certification.results import CertifiedAccuracy, CertifiedRadii, StretchBound, check_epsilons
from lipviz.certification.scores import checked, class_numbers, logits
from lipviz.certification.upper_bounds import certify
from lipviz.measure.saliency_maps import saliency
from lipviz.types import Array, ArrayLike

# How the network is bounded, in words.
BOUNDS = {"auto": "several steps together", "product": "the product of single steps", "local": "a bound near the image"}
_CURVE = 61  # number of sizes of changes, from 0 to slightly above the largest radius


@dataclasses.dataclass(frozen=True, eq=False)
class CertifiedImage:
    """An image, the decision of a classifier, the certified radius of the decision, and the result of an attack.

    Attributes:
        model: Name of the model.
        index: Number of the image.
        image: Of shape (height, width) or (height, width, 3), in the model's units.
        label: True class; None where it is not known.
        logits: Of shape (C,), float64.
        distances: Certified distance to each class, of shape (C,): the largest logit minus that of the class, over the
            Lipschitz constant of this difference; 0 for the predicted class. A single output has two classes.
        predicted: Predicted class.
        rival: The other class with the smallest certified distance.
        radius: Certified radius in the l2 norm by this bound, whether the decision is right or not.
        saliency: Gradient of the margin, with the shape of the image; None during training.
        epsilon: Size of a change, in the l2 norm, that is compared with the radius.
        attack: `Attack` on this image; None where there was none.
        attacked: The changed image; None without an attack.
        attacked_logits: Logits of the changed image, of shape (C,); None without an attack.
        curve: `CertifiedAccuracy` of all images; None where labels are not known.
        reach: Largest finite certified distance of any image to any class.
        step: Steps of training so far; None where the model was trained elsewhere.
        steps: Steps of the whole training; None where the model was trained elsewhere.
        bound: How the network is bounded, see `ImageCertifier.image`.
        together: Certified radius by several steps together; None where it was not compared.
        by_product: Certified radius by the product of single steps; None during training.
        lossy: `StretchBound` of the steps whose product is the most times too large; None where no product is.
    """

    model: str
    index: int
    image: np.ndarray = dataclasses.field(repr=False)
    label: int | None
    logits: np.ndarray = dataclasses.field(repr=False)
    distances: np.ndarray = dataclasses.field(repr=False)
    predicted: int
    rival: int
    radius: float
    saliency: np.ndarray | None = dataclasses.field(repr=False)
    epsilon: float
    attack: Attack | None = dataclasses.field(repr=False)
    attacked: np.ndarray | None = dataclasses.field(repr=False)
    attacked_logits: np.ndarray | None = dataclasses.field(repr=False)
    curve: CertifiedAccuracy | None = dataclasses.field(repr=False)
    reach: float
    step: int | None = None
    steps: int | None = None
    bound: str = "auto"
    together: float | None = None
    by_product: float | None = None
    lossy: StretchBound | None = None

    @property
    def is_certified(self) -> bool:
        """Whether it is proved that no change up to ε alters the decision."""
        return self.radius > self.epsilon

    @property
    def is_right(self) -> bool | None:
        """Whether the decision is the label; None where that is not known."""
        return None if self.label is None else self.predicted == self.label

    @property
    def change(self) -> Array | None:
        """What the attack added, with the shape of the image; None where there was none."""
        return None if self.attacked is None else self.attacked - self.image

    @property
    def found(self) -> float | None:
        """Norm of the change that altered the decision; infinite where none did; None without an attack."""
        return None if self.attack is None else float(self.attack.found[0])


class ImageCertifier:
    """Certifies all images of a set once, and then describes single images.

    Args:
        model: Built Keras classifier, see `lipviz.certification.certified_radius`.
        x: Samples of shape (n, height, width), (n, height, width, 1) or (n, height, width, 3); or flat ones, of shape
            (n, d), which are shown as squares where d is a square number, else as one row.
        y: Labels, see `certified_radius`; optional.
        step: Steps of training so far, for `CertifiedImage`.
        steps: Steps of the whole training.

    Attributes:
        labels: Class numbers of the labels, of shape (n,); None without labels.
        radii: `CertifiedRadii` of the decisions, right or wrong.

    Raises:
        TypeError: See `certified_radius`.
        ValueError: See `certified_radius`; or if the samples are not images.
    """

    def __init__(
        self,
        model: keras.Model,
        x: ArrayLike,
        y: ArrayLike | None = None,
        step: int | None = None,
        steps: int | None = None,
    ) -> None:
        self.model, self.y = model, y
        self._network, self.x = checked(model, x)
        self._progress: dict[str, Any] = {"step": step, "steps": steps}
        as_image(self.x[0])  # raises an error now, not at the first image
        self._logits = logits(self._network, self.x)
        self.radii = certified_radius(model, self.x)
        self._near: dict[int, float] = {}
        self.labels = None if y is None else class_numbers(y, len(self.x), self._logits.shape[1])
        # Gradients are computed once the training has ended.
        self._maps = saliency(model, self.x).maps if step == steps else None
        self._distances = self._all_distances(self.radii)
        self.reach = _largest(self._distances)
        self.curve = self._curve_of(self.radii)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def by_radius(self) -> Array:
        """Numbers of the images, the smallest certified radius first."""
        return np.argsort(self.radii.radii, kind="stable")

    def image(
        self, index: int, epsilon: float = 0.5, attack: Attack | None = None, bound: str = "auto"
    ) -> CertifiedImage:
        """Describe one image.

        Args:
            index: Its number, from 0.
            epsilon: Size of a change, in the l2 norm, that is compared with the radius, at least 0.
            attack: `Attack` on this image alone; None for none.
            bound: How the network is bounded: "auto" bounds several steps together, and "product" single steps, both
                for all inputs; "local" bounds the network near the image, see `certified_radius`. The accuracy of all
                images is then that of "auto".

        Returns:
            A `CertifiedImage`.

        Raises:
            ValueError: If there is no such image or bound, or the attack is on others.
        """
        if nm.check_count("index", index) >= len(self):
            raise ValueError(f"`index` must lie in 0, …, {len(self) - 1}. Received: index={index}")
        (epsilon,) = check_epsilons(epsilon, "epsilon")
        if attack is not None and attack.inputs.shape != self.x[:1].shape:
            raise ValueError(f"Expected an attack on image {index} alone. Received one on {len(attack)} samples")
        if bound not in BOUNDS:
            raise ValueError(f"`bound` must be one of {', '.join(BOUNDS)}. Received: bound={bound!r}")
        predicted = int(self.radii.predicted[index])
        radius, distances, rivals, curve = self._bounded(index, predicted, bound)
        attacked = None if attack is None else as_image(attack.inputs[0])
        return CertifiedImage(
            model=self.model.name,
            index=int(index),
            image=as_image(self.x[index]),
            label=None if self.labels is None else int(self.labels[index]),
            logits=self._logits[index],
            distances=distances,
            predicted=predicted,
            rival=int(rivals.argmin()),
            radius=radius,
            saliency=None if self._maps is None else as_image(self._maps[index]),
            epsilon=float(epsilon),
            attack=attack,
            attacked=attacked,
            attacked_logits=None if attack is None else logits(self._network, attack.inputs)[0],
            curve=curve,
            reach=max(self.reach, float(distances.max(where=np.isfinite(distances), initial=0.0))),
            bound=bound,
            **self._compared(index),
            **self._progress,
        )

    def _bounded(self, index, predicted, bound):
        """What a bound says of an image: radius, distances to all classes and to others, and accuracy of all images."""
        radii, all_distances, curve = self.radii, self._distances, self.curve
        if bound == "product":
            radii, all_distances, curve = self._product
        radius, distances = float(radii.radii[index]), all_distances[index]
        others = np.arange(len(distances)) != predicted
        rivals = np.where(others, distances, np.inf)
        if bound == "local":  # no other class is nearer than the radius
            radius = self._radius_near(index)
            distances = np.where(others, np.maximum(distances, radius), distances)
        return radius, distances, rivals, curve

    def _radius_near(self, index):
        if index not in self._near:
            found = certified_radius(self.model, self.x[index : index + 1], local=True)
            self._near[index] = float(found.radii[0])
        return self._near[index]

    def _compared(self, index) -> dict[str, Any]:
        """What is known of an image by the bounds for all inputs, once the training has ended."""
        if self._maps is None:
            return {}
        by_product = float(self._product[0].radii[index])
        return {"together": float(self.radii.radii[index]), "by_product": by_product, "lossy": self._lossy}

    @functools.cached_property
    def _product(self):
        """The tuple (`CertifiedRadii`, distances, `CertifiedAccuracy`) by the product of single steps."""
        radii = certified_radius(self.model, self.x, method="product")
        return radii, self._all_distances(radii), self._curve_of(radii)

    @functools.cached_property
    def _lossy(self):
        found = certify(self._network, search=False).stretches
        return max(found, key=lambda stretch: stretch.product / stretch.upper, default=None)

    def _curve_of(self, radii: CertifiedRadii) -> CertifiedAccuracy | None:
        """Certified accuracy of all images; None without labels. It has the same sizes for all bounds."""
        if self.labels is None:
            return None
        right = self.radii.predicted == self.labels
        counted, largest = (np.where(right, found.radii, 0.0) for found in (radii, self.radii))
        known = dataclasses.replace(radii, radii=counted, labels=self.labels)
        return known.accuracy_at(np.linspace(0, 1.05 * _largest(largest), _CURVE))

    def _all_distances(self, radii):
        """Certified distances to all classes, of shape (n, C), 0 for the predicted one."""
        scores, predicted, rows = self._logits, self.radii.predicted, np.arange(len(self))
        if scores.shape[1] == 1:
            distances = np.zeros((len(self), 2))
            distances[rows, 1 - predicted] = radii.radii
            return distances
        with np.errstate(divide="ignore", invalid="ignore"):
            distances = (scores[rows, predicted][:, None] - scores) / radii.bounds[predicted]
        distances[rows, predicted] = 0.0
        return distances


def _largest(values):
    return float(values[np.isfinite(values)].max(initial=0.0)) or 1.0


def as_image(sample: Array) -> Array:
    """A sample as an image of shape (height, width) or (height, width, 3).

    Raises:
        ValueError: If it is not an image.
    """
    if sample.ndim == 1:
        side = math.isqrt(sample.size)
        return sample.reshape(side, side) if side**2 == sample.size else sample[None]
    if sample.ndim == 3 and sample.shape[-1] == 1:
        return sample[..., 0]
    if sample.ndim == 2 or (sample.ndim == 3 and sample.shape[-1] == 3):
        return sample
    raise ValueError(f"Expected images: (height, width), with 1 or 3 channels last, or flat. Received: {sample.shape}")
