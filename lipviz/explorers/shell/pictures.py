"""The picture of an explorer on a page: a widget that gets PNG images as bytes, and tells what is dragged there."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from matplotlib.figure import Figure

from lipviz.plots import Picture

_GATHER = 0.001  # seconds in which further messages may come that have arrived already


class PictureWidget(anywidget.AnyWidget):
    """Panels side by side, or one below the other if the page is narrow.

    Pages get the images as bytes, not as text. While a page decodes one picture, of those that come meanwhile only the
    newest is kept.

    While a slider is dragged, a page sends its positions, and waits if too many of them are not answered. Only the
    newest one that has arrived is answered; one answer stands for all older ones. The value of the slider stays as it
    is until the end, which the slider itself sends.

    Some panels are handles of a slider, see `grips_of`: a place on the panel is a position of the slider. Where such a
    drag ends, the page says its last position.

    Attributes:
        panels: List of PNG images.
        widths: List of their widths on the page, in CSS pixels.
        alt: What they show, in words.
        answered: Number of the last position that is answered.
        grips: What `grips_of` returns.
    """

    # The text, and not the path: anywidget would keep each widget of a class that watches a file for ever.
    _esm = traitlets.Unicode(Path(__file__).with_name("pictures.js").read_text(encoding="utf-8")).tag(sync=True)
    panels = traitlets.List(traitlets.Bytes()).tag(sync=True)
    widths = traitlets.List(traitlets.Int()).tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)
    grips = traitlets.List(traitlets.Dict()).tag(sync=True)
    _newest: dict[str, Any] | None = None

    def show(self, pictures: Sequence[Picture], grips: Sequence[Mapping[str, Any]] = ()) -> None:
        """Show pictures, in one message to the page; the alternative text is that of the first one.

        Args:
            pictures: The panels.
            grips: What `grips_of` returns for them.
        """
        with self.hold_sync():
            self.panels = [picture.png for picture in pictures]
            self.widths = [picture.width for picture in pictures]
            self.alt = pictures[0].alt
            self.grips = [dict(grip) for grip in grips]

    def on_drag(self, answer: Callable[[str, float], object], end: Callable[..., object]) -> None:
        """Call functions while a slider is dragged.

        Args:
            answer: Called with the name of a control and its position, the newest one. What it shows is one message.
            end: Called at the end, and when a page opens; after a drag on a panel with the name of the control and its
                last position, else with no arguments.
        """

        def told(_widget, content, _buffers):
            if "number" not in content:
                self.forget_drag()
                end(*([content["name"], content["position"]] if "name" in content else []))
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


def grips_of(figure: Figure, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Where a page takes a place on a panel for a position of a slider: along the x-axis of the panel.

    Args:
        figure: Figure of `plots.new_figure`, as it is drawn.
        names: Name of the control by the index of its panel.

    Returns:
        A dict for each of these panels: its index "panel", the "name" of the control, the "left" and "right" end of the
        axis as shares of the width of the panel, and the positions "low" and "high" there.
    """
    grips = []
    for panel, name in names.items():
        ax = figure.axes[panel]
        left, right = (edge * len(figure.axes) - panel for edge in ax.get_position().intervalx)
        low, high = ax.get_xlim()
        grips.append({"panel": panel, "name": name, "left": left, "right": right, "low": low, "high": high})
    return grips


def soon(call: Callable[[], object], seconds: float = _GATHER) -> None:
    """Call a function when the messages that have come are read; at once where no loop would do it.

    Args:
        call: Function of no arguments.
        seconds: How long to wait for these messages.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        call()
    else:
        loop.call_later(seconds, call)
