"""Singular values of a kernel, or of all kernels of a network."""

import math

import numpy as np

from lipviz.plots import style

# (attribute of the data, label, look): each line has a colour, a dash and a marker of its own.
_STAGES = (
    ("raw", "raw kernel", {"color": style.GREY, "linestyle": ":", "marker": "^"}),
    ("normalized", "normalized", {"color": style.VERMILLION, "linestyle": "--", "marker": "s"}),
    ("constrained", "after Björck", {"color": style.BLUE, "linestyle": "-", "marker": "o"}),
)
_LABELLED_LAYERS = 8


def plot_singular_values(data, *, ax=None, update=False):
    """Draw singular values against their rank, largest first, on a logarithmic axis.

    Of one kernel: before normalization, after it, and after Björck, as far as they exist. Of a network: of the
    kernel that each layer uses, and dotted in the same colour the free one.

    Args:
        data: `LayerSpectrum`, `NetworkSpectrum` or `BjorckConvergence` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.
        update: Move the lines of an earlier call on the same Axes: fast, for kernels of the same stages.

    Returns:
        The Axes.
    """
    layers = getattr(data, "layers", None)
    if not update:
        ax = style.prepared(
            ax,
            title="Singular values",
            xlabel="rank of the singular value, largest first",
            ylabel="singular value (gain, no unit)",
        )
        style.whole_ticks(ax)
        for k in {getattr(layer, "k", 1.0) for layer in layers or [data]}:  # what constrained values come up to
            ax.axhline(k, color="#999999", linewidth=0.8, zorder=1)
    values = _one_kernel(ax, data, update) if layers is None else _network(ax, layers, update)
    # Headroom above the largest, and above 1, where a constrained spectrum lies.
    top = style.round_number(1.2 * max(1.0, *(value.max() for value in values)))
    style.log_scale(ax, values, top=top, update=update)
    longest = max(len(value) for value in values)
    # To whole tens, for a frame that mostly stays while a size changes. Rank 0, which does not exist, stays out.
    end = longest if longest < 10 else 10 * math.ceil(longest / 10)
    pad = min(0.2 + 0.02 * end, 0.9)
    ax.set_xlim(1 - pad, end + pad)
    return ax


def _one_kernel(ax, data, update):
    stages = [stage for stage in _STAGES if getattr(data, stage[0]) is not None]
    values = [getattr(data, attribute) for attribute, _, _ in stages]
    for order, (attribute, label, look) in enumerate(stages):
        _line(ax, attribute, getattr(data, attribute), order, update, label=label, **look)
    if not update:
        style.legend(ax)
    return values


def _network(ax, layers, update):
    values = []
    for order, layer in enumerate(layers):
        marker = style.MARKERS[order % len(style.MARKERS)]
        look = {"color": _color(order, len(layers)), "marker": marker}
        is_named = len(layers) <= _LABELLED_LAYERS or order in (0, len(layers) - 1)
        label = layer.name if is_named else "_" + layer.name
        _line(ax, f"used {order}", layer.used, order, update, label=label, **look)
        values.append(layer.used)
        if layer.constrained is not None:
            look.update(linestyle=":", marker="", linewidth=1.0)
            _line(ax, f"raw {order}", layer.raw, order, update, label="_raw " + layer.name, **look)
            values.append(layer.raw)
    if not update:
        if any(layer.constrained is not None for layer in layers):
            ax.plot([], [], color=style.GREY, linestyle=":", label="raw kernels")
        # Names of layers are long: inside, where they hide least.
        ax.legend(loc="best", fontsize=style.SMALL, framealpha=0.9)
    return values


def _color(order, count):
    if count <= len(style.PALETTE):
        return style.PALETTE[order]
    from matplotlib import colormaps

    return colormaps["cividis"](0.85 * order / (count - 1))  # by depth; its pale end is left out


def _line(ax, gid, values, order, update, **look):
    rank = np.arange(1, len(values) + 1)
    look = {"markersize": 4.5, "linewidth": 1.6, **look}
    style.line(ax, gid, rank, values, update=update, markevery=style.spread_markers(len(values), order), **look)
