"""Björck's iteration on spectra: errors along it, and a map of how many iterations it needs."""

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lipviz.measure.bjorck_map import BjorckMap, BjorckPaths
from lipviz.plots import style
from lipviz.plots.alt import alt_text

_DASHES = ("-", "--", "-.", ":")
_FLOOR, _CEILING = 1e-9, 10.0  # a frame that stays lets pictures be compared
_STOPS = ("o", "s", "^")
_COLORS = colormaps["cividis_r"].resampled(16)  # the more iterations the darker
_LEVELS = (0, 2, 4, 6, 8, 10, 14, 20, 30, 50, 100, 200, 500, 1000)
_CONTOURS = (4, 6, 10, 20, 50, 100, 200, 500)
_HATCHES = (("diverges", "xx"), ("not reached", ".."), ("flipped", "//"))


def plot_bjorck_paths(data, *, ax=None, update=False, norm="frobenius"):
    """Draw ‖I − WᵀW‖ after each iteration, for each step size (colours) and starting spectrum (dashes).

    Open marks show where a layer with one of the tolerances eps would stop. A line that leaves the frame at the top
    diverges; what has come down to rounding leaves it at the bottom.

    Args:
        data: `BjorckPaths` of `lipviz.measure`, of at most five step sizes, four spectra and three eps.
        ax: Axes to draw on; None makes a figure.
        update: Move the lines of an earlier call on the same Axes, for as many paths: fast.
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
    if not update:
        words = "Frobenius" if norm == "frobenius" else "spectral"
        ax = style.prepared(
            ax, title="Björck by step size", xlabel="iteration", ylabel=f"‖I − WᵀW‖ ({words} norm, no unit)"
        )
        style.whole_ticks(ax)
    # What lies above has not begun to converge; what is infinite cannot be drawn.
    errors = np.minimum(data.frobenius_errors if norm == "frobenius" else data.errors, 1e3 * _CEILING)
    style.log_scale(ax, [errors], bottom=_FLOOR, top=_CEILING, update=update)
    ax.set_xlim(-0.03 * max(data.iterations, 1), 1.03 * max(data.iterations, 1))
    for i in range(len(data.betas)):
        _one_step_size(ax, i, errors[i], data.stops[i], update)
    _keys(ax, data, update)
    ax.legend(loc="best", fontsize=style.SMALL, framealpha=0.9, handlelength=2.4, labelspacing=0.25)
    return ax


def _one_step_size(ax, i, errors, stops, update):
    look = {"color": style.PALETTE[i], "linewidth": 1.6}
    steps = np.arange(errors.shape[-1])
    for j, path in enumerate(errors):
        style.line(ax, f"error {i} {j}", steps, path, update=update, linestyle=_DASHES[j], label="_error", **look)
    for e, marker in zip(range(stops.shape[-1]), _STOPS, strict=False):
        at = stops[:, e]
        heights = errors[np.arange(len(at)), at]
        mark = {"marker": marker, "linestyle": "none", "markerfacecolor": "white", "markersize": 6, "zorder": 3}
        style.line(ax, f"stop {i} {e}", at, heights, update=update, color=style.PALETTE[i], label="_stop", **mark)


def _keys(ax, data, update):
    """Lines without data, for the legend: what colours, dashes and marks stand for."""
    keys = [
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
        style.line(ax, f"key {place}", [], [], update=update, label=label, **look).set_label(label)


def plot_bjorck_map(data, *, ax=None, update=False):
    """Draw the iterations that Björck needs, over the step size β and the singular value that it starts from.

    The darker, the more; lines join equal counts. Hatched: where it diverges, where it does not arrive within
    `maxiter`, and where it arrives at −1. A dashed line marks √((2+β)/β), beyond which nothing converges, a dotted one
    β = 0.5, up to which layers allow it.

    Args:
        data: `BjorckMap` of `lipviz.measure`, of at least two step sizes and two singular values.
        ax: Axes to draw on, which gives some of its width to the colour bar; None makes a figure.
        update: Replace what an earlier call drew on the same Axes.

    Returns:
        The Axes.

    Raises:
        ValueError: If the map is too small, or there is nothing to update.
    """
    if min(data.iterations.shape) < 2:
        raise ValueError(f"Expected two step sizes and two singular values at least. Received: {data.iterations.shape}")
    title = f"Björck: iterations to ‖I − WᵀW‖ ≤ {style.number(data.tol)}"
    if not update:
        ax = style.prepared(
            ax,
            title=title,
            xlabel="step size β (no unit)",
            ylabel="singular value σ at the start (no unit)",
        )
        ax.grid(False)
        _make_room(ax)
    else:
        _remove(ax)
        ax._left_title.set_text(title)  # `set_title` would move it
    bounds = _bounds(data.maxiter)
    counts = np.ma.masked_less(data.iterations.T, 0)
    sigmas = data.sigmas
    is_log = bool(sigmas[0] > 0 and sigmas[-1] / sigmas[0] > 10)
    norm = BoundaryNorm(bounds, _COLORS.N)
    edges = _edges(data.betas, False), _edges(sigmas, is_log)
    ax.pcolormesh(*edges, counts, cmap=_COLORS, norm=norm, gid="iterations")
    hatched = _hatched(ax, data, edges)
    # A `LiveFigure` draws legend and colour bar anew where the label of a line has changed.
    _frame(ax, data, sigmas, is_log, label=f"_{data.maxiter} {hatched}")
    _contours(ax, data, sigmas)  # whose labels are placed in the frame as it is now
    _color_bar(ax, norm, bounds)
    return ax


def _remove(ax):
    found = [artist for artist in ax.get_children() if artist.get_gid()]
    if not found:
        raise ValueError("There is no map to update: draw the plot on these Axes first.")
    for artist in found:
        if artist in ax.get_children():  # contours take their labels along
            artist.remove()


def _make_room(ax):
    """Take the width of a colour bar off the Axes, whose figure may have no other room."""
    box = ax.get_position()
    ax.set_position((box.x0, box.y0, 0.84 * box.width, box.height))


def _bounds(maxiter):
    """Limits of the classes of counts: whole numbers up to `maxiter`, each class its lower limit and above."""
    return np.array([*(level for level in _LEVELS if level < max(maxiter, 1)), maxiter + 1])


def _edges(centers, is_log):
    centers = np.log(centers) if is_log else centers
    middle = (centers[1:] + centers[:-1]) / 2
    edges = np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])
    return np.exp(edges) if is_log else np.maximum(edges, min(0.0, centers[0]))


def _contours(ax, data, sigmas):
    """Lines from which on it takes so many iterations."""
    counts = np.where(data.reached & ~data.flipped, data.iterations, np.nan).T
    known = counts[np.isfinite(counts)]
    levels = [level - 0.5 for level in _CONTOURS if known.size and known.min() < level - 0.5 < known.max()]
    if not levels:
        return
    lines = ax.contour(
        data.betas, sigmas, np.ma.masked_invalid(counts), levels=levels, colors="white", linewidths=0.9, gid="contours"
    )
    lines.set_gid("contours")
    for text in ax.clabel(lines, fontsize=style.SMALL - 1, fmt=lambda level: f"{level + 0.5:.0f}", inline=True):
        text.set_gid("contour label")


def _hatched(ax, data, edges):
    """Hatch what has no count, or one that misleads; returns the names of what there is."""
    masks = {"diverges": data.diverges, "not reached": ~data.reached & ~data.diverges, "flipped": data.flipped}
    found = [(name, hatch) for name, hatch in _HATCHES if masks[name].any()]
    for name, hatch in found:
        color = style.VERMILLION if name == "flipped" else style.GREY  # over dark cells, or over none
        look = {"facecolor": "none", "edgecolor": color, "linewidth": 0, "hatch": hatch}
        ax.add_artist(PathPatch(_covering(masks[name], *edges), gid=name, label=name, **look))
    if found:
        style.legend(ax)
    elif ax.get_legend() is not None:
        ax.get_legend().remove()
    return [name for name, _ in found]


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


def _frame(ax, data, sigmas, is_log, label):
    """Limits, ticks, and the lines of what is known."""
    betas = np.linspace(data.betas[0], data.betas[-1], 60)
    limit = np.interp(betas, data.betas, data.limits)
    style.line(ax, "limit", betas, limit, color=style.VERMILLION, linestyle="--", linewidth=1.4, label=label)
    style.line(ax, "half", [0.5, 0.5], [sigmas[0], sigmas[-1]], color=style.VERMILLION, linestyle=":", linewidth=1.4,
               label="_half")  # fmt: skip
    ax.set_yscale("log" if is_log else "linear")
    if is_log:
        ax.yaxis.set_major_locator(LogLocator(numticks=7, subs=(1.0,) if sigmas[-1] / sigmas[0] > 100 else (1, 2, 5)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
    ax.set_xlim(data.betas[0], data.betas[-1])
    ax.set_ylim(sigmas[0], sigmas[-1])


def _color_bar(ax, norm, bounds):
    label = f"iterations up to {bounds[-1] - 1}"
    if [child.get_label() for child in ax.child_axes] == [label]:
        return
    for child in list(ax.child_axes):
        child.remove()
    # Inside of the Axes' own tree: another panel of the figure it is not.
    inset = ax.inset_axes((1.03, 0.0, 0.045, 1.0), label=label)
    bar = ax.figure.colorbar(ScalarMappable(norm, _COLORS), cax=inset, spacing="uniform")
    bar.set_ticks(bounds[:-1].tolist(), labels=[str(low) for low in bounds[:-1]])  # where a class begins
    bar.ax.tick_params(labelsize=style.SMALL - 1, length=2, pad=2)
    bar.set_label("iterations", fontsize=style.SMALL, labelpad=1)


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
        words += f": from {counts.min()} to {counts.max()} where it arrives"
    shares = {
        "diverges": data.diverges,
        "does not arrive": ~data.reached & ~data.diverges,
        "arrives at −1": data.flipped,
    }
    said = [f"{mask.mean():.0%} of it {name}" for name, mask in shares.items() if mask.any()]
    return words + "".join(f"; {part}" for part in said) + "."
