"""Plots of a convolution's norm: what methods claim, what it is, and its gain at each frequency."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lipviz.measure.claims import ConvolutionClaims
from lipviz.plots import style
from lipviz.plots.activation_shapes import note, subtitle
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.redrawing import artist

_HEIGHT = 0.5
_ROUNDING = 1e-12  # a gain that is smaller, relative to the largest, is 0 but for rounding
_HOLDS, _HAPPENS, _LIES = (style.ROLES[role]["color"] for role in ("certified", "raw", "attack"))
_FFT = {name: style.ROLES["attack"][name] for name in ("color", "marker")}


@without_update
def plot_convolution_claims(data: ConvolutionClaims, *, ax: Axes | None = None) -> Axes:
    """Draw the true norm of a convolution after its kernel was divided by the norm that each method claims.

    It should be 1 at most. Where it is larger, the claim of the method is too small, and its bar is hatched.

    Args:
        data: `ConvolutionClaims` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    places = np.arange(len(data.methods))
    most = data.after.max()
    gaps = (places[:, None] + (-0.26, 0.3, np.nan)).ravel()  # where no words are
    with style.drawing(
        ax,
        title="True norm of the convolution",
        xlabel="norm after division by a method's claim (no unit)",
        ylabel="",
        setup=(_rows,),
    ) as ax:
        style.x_limits(ax, 0, 1.5 if most <= 1.45 else style.round_number(1.02 * most))
        style.y_limits(ax, len(places) - 0.5, -0.75)
        style.line(ax, "asked", np.ones(len(gaps)), gaps, color=style.BLACK, linewidth=2.2, label="_asked", zorder=4)
        for claim in zip(places, data.methods, data.after, data.is_below_norm, data.is_proved, strict=True):
            _claim(ax, *claim)
        subtitle(ax, None, "black: 1, the aim; hatched: above 1")
    return ax


def _rows(ax):
    ax.set_yticks([])
    ax.grid(False, axis="y")


def _claim(ax, place, name, value, lies, proved):
    """Draw the bar of one method, and the words above it."""
    bar = _bar(ax, f"after {place}", place, value)
    color = _LIES if lies else _HOLDS if proved else _HAPPENS
    bar.set_facecolor(color if not lies else "#FFFFFF")
    bar.set_edgecolor(color)
    bar.set_hatch("////" if lies else "")
    look = {"transform": ax.get_yaxis_transform(), "va": "bottom"}
    # Text takes most of the time: fixed words are drawn once, and verdicts are texts apart from their numbers.
    always, beside = (", proved", 0.83) if style.is_narrow(ax) else (", holds for every kernel", 0.87)
    note(ax, None, f"{name}{always}" if proved else name, 0.01, place - 0.28, **look)
    verdict = "too large:" if lies else "" if proved else "holds here:"
    note(ax, f"verdict {place}", verdict, beside, place - 0.28, ha="right", **look)
    note(ax, f"value {place}", f"{value:.3f}", 0.99, place - 0.28, ha="right", **look)


def _bar(ax, gid, place, value):
    def make():
        corner = (0, place - _HEIGHT / 2)
        return ax.add_patch(Rectangle(corner, value, _HEIGHT, gid=gid, linewidth=1.2, zorder=3))

    return artist(ax, ("bar", gid), make, lambda drawn: drawn.set_width(value))


@without_update
def plot_convolution_gains(data: ConvolutionClaims, *, ax: Axes | None = None) -> Axes:
    """Draw the gain of a convolution over frequencies, those that an FFT of the image's size sees, and the true norm.

    Args:
        data: `ConvolutionClaims` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    highest = max(data.gains.max(), data.norm)
    with style.drawing(
        ax,
        title="Gain over frequencies",
        xlabel="frequency along the height (cycles per output pixel)",
        ylabel="largest gain (no unit)",
    ) as ax:
        style.x_limits(ax, -0.012, 0.512)
        style.y_limits(ax, 0, style.round_number(1.1 * highest) if highest > 0 else 1.0)
        _across(ax, "norm", data.norm, "zero padding", style.BLUE, "--")
        style.line(ax, "gains", data.frequencies, data.gains, color=style.GREY, linewidth=1.6, label="no border")
        style.line(ax, "grid", data.grid_frequencies, data.grid_gains, linestyle="none", markersize=6,
                   label="plain FFT", **_FFT)  # fmt: skip
        style.legend(ax)
    return ax


def _across(ax, gid, value, label, color, dash):
    style.line(ax, gid, [-1, 1], [value, value], color=color, linestyle=dash, linewidth=1.6, label=label)


@without_update
def plot_convolution_spectrum(data: ConvolutionClaims, *, ax: Axes | None = None) -> Axes:
    """Draw all singular values of a convolution against their rank, divided by their number.

    Args:
        data: `ConvolutionClaims` of `lipviz.measure`, with a spectrum.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.

    Raises:
        ValueError: If it has no spectrum.
    """
    if data.spectrum is None:
        raise ValueError("Expected a measurement with all singular values. Received one without: they are too many.")
    count = len(data.spectrum)
    with style.drawing(
        ax,
        title="Spectrum of the convolution",
        xlabel="rank over the number of singular values",
        ylabel="singular value (gain, no unit)",
    ) as ax:
        style.x_limits(ax, -0.02, 1.02)
        style.y_limits(ax, 0, style.round_number(1.1 * data.norm) if data.norm > 0 else 1.0)
        _across(ax, "kernel", data.kernel_norm, "kernel's matrix", style.GREY, ":")
        style.line(ax, "spectrum", (np.arange(count) + 1) / count, data.spectrum, color=style.BLUE, marker="o",
                   markevery=style.spread_markers(count, 0), markersize=4.5, linewidth=1.6,
                   label="convolution")  # fmt: skip
        style.legend(ax)
    return ax


@alt_text.register
def _(data: ConvolutionClaims):
    (height, width), (rows, columns), (inputs, outputs) = data.image, data.kernel_size, data.channels
    claims = "; ".join(
        f"{name} {style.number(after, 4)}{', too large' if lies else ''}"
        for name, after, lies in zip(data.methods, data.after, data.is_below_norm, strict=True)
    )
    lowest, highest = float(data.gains.min()), float(data.gains.max())
    lowest = 0.0 if lowest < _ROUNDING * highest else lowest
    return (
        f"A convolution of kernel {rows} × {columns}, {inputs} → {outputs} channels, strides "
        f"{data.strides[0]} × {data.strides[1]}, padding {data.padding}, on images of {height} × {width} has the norm "
        f"{style.number(data.norm, 5)}. Bars show its norm after division by what a method claims: {claims}. "
        f"Without a border its gain lies between {style.number(lowest)} and "
        f"{style.number(highest)} over the frequencies."
    )
