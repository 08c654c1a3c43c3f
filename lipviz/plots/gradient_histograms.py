"""Histogram of gradient norms on a logarithmic axis with fixed limits, for norms that lie decades apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch

from lipviz.measure import GradientNorms
from lipviz.plots import style
from lipviz.plots.deprecation import without_update
from lipviz.plots.redrawing import artist
from lipviz.types import Array

TOP = 2.0  # right end of the axis: a 1-Lipschitz network has norms up to 1
LABEL = "norm of the gradient (no unit)"
_BINS = 45
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))


@without_update
def plot_log_norms(data: Sequence[GradientNorms], *, ax: Axes | None = None, bottom: float = 1e-9) -> Axes:
    """Draw a histogram of the norms of input gradients on a logarithmic axis, for up to five networks.

    Args:
        data: List of `GradientNorms` of `lipviz.measure`, of equally many samples each, with norms up to 2.
        ax: Axes to draw on; None makes a figure.
        bottom: Left end of the axis, positive; smaller norms are counted in the first bin.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no network or more than five, the left end is not in ]0, 2[, or a norm is above 2.
    """
    if not 1 <= len(data) <= len(style.PALETTE):
        raise ValueError(f"Expected one to {len(style.PALETTE)} networks. Received: {len(data)}")
    if not 0 < bottom < TOP:
        raise ValueError(f"`bottom` must lie in ]0, {TOP:g}[. Received: {bottom!r}")
    if (largest := max(norms.largest for norms in data)) > TOP:
        raise ValueError(f"Expected norms up to {TOP:g}. Received: {largest:.3g}")
    title = "Norms at the input, deepest network"
    with style.drawing(ax, title=title, xlabel=LABEL, ylabel="number of samples", setup=(log_x,)) as ax:
        draw_log_histograms(ax, [(norms.name, norms.norms) for norms in data], bottom, TOP)
    return ax


def draw_log_histograms(ax: Axes, named: Sequence[tuple[str, Array]], bottom: float, top: float) -> None:
    """Draw histograms with the same bins, with their legend and limits, inside a drawing whose setup is `log_x`.

    Args:
        ax: Axes.
        named: List of pairs of a name and norms of shape (n,), up to five.
        bottom: Left end of the axis, positive; smaller norms are counted in the first bin.
        top: Right end of the axis.
    """
    edges = np.geomspace(bottom, top, _BINS + 1)
    looks = style.series_looks([name for name, _ in named])
    for order, ((name, norms), (color, _)) in enumerate(zip(named, looks, strict=True)):
        counts, _ = np.histogram(np.clip(norms, bottom, top), edges)
        look = {"edgecolor": color, "linestyle": _DASHES[order], "linewidth": 1.6, "label": name}
        steps(ax, f"norms {order}", counts, edges, fill=True, facecolor=(*_rgb(color), 0.25), zorder=3, **look)
    style.x_limits(ax, bottom * 0.9, top)
    style.y_limits(ax, 0, 1.05 * max(len(norms) for _, norms in named))
    style.legend(ax)


def log_x(ax: Axes) -> None:
    """Give Axes a logarithmic x-axis without minor ticks."""
    ax.set_xscale("log")
    ax.minorticks_off()


def _rgb(color):
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))


def steps(ax: Axes, gid: str, counts: Array, edges: Array, **look: Any) -> StepPatch:
    """Draw the steps of a histogram, or move those of an earlier drawing; see `style.line`."""
    return artist(
        ax,
        ("steps", gid, look),
        lambda: ax.stairs(counts, edges, gid=gid, **look),
        lambda drawn: drawn.set_data(counts, edges),
    )
