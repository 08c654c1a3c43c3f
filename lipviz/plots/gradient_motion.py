"""Plots of gradients on their way back through networks: what is left so far, and its distribution."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure.gradients import GradientPassage
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.gradient_histograms import LABEL, TOP, draw_log_histograms, log_x
from lipviz.plots.gradients import BAND, band, beside_title
from lipviz.plots.redrawing import artist

_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
_DECADES = 3  # the limits are multiples of it, so that they mostly stay
_LOWEST = -15


def plot_gradient_passage(
    data: GradientPassage, *, ax: Axes | None = None, labels: Sequence[str] | None = None
) -> Axes:
    """Draw how the norm of a gradient changes from the output on: strong so far, and pale what comes.

    Lines are medians over the samples, and bands hold 5 to 95 % of them.

    Args:
        data: `GradientPassage` of `lipviz.measure`, of up to five networks.
        ax: Axes to draw on; None makes a figure.
        labels: Names in the legend, one per network; the networks' own by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If there are more than five networks, or the count of labels does not fit.
    """
    bottom, top = _ends(data)
    end = max(data.steps, 1)
    words = {"xlabel": "layers passed, from the output on", "ylabel": "norm relative to the output (no unit)"}
    with style.drawing(ax, title="A gradient on its way back", **words, setup=(style.whole_ticks, style.log_y)) as ax:
        style.log_scale(ax, [[1.0]], bottom=bottom, top=top)
        style.x_limits(ax, -0.03 * end, 1.03 * end)
        labels = _checked(data, labels)
        looks = style.series_looks(labels)
        for order, (label, flow) in enumerate(zip(labels, data.flows, strict=True)):
            low, middle, high = np.maximum(np.quantile(flow.norms[::-1], (BAND[0], 0.5, BAND[1]), axis=1), bottom / 10)
            _way(ax, order, looks[order], label, data.step, low, middle, high)
        artist(ax, ("here",), lambda: ax.axvline(data.step, **_HERE), lambda line: line.set_xdata(2 * [data.step]))
        beside_title(ax, f"{data.step} of {data.steps}", len(data.flows))
        style.legend(ax)
    return ax


_HERE: dict[str, Any] = {"color": style.BLACK, "linestyle": (0, (4, 2)), "linewidth": 1.0, "zorder": 1.5, "gid": "here"}


def _way(ax, order, own, label, step, low, middle, high):
    (color, marker), x = own, np.arange(len(middle))
    done = slice(0, step + 1)
    style.line(ax, f"whole {order}", x, middle, color=color, linewidth=1.0, alpha=0.3, label="_whole")
    band(ax, f"band {order}", x[done], low[done], high[done], color=color, alpha=0.2, zorder=2)
    style.line(ax, f"median {order}", x[done], middle[done], color=color, linestyle=_DASHES[order], linewidth=2.0,
               label=label, zorder=3)  # fmt: skip
    look: dict[str, Any] = {
        "color": color,
        "marker": marker,
        "markersize": 7,
        "linestyle": "none",
        "label": "_now",
    }
    style.line(ax, f"now {order}", x[step : step + 1], middle[step : step + 1], zorder=4, **look)


def plot_gradient_passage_norms(
    data: GradientPassage, *, ax: Axes | None = None, labels: Sequence[str] | None = None
) -> Axes:
    """Draw a histogram of the norms of the gradients where they are now. Its axes are the same for all places.

    Args:
        data: See `plot_gradient_passage`.
        ax: See `plot_gradient_passage`.
        labels: See `plot_gradient_passage`.

    Returns:
        The Axes.

    Raises:
        ValueError: See `plot_gradient_passage`.
    """
    named = list(zip(_checked(data, labels), data.norms, strict=True))
    title = "Norms of all samples there"
    with style.drawing(ax, title=title, xlabel=LABEL, ylabel="number of samples", setup=(log_x,)) as ax:
        draw_log_histograms(ax, named, *_ends(data))
        beside_title(ax, f"{data.step} of {data.steps}", len(data.flows))
    return ax


def _ends(data):
    """Ends of the axis of norms: those of all places, so that it does not jump."""
    values = np.concatenate([flow.norms.ravel() for flow in data.flows])
    least = values[values > 0].min(initial=1.0)
    decades = min(-_DECADES * math.ceil(-math.log10(least) / _DECADES - 1e-9), -_DECADES)
    largest = float(values.max())
    return 10.0 ** max(decades, _LOWEST), TOP if largest <= TOP else style.round_number(1.05 * largest)


def _checked(data, labels):
    labels = [flow.name for flow in data.flows] if labels is None else list(labels)
    if not 1 <= len(data.flows) <= len(style.PALETTE) or len(labels) != len(data.flows):
        raise ValueError(
            f"Expected one to {len(style.PALETTE)} networks, with a label each. "
            f"Received: {len(data.flows)} with {len(labels)} labels"
        )
    return labels


@alt_text.register
def _(data: GradientPassage):
    words = "; ".join(
        f"{flow.name} at '{place}' {style.number(float(np.median(norms)))}"
        for flow, place, norms in zip(data.flows, data.places, data.norms, strict=True)
    )
    return (
        f"Two panels of gradients after {data.step} of {data.steps} layers, from the output on. Left, their norms "
        f"against the layers passed; right, a histogram of the norms now. Medians of {data.norms.shape[1]} samples, "
        f"relative to the output: {words}."
    )
