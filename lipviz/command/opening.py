"""The parts of the `lipviz` command that open the course, explorers and the playground: arguments, and what runs them.

This module imports only the standard library, so that the command answers at once.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from lipviz import _extras
from lipviz.command import values


def add_commands(commands: Any) -> None:
    """Adds `lipviz lab`, `lipviz app` and `lipviz playground` to the subcommands of a parser."""
    _add_lab(commands)
    _add_app(commands)
    _add_playground(commands)


def _add_lab(commands):
    lab = commands.add_parser(
        "lab",
        help="copy the course to a folder and open it in JupyterLab",
        description="Copy the course to DIR, and open JupyterLab there. DIR is created if it does not exist. A lesson "
        "that you changed is never overwritten. A lesson that you did not change is updated.",
        epilog="Arguments that are not listed here, and all after --, go to `jupyter lab`; write them --name=value.",
        allow_abbrev=False,
    )
    lab.add_argument(
        "dir", metavar="DIR", nargs="?", type=Path, default=Path("lipviz-course"), help="default: %(default)s"
    )
    _add_server(lab)
    lab.set_defaults(run=_lab, takes_further=True)


def _add_app(commands):
    app = commands.add_parser(
        "app",
        help="open all explorers, or one of them, as a web page",
        description="Open all explorers, or the explorer NAME, as a web page. It needs no notebook and shows no code.",
        allow_abbrev=False,
    )
    app.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="an explorer, such as bjorck, or a file FILE.py that registers one of your own; default: all of them",
    )
    app.add_argument(
        "--state",
        metavar="JSON",
        type=_state,
        help="values of the controls of NAME, such as '{\"rows\": 32}'; the address that is printed holds them",
    )
    _add_server(app)
    app.set_defaults(run=_app)


def _add_playground(commands):
    playground = commands.add_parser(
        "playground",
        help="open the playground, where two networks learn the points that you draw",
        description="Open the playground of the documentation. An ordinary and a constrained network learn the points "
        "that you draw. It runs in the browser, and needs neither a notebook nor the internet.",
        allow_abbrev=False,
    )
    _add_server(playground)
    playground.set_defaults(run=_playground)


def _add_server(parser):
    """Arguments of all that starts a server."""
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="only print the address")
    parser.add_argument("--port", type=values.port, help="port to listen on; default: the first free one from 8888 on")


def _state(text):
    try:
        is_object = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise argparse.ArgumentTypeError(f"expected JSON with names, such as '{{\"rows\": 32}}', got {text!r}")
    return text


def _lab(arguments):
    _extras.need("lipviz lab")
    from lipviz.command import lab

    lab.open_lab(arguments.dir, port=arguments.port, browser=arguments.browser, further=arguments.further)
    return 0


def _app(arguments):
    _extras.need("lipviz app")
    from lipviz.command import app

    app.open_app(arguments.name, port=arguments.port, browser=arguments.browser, state=arguments.state)
    return 0


def _playground(arguments):
    from lipviz.command import playground

    playground.open_playground(port=arguments.port, browser=arguments.browser)
    return 0
