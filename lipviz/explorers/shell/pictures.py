"""The picture of an explorer on a page: a widget that gets PNG images as bytes, and tells where a slider is dragged."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from lipviz.plots import Picture

_GATHER = 0.001  # seconds in which further messages may come that have arrived already


class PictureWidget(anywidget.AnyWidget):
    """Panels side by side, or one below the other if the page is narrow.

    Pages get the images as bytes, not as text. While a page decodes one picture, of those that come meanwhile only the
    newest is kept.

    While a slider is dragged, a page sends its positions, and waits if too many of them are not answered. Only the
    newest one that has arrived is answered; one answer stands for all older ones. The value of the slider stays as it
    is until the end, which the slider itself sends.

    Attributes:
        panels: List of PNG images.
        widths: List of their widths on the page, in CSS pixels.
        alt: What they show, in words.
        answered: Number of the last position that is answered.
    """

    _esm = Path(__file__).with_name("pictures.js")
    panels = traitlets.List(traitlets.Bytes()).tag(sync=True)
    widths = traitlets.List(traitlets.Int()).tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)
    _newest: dict[str, Any] | None = None

    def show(self, pictures: Sequence[Picture]) -> None:
        """Show pictures, in one message to the page; the alternative text is that of the first one."""
        with self.hold_sync():
            self.panels = [picture.png for picture in pictures]
            self.widths = [picture.width for picture in pictures]
            self.alt = pictures[0].alt

    def on_drag(self, answer: Callable[[str, float], object], end: Callable[[], object]) -> None:
        """Call functions while a slider is dragged.

        Args:
            answer: Called with the name of a control and its position, the newest one. What it shows is one message.
            end: Called at the end, and when a page opens.
        """

        def told(_widget, content, _buffers):
            if "name" not in content:
                self.forget_drag()
                end()
                return
            is_first, self._newest = self._newest is None, content
            if is_first:
                soon(reply)

        def reply():
            content, self._newest = self._newest, None
            if content is not None:
                with self.hold_sync():
                    answer(content["name"], content["position"])
                    self.answered = content["number"]

        self.on_msg(told)

    def forget_drag(self) -> None:
        """Answer no position that has come: a newer value is there."""
        self._newest = None


def soon(call: Callable[[], object]) -> None:
    """Call a function when the messages that have come are read; at once where no loop would do it.

    Args:
        call: Function of no arguments.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        call()
    else:
        loop.call_later(_GATHER, call)
