"""Pictures of an explorer in several states, on the same axes: for a slider on a page without a kernel."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.live import ExplorerFigure
from lipviz.plots import Picture

__all__ = ["Frame", "Moment", "frames", "of_control", "of_work"]

_WORK_TIMEOUT = 600  # seconds for the work of an explorer


@dataclasses.dataclass(frozen=True, eq=False)
class Moment:
    """What an explorer shows at one place of a slider.

    Attributes:
        data: What `Explorer.compute` returned, or what its work produced.
        state: The explorer's state.
    """

    data: Any = dataclasses.field(repr=False)
    state: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Frame:
    """The picture of a moment, with its words.

    Attributes:
        panels: A `lipviz.plots.Picture` for each panel of the explorer's figure.
        alt: What they show together, in words.
        statement: What follows from it, in one to three sentences.
    """

    panels: tuple[Picture, ...]
    alt: str
    statement: str


def of_control(explorer: Explorer, control: str, values: Iterable[Any], *, work: bool = False) -> Iterator[Moment]:
    """The moments at which one control has these values, and all others stay.

    Args:
        explorer: An explorer.
        control: Name of the control.
        values: Its values, one after the other.
        work: Whether the explorer works to the end at each value, for instance trains.

    Yields:
        A `Moment` for each value.

    Raises:
        ValueError: If the explorer shows an error, for instance because it does not accept a value.
    """
    for value in values:
        _set(explorer, {control: value})
        if work:
            *_, (_, data) = explorer.work(**explorer.state)
            yield Moment(data, explorer.state)
        else:
            yield Moment(explorer.data, explorer.state)


def of_work(explorer: Explorer, fractions: Iterable[float]) -> list[Moment]:
    """The moments of one run of the explorer's work, such as a training.

    Args:
        explorer: An explorer that has work.
        fractions: Which part of the work is done, from 0 (before its beginning) to 1. The nearest picture that the work
            makes is taken.

    Returns:
        A list with a `Moment` for each fraction.

    Raises:
        ValueError: If the explorer shows an error.
    """
    _set(explorer, {})
    made = [(0.0, explorer.data), *explorer.work(**explorer.state)]
    nearest = (min(made, key=lambda piece: abs(piece[0] - fraction)) for fraction in fractions)
    return [Moment(data, explorer.state) for _, data in nearest]


def _set(explorer, values):
    """Set a part of the state, with no work begun."""
    explorer.state = values
    _check(explorer)
    if explorer.work_state != "idle":
        explorer.stop()
        explorer.wait(_WORK_TIMEOUT)
    if explorer.has_work:
        explorer.forget()
        explorer.refresh()
        _check(explorer)


def _check(explorer):
    if explorer.error is not None:
        raise ValueError(f"{explorer!r} shows an error: {explorer.error}")


def frames(explorer: Explorer, moments: Iterable[Moment]) -> list[Frame]:
    """Pictures of moments. Each axis has the same limits in all of them, those that show all data.

    Args:
        explorer: The explorer that the moments are of. It shows the last one afterwards.
        moments: The moments, in the order of the slider.

    Returns:
        A list with a `Frame` for each moment.
    """
    moments = list(moments)
    figure = ExplorerFigure(explorer.figure, all_colours=explorer.shows_photographs)
    limits = _common([_drawn(explorer, moment) for moment in moments])
    return [_frame(explorer, figure, moment, limits) for moment in moments]


def _frame(explorer, figure, moment, limits):
    _drawn(explorer, moment)
    for ax, of_ax in zip(explorer.figure.axes, limits, strict=True):
        if of_ax is not None:
            ax.set(xlim=of_ax[0], ylim=of_ax[1])
    alt = explorer.alt_text(moment.data)
    return Frame(tuple(figure.panels(alt)), alt, explorer.statement(moment.data))


def _drawn(explorer, moment):
    """Draw a moment, and return the limits that its plots choose: (x, y) of each Axes, None if it shows no data."""
    explorer.draw(moment.data, moment.state)
    return [None if _is_empty(ax) else (ax.get_xlim(), ax.get_ylim()) for ax in explorer.figure.axes]


def _is_empty(ax):
    """Whether Axes show no data, such as the losses before the first step of a training."""
    lengths = [len(line.get_xdata()) for line in ax.lines]
    return bool(lengths) and not any(lengths) and not (ax.images or ax.collections or ax.patches)


def _common(limits):
    """The smallest limits that contain those of all moments, for each Axes; None for Axes that never show data."""
    return [_of_axes([pair for pair in of_ax if pair is not None]) for of_ax in zip(*limits, strict=True)]


def _of_axes(pairs):
    return tuple(_hull(axis) for axis in zip(*pairs, strict=True)) if pairs else None


def _hull(intervals):
    """The smallest interval that contains all of them; like them, it may run downwards."""
    ends = [end for interval in intervals for end in interval]
    first, last = intervals[0]
    return (min(ends), max(ends)) if first <= last else (max(ends), min(ends))
