"""Results that are ready before they are needed: kept from earlier, or computed ahead while nobody waits."""

import collections
import contextlib
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any

from lipviz.explorers.shell.threads import in_background

THREAD = "lipviz-prefetch"  # name of all threads that compute ahead
_IDLE_TIME = 0.1  # seconds without a new guess: long enough for the last answer to reach the page


class ResultCache:
    """A pure function that keeps its latest results. A call for a result that is being computed waits for it.

    Args:
        function: Function of hashable arguments. Exceptions that it raises are not kept.
        size: Number of results that are kept; the least recently used one is dropped first.
    """

    def __init__(self, function: Callable[..., Any], size: int = 64):
        self._function, self._size = function, size
        self._lock = threading.Lock()
        self._results: collections.OrderedDict[tuple, Future] = collections.OrderedDict()

    def __call__(self, *arguments: Hashable) -> Any:
        with self._lock:
            is_new = arguments not in self._results
            if is_new:
                self._results[arguments] = Future()
            result = self._results[arguments]
            self._results.move_to_end(arguments)
            if len(self._results) > self._size:
                self._results.popitem(last=False)
        if is_new:
            self._fill(arguments, result)
        return result.result()

    def _fill(self, arguments, result):
        try:
            result.set_result(self._function(*arguments))
        except BaseException as error:
            with self._lock:
                if self._results.get(arguments) is result:
                    del self._results[arguments]
            result.set_exception(error)


class Prefetcher:
    """Computes in a thread what will probably be needed next. A new guess replaces an older one.

    Args:
        compute: Function of one guess that keeps its result. Its exceptions are ignored: the later call that needs the
            result raises them.
    """

    def __init__(self, compute: Callable[[Any], object]):
        self._compute, self._changed = compute, threading.Condition()
        self._guess: Any = None
        self._thread: threading.Thread | None = None

    def prefetch(self, guess: Any) -> None:
        """Compute for a guess after a short delay. None only drops a guess whose computation has not begun."""
        with self._changed:
            self._guess = guess
            if guess is not None and self._thread is None:
                # Not a daemon: when Python exits it waits for the thread, which backends need.
                self._thread = threading.Thread(target=self._run, name=THREAD, daemon=False)
                self._thread.start()
            self._changed.notify_all()

    def _run(self):
        try:
            while (guess := self._settled_guess()) is not None:
                with in_background(), contextlib.suppress(Exception):
                    if self._take(guess):
                        self._compute(guess)
        finally:
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _settled_guess(self):
        """The guess, once no newer one has come for a while; None ends the thread."""
        with self._changed:
            while self._changed.wait(_IDLE_TIME):
                pass
            if self._guess is None:
                self._thread = None
            return self._guess

    def _take(self, guess):
        """Take the guess if it is still the newest one, and return whether it is: time may have passed."""
        with self._changed:
            is_newest = self._guess is guess
            if is_newest:
                self._guess = None
            return is_newest
