"""Plots of the power iteration on a convolution: the image that it stretches most, and how much so far."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure.claims import ConvolutionClaims
from lipviz.measure.convolution_motion import PowerMoment
from lipviz.plots import style
from lipviz.plots.activation_shapes import note
from lipviz.plots.alt import alt_text
from lipviz.plots.fields import DIVERGING
from lipviz.plots.gradients import beside_title

_COUNTS = "cividis"
_SMALL, _LARGE = 0.92, 2.08  # sides of the tiles
_LEFT, _SECOND = 1.62, 1.16  # place of the large tile, and of the second small one
_PALE: dict[str, Any] = {"color": style.BLUE, "linewidth": 1.0, "alpha": 0.3, "label": "_whole"}
_SO_FAR: dict[str, Any] = {"color": style.BLUE, "linewidth": 2.0, "label": "gain so far", "zorder": 3}
_NOW: dict[str, Any] = {"color": style.BLUE, "marker": "o", "markersize": 7, "linestyle": "none", "label": "_now"}
_NORM: dict[str, Any] = {"color": style.BLACK, "linestyle": "--", "linewidth": 1.4, "label": "norm"}
_TOO_SMALL: dict[str, Any] = {"color": style.VERMILLION, "linestyle": ":", "linewidth": 1.8}


def plot_worst_image(data: PowerMoment, *, ax: Axes | None = None) -> Axes:
    """Draw a kernel, how many patches see each pixel, and the present image of the power iteration.

    Blue is negative and vermillion positive, on scales that are symmetric about 0 and the same for all steps. Of
    several channels, that which has most of the last image is drawn, with the filter that uses it most.

    Args:
        data: `PowerMoment` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    power = data.power
    channel = int(np.square(power.images[-1]).sum(axis=(0, 1)).argmax())
    filters = power.kernel[:, :, channel]
    filter_ = int(np.square(filters).sum(axis=(0, 1)).argmax())
    with style.drawing(ax, title="The image stretched most", xlabel="", ylabel="", setup=_SETUP) as ax:
        captions = _captions(power, channel, filter_, is_short=style.is_narrow(ax))
        _tile(ax, "kernel", filters[..., filter_], captions[0], 0, 0, _SMALL, **_signed(filters))
        most = int(power.coverage.max())
        look = {"cmap": _COUNTS, "limits": (0, most)}
        _tile(ax, "coverage", power.coverage, captions[1], 0, _SECOND, _SMALL, **look)
        _counts(ax, power.coverage)
        images = power.images[..., channel]
        _tile(ax, "image", images[data.step], captions[2], _LEFT, 0, _LARGE, **_signed(images))
        style.x_limits(ax, -0.02, _LEFT + _LARGE + 0.02)
        style.y_limits(ax, _LARGE + 0.02, -0.18)
        beside_title(ax, f"iteration {data.step} of {power.iterations}", 4)
        if style.is_narrow(ax):
            style.fill_panel(ax)
    return ax


def _at_the_left(ax):
    ax.set_aspect("equal", adjustable="box", anchor="W")


_SETUP = (style.bare_tiles, _at_the_left)


def _captions(power, channel, filter_, is_short):
    inputs, outputs = power.kernel.shape[2:]
    of_filters = "" if outputs == 1 else f", filter {filter_ + 1} of {outputs}"
    of_channels = "" if inputs == 1 else f", channel {channel + 1} of {inputs}"
    if is_short and of_filters:
        return of_filters.removeprefix(", "), "patches per pixel", f"image{of_channels}"
    return f"kernel{of_filters}", "patches per pixel", f"image{of_channels}"


def _tile(ax, gid, values, caption, left, top, side, **look):
    """Draw values as an image of which the longer side is `side`, below its caption."""
    note(ax, f"caption {gid}", caption, left, top - 0.03, va="bottom", transform=ax.transData)
    unit = side / max(values.shape)
    extent = (left, left + unit * values.shape[1], top + unit * values.shape[0], top)
    style.image(ax, gid, values, extent, **look)


def _signed(values):
    limit = float(np.abs(values).max()) or 1.0
    return {"cmap": DIVERGING, "limits": (-limit, limit)}


def _counts(ax, coverage):
    """Write the smallest and the largest count beside the map."""
    low, high = int(coverage.min()), int(coverage.max())
    words = f"{high}" if low == high else f"{low} to\n{high}"
    note(ax, "counts", words, _SMALL + 0.06, _SECOND + 0.02, transform=ax.transData)


def plot_convolution_power(data: PowerMoment, claims: ConvolutionClaims, *, ax: Axes | None = None) -> Axes:
    """Draw how the gain rises over a power iteration, to the norm, and past those claims that are too small.

    Args:
        data: `PowerMoment` of `lipviz.measure`.
        claims: `ConvolutionClaims` about the same convolution.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    gains, end = data.power.gains, max(data.power.iterations, 1)
    false = claims.claims[claims.is_below_norm]
    lowest, highest = min(gains[0], *false, claims.norm), max(claims.norm, gains[-1]) or 1.0
    labels = {"xlabel": "iteration", "ylabel": "gain ‖Kx‖ / ‖x‖ (no unit)"}
    with style.drawing(ax, title="Its gain is a lower bound", **labels, setup=(style.whole_ticks,)) as ax:
        style.x_limits(ax, -0.03 * end, 1.03 * end)
        room = 0.12 * (highest - lowest) or 0.1 * highest
        style.y_limits(ax, lowest - room, highest + room)
        style.line(ax, "whole", np.arange(len(gains)), gains, **_PALE)
        done = np.arange(data.step + 1)
        style.line(ax, "gains", done, gains[done], **_SO_FAR)
        style.line(ax, "now", done[-1:], gains[done[-1:]], zorder=4, **_NOW)
        style.line(ax, "norm", [-1, end + 1], 2 * [claims.norm], **_NORM)
        lines = np.stack([false, false, np.full_like(false, np.nan)], axis=1).ravel()
        x = np.tile([-1, end + 1, np.nan], len(false))
        style.line(ax, "false", x, lines, label="claims too small" if len(false) else "_false", **_TOO_SMALL)
        beside_title(ax, f"{data.gain:.4f} of {claims.norm:.4f}", 3)
        style.legend(ax)
    return ax


@alt_text.register
def _(data: PowerMoment):
    power = data.power
    rows, columns = power.kernel.shape[:2]
    low, high = int(power.coverage.min()), int(power.coverage.max())
    return (
        f"Two panels after {data.step} of {power.iterations} power iterations. Left, a kernel of {rows} × {columns}, a "
        f"map of the patches that see each pixel, from {low} to {high}, and the image of {power.images.shape[1]} × "
        f"{power.images.shape[2]} that is stretched by {style.number(data.gain, 5)} now. Right, this gain over the "
        f"iterations, from {style.number(float(power.gains[0]), 5)} to {style.number(float(power.gains[-1]), 5)}."
    )
