"""How an answer to a slider gets the processor to itself, as far as other threads of the process are concerned."""

import contextlib
import functools
import sys
import threading

from threadpoolctl import ThreadpoolController

from lipviz.explorers._work import THREAD

_PATIENCE = 0.05  # seconds that other Python threads wait for their turn
_STATE = threading.Condition()
_before = []  # numbers of BLAS threads outside of all that is below, one entry for each of those that are inside


@contextlib.contextmanager
def undisturbed():
    """Compute and draw without waiting for other threads.

    - BLAS and LAPACK use one thread. Beside a browser, a server and a kernel on few cores, several wait for each other
      for longer than they compute: the eigenvalues of a 256 × 256 matrix took 500 ms with two threads on two busy
      cores, and 5 ms with one.
    - Python's threads take turns every 50 ms in place of 5: else the thread that sends messages to the page stops the
      answer again and again, which takes 8 ms of about 90. Not where an explorer has begun to train, or computes ahead:
      that thread would keep its turn.

    Both are settings of the whole process, set by who comes first; the last one sets BLAS back.
    """
    with _one_blas_thread() as is_alone:
        interval = sys.getswitchinterval()
        is_patient = is_alone and not any(thread.name == THREAD for thread in threading.enumerate())
        if is_patient:
            sys.setswitchinterval(_PATIENCE)
        try:
            yield
        finally:
            if is_patient:
                sys.setswitchinterval(interval)


@contextlib.contextmanager
def in_background():
    """Compute what nobody waits for yet: it begins when no answer is being made, and uses one BLAS thread, too."""
    with contextlib.ExitStack() as stack:
        with _STATE:
            _STATE.wait_for(lambda: not _before)
            stack.enter_context(_one_blas_thread())
        yield


@contextlib.contextmanager
def _one_blas_thread():
    """Limit BLAS to one thread; the value is whether nobody else had."""
    with _STATE:
        numbers = _before[0] if _before else [library.get_num_threads() for library in _libraries()]
        is_alone = not _before
        _before.append(numbers)
        if is_alone:
            _limit([1] * len(numbers))
    try:
        yield is_alone
    finally:
        with _STATE:
            _before.pop()
            if not _before:
                _limit(numbers)
            _STATE.notify_all()


@functools.cache
def _libraries():
    """The BLAS libraries of NumPy and SciPy; to find them takes time."""
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _limit(numbers):
    """Set numbers of threads, from whatever thread.

    threadpoolctl lets only the thread that began set those of OpenBLAS, so that threads do not disturb each other.
    Here they are counted; so this goes past it where it can, and where it cannot, things are slower, not wrong.
    """
    for library, number in zip(_libraries(), numbers, strict=True):
        getattr(library, "_real_set_num_threads", library.set_num_threads)(number)
