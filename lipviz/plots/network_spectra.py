"""Plot of the singular values of a network's Jacobian."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure.network_spectra import JacobianSpectra
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.gradients import BAND, band

_MEDIAN: dict[str, Any] = {
    "color": style.BLUE,
    "marker": "o",
    "linestyle": "-",
    "label": "median",
    "linewidth": 1.6,
    "markersize": 4.5,
}
_ENDS: dict[str, Any] = {"color": style.VERMILLION, "linestyle": ":", "linewidth": 1.2}


@without_update
def plot_jacobian_spectra(data: JacobianSpectra, *, ax: Axes | None = None) -> Axes:
    """Draw singular values of a network's Jacobian against their rank: median, 5–95 % and extremes over the samples.

    Args:
        data: `JacobianSpectra` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    least, low, middle, high, most = data.quantile((0, BAND[0], 0.5, BAND[1], 1))
    rank = np.arange(1, len(middle) + 1)
    end = len(rank) if len(rank) < 10 else 10 * math.ceil(len(rank) / 10)
    pad = min(0.2 + 0.02 * end, 0.9)
    with style.drawing(
        ax,
        title="Singular values of the Jacobian",
        xlabel="rank of the singular value, largest first",
        ylabel="singular value (gain, no unit)",
        setup=(style.whole_ticks, style.log_y),
    ) as ax:
        style.level(ax, 1.0, color="#999999", linewidth=0.8, zorder=1)
        style.log_scale(ax, [least, most], top=style.round_number(1.2 * max(1.0, most.max())))
        bottom = ax.get_ylim()[0] / 10  # a logarithmic axis cannot show 0
        look = {"color": style.BLUE, "alpha": 0.25, "zorder": 2, "label": "5–95 % of samples"}
        band(ax, "band", rank, np.maximum(low, bottom), np.maximum(high, bottom), **look)
        style.line(ax, "least", rank, least, label="_smallest", **_ENDS)
        style.line(ax, "most", rank, most, label="extremes", **_ENDS)
        style.line(ax, "median", rank, middle, markevery=style.spread_markers(len(rank), 0), **_MEDIAN)
        style.x_limits(ax, 1 - pad, end + pad)
        style.legend(ax)
    return ax


@alt_text.register
def _(data: JacobianSpectra):
    outputs, inputs = data.shape
    low, middle, high = (style.number(value) for value in np.quantile(data.values, (0, 0.5, 1)))
    return (
        f"Singular values of the Jacobian of '{data.name}', {outputs} × {inputs}, at {len(data)} samples: all from "
        f"{low} to {high}, median {middle}; median of the largest {style.number(np.median(data.largest))}, of the "
        f"smallest {style.number(np.median(data.smallest))}."
    )
