"""Plots of the Lipschitz bounds of a model and of its steps."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lipviz.certification import Certificate
from lipviz.measure.depths import DepthBounds
from lipviz.plots import style
from lipviz.plots.alt import alt_text
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
_PRODUCT: dict[str, Any] = style.role("raw", label="product", markersize=5, linewidth=1.6)
_TOGETHER: dict[str, Any] = style.role("certified", label="steps together", markersize=4.5, linewidth=1.6)
_FOUND: dict[str, Any] = style.role("attack", label="search", markersize=5.5, linewidth=1.2)
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


# --- by depth ---


def plot_depth_bounds(data: DepthBounds, *, ax: Axes | None = None) -> Axes:
    """Draw bounds of the first steps of a model against their number: by the product, by several steps together.

    Where the lines part, the product loses. The constants lie between the bounds and the ratios that a search found,
    if there was one. Bounds that are infinite or 0 have no place on the axis.

    Args:
        data: `DepthBounds` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    lines = [("product", data.product, _PRODUCT), ("together", data.together, _TOGETHER)]
    if data.found is not None:
        lines.append(("found", data.found, _FOUND))
    shown = [np.where(np.isfinite(values) & (values > 0), values, np.nan) for _, values, _ in lines]
    depths = np.arange(len(data) + 1)
    with style.drawing(
        ax,
        title="Lipschitz bounds by depth",
        xlabel="number of steps from the input",
        ylabel=f"Lipschitz constant ({_norm(data.norm)}, no unit)",
        setup=(style.whole_ticks, style.log_y),
    ) as ax:
        style.log_scale(ax, [values[~np.isnan(values)] for values in shown])
        for order, ((gid, _, look), values) in enumerate(zip(lines, shown, strict=True)):
            style.line(ax, gid, depths, values, markevery=style.spread_markers(len(depths), order), **look)
        pad = 0.03 * len(depths)
        style.x_limits(ax, -pad, len(data) + pad)
        style.legend(ax)
    return ax


@alt_text.register
def _(data: DepthBounds):
    words = (
        f"Upper bounds of the Lipschitz constants of the first steps of '{data.model}' in the {_norm(data.norm)}, from "
        f"1 at the input: after {_count(len(data))} the product of single steps is {_bound(data.product[-1])}, and "
        f"several steps together give {_bound(data.together[-1])}"
    )
    if data.found is not None:
        words += f"; a search found {style.number(data.found[-1])}"
    return f"{words}. {_loss_in_words(data)}"


def _count(steps):
    return "1 step" if steps == 1 else f"{steps} steps"


def _bound(value):
    return "infinite" if value == math.inf else style.number(value)


def _factor(value):
    return "infinity" if value == math.inf else style.number(value)


def _loss_in_words(data):
    """Where the product loses most."""
    losses = data.losses
    if not len(data) or not losses.max() > 1 + 1e-6:
        return "The product loses nothing."
    step = int(losses.argmax())
    return f"The product loses most at step {step + 1}, '{data.steps[step]}': a factor of {_factor(losses[step])}."


def _norm(norm):
    return {1: "l1 norm", 2: "l2 norm", math.inf: "l∞ norm"}[norm]


def _short(name, most=34):
    return name if len(name) <= most else "…" + name[1 - most :]


def _range(rows):
    """Limits between round numbers that hold 1 and all bounds within `MOST_DECADES` of the largest."""
    values = [value for row in rows for value in row[1:] if 0 < value < math.inf] + [1.0]
    smallest = max(min(values), max(values) * 10.0**-style.MOST_DECADES)
    return style.round_number(smallest / 1.1, math.floor), style.round_number(max(values) * 1.1)
