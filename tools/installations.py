"""What an installation costs: installs lipviz into empty environments, and prints their sizes and times.

    python -m tools.installations [--python PYTHON]

Needs uv. Both environments, without and with the extra `lab`, are in a temporary folder, which goes in the end.
A size is what all files of an environment take on the disk, each counted once. Times are those of the processor, in new
processes and in turns: medians, after a round that does not count. A mebibyte (MiB) is 2^20 bytes.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSTALLATIONS = {"the library alone": ".", "with the course": ".[lab]"}
PROGRAMS = {"keras": "import keras", "lipviz": "import lipviz"}
REPEATS = 7


def install(folder, what, python):
    """A new environment of uv's with lipviz in it, compiled, as pip leaves it."""
    run("uv", "venv", "-q", "--python", python, str(folder))
    run("uv", "pip", "install", "-q", "--compile-bytecode", "--python", str(folder / "bin" / "python"), what)


def run(*command):
    subprocess.run(command, check=True, cwd=ROOT, stdin=subprocess.DEVNULL)


def size(folder):
    """Bytes of all files below a folder, what they take on the disk."""
    files = {(s.st_dev, s.st_ino): s.st_blocks * 512 for path in folder.rglob("*") for s in [path.lstat()]}
    return sum(files.values())


def packages(folder):
    """Number of distributions in an environment."""
    return len(list(folder.glob("lib/python*/site-packages/*.dist-info")))


def processor_seconds(folder, program):
    """Seconds of the processor of one program in a new process, beside the clone and not in it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "KERAS_"))}
    command = [folder / "bin" / "python", "-c", program]
    subprocess.run(command, check=True, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def import_times(folders):
    """{(folder, name of a program): median}, the programs in turns."""
    cases = [(folder, name) for folder in folders for name in PROGRAMS]
    rounds = [[processor_seconds(folder, PROGRAMS[name]) for folder, name in cases] for _ in range(REPEATS + 1)][1:]
    return dict(zip(cases, map(statistics.median, zip(*rounds, strict=True)), strict=True))


def table(folders):
    """The table, in Markdown; `folders` are the environments by their names."""
    times = import_times(folders.values())
    lines = ["| | packages | on the disk | `import keras` | `import lipviz` |", "|---|---|---|---|---|"]
    for name, folder in folders.items():
        costs = [f"{times[folder, program]:.1f} s" for program in PROGRAMS]
        lines.append(f"| {name} | {packages(folder)} | {size(folder) / 2**20:,.0f} MiB | {' | '.join(costs)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="python -m tools.installations", allow_abbrev=False)
    parser.add_argument("--python", default=sys.executable, help="the Python of the environments; default: this one")
    python = parser.parse_args().python
    with tempfile.TemporaryDirectory(prefix="lipviz-installations-") as scratch:
        folders = {name: Path(scratch, f"environment-{i}") for i, name in enumerate(INSTALLATIONS)}
        for name, folder in folders.items():
            install(folder, INSTALLATIONS[name], python)
        print(table(folders))


if __name__ == "__main__":
    main()
