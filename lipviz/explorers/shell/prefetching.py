"""Answers that are there before somebody asks: kept, and computed ahead while nobody waits."""

import collections
import contextlib
import threading
from concurrent.futures import Future

from lipviz.explorers.shell.threads import in_background

THREAD = "lipviz-prefetch"  # name of all threads that prefetch
_IDLE_TIME = 0.1  # seconds without a question: long enough for the last answer to get to the page


class ResultCache:
    """A pure function whose latest results are kept. Who asks for one that is under way waits for it.

    Args:
        function: Takes hashable arguments. What it raises is not kept.
        size: Number of results that are kept; the one that was not asked for longest goes first.
    """

    def __init__(self, function, size=64):
        self._function, self._size = function, size
        self._lock, self._results = threading.Lock(), collections.OrderedDict()

    def __call__(self, *arguments):
        with self._lock:
            result = self._results.get(arguments)
            is_new = result is None
            if is_new:
                result = self._results[arguments] = Future()
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
    """Computes in a thread what is likely to be asked for next. The newest guess wins.

    Args:
        compute: Function of one guess that keeps what it computes. Whoever asks gets its errors, not this thread.
    """

    def __init__(self, compute):
        self._compute, self._changed = compute, threading.Condition()
        self._guess = self._thread = None

    def prefetch(self, guess):
        """Compute for a guess, in a moment; None only drops one that has not been begun."""
        with self._changed:
            self._guess = guess
            if guess is not None and self._thread is None:
                # Not a daemon: Python waits for it at its end, which backends need.
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
        """Whether it is still the newest one: an answer may have been waited for."""
        with self._changed:
            is_newest = self._guess is guess
            if is_newest:
                self._guess = None
            return is_newest
