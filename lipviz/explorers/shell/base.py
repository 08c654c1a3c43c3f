"""The anatomy that all explorers share: controls → compute → draw, with one state, one picture and one message."""

import abc
import contextlib
import functools
import threading
from pathlib import Path
from types import MappingProxyType

import ipywidgets as widgets

from lipviz import _moved
from lipviz.explorers.shell import page, saving
from lipviz.explorers.shell.controls import (
    accepts,
    choice,
    is_set_by_page,
    log_slider,
    next_value,
    range_of,
    slider,
    toggle,
)
from lipviz.explorers.shell.live import ExplorerFigure
from lipviz.explorers.shell.prefetching import Prefetcher
from lipviz.explorers.shell.threads import undisturbed
from lipviz.explorers.shell.work import IDLE, RUNNING, Worker
from lipviz.plots import new_figure, picture

__all__ = ["Explorer", "choice", "log_slider", "slider", "toggle"]

_SHARPNESS = 1.5  # image pixels per CSS pixel: crisp enough, at 60 % of the pixels of 2
_CLOSE_TIMEOUT = 20  # seconds for a worker to come to its next yield
_WORK_BUTTONS = {IDLE: ("Start", "play"), RUNNING: ("Pause", "pause"), "paused": ("Continue", "play")}


class Explorer(abc.ABC):
    """Base of all explorers.

    A subclass says what there is to see, and no more:

    - `title`, `panels` (of its figure) and `help_text` (one sentence);
    - `make_controls()`: {title of a group: {name: ipywidgets control}}; names are those of the state;
    - `compute(**state)`: pure, from the state to a dataclass of `lipviz.measure`; ValueError where a value is bad;
    - `draw(data, state)`: the plots, on `self.figure`, of what `compute` returned for that state, and of nothing else;
    - `alt_text(data)`, `statement(data)` and `numbers(data)`: the picture in words, what follows from it in one to
      three sentences, and a list of (name, value) pairs of text;
    - `table(data)`: what is saved as CSV, by default the numbers.

    A subclass whose computation takes long enough to be felt writes it as

    - `measured(**state)`: pure, and remembered (`shell.prefetching.ResultCache`); `compute` calls it.

    While nobody waits, it is called in a thread for the value that a slider on a page would get next; no lock is held
    then. It returns None for what it must not be called for unasked, such as the reader's own objects.

    Work that takes long runs in a thread. A subclass that has some sets `has_work = True` and writes

    - `work(**state)`: a generator of pairs (fraction done, data), each of which is drawn;
    - `restarts`: names of the controls that begin the work anew; others only compute the picture again, with what the
      work has made so far;
    - `forget()`: drop what earlier work made.

    The explorer's lock is held while the generator runs, so `compute` never meets it in the middle of a step.

    Here is the rest: whenever a control changes, compute and draw; show the message of an error in place of a
    traceback; state, reset, saving and display.

    Attributes:
        controls: Dict from name to ipywidgets control.
        buttons: Dict from name to ipywidgets button: "reset", "png", "svg", "csv", and with work "start" (which pauses
            and goes on as well), "step" and "stop".
        figure: `matplotlib.figure.Figure`, as last drawn.
        data: What was last computed without an error, and drawn; None before.
        error: The exception that is shown, or None.
        widget: The ipywidgets box that a notebook displays.
    """

    title = ""
    help_text = ""
    panels = 1
    has_work = False
    restarts = frozenset()
    _renamed = MappingProxyType({})  # old names of controls, which the state takes for one release, and the new ones
    measured = None

    def __init__(self):
        self.data = self.error = None
        self.figure = new_figure(self.panels, dpi=round(_SHARPNESS * 100))
        self._live = ExplorerFigure(self.figure, all_colours=self.has_work)
        self._lock, self._asked, self._is_quiet = threading.RLock(), 0, False

        groups = self.make_controls()
        self.controls = {name: control for group in groups.values() for name, control in group.items()}
        self._defaults = self.state
        self._alert, self._image, self._results = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._files, self._bar = widgets.HTML(), widgets.FloatProgress(max=1.0, description="done 0 %")
        self.buttons = self._made_buttons()
        self._prefetcher = None if self.measured is None else Prefetcher(lambda state: self.measured(**state))
        self._worker = Worker(self._lock, self._show_piece, self._show_error, self._show_worker)
        self.widget = self._assembled(groups)
        for name, control in self.controls.items():
            control.observe(functools.partial(self._changed, name), names="value")
        self._show_worker(IDLE)
        self.refresh()

    # --- for subclasses ---

    @abc.abstractmethod
    def make_controls(self):
        """Controls by group, {title: {name: control}}; see `slider`, `log_slider`, `choice` and `toggle`."""

    @abc.abstractmethod
    def compute(self, **state):
        """Measurement for a state. Raises ValueError where a value is bad."""

    @abc.abstractmethod
    def draw(self, data, state):
        """Draw on `self.figure`: what `compute` returned for a state. Plots find out what has changed."""

    @abc.abstractmethod
    def alt_text(self, data):
        """The picture in words."""

    @abc.abstractmethod
    def statement(self, data):
        """What follows, in one to three sentences."""

    def numbers(self, data):
        """Pairs (name, value) of text, for the table."""
        return []

    def table(self, data):
        """Names of columns, and a list of rows, for the CSV file."""
        return ["quantity", "value"], [list(pair) for pair in self.numbers(data)]

    def enabled(self, state):
        """Names of the controls that matter in a state; all by default. The others are greyed out."""
        return set(self.controls)

    def work(self, **state):
        """Long work for a state: a generator of pairs (fraction done, data)."""
        raise TypeError(f"{type(self).__name__} has no long work.")

    def forget(self):  # noqa: B027 -- nothing to drop, by default
        """Drop what earlier work made: called before the picture of new work, and by `reset`."""

    def progress(self, text):
        """Say what takes time, in place of the results."""
        self._results.value = page.results(text)

    # --- state ---

    @property
    def state(self):
        """Values of all controls, as a dict that can be kept, shared (as JSON, too) and set again.

        Setting takes a part of it, too. A value that cannot be used leaves the state as it was; the explorer shows
        why, and keeps it as `error`.

        Raises:
            ValueError: If a name is unknown.
        """
        return {name: control.value for name, control in self.controls.items()}

    @state.setter
    def state(self, values):
        before = self.state
        if self._set(self._by_present_names(values)):
            self._respond_to({name for name, value in self.state.items() if before[name] != value})

    def _by_present_names(self, values):
        values = dict(values)
        for old in self._renamed.keys() & values.keys():
            _moved.warn(old, self._renamed[old], 3)
            values[self._renamed[old]] = values.pop(old)
        return values

    def _set(self, values):
        """Set controls without a reaction; False, with a message, where one of the values cannot be used."""
        unknown = sorted(set(values) - set(self.controls))
        if unknown:
            raise ValueError(f"Expected names of {', '.join(self.controls)}. Received: {', '.join(unknown)}")
        before = self.state
        with self._quiet():
            refused = [name for name, value in values.items() if not accepts(self.controls[name], value)]
            if refused:
                for name, value in before.items():
                    self.controls[name].value = value
        if refused:
            self._show_error(self._why_refused({**before, **values}, refused[0]))
        return not refused

    def reset(self):
        """Return to the state at the beginning, and end the work."""
        self.stop()
        self._set(self._defaults)
        self._forget()
        self.refresh()

    def _forget(self):
        with self._lock:
            self.forget()
        self._bar.value, self._bar.description = 0.0, "done 0 %"

    def _why_refused(self, state, name):
        """The error of the computation itself where it has one, else that of the control."""
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

    def _changed(self, name, change):
        if not self._is_quiet:
            self._respond_to({name})
            self._prefetch_next(name, change["old"])

    def _prefetch_next(self, name, before):
        """Compute for the next value of a slider that a page has moved, if it goes on as it went."""
        control = self.controls[name]
        # Where code has set a value, no thread shall go on beside that.
        if self._prefetcher is None or not is_set_by_page(control):
            return
        value = next_value(control, before)
        if value is not None:
            self._prefetcher.prefetch({**self.state, name: value})

    def _respond_to(self, changed):
        """Compute and draw after controls have changed, and begin work anew where it depends on them."""
        if not (self.has_work and changed & set(self.restarts)):
            self.refresh()
            return
        self.stop()
        self._forget()
        self.refresh()
        if self.error is None:
            self.start()

    def refresh(self):
        """Compute and draw for the present state; an error is shown, and the last good picture stays.

        Callbacks may come in several threads (JupyterLab's subshells): one at a time draws, and one that waited
        while a newer one came leaves the work to it.
        """
        self._asked += 1
        mine = self._asked
        if self._prefetcher is not None:
            self._prefetcher.prefetch(None)
        with self._lock:
            if mine < self._asked:
                return
            try:
                with undisturbed():
                    self._respond()
            except Exception as error:  # whatever it is, the reader shall see it here and not miss it in a log
                self._show_error(error)

    def _respond(self):
        state = self.state
        enabled = self.enabled(state)
        for name, control in self.controls.items():
            control.disabled = name not in enabled
        self._show(self.compute(**state), state)

    def _show(self, data, state):
        self.draw(data, state)
        pictures = self._live.panels(self.alt_text(data))
        self.data, self.error = data, None
        with self._image.hold_sync(), self._results.hold_sync(), self._alert.hold_sync(), self._files.hold_sync():
            self._image.value = page.pictures(pictures)
            self._results.value = page.results(self.statement(data), self.numbers(data))
            self._alert.value = self._files.value = ""

    def _show_error(self, error):
        self.error = error
        kind = "" if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: "
        stale = "" if self.data is None else "<br>The picture still shows the last values that could be used."
        self._alert.value = page.alert(kind + str(error), stale)
        self._results.value = "" if self.data is None else self._results.value

    # --- long work ---

    def start(self, work=None, paused=False):
        """Begin long work in its thread. Older work ends at its next yield: the newest request wins.

        Args:
            work: Function of no arguments that returns a generator of pairs (fraction done, data), each of which is
                drawn as `compute`'s are. None takes the explorer's own `work`, for the present state, from scratch.
            paused: Whether to wait for `step` or `go_on` first.
        """
        if work is None:
            self.stop()
            self._forget()
            work = functools.partial(self.work, **self.state)
        self._worker.start(work, paused)

    def pause(self):
        """Pause the work after the present step."""
        self._worker.pause()

    def go_on(self):
        """Go on with paused work."""
        self._worker.go_on()

    def step(self):
        """Work up to the next picture, and pause there."""
        if self.work_state == IDLE:
            self.start(paused=True)
        self._worker.step()

    def stop(self):
        """End the work at its next yield; the last picture stays."""
        self._worker.stop()

    def wait(self, timeout=None):
        """Wait until the work has ended, or rests in a pause.

        Args:
            timeout: Seconds; None has no limit.

        Returns:
            Whether it has ended, and its thread with it.
        """
        return self._worker.wait(timeout)

    @property
    def work_state(self):
        """State of the work: "idle", "running" or "paused"."""
        return self._worker.state

    def _press_start(self):
        {IDLE: self.start, RUNNING: self.pause}.get(self.work_state, self.go_on)()

    def _show_piece(self, fraction, data):
        self._show(data, self.state)
        self._bar.value, self._bar.description = float(fraction), f"done {100 * fraction:.0f} %"

    def _show_worker(self, state):
        if self.has_work and state == self.work_state:  # else another call tells the newer one
            button = self.buttons["start"]
            button.description, button.icon = _WORK_BUTTONS[state]
            self.buttons["stop"].disabled = state == IDLE

    # --- files ---

    def save(self, path):
        """Write the present picture, or its numbers, to a file.

        Args:
            path: Ends with .png, .svg or .csv, which decides.

        Raises:
            ValueError: If it ends otherwise, or there is no picture because of an error.
        """
        kind = saving.suffix_of(path)
        Path(path).write_bytes(self._encoded(kind))

    def _encoded(self, kind):
        with self._lock:
            if self.data is None:
                raise ValueError(f"There is no picture: {self.error}")
            return saving.encoded(self, kind)

    def _offer(self, kind):
        try:
            name = f"{type(self).__name__.removesuffix('Explorer').lower()}-explorer.{kind}"
            self._files.value = saving.download(name, kind, self._encoded(kind))
        except Exception as error:  # shown in place, as in `refresh`
            self._show_error(error)

    # --- display ---

    def _made_buttons(self):
        buttons = {"reset": page.button("Reset", "undo", "Return to the values at the beginning", self.reset)}
        for kind in saving.KINDS:
            what = "numbers" if kind == "csv" else "picture"
            offer = functools.partial(self._offer, kind)
            buttons[kind] = page.button(kind.upper(), "download", f"Save the {what} as a {kind.upper()} file", offer)
        if self.has_work:
            buttons["start"] = page.button("Start", "play", "Start, pause or continue", self._press_start)
            buttons["step"] = page.button("Step", "step-forward", "Go on to the next picture, and pause", self.step)
            buttons["stop"] = page.button("Stop", "stop", "End; the last picture stays", self.stop)
        return buttons

    def _assembled(self, groups):
        columns = widgets.Box([page.group(title, controls.values()) for title, controls in groups.items()])
        columns.add_class("lipviz-groups")
        of_work = [self.buttons[name] for name in ("start", "step", "stop") if self.has_work]
        others = [button for name, button in self.buttons.items() if name not in ("start", "step", "stop")]
        tools = page.toolbar([*of_work, *([self._bar] if self.has_work else []), *others])
        heading = widgets.HTML(page.heading(self.title, self.help_text))
        box = widgets.VBox([heading, columns, tools, self._files, self._alert, self._image, self._results])
        box.add_class("lipviz-explorer")
        return box

    def static(self):
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

    def close(self):
        """End the work, and remove the widgets from the page and from memory."""
        self.stop()
        self.wait(_CLOSE_TIMEOUT)
        if self._prefetcher is not None:
            self._prefetcher.prefetch(None)
        for widget in (*page.all_widgets(self.widget), *page.all_widgets(self._bar)):
            widget.close()

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = self.widget._repr_mimebundle_(include=include, exclude=exclude)
        bundle["text/plain"] = repr(self)
        if self.data is not None:  # what pages without widgets, such as GitHub's, show instead
            bundle["text/html"] = self.static().to_html()
        return bundle

    def __repr__(self):
        values = ", ".join(f"{name}={value!r}" for name, value in self.state.items())
        return f"{type(self).__name__}({values})"
