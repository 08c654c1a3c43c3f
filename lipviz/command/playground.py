"""The playground of the documentation, from the package: a page that needs no kernel and no network.

A browser does not load JavaScript modules from a file, so a small server hands out the files of `lipviz/playground`.
It needs only the standard library.
"""

import contextlib
import functools
import http.server
import webbrowser
from pathlib import Path

from lipviz.command import lab

FOLDER = Path(__file__).resolve().parents[1] / "playground"


class _Files(http.server.SimpleHTTPRequestHandler):
    """Hands out the files of the page, and says nothing about it."""

    # The types of a system can be wrong, and a browser runs no module of another type.
    extensions_map = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}  # noqa: RUF012

    def log_message(self, format, *args):
        """Keeps the terminal free."""


def make_server(port: int) -> http.server.ThreadingHTTPServer:
    """Makes a server of the playground on the loopback; port 0 is any free one."""
    return http.server.ThreadingHTTPServer((lab.HOST, port), functools.partial(_Files, directory=FOLDER))


def address(server: http.server.ThreadingHTTPServer) -> str:
    """Returns where a server of the playground is."""
    return f"http://{lab.HOST}:{server.server_port}/"


def open_playground(*, port: int | None, browser: bool) -> None:
    """Serves the playground until Ctrl-C, on this machine only, and opens it.

    Args:
        port: where to listen on the loopback; None takes the first free one from 8888 on.
        browser: whether to open one.

    Raises:
        LabError: no port is free.
    """
    with make_server(lab.choose_port(port)) as server:
        print(f"The playground is at {address(server)}\nCtrl-C here ends it.", flush=True)
        if browser:
            webbrowser.open(address(server))
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
