"""Measurements of models and arrays. They return frozen dataclasses of NumPy arrays; `lipviz.plots` draws these."""

from lipviz import _moved
from lipviz.measure.activation_shapes import ActivationPlane, ActivationProbe, ActivationShape, activation_shape
from lipviz.measure.bjorck import BjorckConvergence, bjorck_convergence
from lipviz.measure.bjorck_map import (
    BjorckMap,
    BjorckMoment,
    BjorckPaths,
    bjorck_iterations_map,
    bjorck_moment,
    bjorck_paths,
    divergence_limit,
)
from lipviz.measure.certified_image import CertifiedImage, ImageCertifier
from lipviz.measure.claims import ConvolutionClaims, convolution_claims, largest_singular_value, sample_kernel
from lipviz.measure.cones import LipschitzCone, lipschitz_cone
from lipviz.measure.convolution_motion import ConvolutionPower, PowerMoment, convolution_power
from lipviz.measure.depths import DepthBounds, depth_bounds
from lipviz.measure.fields import DecisionField, LinearRegions, decision_field, linear_regions
from lipviz.measure.fooled import FooledImage, FoolingMeasurement, NetworkUnderAttack
from lipviz.measure.gradients import (
    GradientFlow,
    GradientHistory,
    GradientMeter,
    GradientNorms,
    GradientPassage,
    gradient_flow,
    gradient_history,
    gradient_passage,
    input_gradient_norms,
)
from lipviz.measure.layer_kinds import CONVOLUTION_KINDS, DENSE_KINDS, LAYER_KINDS, LayerKind, layer_kind
from lipviz.measure.layer_measurement import LayerMeasurement, float64_layer, measure_layer
from lipviz.measure.layer_stacks import KindSpectra, kind_spectra
from lipviz.measure.network_spectra import JacobianSpectra, jacobian_singular_values, operator_spectra
from lipviz.measure.random_networks import DEPTH_ACTIVATIONS, GradientDepth, gradient_depth, random_gradient_flows
from lipviz.measure.saliency_maps import AdversarialPairs, Saliency, adversarial_pairs, saliency
from lipviz.measure.spectra import LayerSpectrum, NetworkSpectrum, singular_values
from lipviz.measure.step_costs import StepCost, step_cost
from lipviz.measure.training_log import TrainingLog, hkr_terms, used_extremes
from lipviz.measure.transport import (
    PotentialField,
    Transport,
    TransportMoment,
    potential_field,
    transport_moment,
    wasserstein_distance,
)

__all__ = [
    "CONVOLUTION_KINDS",
    "DENSE_KINDS",
    "DEPTH_ACTIVATIONS",
    "LAYER_KINDS",
    "ActivationPlane",
    "ActivationProbe",
    "ActivationShape",
    "AdversarialPairs",
    "BjorckConvergence",
    "BjorckMap",
    "BjorckMoment",
    "BjorckPaths",
    "CertifiedImage",
    "ConvolutionClaims",
    "ConvolutionPower",
    "DecisionField",
    "DepthBounds",
    "FooledImage",
    "FoolingMeasurement",
    "GradientDepth",
    "GradientFlow",
    "GradientHistory",
    "GradientMeter",
    "GradientNorms",
    "GradientPassage",
    "ImageCertifier",
    "JacobianSpectra",
    "KindSpectra",
    "LayerKind",
    "LayerMeasurement",
    "LayerSpectrum",
    "LinearRegions",
    "LipschitzCone",
    "NetworkSpectrum",
    "NetworkUnderAttack",
    "PotentialField",
    "PowerMoment",
    "Saliency",
    "StepCost",
    "TrainingLog",
    "Transport",
    "TransportMoment",
    "activation_shape",
    "adversarial_pairs",
    "bjorck_convergence",
    "bjorck_iterations_map",
    "bjorck_moment",
    "bjorck_paths",
    "convolution_claims",
    "convolution_power",
    "decision_field",
    "depth_bounds",
    "divergence_limit",
    "float64_layer",
    "gradient_depth",
    "gradient_flow",
    "gradient_history",
    "gradient_passage",
    "hkr_terms",
    "input_gradient_norms",
    "jacobian_singular_values",
    "kind_spectra",
    "largest_singular_value",
    "layer_kind",
    "linear_regions",
    "lipschitz_cone",
    "measure_layer",
    "operator_spectra",
    "potential_field",
    "random_gradient_flows",
    "saliency",
    "sample_kernel",
    "singular_values",
    "step_cost",
    "transport_moment",
    "used_extremes",
    "wasserstein_distance",
]


def __getattr__(name):
    return _moved.name_of(__name__, name)
