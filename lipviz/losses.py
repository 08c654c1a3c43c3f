"""Losses for Lipschitz-constrained networks: Kantorovich-Rubinstein, hinge, mixtures, scaled cross-entropies.

Each loss is a pure function with one value per sample, and a thin `keras.Loss` around it. For all of them:

* Labels are (batch, 1), (batch,) or one-hot (batch, C), in {0, 1} or {-1, 1}, of any dtype. A label above 0 is
  positive. Shapes that do not fit raise a `ValueError` and are not broadcast.
* A function computes in float64 for float64 predictions and in float32 for all others; a class in
  `keras.config.floatx()`, as every Keras loss.
* The numbers that a class takes (`alpha`, `min_margin`, `tau`, ...) are Keras variables. `loss.alpha.assign(3.0)`
  changes a training step that is already compiled. `get_config`, and so a saved model, has the present value.
  On JAX a compiled step reads only the variables that the model tracks: `lipviz.Sequential` and `lipviz.Model` track
  those of their losses, a plain `keras.Model` does not. On JAX, a callback that assigns in the middle of an epoch
  must read `self.model` first, as for any other state: this brings the variables up to date.

References:
    Serrurier et al. (2021), Achieving robustness in classification using optimal transport with hinge regularization.
    Béthune et al. (2022), Pay attention to your loss: understanding misconceptions about 1-Lipschitz neural networks.
    Serrurier et al. (2024), for the two losses with a soft maximum over the other classes.
"""

import contextvars
import math
import sys
from typing import Any, ClassVar, Self

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.types import Tensor

# --- shared pieces ---


def _agree(expected, received):
    """Whether two static shapes can be the same; None is unknown."""
    return len(expected) == len(received) and all(
        a == b or a is None or b is None for a, b in zip(expected, received, strict=True)
    )


def _aligned(y_true, y_pred):
    """Labels and predictions as tensors of the same shape (batch, ..., C), the predictions in a floating dtype."""
    y_true, y_pred = ops.convert_to_tensor(y_true), nm.floating(y_pred)
    expected, received = tuple(y_pred.shape), tuple(y_true.shape)
    if len(expected) == 1:
        y_pred = ops.expand_dims(y_pred, -1)
    if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
        y_true = ops.expand_dims(y_true, -1)
    if not expected or not _agree(y_pred.shape, y_true.shape):
        raise ValueError(
            "Labels must have the shape of the predictions, (batch, C), or (batch,) where C is 1. "
            f"Expected: {expected}. Received: {received}"
        )
    return y_true, y_pred


def _mean(x):
    """Mean over the last axis; that of Keras passes through float32 on JAX, also for float64."""
    return ops.sum(x, axis=-1) / ops.cast(ops.shape(x)[-1], x.dtype)


def _constants(like, *values):
    """Numbers, tensors or variables as tensors in the dtype of `like`."""
    return [ops.convert_to_tensor(value, dtype=like.dtype) for value in values]


def _positive(labels):
    """Where labels are positive, as booleans. Unlike the operator `>`, `ops.greater` compares booleans too."""
    return ops.greater(labels, 0)


def _true_and_rivals(y_true, y_pred):
    """Score of the true class, (batch, 1); all scores, with that of the true class as low as possible, (batch, C)."""
    true = _positive(y_true)
    # The lowest finite number, not -inf: the difference of two of them must not be NaN if there is no other class.
    lowest = float(np.finfo(keras.backend.standardize_dtype(y_pred.dtype)).min)
    return (
        ops.sum(ops.where(true, y_pred, ops.zeros_like(y_pred)), axis=-1, keepdims=True),
        ops.where(true, ops.full_like(y_pred, lowest), y_pred),
    )


def _log_sum_exp(x, tau):
    """Split log(Σ exp(τx))/τ into max(x) and a rest in [0, log(C)/τ]. The last axis is reduced, and kept with size 1.

    No τ·x overflows. No gradient flows through the maximum. The gradient of the rest is that of the whole, the softmax
    of τx.
    """
    largest = ops.stop_gradient(ops.max(x, axis=-1, keepdims=True))
    return largest, ops.log(ops.sum(ops.exp(tau * (x - largest)), axis=-1, keepdims=True)) / tau


# --- Kantorovich-Rubinstein and hinge ---


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
    return _balanced(_positive(labels), labels.dtype)


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
    y_true, y_pred = _aligned(y_true, y_pred)
    weights = ops.cast(y_true, y_pred.dtype) if multi_gpu else _balanced(_positive(y_true), y_pred.dtype)
    return _mean(y_pred * weights)


multiclass_kr = kr  # one class against the others, averaged over the classes: what `kr` does to one-hot labels


def _hinges(y_true, y_pred, min_margin):
    """relu(min_margin/2 − (±1)·ŷ) of every entry, (batch, C)."""
    (min_margin,) = _constants(y_pred, min_margin)
    return ops.relu(min_margin / 2 - ops.where(_positive(y_true), y_pred, -y_pred))


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
    y_true, y_pred = _aligned(y_true, y_pred)
    return _mean(_hinges(y_true, y_pred, min_margin))


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
    y_true, y_pred = _aligned(y_true, y_pred)
    hinges = _hinges(y_true, y_pred, min_margin)
    others = ops.cast(ops.shape(y_pred)[-1] - 1, y_pred.dtype)
    return _mean(ops.where(_positive(y_true), others * hinges, hinges))


def _hkr(distance, hinge, alpha):
    """−KR + α·hinge; α = inf is the hinge alone."""
    (alpha,) = _constants(hinge, alpha)
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
    y_true, y_pred = _aligned(y_true, y_pred)
    (min_margin,) = _constants(y_pred, min_margin)
    true, rivals = _true_and_rivals(y_true, y_pred)
    return _mean(ops.relu(min_margin - true + rivals))


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
    y_true, y_pred = _aligned(y_true, y_pred)
    (min_margin,) = _constants(y_pred, min_margin)
    true, rivals = _true_and_rivals(y_true, y_pred)
    return ops.relu(min_margin - true[..., 0] + ops.max(rivals, axis=-1))


# --- crossentropies with an inverse temperature ---


def _probabilities(labels, dtype):
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
    y_true, y_pred = _aligned(y_true, y_pred)
    (tau,) = _constants(y_pred, tau)
    largest, rest = _log_sum_exp(y_pred, tau)
    probabilities = _probabilities(y_true, y_pred.dtype)
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
    if len(y_pred.shape) < 2 or y_pred.shape[-1] is None or not _agree(y_pred.shape[:-1], labels.shape):
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
    y_true, y_pred = _aligned(y_true, y_pred)
    positive = _probabilities(y_true, y_pred.dtype)
    # One logit x against 0: two classes with the logits (0, x).
    labels = ops.stack([1.0 - positive, positive], axis=-1)
    logits = ops.stack([ops.zeros_like(y_pred), y_pred], axis=-1)
    return _mean(tau_categorical_crossentropy(labels, logits, tau))


# --- HKR against a soft maximum of the other classes ---


def _mean_magnitude(y_pred):
    """Mean of |ŷ| over all entries, a scalar."""
    return _mean(ops.reshape(ops.abs(y_pred), (-1,)))


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
    y_true, y_pred = _aligned(y_true, y_pred)
    mean_magnitude = _mean_magnitude(y_pred) if mean_magnitude is None else mean_magnitude
    alpha, min_margin, temperature, magnitude = _constants(y_pred, alpha, min_margin, temperature, mean_magnitude)
    sharpness = ops.clip(temperature * min_margin / ops.maximum(min_margin, magnitude), 0.005, 250.0)
    sharpness = ops.stop_gradient(sharpness)

    _, rivals = _true_and_rivals(y_true, y_pred)
    largest, rest = _log_sum_exp(rivals, sharpness)
    softmax = ops.exp(sharpness * (rivals - largest - rest))
    weights = ops.where(_positive(y_true), ops.ones_like(y_pred), softmax)
    hinges = _hinges(y_true, y_pred, min_margin)
    signed = ops.where(_positive(y_true), y_pred, -y_pred)
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
    y_true, y_pred = _aligned(y_true, y_pred)
    alpha, temperature, penalty, min_margin = _constants(y_pred, alpha, temperature, penalty, min_margin)
    half = min_margin / 2
    others = ops.cast(ops.shape(y_pred)[-1] - 1, y_pred.dtype)
    t = ops.where(others > 1, ops.log(ops.maximum(others, 2.0)), 1.0) / (half * penalty)

    true, rivals = _true_and_rivals(y_true, temperature * y_pred)
    largest, rest = _log_sum_exp(rivals, t)
    # The gradient flows through `rest` alone.
    soft_maximum = ops.where(others > 0, largest + rest, -half)
    hinges = ops.relu(half - true) + ops.relu(half + soft_maximum)
    return ((1.0 - alpha) * (soft_maximum - true) + alpha * hinges)[..., 0]


# --- the classes ---


def _in_range(name, value, largest=sys.float_info.max):
    """Return `value` as a float if it is a number from 0 to `largest`, else raise ValueError."""
    number = nm.as_number(value)
    if not 0 <= number <= largest:
        bound = "finite" if largest == sys.float_info.max else f"at most {largest}"
        raise ValueError(f"`{name}` must be a number of at least 0, {bound}. Received: {name}={value!r}")
    return number


def _present(value):
    """The value of a variable for JSON: the shortest number that is the same in the variable's dtype."""
    return value if isinstance(value, bool) else float(str(ops.convert_to_numpy(value)[()]))


class _VariableLoss(keras.Loss):
    """Base of the losses: a pure function whose numeric arguments are variables.

    Args:
        reduction: How Keras reduces the values of the samples.
        name: Name of the loss.
        **arguments: The function's arguments by name. A number becomes a variable, a bool does not.

    Attributes:
        function: The function of a subclass.
    """

    function: ClassVar[Any] = None

    def __init__(self, reduction: str, name: str, **arguments: Any) -> None:
        super().__init__(name=name, reduction=reduction)
        self._arguments = tuple(arguments)
        for key, value in arguments.items():
            setattr(self, key, value if isinstance(value, bool) else self._variable(key, value))

    def _variable(self, key, value):
        with keras.name_scope(self.name):
            return keras.Variable(value, dtype=keras.config.floatx(), trainable=False, aggregation="mean", name=key)

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables of the loss. On JAX, a compiled step sees them change only if the model tracks them."""
        return [value for value in vars(self).values() if isinstance(value, keras.Variable)]

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.function(y_true, y_pred, **{key: getattr(self, key) for key in self._arguments})

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{key: _present(getattr(self, key)) for key in self._arguments}}


_sample_weight = contextvars.ContextVar("lipviz_sample_weight", default=None)


class _BalancedLoss(_VariableLoss):
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
        labels, scores = _aligned(y_true, y_pred)
        while len(weight.shape) < len(labels.shape):
            weight = ops.expand_dims(weight, -1)
        settings = {key: getattr(self, key) for key in self._arguments}
        weighed = _balanced(_positive(labels), scores.dtype, weight)
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
            alpha=_in_range("alpha", alpha, math.inf),
            min_margin=_in_range("min_margin", min_margin),
            multi_gpu=bool(multi_gpu),
        )


@keras.saving.register_keras_serializable("lipviz")
class HingeMargin(_VariableLoss):
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
        super().__init__(reduction, name, min_margin=_in_range("min_margin", min_margin))


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


@keras.saving.register_keras_serializable("lipviz")
class TauCategoricalCrossentropy(_VariableLoss):
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


@keras.saving.register_keras_serializable("lipviz")
class SoftHKRMulticlassLoss(_VariableLoss):
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
            alpha=_in_range("alpha", alpha, 1),
            min_margin=nm.check_positive("min_margin", min_margin),
            alpha_mean=_in_range("alpha_mean", alpha_mean, 1),
            temperature=nm.check_positive("temperature", temperature),
        )
        self.running_mean = self._variable("running_mean", float(np.clip(min_margin, 0.005, 1000.0)))

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_pred = nm.floating(y_pred)
        decay, mean = _constants(y_pred, self.alpha_mean, self.running_mean)
        mean = ops.clip(decay * mean + (1.0 - decay) * _mean_magnitude(y_pred), 0.005, 1000.0)
        mean = ops.stop_gradient(mean)
        self.running_mean.assign(ops.cast(mean, self.running_mean.dtype))
        return soft_hkr_multiclass(y_true, y_pred, self.alpha, self.min_margin, self.temperature, mean)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "running_mean": _present(self.running_mean)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        config = dict(config)
        mean = config.pop("running_mean", None)
        loss = cls(**config)
        if mean is not None:
            loss.running_mean.assign(mean)
        return loss


@keras.saving.register_keras_serializable("lipviz")
class LseHKRMulticlassLoss(_VariableLoss):
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
            alpha=_in_range("alpha", alpha, 1),
            temperature=nm.check_positive("temperature", temperature),
            penalty=nm.check_positive("penalty", penalty),
            min_margin=nm.check_positive("min_margin", min_margin),
        )
