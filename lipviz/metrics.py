"""Metrics of certified robustness: how far an input must move before the prediction of a Lipschitz network changes.

Each metric is a pure function with one value per sample, and a thin `keras.Metric` with the mean of these values. The
mean is correct for batches of any size and with sample weights. In the reference library these classes are losses, and
the mean of batch means gives too much weight to the samples of a smaller last batch. There is one difference in use:
`reduction` must be a mean here. For one value per sample, call the functions.

A radius is certified if no change of the input with a smaller l2 norm changes the predicted class:

* one output, L-Lipschitz: ``|ŷ|/L``;
* outputs that are L-Lipschitz each (`disjoint_neurons=True`, as after `FrobeniusDense`): a difference of two is
  2L-Lipschitz, the radius margin/(2L);
* outputs that are L-Lipschitz together (`disjoint_neurons=False`, as after `SpectralDense`): a difference of two is
  √2·L-Lipschitz, the radius margin/(√2·L).

A number L is not checked. If you pass a `Certificate` of `lipviz.certify` in its place, L is proved: it is the upper
bound of the certificate. This bound holds for all outputs together, so use `disjoint_neurons=False`, which is valid and
gives larger radii. A metric reads this bound once, when it is constructed. After training, the network has another
bound.

References:
    Tsuzuku, Sato and Sugiyama (2018), Lipschitz-margin training: scalable certification of perturbation invariance.
"""

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.keras_internals import set_direction_up
from lipviz.types import Tensor


class _Certificate(Protocol):
    """What the metrics use of a `lipviz.certification.Certificate`."""

    @property
    def upper_bound(self) -> float: ...


# --- per sample ---


def _shape_error(expected, y_true, y_pred):
    return ValueError(f"Expected {expected}. Received: labels {tuple(y_true.shape)}, predictions {tuple(y_pred.shape)}")


def _classes(y_true, y_pred):
    """Number of the true class of each sample: the label itself, or the index of the largest entry of a one-hot row."""
    labels = ops.convert_to_tensor(y_true)
    expected = "predictions of shape (batch, C) with C > 1 and labels of shape (batch, C), (batch,) or (batch, 1)"
    batch, count = tuple(y_pred.shape[:-1]), (tuple(y_pred.shape) or (1,))[-1]
    if not batch or count in (None, 1):
        raise _shape_error(expected, labels, y_pred)
    if len(labels.shape) == len(y_pred.shape):
        if labels.shape[-1] not in (1, count):
            raise _shape_error(expected, labels, y_pred)
        labels = labels[..., 0] if labels.shape[-1] == 1 else ops.argmax(labels, axis=-1)
    known = zip(labels.shape, batch, strict=False)
    if len(labels.shape) != len(batch) or any(None not in pair and pair[0] != pair[1] for pair in known):
        raise _shape_error(expected, ops.convert_to_tensor(y_true), y_pred)
    return ops.cast(labels, "int32")


def _categorical_margin(y_true, y_pred):
    """ŷ_true − max of the others, (batch,). NaN for a label that is no class."""
    true = ops.cast(ops.one_hot(_classes(y_true, y_pred), y_pred.shape[-1]), "bool")
    lowest = float(np.finfo(keras.backend.standardize_dtype(y_pred.dtype)).min)
    rival = ops.max(ops.where(true, ops.full_like(y_pred, lowest), y_pred), axis=-1)
    score = ops.sum(ops.where(true, y_pred, ops.zeros_like(y_pred)), axis=-1)
    return ops.where(ops.any(true, axis=-1), score - rival, ops.full_like(score, math.nan))


def _binary_margin(y_true, y_pred):
    """ŷ for positive labels and −ŷ for negative ones, (batch,)."""
    labels = ops.convert_to_tensor(y_true)
    for shape in (labels.shape, y_pred.shape):
        if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
            raise _shape_error("labels and predictions of shape (batch,) or (batch, 1)", labels, y_pred)
    if None not in (labels.shape[0], y_pred.shape[0]) and labels.shape[0] != y_pred.shape[0]:
        raise _shape_error("as many labels as predictions", labels, y_pred)
    labels, scores = ops.reshape(labels, (-1,)), ops.reshape(y_pred, (-1,))
    return ops.where(ops.greater(labels, 0), scores, -scores)


def _checked_lip_const(value):
    """A Lipschitz constant as a float: the number itself, or the upper bound of a `Certificate`."""
    if not hasattr(value, "upper_bound"):
        return nm.check_positive("lip_const", value)
    norm, bound = getattr(value, "norm", 2), value.upper_bound
    if norm != 2 or not 0 < bound < math.inf:
        raise ValueError(
            "`lip_const` must be a certificate in the l2 norm, whose upper bound is positive and finite. "
            f"Received: upper bound {bound} in the norm {norm}"
        )
    return float(bound)


def _radius(margin, lip_const, negative_robustness):
    radius = margin / _checked_lip_const(lip_const)
    return radius if negative_robustness else ops.maximum(radius, 0.0)


def _check_epsilon(epsilon):
    number = nm.as_number(epsilon)
    if not 0 <= number < math.inf:
        raise ValueError(f"`epsilon` must be a finite number of at least 0. Received: epsilon={epsilon!r}")
    return number


def categorical_provable_robustness(
    y_true: Tensor,
    y_pred: Tensor,
    lip_const: float | _Certificate = 1.0,
    disjoint_neurons: bool = True,
    negative_robustness: bool = False,
) -> Tensor:
    """Certified radius of each sample, from the margin ŷ_true − max of the others (Tsuzuku et al. 2018).

    margin/(2·lip_const) for disjoint neurons, margin/(√2·lip_const) otherwise.

    Args:
        y_true: Labels of shape (batch, C): one-hot in {0, 1} or {-1, 1}, or soft, where the largest is the class (the
            first of several). Or the class's number, of shape (batch,) or (batch, 1); one that is not in 0 ... C − 1
            gives NaN.
        y_pred: Predictions of shape (batch, C) with C > 1.
        lip_const: Lipschitz constant of the network, positive: of each output for disjoint neurons, else of all outputs
            together. Or a `Certificate`.
        disjoint_neurons: Whether `lip_const` holds for each output by itself, and not for all together.
        negative_robustness: With False, misclassified samples get 0. With True, they get a negative radius −r: no
            change of the input with a norm below r corrects the prediction.

    Returns:
        A tensor of shape (batch,), in float64 for float64 predictions, else in float32.

    Raises:
        ValueError: If shapes do not fit or `lip_const` is not positive and finite, or not in the l2 norm.
    """
    y_pred = nm.floating(y_pred)
    factor = 2.0 if disjoint_neurons else math.sqrt(2.0)
    return _radius(_categorical_margin(y_true, y_pred) / factor, lip_const, negative_robustness)


def binary_provable_robustness(
    y_true: Tensor, y_pred: Tensor, lip_const: float | _Certificate = 1.0, negative_robustness: bool = False
) -> Tensor:
    """Certified radius of each sample of two classes, ±ŷ/lip_const.

    Args:
        y_true: Labels of shape (batch,) or (batch, 1), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch,) or (batch, 1); their sign is the class.
        lip_const: Lipschitz constant of the network, positive, or a `Certificate`.
        negative_robustness: See `categorical_provable_robustness`.

    Returns:
        A tensor of shape (batch,), in float64 for float64 predictions, else in float32.

    Raises:
        ValueError: If shapes do not fit or `lip_const` is not positive and finite, or not in the l2 norm.
    """
    return _radius(_binary_margin(y_true, nm.floating(y_pred)), lip_const, negative_robustness)


def categorical_provable_robust_accuracy(
    y_true: Tensor,
    y_pred: Tensor,
    epsilon: float = 36 / 255,
    lip_const: float | _Certificate = 1.0,
    disjoint_neurons: bool = True,
) -> Tensor:
    """1 for a sample that no change of norm up to epsilon can misclassify, else 0.

    The value is 1 if the certified radius exceeds epsilon. If they are equal, it is 0, since a change of that size
    could reach a tie. For the same reason, epsilon = 0 gives the accuracy with ties counted as wrong.

    Args:
        y_true: See `categorical_provable_robustness`.
        y_pred: Predictions of shape (batch, C) with C > 1.
        epsilon: Size of the change in the l2 norm, at least 0.
        lip_const: See `categorical_provable_robustness`.
        disjoint_neurons: See `categorical_provable_robustness`.

    Returns:
        A tensor of shape (batch,), of 0 and 1.

    Raises:
        ValueError: If shapes do not fit or a number is out of its range.
    """
    radius = categorical_provable_robustness(y_true, y_pred, lip_const, disjoint_neurons)
    return ops.cast(radius > _check_epsilon(epsilon), radius.dtype)


def binary_provable_robust_accuracy(
    y_true: Tensor, y_pred: Tensor, epsilon: float = 36 / 255, lip_const: float | _Certificate = 1.0
) -> Tensor:
    """1 for a sample that no change of norm up to epsilon can misclassify, else 0; for two classes and one output.

    Args:
        y_true: Labels of shape (batch,) or (batch, 1), in {0, 1} or {-1, 1}.
        y_pred: Predictions of shape (batch,) or (batch, 1).
        epsilon: Size of the change in the l2 norm, at least 0.
        lip_const: Lipschitz constant of the network, positive, or a `Certificate`.

    Returns:
        A tensor of shape (batch,), of 0 and 1.

    Raises:
        ValueError: If shapes do not fit or a number is out of its range.
    """
    radius = binary_provable_robustness(y_true, y_pred, lip_const)
    return ops.cast(radius > _check_epsilon(epsilon), radius.dtype)


# --- over all batches ---

_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


class _RobustnessMetric(keras.metrics.MeanMetricWrapper):
    """The weighted mean of a function of the samples.

    Args:
        reduction: One of Keras's names for a mean.
        name: Name of the metric.
        **arguments: The function's arguments by name.

    Attributes:
        function: The function of a subclass.
    """

    function: ClassVar[Any] = None

    def __init__(self, reduction: str, name: str, **arguments: Any) -> None:
        if reduction not in _MEANS:
            raise ValueError(
                f"A metric is a mean over all samples: `reduction` must be one of {_MEANS}. For one value per sample "
                f"call `lipviz.metrics.{self.function.__name__}`. Received: reduction={reduction!r}"
            )
        super().__init__(self._per_sample, name=name)
        set_direction_up(self)
        self.reduction = reduction
        self._arguments = tuple(arguments)
        for key, value in arguments.items():
            setattr(self, key, value)

    def _per_sample(self, y_true, y_pred):
        return self.function(y_true, y_pred, **{key: getattr(self, key) for key in self._arguments})

    def get_config(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in self._arguments}
        return {"name": self.name, "reduction": self.reduction, **own}


@keras.saving.register_keras_serializable("lipviz")
class CategoricalProvableRobustAccuracy(_RobustnessMetric):
    """Share of samples that no change of norm up to epsilon misclassifies, see `categorical_provable_robust_accuracy`.

    Args:
        epsilon: Size of the change in the l2 norm, at least 0.
        lip_const: Lipschitz constant of the network, positive, or a `Certificate`.
        disjoint_neurons: Whether `lip_const` holds for each output by itself, and not for all together.
        reduction: A mean, see the module.
        name: Name of the metric.

    Raises:
        ValueError: If a number is out of its range, or the reduction is not a mean.
    """

    function = staticmethod(categorical_provable_robust_accuracy)

    def __init__(
        self,
        epsilon: float = 36 / 255,
        lip_const: float | _Certificate = 1.0,
        disjoint_neurons: bool = True,
        reduction: str = "sum_over_batch_size",
        name: str = "CategoricalProvableRobustAccuracy",
    ) -> None:
        super().__init__(
            reduction,
            name,
            epsilon=_check_epsilon(epsilon),
            lip_const=_checked_lip_const(lip_const),
            disjoint_neurons=bool(disjoint_neurons),
        )


def provable_robust_accuracies(
    epsilons: Iterable[float] = (36 / 255, 0.5, 1.0),
    lip_const: float | _Certificate = 1.0,
    disjoint_neurons: bool = True,
) -> list[CategoricalProvableRobustAccuracy]:
    """Certified accuracy at several sizes of a change at once: a metric for each, with its size in its name.

    The progress bar of `fit` then shows all of them:
    `model.compile(..., metrics=["accuracy", *provable_robust_accuracies()])`.

    Args:
        epsilons: Sizes of the change in the l2 norm, each at least 0, none twice.
        lip_const: See `CategoricalProvableRobustAccuracy`.
        disjoint_neurons: See `CategoricalProvableRobustAccuracy`.

    Returns:
        A list of metrics, named "certified_0.141" for 36/255, with three digits, and more where names would agree.

    Raises:
        ValueError: If a number is out of its range, or a size is there twice.
    """
    if isinstance(epsilons, str) or not isinstance(epsilons, Iterable):
        raise ValueError(f"`epsilons` must be a list of numbers. Received: epsilons={epsilons!r}")
    sizes = [_check_epsilon(epsilon) for epsilon in epsilons]
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"`epsilons` must differ from each other. Received: epsilons={sizes}")
    formats = (f".{digits}g" for digits in range(3, 18))
    names = next(names for names in ([f"certified_{e:{f}}" for e in sizes] for f in formats) if _differ(names))
    return [
        CategoricalProvableRobustAccuracy(epsilon, lip_const, disjoint_neurons, name=name)
        for epsilon, name in zip(sizes, names, strict=True)
    ]


def _differ(names):
    return len(set(names)) == len(names)


@keras.saving.register_keras_serializable("lipviz")
class BinaryProvableRobustAccuracy(_RobustnessMetric):
    """Share of samples that no change of norm up to epsilon misclassifies, see `binary_provable_robust_accuracy`.

    Args:
        epsilon: Size of the change in the l2 norm, at least 0.
        lip_const: Lipschitz constant of the network, positive, or a `Certificate`.
        reduction: A mean, see the module.
        name: Name of the metric.

    Raises:
        ValueError: If a number is out of its range, or the reduction is not a mean.
    """

    function = staticmethod(binary_provable_robust_accuracy)

    def __init__(
        self,
        epsilon: float = 36 / 255,
        lip_const: float | _Certificate = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "BinaryProvableRobustAccuracy",
    ) -> None:
        super().__init__(reduction, name, epsilon=_check_epsilon(epsilon), lip_const=_checked_lip_const(lip_const))


@keras.saving.register_keras_serializable("lipviz")
class CategoricalProvableAvgRobustness(_RobustnessMetric):
    """Mean of the certified radii, see `categorical_provable_robustness`.

    Args:
        lip_const: Lipschitz constant of the network, positive, or a `Certificate`.
        disjoint_neurons: Whether `lip_const` holds for each output by itself, and not for all together.
        negative_robustness: Whether misclassified samples count their negative radius instead of 0.
        reduction: A mean, see the module.
        name: Name of the metric.

    Raises:
        ValueError: If `lip_const` is not positive and finite, or the reduction is not a mean.
    """

    function = staticmethod(categorical_provable_robustness)

    def __init__(
        self,
        lip_const: float | _Certificate = 1.0,
        disjoint_neurons: bool = True,
        negative_robustness: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "CategoricalProvableAvgRobustness",
    ) -> None:
        super().__init__(
            reduction,
            name,
            lip_const=_checked_lip_const(lip_const),
            disjoint_neurons=bool(disjoint_neurons),
            negative_robustness=bool(negative_robustness),
        )


@keras.saving.register_keras_serializable("lipviz")
class BinaryProvableAvgRobustness(_RobustnessMetric):
    """Mean of the certified radii of two classes, see `binary_provable_robustness`.

    Args:
        lip_const: Lipschitz constant of the network, positive, or a `Certificate`.
        negative_robustness: Whether misclassified samples count their negative radius instead of 0.
        reduction: A mean, see the module.
        name: Name of the metric.

    Raises:
        ValueError: If `lip_const` is not positive and finite, or the reduction is not a mean.
    """

    function = staticmethod(binary_provable_robustness)

    def __init__(
        self,
        lip_const: float | _Certificate = 1.0,
        negative_robustness: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "BinaryProvableAvgRobustness",
    ) -> None:
        super().__init__(
            reduction,
            name,
            lip_const=_checked_lip_const(lip_const),
            negative_robustness=bool(negative_robustness),
        )
