"""Explorers as pages of their own, served by Voilà: no code, no notebook.

The server listens on the loopback and asks for a token, so that nobody else on the machine can use it. Its files are in
a private folder, which is removed when the server ends.
"""

import html
import json
import os
import runpy
import secrets
import tempfile
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lipviz import explorers
from lipviz.command import grammars, lab
from lipviz.explorers.shell import cards

# In seconds: idle time after which a kernel without a page ends, time between two checks, time for a kernel to start.
_CULL_AFTER, _CULL_EVERY, _START_TIMEOUT = 120, 30, 600

_FILES: dict[str, Path] = {}  # of explorers that are not lipviz's own, by short name


def registered_by(file: Path) -> str:
    """Runs a file that registers explorers, which then have a card and a page, and returns the name of the last one.

    Args:
        file: a Python file with a class under `lipviz.explorers.register`.

    Raises:
        LabError: there is no such file, it raises an error, or it registers no explorer.
    """
    if not file.is_file():
        raise lab.LabError(f"there is no file {file}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    before = explorers.entries()
    try:
        runpy.run_path(str(file))
    except Exception as error:  # of any kind: it is the reader's code
        raise lab.LabError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    names = [entry.name for entry in explorers.entries() if entry not in before]
    if not names:
        raise lab.LabError(f"{file} registers no explorer: write @lipviz.explorers.register above its class")
    _FILES.update(dict.fromkeys(names, file.resolve()))
    return names[-1]


def page_code(name: str) -> str:
    """Returns the code of the page of an explorer.

    Args:
        name: short name or class name of the explorer.

    Raises:
        LabError: there is no explorer of that name.
    """
    entry = _find(name)
    own = f"import runpy\n\nrunpy.run_path({str(_FILES[entry.name])!r})\n" if entry.name in _FILES else ""
    return f'{own}from lipviz import explorers\n\nexplorers.opened("{entry.name}")'


def page_title(name: str | None) -> str:
    """Returns the title of the page in the browser; None is the page with all explorers."""
    return "lipviz explorers" if name is None else f"lipviz: {_find(name).title}"


def page_address(name: str | None, query: Mapping[str, str], *, port: int) -> str:
    """Returns the address of a page.

    Args:
        name: short name or class name of an explorer; None is the page with all explorers.
        query: what follows the question mark, such as the token.
        port: where the server listens on the loopback.

    Raises:
        LabError: there is no explorer of that name.
    """
    path = "" if name is None else _find(name).name
    return f"http://{lab.HOST}:{port}/{path}" + (f"?{urlencode(query)}" if query else "")


def _find(name):
    try:
        return explorers.find(name)
    except ValueError as error:
        raise lab.LabError(f"there is no explorer of that name: {error}") from error


def write_page(path: Path, name: str) -> None:
    """Writes the notebook that Voilà turns into the page of an explorer: one cell."""
    entry = _find(name)
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": "explorer",
        "metadata": {},
        "outputs": [],
        "source": page_code(name),
    }
    metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "title": page_title(name),
        "lipviz": {"title": entry.title, "image": cards.image(entry)},  # shown until the kernel is up
    }
    notebook = {"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook), encoding="utf-8")


def server_arguments(folder: Path, notebook: Path, *, port: int, token: str) -> list[str]:
    """Builds Voilà's command line. It is used in this process only, so other users cannot read the token."""
    from jupyter_client import KernelManager

    options = {
        "Application.log_level": "WARN",
        "Voila.ip": lab.HOST,
        "Voila.port": port,
        "Voila.port_retries": 0,
        "Voila.open_browser": False,
        "Voila.token": token,
        "Voila.identity_provider_class": "voila.voila_identity_provider.VoilaIdentityProvider",
        "Voila.connection_dir_root": folder,
        "VoilaConfiguration.strip_sources": True,
        "VoilaConfiguration.multi_kernel_manager_class": "lipviz.command.app_server.SpareKernels",
        "VoilaExecutor.startup_timeout": _START_TIMEOUT,
        # The pages are those of the app, whatever an address asks for.
        "VoilaConfiguration.allow_template_override": "NO",
        "VoilaConfiguration.allow_theme_override": "NO",
        "VoilaConfiguration.file_allowlist": "^$",  # no file: traitlets warns of "[]"
        # It is built for another JupyterLab than Voilà's, and the page has no notebook.
        "VoilaConfiguration.extension_denylist": "jupyterlab-jupytext",
        # The kernel ends after its page was closed or lost.
        "MappingKernelManager.cull_idle_timeout": _CULL_AFTER,
        "MappingKernelManager.cull_interval": _CULL_EVERY,
    }
    if "transport_encryption" in KernelManager.class_trait_names():
        options["KernelManager.transport_encryption"] = "auto"
    return [*(f"--{name}={value}" for name, value in options.items()), str(notebook)]


def open_app(name: str | None, *, port: int | None, browser: bool, state: str | None = None) -> None:
    """Serves all explorers with Voilà until Ctrl-C, and opens one of them or the page with all.

    Args:
        name: short name or class name of an explorer, or a file that registers one, which ends with .py; None is the
            page with all explorers.
        port: where to listen on the loopback; None takes the first free one from 8888 on.
        browser: whether to open one.
        state: state of the explorer as JSON; what the explorer cannot use of it, its page tells.

    Raises:
        LabError: there is no such explorer or file, a state without an explorer, or no port is free.
    """
    lab.need_docstrings()
    if name is not None and name.endswith(".py"):
        name = registered_by(Path(name))
    page_title(name)
    if state is not None and name is None:
        raise lab.LabError("a state belongs to an explorer: lipviz app NAME --state JSON")
    port = lab.choose_port(port)
    with tempfile.TemporaryDirectory(prefix="lipviz-app-", ignore_cleanup_errors=True) as private:
        _serve(Path(private), name, port, browser, state)


def _serve(folder, name, port, browser, state):
    grammars.compile_when_used()

    from lipviz.command.app_server import AppServer, main_loop

    for entry in explorers.entries():
        write_page(folder / f"{entry.name}.ipynb", entry.name)
    os.environ.update(lab.prepare_private(folder))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    token = secrets.token_hex(24)
    server = AppServer()
    server.initialize(server_arguments(folder, folder / f"{entry.name}.ipynb", port=port, token=token))
    query = {"token": token} | ({} if state is None else {"state": state})
    where = page_address(name, query, port=port)

    def announce():
        print(f"{page_title(name)} is at {where}\nCtrl-C here ends it.", flush=True)
        if browser:
            open_browser(folder, where)

    main_loop().add_callback(announce)  # runs when the server listens
    try:
        server.start()
    finally:
        lab.end_idle_workers()


def open_browser(folder: Path, address: str) -> None:
    """Opens an address by a local page that redirects to it: the list of processes must not show the token."""
    page = folder / "open.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><title>lipviz</title><meta http-equiv="refresh" '
        f'content="0;url={html.escape(address)}"><a href="{html.escape(address)}">lipviz</a>',
        encoding="utf-8",
    )
    page.chmod(0o600)
    webbrowser.open(page.as_uri())
