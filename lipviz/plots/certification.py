"""Plot of the Lipschitz bounds of a model and of its steps."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lipviz.certification import Certificate
from lipviz.plots import style
from lipviz.plots.redrawing import artist

_UPPER: dict[str, Any] = style.role("certified", markersize=5, linestyle="none")
_LOWER: dict[str, Any] = {
    "color": style.ROLES["attack"]["color"],
    "marker": "|",
    "markersize": 11,
    "markeredgewidth": 2,
    "linestyle": "none",
}
_UNBOUNDED: dict[str, Any] = {
    "color": style.BLACK,
    "marker": ">",
    "markersize": 7,
    "linestyle": "none",
    "clip_on": False,
}
_WIDTH, _ROW, _REST = 7.0, 0.26, 1.25  # inches: the figure, a row, and what is above and below the rows


def plot_certificate(data: Certificate, *, ax: Axes | None = None) -> Axes:
    """Draw lower and upper bounds of the Lipschitz constant of each step of a model, and of the whole model.

    A step without an upper bound has an arrow to the right. Where both marks coincide, the constant is known.

    Args:
        data: `Certificate` of `lipviz.certification`.
        ax: Axes to draw on; None makes a figure that is high enough for all steps.

    Returns:
        The Axes.
    """
    rows = [(row.name, row.lower, row.upper) for row in data.layers]
    rows.append(("whole model", data.lower_bound, data.upper_bound))
    if ax is None:
        figure = Figure(figsize=(_WIDTH, _REST + _ROW * len(rows)), dpi=style.DPI, layout="constrained")
        ax = figure.add_subplot()
    left, right = _range(rows)
    with style.drawing(
        ax,
        title=f"Lipschitz constants of '{data.model}'",
        xlabel=f"Lipschitz constant ({_norm(data.norm)}, no unit)",
        ylabel="",
        setup=(_log_x,),
    ) as ax:
        style.x_limits(ax, left, right)
        locator: Any = ax.xaxis.get_major_locator()  # of `_log_x`
        locator.set_params(subs=(1.0, 2.0, 5.0) if right / left <= 100 else (1.0,))
        artist(ax, None, lambda: ax.axvline(1.0, color="#999999", linewidth=0.8, zorder=1))
        _draw_bounds(ax, rows, left, right)
        ax.set_yticks(range(len(rows)), [_short(row[0]) for row in rows], fontsize=style.SMALL)
        style.level(ax, len(rows) - 1.5, color="#999999", linewidth=0.8)
        style.y_limits(ax, len(rows) - 0.5, -0.5)
        style.legend(ax)
    return ax


def _log_x(ax):
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(numticks=8))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))


def _draw_bounds(ax, rows, left, right):
    """Draw the range of each row, and its ends where they are known."""
    places = range(len(rows))
    lower = [max(row[1], left) for row in rows]
    upper = [min(row[2], right) for row in rows]
    found = [place for place in places if rows[place][1] > 0]
    bounded = [place for place in places if rows[place][2] < math.inf]
    unbounded = [place for place in places if rows[place][2] == math.inf]
    look = {"color": style.GREY, "linewidth": 1.5, "zorder": 2, "gid": "ranges"}
    artist(ax, None, lambda: ax.hlines(places, lower, upper, **look))
    style.line(ax, "lower", [lower[i] for i in found], found, label="at least", **_LOWER)
    style.line(ax, "upper", [upper[i] for i in bounded], bounded, label="at most", **_UPPER)
    if unbounded:
        style.line(ax, "unbounded", [right] * len(unbounded), unbounded, label="no bound", **_UNBOUNDED)


def _norm(norm):
    return {1: "l1 norm", 2: "l2 norm", math.inf: "l∞ norm"}[norm]


def _short(name, most=34):
    return name if len(name) <= most else "…" + name[1 - most :]


def _range(rows):
    """Limits between round numbers that hold 1 and all bounds within `MOST_DECADES` of the largest."""
    values = [value for row in rows for value in row[1:] if 0 < value < math.inf] + [1.0]
    smallest = max(min(values), max(values) * 10.0**-style.MOST_DECADES)
    return style.round_number(smallest / 1.1, math.floor), style.round_number(max(values) * 1.1)
