"""One thread for BLAS and LAPACK: matrices of a few hundred rows gain nothing from more, and may lose a lot.

Where there are many matrices, Python's threads share them out instead.
"""

import concurrent.futures
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from threadpoolctl import ThreadpoolController

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

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


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Call a function for each item, each in a thread of its own.

    NumPy and SciPy let other threads run while they compute.

    Args:
        function: From an item to a result.
        items: As many as there are cores, or fewer.

    Returns:
        A list of the results, in the order of the items.
    """
    if len(items) == 1:
        return [function(items[0])]
    with one_blas_thread(), concurrent.futures.ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(function, items))
