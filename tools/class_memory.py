"""Measure how much memory the kernels of a class take that have run a lesson to its last cell.

    python -m tools.class_memory                     ten kernels, short trainings, the images of a reader
    python -m tools.class_memory --full --kernels 1  one kernel, as a reader's

Each kernel runs the lesson after the one before it, and stays. With short trainings, a kernel holds the same images as
a reader's does, takes 16 steps per epoch, and asserts nothing about what was learned. Then the tool reads the
proportional set size (PSS) of each from `/proc`: a page that n processes share counts as 1/n for each. So the sum is
what all of them take together. Kernels do not see JAX, which TensorFlow imports where it is installed, and which the
extra `lab` does not install.
"""

import argparse
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from jupyter_client import KernelManager
from nbclient import NotebookClient

from lipviz.command import lab

MIB = 2**20
WITHOUT_JAX = "import sys\n\nsys.modules['jax'] = None"
SHORT = """
def _short(fit):
    return lambda self, *arrays, **settings: fit(self, *arrays, **{"steps_per_epoch": 16, **settings})


keras.Model.fit = _short(keras.Model.fit)
"""


def prepared(lesson, *, full):
    """The lesson as a kernel runs it."""
    notebook = jupytext.read(lesson.path)
    for cell in notebook.cells if not full else ():
        if cell.cell_type == "code":
            cell.source = re.sub(r"^assert .*", "pass", cell.source, flags=re.MULTILINE)
        settings = cell.metadata.get("nbmake", {}).get("mock", {})
        short = [f"{name} = {value!r}" for name, value in settings.items() if name not in ("TRAIN", "TEST")]
        if short:
            cell.source = "\n".join([cell.source, SHORT, *short])
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT_JAX))
    return notebook


def started(notebook, folder):
    """Runs a notebook in a new kernel, which stays; returns its manager."""
    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec_manager.kernel_dirs.insert(0, f"{folder}/jupyter/kernels")
    manager.start_kernel(cwd=folder, stderr=subprocess.DEVNULL)
    NotebookClient(notebook, km=manager, timeout=1800).execute(cleanup_kc=False)
    return manager


def memory(pid):
    """PSS, its anonymous part, and RSS of a process, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) * 1024 / MIB for name, _, rest in (line.partition(":") for line in lines)}
    return sizes["Pss"], sizes["Pss_Anon"], sizes["Rss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lesson", default="08", help="default: %(default)s")
    parser.add_argument("--kernels", type=int, default=10, help="how many; default: %(default)s")
    parser.add_argument("--full", action="store_true", help="the settings of readers, in place of short trainings")
    parser.add_argument("--minutes", type=float, default=60, help="start no kernel after so long; default: %(default)s")
    arguments = parser.parse_args()
    (lesson,) = lab.find_lessons([arguments.lesson])
    began, managers = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        lab.write_kernelspec(Path(folder, "jupyter"))
        try:
            while len(managers) < arguments.kernels and time.monotonic() - began < 60 * arguments.minutes:
                managers.append(started(prepared(lesson, full=arguments.full), folder))
                pss, *_ = memory(managers[-1].provisioner.pid)
                seconds = time.monotonic() - began
                print(f"{len(managers):3d} kernels, {seconds:5.0f} s: the newest has PSS {pss:.0f}", flush=True)
            sizes = [memory(manager.provisioner.pid) for manager in managers]
            names = ("PSS", "anonymous part of it", "RSS")
            for name, column in zip(names, zip(*sizes, strict=True), strict=True):
                print(f"{name:22s} median {statistics.median(column):5.0f} MiB, largest {max(column):5.0f} MiB")
        finally:
            for manager in managers:
                manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
