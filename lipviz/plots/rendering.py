"""Figures as PNG images with alternative text, as notebooks show them, with or without a live kernel."""

import base64
import dataclasses
import functools
import html
import io
import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox
from PIL import Image

from lipviz.plots.style import DPI, GREY, PALETTE, STAYS
from lipviz.plots.text_rendering import CachedTextRenderer

_FRAMES = 12  # backgrounds that a panel keeps, about 1.5 MB each
_STEPS = (7, 5, 3, 2)  # distances between sampled pixels, of which one is chosen
_SHADES, _SHADE_PIXELS = 5, 60


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG image with alternative text. As the last line of a cell, or in `display`, it shows itself.

    Attributes:
        png: The image.
        alt: What it shows, in words.
        width: Width on the page, in CSS pixels; a narrower page shrinks it.
        caption: Sentence below the image; empty for none.
    """

    png: bytes = dataclasses.field(repr=False)
    alt: str
    width: int
    caption: str = ""

    def to_html(self, style: str = "") -> str:
        """An `<img>` element that contains the image and its alternative text; with a caption, in a `<figure>`.

        Args:
            style: Further CSS declarations.
        """
        data = base64.b64encode(self.png).decode("ascii")
        # `decoding=sync` shows a new image in the same frame in which the old one goes: no flicker.
        image = (
            f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{data}" decoding="sync" '
            f'style="width:{self.width}px;max-width:100%;height:auto;{style}">'
        )
        if not self.caption:
            return image
        words = f"<figcaption>{html.escape(self.caption)}</figcaption>"
        return f'<figure style="margin:0;max-width:{self.width}px">{image}{words}</figure>'

    def _repr_html_(self):
        return self.to_html()


def picture(figure: Figure | Axes, alt: str, sharpness: float = 2, *, caption: str = "") -> Picture:
    """Render a figure with its alternative text.

    Args:
        figure: `matplotlib.figure.Figure`, or Axes of one.
        alt: What it shows, in words; see `alt_text`.
        sharpness: Pixels of the image per CSS pixel of the page.
        caption: Sentence below the picture that says what to see in it; none by default.

    Returns:
        A `Picture`.

    Raises:
        ValueError: If `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("A picture needs alternative text: say what it shows. Received: an empty string.")
    whole: Any = getattr(figure, "figure", figure)
    stream = io.BytesIO()
    whole.savefig(stream, format="png", dpi=sharpness * DPI)
    return Picture(stream.getvalue(), alt, round(whole.get_figwidth() * DPI), caption)


class LiveFigure:
    """Renders one figure many times, for sliders. What has not changed since the last time is not drawn again.

    Text takes most of the time to draw a figure, so each text is drawn once, see `CachedTextRenderer`. All of a panel
    except its data (the artists with a `gid`, see `style.line`) is its background. A background is kept for each set of
    limits, labels and artists without a `gid`. Only those that were used last are kept: a slider that moves back and
    forth needs them again.

    Args:
        figure: Figure of `new_figure`. Pictures have its resolution.
    """

    def __init__(self, figure: Figure):
        self._figure = figure
        self._canvas = FigureCanvasAgg(figure)
        width, height = self._canvas.get_width_height()
        # Not the renderer of the canvas, which writes files.
        self._renderer = CachedTextRenderer(width, height, figure.dpi)
        self._known: dict[Axes, dict[tuple, Any]] = {}

    def panels(self, alt: str) -> list[Picture]:
        """Render the present figure, cut into its panels, which a narrow page can stack.

        Args:
            alt: What the figure shows, in words.

        Returns:
            A list with a `Picture` for each panel. The first one has the alternative text; that of the others is empty.
        """
        boxes = self._boxes()
        for ax in self._figure.axes:
            for artist in ax.get_children():
                if artist.get_gid():
                    artist.set_animated(True)  # left out of the background, still in what `savefig` writes
        # All backgrounds first: what one panel draws beyond its box must not stay in another.
        kept = [self._background(ax, box) for ax, box in zip(self._figure.axes, boxes, strict=True)]
        width = round(self._figure.get_figwidth() * DPI / len(boxes))
        pictures: list[Picture] = []
        for ax, box, (background, palette) in zip(self._figure.axes, boxes, kept, strict=True):
            png = self._encoded(ax, self._drawn(ax, box, background), palette)
            pictures.append(Picture(png, "" if pictures else alt, width))
        return pictures

    def _boxes(self):
        """Part of the canvas that belongs to each Axes: columns of equal width."""
        width, height = self._canvas.get_width_height()
        edges = [round(i * width / len(self._figure.axes)) for i in range(len(self._figure.axes) + 1)]
        return [Bbox.from_extents(left, 0, right, height) for left, right in itertools.pairwise(edges)]

    def _background(self, ax, box):
        """The rendered Axes without their data, and the palette of their first picture."""
        known = self._known.setdefault(ax, {})
        frame = self._frame(ax)
        if frame in known:
            known[frame] = known.pop(frame)  # to the end: it was used last
            return known[frame]
        self._renderer.clear()
        self._figure.patch.draw(self._renderer)
        self._draw_all_but_data(ax)
        background = self._renderer.copy_from_bbox(box)
        known[frame] = background, chosen_palette(self._drawn(ax, box, background))
        if len(known) > _FRAMES:
            del known[next(iter(known))]
        return known[frame]

    def _draw_all_but_data(self, ax):
        legend = ax.get_legend()
        if not hasattr(legend, STAYS) or not legend.get_visible():
            ax.draw(self._renderer)
            return
        legend.set_animated(True)
        try:
            ax.draw(self._renderer)
        finally:
            legend.set_animated(False)
        self._renderer.draw_once((ax, _of_legend(legend), ax.get_position().bounds), legend.draw)

    def _drawn(self, ax, box, background):
        """The Axes as an image: data on background."""
        self._renderer.restore_region(background)
        ax.apply_aspect()  # a known background is not drawn again, and that is when Matplotlib does it
        moving = [artist for artist in ax.get_children() if artist.get_gid()]
        for artist in sorted(moving, key=lambda artist: artist.get_zorder()):
            artist.draw(self._renderer)
        pixels = np.ascontiguousarray(np.asarray(self._renderer.buffer_rgba())[:, int(box.x0) : int(box.x1)])
        # To leave out the fourth byte of each pixel takes NumPy ten times as long.
        return Image.frombytes("RGB", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGBX", 0, 1)

    def _frame(self, ax):
        """What the background of an Axes depends on."""
        texts = ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()
        fixed = (artist for artist in ax.get_children() if not artist.get_gid())
        # Artists are equal only to themselves.
        keys = (_of_legend(artist) if isinstance(artist, Legend) else artist for artist in fixed)
        return (ax.get_xlim(), ax.get_ylim(), ax.get_xscale(), ax.get_yscale(), texts, *keys)

    def _encoded(self, ax, image, palette):
        stream = io.BytesIO()
        # With one byte a pixel, PNG takes a fifth of the time.
        image.quantize(palette=palette, dither=Image.Dither.NONE).save(stream, "png", compress_level=1)
        return stream.getvalue()


def legend_words(legend: Legend) -> tuple[str, ...]:
    """The texts of a legend, entry by entry."""
    return tuple(text.get_text() for text in legend.get_texts())


def _of_legend(legend):
    """A key of a legend; legends that look the same have equal keys."""
    return legend_words(legend), getattr(legend, STAYS, None)


def chosen_palette(image: Image.Image) -> Image.Image:
    """A palette image with 256 colours for an image; the background colour is exact.

    The colours are those of the image, and those of the style, which the next picture on this background may need.
    """
    pixels = np.asarray(image).reshape(-1, 3)
    # Some pixels have all colours, and take less time. In each row they are other columns, so that no line is missed.
    step = next((step for step in _STEPS if image.width % step), 1)
    sample = Image.fromarray(np.concatenate([pixels[::step], _shades()])[None])
    palette = sample.quantize(method=Image.Quantize.FASTOCTREE)
    colors = palette.getpalette() or []
    corner = int(np.asarray(palette)[0, 0])
    colors[3 * corner : 3 * corner + 3] = pixels[0].tolist()
    palette.putpalette(colors)
    return palette


@functools.cache
def _shades():
    """The colours of the style on white, from half to full, each as often as in a short line: of shape (n, 3).

    Paler ones would replace colours that are nearly white, such as the edges of grid lines.
    """
    full = 255 * np.array([to_rgb(color) for color in (*PALETTE, GREY)])
    shares = np.linspace(0.5, 1, _SHADES)[:, None, None]
    shades = (255 - shares * (255 - full)).round().astype(np.uint8)
    return np.repeat(shades.reshape(-1, 3), _SHADE_PIXELS, axis=0)
