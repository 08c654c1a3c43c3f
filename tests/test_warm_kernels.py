"""Kernels that are forks: what they share with one another is the imported modules, and nothing else."""

import os
import sys

import nbformat
import pytest

from tests import notebook_plugin
from tests.test_notebook_plugin import HEADER, SETTINGS, run_pytest

# All of them read what one run of kernels left behind. What they hold changes with this folder, and not with lipviz.
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(sys.platform != "linux", reason="only on Linux kernels are forks"),
]

# What belongs to one kernel, or to one run of pytest.
OWN = ("JPY_", "JUPYTER_PATH", "LIPVIZ_SEED", "PIDS", "PYTEST_")
# What importing TensorFlow and scikit-learn sets, before the fork or later.
SET_BY_IMPORTS = ("ENABLE_RUNTIME_UPTIME_TELEMETRY", "HDF5_", "KMP_", "TF2_", "TPU_")
TELLS = f"""
# %%
import os, sys, matplotlib
print(*sys.path, *sys.flags, sys.argv[0], sep="\\n")
print(*sorted(f"{{name}} is {{value}}" for name, value in os.environ.items() if not name.startswith({OWN})), sep="\\n")
print(matplotlib.get_backend(), os.getsid(0) == os.getpid(), os.umask(0), os.nice(0), __name__)
print(sorted(os.listdir()), sorted(name for name in globals() if not name.startswith("_")))
"""
LEAVES = """
# %%
import os, random, sys
import numpy as np
assert "left" not in sys.modules and "LEFT" not in os.environ
sys.modules["left"] = sys
os.environ["LEFT"] = "1"
print(random.random(), np.random.random())
"""
LESSONS = {
    "00_tells": TELLS,
    "01_leaves": LEAVES,
    "02_leaves": LEAVES,
    "03_is_new": """
# %%
import logging, sys
assert "tensorflow" in sys.modules and "lipviz" not in sys.modules
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)  # refused once an operation has run
logging.getLogger("tensorflow").warning("for readers")
""",
    "04_forgot_an_import": "\n# %%\nnp.zeros(1)\n",
    "05_has_another_seed": """
# %%
import random
import keras, numpy as np
keras.utils.set_random_seed(3)
assert random.random() == random.Random(5).random()
assert np.random.default_rng(3).random() == np.random.default_rng(seed=3).random()
assert np.random.default_rng(3).random() == np.random.Generator(np.random.PCG64(5)).random()
""",
    "06_never_ends": "\n# %%\nwhile True:\n    pass\n",
}
FAIL = {"04_forgot_an_import", "06_never_ends"}
PID = "\n# %%\n_ = __import__('os').system('echo $PPID >>$PIDS')\n"  # leaves no name


def run_lessons(project, names, *arguments, **environment):
    """Runs lessons in a project and returns the report, and the notebooks of those that passed."""
    (project / "notebooks").mkdir()
    (project / "pytest.ini").write_text(SETTINGS)
    for name in names:
        limited = HEADER.replace("#   jupytext:", "#   execution:\n#     timeout: 2\n#   jupytext:")
        header = limited if name == "06_never_ends" else HEADER
        (project / "notebooks" / f"{name}.py").write_text(header + PID + LESSONS[name])
    report = run_pytest(project, *arguments, PIDS=str(project / "pids"), **environment).stdout
    kept = sorted((project / notebook_plugin.KEPT).iterdir())
    return report, {path.stem: nbformat.read(path, as_version=4) for path in kept}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tmp_path_factory.mktemp("warm")


@pytest.fixture(scope="module")
def warm(project):
    """The report of all lessons, and the notebooks of those that passed."""
    return run_lessons(project, LESSONS, LIPVIZ_SEED="2")


def test_each_lesson_has_the_outcome_of_a_kernel_of_its_own(warm):
    report, notebooks = warm
    assert set(notebooks) == set(LESSONS) - FAIL, report
    assert "NameError" in report
    assert "06_never_ends.py" in report
    assert "timed out" in report.lower()


def test_a_warm_kernel_has_the_paths_and_settings_of_a_cold_one(warm, tmp_path):
    _, cold = run_lessons(tmp_path, ["00_tells"], "--cold-kernels")
    lines, expected = (
        [line for line in notebook_plugin.printed(notebooks["00_tells"]) if not line.startswith(SET_BY_IMPORTS)]
        for notebooks in (warm[1], cold)
    )
    assert lines == expected


def test_random_states_differ(warm):
    once, again = (notebook_plugin.printed(warm[1][name]) for name in ("01_leaves", "02_leaves"))
    assert all(a != b for a, b in zip(once[0].split(), again[0].split(), strict=True))


def test_a_logger_made_before_the_fork_writes_into_the_cell(warm):
    (output,) = warm[1]["03_is_new"].cells[-1].outputs
    assert output.name == "stderr"
    assert "for readers" in output.text


def test_no_kernel_is_left(warm, project):
    pids = [int(line) for line in (project / "pids").read_text().splitlines()]
    assert len(pids) == len(LESSONS)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_program_has_a_status_and_streams_of_its_own_and_no_name_of_the_fork(run_program):
    program = "print([name for name in globals() if name[0] != '_'])\nimport sys, warnings\nprint(sys.argv)\n"
    done = run_program(program + "warnings.warn('seen')\nsys.exit(3)")
    assert (done.returncode, done.stdout) == (3, "[]\n['-c']\n")
    assert "<string>:4: UserWarning: seen" in done.stderr
