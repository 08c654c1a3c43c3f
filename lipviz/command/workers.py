"""Starts workers of a script on this machine, and ends all of them when one fails."""

import argparse
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lipviz.command import values

_GRACE = 10  # seconds from the request to end until a worker is killed


def add_command(commands: Any) -> None:
    """Adds `lipviz workers` to the subparsers of the command."""
    parser = commands.add_parser(
        "workers",
        help="run a training script in several processes that train together",
        description="Run SCRIPT in N processes of this machine. TF_CONFIG tells each of them the addresses of all, for "
        "lipviz.distributed.connect(). If one of them fails, the others are ended.",
        epilog="All arguments after SCRIPT go to the script.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--restarts",
        metavar="R",
        type=values.whole,
        default=0,
        help="start all of them again, up to R times; default: 0",
    )
    parser.add_argument("count", metavar="N", type=values.count, help="number of workers")
    parser.add_argument("script", metavar="SCRIPT", type=Path, help="a Python script")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="arguments of SCRIPT")
    parser.set_defaults(run=run, error=parser.error, takes_further=True)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit status."""
    if not arguments.script.is_file():
        arguments.error(f"there is no file {str(arguments.script)!r}")
    given = [*arguments.arguments, *arguments.further]
    return start_workers(arguments.count, arguments.script, given, arguments.restarts)


def start_workers(count: int, script: Path, arguments: Sequence[str], restarts: int = 0) -> int:
    """Runs a script in several processes of this machine, with TF_CONFIG, and waits until all of them have ended.

    If one fails, the others are ended, and all are started again as often as `restarts` says.

    Args:
        count: Number of workers.
        script: Python script.
        arguments: Its arguments.
        restarts: How often to start all of them again.

    Returns:
        0 if all workers have ended well; otherwise the exit status of the one that failed first, or 1 if a signal
        killed it.
    """
    for left in range(restarts, -1, -1):
        with _ended_by_sigterm():
            failed, status = _run([sys.executable, str(script), *arguments], count)
        if failed is None:
            return 0
        again = f" Starting all of them again; {left - 1} more times if needed." if left else ""
        print(f"lipviz: worker {failed} {_words(status)}; the others were ended.{again}", file=sys.stderr, flush=True)
    return status if status > 0 else 1


@contextlib.contextmanager
def _ended_by_sigterm():
    """Context in which SIGTERM raises SystemExit, so that the workers are ended, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _words(status):
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with exit status {status}"


def _run(command, count):
    """The number and the status of the first worker that failed; (None, 0) if all have ended well."""
    processes = [subprocess.Popen(command, env=environment) for environment in _environments(count)]
    ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def wait(index):
        ended.put((index, processes[index].wait()))

    try:
        for index in range(count):
            threading.Thread(target=wait, args=(index,), daemon=True).start()
        for _ in range(count):
            index, status = ended.get()
            if status:
                return index, status
        return None, 0
    finally:
        _end(processes)


def _environments(count):
    """The environment of each worker."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    for index in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        yield {**os.environ, "TF_CONFIG": json.dumps(config)}


def free_ports(count: int) -> list[int]:
    """Ports of this machine that are free now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _end(processes):
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
