"""Rendering of an explorer's figure: as fast as `LiveFigure`, and safe for whatever an explorer draws."""

import io

from matplotlib.legend import Legend

from lipviz.plots import LiveFigure
from lipviz.plots.picture import chosen_palette, legend_words


class ExplorerFigure(LiveFigure):
    """A `LiveFigure` that draws a background again when an artist without a `gid` has come or gone, and chooses the
    colours of a picture anew where there are images.

    Args:
        figure: See `LiveFigure`.
        all_colours: Whether pictures with images keep all their colours, at twice the time; otherwise they have 256.
    """

    def __init__(self, figure, all_colours=False):
        super().__init__(figure)
        self._all_colours = all_colours

    def _frame(self, ax):
        fixed = (artist for artist in ax.get_children() if not artist.get_gid())
        # Artists are equal only to themselves.
        keys = (legend_words(artist) if isinstance(artist, Legend) else artist for artist in fixed)
        return *super()._frame(ax), *keys

    def _encoded(self, ax, image, palette):
        if not ax.images:
            return super()._encoded(ax, image, palette)
        if not self._all_colours:
            return super()._encoded(ax, image, chosen_palette(image))
        stream = io.BytesIO()
        image.save(stream, "png", compress_level=1)
        return stream.getvalue()
