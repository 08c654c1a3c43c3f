"""The linear maps that layers are: their matrices, singular values and norms, exactly and in float64."""

from lipviz.operators.convolution_bounds import (
    ConvolutionBound,
    conv_singular_values,
    convolution_bound,
    size_free_bound,
)
from lipviz.operators.linear import (
    Convolution,
    explicit_matrix,
    extreme_singular_values,
    jacobian_norms,
    linear_operator,
)
from lipviz.operators.precision import float64_copy
from lipviz.operators.weights import kernels, random_kernel

__all__ = [
    "Convolution",
    "ConvolutionBound",
    "conv_singular_values",
    "convolution_bound",
    "explicit_matrix",
    "extreme_singular_values",
    "float64_copy",
    "jacobian_norms",
    "kernels",
    "linear_operator",
    "random_kernel",
    "size_free_bound",
]
