"""Division by Frobenius norms: of the whole kernel, or of each column."""

from typing import Any

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.parametrizations.base import Parametrization
from lipviz.types import Array, Tensor


@keras.saving.register_keras_serializable("lipviz")
class FrobeniusParametrization(Parametrization):
    """The kernel divided by its Frobenius norm, which is at least its largest singular value; zero stays zero."""

    axis: int | None = None

    def normalize(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        w, _ = nm.unit_scaled(nm.as_matrix(kernel), self.axis)
        # What is scaled has an entry of magnitude 1: the floor acts on zeros only.
        norm = ops.sqrt(ops.maximum(ops.sum(ops.square(w), axis=self.axis, keepdims=True), 0.25))
        margin = 1 - nm.rounding_margin(w.shape, self.variable_dtype)
        return ops.reshape(w * (margin / norm), kernel.shape), {}


@keras.saving.register_keras_serializable("lipviz")
class DisjointFrobeniusParametrization(FrobeniusParametrization):
    """Each column, or the whole kernel, divided by its Euclidean norm; a zero column stays zero.

    Args:
        disjoint_neurons: True divides each column by its own norm: every output is k-Lipschitz on its own, the
            layer as a whole anywhere in [k, k√units]. False divides by the Frobenius norm of the whole, so that
            the layer is k-Lipschitz.
        k_coef_lip: Factor that multiplies the result.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, disjoint_neurons: bool = True, k_coef_lip: float = 1.0, **kwargs: Any) -> None:
        super().__init__(k_coef_lip, **kwargs)
        if not isinstance(disjoint_neurons, bool):
            raise ValueError(f"`disjoint_neurons` must be True or False. Received: {disjoint_neurons!r}")
        self.disjoint_neurons = disjoint_neurons

    @property
    def axis(self) -> int | None:  # type: ignore[override]  # an attribute of the base class, computed here
        """Axis of the norms: 0 for columns, None for the whole."""
        return 0 if self.disjoint_neurons else None

    def exact_norm(self, wbar: Array) -> float:
        if not self.disjoint_neurons:
            return super().exact_norm(wbar)
        return float(np.linalg.norm(np.asarray(wbar, np.float64).reshape(-1, wbar.shape[-1]), axis=0).max())
