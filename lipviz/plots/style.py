"""One style for all plots: colours that colour-blind readers tell apart, always with a marker or dash as well."""

import contextlib
import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lipviz import _moved
from lipviz.plots.deprecation import without_update
from lipviz.plots.redrawing import artist, drawn_on

# Okabe and Ito (2008), Color universal design; without its yellow, sky blue and orange, too pale for lines on white.
BLUE, VERMILLION, GREEN, PURPLE, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"
GREY = "#6B6B6B"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

PANEL = (4.6, 3.5)  # inches: two panels side by side fill a notebook's width
DPI = 100  # pixels an inch: CSS pixels on a page, which a sharper image divides
TITLE, TEXT, SMALL = 11, 10, 9  # points
MOST_DECADES = 9
STAYS = "lipviz_stays"  # attribute of a legend at a fixed place: what tells how it looks
_PAD, _PAD_OF_LEGEND = 8, 26  # points between the Axes and their title


def new_figure(panels=1, dpi=DPI):
    """Make a figure with panels of equal width side by side, not known to pyplot.

    Args:
        panels: Number of panels.
        dpi: Pixels an inch.

    Returns:
        A `matplotlib.figure.Figure`; its panels are `figure.axes`.
    """
    width, height = PANEL
    figure = Figure(figsize=(width * panels, height), dpi=dpi)
    for panel in range(panels):
        # Fixed margins, in inches: a layout that is solved for anew would jump with the width of a tick's label.
        left, bottom, right, top = 0.75, 0.54, 0.12, 0.7
        box = (panel * width + left, bottom, width - left - right, height - bottom - top)
        figure.add_axes((box[0] / (panels * width), box[1] / height, box[2] / (panels * width), box[3] / height))
    return figure


@_moved.renamed_argument("dress", "setup")
@contextlib.contextmanager
def drawing(ax, *, title, xlabel, ylabel, setup=()):
    """Draw a picture on Axes in place of the one that lipviz drew there before, if any.

    Within it, draw by `line`, `note` and the like, or `redrawing.artist`, the same things in the same order each time;
    and set each time whatever depends on the data, as limits do. What does not is the setup: Axes that were set up
    otherwise are cleared first.

    Args:
        ax: Axes to draw on; None makes a figure.
        title: What the plot shows.
        xlabel: Quantity and unit.
        ylabel: Quantity and unit.
        setup: Functions of the Axes that give them what stays, as `whole_ticks` and `log_y` do.

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


def prepared(ax, *, title, xlabel, ylabel):
    """Dress Axes, or those of a new figure, for what is drawn there once; see `drawing`.

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
    if ax.get_xlabel() != xlabel:
        ax.set_xlabel(xlabel, fontsize=TEXT)
    if ax.get_ylabel() != ylabel:
        ax.set_ylabel(ylabel, fontsize=TEXT)


def _format(ax):
    ax.tick_params(labelsize=SMALL)
    ax.grid(True, color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def legend(ax, columns=3):
    """Put a legend of one row between the title and the Axes, where it hides no data."""
    make_room_above(ax)
    made = _legend(
        ax,
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.985),
        ncols=columns,
        fontsize=SMALL,
        frameon=False,
        handlelength=1.8,
        handletextpad=0.5,
        columnspacing=1.1,
        borderaxespad=0.1,
    )
    if not hasattr(made, STAYS):
        setattr(made, STAYS, repr(drawn_on(ax).legend_key) if drawn_on(ax).is_drawing else object())


def inner_legend(ax, loc="best", **look):
    """Put a legend inside of the Axes, which has room for more or longer entries.

    Args:
        ax: Axes.
        loc: Where; where it hides least by default.
        **look: As of `Axes.legend`.
    """
    _legend(ax, loc=loc, fontsize=SMALL, framealpha=0.9, **look)


def _legend(ax, **look):
    drawn = drawn_on(ax)
    return drawn.legend(**look) if drawn.is_drawing else ax.legend(**look)


def make_room_above(ax):
    """Move the title up, for a row between it and the Axes."""
    drawn = drawn_on(ax)
    if drawn.is_drawing:
        drawn.title_pad = _PAD_OF_LEGEND
    else:
        set_title(ax, ax.get_title(loc="left"), _PAD_OF_LEGEND)


def set_title(ax, text, pad):
    """Give an Axes its title, at the left, `pad` points above it."""
    # Where its height is given, Matplotlib does not measure all labels of ticks to find it: that takes time.
    ax.set_title(text, loc="left", fontsize=TITLE, fontweight="bold", pad=pad, y=1.0)


@without_update
def line(ax, gid, x, y, *, markevery=None, **look):
    """Draw a line of data, or move the one that an earlier drawing made under the same name with the same look.

    Args:
        ax: Axes.
        gid: Name of the line on these Axes.
        x: Array of shape (n,).
        y: Array of shape (n,).
        markevery: Which points carry a marker, see `spread_markers`; all by default.
        **look: As of `Axes.plot`; in a `drawing` with a colour.

    Returns:
        The line.

    Raises:
        ValueError: If it has no colour in a drawing: Matplotlib would take another one each time that it is made anew.
    """
    if "color" not in look and drawn_on(ax).is_drawing:
        raise ValueError(f"Expected a colour of the line '{gid}'. Received: {', '.join(look) or 'no look'}")

    def move(drawn):
        drawn.set_data(x, y)
        drawn.set_markevery(markevery)

    return artist(ax, ("line", gid, look), lambda: ax.plot(x, y, gid=gid, markevery=markevery, **look)[0], move)


def level(ax, y, **look):
    """Draw a line across the Axes that belongs to their background.

    Args:
        ax: Axes.
        y: Its height.
        **look: As of `Axes.axhline`.
    """
    artist(ax, ("level", y, look), lambda: ax.axhline(y, **look))


def image(ax, gid, pixels, extent, *, limits=None, interpolation="nearest", **look):
    """Draw an image, or move the one of an earlier drawing under the same name with the same look.

    Args:
        ax: Axes, whose limits are set by their plot.
        gid: Name of the image on these Axes.
        pixels: Array of shape (rows, columns), or of colours, (rows, columns, 3).
        extent: Its (left, right, bottom, top).
        limits: Lowest and highest value of the colour map; not for colours.
        interpolation: As of `Axes.imshow`.
        **look: As of `Axes.imshow`.

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


def spread_markers(count, order, most=10):
    """Argument `markevery` for at most about `most` markers, at places that differ between lines of one plot.

    Args:
        count: Number of points of the line.
        order: Number of the line within its plot.
        most: Number of markers.
    """
    step = math.ceil(count / most)
    return (order * step // 3 % step, step)


@without_update
def log_scale(ax, values, *, bottom=None, top=None):
    """Give the y-axis a logarithmic scale that holds the positive values, between round numbers.

    Round numbers (1, 2 and 5 times a power of ten) keep the frame still while a slider moves. Zeros, and what lies
    `MOST_DECADES` below the largest, fall below the frame.

    Args:
        ax: Axes. In a `drawing`, `log_y` belongs to their setup.
        values: List of arrays.
        bottom: Lower end; the next round number by default.
        top: Upper end; the next round number by default.

    Raises:
        RuntimeError: If the axis is not logarithmic in a drawing.
    """
    values = np.concatenate([np.ravel(value) for value in values])
    values = values[values > 0]
    largest = values.max(initial=0) or 1.0
    smallest = max(values.min(initial=largest), largest * 10.0**-MOST_DECADES)
    lower, upper = bottom or round_number(smallest, math.floor), top or round_number(largest)
    if ax.get_yscale() != "log":
        if drawn_on(ax).is_drawing:
            raise RuntimeError("A logarithmic axis is a part of the setup: drawing(..., setup=(log_y,)).")
        log_y(ax)
    lower = min(lower, upper / 10)
    # Within two decades powers of ten alone would leave an axis with a single label.
    ax.yaxis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0) if upper / lower <= 100 else (1.0,))
    y_limits(ax, lower, upper)


def log_y(ax):
    """A logarithmic y-axis with few labels; see `log_scale`."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(numticks=7))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def bare_tiles(ax):
    """No grid, frame nor ticks, around tiles with words of their own."""
    no_grid(ax)
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])


def equal_aspect(ax):
    """As many pixels for a unit of x as for one of y; the Axes get smaller where needed."""
    ax.set_aspect("equal", adjustable="box")


def no_grid(ax):
    """No lines of a grid."""
    ax.grid(False)


def round_number(value, rounding=math.ceil):
    """The next of 1, 2, 5, 10, … (and their like below 1), upwards by default, or downwards by `math.floor`."""
    thirds = rounding(3 * math.log10(value) + (1e-3 if rounding is math.floor else -1e-3))
    return (1, 2, 5)[thirds % 3] * 10.0 ** (thirds // 3)


def x_limits(ax, low, high):
    """Set the limits of the x-axis where they are others: `set_xlim` takes time."""
    if ax.get_autoscalex_on() or ax.get_xlim() != (low, high):
        ax.set_xlim(low, high)


def y_limits(ax, low, high):
    """Set the limits of the y-axis where they are others."""
    if ax.get_autoscaley_on() or ax.get_ylim() != (low, high):
        ax.set_ylim(low, high)


def whole_ticks(ax):
    """Ticks of the x-axis at whole numbers only."""
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def number(value, digits=3):
    """A number as short text, as 64, 0.01 or 2.5e-4."""
    text = f"{value:.{digits}g}" if value == 0 or abs(value) >= 1e-2 else f"{value:.{digits - 1}e}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"
