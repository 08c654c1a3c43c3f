"""Plots of the log of a training: a panel for each kind of number, against epochs."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lipviz.measure.training_log import TrainingLog
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.gradients import draw_history, drawing_of_history
from lipviz.plots.spectra import depth_color

_LINE: dict[str, Any] = {"linewidth": 1.6, "markersize": 4.5}
_TERMS = {"kr": ("KR, maximized", style.BLUE, "-", "o"), "hinge": ("hinge, minimized", style.VERMILLION, "--", "s")}
_BROKEN: dict[str, Any] = {
    "color": style.BLACK,
    "marker": "X",
    "markersize": 9,
    "linestyle": "none",
    "clip_on": False,
    "label": "NaN or ∞",
}
_FRAMING = 3  # epochs, after which the limits are those of whole epochs
_SPAN = 50  # largest ratio of two values on a linear axis: beyond it the axis is logarithmic


# --- all panels ---


@without_update
def plot_training_log(data: TrainingLog, *, figure: Figure | None = None) -> Figure:
    """Draw all that a log holds: loss, metrics, the terms of the loss, gradient norms, and singular values.

    Args:
        data: `TrainingLog` of `lipviz.measure`.
        figure: Figure with a panel for each of `training_panels(data)`, in their order; None makes one, two in a row.

    Returns:
        The `matplotlib.figure.Figure`, whose panels are `figure.axes`.

    Raises:
        ValueError: If the figure has another number of panels.
    """
    panels = training_panels(data)
    figure = training_figure(len(panels)) if figure is None else figure
    if len(figure.axes) != len(panels):
        raise ValueError(f"Expected a figure with {len(panels)} panels. Received: {len(figure.axes)}")
    for ax, panel in zip(figure.axes, panels, strict=True):
        _PLOTS[panel](data, ax=ax)
    return figure


def training_panels(data: TrainingLog) -> tuple[str, ...]:
    """Names of the panels for which a log has data: of "loss", "metrics", "terms", "gradients" and "spectra".

    Args:
        data: `TrainingLog`.
    """
    filled = {
        "loss": True,
        "metrics": bool(_other_metrics(data)),
        "terms": data.kr is not None or data.hinge is not None,
        "gradients": data.gradients is not None,
        "spectra": bool(data.spectra),
    }
    return tuple(panel for panel in _PLOTS if filled[panel])


def training_figure(panels: int, columns: int = 2, dpi: float = style.DPI) -> Figure:
    """Make a figure with panels of equal size, row by row, without pyplot.

    Args:
        panels: Number of panels.
        columns: Number of panels in a row.
        dpi: Pixels per inch.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    columns = min(columns, panels)
    rows = math.ceil(panels / columns)
    (width, height), (ax,) = style.PANEL, style.new_figure().axes
    margins = ax.get_position()
    figure = Figure(figsize=(width * columns, height * rows), dpi=dpi)
    for place in range(panels):
        left, bottom = place % columns, rows - 1 - place // columns
        box = (
            (left + margins.x0) / columns,
            (bottom + margins.y0) / rows,
            margins.width / columns,
            margins.height / rows,
        )
        figure.add_axes(box)
    return figure


# --- panel by panel ---


@without_update
def plot_training_loss(data: TrainingLog, *, ax: Axes | None = None) -> Axes:
    """Draw the loss of each epoch, and within epochs its running mean, as Keras reports it.

    Args:
        data: `TrainingLog` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    running = {"color": style.GREY, "linestyle": ":", "linewidth": 1.2, "label": "within the epoch"}
    lines = [("running", *_within_epochs(data), running)] if len(data.batches) else []
    names = [name for name in ("loss", "val_loss") if name in data.metrics]
    lines += [_metric(data, name, 0, alone=True) for name in names]
    # The first batches of the training may lie far above the rest: after some epochs, only whole epochs set the limits.
    framed = [y for gid, _, y, _ in lines if gid != "running" or len(data) < _FRAMING]
    return _drawn(ax, "Loss", "loss (no unit)", data, lines, names or ["loss"], framed=framed)


def _within_epochs(data):
    """The loss within epochs, with a gap between epochs, where Keras resets its mean."""
    epochs = np.searchsorted(data.steps, data.batches)
    gaps = np.flatnonzero(np.diff(epochs)) + 1
    return np.insert(data.batch_epochs, gaps, np.nan), np.insert(data.batch_losses, gaps, np.nan)


@without_update
def plot_training_metrics(data: TrainingLog, *, ax: Axes | None = None) -> Axes:
    """Draw up to five metrics of each epoch; their validation values are dashed in the same colour.

    Args:
        data: `TrainingLog` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    found = _other_metrics(data)
    shown = found[: len(style.PALETTE)]
    title = "Metrics" if len(shown) == len(found) else f"Metrics, {len(shown)} of {len(found)}"
    pairs = [(order, name) for order, base in enumerate(shown) for name in (base, f"val_{base}")]
    pairs = [(order, name) for order, name in pairs if name in data.metrics]
    lines = [_metric(data, name, order, alone=len(shown) == 1) for order, name in pairs]
    return _drawn(ax, title, "value of the metric", data, lines, [name for _, name in pairs])


@without_update
def plot_training_terms(data: TrainingLog, *, ax: Axes | None = None) -> Axes:
    """Draw the Kantorovich-Rubinstein term and the hinge term of the loss on a sample, after each epoch.

    Args:
        data: `TrainingLog` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    lines = []
    for gid, (label, color, dash, marker) in _TERMS.items():
        values = getattr(data, gid)
        if values is not None:
            look = {"color": color, "linestyle": dash, "marker": marker, "label": label, **_LINE}
            lines.append((gid, data.epochs, values, look))
    return _drawn(ax, "Terms of the loss", "mean over the sample (no unit)", data, lines, ["weights"])


@without_update
def plot_training_spectra(data: TrainingLog, *, ax: Axes | None = None) -> Axes:
    """Draw the largest (solid) and the smallest (dashed) singular value of each layer's kernel, after each epoch.

    Args:
        data: `TrainingLog` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    lines = []
    for order, (layer, values) in enumerate(data.spectra.items()):
        named = len(data.spectra) <= len(style.PALETTE) or order in (0, len(data.spectra) - 1)
        look = {
            "color": depth_color(order, len(data.spectra)),
            "marker": style.MARKERS[order % len(style.MARKERS)],
            **_LINE,
        }
        label = _short(layer, 12 if len(data.spectra) == 3 else 18) if named else f"_{layer}"
        lines.append((f"largest {order}", data.epochs, values[:, 0], {**look, "label": label}))
        look |= {"linestyle": "--", "linewidth": 1.0, "markerfacecolor": "white"}
        lines.append((f"smallest {order}", data.epochs, values[:, 1], {**look, "label": f"_smallest, {layer}"}))
    title = "Singular values (dashed: smallest)"
    return _drawn(ax, title, "singular value (gain, no unit)", data, lines, ["weights"], span=0.1)


def _gradients(data, *, ax):
    with drawing_of_history(ax) as ax:
        draw_history(ax, [data.gradients], ["median of the sample"])
        _frame(ax, data)  # the same x-axis as in the other panels
    return ax


_PLOTS: dict[str, Callable[..., Axes]] = {
    "loss": plot_training_loss,
    "metrics": plot_training_metrics,
    "terms": plot_training_terms,
    "gradients": _gradients,
    "spectra": plot_training_spectra,
}


# --- lines ---


def _other_metrics(data):
    """Names of the metrics besides the loss, without `val_`."""
    bases = [name.removeprefix("val_") for name in data.metrics]
    return [name for name in dict.fromkeys(bases) if name != "loss"]


def _metric(data, name, order, alone):
    """The line of a metric: (gid, x, y, look). If it is the only metric, its validation has a colour of its own."""
    values, is_val = data.metrics[name], name.startswith("val_")
    look = {"color": style.PALETTE[order], "marker": style.MARKERS[2 * order % 7], "linestyle": "-", **_LINE}
    if is_val:
        look |= {"linestyle": "--", "marker": style.MARKERS[(2 * order + 1) % 7], "markerfacecolor": "white"}
        if alone:
            look["color"] = style.VERMILLION
    elif order:
        look["linestyle"] = ("-", "-.", ":", (0, (6, 1, 1, 1)), (0, (3, 1)))[order]
    finite = np.isfinite(values)
    return name, data.epochs[finite], values[finite], {**look, "label": name}


def _drawn(ax, title, ylabel, data, lines, watched, framed=None, span=1e-3):
    """Draw lines, and mark the epochs with a value that is not finite."""
    broken = sorted({data.not_finite[name] for name in [*watched, "weights"] if name in data.not_finite})
    values = np.concatenate([*([y for _, _, y, _ in lines] if framed is None else framed), np.zeros(0)])
    values = values[np.isfinite(values)]
    is_log = values.size > 0 and values.min() > 0 and values.max() > _SPAN * values.min()
    setup = (style.whole_ticks, style.log_y if is_log else _short_numbers)
    with style.drawing(ax, title=title, xlabel="epoch", ylabel=ylabel, setup=setup) as ax:
        for order, (gid, x, y, look) in enumerate(lines):
            style.line(ax, gid, x, y, markevery=style.spread_markers(max(len(x), 1), order), **look)
        if broken:
            heights = np.full(len(broken), 0.04)
            style.line(ax, "broken", broken, heights, transform=ax.get_xaxis_transform(), **_BROKEN)
        _frame(ax, data)
        _scale(ax, values, is_log, span)
        if lines or broken:
            _legend(ax, sum(not look["label"].startswith("_") for *_, look in lines) + bool(broken))
    return ax


def _short_numbers(ax):
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value, 4)))


def _legend(ax, labelled):
    """Put the legend above the Axes if it fits into one row, else where it hides least."""
    if labelled <= 3:
        style.legend(ax)
    else:
        style.inner_legend(ax)


def _frame(ax, data):
    """Set the x-axis of all panels: from 0 to the present epoch."""
    end = max(len(data), data.batch_epochs.max(initial=0), 1)
    style.x_limits(ax, -0.03 * end, 1.04 * end)


def _scale(ax, values, is_log, span):
    """Show all values, and a range of at least `span` times the largest: rounding errors must look flat."""
    if is_log:
        style.log_scale(ax, [values])
        return
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    pad = max(0.06 * (high - low), (span * max(abs(low), abs(high)) - (high - low)) / 2) or 0.06
    style.y_limits(ax, low - pad, high + pad)


def _short(name, most):
    return name if len(name) <= most else "…" + name[1 - most :]


# --- in words ---


@alt_text.register
def _(data: TrainingLog):
    words = f"Training of '{data.name}', {data.status} after {len(data)} epochs"
    for name in data.metrics:
        words += f"; {name} {_from_to(data.metrics[name])}"
    for name, values in (("KR", data.kr), ("hinge", data.hinge)):
        if values is not None:
            words += f"; {name} term {_from_to(values)}"
    if data.gradients is not None:
        words += f"; median norm of the input gradient {_from_to(data.gradients.median)}"
    for layer, values in data.spectra.items():
        last = values[np.isfinite(values).all(axis=1)][-1:]
        if len(last):
            words += f"; singular values of {layer} in the end from {style.number(last[0, 1])} to "
            words += style.number(last[0, 0])
    for name, epoch in data.not_finite.items():
        words += f"; {name} NaN or infinite from epoch {epoch} on"
    return words + "."


def _from_to(values):
    values = values[np.isfinite(values)]
    if not len(values):
        return "without a finite value"
    return f"from {style.number(values[0])} to {style.number(values[-1])}"
