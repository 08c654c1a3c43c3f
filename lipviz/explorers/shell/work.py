"""Long work in a thread of its own, piece by piece. It can be paused, stepped and stopped; new work replaces it."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

IDLE, RUNNING, PAUSED = "idle", "running", "paused"
THREAD = "lipviz-explorer"  # name of all workers
_PAUSE = 0.002  # seconds between two pieces of work, in which a waiting thread gets the lock


class Worker:
    """Runs generators that yield `(fraction done, data)`, one after the other, in at most one thread.

    Args:
        lock: Held while a generator runs and while its data are shown, so that no other thread sees half a step.
        show: Called with (fraction, data) of each piece.
        fail: Called with an exception that the work has raised. The work ends then.
        report: Called with the state, "idle", "running" or "paused", whenever that has changed.
    """

    def __init__(
        self,
        lock: AbstractContextManager,
        show: Callable[[float, Any], None],
        fail: Callable[[Exception], None],
        report: Callable[[str], None],
    ):
        self._lock, self._show, self._fail, self._report = lock, show, fail, report
        self._changed = threading.Condition()
        # The newest job. The thread ends any other one.
        self._job: Callable[[], Iterable[tuple[float, Any]]] | None = None
        self._thread: threading.Thread | None = None
        self._is_paused, self._steps, self._is_busy = False, 0, False

    @property
    def state(self) -> str:
        """One of "idle", "running" and "paused"."""
        return IDLE if self._job is None else PAUSED if self._is_paused else RUNNING

    def start(self, work: Callable[[], Iterable[tuple[float, Any]]], paused: bool = False) -> None:
        """Begin new work. Present work ends at its next yield.

        Args:
            work: Function of no arguments that returns the generator. It is called in the thread.
            paused: Whether to wait for `step` or `go_on` first.
        """
        with self._changed:
            self._job, self._is_paused, self._steps = work, paused, 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
                self._thread.start()
            self._changed.notify_all()
        self._report(self.state)

    def pause(self) -> None:
        """Wait after the present piece."""
        self._set(paused=True)

    def go_on(self) -> None:
        """Continue after a pause."""
        self._set(paused=False)

    def step(self) -> None:
        """Do one more piece of work, and pause."""
        self._set(paused=True, steps=1)

    def _set(self, paused, steps=0):
        with self._changed:
            self._is_paused = paused
            self._steps = self._steps + steps if steps else 0
            self._changed.notify_all()
        self._report(self.state)

    def stop(self) -> None:
        """End the work at its next yield. Nothing more is shown."""
        self._end(self._job)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the work has ended or is paused.

        Args:
            timeout: Seconds; None has no limit.

        Returns:
            Whether the work has ended, and its thread with it.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("The work cannot wait for itself.")
        with self._changed:
            self._changed.wait_for(self._is_still, timeout)
            return self._thread is None

    def _is_still(self):
        is_resting = self._job is not None and self._is_paused and not self._steps and not self._is_busy
        return self._thread is None or is_resting

    # --- in the thread ---

    def _run(self):
        while True:
            with self._changed:
                job = self._job
                if job is None:
                    self._thread = None
                    self._changed.notify_all()
                    return
            try:
                self._do(job)
            except Exception as error:  # of any kind: the reader must see it, and the next work must begin
                with self._lock:
                    if self._job is job:
                        self._fail(error)
            self._end(job)

    def _do(self, job):
        pieces: Any = None
        try:
            while self._may_go_on(job):
                with self._lock:
                    pieces = iter(job()) if pieces is None else pieces
                    piece = next(pieces, None)
                    if piece is None:
                        return
                    if self._job is job:
                        self._show(*piece)
                self._rest()
                time.sleep(_PAUSE)
        finally:
            self._rest()
            if hasattr(pieces, "close"):
                with self._lock:
                    pieces.close()

    def _may_go_on(self, job):
        with self._changed:
            self._changed.wait_for(lambda: self._job is not job or not self._is_paused or self._steps)
            if self._job is not job:
                return False
            self._steps -= bool(self._steps)
            self._is_busy = True
            return True

    def _rest(self):
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()

    def _end(self, job):
        with self._changed:
            if job is None or self._job is not job:
                return
            self._job = None
            self._changed.notify_all()
        self._report(self.state)
