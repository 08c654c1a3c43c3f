"""Trains a compiled model: the schedule of the learning rate, moved images, an end by Ctrl-C that keeps the model."""

import time
from typing import Any, NamedTuple

import keras
import numpy as np

from lipviz.recipes.samples import Samples
from lipviz.types import Array


def learning_rate(schedule: str, peak: float, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A learning rate for a known number of steps.

    Args:
        schedule: "constant", or "cosine": it rises from a tenth of the peak during a tenth of the steps, and then
            falls to 0 along a half period of a cosine.
        peak: Largest value.
        steps: Number of steps of the whole training.

    Returns:
        What an optimizer of Keras takes.
    """
    if schedule == "constant":
        return peak
    rise = steps // 10
    return keras.optimizers.schedules.CosineDecay(peak / 10, steps - rise, warmup_target=peak, warmup_steps=rise)


def moved(images: Array, shifts: Array) -> Array:
    """Each image moved by its number of rows and columns, with zeros where nothing was.

    Args:
        images: Of shape (n, height, width, channels).
        shifts: Whole numbers of shape (n, 2).

    Returns:
        An array like `images`.
    """
    height, width = images.shape[1:3]
    most = int(np.abs(shifts).max(initial=0))
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    starts = most - shifts  # what moves down begins further up
    return np.moveaxis(windows[np.arange(len(images)), starts[:, 0], starts[:, 1]], 1, -1)


class ShiftedBatches(keras.utils.PyDataset):
    """Batches of an epoch in a new order, each image moved and perhaps mirrored at random; the same for the same seed.

    Args:
        samples: Images and their labels.
        batch_size: Number of samples in a batch; the last one may be smaller.
        most: Largest shift along each axis, in pixels.
        seed: Seed of orders, shifts and mirrors.
        flip: Whether every second image, drawn anew in each epoch, is mirrored from left to right.
    """

    def __init__(self, samples: Samples, batch_size: int, most: int, seed: int, flip: bool = False) -> None:
        super().__init__()
        self._flip = flip
        self._samples, self._hot, self._size, self._most = samples, samples.hot, batch_size, most
        self._seed, self._epoch = seed, 0
        self._draw()

    def _draw(self):
        rng = np.random.default_rng((self._seed, self._epoch))
        self._order = rng.permutation(len(self._samples))
        self._shifts = rng.integers(-self._most, self._most + 1, (len(self._samples), 2))
        self._mirrored = rng.random(len(self._samples)) < self._flip / 2

    def __len__(self) -> int:
        return -(-len(self._samples) // self._size)

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        rows = self._order[index * self._size : (index + 1) * self._size]
        images = moved(self._samples.x[rows], self._shifts[rows])
        mirrored = self._mirrored[rows, None, None, None]
        return np.where(mirrored, images[:, :, ::-1], images), self._hot[rows]

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._draw()


class Progress(NamedTuple):
    """How a training went.

    Attributes:
        steps: Number of steps that were made.
        seconds: Time that they took, with the compilation.
        processor_seconds: The same in time of processors, all cores together, which other work disturbs less.
        interrupted: Whether Ctrl-C ended it.
    """

    steps: int
    seconds: float
    processor_seconds: float
    interrupted: bool


class _Counter(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


def fit(
    model: keras.Model,
    samples: Samples,
    *,
    epochs: int,
    batch_size: int,
    shift: int,
    flip: bool,
    seed: int,
    verbose: Any,
    callbacks: list[keras.callbacks.Callback],
) -> Progress:
    """Trains a compiled model. Ctrl-C ends the training, and the model keeps what it has learned.

    Args:
        model: Compiled model for one-hot labels.
        samples: What to train on.
        epochs: Number of epochs.
        batch_size: Size of a batch.
        shift: Largest shift of images in pixels; 0 for none.
        flip: Whether every second image is mirrored.
        seed: Seed of shifts and mirrors.
        verbose: As in `keras.Model.fit`.
        callbacks: Further callbacks of Keras.

    Returns:
        A `Progress`.

    Raises:
        KeyboardInterrupt: If Ctrl-C comes before the first step has ended.
    """
    counter = _Counter()
    given: dict[str, Any] = {"epochs": epochs, "verbose": verbose, "callbacks": [counter, *callbacks]}
    began, computed = time.perf_counter(), time.process_time()
    interrupted = False
    try:
        if shift or flip:
            model.fit(ShiftedBatches(samples, batch_size, shift, seed, flip), shuffle=False, **given)
        else:
            model.fit(samples.x, samples.hot, batch_size=batch_size, **given)
    except KeyboardInterrupt:
        if not counter.steps:
            raise
        interrupted = True
    return Progress(counter.steps, time.perf_counter() - began, time.process_time() - computed, interrupted)
