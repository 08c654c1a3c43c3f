"""Draws a picture repeatedly on the same Axes: artists are moved where they stay, and removed where they do not.

A plot draws all of its picture each time, in the same order, inside `style.drawing`. Its artists are compared, one by
one, with those of the last time, and moved as long as they are the same ones. From the first other one on, all are made
anew. So a picture on used Axes is the same as on new Axes, and a slider only moves artists.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox

from lipviz import _moved

_ATTRIBUTE = "lipviz_drawn"  # attribute of an Axes
_Artist = TypeVar("_Artist")


def drawn_on(ax: Axes) -> "DrawnArtists":
    """The `DrawnArtists` of an Axes, made at the first call."""
    if not hasattr(ax, _ATTRIBUTE):
        setattr(ax, _ATTRIBUTE, DrawnArtists(ax))
    return getattr(ax, _ATTRIBUTE)


@contextlib.contextmanager
def kept_limits(figure: Figure) -> Iterator[None]:
    """Keep the limits of all Axes of a figure while plots draw on them again: those that a plot sets have no effect.

    Axes on which another plot is drawn get its limits.
    """
    for ax in figure.axes:
        drawn_on(ax).keeps_limits = True
    try:
        yield
    finally:
        for ax in figure.axes:
            drawn_on(ax).keeps_limits = False


def artist(
    ax: Axes, key: object, make: Callable[[], _Artist], move: Callable[[_Artist], None] | None = None
) -> _Artist:
    """Draw an artist, or move the one that is already at this place of the drawing.

    Args:
        ax: Axes.
        key: What stays the same: kind, name and look. An artist with an equal key is moved; with None it is made anew.
        make: Function of no arguments that draws the artist, and returns it.
        move: Function of the artist that gives it its new data; None if `key` determines all of it.

    Returns:
        The artist.
    """
    return drawn_on(ax).draw(key, make, move)


@dataclasses.dataclass(frozen=True)
class _Piece:
    key: object
    artist: Any

    def serves(self, key, ax):
        """Whether the artist has this key and is still on the Axes, so that it may be moved."""
        return _are_equal(self.key, key) and self.is_on(ax)

    def is_on(self, ax):
        return self.artist.axes is ax or self.artist in ax.child_axes


def _are_equal(one, other):
    try:
        return bool(one == other)
    except ValueError:  # the look holds arrays: the artist is made anew, which is right as well
        return False


class DrawnArtists:
    """What lipviz has drawn on an Axes, in order. What other code draws there stays until another plot is drawn.

    Args:
        ax: Axes.

    Attributes:
        setup: The functions that set up the Axes, see `style.drawing`.
        title_pad: Distance of the title of this drawing from the Axes, in points.
        shown_pad: Distance of the title that is shown, in points.
        legend_key: Key of the present legend; legends that look the same have equal keys.
        keeps_limits: Whether the limits stay as they are, see `kept_limits`.
    """

    def __init__(self, ax: Axes):
        self.setup: Sequence[Callable[[Axes], None]] | None = None
        self.title_pad: float | None = None
        self.shown_pad: float | None = None
        self.legend_key: object = None
        self.keeps_limits = False
        self._ax = ax
        self._title_of_clear: object = None
        self._pieces: list[_Piece] = []
        self._place: int | None = None
        self._legend: Legend | None = None
        self._box: Bbox | None = None
        self._has_legend = self._is_moved = False

    # --- a drawing ---

    @property
    def is_drawing(self) -> bool:
        """Whether a drawing has begun and not ended."""
        return self._place is not None

    def begin(self, setup: Sequence[Callable[[Axes], None]]) -> bool:
        """Begin a drawing. Axes that had another setup are cleared.

        Args:
            setup: Tuple of functions of an Axes.

        Returns:
            Whether the Axes are bare, so that the caller must set them up.

        Raises:
            RuntimeError: If a drawing has begun and not ended.
        """
        if self.is_drawing:
            raise RuntimeError(
                "These Axes are being drawn on already: instead of the other plot, call the functions that it calls."
            )
        if not self._is_bare() and setup != self.setup:
            self._clear()
        is_bare = self._is_bare()
        if is_bare:
            self._pieces, self._legend, self.shown_pad = [], None, None
        self.setup, self._title_of_clear = setup, self._ax.title
        self._place, self._has_legend, self._is_moved = 0, False, False
        return is_bare

    def _is_bare(self):
        # Each call of `Axes.clear`, of other code too, makes a new title.
        return self._title_of_clear is not self._ax.title

    def _clear(self):
        self._ax.clear()
        self._move_back()  # now, since insets of the next plot get their place from that of the Axes
        # `clear` does not reset these.
        self._ax.set_aspect("auto", adjustable="box", anchor="C")
        self._ax.spines[:].set_visible(True)
        axes: tuple[Literal["x", "y"], ...] = ("x", "y")
        for axis in axes:
            self._ax.tick_params(axis, length=rcParams[f"{axis}tick.major.size"])

    def end(self) -> None:
        """End the drawing: remove what was drawn last time but not this time."""
        self._cut(self._place)
        if not self._has_legend and self._legend is not None:
            if self._ax.get_legend() is self._legend:
                self._legend.remove()
            self._legend = None
        if not self._is_moved:
            self._move_back()

    def _move_back(self):
        if self._box is not None:
            self._ax.set_position(self._box)
            self._box = None

    def leave(self) -> None:
        """Leave the drawing, complete or not."""
        self._place = None

    # --- artists ---

    def draw(self, key: object, make: Callable[[], _Artist], move: Callable[[_Artist], None] | None = None) -> _Artist:
        """See `artist`. Outside a drawing, the artist with this key is moved wherever it is in the list."""
        place = self._place_of(key) if self._place is None else self._place
        piece = self._pieces[place] if place < len(self._pieces) else None
        if piece is None or not piece.serves(key, self._ax):
            self._cut(place)
            piece = _Piece(object() if key is None else key, make())
            self._pieces.append(piece)
        elif move is not None:
            move(piece.artist)
        if self._place is not None:
            self._place += 1
        return piece.artist

    def _place_of(self, key):
        found = (i for i, piece in enumerate(self._pieces) if piece.serves(key, self._ax))
        return next(found, len(self._pieces))

    def _cut(self, place):
        """Remove the pieces from a place on."""
        for piece in self._pieces[place:]:
            if piece.is_on(self._ax):
                piece.artist.remove()
        del self._pieces[place:]

    # --- legend, room ---

    def legend(self, **look: Any) -> Legend:
        """Give the drawing a legend of all artists labelled so far, or keep the present one if it is the same.

        Args:
            **look: Keyword arguments of `Axes.legend`.

        Returns:
            The legend.
        """
        key = [piece.key for piece in self._pieces[: self._place]], look
        self._has_legend = True
        if self._legend is None or self._ax.get_legend() is not self._legend or not _are_equal(self.legend_key, key):
            self._cut(self._place)  # those of the last drawing are no part of this legend
            self._legend, self.legend_key = self._ax.legend(**look), key
        return self._legend

    @property
    def box(self) -> Bbox:
        """Position of the Axes in their figure; of Axes that were narrowed or moved, the one before."""
        return self._box or self._ax.get_position(original=True)

    def narrow(self, width: float) -> None:
        """Make the Axes narrower, so that this drawing has room at their right.

        Args:
            width: New width, in units of the figure, smaller than that of `box`.
        """
        self.move_to((self.box.x0, self.box.y0, width, self.box.height))

    def move_to(self, place: tuple[float, float, float, float]) -> None:
        """Give the Axes another place in their figure, for this drawing.

        Args:
            place: (left, bottom, width, height), in units of the figure.
        """
        self._is_moved, self._box = True, self.box
        if self._ax.get_position(original=True).bounds != place:
            self._ax.set_position(place)


def __getattr__(name):
    return _moved.name_of(__name__, name)
