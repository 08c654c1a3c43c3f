"""Plots of images with their saliency maps, and with their adversarial examples."""

import contextlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lipviz.measure.saliency_maps import AdversarialPairs, Saliency
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.fields import DIVERGING, colour_scale

_GAP = 0.08  # between tiles, whose width is 1
_TILE = 1.25  # inches
_MOST = 8


@without_update
def plot_saliency(data: Saliency, *, ax: Axes | None = None, most: int = _MOST, title: str | None = None) -> Axes:
    """Draw images above the gradients of their scores.

    A larger pixel value lowers the score where the gradient is blue, and raises it where it is vermillion. All
    gradients have one scale, symmetric about 0.

    Args:
        data: `Saliency` of `lipviz.measure`, of images of shape (height, width), or with 1 or 3 channels last. The
            channels of gradients are summed.
        ax: Axes to draw on; None makes a figure that is wide enough for the images.
        most: Number of images to show, the first ones.
        title: Title, such as the network's name; by default it says what is drawn.

    Returns:
        The Axes.

    Raises:
        ValueError: If the samples are not images.
    """
    images, maps = _images(data.inputs[:most]), _images(data.maps[:most])
    maps = maps if maps.ndim == 3 else maps.sum(axis=-1)
    title = title or ("Where the margin comes from" if data.rivals is not None else "Where the logit comes from")
    captions = [_saliency_caption(data, place) for place in range(len(images))]
    with _tiles(ax, title, ("image", "gradient"), captions, images) as ax:
        _draw(ax, 0, images, "image")
        _draw_signed(ax, 1, maps, "map", "gradient of the score (per unit of the input)", rows=2)
    return ax


@without_update
def plot_adversarial_pairs(
    data: AdversarialPairs,
    *,
    ax: Axes | None = None,
    most: int = _MOST,
    title: str | None = None,
) -> Axes:
    """Draw images, the attacked images and the changes, with the size of each change below it.

    Args:
        data: `AdversarialPairs` of `lipviz.measure`, of images, see `plot_saliency`.
        ax: Axes to draw on; None makes a figure that is wide enough for the images.
        most: Number of images to show, the first ones.
        title: Title, such as the network's name; by default it says what is drawn.

    Returns:
        The Axes.

    Raises:
        ValueError: If the samples are not images.
    """
    images, attacked, changes = (_images(part[:most]) for part in (data.inputs, data.attacked, data.changes))
    changes = changes if changes.ndim == 3 else changes.sum(axis=-1)
    captions = [_pair_caption(data, place) for place in range(len(images))]
    title = title or "Images and adversarial examples"
    limits = float(images.min()), float(images.max())
    with _tiles(ax, title, ("image", "attacked", "change"), captions, images) as ax:
        _draw(ax, 0, images, "image", limits)
        _draw(ax, 1, attacked, "attacked", limits)
        _draw_signed(ax, 2, changes, "change", "change (units of the input)", rows=3)
    return ax


def _saliency_caption(data, place):
    minus = " − " if data.class_names is None else "\n− "  # names may be long
    rival = "" if data.rivals is None else f"{minus}{data.name(data.rivals[place])}"
    return f"{_class(data, data.classes[place])}{rival}\nnorm {style.number(data.norms[place])}"


def _class(data, number):
    return f"class {number}" if data.class_names is None else data.name(number)


def _pair_caption(data, place):
    before, after = data.name(data.before[place]), data.name(data.after[place])
    if data.class_names is not None:  # names may be long
        after = f"\n{after}"
    change = f"{before} → {after}" if data.success[place] else f"{before}, withstood"
    certified = "" if data.radii is None else f"certified {style.number(data.radii[place])}\n"
    verb = "attack" if data.success[place] else "tried"
    return f"{change}\n{certified}{verb} {style.number(data.distances[place])}"


# --- tiles ---


def _images(samples):
    """Images of shape (n, height, width), or with three channels.

    Raises:
        ValueError: If they are none.
    """
    if samples.ndim == 4 and samples.shape[-1] == 1:
        samples = samples[..., 0]
    if samples.ndim not in (3, 4) or (samples.ndim == 4 and samples.shape[-1] != 3):
        raise ValueError(
            "Expected images of shape (n, height, width), (n, height, width, 1) or (n, height, width, 3). "
            f"Received shape: {samples.shape}"
        )
    return samples


@contextlib.contextmanager
def _tiles(ax, title, names, captions, images):
    """A `style.drawing` of rows of tiles, the first row at the top: names at the left, captions below."""
    ratio = images.shape[1] / images.shape[2]
    width, height = len(images) * (1 + _GAP) - _GAP, len(names) * (ratio + _GAP) - _GAP
    if ax is None:
        size = (max(4.6, _TILE * width + 2.2), _TILE * height + 1.5)
        ax = Figure(figsize=size, dpi=style.DPI, layout="constrained").add_subplot()
    setup = (style.bare_tiles, style.equal_aspect, _no_ticks)
    with style.drawing(ax, title=title, xlabel="", ylabel="", setup=setup) as ax:
        style.x_limits(ax, 0, width)
        style.y_limits(ax, height, 0)
        ax.set_xticks(np.arange(len(images)) * (1 + _GAP) + 0.5, captions, fontsize=style.SMALL)
        ax.set_yticks(np.arange(len(names)) * (ratio + _GAP) + ratio / 2, names, fontsize=style.TEXT)
        yield ax


def _no_ticks(ax):
    ax.tick_params(length=0)


def _draw(ax, row, images, gid, limits=None, cmap="gray"):
    """Draw a row of images; grey ones between limits, by default those of the images."""
    ratio = images.shape[1] / images.shape[2]
    low, high = (float(images.min()), float(images.max())) if limits is None else limits
    look = {"cmap": cmap, "limits": (low, high if high > low else low + 1.0)}
    if images.ndim == 4:  # colours have no scale of their own
        images, look = np.clip((images - low) / ((high - low) or 1.0), 0, 1), {}
    top = row * (ratio + _GAP)
    for place, image in enumerate(images):
        left = place * (1 + _GAP)
        style.image(ax, f"{gid} {place}", image, (left, left + 1, top + ratio, top), **look)


def _draw_signed(ax, row, maps, gid, label, rows):
    limit = float(np.abs(maps).max()) or 1.0
    norm = Normalize(-limit, limit)
    _draw(ax, row, maps, gid, (-limit, limit), DIVERGING)
    # As high as its row.
    height = 1 / rows
    place = (1.02, (rows - 1 - row) * height + 0.02, 0.02, height - 0.04)
    scale = colour_scale(ax, DIVERGING, norm, label, place, style.SMALL)
    scale.set_yticks([-limit, 0, limit], [style.number(value, 2) for value in (-limit, 0.0, limit)])


# --- words ---


@alt_text.register
def _(data: Saliency):
    what = "logit" if data.rivals is None else "margin"
    return (
        f"{len(data)} images and the gradients of their {what} with respect to each pixel. Norms of the gradients: "
        f"from {style.number(float(data.norms.min()))} to {style.number(float(data.norms.max()))}."
    )


@alt_text.register
def _(data: AdversarialPairs):
    words = []
    for place in range(len(data)):
        before = _class(data, data.before[place])
        result = (
            f"{before} becomes {data.name(data.after[place])} by a change of norm"
            if data.success[place]
            else f"{before} withstood a change of norm"
        )
        certified = "" if data.radii is None else f", certified up to {style.number(float(data.radii[place]))}"
        words.append(f"sample {data.indices[place]}: {result} {style.number(float(data.distances[place]))}{certified}")
    return f"{len(data)} images beside their adversarial examples. " + "; ".join(words) + "."
