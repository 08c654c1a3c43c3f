"""Explorers as a page of their own; in a browser, see tests/browser/test_explorers.py."""

import ast
import html
import json
import os
import socket
import stat
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import nbformat
import pytest

from lipviz import explorers
from lipviz.command import app, cli, lab
from lipviz.explorers.shell import registry
from tests.browser.lab import free_port


@pytest.fixture
def served(monkeypatch):
    """Takes the place of Voilà: nothing starts, and what would start can be looked at."""
    from voila.app import Voila

    calls = SimpleNamespace(arguments=None, notebooks=None)

    def initialize(self, argv):
        calls.arguments = dict(argument.removeprefix("--").split("=", 1) for argument in argv[:-1])
        calls.folder = os.path.dirname(argv[-1])
        calls.notebooks = {path.stem: nbformat.read(path, 4) for path in Path(calls.folder).glob("*.ipynb")}
        calls.mode = stat.S_IMODE(os.stat(calls.folder).st_mode)

    def start(self):
        from tornado.ioloop import IOLoop

        loop = IOLoop.current()
        loop.add_callback(loop.stop)
        loop.start()

    monkeypatch.setattr(Voila, "initialize", initialize)
    monkeypatch.setattr(Voila, "start", start)
    monkeypatch.setattr(webbrowser, "open", lambda address: calls.__setattr__("opened", address))
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return calls


def test_each_page_is_one_cell_that_shows_one_explorer(served):
    assert cli.main(["app", "--no-browser"]) == 0
    assert served.notebooks.keys() == {entry.name for entry in explorers.entries()}
    for name, notebook in served.notebooks.items():
        nbformat.validate(notebook)
        (cell,) = notebook.cells
        call = ast.parse(cell.source).body[-1].value
        assert call.func.attr == "opened"
        assert [argument.value for argument in call.args] == [name]
        assert notebook.metadata.title == f"lipviz: {explorers.find(name).title}"
        assert f'alt="{html.escape(explorers.find(name).shows)}"' in notebook.metadata.lipviz.image


@pytest.mark.parametrize(
    ("name", "query", "address"),
    [
        (None, {}, "http://127.0.0.1:80/"),
        ("bjorck", {}, "http://127.0.0.1:80/bjorck"),
        ("BjorckExplorer", {"token": "abc"}, "http://127.0.0.1:80/bjorck?token=abc"),
        (None, {"a": '{"b": 1}', "c": "&"}, "http://127.0.0.1:80/?a=%7B%22b%22%3A+1%7D&c=%26"),
    ],
)
def test_each_page_has_an_address(name, query, address):
    assert app.page_address(name, query, port=80) == address


def test_the_page_is_for_its_reader_only(served, capsys):
    port = free_port()
    assert cli.main(["app", "bjorck", "--no-browser", f"--port={port}"]) == 0
    options = served.arguments
    assert options["Voila.ip"] == "127.0.0.1"
    assert options["Voila.port"] == str(port)
    assert len(options["Voila.token"]) == 48
    assert options["VoilaConfiguration.strip_sources"] == "True"
    assert served.mode == 0o700
    assert not os.path.exists(served.folder)
    address = capsys.readouterr().out.split(" is at ")[1].splitlines()[0]
    assert urlsplit(address).netloc == f"127.0.0.1:{port}"
    assert urlsplit(address).path == "/bjorck"
    assert urlsplit(address).query == f"token={options['Voila.token']}"
    assert not hasattr(served, "opened")


def test_a_browser_is_led_there_by_a_private_file(served, monkeypatch):
    pages = []
    monkeypatch.setattr(webbrowser, "open", lambda address: pages.append(Path(urlsplit(address).path).read_text()))
    assert cli.main(["app"]) == 0
    (page,) = pages
    assert f"token={served.arguments['Voila.token']}" in page
    assert f"/?token={served.arguments['Voila.token']}" in page


def test_two_pages_have_two_tokens(served):
    tokens = []
    for _ in range(2):
        cli.main(["app", "--no-browser"])
        tokens.append(served.arguments["Voila.token"])
    assert tokens[0] != tokens[1]


def test_an_unknown_name_lists_the_names(capsys):
    assert cli.main(["app", "nothing", "--no-browser"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("lipviz: there is no explorer of that name")
    assert all(entry.name in message for entry in explorers.entries())
    assert len(message.splitlines()) == 1


OWN = """
from lipviz.explorers import BjorckExplorer, register

@register
class MineExplorer(BjorckExplorer):
    title = "Mine"
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})
    monkeypatch.setattr(app, "_FILES", {})
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    return file


def test_a_file_that_registers_an_explorer_opens_it(served, own, capsys):
    assert cli.main(["app", str(own), "--no-browser"]) == 0
    assert "lipviz: Mine is at http://127.0.0.1:" in capsys.readouterr().out
    found = {}
    exec(served.notebooks["mine"].cells[0].source.rpartition("\n")[0], found)
    assert found["explorers"].find("mine").class_name == "MineExplorer"
    assert "runpy" not in served.notebooks["bjorck"].cells[0].source


@pytest.mark.parametrize(
    ("code", "words"),
    [(None, "there is no file"), ("1 / 0", "cannot be run: ZeroDivisionError"), ("", "@lipviz.explorers.register")],
)
def test_a_file_without_an_explorer_gets_a_sentence(own, code, words, capsys):
    own.unlink() if code is None else own.write_text(code)
    assert cli.main(["app", str(own)]) == 1
    assert words in capsys.readouterr().err


def test_a_port_in_use_is_refused(served, capsys):
    with socket.create_server((lab.HOST, 0)) as listener:
        port = listener.getsockname()[1]
        assert cli.main(["app", f"--port={port}"]) == 1
    assert f"port {port} is in use" in capsys.readouterr().err
    assert served.arguments is None


def test_the_kernel_is_this_python(served, monkeypatch):
    seen = {}

    def look(self, argv):
        path = Path(os.environ["JUPYTER_PATH"].split(os.pathsep)[0], "kernels", "python3", "kernel.json")
        seen.update(json.loads(path.read_text()))

    from voila.app import Voila

    monkeypatch.setattr(Voila, "initialize", look)
    cli.main(["app", "--no-browser"])
    assert seen["argv"][0] == sys.executable
