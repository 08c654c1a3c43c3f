"""The callback: listens to Keras, writes down, and tells the displays when to draw."""

import atexit
import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras

from lipviz import normalizers as nm
from lipviz.callbacks import ConfiguredCallback, check_flag
from lipviz.measure import TrainingLog
from lipviz.monitor.displays import Display, Files, Notebook, terminal
from lipviz.monitor.progress import Progress
from lipviz.monitor.record import Record
from lipviz.rules.used import to_numpy
from lipviz.types import ArrayLike

MODES = ("auto", "notebook", "terminal", "files")
_TICK = 0.25  # seconds between two words on the progress
_WAIT_PER_DRAWING = 9  # a picture waits this many times as long as the last one took


@keras.saving.register_keras_serializable("lipviz")
class TrainingMonitor(ConfiguredCallback):
    """Draw what happens while `fit` runs: losses, metrics, terms of the loss, gradient norms and singular values.

    Works with any Keras model, and changes nothing about its training. Give a sample to see more than losses, metrics
    and kernels: ``model.fit(..., verbose=0, callbacks=[TrainingMonitor(x_test[:256], y_test[:256])])``. Afterwards
    `log` has everything, over all calls of `fit` of that model.

    Kernels are measured as they are stored: in the middle of `fit` a constrained one is that of the last step's
    forward pass. A NaN or infinite number is marked in the picture and said in words; training goes on.

    An interrupt (Ctrl-C, or a notebook's stop button) draws the last picture before it ends `fit`. So does the end of
    the cell in a notebook, and that of the process, where `fit` failed for another reason.

    Args:
        x: Sample of shape (n, ...), for gradient norms and terms of the loss. None leaves these out.
        y: Its labels, as `fit` takes them, of shape (n, ...): for the terms of a loss of the HKR family.
        mode: "notebook": a progress bar and a picture below the cell. "terminal": a table that is updated in place,
            by rich where it is installed, else a line per epoch. "files": CSV, PNG and SVG in `folder` only. "auto":
            "notebook" in a Jupyter kernel; else "files" where there is a folder, and "terminal" where not.
        folder: Where to write files, in any mode.
        every: Fewest seconds between two pictures. Drawing never takes more than about a tenth of the time.
        samples: Number of samples of `x` to use at most, the first ones.
        output: Which output the gradients are of, see `lipviz.measure.GradientMeter`; all by default.
        spectra: Whether to decompose the kernels, in float64, after each epoch.

    Attributes:
        overhead: Seconds that the monitor itself has taken so far.

    Raises:
        ValueError: If an argument is out of range, or `x` and `y` are not equally many.
    """

    # What the first call of `fit` makes.
    _record: Record
    _displays: list[Display]
    _first_batch: tuple[int | None, float] | None

    def __init__(
        self,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
        mode: Literal["auto", "notebook", "terminal", "files"] = "auto",
        folder: str | os.PathLike[str] | None = None,
        every: float = 1.0,
        samples: int = 128,
        output: ArrayLike | Literal["all"] | None = None,
        spectra: bool = True,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"`mode` must be one of {', '.join(map(repr, MODES))}. Received: mode={mode!r}")
        if mode == "files" and folder is None:
            raise ValueError("`mode='files'` needs a folder to write to. Received: folder=None")
        self.samples = nm.check_count("samples", samples)
        if samples < 1:
            raise ValueError(f"`samples` must be at least 1. Received: samples={samples!r}")
        self.x, self.y = _sample(x, y, self.samples)
        self.mode = mode
        self.folder = None if folder is None else os.fspath(folder)
        self.every = nm.check_positive("every", every)
        self.output = output
        self.spectra = check_flag("spectra", spectra)
        self.overhead = 0.0
        self._watched: keras.Model | None = None
        self._previous_handler: Callable[..., Any] | None = None
        self._status = "finished"

    # --- what Keras calls ---

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        if self._status == "running":  # an earlier `fit` failed
            self._close("interrupted")
        with self._working():
            if self._watched is not self._model:
                self._watched = self._model
                self._record = Record(self.model, self.x, self.y, self.output, self.spectra)
                self._displays = self._chosen_displays()
            self._record.begin()
            self._began = self._last_tick = time.perf_counter()
            self._before, self._own = sum(self._record.log("running", None).seconds[-1:]), self.overhead
            self._epochs, self._epoch, self._batch = self.params.get("epochs") or 1, 0, 0
            self._steps, self._first_batch = self.params.get("steps"), None
            self._next_picture = self._began + self.every
            self._status = "running"
            self._watch_the_end()
            self._tell("begin", self._progress())

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch, self._batch = epoch + 1, 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        now = time.perf_counter()
        loss = (logs or {}).get("loss")
        self._record.batch(batch + 1 - self._batch, None if loss is None else float(loss))
        self._batch = batch + 1
        if self._first_batch is None:  # which compiles, and says nothing of the others
            self._first_batch = (self._done(), now)
        self.overhead += time.perf_counter() - now
        if now - self._last_tick >= _TICK:
            self._last_tick = now
            with self._working():
                self._tell("tick", self._progress())
                self._draw_if_due(now)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        with self._working():
            self._steps = self._batch or self._steps
            seconds = self._before + time.perf_counter() - self._began - (self.overhead - self._own)
            self._record.epoch(self.model, logs or {}, seconds)
            self._tell("epoch", self.log, self._progress())
            self._draw_if_due(time.perf_counter())

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        with self._working():
            self._close("finished")

    # --- what there is to see ---

    @property
    def log(self) -> TrainingLog | None:
        """`lipviz.measure.TrainingLog` of what there is so far; None before training."""
        return None if self._watched is None else self._record.log(self._status, self._steps)

    def _progress(self):
        now = time.perf_counter()
        return Progress(
            self._epoch, self._epochs, self._batch, self._steps, now - self._began, self._left(now), self._status,
            tuple(_broken(name, epoch) for name, epoch in self._record.not_finite.items()) + tuple(self._record.notes),
        )  # fmt: skip

    def _done(self):
        """Batches of this call so far, in the units of `_steps`; None where these are not known."""
        return None if not self._steps else (self._epoch - 1) * self._steps + self._batch

    def _left(self, now):
        """Seconds that are left, estimated from all batches after the first."""
        if self._first_batch is None or not self._steps:
            return None
        first, then = self._first_batch
        done = self._done() - (1 if first is None else first)
        return (now - then) / done * (self._epochs * self._steps - self._done()) if done > 0 else None

    def _draw_if_due(self, now):
        if now < self._next_picture:
            return
        self._tell("draw", self.log, self._progress())
        end = time.perf_counter()
        self._next_picture = end + max(self.every, _WAIT_PER_DRAWING * (end - now))

    def _tell(self, method, *news):
        """Tell all displays. One that fails is left out from here on: training shall not end because of it."""
        for display in list(self._displays):
            try:
                getattr(display, method)(*news)
            except Exception as error:
                self._displays.remove(display)
                self._record.notes.append(f"{type(display).__name__} shows nothing any more: {error}")
                warnings.warn(self._record.notes[-1], RuntimeWarning, stacklevel=3)

    def _chosen_displays(self):
        mode = self.mode
        if mode == "auto":
            mode = "notebook" if _in_notebook() else "files" if self.folder is not None else "terminal"
        shown: list[Display] = []
        if mode != "files":
            shown.append(Notebook() if mode == "notebook" else terminal())
        if self.folder is not None:
            shown.append(Files(self.folder))
        return shown

    # --- the end, whatever it is ---

    @contextlib.contextmanager
    def _working(self):
        """Count the time of the monitor's own work; an interrupt in the middle of it ends the monitor, too."""
        began = time.perf_counter()
        self._is_busy = True
        try:
            yield
        except BaseException:
            self._close("interrupted")
            raise
        finally:
            self._is_busy = False
            self.overhead += time.perf_counter() - began

    def _close(self, status):
        """Draw for the last time, and stop to wait for the end."""
        if self._status != "running":
            return
        self._status = status
        self._stop_watching()
        self._tell("end", self.log, self._progress())

    def _watch_the_end(self):
        """Where `fit` ends by an exception, Keras tells its callbacks nothing."""
        atexit.register(self._failed)
        if threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            self._previous_handler = handler
            signal.signal(signal.SIGINT, self._interrupted)
        if _in_notebook():
            _shell().events.register("post_run_cell", self._failed)

    def _stop_watching(self):
        atexit.unregister(self._failed)
        if threading.current_thread() is threading.main_thread() and self._previous_handler is not None:
            if signal.getsignal(signal.SIGINT) == self._interrupted:
                signal.signal(signal.SIGINT, self._previous_handler)
            self._previous_handler = None
        shell = _shell()
        if shell is not None:
            with contextlib.suppress(ValueError):  # it is not registered
                shell.events.unregister("post_run_cell", self._failed)

    def _interrupted(self, number, frame):
        """Handle Ctrl-C as before; where that ends training, draw first."""
        try:
            (self._previous_handler or signal.default_int_handler)(number, frame)
        except BaseException:
            if not self._is_busy:  # else the exception passes through `_working`
                self._close("interrupted")
            raise

    def _failed(self, *_):
        self._close("interrupted")

    def get_config(self) -> dict[str, Any]:
        sample = {name: None if value is None else value.tolist() for name, value in (("x", self.x), ("y", self.y))}
        names = ("mode", "folder", "every", "samples", "output", "spectra")
        return {**sample, **{name: getattr(self, name) for name in names}}


def _sample(x, y, most):
    """The first samples and their labels as arrays."""
    x, y = (None if value is None else to_numpy(value)[:most] for value in (x, y))
    if x is None and y is not None:
        raise ValueError("Labels `y` need their sample `x`. Received: x=None")
    if x is not None and (x.ndim < 2 or len(x) == 0):
        raise ValueError(f"Expected a sample of shape (n, ...), at least one. Received shape: {x.shape}")
    if y is not None and (y.ndim < 1 or len(y) != len(x)):
        raise ValueError(f"Expected as many labels as samples, {len(x)}. Received shape: {y.shape}")
    return x, y


def _broken(name, epoch):
    return f"{name}: NaN or infinite in epoch {epoch} for the first time."


def _shell():
    """IPython's shell; None where IPython does not run."""
    import sys

    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def _in_notebook():
    return hasattr(_shell(), "kernel")
