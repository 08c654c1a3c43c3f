"""Keras constraints: projections that an optimizer applies to a weight after each of its steps.

They are for plain Keras layers. The layers of `lipviz.layers` do not need them: they apply a constraint themselves,
differentiate through it, and predict with a kernel that satisfies it from the start. Keras applies a constraint only
after a step of the optimizer. Before the first step, the kernel is the one that the initializer drew.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from lipviz import normalizers as nm
from lipviz.types import ArrayLike, Tensor


def _working(w):
    """Return a weight in float32 or float64, and a function that casts a result back to the dtype of the weight.

    Rounding to fewer bits moves each entry by half an `eps` at most, and so a spectral norm of at most 1 by less than
    eps·√(smaller side). The result is made smaller by that before it is rounded, so that the rounded weight still
    satisfies the constraint.
    """
    w = ops.convert_to_tensor(w)
    dtype = standardize_dtype(w.dtype)
    if dtype in ("float32", "float64"):
        return w, lambda result: result
    eps = float(np.finfo(np.float16).eps) if dtype == "float16" else 2.0**-7
    margin = 1 / (1 + eps * math.sqrt(min(math.prod(w.shape[:-1]), w.shape[-1])) / 2) if len(w.shape) else 1.0
    return ops.cast(w, "float32"), lambda result: ops.cast(result * margin, dtype)


@keras.saving.register_keras_serializable("lipviz")
class WeightClipConstraint(keras.constraints.Constraint):
    """Clip every entry to [−c, c], as the first Wasserstein GAN did (Arjovsky, Chintala and Bottou 2017).

    This bounds a kernel of shape (in, out) by σ1 ≤ c·√(in·out) only, attained where all entries are c.

    Args:
        c: Largest magnitude, positive.

    Raises:
        ValueError: If c is not positive and finite.
    """

    def __init__(self, c: float = 2) -> None:
        self.c = nm.check_positive("c", c)

    def __call__(self, w: Tensor) -> Tensor:
        """Clip a weight of any shape."""
        w = ops.convert_to_tensor(w)
        return ops.clip(w, -self.c, self.c)

    def get_config(self) -> dict[str, Any]:
        return {"c": self.c}


@keras.saving.register_keras_serializable("lipviz")
class AutoWeightClipConstraint(keras.constraints.Constraint):
    """Clip every entry to [−c, c] with c = 1/(√size·scale), so that ‖W‖_F ≤ 1/scale, hence σ1 ≤ 1/scale.

    Args:
        scale: Positive number.

    Raises:
        ValueError: If the scale is not positive and finite.
    """

    def __init__(self, scale: float = 1) -> None:
        self.scale = nm.check_positive("scale", scale)

    def __call__(self, w: Tensor) -> Tensor:
        """Clip a weight of any shape."""
        w, finish = _working(w)
        # Rounding c up would break the bound. So c is smaller by a few units in the last place.
        c = (1 - nm.rounding_margin((1,), standardize_dtype(w.dtype))) / (math.sqrt(math.prod(w.shape)) * self.scale)
        return finish(ops.clip(w, -c, c))

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale}


@keras.saving.register_keras_serializable("lipviz")
class FrobeniusConstraint(keras.constraints.Constraint):
    """Divide a weight by its Frobenius norm: W/(‖W‖_F + eps), less a margin for rounding, hence σ1 ≤ ‖·‖_F ≤ 1.

    Args:
        eps: Added to the norm. A weight whose norm is about eps gets a norm below 1, and zero stays zero.

    Raises:
        ValueError: If eps is not positive and finite.
    """

    def __init__(self, eps: float = 1e-7) -> None:
        self.eps = nm.check_positive("eps", eps)

    def __call__(self, w: Tensor) -> Tensor:
        """Normalize a weight of any shape."""
        w, finish = _working(w)
        scaled, factor = nm.unit_scaled(w)  # no square over- or underflows
        norm = ops.sqrt(ops.sum(ops.square(scaled)))
        margin = 1 - nm.rounding_margin((math.prod(w.shape),), standardize_dtype(w.dtype))
        return finish(scaled * (margin / (norm + self.eps / factor)))

    def get_config(self) -> dict[str, Any]:
        return {"eps": self.eps}


@keras.saving.register_keras_serializable("lipviz")
class SpectralConstraint(keras.constraints.Constraint):
    """Bring all singular values of a kernel to k; none exceeds k.

    The kernel is reshaped to a matrix of shape (product of the other axes, out). The computation is that of
    `lipviz.layers.SpectralDense`, see `lipviz.normalizers.sound_orthogonalization`. The kernel of a convolution is
    bounded as that matrix, not as a map of images: use `lipviz.layers.SpectralConv2D` for that.

    Args:
        k_coef_lip: Largest singular value allowed.
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck; None skips it: the kernel is then divided by a bound of its norm.
        beta_bjorck: Step size of Björck in ]0, 0.5]; None skips it.
        u: Start vector of the power iteration, of shape (1, out); ones by default. A constraint has no state, so each
            step starts from this vector. The bound holds for every start vector.

    Raises:
        ValueError: If an argument is out of range, or a weight has fewer than two axes or does not fit `u`.
    """

    def __init__(
        self,
        k_coef_lip: float = 1.0,
        eps_spectral: float = nm.DEFAULT_EPS_SPECTRAL,
        eps_bjorck: float | None = nm.DEFAULT_EPS_BJORCK,
        beta_bjorck: float | None = nm.DEFAULT_BETA_BJORCK,
        u: ArrayLike | None = None,
    ) -> None:
        self.k_coef_lip = nm.check_positive("k_coef_lip", k_coef_lip)
        checked = nm.check_orthogonalization(eps_spectral, eps_bjorck, beta_bjorck)
        self.eps_spectral, self.eps_bjorck, self.beta_bjorck = checked
        self.u = None if u is None else _start(u)

    def __call__(self, w: Tensor) -> Tensor:
        """Orthogonalize a kernel of shape (..., out)."""
        w, finish = _working(w)
        if len(w.shape) < 2 or 0 in w.shape:
            raise ValueError(
                "SpectralConstraint needs a weight of two axes or more, none of size 0. "
                f"Received shape: {tuple(w.shape)}"
            )
        nm.check_factor("k_coef_lip", self.k_coef_lip, standardize_dtype(w.dtype))
        start = np.ones((1, w.shape[-1])) if self.u is None else self.u
        if start.shape[1] != w.shape[-1]:
            raise ValueError(f"`u` must have the shape {(1, w.shape[-1])}. Received shape: {start.shape}")
        start = ops.convert_to_tensor(start, dtype=w.dtype)
        matrix, _, _ = nm.sound_orthogonalization(
            nm.as_matrix(w), start, self.eps_spectral, self.eps_bjorck, self.beta_bjorck
        )
        return finish(ops.reshape(matrix * self.k_coef_lip, w.shape))

    def get_config(self) -> dict[str, Any]:
        return {
            "k_coef_lip": self.k_coef_lip,
            "eps_spectral": self.eps_spectral,
            "eps_bjorck": self.eps_bjorck,
            "beta_bjorck": self.beta_bjorck,
            "u": None if self.u is None else self.u.tolist(),
        }


def _start(u):
    """A start vector as a float64 array of shape (1, out)."""
    u = np.asarray(ops.convert_to_numpy(u), np.float64)
    if u.ndim != 2 or u.shape[0] != 1 or not np.isfinite(u).all():
        raise ValueError(f"`u` must be None or finite, of shape (1, out). Received shape: {u.shape}")
    return u
