"""Plots of what an activation does to vectors: outputs and Jacobian along a line, and the image of the plane."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text

from lipviz.measure.activation_shapes import RANGE, ActivationShape
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.redrawing import artist

_PLACE: dict[str, Any] = {"color": style.BLACK, "linestyle": (0, (4, 2)), "linewidth": 1.0, "zorder": 1.5}
_LATTICE: tuple[dict[str, Any], ...] = (
    {"color": style.BLUE, "linestyle": "-", "label": "x₂ constant"},
    {"color": style.VERMILLION, "linestyle": (0, (4, 2)), "label": "x₁ constant"},
)
_LETTER: dict[str, Any] = {"color": style.GREY, "linestyle": ":", "linewidth": 1.6, "label": "_F before", "zorder": 3}
_LETTER_IMAGE: dict[str, Any] = {"color": style.BLACK, "linewidth": 2.2, "label": "F (dotted before)", "zorder": 4}
_POINT: dict[str, Any] = {
    "color": style.GREEN,
    "marker": "D",
    "markersize": 7,
    "linestyle": "none",
    "label": "_place",
    "zorder": 5,
}
_MOST_OUTPUTS = 16
_LABEL = "place t on the line (units of the input)"


@without_update
def plot_activation_outputs(data: ActivationShape, *, ax: Axes | None = None, place: float | None = None) -> Axes:
    """Draw each output channel of an activation along a line through its inputs, marked by its number.

    Args:
        data: `ActivationShape` of `lipviz.measure`. Of more than 16 outputs the first 16 are drawn.
        ax: Axes to draw on; None makes a figure.
        place: A place t to mark; None marks none.

    Returns:
        The Axes.
    """
    # Fixed limits, a fixed number of lines, and numbers on them in place of a legend: a fixed background is fast.
    limit = style.round_number(max(np.abs(data.outputs).max(), 4.0))
    labels = {"xlabel": _LABEL, "ylabel": "output channel (units of the input)"}
    with style.drawing(ax, title="Outputs along a line", **labels) as ax:
        style.x_limits(ax, -1.03 * RANGE, 1.03 * RANGE)
        style.y_limits(ax, -1.05 * limit, 1.05 * limit)
        for order in range(_MOST_OUTPUTS):
            _output(ax, data, order)
        _mark(ax, place)
        subtitle(ax, "name", f"{data.name}, numbers of the outputs on their lines")
    return ax


def _output(ax, data, order):
    """Draw the line of one output; it is invisible if there is no such output."""
    values = data.outputs[:, order] if order < data.outputs.shape[1] else np.full(len(data.places), np.nan)
    marks = style.spread_markers(len(values), order, most=6)
    look = {
        "color": style.PALETTE[order % len(style.PALETTE)],
        "linestyle": "-",
        "marker": f"${order + 1}$",
        "linewidth": 1.4,
        "markersize": 7.5 if order < 9 else 10,
        "markeredgewidth": 0.3,
        "label": f"output {order + 1}",
    }
    style.line(ax, f"output {order}", data.places, values, markevery=marks, **look)


@without_update
def plot_activation_jacobian(data: ActivationShape, *, ax: Axes | None = None, place: float | None = None) -> Axes:
    """Draw the extreme singular values of an activation's Jacobian along a line, and what a random gradient keeps.

    The share of its norm that a gradient would keep with ReLU is drawn too, for comparison.

    Args:
        data: `ActivationShape` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.
        place: A place t to mark; None marks none.

    Returns:
        The Axes.
    """
    lines = (
        # Where they coincide, each is narrower than the one below it.
        ("largest", "σmax", data.values[:, 0], {"color": style.BLUE, "marker": "o", "linestyle": "-"}, 5.0),
        ("smallest", "σmin", data.values[:, -1], {"color": style.PURPLE, "marker": "D", "linestyle": "-"}, 2.6),
        ("kept", "gradient", data.kept, {"color": style.BLACK, "marker": "^", "linestyle": ":"}, 1.2),
        ("relu", "ReLU's gradient", data.kept_by_relu, style.role("raw", marker="", linestyle="-."), 1.2),
    )
    with style.drawing(ax, title="Gains of its Jacobian", xlabel=_LABEL, ylabel="gain (no unit)") as ax:
        style.level(ax, 1.0, color="#999999", linewidth=0.8, zorder=1)
        for order, (gid, label, values, look, width) in enumerate(lines):
            look = {"label": label, "markersize": 5.5, "linewidth": width, **look}
            marks = style.spread_markers(len(values), order, most=8)
            style.line(ax, gid, data.places, values, markevery=marks, **look)
        style.x_limits(ax, -1.03 * RANGE, 1.03 * RANGE)
        style.y_limits(ax, -0.05, max(1.2, 1.1 * data.values.max()))
        _mark(ax, place)
        style.legend(ax, columns=4)
    return ax


@without_update
def plot_activation_plane(data: ActivationShape, *, ax: Axes | None = None, place: float | None = None) -> Axes:
    """Draw the images of a lattice of the plane, of a letter in it and of the line under an activation.

    Args:
        data: `ActivationShape` of `lipviz.measure`, with two channels.
        ax: Axes to draw on; None makes a figure.
        place: A place t of the line whose image is marked; None marks none.

    Returns:
        The Axes.

    Raises:
        ValueError: If the activation does not have two channels.
    """
    plane = data.plane
    if plane is None:
        raise ValueError(f"Expected an activation of two channels. Received: '{data.name}' of {data.shape[1]}")
    index = None if place is None else data.nearest(place)
    point = np.full((1, 2), np.nan) if index is None else data.outputs[index : index + 1, :2]
    limit = 1.1 * RANGE
    more = "" if plane.outputs == 2 else f"\n2 of {plane.outputs} outputs"
    labels = {"xlabel": "first output (units of the input)", "ylabel": "second output"}
    with style.drawing(ax, title="Image of the plane", **labels, setup=(style.equal_aspect,)) as ax:
        for order, (images, look) in enumerate(zip(plane.images, _LATTICE, strict=True)):
            style.line(ax, f"lattice {order}", *_joined(images).T, linewidth=0.9, alpha=0.8, **look)
        style.line(ax, "letter", *plane.letter.T, **_LETTER)
        style.line(ax, "letter image", *plane.letter_image.T, **_LETTER_IMAGE)
        style.line(ax, "line", *data.outputs[:, :2].T, color=style.GREEN, linewidth=1.6, label="_line", zorder=3)
        style.line(ax, "place", *point.T, **_POINT)
        style.x_limits(ax, -1.6 * limit, 1.6 * limit)
        style.y_limits(ax, -limit, limit)
        style.legend(ax)
        note(ax, "name", data.name + more)
    return ax


@without_update
def subtitle(ax: Axes, gid: str | None, text: str) -> Text:
    """Write a text below the title of an Axes, where other plots have their legend; see `note`."""
    style.make_room_above(ax)
    return note(ax, gid, text, style.left_of(ax), 1.02, va="bottom")


@without_update
def note(ax: Axes, gid: str | None, text: str, x: float = 0.015, y: float = 0.985, **look: Any) -> Text:
    """Write a text on an Axes. A text that an earlier drawing made with the same name and look is changed instead.

    Args:
        ax: Axes.
        gid: Name of the text on these Axes; None for one that belongs to the background.
        text: What to write.
        x: Place from the left, as a share of the width of the Axes; in other units with `transform`.
        y: Place from below, likewise.
        **look: Keyword arguments of `Axes.text`.

    Returns:
        The text.
    """
    look = {"fontsize": style.SMALL, "ha": "left", "va": "top", "transform": ax.transAxes, "zorder": 6, **look}

    def move(drawn):
        drawn.set_text(text)
        drawn.set_position((x, y))

    key = ("text", gid, look) if gid else ("text", text, x, y, look)
    return artist(ax, key, lambda: ax.text(x, y, text, gid=gid, **look), move)


def _joined(lines):
    """Lines of shape (m, p, 2) as one, with gaps between them: of shape (m (p + 1), 2)."""
    return np.concatenate([lines, np.full((len(lines), 1, 2), np.nan)], axis=1).reshape(-1, 2)


def _mark(ax, place):
    """Draw a dashed line across the Axes at a place; it is invisible if there is none."""
    place = np.nan if place is None else place
    style.line(ax, "place", [place, place], ax.get_ylim(), label="_place", **_PLACE)


@alt_text.register
def _(data: ActivationShape):
    outputs, inputs = data.shape
    words = (
        f"The activation {data.name} of {inputs} channels along a line: {outputs} outputs from "
        f"{style.number(data.outputs.min())} to {style.number(data.outputs.max())}. Singular values of its Jacobian "
        f"lie between {style.number(data.values.min())} and {style.number(data.values.max())}; a random gradient keeps "
        f"{style.number(data.kept.min())} to {style.number(data.kept.max())} of its norm."
    )
    if data.plane is None:
        return words
    moved = np.linalg.norm(data.plane.images - data.plane.lines, axis=-1) > 1e-6
    return f"{words} Of a lattice in the plane, {100 * moved.mean():.0f} % of the points are moved."
