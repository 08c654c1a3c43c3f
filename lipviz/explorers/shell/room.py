"""The room that a page has for a panel, and the size of the panel that can be read there."""

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

from lipviz.plots.style import NARROW_PANEL, PANEL

_TOO_NARROW, _WIDE_AGAIN = 370, 390  # CSS pixels: the text of a wide panel has 10 of them, and more


class Room(anywidget.AnyWidget):
    """A widget without a look, which measures the panels of the explorer around it.

    Attributes:
        width: Width of a panel on the page, in CSS pixels; 0 as long as there is no page. Of several pages the last one
            that was resized counts.
        size: Width and height in inches of a panel that has text of 10 CSS pixels or more there.
    """

    # The text, and not the path: anywidget would keep each widget of a class that watches a file for ever.
    _esm = traitlets.Unicode(Path(__file__).with_name("room.js").read_text(encoding="utf-8")).tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)
    size = traitlets.Tuple(PANEL)

    def __init__(self):
        super().__init__(layout={"display": "none"})

    def on_size(self, change: Callable[[tuple[float, float]], object]) -> None:
        """Call a function of the size whenever another one fits."""
        self.observe(lambda event: change(event["new"]), names="size")

    @traitlets.observe("width")
    def _fit(self, event):
        # Two limits: a taller picture may need a scroll bar, which takes some of the width.
        limit = _WIDE_AGAIN if self.size == NARROW_PANEL else _TOO_NARROW
        self.size = NARROW_PANEL if 0 < event["new"] < limit else PANEL
