"""What all tests share: seeds, and how hypothesis behaves."""

import atexit
import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

from tests.covering import covering, values
from tests.jax_run import FOLDER, JaxRun

ROOT = Path(__file__).parents[1]
JAX = "tests/test_jax.py"
RUN = pytest.StashKey[JaxRun]()
# What hypothesis keeps lies beside what pytest keeps, and not in a folder of its own.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / ".pytest_cache" / "hypothesis"))
# Times the usual number of examples; `python -m tools.nightly examples` sets it.
_FACTOR = int(os.environ.get("LIPVIZ_EXAMPLES_FACTOR", "1"))
# Timings on a busy machine say nothing, and a test that failed must fail again: with the same examples in every run, or
# where there are more of them, with those of the seed that the run states.
hypothesis.settings.register_profile(
    "lipviz", deadline=None, derandomize=_FACTOR == 1, max_examples=100 * _FACTOR, database=None
)
hypothesis.settings.load_profile("lipviz")

# The end of a process would search all that is left for garbage, which takes a second and more. The system frees it.
atexit.register(gc.freeze)

# Without it JAX computes in float32 what tests ask for in float64.
os.environ.setdefault("JAX_ENABLE_X64", "1")

# The processes of `-n` keep the cores busy. Threads that wait for each other there take longer, those of LAPACK many
# times as long. `python -m tools.nightly arithmetic` computes in one thread and in two.
if "PYTEST_XDIST_WORKER" in os.environ and "numpy" not in sys.modules:
    for name in ("OPENBLAS_NUM_THREADS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")
    # What XLA compiles runs a few times only. Its older emitters take a third less, see `tests.jax_run`; a run in one
    # process has the newer ones.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start, and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--cases", type=int, help="of each test with parameters, run this many cases, spread evenly")
    parser.addoption("--nightly", action="store_true", help="run also what is long and rarely breaks")


@pytest.fixture(autouse=True)
def _seeds(request):
    """Seeds Python, NumPy and the backend before each test that may use Keras, with LIPVIZ_SEED (0)."""
    if request.node.get_closest_marker("browser") is None:
        _set_seed(int(os.environ.get("LIPVIZ_SEED", "0")))


def _set_seed(seed):
    """As `keras.utils.set_random_seed`, but leaves TensorFlow alone where its seed is still as it was set.

    With a seed TensorFlow forgets all kernels of its operations, and to find those of a small layer again takes as long
    as to run it.
    """
    import keras

    with pytest.MonkeyPatch.context() as patch:
        if keras.backend.backend() == "tensorflow" and _is_fresh(seed):
            patch.setattr(sys.modules["tensorflow"].random, "set_seed", lambda seed: None)
        keras.utils.set_random_seed(seed)


def _is_fresh(seed):
    """Whether TensorFlow has this seed, and none of its operations has drawn since it was set.

    An operation without a seed of its own draws one from the generator of TensorFlow's context.
    """
    from tensorflow.python.eager import context

    now = context.context()
    return now._seed == seed and now._rng.getstate() == random.Random(seed).getstate()


@pytest.fixture(scope="session")
def forks(request):
    """Forks of a process that has imported TensorFlow already; None where the system cannot fork."""
    from tests.notebook_plugin import can_fork, warm_kernels

    is_jax = os.environ.get("KERAS_BACKEND") == "jax"
    return warm_kernels(request.config) if can_fork(request.config) and not is_jax else None


@pytest.fixture(scope="session")
def run_program(forks):
    """Runs a program in a process of its own that has imported TensorFlow already, where the system can fork."""
    if forks is not None:
        return forks.run
    command = [sys.executable, "-W", "default", "-c"]
    return lambda program: subprocess.run([*command, program], capture_output=True, text=True, timeout=300)


def _is_jax(item):
    return item.path == ROOT / JAX


def pytest_itemcollected(item):
    """Pages and the run on JAX are slow as a whole, as lessons are; of other tests it is said one by one."""
    if _is_jax(item) or any(item.get_closest_marker(name) for name in ("site", "browser")):
        item.add_marker(pytest.mark.slow)


def _is_worker(config):
    """Whether this is one of the processes of `-n`."""
    return hasattr(config, "workerinput")


def _row(item):
    """The site shows what the lessons put out, and comes after them. JAX runs beside all others: it is asked for last.

    With `-n`, what takes longest begins first, or one process is left with it.
    """
    if _is_jax(item):
        return 4
    is_site = item.get_closest_marker("site") is not None
    if not _is_worker(item.config):
        return 3 if is_site else 2
    if is_site:
        return 1
    return 0 if item.get_closest_marker("notebook") else 2


def _spread(items, count):
    """`count` of the items, from the first to the last."""
    if len(items) <= count:
        return items
    return [items[round(index * (len(items) - 1) / max(count - 1, 1))] for index in range(count)]


def _keep(config, items, kept):
    """Deselect all other items."""
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def _places(cases):
    return covering([values(case) for case in cases])


def _by_day(items):
    """What runs without `--nightly`: nothing that is marked `nightly`, and some cases of what is `covered_by_day`."""
    tests = {}
    for item in items:
        if item.get_closest_marker("nightly") is None:
            covered = item.get_closest_marker("covered_by_day") is not None
            tests.setdefault((item.path, item.originalname) if covered else item, []).append(item)
    return {cases[i] for cases in tests.values() for i in (_places(cases) if len(cases) > 1 else [0])}


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays to the end: no search for garbage looks at it, then or later.

    Later searches are rarer than usual: each of them goes through all graphs that TensorFlow has traced so far.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if not config.option.nightly:
        _keep(config, items, _by_day(items))
    if config.option.cases is not None:
        tests = {}
        for item in items:
            tests.setdefault((item.path, getattr(item, "originalname", item.name)), []).append(item)
        _keep(config, items, {item for cases in tests.values() for item in _spread(cases, config.option.cases)})
    items.sort(key=_row)  # stable


def pytest_configure(config):
    config.stash[FOLDER] = Path(config.workerinput["jax"] if _is_worker(config) else tempfile.mkdtemp(prefix="lipviz-"))


def pytest_collection_finish(session):
    if not _is_worker(session.config) and not session.config.option.collectonly and any(map(_is_jax, session.items)):
        _start_jax(session.config)


def _start_jax(config):
    """Start the run on JAX beside this process, unless it runs, or the tests themselves are on JAX."""
    if RUN not in config.stash and os.environ.get("KERAS_BACKEND") != "jax":
        config.stash[RUN] = JaxRun(config.stash[FOLDER])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tells each process of `-n` where the run on JAX leaves its result."""
    node.workerinput["jax"] = str(node.config.stash[FOLDER])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node, ids):
    """Starts the run on JAX once, beside all processes of `-n`."""
    if any(id.startswith(f"{JAX}::") for id in ids):
        _start_jax(node.config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A process of `-n` takes whole files, because their fixtures are dear.

    It takes the lessons together with the site, and all that shares a browser.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            if file.startswith("notebooks/") or file.endswith("test_site.py"):
                return "course"
            return "browser" if file.startswith("tests/browser/") else file

    config.option.loadscopereorder = False  # see `_row`
    return Scheduling(config, log)


def pytest_unconfigure(config):
    if RUN in config.stash:
        config.stash[RUN].close()
    if FOLDER in config.stash and not _is_worker(config):
        shutil.rmtree(config.stash[FOLDER])
