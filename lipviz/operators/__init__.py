"""The linear maps that layers compute: their matrices, singular values and norms, exactly and in float64."""

from lipviz import _moved
from lipviz.operators.autodiff import jacobian_norms
from lipviz.operators.convolution import Convolution
from lipviz.operators.convolution_bounds import ConvolutionNormBounds, convolution_bound, size_free_bound
from lipviz.operators.convolution_spectrum import conv_singular_values
from lipviz.operators.linear import linear_operator
from lipviz.operators.precision import float64_copy
from lipviz.operators.singular_values import explicit_matrix, extreme_singular_values
from lipviz.operators.weights import kernels, random_kernel

__all__ = [
    "Convolution",
    "ConvolutionNormBounds",
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


def __getattr__(name):
    return _moved.name_of(__name__, name)
