"""Motion: a process as a slider over its steps, which can be played, paused and scrubbed.

Nothing plays by itself, so that a reader who prefers reduced motion sees none that was not asked for. A page plays no
faster than its pictures come: it leaves out steps in place of falling behind.
"""

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as widgets

from lipviz.explorers.shell import page
from lipviz.explorers.shell.controls import slider

_SPEEDS = (("slow", 4), ("normal", 2), ("fast", 1))  # multiples of the shortest time of a frame
_SHORTEST = 50  # milliseconds of a frame at full speed
_BUTTONS = {False: ("Play", "play"), True: ("Pause", "pause")}
_DECIMALS = 7


def step_slider(
    label: str, limit: float, step: float, help_text: str, end_of: Callable[[Any], float | None], value: float = 0
) -> widgets.IntSlider | widgets.FloatSlider:
    """A control for the step of a process: a slider that answers while it moves, with buttons below it.

    The buttons are hidden, and the process stops, while the control is disabled.

    Args:
        label: Text beside the slider.
        limit: Largest step of all processes that the explorer shows.
        step: Distance of neighbouring steps; the steps are whole numbers if it is an int.
        help_text: Tooltip.
        end_of: Function from the data that are shown to the last step of their process, or None where there is none.
        value: Initial step.

    Returns:
        The slider. Its `player` is a `Player`, and `shown_as` the widget to display in place of the slider alone.
    """
    control: Any = slider(label, value, 0, limit, step, help_text)
    control.continuous_update = True
    control.player = Player(control, limit, end_of)
    control.shown_as = control.player.box
    return control


def widen(controls: Iterable[widgets.Widget]) -> None:
    """Let the step sliders among some controls take any step up to their limit, as a state of a longer process has."""
    for player in _players(controls):
        player.widen()


def fit(controls: Iterable[widgets.Widget], data: Any) -> None:
    """Let the step sliders among some controls end where the process of the data ends; later steps become its end."""
    for player in _players(controls):
        player.fit(data)


def _players(controls):
    return [control.player for control in controls if hasattr(control, "player")]


class Player:
    """Plays a slider: from its place on, or from the start if it is at its end. It stops at the end.

    The clock runs on the page, and sends the next step when the kernel has answered the last one.

    Args:
        control: The slider.
        limit: See `step_slider`.
        end_of: See `step_slider`.

    Attributes:
        button: Button that plays and pauses.
        speed: Drop-down list of speeds.
        clock: The `ipywidgets.Play` that counts; it is not visible, since its buttons have no names.
        box: The slider with the buttons below it.
    """

    def __init__(
        self,
        control: widgets.IntSlider | widgets.FloatSlider,
        limit: float,
        end_of: Callable[[Any], float | None],
    ):
        self._control, self._limit, self._end_of = control, limit, end_of
        self.clock = widgets.Play(min=0, max=self._place(control.max), layout=widgets.Layout(display="none"))
        self.button = page.button("Play", "play", "Play or pause, from this step on", self.toggle)
        self.speed = widgets.Dropdown(
            options=_SPEEDS, value=2, description="Speed", tooltip="Speed at which it plays",
            style={"description_width": "initial"}, layout=widgets.Layout(width="140px"),
        )  # fmt: skip
        self.box = widgets.VBox([control, page.box("lipviz-toolbar", [self.button, self.speed, self.clock])])
        self.box.layout.overflow = "visible"
        self._set_speed()
        self.clock.observe(self._tick, "value")
        self.clock.observe(self._show_playing, "playing")
        self.speed.observe(self._set_speed, "value")
        control.observe(self._follow, ("value", "max"))
        control.observe(self._show_disabled, "disabled")

    def toggle(self) -> None:
        """Play, or pause."""
        self.clock.playing = not self.clock.playing

    def widen(self) -> None:
        """See the function `widen`."""
        self._control.max = self._limit

    def fit(self, data: Any) -> None:
        """See the function `fit`."""
        end = self._end_of(data)
        if end is not None:
            self._control.max = max(self._control.min + self._control.step, min(end, self._limit))

    def _place(self, value):
        return round((value - self._control.min) / self._control.step)

    def _tick(self, change):
        place = self._control.min + change["new"] * self._control.step
        self._control.value = min(type(self._control.value)(round(place, _DECIMALS)), self._control.max)

    def _follow(self, _change=None):
        """Go on from where the slider was put, to where it ends."""
        place, end = self._place(self._control.value), self._place(self._control.max)
        with self.clock.hold_sync():
            self.clock.max = max(end, place)
            self.clock.value = place

    def _set_speed(self, _change=None):
        self.clock.interval = self.speed.value * _SHORTEST

    def _show_playing(self, change):
        self.button.description, self.button.icon = _BUTTONS[change["new"]]

    def _show_disabled(self, change):
        self.box.layout.display = "none" if change["new"] else ""
        if change["new"]:
            self.clock.playing = False
