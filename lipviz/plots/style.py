"""One style for all plots: colours that colour-blind readers can tell apart, and always a marker or a dash as well."""

import contextlib
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lipviz import _moved
from lipviz.plots.deprecation import without_update
from lipviz.plots.redrawing import artist, drawn_on
from lipviz.types import Array, ArrayLike

# Okabe and Ito (2008), Color universal design, without yellow, sky blue and orange: they are too pale on white.
BLUE, VERMILLION, GREEN, PURPLE, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"
GREY = "#6B6B6B"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# What a mark stands for decides its colour, its marker and its dash, the same in all plots and explorers. Classes,
# losses and networks, which are compared with each other, take those of `PALETTE` and `MARKERS` in their order.
ROLES: dict[str, dict[str, Any]] = {
    "raw": {"color": GREY, "marker": "^", "linestyle": ":"},  # before any constraint, or without one
    "normalized": {"color": PURPLE, "marker": "D", "linestyle": "--"},  # on the way to the constraint
    "constrained": {"color": BLUE, "marker": "o", "linestyle": "-"},  # what a constrained kernel or network does
    "certified": {"color": GREEN, "marker": "s", "linestyle": "-"},  # proved: a bound, a radius, an accuracy
    "attack": {"color": VERMILLION, "marker": "X", "linestyle": "--"},  # what was found against it; a false claim
    "limit": {"color": BLACK, "marker": "", "linestyle": "-."},  # asked for or exact: k, ε, eps, a distance
    "chosen": {"color": BLACK, "marker": "D", "linestyle": "-"},  # what the reader has chosen
}

PANEL = (4.6, 3.5)  # inches: two panels side by side fill a notebook's width
NARROW_PANEL = (3.6, 3.1)  # inches: its text can be read where only 290 CSS pixels are left for it
DPI = 100  # CSS pixels per inch of the page; the image of a `picture` has more pixels
TITLE, TEXT, SMALL = 11, 10, 9  # points
MOST_DECADES = 9
_NARROW = "lipviz_narrow"  # attribute of a figure whose panels are narrower than `PANEL`
_MARGINS, _NARROW_MARGINS = (0.75, 0.54, 0.12, 0.7), (0.72, 0.66, 0.17, 0.7)  # inches: left, below, right and above
# Inches by which tiles reach beyond the place of Axes that have ticks and a legend: left, below, right and above.
_ROOM_OF_TICKS = (0.65, 0.5, 0.07, 0.25)
_EDGE = 0.1  # inches between the left edge of a narrow panel and its title
_MOST_BELOW, _MOST_BESIDE = 42, 25  # letters of a label in one row below a narrow panel, and as high as its Axes
_NO_UNIT = " (no unit)"  # of a label; left out in narrow panels
STAYS = "lipviz_stays"  # attribute of a legend at a fixed place; legends that look the same have an equal value
_PAD, _PAD_OF_LEGEND = 8, 26  # points between the Axes and their title


def new_figure(panels: int = 1, dpi: float = DPI, size: tuple[float, float] = PANEL) -> Figure:
    """Make a figure with panels of equal width, side by side, without pyplot.

    Args:
        panels: Number of panels.
        dpi: Pixels per inch.
        size: Width and height of a panel, in inches.

    Returns:
        A `matplotlib.figure.Figure`; its panels are `figure.axes`.
    """
    width, height = size
    figure = Figure(figsize=(width * panels, height), dpi=dpi)
    setattr(figure, _NARROW, width < PANEL[0])
    # Fixed margins: an automatic layout would jump when the width of a tick label changes.
    left, bottom, right, top = _NARROW_MARGINS if width < PANEL[0] else _MARGINS
    for panel in range(panels):
        box = (panel * width + left, bottom, width - left - right, height - bottom - top)
        figure.add_axes((box[0] / (panels * width), box[1] / height, box[2] / (panels * width), box[3] / height))
    return figure


def is_narrow(ax: Axes) -> bool:
    """Whether the figure of an Axes has narrow panels, with less room for words; see `new_figure`."""
    return getattr(ax.figure, _NARROW, False)


def left_of(ax: Axes) -> float:
    """Where titles and legends begin, as a share of the width of the Axes: in a narrow panel at its left edge."""
    if not is_narrow(ax):
        return 0.0
    across, place = _inches(ax)[0], ax.get_position(original=True)
    margin = place.x0 * across % NARROW_PANEL[0]
    return min(0.0, (_EDGE - margin) / (place.width * across))


def _inches(ax):
    """Width and height of the figure of an Axes."""
    return ax.get_figure(root=True).get_size_inches()


# An activation looks the same in every plot: its name, and its look.
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("ReLU", {"color": VERMILLION, "marker": "s", "linestyle": "-"}),
    "prelulip": ("PReLUlip", {"color": VERMILLION, "marker": "v", "linestyle": "-."}),
    "maxmin": ("MaxMin", {"color": GREEN, "marker": "^", "linestyle": "-"}),
    "groupsort2": ("GroupSort2", {"color": BLUE, "marker": "o", "linestyle": "-"}),
    "fullsort": ("FullSort", {"color": PURPLE, "marker": "D", "linestyle": "-"}),
    "householder": ("Householder", {"color": GREY, "marker": "P", "linestyle": "-"}),
}


def series_looks(names: Sequence[str]) -> list[tuple[str, str]]:
    """Colours and markers of lines that are compared, at most five: activations have their own.

    Args:
        names: Names of the lines; the first line of a name that is an activation's gets the look of `ACTIVATIONS`.

    Returns:
        A list of pairs (colour, marker), of which no two are equal in either.
    """
    own = {
        known: (look["color"], look["marker"]) for key, (title, look) in ACTIVATIONS.items() for known in (key, title)
    }
    fixed: dict[int, tuple[str, str]] = {}
    for place, name in enumerate(names):
        if name in own and own[name][0] not in [color for color, _ in fixed.values()]:
            fixed[place] = own[name]
    colors = iter([color for color in PALETTE if color not in [taken for taken, _ in fixed.values()]])
    markers = iter([marker for marker in MARKERS if marker not in [taken for _, taken in fixed.values()]])
    return [fixed[place] if place in fixed else (next(colors), next(markers)) for place in range(len(names))]


def role(name: str, **look: Any) -> dict[str, Any]:
    """The look of a role, see `ROLES`.

    Args:
        name: Name of the role.
        **look: Further keyword arguments of `Axes.plot`, which take precedence.

    Returns:
        Keyword arguments of `Axes.plot`.
    """
    return {**ROLES[name], **look}


@_moved.renamed_argument("dress", "setup")
@contextlib.contextmanager
def drawing(
    ax: Axes | None, *, title: str, xlabel: str, ylabel: str, setup: Sequence[Callable[[Axes], None]] = ()
) -> Iterator[Axes]:
    """Draw a picture on Axes in place of the one that lipviz drew there before, if any.

    Inside the `with` block, draw by `line`, `note` and the like, or by `redrawing.artist`: the same things in the same
    order each time. Set whatever depends on the data, such as limits, each time. What does not depend on the data
    belongs into `setup`: Axes that had another setup are cleared first.

    Args:
        ax: Axes to draw on; None makes a figure.
        title: What the plot shows.
        xlabel: Quantity and unit.
        ylabel: Quantity and unit.
        setup: Functions of the Axes that set what stays the same, such as `whole_ticks` and `log_y`.

    Yields:
        The Axes.

    Raises:
        RuntimeError: If these Axes are being drawn on already.
    """
    if ax is None:
        (ax,) = new_figure().axes
    drawn = drawn_on(ax)
    is_bare = drawn.begin(tuple(setup))
    try:
        if is_bare:
            _format(ax)
            for set_up in setup:
                set_up(ax)
        _label(ax, xlabel, ylabel)
        drawn.title_pad = _PAD
        yield ax
        drawn.end()
        if (ax.get_title(loc="left"), drawn.shown_pad) != (title, drawn.title_pad):
            set_title(ax, title, drawn.title_pad)
            drawn.shown_pad = drawn.title_pad
    finally:
        drawn.leave()


def prepared(ax: Axes | None, *, title: str, xlabel: str, ylabel: str) -> Axes:
    """Give Axes, or those of a new figure, the style of lipviz. For what is drawn only once; see `drawing`.

    Args:
        ax: Axes to draw on; None makes a figure.
        title: What the plot shows.
        xlabel: Quantity and unit.
        ylabel: Quantity and unit.

    Returns:
        The Axes.
    """
    if ax is None:
        (ax,) = new_figure().axes
    set_title(ax, title, _PAD)
    _label(ax, xlabel, ylabel)
    _format(ax)
    return ax


def _label(ax, xlabel, ylabel):
    size = TEXT
    if is_narrow(ax):
        xlabel, ylabel, size = _in_rows(xlabel.replace(_NO_UNIT, "")), ylabel.replace(_NO_UNIT, ""), SMALL
    if ax.get_xlabel() != xlabel:
        ax.set_xlabel(xlabel, fontsize=size)
    if ax.get_ylabel() != ylabel:
        ax.set_ylabel(ylabel, fontsize=size)
        if is_narrow(ax) and len(ylabel) > _MOST_BESIDE:
            ax.yaxis.label.set(y=1.0, horizontalalignment="right")  # from the top down, below the legend


def _in_rows(text):
    """A label in rows of about the same length, each of which fits below a narrow panel."""
    rows = math.ceil(len(text) / _MOST_BELOW)
    return text if rows < 2 else textwrap.fill(text, math.ceil(len(text) / rows) + 4)


def _format(ax):
    ax.tick_params(labelsize=SMALL)
    ax.grid(True, color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def legend(ax: Axes, columns: int = 3) -> None:
    """Put a legend of one row between the title and the Axes, where it hides no data."""
    make_room_above(ax)
    room = {"handlelength": 1.8, "handletextpad": 0.5, "columnspacing": 1.1}
    if is_narrow(ax):
        room = {"handlelength": 1.4, "handletextpad": 0.4, "columnspacing": 0.8}
    made = _legend(
        ax,
        loc="lower left",
        bbox_to_anchor=(left_of(ax) - 0.02, 0.985),
        ncols=columns,
        fontsize=SMALL,
        frameon=False,
        borderaxespad=0.1,
        **room,
    )
    if not hasattr(made, STAYS):
        setattr(made, STAYS, repr(drawn_on(ax).legend_key) if drawn_on(ax).is_drawing else object())


def inner_legend(ax: Axes, loc: str = "best", **look: Any) -> None:
    """Put a legend inside the Axes, where there is room for more or longer entries.

    Args:
        ax: Axes.
        loc: Location, as in `Axes.legend`; by default where it hides least.
        **look: Keyword arguments of `Axes.legend`.
    """
    _legend(ax, loc=loc, fontsize=SMALL, framealpha=0.9, **look)


def _legend(ax, **look):
    drawn = drawn_on(ax)
    return drawn.legend(**look) if drawn.is_drawing else ax.legend(**look)


def make_room_above(ax: Axes) -> None:
    """Move the title up, so that a row fits between it and the Axes."""
    drawn = drawn_on(ax)
    if drawn.is_drawing:
        drawn.title_pad = _PAD_OF_LEGEND
    else:
        set_title(ax, ax.get_title(loc="left"), _PAD_OF_LEGEND)


def set_title(ax: Axes, text: str, pad: float | None) -> None:
    """Give an Axes its title, at the left, `pad` points above the Axes."""
    size = TEXT if is_narrow(ax) else TITLE
    # With `y` given, Matplotlib need not measure all tick labels to place the title, which takes time.
    ax.set_title(text, loc="left", fontsize=size, fontweight="bold", pad=pad, x=left_of(ax), y=1.0)


@without_update
def line(
    ax: Axes, gid: str, x: ArrayLike, y: ArrayLike, *, markevery: tuple[int, int] | list[int] | None = None, **look: Any
) -> Line2D:
    """Draw a line of data. A line that an earlier drawing made with the same name and look is moved instead.

    Args:
        ax: Axes.
        gid: Name of the line on these Axes.
        x: Array of shape (n,).
        y: Array of shape (n,).
        markevery: The points that have a marker, as in `Axes.plot`, see `spread_markers`; all by default.
        **look: Keyword arguments of `Axes.plot`; inside a `drawing`, `color` is required.

    Returns:
        The line.

    Raises:
        ValueError: If `color` is missing inside a `drawing`: Matplotlib would choose another colour each time that it
            makes the line.
    """
    if "color" not in look and drawn_on(ax).is_drawing:
        raise ValueError(f"Expected a colour of the line '{gid}'. Received: {', '.join(look) or 'no look'}")

    def move(drawn):
        drawn.set_data(x, y)
        drawn.set_markevery(markevery)

    return artist(ax, ("line", gid, look), lambda: ax.plot(x, y, gid=gid, markevery=markevery, **look)[0], move)


def level(ax: Axes, y: float, **look: Any) -> None:
    """Draw a horizontal line across the Axes, as a part of their background.

    Args:
        ax: Axes.
        y: Its height.
        **look: Keyword arguments of `Axes.axhline`.
    """
    artist(ax, ("level", y, look), lambda: ax.axhline(y, **look))


def image(
    ax: Axes,
    gid: str,
    pixels: Array,
    extent: tuple[float, float, float, float],
    *,
    limits: tuple[float, float] | None = None,
    interpolation: str = "nearest",
    **look: Any,
) -> AxesImage:
    """Draw an image. One that an earlier drawing made with the same name and look gets the new pixels instead.

    Args:
        ax: Axes. The plot sets their limits.
        gid: Name of the image on these Axes.
        pixels: Array of shape (rows, columns), or of colours, (rows, columns, 3).
        extent: Place of the image, (left, right, bottom, top).
        limits: Lowest and highest value of the colour map; without effect on colours.
        interpolation: As in `Axes.imshow`.
        **look: Further keyword arguments of `Axes.imshow`.

    Returns:
        The image.
    """
    look = {"interpolation": interpolation, "aspect": "equal", **look}
    low, high = limits or (None, None)

    def make():
        return ax.imshow(pixels, extent=extent, vmin=low, vmax=high, gid=gid, **look)

    def move(drawn):
        drawn.set_data(pixels)
        drawn.set_extent(extent)
        drawn.set_clim(low, high)

    return artist(ax, ("image", gid, np.ndim(pixels), look), make, move)


def spread_markers(count: int, order: int, most: int = 10) -> tuple[int, int]:
    """Argument `markevery` for about `most` markers at most, at different places on each line of a plot.

    Args:
        count: Number of points of the line.
        order: Number of the line within its plot.
        most: Number of markers.
    """
    step = math.ceil(count / most)
    return (order * step // 3 % step, step)


@without_update
def log_scale(ax: Axes, values: Sequence[ArrayLike], *, bottom: float | None = None, top: float | None = None) -> None:
    """Give the y-axis a logarithmic scale that holds the positive values, between round numbers.

    Round numbers (1, 2 and 5 times a power of ten) keep the frame still while a slider moves. Zeros, and values more
    than `MOST_DECADES` decades below the largest one, lie below the frame.

    Args:
        ax: Axes. Inside a `drawing`, their setup must include `log_y`.
        values: List of arrays.
        bottom: Lower end; the next round number by default.
        top: Upper end; the next round number by default.

    Raises:
        RuntimeError: If the axis is not logarithmic inside a `drawing`.
    """
    positive = np.concatenate([np.ravel(value) for value in values])
    positive = positive[positive > 0]
    largest = positive.max(initial=0) or 1.0
    smallest = max(positive.min(initial=largest), largest * 10.0**-MOST_DECADES)
    lower, upper = bottom or round_number(smallest, math.floor), top or round_number(largest)
    if ax.get_yscale() != "log":
        if drawn_on(ax).is_drawing:
            raise RuntimeError("A logarithmic axis is a part of the setup: drawing(..., setup=(log_y,)).")
        log_y(ax)
    lower = min(lower, upper / 10)
    if drawn_on(ax).keeps_limits and not ax.get_autoscaley_on():
        return
    y_limits(ax, lower, upper)


def log_y(ax: Axes) -> None:
    """Give Axes a logarithmic y-axis with few labels; see `log_scale`."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(_LogTicks(numticks=7))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


class _LogTicks(LogLocator):
    """Ticks at powers of ten. Within two decades, where these would be one or two, also at 2 and 5 times them."""

    def tick_values(self, vmin, vmax):
        low, high = sorted((vmin, vmax))
        self.set_params(subs=(1.0, 2.0, 5.0) if high <= 100 * low else (1.0,))
        return super().tick_values(vmin, vmax)


def bare_tiles(ax: Axes) -> None:
    """Remove grid, frame and ticks, for tiles that have captions of their own."""
    no_grid(ax)
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])


def fill_panel(ax: Axes) -> None:
    """Let tiles have the room of ticks, labels and legend, which they lack; subplots keep their place."""
    if ax.get_subplotspec() is not None:
        return
    x, y, width, height = drawn_on(ax).box.bounds
    across, high = _inches(ax)
    left, below, right, above = (room / side for room, side in zip(_ROOM_OF_TICKS, (across, high) * 2, strict=True))
    drawn_on(ax).move_to((x - left, y - below, width + left + right, height + below + above))


def equal_aspect(ax: Axes) -> None:
    """Give a unit of x as many pixels as a unit of y; the Axes shrink where needed."""
    ax.set_aspect("equal", adjustable="box")


def no_grid(ax: Axes) -> None:
    """Remove the grid."""
    ax.grid(False)


def round_number(value: float, rounding: Callable[[float], int] = math.ceil) -> float:
    """The next of 0.1, 0.2, 0.5, 1, 2, 5, 10, … above a positive value, or with `math.floor` below it."""
    thirds = rounding(3 * math.log10(value) + (1e-3 if rounding is math.floor else -1e-3))
    return (1, 2, 5)[thirds % 3] * 10.0 ** (thirds // 3)


def x_limits(ax: Axes, low: float, high: float) -> None:
    """Set the limits of the x-axis, unless they are these already (`set_xlim` takes time), or are to stay."""
    if ax.get_autoscalex_on() or (ax.get_xlim() != (low, high) and not drawn_on(ax).keeps_limits):
        ax.set_xlim(low, high)


def y_limits(ax: Axes, low: float, high: float) -> None:
    """Set the limits of the y-axis, unless they are these already, or are to stay."""
    if ax.get_autoscaley_on() or (ax.get_ylim() != (low, high) and not drawn_on(ax).keeps_limits):
        ax.set_ylim(low, high)


def whole_ticks(ax: Axes) -> None:
    """Put the ticks of the x-axis at whole numbers only."""
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def number(value: float, digits: int = 3) -> str:
    """A number as a short text, such as 64, 0.01 or 2.5e-4."""
    text = f"{value:.{digits}g}" if value == 0 or abs(value) >= 1e-2 else f"{value:.{digits - 1}e}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"
