"""Old import paths give what the new ones give, and name these."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from lipviz import _moved

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("old", "new"), _moved.MODULES.items())
def test_a_module_that_has_moved_is_the_new_one(old, new, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"`{old}` has moved and will be removed: use `{new}`") as found:
        module = importlib.import_module(old)
    assert module is importlib.import_module(new)
    assert module.__spec__.name == new
    assert {warning.filename for warning in found} == {__file__}  # of a package that it lies in, too


_ATTRIBUTES = {
    old: new
    for old, new in _moved.MODULES.items()
    if old != "lipviz.measure.convolution_claims"  # a function
    and old.rpartition(".")[0] not in _moved.MODULES  # whose package is another one now
}


@pytest.mark.parametrize(("old", "new"), _ATTRIBUTES.items())
def test_a_module_that_has_moved_is_still_an_attribute(old, new, monkeypatch):
    package, _, name = old.rpartition(".")
    monkeypatch.delattr(old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"`{old}` has moved and will be removed: use `{new}`") as found:
        module = getattr(importlib.import_module(package), name)
    assert module is importlib.import_module(new)
    assert [warning.filename for warning in found] == [__file__]


def test_an_old_module_leaves_the_function_of_its_name(monkeypatch):
    from lipviz import measure

    function = measure.convolution_claims
    monkeypatch.delitem(sys.modules, "lipviz.measure.convolution_claims", raising=False)
    with pytest.warns(DeprecationWarning, match="use `lipviz.measure.claims`"):
        from lipviz.measure.convolution_claims import sample_kernel
    assert sample_kernel is measure.sample_kernel
    assert measure.convolution_claims is function
    assert callable(function)


def test_what_lies_below_a_package_that_has_moved_is_run_once(monkeypatch):
    monkeypatch.delitem(sys.modules, "lipviz.measure.bounds.registry", raising=False)
    with pytest.warns(DeprecationWarning, match="`lipviz.measure.bounds"):
        from lipviz.measure.bounds.registry import register_bound
    from lipviz.rules import register_bound as new

    assert register_bound is new


@pytest.mark.parametrize(
    ("module", "name", "new"), [(module, name, new) for module, of in _moved.NAMES.items() for name, new in of.items()]
)
def test_a_name_that_has_moved_is_the_new_one(module, name, new):
    with pytest.warns(DeprecationWarning, match=f"`{module}.{name}` has moved .* use `{new}.{name}`") as found:
        value = getattr(importlib.import_module(module), name)
    assert value is getattr(importlib.import_module(new), name)
    assert [warning.filename for warning in found] == [__file__]


@pytest.mark.parametrize(("old", "new"), _moved.RENAMED.items())
def test_a_name_that_has_been_replaced_is_the_new_one(old, new):
    (module, _, name), (home, _, present) = old.rpartition("."), new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"`{old}` has moved and will be removed: use `{new}`") as found:
        value = getattr(importlib.import_module(module), name)
    assert value is getattr(importlib.import_module(home), present)
    assert [warning.filename for warning in found] == [__file__]


def test_other_names_are_no_names():
    with pytest.raises(AttributeError, match=r"module 'lipviz\.measure' has no attribute 'certifi'"):
        importlib.import_module("lipviz.measure").certifi  # noqa: B018
    with pytest.raises(ModuleNotFoundError, match=r"lipviz\.measure\.nothing"):
        importlib.import_module("lipviz.measure.nothing")


@pytest.mark.slow
def test_a_program_of_the_last_release_runs(run_program):
    program = (
        "from lipviz import measure\n"
        "from lipviz.measure import certified_radius, operators\n"
        "import lipviz.measure.robustness\n"
        "from lipviz.bench import timing\n"
        "print(measure.certify is __import__('lipviz').certify, operators.__name__, timing.__name__)\n"
    )
    done = run_program(program)
    assert done.stdout == "True lipviz.operators lipviz.command.bench.timing\n", done.stderr
    assert done.stderr.count("DeprecationWarning") == 5
    assert done.stderr.count("<string>:") == 5


def test_what_comes_with_lipviz_uses_the_new_paths():
    old = re.compile(rf"\b({'|'.join(map(re.escape, _moved.MODULES))})\b(?!\.py)")
    paths = [
        path for name in ("binder", "docs", "notebooks", "tools", ".ci", ".github") for path in (ROOT / name).rglob("*")
    ]
    paths += [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    files = [path for path in paths if path.suffix in _TEXTS and "_build" not in path.parts]
    assert ROOT / "binder" / "postBuild" in files
    found = {path: old.findall(path.read_text(encoding="utf-8")) for path in files if path.is_file()}
    assert {str(path): names for path, names in found.items() if names} == {}


_TEXTS = ("", ".md", ".py", ".sh", ".yml")
