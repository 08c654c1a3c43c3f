"""What all tests share: seeds, and how hypothesis behaves."""

import os
import signal

import hypothesis
import pytest

from tests.jax_run import RUN, JaxRun

# Timings on a busy machine say nothing, and a test that failed must fail again.
hypothesis.settings.register_profile("lipviz", deadline=None, derandomize=True)
hypothesis.settings.load_profile("lipviz")

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start, and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeds(request):
    """Seeds Python, NumPy and the backend before each test that may use Keras."""
    if request.node.get_closest_marker("browser") is None:
        import keras

        keras.utils.set_random_seed(0)


def _is_jax(item):
    return item.path.name == "test_jax.py"


def _row(item):
    """The site shows what the lessons put out; the result of the run beside this one is asked for last."""
    return 2 if _is_jax(item) else 1 if item.get_closest_marker("site") else 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=_row)  # stable


def pytest_collection_finish(session):
    wanted = any(_is_jax(item) for item in session.items) and not session.config.option.collectonly
    if wanted and os.environ.get("KERAS_BACKEND") != "jax":
        session.config.stash[RUN] = JaxRun()


def pytest_unconfigure(config):
    if RUN in config.stash:
        config.stash[RUN].close()
