"""Plot of a graph and of the double cone at one of its points."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure.cones import LipschitzCone
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.redrawing import artist

_CONE: dict[str, Any] = {"facecolor": "0.88", "edgecolor": "0.55", "linewidth": 0.8, "zorder": 1}
_GRAPH: dict[str, Any] = style.role("constrained", marker="", linewidth=2, label="f", zorder=3)
_INSIDE: dict[str, Any] = style.role("attack", marker="", linestyle="-", linewidth=4.5, label="f in the cone", zorder=4)
_SECANT: dict[str, Any] = style.role("limit", linestyle="--", linewidth=1.2, label="steepest secant", zorder=2)
_POINT: dict[str, Any] = style.role("chosen", linestyle="none", markersize=8, label="_point", zorder=5)


def plot_lipschitz_cone(data: LipschitzCone, *, ax: Axes | None = None) -> Axes:
    """Draw a graph, the double cone at one of its points, and the steepest secant through the point.

    Where the graph lies in the cone, it is drawn thicker, and in another colour.

    Args:
        data: `LipschitzCone` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    middle, half = (data.y.max() + data.y.min()) / 2, 1.1 * max(np.ptp(data.y), 1e-9)
    labels = {"xlabel": "x (no unit)", "ylabel": "f(x) (no unit)"}
    with style.drawing(ax, title="A graph, and a cone at one of its points", **labels) as ax:
        for side in (1, -1):
            _half_cone(ax, data, side, 4 * half)
        style.line(ax, "graph", data.x, data.y, **_GRAPH)
        style.line(ax, "inside", data.x, np.where(data.inside, data.y, np.nan), **_INSIDE)
        end = np.interp(data.end, data.x, data.y)
        style.line(ax, "secant", [data.place, data.end], [data.value, end], **_SECANT)
        style.line(ax, "point", [data.place], [data.value], **_POINT)
        style.x_limits(ax, data.x[0], data.x[-1])
        style.y_limits(ax, middle - half, middle + half)
        style.legend(ax)
    return ax


def _half_cone(ax, data, side, far):
    """Draw the upper (side 1) or the lower (side -1) half of the cone, as wide as the Axes at any place."""
    width = data.x[-1] - data.x[0]
    top = data.value + side * (far + data.k * width)
    edge = data.value + side * data.k * width
    corners = np.array(
        [
            (data.place, data.value),
            (data.place + width, edge),
            (data.place + width, top),
            (data.place - width, top),
            (data.place - width, edge),
        ]
    )
    gid = f"cone {side}"
    artist(ax, (gid,), lambda: ax.fill(*corners.T, gid=gid, **_CONE)[0], lambda drawn: drawn.set_xy(corners))


@alt_text.register
def _(data: LipschitzCone):
    where = f"the point x = {style.number(data.place)} of the graph of {data.name}"
    cone = f"A grey double cone with sides of slope ±{style.number(data.k)} opens upwards and downwards at {where}."
    if data.is_outside:
        return f"{cone} The graph lies outside of the cone."
    return f"{cone} The graph enters the cone, as far as {_reach(data)}."


def _reach(data):
    inside = data.x[data.inside]
    return f"x = {style.number(inside.min())} to {style.number(inside.max())}"
