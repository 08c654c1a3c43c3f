"""Letters that are drawn once, and stamped from then on: they are what costs time in a figure.

Matplotlib lays out and renders each text anew, glyph by glyph, which takes 3 to 10 ms for a line of words; to stamp
what it drew before takes 0.05 ms. Where a slider moves, nearly all texts have been there before: titles, labels,
legends, and most labels of ticks.
"""

import collections
import math

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg

_STAMPS = 400  # texts that a renderer keeps, about 15 kB each
_MARGIN = 8  # pixels around a text, for what letters put beyond their box


class LetterRenderer(RendererAgg):
    """Matplotlib's renderer of pixels, which keeps the texts that it drew last.

    Texts stand on whole pixels, so that one stamp fits wherever a text comes to stand: at most half a pixel from where
    other renderers put it.

    Args:
        width: Of the canvas, in pixels.
        height: Of the canvas, in pixels.
        dpi: Pixels an inch.
    """

    def __init__(self, width, height, dpi):
        super().__init__(width, height, dpi)
        self._stamps = collections.OrderedDict()

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        """Draw a text, or stamp it where it has been drawn before; see `RendererBase.draw_text`."""
        color = gc.get_rgb()
        is_special = mtext is not None and (mtext.get_fontfeatures() or mtext.get_language())
        if is_special or gc.get_alpha() != 1 or (len(color) == 4 and color[3] != 1) or not math.isfinite(x + y):
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        key = s, hash(prop), angle, ismath, tuple(color), gc.get_antialiased()
        if key not in self._stamps:
            self._stamps[key] = self._stamped(gc, s, prop, angle, ismath)
            if len(self._stamps) > _STAMPS:
                self._stamps.popitem(last=False)
        self._stamps.move_to_end(key)
        left, bottom, pixels = self._stamps[key]
        if pixels.size:
            self.draw_image(gc, round(x) + left, round(self.height - y) + bottom, pixels)

    def _stamped(self, gc, s, prop, angle, ismath):
        """Place of a text's lower left corner beside its anchor, and its pixels, the lowest row first."""
        width, height, _ = self.get_text_width_height_descent(s, prop, ismath)
        middle = math.ceil(width + height) + _MARGIN  # room for every angle
        sheet = RendererAgg(2 * middle, 2 * middle, self.dpi)
        ink = sheet.new_gc()
        ink.set_foreground(gc.get_rgb(), isRGBA=True)
        ink.set_antialiased(gc.get_antialiased())
        sheet.draw_text(ink, middle, middle, s, prop, angle, ismath)
        pixels = np.asarray(sheet.buffer_rgba())[::-1]
        rows, columns = (np.flatnonzero(pixels[..., 3].any(axis=axis)) for axis in (1, 0))
        if not rows.size:
            return 0, 0, pixels[:0, :0]
        low, left = rows[0], columns[0]
        return left - middle, low - middle, pixels[low : rows[-1] + 1, left : columns[-1] + 1].copy()
