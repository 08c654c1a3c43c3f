"""Rendering of an explorer's figure: as fast as `LiveFigure`, and safe for whatever an explorer draws."""

import io

from matplotlib.legend import Legend
from PIL import Image

from lipviz.plots import LiveFigure
from lipviz.plots.picture import _palette as chosen_palette


class ExplorerFigure(LiveFigure):
    """A `LiveFigure` whose background is drawn again when an artist without a `gid` has come or gone, and whose
    pictures choose their colours anew where there are images.

    Args:
        figure: See `LiveFigure`.
        all_colours: Whether pictures with images keep all their colours, at twice the time; otherwise they have 256.
    """

    def __init__(self, figure, all_colours=False):
        super().__init__(figure)
        self._fixed, self._all_colours = [], all_colours

    def panels(self, alt):
        """See `LiveFigure.panels`."""
        artists = (artist for ax in self._figure.axes for artist in ax.get_children() if not artist.get_gid())
        fixed = [_words(artist) if isinstance(artist, Legend) else artist for artist in artists]
        if fixed != self._fixed:  # artists are equal only to themselves
            self._frame, self._fixed = None, fixed
        return super().panels(alt)

    def _encoded(self, pixels):
        if not any(ax.images for ax in self._figure.axes):
            return super()._encoded(pixels)
        if self._all_colours:
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "png", compress_level=1)
            return stream.getvalue()
        self._palette = chosen_palette(Image.fromarray(pixels))
        return super()._encoded(pixels)


def _words(legend):
    """What a legend says: one that says the same looks the same, and takes time to draw."""
    return tuple(text.get_text() for text in legend.get_texts())
