"""Cross-entropies that ask for a margin: the score of the true class is lowered, or those of its rivals are raised."""

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.losses.cross_entropies import probabilities_of, tau_categorical_crossentropy
from lipviz.losses.shared import VariableLoss, aligned, as_constants, in_range, is_positive, true_and_rivals
from lipviz.types import Tensor


def offset_categorical_crossentropy(
    y_true: Tensor, y_pred: Tensor, tau: float | Tensor, offset: float | Tensor
) -> Tensor:
    """Crossentropy of the logits τ·(ŷ − offset·1_true), divided by τ (Prach and Lampert 2022).

    The loss of a sample stays large until the true class leads by about the offset, and then falls within about 1/τ.
    For a network whose outputs are L-Lipschitz together, a lead of √2·L·ε certifies the radius ε.

    Args:
        y_true: One-hot labels of shape (batch, C), in {0, 1} or {-1, 1}, or probabilities, which share the offset.
            Labels outside of [0, 1] count by their sign.
        y_pred: Logits of shape (batch, C).
        tau: Inverse temperature, positive.
        offset: What is subtracted from the score of the true class, at least 0. With 0, this is
            `tau_categorical_crossentropy`.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    (offset,) = as_constants(y_pred, offset)
    return tau_categorical_crossentropy(y_true, y_pred - offset * probabilities_of(y_true, y_pred.dtype), tau)


def logit_annealing(
    y_true: Tensor,
    y_pred: Tensor,
    temperature: float | Tensor = 0.75,
    offset: float | Tensor = 2.0,
    gamma: float | Tensor = 5.0,
) -> Tensor:
    """Logit annealing: T (1 − p)^γ · crossentropy of (ŷ − offset·1_true)/T (Lai et al. 2025).

    Here −log p is that crossentropy, so for one-hot labels p is the probability of the true class. The factor (1 − p)^γ
    takes the gradient from samples that have their margin. So a network of limited capacity spends it on the others.

    Args:
        y_true: See `offset_categorical_crossentropy`.
        y_pred: Logits of shape (batch, C).
        temperature: T, positive: 1/τ of `offset_categorical_crossentropy`.
        offset: What is subtracted from the score of the true class, at least 0.
        gamma: Exponent γ, at least 0. With 0, this is `offset_categorical_crossentropy`.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    temperature, gamma = as_constants(y_pred, temperature, gamma)
    losses = offset_categorical_crossentropy(y_true, y_pred, 1 / temperature, offset)
    tiny = float(np.finfo(keras.backend.standardize_dtype(y_pred.dtype)).tiny)  # 0 has no gradient for γ < 1
    return losses * ops.power(ops.maximum(-ops.expm1(-losses / temperature), tiny), gamma)


def emma_categorical_crossentropy(
    y_true: Tensor, y_pred: Tensor, tau: float | Tensor, offset: float | Tensor
) -> Tensor:
    """Crossentropy in which rivals are raised, up to the true class: EMMA (Hu et al. 2023).

    The score of each other class is raised by clip(ŷ_true − ŷ_i, 0, offset), which counts as constant for the gradient.
    So a rival that is less than the offset behind counts as if it were level with the true class, and one that leads
    stays as it is. The loss is the crossentropy of τ times these scores, divided by τ. The offset is ε times the
    Lipschitz constant of a difference of two logits: √2·L·ε for outputs that are L-Lipschitz together.

    Args:
        y_true: One-hot labels of shape (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Logits of shape (batch, C).
        tau: Inverse temperature, positive.
        offset: Most that a rival is raised by, at least 0. With 0, this is `tau_categorical_crossentropy`.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.

    The code of Hu et al. raises every rival by at least a hundredth of the offset, also one that leads.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    (offset,) = as_constants(y_pred, offset)
    true, _ = true_and_rivals(y_true, y_pred)
    raised = y_pred + ops.stop_gradient(ops.clip(true - y_pred, 0.0, offset))
    return tau_categorical_crossentropy(y_true, ops.where(is_positive(y_true), y_pred, raised), tau)


@keras.saving.register_keras_serializable("lipviz")
class OffsetCategoricalCrossentropy(VariableLoss):
    """Crossentropy whose true logit is lowered, see `offset_categorical_crossentropy`.

    Args:
        tau: Inverse temperature, positive. A variable.
        offset: What is subtracted from the score of the true class, at least 0. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If a number is out of its range.
    """

    function = staticmethod(offset_categorical_crossentropy)

    def __init__(
        self,
        tau: float,
        offset: float,
        reduction: str = "sum_over_batch_size",
        name: str = "OffsetCategoricalCrossentropy",
    ) -> None:
        super().__init__(reduction, name, tau=nm.check_positive("tau", tau), offset=in_range("offset", offset))


@keras.saving.register_keras_serializable("lipviz")
class LogitAnnealing(VariableLoss):
    """Logit annealing, see `logit_annealing`.

    Args:
        temperature: T, positive. A variable.
        offset: What is subtracted from the score of the true class, at least 0. A variable.
        gamma: Exponent γ, at least 0. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If a number is out of its range.
    """

    function = staticmethod(logit_annealing)

    def __init__(
        self,
        temperature: float = 0.75,
        offset: float = 2.0,
        gamma: float = 5.0,
        reduction: str = "sum_over_batch_size",
        name: str = "LogitAnnealing",
    ) -> None:
        super().__init__(
            reduction,
            name,
            temperature=nm.check_positive("temperature", temperature),
            offset=in_range("offset", offset),
            gamma=in_range("gamma", gamma),
        )


@keras.saving.register_keras_serializable("lipviz")
class EMMACategoricalCrossentropy(OffsetCategoricalCrossentropy):
    """Crossentropy whose rivals are raised, see `emma_categorical_crossentropy`.

    Args:
        tau: Inverse temperature, positive. A variable.
        offset: Most that a rival is raised by, at least 0. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If a number is out of its range.
    """

    function = staticmethod(emma_categorical_crossentropy)

    def __init__(
        self,
        tau: float,
        offset: float,
        reduction: str = "sum_over_batch_size",
        name: str = "EMMACategoricalCrossentropy",
    ) -> None:
        super().__init__(tau, offset, reduction, name)
