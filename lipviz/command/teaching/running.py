"""Runs a lesson, as a reader does, and returns it with its outputs."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from nbclient import NotebookClient
from nbformat import NotebookNode

from lipviz.command.lab import write_kernelspec


def run(notebook: NotebookNode, *, quick: bool = False) -> None:
    """Runs a lesson in place, in a folder of its own and in a kernel of this Python.

    Args:
        notebook: The lesson, as jupytext reads it.
        quick: Whether to take the quick settings in the metadata of its cells, with which trainings are short. Else a
            lesson has the settings that readers get.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
        nbclient.exceptions.CellTimeoutError: A cell took longer than the lesson allows.
        nbclient.exceptions.DeadKernelError: The kernel ended.
    """
    sources = [cell.source for cell in notebook.cells]
    for cell in notebook.cells if quick else ():
        settings = cell.metadata.get("nbmake", {}).get("mock", {})
        cell.source = "\n".join([cell.source, *(f"{name} = {value!r}" for name, value in settings.items())])
    scratch = tempfile.mkdtemp(prefix="lipviz-")
    try:
        write_kernelspec(Path(scratch, "jupyter"))
        client = NotebookClient(
            notebook,
            timeout=notebook.metadata.get("execution", {}).get("timeout", 600),
            kernel_name="python3",
            resources={"metadata": {"path": scratch}},
        )
        client.create_kernel_manager().kernel_spec_manager.kernel_dirs.insert(0, f"{scratch}/jupyter/kernels")
        client.execute(stderr=subprocess.DEVNULL)  # of the process, where TensorFlow writes; not that of the cells
    finally:
        shutil.rmtree(scratch)
        for cell, source in zip(notebook.cells, sources, strict=True):
            cell.source = source
