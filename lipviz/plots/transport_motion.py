"""Plots of an optimal transport on its way: where the points are, and the cost so far as an area."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure.transport import TransportMoment
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.fields import class_look
from lipviz.plots.gradient_histograms import steps
from lipviz.plots.gradients import beside_title

_WIDE = 1.65  # width of the Axes over their height
_MOVING: dict[str, Any] = {
    "color": style.BLACK,
    "marker": "D",
    "markersize": 4.0,
    "markeredgecolor": "white",
    "markeredgewidth": 0.4,
    "linestyle": "none",
    "label": "on their way",
    "zorder": 5,
}
_GONE: dict[str, Any] = {"color": style.BLACK, "linewidth": 0.6, "alpha": 0.4, "label": "_gone", "zorder": 3}
_LEFT: dict[str, Any] = {"color": style.GREY, "linewidth": 0.6, "alpha": 0.3, "label": "_left", "zorder": 2}
_MEAN: dict[str, Any] = {"color": style.BLACK, "linestyle": (0, (5, 3)), "linewidth": 1.4, "zorder": 4}


def plot_transport_moment(data: TransportMoment, *, ax: Axes | None = None) -> Axes:
    """Draw both clouds, pale, and the points on their straight ways between them.

    Args:
        data: `TransportMoment` of `lipviz.measure`, in the plane.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.

    Raises:
        ValueError: If the points do not lie in the plane.
    """
    transport = data.transport
    if transport.x.shape[1] != 2:
        raise ValueError(f"Expected points of the plane. Received: dimension {transport.x.shape[1]}")
    x, y = transport.x[transport.pairs[:, 0]], transport.y[transport.pairs[:, 1]]
    labels = {"xlabel": "first coordinate", "ylabel": "second coordinate"}
    with style.drawing(ax, title="Optimal transport", **labels, setup=(style.equal_aspect,)) as ax:
        _frame(ax, np.concatenate([transport.x, transport.y]))
        style.line(ax, "left", *_ways(data.points, y), **_LEFT)
        style.line(ax, "gone", *_ways(x, data.points), **_GONE)
        for name, number, points in (("x", 1, transport.x), ("y", 0, transport.y)):
            color, marker = class_look(number)
            look: dict[str, Any] = {
                "color": color,
                "marker": marker,
                "markersize": 4.5,
                "alpha": 0.45,
                "linestyle": "none",
            }
            style.line(ax, f"cloud {name}", *points.T, label=f"cloud {name}", zorder=2.5, **look)
        style.line(ax, "points", *data.points.T, **_MOVING)
        beside_title(ax, f"{100 * data.share:.0f} % of the way", 3)
        style.legend(ax)
    return ax


def _frame(ax, points):
    """Limits around the points that fill the Axes, with equal units."""
    middle, size = (points.min(axis=0) + points.max(axis=0)) / 2, np.ptp(points, axis=0)
    half = 0.58 * max(size[1], size[0] / _WIDE) or 1.0
    style.x_limits(ax, middle[0] - _WIDE * half, middle[0] + _WIDE * half)
    style.y_limits(ax, middle[1] - half, middle[1] + half)


def _ways(starts, ends):
    """Lines from starts to ends as one line with gaps: its two coordinates."""
    return np.stack([starts, ends, np.full_like(starts, np.nan)], axis=1).reshape(-1, 2).T


def plot_transport_cost(data: TransportMoment, *, ax: Axes | None = None) -> Axes:
    """Draw the way of each mass, longest first, and fill what is done of it: the filled area is the cost so far.

    Args:
        data: `TransportMoment` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    transport = data.transport
    order = np.argsort(-transport.lengths, kind="stable")
    lengths, edges = transport.lengths[order], np.append(0, np.cumsum(transport.masses[order]))
    labels = {"xlabel": "mass, that with the longest way first", "ylabel": "distance (units of the points)"}
    with style.drawing(ax, title="Its cost is an area", **labels) as ax:
        style.x_limits(ax, 0, 1)
        style.y_limits(ax, 0, style.round_number(1.05 * lengths[0]) if lengths[0] > 0 else 1.0)
        look = {"fill": True, "color": style.BLUE, "alpha": 0.3, "label": "moved", "zorder": 2}
        steps(ax, "moved", data.share * lengths, edges, **look)
        look = {"color": style.BLUE, "linewidth": 1.6, "label": "whole way", "zorder": 3}
        steps(ax, "lengths", lengths, edges, **look)
        style.line(ax, "distance", [0, 1], 2 * [transport.distance], label="mean: W₁", **_MEAN)
        style.line(ax, "so far", [0, 1], 2 * [data.moved], color=style.BLUE, linestyle=":", label="_so far", zorder=4)
        beside_title(ax, f"{data.moved:.3f} of {transport.distance:.3f}", 3)
        style.legend(ax)
    return ax


@alt_text.register
def _(data: TransportMoment):
    transport = data.transport
    longest, shortest = (style.number(float(value)) for value in (transport.lengths.max(), transport.lengths.min()))
    return (
        f"Two panels. Left, {len(data.points)} points on straight ways from {len(transport.x)} points of a cloud to "
        f"{len(transport.y)} of another, after {100 * data.share:.0f} % of their ways. Right, the length of each way, "
        f"longest first, from {longest} to {shortest}; the part that is done is filled: {style.number(data.moved)} on "
        f"average, of {style.number(transport.distance)}."
    )
