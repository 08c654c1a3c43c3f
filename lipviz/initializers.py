"""Initializers of kernels that already satisfy a constraint: orthogonal ones, and the identity."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops
from keras.backend import standardize_dtype

from lipviz import normalizers as nm
from lipviz.types import DType, Tensor


@keras.saving.register_keras_serializable("lipviz")
class SpectralInitializer(keras.initializers.Initializer):
    """Draw a kernel from `base_initializer` and orthogonalize it: all its singular values are k, or at most k.

    Args:
        eps_spectral: Tolerance of the power iteration.
        eps_bjorck: Tolerance of Björck; None skips it.
        beta_bjorck: Step size of Björck in ]0, 0.5]; None skips it.
        k_coef_lip: Largest singular value.
        base_initializer: Any Keras initializer. If it is given by its name, each call draws another kernel.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        eps_spectral: float = nm.DEFAULT_EPS_SPECTRAL,
        eps_bjorck: float | None = nm.DEFAULT_EPS_BJORCK,
        beta_bjorck: float | None = nm.DEFAULT_BETA_BJORCK,
        k_coef_lip: float = 1.0,
        base_initializer: str | dict[str, Any] | Callable[..., Any] = "orthogonal",
    ) -> None:
        checked = nm.check_orthogonalization(eps_spectral, eps_bjorck, beta_bjorck)
        self.eps_spectral, self.eps_bjorck, self.beta_bjorck = checked
        self.k_coef_lip = nm.check_positive("k_coef_lip", k_coef_lip)
        keras.initializers.get(base_initializer)  # an unknown name fails here, not at build
        self.base_initializer = base_initializer

    def __call__(self, shape: Sequence[int], dtype: DType | None = None) -> Tensor:
        """Draw a kernel.

        Args:
            shape: Shape (..., out) of at least two axes.
            dtype: Floating dtype. Kernels of less than float32 are computed in float32.

        Returns:
            A tensor of this shape and dtype.

        Raises:
            ValueError: If the shape has fewer than two axes or one of size 0, or the dtype cannot multiply by k.
        """
        if len(shape) < 2 or 0 in shape:
            raise ValueError(
                f"SpectralInitializer needs a shape of at least two axes, none of size 0. Received: {tuple(shape)}"
            )
        dtype = standardize_dtype(dtype)
        nm.check_factor("k_coef_lip", self.k_coef_lip, dtype)
        kernel = keras.initializers.get(self.base_initializer)(
            shape, dtype="float64" if dtype == "float64" else "float32"
        )
        w = nm.as_matrix(kernel)
        w, _, _ = nm.sound_orthogonalization_of_values(
            w, ops.ones((1, w.shape[1]), w.dtype), self.eps_spectral, self.eps_bjorck, self.beta_bjorck
        )
        return ops.cast(ops.reshape(w * self.k_coef_lip, shape), dtype)

    def get_config(self) -> dict[str, Any]:
        base = self.base_initializer
        return {
            "eps_spectral": self.eps_spectral,
            "eps_bjorck": self.eps_bjorck,
            "beta_bjorck": self.beta_bjorck,
            "k_coef_lip": self.k_coef_lip,
            "base_initializer": base if isinstance(base, str) else keras.initializers.serialize(base),
        }


@keras.saving.register_keras_serializable("lipviz")
class IdentityInitializer(keras.initializers.Initializer):
    """The kernel of the identity: a layer that starts with it returns its input.

    So a dense layer or a convolution starts as a residual block x + W·x with W = 0. The raw kernel that it trains is
    I + W, and its constraint bounds I + W as one kernel: by k, where a bound of both terms would give up to 2k. Such
    blocks compose: a deep network of them starts with all singular values at k. For a convolution, use
    `SpectralConv2D(filters, 3, bound="tight", eps_bjorck=None)` with "same" padding: other bounds divide also the
    identity by the overlap of patches.

    With more outputs than inputs, the further outputs are 0. With fewer, they are the first inputs.

    Args:
        gain: Factor of the kernel. A constraint removes it, so it only changes how far the first steps of a training
            turn the kernel.

    Raises:
        ValueError: If the gain is not positive and finite.

    Reference: Hu et al. (2023), Unlocking deterministic robustness certification on ImageNet, section 3, for linear
    residual blocks.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = nm.check_positive("gain", gain)

    def __call__(self, shape: Sequence[int], dtype: DType | None = None) -> Tensor:
        """The kernel.

        Args:
            shape: Shape (in, out) of a dense kernel, or (..., in, out) of that of a convolution. Its entry in the
                middle, number ⌊(size − 1)/2⌋ of each axis, is the one that Keras's "same" padding puts on the pixel
                itself, for strides of 1.
            dtype: Floating dtype.

        Returns:
            A tensor of this shape and dtype.

        Raises:
            ValueError: If the shape has fewer than two axes or one of size 0, or the dtype cannot multiply by the gain.
        """
        if len(shape) < 2 or 0 in shape:
            raise ValueError(
                f"IdentityInitializer needs a shape of at least two axes, none of size 0. Received: {tuple(shape)}"
            )
        dtype = standardize_dtype(dtype)
        nm.check_factor("gain", self.gain, dtype)
        *spatial, inputs, outputs = shape
        around = [((size - 1) // 2, size // 2) for size in spatial]
        identity = ops.reshape(ops.eye(inputs, outputs, dtype=dtype), [1] * len(spatial) + [inputs, outputs])
        return self.gain * ops.pad(identity, [*around, (0, 0), (0, 0)])

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}
