"""What happened while a model trained, epoch by epoch; and the two terms of the losses of the HKR family."""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from lipviz import losses
from lipviz.layers import ConstrainedKernel
from lipviz.measure.gradients import GradientHistory
from lipviz.measure.spectra import spectrum
from lipviz.operators.used_weights import used_kernel
from lipviz.operators.weights import layers_with_kernel
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike

STATUSES = ("running", "finished", "interrupted")
_QUANTILES = {"smallest": 0.0, "median": 0.5, "largest": 1.0}


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingLog:
    """What `lipviz.monitor.TrainingMonitor` saw of a model's training, over E epochs of one `fit` or several.

    Attributes:
        name: Name of the model.
        epochs: Numbers of the epochs, 1, 2, … over all calls of `fit`, of shape (E,).
        seconds: Seconds of training until the end of each epoch, validation included, of shape (E,).
        steps: Batches until the end of each epoch, of shape (E,).
        metrics: Dict from name, as in the `History` of Keras ("loss", "val_loss", …), to values of shape (E,). NaN
            where an epoch did not report it, or reported NaN: `not_finite` tells them apart.
        batches: Batches after which the loss was written down within epochs, of shape (B,); at most some thousand.
        batch_losses: The loss there: its mean over the epoch so far, as Keras reports it, of shape (B,).
        steps_per_epoch: Batches of an epoch; None where it is not known yet.
        kr: Kantorovich-Rubinstein term of the loss on the sample, after each epoch, of shape (E,): what the loss makes
            large. None where the loss has none, or no sample was given.
        hinge: Hinge term of the loss on the sample, without its weight, of shape (E,); None likewise.
        gradients: `GradientHistory` at the sample, of the epochs where all weights were finite; None where nothing was
            measured.
        spectra: Dict from name of the layer to its largest and smallest singular value after each epoch, of shape
            (E, 2): of the kernel that inference uses, as it was stored, NaN where it was not finite.
        factors: Dict from name of the layer to its Lipschitz factor k; layers without a constraint are left out.
        not_finite: Dict from a name (a metric, "weights") to the epoch in which it was NaN or infinite first.
        starts: For each call of `fit`, the number of epochs there were before it.
        status: "running", "finished" or "interrupted".
        notes: What was left out, and why: sentences.
    """

    name: str
    epochs: np.ndarray
    seconds: np.ndarray = dataclasses.field(repr=False)
    steps: np.ndarray = dataclasses.field(repr=False)
    metrics: dict[str, np.ndarray] = dataclasses.field(repr=False)
    batches: np.ndarray = dataclasses.field(repr=False)
    batch_losses: np.ndarray = dataclasses.field(repr=False)
    steps_per_epoch: int | None
    kr: np.ndarray | None = dataclasses.field(repr=False)
    hinge: np.ndarray | None = dataclasses.field(repr=False)
    gradients: GradientHistory | None = dataclasses.field(repr=False)
    spectra: dict[str, np.ndarray] = dataclasses.field(repr=False)
    factors: dict[str, float] = dataclasses.field(repr=False)
    not_finite: dict[str, int]
    starts: tuple[int, ...]
    status: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.epochs)

    @property
    def batch_epochs(self) -> Array:
        """Where each of `batches` lies, in epochs, of shape (B,)."""
        ends = np.concatenate([[0], self.steps])
        done = np.interp(self.batches, ends, np.arange(len(ends)))
        open_end = np.maximum(self.batches - ends[-1], 0)
        length = self.steps_per_epoch or max(open_end.max(initial=0), 1)
        return done + np.minimum(open_end / length, 1.0)

    def table(self) -> tuple[list[str], list[list[float]]]:
        """All numbers, one row an epoch: names of the columns, and rows of numbers (NaN where there is none).

        Returns:
            The tuple (list of names, list of lists).
        """
        columns = {"epoch": self.epochs, "seconds": self.seconds, "steps": self.steps, **self.metrics}
        columns.update({name: term for name, term in (("kr", self.kr), ("hinge", self.hinge)) if term is not None})
        if self.gradients is not None:
            rows = np.searchsorted(self.epochs, self.gradients.epochs)
            for name, share in _QUANTILES.items():
                column = np.full(len(self), np.nan)
                column[rows] = self.gradients.quantile(share)
                columns[f"gradient norm, {name}"] = column
        for layer, values in self.spectra.items():
            columns.update({f"sigma max, {layer}": values[:, 0], f"sigma min, {layer}": values[:, 1]})
        return list(columns), [list(row) for row in zip(*(column.tolist() for column in columns.values()), strict=True)]


def used_extremes(model: keras.Model) -> dict[str, tuple[float, float]]:
    """Largest and smallest singular value of the kernel that each layer uses at inference.

    Nothing is stored. Kernels of more than two axes count as the matrix (product of the others, out).

    Args:
        model: Built Keras model, of lipviz or not.

    Returns:
        A dict from name of the layer to (largest, smallest), NaN where the kernel is not finite; empty where no layer
        has a kernel.
    """
    try:
        layers = layers_with_kernel(model)
    except ValueError:  # no kernel
        return {}
    return {name: _extremes(layer) for name, layer in layers.items()}


def _extremes(layer):
    try:
        values = spectrum(used_kernel(layer), "The kernel")
    except ValueError:  # not finite, quantized, or no matrix
        return (math.nan, math.nan)
    return float(values[0]), float(values[-1])


def lipschitz_factors(model: keras.Model) -> dict[str, float]:
    """Factor k of each constrained layer of a model, by the names of `used_extremes`."""
    try:
        layers = layers_with_kernel(model)
    except ValueError:
        return {}
    return {name: float(layer.k_coef_lip) for name, layer in layers.items() if isinstance(layer, ConstrainedKernel)}


def hkr_terms(loss: keras.losses.Loss, y: ArrayLike, scores: ArrayLike) -> tuple[float, float] | None:
    """The Kantorovich-Rubinstein term and the hinge term of a loss of the HKR family, mean over samples.

    A loss is −KR and α times the hinge (`HKR`, `MulticlassHKR`), or the two weighted by 1 − α and α
    (`SoftHKRMulticlassLoss`, `LseHKRMulticlassLoss`), or one of them alone (`KR`, `HingeMargin` and their like). The
    loss itself is not called, so that its state does not change.

    Args:
        loss: A loss of `lipviz.losses`.
        y: Labels as the loss takes them, of shape (n, 1) or (n, C).
        scores: Outputs of the model, of shape (n, C).

    Returns:
        The tuple (KR, hinge) of floats, NaN for a term that the loss does not have; None where the loss is not of the
        family.

    Raises:
        ValueError: If the shapes do not agree.
    """
    for kind, terms in _TERMS:
        if isinstance(loss, kind):
            return tuple(_mean(term(y, scores)) for term in terms(loss))
    return None


def _mean(values):
    return float(np.mean(as_float64(values, "The term"))) if values is not None else math.nan


def _hkr(loss):
    distance = losses.kr  # its multiclass form is the same function
    hinge = losses.multiclass_hinge if isinstance(loss, losses.MulticlassHKR) else losses.hinge_margin
    return distance, lambda y, scores: hinge(y, scores, loss.min_margin)


def _soft(loss):
    def of(alpha):
        return lambda y, scores: losses.soft_hkr_multiclass(
            y, scores, alpha, loss.min_margin, loss.temperature, loss.running_mean
        )

    return _negative(of(0.0)), of(1.0)


def _lse(loss):
    def of(alpha):
        return lambda y, scores: losses.lse_hkr_multiclass(
            y, scores, alpha, loss.temperature, loss.penalty, loss.min_margin
        )

    return _negative(of(0.0)), of(1.0)


def _negative(term):
    return lambda y, scores: ops.negative(term(y, scores))


def _nothing(y, scores):
    return None


_TERMS = (
    (losses.HKR, _hkr),
    (losses.SoftHKRMulticlassLoss, _soft),
    (losses.LseHKRMulticlassLoss, _lse),
    (losses.KR, lambda loss: (losses.kr, _nothing)),
    (losses.HingeMargin, lambda loss: (_nothing, lambda y, scores: loss.function(y, scores, loss.min_margin))),
)
