"""The `lipviz` command."""

import asyncio
import difflib
import errno
import importlib.util
import io
import json
import math
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import webbrowser
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import jupytext
import pytest

from lipviz import __version__
from lipviz._files import write_whole
from lipviz.command import cli, doctor, grammars, lab, language, listing, playground
from tests.browser.lab import LIPVIZ, clean_environment, free_port, knock, serve

PATIENCE = 300  # seconds that a process of its own may take on a busy machine
HEADER = """\
# ---
# jupyter:
#   lipviz:
#     minutes: {minutes}
#     title: {title}
# ---
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two lessons and a picture, in place of the real one."""
    folder = tmp_path / "source"
    (folder / "images").mkdir(parents=True)
    (folder / "00_tour.py").write_text(HEADER.format(minutes=3, title="A tour") + "\n# %%\n1\n")
    (folder / "01_next.py").write_text(HEADER.format(minutes=1.5, title="'What: next?'") + "\n# %%\n2\n")
    (folder / "images" / "net.png").write_bytes(b"\x89PNG\xff")
    for unwanted in ("__pycache__/x.pyc", ".ipynb_checkpoints/00_tour.py", ".hidden"):
        (folder / unwanted).parent.mkdir(exist_ok=True)
        (folder / unwanted).write_text("unwanted")
    monkeypatch.setattr(lab, "course_folder", lambda: folder)
    return folder


@pytest.fixture
def served(monkeypatch, capsys):
    """Takes the place of the JupyterLab server: nothing starts, and what would start can be looked at."""
    from jupyterlab.labapp import LabApp

    calls = SimpleNamespace(arguments=None, started=0)
    callbacks = []

    def start():
        calls.started += 1
        calls.before = capsys.readouterr().out
        for callback, *arguments in callbacks:
            callback(*arguments)

    def initialize_server(arguments):
        calls.arguments = arguments
        callbacks.clear()
        return SimpleNamespace(
            connection_url="http://127.0.0.1:8888/",
            default_url="/lab/tree/00_tour.py",
            identity_provider=SimpleNamespace(token="secret"),
            contents_manager=SimpleNamespace(get=None),
            io_loop=SimpleNamespace(add_callback=lambda *callback: callbacks.append(callback)),
            start=start,
        )

    monkeypatch.setattr(LabApp, "initialize_server", initialize_server)
    # `open_lab` sets them for the server; monkeypatch puts back what was there.
    monkeypatch.setenv("JUPYTER_PATH", "/their/data")
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", "/nowhere")
    return calls


def run_command(command, **options):
    """Runs a command in a process of its own, and returns how it ended and what it wrote."""
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)


def options(arguments):
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


# --- Arguments ---


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["notebooks", "--all"], "unrecognized arguments: --all"),
        (["doctor", "now"], "unrecognized arguments: now"),
        (["--port=1", "notebooks"], "unrecognized arguments: --port=1"),
        (["notebooks", "--", "x"], "unrecognized arguments: x"),
        (["lab", "--port", "none"], "from 1 to 65535, got 'none'"),
        (["lab", "--port=0"], "from 1 to 65535, got '0'"),
        (["lab", "--port=65536"], "from 1 to 65535, got '65536'"),
    ],
)
def test_wrong_arguments(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["lab", "--help"],
        ["playground", "--help"],
        ["slides", "--help"],
        ["assignment", "--help"],
        ["notebooks", "8"],
    ],
)
def test_answers_without_heavy_imports(arguments):
    assert_light(
        f"sys.argv = ['/some/bin/lipviz', *{arguments!r}]\n"
        "from lipviz.command.cli import main\n"
        "try:\n    code = main()\nexcept SystemExit as stop:\n    code = stop.code\n"
        "assert not code\n",
        {"ipywidgets", "jupyterlab"},
    )


def test_a_server_that_loads_the_extension_does_not_load_keras():
    assert_light(
        "sys.argv = ['/some/bin/jupyter-lab']\n"
        "from lipviz.command import language\n"
        "assert language._jupyter_server_extension_points()\n"
    )


def assert_light(program, further=frozenset()):
    """Runs a program that imports nothing that takes long."""
    heavy = {"keras", "tensorflow", "jax", "numpy", "matplotlib", *further}
    seen = f"heavy = {heavy!r} & set(sys.modules)\nassert not heavy, heavy\n"
    done = run_command([sys.executable, "-c", f"import sys\n{program}{seen}"])
    assert done.returncode == 0, done.stderr


def test_installed_command_states_its_version():
    done = run_command([LIPVIZ, "--version"])
    assert (done.returncode, done.stdout) == (0, f"lipviz {__version__}\n")


def test_keyboard_interrupt_is_no_traceback(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    assert cli.main(["doctor"]) == 130


# --- lipviz playground ---


def test_the_playground_is_served_from_the_package(monkeypatch, capsys):
    answers = {}

    def get(address):
        for name in ("", "start.js", "playground.css"):
            with urllib.request.urlopen(address + name, timeout=PATIENCE) as answer:
                answers[name] = answer.headers["Content-Type"], answer.read()

    visitors = []

    def visit(address):
        visitors.append(threading.Thread(target=get, args=[address]))
        visitors[0].start()

    def serve_three(self):
        for _ in range(3):
            self.handle_request()
        visitors[0].join()
        raise KeyboardInterrupt

    monkeypatch.setattr(webbrowser, "open", visit)
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", serve_three)
    assert cli.main(["playground"]) == 0
    assert capsys.readouterr().out.startswith("The playground is at http://127.0.0.1:")
    assert answers[""] == ("text/html", (playground.FOLDER / "index.html").read_bytes())
    assert answers["start.js"] == ("text/javascript", (playground.FOLDER / "start.js").read_bytes())
    assert answers["playground.css"][0] == "text/css"


def test_the_playground_opens_no_browser_where_none_is_wanted(monkeypatch, capsys):
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", lambda self: None)
    monkeypatch.setattr(webbrowser, "open", lambda address: pytest.fail("a browser was opened"))
    port = free_port()
    assert cli.main(["playground", "--no-browser", f"--port={port}"]) == 0
    assert f"is at http://127.0.0.1:{port}/\n" in capsys.readouterr().out


# --- lipviz notebooks ---


def test_notebooks_lists_the_course(course, capsys):
    assert cli.main(["notebooks"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "file        title        minutes on 2 cores",
        "00_tour.py  A tour       3",
        "01_next.py  What: next?  1.5",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "begins with"),
        ("# %%\n1\n", "begins with"),
        ("# ---\n# jupyter:\n", "second '# ---'"),
        ("# ---\n# jupyter:\n#   lipviz:\n#     title: A\n# ---\n", "lipviz.minutes"),
        ("# ---\n# jupyter:\n#   kernelspec: {}\n# ---\n", "lipviz.title"),
    ],
)
def test_lesson_without_its_header_is_refused_by_name(text, complaint, tmp_path):
    (tmp_path / "07_bad.py").write_text(text)
    with pytest.raises(ValueError, match=r"^07_bad\.py: expected .*" + complaint):
        lab.lessons(tmp_path)


def test_course_is_found_in_a_checkout_and_in_a_wheel(tmp_path, monkeypatch):
    assert lab.course_folder() == Path(__file__).parents[1] / "notebooks"
    for folder in ("lipviz/course/notebooks", "notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(lab, "__file__", str(tmp_path / "lipviz" / "command" / "lab.py"))
    # A stranger's folder of that name beside the installed package is not the course.
    assert lab.course_folder() == tmp_path / "lipviz" / "course" / "notebooks"


@pytest.mark.parametrize("lesson", lab.lesson_files(lab.course_folder()), ids=lambda path: path.name)
def test_each_lesson_says_what_it_needs_and_how_long_it_takes(lesson):
    header = lab.read_header(lesson)
    assert header["kernelspec"] == {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    assert 0 < header["lipviz"]["minutes"] <= 15
    assert header["execution"]["timeout"] > 0


@pytest.mark.parametrize("lesson", lab.lesson_files(lab.course_folder()), ids=lambda path: path.name)
def test_running_and_saving_a_lesson_in_jupyter_does_not_change_it(lesson):
    # Otherwise each lesson that was only run would count as the reader's own, and never be updated.
    text = lesson.read_text(encoding="utf-8")
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11"}
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    saved = jupytext.writes(notebook, fmt="py:percent")
    # CONTRIBUTING.md shows a header that is stable.
    assert list(difflib.unified_diff(text.splitlines(), saved.splitlines(), n=0, lineterm="")) == []


@pytest.mark.parametrize("is_async", [False, True])
def test_a_lesson_has_the_language_of_its_kernel_so_that_it_does_not_look_changed(is_async):
    from ipykernel.ipkernel import IPythonKernel

    models = {
        "lesson.py": {"type": "notebook", "content": {"metadata": {}}},
        "other.ipynb": {"type": "notebook", "content": {"metadata": {"language_info": {"name": "R"}}}},
        "listed.py": {"type": "notebook", "content": None},
        "folder": {"type": "directory", "content": []},
    }

    def get(path, content=True):
        return models[path]

    async def get_later(path, content=True):
        return models[path]

    manager = SimpleNamespace(get=get_later if is_async else get)
    language.tell_language(manager)
    read = {name: asyncio.run(manager.get(name)) if is_async else manager.get(name, content=True) for name in models}
    assert read["lesson.py"]["content"]["metadata"]["language_info"] == IPythonKernel.language_info
    assert read["other.ipynb"]["content"]["metadata"]["language_info"] == {"name": "R"}
    assert read["listed.py"]["content"] is None
    assert read["folder"]["content"] == []


# --- Laying out ---


def test_first_time_all_is_new(course, tmp_path):
    target = tmp_path / "far" / "away"
    layout = lab.lay_out(course, target)
    assert layout == lab.Layout(new=("00_tour.py", "01_next.py", "images/net.png"), updated=(), kept=())
    for name in layout.new:
        assert (target / name).read_bytes() == (course / name).read_bytes()
    assert sorted(path.name for path in target.iterdir()) == [".lipviz", "00_tour.py", "01_next.py", "images"]


def test_second_time_nothing_happens(course, tmp_path):
    lab.lay_out(course, tmp_path / "mine")
    assert lab.lay_out(course, tmp_path / "mine") == lab.Layout((), (), ())


def test_changed_lessons_are_kept_and_others_updated(course, tmp_path):
    target = tmp_path / "mine"
    lab.lay_out(course, target)
    (target / "00_tour.py").write_text("my answers")
    (target / "own.py").write_text("my own")
    for name in ("00_tour.py", "01_next.py"):
        (course / name).write_text("version 2")
    assert lab.lay_out(course, target) == lab.Layout(new=(), updated=("01_next.py",), kept=("00_tour.py",))
    assert (target / "00_tour.py").read_text() == "my answers"
    assert (target / "01_next.py").read_text() == "version 2"
    assert (target / "own.py").read_text() == "my own"
    # It stays so, also over another version.
    (course / "01_next.py").write_text("version 3")
    assert lab.lay_out(course, target) == lab.Layout(new=(), updated=("01_next.py",), kept=("00_tour.py",))


def test_deleted_lesson_comes_back_and_undone_change_is_updated(course, tmp_path):
    target = tmp_path / "mine"
    lab.lay_out(course, target)
    first = (target / "00_tour.py").read_text()
    (target / "00_tour.py").write_text("my answers")
    (target / "01_next.py").unlink()
    (course / "00_tour.py").write_text("version 2")
    assert lab.lay_out(course, target) == lab.Layout(new=("01_next.py",), updated=(), kept=("00_tour.py",))
    (target / "00_tour.py").write_text(first)
    assert lab.lay_out(course, target).updated == ("00_tour.py",)


def test_a_disk_that_is_full_leaves_no_lesson_that_counts_as_the_readers(course, tmp_path, monkeypatch):
    target = tmp_path / "mine"
    lab.lay_out(course, target)
    for name in ("00_tour.py", "01_next.py"):
        (course / name).write_text("version 2")

    def write_if_first(path, content):
        if path.name == "01_next.py":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(lab, "write_whole", write_if_first)
        with pytest.raises(OSError, match="No space"):
            lab.lay_out(course, target)
    for name in ("00_tour.py", "01_next.py"):
        (course / name).write_text("version 3")
    assert lab.lay_out(course, target).updated == ("00_tour.py", "01_next.py")


def test_a_file_is_written_as_a_whole_or_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "name"
    write_whole(path, b"one")

    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
            write_whole(path, b"another")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("name", b"one")]


@pytest.mark.parametrize("record", [None, "{ spoilt", "[]"])
def test_without_its_record_what_differs_is_the_readers(record, course, tmp_path):
    target = tmp_path / "mine"
    lab.lay_out(course, target)
    path = target / ".lipviz" / "course.json"
    path.unlink() if record is None else path.write_text(record)
    (course / "00_tour.py").write_text("version 2")
    assert lab.lay_out(course, target).kept == ("00_tour.py",)
    # What is as in the course counts as laid out again.
    (course / "01_next.py").write_text("version 2")
    assert lab.lay_out(course, target).updated == ("01_next.py",)


# --- lipviz lab, up to the server ---


@pytest.mark.slow
def test_lab_lays_out_says_what_it_kept_and_serves(course, served, tmp_path, capsys):
    target = tmp_path / "mine"
    lab.lay_out(course, target)
    (target / "00_tour.py").write_text("my answers")
    (course / "01_next.py").write_text("version 2")
    assert cli.main(["lab", str(target), "--no-browser", "--", "--ServerApp.x=y"]) == 0
    assert served.started == 1
    assert served.before.splitlines() == [
        f"The course is in {target}: 0 new, 1 updated.",
        "  kept your 00_tour.py; rename or delete it to get the course's",
    ]
    assert capsys.readouterr().out.splitlines() == [  # not before the server's loop runs
        "JupyterLab is at http://127.0.0.1:8888/lab/tree/00_tour.py?token=secret",
        "Ctrl-C here ends it.",
    ]
    assert served.arguments[-1] == "--ServerApp.x=y"


def test_lab_leaves_the_readers_jupyter_folders_first_in_line_after_ours(course, served, tmp_path):
    cli.main(["lab", str(tmp_path / "mine")])
    private = tmp_path / "mine" / ".lipviz"
    assert os.environ["JUPYTER_PATH"] == f"{private / 'data'}{os.pathsep}/their/data"
    assert os.environ["JUPYTER_CONFIG_PATH"] == str(private / "config")
    overrides = json.loads((private / "config/labconfig/default_setting_overrides.json").read_text())
    assert overrides["@jupyterlab/apputils-extension:kernels-settings"] == {"commsOverSubshells": "disabled"}


def test_default_folder(course, served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab"]) == 0
    assert (tmp_path / "lipviz-course" / "00_tour.py").exists()
    # The readme's examples: options without a folder, before and after `--`.
    for arguments in (["--ServerApp.x=y"], ["--", "--ServerApp.x=y"]):
        assert cli.main(["lab", *arguments]) == 0
        assert served.arguments[-1] == "--ServerApp.x=y"
    assert [path.name for path in tmp_path.iterdir() if path.name != "source"] == ["lipviz-course"]


def test_server_arguments(course, tmp_path):
    lab.lay_out(course, tmp_path)
    ours = options(lab.server_arguments(tmp_path, port=4321, browser=False, further=[]))
    assert ours["ServerApp.ip"] == "127.0.0.1"
    assert ours["ServerApp.port"] == "4321"
    assert ours["ServerApp.open_browser"] == "False"
    assert ours["ServerApp.root_dir"] == str(tmp_path)
    assert ours["LabApp.default_url"] == "/lab/tree/00_tour.py"
    (tmp_path / "index.py").touch()  # the map of the course opens first, where there is one
    assert options(lab.server_arguments(tmp_path, port=4321, browser=False, further=[]))["LabApp.default_url"] == (
        "/lab/tree/index.py"
    )
    assert len(ours["IdentityProvider.token"]) == 48
    again = options(lab.server_arguments(tmp_path, port=4321, browser=False, further=[]))
    assert again["IdentityProvider.token"] != ours["IdentityProvider.token"]


@pytest.mark.parametrize(
    ("further", "replaced"),
    [
        (["--ServerApp.ip=::1"], "ServerApp.ip"),
        (["--ip=::1"], "ServerApp.ip"),
        (["--ip", "::1"], "ServerApp.ip"),
        (["--log-level=DEBUG"], "Application.log_level"),
        (["--debug"], None),
    ],
)
def test_the_readers_arguments_replace_ours(further, replaced, tmp_path):
    arguments = lab.server_arguments(tmp_path, port=4321, browser=False, further=further)
    assert arguments[-len(further) :] == further
    # JupyterLab refuses an option that is given twice.
    assert replaced not in options(arguments[: -len(further)])
    assert len(arguments) == len(lab.server_arguments(tmp_path, port=4321, browser=False, further=[])) + len(
        further
    ) - (replaced is not None)


def test_kernel_is_this_python_whatever_the_reader_has(tmp_path, monkeypatch):
    theirs = tmp_path / "theirs" / "kernels" / "python3"
    theirs.mkdir(parents=True)
    (theirs / "kernel.json").write_text('{"argv": ["/other/python"], "display_name": "other", "language": "python"}')
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "theirs"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "theirs"))
    from jupyter_client.kernelspec import KernelSpecManager

    assert KernelSpecManager().get_kernel_spec("python3").argv[0] == "/other/python"
    monkeypatch.setenv("JUPYTER_PATH", lab.prepare_private(tmp_path / "course")["JUPYTER_PATH"])
    spec = KernelSpecManager().get_kernel_spec("python3")
    assert spec.argv[0] == sys.executable
    assert spec.env["TF_ONEDNN_USE_SYSTEM_ALLOCATOR"] == "1"


def test_settings_are_borrowed_once_and_not_what_lessons_need(tmp_path):
    own, private = tmp_path / "own", tmp_path / "private"
    for plugin in ("apputils-extension/themes", "docmanager-extension/plugin"):
        (own / "@jupyterlab" / plugin).parent.mkdir(parents=True)
        (own / "@jupyterlab" / f"{plugin}.jupyterlab-settings").write_text('{"theme": "JupyterLab Dark"}')
    lab.borrow_settings(own, private)
    assert [path.name for path in private.rglob("*.*")] == ["themes.jupyterlab-settings"]
    theme = private / "@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    theme.write_text("chosen in the course")
    lab.borrow_settings(own, private)
    assert theme.read_text() == "chosen in the course"


def test_settings_of_a_reader_without_any(tmp_path):
    lab.borrow_settings(tmp_path / "none", tmp_path / "private")
    assert not list((tmp_path / "private").iterdir())


# --- lipviz lab, refusing ---


def refused(arguments, capsys):
    """Runs the command, which must fail with one line, and returns that line."""
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("lipviz: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_busy_port(course, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        line = refused(["lab", str(tmp_path / "mine"), f"--port={port}"], capsys)
        assert f"port {port} is in use" in refused(["playground", f"--port={port}"], capsys)
    assert f"port {port} is in use" in line
    assert not (tmp_path / "mine").exists()


def test_next_port_is_taken_where_none_is_asked_for(monkeypatch):
    busy = {8888, 8889}

    def create_server(address):
        if address[1] in busy:
            raise OSError("in use")
        return socket.socket()

    monkeypatch.setattr(socket, "create_server", create_server)
    assert lab.choose_port(None) == 8890
    busy.update(range(8888, 9000))
    with pytest.raises(lab.LabError, match="8888 to 8987"):
        lab.choose_port(None)


@pytest.mark.parametrize("folder", ["file", "file/below", "x" * 300])
def test_impossible_folder(folder, course, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    line = refused(["lab", str(tmp_path / folder)], capsys)
    assert f"cannot lay out the course in {tmp_path / folder}" in line


@pytest.mark.slow
def test_read_only_folder(tmp_path):
    target = tmp_path / "locked"
    target.mkdir()
    target.chmod(stat.S_IRUSR | stat.S_IXUSR)
    prefix = []
    if os.access(target, os.W_OK):
        # root may write anywhere, unless it gives up that right.
        if shutil.which("setpriv") is None:
            pytest.skip("this user may write into read-only folders, and there is no setpriv to give that up")
        prefix = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    command = [*prefix, LIPVIZ, "lab", "--no-browser", target]
    done = run_command(command)
    assert done.returncode == 1
    assert done.stderr.startswith(f"lipviz: cannot lay out the course in {target}: Permission denied")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["lab", "app"])
def test_without_docstrings_one_line_says_what_to_do(command, monkeypatch, capsys):
    monkeypatch.setattr(lab, "sys", SimpleNamespace(flags=SimpleNamespace(optimize=2)))
    assert "start without `python -OO`" in refused([command], capsys)


def test_a_home_that_cannot_be_written_is_not_needed(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "file" / "runtime"))
    with lab._runtime_folder():
        private = Path(os.environ["JUPYTER_RUNTIME_DIR"])
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert not private.exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "lipviz: No space left on device\n"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "lipviz: Read-only file system (x)\n"),
    ],
)
def test_what_the_system_refuses_is_one_line(error, said, monkeypatch, capsys):
    def run(_):
        raise error

    monkeypatch.setattr(listing, "_notebooks", run)
    assert cli.main(["notebooks"]) == 1
    assert capsys.readouterr() == ("", said)


def test_a_terminal_without_a_character_gets_another_one(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    monkeypatch.setattr(listing, "_notebooks", lambda _: print("─ ≤ ü"))
    cli.main(["notebooks"])
    assert written.getvalue() == "? ? ü\n".encode("cp1252")


def test_absent_jupyterlab(course, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    line = refused(["lab", str(tmp_path / "mine")], capsys)
    assert "JupyterLab does not import" in line
    assert "-m pip install jupyterlab" in line
    assert not (tmp_path / "mine").exists()


# --- lipviz lab, served ---


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A package that stands for the one with the grammars; `compiled()` tells whether it has been run."""
    folder = tmp_path / "rfc3987_syntax"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import pathlib\n"
        "pathlib.Path(__file__).with_name('run').touch()\n"
        "def is_valid_syntax(term, value):\n    return (term, value) == ('iri', 'a')\n"
        "def parse(term, value):\n    return value\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "rfc3987_syntax", None)  # afterwards it is as it was
    del sys.modules["rfc3987_syntax"]
    return (folder / "run").exists


def test_grammars_are_compiled_when_an_address_is_checked(compiled):
    grammars.compile_when_used()
    from rfc3987_syntax import is_valid_syntax

    assert not compiled()
    assert [is_valid_syntax("iri", text) for text in "ab"] == [True, False]
    assert compiled()
    assert importlib.import_module("rfc3987_syntax").is_valid_syntax is not is_valid_syntax


def test_the_doctor_compiles_no_grammars(compiled, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", {"rfc3987_syntax": "rfc3987_syntax"})
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "1")
    assert doctor.examine()["Versions"][-1] == doctor.Finding("rfc3987_syntax", "1")
    assert not compiled()


def test_whatever_else_is_asked_of_the_grammars_is_theirs(compiled):
    grammars.compile_when_used()
    stand_in = importlib.import_module("rfc3987_syntax")
    assert stand_in.parse("iri", "a") == "a"
    assert compiled()


def test_where_there_are_no_grammars_nothing_stands_in_for_them(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "rfc3987_syntax", None)
    del sys.modules["rfc3987_syntax"]
    grammars.compile_when_used()
    assert "rfc3987_syntax" not in sys.modules


@pytest.mark.slow
def test_jupyterlab_and_voila_start_without_the_grammars():
    program = (
        "import sys; sys.argv = ['lipviz']\n"
        "from lipviz.command import grammars; grammars.compile_when_used()\n"
        "import jupyterlab.labapp, voila.app\n"
        "print('lark' in sys.modules)"
    )
    assert run_command([sys.executable, "-c", program]).stdout == "False\n"


def logged_in(address):
    """The cookies of a reader who opens the address with the token."""
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        return "; ".join(cookie.partition(";")[0] for cookie in answer.headers.get_all("Set-Cookie"))


@pytest.mark.slow
def test_serves_with_a_token_on_the_loopback_until_ctrl_c(tmp_path):
    def get(address):
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            return answer.status, answer.read()

    with serve(tmp_path / "course", home=tmp_path) as server:
        address = urlsplit(server.address)
        assert address.hostname == "127.0.0.1"
        assert get(server.address)[0] == 200
        api = f"http://{address.netloc}/api/kernelspecs"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(api)
        specs = json.loads(get(f"{api}?{address.query}")[1])
        python = Path(specs["kernelspecs"]["python3"]["spec"]["argv"][0])
        assert python.parent == Path(sys.executable).parent  # the command may call it python3
        cookies = logged_in(server.address)
        events = "/api/events/subscribe"
        assert knock(server.address, f"{events}?", cookies=cookies) == 400  # let in, but it wants a websocket
        assert knock(server.address, events, cookies=cookies, origin="http://other.example") == 403
        assert knock(server.address, events) == 403
        assert knock(server.address, "/api/kernels", cookies=cookies, method="POST") == 403  # no secret of the page
    assert server.process.returncode == 0
    first, address, end, *refused = server.output.read_text().splitlines()  # stdout and stderr
    assert [line.partition(" is ")[0] for line in (first, address, end)] == [
        "The course",
        "JupyterLab",
        "Ctrl-C here ends it.",
    ]
    assert all("ServerApp" in line for line in refused)  # its log of what was forbidden
    assert not any("Warning" in line or "Traceback" in line for line in refused)


@pytest.mark.slow
def test_port_that_is_lost_after_all_is_one_line_too(tmp_path):
    # The reader's own option goes past our look at the port, so that JupyterLab itself must refuse.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        option = f"--ServerApp.port={listener.getsockname()[1]}"
        command = [LIPVIZ, "lab", "--no-browser", f"--port={free_port()}", tmp_path / "course", option]
        done = run_command(command, env=clean_environment(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


# --- lipviz doctor ---


@pytest.fixture(scope="module")
def art():
    """ART, imported before capsys replaces stderr: its import closes all log handlers, and absl's then its stream."""
    import lipviz.certification.attacks

    lipviz.certification.attacks._toolbox()


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--lab"]])
def test_doctor_finds_everything(arguments, art, capsys):
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert re.search(rf"^  lipviz +{re.escape(__version__)}$", out, re.MULTILINE)
    for name in ("keras ", "jupytext ", "voila ", "backend  ", "GPU  ", "digits ", "fashion_mnist "):
        assert f"  {name}" in out
    assert out.endswith("All that lipviz needs is here.\n")


def test_doctor_names_what_is_broken(art, monkeypatch, tmp_path, capsys):
    (tmp_path / "jupytext.py").write_text("import a_module_that_went_away")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "jupytext")
    monkeypatch.setitem(sys.modules, "lipviz.plots", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^  jupytext +BROKEN: ModuleNotFoundError: No module named 'a_module_that", out, re.MULTILINE)
    assert re.search(r"^  scipy +BROKEN: ", out, re.MULTILINE)
    assert out.endswith("Broken, and needed: scipy, jupytext, plots.\n")


def test_doctor_says_what_to_do_about_missing_data(art, monkeypatch, capsys):
    from lipviz import data

    missing = SimpleNamespace(name="fashion_mnist", available=False, source="", hint="apt install it")
    monkeypatch.setattr(data, "availability", lambda: (missing,))
    assert cli.main(["doctor"]) == 0
    assert "  fashion_mnist  missing: apt install it" in capsys.readouterr().out


def test_doctor_survives_broken_data(art, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lipviz.data", None)
    monkeypatch.delattr("lipviz.data", raising=False)
    assert cli.main(["doctor"]) == 1
    assert "BROKEN" in capsys.readouterr().out


# --- lipviz certify ---


@pytest.fixture
def saved(tmp_path):
    """A model that was saved: a convolution for images of every size, and a head."""
    import keras

    from lipviz import layers

    images = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(layers.SpectralConv2D(4, 3)(images))
    keras.Model(images, layers.SpectralDense(2)(pooled), name="net").save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


def test_certify_prints_a_table(saved, capsys):
    assert cli.main(["certify", str(saved), "--no-search"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Lipschitz constant of 'net' in the l2 norm: at most ")
    for name in ("spectral_conv2d", "global_average_pooling2d", "spectral_dense"):
        assert name in out


def test_certify_takes_a_method(saved, capsys):
    bounds = []
    for arguments in (["--method", "product"], [], ["--method", "tight"], ["--exact"]):
        assert cli.main(["certify", str(saved), "--no-search", "--json", "--input-shape", "8,8,1", *arguments]) == 0
        bounds.append(json.loads(capsys.readouterr().out)["upper_bound"])
    assert bounds[0] > 1.01 * bounds[1]
    assert bounds[1] >= bounds[2] == bounds[3]
    with pytest.raises(SystemExit):
        cli.main(["certify", str(saved), "--method", "best"])
    assert "invalid choice: 'best'" in capsys.readouterr().err


def test_certify_bounds_a_model_around_the_inputs_of_a_file(saved, tmp_path, capsys):
    import numpy as np

    np.save(tmp_path / "x.npy", np.linspace(-1, 1, 36).reshape(6, 6, 1))
    (tmp_path / "text.npy").write_text("no array")
    around = ["certify", str(saved), "--no-search", "--around"]
    assert cli.main([*around, str(tmp_path / "x.npy"), "--radius", "0.5"]) == 0
    assert capsys.readouterr().out.startswith("Lipschitz constant of 'net' in the l2 norm within 0.5 of an input: ")
    for rest, words in (
        ([str(tmp_path / "x.npy")], "needs both"),
        ([str(tmp_path / "x.npy"), "--radius", "-1"], "positive and finite"),
        ([str(tmp_path / "text.npy"), "--radius", "1"], "is no array"),
        ([str(tmp_path / "none.npy"), "--radius", "1"], "There is no file"),
    ):
        assert cli.main([*around, *rest]) == 1
        assert words in capsys.readouterr().err


def test_certify_prints_json(saved, capsys):
    import keras

    assert (
        cli.main(
            ["certify", str(saved), "--input-shape", "(8, 8, 1)", "--norm", "inf", "--json", "--method", "product"]
        )
        == 0
    )
    data = json.loads(capsys.readouterr().out)
    assert data["input_shape"] == [8, 8, 1]
    assert data["norm"] == "inf"
    # In this norm a layer's constant is the largest sum of the weights that an output adds up; a mean has 1.
    stack = keras.models.load_model(saved).layers
    kernels = [abs(keras.ops.convert_to_numpy(layer.wbar)) for layer in stack if hasattr(layer, "wbar")]
    sums = [kernel.reshape(-1, kernel.shape[-1]).sum(axis=0, dtype=float).max() for kernel in kernels]
    assert data["upper_bound"] == pytest.approx(math.prod(sums), rel=1e-9)  # both in float64
    assert [row["kind"] for row in data["layers"]] == ["SpectralConv2D", "GlobalAveragePooling2D", "SpectralDense"]


# --- lipviz certify, handed on ---


@pytest.fixture
def handed(saved, tmp_path, capsys):
    """The model that was saved, and its certificate."""
    assert cli.main(["certify", str(saved), "--no-search", "--save", str(tmp_path / "net.json")]) == 0
    assert capsys.readouterr().out.startswith("Lipschitz constant of 'net' in the l2 norm: at most ")
    return saved, tmp_path / "net.json"


def checked(model, certificate, capsys):
    """Status, and the one line that the command prints."""
    status = cli.main(["certify", str(model), "--check", str(certificate)])
    captured = capsys.readouterr()
    (line,) = (captured.out + captured.err).splitlines()
    assert line.startswith("lipviz: ") == bool(captured.err) == (status == 2)
    return status, line


def test_a_certificate_belongs_to_its_model_only(handed, tmp_path, capsys):
    import keras

    model, certificate = handed
    status, line = checked(model, certificate, capsys)
    assert status == 0
    assert line.startswith(f"{certificate} belongs to {model}. Lipschitz constant of 'net' in the l2 norm: at most ")
    other = keras.models.load_model(model)
    other.layers[-1].bias.assign([0.0, 1e-45])
    other.save(tmp_path / "other.keras")
    status, line = checked(tmp_path / "other.keras", certificate, capsys)
    assert status == 1
    assert line == f"{certificate} does not belong to {tmp_path / 'other.keras'}: its weights have changed."


def test_what_cannot_be_compared_is_one_line(handed, tmp_path, capsys):
    model, certificate = handed
    (tmp_path / "cut.json").write_bytes(certificate.read_bytes()[:-9])
    (tmp_path / "new.json").write_text('{"format": "lipviz certificate", "format_version": 2}')
    (tmp_path / "model.json").write_text('{"class_name": "Sequential"}')
    cases = [
        (model, tmp_path / "none.json", "There is no file"),
        (model, tmp_path, "is a folder"),
        (model, tmp_path / "cut.json", "no certificate, or a damaged one"),
        (model, tmp_path / "new.json", "in format 2"),
        (model, tmp_path / "model.json", "no certificate of lipviz"),
        (model, model, "is a saved model. Expected a certificate"),
        (certificate, model, "is a saved model. Expected a certificate"),
        (certificate, certificate, "it is JSON, such as a certificate. Expected a model"),
        (tmp_path / "none.keras", certificate, "There is no file"),
    ]
    for first, second, message in cases:
        status, line = checked(first, second, capsys)
        assert status == 2, line
        assert message in line


def test_a_certificate_that_cannot_be_written_is_refused_before_the_work(saved, tmp_path, monkeypatch, capsys):
    from lipviz import certification

    monkeypatch.setattr(certification, "certify", None)
    before = saved.read_bytes()
    cases = {"none/net.json": "There is no folder", ".": "is a folder", saved.name: "A certificate is JSON"}
    for name, message in cases.items():
        assert message in refused(["certify", str(saved), "--save", str(tmp_path / name)], capsys)
    assert "it is JSON, such as a certificate" in refused(["certify", str(_json(tmp_path))], capsys)
    assert saved.read_bytes() == before


def _json(folder):
    (folder / "some.json").write_text("{}")
    return folder / "some.json"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--check", "a.json", "--save", "b.json"], "not allowed with argument"),
        (["--check", "a.json", "--check", "b.json"], "argument --check: given twice"),
        (["--save", "a.json", "--save=b.json"], "argument --save: given twice"),
        (["--check", "a.json", "--norm=1", "--json"], "not allowed with --norm=1, --json, as nothing is certified"),
        (["--check"], "expected one argument"),
    ],
)
def test_careless_arguments_of_certify(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["certify", "net.keras", *arguments])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.slow
def test_certify_as_a_command_knows_our_classes_and_names_others(tmp_path, capsys):
    """Ours in a process of its own, where nothing has imported the layers before."""
    import keras

    import lipviz
    from lipviz import layers

    class Unknown(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    ours = [keras.Input((4,)), layers.SpectralDense(3, activation=layers.FullSort())]
    lipviz.Sequential(ours).save(tmp_path / "ours.keras")
    keras.Sequential([keras.Input((4,)), Unknown()]).save(tmp_path / "other.keras")

    environment = clean_environment(tmp_path)
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = run_command([LIPVIZ, "certify", tmp_path / "ours.keras", "--json", "--no-search"], env=environment)
    assert (done.returncode, done.stderr) == (0, "")  # no import message of TensorFlow either
    assert json.loads(done.stdout)["upper_bound"] <= 1.0

    assert cli.main(["certify", str(tmp_path / "other.keras"), "--no-search"]) == 1
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith("lipviz: ")
    assert "Could not locate class 'Unknown'" in message
    assert len(message) < 800


def test_certify_says_in_one_line_that_a_file_is_damaged(saved, tmp_path, capsys):
    import zipfile

    whole = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def packed(name, **changed):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for part, content in {**parts, **changed}.items():
                if content is not None:
                    archive.writestr(part, content)

    middle = whole.index(parts["config.json"][40:80]) + 10
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for name, content in {"flipped": flipped, "cut": whole[:-100], "text": b"no model", "empty": b""}.items():
        (tmp_path / f"{name}.keras").write_bytes(content)
    packed("parts.keras", **{"config.json": None})
    packed("weights.keras", **{"model.weights.h5": None})
    packed("json.keras", **{"config.json": b"{"})
    packed("other.keras", **{"config.json": b"[1]"})
    packed("broken.keras", **{"model.weights.h5": b"no HDF5"})
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "text.h5").write_text("no model")
    (tmp_path / "text").write_text("no model")
    cases = {
        "flipped.keras": "it is damaged: its part 'config.json' differs from its checksum.",
        "cut.keras": "it is damaged, or no file that Keras saved",
        "text.keras": "it is damaged, or no file that Keras saved (BadZipFile: File is not a zip file).",
        "empty.keras": "it is empty. Expected a file that Keras saved as `.keras`.",
        "parts.keras": "it holds no 'config.json', as a file that Keras saved does.",
        "weights.keras": "it holds no 'model.weights.h5'",
        "json.keras": "it is damaged, or no file that Keras saved",
        "other.keras": "cannot be loaded: ",
        "broken.keras": "cannot be loaded: ",
        "folder.keras": "There is no file",
        "text.h5": "cannot be loaded: ",
        "text": "cannot be loaded: ",
    }
    for name, message in cases.items():
        assert cli.main(["certify", str(tmp_path / name), "--no-search"]) == 1, name
        captured = capsys.readouterr()
        assert captured.out == "", name
        assert captured.err.startswith("lipviz: ")
        assert captured.err.count("\n") == 1, captured.err
        assert message in captured.err
        assert str(tmp_path / name) in captured.err
        assert "File not found" not in captured.err


def test_no_flipped_byte_of_a_file_is_a_traceback(saved, tmp_path):
    import numpy as np

    from lipviz.certification.model_file import load_model_file

    whole, path, complaints = saved.read_bytes(), tmp_path / "flipped.keras", []
    for place in np.random.default_rng(0).choice(len(whole), 40, replace=False):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load_model_file(path)  # a date or a flag may change nothing
        except ValueError as error:
            complaints.append(str(error))
    assert len(complaints) > 20
    assert all(str(path) in complaint for complaint in complaints)


def test_certify_says_in_one_line_what_is_wrong(saved, tmp_path, capsys):
    import keras

    (tmp_path / "text.keras").write_text("no model")
    unsafe = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    unsafe.save(tmp_path / "unsafe.keras")
    cases = [
        ([str(tmp_path / "none.keras")], "There is no file"),
        ([str(tmp_path)], "There is no file"),
        ([str(tmp_path / "text.keras")], "text.keras"),
        ([str(tmp_path / "unsafe.keras")], "ambda"),
        ([str(saved), "--input-shape", "8,8,3"], "`input_shape` must fit"),
    ]
    for arguments, message in cases:
        assert cli.main(["certify", *arguments]) == 1, arguments
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("lipviz: ")
        assert message in captured.err


# --- TensorFlow's import messages ---


# By day, `certify` and `bench` as commands say it: all three import Keras within `without_import_messages`.
@pytest.mark.nightly
def test_no_import_message_interrupts_the_doctor(tmp_path):
    environment = clean_environment(tmp_path)
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = run_command([LIPVIZ, "doctor"], env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


SPEAKING = """
import os, sys
from lipviz.command.import_messages import without_import_messages
assert "keras" not in sys.modules
with without_import_messages():
    os.write(2, b"I0000 port.cc:153] oneDNN custom operations are on. You may see\\n")
    print("from Python", file=sys.stderr)
    os.write(2, b"F0000 compiled to use AVX\\nno end of line")
    {end}
print(", afterwards", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("end", "status", "last"), [("pass", 0, ", afterwards\n"), ("os.abort()", -6, ""), ("os._exit(3)", 3, "")]
)
def test_all_but_the_import_messages_passes_even_from_a_process_that_crashes(end, status, last):
    program = f"import sys; sys.argv[0] = 'lipviz'\n{SPEAKING.format(end=end)}"
    done = run_command([sys.executable, "-c", program])
    assert done.returncode == status
    assert done.stderr == f"from Python\nF0000 compiled to use AVX\nno end of line{last}"


@pytest.mark.parametrize("shape", ["28x28", "0,3", "-1", "", "a,b"])
def test_certify_refuses_what_is_no_shape(shape, capsys):
    with pytest.raises(SystemExit):
        cli.main(["certify", "net.keras", "--input-shape", shape])
    assert "as 28,28,1" in capsys.readouterr().err


INTERRUPTED = """
import asyncio, sys, threading
import anyio
sys.argv = ["lipviz"]  # as the command, which does not wait for Keras
from lipviz.command import lab

loop = asyncio.new_event_loop()
began, leave = threading.Event(), threading.Event()
def read():
    began.set()
    leave.wait()
reading = loop.create_task(anyio.to_thread.run_sync(read))
async def stop():
    while not began.is_set():
        await asyncio.sleep(0)
    loop.stop()
loop.create_task(stop())
loop.run_forever()
assert any("AnyIO" in thread.name for thread in threading.enumerate())
lab.end_idle_workers()
leave.set()
print("the end")
"""


@pytest.mark.slow
def test_a_server_that_is_interrupted_while_it_reads_a_file_ends():
    ended = run_command([sys.executable, "-c", INTERRUPTED])
    assert (ended.returncode, ended.stdout) == (0, "the end\n")
