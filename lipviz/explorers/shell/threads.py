"""How an answer to a slider gets the processor to itself, as far as other threads of the process are concerned."""

import contextlib
import functools
import sys
import threading

from threadpoolctl import ThreadpoolController

from lipviz.explorers.shell.work import THREAD

_SWITCH_INTERVAL = 0.05  # seconds that other Python threads wait for their turn
_ANSWER_LOCK = threading.Lock()  # held while an answer is made
_PREFETCH_LOCK = threading.Lock()  # held while something is computed ahead


@functools.cache
def _libraries():
    """The BLAS libraries of NumPy and SciPy; to find them takes time."""
    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def undisturbed():
    """Compute and draw without waiting for other threads.

    - BLAS and LAPACK use one thread. Beside a browser, a server and a kernel on few cores, several wait for each other
      for longer than they compute: the eigenvalues of a 256 × 256 matrix took 500 ms with two threads on two busy
      cores, and 5 ms with one.
    - Python's threads take turns every 50 ms in place of 5: else the thread that sends messages to the page stops the
      answer again and again, which takes 8 ms of about 90. Not where an explorer has begun to train, or computes ahead:
      that thread would keep its turn.

    Both are settings of the whole process. Whoever begins first sets them, and sets them back at its own end: with
    OpenBLAS no other thread can. To those that come in between it does nothing.
    """
    if not _ANSWER_LOCK.acquire(blocking=False):
        yield
        return
    try:
        interval = sys.getswitchinterval()
        with _libraries().limit(limits=1):
            if not _PREFETCH_LOCK.locked() and not any(thread.name == THREAD for thread in threading.enumerate()):
                sys.setswitchinterval(_SWITCH_INTERVAL)
            try:
                yield
            finally:
                sys.setswitchinterval(interval)
    finally:
        _ANSWER_LOCK.release()


@contextlib.contextmanager
def in_background():
    """Compute what nobody waits for yet: one at a time, and begun while no answer is being made.

    BLAS is left as it is: whoever computes in the foreground meanwhile may have set it.
    """
    with _PREFETCH_LOCK:
        with _ANSWER_LOCK:
            pass
        yield
