"""The `lipviz` command: open or list the course, open explorers or the playground, check the installation, and more.

This module imports only the standard library, so that the command answers at once. Each subcommand imports what it
needs.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from lipviz import _extras
from lipviz._version import __version__
from lipviz.command import benching, certifying, lecturers, listing, opening, reporting, workers


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: its arguments; None takes those of the process.

    Returns:
        The exit status: 0, or 1 after one line on stderr that says what is wrong. For `certify --check`, 0 means that
        the certificate belongs to the model, 1 that it does not, and 2 that something is wrong.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an old terminal, or a file on Windows, lacks some of the characters
    arguments = _parse(list(sys.argv[1:] if argv is None else argv))
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()  # what may fail fails here, and not when Python ends
        return status
    except BrokenPipeError:  # `lipviz notebooks | head -1` wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # such as a disk that is full
        print(f"lipviz: {error.strerror or error}{f' ({error.filename})' if error.filename else ''}", file=sys.stderr)
        return 1
    except _extras.MissingExtraError as error:  # whose message begins with "lipviz"
        print(error, file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name not in _extras.BACKENDS:
            raise
        words = f"Keras's backend {error.name} is not installed. Type: {_extras.installing(error.name)}"
        print(f"lipviz: {words}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except _lab_error() as error:
        print(f"lipviz: {error}", file=sys.stderr)
        return 1


def _lab_error():
    """The class of errors of the course's folder and of servers; Python asks for it where an error arrives only."""
    from lipviz.command.lab import LabError

    return LabError


def _parse(argv):
    # Without the split, argparse would take arguments after `--` for DIR.
    argv, further = _split(argv)
    parser = _build_parser()
    arguments, unknown = parser.parse_known_args(argv)
    arguments.further = unknown + further
    arguments.given = argv[1:]
    if arguments.further and not getattr(arguments, "takes_further", False):
        parser.error(f"unrecognized arguments: {' '.join(arguments.further)}")
    return arguments


def _split(argv):
    """Splits the arguments at the first `--`."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _build_parser():
    parser = argparse.ArgumentParser(
        prog="lipviz", description="Learn and explore Lipschitz-constrained neural networks.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"lipviz {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
    return parser


_COMMANDS = (
    opening.add_commands,
    listing.add_notebooks,
    lecturers.add_commands,
    listing.add_doctor,
    certifying.add_command,
    reporting.add_command,
    workers.add_command,
    benching.add_command,
)
"""Each adds subcommands to the parser, in the order in which the help lists them."""
