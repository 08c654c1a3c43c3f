"""A picture that is drawn again and again on the same Axes: what was there is moved, and what has gone is removed.

A plot says each time all that its picture shows, in the same order, within `style.drawing`. Its artists are compared
with those of the last time, one by one, as long as they are the same ones; from the first that is not, they are made
anew. So the picture on Axes that showed another one is that on new Axes, and a slider moves artists.
"""

import dataclasses

from matplotlib import rcParams

from lipviz import _moved

_ATTRIBUTE = "lipviz_drawn"  # attribute of an Axes


def drawn_on(ax):
    """The `DrawnArtists` of an Axes."""
    if not hasattr(ax, _ATTRIBUTE):
        setattr(ax, _ATTRIBUTE, DrawnArtists(ax))
    return getattr(ax, _ATTRIBUTE)


def artist(ax, key, make, move=None):
    """Draw an artist, or move the one that stands at the same place of the drawing already.

    Args:
        ax: Axes.
        key: What does not move: kind, name and look. An artist with an equal one is moved. None makes it anew.
        make: Function of no arguments that draws the artist, and returns it.
        move: Function of the artist that gives it its new data; None where `key` says all.

    Returns:
        The artist.
    """
    return drawn_on(ax).draw(key, make, move)


@dataclasses.dataclass(frozen=True)
class _Piece:
    key: object
    artist: object

    def serves(self, key, ax):
        """Whether it is still there, and may be moved."""
        return _are_equal(self.key, key) and self.is_on(ax)

    def is_on(self, ax):
        return self.artist.axes is ax or self.artist in ax.child_axes


def _are_equal(one, other):
    try:
        return bool(one == other)
    except ValueError:  # arrays in the look of an artist: to make it anew is right, too
        return False


class DrawnArtists:
    """All that lipviz has drawn on an Axes, in its order. What others draw there stays, until another plot is drawn.

    Args:
        ax: Axes.

    Attributes:
        setup: The functions that made the Axes what they are, see `style.drawing`.
        title_pad: Distance of this drawing's title from the Axes, in points.
        shown_pad: The same of the title that is there.
        legend_key: What tells the present legend from others.
    """

    def __init__(self, ax):
        self.setup = self.title_pad = self.shown_pad = self.legend_key = None
        self._ax, self._pieces, self._place = ax, [], None
        self._title_of_clear = self._legend = self._box = None
        self._has_legend = self._is_narrow = False

    # --- a drawing ---

    @property
    def is_drawing(self):
        """Whether a drawing is under way."""
        return self._place is not None

    def begin(self, setup):
        """Begin a drawing. Where the Axes were set up otherwise, all that is on them goes.

        Args:
            setup: Tuple of functions of an Axes.

        Returns:
            Whether the Axes are bare: the caller sets them up.

        Raises:
            RuntimeError: If a drawing is under way.
        """
        if self.is_drawing:
            raise RuntimeError("A plot is being drawn on these Axes already: share what it calls, not the plot itself.")
        if not self._is_bare() and setup != self.setup:
            self._clear()
        is_bare = self._is_bare()
        if is_bare:
            self._pieces, self._legend, self.shown_pad = [], None, None
        self.setup, self._title_of_clear = setup, self._ax.title
        self._place, self._has_legend, self._is_narrow = 0, False, False
        return is_bare

    def _is_bare(self):
        # `Axes.clear`, whoever calls it, makes a new title.
        return self._title_of_clear is not self._ax.title

    def _clear(self):
        self._ax.clear()
        # What `clear` leaves as it was.
        self._ax.set_aspect("auto", adjustable="box", anchor="C")
        self._ax.spines[:].set_visible(True)
        for axis in "xy":
            self._ax.tick_params(axis, length=rcParams[f"{axis}tick.major.size"])

    def end(self):
        """Remove what was drawn before and was not this time."""
        self._cut(self._place)
        if not self._has_legend and self._legend is not None:
            if self._ax.get_legend() is self._legend:
                self._legend.remove()
            self._legend = None
        if not self._is_narrow and self._box is not None:
            self._ax.set_position(self._box)
            self._box = None

    def leave(self):
        """Leave the drawing, whether it has come to its end or not."""
        self._place = None

    # --- artists ---

    def draw(self, key, make, move=None):
        """See `artist`. Outside of a drawing, the artist with this key is moved wherever it stands."""
        place = self._place if self.is_drawing else self._place_of(key)
        piece = self._pieces[place] if place < len(self._pieces) else None
        if piece is None or not piece.serves(key, self._ax):
            self._cut(place)
            piece = _Piece(object() if key is None else key, make())
            self._pieces.append(piece)
        elif move is not None:
            move(piece.artist)
        if self.is_drawing:
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

    def legend(self, **look):
        """Give the drawing a legend of all that is labelled so far, or keep the one that says the same.

        Args:
            **look: As of `Axes.legend`.

        Returns:
            The legend.
        """
        key = [piece.key for piece in self._pieces[: self._place]], look
        self._has_legend = True
        if self._legend is None or self._ax.get_legend() is not self._legend or not _are_equal(self.legend_key, key):
            self._cut(self._place)  # of the last time, and no part of this legend
            self._legend, self.legend_key = self._ax.legend(**look), key
        return self._legend

    @property
    def box(self):
        """Where the Axes stand in their figure, or stood before they were narrowed."""
        return self._box or self._ax.get_position(original=True)

    def narrow(self, width):
        """Narrow the Axes, for what this drawing has at their right.

        Args:
            width: New width, in units of the figure, less than that of `box`.
        """
        self._is_narrow, self._box = True, self.box
        if self._ax.get_position(original=True).width != width:
            self._ax.set_position((self._box.x0, self._box.y0, width, self._box.height))


def __getattr__(name):
    return _moved.name_of(__name__, name)
