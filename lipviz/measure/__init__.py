"""Measurements: a model or arrays in, frozen dataclasses of NumPy arrays out. No figure here, see `lipviz.plots`."""

from lipviz.measure.attacks import Attack, attack
from lipviz.measure.bjorck import BjorckConvergence, bjorck_convergence
from lipviz.measure.bounds import Bound, register_bound
from lipviz.measure.certificate import Certificate, LayerBound
from lipviz.measure.certification import certify, certify_file, logits_model, pairwise_bounds
from lipviz.measure.convolutions import ConvolutionBound, conv_singular_values, convolution_bound, size_free_bound
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
from lipviz.measure.robustness import (
    CertifiedAccuracy,
    CertifiedRadii,
    certified_accuracy,
    certified_radius,
    logit_errors,
)
from lipviz.measure.spectra import LayerSpectrum, NetworkSpectrum, singular_values

__all__ = [
    "Attack",
    "BjorckConvergence",
    "Bound",
    "Certificate",
    "CertifiedAccuracy",
    "CertifiedRadii",
    "Convolution",
    "ConvolutionBound",
    "LayerBound",
    "LayerSpectrum",
    "NetworkSpectrum",
    "RatioAscent",
    "SecantRatios",
    "attack",
    "bjorck_convergence",
    "certified_accuracy",
    "certified_radius",
    "certify",
    "certify_file",
    "conv_singular_values",
    "convolution_bound",
    "explicit_matrix",
    "extreme_singular_values",
    "float64_copy",
    "gradient_ascent_ratio",
    "jacobian_norms",
    "kernels",
    "linear_operator",
    "logit_errors",
    "logits_model",
    "pairwise_bounds",
    "random_kernel",
    "register_bound",
    "secant_ratios",
    "singular_values",
    "size_free_bound",
]
