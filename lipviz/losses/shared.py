"""What the losses share: checks of shapes, sums in the dtype of the predictions, and the base of their classes."""

import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.types import Tensor


def shapes_agree(expected: Sequence[int | None], received: Sequence[int | None]) -> bool:
    """Whether two static shapes can be the same; None is unknown."""
    return len(expected) == len(received) and all(
        a == b or a is None or b is None for a, b in zip(expected, received, strict=True)
    )


def aligned(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and predictions as tensors of the same shape (batch, ..., C), the predictions in a floating dtype."""
    y_true, y_pred = ops.convert_to_tensor(y_true), nm.floating(y_pred)
    expected, received = tuple(y_pred.shape), tuple(y_true.shape)
    if len(expected) == 1:
        y_pred = ops.expand_dims(y_pred, -1)
    if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
        y_true = ops.expand_dims(y_true, -1)
    if not expected or not shapes_agree(y_pred.shape, y_true.shape):
        raise ValueError(
            "Labels must have the shape of the predictions, (batch, C), or (batch,) where C is 1. "
            f"Expected: {expected}. Received: {received}"
        )
    return y_true, y_pred


def mean_of_last(x: Tensor) -> Tensor:
    """Mean over the last axis; that of Keras passes through float32 on JAX, also for float64."""
    return ops.sum(x, axis=-1) / ops.cast(ops.shape(x)[-1], x.dtype)


def as_constants(like: Tensor, *values: Any) -> list[Tensor]:
    """Numbers, tensors or variables as tensors in the dtype of `like`."""
    return [ops.convert_to_tensor(value, dtype=like.dtype) for value in values]


def is_positive(labels: Tensor) -> Tensor:
    """Where labels are positive, as booleans. Unlike the operator `>`, `ops.greater` compares booleans too."""
    return ops.greater(labels, 0)


def true_and_rivals(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Score of the true class, (batch, 1); all scores, with that of the true class as low as possible, (batch, C)."""
    true = is_positive(y_true)
    # The lowest finite number, not -inf: the difference of two of them must not be NaN if there is no other class.
    lowest = float(np.finfo(keras.backend.standardize_dtype(y_pred.dtype)).min)
    return (
        ops.sum(ops.where(true, y_pred, ops.zeros_like(y_pred)), axis=-1, keepdims=True),
        ops.where(true, ops.full_like(y_pred, lowest), y_pred),
    )


def log_sum_exp(x: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """Split log(Σ exp(τx))/τ into max(x) and a rest in [0, log(C)/τ]. The last axis is reduced, and kept with size 1.

    No τ·x overflows. No gradient flows through the maximum. The gradient of the rest is that of the whole, the softmax
    of τx.
    """
    largest = ops.stop_gradient(ops.max(x, axis=-1, keepdims=True))
    return largest, ops.log(ops.sum(ops.exp(tau * (x - largest)), axis=-1, keepdims=True)) / tau


def hinges_of(y_true: Tensor, y_pred: Tensor, min_margin: float | Tensor) -> Tensor:
    """relu(min_margin/2 − (±1)·ŷ) of every entry, (batch, C)."""
    (min_margin,) = as_constants(y_pred, min_margin)
    return ops.relu(min_margin / 2 - ops.where(is_positive(y_true), y_pred, -y_pred))


def in_range(name: str, value: Any, largest: float = sys.float_info.max) -> float:
    """Return `value` as a float if it is a number from 0 to `largest`, else raise ValueError."""
    number = nm.as_number(value)
    if not 0 <= number <= largest:
        bound = "finite" if largest == sys.float_info.max else f"at most {largest}"
        raise ValueError(f"`{name}` must be a number of at least 0, {bound}. Received: {name}={value!r}")
    return number


def present_value(value: Any) -> bool | float:
    """The value of a variable for JSON: the shortest number that is the same in the variable's dtype."""
    return value if isinstance(value, bool) else float(str(ops.convert_to_numpy(value)[()]))


class VariableLoss(keras.Loss):
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
        return {**super().get_config(), **{key: present_value(getattr(self, key)) for key in self._arguments}}
