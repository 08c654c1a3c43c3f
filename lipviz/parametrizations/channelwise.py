"""The constraint of a depthwise kernel: each channel by itself."""

from typing import Any

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.parametrizations.base import Parametrization
from lipviz.types import Array, ArrayLike, Tensor


@keras.saving.register_keras_serializable("lipviz")
class ChannelwiseSpectralParametrization(Parametrization):
    """All singular values of each channel's matrix at most k, and equal to k where Björck converges.

    The kernel has the shape (``*taps``, channels, multiplier), and a channel's matrix the shape (taps, multiplier).
    With a multiplier of 1 that is a column, whose one singular value is its Euclidean norm: it is divided by that, and
    Björck has nothing to do. See `lipviz.normalizers.channelwise_orthogonalization`.

    Args:
        k_coef_lip: Largest singular value allowed.
        eps_bjorck: Tolerance of Björck; None skips Björck: each channel is divided by a bound of its norm.
        beta_bjorck: Step size of Björck in ]0, 0.5]; None skips Björck.
        maxiter_bjorck: Largest number of Björck iterations a step.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        k_coef_lip: float = 1.0,
        eps_bjorck: float | None = nm.DEFAULT_EPS_BJORCK,
        beta_bjorck: float | None = nm.DEFAULT_BETA_BJORCK,
        maxiter_bjorck: int = nm.DEFAULT_MAXITER_BJORCK,
        **kwargs: Any,
    ) -> None:
        super().__init__(k_coef_lip, **kwargs)
        checked = nm.check_orthogonalization(nm.DEFAULT_EPS_SPECTRAL, eps_bjorck, beta_bjorck)
        _, self.eps_bjorck, self.beta_bjorck = checked
        self.maxiter_bjorck = nm.check_count("maxiter_bjorck", maxiter_bjorck)

    def normalize(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return nm.channelwise_orthogonalization(kernel, self.eps_bjorck, self.beta_bjorck, self.maxiter_bjorck), {}

    def as_matrices(self, kernel: Array) -> Array:
        with nm.in_numpy():
            return nm.channel_matrices(kernel)

    def exact_norm(self, wbar: ArrayLike) -> float:
        return float(np.linalg.norm(self.as_matrices(np.asarray(wbar, np.float64)), 2, axis=(1, 2)).max())
