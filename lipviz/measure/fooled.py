"""One image, two networks, and an attack on each of a chosen length: what each network says, and what is proved."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from lipviz.certification.radii import certified_radius, checked, logits
from lipviz.types import Array, ArrayLike

_HALVINGS = 50  # of an interval of lengths
_LENGTHS = 200  # at which the decision is looked at, up to the longest change
_BOX = (0.0, 1.0)  # grey levels


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkUnderAttack:
    """What a network says of an image that an attack changed.

    Attributes:
        name: Name of the network.
        image: The changed image, of shape (height, width), with grey levels from 0 to 1.
        length: Length of the change in the l2 norm.
        predicted: Class of the changed image.
        logits: Logits of the changed image, of shape (C,), float64.
        fooled_at: Least length, of those that were tried, at which this attack alters the decision; infinite if none.
        radius: Certified radius of the unchanged image: no change shorter than this alters the decision. It is computed
            when the network is made known, with a bound of the network itself.
    """

    name: str
    image: Array = dataclasses.field(repr=False)
    length: float
    predicted: int
    logits: Array = dataclasses.field(repr=False)
    fooled_at: float
    radius: float


@dataclasses.dataclass(frozen=True, eq=False)
class FooledImage:
    """An image, and two networks under attacks of the same length.

    Attributes:
        index: Number of the image.
        image: Of shape (height, width), with grey levels from 0 to 1.
        label: Its class, which both networks give to the unchanged image.
        class_names: Names of the classes.
        epsilon: Length of the changes that was asked for.
        networks: A `NetworkUnderAttack` for each network, in their order.
    """

    index: int
    image: Array = dataclasses.field(repr=False)
    label: int
    class_names: tuple[str, ...]
    epsilon: float
    networks: tuple[NetworkUnderAttack, ...]

    def name(self, number: int) -> str:
        """Name of a class."""
        return self.class_names[number]

    def is_fooled(self, place: int) -> bool:
        """Whether the network at this place decides otherwise than for the unchanged image."""
        return self.networks[place].predicted != self.label

    @property
    def norm(self) -> float:
        """Length of the image itself, in the l2 norm."""
        return float(np.linalg.norm(self.image))


class FoolingMeasurement:
    """Networks, images and the directions in which an attack changes them. Certificates are computed here, once.

    Args:
        models: Built Keras classifiers of flat images; their constants are bounded by `lipviz.certify`.
        images: Of shape (n, height, width), with grey levels from 0 to 1.
        labels: Class of each image, which all networks must give to it, of shape (n,).
        directions: Directions of the changes, of shape (n, number of models, height, width).
        class_names: Names of the classes.
        longest: Longest change.

    Raises:
        ValueError: If shapes do not fit, grey levels are out of range, or a network misclassifies an image.
    """

    def __init__(
        self,
        models: Sequence[keras.Model],
        images: ArrayLike,
        labels: ArrayLike,
        directions: ArrayLike,
        class_names: Sequence[str],
        longest: float,
    ):
        self.models, self.class_names, self.longest = tuple(models), tuple(class_names), float(longest)
        self.images, self.labels = np.asarray(images, np.float64), np.asarray(labels, int)
        self._directions = np.asarray(directions, np.float64)
        expected = (len(self.images), len(self.models), *self.images.shape[1:])
        if self._directions.shape != expected:
            raise ValueError(f"directions: expected the shape {expected}. Received: {self._directions.shape}")
        if self.images.size and not (self.images.min() >= _BOX[0] and self.images.max() <= _BOX[1]):
            raise ValueError("images: expected grey levels from 0 to 1.")
        flat = self.images.reshape(len(self.images), -1)
        self._certificates = [certified_radius(model, flat, self.labels) for model in self.models]
        for model, found in zip(self.models, self._certificates, strict=True):
            if not np.array_equal(found.predicted, self.labels):
                raise ValueError(f"labels: expected the decisions {found.predicted} of '{model.name}'.")
        self._networks = [checked(model, flat)[0] for model in self.models]  # in float64, as certificates are
        self._fooled_at: dict[tuple[int, int], float] = {}

    def __len__(self) -> int:
        return len(self.images)

    def changed(self, index: int, place: int, length: float) -> Array:
        """An image, moved in the direction of the attack on a network until the change has this length.

        Grey levels stay from 0 to 1: where a pixel reaches an end, the others move further.

        Args:
            index: Number of the image.
            place: Number of the network.
            length: Length of the change, in the l2 norm.

        Returns:
            float64 array of shape (height, width). Its change is shorter if all pixels have reached their ends.
        """
        image, direction = self.images[index], self._directions[index, place]
        low, high = 0.0, 1.0
        while np.linalg.norm(_moved(image, direction, high) - image) < length and high < 1e6:
            high *= 2
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            too_short = np.linalg.norm(_moved(image, direction, middle) - image) < length
            low, high = (middle, high) if too_short else (low, middle)
        return _moved(image, direction, low)

    def image(self, index: int, epsilon: float) -> FooledImage:
        """The image with changes of this length.

        Args:
            index: Number of the image.
            epsilon: Length of the changes in the l2 norm, from 0.

        Raises:
            ValueError: If there is no such image, or the length is negative.
        """
        if not 0 <= index < len(self):
            raise ValueError(f"index: expected a number from 0 to {len(self) - 1}. Received: {index}")
        if not epsilon >= 0:
            raise ValueError(f"epsilon: expected a number that is not negative. Received: {epsilon}")
        networks = tuple(self._under_attack(index, place, epsilon) for place in range(len(self.models)))
        return FooledImage(index, self.images[index], int(self.labels[index]), self.class_names, epsilon, networks)

    def _under_attack(self, index, place, epsilon):
        changed = self.changed(index, place, epsilon)
        (scores,) = logits(self._networks[place], changed.reshape(1, -1))
        return NetworkUnderAttack(
            name=self.models[place].name,
            image=changed,
            length=float(np.linalg.norm(changed - self.images[index])),
            predicted=int(scores.argmax()),
            logits=scores,
            fooled_at=self._first_fooled(index, place),
            radius=float(self._certificates[place].radii[index]),
        )

    def _first_fooled(self, index, place):
        if (index, place) not in self._fooled_at:
            lengths = np.linspace(0, self.longest, _LENGTHS + 1)
            tried = np.stack([self.changed(index, place, length).ravel() for length in lengths])
            decisions = logits(self._networks[place], tried).argmax(axis=1)
            wrong = np.flatnonzero(decisions != self.labels[index])
            self._fooled_at[index, place] = float(lengths[wrong[0]]) if wrong.size else np.inf
        return self._fooled_at[index, place]


def _moved(image, direction, step):
    return np.clip(image + step * direction, *_BOX)
