"""Plots of Björck's iteration on spectra: its errors, and a map of the number of iterations that it needs."""

import functools
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from lipviz.measure.bjorck_map import BjorckMap, BjorckPaths
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.redrawing import artist, drawn_on

_DASHES = ("-", "--", "-.", ":")
_FLOOR, _CEILING = 1e-9, 10.0  # with a fixed frame, pictures can be compared
_STOPS = ("o", "s", "^")
_COLORS = colormaps["cividis_r"].resampled(16)  # the more iterations the darker
_LEVELS = (0, 2, 4, 6, 8, 10, 14, 20, 30, 50, 100, 200, 500, 1000)
_CONTOURS = (4, 6, 10, 20, 50, 100, 200, 500)
_SHARE = 0.84  # share of its width that an Axes keeps beside a colour bar
_PLACE: dict[str, Any] = {
    "color": style.BLACK,
    "marker": "X",
    "markersize": 11,
    "markeredgecolor": "white",
    "linestyle": "none",
    "label": "_place",
    "zorder": 5,
}
_HATCHES = (("diverges", "xx"), ("not reached", ".."), ("flipped", "//"))


@without_update
def plot_bjorck_paths(
    data: BjorckPaths, *, ax: Axes | None = None, norm: Literal["frobenius", "spectral"] = "frobenius"
) -> Axes:
    """Draw ‖I − WᵀW‖ after each iteration, for each step size (colours) and starting spectrum (dashes).

    Open marks show where a layer with one of the tolerances eps would stop. A line that leaves the frame at the top
    diverges; one that leaves it at the bottom has reached rounding errors.

    Args:
        data: `BjorckPaths` of `lipviz.measure`, of at most five step sizes, four spectra and three eps.
        ax: Axes to draw on; None makes a figure.
        norm: "frobenius", or "spectral", in which only the worst singular value counts.

    Returns:
        The Axes.

    Raises:
        ValueError: If there are more paths than can be told apart, or `norm` is not known.
    """
    counts = (len(data.betas), len(data.names), len(data.eps))
    if any(count > most for count, most in zip(counts, (len(style.PALETTE), len(_DASHES), len(_STOPS)), strict=True)):
        raise ValueError(f"Expected at most 5 step sizes, 4 spectra and 3 eps. Received: {counts}")
    if norm not in ("frobenius", "spectral"):
        raise ValueError(f"`norm` must be 'frobenius' or 'spectral'. Received: norm={norm!r}")
    # Larger errors have not begun to converge, and infinite ones cannot be drawn.
    errors = np.minimum(data.frobenius_errors if norm == "frobenius" else data.errors, 1e3 * _CEILING)
    labels = {"title": "Björck by step size", "xlabel": "iteration"}
    labels["ylabel"] = f"‖I − WᵀW‖ ({'Frobenius' if norm == 'frobenius' else 'spectral'} norm, no unit)"
    with style.drawing(ax, **labels, setup=(style.whole_ticks, style.log_y)) as ax:
        style.log_scale(ax, [errors], bottom=_FLOOR, top=_CEILING)
        style.x_limits(ax, -0.03 * max(data.iterations, 1), 1.03 * max(data.iterations, 1))
        for i in range(len(data.betas)):
            _one_step_size(ax, i, errors[i], data.stops[i])
        _keys(ax, data)
        style.inner_legend(ax, handlelength=2.4, labelspacing=0.25)
    return ax


def _one_step_size(ax, i, errors, stops):
    look: dict[str, Any] = {"color": style.PALETTE[i], "linewidth": 1.6}
    steps = np.arange(errors.shape[-1])
    for j, path in enumerate(errors):
        style.line(ax, f"error {i} {j}", steps, path, linestyle=_DASHES[j], label="_error", **look)
    for e, marker in zip(range(stops.shape[-1]), _STOPS, strict=False):
        at = stops[:, e]
        heights = errors[np.arange(len(at)), at]
        mark: dict[str, Any] = {"marker": marker, "linestyle": "none", "markerfacecolor": "white", "markersize": 6}
        style.line(ax, f"stop {i} {e}", at, heights, color=style.PALETTE[i], label="_stop", zorder=3, **mark)


def _keys(ax, data):
    """Lines without data, for the legend: what colours, dashes and marks stand for."""
    keys: list[tuple[str, dict[str, Any]]] = [
        (f"β = {style.number(beta)}", {"color": color, "linewidth": 2.4})
        for beta, color in zip(data.betas, style.PALETTE, strict=False)
    ]
    if len(data.names) > 1:
        grey = {"color": style.GREY, "linewidth": 1.6}
        keys += [(name, {"linestyle": dash, **grey}) for name, dash in zip(data.names, _DASHES, strict=False)]
    mark = {"color": style.GREY, "linestyle": "none", "markerfacecolor": "white"}
    keys += [
        (f"stops at eps = {style.number(eps)}", {"marker": marker, **mark})
        for eps, marker in zip(data.eps, _STOPS, strict=False)
    ]
    for place, (label, look) in enumerate(keys):
        style.line(ax, f"key {place}", [], [], label=label, **look)


@without_update
def plot_bjorck_map(data: BjorckMap, *, ax: Axes | None = None, place: tuple[float, float] | None = None) -> Axes:
    """Draw the number of Björck iterations over the step size β and the singular value at the start.

    Darker cells need more iterations; lines join equal numbers. Cells are hatched where the iteration diverges, does
    not converge within `maxiter`, or converges to −1. A dashed line marks √((2+β)/β): from larger singular values,
    nothing converges. A dotted line marks β = 0.5, the largest that layers accept.

    Args:
        data: `BjorckMap` of `lipviz.measure`, of at least two step sizes and two singular values.
        ax: Axes to draw on, a part of which becomes the colour bar; None makes a figure.
        place: (β, σ) to mark, such as those of a kernel; None marks none.

    Returns:
        The Axes.

    Raises:
        ValueError: If the map is too small.
    """
    if min(data.iterations.shape) < 2:
        raise ValueError(f"Expected two step sizes and two singular values at least. Received: {data.iterations.shape}")
    bounds = _bounds(data.maxiter)
    is_log = bool(data.sigmas[0] > 0 and data.sigmas[-1] / data.sigmas[0] > 10)
    norm = BoundaryNorm(bounds, _COLORS.N)
    edges = _edges(data.betas, False), _edges(data.sigmas, is_log)
    with style.drawing(
        ax,
        title=f"Björck: iterations to ‖I − WᵀW‖ ≤ {style.number(data.tol)}",
        xlabel="step size β (no unit)",
        ylabel="singular value σ at the start (no unit)",
        setup=(style.no_grid, style.log_y) if is_log else (style.no_grid,),
    ) as ax:
        drawn_on(ax).narrow(_SHARE * drawn_on(ax).box.width)  # the figure may have no room elsewhere
        _color_bar(ax, norm, bounds)
        counts = np.ma.masked_less(data.iterations.T, 0)
        artist(
            ax, ("iterations", data), lambda: ax.pcolormesh(*edges, counts, cmap=_COLORS, norm=norm, gid="iterations")
        )
        _hatched(ax, data, edges)
        _frame(ax, data, is_log)
        _contours(ax, data)  # its labels are placed inside the present limits
        if place is not None:
            style.line(ax, "place", *np.reshape(place, (2, 1)), **_PLACE)
    return ax


def _bounds(maxiter):
    """Limits of the classes of counts, up to `maxiter`. A class includes its lower limit."""
    return np.array([*(level for level in _LEVELS if level < max(maxiter, 1)), maxiter + 1])


def _edges(centers, is_log):
    centers = np.log(centers) if is_log else centers
    middle = (centers[1:] + centers[:-1]) / 2
    edges = np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])
    return np.exp(edges) if is_log else np.maximum(edges, min(0.0, centers[0]))


def _contours(ax, data):
    """Draw lines, with labels, where cells begin to need a number of iterations."""
    counts = np.where(data.reached & ~data.flipped, data.iterations, np.nan).T
    known = counts[np.isfinite(counts)]
    levels = [level - 0.5 for level in _CONTOURS if known.size and known.min() < level - 0.5 < known.max()]

    def make():
        masked = np.ma.masked_invalid(counts)
        lines = ax.contour(data.betas, data.sigmas, masked, levels=levels, colors="white", linewidths=0.9)
        lines.set_gid("contours")
        for text in ax.clabel(lines, fontsize=style.SMALL - 1, fmt=lambda level: f"{level + 0.5:.0f}", inline=True):
            text.set_gid("contour label")
        return lines

    if levels:
        artist(ax, ("contours", data), make)


def _hatched(ax, data, edges):
    """Hatch cells without a number of iterations, or with a misleading one."""
    masks = {"diverges": data.diverges, "not reached": ~data.reached & ~data.diverges, "flipped": data.flipped}
    found = [(name, hatch) for name, hatch in _HATCHES if masks[name].any()]
    for name, hatch in found:
        color = style.VERMILLION if name == "flipped" else style.GREY  # over dark cells, or over none
        look = {"facecolor": "none", "edgecolor": color, "linewidth": 0, "hatch": hatch, "gid": name, "label": name}
        patch = PathPatch(_covering(masks[name], *edges), **look)
        artist(ax, (name, data), functools.partial(ax.add_artist, patch))
    if found:
        style.legend(ax)


def _covering(mask, beta_edges, sigma_edges):
    """One path that covers a mask of shape (B, S), a rectangle for each run of σ: hatching it once is fast."""
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    columns, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, ends = np.nonzero(np.diff(padded, axis=1) == -1)
    left, right = beta_edges[columns], beta_edges[columns + 1]
    low, high = sigma_edges[starts], sigma_edges[ends]
    corners = ((left, low), (right, low), (right, high), (left, high), (left, low))
    vertices = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(vertices.reshape(-1, 2), codes * len(columns))


def _frame(ax, data, is_log):
    """Set limits and ticks, and draw the lines of the known bounds."""
    betas, sigmas = np.linspace(data.betas[0], data.betas[-1], 60), data.sigmas
    look: dict[str, Any] = {"color": style.VERMILLION, "linewidth": 1.4}
    limit = np.interp(betas, data.betas, data.limits)
    style.line(ax, "limit", betas, limit, linestyle="--", label="_limit", **look)
    style.line(ax, "half", [0.5, 0.5], [sigmas[0], sigmas[-1]], linestyle=":", label="_half", **look)
    if is_log:
        ax.yaxis.get_major_locator().set_params(subs=(1.0,) if sigmas[-1] / sigmas[0] > 100 else (1, 2, 5))
    style.x_limits(ax, data.betas[0], data.betas[-1])
    style.y_limits(ax, sigmas[0], sigmas[-1])


def _color_bar(ax, norm, bounds):
    def make():
        # A child of the Axes, so that it does not count as a panel of the figure.
        inset = ax.inset_axes((1.03, 0.0, 0.045, 1.0), label=label)
        bar = ax.figure.colorbar(ScalarMappable(norm, _COLORS), cax=inset, spacing="uniform")
        bar.set_ticks(bounds[:-1].tolist(), labels=[str(low) for low in bounds[:-1]])  # where a class begins
        bar.ax.tick_params(labelsize=style.SMALL - 1, length=2, pad=2)
        bar.set_label("iterations", fontsize=style.SMALL, labelpad=1)
        return inset

    label = f"iterations up to {bounds[-1] - 1}"
    artist(ax, ("bar", label), make)


@alt_text.register
def _(data: BjorckPaths):
    words = f"‖I − WᵀW‖ in the Frobenius norm over {data.iterations} iterations of Björck"
    for i, beta in enumerate(data.betas):
        for j, name in enumerate(data.names):
            first, last = data.frobenius_errors[i, j, [0, -1]]
            end = style.number(last) if np.isfinite(last) else "infinity: it diverges"
            words += f"; β = {style.number(beta)} from '{name}': {style.number(first)} to {end}"
    return words + "."


@alt_text.register
def _(data: BjorckMap):
    low, high = (style.number(value) for value in data.sigmas[[0, -1]])
    words = (
        f"Map of the iterations that Björck needs until |1 − σ²| ≤ {style.number(data.tol)}, for β from "
        f"{style.number(data.betas[0])} to {style.number(data.betas[-1])} and σ from {low} to {high}"
    )
    if data.reached.any():
        counts = data.iterations[data.reached]
        words += f": from {counts.min()} to {counts.max()} where it converges"
    shares = {
        "diverges": data.diverges,
        "does not converge in time": ~data.reached & ~data.diverges,
        "converges to −1": data.flipped,
    }
    said = [f"{mask.mean():.0%} of it {name}" for name, mask in shares.items() if mask.any()]
    return words + "".join(f"; {part}" for part in said) + "."
