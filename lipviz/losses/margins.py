"""Kantorovich-Rubinstein estimates, hinges, and the mixtures of both (HKR)."""

import contextvars
import math
from typing import Any, ClassVar

import keras
from keras import ops

from lipviz import normalizers as nm
from lipviz.losses.shared import (
    VariableLoss,
    aligned,
    as_constants,
    hinges_of,
    in_range,
    is_positive,
    mean_of_last,
    true_and_rivals,
)
from lipviz.types import Tensor


def _balanced(positive, dtype, sample_weight=None):
    """B·(pos − neg), see `process_labels_for_multi_gpu`, of a boolean tensor.

    If all positive or all negative samples have the weight 0, they are left out: B is the number of the others.
    """
    positive = ops.cast(positive, dtype)
    size = ops.cast(ops.shape(positive)[0], dtype)
    count = ops.sum(positive, axis=0)
    # If a class has no samples, it has no weights: 1 only avoids 0/0.
    share, other = ops.maximum(count, 1.0), ops.maximum(size - count, 1.0)
    if sample_weight is not None:
        kept = ops.cast(ops.not_equal(sample_weight, 0), dtype)
        has_positive, has_negative = ops.sum(kept * positive, axis=0) > 0, ops.sum(kept * (1 - positive), axis=0) > 0
        one_side = ops.where(has_positive, count, size - count)
        size = ops.where(ops.logical_xor(has_positive, has_negative), one_side, size)
    return size * (positive / share - (1.0 - positive) / other)


def process_labels_for_multi_gpu(labels: Tensor) -> Tensor:
    """Weight labels by the size of their class, as the losses with `multi_gpu=True` expect.

    Let S = [label is positive], B the batch size, and Σ the sum over the batch. For each class, the result is
    B·(S/ΣS − (1−S)/(B−ΣS)). It depends on the whole batch. A device that has only a part of the batch cannot compute
    it, so call this function before the batch is split.

    Args:
        labels: Tensor of shape (batch,), (batch, 1) or (batch, C), in {0, 1} or {-1, 1}.

    Returns:
        A tensor of the same shape, in float64 for float64 labels and float32 for others. Positive where the label is.
    """
    labels = nm.floating(labels)
    return _balanced(is_positive(labels), labels.dtype)


def kr(y_true: Tensor, y_pred: Tensor, multi_gpu: bool = False) -> Tensor:
    """Kantorovich-Rubinstein estimate of the distance between classes (Serrurier et al. 2021).

    The mean over classes of ŷ times the weighted labels, see `process_labels_for_multi_gpu`. Its mean over the batch is
    E₊[f] − E₋[f], the difference of the mean predictions on positive and on negative samples; the largest value that a
    1-Lipschitz f attains is the Wasserstein-1 distance. The mean of a class without samples counts as 0.

    Args:
        y_true: Labels of shape (batch,), (batch, 1) or (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch,), (batch, 1) or (batch, C).
        multi_gpu: Whether the labels come from `process_labels_for_multi_gpu`.

    Returns:
        A tensor of shape (batch,), to be maximized.

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    weights = ops.cast(y_true, y_pred.dtype) if multi_gpu else _balanced(is_positive(y_true), y_pred.dtype)
    return mean_of_last(y_pred * weights)


multiclass_kr = kr  # one class against the others, averaged over the classes: what `kr` does to one-hot labels


def hinge_margin(y_true: Tensor, y_pred: Tensor, min_margin: float | Tensor = 1.0) -> Tensor:
    """Hinge on half the margin: the mean over the last axis of relu(min_margin/2 − (±1)·ŷ).

    Args:
        y_true: Labels of shape (batch,), (batch, 1) or (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch,), (batch, 1) or (batch, C).
        min_margin: Wanted distance between the predictions of the two classes. With 0, only the sign matters.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return mean_of_last(hinges_of(y_true, y_pred, min_margin))


def multiclass_hinge(y_true: Tensor, y_pred: Tensor, min_margin: float | Tensor = 1.0) -> Tensor:
    """`hinge_margin` of every class. The true class has the weight C − 1, as much as all others together.

    With C = 1 there are no other classes, and the true class has the weight 0.

    Args:
        y_true: One-hot labels of shape (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch, C).
        min_margin: Wanted distance, see `hinge_margin`.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    hinges = hinges_of(y_true, y_pred, min_margin)
    others = ops.cast(ops.shape(y_pred)[-1] - 1, y_pred.dtype)
    return mean_of_last(ops.where(is_positive(y_true), others * hinges, hinges))


def _hkr(distance, hinge, alpha):
    """−KR + α·hinge; α = inf is the hinge alone."""
    (alpha,) = as_constants(hinge, alpha)
    finite = ops.isfinite(alpha)
    # Both branches are differentiated, so neither may hold inf·0.
    return ops.where(finite, ops.where(finite, alpha, 0.0) * hinge - distance, hinge)


def hkr(
    y_true: Tensor, y_pred: Tensor, alpha: float | Tensor, min_margin: float | Tensor = 1.0, multi_gpu: bool = False
) -> Tensor:
    """Hinge-regularized Kantorovich-Rubinstein loss, −KR + α·hinge (Serrurier et al. 2021).

    Args:
        y_true: Labels of shape (batch,), (batch, 1) or (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch,), (batch, 1) or (batch, C).
        alpha: Weight of `hinge_margin`, at least 0. inf means the hinge alone.
        min_margin: See `hinge_margin`.
        multi_gpu: See `kr`.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    return _hkr(kr(y_true, y_pred, multi_gpu), hinge_margin(y_true, y_pred, min_margin), alpha)


def multiclass_hkr(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float | Tensor = 10.0,
    min_margin: float | Tensor = 1.0,
    multi_gpu: bool = False,
) -> Tensor:
    """−KR + α·hinge over several classes, with `multiclass_hinge`.

    Args:
        y_true: One-hot labels of shape (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch, C).
        alpha: Weight of the hinge, at least 0. inf means the hinge alone.
        min_margin: See `hinge_margin`.
        multi_gpu: See `kr`.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    return _hkr(multiclass_kr(y_true, y_pred, multi_gpu), multiclass_hinge(y_true, y_pred, min_margin), alpha)


def multi_margin(y_true: Tensor, y_pred: Tensor, min_margin: float | Tensor = 1.0) -> Tensor:
    """Hinge on each margin: Σ over i ≠ true of relu(min_margin − ŷ_true + ŷ_i), divided by C.

    Args:
        y_true: One-hot labels of shape (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch, C).
        min_margin: Wanted difference between the score of the true class and every other.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    (min_margin,) = as_constants(y_pred, min_margin)
    true, rivals = true_and_rivals(y_true, y_pred)
    return mean_of_last(ops.relu(min_margin - true + rivals))


def categorical_hinge(y_true: Tensor, y_pred: Tensor, min_margin: float | Tensor) -> Tensor:
    """Hinge on the margin of the sample, relu(min_margin − (ŷ_true − max of the others)); 0 where C = 1.

    Args:
        y_true: One-hot labels of shape (batch, C), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch, C).
        min_margin: Wanted margin.

    Returns:
        A tensor of shape (batch,).

    Raises:
        ValueError: If the shapes do not agree.
    """
    y_true, y_pred = aligned(y_true, y_pred)
    (min_margin,) = as_constants(y_pred, min_margin)
    true, rivals = true_and_rivals(y_true, y_pred)
    return ops.relu(min_margin - true[..., 0] + ops.max(rivals, axis=-1))


_sample_weight = contextvars.ContextVar("lipviz_sample_weight", default=None)


class _BalancedLoss(VariableLoss):
    """Base of the losses with a KR term, whose values depend on which samples have the weight 0.

    Weights multiply the values of samples, as in Keras. The values themselves depend on the batch. If all positive or
    all negative samples have the weight 0, the other samples get the values that they get without those.
    """

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        token = _sample_weight.set(sample_weight)
        try:
            return super().__call__(y_true, y_pred, sample_weight=sample_weight)
        finally:
            _sample_weight.reset(token)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        weight = _sample_weight.get()
        weight = None if weight is None else ops.convert_to_tensor(weight)
        if weight is None or self.multi_gpu or not weight.shape:  # one weight for all drops no side
            return super().call(y_true, y_pred)
        labels, scores = aligned(y_true, y_pred)
        while len(weight.shape) < len(labels.shape):
            weight = ops.expand_dims(weight, -1)
        settings = {key: getattr(self, key) for key in self._arguments}
        weighed = _balanced(is_positive(labels), scores.dtype, weight)
        return self.function(weighed, y_pred, **{**settings, "multi_gpu": True})


@keras.saving.register_keras_serializable("lipviz")
class KR(_BalancedLoss):
    """Kantorovich-Rubinstein estimate, see `kr`. Large is good, so use it as a metric; `HKR` minimizes its negative.

    If all positive or all negative samples have the weight 0, they are left out.

    Args:
        multi_gpu: Whether labels come from `process_labels_for_multi_gpu`.
        reduction: As in Keras.
        name: Name of the loss.
    """

    function = staticmethod(kr)

    def __init__(self, multi_gpu: bool = False, reduction: str = "sum_over_batch_size", name: str = "KR") -> None:
        super().__init__(reduction, name, multi_gpu=bool(multi_gpu))


@keras.saving.register_keras_serializable("lipviz")
class HKR(_BalancedLoss):
    """Hinge-regularized Kantorovich-Rubinstein loss, see `hkr`.

    If all positive or all negative samples have the weight 0, they are left out.

    Args:
        alpha: Weight of the hinge, at least 0; inf means the hinge alone. A variable.
        min_margin: Margin of the hinge, at least 0. A variable.
        multi_gpu: Whether labels come from `process_labels_for_multi_gpu`.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If a number is out of its range.
    """

    function = staticmethod(hkr)

    def __init__(
        self,
        alpha: float,
        min_margin: float = 1.0,
        multi_gpu: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "HKR",
    ) -> None:
        super().__init__(
            reduction,
            name,
            alpha=in_range("alpha", alpha, math.inf),
            min_margin=in_range("min_margin", min_margin),
            multi_gpu=bool(multi_gpu),
        )


@keras.saving.register_keras_serializable("lipviz")
class HingeMargin(VariableLoss):
    """Hinge on half the margin, see `hinge_margin`.

    Args:
        min_margin: Margin of the hinge, at least 0. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If the margin is out of its range.
    """

    function: ClassVar[Any] = staticmethod(hinge_margin)

    def __init__(
        self, min_margin: float = 1.0, reduction: str = "sum_over_batch_size", name: str = "HingeMargin"
    ) -> None:
        super().__init__(reduction, name, min_margin=in_range("min_margin", min_margin))


@keras.saving.register_keras_serializable("lipviz")
class MulticlassKR(KR):
    """`KR` of every class against the others, averaged.

    Args:
        multi_gpu: Whether labels come from `process_labels_for_multi_gpu`.
        reduction: As in Keras.
        name: Name of the loss.
    """

    def __init__(
        self, multi_gpu: bool = False, reduction: str = "sum_over_batch_size", name: str = "MulticlassKR"
    ) -> None:
        super().__init__(multi_gpu, reduction, name)


@keras.saving.register_keras_serializable("lipviz")
class MulticlassHinge(HingeMargin):
    """Hinge on every class, with the true one weighted by C − 1, see `multiclass_hinge`.

    Args:
        min_margin: Margin of the hinge, at least 0. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If the margin is out of its range.
    """

    function = staticmethod(multiclass_hinge)

    def __init__(
        self, min_margin: float = 1.0, reduction: str = "sum_over_batch_size", name: str = "MulticlassHinge"
    ) -> None:
        super().__init__(min_margin, reduction, name)


@keras.saving.register_keras_serializable("lipviz")
class MulticlassHKR(HKR):
    """−KR + α·hinge over several classes, see `multiclass_hkr`.

    Args:
        alpha: Weight of the hinge, at least 0; inf means the hinge alone. A variable.
        min_margin: Margin of the hinge, at least 0. A variable.
        multi_gpu: Whether labels come from `process_labels_for_multi_gpu`.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If a number is out of its range.
    """

    function = staticmethod(multiclass_hkr)

    def __init__(
        self,
        alpha: float = 10.0,
        min_margin: float = 1.0,
        multi_gpu: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "MulticlassHKR",
    ) -> None:
        super().__init__(alpha, min_margin, multi_gpu, reduction, name)


@keras.saving.register_keras_serializable("lipviz")
class MultiMargin(HingeMargin):
    """Hinge on the margin to each other class, see `multi_margin`.

    Args:
        min_margin: Wanted margin, at least 0. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If the margin is out of its range.
    """

    function = staticmethod(multi_margin)

    def __init__(
        self, min_margin: float = 1.0, reduction: str = "sum_over_batch_size", name: str = "MultiMargin"
    ) -> None:
        super().__init__(min_margin, reduction, name)


@keras.saving.register_keras_serializable("lipviz")
class CategoricalHinge(HingeMargin):
    """Hinge on the margin to the best of the other classes, see `categorical_hinge`.

    Args:
        min_margin: Wanted margin, at least 0. A variable.
        reduction: As in Keras.
        name: Name of the loss.

    Raises:
        ValueError: If the margin is out of its range.
    """

    function = staticmethod(categorical_hinge)

    def __init__(
        self, min_margin: float, reduction: str = "sum_over_batch_size", name: str = "CategoricalHinge"
    ) -> None:
        super().__init__(min_margin, reduction, name)
