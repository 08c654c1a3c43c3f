"""The Binder configuration: what repo2docker reads in it, and whether it agrees with pyproject.toml.

Nothing is installed here. `python -m tools.binder_session` tries the configuration out.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from lipviz.command import lab

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

ASKED = [Requirement(text) for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["lab"])]

# repo2docker imports a package by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:pythonjsonlogger.jsonlogger has been moved:DeprecationWarning")

# What Binder installs in place of a dependency.
INSTEAD = {"tensorflow": "tensorflow-cpu"}


# --- The Dockerfile ---


def render(repository: Path) -> str:
    """Returns the Dockerfile that Binder would build; repo2docker needs no Docker to write it."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pythons(dockerfile: str) -> list[str]:
    """Lists the Python versions whose base environment goes into the image."""
    from repo2docker.buildpacks.base import BuildPack
    from repo2docker.buildpacks.conda.supported_python_version import SUPPORTED_PYTHON_VERSION

    def copied(version, platform):
        # The name is an escaped, perhaps shortened path; it is not searched for digits.
        lock, _ = BuildPack.generate_build_context_filename(f"conda/environment.py-{version}-{platform}.lock")
        return f"{lock} /tmp/env/environment.lock\n" in dockerfile

    platforms = ("linux-64", "linux-aarch64")
    return [version for version in SUPPORTED_PYTHON_VERSION if any(copied(version, one) for one in platforms)]


@pytest.fixture(scope="module")
def dockerfile():
    return render(ROOT)


@pytest.mark.slow
def test_the_python_that_we_ask_for_arrives_and_is_one_that_lipviz_runs_on(dockerfile):
    asked = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
    assert pythons(dockerfile) == [asked]
    assert asked in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("runtime", [None, "cobol-3.11\n"])
def test_a_runtime_that_is_not_understood_would_be_noticed(runtime, tmp_path):
    # repo2docker then takes the Python that it likes, and reports no error.
    shutil.copytree(BINDER, tmp_path / "binder")
    path = tmp_path / "binder" / "runtime.txt"
    path.unlink() if runtime is None else path.write_text(runtime)
    assert "3.11" not in pythons(render(tmp_path))


def test_everything_is_installed_in_order(dockerfile):
    steps = (
        # The package that `lipviz.data` looks for.
        r"apt-get install [^&]* dataset-fashion-mnist ",
        # Before the sources are there: a change of them does not install everything again.
        r'RUN \$\{KERNEL_PYTHON_PREFIX\}/bin/pip install .*-r "binder/requirements.txt"',
        r"COPY .* src/ \$\{REPO_DIR\}/\n",
        r"USER \$\{NB_USER\}\n(?:.*\n)*RUN \./binder/postBuild\n",
        r'ENV R2D_ENTRYPOINT="\$\{REPO_DIR\}/binder/start"',
    )
    found = [re.search(step, dockerfile) for step in steps]
    assert [step for step, match in zip(steps, found, strict=True) if match is None] == []
    ends = [match.end() for match in found]
    assert ends == sorted(ends)


# --- The versions ---


def pinned() -> dict[str, tuple[Requirement, bool]]:
    """Returns each requirement by its name, and whether a comment of its own stands above it."""
    found, explained = {}, False
    for line in (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found[canonicalize_name(requirement.name)] = (requirement, explained)
        explained = line.startswith("#")
    return found


@pytest.mark.parametrize("dependency", ASKED, ids=lambda r: r.name)
def test_each_dependency_is_pinned_within_its_bounds(dependency):
    requirement, _ = pinned()[INSTEAD.get(dependency.name, canonicalize_name(dependency.name))]
    (clause,) = requirement.specifier
    assert clause.operator == "=="
    assert clause.version in dependency.specifier


def test_what_lipviz_does_not_ask_for_is_explained():
    asked = {canonicalize_name(requirement.name) for requirement in ASKED} - INSTEAD.keys()
    assert [name for name, (_, explained) in pinned().items() if name not in asked and not explained] == []
    assert not INSTEAD.keys() & pinned().keys()


# --- The scripts ---


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Puts programs in place of `python` and `lipviz` that write down how they were called; one of them may fail."""
    for name in ("python", "lipviz"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        # What stands in a here-document counts as an argument.
        path.write_text(
            '#!/bin/bash\ncall="${0##*/} $*"\n[[ ${!#} != - ]] || call+=$(cat)\n'
            'echo "$call" >>"$CALLS"\n[[ -z $FAILING || $call != *"$FAILING"* ]]\n'
        )
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("FAILING", "")
    return tmp_path / "calls"


def test_post_build_installs_lipviz_alone_and_does_all_that_a_reader_would_wait_for(tools):
    assert subprocess.run([BINDER / "postBuild"], cwd=ROOT).returncode == 0
    calls = tools.read_text()
    (install,) = re.findall(r"^python -m pip install (.*)$", calls, re.MULTILINE)
    assert {"--no-deps", "-e", "."} <= set(install.split())
    assert "python -m compileall" in calls
    assert calls.endswith("lipviz doctor --lab\n")


@pytest.mark.parametrize("failing", ["pip install", "sysconfig", "compileall", "write_kernelspec", "lipviz doctor"])
def test_post_build_fails_with_each_of_its_steps(failing, tools, monkeypatch):
    monkeypatch.setenv("FAILING", failing)
    assert subprocess.run([BINDER / "postBuild"], cwd=ROOT).returncode != 0
    # And it stops there.
    assert failing in tools.read_text().splitlines()[-1]


SHOW = [sys.executable, "-c", "import os, sys; print(os.environ['TF_CPP_MIN_LOG_LEVEL'], sys.argv[1:]); sys.exit(7)"]


@pytest.mark.parametrize(("own", "level"), [(None, "3"), ("0", "0")])
def test_start_becomes_the_command_and_keeps_tensorflow_quiet(own, level, monkeypatch, tmp_path):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    if own is not None:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", own)
    arguments = ["two words", "--a=$b", ""]
    # Binder may start it anywhere.
    done = subprocess.run([BINDER / "start", *SHOW, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, f"{level} {arguments}\n")


def test_start_is_replaced_by_the_command(tmp_path):
    # Otherwise a signal would end the script, and leave the server behind.
    with subprocess.Popen(
        [BINDER / "start", sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1
    ) as process:
        assert int(process.communicate()[0]) == process.pid


@pytest.mark.parametrize("script", ["postBuild", "start"])
def test_script_stops_at_the_first_error(script):
    first, *lines = (BINDER / script).read_text().splitlines()
    assert first == "#!/bin/bash"
    assert "set -euo pipefail" in lines
    assert os.access(BINDER / script, os.X_OK)
    assert subprocess.run(["bash", "-n", BINDER / script]).returncode == 0


def test_a_kernel_that_other_environments_are_linked_to_is_replaced_in_this_one_only(tmp_path):
    other, ours = tmp_path / "other.json", tmp_path / "kernels" / "python3" / "kernel.json"
    other.write_text("theirs")
    ours.parent.mkdir(parents=True)
    ours.hardlink_to(other)
    lab.write_kernelspec(tmp_path)
    assert other.read_text() == "theirs"
    command = json.loads(ours.read_text())["argv"]
    assert command[0] == sys.executable
    assert command[-1] == "--IPKernelApp.capture_fd_output=False"


def test_jupyterlab_takes_our_settings_from_a_folder_of_its_configuration(tmp_path):
    lab.write_settings(tmp_path)
    written = {path.relative_to(tmp_path).as_posix(): json.loads(path.read_text()) for path in tmp_path.rglob("*.json")}
    assert written == {
        "labconfig/default_setting_overrides.json": lab.LAB_OVERRIDES,
        "jupyter_server_config.d/lipviz.json": lab.LANGUAGE,
    }
    # The extension that the second names is one of Jupyter's server.
    (name,) = lab.LANGUAGE["ServerApp"]["jpserver_extensions"]
    extension = importlib.import_module(name)
    assert extension._jupyter_server_extension_points() == [{"module": name}]
