"""Plots of gradient norms: over samples, through layers, against depth, and over epochs."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from lipviz.measure.gradients import GradientFlow, GradientHistory, GradientNorms
from lipviz.measure.random_networks import GradientDepth
from lipviz.plots import style
from lipviz.plots.activation_shapes import note
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.gradient_histograms import steps
from lipviz.plots.redrawing import artist
from lipviz.types import Array

BAND = (0.05, 0.95)  # quantiles over the samples at the two edges of a band
_TOLD = 10  # places of a flow that alternative text names
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
_BINS = 40
_SETUP = (style.whole_ticks, style.log_y)
_IN_A_ROW = 3  # entries of a legend


def plot_gradient_norms(
    data: GradientNorms | Sequence[GradientNorms],
    *,
    ax: Axes | None = None,
    constant: float | Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
) -> Axes:
    """Draw a histogram of the norms of input gradients, for one model or several, with the same bins.

    Args:
        data: `GradientNorms` of `lipviz.measure`, or a list of up to five.
        ax: Axes to draw on; None makes a figure.
        constant: Certified Lipschitz constant, or several, one per model, each drawn as a dashed line. No norm of a
            model exceeds its constant.
        labels: Names in the legend, one per model; the models' own by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no model or more than five, or the counts of labels or constants do not fit.
    """
    data = [data] if isinstance(data, GradientNorms) else list(data)
    labels = [norms.name for norms in data] if labels is None else list(labels)
    constants = [] if constant is None else np.ravel(constant).tolist()
    if not 1 <= len(data) <= len(style.PALETTE) or len(labels) != len(data) or len(constants) not in (0, 1, len(data)):
        raise ValueError(
            f"Expected one to {len(style.PALETTE)} models, with a label each, and one constant or one per model. "
            f"Received: {len(data)} models, {len(labels)} labels, {len(constants)} constants"
        )
    top = max([*(norms.largest for norms in data), *constants]) or 1.0
    edges = np.linspace(0, 1.02 * top, _BINS + 1)
    counts = [np.histogram(norms.norms, edges)[0] for norms in data]
    height = 1.08 * max(1, *(count.max() for count in counts))
    with style.drawing(
        ax,
        title="Norms of input gradients",
        xlabel="norm of the gradient (output per input, l2 norm)",
        ylabel="number of samples",
        setup=(_whole_counts,),
    ) as ax:
        for order, (count, label) in enumerate(zip(counts, labels, strict=True)):
            color = style.PALETTE[order]
            steps(ax, f"fill {order}", count, edges, fill=True, color=color, alpha=0.25, zorder=2)
            look = {"color": color, "linestyle": _DASHES[order], "linewidth": 1.6, "label": label}
            steps(ax, f"norms {order}", count, edges, zorder=3, **look)
        _constants(ax, constants, labels, height)
        style.x_limits(ax, -0.01 * top, 1.04 * top)
        style.y_limits(ax, 0, height)
        _legend(ax, len(data) + len(constants))
    return ax


def _whole_counts(ax):
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _constants(ax, constants, labels, height):
    """Draw lines at certified constants: one for all models, or one for each model in its colour."""
    for order, value in enumerate(constants):
        own = len(constants) == len(labels) > 1
        color = style.PALETTE[order] if own else style.BLACK
        look: dict[str, Any] = {"color": color, "linestyle": (0, (4, 2)), "linewidth": 1.2}
        label = f"_{labels[order]}" if own else f"certified {style.number(value)}"
        style.line(ax, f"constant {order}", [value, value], [0, height], label=label, zorder=4, **look)


@without_update
def plot_gradient_flow(
    data: GradientFlow | Sequence[GradientFlow], *, ax: Axes | None = None, labels: Sequence[str] | None = None
) -> Axes:
    """Draw the norm of a backpropagated gradient at each step of a network: median and 5–95 % of samples.

    Args:
        data: `GradientFlow` of `lipviz.measure`, or a list of up to five, of networks of any depths.
        ax: Axes to draw on; None makes a figure.
        labels: Names in the legend, one per network; the models' own by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no network or more than five, or the count of labels does not fit.
    """
    data = [data] if isinstance(data, GradientFlow) else list(data)
    labels = [flow.name for flow in data] if labels is None else list(labels)
    _check_lines(data, labels)
    lines = [(label, np.arange(len(flow)), flow.norms) for label, flow in zip(labels, data, strict=True)]
    end = max(len(flow) - 1 for flow in data)
    with style.drawing(
        ax,
        title="A backpropagated gradient",
        xlabel="step of the network (0 is its input)",
        ylabel="norm relative to the output (no unit)",
        setup=_SETUP,
    ) as ax:
        _banded(ax, lines)
        style.x_limits(ax, -0.03 * end, 1.03 * end)
    return ax


@without_update
def plot_gradient_depth(data: GradientDepth, *, ax: Axes | None = None, labels: Sequence[str] | None = None) -> Axes:
    """Draw norms of input gradients of random networks against their depth: median and 5–95 % of samples.

    Args:
        data: `GradientDepth` of `lipviz.measure`, of up to five activations.
        ax: Axes to draw on; None makes a figure.
        labels: Names in the legend, one per activation; those of Keras by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If there are more than five activations, or the count of labels does not fit.
    """
    labels = list(data.activations if labels is None else labels)
    _check_lines(data.activations, labels)
    lines = [(label, data.depths, norms) for label, norms in zip(labels, data.norms, strict=True)]
    end = max(int(data.depths[-1]), 2)
    with style.drawing(
        ax,
        title="Gradients of random networks",
        xlabel="depth (orthogonal layers, each with an activation)",
        ylabel="norm of the gradient (no unit)",
        setup=_SETUP,
    ) as ax:
        beside_title(ax, f"width {data.width}", len(data.activations))
        _banded(ax, lines)
        style.x_limits(ax, -0.02 * end, 1.03 * end)
    return ax


def beside_title(ax: Axes, text: str, entries: int) -> None:
    """Write what a slider changes at the right end of the title's row: the title itself belongs to the background.

    Args:
        ax: Axes.
        text: What to write.
        entries: Number of entries of the legend, which decides where the title is.
    """
    up = ScaledTranslation(0, _title_pad(entries) / 72, ax.figure.dpi_scale_trans)
    note(ax, "beside title", text, 1.0, 1.0, ha="right", va="baseline", transform=ax.transAxes + up)


def _title_pad(entries):
    return 26 if entries <= _IN_A_ROW else 8


@without_update
def plot_gradient_history(
    data: GradientHistory | Sequence[GradientHistory], *, ax: Axes | None = None, labels: Sequence[str] | None = None
) -> Axes:
    """Draw norms of input gradients after each epoch of training: median and 5–95 % of samples.

    Args:
        data: `GradientHistory` of `lipviz.measure`, or a list of up to five.
        ax: Axes to draw on; None makes a figure.
        labels: Names in the legend, one per model; the models' own by default.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no model or more than five, or the count of labels does not fit.
    """
    data = [data] if isinstance(data, GradientHistory) else list(data)
    labels = [history.name for history in data] if labels is None else list(labels)
    _check_lines(data, labels)
    with drawing_of_history(ax) as ax:
        draw_history(ax, data, labels)
    return ax


def drawing_of_history(ax: Axes | None) -> AbstractContextManager[Axes]:
    """A `style.drawing` of gradients against epochs."""
    return style.drawing(
        ax,
        title="Input gradients while training",
        xlabel="epoch",
        ylabel="norm of the gradient (output per input)",
        setup=_SETUP,
    )


def draw_history(ax: Axes, data: Sequence[GradientHistory], labels: Sequence[str]) -> None:
    """Draw histories, with their legend and limits, see `plot_gradient_history`."""
    _banded(ax, [(label, history.epochs, history.norms) for label, history in zip(labels, data, strict=True)])
    first, last = min(h.epochs[0] for h in data), max(h.epochs[-1] for h in data)
    pad = 0.03 * max(last - first, 1)
    style.x_limits(ax, first - pad, max(last, first + 1) + pad)


# --- lines with bands ---


@without_update
def band(ax: Axes, gid: str, x: Array, low: Array, high: Array, **look: Any) -> PolyCollection:
    """Shade the area between two lines, or move the one that an earlier drawing shaded; see `style.line`.

    Args:
        ax: Axes.
        gid: Name of the area on these Axes.
        x: Array of shape (n,).
        low: Lower line, of shape (n,).
        high: Upper line, of shape (n,).
        **look: Keyword arguments of `Axes.fill_between`.

    Returns:
        The shaded area.
    """
    return artist(
        ax,
        ("band", gid, look),
        lambda: ax.fill_between(x, low, high, gid=gid, linewidth=0, **look),
        lambda drawn: drawn.set_data(x, low, high),
    )


def _banded(ax, lines):
    """Median lines with bands for each (label, x, values of shape (len(x), samples)), on a logarithmic axis."""
    values = [np.quantile(norms, (BAND[0], 0.5, BAND[1]), axis=-1) for _, _, norms in lines]
    style.log_scale(ax, values, top=style.round_number(1.2 * max(value.max() for value in values) or 1.0))
    bottom = ax.get_ylim()[0] / 10  # a logarithmic axis cannot show 0
    looks = style.series_looks([label for label, *_ in lines])
    for order, ((label, x, _), (low, middle, high)) in enumerate(zip(lines, values, strict=True)):
        color, marker = looks[order]
        look: dict[str, Any] = {"color": color}
        band(ax, f"band {order}", x, np.maximum(low, bottom), np.maximum(high, bottom), alpha=0.2, zorder=2, **look)
        look |= {"linestyle": _DASHES[order], "marker": marker, "linewidth": 1.6, "markersize": 4.5}
        marks = style.spread_markers(len(x), order)
        style.line(ax, f"median {order}", x, middle, markevery=marks, label=label, **look)
    _legend(ax, len(lines))


def _legend(ax, entries):
    """Put the legend above the Axes if it fits into one row, else inside."""
    if entries <= _IN_A_ROW:
        style.legend(ax)
    else:
        style.inner_legend(ax)


def _check_lines(data, labels):
    if not 1 <= len(data) <= len(style.PALETTE) or len(labels) != len(data):
        raise ValueError(
            f"Expected one to {len(style.PALETTE)} lines, with a label each. "
            f"Received: {len(data)} with {len(labels)} labels"
        )


# --- in words ---


@alt_text.register
def _(data: GradientNorms):
    low, middle, high = (style.number(value) for value in data.quantile((0, 0.5, 1)))
    return (
        f"Histogram of the norm of the gradient of {data.output} of '{data.name}' with respect to its input, at "
        f"{len(data)} samples: from {low} to {high}, median {middle}."
    )


@alt_text.register
def _(data: GradientFlow):
    told = np.unique(np.linspace(0, len(data.places) - 1, _TOLD).round().astype(int))  # the ends, and some between
    steps = "; ".join(f"{data.places[i]} {style.number(data.median[i])}" for i in told)
    return (
        f"Norm of the gradient of {data.output} of '{data.name}', backpropagated, relative to its norm at the output, "
        f"median of {data.norms.shape[-1]} samples, from the input on: {steps}."
    )


@alt_text.register
def _(data: GradientDepth):
    words = f"Norm of the input gradient of random networks of orthogonal layers, {data.width} neurons wide, median"
    for name, median in zip(data.activations, data.median, strict=True):
        words += (
            f"; {name}: {style.number(median[0])} at depth {data.depths[0]}, "
            f"{style.number(median[-1])} at depth {data.depths[-1]}"
        )
    return words + "."


@alt_text.register
def _(data: GradientHistory):
    median = data.median
    return (
        f"Norm of the gradient of {data.output} of '{data.name}' with respect to its input over {len(data)} epochs: "
        f"median from {style.number(median[0])} to {style.number(median[-1])}, "
        f"largest of all {style.number(data.norms.max())}."
    )
