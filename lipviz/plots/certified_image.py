"""One image with its gradient and its attacked twin; its logits; and where it lies among all certificates."""

import numpy as np
from matplotlib.colors import Normalize

from lipviz.measure.certified_image import CertifiedImage
from lipviz.plots import style
from lipviz.plots.alt import alt_text
from lipviz.plots.fields import DIVERGING

_STEP_X, _STEP_Y = 1.95, 1.24  # distances of the tiles, whose side is 1: beside each there is room for its caption
_TILES = ("image", "gradient", "attacked", "change")


def plot_certified_image(data, *, ax=None, update=False):
    """Draw an image, the gradient of its margin, and below them what an attack made of it and what it changed.

    Blue is where a larger value lowers, vermillion where it raises; each of these maps has its own scale, the same to
    both sides of 0.

    Args:
        data: `CertifiedImage` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.
        update: Replace what an earlier call drew on the same Axes.

    Returns:
        The Axes.
    """
    if not update:
        ax = style.prepared(ax, title="The image", xlabel="", ylabel="")
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_aspect("equal", adjustable="box", anchor="W")
    else:
        for artist in [artist for artist in ax.get_children() if artist.get_gid()]:
            artist.remove()
    for place, (gid, values, caption) in enumerate(zip(_TILES, _values(data), _captions(data), strict=True)):
        left, top = (place % 2) * _STEP_X, (place // 2) * _STEP_Y
        ax.text(left, top - 0.03, caption, fontsize=style.SMALL, va="bottom", gid=f"caption {gid}")
        if values is not None:
            look = _signed(values) if gid in ("gradient", "change") else _grey(values, data.image)
            ax.imshow(extent=(left, left + 1, top + 1, top), interpolation="nearest", gid=gid, **look)
    ax.set_xlim(-0.02, 2 * _STEP_X)
    ax.set_ylim(_STEP_Y + 1.02, -0.16)
    return ax


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
        return {"X": np.clip((values - low) / ((high - low) or 1.0), 0, 1)}
    return {"X": values, "cmap": "gray", "norm": Normalize(low, high if high > low else low + 1.0)}


def _signed(values):
    values = values if values.ndim == 2 else values.sum(axis=-1)
    limit = float(np.abs(values).max()) or 1.0
    return {"X": values, "cmap": DIVERGING, "norm": Normalize(-limit, limit)}


def plot_class_distances(data, *, ax=None, update=False):
    """Draw how far the image is certified to be from each other class, and ε: the smallest is the certified radius.

    Args:
        data: `CertifiedImage` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.
        update: Move what an earlier call drew on the same Axes.

    Returns:
        The Axes.
    """
    count = len(data.distances)
    if not update:
        ax = style.prepared(
            ax, title="Certified distance to each class", xlabel="class", ylabel="distance (l2, units of the input)"
        )
        ax.set_xlim(-0.6, count - 0.4)
        style.whole_ticks(ax)
    classes = np.arange(count)
    finite = np.where(np.isfinite(data.distances), data.distances, np.nan)
    others = classes != data.predicted
    stems = np.full((count, 3), np.nan)
    stems[others, 0], stems[others, 1] = 0, finite[others]
    look = {"color": style.BLUE, "linewidth": 5, "alpha": 0.35, "label": "_stems", "solid_capstyle": "butt"}
    style.line(ax, "stems", np.repeat(classes, 3), stems.ravel(), update=update, zorder=2, **look)
    look = {"color": style.BLUE, "marker": "o", "linestyle": "none", "markersize": 6, "label": "distance"}
    style.line(ax, "distances", classes[others], finite[others], update=update, zorder=3, **look)
    look = {"color": style.BLACK, "marker": "D", "linestyle": "none", "markersize": 7, "label": "decision"}
    style.line(ax, "decision", [data.predicted], [0.0], update=update, zorder=4, **look)
    look = {"color": style.VERMILLION, "linestyle": "--", "linewidth": 1.6, "label": "ε"}
    style.line(ax, "epsilon", [-0.6, count - 0.4], [data.epsilon] * 2, update=update, zorder=1, **look)
    top = 1.06 * max(data.reach, data.epsilon)
    ax.set_ylim(-0.04 * top, top)
    if not update:
        style.legend(ax)
    return ax


def plot_certified_curve(data, *, ax=None, update=False):
    """Draw certified accuracy against ε, with marks at ε, at the radius of the image, and at what an attack needed.

    Args:
        data: `CertifiedImage` of `lipviz.measure`.
        ax: Axes to draw on; None makes a figure.
        update: Move what an earlier call drew on the same Axes.

    Returns:
        The Axes.
    """
    if not update:
        ax = style.prepared(
            ax,
            title="Certified accuracy of all images",
            xlabel="size ε of the change (l2 norm, units of the input)",
            ylabel="share of images (no unit)",
        )
        ax.set_ylim(-0.02, 1.02)
    curve = data.curve
    epsilons, shares = ([], []) if curve is None else (curve.epsilons, curve.certified)
    found = data.found if data.found is not None and np.isfinite(data.found) else np.nan
    marks = (
        ("epsilon", data.epsilon, "ε", style.VERMILLION, "--", ""),
        ("radius", data.radius, "radius", style.BLACK, "-", ""),
        ("found", found, "attack", style.GREEN, ":", "s"),
    )
    look = {"color": style.BLUE, "marker": "o", "markersize": 4, "linewidth": 1.6, "label": "certified"}
    style.line(
        ax, "certified", epsilons, shares, update=update, markevery=style.spread_markers(len(epsilons) or 1, 0), **look
    )
    for gid, place, label, color, dash, marker in marks:
        look = {"color": color, "linestyle": dash, "marker": marker, "linewidth": 1.6, "label": label}
        style.line(ax, gid, [place, place], [0, 1], update=update, **look)
    # One frame for all images.
    end = max(data.reach if curve is None else epsilons[-1], data.epsilon, 0.0 if np.isnan(found) else found)
    ax.set_xlim(-0.02 * end, 1.04 * end)
    if not update:
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
    if data.curve is not None:
        share = float(np.interp(data.epsilon, data.curve.epsilons, data.curve.certified))
        words += f". Right, certified accuracy: {style.number(share)} at ε = {style.number(data.epsilon)}"
    if data.attack is not None:
        changed = data.attack.success[0]
        words += f". An attack {'changed the decision to' if changed else 'left the decision at'} class "
        words += f"{data.attack.after[0]} by a change of norm {style.number(float(data.attack.distances[0]))}"
    return words + "."
