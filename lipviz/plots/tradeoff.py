"""Plots of several runs: accuracy against robustness, and the certified accuracy of each."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.toys.tradeoff import Tradeoff

_LOSSES = {
    "crossentropy": ("crossentropy", style.BLUE, "o"),
    "hkr": ("HKR", style.VERMILLION, "s"),
}
_RING: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 15,
    "markerfacecolor": "none",
    "markeredgewidth": 2.0,
}
_LIVE: dict[str, Any] = {
    "linestyle": "none",
    "marker": "*",
    "markersize": 13,
    "color": style.PURPLE,
    "label": "live run",
}
_OTHERS: dict[str, Any] = {"color": style.GREY, "linewidth": 0.7, "alpha": 0.45, "label": "other runs"}
_CHOSEN: dict[str, Any] = {
    "color": style.BLACK,
    "marker": "o",
    "markersize": 4.5,
    "linewidth": 1.8,
    "label": "chosen run",
    "zorder": 3,
}
_EPSILON: dict[str, Any] = style.role("limit", linewidth=1.6, label="ε")


@without_update
def plot_tradeoff(data: Tradeoff, *, ax: Axes | None = None) -> Axes:
    """Draw each run as a point, accuracy against robustness, and the frontier through the runs that no other beats.

    Args:
        data: `Tradeoff` of `lipviz.toys`. The chosen run has a ring, and live runs are stars.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    robust = "mean certified radius (l2 norm, units of the input)"
    if data.epsilon is not None:
        robust = "certified accuracy at ε (share, no unit)"
    x, y = data.robustness, data.accuracy
    live, ends = np.isin(np.arange(len(data)), data.live), data.frontier
    with style.drawing(
        ax, title="Accuracy against robustness", xlabel=robust, ylabel="accuracy (share, no unit)"
    ) as ax:
        _frontier(ax, x[ends], y[ends])
        for loss, (label, color, marker) in _LOSSES.items():
            of_it = np.array([run.loss == loss for run in data.runs], bool) & ~live
            look: dict[str, Any] = {
                "color": color,
                "marker": marker,
                "linestyle": "none",
                "markersize": 6,
                "label": label,
            }
            style.line(ax, loss, x[of_it], y[of_it], zorder=3, **look)
        style.line(ax, "live", x[live], y[live], zorder=4, **_LIVE)
        chosen = [] if data.chosen is None else [data.chosen]
        style.line(ax, "chosen", x[chosen], y[chosen], zorder=5, color=style.BLACK, label="_chosen", **_RING)
        _limits(ax, x if data.epsilon is None else np.array([0.03, 0.97]), y)  # the same limits for every ε
        style.legend(ax, columns=4)
    return ax


def _frontier(ax, x, y):
    """Draw the frontier as a staircase: runs below it, or to its left, are beaten."""
    look: dict[str, Any] = {"color": style.GREY, "linestyle": "--", "linewidth": 1.0, "drawstyle": "steps-pre"}
    corners = (np.r_[0.0, x, x[-1:]], np.r_[y[:1], y, 0.0]) if len(x) else ([], [])
    style.line(ax, "frontier", *corners, zorder=2, label="frontier", **look)


def _limits(ax, x, y):
    """Set limits at round numbers, so that they mostly stay while runs are added."""
    for values, step, set_limits in ((x, 0.05, style.x_limits), (y, 0.02, style.y_limits)):
        values = values[np.isfinite(values)]
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
        set_limits(ax, np.floor(low / step - 0.4) * step, np.ceil(high / step + 0.4) * step)


@without_update
def plot_tradeoff_curves(data: Tradeoff, *, ax: Axes | None = None) -> Axes:
    """Draw certified accuracy against ε, for the chosen run, and in a pale colour for all others.

    Args:
        data: `Tradeoff` of `lipviz.toys`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    # One line with gaps: an artist for each of dozens of runs would be slow.
    others = [run for place, run in enumerate(data.runs) if place != data.chosen]
    gap = [np.nan]
    x = np.concatenate([part for run in others for part in (run.epsilons, gap)] or [gap])
    y = np.concatenate([part for run in others for part in (run.certified, gap)] or [gap])
    run = None if data.chosen is None else data.runs[data.chosen]
    epsilons, certified = (run.epsilons, run.certified) if run else (np.array(gap), np.array(gap))
    at = [] if data.epsilon is None else [data.epsilon] * 2
    largest = max((run.epsilons[-1] for run in data.runs), default=1.0) or 1.0
    with style.drawing(
        ax,
        title="Certified accuracy",
        xlabel="size ε of the change (l2 norm, units of the input)",
        ylabel="share of samples (no unit)",
    ) as ax:
        style.line(ax, "others", x, y, zorder=1, **_OTHERS)
        style.line(ax, "chosen", epsilons, certified, markevery=style.spread_markers(len(epsilons), 0), **_CHOSEN)
        style.line(ax, "epsilon", at, [0, 1][: len(at)], zorder=2, **_EPSILON)
        style.x_limits(ax, -0.02 * largest, 1.02 * largest)
        style.y_limits(ax, -0.02, 1.02)
        style.legend(ax)
    return ax


@alt_text.register
def _(data: Tradeoff):
    names = [_LOSSES[loss][0] for loss in dict.fromkeys(run.loss for run in data.runs)]
    words = f"Accuracy against robustness of {len(data)} runs ({', '.join(names) or 'none'})"
    if len(data):
        what = (
            "mean certified radius" if data.epsilon is None else f"certified accuracy at {style.number(data.epsilon)}"
        )
        words += f": accuracy from {_range(data.accuracy)}, {what} from {_range(data.robustness)}; "
        words += f"no run beats {len(data.frontier)} of them"
    if data.chosen is not None:
        run = data.runs[data.chosen]
        words += (
            f". The chosen one, {_LOSSES[run.loss][0]} with {run.loss_parameter_label}, has accuracy "
            f"{style.number(run.accuracy)} and mean certified radius {style.number(run.mean_radius)}"
        )
    return words + "."


def _range(values):
    return f"{style.number(np.nanmin(values))} to {style.number(np.nanmax(values))}"
