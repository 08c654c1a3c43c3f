"""Results that are kept, for values that a reader returns to."""

import collections
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any


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
