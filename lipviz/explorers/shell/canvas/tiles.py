"""Images to pick from: a strip of tiles, with what a classifier says of each image."""

import functools
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from lipviz.explorers.shell.canvas.modules import joined
from lipviz.types import Array

_HERE = Path(__file__).parent
_SIDE = 32  # most pixels of a tile along an axis


@functools.cache
def _script():
    return joined(_HERE / "tiles.js")


class ImageTiles(anywidget.AnyWidget):
    """A control whose value is the place of an image in a strip, from 0. Places out of range become the nearest one.

    A reader picks an image by a click, a touch or the arrow keys. The tile under the pointer or with the focus says
    what is known of its image.

    Args:
        label: Text beside the strip.
        count: Number of images, at least 1.
        help_text: Tooltip of the label.

    Attributes:
        pictures: {"shape": [n, height, width, channels], "pixels": bytes}; empty as long as there are none.
        facts: {"order": number of the image at each place, int32; "predicted": class of each image, int32; "radii":
            certified radius of each image, float64; "labels": true class of each image, int32, or None}; all in bytes.
            Empty as long as nothing is known.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    value = traitlets.Int(0).tag(sync=True)
    max = traitlets.Int(0).tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)
    tooltip = traitlets.Unicode().tag(sync=True)
    pictures = traitlets.Dict().tag(sync=True)
    facts = traitlets.Dict().tag(sync=True)
    min, step = 0, 1  # as of a slider

    def __init__(self, label: str, count: int, help_text: str):
        style = (_HERE / "tiles.css").read_text(encoding="utf-8")
        super().__init__(_esm=_script(), _css=style, max=count - 1, description=label, tooltip=help_text)
        self.add_class("lipviz-tiles")

    @traitlets.validate("value")
    def _into_range(self, proposal):
        return min(max(proposal["value"], self.min), self.max)

    def show_images(self, images: Array) -> None:
        """Show images of shape (n, height, width) or (n, height, width, 3), each from its darkest to its brightest."""
        pixels = thumbnails(images)
        self.pictures = {"shape": list(pixels.shape), "pixels": pixels.tobytes()}

    def tell(self, order: Array, predicted: Array, radii: Array, labels: Array | None) -> None:
        """Say what is known of the images.

        Args:
            order: Number of the image at each place, of shape (n,).
            predicted: Predicted class of each image, of shape (n,).
            radii: Certified radius of each image, of shape (n,).
            labels: True class of each image, of shape (n,), or None.
        """
        self.facts = {
            "order": _integers(order),
            "predicted": _integers(predicted),
            "radii": np.asarray(radii, np.float64).tobytes(),
            "labels": None if labels is None else _integers(labels),
        }


def _integers(values: Any) -> bytes:
    return np.asarray(values, np.int32).tobytes()


def thumbnails(images: Array) -> Array:
    """Small versions of images, as bytes: means of squares of pixels, scaled from the least to the largest value.

    Args:
        images: Of shape (n, height, width) or (n, height, width, 3).

    Returns:
        uint8 array of shape (n, at most 32, at most 32, 1 or 3).
    """
    step = -(-max(images.shape[1:3]) // _SIDE)
    small = _means(_means(np.asarray(images, np.float32), 1, step), 2, step)
    small = small.reshape(*small.shape[:3], -1)
    low, high = (of(small, axis=(1, 2, 3), keepdims=True) for of in (np.min, np.max))
    return np.round(255 * (small - low) / np.where(high > low, high - low, 1)).astype(np.uint8)


def _means(values, axis, step):
    """Means of each `step` neighbours along an axis; of fewer at its end."""
    if step == 1:
        return values
    starts = np.arange(0, values.shape[axis], step)
    counts = np.diff(starts, append=values.shape[axis])
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    return np.add.reduceat(values, starts, axis) / counts.reshape(shape).astype(np.float32)
