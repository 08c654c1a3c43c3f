"""A renderer that draws each text once, and then copies it: text takes most of the time to draw a figure.

Matplotlib lays out and renders each text anew, glyph by glyph, which takes 3 to 10 ms for a line of words. A copy takes
0.05 ms. When a slider moves, nearly all texts are the same as before: titles, labels, legends and most tick labels.
"""

import collections
import math
from collections.abc import Callable, Hashable
from typing import Any, Literal

import numpy as np
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text

from lipviz import _moved

_KEPT_TEXTS = 400  # texts that a renderer keeps, about 15 kB each
_KEPT_PIECES = 24  # larger pieces that it keeps, such as legends, about 40 kB each
_MARGIN = 8  # pixels around a text, for the parts of glyphs outside their box
_TABLES = (("OS/2", "sTypoAscender", "sTypoDescender", "sTypoLineGap"), ("hhea", "ascent", "descent", "lineGap"))


class CachedTextRenderer(RendererAgg):
    """Matplotlib's Agg renderer that also keeps the texts that it drew last.

    Texts are placed on whole pixels, so that a copy fits at every place. They are at most half a pixel away from where
    other renderers put them.

    Args:
        width: Width of the canvas, in pixels.
        height: Height of the canvas, in pixels.
        dpi: Pixels per inch.
    """

    def __init__(self, width: int, height: int, dpi: float):
        super().__init__(width, height, dpi)
        self._texts: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._pieces: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._heights: dict[int, tuple] = {}

    def _get_font_height_metrics(self, prop):
        """Ascent, descent and gap of a line, as `Text` finds them itself, but once for each font.

        A private hook of Matplotlib: if a renderer has it, Matplotlib calls it and does not search the font files. The
        search took half of the time of a known text. Without the hook all results are the same, only slower.
        """
        key = hash(prop)
        if key not in self._heights:
            self._heights[key] = _line_metrics(prop, self.dpi)
        return self._heights[key]

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: bool | Literal["TeX"] = False,
        mtext: Text | None = None,
    ) -> None:
        """Draw a text, or copy it if it was drawn before; see `RendererBase.draw_text`."""
        color = gc.get_rgb()
        is_special = mtext is not None and (mtext.get_fontfeatures() or mtext.get_language())
        if is_special or gc.get_alpha() != 1 or (len(color) == 4 and color[3] != 1) or not math.isfinite(x + y):
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        key = s, hash(prop), angle, ismath, tuple(color), gc.get_antialiased()
        pixels = _kept(self._texts, key, lambda: self._rendered(gc, s, prop, angle, ismath), _KEPT_TEXTS)
        self._paste(gc, pixels, round(x), round(self.height - y))

    def draw_once(self, key: Hashable, draw: Callable[["CachedTextRenderer"], None]) -> None:
        """Draw a piece of a picture, or copy it if it was drawn before at the same place.

        Args:
            key: Key of the piece: pieces that look the same have equal keys.
            draw: Function of a renderer that draws the piece on it.
        """
        self._paste(self.new_gc(), _kept(self._pieces, key, lambda: self._piece(draw), _KEPT_PIECES), 0, 0)

    def _piece(self, draw):
        canvas = CachedTextRenderer(int(self.width), int(self.height), self.dpi)
        canvas._texts, canvas._heights = self._texts, self._heights
        draw(canvas)
        return _cut_out(canvas)

    def _paste(self, gc, piece, x, y):
        left, bottom, pixels = piece
        if pixels.size:
            self.draw_image(gc, x + left, y + bottom, pixels)

    def _rendered(self, gc, s, prop, angle, ismath):
        """Offset of a text's lower left corner from its anchor, and its pixels, the lowest row first."""
        width, height, _ = self.get_text_width_height_descent(s, prop, ismath)
        middle = math.ceil(width + height) + _MARGIN  # enough for every angle
        canvas = RendererAgg(2 * middle, 2 * middle, self.dpi)
        context = canvas.new_gc()
        context.set_foreground(gc.get_rgb(), isRGBA=True)
        context.set_antialiased(gc.get_antialiased())
        canvas.draw_text(context, middle, middle, s, prop, angle, ismath)
        left, low, pixels = _cut_out(canvas)
        return left - middle, low - middle, pixels


def _kept(known, key, make, most):
    """An entry of an ordered dict, made if it is missing. Beyond `most` entries, the least recently used one goes."""
    if key not in known:
        known[key] = make()
        if len(known) > most:
            known.popitem(last=False)
    known.move_to_end(key)
    return known[key]


def _cut_out(canvas):
    """Left and lower end of what is drawn on a renderer, and its pixels, the lowest row first."""
    pixels = np.asarray(canvas.buffer_rgba())[::-1]
    rows, columns = (np.flatnonzero(pixels[..., 3].any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return 0, 0, pixels[:0, :0]
    low, left = rows[0], columns[0]
    return left, low, pixels[low : rows[-1] + 1, left : columns[-1] + 1].copy()


def _line_metrics(prop, dpi):
    """Ascent, descent and gap of a line in pixels, from the tables of the font; three times None if it has none."""
    font: Any = get_font(findfont(prop))  # each of its tables has a type of its own
    for table, ascent, descent, gap in _TABLES:
        values = font.get_sfnt_table(table)
        if values is not None:
            scale = prop.get_size_in_points() * dpi / 72 / font.get_sfnt_table("head")["unitsPerEm"]
            return values[ascent] * scale, -values[descent] * scale, values[gap] * scale
    return None, None, None


def __getattr__(name):
    return _moved.name_of(__name__, name)
