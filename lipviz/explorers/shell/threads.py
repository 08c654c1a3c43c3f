"""Settings of threads, so that the answer to a slider waits as little as possible for other threads of the process."""

import contextlib
import sys
import threading
from collections.abc import Iterator

from lipviz.explorers.shell.work import THREAD
from lipviz.normalizers.threads import one_blas_thread

_SWITCH_INTERVAL = 0.05  # seconds that other Python threads wait for their turn
_ANSWER_LOCK = threading.Lock()  # held while an answer is computed


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Compute and draw without waiting for other threads.

    - BLAS and LAPACK use one thread, see `one_blas_thread`. If a browser, a server and a kernel share few cores,
      several threads wait for each other longer than they compute: the eigenvalues of a 256 × 256 matrix took 500 ms
      with two threads on two busy cores, and 5 ms with one.
    - Python switches between threads every 50 ms in place of 5 ms. Otherwise the thread that sends messages to the page
      interrupts the answer many times, which takes 8 ms of about 90. If an explorer trains, the interval stays as it
      is, since that thread would keep the processor for 50 ms.

    Both are settings of the whole process. The first thread that enters sets them, and resets them when it leaves: with
    OpenBLAS no other thread can. For threads that enter meanwhile, this does nothing.
    """
    if not _ANSWER_LOCK.acquire(blocking=False):
        yield
        return
    try:
        interval = sys.getswitchinterval()
        with one_blas_thread():
            if not any(thread.name == THREAD for thread in threading.enumerate()):
                sys.setswitchinterval(_SWITCH_INTERVAL)
            try:
                yield
            finally:
                sys.setswitchinterval(interval)
    finally:
        _ANSWER_LOCK.release()
