"""An answer has the processor to itself, and leaves everything as it was."""

import sys
import threading

import numpy as np
import pytest
import scipy.linalg  # its BLAS, too
from threadpoolctl import threadpool_info, threadpool_limits

from lipviz.explorers.shell import threads
from lipviz.explorers.shell.threads import undisturbed
from lipviz.explorers.shell.work import THREAD
from lipviz.normalizers import threads as blas_threads


def blas():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads():
    assert np.isfinite(scipy.linalg.eigvalsh(np.eye(2))).all()
    blas_threads._libraries.cache_clear()
    with threadpool_limits(2, user_api="blas"):
        yield
    assert not threads._ANSWER_LOCK.locked()
    assert not blas_threads._LOCK.locked()


def test_one_thread_and_long_turns():
    before = blas(), sys.getswitchinterval()
    assert set(before[0]) == {2}
    with undisturbed():
        assert set(blas()) == {1}
        assert sys.getswitchinterval() == pytest.approx(threads._SWITCH_INTERVAL)
        with undisturbed():
            pass
        assert set(blas()) == {1}
    assert (blas(), sys.getswitchinterval()) == before


def test_whoever_began_restores_while_others_go_on():
    before = blas(), sys.getswitchinterval()
    inside, leave = threading.Event(), threading.Event()

    def other():
        with undisturbed():
            inside.set()
            leave.wait(300)

    thread = threading.Thread(target=other)
    with undisturbed():
        thread.start()
        assert inside.wait(300)
    assert (blas(), sys.getswitchinterval()) == before
    with undisturbed():
        leave.set()
        thread.join()
        assert set(blas()) == {1}
    assert (blas(), sys.getswitchinterval()) == before


def test_an_error_restores_too():
    before = blas(), sys.getswitchinterval()
    with pytest.raises(ValueError, match="no"), undisturbed():
        raise ValueError("no")
    assert (blas(), sys.getswitchinterval()) == before


def test_training_does_not_keep_the_turn():
    before, leave = sys.getswitchinterval(), threading.Event()
    thread = threading.Thread(target=leave.wait, args=(300,), name=THREAD)
    thread.start()
    try:
        with undisturbed():
            assert sys.getswitchinterval() == before
            assert set(blas()) == {1}
    finally:
        leave.set()
        thread.join()
