"""One thread for BLAS and LAPACK: matrices of a few hundred rows gain nothing from more, and may lose a lot."""

import contextlib
import functools
import threading
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController

_LOCK = threading.Lock()  # held while the libraries use one thread


@functools.cache
def _libraries():
    """The BLAS libraries of NumPy and SciPy, which take time to find."""
    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Compute with BLAS and LAPACK on one thread.

    Threads of BLAS wait for each other at every step of a factorization. Where TensorFlow's threads or another process
    keep a core, each wait takes a turn of the scheduler: the Cholesky factorization of a complex 256 × 256 matrix took
    53 ms with two threads on two busy cores, and 0.7 ms with one. On idle cores two threads took 1.0 ms.

    It is a setting of the whole process. The first thread that enters sets it, and resets it when it leaves: with
    OpenBLAS no other thread can. For threads that enter meanwhile, this does nothing.
    """
    if not _LOCK.acquire(blocking=False):
        yield
        return
    try:
        with _libraries().limit(limits=1):
            yield
    finally:
        _LOCK.release()
