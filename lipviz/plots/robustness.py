"""Plots of certified radii, and of the accuracy under changes of each size."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.certification import CertifiedAccuracy, CertifiedRadii
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.gradient_histograms import steps
from lipviz.plots.redrawing import artist

_CERTIFIED: dict[str, Any] = style.role("certified")
_EMPIRICAL: dict[str, Any] = style.role("attack")
_MEDIAN: dict[str, Any] = style.role("limit", linestyle="--", linewidth=1.6)
_BINS = 30
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))


def plot_certified_accuracy(data: CertifiedAccuracy, *, ax: Axes | None = None) -> Axes:
    """Draw certified accuracy against the size ε of a change, and accuracy under attack where it is known.

    The area between the two lines is unknown: samples without a certificate for which the attack did not succeed.

    Args:
        data: `CertifiedAccuracy` of `lipviz.certification`; its ε in any order.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    order = np.argsort(data.epsilons)
    epsilons = data.epsilons[order]
    largest = epsilons[-1] or 1.0
    lines = [("certified", data.certified, "certified", _CERTIFIED)]
    if data.empirical is not None:
        lines.append(("empirical", data.empirical, "under attack", _EMPIRICAL))
    with style.drawing(
        ax,
        title="Accuracy under changes",
        xlabel="size ε of the change (l2 norm, units of the input)",
        ylabel="share of samples (no unit)",
    ) as ax:
        look: dict[str, Any] = {"color": style.GREY, "linewidth": 1.0, "linestyle": ":", "zorder": 1}
        style.level(ax, data.accuracy, label="no change", **look)
        if data.empirical is not None:
            ends = data.certified[order], data.empirical[order]
            artist(ax, None, lambda: ax.fill_between(epsilons, *ends, color="#EEEEEE", zorder=0))
        for place, (gid, values, label, look) in enumerate(lines):
            marks = style.spread_markers(len(epsilons), place)
            look = {"label": label, "linewidth": 1.6, "markersize": 4.5, **look}
            style.line(ax, gid, epsilons, values[order], markevery=marks, **look)
        style.x_limits(ax, -0.02 * largest, 1.02 * largest)
        style.y_limits(ax, -0.02, 1.02)
        style.legend(ax)
    return ax


def plot_certified_accuracies(data: Mapping[str, CertifiedAccuracy], *, ax: Axes | None = None) -> Axes:
    """Draw the certified accuracy of several networks against the size ε of a change.

    Where two lines cross, the better network changes.

    Args:
        data: `CertifiedAccuracy` of `lipviz.certification` by the name of its network, of up to five networks; the ε of
            each in any order. Accuracies under attack are not drawn.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.

    Raises:
        ValueError: If there is no network, or more than five.
    """
    if not 1 <= len(data) <= len(style.PALETTE):
        raise ValueError(f"Expected one to {len(style.PALETTE)} networks. Received: {len(data)}")
    largest = max(float(one.epsilons.max()) for one in data.values()) or 1.0
    with style.drawing(
        ax,
        title="Certified accuracy",
        xlabel="size ε of the change (l2 norm, units of the input)",
        ylabel="share of samples (no unit)",
    ) as ax:
        looks = zip(style.PALETTE, style.MARKERS, _DASHES, strict=False)
        for place, ((name, one), (color, marker, dash)) in enumerate(zip(data.items(), looks, strict=False)):
            order = np.argsort(one.epsilons)
            look: dict[str, Any] = {"label": name, "color": color, "marker": marker, "linestyle": dash}
            marks = style.spread_markers(len(order), place)
            values = one.epsilons[order], one.certified[order]
            style.line(ax, f"certified {place}", *values, markevery=marks, linewidth=1.6, markersize=4.5, **look)
        style.x_limits(ax, -0.02 * largest, 1.02 * largest)
        style.y_limits(ax, -0.02, 1.02)
        style.legend(ax)
    return ax


def plot_radii(data: CertifiedRadii, *, ax: Axes | None = None) -> Axes:
    """Draw a histogram of certified radii, and their median.

    Args:
        data: `CertifiedRadii` of `lipviz.certification`. Infinite radii are left out; the legend says how many.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    radii = data.radii[np.isfinite(data.radii)]
    infinite = len(data.radii) - len(radii)
    top = radii.max(initial=0.0) or 1.0
    counts, edges = np.histogram(radii, bins=_BINS, range=(0.0, top))
    most = max(1, counts.max())
    label = "samples" if not infinite else f"samples ({infinite} infinite left out)"
    with style.drawing(
        ax,
        title="Certified radii",
        xlabel="certified radius (l2 norm, units of the input)",
        ylabel="number of samples",
    ) as ax:
        steps(ax, "radii", counts, edges, fill=True, color=style.ROLES["certified"]["color"], alpha=0.75, label=label)
        if len(radii):
            median = float(np.median(radii))
            style.line(ax, "median", [median, median], [0, most], label=f"median {style.number(median)}", **_MEDIAN)
        style.x_limits(ax, 0, 1.02 * top)
        style.y_limits(ax, 0, 1.08 * most)
        style.legend(ax)
    return ax


@alt_text.register
def _(data: CertifiedAccuracy):
    words = (
        f"Accuracy on {data.samples} samples against the size of a change: {style.number(data.accuracy)} without one"
    )
    for place in np.argsort(data.epsilons):
        words += f"; at {style.number(data.epsilons[place])} certified {style.number(data.certified[place])}"
        if data.empirical is not None:
            words += f", under attack {style.number(data.empirical[place])}"
    return words + "."


@alt_text.register
def _(data: CertifiedRadii):
    smallest, median, largest = (
        style.number(value) for value in np.quantile(data.radii, (0, 0.5, 1), method="nearest")
    )
    return (
        f"Histogram of the certified radii of {len(data)} samples: from {smallest} to {largest}, median {median}, "
        f"{int(np.sum(data.radii == 0))} of them 0."
    )
