"""One image with the decision of a classifier, its certificate and an attack: all that a picture of it shows."""

import dataclasses
import math

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.certification.attacks import Attack
from lipviz.certification.radii import certified_radius, checked, class_numbers, logits
from lipviz.certification.results import CertifiedAccuracy, check_epsilons
from lipviz.measure.saliency_maps import saliency
from lipviz.types import Array, ArrayLike

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
        radius: Certified radius in the l2 norm, whether the decision is right or not.
        saliency: Gradient of the margin, with the shape of the image; None during training.
        epsilon: Size of a change, in the l2 norm, that is compared with the radius.
        attack: `Attack` on this image; None where there was none.
        attacked: The changed image; None without an attack.
        attacked_logits: Logits of the changed image, of shape (C,); None without an attack.
        curve: `CertifiedAccuracy` of all images; None where labels are not known.
        reach: Largest finite certified distance of any image to any class.
        step: Steps of training so far; None where the model was trained elsewhere.
        steps: Steps of the whole training; None where the model was trained elsewhere.
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
        self._progress = {"step": step, "steps": steps}
        as_image(self.x[0])  # raises an error now, not at the first image
        self._logits = logits(self._network, self.x)
        self.radii = certified_radius(model, self.x)
        self.labels = None if y is None else class_numbers(y, len(self.x), self._logits.shape[1])
        # Gradients are computed once the training has ended.
        self._maps = saliency(model, self.x).maps if step == steps else None
        self._distances = self._all_distances()
        self.reach = _largest(self._distances)
        self.curve = None
        if y is not None:
            right = self.radii.predicted == self.labels
            counted = np.where(right, self.radii.radii, 0.0)
            known = dataclasses.replace(self.radii, radii=counted, labels=self.labels)
            self.curve = known.accuracy_at(np.linspace(0, 1.05 * _largest(counted), _CURVE))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def by_radius(self) -> Array:
        """Numbers of the images, the smallest certified radius first."""
        return np.argsort(self.radii.radii, kind="stable")

    def image(self, index: int, epsilon: float = 0.5, attack: Attack | None = None) -> CertifiedImage:
        """Describe one image.

        Args:
            index: Its number, from 0.
            epsilon: Size of a change, in the l2 norm, that is compared with the radius, at least 0.
            attack: `Attack` on this image alone; None for none.

        Returns:
            A `CertifiedImage`.

        Raises:
            ValueError: If there is no such image, or the attack is on others.
        """
        if nm.check_count("index", index) >= len(self):
            raise ValueError(f"`index` must lie in 0, …, {len(self) - 1}. Received: index={index}")
        (epsilon,) = check_epsilons(epsilon, "epsilon")
        if attack is not None and attack.inputs.shape != self.x[:1].shape:
            raise ValueError(f"Expected an attack on image {index} alone. Received one on {len(attack)} samples")
        predicted = int(self.radii.predicted[index])
        distances = self._distances[index]
        rivals = np.where(np.arange(len(distances)) == predicted, np.inf, distances)
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
            radius=float(self.radii.radii[index]),
            saliency=None if self._maps is None else as_image(self._maps[index]),
            epsilon=float(epsilon),
            attack=attack,
            attacked=attacked,
            attacked_logits=None if attack is None else logits(self._network, attack.inputs)[0],
            curve=self.curve,
            reach=self.reach,
            **self._progress,
        )

    def _all_distances(self):
        """Certified distances to all classes, of shape (n, C), 0 for the predicted one."""
        scores, predicted, rows = self._logits, self.radii.predicted, np.arange(len(self))
        if scores.shape[1] == 1:
            distances = np.zeros((len(self), 2))
            distances[rows, 1 - predicted] = self.radii.radii
            return distances
        with np.errstate(divide="ignore", invalid="ignore"):
            distances = (scores[rows, predicted][:, None] - scores) / self.radii.bounds[predicted]
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
