"""Plots of layers of several kinds, one below the other: singular values, what networks of them reach, and the cost."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lipviz.measure.layer_stacks import KindSpectra
from lipviz.plots import style
from lipviz.plots.activation_shapes import note
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.redrawing import artist
from lipviz.toys.kind_runs import KindComparison

_HALF = 0.36  # of the height of a row, which is 1, that its values fill above and below its middle
_EDGE = 0.6  # above the first row and below the last
_VALUES: dict[str, Any] = style.role("constrained", linestyle="none", marker="o", markersize=3.0)
_BAR: dict[str, Any] = {"facecolor": style.BLUE, "edgecolor": style.BLUE, "linewidth": 1.2, "zorder": 3}
# Accuracy, then certified accuracy at each ε.
_LOOKS: tuple[dict[str, Any], ...] = tuple(
    {"color": color, "marker": marker, "linestyle": "none", "markersize": 7}
    for color, marker in zip(
        (style.BLACK, style.GREEN, style.BLUE, style.VERMILLION, style.PURPLE), "os^Dv", strict=True
    )
)


def _rows(ax):
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", length=0)


def _name_rows(ax, kinds):
    """One row for each kind, from the top down, with its name on the left."""
    labels = [kind.label for kind in kinds]
    if [text.get_text() for text in ax.get_yticklabels()] != labels or len(ax.get_yticks()) != len(labels):
        ax.set_yticks(range(len(labels)), labels)
    style.y_limits(ax, len(labels) - 1 + _EDGE, -_EDGE)


@without_update
def plot_kind_spectra(data: KindSpectra, *, ax: Axes | None = None) -> Axes:
    """Draw all singular values of a stack of layers of each kind, one row for each kind, the largest value on top.

    Args:
        data: `KindSpectra` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    title = "Singular values" + (f", {data.depth} layers" if data.depth > 1 else " of a layer")
    with style.drawing(ax, title=title, xlabel="singular value (gain, no unit)", ylabel="", setup=(_rows,)) as ax:
        _name_rows(ax, data.kinds)
        style.line(ax, "one", [1, 1], [-_EDGE, len(data)], color="#999999", linewidth=0.8, zorder=1)
        for place, values in enumerate(data.values):
            heights = place + 2 * _HALF * ((np.arange(len(values)) + 0.5) / len(values) - 0.5)
            style.line(ax, f"kind {place}", values, heights, zorder=3, **_VALUES)
        style.x_limits(ax, -0.03, 1.05)
    return ax


@without_update
def plot_kind_accuracy(data: KindComparison, *, ax: Axes | None = None) -> Axes:
    """Draw accuracy and certified accuracy of networks of each kind, one row for each kind.

    Args:
        data: `KindComparison` of `lipviz.toys`, with at most four sizes ε.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.

    Raises:
        ValueError: If there are more sizes ε.
    """
    if len(data.epsilons) >= len(_LOOKS):
        raise ValueError(f"Expected at most {len(_LOOKS) - 1} sizes ε. Received: {len(data.epsilons)}")
    shares = np.column_stack([data.accuracy, data.certified])
    labels = ["accuracy", *(f"ε = {style.number(eps)}" for eps in data.epsilons)]
    places = np.arange(len(data))
    title, xlabel = "Accuracy, and certified at ε", f"share of test samples{_depths(data)}"
    with style.drawing(ax, title=title, xlabel=xlabel, ylabel="", setup=(_rows,)) as ax:
        _name_rows(ax, data.kinds)
        gaps = np.full(len(data), np.nan)
        x = np.column_stack([shares.min(axis=1, initial=1.0), shares.max(axis=1, initial=0.0), gaps]).reshape(-1)
        style.line(ax, "ranges", x, np.repeat(places, 3), color="#999999", linewidth=1.0, zorder=2, label="_ranges")
        for which, (label, look) in enumerate(zip(labels, _LOOKS, strict=False)):
            style.line(ax, f"share {which}", shares[:, which], places, label=label, zorder=4, **look)
        for place, run in enumerate(data.runs):
            note(ax, f"missing {place}", "" if run else "not trained", 0.5, place,
                 transform=ax.transData, ha="center", va="center")  # fmt: skip
        style.x_limits(ax, -0.03, 1.03)
        style.legend(ax, columns=len(labels))
    return ax


def _depths(data):
    """How many hidden layers the networks have, in words."""
    depths = sorted({run.depth for run in data.runs if run is not None})
    if not depths:
        return " (no unit)"
    return (
        f" ({'–'.join(map(str, depths[:: max(len(depths) - 1, 1)]))} hidden {'layer' if depths == [1] else 'layers'})"
    )


@without_update
def plot_kind_costs(data: KindComparison, *, ax: Axes | None = None) -> Axes:
    """Draw the cost of a training step of a layer of each kind as a bar, one row for each kind.

    Args:
        data: `KindComparison` of `lipviz.toys`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    known = data.costs[np.isfinite(data.costs)]
    longest = max(known.max(initial=1.0), 1.0)
    title, xlabel = "Cost of a training step", "CPU time, plain layer = 1 (no unit)"
    with style.drawing(ax, title=title, xlabel=xlabel, ylabel="", setup=(_rows,)) as ax:
        _name_rows(ax, data.kinds)
        style.line(ax, "plain", [1, 1], [-_EDGE, len(data)], color=style.BLACK, linewidth=1.6, zorder=4)
        for place, cost in enumerate(data.costs):
            is_known = np.isfinite(cost)
            _bar(ax, place, cost if is_known else 0.0)
            words = f"{cost:.1f}" if is_known else "not measured"
            note(ax, f"cost {place}", words, (cost if is_known else 1.0) + 0.02 * longest, place,
                 transform=ax.transData, va="center")  # fmt: skip
        style.x_limits(ax, 0, 1.15 * longest)
    return ax


def _bar(ax, place, width):
    def make():
        corner = (0, place - _HALF)
        return ax.add_patch(Rectangle(corner, width, 2 * _HALF, gid=f"bar {place}", **_BAR))

    artist(ax, ("bar", place), make, lambda drawn: drawn.set_width(width))


@alt_text.register
def _(data: KindSpectra):
    what = f"a stack of {data.depth} layers" if data.depth > 1 else "one layer"
    number, spectra = style.number, zip(data.kinds, data.values, strict=True)
    parts = [
        f"{kind.title} {number(values[0])} to {number(values[-1])}, median {number(np.median(values))}"
        for kind, values in spectra
    ]
    return (
        f"Singular values of {what} of each kind, for a raw kernel with singular values from 1 down to "
        f"{style.number(data.smallest)}: {'; '.join(parts)}."
    )


@alt_text.register
def _(data: KindComparison):
    sizes = " / ".join(style.number(eps) for eps in data.epsilons)
    parts = []
    for place, kind in enumerate(data.kinds):
        words = f"{kind.title} not trained"
        if data.runs[place] is not None:
            shares = " / ".join(f"{100 * share:.0f}" for share in data.certified[place])
            words = f"{kind.title} {100 * data.accuracy[place]:.0f} %, certified {shares} %"
        cost = data.costs[place]
        parts.append(words + (f", a step costs {cost:.1f}" if np.isfinite(cost) else ""))
    return (
        f"Accuracy and certified accuracy (at ε = {sizes}) of the same network with hidden layers of each kind, and "
        f"the CPU time of a training step over that of the plain layer: {'; '.join(parts)}."
    )
