"""Plots of a single layer: its singular values, and the gains of random inputs."""

import math

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure.layer_measurement import LayerMeasurement
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.gradient_histograms import steps
from lipviz.plots.spectra import STAGES, draw_spectra, drawing_of_spectra

_BINS = 40


@without_update
def plot_layer_spectrum(data: LayerMeasurement, *, ax: Axes | None = None) -> Axes:
    """Draw the singular values of a whole layer; of a layer with a kernel, also those before its constraint.

    Args:
        data: `LayerMeasurement` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    with drawing_of_spectra(ax) as ax:
        draw_spectra(ax, data.spectrum, _stages(data))
        k = np.nan if data.k is None else data.k
        style.line(ax, "k", ax.get_xlim(), [k, k], color="#999999", linewidth=0.8, label="_k", zorder=1)
        bottom, top = ax.get_ylim()
        # Rounded to powers of ten, so that the limits mostly stay while a slider moves.
        style.y_limits(ax, 10.0 ** math.floor(math.log10(bottom) + 1e-9), 10.0 ** math.ceil(math.log10(top) - 1e-9))
    return ax


def _stages(data):
    """The stages to draw. A layer without a constraint, or without a kernel, has only the one that it uses."""
    if data.has_kernel and data.k is not None:
        *before, (attribute, label, look) = STAGES
        # A constraint of another kind, such as that of `FrobeniusDense`, has no stage before Björck's iteration.
        return [*before, (attribute, label if data.spectrum.normalized is not None else "constrained", look)]
    label = "kernel, without a constraint" if data.has_kernel else "the layer"
    return [("raw", label, style.role("constrained")), *STAGES[1:]]


@without_update
def plot_layer_gains(data: LayerMeasurement, *, ax: Axes | None = None) -> Axes:
    """Draw a histogram of the gains of random inputs, with k, the largest singular value and the certified bound.

    Args:
        data: `LayerMeasurement` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    upper = data.bound.upper
    ends = [data.largest, *([] if data.k is None else [data.k]), *([upper] if upper < math.inf else [])]
    right = 1.5 if max(ends) <= 1.45 else style.round_number(1.05 * max(ends))
    edges = np.linspace(0, right, _BINS + 1)
    shares = 100 * np.histogram(data.gains, edges)[0] / len(data.gains)
    top = 105
    # Where they coincide, lines of three widths and marks at three heights tell them apart.
    looks = (
        ("certified", upper if upper < math.inf else None, "certified", style.role("certified", linewidth=4.5), 0.9),
        ("largest", data.largest, "σmax", style.role("constrained", linewidth=2.2), 0.75),
        ("k", data.k, "k", style.role("limit", linewidth=1.0), 0.9),
    )
    labels = {"xlabel": "length after over length before (no unit)", "ylabel": "share of random inputs (%)"}
    with style.drawing(ax, title="Gain of random inputs, and bounds", **labels) as ax:
        steps(ax, "gains", shares, edges, fill=True, zorder=2, edgecolor=style.GREY, facecolor="#6B6B6B40",
              linewidth=1.6)  # fmt: skip
        for gid, value, label, look, height in looks:
            value = np.nan if value is None else value
            heights = np.array([0, height, 1.0]) * top
            style.line(ax, gid, [value] * 3, heights, markevery=[1], markersize=7, label=label, zorder=4, **look)
        style.x_limits(ax, 0, 1.02 * right)
        style.y_limits(ax, 0, top)
        style.legend(ax)
    return ax


@alt_text.register
def _(data: LayerMeasurement):
    upper = "infinity" if data.bound.upper == math.inf else style.number(data.bound.upper, 5)
    low, middle, high = (style.number(value) for value in np.quantile(data.gains, (0, 0.5, 1)))
    return (
        f"Two panels for a {data.kind} from {_shape(data.input_shape)} to {_shape(data.output_shape)}. Left, its "
        f"{len(data.spectrum.used)} singular values as a map: from {style.number(data.largest, 6)} down to "
        f"{style.number(data.smallest, 6)}. Right, random inputs are stretched by {low} to {high}, median {middle}; "
        f"{'no k is asked for' if data.k is None else f'k is {style.number(data.k)}'}, and its rule certifies {upper}."
    )


def _shape(shape):
    return " × ".join(map(str, shape))
