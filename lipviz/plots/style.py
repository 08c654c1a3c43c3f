"""One style for all plots: colours that colour-blind readers tell apart, always with a marker or dash as well."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

# Okabe and Ito (2008), Color universal design; without its yellow, sky blue and orange, too pale for lines on white.
BLUE, VERMILLION, GREEN, PURPLE, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"
GREY = "#6B6B6B"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

PANEL = (4.6, 3.5)  # inches: two panels side by side fill a notebook's width
DPI = 100  # pixels an inch: CSS pixels on a page, which a sharper image divides
TITLE, TEXT, SMALL = 11, 10, 9  # points
MOST_DECADES = 9
STAYS = "lipviz_stays"  # attribute of a legend that with the same words looks the same, at the same place


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


def prepared(ax, *, title, xlabel, ylabel):
    """Dress the Axes of a plot, or those of a new figure.

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
    set_title(ax, title, pad=8)
    ax.set_xlabel(xlabel, fontsize=TEXT)
    ax.set_ylabel(ylabel, fontsize=TEXT)
    ax.tick_params(labelsize=SMALL)
    ax.grid(True, color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def legend(ax, columns=3):
    """Put a legend of one row between the title and the Axes, where it hides no data."""
    set_title(ax, ax.get_title(loc="left"), pad=26)
    made = ax.legend(
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
    setattr(made, STAYS, True)


def set_title(ax, text, pad):
    """Give an Axes its title, at the left, `pad` points above it."""
    # Where its height is given, Matplotlib does not measure all labels of ticks to find it: that takes time.
    ax.set_title(text, loc="left", fontsize=TITLE, fontweight="bold", pad=pad, y=1.0)


def line(ax, gid, x, y, *, update=False, markevery=None, **look):
    """Draw a line of data, or move the one that an earlier call drew under the same name.

    Args:
        ax: Axes.
        gid: Name of the line on these Axes.
        x: Array of shape (n,).
        y: Array of shape (n,).
        update: Move the existing line instead of drawing one.
        markevery: Which points carry a marker, see `spread_markers`; all by default.
        **look: As of `Axes.plot`.

    Returns:
        The line.

    Raises:
        ValueError: If there is no such line to move.
    """
    if not update:
        return ax.plot(x, y, gid=gid, markevery=markevery, **look)[0]
    found = [artist for artist in ax.lines if artist.get_gid() == gid]
    if not found:
        raise ValueError(f"There is no line '{gid}' to update: draw the plot on these Axes first.")
    found[-1].set_data(x, y)
    found[-1].set_markevery(markevery)
    return found[-1]


def spread_markers(count, order, most=10):
    """Argument `markevery` for at most about `most` markers, at places that differ between lines of one plot.

    Args:
        count: Number of points of the line.
        order: Number of the line within its plot.
        most: Number of markers.
    """
    step = math.ceil(count / most)
    return (order * step // 3 % step, step)


def log_scale(ax, values, *, bottom=None, top=None, update=False):
    """Give the y-axis a logarithmic scale that holds the positive values, between round numbers.

    Round numbers (1, 2 and 5 times a power of ten) keep the frame still while a slider moves. Zeros, and what lies
    `MOST_DECADES` below the largest, fall below the frame.

    Args:
        ax: Axes.
        values: List of arrays.
        bottom: Lower end; the next round number by default.
        top: Upper end; the next round number by default.
        update: Change the limits only, of an axis that is logarithmic already.
    """
    values = np.concatenate([np.ravel(value) for value in values])
    values = values[values > 0]
    largest = values.max(initial=0) or 1.0
    smallest = max(values.min(initial=largest), largest * 10.0**-MOST_DECADES)
    lower, upper = bottom or round_number(smallest, math.floor), top or round_number(largest)
    if not update:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(numticks=7))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    lower = min(lower, upper / 10)
    # Within two decades powers of ten alone would leave an axis with a single label.
    ax.yaxis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0) if upper / lower <= 100 else (1.0,))
    ax.set_ylim(lower, upper)


def round_number(value, rounding=math.ceil):
    """The next of 1, 2, 5, 10, … (and their like below 1), upwards by default, or downwards by `math.floor`."""
    thirds = rounding(3 * math.log10(value) + (1e-3 if rounding is math.floor else -1e-3))
    return (1, 2, 5)[thirds % 3] * 10.0 ** (thirds // 3)


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
