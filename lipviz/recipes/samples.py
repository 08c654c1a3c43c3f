"""The data of a recipe: checked once, so that a mistake is found before anything is built or trained."""

import dataclasses
from typing import Self

import keras
import numpy as np
from scipy.spatial.distance import cdist

from lipviz import normalizers as nm
from lipviz.types import Array, ArrayLike

FEWEST = 10
_LARGEST = 20.0  # magnitude of standardized images, with room; whole grey levels go up to 255
_MOST_CHANNELS = 16
_COMPARED, _NUMBERS = 500, 4_000_000  # samples, and numbers in them, whose distances are computed


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Samples of several classes.

    Attributes:
        x: Of shape (n, features), (n, length, channels) or (n, height, width, channels), float32, finite.
        labels: Class numbers from 0 on, of shape (n,), int64.
        classes: Number of classes: one more than the largest label, or the length of one-hot labels.
    """

    x: Array = dataclasses.field(repr=False)
    labels: Array = dataclasses.field(repr=False)
    classes: int

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike) -> Self:
        """Checks arrays as a user has them.

        Args:
            x: Rows of shape (n, features), series of shape (n, length, channels), or images of shape (n, height, width,
                channels) with values of about 0 to 1.
            y: Class numbers of shape (n,) or (n, 1), or one-hot rows of shape (n, C), in {0, 1} or {-1, 1}.

        Raises:
            TypeError: If they do not hold real numbers.
            ValueError: If a shape or a value does not fit; the message says what to do.
        """
        inputs = _checked_inputs(x)
        labels, classes = _checked_labels(y, len(inputs))
        return cls(inputs, labels, classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.x.shape[1:])

    @property
    def hot(self) -> Array:
        """One-hot labels, of shape (n, classes), float32."""
        return np.eye(self.classes, dtype=np.float32)[self.labels]

    def split(self, share: float, seed: int) -> tuple[Self, Self]:
        """Two parts of randomly drawn samples: the larger one, and a share of at least one sample."""
        order = np.random.default_rng(seed).permutation(len(self))
        count = max(1, round(share * len(self)))
        return self._part(order[count:]), self._part(order[:count])

    def _part(self, rows):
        return dataclasses.replace(self, x=self.x[rows], labels=self.labels[rows])

    def distance_of_classes(self, seed: int) -> float:
        """Median distance from a sample to the nearest sample of another class, among at most 500 that are drawn."""
        count = min(len(self), _COMPARED, max(50, _NUMBERS // max(1, self.x[0].size)))
        rows = np.random.default_rng(seed).choice(len(self), count, replace=False)
        points, labels = self.x[rows].reshape(count, -1).astype(np.float64), self.labels[rows]
        nearest = np.where(labels[:, None] == labels, np.inf, cdist(points, points)).min(axis=1)
        return float(np.median(nearest))


def _as_numbers(name, values):
    array = np.asarray(keras.ops.convert_to_numpy(values) if keras.ops.is_tensor(values) else values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"`{name}` must hold real numbers. Received: {array.dtype.name}{_advice(name, array)}")
    return array


def _advice(name, array):
    is_text = name == "y" and array.dtype.kind in "OUST"
    return ". Number the classes: `y = numpy.unique(names, return_inverse=True)[1]`" if is_text else ""


def _checked_inputs(x):
    x = _as_numbers("x", x)
    if x.ndim == 3 and (x.shape[2] > _MOST_CHANNELS or x.shape[1] == x.shape[2]):
        raise ValueError(
            "Expected rows (n, features), series (n, length, channels) or images (n, height, width, channels). "
            f"Received: shape {x.shape}. Images without channels get one by `x[..., None]`"
        )
    if x.ndim not in (2, 3, 4) or 0 in x.shape[1:] or len(x) < FEWEST:
        raise ValueError(
            f"Expected at least {FEWEST} rows (n, features), series (n, length, channels) or images (n, height, width, "
            "channels). "
            f"Received: shape {x.shape}"
        )
    if x.ndim == 4 and x.shape[-1] > _MOST_CHANNELS >= x.shape[1]:
        raise ValueError(
            f"Expected images (n, height, width, channels). Received: shape {x.shape}, which looks as if the channels "
            "came first. Move them by `numpy.moveaxis(x, 1, -1)`"
        )
    x = x.astype(np.float32)
    if not np.isfinite(x).all():
        rows = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))
        raise ValueError(
            f"Expected finite numbers. Received: NaN or Inf in {len(rows)} samples, the first is {rows[0]}"
        )
    largest = float(np.abs(x).max())
    if x.ndim == 4 and largest > _LARGEST:
        raise ValueError(
            f"Expected images with values of about 0 to 1, in which radii are measured. Received: values up to "
            f"{largest:g}. Divide them: `x / 255`"
        )
    if (x == x[:1]).all():
        raise ValueError("Expected samples that differ. Received: copies of one sample")
    return x


def _checked_labels(y, count):
    y = _as_numbers("y", y)
    if y.shape not in ((count,), (count, 1)) and (y.ndim != 2 or len(y) != count):
        raise ValueError(
            f"Expected class numbers of shape ({count},) or one-hot labels of shape ({count}, C), one for each sample. "
            f"Received: shape {y.shape}"
        )
    if not np.isfinite(y).all():
        raise ValueError("Expected class numbers or one-hot labels. Received: NaN or Inf in the labels")
    labels, classes = _of_hot(y) if y.ndim == 2 and y.shape[1] > 1 else _of_numbers(y.reshape(-1))
    if len(np.unique(labels)) < 2:
        raise ValueError(f"Expected samples of at least two classes. Received: only class {labels[0]}")
    if classes > count:
        raise ValueError(f"Expected class numbers from 0 on. Received: {classes - 1}, for {count} samples")
    return labels, classes


def _of_hot(y):
    hot = y == y.max()
    if not (np.isin(y, (0, 1)).all() or np.isin(y, (-1, 1)).all()) or (hot.sum(axis=1) != 1).any():
        raise ValueError("Expected one-hot labels, rows with a single 1 among 0 or among −1. Received: other rows")
    return hot.argmax(axis=1), y.shape[1]


def _of_numbers(y):
    if (y != np.round(y)).any() or (y < 0).any():
        wrong = y[(y != np.round(y)) | (y < 0)][0]
        raise ValueError(
            f"Expected class numbers 0, 1, 2 … as whole numbers. Received: {wrong:g}. Number the classes: "
            "`y = numpy.unique(y, return_inverse=True)[1]`"
        )
    labels = y.astype(np.int64)
    return labels, int(labels.max()) + 1


def check_seed(seed: int) -> int:
    """A seed that Keras and NumPy take."""
    checked = nm.check_seed("seed", seed, most=2**32 - 1)
    if checked is None:
        raise ValueError("`seed` must be a whole number, so that the run can be repeated. Received: None")
    return checked
