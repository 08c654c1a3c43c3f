"""Rendering of an explorer's figure, with a new choice of colours for images."""

import io

from matplotlib.figure import Figure

from lipviz.plots import LiveFigure, Picture
from lipviz.plots.rendering import chosen_palette


class ExplorerFigure(LiveFigure):
    """A `LiveFigure` that chooses the colours of a panel anew each time if the panel has images.

    Args:
        figure: See `LiveFigure`.
        all_colours: Whether pictures with images keep all their colours, at twice the time; otherwise they have 256.

    Attributes:
        latest: The panels that were rendered last.
    """

    def __init__(self, figure: Figure, all_colours: bool = False):
        super().__init__(figure)
        self._all_colours = all_colours
        self.latest: list[Picture] = []

    def panels(self, alt: str) -> list[Picture]:
        self.latest = super().panels(alt)
        return self.latest

    def _encoded(self, ax, image, palette):
        if not ax.images:
            return super()._encoded(ax, image, palette)
        if not self._all_colours:
            return super()._encoded(ax, image, chosen_palette(image))
        stream = io.BytesIO()
        image.save(stream, "png", compress_level=1)
        return stream.getvalue()
