"""Make the thumbnails of explorers, which lists of them show.

python -m tools.thumbnails [NAME ...]

Draws for each explorer one panel of its first picture, without words, after its work if it has any. The images are
files of the package: see `Entry.thumbnail`. What an image shows is said in words by `Entry.shows`.
"""

import argparse
import io
import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from lipviz.explorers import static
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.registry import entries, find

SIZE = (480, 288)  # image pixels; cards show them at two thirds of it or less
MOST_BYTES = 12_000
_DPI = 150
_QUALITIES = (90, 80, 70, 60, 50, 40, 30, 20, 10)
_MARGIN = 0.03  # of the image, on each side, for marks at the edge


def drawn(explorer: Explorer, panel: int, part: tuple[float, float, float, float]) -> bytes:
    """Draw one panel of an explorer without words. Its figure is spoiled: afterwards, the explorer can only be closed.

    Args:
        explorer: An explorer that shows a picture.
        panel: Index of the panel.
        part: Left, bottom, right and top edge of what is shown of it, from 0 to 1.

    Returns:
        A WebP image of `SIZE`, of at most `MOST_BYTES`.
    """
    for index, ax in enumerate(explorer.figure.axes):
        ax.set_visible(index == panel)
    ax = explorer.figure.axes[panel]
    _drop_details(ax)
    _show_part(ax, *part)
    _fill(explorer.figure, ax)
    stream = io.BytesIO()
    explorer.figure.savefig(stream, format="png", dpi=_DPI)
    return _reduced(Image.open(stream))


def _drop_details(ax: Axes):
    """Hide words, and circles of which there are so many that a small image shows only noise."""
    ax.set_axis_off()
    for details in (*ax.findobj(Text), *ax.findobj(EllipseCollection), ax.get_legend(), *ax.child_axes):
        if details is not None:
            details.set_visible(False)


def _show_part(ax: Axes, left, bottom, right, top):
    to_data = (ax.transAxes + ax.transData.inverted()).transform
    (x0, y0), (x1, y1) = to_data((left, bottom)), to_data((right, top))
    ax.set_xlim(x0, x1)
    ax.set_ylim(y0, y1)


def _fill(figure: Figure, ax: Axes):
    """Give the panel the whole figure. What has an aspect is cut, not stretched."""
    width, height = (pixels / _DPI for pixels in SIZE)
    figure.set_size_inches(width, height)
    ax.set_position((_MARGIN, _MARGIN, 1 - 2 * _MARGIN, 1 - 2 * _MARGIN))
    if ax.get_aspect() == "auto":
        return
    ax.set_position((0, 0, 1, 1))
    ax.set_anchor("C")
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    half, middle = height / width * (right - left) / 2, (bottom + top) / 2
    if 2 * half < abs(top - bottom):
        ax.set_ylim(middle - half, middle + half) if bottom < top else ax.set_ylim(middle + half, middle - half)


def _reduced(image):
    """The image as a WebP file of at most `MOST_BYTES`, as good as that allows."""
    for quality in _QUALITIES:
        stream = io.BytesIO()
        image.convert("RGB").save(stream, "webp", quality=quality, method=6)
        if stream.tell() <= MOST_BYTES:
            break
    return stream.getvalue()


def write(folder: str | os.PathLike[str] | None = None, names: Sequence[str] = ()) -> None:
    """Write NAME.webp for each explorer.

    Args:
        folder: Folder of the files; None is that of the package.
        names: Short names of explorers; all by default.

    Raises:
        ValueError: If a name is unknown.
    """
    for entry in [find(name) for name in names] or entries():
        explorer = static.shown(entry)
        try:
            image = drawn(explorer, entry.panel, entry.part)
        finally:
            explorer.close()
        path = entry.thumbnail if folder is None else Path(folder, entry.thumbnail.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help="explorers; all by default")
    write(names=parser.parse_args().names)


if __name__ == "__main__":
    main()
