"""Explorers as a page of their own, served by Voilà: no code, no notebook.

The server listens on the loopback and asks for a token, so that nobody else on the machine can use it. Its files are in
a private folder, which is removed when the server ends.
"""

import html
import json
import os
import secrets
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from lipviz import explorers
from lipviz.command import grammars, lab

_CULL_AFTER, _CULL_EVERY = (
    120,
    30,
)  # seconds: idle time after which a kernel without a page ends, and time between two checks


def page_code(name: str | None) -> str:
    """Returns the code of the page: the gallery, or one explorer.

    Args:
        name: short name or class name of an explorer; None is the gallery.

    Raises:
        LabError: there is no explorer of that name.
    """
    if name is None:
        return "from lipviz import explorers\n\nexplorers.gallery()"
    try:
        entry = explorers.find(name)
    except ValueError as error:
        raise lab.LabError(f"there is no explorer of that name: {error}") from error
    return f"from lipviz import explorers\n\nexplorers.{entry.class_name}()"


def page_title(name: str | None) -> str:
    """Returns the title of the page in the browser."""
    return "lipviz explorers" if name is None else f"lipviz: {explorers.find(name).title}"


def write_page(path: Path, name: str | None) -> None:
    """Writes the notebook that Voilà turns into the page: one cell."""
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": "explorer",
        "metadata": {},
        "outputs": [],
        "source": page_code(name),
    }
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "title": page_title(name)}
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
        "VoilaConfiguration.file_allowlist": "^$",  # no file: traitlets warns of "[]"
        # The kernel ends after its page was closed or lost.
        "MappingKernelManager.cull_idle_timeout": _CULL_AFTER,
        "MappingKernelManager.cull_interval": _CULL_EVERY,
    }
    if "transport_encryption" in KernelManager.class_trait_names():
        options["KernelManager.transport_encryption"] = "auto"
    return [*(f"--{name}={value}" for name, value in options.items()), str(notebook)]


def open_app(name: str | None, *, port: int | None, browser: bool) -> None:
    """Serves the gallery or one explorer with Voilà until Ctrl-C.

    Args:
        name: short name or class name of an explorer; None is the gallery.
        port: where to listen on the loopback; None takes the first free one from 8888 on.
        browser: whether to open one.

    Raises:
        LabError: there is no such explorer, or no port is free.
    """
    page_code(name)
    port = lab.choose_port(port)
    with tempfile.TemporaryDirectory(prefix="lipviz-app-", ignore_cleanup_errors=True) as private:
        _serve(Path(private), name, port, browser)


def _serve(folder, name, port, browser):
    grammars.compile_when_used()
    from tornado.ioloop import IOLoop
    from voila.app import Voila

    notebook = folder / "explorer.ipynb"
    write_page(notebook, name)
    os.environ.update(lab.prepare_private(folder))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    token = secrets.token_hex(24)
    server = Voila()
    server.initialize(server_arguments(folder, notebook, port=port, token=token))
    address = f"http://{lab.HOST}:{port}/?token={token}"

    def announce():
        print(f"{page_title(name)} is at {address}\nCtrl-C here ends it.", flush=True)
        if browser:
            open_browser(folder, address)

    IOLoop.current().add_callback(announce)  # runs when the server listens
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
