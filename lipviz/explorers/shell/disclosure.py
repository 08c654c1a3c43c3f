"""A button that shows and hides a box, closed at first."""

from collections.abc import Iterable

import ipywidgets as widgets

from lipviz.explorers.shell import page


class Disclosure:
    """A button, and a box that it shows and hides. By keyboard, Enter and the space bar press the button.

    Args:
        what: What the box holds, in a word: the button says "More …" and "Fewer …".
        children: Widgets of the box.

    Attributes:
        button: The ipywidgets button. Its text says what a press does.
        box: The ipywidgets box, hidden at first.
    """

    def __init__(self, what: str, children: Iterable[widgets.Widget]):
        self._what = what
        self.box = page.box("lipviz-groups", children)
        self.button = page.button("", "", "Show or hide the other controls", self.toggle)
        self._show(False)

    @property
    def is_open(self) -> bool:
        """Whether the box is shown."""
        return self.box.layout.display is None

    def toggle(self) -> None:
        """Show the box if it is hidden, and hide it if not."""
        self._show(not self.is_open)

    def _show(self, is_open):
        self.box.layout.display = None if is_open else "none"
        self.button.description = f"{'Fewer' if is_open else 'More'} {self._what}"
        self.button.icon = "angle-up" if is_open else "angle-down"
