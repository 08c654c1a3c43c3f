"""Orthogonal kernels from free parameters: all singular values are k, at every moment of a training."""

from typing import Any

import keras

from lipviz import normalizers as nm
from lipviz.parametrizations.base import Parametrization
from lipviz.types import Tensor


@keras.saving.register_keras_serializable("lipviz")
class CayleyParametrization(Parametrization):
    """The Cayley transform of the kernel's matrix: see `lipviz.normalizers.cayley`."""

    keeps_constrained = False

    def normalize(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return nm.cayley(kernel), {}


class ReflectorParametrization(Parametrization):
    """Base of parametrizations by block reflectors, whose raw kernel V has `rank_reflector` columns.

    Args:
        rank_reflector: Number of columns of V, positive. None takes a quarter of its rows, at least 1.
        eps_reflector: ε, relative to the mean of the squared lengths of V's columns.
        k_coef_lip: Factor that multiplies the result.

    Raises:
        ValueError: If an argument is out of range.
    """

    keeps_constrained = False

    def __init__(
        self, rank_reflector: int | None = None, eps_reflector: float = 1e-6, k_coef_lip: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(k_coef_lip, **kwargs)
        if rank_reflector is not None and nm.check_count("rank_reflector", rank_reflector) < 1:
            raise ValueError(
                f"`rank_reflector` must be None or a positive integer. Received: rank_reflector={rank_reflector!r}"
            )
        self.rank_reflector = rank_reflector
        self.eps_reflector = nm.check_positive("eps_reflector", eps_reflector)

    def raw_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Shape of V, for a kernel of a shape; ValueError if it would have fewer rows than columns."""
        largest = max(rows, columns)
        rank = self.rank_reflector
        if rank is not None and rank > largest:
            raise ValueError(
                f"`rank_reflector` must be at most {largest}, the larger number of inputs and outputs. "
                f"Received: rank_reflector={rank} for a kernel of shape {(rows, columns)}"
            )
        return largest, rank or max(largest // 4, 1)


@keras.saving.register_keras_serializable("lipviz")
class BlockReflectorParametrization(ReflectorParametrization):
    """A block reflector, of which a kernel has the first rows and columns: see `lipviz.normalizers.block_reflector`.

    The raw kernel is V, of shape (max(in, out), rank_reflector). `wbar_shape` is (in, out).
    """

    def normalize(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rows, columns = self.wbar_shape or kernel.shape
        return nm.block_reflector(kernel, rows, columns, self.eps_reflector), {}


@keras.saving.register_keras_serializable("lipviz")
class CircularReflectorParametrization(ReflectorParametrization):
    """A block reflector at every frequency of a circle: see `lipviz.normalizers.circular_reflector`.

    The raw kernel has the taps of V, of shape (taps, taps, max(in, out), rank_reflector). `operator_norm` is the
    `lipviz.normalizers.Circle` of the images, and `wbar_shape` has a tap for each of its pixels.
    """

    def normalize(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rows, columns = (self.wbar_shape or kernel.shape)[-2:]
        return nm.circular_reflector(kernel, self.operator_norm, rows, columns, self.eps_reflector), {}


@keras.saving.register_keras_serializable("lipviz")
class OrthogonalConvParametrization(Parametrization):
    """The kernel of an orthogonal convolution: see `lipviz.normalizers.orthogonal_convolution`.

    `wbar_shape` is the kernel's shape. `operator_norm` is an `AlmostOrthogonal`, which knows strides and groups. It
    divides channels by numbers that are 1 but for rounding, so that the norm is at most k whatever rounding does.
    """

    keeps_constrained = False

    def normalize(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        geometry = self.operator_norm
        shape = self.wbar_shape or kernel.shape
        return nm.orthogonal_convolution(kernel, shape, geometry.strides, geometry.groups), {}
