"""HKR against a soft maximum of the other classes."""

from typing import Any, Self

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.losses.shared import (
    VariableLoss,
    aligned,
    as_constants,
    hinges_of,
    in_range,
    is_positive,
    log_sum_exp,
    mean_of_last,
    present_value,
    true_and_rivals,
)
from lipviz.types import Tensor


def _mean_magnitude(y_pred):
    """Mean of |ŷ| over all entries, a scalar."""
    return mean_of_last(ops.reshape(ops.abs(y_pred), (-1,)))


def soft_hkr_multiclass(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float | Tensor = 0.9,
    min_margin: float | Tensor = 1.0,
    temperature: float | Tensor = 1.0,
    mean_magnitude: float | Tensor = None,
) -> Tensor:
    """HKR of every class, where the other classes have the weights of a softmax (Serrurier et al. 2024).

    Let s = ±ŷ, and let F be the weights of the classes: 1 for the true class, and the softmax of T·ŷ over the others.
    The loss is (1−α)·Σ(−s·F) + α·Σ(relu(min_margin/2 − s)·F). Here T = clip(temperature·min_margin/m, 0.005, 250) with
    m = max(min_margin, mean_magnitude): it adapts to the size of the predictions, and has no gradient.

    Args:
        y_true: One-hot labels of shape (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch, C).
        alpha: Weight of the hinge, in [0, 1].
        min_margin: See `hinge_margin`; positive.
        temperature: Factor of T, positive: an inverse temperature. The name is that of the reference library.
        mean_magnitude: Mean of ``|ŷ|``; None takes that of these predictions.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    mean_magnitude = _mean_magnitude(y_pred) if mean_magnitude is None else mean_magnitude
    alpha, min_margin, temperature, magnitude = as_constants(y_pred, alpha, min_margin, temperature, mean_magnitude)
    sharpness = ops.clip(temperature * min_margin / ops.maximum(min_margin, magnitude), 0.005, 250.0)
    sharpness = ops.stop_gradient(sharpness)

    _, rivals = true_and_rivals(y_true, y_pred)
    largest, rest = log_sum_exp(rivals, sharpness)
    softmax = ops.exp(sharpness * (rivals - largest - rest))
    weights = ops.where(is_positive(y_true), ops.ones_like(y_pred), softmax)
    hinges = hinges_of(y_true, y_pred, min_margin)
    signed = ops.where(is_positive(y_true), y_pred, -y_pred)
    return ops.sum(weights * (alpha * hinges - (1.0 - alpha) * signed), axis=-1)


def lse_hkr_multiclass(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float | Tensor = 1.0,
    temperature: float | Tensor = 1.0,
    penalty: float | Tensor = 1.0,
    min_margin: float | Tensor = 1.0,
) -> Tensor:
    """HKR between the true class and the soft maximum n of the others.

    On ŷ times `temperature`, n = log(Σ over i ≠ true of exp(t·ŷ_i))/t with t = log(C−1)/(min_margin·penalty/2), so
    that n exceeds the largest by at most min_margin·penalty/2; the loss is
    (1−α)·(n − ŷ_true) + α·(relu(min_margin/2 − ŷ_true) + relu(min_margin/2 + n)).

    With two classes, t = 0. The sum has one term, and n is that term for every t > 0. So n is the score of the other
    class, the limit. With C = 1 there is no other class: n is the constant −min_margin/2, whose hinge is 0.

    Args:
        y_true: One-hot labels of shape (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch, C).
        alpha: Weight of the hinges, in [0, 1].
        temperature: Factor of the predictions, positive: an inverse temperature, see `soft_hkr_multiclass`.
        penalty: How far n may exceed the maximum, positive; in units of min_margin/2.
        min_margin: See `hinge_margin`; positive.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    alpha, temperature, penalty, min_margin = as_constants(y_pred, alpha, temperature, penalty, min_margin)
    half = min_margin / 2
    others = ops.cast(ops.shape(y_pred)[-1] - 1, y_pred.dtype)
    t = ops.where(others > 1, ops.log(ops.maximum(others, 2.0)), 1.0) / (half * penalty)

    true, rivals = true_and_rivals(y_true, temperature * y_pred)
    largest, rest = log_sum_exp(rivals, t)
    # The gradient flows through `rest` alone.
    soft_maximum = ops.where(others > 0, largest + rest, -half)
    hinges = ops.relu(half - true) + ops.relu(half + soft_maximum)
    return ((1.0 - alpha) * (soft_maximum - true) + alpha * hinges)[..., 0]


@keras.saving.register_keras_serializable("lipviz")
class SoftHKRMulticlassLoss(VariableLoss):
    """HKR in which a softmax weights the other classes, see `soft_hkr_multiclass`.

    The mean magnitude of the predictions is a running mean. Every call, also in evaluation, first changes it to
    alpha_mean·old + (1 − alpha_mean)·mean(``|ŷ|``), clipped to [0.005, 1000], and then uses it. It is part of the
    config, so that a saved model continues with it.

    Args:
        alpha: Weight of the hinge, in [0, 1]. A variable.
        min_margin: Margin of the hinge, positive. A variable.
        alpha_mean: Decay of the running mean, in [0, 1]. With 1 it does not change. A variable.
        temperature: Factor of the softmax's sharpness, an inverse temperature, positive. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Attributes:
        running_mean: Variable, the running mean of ``|ŷ|``; it starts at min_margin, clipped to the same range.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        alpha: float = 0.9,
        min_margin: float = 1.0,
        alpha_mean: float = 0.99,
        temperature: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "SoftHKRMulticlassLoss",
    ) -> None:
        super().__init__(
            reduction,
            name,
            alpha=in_range("alpha", alpha, 1),
            min_margin=nm.check_positive("min_margin", min_margin),
            alpha_mean=in_range("alpha_mean", alpha_mean, 1),
            temperature=nm.check_positive("temperature", temperature),
        )
        self.running_mean = self._variable("running_mean", float(np.clip(min_margin, 0.005, 1000.0)))

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_pred = nm.floating(y_pred)
        decay, mean = as_constants(y_pred, self.alpha_mean, self.running_mean)
        mean = ops.clip(decay * mean + (1.0 - decay) * _mean_magnitude(y_pred), 0.005, 1000.0)
        mean = ops.stop_gradient(mean)
        self.running_mean.assign(ops.cast(mean, self.running_mean.dtype))
        return soft_hkr_multiclass(y_true, y_pred, self.alpha, self.min_margin, self.temperature, mean)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "running_mean": present_value(self.running_mean)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        config = dict(config)
        mean = config.pop("running_mean", None)
        loss = cls(**config)
        if mean is not None:
            loss.running_mean.assign(mean)
        return loss


@keras.saving.register_keras_serializable("lipviz")
class LseHKRMulticlassLoss(VariableLoss):
    """HKR between the true class and a soft maximum of the others, see `lse_hkr_multiclass`.

    Args:
        alpha: Weight of the hinges, in [0, 1]. A variable.
        temperature: Factor of the predictions, an inverse temperature, positive. A variable.
        penalty: How far the soft maximum may exceed the maximum, in units of min_margin/2, positive. A variable.
        min_margin: Margin of the hinges, positive. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If a number is out of its range.
    """

    function = staticmethod(lse_hkr_multiclass)

    def __init__(
        self,
        alpha: float = 1.0,
        temperature: float = 1.0,
        penalty: float = 1.0,
        min_margin: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "LseHKRMulticlassLoss",
    ) -> None:
        super().__init__(
            reduction,
            name,
            alpha=in_range("alpha", alpha, 1),
            temperature=nm.check_positive("temperature", temperature),
            penalty=nm.check_positive("penalty", penalty),
            min_margin=nm.check_positive("min_margin", min_margin),
        )
