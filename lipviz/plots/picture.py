"""A picture with words: what a notebook shows of a figure, in a live kernel or none."""

import base64
import dataclasses
import html
import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lipviz.plots.style import DPI


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG image with alternative text. As the last line of a cell, or in `display`, it shows itself.

    Attributes:
        png: The image.
        alt: What it shows, in words.
        width: Width on the page, in CSS pixels; it shrinks with a narrower page.
    """

    png: bytes = dataclasses.field(repr=False)
    alt: str
    width: int

    def to_html(self, style=""):
        """An `<img>` element that carries its image and its words.

        Args:
            style: Further CSS declarations.
        """
        data = base64.b64encode(self.png).decode("ascii")
        # `decoding=sync` shows a new image in the same frame in which the old one goes: no flicker.
        return (
            f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{data}" decoding="sync" '
            f'style="width:{self.width}px;max-width:100%;height:auto;{style}">'
        )

    def _repr_html_(self):
        return self.to_html()


def picture(figure, alt, sharpness=2):
    """Render a figure with its alternative text.

    Args:
        figure: `matplotlib.figure.Figure`, or Axes of one.
        alt: What it shows, in words; see `alt_text`.
        sharpness: Pixels of the image per CSS pixel of the page.

    Returns:
        A `Picture`.

    Raises:
        ValueError: If `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("A picture needs alternative text: say what it shows. Received: an empty string.")
    figure = getattr(figure, "figure", figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=sharpness * DPI)
    return Picture(stream.getvalue(), alt, round(figure.get_figwidth() * DPI))


class LiveFigure:
    """Renders one figure again and again, for sliders: what did not change since the last time is not drawn again.

    Text is what costs time in a figure. So everything but the artists of data (those with a `gid`, see `style.line`)
    is kept as a background, until limits or labels change.

    Args:
        figure: Figure of `new_figure`, at the resolution that pictures shall have.
    """

    def __init__(self, figure):
        self._figure = figure
        self._canvas = FigureCanvasAgg(figure)
        self._frame = self._background = self._palette = None

    def panels(self, alt):
        """Render the figure as it is now, cut into its panels, which a narrow page can then stack.

        Args:
            alt: What the figure shows, in words.

        Returns:
            A list with a `Picture` for each panel. The first has the words; the others have none to repeat.
        """
        pixels = self._pixels()
        images = np.split(pixels, _cuts(pixels.shape[1], len(self._figure.axes)), axis=1)
        width = round(self._figure.get_figwidth() * DPI / len(images))
        return [Picture(self._encoded(image), "" if i else alt, width) for i, image in enumerate(images)]

    def _pixels(self):
        artists = [artist for ax in self._figure.axes for artist in ax.get_children() if artist.get_gid()]
        for artist in artists:
            artist.set_animated(True)  # left out of the background, still in what `savefig` writes
        frame = [_frame(ax) for ax in self._figure.axes]
        is_new = frame != self._frame
        if is_new:
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self._figure.bbox)
            self._frame = frame
        self._canvas.restore_region(self._background)
        for artist in sorted(artists, key=lambda artist: artist.get_zorder()):
            artist.draw(self._canvas.get_renderer())
        pixels = np.asarray(self._canvas.buffer_rgba())[..., :3]
        if is_new:
            self._palette = _palette(Image.fromarray(pixels))
        return pixels

    def _encoded(self, pixels):
        stream = io.BytesIO()
        # With one byte a pixel, PNG takes a fifth of the time.
        image = Image.fromarray(pixels).quantize(palette=self._palette, dither=Image.Dither.NONE)
        image.save(stream, "png", compress_level=1)
        return stream.getvalue()


def _cuts(length, parts):
    return [round(i * length / parts) for i in range(1, parts)]


def _palette(image):
    """A palette image with the 256 colours of a picture, its background colour exact."""
    palette = image.quantize(method=Image.Quantize.FASTOCTREE)
    colors = palette.getpalette()
    corner = palette.getpixel((0, 0))
    colors[3 * corner : 3 * corner + 3] = image.getpixel((0, 0))
    palette.putpalette(colors)
    return palette


def _frame(ax):
    """What the background of an Axes depends on."""
    texts = (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel(), *(line.get_label() for line in ax.lines))
    return (ax.get_xlim(), ax.get_ylim(), ax.get_xscale(), ax.get_yscale(), texts)
