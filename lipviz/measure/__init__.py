"""Measurements: a model or arrays in, frozen dataclasses of NumPy arrays out. No figure here, see `lipviz.plots`."""

from lipviz.measure.attacks import Attack, attack
from lipviz.measure.bjorck import BjorckConvergence, bjorck_convergence
from lipviz.measure.bjorck_map import BjorckMap, BjorckPaths, bjorck_iterations_map, bjorck_paths, divergence_limit
from lipviz.measure.bounds import Bound, register_bound
from lipviz.measure.certificate import Certificate, LayerBound
from lipviz.measure.certification import certify, certify_file, logits_model, pairwise_bounds
from lipviz.measure.convolutions import ConvolutionBound, conv_singular_values, convolution_bound, size_free_bound
from lipviz.measure.fields import DecisionField, LinearRegions, decision_field, linear_regions
from lipviz.measure.fitting import ACTIVATIONS, FunctionFit, fit_function, fit_steps, toy_classifier, toy_network
from lipviz.measure.gradients import (
    DEPTH_ACTIVATIONS,
    GradientDepth,
    GradientFlow,
    GradientHistory,
    GradientMeter,
    GradientNorms,
    gradient_depth,
    gradient_flow,
    gradient_history,
    input_gradient_norms,
)
from lipviz.measure.kernels import kernels, random_kernel
from lipviz.measure.network_spectra import JacobianSpectra, jacobian_singular_values, operator_spectra
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
from lipviz.measure.saliency_maps import AdversarialPairs, Saliency, adversarial_pairs, saliency
from lipviz.measure.spectra import LayerSpectrum, NetworkSpectrum, singular_values
from lipviz.measure.transport import (
    KRTraining,
    PotentialField,
    Transport,
    kr_steps,
    kr_training,
    potential_field,
    wasserstein_distance,
)

__all__ = [
    "ACTIVATIONS",
    "DEPTH_ACTIVATIONS",
    "AdversarialPairs",
    "Attack",
    "BjorckConvergence",
    "BjorckMap",
    "BjorckPaths",
    "Bound",
    "Certificate",
    "CertifiedAccuracy",
    "CertifiedRadii",
    "Convolution",
    "ConvolutionBound",
    "DecisionField",
    "FunctionFit",
    "GradientDepth",
    "GradientFlow",
    "GradientHistory",
    "GradientMeter",
    "GradientNorms",
    "JacobianSpectra",
    "KRTraining",
    "LayerBound",
    "LayerSpectrum",
    "LinearRegions",
    "NetworkSpectrum",
    "PotentialField",
    "RatioAscent",
    "Saliency",
    "SecantRatios",
    "Transport",
    "adversarial_pairs",
    "attack",
    "bjorck_convergence",
    "bjorck_iterations_map",
    "bjorck_paths",
    "certified_accuracy",
    "certified_radius",
    "certify",
    "certify_file",
    "conv_singular_values",
    "convolution_bound",
    "decision_field",
    "divergence_limit",
    "explicit_matrix",
    "extreme_singular_values",
    "fit_function",
    "fit_steps",
    "float64_copy",
    "gradient_ascent_ratio",
    "gradient_depth",
    "gradient_flow",
    "gradient_history",
    "input_gradient_norms",
    "jacobian_norms",
    "jacobian_singular_values",
    "kernels",
    "kr_steps",
    "kr_training",
    "linear_operator",
    "linear_regions",
    "logit_errors",
    "logits_model",
    "operator_spectra",
    "pairwise_bounds",
    "potential_field",
    "random_kernel",
    "register_bound",
    "saliency",
    "secant_ratios",
    "singular_values",
    "size_free_bound",
    "toy_classifier",
    "toy_network",
    "wasserstein_distance",
]
