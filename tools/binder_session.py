"""Tries the Binder configuration out, without Docker: from the requirements to the last cell of the tour.

    python -m tools.binder_session [--python PYTHON] [--keep FOLDER]

Installs binder/requirements.txt into an environment of its own, runs binder/postBuild in a copy of the repository,
starts JupyterLab through binder/start, opens the tour in Chromium and runs all of it, with the settings that readers
get. Says how long each part took, and how much memory JupyterLab and its kernel needed. The exit status is 0 if nothing
went wrong and Binder has that memory.
"""

import argparse
import collections
import contextlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.browser.lab import LabSession, clean_environment, expect, find_chromium, free_port, started

ROOT = Path(__file__).resolve().parents[1]
LESSON = "notebooks/00_take_the_tour.py"
MEMORY_LIMIT = 2048  # MiB
MIB = 2**20

# What a reader's Binder does not know, but the shell or the tests that started us may.
FOREIGN = ("PYTHON", "VIRTUAL_ENV", "CONDA", "KERAS_", "TF_", "CUDA_", "JAX_", "MPL", "MALLOC_", "LIPVIZ_")


def main() -> None:
    arguments = parse()
    chromium = find_chromium()
    if chromium is None or shutil.which(chromium) is None or importlib.util.find_spec("playwright") is None:
        sys.exit("The Binder session needs Chromium (or its path in LIPVIZ_CHROMIUM) and playwright.")
    times = {}
    with workplace(arguments.keep) as folder:
        repository, environment = folder / "repository", folder / "environment"
        copy_repository(repository)
        with timed("install", times):
            install(environment, arguments.python, repository / "binder" / "requirements.txt")
        variables = binder_variables(environment, repository)
        with timed("postBuild", times):
            run(["binder/postBuild"], cwd=repository, env=variables)
        with timed("lesson", times):
            memory = open_lesson(folder, repository, variables, chromium)
    print(", ".join(f"{name}: {seconds:.0f} s" for name, seconds in times.items()))
    print(memory.describe())
    if memory.peak > MEMORY_LIMIT:
        sys.exit("The tour needs more memory than Binder has.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.binder_session", allow_abbrev=False)
    parser.add_argument(
        "--python",
        default=os.environ.get("PYTHON", sys.executable),
        help="the Python of the environment; default: $PYTHON, or this one",
    )
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="work in this new folder, and leave it there")
    arguments = parser.parse_args()
    if arguments.keep is not None and arguments.keep.exists():
        parser.error(f"--keep: expected a new folder, and {arguments.keep} is there already")
    return arguments


@contextlib.contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """Makes the folder to work in; without `keep`, only log and pictures are left, and only after a failure."""
    if keep is not None:
        keep = keep.absolute()
        keep.mkdir(parents=True)
        yield keep
        return
    folder = Path(tempfile.mkdtemp(prefix="lipviz-binder-"))
    try:
        yield folder
    except BaseException:
        for large in ("environment", "repository"):
            shutil.rmtree(folder / large, ignore_errors=True)
        if any(folder.iterdir()):
            print(f"JupyterLab's log and pictures are in {folder}.", file=sys.stderr)
        else:
            folder.rmdir()
        raise
    shutil.rmtree(folder)


@contextlib.contextmanager
def timed(name: str, times: dict[str, float]) -> Iterator[None]:
    print(f"--- {name} ---", flush=True)
    began = time.monotonic()
    yield
    times[name] = time.monotonic() - began


def run(command: list, **options) -> None:
    """Runs a command, which prints for itself; ends this program with one line if it fails."""
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **options)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"The Binder session failed: {error}")


# --- What Binder does when it builds an image ---


def copy_repository(target: Path) -> None:
    """Copies what a commit of everything would hold."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        # A tracked file may have been deleted.
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def install(environment: Path, python: str, requirements: Path) -> None:
    """Makes an environment with pip, as Binder's has it, and installs the requirements; with uv where there is one."""
    new = environment / "bin" / "python"
    if shutil.which("uv"):
        run(["uv", "venv", "-q", "--seed", "--python", python, environment])
        run(["uv", "pip", "install", "-q", "--compile-bytecode", "--python", new, "-r", requirements])
    else:
        run([python, "-m", "venv", environment])
        run([new, "-m", "pip", "install", "-q", "-r", requirements])


def binder_variables(environment: Path, repository: Path) -> dict[str, str]:
    """Returns the environment variables of Binder's image, where the repository is the reader's home."""
    kept = {name: text for name, text in clean_environment(repository).items() if not name.startswith(FOREIGN)}
    return kept | {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"}


# --- What a reader does ---


def open_lesson(folder: Path, repository: Path, variables: dict[str, str], chromium: str) -> "Memory":
    """Runs the lesson in a browser, checks that it shows no error, and returns the memory that it took."""
    port, token = free_port(), secrets.token_hex(16)
    command = ["binder/start", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += [f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True"]
    with (
        started(
            command,
            announces=rf"(http://127\.0\.0\.1:{port}/lab)\?",
            output=folder / "jupyter-lab.log",
            environment=variables,
            folder=repository,
        ) as server,
        Memory(server.process.pid) as memory,
        LabSession.open(f"{server.address}?token={token}", chromium, on_failure=folder / "failure.png") as lab,
    ):
        lab.go(f"/lab/tree/{LESSON}")
        lab.wait_for_document(LESSON)
        if not lab.notebook.is_visible():
            raise AssertionError(f"{LESSON} opened as text, not as a notebook")
        lab.wait_for_notebook(LESSON)
        assert not lab.looks_changed(), f"{LESSON} looks changed as soon as it is opened"
        lab.screenshot(folder / "opened.png")
        lab.run_all(timeout=600)
        # The widgets' part in the browser has versions of its own.
        explorer = lab.notebook.locator(".lipviz-explorer")
        expect(explorer).to_be_visible()
        explorer.scroll_into_view_if_needed()
        lab.screenshot(folder / "ran.png")
        lab.save()
        assert lab.errors() == [], f"errors in {LESSON}: {lab.errors()}"
        assert lab.dialogs() == [], f"JupyterLab asked: {lab.dialogs()}"
    assert (repository / LESSON).read_bytes() == (ROOT / LESSON).read_bytes(), f"running and saving changed {LESSON}"
    return memory


class Memory:
    """Watches the memory of a process and of all that it starts, such as a server and its kernels, while in `with`.

    Counted is the proportional set size, which shares out what several processes have in common: the sum is what a
    container would be charged for them.

    Attributes:
        peak: the largest sum seen, in MiB.
        parts: the same by kind of process at that time, in MiB.
    """

    def __init__(self, pid: int, interval: float = 0.2):
        self.peak = 0.0
        self.parts = {}
        self._root = psutil.Process(pid)
        self._interval = interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _watch(self):
        while not self._end.wait(self._interval):
            parts = self._look()
            if sum(parts.values()) > self.peak:
                self.peak, self.parts = sum(parts.values()), parts

    def _look(self):
        parts = collections.Counter()
        # Whatever ends while we look needs no memory any more.
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (self._root, *self._root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    parts[self._kind(process)] += process.memory_full_info().pss / MIB
        return parts

    def _kind(self, process):
        if process == self._root:
            return "server"
        return "kernel" if any("ipykernel" in word for word in process.cmdline()) else "other"

    def describe(self) -> str:
        """Says in one line what was needed, of what, and what there is."""
        parts = ", ".join(f"{name} {size:.0f}" for name, size in self.parts.items())
        return f"Peak memory: {self.peak:.0f} MiB ({parts}); Binder has {MEMORY_LIMIT} MiB."


if __name__ == "__main__":
    main()
