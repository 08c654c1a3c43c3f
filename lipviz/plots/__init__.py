"""Plots of what `lipviz.measure` returns: `plot_x(data, *, ax=None) -> Axes`. They compute nothing.

On Axes that already show a plot of lipviz, a plot moves the artists that are the same, draws new ones, and removes the
others. The result is the same as on new Axes.

Figures are made without pyplot. `picture(ax, alt_text(data))` shows one in a notebook, with a text for readers who
cannot see it.

Plots come with the extra ``lab``: ``pip install "lipviz[lab]"``.
"""

from lipviz import _extras, _moved

_extras.need("lipviz.plots")

from lipviz.plots import toy_training  # noqa: F401 - registers its alternative texts
from lipviz.plots.activation_shapes import plot_activation_jacobian, plot_activation_outputs, plot_activation_plane
from lipviz.plots.alt import alt_text
from lipviz.plots.bjorck import plot_bjorck_convergence
from lipviz.plots.bjorck_map import plot_bjorck_map, plot_bjorck_paths
from lipviz.plots.bjorck_motion import plot_bjorck_circle, plot_bjorck_cobweb
from lipviz.plots.certification import plot_certificate, plot_depth_bounds
from lipviz.plots.certified_image import plot_certified_curve, plot_certified_image, plot_class_distances
from lipviz.plots.cones import plot_lipschitz_cone
from lipviz.plots.convolution_motion import plot_convolution_power, plot_worst_image
from lipviz.plots.convolutions import plot_convolution_claims, plot_convolution_gains, plot_convolution_spectrum
from lipviz.plots.fields import plot_decision_field, plot_decision_fields, plot_linear_regions
from lipviz.plots.fooled import plot_fooled_image
from lipviz.plots.function_fits import plot_function_fit
from lipviz.plots.gradient_histograms import plot_log_norms
from lipviz.plots.gradient_motion import plot_gradient_passage, plot_gradient_passage_norms
from lipviz.plots.gradients import (
    plot_gradient_depth,
    plot_gradient_flow,
    plot_gradient_history,
    plot_gradient_norms,
)
from lipviz.plots.layer_kinds import plot_kind_accuracy, plot_kind_costs, plot_kind_spectra
from lipviz.plots.layer_measurement import plot_layer_gains, plot_layer_spectrum
from lipviz.plots.network_spectra import plot_jacobian_spectra
from lipviz.plots.rendering import LiveFigure, Picture, picture
from lipviz.plots.robustness import plot_certified_accuracies, plot_certified_accuracy, plot_radii
from lipviz.plots.saliency import plot_adversarial_pairs, plot_saliency
from lipviz.plots.spectra import plot_singular_values
from lipviz.plots.style import PALETTE, new_figure
from lipviz.plots.tradeoff import plot_tradeoff, plot_tradeoff_curves
from lipviz.plots.training import (
    plot_training_log,
    plot_training_loss,
    plot_training_metrics,
    plot_training_spectra,
    plot_training_terms,
)
from lipviz.plots.transport import plot_potential, plot_wasserstein_training
from lipviz.plots.transport_motion import plot_transport_cost, plot_transport_moment

__all__ = [
    "PALETTE",
    "LiveFigure",
    "Picture",
    "alt_text",
    "new_figure",
    "picture",
    "plot_activation_jacobian",
    "plot_activation_outputs",
    "plot_activation_plane",
    "plot_adversarial_pairs",
    "plot_bjorck_circle",
    "plot_bjorck_cobweb",
    "plot_bjorck_convergence",
    "plot_bjorck_map",
    "plot_bjorck_paths",
    "plot_certificate",
    "plot_certified_accuracies",
    "plot_certified_accuracy",
    "plot_certified_curve",
    "plot_certified_image",
    "plot_class_distances",
    "plot_convolution_claims",
    "plot_convolution_gains",
    "plot_convolution_power",
    "plot_convolution_spectrum",
    "plot_decision_field",
    "plot_decision_fields",
    "plot_depth_bounds",
    "plot_fooled_image",
    "plot_function_fit",
    "plot_gradient_depth",
    "plot_gradient_flow",
    "plot_gradient_history",
    "plot_gradient_norms",
    "plot_gradient_passage",
    "plot_gradient_passage_norms",
    "plot_jacobian_spectra",
    "plot_kind_accuracy",
    "plot_kind_costs",
    "plot_kind_spectra",
    "plot_layer_gains",
    "plot_layer_spectrum",
    "plot_linear_regions",
    "plot_lipschitz_cone",
    "plot_log_norms",
    "plot_potential",
    "plot_radii",
    "plot_saliency",
    "plot_singular_values",
    "plot_tradeoff",
    "plot_tradeoff_curves",
    "plot_training_log",
    "plot_training_loss",
    "plot_training_metrics",
    "plot_training_spectra",
    "plot_training_terms",
    "plot_transport_cost",
    "plot_transport_moment",
    "plot_wasserstein_training",
    "plot_worst_image",
]


def __getattr__(name):
    return _moved.name_of(__name__, name)
