"""The base of explorers whose picture is a canvas on the page. Matplotlib draws what is printed and saved."""

import abc
import functools
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.canvas.widget import CanvasWidget


class CanvasExplorer(Explorer):
    """An `Explorer` that shows its data on a canvas.

    A subclass defines `answer` beside what an `Explorer` has; its `draw` is called only where the figure is asked for.

    Attributes:
        figure: `matplotlib.figure.Figure` of the present data, which is drawn when it is asked for.
    """

    def __init__(self):
        self._canvas, self._is_stale = CanvasWidget(), False
        super().__init__()

    @abc.abstractmethod
    def answer(self, data: Any, state: Mapping[str, Any]) -> dict[str, Any]:
        """What the page is told of the data, see `CanvasWidget.show`."""

    @property
    def figure(self) -> Figure:
        if self._is_stale:
            self._is_stale = False
            self.draw(self.data, self._shown_state)
        return self._figure

    @figure.setter
    def figure(self, figure):
        self._figure = figure

    @property
    def shown_picture(self) -> str:
        """HTML of the present picture; "" where there is none."""
        with self._lock:
            return "" if self.data is None else self.static().to_html()

    def _drag(self, name, position):
        self._is_stale = False  # the axes of a figure that nobody sees need no limits to keep
        super()._drag(name, position)

    def _stage(self):
        # The other widget names the sliders, and tells where one is dragged. It shows no picture.
        return [self._canvas, self._image]

    def _drawn(self, data, state):
        self._is_stale = True
        return functools.partial(self._canvas.show, self.answer(data, state))
