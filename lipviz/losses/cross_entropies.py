"""Cross-entropies with an inverse temperature."""

import math

import keras
from keras import ops

from lipviz import normalizers as nm
from lipviz.losses.shared import VariableLoss, aligned, as_constants, log_sum_exp, mean_of_last, shapes_agree
from lipviz.types import DType, Tensor


def probabilities_of(labels: Tensor, dtype: DType) -> Tensor:
    """Labels in [0, 1] as they are; others, such as those of `process_labels_for_multi_gpu`, count by their sign."""
    return ops.clip(ops.cast(labels, dtype), 0.0, 1.0)


def tau_categorical_crossentropy(y_true: Tensor, y_pred: Tensor, tau: float | Tensor) -> Tensor:
    """Crossentropy of the logits τ·ŷ, divided by τ (Béthune et al. 2022).

    A 1-Lipschitz network cannot scale its logits, so τ decides which samples the loss depends on. With a small τ it
    depends on every sample (the limit is linear in ŷ), with a large τ on those that are on the wrong side. Dividing
    by τ keeps the size of the gradient.

    Args:
        y_true: One-hot labels of shape (batch, C), in {0, 1} or {-1, 1}, or probabilities. Labels outside of [0, 1]
            count by their sign.
        y_pred: Logits of shape (batch, C).
        tau: Inverse temperature, positive.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    (tau,) = as_constants(y_pred, tau)
    largest, rest = log_sum_exp(y_pred, tau)
    probabilities = probabilities_of(y_true, y_pred.dtype)
    return ops.sum(probabilities * (rest - (y_pred - largest)), axis=-1)


def tau_sparse_categorical_crossentropy(y_true: Tensor, y_pred: Tensor, tau: float | Tensor) -> Tensor:
    """`tau_categorical_crossentropy` with the number of the class as label.

    Args:
        y_true: Labels of shape (batch,) or (batch, 1), whole numbers from 0 to C − 1. Others give NaN.
        y_pred: Logits of shape (batch, C).
        tau: Inverse temperature, positive.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree, or C is unknown.
    """
    labels, y_pred = ops.convert_to_tensor(y_true), nm.floating(y_pred)
    received = tuple(labels.shape)
    if len(received) == len(y_pred.shape) and received[-1:] == (1,):
        labels = ops.squeeze(labels, -1)
    if len(y_pred.shape) < 2 or y_pred.shape[-1] is None or not shapes_agree(y_pred.shape[:-1], labels.shape):
        raise ValueError(
            "Expected labels of shape (batch,) or (batch, 1) and predictions of shape (batch, C). "
            f"Received: labels {received}, predictions {tuple(y_pred.shape)}"
        )
    received, labels = labels, ops.cast(labels, "int32")
    one_hot = ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype)
    losses = tau_categorical_crossentropy(one_hot, y_pred, tau)
    known = ops.logical_and(labels >= 0, labels < y_pred.shape[-1])
    known = ops.logical_and(known, ops.equal(received, ops.cast(labels, received.dtype)))
    return ops.where(known, losses, ops.full_like(losses, math.nan))


def tau_binary_crossentropy(y_true: Tensor, y_pred: Tensor, tau: float | Tensor) -> Tensor:
    """Binary crossentropy of the logits τ·ŷ, divided by τ; the mean over the last axis (Béthune et al. 2022).

    Args:
        y_true: Labels of shape (batch,), (batch, 1) or (batch, C), in {0, 1} or {-1, 1}, or probabilities. Labels
            outside of [0, 1] count by their sign.
        y_pred: Logits of shape (batch,), (batch, 1) or (batch, C).
        tau: Inverse temperature, positive.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    positive = probabilities_of(y_true, y_pred.dtype)
    # One logit x against 0: two classes with the logits (0, x).
    labels = ops.stack([1.0 - positive, positive], axis=-1)
    logits = ops.stack([ops.zeros_like(y_pred), y_pred], axis=-1)
    return mean_of_last(tau_categorical_crossentropy(labels, logits, tau))


@keras.saving.register_keras_serializable("lipviz")
class TauCategoricalCrossentropy(VariableLoss):
    """Crossentropy of τ·ŷ over τ, see `tau_categorical_crossentropy`.

    Args:
        tau: Inverse temperature, positive. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If τ is not positive and finite.
    """

    function = staticmethod(tau_categorical_crossentropy)

    def __init__(
        self, tau: float, reduction: str = "sum_over_batch_size", name: str = "TauCategoricalCrossentropy"
    ) -> None:
        super().__init__(reduction, name, tau=nm.check_positive("tau", tau))


@keras.saving.register_keras_serializable("lipviz")
class TauSparseCategoricalCrossentropy(TauCategoricalCrossentropy):
    """`TauCategoricalCrossentropy` with numbers as labels, see `tau_sparse_categorical_crossentropy`.

    Args:
        tau: Inverse temperature, positive. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If τ is not positive and finite.
    """

    function = staticmethod(tau_sparse_categorical_crossentropy)

    def __init__(
        self, tau: float, reduction: str = "sum_over_batch_size", name: str = "TauSparseCategoricalCrossentropy"
    ) -> None:
        super().__init__(tau, reduction, name)


@keras.saving.register_keras_serializable("lipviz")
class TauBinaryCrossentropy(TauCategoricalCrossentropy):
    """Binary crossentropy of τ·ŷ over τ, see `tau_binary_crossentropy`.

    Args:
        tau: Inverse temperature, positive. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If τ is not positive and finite.
    """

    function = staticmethod(tau_binary_crossentropy)

    def __init__(self, tau: float, reduction: str = "sum_over_batch_size", name: str = "TauBinaryCrossentropy") -> None:
        super().__init__(tau, reduction, name)
