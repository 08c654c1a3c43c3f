"""Plots of what `lipviz.measure` returns: `plot_x(data, *, ax=None, update=False) -> Axes`. They compute nothing.

Every figure is object-oriented, never pyplot's: `picture(ax, alt_text(data))` shows one in a notebook, with words for
readers who cannot see it.
"""

from lipviz.plots.alt import alt_text
from lipviz.plots.bjorck import plot_bjorck_convergence
from lipviz.plots.certification import plot_certificate
from lipviz.plots.picture import LiveFigure, Picture, picture
from lipviz.plots.robustness import plot_certified_accuracy, plot_radii
from lipviz.plots.spectra import plot_singular_values
from lipviz.plots.style import PALETTE, new_figure

__all__ = [
    "PALETTE",
    "LiveFigure",
    "Picture",
    "alt_text",
    "new_figure",
    "picture",
    "plot_bjorck_convergence",
    "plot_certificate",
    "plot_certified_accuracy",
    "plot_radii",
    "plot_singular_values",
]
