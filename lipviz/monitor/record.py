"""What a monitor writes down: lists that grow while a model trains, and the log that they make."""

import contextlib
import random
from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from lipviz.measure import GradientMeter, GradientNorms, gradient_history
from lipviz.measure.training_log import TrainingLog, hkr_terms, lipschitz_factors, used_extremes
from lipviz.rules.used import to_numpy
from lipviz.types import Array, ArrayLike

_MOST_BATCHES = 1024  # points of the loss within epochs; beyond, every other one is dropped


class Record:
    """Everything about the training of one model, over all calls of `fit`.

    Args:
        model: Built Keras model.
        x: Sample of shape (n, ...), or None.
        y: Its labels, or None.
        output: See `GradientMeter`.
        spectra: Whether to decompose the kernels.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Array | None,
        y: Array | None,
        output: ArrayLike | Literal["all"] | None,
        spectra: bool,
    ) -> None:
        self.name = model.name
        self.x, self.y, self.output, self.with_spectra = x, y, output, spectra
        self.batches = 0
        self.starts: list[int] = []
        self.notes: list[str] = []
        self.not_finite: dict[str, int] = {}
        self._seconds: list[float] = []
        self._steps: list[int] = []
        self._logs: list[dict[str, float]] = []
        self._terms: list[tuple[int, float, float]] = []  # epoch, KR, hinge
        self._norms: list[GradientNorms] = []
        self._norm_epochs: list[int] = []
        self._spectra: list[tuple[int, dict[str, tuple[float, float]]]] = []
        self._factors: dict[str, float] = {}
        self._points: list[int] = []
        self._losses: list[float] = []
        self._stride = 1
        self._meter: GradientMeter | None = None
        self._measures_gradients, self._measures_terms = True, x is not None

    @property
    def epochs(self) -> int:
        """Number of epochs so far."""
        return len(self._logs)

    @property
    def last(self) -> dict[str, float]:
        """What Keras reported of the last epoch, by name."""
        return self._logs[-1] if self._logs else {}

    def begin(self) -> None:
        """A call of `fit` begins."""
        self.starts.append(self.epochs)

    def batch(self, count: int, loss: float | None) -> None:
        """`count` batches more are done; the mean of the loss over the epoch so far, or None."""
        self.batches += count
        if loss is None or self.batches % self._stride:
            return
        self._note_finite("loss", loss)
        self._points.append(self.batches)
        self._losses.append(loss)
        if len(self._points) > _MOST_BATCHES:
            self._stride *= 2
            self._points, self._losses = self._points[1::2], self._losses[1::2]

    def epoch(self, model: keras.Model, logs: Mapping[str, Any], seconds: float) -> None:
        """An epoch has ended: write down what Keras reports, and measure."""
        self._seconds.append(seconds)
        self._steps.append(self.batches)
        self._logs.append({name: _number(value) for name, value in logs.items()})
        for name, value in self.last.items():
            self._note_finite(name, value, self.epochs)
        with _random_states_kept():
            self._measure_terms(model)
            self._measure_gradients(model)
            self._measure_spectra(model)

    def _note_finite(self, name, value, epoch=None):
        if not np.isfinite(value):
            self.not_finite.setdefault(name, self.epochs + 1 if epoch is None else epoch)

    # --- measurements ---

    def _measure_terms(self, model):
        if not self._measures_terms:
            return
        losses = keras.tree.flatten(getattr(model, "loss", None))
        try:
            known = None
            if len(losses) == 1 and self.y is not None:
                scores = model(self.x, training=False)
                known = hkr_terms(losses[0], self.y, ops.stop_gradient(scores))
            self._measures_terms = known is not None
            if known is not None:
                self._terms.append((self.epochs, *known))
        except Exception as error:
            if not _are_finite(model):
                self._note_finite("weights", np.nan, self.epochs)
                return
            self._measures_terms = False
            self.notes.append(f"The terms of the loss are left out: {error}")

    def _measure_gradients(self, model):
        if self.x is None or not self._measures_gradients:
            return
        try:
            if self._meter is None:
                self._meter = GradientMeter(model, self.x, self.output)
            self._norms.append(self._meter.measure())
            self._norm_epochs.append(self.epochs)
        except Exception as error:  # a model that cannot be copied must not end the training
            if not _are_finite(model):
                self._note_finite("weights", np.nan, self.epochs)
                return
            self._measures_gradients = False
            self.notes.append(f"Gradient norms are left out: {error}")

    def _measure_spectra(self, model):
        if not self.with_spectra:
            return
        self._spectra.append((self.epochs, used_extremes(model)))
        self._factors = lipschitz_factors(model)
        if any(not np.isfinite(pair).all() for pair in self._spectra[-1][1].values()) and not _are_finite(model):
            self._note_finite("weights", np.nan, self.epochs)

    # --- the log ---

    def log(self, status: str, steps_per_epoch: int | None) -> TrainingLog:
        """The `TrainingLog` of what was written down so far."""
        # Keras has them in the order of the alphabet.
        names = sorted(dict.fromkeys(name for logs in self._logs for name in logs), key=_ends_without_loss)
        layers = dict.fromkeys(name for _, values in self._spectra for name in values)
        return TrainingLog(
            name=self.name,
            epochs=np.arange(1, self.epochs + 1),
            seconds=np.array(self._seconds, float),
            steps=np.array(self._steps, int),
            metrics={name: np.array([logs.get(name, np.nan) for logs in self._logs]) for name in names},
            batches=np.array(self._points, int),
            batch_losses=np.array(self._losses, float),
            steps_per_epoch=steps_per_epoch,
            kr=self._term(1),
            hinge=self._term(2),
            gradients=gradient_history(self._norms, self._norm_epochs) if self._norms else None,
            spectra={
                layer: self._filled((epoch, *values.get(layer, (np.nan,) * 2)) for epoch, values in self._spectra)
                for layer in layers
            },
            factors=dict(self._factors),
            not_finite=dict(self.not_finite),
            starts=tuple(self.starts),
            status=status,
            notes=tuple(self.notes),
        )

    def _term(self, place):
        column = self._filled((terms[0], terms[place]) for terms in self._terms) if self._terms else None
        return None if column is None or np.isnan(column).all() else column[:, 0]

    def _filled(self, rows):
        """Values of shape (E, ...) from (epoch, values, …) rows, NaN for the other epochs."""
        rows = list(rows)
        values = np.full((self.epochs, len(rows[0]) - 1), np.nan)
        for epoch, *row in rows:
            values[epoch - 1] = row
        return values


def _number(value):
    """What Keras reports as a float; NaN for what is no single number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _ends_without_loss(name):
    return name.removeprefix("val_") != "loss"


def _are_finite(model):
    weights = (to_numpy(weight) for weight in model.weights)
    return all(value.dtype.kind in "iub" or np.isfinite(value.astype(np.float64)).all() for value in weights)


@contextlib.contextmanager
def _random_states_kept():
    """Leave the generators of Python and NumPy as they were: a copy of a model draws the weights that it starts with.

    Training goes on with the very numbers that it would have drawn without a monitor.
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
