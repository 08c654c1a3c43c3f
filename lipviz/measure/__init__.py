"""Measurements: a model or arrays in, frozen dataclasses of NumPy arrays out. No figure here, see `lipviz.plots`."""

from lipviz.measure.activation_shapes import ActivationPlane, ActivationProbe, ActivationShape, activation_shape
from lipviz.measure.attacks import Attack, attack
from lipviz.measure.bjorck import BjorckConvergence, bjorck_convergence
from lipviz.measure.bjorck_map import BjorckMap, BjorckPaths, bjorck_iterations_map, bjorck_paths, divergence_limit
from lipviz.measure.bounds import Bound, register_bound
from lipviz.measure.certificate import Certificate, LayerBound
from lipviz.measure.certification import certify, certify_file
from lipviz.measure.certified_image import CertifiedImage, ImageCertifier
from lipviz.measure.classifiers import logits_model, pairwise_bounds
from lipviz.measure.convolution_claims import ConvolutionClaims, convolution_claims, convolution_norm, sample_kernel
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
from lipviz.measure.kantorovich_rubinstein import KRTraining, kr_steps, kr_training
from lipviz.measure.kernels import kernels, random_kernel
from lipviz.measure.layer_playground import LayerPlay, float64_layer, measure_layer
from lipviz.measure.network_spectra import JacobianSpectra, jacobian_singular_values, operator_spectra
from lipviz.measure.operators import (
    Convolution,
    explicit_matrix,
    extreme_singular_values,
    jacobian_norms,
    linear_operator,
)
from lipviz.measure.precision import float64_copy
from lipviz.measure.provenance import CertificateCheck
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
from lipviz.measure.tradeoff import Tradeoff, TradeoffRun, tradeoff_run, tradeoff_steps, tradeoff_table
from lipviz.measure.training_log import TrainingLog, hkr_terms, used_extremes
from lipviz.measure.transport import PotentialField, Transport, potential_field, wasserstein_distance

__all__ = [
    "ACTIVATIONS",
    "DEPTH_ACTIVATIONS",
    "ActivationPlane",
    "ActivationProbe",
    "ActivationShape",
    "AdversarialPairs",
    "Attack",
    "BjorckConvergence",
    "BjorckMap",
    "BjorckPaths",
    "Bound",
    "Certificate",
    "CertificateCheck",
    "CertifiedAccuracy",
    "CertifiedImage",
    "CertifiedRadii",
    "Convolution",
    "ConvolutionBound",
    "ConvolutionClaims",
    "DecisionField",
    "FunctionFit",
    "GradientDepth",
    "GradientFlow",
    "GradientHistory",
    "GradientMeter",
    "GradientNorms",
    "ImageCertifier",
    "JacobianSpectra",
    "KRTraining",
    "LayerBound",
    "LayerPlay",
    "LayerSpectrum",
    "LinearRegions",
    "NetworkSpectrum",
    "PotentialField",
    "RatioAscent",
    "Saliency",
    "SecantRatios",
    "Tradeoff",
    "TradeoffRun",
    "TrainingLog",
    "Transport",
    "activation_shape",
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
    "convolution_claims",
    "convolution_norm",
    "decision_field",
    "divergence_limit",
    "explicit_matrix",
    "extreme_singular_values",
    "fit_function",
    "fit_steps",
    "float64_copy",
    "float64_layer",
    "gradient_ascent_ratio",
    "gradient_depth",
    "gradient_flow",
    "gradient_history",
    "hkr_terms",
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
    "measure_layer",
    "operator_spectra",
    "pairwise_bounds",
    "potential_field",
    "random_kernel",
    "register_bound",
    "saliency",
    "sample_kernel",
    "secant_ratios",
    "singular_values",
    "size_free_bound",
    "toy_classifier",
    "toy_network",
    "tradeoff_run",
    "tradeoff_steps",
    "tradeoff_table",
    "used_extremes",
    "wasserstein_distance",
]
