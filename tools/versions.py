"""Tests what pyproject.toml promises of versions: each Python, with the newest and with the oldest releases.

    python -m tools.versions [--python 3.11 3.12 ...] [--releases newest oldest] [--cases N]

Needs uv, which finds the Pythons, or fetches them where it can. It first makes the wheel and the source archive, and
asks twine whether the index would take them. Each environment is new, and lies in a temporary folder. With `oldest` it
has the oldest release of every package that pyproject.toml names, of those with a wheel for this Python. The fast tests
run in it: of each test with parameters, a few cases. A table at the end says what was installed, and how the tests
ended. The exit status is 1 where anything failed, or a Python was missing.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
RELEASES = {"newest": "highest", "oldest": "lowest-direct"}
SHOWN = ("tensorflow", "keras", "jax", "numpy", "matplotlib", "jupyterlab")
MINORS = range(8, 30)  # of Python 3


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the tests ended in one environment.

    Attributes:
        python: the version that was asked for.
        releases: "newest" or "oldest".
        installed: versions by name of a package, empty where the installation failed.
        words: pytest's last line, or what went wrong before.
        passed: whether all tests passed.
    """

    python: str
    releases: str
    installed: dict[str, str]
    words: str
    passed: bool


def supported() -> list[str]:
    """Returns the versions of Python that pyproject.toml allows."""
    allowed = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"])
    return [f"3.{minor}" for minor in MINORS if f"3.{minor}" in allowed]


def run(*command: str, **keywords: object) -> None:
    print("$", *command, flush=True)
    subprocess.run(command, check=True, cwd=ROOT, stdin=subprocess.DEVNULL, **keywords)


def check_archives(folder: Path) -> None:
    """Makes the wheel and the source archive, and asks twine about them."""
    run("uv", "build", "-q", "--out-dir", str(folder))
    run("uv", "tool", "run", "-q", "twine", "check", "--strict", *map(str, sorted(folder.glob("lipviz-*"))))


def installed(python: Path) -> dict[str, str]:
    """Returns the versions of all packages of an environment."""
    command = ["uv", "pip", "list", "-q", "--format", "json", "--python", str(python)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {one["name"]: one["version"] for one in json.loads(listed)}


def tested(version: str, releases: str, folder: Path, cases: int) -> Outcome:
    """Makes an environment, and runs the tests in it."""
    python = folder / "bin" / "python"
    try:
        run("uv", "venv", "-q", "--python", version, str(folder))
        resolution = f"--resolution={RELEASES[releases]}"
        # As readers get them, who have no compiler: no older release than the first with a wheel for this Python.
        wheels = ("--only-binary", ":all:", "--no-binary", "lipviz", "--compile-bytecode")
        run("uv", "pip", "install", "-q", *wheels, resolution, "--python", str(python), "-e", ".[dev]")
    except subprocess.CalledProcessError as error:
        return Outcome(version, releases, {}, f"not installed: exit status {error.returncode} of uv", False)
    found = installed(python)
    print(*(f"{name} {found[name]}" for name in sorted(found)), sep=", ", flush=True)
    command = [str(python), "-m", "pytest", "-n", "2", "-q", "-m", "not slow", f"--cases={cases}"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    last = ""
    for line in process.stdout or ():
        print(line, end="", flush=True)
        last = line.strip("= \n") if re.search(r" in [\d.]+s", line) else last
    return Outcome(version, releases, found, last or "pytest broke off", process.wait() == 0)


def table(outcomes: list[Outcome]) -> str:
    """Returns the outcomes as lines of Markdown."""
    rows = [("Python", "releases", *SHOWN, "tests"), ("---",) * (len(SHOWN) + 3)]
    for outcome in outcomes:
        versions = [outcome.installed.get(name, "") for name in SHOWN]
        rows.append((outcome.python, outcome.releases, *versions, outcome.words))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.versions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", nargs="+", default=supported(), metavar="VERSION", help="default: all supported")
    parser.add_argument("--releases", nargs="+", default=list(RELEASES), choices=RELEASES)
    parser.add_argument("--cases", type=int, default=2, metavar="N", help="of each test with parameters; default: 2")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lipviz-") as folder:
        check_archives(Path(folder, "dist"))
        outcomes = [
            tested(version, releases, Path(folder, f"{version}-{releases}"), chosen.cases)
            for version in chosen.python
            for releases in chosen.releases
        ]
    print(table(outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
