"""The base class of all explorers: controls → compute → draw, with one state, one picture and one message."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import ipywidgets as widgets

from lipviz import _memory, _moved
from lipviz.explorers.shell import kept, links, motion, page, saving
from lipviz.explorers.shell.controls import (
    accepts,
    choice,
    log_slider,
    range_of,
    slider,
    toggle,
    value_at,
)
from lipviz.explorers.shell.disclosure import Disclosure
from lipviz.explorers.shell.live import ExplorerFigure
from lipviz.explorers.shell.pictures import PictureWidget, grips_of
from lipviz.explorers.shell.room import Room
from lipviz.explorers.shell.sharing import Sharing
from lipviz.explorers.shell.threads import undisturbed
from lipviz.explorers.shell.work import IDLE, RUNNING, Worker
from lipviz.explorers.shell.working import Working
from lipviz.plots import Picture, new_figure, picture
from lipviz.plots.redrawing import kept_limits
from lipviz.plots.style import number

__all__ = ["Explorer", "choice", "log_slider", "slider", "toggle"]

_SHARPNESS = 1.5  # image pixels per CSS pixel: crisp enough, at 60 % of the pixels of 2
_TELLING = 0.25  # seconds between two texts while a slider is dragged
_CLOSE_TIMEOUT = 20  # seconds for a worker to come to its next yield
_ESSENTIALS = 4  # controls beside the picture, where an explorer does not name them
# The buttons beside the essential controls, in their order; the others, which keep what is seen, lie below it.
_STEERING = ("start", "step", "stop", "previous", "next", "more", "reset")
_WORK_BUTTONS = {IDLE: ("Start", "play"), RUNNING: ("Pause", "pause"), "paused": ("Continue", "play")}


def _left_out(unknown, refused, controls):
    """What was not set of a state, in words; none where all was."""
    if not (unknown or refused):
        return ""
    ranges = [f"{name} (takes {range_of(controls[name])})" for name in refused]
    words = [f"Another version of lipviz may know these names: {', '.join(unknown)}."] if unknown else []
    words += [f"These values cannot be used: {', '.join(ranges)}."] if refused else []
    return " ".join(["Not all of the state is set.", *words])


def _all_but(names, groups):
    """The groups of controls without those of these names, and without groups that are empty then."""
    rest = {title: [c for name, c in group.items() if name not in names] for title, group in groups.items()}
    return {title: controls for title, controls in rest.items() if controls}


class Explorer(Sharing, Working):
    """Base of all explorers.

    A subclass defines only what there is to see:

    - `title`, `panels` (of its figure) and `help_text` (one sentence);
    - `make_controls()`: {title of a group: {name: ipywidgets control}}; names are those of the state;
    - `compute(**state)`: pure, from the state to a dataclass of `lipviz.measure`; ValueError where a value is bad;
    - `draw(data, state)`: draws on `self.figure` what `compute` returned for that state, and nothing else;
    - `alt_text(data)`, `statement(data)` and `numbers(data)`: the picture in words, what follows from it in one to
      three sentences, and a list of (name, value) pairs of text;
    - `table(data)`: what is saved as CSV, by default the numbers;
    - `code_lines(data, state)`: the lines of lipviz that make the same, by default those of the explorer.

    `essentials` names the controls that stay beside the picture, two to four of which have an effect at a time; those
    that have none are hidden there. The first four are the default. The others wait behind a button, "More settings".

    `grips` names, for panels whose x-axis is that of a slider, the control that moves when this panel is dragged.

    `shows_photographs` says that readers compare pixels of images, so that pictures keep all their colours.

    A computation that makes the reader wait may keep its results, by `shell.result_cache.ResultCache`.

    Long work, such as training, runs in a thread. A subclass with long work sets `has_work = True` and defines

    - `work(**state)`: a generator of pairs (fraction done, data), each of which is drawn;
    - `restarts`: names of the controls that restart the work. Other controls only compute the picture again, from what
      the work has produced so far;
    - `forget()`: drops what earlier work produced;
    - `works_at_once`: whether the work begins when a page first shows the explorer. Without a page it does not;
    - `preview(data, state)`: what is drawn while a control that restarts the work is dragged, by default nothing new.

    The explorer's lock is held while the generator runs, so `compute` never runs in the middle of a step.

    The base class does the rest: it computes and draws whenever a control changes, shows the message of an error in
    place of a traceback, and keeps, resets, saves and displays the state.

    Attributes:
        controls: Dict from name to ipywidgets control.
        buttons: Dict from name to ipywidgets button: "reset", "png", "svg", "csv", "code", with further controls
            "more", in `lipviz app` "link", and with work "start" (which also pauses and continues), "step" and "stop".
        figure: `matplotlib.figure.Figure`, as last drawn.
        data: What was last computed without an error, and drawn; None before that.
        error: The exception that is shown, or None.
        widget: The ipywidgets box that a notebook displays.
    """

    # Old names of controls, which the state accepts for one release, and the new names.
    _renamed: Mapping[str, str] = MappingProxyType({})

    def __init__(self):
        self.data: Any = None
        self._shown_state: Mapping[str, Any] = {}
        self.error: Exception | None = None
        self._room = Room()
        self._make_figure(self._room.size)
        self._lock, self._asked, self._is_quiet = threading.RLock(), 0, False
        self._is_dragged, self._told_at, self._held = False, 0.0, ""

        groups = self.make_controls()
        self.controls = {name: control for group in groups.values() for name, control in group.items()}
        self._defaults = self.state
        self._alert, self._image, self._results = widgets.HTML(), PictureWidget(), widgets.HTML()
        self._notice = widgets.HTML()
        self._files, self._bar = widgets.HTML(), widgets.FloatProgress(max=1.0, description="done 0 %")
        self.essentials = self.essentials or tuple(self.controls)[:_ESSENTIALS]
        further = _all_but(self.essentials, groups)
        self._more = Disclosure("settings", page.groups(further)) if further else None
        self.buttons = self._made_buttons()
        self._worker = Worker(self._lock, self._show_piece, self._show_error, self._show_worker)
        self.widget = self._assembled()
        self._kept = kept.Kept(self)
        self._kept.arrived = self._begin
        heading, *rest = self.widget.children
        self.widget.children = (heading, self._notice, *self._kept.widgets, *rest)
        for name, control in self.controls.items():
            control.add_class(page.CONTROL + name)
            control.observe(functools.partial(self._changed, name), names="value")
        self._image.on_drag(self._drag, self._end_drag)
        self._room.on_size(self._fit)
        self._show_worker(IDLE)
        self.refresh()
        self._kept.update_bar()

    # --- state ---

    def progress(self, text: str) -> None:
        """Show a text in place of the results, while something takes time."""
        self._results.value = page.results(text)

    @property
    def state(self) -> dict[str, Any]:
        """Values of all controls, as a dict that can be kept, shared (also as JSON) and set again.

        A part of it can be set, too. If a value cannot be used, the state stays as it was; the explorer shows why, and
        keeps the exception as `error`.

        Raises:
            ValueError: If a name is unknown.
        """
        return {name: control.value for name, control in self.controls.items()}

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        before = self.state
        if self._set(self._by_present_names(values)):
            self._respond_to({name for name, value in self.state.items() if before[name] != value})

    def restore(self, state: Mapping[str, Any] | str) -> None:
        """Set what is known of a state from elsewhere, such as a link of another version of lipviz.

        Names that are not known, and values that cannot be used, are told in the explorer. All others are set.

        Args:
            state: Values by name, or the same as JSON.
        """
        try:
            values = links.from_json(state) if isinstance(state, str) else dict(state)
        except (ValueError, TypeError) as error:
            self._tell(str(error))
            return
        values = {self._renamed.get(name, name): value for name, value in values.items()}
        unknown = [name for name in values if name not in self.controls]
        before = self.state
        with self._quiet():
            refused = [name for name in values.keys() & self.controls.keys() if not self._try(name, values[name])]
        if changed := {name for name, value in self.state.items() if value != before[name]}:
            self._respond_to(changed)
        self._tell(_left_out(unknown, [name for name in values if name in refused], self.controls))

    def _try(self, name, value):
        """Set a control; if it does not take the value, it keeps its own."""
        before = self.controls[name].value
        if accepts(self.controls[name], value):
            return True
        self.controls[name].value = before
        return False

    def _tell(self, words):
        """Show a sentence below the heading, which the reader can remove.

        Pictures of a training come all the time. They replace the message of an error, but not this one.
        """
        self._notice.value = page.notice(words) if words else ""

    def _by_present_names(self, values):
        values = dict(values)
        for old in self._renamed.keys() & values.keys():
            _moved.warn(old, self._renamed[old], 3)
            values[self._renamed[old]] = values.pop(old)
        return values

    def _set(self, values):
        """Set controls without a reaction. If a value cannot be used, show a message and return False."""
        unknown = sorted(set(values) - set(self.controls))
        if unknown:
            raise ValueError(f"Expected names of {', '.join(self.controls)}. Received: {', '.join(unknown)}")
        before = self.state
        with self._quiet():
            motion.widen(self.controls.values())
            refused = [name for name, value in values.items() if not accepts(self.controls[name], value)]
            if refused:
                for name, value in before.items():
                    self.controls[name].value = value
        if refused:
            self._show_error(self._why_refused({**before, **values}, refused[0]))
        return not refused

    def reset(self) -> None:
        """Return to the initial state, and end the work."""
        self.stop()
        self._set(self._defaults)
        self._tell("")
        self._forget()
        self.refresh()

    def _forget(self):
        with self._lock:
            self.forget()
        self._bar.value, self._bar.description = 0.0, "done 0 %"

    def _why_refused(self, state, name):
        """The error of the computation if it raises one, else that of the control."""
        control = self.controls[name]
        if hasattr(control, "max"):
            try:
                with self._lock:
                    self.compute(**state)
            except (ValueError, TypeError) as error:
                return error
        return ValueError(f"The control `{name}` takes {range_of(control)}. Received: {state[name]!r}")

    @contextlib.contextmanager
    def _quiet(self):
        """Change several controls as one."""
        self._is_quiet = True
        try:
            yield
        finally:
            self._is_quiet = False

    # --- react ---

    def _changed(self, name, _change):
        if not self._is_quiet:
            self._respond_to({name})

    def _respond_to(self, changed):
        """Compute and draw after controls have changed, and restart the work if it depends on them."""
        if not (self.has_work and changed & set(self.restarts)):
            self.refresh()
            return
        self.stop()
        self._forget()
        self.refresh()
        if self.error is None:
            self.start()

    def refresh(self) -> None:
        """Compute and draw for the present state. An error is shown, and the last good picture stays.

        Callbacks may run in several threads (JupyterLab's subshells). Only one draws at a time. A callback that had to
        wait does nothing if a newer one has come meanwhile.
        """
        self._is_dragged, self._held = False, ""
        self._image.forget_drag()
        self._asked += 1
        mine = self._asked
        with self._lock:
            if mine < self._asked:
                return
            with undisturbed(), self._errors_shown():
                self._respond(self.state)

    def _drag(self, name, position):
        """Show a state that a slider passes while it is dragged. Controls and axes stay as they are until its end."""
        state = {**self.state, name: value_at(self.controls[name], position)}
        self._is_dragged = True
        show = self._respond
        if self.waits(name, state):
            show = self._show_preview
            self._say_held(name, state)  # at once, as a training may keep the lock for long
        with self._lock, undisturbed(), self._errors_shown(), kept_limits(self.figure):
            show(state)

    def _say_held(self, name, state):
        self._held = (
            f"Let go of the slider to begin again with {self.controls[name].description} {number(state[name])}."
        )
        self._results.value = page.results(self._held)

    def _show_preview(self, state):
        data = None if self.data is None else self.preview(self.data, state)
        if data is not None:
            self._drawn(data, state)()

    def _end_drag(self, name=None, position=0.0):
        if name is not None and not self.controls[name].disabled:
            self.controls[name].value = value_at(self.controls[name], position)
        if self._is_dragged:  # else its new value has been answered
            self.refresh()

    def _respond(self, state):
        enabled = self.enabled(state)
        for name, control in self.controls.items():
            control.disabled = name not in enabled
        self._show(self.compute(**state), state)

    def _show(self, data, state):
        self._shown_state = state
        self._kept.ask()
        show = self._drawn(data, state)
        with self._quiet():
            motion.fit(self.controls.values(), data)
        self.data, self.error = data, None
        self._alert.value = self._files.value = ""
        if not self._is_dragged or time.monotonic() > self._told_at + _TELLING:
            self._told_at = time.monotonic()
            self._results.value = page.results(self.statement(data), self.numbers(data))
        show()

    def _drawn(self, data, state):
        """Draw, and return a function of no arguments that shows the picture on the page."""
        self.draw(data, state)
        panels = self._live.panels(self.alt_text(data))
        return functools.partial(self._image.show, panels, grips_of(self.figure, self.grips))

    def _make_figure(self, size):
        self.figure = new_figure(self.panels, round(_SHARPNESS * 100), size)
        self._live = ExplorerFigure(self.figure, all_colours=self.has_work or self.shows_photographs)

    def _fit(self, size):
        """Draw what is shown again, in panels of another size."""
        with self._lock, undisturbed(), self._errors_shown():
            self._make_figure(size)
            if self.data is not None:
                self._drawn(self.data, self._shown_state)()

    @contextlib.contextmanager
    def _errors_shown(self):
        """Show errors of any kind: the reader must see them here, not only in a log. Ctrl-C also ends the cell."""
        try:
            yield
        except KeyboardInterrupt:
            self._show_error(ValueError("The kernel was interrupted. Move a control, or press Reset, to go on."))
            raise
        except Exception as error:
            self._show_error(error)

    def _show_error(self, error):
        self.error = error
        kind = "" if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: "
        stale = "" if self.data is None else "<br>The picture still shows the last values that could be used."
        self._alert.value = page.alert(kind + str(error), stale)
        self._results.value = "" if self.data is None else self._results.value

    # --- long work ---

    def _begin(self):
        """Begin the work for the first page, so that there is something to see, unless it has been begun."""
        if self.works_at_once and self.work_state == IDLE and not self._bar.value and self.error is None:
            self.start()

    def _show_piece(self, fraction, data):
        if not self._held:  # else the reader sees what comes next
            self._show(data, self.state)
        self._bar.value, self._bar.description = float(fraction), f"done {100 * fraction:.0f} %"

    def _show_worker(self, state):
        if self.has_work and state == self.work_state:  # else a newer call shows the newer state
            button = self.buttons["start"]
            button.description, button.icon = _WORK_BUTTONS[state]
            self.buttons["stop"].disabled = state == IDLE

    # --- display ---

    def _made_buttons(self):
        buttons = {"more": self._more.button} if self._more else {}
        buttons["reset"] = page.button("Reset", "undo", "Return to the initial values", self.reset)
        for kind in saving.KINDS:
            what = "numbers" if kind == "csv" else "picture"
            offer = functools.partial(self._offer, kind)
            buttons[kind] = page.button(kind.upper(), "download", f"Save the {what} as a {kind.upper()} file", offer)
        words = "Copy the lines of Python that make this picture"
        buttons["code"] = page.button("Copy as code", "code", words, self._offer_code)
        if links.own_address() is not None:
            words = "Copy the address that opens this explorer as it is now"
            buttons["link"] = page.button("Copy link", "link", words, self._offer_link)
        if self.has_work:
            buttons["start"] = page.button("Start", "play", "Start, pause or continue", self._press_start)
            buttons["step"] = page.button("Step", "step-forward", "Go on to the next picture, and pause", self.step)
            buttons["stop"] = page.button("Stop", "stop", "End; the last picture stays", self.stop)
        return buttons

    def _assembled(self):
        heading = widgets.HTML(page.heading(self.title, self.help_text)).add_class("lipviz-heading")
        essentials = page.box("lipviz-essentials", [self.controls[name] for name in self.essentials])
        steering = [self.buttons[name] for name in _STEERING if name in self.buttons]
        steering[3:3] = [self._bar] if self.has_work else []
        others = [button for name, button in self.buttons.items() if name not in _STEERING]
        return page.box(
            "lipviz-explorer",
            [
                heading,
                essentials,
                page.box("lipviz-toolbar", steering),
                *([self._more.box] if self._more else []),
                self._alert,
                *self._above_stage(),
                page.box("lipviz-stage", self._stage()),
                self._room,
                self._results,
                page.box("lipviz-toolbar", others),
                self._files,
            ],
        )

    def _above_stage(self):
        """Widgets between the controls and the picture."""
        return []

    def _stage(self):
        """The widgets that show the picture."""
        return [self._image]

    def static(self) -> Picture:
        """The present picture with its words, for places without a kernel.

        Returns:
            A `lipviz.plots.Picture`.

        Raises:
            ValueError: If there is none, because of an error.
        """
        with self._lock:
            if self.data is None:
                raise ValueError(f"There is no picture: {self.error}")
            return picture(self.figure, self.alt_text(self.data), sharpness=_SHARPNESS)

    def close(self) -> None:
        """End the work, forget what it produced, and remove the widgets from the page and from memory."""
        self.stop()
        has_ended = self.wait(_CLOSE_TIMEOUT)
        for widget in (*page.all_widgets(self.widget), *page.all_widgets(self._bar)):
            widget.close()
        if has_ended and self._kept.has_page:  # there, one explorer follows another for hours
            self.forget()
            _memory.give_back()

    @property
    def shown_picture(self) -> str:
        """HTML of the present picture; "" where there is none."""
        with self._lock:
            panels = list(self._live.latest)
        return kept.joined(panels).to_html() if panels else ""

    @property
    def shown_state(self) -> str:
        """State of the present picture as JSON."""
        return links.to_json(self._shown_state)

    def when_kept(self, then: Callable[[], object]) -> None:
        """Call a function of no arguments after the reader has paused, when the last picture and its state are kept."""
        self._kept.then = then

    def _ipython_display_(self):
        bundle = self.widget._repr_mimebundle_()
        self._kept.display({**bundle, "text/plain": repr(self)})

    def follow_address(self) -> None:
        """Keep the state in the address of the page, which is this explorer's own, so that a reload shows it again."""
        self._kept.has_address = True

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = self.widget._repr_mimebundle_(include=include, exclude=exclude)
        bundle["text/plain"] = repr(self)
        if self.data is not None:  # what pages without widgets, such as GitHub's, show instead
            bundle["text/html"] = self.static().to_html()
        return bundle

    def __repr__(self):
        values = ", ".join(f"{name}={value!r}" for name, value in self.state.items())
        return f"{type(self).__name__}({values})"
