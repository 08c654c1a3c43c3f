"""How many readers one machine can have: `lipviz app`, or the course, with real kernels and real websockets.

    python -m tools.load                         lipviz app with 1, 5, 10 and 30 readers
    python -m tools.load --in lab --lesson 02    the same in JupyterLab, where each reader first runs a lesson
    python -m tools.load --note "quiet" --write  also keep the figures, and write the table of docs/load.md

All new readers open the page at the same moment, as in a class that is told to. When the last of them has its first
picture, all of them move a slider, each about once a second. The picture of each move is compared with that of the same
explorer in this process, byte by byte. A reader here is a program that does what a page does: it opens the address,
takes the state of all widgets, says that a page is there, and sends the value of the slider through the websocket. What
a browser does with a picture is not in the times.

Memory is the proportional set size: a page of memory that n processes share counts as 1/n for each. No more readers are
started than the free memory allows, and a line says so.
"""

import argparse
import asyncio
import contextlib
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from tools.class_memory import memory
from tools.drags import is_kernel
from tools.load import page, readers, servers

MIB = 2**20
FIRST = 800  # MiB that a kernel is expected to take before one has been measured
LEFT = 1024  # MiB that stay free
CGROUP = Path("/sys/fs/cgroup")


def free_memory():
    """MiB that more processes may take, also where a container has less than its machine."""
    free = psutil.virtual_memory().available / MIB
    with contextlib.suppress(OSError, ValueError):
        limit, used = ((CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
        free = min(free, (int(limit) - int(used)) / MIB)
    return free


def that_fit(wanted, there, each, free):
    """How many of the `wanted` readers can be there: `there` are already, a new one takes `each` of the `free` MiB."""
    return max(there, min(wanted, there + int((free - LEFT) // each)))


def kernels_of(server):
    """The processes of the kernels."""
    return [one for one in psutil.Process(server.process.pid).children(recursive=True) if is_kernel(one)]


def processor_seconds(processes):
    return sum(sum(one.cpu_times()[:2]) for one in processes)


class Level:
    """A number of readers who are there at the same time, and what was measured of them."""

    def __init__(self, place, server, pictures, chosen):
        self._place, self._server, self._pictures, self._chosen = place, server, pictures, chosen
        self.readers, self._each = [], FIRST

    async def grow(self, wanted):
        """Lets readers come until there are so many, or until the memory allows no more.

        Returns:
            The seconds of each new one until its first picture, and those of the processors for one of them.
        """
        count = that_fit(wanted, len(self.readers), self._each, free_memory())
        if count < wanted:
            print(f"{wanted} readers do not fit: each takes {self._each:.0f} MiB, and {free_memory():.0f} are free. "
                  f"There will be {count}.", flush=True)  # fmt: skip
        before = processor_seconds(kernels_of(self._server))
        new = await asyncio.gather(*(self._place.opened() for _ in range(count - len(self.readers))))
        self.readers += new
        kernels = kernels_of(self._server)
        self._each = max(memory(kernel.pid)[0] for kernel in kernels)
        return [reader.opened for reader in new], (processor_seconds(kernels) - before) / max(len(new), 1)

    async def measured(self, opened, processor):
        """Lets all readers move their sliders; returns the row of the data file."""
        kernels, server = kernels_of(self._server), [psutil.Process(self._server.process.pid)]
        before, began = [processor_seconds(group) for group in (kernels, server)], time.perf_counter()
        moves = await readers.read_all(self.readers, self._pictures, self._chosen.moves, self._chosen.pause)
        seconds = time.perf_counter() - began
        used = [processor_seconds(group) - start for group, start in zip((kernels, server), before, strict=True)]
        sizes = [memory(kernel.pid)[0] for kernel in kernels]
        shares = zip(("median", "p95", "largest"), np.percentile(moves.took, (50, 95, 100)), strict=True)
        print(*sorted(set(moves.errors)), sep="\n", end="", flush=True)
        return {
            "readers": len(self.readers),
            "opened": {"median": round(statistics.median(opened), 1), "largest": round(max(opened), 1)},
            "opening_processor_seconds": round(processor, 1),
            "milliseconds": {name: round(value, 1) for name, value in shares},
            "moves": len(moves.took),
            "wrong": moves.wrong,
            "failed": moves.failed,
            "processor_milliseconds": [round(1000 * one / max(len(moves.took), 1), 1) for one in used],
            "processors_busy": round(sum(used) / seconds, 2),
            "kernel_mib": round(statistics.median(sizes)),
            "all_kernels_mib": round(sum(sizes)),
            "server_mib": round(memory(self._server.process.pid)[0]),
        }


async def measure(place, server, pictures, chosen):
    """Yields a row for each number of readers."""
    level = Level(place, server, pictures, chosen)
    try:
        for wanted in sorted(chosen.readers):
            opened, processor = await level.grow(wanted)
            if not opened:
                return
            yield await level.measured(opened, processor)
    finally:
        for reader in level.readers:
            reader.front.close()


def conditions(chosen):
    """What the figures depend on."""
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=page.DOCS)
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "revision": revision.stdout.strip(),
        "server": "lipviz lab" if chosen.place == "lab" else "lipviz app",
        "lesson": chosen.lesson if chosen.place == "lab" else None,
        "explorer": chosen.explorer,
        "settings": dict(chosen.set),
        "pause": chosen.pause,
        "processors": f"{len(os.sched_getaffinity(0))}, {model.partition(':')[2].strip()}",
        "load_before": round(os.getloadavg()[0], 1),
        "note": chosen.note,
    }


async def run(chosen, folder):
    """Starts the server, prints a row for each number of readers, and keeps it where that is asked for."""
    control, pictures = readers.expected(chosen.explorer)
    about, home, further = conditions(chosen), servers.home_in(folder, "home"), dict(chosen.set)
    if chosen.place == "lab":
        place = servers.Course(chosen.lesson, chosen.explorer, control, home, further)
    else:
        place = servers.App(chosen.explorer, control, home, further)
    is_good = True
    with place.running() as server:
        print(*page.HEAD, sep=" | ", flush=True)
        async for row in measure(place, server, pictures, chosen):
            row = about | row
            print(*page.cells(row), sep=" | ", flush=True)
            is_good &= not (row["wrong"] or row["failed"])
            if chosen.write:
                page.keep(row)
    return is_good


def variable(text):
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def parsed(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m tools.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--readers", type=int, nargs="+", default=[1, 5, 10, 30], metavar="N", help="default: 1 5 10 30"
    )
    parser.add_argument("--in", dest="place", choices=("app", "lab"), default="app", help="default: %(default)s")
    parser.add_argument("--explorer", choices=sorted(page.EXPLORERS), default="bjorck", help="default: %(default)s")
    parser.add_argument(
        "--lesson", default="02", help="in JupyterLab, what each reader runs first; default: %(default)s"
    )
    parser.add_argument("--moves", type=int, default=20, help="of each reader; default: %(default)s")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two moves, in the mean; default: 1")
    parser.add_argument(
        "--set", type=variable, nargs="+", default=[], metavar="NAME=VALUE", help="variables of the server"
    )
    parser.add_argument("--note", default="", help="what else the machine did")
    parser.add_argument("--write", action="store_true", help="keep the figures, and write the table of docs/load.md")
    chosen = parser.parse_args(arguments)
    if min(chosen.readers) < 1 or chosen.moves < 1 or chosen.pause < 0:
        parser.error(f"expected one reader and one move at least, and no negative pause; got {chosen}")
    return chosen


def main(arguments=None):
    """Runs the command; the exit status is 1 where a move had no picture, or a wrong one."""
    chosen = parsed(arguments)
    with tempfile.TemporaryDirectory(prefix="lipviz-load-") as folder:
        is_good = asyncio.run(run(chosen, folder))
    if chosen.write:
        page.write()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
