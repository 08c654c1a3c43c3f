"""Plots of the singular values of a kernel, or of all kernels of a network."""

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from lipviz.measure import BjorckConvergence, LayerSpectrum, NetworkSpectrum
from lipviz.plots import redrawing, style
from lipviz.plots.deprecation import without_update

# (attribute of the data, label, look): each line has a colour, a dash and a marker of its own.
STAGES = (
    ("raw", "raw kernel", style.role("raw")),
    ("normalized", "normalized", style.role("normalized")),
    ("constrained", "after Björck", style.role("constrained")),
)
_LABELLED_LAYERS = 8


@without_update
def plot_singular_values(data: LayerSpectrum | NetworkSpectrum | BjorckConvergence, *, ax: Axes | None = None) -> Axes:
    """Draw singular values against their rank, largest first, on a logarithmic axis.

    For one kernel: before normalization, after it, and after Björck, where these exist. For a network: the kernel that
    each layer uses, and the raw kernel, dotted in the same colour.

    Args:
        data: `LayerSpectrum`, `NetworkSpectrum` or `BjorckConvergence` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    with drawing_of_spectra(ax) as ax:
        for k in sorted(
            {getattr(layer, "k", 1.0) for layer in (data.layers if isinstance(data, NetworkSpectrum) else [data])}
        ):  # the largest value that a constrained kernel may have
            style.level(ax, k, color="#999999", linewidth=0.8, zorder=1)
        if isinstance(data, NetworkSpectrum):
            _network(ax, data.layers)
        else:
            draw_spectra(ax, data, STAGES)
    return ax


def drawing_of_spectra(ax: Axes | None) -> AbstractContextManager[Axes]:
    """A `style.drawing` of singular values."""
    return style.drawing(
        ax,
        title="Singular values",
        xlabel="rank of the singular value, largest first",
        ylabel="singular value (gain, no unit)",
        setup=(style.whole_ticks, style.log_y),
    )


def draw_spectra(
    ax: Axes, data: LayerSpectrum | BjorckConvergence, stages: Iterable[tuple[str, str, dict[str, Any]]]
) -> None:
    """Draw those stages of one kernel that exist, with their legend and limits.

    Args:
        ax: Axes.
        data: `LayerSpectrum` or `BjorckConvergence`.
        stages: Triples (attribute of the data, label, look), as `STAGES`.
    """
    stages = [stage for stage in stages if getattr(data, stage[0]) is not None]
    for order, (attribute, label, look) in enumerate(stages):
        _line(ax, attribute, getattr(data, attribute), order, label=label, **look)
    style.legend(ax)
    _frame(ax, [getattr(data, attribute) for attribute, *_ in stages])


def _frame(ax, values):
    # Headroom above the largest, and above 1, where a constrained spectrum lies.
    top = style.round_number(1.2 * max(1.0, *(value.max() for value in values)))
    style.log_scale(ax, values, top=top)
    longest = max(len(value) for value in values)
    # Rounded to whole tens, so that the limits mostly stay while a size changes. Rank 0 does not exist and is left out.
    end = longest if longest < 10 else 10 * math.ceil(longest / 10)
    pad = min(0.2 + 0.02 * end, 0.9)
    style.x_limits(ax, 1 - pad, end + pad)


def _network(ax, layers):
    values = []
    for order, layer in enumerate(layers):
        marker = style.MARKERS[order % len(style.MARKERS)]
        look: dict[str, Any] = {"color": depth_color(order, len(layers)), "marker": marker}
        is_named = len(layers) <= _LABELLED_LAYERS or order in (0, len(layers) - 1)
        label = layer.name if is_named else "_" + layer.name
        _line(ax, f"used {order}", layer.used, order, label=label, **look)
        values.append(layer.used)
        if layer.constrained is not None:
            look.update(linestyle=":", marker="", linewidth=1.0)
            _line(ax, f"raw {order}", layer.raw, order, label="_raw " + layer.name, **look)
            values.append(layer.raw)
    if any(layer.constrained is not None for layer in layers):
        look = style.role("raw", marker="", label="raw kernels")
        redrawing.artist(ax, ("raw kernels",), lambda: ax.plot([], [], **look)[0])
    style.inner_legend(ax)  # inside the Axes, where it hides least: names of layers are long
    _frame(ax, values)


def depth_color(order: int, count: int) -> str | tuple[float, float, float, float]:
    """Colour of layer number `order` of `count` layers."""
    if count <= len(style.PALETTE):
        return style.PALETTE[order]
    return colormaps["cividis"](0.85 * order / (count - 1))  # its pale end is left out


def _line(ax, gid, values, order, **look):
    rank = np.arange(1, len(values) + 1)
    look = {"markersize": 4.5, "linewidth": 1.6, **look}
    style.line(ax, gid, rank, values, markevery=style.spread_markers(len(values), order), **look)
