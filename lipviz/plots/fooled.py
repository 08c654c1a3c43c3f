"""An image, and the changed images by which attacks try to fool two networks, side by side."""

import numpy as np
from matplotlib.axes import Axes

from lipviz.measure.fooled import FooledImage
from lipviz.plots import style
from lipviz.plots.activation_shapes import note
from lipviz.plots.alt import alt_text

_VERDICTS = {True: ("✗ fooled: ", style.VERMILLION), False: ("✓ still: ", style.BLUE)}


def plot_fooled_image(data: FooledImage, place: int | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw an image with its class, or what an attack on one network makes of it, with the decision of that network.

    Args:
        data: `FooledImage` of `lipviz.measure`.
        place: Number of the network; None draws the unchanged image.
        ax: Axes to draw on; None makes a figure.

    Returns:
        The Axes.
    """
    network = None if place is None else data.networks[place]
    title = "The image" if network is None else f"{network.name[:1].upper()}{network.name[1:]} network"
    with style.drawing(ax, title=title, xlabel="", ylabel="", setup=(style.bare_tiles, _square)) as ax:
        pixels = data.image if network is None else network.image
        style.image(ax, "image", pixels, (0, 1, 1, 0), cmap="gray", limits=(0.0, 1.0))
        words, color = _verdict(data, place)
        look = {"va": "top", "transform": ax.transData, "fontsize": style.TEXT}
        note(ax, f"verdict {color}", words, 0, 1.02, color=color, **look)
        note(ax, "length", _length(data, place), 0, 1.11, va="top", transform=ax.transData)
        style.x_limits(ax, -0.01, 1.01)
        style.y_limits(ax, 1.2, -0.01)
        style.fill_panel(ax)
    return ax


def _square(ax):
    ax.set_aspect("equal", adjustable="box", anchor="NW")


def _verdict(data, place):
    if place is None:
        return data.name(data.label), "black"
    words, color = _VERDICTS[data.is_fooled(place)]
    return words + data.name(data.networks[place].predicted), color


def _length(data, place):
    if place is None:
        return f"its length is {style.number(data.norm, 3)}"
    return f"changed by a length of {style.number(data.networks[place].length, 3)}"


@alt_text.register
def _(data: FooledImage):
    words = f"Three pictures of no. {data.index}. Left: {data.name(data.label)}, unchanged. "
    for place, side in enumerate(("Middle", "Right")):
        network = data.networks[place]
        after = f"decides for {data.name(network.predicted)}" if data.is_fooled(place) else "still decides rightly"
        change = np.abs(network.image - data.image).max()
        words += (
            f"{side}: the image that the attack on the network '{network.name}' has changed by a length of "
            f"{style.number(network.length, 3)}, no grey level by more than {style.number(change, 2)}; the network "
            f"{after}. "
        )
    return words.strip()
