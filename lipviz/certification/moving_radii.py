"""Certified radii of a network that goes on training, and of samples that move: without a new copy each time."""

import keras
import numpy as np

from lipviz.certification.classifiers import logits_model, pairwise_bounds_and_errors
from lipviz.certification.radii import class_numbers, radii_of_logits
from lipviz.certification.results import CertifiedRadii
from lipviz.operators.precision import float64_scope, sync_copy
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike

_ROWS = 512  # a prediction is for a multiple of this number


class MovingRadii:
    """The radii of `certified_radius` with `method="product"`, for a network whose weights change.

    It keeps a copy of the network in float64, and the constants that belong to its weights. They are those of the last
    `refresh`.

    Products of the bounds of layers take a millisecond, and the playground in a browser computes the same.

    Args:
        model: Built Keras classifier with inputs of shape (batch, d), of plain Keras layers and lipviz's activations.

    Raises:
        TypeError: See `certified_radius`.
        ValueError: See `certified_radius`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model, self._network = model, logits_model(model)
        self._shape = tuple(model.inputs[0].shape[1:])
        self.refresh()

    def refresh(self) -> None:
        """Take over the present weights of the network.

        Raises:
            ValueError: If one is NaN or Inf.
        """
        sync_copy(self._network, self._model)
        with float64_scope():
            bounds, constant, slope = pairwise_bounds_and_errors(self._network, self._shape, "product")
        if not np.isfinite(bounds).all():
            raise ValueError("The network has no finite Lipschitz constant.")
        self._bounds = bounds
        self._errors = None if not np.isfinite(constant + slope) else _of_differences(bounds, constant, slope)

    @property
    def constant(self) -> float:
        """Largest Lipschitz constant of a difference of logits; with one output, that of the logit."""
        return float(self._bounds.max())

    def logits(self, x: ArrayLike) -> Array:
        """Logits of samples of shape (n, d) in float64, of shape (n, C), by a compiled prediction."""
        x = as_float64(x, "The samples")
        full = np.pad(x, ((0, -len(x) % _ROWS), (0, 0)))  # few shapes, so that little is compiled
        with float64_scope():
            return np.asarray(self._network.predict_on_batch(full), np.float64)[: len(x)]

    def radii(self, x: ArrayLike, y: ArrayLike | None = None, scores: Array | None = None) -> CertifiedRadii:
        """Certified radii of samples.

        Args:
            x: Samples of shape (n, d), at least one.
            y: Their labels, see `certified_radius`; None does not compare.
            scores: Their `logits`, if they are known.

        Returns:
            A `CertifiedRadii`, without an origin.
        """
        x = as_float64(x, "The samples")
        scores = self.logits(x) if scores is None else scores
        labels = None if y is None else class_numbers(y, len(x), scores.shape[1])
        return radii_of_logits(scores, x, labels, self._bounds, self._errors)


def _of_differences(bounds, constant, slope):
    """Rounding of differences of logits, from that of their vector."""
    root = 1.0 if len(bounds) == 1 else np.sqrt(2)
    return root * constant, root * slope
