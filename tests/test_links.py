"""The links to Binder and Colab: written from one address, the same everywhere, and the cell that they lean on."""

import importlib.util
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import jupytext
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "binder" / "links.py"
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


@pytest.fixture(scope="module")
def links():
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.fixture
def copy(tmp_path):
    """A repository of which only the files with links are left."""
    for name in ("binder", "notebooks"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    for name in ("README.md", "pyproject.toml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def run(repository, *arguments):
    command = [sys.executable, repository / "binder" / "links.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def install_cell(lesson):
    (cell,) = [cell for cell in jupytext.read(lesson).cells if "find_spec" in cell.source]
    return cell


def test_what_is_committed_is_up_to_date():
    result = run(ROOT, "--check")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_binder_opens_jupyterlab_at_a_lesson_that_exists(links, lesson):
    address = urlsplit(links.addresses(lesson.stem)["binder"])
    (path,) = parse_qs(address.query)["labpath"]
    assert ROOT / path == lesson
    assert address.geturl() in lesson.read_text(encoding="utf-8")


def test_a_changed_address_reaches_the_readme_and_every_lesson(copy):
    project = copy / "pyproject.toml"
    project.write_text(project.read_text().replace("github.com/lipviz/lipviz", "github.com/Someone/else.where"))
    stale = run(copy, "--check")
    files = ["README.md", *(f"notebooks/{lesson.name}" for lesson in LESSONS)]
    assert stale.returncode == 1
    assert stale.stdout.splitlines() == [f"out of date: {file}" for file in files]

    assert run(copy).returncode == 0
    for file in files:
        text = (copy / file).read_text()
        assert "gh/Someone/else.where/HEAD" in text
        assert "github/Someone/else.where/blob/gh-pages" in text
        assert "lipviz/lipviz" not in text
    assert "https://someone.github.io/else.where/" in (copy / "README.md").read_text()
    assert run(copy, "--check").returncode == 0


def test_a_new_lesson_gets_links_behind_its_title_and_nothing_else_changes(copy):
    header = LESSONS[0].read_text().split("# %%")[0]
    body = "# %%\nx = 1\n\n# %% [markdown]\n# The end.\n"
    lesson = copy / "notebooks" / "99_try_it.py"
    lesson.write_text(f"{header}# %% [markdown]\n# # Title\n\n{body}")
    assert run(copy).returncode == 0
    cells = jupytext.read(lesson).cells
    assert [cell.metadata.get("tags") for cell in cells] == [None, ["launch"], ["launch", "remove-cell"], None, None]
    assert lesson.read_text().startswith(f"{header}# %% [markdown]\n# # Title\n\n")
    assert lesson.read_text().endswith(body)


@pytest.mark.parametrize("address", ["https://example.org/a/b", "https://github.com/a/b/", "git@github.com:a/b.git"])
def test_an_address_that_the_services_do_not_serve_is_refused(copy, address):
    project = copy / "pyproject.toml"
    project.write_text(project.read_text().replace("https://github.com/lipviz/lipviz", address))
    result = run(copy)
    assert result.returncode == 1
    assert f"expected https://github.com/OWNER/NAME, without a slash at the end, got {address}" in result.stderr


def test_a_readme_without_its_comments_is_refused(copy):
    (copy / "README.md").write_text("# lipviz\n")
    assert "expected one place between the comments for launch links, got 0" in run(copy).stderr


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_where_lipviz_is_there_nothing_is_installed(lesson, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("installed something"))
    exec(install_cell(lesson).source, {})


def test_where_lipviz_is_missing_it_is_installed_but_not_the_notebook_server(links, monkeypatch):
    called = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lipviz" else pytest.fail(name))
    monkeypatch.setattr(subprocess, "run", lambda command, check: called.append((command, check)))
    exec(install_cell(LESSONS[0]).source, {})

    assert all(check for _, check in called)
    (package, _), (packages, _) = called
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    assert package == [*install, "--no-deps", "git+https://github.com/lipviz/lipviz"]
    assert packages == [*install, *links.kernel_packages()]
    names = {name.partition(">")[0] for name in links.kernel_packages()}
    assert {"tensorflow", "keras", "matplotlib", "ipywidgets"} <= names
    assert not names & {"jupyterlab", "ipykernel", "jupytext"}


def test_the_install_cell_is_folded_in_jupyterlab_and_left_out_on_the_site():
    for lesson in LESSONS:
        metadata = install_cell(lesson).metadata
        assert metadata["jupyter"] == {"source_hidden": True}
        assert "remove-cell" in metadata["tags"]
