"""Rescaled kernels: the channels are divided by row sums of the Gram matrix, without any iteration."""

import keras

from lipviz import normalizers as nm
from lipviz.parametrizations.base import Parametrization
from lipviz.types import Tensor


@keras.saving.register_keras_serializable("lipviz")
class AOLParametrization(Parametrization):
    """Almost-orthogonal rescaling: see `lipviz.normalizers.almost_orthogonal`.

    A convolution sets `operator_norm` to its `lipviz.normalizers.AlmostOrthogonal`, which rescales by the kernel's
    autocorrelation instead.
    """

    keeps_constrained = False

    def normalize(self, kernel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (kernel if self.operator_norm is not None else nm.almost_orthogonal(kernel)), {}
