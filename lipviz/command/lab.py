"""Lay the course out in a folder and open it in JupyterLab.

Everything that this module writes lies in the course's own folder. The hidden folder `.lipviz` inside it holds what
JupyterLab needs to know about the course (which kernel, which viewer, which windows were open), so that the
reader's own Jupyter settings are neither changed nor able to break a lesson.
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
import threading
from pathlib import Path
from urllib.parse import urljoin

HOST = "127.0.0.1"
PRIVATE = ".lipviz"

# What a lesson needs of JupyterLab, by plugin.
LAB_OVERRIDES = {
    # A click on a .py opens the notebook that it is, not its text.
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"python": "Jupytext Notebook"}},
    # Widget messages on a kernel subshell would run callbacks on alternating threads, which spoils pyplot's figures.
    "@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"},
    # No question about news and no look-up of new releases.
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"},
}
# The extension that hands settings of the old notebook server on asks every option for its value, those that warn of
# their age as well (ServerApp.token). `lipviz lab` has no such settings.
SERVER_SETTINGS = {"ServerApp": {"jpserver_extensions": {"notebook_shim": False}}}


class LabError(Exception):
    """A problem that the reader can solve; its message is one line that says how."""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """One notebook of the course.

    Attributes:
        path: the percent-format `.py` file.
        title: what it is about.
        minutes: how long it runs on two CPU cores.
    """

    path: Path
    title: str
    minutes: float


@dataclasses.dataclass(frozen=True)
class Layout:
    """What `lay_out` did: names of files relative to the course's folder."""

    new: tuple[str, ...]
    updated: tuple[str, ...]
    kept: tuple[str, ...]


# --- The course ---


def course_folder() -> Path:
    """Finds the notebooks: in the repository where this is a checkout, in the package where it is a wheel."""
    package = Path(__file__).resolve().parents[1]
    # The repository comes first: an editable install can hold a copy in the package that is older.
    repository = package.parent / "notebooks"
    if repository.is_dir() and (package.parent / "pyproject.toml").is_file():
        return repository
    return package / "course" / "notebooks"


def course_files(source: Path) -> list[Path]:
    """Lists the course's files in `source`, without caches, checkpoints and anything hidden."""
    return sorted(
        path
        for path in source.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(source).parts)
    )


def lesson_files(folder: Path) -> list[Path]:
    """Lists the lessons in `folder`, `NN_*.py`, in the order of the course."""
    return sorted(folder.glob("[0-9][0-9]_*.py"))


def read_header(path: Path) -> dict:
    """Reads the notebook metadata in the YAML header of a percent-format notebook.

    Raises:
        ValueError: the file does not begin with such a header.
    """
    import yaml

    lines = iter(path.read_text(encoding="utf-8").splitlines())
    if next(lines, None) != "# ---":
        raise ValueError(f"{path.name}: expected a notebook that begins with a '# ---' header")
    header = []
    for line in lines:
        if line == "# ---":
            return yaml.safe_load("\n".join(header))["jupyter"]
        header.append(line.removeprefix("#").removeprefix(" "))
    raise ValueError(f"{path.name}: expected a second '# ---' that ends the header")


def lessons(folder: Path | None = None) -> list[Lesson]:
    """Lists the course in order, with what each lesson's header says of it."""
    found = []
    for path in lesson_files(course_folder() if folder is None else folder):
        about = read_header(path).get("lipviz", {})
        if not {"title", "minutes"} <= about.keys():
            raise ValueError(f"{path.name}: expected lipviz.title and lipviz.minutes in its header, got {about}")
        found.append(Lesson(path, str(about["title"]), about["minutes"]))
    return found


# --- Laying it out ---


def lay_out(source: Path, target: Path) -> Layout:
    """Copies the course into `target` and never overwrites what the reader changed.

    A record of what was laid out tells an older, untouched lesson (which is brought up to date) from one that the
    reader worked in (which is kept). Without the record, whatever differs from the course counts as the reader's.

    Args:
        source: the folder that holds the course.
        target: the reader's folder; made, with its parents, where it is missing.

    Raises:
        OSError: `target` cannot be made or written.
    """
    record = target / PRIVATE / "course.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    laid = _read_record(record)
    did = {"new": [], "updated": [], "kept": []}
    for path in course_files(source):
        name = path.relative_to(source).as_posix()
        content = path.read_bytes()
        state = _compare(target / name, content, laid.get(name))
        if state != "same":
            did[state].append(name)
        if state == "kept":
            continue
        if state != "same":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)
        laid[name] = _digest(content)
    record.write_text(json.dumps(laid, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Layout(**{state: tuple(names) for state, names in did.items()})


def _compare(path, content, laid):
    """Says how a file of the reader stands to the course's content: new, same, updated (to be) or kept."""
    if not path.exists():
        return "new"
    there = path.read_bytes()
    if there == content:
        return "same"
    return "updated" if _digest(there) == laid else "kept"


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _read_record(path):
    """Reads which content was laid out under which name; a missing or spoilt record is an empty one."""
    try:
        laid = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return laid if isinstance(laid, dict) else {}


# --- JupyterLab's private folder ---


def prepare_private(target: Path) -> dict[str, str]:
    """Writes what JupyterLab reads about the course and returns the environment that leads it there.

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
    """Writes what a lesson needs of JupyterLab into `config`, a folder for `JUPYTER_CONFIG_PATH`.

    It replaces JupyterLab's defaults there; what the reader chose goes before it.
    """
    _write_json(config / "labconfig" / "default_setting_overrides.json", LAB_OVERRIDES)


def write_kernelspec(data: Path) -> None:
    """Writes a `python3` kernel that is this very Python into `data`, a folder for `JUPYTER_PATH`.

    A `python3` kernel in the reader's home may belong to another Python, one without lipviz. What compiled code writes
    to the process's own stderr stays in the terminal: TensorFlow tells there, whatever TF_CPP_MIN_LOG_LEVEL is, that it
    found no GPU, and a reader would take a red cell for a fault. Python's stderr is shown as ever.
    """
    from ipykernel.kernelspec import get_kernel_dict

    # The display name is that of the lessons' headers, which saving would rewrite otherwise.
    spec = get_kernel_dict() | {"display_name": "Python 3 (ipykernel)"}
    spec["argv"] = [*spec["argv"], "--IPKernelApp.capture_fd_output=False"]
    _write_json(data / "kernels" / "python3" / "kernel.json", spec)


def borrow_settings(own: Path, private: Path) -> None:
    """Copies the reader's JupyterLab settings (theme, font sizes, shortcuts) once, before the first opening.

    From then on the course has settings of its own. What the lessons rely on is not copied.
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
    # Installers such as uv link one file into many environments: written in place, it would change in all of them.
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


# --- The server ---


def choose_port(port: int | None) -> int:
    """Returns `port` if it is free, or the first free one from 8888 on where it is None.

    Raises:
        LabError: no such port is free.
    """
    for candidate in range(8888, 8988) if port is None else (port,):
        # Like the server that follows: a listener is in the way, a connection that still winds down is not.
        with contextlib.suppress(OSError), socket.create_server((HOST, candidate)):
            return candidate
    wanted = "ports 8888 to 8987 are" if port is None else f"port {port} is"
    raise LabError(f"{wanted} in use or not allowed; choose another one with --port")


def server_arguments(target: Path, *, port: int, browser: bool, further: list[str]) -> list[str]:
    """Builds JupyterLab's command line for a course in `target`; an option in `further` replaces ours."""
    from jupyter_client import KernelManager

    first = next(iter(lesson_files(target)), None)
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
        # The root of a container is a reader like any other; the loopback and the token hold for them too.
        "ServerApp.allow_root": True,
        "IdentityProvider.token": secrets.token_hex(24),
        "LabApp.default_url": f"/lab/tree/{first.name}" if first else "/lab",
        "LabApp.user_settings_dir": private / "settings",
        "LabApp.workspaces_dir": private / "workspaces",
    }
    # Where encryption is possible, a kernel that starts without it prints a warning that could worry the reader.
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
        port: where to listen on the loopback; None takes the first free one from 8888 on.
        browser: whether to open one.
        further: more arguments for `jupyter lab`.

    Raises:
        LabError: JupyterLab is missing, no port is free, or `target` cannot be written.
    """
    # Whatever can stop us is asked for first, so that a command that fails has not changed anything.
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
        raise LabError(f"cannot lay out the course in {target}: {error.strerror} ({error.filename})") from error
    print(*describe(layout, target), sep="\n", flush=True)
    os.environ.update(environment)
    # Without it a lesson on float64 shows a hundred red lines of TensorFlow's graph optimizer. Kernels inherit it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    server = LabApp.initialize_server(server_arguments(target, port=port, browser=browser, further=further))
    server.io_loop.add_callback(_announce, server)  # after the one that makes it listen
    try:
        server.start()
    finally:
        end_idle_workers()


def _announce(server):
    # The server is asked where it listens, because the reader's own arguments may have changed that.
    print(f"JupyterLab is at {address(server)}\nCtrl-C here ends it.", flush=True)


def end_idle_workers() -> None:
    """Ends the threads of AnyIO that outlive their event loop, for which Python would wait for ever.

    They end with the task that began them. Ctrl-C stops a server's loop amid its tasks, of which one may be about to
    read a file.
    """
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("anyio.") and hasattr(thread, "stop"):
            with contextlib.suppress(queue.Full):
                thread.stop()


def address(server) -> str:
    """Returns the address that opens the course in a browser, the token included."""
    token = server.identity_provider.token
    return urljoin(server.connection_url, server.default_url) + (f"?token={token}" if token else "")


def describe(layout: Layout, target: Path) -> list[str]:
    """Says in words what laying out did, and what to do about a lesson that was kept."""
    lines = [f"The course is in {target}: {len(layout.new)} new, {len(layout.updated)} updated."]
    lines += [f"  kept your {name}; rename or delete it to get the course's" for name in layout.kept]
    return lines
