"""What `load` returns: samples with the names of their classes and features, and how their numbers were scaled."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Self

import numpy as np

from lipviz.data.splits import Samples

AS_THEY_ARE = "the units of the data"
_LISTED = 8  # names in a line
_LEAST, _MOST = 1e-7, 1e18  # of scales: what `keras.layers.Normalization` computes with in float32
_LOST = 1e-3  # of a scale, that float32 may round a number by


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """How numbers are scaled before a network sees them: ``x = (raw - offset) / scale``.

    A certified radius r is one of the scaled numbers. The decision keeps for every change δ of the raw numbers with
    ``‖δ / scale‖ < r``. So a single feature alone may move by r times its scale, see `alone`; and if several features
    move, the squares of their shares add up.

    Attributes:
        offset: What is subtracted, float64: a number, or one for each feature or channel.
        scale: What is divided by, positive, float64, of the same shape.
        unit: What a scaled length of 1 means, in words.
    """

    offset: np.ndarray
    scale: np.ndarray
    unit: str = AS_THEY_ARE

    @classmethod
    def none(cls) -> Self:
        """The scaling that changes nothing."""
        return cls(np.zeros(()), np.ones(()))

    @classmethod
    def pixels(cls) -> Self:
        """Division by 255: grey levels from 0 to 1."""
        return cls(np.zeros(()), np.full((), 255.0), "the range from black to white of one pixel")

    @classmethod
    def standard(cls, x: np.ndarray, names: tuple[str, ...] = ()) -> Self:
        """Standardizes each feature of rows (n, features), or each channel of series (n, length, channels).

        Each gets the mean 0 and the standard deviation 1 on these samples. What is constant is only shifted. Offsets
        and scales are such that a `keras.layers.Normalization`, which keeps float32 numbers, has exactly these.

        Args:
            x: The samples.
            names: Names of the features, for messages.

        Raises:
            ValueError: If numbers vary by less than 1e-7 or by more than 1e18, or if they vary so little beside
                their size that float32 cannot tell them apart.
        """
        x = x.reshape(-1, x.shape[-1]).astype(np.float64)
        shown = names or tuple(f"column {place + 1}" for place in range(x.shape[1]))
        constant = (x == x[:1]).all(axis=0)
        offset, spread = x.mean(axis=0), np.where(constant, 1.0, x.std(axis=0))
        for place in np.flatnonzero((spread < _LEAST) | (spread > _MOST)):
            raise ValueError(
                f"{shown[place]!r}: expected numbers with a standard deviation from {_LEAST:g} to {_MOST:g}, received "
                f"{spread[place]:.3g}. Use another unit."
            )
        lost = ~constant & (np.abs(offset) * np.finfo(np.float32).eps > _LOST * spread)
        for place in np.flatnonzero(lost):
            raise ValueError(
                f"{shown[place]!r}: expected numbers that float32 can tell apart, received numbers about "
                f"{offset[place]:.6g} with a standard deviation of {spread[place]:.3g}. Subtract {offset[place]:.6g} "
                "from them."
            )
        what = "feature" if names or x.shape[1] > 1 else "value"
        unit = f"one standard deviation of a {what}, as the training samples have it"
        exact = np.sqrt(np.square(spread).astype(np.float32).astype(np.float64))
        return cls(offset.astype(np.float32).astype(np.float64), exact, unit)

    @property
    def changes_nothing(self) -> bool:
        """Whether scaled numbers are the raw ones."""
        return bool((self.offset == 0).all() and (self.scale == 1).all())

    def scaled(self, raw: np.ndarray) -> np.ndarray:
        """Scaled numbers of raw ones, float64, of the same shape."""
        return (np.asarray(raw, np.float64) - self.offset) / self.scale

    def raw(self, x: np.ndarray) -> np.ndarray:
        """Raw numbers of scaled ones, float64, of the same shape."""
        return np.asarray(x, np.float64) * self.scale + self.offset

    def alone(self, radius: float) -> np.ndarray:
        """How far each feature alone may move, in its own unit, where a scaled change may have a length of `radius`.

        It is float64, a number, or of shape (features,) or (channels,).
        """
        return radius * self.scale


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Samples for training and for testing: ``(x_train, y_train), (x_test, y_test) = dataset``.

    Attributes:
        train: Scaled samples x in float32, and labels y in int32 of shape (n,): class numbers from 0 on.
        test: The same for the test.
        class_names: Name of each class, in the order of the labels.
        feature_names: Name of each column of a table, or of each channel; empty where there are none.
        scaling: How x was scaled, see `Scaling`.
        source: Where it comes from, in words.
        notes: What was decided while reading, whole sentences.
        has_own_split: Whether the source says itself which samples are for the test.
    """

    train: Samples = dataclasses.field(repr=False)
    test: Samples = dataclasses.field(repr=False)
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    scaling: Scaling
    source: str
    notes: tuple[str, ...] = ()
    has_own_split: bool = False

    def __iter__(self) -> Iterator[Samples]:
        return iter((self.train, self.test))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.train[0].shape[1:])

    def part(self, name: str) -> Samples:
        """Samples of a part: "train", "test", or "all", where every prefix has all classes in their proportions.

        Raises:
            ValueError: If the name is another one.
        """
        parts = {"train": (self.train,), "test": (self.test,), "all": (self.test, self.train)}
        if name not in parts:
            raise ValueError(f"name: expected one of {', '.join(map(repr, parts))}, received {name!r}.")
        x, y = (np.concatenate(both) for both in zip(*parts[name], strict=True))
        return x, y

    def __str__(self) -> str:
        counts = np.bincount(np.concatenate([self.train[1], self.test[1]]), minlength=len(self.class_names))
        classes = [f"{name} ({count:,})" for name, count in zip(self.class_names, counts, strict=True)]
        size = "×".join(map(str, self.shape))
        of = f"{size} values" if len(self.shape) > 1 else f"{math.prod(self.shape)} features"
        names = f": {listed(self.feature_names)}" if self.feature_names else ""
        lines = [
            self.source,
            f"{len(self.train[1]):,} samples for training, {len(self.test[1]):,} for the test, each of {of}{names}",
            f"{len(classes)} classes: {listed(classes)}",
            f"A length of 1 is {self.scaling.unit}.",
            *self.notes,
        ]
        return "\n".join(lines)


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Names between commas, the first few of many."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
