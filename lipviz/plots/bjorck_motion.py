"""Plots of one moment of what a layer does with a kernel: the image of the unit circle, and the map of Björck."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure.bjorck_map import BjorckMoment
from lipviz.plots import style
from lipviz.plots.activation_shapes import note
from lipviz.plots.alt import alt_text
from lipviz.plots.gradients import beside_title
from lipviz.plots.redrawing import artist

_ANGLES = np.linspace(0, 2 * np.pi, 97)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
_CENTER, _REACH = -1.05, 1.12  # of the circle on the x-axis; the spectrum has the rest of it
_STRIP = 0.45, 1.95  # the part of the x-axis with the spectrum, from the first rank to the last
_MOST_DOTS = 24

_UNIT: dict[str, Any] = {"color": style.GREY, "linestyle": ":", "linewidth": 1.2, "label": "unit circle"}
_NORMALIZED: dict[str, Any] = {"color": style.VERMILLION, "linestyle": "--", "linewidth": 1.2, "label": "normalized"}
_NOW: dict[str, Any] = {"color": style.BLUE, "linewidth": 2.0, "label": "now"}
_SMALLEST: dict[str, Any] = {"color": style.VERMILLION, "linewidth": 1.6}
_DOTS: dict[str, Any] = {"color": style.BLUE, "marker": "o", "linestyle": "none", "markersize": 4.5}


def plot_bjorck_circle(data: BjorckMoment, *, ax: Axes | None = None) -> Axes:
    """Draw what a kernel does to a circle at one moment, and all its singular values beside it.

    The circle lies in the plane that is stretched most along one axis, and least along the other. Heights of the
    singular values are on the same scale. What the normalized kernel does is dashed.

    Args:
        data: `BjorckMoment` of `lipviz.measure`, with singular values up to 1.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    labels = {"xlabel": "circle in the plane of σmax and σmin", "ylabel": "length (no unit)"}
    with style.drawing(ax, title="A circle and its image", **labels, setup=(style.equal_aspect, _ticks)) as ax:
        style.x_limits(ax, _CENTER - 1.65 * _REACH + 0.6, _STRIP[1] + 0.1)
        style.y_limits(ax, -_REACH, _REACH)
        _round(ax, "unit", np.ones(1), _UNIT)
        _round(ax, "normalized", data.path[0], _NORMALIZED)
        _filled(ax, data.now)
        _round(ax, "now", data.now, _NOW)
        _radii(ax, data.now)
        _spectrum(ax, data)
        beside_title(ax, moment_words(data), 3)
        style.legend(ax)
    return ax


def _ticks(ax):
    style.no_grid(ax)
    ax.set_xticks([])
    ax.set_yticks([-1, -0.5, 0, 0.5, 1])


def _ellipse(values):
    return _CENTER + values.max() * _CIRCLE[0], values.min() * _CIRCLE[1]


def _round(ax, gid, values, look):
    style.line(ax, gid, *_ellipse(values), zorder=3, **look)


def _filled(ax, values):
    outline = np.stack(_ellipse(values), axis=1)
    look = {"facecolor": style.BLUE, "alpha": 0.12, "linewidth": 0, "gid": "inside", "zorder": 2}
    artist(ax, ("inside",), lambda: ax.fill(*outline.T, **look)[0], lambda drawn: drawn.set_xy(outline))


def _radii(ax, values):
    """Draw what σmax and σmin stretch."""
    style.line(ax, "largest", [_CENTER, _CENTER + values.max()], [0, 0], color=style.BLUE, linewidth=1.2)
    style.line(ax, "smallest", [_CENTER, _CENTER], [0, values.min()], **_SMALLEST)
    look = {"transform": ax.transData, "ha": "left"}
    first, second = (-0.42, -0.75) if style.is_narrow(ax) else (-0.55, -0.8)
    note(ax, "largest value", f"σmax = {values.max():.3f}", _STRIP[0], first, **look, color=style.BLUE)
    note(ax, "smallest value", f"σmin = {values.min():.3f}", _STRIP[0], second, **look, color=style.VERMILLION)


def _spectrum(ax, data):
    chosen = np.unique(np.linspace(0, len(data.now) - 1, _MOST_DOTS).round().astype(int))
    now, before = (-np.sort(-values)[chosen] for values in (data.now, data.path[0]))
    x = np.linspace(*_STRIP, len(chosen)) if len(chosen) > 1 else np.array([np.mean(_STRIP)])
    frame = [_STRIP[0] - 0.12, _STRIP[1] + 0.1]
    style.line(ax, "one", frame, [1, 1], color=style.GREY, linestyle=":", linewidth=1.2)
    style.line(ax, "zero", frame, [0, 0], color=style.GREY, linewidth=0.8)
    style.line(ax, "spectrum before", x, before, linewidth=1.2, color=style.VERMILLION, linestyle="--")
    stems = np.stack([before, now, np.full(len(x), np.nan)], axis=1).ravel()
    style.line(ax, "lifted", np.repeat(x, 3), stems, color=style.BLUE, linewidth=0.8)
    style.line(ax, "spectrum", x, now, zorder=4, **_DOTS)
    words = "singular values" if style.is_narrow(ax) else "all singular values,\nlargest first"
    note(ax, None, words, float(np.mean(_STRIP)), -0.12, transform=ax.transData, ha="center")


def plot_bjorck_cobweb(data: BjorckMoment, *, ax: Axes | None = None) -> Axes:
    """Draw the map s → (1 + β)s − βs³ that each Björck iteration applies, and where all singular values are on it.

    A value rises from the diagonal to the curve within an iteration, and starts the next one on the diagonal at the
    same height. The smallest value's path is drawn from its start.

    Args:
        data: `BjorckMoment` of `lipviz.measure`, with singular values up to 1.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    s = np.linspace(0, 1.05, 64)
    labels = {"xlabel": "singular value before the iteration (no unit)", "ylabel": "after it (no unit)"}
    with style.drawing(ax, title="Björck moves each one", **labels) as ax:
        style.x_limits(ax, 0, 1.05)
        style.y_limits(ax, 0, 1.08)
        style.line(ax, "diagonal", [0, 1.05], [0, 1.05], color=style.GREY, linewidth=0.8, label="_diagonal")
        style.line(ax, "map", s, s + data.beta * (s - s**3), color=style.BLACK, linewidth=1.6, label="(1+β)s − βs³")
        style.line(ax, "path", *_cobweb(data), zorder=3, label="path of σmin", **_SMALLEST)
        style.line(ax, "values", _now_from(data), data.now, zorder=4, label="all σ now", **_DOTS)
        beside_title(ax, f"β = {style.number(data.beta)}", 3)
        style.legend(ax)
    return ax


def _now_from(data):
    """The singular values before the present iteration."""
    return data.path[-1] if data.step > 1 else data.now


def _cobweb(data):
    """The path of the smallest value: from the diagonal up to the map, and over to the diagonal."""
    if data.step <= 1:
        return [np.nan], [np.nan]
    values = data.path.min(axis=1)
    return np.repeat(values, 2), np.concatenate([values[:1], np.repeat(values[1:], 2), [data.now.min()]])


def moment_words(data: BjorckMoment) -> str:
    """The moment in words, such as "iteration 2.5 of 8"."""
    if data.step == 0:
        return "unit circle"
    if data.step <= 1:
        return "the kernel" if data.step == 1 else f"{data.step:.0%} of the kernel"
    done = f"{data.iteration:.0f}" if data.iteration % 1 == 0 else f"{data.iteration:.1f}"
    return f"iteration {done} of {data.iterations}"


@alt_text.register
def _(data: BjorckMoment):
    low, high = style.number(data.now.min()), style.number(data.now.max())
    first = style.number(data.path[0].min())
    return (
        f"Two panels at one moment: {moment_words(data)}. Left, a unit circle has become an ellipse with half axes "
        f"{high} and {low}, beside the singular values, {len(data.now)} in all; of the normalized kernel the smallest "
        f"is {first}. Right, the map s → (1 + β)s − βs³ for β = {style.number(data.beta)}, with all singular values on "
        f"their way to 1."
    )
