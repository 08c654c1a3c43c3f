"""Copy the course to a folder and open it in JupyterLab.

This module writes only to the folder of the course. Its hidden folder `.lipviz` holds JupyterLab's settings for the
course (which kernel, which viewer, which windows were open). So the reader's own Jupyter settings are not changed, and
cannot break a lesson.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import queue
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from lipviz._files import write_whole
from lipviz._lessons import PRIVATE, Lesson, lesson_files, lessons_in
from lipviz._lessons import read_header as read_header  # its place in the last release
from lipviz.command import grammars

HOST = "127.0.0.1"
INDEX = "index.py"  # the map of the course, which opens first


# Settings of JupyterLab that the lessons need, by plugin.
LAB_OVERRIDES = {
    # A click on a .py file opens it as a notebook, not as text.
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"python": "Jupytext Notebook"}},
    # Widget messages on a kernel subshell would run callbacks on alternating threads, which spoils pyplot's figures.
    "@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"},
    # No question about news and no look-up of new releases.
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
}
# The extension of the server that tells a notebook's language, without which lessons look changed when they are opened.
LANGUAGE = {"ServerApp": {"jpserver_extensions": {"lipviz.command.language": True}}}
# The extension that passes on settings of the old notebook server reads all options, also deprecated ones that warn
# (ServerApp.token). `lipviz lab` has no such settings.
SERVER_SETTINGS = {"ServerApp": {"jpserver_extensions": {"notebook_shim": False}}}


class LabError(Exception):
    """A problem that the user can solve; its message is one line that says how."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """What `lay_out` did: names of files relative to the course's folder."""

    new: tuple[str, ...]
    updated: tuple[str, ...]
    kept: tuple[str, ...]


# --- The course ---


def course_folder() -> Path:
    """Finds the notebooks: in the repository of a checkout, or in an installed package."""
    package = Path(__file__).resolve().parents[1]
    # The repository comes first: with an editable install, the package can contain an older copy.
    repository = package.parent / "notebooks"
    if repository.is_dir() and (package.parent / "pyproject.toml").is_file():
        return repository
    return package / "course" / "notebooks"


def course_files(source: Path) -> list[Path]:
    """Lists the course's files in `source`, without caches, checkpoints and hidden files."""
    return sorted(
        path
        for path in source.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(source).parts)
    )


def lessons(folder: Path | None = None) -> list[Lesson]:
    """Lists the lessons in order, with the data in their headers; None takes the course that comes with lipviz."""
    return lessons_in(course_folder() if folder is None else folder)


def find_lessons(names: Sequence[str]) -> list[Lesson]:
    """Finds lessons of the course by their names.

    Args:
        names: Each is a number (``8`` or ``08``), a file (``08_certify_fashion.py``, with or without its ending), or
            the first part of the ids of its exercises (``certificates``). No name at all stands for all lessons.

    Returns:
        The lessons in the order of the names, each once.

    Raises:
        LabError: A name belongs to no lesson.
    """
    known = lessons()
    found = [_named(name, known) for name in names] or known
    return list(dict.fromkeys(found))


def _named(name, known):
    wanted = Path(name).name.removesuffix(".py").removesuffix(".ipynb").lower()
    for lesson in known:
        is_number = wanted.isdecimal() and int(wanted) == int(lesson.number)
        if is_number or wanted in (lesson.path.stem, *(one.partition(".")[0] for one in lesson.exercises)):
            return lesson
    numbers = ", ".join(lesson.number for lesson in known)
    raise LabError(f"there is no lesson {name!r}; there are {numbers} (`lipviz notebooks` lists them)")


# --- Copying the course ---


def lay_out(source: Path, target: Path) -> Layout:
    """Copies the course into `target` and never overwrites what the reader changed.

    A record of what was copied shows whether a lesson is older but unchanged (it is updated), or was changed by the
    reader (it is kept). Without the record, all that differs from the course counts as changed by the reader.

    Args:
        source: the folder that holds the course.
        target: the reader's folder; it is made, with its parents, if it is missing.

    Raises:
        OSError: `target` cannot be made or written.
    """
    record = target / PRIVATE / "course.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    laid = _read_record(record)
    did: dict[str, list[str]] = {"new": [], "updated": [], "kept": []}
    try:
        for path in course_files(source):
            name = path.relative_to(source).as_posix()
            content = path.read_bytes()
            state = _compare(target / name, content, laid.get(name))
            if state in ("new", "updated"):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                write_whole(target / name, content)  # half a lesson would count as changed by the reader
            if state != "kept":
                laid[name] = _digest(content)
            if state != "same":
                did[state].append(name)
    finally:
        write_whole(record, _as_json(laid))  # also of what was copied before the disk was full
    return Layout(**{state: tuple(names) for state, names in did.items()})


def _compare(path, content, laid):
    """Compares a file of the reader with the course's content: "new", "same", "updated" (to be), or "kept"."""
    if not path.exists():
        return "new"
    there = path.read_bytes()
    if there == content:
        return "same"
    return "updated" if _digest(there) == laid else "kept"


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _read_record(path):
    """Reads the record, {name: hash of the content}; a missing or damaged one counts as empty."""
    try:
        laid = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return laid if isinstance(laid, dict) else {}


# --- JupyterLab's private folder ---


def prepare_private(target: Path) -> dict[str, str]:
    """Writes JupyterLab's settings for the course, and returns the environment variables by which it finds them.

    Both variables only add folders in front of those that Jupyter searches anyway.
    """
    private = target / PRIVATE
    write_settings(private / "config")
    _write_json(private / "config" / "jupyter_server_config.d" / "notebook_shim.json", SERVER_SETTINGS)
    write_kernelspec(private / "data")
    return {
        "JUPYTER_CONFIG_PATH": _in_front(private / "config", os.environ.get("JUPYTER_CONFIG_PATH")),
        "JUPYTER_PATH": _in_front(private / "data", os.environ.get("JUPYTER_PATH")),
    }


def write_settings(config: Path) -> None:
    """Writes the settings that the lessons need to `config`, a folder for `JUPYTER_CONFIG_PATH`.

    They replace JupyterLab's defaults; the reader's own settings have priority over them.
    """
    _write_json(config / "labconfig" / "default_setting_overrides.json", LAB_OVERRIDES)
    _write_json(config / "jupyter_server_config.d" / "lipviz.json", LANGUAGE)


# TensorFlow's pool for oneDNN never gives memory back: after one `fit` on 30,000 images it keeps two copies of them,
# 180 MiB, for the life of the kernel.
_MEMORY = {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}


def write_kernelspec(data: Path) -> None:
    """Writes a `python3` kernel that runs this Python to `data`, a folder for `JUPYTER_PATH`.

    A `python3` kernel in the reader's home may belong to another Python, without lipviz. Messages that compiled code
    writes to the stderr of the process stay in the terminal. TensorFlow writes there that it found no GPU, whatever
    TF_CPP_MIN_LOG_LEVEL is, and in a notebook it would look like an error. Python's own stderr is shown as usual.

    In this kernel, TensorFlow returns the memory of arrays that nothing uses any more.
    """
    from ipykernel.kernelspec import get_kernel_dict

    # The display name is that in the headers of the lessons; with another one, saving would change the headers.
    spec = get_kernel_dict() | {"display_name": "Python 3 (ipykernel)"}
    spec["argv"] = [*spec["argv"], "--IPKernelApp.capture_fd_output=False"]
    spec["env"] = {**spec.get("env", {}), **_MEMORY}
    _write_json(data / "kernels" / "python3" / "kernel.json", spec)


def borrow_settings(own: Path, private: Path) -> None:
    """Copies the reader's JupyterLab settings (theme, font sizes, shortcuts) once, before the first opening.

    After that, the course has settings of its own. Settings that the lessons rely on are not copied.
    """
    if private.exists():
        return
    private.mkdir(parents=True)
    for path in sorted(own.rglob("*.jupyterlab-settings")) if own.is_dir() else ():
        name = path.relative_to(own)
        if f"{name.parent.as_posix()}:{name.stem}" not in LAB_OVERRIDES:
            (private / name.parent).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, private / name)


def _in_front(folder, paths):
    return f"{folder}{os.pathsep}{paths}" if paths else str(folder)


def _write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    # Installers such as uv link one file into many environments: following the link would change all of them.
    if path.is_symlink():
        path.unlink()
    write_whole(path, _as_json(value))


def _as_json(value):
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


# --- The server ---


def choose_port(port: int | None) -> int:
    """Returns `port` if it is free; for None, the first free port from 8888 on.

    Raises:
        LabError: no such port is free.
    """
    for candidate in range(8888, 8988) if port is None else (port,):
        # As the server does it: a port with a listener is not free, one with a closing connection is.
        with contextlib.suppress(OSError), socket.create_server((HOST, candidate)):
            return candidate
    wanted = "ports 8888 to 8987 are" if port is None else f"port {port} is"
    raise LabError(f"{wanted} in use or not allowed; choose another one with --port")


def server_arguments(target: Path, *, port: int, browser: bool, further: list[str]) -> list[str]:
    """Builds JupyterLab's command line for a course in `target`; an option in `further` replaces the one of lipviz."""
    from jupyter_client import KernelManager

    first = target / INDEX if (target / INDEX).exists() else next(iter(lesson_files(target)), None)
    private = target / PRIVATE
    options = {
        "Application.log_level": "WARN",
        "ServerApp.ip": HOST,
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": target,
        "ServerApp.open_browser": browser,
        # One Ctrl-C is enough.
        "ServerApp.answer_yes": True,
        # In a container the reader may be root. The loopback and the token protect root, too.
        "ServerApp.allow_root": True,
        "IdentityProvider.token": secrets.token_hex(24),
        "LabApp.default_url": f"/lab/tree/{first.name}" if first else "/lab",
        "LabApp.user_settings_dir": private / "settings",
        "LabApp.workspaces_dir": private / "workspaces",
    }
    # If encryption is possible, a kernel without it prints a warning, which could worry the reader.
    if "transport_encryption" in KernelManager.class_trait_names():
        options["KernelManager.transport_encryption"] = "auto"
    replaced = _options_named(further)
    return [f"--{name}={value}" for name, value in options.items() if name not in replaced] + further


def _options_named(arguments):
    """Returns the full names of the options in `arguments`, `ServerApp.ip` for `--ip=localhost`."""
    from jupyter_server.serverapp import aliases

    names = (argument.removeprefix("--").partition("=")[0] for argument in arguments if argument.startswith("--"))
    return {aliases.get(name, name) for name in names}


def open_lab(target: Path, *, port: int | None, browser: bool, further: list[str]) -> None:
    """Lays the course out in `target` and serves it with JupyterLab until Ctrl-C.

    Args:
        target: the reader's folder.
        port: port on the loopback; None takes the first free one from 8888 on.
        browser: whether to open a browser.
        further: more arguments for `jupyter lab`.

    Raises:
        LabError: JupyterLab is missing, no port is free, or `target` cannot be written.
    """
    # What can fail comes first, so that a command that fails has changed nothing.
    need_docstrings()
    grammars.compile_when_used()
    try:
        from jupyterlab.commands import get_user_settings_dir
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        raise LabError(
            f"JupyterLab does not import ({error}); install it with: {sys.executable} -m pip install jupyterlab"
        ) from error
    port = choose_port(port)
    target = Path(target).expanduser().absolute()
    try:
        layout = lay_out(course_folder(), target)
        environment = prepare_private(target)
        borrow_settings(Path(get_user_settings_dir()), target / PRIVATE / "settings")
    except OSError as error:
        file = f" ({error.filename})" if error.filename else ""
        raise LabError(f"cannot lay out the course in {target}: {error.strerror}{file}") from error
    print(*describe(layout, target), sep="\n", flush=True)
    os.environ.update(environment)
    # Without it, a lesson on float64 shows a hundred lines of TensorFlow's graph optimizer. Kernels inherit it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _runtime_folder():
        server = LabApp.initialize_server(server_arguments(target, port=port, browser=browser, further=further))
        server.io_loop.add_callback(_announce, server)  # after the callback that makes it listen
        try:
            server.start()
        finally:
            end_idle_workers()


def need_docstrings() -> None:
    """Raises LabError under `python -OO`: it removes docstrings, which the servers of Jupyter read when they start."""
    if sys.flags.optimize > 1:
        raise LabError("JupyterLab and Voilà need docstrings: start without `python -OO`, and unset PYTHONOPTIMIZE")


@contextlib.contextmanager
def _runtime_folder() -> Iterator[None]:
    """Lets Jupyter keep the files of a running server in a private folder, if the home has no room for them."""
    from jupyterlab.labapp import LabApp

    try:
        with tempfile.TemporaryFile(dir=LabApp().runtime_dir) as probe:  # asking for the folder makes it
            probe.write(bytes(4096))
    except OSError:  # a home that is read-only, or full
        with tempfile.TemporaryDirectory(prefix="lipviz-lab-", ignore_cleanup_errors=True) as private:
            os.environ["JUPYTER_RUNTIME_DIR"] = private
            yield
    else:
        yield


def _announce(server):
    # The server knows its address, which the reader's own arguments may have changed.
    print(f"JupyterLab is at {address(server)}\nCtrl-C here ends it.", flush=True)


def end_idle_workers() -> None:
    """Ends the threads of AnyIO that outlive their event loop: Python would wait for them forever.

    Such a thread ends with the task that started it. Ctrl-C stops a server's loop while tasks are running, and one of
    them may be reading a file.
    """
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("anyio.") and hasattr(thread, "stop"):
            with contextlib.suppress(queue.Full):
                thread.stop()


def address(server: Any) -> str:
    """Returns the address that opens the course in a browser, with the token."""
    token = server.identity_provider.token
    return urljoin(server.connection_url, server.default_url) + (f"?token={token}" if token else "")


def describe(layout: Layout, target: Path) -> list[str]:
    """Says in words what was copied, and what to do about a lesson that was kept."""
    lines = [f"The course is in {target}: {len(layout.new)} new, {len(layout.updated)} updated."]
    lines += [f"  kept your {name}; rename or delete it to get the course's" for name in layout.kept]
    return lines
