"""Plots on the plane: decisions of a classifier, its certified discs, and its linear regions."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure

from lipviz.measure.fields import DecisionField, LinearRegions
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.redrawing import artist, drawn_on
from lipviz.types import Array, ArrayLike

# From blue over white to vermillion: two signs that colour-blind readers tell apart.
DIVERGING = LinearSegmentedColormap.from_list("lipviz_diverging", [style.BLUE, "#F7F7F7", style.VERMILLION])
_GOLDEN = (5**0.5 - 1) / 2  # multiples of it, modulo 1, lie far from their neighbours
_SMALL_PANEL = 2.5  # inches, the side of one field among several
_ROOM = 0.8  # inches, for a scale of colours
_MOST_LABELLED = 10
_MOST_OUTLINED = 40
_OPACITY = 0.1  # of a disc that overlaps few others
_LOOKED_AT = 200  # points at which discs are counted
_POINTS: dict[str, Any] = {"linestyle": "none", "markersize": 4.5, "markeredgewidth": 0.6, "zorder": 4}


class _OnGrid(Protocol):
    """A measurement on the grid of `x0` and `x1`."""

    @property
    def x0(self) -> Array: ...

    @property
    def x1(self) -> Array: ...


# --- decisions ---


@without_update
def plot_decision_field(data: DecisionField, *, ax: Axes | None = None, limit: float | None = None) -> Axes:
    """Draw the decisions of a classifier on the plane, level lines, and samples with their certified discs.

    A single logit is blue where it is negative and vermillion where it is positive, and the boundary is black. Of
    several classes, each has its own colour, which is paler where the margin is smaller. All points of a disc have the
    same decision as its centre. Of more than 40 discs, some have an outline, and the others only a pale area.

    Args:
        data: `DecisionField` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.
        limit: Largest logit, or margin, of the scale of colours; by default that of the field, rounded up.

    Returns:
        The Axes.
    """
    signed = data.logits.shape[2] == 1
    limit = field_limit(data) if limit is None else limit
    with plane(ax, data, data.name) as ax:
        if signed:
            draw_field(ax, data, data.logits[..., 0], DIVERGING, Normalize(-limit, limit), "logit (no unit)")
        else:
            _image(ax, data, _class_colours(data, limit))
        _samples(ax, data)  # before the artists that are made anew each time, so that these are only moved
        if signed:
            _contours(ax, data, data.logits[..., 0], 0.0, limit)
        else:
            # Between two classes the margin has a kink and no zero to find, so the boundary is drawn by classes.
            _boundaries(ax, data)
        _discs(ax, data)
    return ax


def plot_decision_fields(fields: Iterable[DecisionField], *, limit: float | None = None, columns: int = 3) -> Figure:
    """Draw several decision fields side by side, with the same scale of colours, and a title each.

    Args:
        fields: List of `DecisionField`, at least one, all with one logit or all with several.
        limit: See `plot_decision_field`; the largest of all fields by default.
        columns: Number of fields in a row.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: If there is no field, or some have one logit and others several.
    """
    fields = list(fields)
    kinds = {data.logits.shape[2] == 1 for data in fields}
    if len(kinds) != 1:
        raise ValueError(
            "Expected one field or more, all with one logit or all with several. "
            f"Received: outputs {[data.logits.shape[2] for data in fields]}"
        )
    limit = max(map(field_limit, fields)) if limit is None else limit
    columns = min(columns, len(fields))
    rows = -(-len(fields) // columns)
    first = fields[0]
    ratio = np.clip((first.x1[-1] - first.x1[0]) / (first.x0[-1] - first.x0[0]), 0.3, 2.0)
    size = (columns * _SMALL_PANEL + 1.1, rows * (_SMALL_PANEL * ratio + 0.3) + 0.5)
    figure = Figure(figsize=size, dpi=style.DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, (ax, data) in enumerate(zip(panels, fields, strict=False)):
        plot_decision_field(data, ax=ax, limit=limit)
        for own in [*ax.child_axes, ax.get_legend()]:  # one scale for all, below
            if own is not None:
                own.remove()
        ax.title.set_text("")
        ax.set_title(data.name, loc="left", fontsize=style.TEXT, fontweight="bold", pad=4)
        if place % columns:
            ax.set_ylabel("")
        if place + columns < len(fields):
            ax.set_xlabel("")
    for ax in panels[len(fields) :]:
        ax.remove()
    if kinds == {True}:
        scale = ScalarMappable(Normalize(-limit, limit), DIVERGING)
        bar = figure.colorbar(scale, ax=list(panels[: len(fields)]), shrink=0.8, aspect=30)
        bar.set_label("logit (no unit)", fontsize=style.TEXT)
        bar.ax.tick_params(labelsize=style.SMALL)
    return figure


def field_limit(data: DecisionField) -> float:
    """Largest logit or margin of a field, rounded up: the end of its scale of colours."""
    return style.round_number(float(np.abs(data.margins).max()) or 1.0)


def _class_colours(data, limit):
    """The colour of the class at each grid point, paler for smaller margins."""
    colours = np.array([to_rgb(class_look(number)[0]) for number in range(data.classes)])
    strength = 0.15 + 0.5 * np.clip(data.margins / limit, 0, 1)[..., None]
    return 1 - strength * (1 - colours[data.predicted])


def class_look(number: int) -> tuple[str, str]:
    """Colour and marker of a class. Of two classes the first is blue, like negative logits."""
    return style.PALETTE[number % len(style.PALETTE)], style.MARKERS[number % len(style.MARKERS)]


def _contours(ax, data, values, boundary, limit):
    """Draw thin lines at equally spaced levels, and a thick one at the boundary, as far as the field reaches them."""
    levels = np.linspace(-limit, limit, 11)
    lines = [level for level in levels if values.min() < level < values.max() and abs(level - boundary) > 1e-9 * limit]
    if lines:
        contour(ax, "levels", data, values, lines, colors=style.GREY, linewidths=0.6, linestyles="solid")
    if values.min() < boundary < values.max():
        contour(ax, "boundary", data, values, [boundary], colors=style.BLACK, linewidths=1.8)


def contour(ax: Axes, gid: str, data: _OnGrid, values: Array, levels: ArrayLike, **look: Any) -> None:
    """Draw lines of equal values on the grid of a measurement; they are made anew each time.

    Args:
        ax: Axes of the plane.
        gid: Name of the lines on these Axes.
        data: Measurement with the grid `x0` and `x1`.
        values: Array of shape (rows, columns).
        levels: Increasing numbers.
        **look: Keyword arguments of `Axes.contour`.
    """

    def make():
        lines = ax.contour(data.x0, data.x1, values, levels, **look)
        lines.set_gid(gid)
        return lines

    artist(ax, None, make)


def _boundaries(ax, data):
    """Draw lines around the regions of all classes but the last, where their indicators are one half."""
    for number in np.unique(data.predicted)[:-1]:
        inside = (data.predicted == number).astype(float)
        contour(ax, f"boundary {number}", data, inside, [0.5], colors=style.BLACK, linewidths=1.2)


def _discs(ax, data):
    if data.radii is None:
        return
    shown = (data.radii > 0) & np.isfinite(data.radii)
    widths = 2 * data.radii[shown]
    colour = to_rgb(style.ROLES["certified"]["color"])
    # Of many discs, one in a few has an outline; all are filled, and darker where they overlap.
    points = data.points[shown]
    outlined = np.arange(len(widths)) % max(1, math.ceil(len(widths) / _MOST_OUTLINED)) == 0
    discs = EllipseCollection(
        widths,
        widths,
        np.zeros(len(widths)),
        units="xy",
        offsets=points,
        offset_transform=ax.transData,
        facecolors=[(*colour, _opacity(points, data.radii[shown]))],
        edgecolors=[(*colour, 1.0 if has_line else 0.0) for has_line in outlined],
        linewidths=1.1,
        zorder=3,
        gid="discs",
    )
    artist(ax, None, lambda: ax.add_collection(discs, autolim=False))


def _opacity(points, radii):
    """Opacity of each disc, such that all discs which lie over one point hide about half of what is below, at most."""
    some = points[:: max(1, math.ceil(len(points) / _LOOKED_AT))]
    apart = np.linalg.norm(some[:, None] - points, axis=-1)
    most = np.sum(apart < radii, axis=1).max(initial=1)
    return min(_OPACITY, 1 - 0.5 ** (1 / most))


def _samples(ax, data):
    """Draw the samples, or without samples a key of the colours of several classes; with a legend."""
    if data.points is not None:
        markers(ax, data.points, data.labels)
    elif data.logits.shape[2] > 1:
        _keys(ax, data.classes)
    else:
        return
    style.legend(ax, columns=_MOST_LABELLED)


def _keys(ax, classes):
    for number in range(min(classes, _MOST_LABELLED)):
        colour, marker = class_look(number)
        look = {"color": colour, "marker": marker, "linestyle": "none", "label": _class_name(number, classes)}
        style.line(ax, f"key {number}", [], [], **look)


# --- what fields have in common ---


@contextlib.contextmanager
def plane(ax: Axes | None, data: _OnGrid, title: str) -> Iterator[Axes]:
    """A `style.drawing` of the plane.

    Args:
        ax: Axes to draw on; None makes a figure.
        data: Measurement with the grid `x0` and `x1`.
        title: What the plot shows.

    Yields:
        The Axes.
    """
    labels = {"xlabel": "x₀ (units of the input)", "ylabel": "x₁ (units of the input)"}
    with style.drawing(ax, title=title, **labels, setup=(style.no_grid, style.equal_aspect)) as ax:
        style.x_limits(ax, data.x0[0], data.x0[-1])
        style.y_limits(ax, data.x1[0], data.x1[-1])
        yield ax


def _image(ax, data, pixels, **look):
    """An image whose pixels are centred at the grid points."""
    half = (data.x0[1] - data.x0[0]) / 2, (data.x1[1] - data.x1[0]) / 2
    extent = (data.x0[0] - half[0], data.x0[-1] + half[0], data.x1[0] - half[1], data.x1[-1] + half[1])
    return style.image(ax, "field", pixels, extent, origin="lower", zorder=0, **look)


def draw_field(ax: Axes, data: _OnGrid, values: Array, cmap: Colormap, norm: Normalize, label: str) -> None:
    """Draw values on the grid as colours, with their scale at the right.

    Args:
        ax: Axes of the plane.
        data: Measurement with the grid `x0` and `x1`.
        values: Array of shape (rows, columns).
        cmap: Colormap.
        norm: `matplotlib.colors.Normalize`.
        label: Quantity and unit of the scale.
    """
    _image(ax, data, values, cmap=cmap, limits=(norm.vmin, norm.vmax), interpolation="bilinear")
    _make_room(ax)
    colour_scale(ax, cmap, norm, label)


def _make_room(ax):
    """Make Axes with fixed margins narrower, for the scale at their right; a layout engine makes room itself."""
    if ax.figure.get_layout_engine() is None:
        width = drawn_on(ax).box.width
        drawn_on(ax).narrow(max(0.5 * width, width - _ROOM / ax.figure.get_figwidth()))


def colour_scale(
    ax: Axes,
    cmap: Colormap,
    norm: Normalize,
    label: str,
    place: tuple[float, float, float, float] = (1.03, 0.0, 0.045, 1.0),
    size: float = style.TEXT,
) -> Axes:
    """Put a scale of colours beside an Axes. It is a child of the Axes: it takes no room from a layout.

    Args:
        ax: Axes.
        cmap: Colormap.
        norm: `matplotlib.colors.Normalize` with both limits.
        label: Quantity and unit.
        place: (left, bottom, width, height) in units of the Axes.
        size: Font size of the label, in points.

    Returns:
        The Axes of the scale.
    """

    def make():
        scale = ax.inset_axes(place, gid="scale")
        ends: Any = (0.0, 1.0, norm.vmin, norm.vmax)  # both limits are set
        scale.imshow(np.linspace(0, 1, 256)[:, None], cmap=cmap, extent=ends, origin="lower", aspect="auto")
        scale.set_xticks([])
        scale.yaxis.tick_right()
        scale.yaxis.set_label_position("right")
        scale.set_ylabel(label, fontsize=size)
        scale.tick_params(labelsize=style.SMALL)
        return scale

    return artist(ax, ("scale", cmap.name, norm.vmin, norm.vmax, label, place, size), make)


def markers(ax: Axes, points: Array, labels: Array | None, names: Sequence[str] | None = None) -> None:
    """Draw points with the marker and the colour of their class; without labels, all points look the same.

    Args:
        ax: Axes.
        points: Array of shape (n, 2).
        labels: Integers of shape (n,), or None.
        names: Words for the legend, by class; "class 0" and so on by default.
    """
    groups = [(None, slice(None))] if labels is None else [(number, labels == number) for number in np.unique(labels)]
    for number, chosen in groups:
        colour, marker = ("#FFFFFF", "o") if number is None else class_look(number)
        label = "samples" if number is None else _class_name(number, len(groups)) if names is None else names[number]
        edge = "#FFFFFF" if number is not None else style.BLACK
        look: dict[str, Any] = {"color": colour, "marker": marker, "markeredgecolor": edge, "label": label}
        style.line(ax, f"points {number}", points[chosen, 0], points[chosen, 1], **look, **_POINTS)


def _class_name(number, count):
    """Name of a class in a legend of one row, short where there are many."""
    return f"class {number}" if count <= 3 else f"{number}"


# --- linear regions ---


@without_update
def plot_linear_regions(
    data: LinearRegions, *, ax: Axes | None = None, by: Literal["region", "slope"] = "region"
) -> Axes:
    """Draw the pieces of the plane on which a network is one affine map, with dark lines between them.

    Args:
        data: `LinearRegions` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.
        by: What colours mean: "region", a shade for each region, or "slope", the norm of the Jacobian.

    Returns:
        The Axes.

    Raises:
        ValueError: If `by` is neither of the two.
    """
    if by not in ("region", "slope"):
        raise ValueError(f"`by` must be 'region' or 'slope'. Received: {by!r}")
    palette = colormaps["cividis"]
    limit = style.round_number(float(data.slopes.max()) or 1.0)
    # The dark end of the palette is kept for the lines.
    shades = (np.arange(data.count) * _GOLDEN) % 1 if by == "region" else data.slopes / limit
    pixels = palette(0.25 + 0.75 * shades)[data.labels][..., :3]
    pixels[_borders(data.labels)] = to_rgb("#101010")
    with plane(ax, data, f"{data.name}: {data.count} linear regions") as ax:
        _image(ax, data, pixels)
        if by == "slope":
            shown = LinearSegmentedColormap.from_list("slopes", palette(np.linspace(0.25, 1, 64)))
            _make_room(ax)
            colour_scale(ax, shown, Normalize(0, limit), "norm of the Jacobian (no unit)")
    return ax


def _borders(labels):
    """Mask of the grid points whose neighbour to the right or above belongs to another region."""
    borders = np.zeros(labels.shape, bool)
    borders[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    borders[:-1] |= labels[:-1] != labels[1:]
    return borders


# --- words ---


@alt_text.register
def _(data: DecisionField):
    shares = np.bincount(data.predicted.ravel(), minlength=data.classes) / data.predicted.size
    words = "; ".join(f"class {number} on {100 * share:.0f} %" for number, share in enumerate(shares) if share)
    words = f"Decisions of '{data.name}' on {_plane(data)}: {words}"
    if data.points is not None:
        words += f". {len(data.points)} samples"
    if data.certified is not None and data.certified.labels is not None:
        words += f", of which {100 * data.certified.accuracy:.0f} % are classified correctly"
    if data.radii is not None:
        smallest, median, largest = np.quantile(data.radii, (0, 0.5, 1), method="nearest")
        words += (
            f", with certified radii from {style.number(smallest)} to {style.number(largest)}, "
            f"median {style.number(median)}"
        )
    return words + "."


@alt_text.register
def _(data: LinearRegions):
    return (
        f"Linear regions of '{data.name}' on {_plane(data)}: {data.count}, the largest on "
        f"{100 * data.shares[0]:.1f} % of it. The norm of the Jacobian lies between "
        f"{style.number(data.slopes.min())} and {style.number(data.slopes.max())}."
    )


def _plane(data):
    ends = (data.x0[0], data.x0[-1], data.x1[0], data.x1[-1])
    low0, high0, low1, high1 = (style.number(float(end)) for end in ends)
    return f"the plane from x₀ = {low0} to {high0} and x₁ = {low1} to {high1}"
