"""Measurements: a model or arrays in, frozen dataclasses of NumPy arrays out. No figure here, see `lipviz.plots`."""

from lipviz.measure.bjorck import BjorckConvergence, bjorck_convergence
from lipviz.measure.kernels import kernels, random_kernel
from lipviz.measure.operators import (
    Convolution,
    explicit_matrix,
    extreme_singular_values,
    jacobian_norms,
    linear_operator,
)
from lipviz.measure.precision import float64_copy
from lipviz.measure.ratios import RatioAscent, SecantRatios, gradient_ascent_ratio, secant_ratios
from lipviz.measure.spectra import LayerSpectrum, NetworkSpectrum, singular_values

__all__ = [
    "BjorckConvergence",
    "Convolution",
    "LayerSpectrum",
    "NetworkSpectrum",
    "RatioAscent",
    "SecantRatios",
    "bjorck_convergence",
    "explicit_matrix",
    "extreme_singular_values",
    "float64_copy",
    "gradient_ascent_ratio",
    "jacobian_norms",
    "kernels",
    "linear_operator",
    "random_kernel",
    "secant_ratios",
    "singular_values",
]
