"""Muon for constrained layers: an optimizer whose steps change every direction of a kernel by the same amount.

The gradient of a constrained kernel is small in directions that the constraint hardly lets through. Muon orthogonalizes
the averaged gradient of each kernel, so that its step has (nearly) equal singular values.

References:
    Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks.
    Liu et al. (2025), Muon is scalable for LLM training, arXiv 2502.16982, for the size of the steps.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from lipviz.types import Tensor


@keras.saving.register_keras_serializable("lipviz")
class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon`, which also orthogonalizes the steps of convolutions.

    Keras's own uses Adam for all variables but matrices. Here, a kernel of three or more axes is a matrix as well: its
    last axis, the filters, against all others together, as in the constraint of `SpectralConv2D`. Biases and other
    vectors are trained by Adam, and so are layers whose names match `exclude_layers`, usually the last one.

    Args:
        learning_rate: Learning rate, or a schedule of Keras. A step of a kernel with n rows and m columns has the norm
            0.2·√max(n, m)·learning_rate in each direction.
        exclude_layers: Regular expressions; Adam trains layers whose names contain a match.
        weight_decay: Weight decay of kernels; None for none. The scale of a constrained kernel does not matter, so
            there is none by default, other than in Keras.
        adam_weight_decay: The same for what Adam trains.
        **kwargs: See `keras.optimizers.Muon`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule | Callable[[], Any] = 0.001,
        exclude_layers: Sequence[str] | None = None,
        weight_decay: float | None = None,
        adam_weight_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            exclude_layers=exclude_layers,
            weight_decay=weight_decay,
            adam_weight_decay=adam_weight_decay,
            **kwargs,
        )

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        for place, variable in enumerate(variables):  # Keras takes Muon's step where there are no velocities for Adam
            if len(variable.shape) > 2 and not any(re.search(name, variable.path) for name in self.exclude_layers):
                self.adam_velocities[place] = None

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """Keras's approximate orthogonalization, of a kernel as a matrix."""
        return ops.reshape(super().zeropower_via_newtonschulz5(_as_matrix(x), steps), x.shape)

    def lr_adjust(self, x: Tensor) -> Tensor:
        """Keras's factor 0.2·√max(n, m), for a kernel as a matrix."""
        return ops.reshape(super().lr_adjust(_as_matrix(x)), x.shape)


def _as_matrix(x):
    return ops.reshape(x, (-1, x.shape[-1]))
