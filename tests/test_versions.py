"""The command that tests the versions that pyproject.toml allows: what it says, without making an environment."""

import subprocess

import pytest

from tools import versions

FOUND = {"tensorflow": "2.21.0", "keras": "3.15.1", "numpy": "2.4.0"}


def test_the_supported_pythons_are_those_of_pyproject_and_of_ci():
    assert versions.supported() == ["3.11", "3.12", "3.13"]


def test_an_installation_that_fails_is_an_outcome(monkeypatch, tmp_path):
    def run(*command, **_):
        raise subprocess.CalledProcessError(2, command)

    monkeypatch.setattr(versions, "run", run)
    outcome = versions.tested("3.99", "oldest", tmp_path, 2)
    assert not outcome.passed
    assert outcome.words == "not installed: exit status 2 of uv"


@pytest.mark.parametrize("passed", [True, False])
def test_the_table_and_the_exit_status_say_how_it_ended(passed, monkeypatch, capsys):
    monkeypatch.setattr(versions, "check_archives", lambda folder: None)
    monkeypatch.setattr(
        versions, "tested", lambda python, releases, *_: versions.Outcome(python, releases, FOUND, "9 passed", passed)
    )
    monkeypatch.setattr("sys.argv", ["versions", "--python", "3.12", "--releases", "oldest"])
    assert versions.main() == (0 if passed else 1)
    assert capsys.readouterr().out.splitlines() == [
        "| Python | releases | tensorflow | keras | jax | numpy | matplotlib | jupyterlab | tests |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| 3.12 | oldest | 2.21.0 | 3.15.1 |  | 2.4.0 |  |  | 9 passed |",
    ]
