"""Measurements: a model or arrays in, frozen dataclasses of NumPy arrays out. No figure here, see `lipviz.plots`."""

from lipviz.measure.bjorck import BjorckConvergence, bjorck_convergence
from lipviz.measure.kernels import kernels, random_kernel
from lipviz.measure.precision import float64_copy
from lipviz.measure.ratios import RatioAscent, SecantRatios, gradient_ascent_ratio, secant_ratios
from lipviz.measure.spectra import LayerSpectrum, NetworkSpectrum, singular_values

__all__ = [
    "BjorckConvergence",
    "LayerSpectrum",
    "NetworkSpectrum",
    "RatioAscent",
    "SecantRatios",
    "bjorck_convergence",
    "float64_copy",
    "gradient_ascent_ratio",
    "kernels",
    "random_kernel",
    "secant_ratios",
    "singular_values",
]
