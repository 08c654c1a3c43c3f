"""What a subclass of `Explorer` defines, with what holds where it does not."""

import abc
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import ipywidgets as widgets

from lipviz.explorers.shell import code

_Result = TypeVar("_Result")


def _by_name(method: Callable[..., _Result]) -> Callable[..., _Result]:
    """Tell type checkers that a method gets a state, of which each subclass may name the entries that it uses."""
    return method


class Hooks(abc.ABC):
    """The methods and settings that make an explorer of its own; see `Explorer`."""

    controls: Mapping[str, widgets.Widget]

    title = ""
    help_text = ""
    panels = 1
    essentials: tuple[str, ...] = ()
    has_work = False
    shows_photographs = False
    works_at_once = False
    restarts: frozenset[str] = frozenset()
    grips: Mapping[int, str] = MappingProxyType({})

    @abc.abstractmethod
    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        """Controls by group, {title: {name: control}}; see `slider`, `log_slider`, `choice` and `toggle`."""

    @abc.abstractmethod
    @_by_name
    def compute(self, **state: Any) -> Any:
        """Measurement for a state. Raises ValueError if a value is bad."""

    @abc.abstractmethod
    def draw(self, data: Any, state: Mapping[str, Any]) -> None:
        """Draw on `self.figure` what `compute` returned for a state. The plots find out what has changed."""

    @abc.abstractmethod
    def alt_text(self, data: Any) -> str:
        """The picture in words."""

    @abc.abstractmethod
    def statement(self, data: Any) -> str:
        """What follows from the data, in one to three sentences."""

    def numbers(self, data: Any) -> list[tuple[str, str]]:
        """Pairs (name, value) of text, for the table."""
        return []

    def table(self, data: Any) -> tuple[list[str], list[list[Any]]]:
        """Names of columns, and a list of rows, for the CSV file."""
        return ["quantity", "value"], [list(pair) for pair in self.numbers(data)]

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        """Names of the controls that have an effect in a state; all by default. The others are greyed out."""
        return set(self.controls)

    def code_lines(self, data: Any, state: Mapping[str, Any]) -> list[str]:
        """Lines of lipviz that make what is shown: `result`, and its picture; by default the explorer in this state.

        Imports of `lipviz`, `keras` and `np` are added, see `shell.code.program`. What the reader gave to the explorer
        has the name of its argument.
        """
        kind = type(self)
        return [
            f"from {kind.__module__} import {kind.__name__}",
            f"explorer = {kind.__name__}()",
            code.call("explorer.state = dict", **state),
            "explorer",
        ]

    @_by_name
    def work(self, **state: Any) -> Iterator[tuple[float, Any]]:
        """Long work for a state: a generator of pairs (fraction done, data)."""
        raise TypeError(f"{type(self).__name__} has no long work.")

    def forget(self) -> None:  # noqa: B027 -- nothing to drop, by default
        """Drop what earlier work produced: called before the picture of new work, and by `reset`."""

    def waits(self, name: str, state: Mapping[str, Any]) -> bool:
        """Whether only the work shows what a control does in a state, so that a drag draws `preview`."""
        return name in self.restarts

    def preview(self, data: Any, state: Mapping[str, Any]) -> Any:
        """Data to draw while a control that restarts the work is dragged; None leaves the picture as it is.

        It is cheap: the work begins when the reader lets go.

        Args:
            data: What is shown.
            state: The state that the control passes.
        """
        return None
