"""A pytest plugin that runs the course's notebooks.

nbmake runs `.ipynb` files. The lessons are percent-format `.py` files, so each is converted into a scratch folder,
which is also its working directory, and run there by nbmake: mocks and timeouts in the metadata work as usual.

nbmake looks at the cells only. An exception inside a widget's callback ends up in the state of an `Output` widget,
one in a thread on stderr, and the notebook passes. Here both fail it, and so does a printed line that is so long that
JupyterLab breaks it, which it does in the middle of words.

A kernel is a fork of a process that has imported TensorFlow, where the system can fork (`tests.warm_kernels`). With
`--cold-kernels` each is started from nothing, as a reader's.

`LIPVIZ_SEED=n` adds n to the seeds that a lesson sets (`tests.shifted_seeds`).

A lesson that passed is kept with its outputs, and the documentation shows them without running it again. With
`--repeat-lessons` each lesson runs a second time, in a cold kernel, and all numbers that it prints must be the same.
"""

import html
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import jupytext
import nbformat
import pytest
import zmq
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.provisioning import local_provisioner
from nbmake.nb_result import NotebookError
from nbmake.nb_run import NotebookRun
from nbmake.pytest_items import NotebookFailedException, NotebookItem

from tests.warm_kernels import Forks, ForkServer, WarmKernels

KEPT = Path("docs", "_build", "lessons")
SHIFTED_SEEDS = Path(__file__).with_name("shifted_seeds.py")
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
TIMES = re.compile(r"\d\s*(?:seconds?|min|ms|s)\b|\bms\b|seconds|0x[0-9a-f]{6}")
PREFORMATTED = re.compile(r"<pre>(.*?)</pre>", flags=re.DOTALL)
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WARM = pytest.StashKey[Forks]()
SHARED = pytest.StashKey[ForkServer]()
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS")


def is_lesson(path: Path, rootpath: Path) -> bool:
    """Tells a lesson, `notebooks/NN_*.py`, from every other file."""
    return path.parent == rootpath / "notebooks" and re.fullmatch(r"\d\d_.+\.py", path.name) is not None


def pytest_addoption(parser):
    group = parser.getgroup("lessons")
    group.addoption(
        "--full-lessons", action="store_true", help="run the lessons with the settings that readers get, not quick ones"
    )
    group.addoption(
        "--repeat-lessons", action="store_true", help="run each lesson twice, and compare the numbers that it prints"
    )
    group.addoption(
        "--cold-kernels", action="store_true", help="start each lesson's kernel from nothing, as a reader's is started"
    )


def pytest_unconfigure(config):
    for key in (WARM, SHARED):
        if key in config.stash:
            config.stash[key].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tells each process of `-n` where all of them find the process that forks, which imports TensorFlow once."""
    if can_fork(node.config):
        stash = node.config.stash
        if SHARED not in stash:
            # NumPy and scikit-learn read their number of threads when they are imported.
            stash[SHARED] = ForkServer(dict.fromkeys(THREADS, "1") | os.environ)
        node.workerinput["forks"] = stash[SHARED].address


def can_fork(config):
    """Whether kernels are forks: other systems have no fork, or libraries that do not bear one."""
    return sys.platform == "linux" and not config.option.cold_kernels


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    collectors = yield
    if is_lesson(file_path, parent.config.rootpath):
        # Instead of pytest's own collector, which would import a lesson that is named on the command line.
        return [LessonFile.from_parent(parent, path=file_path)]
    return collectors


class LessonFile(pytest.File):
    """A lesson as pytest collects it."""

    def collect(self):
        item = LessonItem.from_parent(self, filename=self.path.name)
        item.add_marker(pytest.mark.notebook)
        item.add_marker(pytest.mark.slow)
        yield item


class LessonItem(NotebookItem):
    """The test that a lesson runs from top to bottom and shows no error anywhere."""

    def runtest(self):
        notebook = self.outcome(warm=can_fork(self.config))
        wide = too_wide(notebook)
        assert not wide, "JupyterLab would break these lines; `course.say` breaks sentences:\n" + "\n".join(wide)
        if self.config.option.repeat_lessons:
            differences = differing(printed(notebook), printed(self.outcome(warm=False)))
            assert not differences, "A second run printed something else:\n" + "\n".join(differences)
        keep(notebook, self.config.rootpath / KEPT / self.parent.path.with_suffix(".ipynb").name)

    def outcome(self, *, warm):
        """The notebook after a run."""
        with tempfile.TemporaryDirectory(prefix="lipviz-") as folder, pytest.MonkeyPatch.context() as patch:
            use_this_python(patch, Path(folder, "jupyter"))
            wake_up_after_sending(patch)
            options = self.config.option
            if not options.full_lessons:
                use_one_thread(patch)
            if warm:
                patch.setattr(local_provisioner, "launch_kernel", self.warm_kernels().launch)
            result = run(self.parent.path, Path(folder), options.nbmake_timeout, full=options.full_lessons)
        if result.error is not None:
            raise NotebookFailedException(result)
        return result.nb

    def warm_kernels(self):
        """The kernels that all lessons of this process share."""
        return warm_kernels(self.config)


def warm_kernels(config):
    """The process that forks for all lessons and programs of this run; the processes of `-n` share it."""
    if WARM not in config.stash:
        address = getattr(config, "workerinput", {}).get("forks")
        config.stash[WARM] = WarmKernels() if address is None else Forks(address)
    return config.stash[WARM]


def use_this_python(patch, data):
    """Makes `python3`, the kernel of every lesson, the Python that runs the tests; LIPVIZ_SEED shifts its seeds."""
    from lipviz.command.lab import write_kernelspec

    write_kernelspec(data)
    if int(os.environ.get("LIPVIZ_SEED", "0")):
        file = data / "kernels" / "python3" / "kernel.json"
        spec = json.loads(file.read_text())
        # This way no name is left in the lesson.
        line = f"assert __import__('runpy').run_path({str(SHIFTED_SEEDS)!r}, run_name='__main__')"
        spec["argv"].append(f"--IPKernelApp.exec_lines={line}")
        file.write_text(json.dumps(spec))
    patch.setenv("JUPYTER_PATH", str(data), prepend=os.pathsep)


def use_one_thread(patch):
    """Lets a kernel compute in one thread, where nothing else is asked for.

    With quick settings all is small. Two threads are no faster, and spend as long again waiting for each other, or many
    times as long where other programs run beside them.
    """
    for name in THREADS:
        if name not in os.environ:
            patch.setenv(name, "1")


def wake_up_after_sending(patch):
    """Keeps a lesson with an Output widget from now and then waiting for the whole of a cell's time limit.

    nbclient sends such a widget's state while it waits for the cell's reply on the same socket. jupyter_client sends
    past pyzmq's asyncio socket, which then does not notice a reply that has arrived meanwhile; asked for its events,
    it does.
    """
    send = AsyncZMQSocketChannel.send

    def send_and_look(channel, message):
        send(channel, message)
        channel.socket.get(zmq.EVENTS)

    patch.setattr(AsyncZMQSocketChannel, "send", send_and_look)


def run(lesson: Path, scratch: Path, timeout: float, *, full: bool = False):
    """Runs a lesson in `scratch` and returns nbmake's result, with an error that nbmake does not see.

    Args:
        lesson: the `.py` file.
        scratch: where it runs.
        timeout: the limit of a cell in seconds, where the lesson's header has none.
        full: ignore the quick settings in the metadata of its cells.
    """
    notebook = scratch / lesson.with_suffix(".ipynb").name
    content = jupytext.read(lesson)
    for cell in content.cells if full else ():
        cell.metadata.get("nbmake", {}).pop("mock", None)
    nbformat.write(content, notebook)
    result = NotebookRun(notebook, timeout).execute()
    if result.error is None:
        hidden = next(hidden_errors(result.nb), None)
        if hidden is not None:
            result.error = NotebookError(summary=hidden.splitlines()[-1], trace=hidden, failing_cell_index=-1)
    return result


def printed(notebook) -> list[str]:
    """Returns the lines that a notebook which ran has printed, without those that tell times."""
    texts = [
        # A stream comes in pieces, cut anywhere.
        output["text"] if output["output_type"] == "stream" else f"\n{output['data'].get('text/plain', '')}\n"
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "execute_result" or output.get("name") == "stdout"
    ]
    return [line for line in "".join(texts).splitlines() if line.strip() and not TIMES.search(line)]


def too_wide(notebook) -> list[str]:
    """Returns the printed and the revealed lines of a notebook which ran that are wider than those of `course.say`."""
    from lipviz.course.sentences import WIDTH

    texts = []
    for cell in notebook.cells:
        outputs = cell.get("outputs", ())
        texts.append("".join(output["text"] for output in outputs if output.get("name") == "stdout"))
        pages = [output.get("data", {}).get("text/html", "") for output in outputs]
        texts += [html.unescape(part) for page in pages for part in PREFORMATTED.findall("".join(page))]
    return [line for text in texts for line in text.splitlines() if len(line) > WIDTH]


def differing(once: list[str], again: list[str], tolerance: float = 1e-5) -> list[str]:
    """Returns what differs between two lists of lines: other words, or a number by more than the relative tolerance."""
    pairs = zip_longest(once, again, fillvalue="(nothing)")
    return [f"{a!r} and {b!r}" for a, b in pairs if not _alike(a, b, tolerance)]


def _alike(a, b, tolerance):
    return NUMBER.sub("#", a) == NUMBER.sub("#", b) and all(
        math.isclose(float(x), float(y), rel_tol=tolerance)
        for x, y in zip(NUMBER.findall(a), NUMBER.findall(b), strict=True)
    )


def keep(notebook, path: Path) -> None:
    """Writes a notebook that was run, with the quick settings it ran with, where the documentation looks for it."""
    mocks = [cell.metadata.get("nbmake", {}).get("mock", {}) for cell in notebook.cells]
    settings = {name: value for mock in mocks for name, value in mock.items()}
    notebook.metadata["lipviz"] = {**notebook.metadata.get("lipviz", {}), "quick_settings": settings}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def hidden_errors(notebook) -> Iterator[str]:
    """Yields the text of every error that a notebook which ran to its end still shows somewhere."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", ()):
            yield from _errors_in(cell.outputs, "a cell's output")
    for model in notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {}).values():
        yield from _errors_in(model["state"].get("outputs", ()), "an Output widget")


def _errors_in(outputs, place):
    for output in outputs:
        if output["output_type"] == "error":
            text = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
        elif output["output_type"] == "stream" and "Traceback (most recent call last)" in output["text"]:
            text = output["text"].rstrip()
        else:
            continue
        yield f"The notebook ran to its end, but {place} holds an error:\n{text}"
