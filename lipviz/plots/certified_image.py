"""Plots of one image with its gradient and attack, its certified distances, and the certificates of all images."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure.certified_image import BOUNDS, CertifiedImage
from lipviz.plots import style
from lipviz.plots.activation_shapes import note
from lipviz.plots.alt import alt_text
from lipviz.plots.deprecation import without_update
from lipviz.plots.fields import DIVERGING

_STEP = (1.7, 1.17)  # distances of the four tiles, whose side is 1; the rest is room for captions
_STEP_OF_TWO = (1.08, 0.0)
_STEMS: dict[str, Any] = {
    "color": style.ROLES["certified"]["color"],
    "linewidth": 5,
    "alpha": 0.35,
    "label": "_stems",
    "solid_capstyle": "butt",
    "zorder": 2,
}
_DOTS: dict[str, Any] = {"linestyle": "none"}
_DISTANCES: dict[str, Any] = style.role("certified", markersize=6, label="distance", zorder=3, **_DOTS)
_DECISION: dict[str, Any] = style.role("chosen", markersize=7, label="decision", zorder=4, **_DOTS)
_EPSILON: dict[str, Any] = style.role("limit", linewidth=1.6, label="ε", zorder=1)
_CERTIFIED: dict[str, Any] = style.role("certified", markersize=4, linewidth=1.6, label="certified")
_TILES = ("image", "gradient", "attacked", "change")


@without_update
def plot_certified_image(data: CertifiedImage, *, ax: Axes | None = None) -> Axes:
    """Draw an image and the gradient of its margin, and below them the attacked image and the change.

    In the gradient and in the change, negative values are blue and positive ones vermillion. Each of the two has a
    scale of its own, symmetric about 0. A larger pixel value lowers the margin where the gradient is blue.

    Args:
        data: `CertifiedImage` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    with style.drawing(ax, title="The image", xlabel="", ylabel="", setup=(style.bare_tiles, _at_the_left)) as ax:
        right, below = _STEP_OF_TWO if data.attack is None else _STEP
        for place, (gid, values, caption) in enumerate(zip(_TILES, _values(data), _captions(data), strict=True)):
            left, top = (place % 2) * right, (place // 2) * below
            look = {"va": "bottom", "transform": ax.transData, "zorder": 3}
            note(ax, f"caption {gid}", caption, left, _of_caption(data, gid, top), **look)
            if values is not None:
                look = _signed(values) if gid in ("gradient", "change") else _grey(values, data.image)
                style.image(ax, gid, extent=(left, left + 1, top + 1, top), **look)
        is_alone = data.attack is None and data.saliency is None  # during training
        style.x_limits(ax, -0.02, right if is_alone else 2 * right)
        style.y_limits(ax, below + (1.16 if data.attack is None else 1.02), -0.12)
        style.fill_panel(ax)
    return ax


def _at_the_left(ax):
    ax.set_aspect("equal", adjustable="box", anchor="NW")


def _of_caption(data, gid, top):
    """Height of a caption: above its tile, or below the image where there is no attacked one."""
    return 1.14 if data.attack is None and gid == "attacked" else top - 0.03


def _values(data):
    return data.image, data.saliency, data.attacked, data.change


def _captions(data):
    truth = "" if data.label is None else f", label {data.label}"
    gradient = "" if data.saliency is None else f"gradient ({data.predicted} − {data.rival})"
    captions = [f"no. {data.index}: class {data.predicted}{truth}", gradient]
    if data.attack is None:
        return [*captions, "not attacked yet: Start", ""]
    verdict = f"class {data.attack.after[0]}" if data.attack.success[0] else f"still class {data.attack.after[0]}"
    return [*captions, f"attacked: {verdict}", f"change, norm {style.number(float(data.attack.distances[0]))}"]


def _grey(values, image):
    low, high = float(image.min()), float(image.max())
    if values.ndim == 3:
        return {"pixels": np.clip((values - low) / ((high - low) or 1.0), 0, 1)}
    return {"pixels": values, "cmap": "gray", "limits": (low, high if high > low else low + 1.0)}


def _signed(values):
    values = values if values.ndim == 2 else values.sum(axis=-1)
    limit = float(np.abs(values).max()) or 1.0
    return {"pixels": values, "cmap": DIVERGING, "limits": (-limit, limit)}


@without_update
def plot_class_distances(data: CertifiedImage, *, ax: Axes | None = None) -> Axes:
    """Draw the certified distance of an image to each other class, and ε. The smallest is the certified radius.

    Args:
        data: `CertifiedImage` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    count = len(data.distances)
    classes = np.arange(count)
    finite = np.where(np.isfinite(data.distances), data.distances, np.nan)
    others = classes != data.predicted
    stems = np.full((count, 3), np.nan)
    stems[others, 0], stems[others, 1] = 0, finite[others]
    top = 1.06 * max(data.reach, data.epsilon)
    labels = {"xlabel": "class", "ylabel": "distance (l2, units of the input)"}
    with style.drawing(ax, title="Certified distance to each class", **labels, setup=(style.whole_ticks,)) as ax:
        style.line(ax, "stems", np.repeat(classes, 3), stems.ravel(), **_STEMS)
        style.line(ax, "distances", classes[others], finite[others], **_DISTANCES)
        style.line(ax, "decision", [data.predicted], [0.0], **_DECISION)
        style.line(ax, "epsilon", [-0.6, count - 0.4], [data.epsilon] * 2, **_EPSILON)
        style.x_limits(ax, -0.6, count - 0.4)
        style.y_limits(ax, -0.04 * top, top)
        style.legend(ax)
    return ax


@without_update
def plot_certified_curve(data: CertifiedImage, *, ax: Axes | None = None) -> Axes:
    """Draw certified accuracy against ε, with marks at ε, the radius of the image, and the change of an attack.

    Args:
        data: `CertifiedImage` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    curve = data.curve
    epsilons, shares = (np.zeros(0), np.zeros(0)) if curve is None else (curve.epsilons, curve.certified)
    found = data.found if data.found is not None and np.isfinite(data.found) else np.nan
    marks = (
        ("epsilon", data.epsilon, "ε", style.role("limit")),
        ("radius", data.radius, "radius", style.role("certified", marker="", linewidth=3.0)),
        ("found", found, "attack", style.role("attack")),
    )
    # The limits are the same for all images, unless something lies beyond them.
    end = max(data.reach if curve is None else epsilons[-1], data.epsilon, 0.0 if np.isnan(found) else found)
    if data.bound == "local" and np.isfinite(data.radius):
        end = max(end, data.radius)
    with style.drawing(
        ax,
        title="Certified accuracy of all images",
        xlabel="size ε of the change (l2 norm, units of the input)",
        ylabel="share of images (no unit)",
    ) as ax:
        every = style.spread_markers(len(epsilons) or 1, 0)
        style.line(ax, "certified", epsilons, shares, markevery=every, **_CERTIFIED)
        for gid, place, label, look in marks:
            style.line(ax, gid, [place, place], [0, 1], label=label, **{"linewidth": 1.6, **look})
        style.x_limits(ax, -0.02 * end, 1.04 * end)
        style.y_limits(ax, -0.02, 1.02)
        style.legend(ax, columns=4)
    return ax


@alt_text.register
def _(data: CertifiedImage):
    truth = "" if data.label is None else f", label {data.label}"
    words = (
        f"Three panels for image {data.index}: class {data.predicted}{truth}. Left, the image and the gradient of its "
        f"margin over class {data.rival}. Middle, certified distances to the other classes, the smallest "
        f"{style.number(data.radius)} to class {data.rival}"
    )
    if data.bound != "auto":
        words += f", by {BOUNDS[data.bound]}"
    if data.curve is not None:
        share = float(np.interp(data.epsilon, data.curve.epsilons, data.curve.certified))
        words += f". Right, certified accuracy: {style.number(share)} at ε = {style.number(data.epsilon)}"
    if data.attack is not None:
        changed = data.attack.success[0]
        words += f". An attack {'changed the decision to' if changed else 'left the decision at'} class "
        words += f"{data.attack.after[0]} by a change of norm {style.number(float(data.attack.distances[0]))}"
    return words + "."
