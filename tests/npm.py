"""The development tools that `npm install` puts next to the tests, see `package.json`."""

import os
from pathlib import Path

import pytest

MODULES = Path(__file__).parents[1] / "node_modules"


def need(file: Path, purpose: str) -> Path:
    """Returns a file of a tool. Without it the test is skipped, or fails where LIPVIZ_REQUIRE_NPM is set to 1.

    Args:
        file: below `MODULES`.
        purpose: what the tool does.
    """
    if not file.exists():
        missing = pytest.fail if os.environ.get("LIPVIZ_REQUIRE_NPM") == "1" else pytest.skip
        missing(f"{file.relative_to(MODULES).parts[0]} is not installed, which {purpose}: npm install")
    return file
