"""Björck's constraint: all singular values at most k, and equal to k where it converges."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from lipviz import normalizers as nm
from lipviz.parametrizations.base import Parametrization
from lipviz.types import Tensor


@keras.saving.register_keras_serializable("lipviz")
class SpectralParametrization(Parametrization):
    """All singular values at most k, and equal to k where Björck converges (see `sound_orthogonalization`).

    Args:
        k_coef_lip: Largest singular value allowed.
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck. None skips Björck; the kernel is then divided by a bound of its norm.
        beta_bjorck: Step size of Björck in ]0, 0.5]; None skips Björck.
        maxiter_spectral: Largest number of power iterations per step.
        maxiter_bjorck: Largest number of Björck iterations per step.

    Attributes:
        u: Variable of shape (1, out), an estimate of the first right singular vector; power iterations start from it.
        sig: Variable of shape (1, 1), its estimate of the raw kernel's largest singular value.

    Raises:
        ValueError: If an argument is out of range.
    """

    state: ClassVar[Mapping[str, str]] = {
        "u": "The vector that the power iteration follows, a variable of shape (1, out).",
        "sig": "The power iteration's estimate of the raw kernel's σ1, a variable of shape (1, 1).",
    }
    warm_start: ClassVar[tuple[str, ...]] = ("u",)

    def __init__(
        self,
        k_coef_lip: float = 1.0,
        eps_spectral: float = nm.DEFAULT_EPS_SPECTRAL,
        eps_bjorck: float | None = nm.DEFAULT_EPS_BJORCK,
        beta_bjorck: float | None = nm.DEFAULT_BETA_BJORCK,
        maxiter_spectral: int = nm.DEFAULT_MAXITER_SPECTRAL,
        maxiter_bjorck: int = nm.DEFAULT_MAXITER_BJORCK,
        **kwargs: Any,
    ) -> None:
        super().__init__(k_coef_lip, **kwargs)
        checked = nm.check_orthogonalization(eps_spectral, eps_bjorck, beta_bjorck)
        self.eps_spectral, self.eps_bjorck, self.beta_bjorck = checked
        self.maxiter_spectral = nm.check_count("maxiter_spectral", maxiter_spectral)
        self.maxiter_bjorck = nm.check_count("maxiter_bjorck", maxiter_bjorck)

    def add_state(self, kernel: keras.Variable) -> None:
        self.u = self._add("u", (1, kernel.shape[-1]), keras.initializers.RandomNormal(stddev=1.0))
        self.sig = self._add("sig", (1, 1), self._initially(kernel, lambda first: first()[1]["sig"]))

    def normalize(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self._orthogonalized(kernel, None)

    def normalize_to(self, kernel: Tensor, factor: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if type(self).normalize is not SpectralParametrization.normalize or "normalize" in vars(self):
            return super().normalize_to(kernel, factor)  # it normalizes in another way
        return self._orthogonalized(kernel, factor)

    def _orthogonalized(self, kernel, factor):
        w, u, sig = nm.sound_orthogonalization(
            nm.as_matrix(kernel),
            ops.convert_to_tensor(self.u),
            self.eps_spectral,
            self.eps_bjorck,
            self.beta_bjorck,
            self.maxiter_spectral,
            self.maxiter_bjorck,
            factor,
        )
        return ops.reshape(w, kernel.shape), {"u": u, "sig": sig}
