"""The canvas as a widget: what the kernel tells a page, and what a page tells the kernel."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from lipviz.explorers.shell.canvas.modules import joined
from lipviz.explorers.shell.canvas.points import MOST_POINTS
from lipviz.explorers.shell.pictures import soon
from lipviz.types import Array

_HERE = Path(__file__).parent
_PAGES = 8  # the last ones whose messages are counted
_NO_POINTS = b""


@functools.cache
def _script():
    return joined(_HERE / "canvas.js")


@functools.cache
def _style():
    page = _HERE.parents[2] / "playground" / "playground.css"
    return page.read_text(encoding="utf-8") + (_HERE / "canvas.css").read_text(encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Look:
    """What a page shows at a moment.

    Attributes:
        points: The points x, y and label, of shape (n, 3); None where they are as before.
        given: Whether they are those that the kernel gave.
        settled: Whether no gesture is going on that changes them.
        place: The place to be read, of shape (2,), or None.
        moved: Where the chosen point was when it was chosen, where it is now, and its class, of shape (5,); None where
            none is chosen, or it has not moved.
    """

    points: Array | None
    given: bool
    settled: bool
    place: Array | None
    moved: Array | None


class CanvasWidget(anywidget.AnyWidget):
    """Two networks on the same points, which a reader edits.

    A page keeps its own points, and tells the kernel of them and of the place under the pointer. It is a few messages
    ahead of the answers at most. Of messages that have arrived only the newest is answered.

    Attributes:
        points: Points that did not come from a page: {"version": a number, "places": x, y and label as float64 bytes,
            "author": the page that they come from after all, or ""}.
        most: How many points there may be.
        challenges: Pairs of the short name of a challenge and its words for a menu.
        answer: What is known of the points and networks, see `Answer` in `answers.js`; "answered" is the number of the
            last message of each page.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    points = traitlets.Dict().tag(sync=True)
    most = traitlets.Int(MOST_POINTS).tag(sync=True)
    challenges = traitlets.List().tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any):
        first = {"version": 0, "places": _NO_POINTS, "author": ""}
        super().__init__(_esm=_script(), _css=_style(), points=first, answer={}, **traits)
        self._answered: dict[str, int] = {}
        self._newest: Mapping[str, Any] | None = None
        self._author = ""

    def give(self, points: Array) -> None:
        """Give all pages other points, of shape (n, 3). They forget their own and what could be undone."""
        self._set_points(points, "")

    def keep(self, points: Array) -> None:
        """Take over the points of the page that was answered last, for the other pages and for those to come."""
        self._set_points(points, self._author)

    def _set_points(self, points, author):
        version = self.points["version"] + (not author)
        self.points = {"version": version, "places": _bytes(points), "author": author}

    def show(self, answer: Mapping[str, Any]) -> None:
        """Show what is known, in one message."""
        self.answer = {**answer, "answered": dict(self._answered)}

    def on_look(
        self,
        answer: Callable[[Look], object],
        read: Callable[[str, int, str | None], object],
        choose: Callable[[str], object],
    ) -> None:
        """Call functions when a page tells something.

        Args:
            answer: Called with the newest `Look`; it is to `show` something.
            read: Called with the name, the size in bytes and the text of a file that a reader has opened; the text of
                one that is too large is None.
            choose: Called with the short name of a challenge that a reader has chosen.
        """

        def told(_widget, content, _buffers):
            if content.get("kind") == "file":
                read(str(content["name"]), int(content["size"]), content["text"])
                return
            if content.get("kind") == "challenge":
                choose(str(content["name"]))
                return
            is_first, self._newest = self._newest is None, self._merged(content)
            if is_first:
                soon(reply)

        def reply():
            content, self._newest = self._newest, None
            assert content is not None  # asked for where one came
            self._author = content["page"]
            self._count(content["page"], content["number"])
            with self.hold_sync():
                answer(self._look(content))

        self.on_msg(told)

    def _merged(self, content):
        """A message, with the points of an older one that waits, if it has none itself."""
        waiting = self._newest
        if waiting is None or content["points"] is not None or waiting["version"] != content["version"]:
            return content
        return {**content, "points": waiting["points"]}

    def _count(self, page, number):
        self._answered.pop(page, None)
        self._answered[page] = number
        for old in list(self._answered)[:-_PAGES]:
            del self._answered[old]

    def _look(self, content):
        """A message as a `Look`. Points of a page that has not yet got newer ones are left out."""
        points, place, moved = content["points"], content["place"], content["moved"]
        if content["version"] != self.points["version"]:
            points = moved = None
        places = None if points is None else np.array(points, np.float64).reshape(-1, 3)[: self.most]
        where, moved = (None if one is None else np.array(one, np.float64) for one in (place, moved))
        return Look(places, bool(content["given"]), bool(content["settled"]), where, moved)


def network_words(
    scores: Array,
    right: Array,
    radii: Array,
    moves: Array,
    losses: Sequence[float],
    loss: float | None,
    unseen: float | None,
    constant: float,
) -> dict[str, Any]:
    """What a page is told of a network.

    Args:
        scores: Of a grid, of shape (rows, columns), rows ascending.
        right: Whether each point is decided rightly, of shape (n,).
        radii: Certified radius of each point, of shape (n,).
        moves: End and length of the attacker's move of each point, of shape (n, 3); NaN for none.
        losses: Earlier losses.
        loss: Present loss; None without points.
        unseen: Share of other points that are decided rightly; None without them.
        constant: Lipschitz constant.
    """
    return {
        "scores": np.ascontiguousarray(scores[::-1], np.float32).tobytes(),
        "right": np.asarray(right, np.uint8).tobytes(),
        "radii": _bytes(radii),
        "moves": _bytes(moves),
        "losses": [float(one) for one in losses],
        "loss": loss,
        "unseen": unseen,
        "constant": constant,
    }


def _bytes(values):
    return np.ascontiguousarray(values, np.float64).tobytes()
