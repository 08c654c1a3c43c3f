"""What a reader or a program does with the long work of an explorer: start, pause, step, stop and wait."""

import abc
import functools
from collections.abc import Callable, Iterable
from typing import Any

from lipviz.explorers.shell.hooks import Hooks
from lipviz.explorers.shell.work import IDLE, RUNNING, Worker


class Working(Hooks):
    """The part of `Explorer` that steers its long work."""

    state: dict[str, Any]
    _worker: Worker

    @abc.abstractmethod
    def _forget(self):
        """Drop what earlier work produced, also on the page."""

    def start(self, work: Callable[[], Iterable[tuple[float, Any]]] | None = None, paused: bool = False) -> None:
        """Begin long work in its thread. Older work ends at its next yield: the newest request wins.

        Args:
            work: Function of no arguments that returns a generator of pairs (fraction done, data). Each is drawn like
                the data of `compute`. None starts the explorer's own `work` for the present state, from the beginning.
            paused: Whether to wait for `step` or `go_on` first.
        """
        if work is None:
            self.stop()
            self._forget()
            work = functools.partial(self.work, **self.state)
        self._worker.start(work, paused)

    def pause(self) -> None:
        """Pause the work after the present step."""
        self._worker.pause()

    def go_on(self) -> None:
        """Continue paused work."""
        self._worker.go_on()

    def step(self) -> None:
        """Work up to the next picture, and pause there."""
        if self.work_state == IDLE:
            self.start(paused=True)
        self._worker.step()

    def stop(self) -> None:
        """End the work at its next yield; the last picture stays."""
        self._worker.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the work has ended or is paused.

        Args:
            timeout: Seconds; None has no limit.

        Returns:
            Whether it has ended, and its thread with it.
        """
        return self._worker.wait(timeout)

    @property
    def work_state(self) -> str:
        """State of the work: "idle", "running" or "paused"."""
        return self._worker.state

    def _press_start(self):
        {IDLE: self.start, RUNNING: self.pause}.get(self.work_state, self.go_on)()
