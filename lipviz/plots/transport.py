"""Plots of the potential of a network between two clouds, their transport, and its estimate while it learns."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from lipviz.measure.transport import PotentialField, Transport
from lipviz.plots import style
from lipviz.plots.activation_shapes import note
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.fields import DIVERGING, contour, draw_field, markers, plane
from lipviz.plots.redrawing import artist
from lipviz.toys.kantorovich_rubinstein import KRTraining

_LOOKS = (
    {"color": style.BLUE, "marker": "o", "linestyle": "-"},
    {"color": style.VERMILLION, "marker": "s", "linestyle": "--"},
    {"color": style.GREEN, "marker": "^", "linestyle": "-."},
    {"color": style.PURPLE, "marker": "D", "linestyle": ":"},
    {"color": style.GREY, "marker": "v", "linestyle": "-"},
    {"color": style.BLUE, "marker": "P", "linestyle": "--"},
)
_EXACT: dict[str, Any] = style.role("limit", linestyle=(0, (5, 3)), linewidth=1.4, zorder=4)
_LEVELS = 12


@without_update
def plot_potential(data: PotentialField, *, ax: Axes | None = None, transport: Transport | None = None) -> Axes:
    """Draw the potential of a network as colours and level lines, both clouds, and the transport between them.

    Colours are relative to the middle of the potential's range, since an added constant changes nothing. From one level
    line to the next, the potential changes by the same step. Where its slope is 1, their distance equals that step.

    Args:
        data: `PotentialField` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.
        transport: `Transport` of the same clouds, drawn as arrows from x to y; None draws none.

    Returns:
        The Axes.

    Raises:
        ValueError: If the transport is between other clouds.
    """
    if transport is not None and not _same_clouds(data, transport):
        raise ValueError(
            f"Expected the transport of the same clouds, of {len(data.x)} and {len(data.y)} points. "
            f"Received one of {len(transport.x)} and {len(transport.y)}"
        )
    low, high = float(data.potential.min()), float(data.potential.max())
    norm = Normalize(low, high if high > low else low + 1.0)
    # The potential is high at x: it gets the colour of the second class, as high logits do.
    labels = np.repeat([1, 0], [len(data.x), len(data.y)])
    with plane(ax, data, f"{data.name}: estimate {style.number(data.estimate)}") as ax:
        draw_field(ax, data, data.potential, DIVERGING, norm, "potential f (units of the input)")
        markers(ax, np.concatenate([data.x, data.y]), labels, names=("cloud y", "cloud x"))
        style.legend(ax)
        if high > low:
            step = style.round_number((high - low) / _LEVELS)
            levels = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
            look = {"colors": style.GREY, "linewidths": 0.6, "linestyles": "solid"}
            contour(ax, "levels", data, data.potential, levels, **look)
        if transport is not None:
            artist(ax, None, lambda: _arrows(ax, transport))
    return ax


def _same_clouds(data, transport):
    return all(
        ours.shape == theirs.shape and np.array_equal(ours, theirs)
        for ours, theirs in ((data.x, transport.x), (data.y, transport.y))
    )


def _arrows(ax, transport):
    starts, ends = transport.x[transport.pairs[:, 0]], transport.y[transport.pairs[:, 1]]
    # Arrows are paler where there are many, and where their mass is small.
    alpha = np.clip(transport.masses / transport.masses.max(), 0.15, 1.0) * min(1.0, max(0.2, 30 / len(starts)))
    arrows = ax.quiver(
        *starts.T,
        *(ends - starts).T,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.002,
        headwidth=4.5,
        headlength=5.5,
        headaxislength=5.0,
        color=style.BLACK,
        alpha=alpha,
        zorder=3,
        gid="transport",
    )
    arrows.set_label("_transport")
    return arrows


@without_update
def plot_wasserstein_training(data: KRTraining | Sequence[KRTraining], *, ax: Axes | None = None) -> Axes:
    """Draw the estimate of the distance against the number of steps, and the exact value, dashed.

    Args:
        data: `KRTraining` of `lipviz.toys`, or a list of up to six of the same clouds.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is none, there are more than six, or their exact values differ.
    """
    runs = [data] if isinstance(data, KRTraining) else list(data)
    limits = [run.exact * run.k for run in runs]
    if not 1 <= len(runs) <= len(_LOOKS) or not np.allclose(limits, limits[0], rtol=1e-5):
        raise ValueError(
            f"Expected one to {len(_LOOKS)} trainings with the same exact distance times k. Received: {limits}"
        )
    end = max(5, *(len(run.steps) - 1 for run in runs))
    ends = -0.03 * end, 1.03 * end
    values = np.concatenate([[0.0, limits[0]], *(run.estimates for run in runs)])
    labels = {"xlabel": "training steps", "ylabel": "distance (units of the input)"}
    with style.drawing(ax, title="Wasserstein-1 distance", **labels, setup=(style.whole_ticks,)) as ax:
        across = ax.get_yaxis_transform()  # from side to side, whatever limits the axis gets afterwards
        style.line(ax, "exact", [0, 1], [limits[0]] * 2, label=_exact_label(runs[0]), transform=across, **_EXACT)
        for order, run in enumerate(runs):
            look = {"label": run.name, "linewidth": 1.6, "markersize": 4.5, **_LOOKS[order]}
            marks = style.spread_markers(len(run.steps), order)
            style.line(ax, f"estimate {order}", run.steps, run.estimates, markevery=marks, **look)
        style.x_limits(ax, *ends)
        style.y_limits(ax, min(0.0, 1.1 * float(values.min())), 1.12 * (float(values.max()) or 1.0))
        _say_reached(ax, runs, limits[0])
        if len(runs) <= 2:
            style.legend(ax)
        else:
            style.inner_legend(ax, "lower right", ncols=2)
    return ax


def _exact_label(run):
    return "exact" if abs(run.k - 1) < 1e-3 else "exact × k"


def _say_reached(ax, runs, limit):
    """Write the share of the exact distance that was reached above the line of that distance."""
    best = max(runs, key=lambda run: run.estimates[-1])
    words = "" if math.isnan(best.reached) else f"{best.name} reached {_percent(best.reached)}"
    look = {"ha": "right", "va": "bottom", "transform": ax.get_yaxis_transform(), "zorder": 3}
    note(ax, "reached", words, 1.0, limit + 0.01 * ax.get_ylim()[1], **look)


def _percent(share):
    """Percent rounded down, so that no number claims more than was reached."""
    return f"{math.floor(1000 * share + 1e-6) / 10:.1f} %"


@alt_text.register
def _(data: PotentialField):
    return (
        f"Potential of '{data.name}' between a cloud x of {len(data.x)} points and a cloud y of {len(data.y)}: from "
        f"{style.number(float(data.potential.min()))} to {style.number(float(data.potential.max()))} on the plane "
        f"shown; its estimate of the distance is {style.number(data.estimate)}."
    )


@alt_text.register
def _(data: KRTraining):
    words = (
        f"Estimate of the Wasserstein-1 distance by '{data.name}': from {style.number(data.estimates[0])} to "
        f"{style.number(data.estimates[-1])} in {len(data.steps) - 1} steps. The exact distance is "
        f"{style.number(data.exact)}, k is {style.number(data.k)}"
    )
    return words + ("." if math.isnan(data.reached) else f": {_percent(data.reached)} reached.")


@alt_text.register
def _(data: Transport):
    return (
        f"Optimal transport of {len(data.x)} points to {len(data.y)}: {len(data.pairs)} pairs; the mean distance is "
        f"{style.number(data.distance)}, the largest {style.number(float(data.lengths.max()))}."
    )
