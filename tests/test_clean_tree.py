"""A test run leaves nothing in the tree but pytest's own cache, which git ignores."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Keras takes seconds to import, and tests in a browser do without.
PROPERTY = """
import pytest
from hypothesis import given
from hypothesis import strategies as st

@pytest.mark.browser
@given(st.text(), st.integers())
def test_strings_have_a_length(text, number):
    assert len(text) >= 0
"""


@pytest.fixture
def copy(tmp_path):
    """The settings of the test run, and one test of a property."""
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path in (ROOT / "tests").glob("*.py"):
        if not path.name.startswith("test_"):
            shutil.copy(path, tmp_path / "tests")
    (tmp_path / "tests" / "test_strings.py").write_text(PROPERTY, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_no_folder_appears(copy):  # a run begins with what `--collect-only` does
    before = {path.name for path in copy.iterdir()}
    environment = {name: text for name, text in os.environ.items() if not name.startswith("HYPOTHESIS")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/test_strings.py"],
        cwd=copy,
        env=environment | {"PYTHONPATH": str(ROOT)},  # lipviz
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in copy.iterdir()} - before <= {".pytest_cache"}
