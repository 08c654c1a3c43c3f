"""No word that is known to be a misspelling of another: in lessons, documentation, docstrings and comments."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
READ = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "binder",
    "docs",
    "lipviz",
    "notebooks",
    "tests",
    "tools",
)


def spelled(*paths, cwd=ROOT):
    command = [sys.executable, "-m", "codespell_lib", "--quiet-level=3", *paths]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_no_word_is_misspelled():
    result = spelled(*READ)
    assert (result.returncode, result.stdout) == (0, "")


def test_a_misspelling_would_be_found(tmp_path):
    wrong = "rec" + "ieve"
    (tmp_path / "page.md").write_text(f"You {wrong} a layer.", encoding="utf-8")
    assert "receive" in spelled("page.md", cwd=tmp_path).stdout
