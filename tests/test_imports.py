"""The arrows of the design: who may import whom in lipviz.

The sources are parsed, not imported, so that an import inside a function counts as well.
"""

import ast
import functools
import itertools
from pathlib import Path

import pytest

from tools import arrows
from tools.arrows import FROM_ROOT, MAY_IMPORT, imported, package_of

# Libraries that only some packages may use: keras.ops stands for every backend, and only the upper packages draw.
ONLY_IN = {
    # What bench times is compiled and differentiated as each backend does it. keras.ops has no word for "pull back".
    "tensorflow": {"command.bench", "compiled", "distributed", "keras_internals", "normalizers"},
    "jax": {"command.bench", "distributed", "normalizers", "operators"},  # operators: its switch for float64
    "torch": {"command.bench"},  # a peer's
    "matplotlib": {"plots", "explorers"},
    "rich": {"monitor"},
    "ipywidgets": {"explorers"},
    "anywidget": {"explorers"},
    "IPython": {"explorers", "monitor"},
    "keras": MAY_IMPORT.keys() - {"plots", "command", "command.lab", "command.app", "command.cli", ""},
}


def violations(path, source):
    """Lists what is wrong with the imports of a module, given by its path inside of the package."""
    module = ("lipviz", *Path(path).with_suffix("").parts)
    package = package_of(module[1:]).removesuffix("__init__").removesuffix(".")
    if package not in MAY_IMPORT:
        return [f"{path}: give {package!r} its place in tools/arrows.py"]
    found = []
    for line, name in imported(ast.parse(source), module):
        top, *rest = name.split(".")
        if top == "lipviz":
            target = FROM_ROOT.get(rest[0], package_of(rest)) if rest else "lipviz as a whole"
            if target != package and target not in MAY_IMPORT[package]:
                found.append(f"{path}:{line}: {package or '__init__'} must not import {target}")
        elif package not in ONLY_IN.get(top, {package}):
            found.append(f"{path}:{line}: {package or '__init__'} must not import {top}")
    return found


@pytest.mark.lists
def test_the_sources_follow_the_arrows():
    paths = arrows.sources().values()
    assert len(paths) > 10
    found = (violations(path.relative_to(arrows.PACKAGE), path.read_text(encoding="utf-8")) for path in paths)
    assert list(itertools.chain.from_iterable(found)) == []


@pytest.mark.lists
def test_the_table_of_the_architecture_is_true():
    assert arrows.PAGE.read_text(encoding="utf-8") == arrows.page(), "run `python -m tools.arrows`"


@pytest.mark.parametrize(
    ("path", "source", "culprit"),
    [
        ("normalizers.py", "from lipviz.layers import SpectralDense", "normalizers must not import layers"),
        ("normalizers.py", "def f():\n    import lipviz.model", "normalizers must not import model"),
        ("normalizers/fourier.py", "from lipviz.layers import x", "normalizers must not import layers"),
        ("layers/dense.py", "from lipviz import measure as m", "layers must not import measure"),
        ("layers/dense.py", "from ..plots import style", "layers must not import plots"),
        ("layers/__init__.py", "from .. import model", "layers must not import model"),
        ("layers/dense.py", "from lipviz import Sequential", "layers must not import model"),
        ("layers/dense.py", "import lipviz", "layers must not import lipviz as a whole"),
        ("constraints.py", "from lipviz.regularizers import Lorth2D", "constraints must not import regularizers"),
        ("measure/spectra.py", "from lipviz import data", "measure must not import data"),
        ("measure/spectra.py", "from lipviz.course import check", "measure must not import course"),
        ("explorers/bjorck.py", "from lipviz.command import cli", "explorers must not import command.cli"),
        ("data.py", "from lipviz import normalizers", "data must not import normalizers"),
        ("__init__.py", "from lipviz.command import cli", "__init__ must not import command.cli"),
        ("utils.py", "def f():\n    import tensorflow as tf", "utils must not import tensorflow"),
        ("utils.py", "import importlib\nimportlib.import_module('tensorflow')", "utils must not import tensorflow"),
        ("layers/dense.py", "from jax import numpy", "layers must not import jax"),
        ("plots/spectra.py", "from keras import ops", "plots must not import keras"),
        ("plots/spectra.py", "import ipywidgets", "plots must not import ipywidgets"),
        ("course/result.py", "from IPython.display import HTML", "course must not import IPython"),
        ("plots/training.py", "from lipviz.monitor import TrainingMonitor", "plots must not import monitor"),
        ("monitor/callback.py", "import ipywidgets", "monitor must not import ipywidgets"),
        ("measure/spectra.py", "import matplotlib.pyplot as plt", "measure must not import matplotlib"),
        ("rooftop.py", "", "give 'rooftop' its place"),
    ],
)
def test_a_wrong_import_is_found(path, source, culprit):
    found = violations(path, source)
    assert len(found) == 1
    assert culprit in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("layers/dense.py", "import keras\nfrom keras import ops\nfrom lipviz import normalizers as nm"),
        ("layers/__init__.py", "from lipviz.layers.dense import SpectralDense\nfrom .dense import SpectralDense"),
        ("activations.py", "from lipviz.layers.activations import GroupSort"),
        ("callbacks.py", "from lipviz.measure import singular_values"),
        ("explorers/bjorck.py", "import ipywidgets\nfrom lipviz import data, plots\nfrom lipviz.model import Model"),
        ("plots/spectra.py", "from matplotlib.axes import Axes\nfrom lipviz.measure import Spectrum\nimport numpy"),
        ("command/cli.py", "from lipviz._version import __version__\nfrom lipviz.command import lab, opening"),
    ],
)
def test_a_right_import_is_not(path, source):
    assert violations(path, source) == []


# --- modules ---

SOURCES = {
    ".".join(module).removesuffix(".__init__"): (path.name == "__init__.py", path.read_text(encoding="utf-8"))
    for module, path in arrows.sources().items()
}


@functools.cache
def nodes_of(source):
    """The imports of a module, inside functions too, and the attributes of names in it."""
    kept = (ast.Import, ast.ImportFrom, ast.Attribute)
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, kept)]


def imports_of(module, modules):
    """Yields (module of lipviz, name in it or None for itself, name here) of all imports, inside functions too."""
    is_package, source = modules[module]
    here = tuple(module.split(".")) + (("__init__",) if is_package else ())
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, alias.asname) for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            for alias, (_, full) in zip(node.names, imported(ast.Module([node], []), here), strict=True):
                parent, _, name = full.rpartition(".")
                found = (full, None) if full in modules else (parent, name)
                if found[0] in modules:
                    yield *found, alias.asname or alias.name


def cycles(modules):
    """Sets of modules that import each other in a circle."""
    reached = {module: {found for found, _, _ in imports_of(module, modules)} - {module} for module in modules}
    for middle, module in itertools.product(modules, modules):  # Warshall's algorithm: paths by way of `middle`
        if middle in reached[module]:
            reached[module] |= reached[middle]
    groups = [{other for other in reached[module] if module in reached[other]} for module in modules]
    return [group for i, group in enumerate(groups) if group and group not in groups[:i]]


def private_names(modules):
    """Names that begin with an underscore and are used in a package that is not theirs."""
    found = []
    for module, (is_package, source) in modules.items():
        package = module if is_package else module.rpartition(".")[0]
        own = {}
        for other, name, alias in imports_of(module, modules):
            home = other if modules[other][0] else other.rpartition(".")[0]
            if name is None and home != package:
                own[alias] = other
            elif name is not None and _is_private(name) and home != package:
                found.append(f"{module} imports {other}.{name}")
        for node in nodes_of(source):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and _is_private(node.attr):
                found += [f"{module} uses {own[name]}.{node.attr}" for name in [node.value.id] if name in own]
    return found


def _is_private(name):
    return name.startswith("_") and not name.startswith("__")


def shadows(modules):
    """Modules whose package has another value under their name."""
    found = []
    for package, (is_package, source) in modules.items():
        own = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        names = [(alias, other) for other, name, alias in imports_of(package, modules) if name is not None]
        names += [(name, package) for name in own]
        found += [
            f"{package} hides its module {name} behind a name of {other}"
            for name, other in names
            if is_package and f"{package}.{name}" in modules
        ]
    return found


def test_no_modules_import_each_other_in_a_circle():
    assert cycles(SOURCES) == []


def test_private_names_stay_in_their_package():
    assert private_names(SOURCES) == []


@pytest.mark.lists
def test_no_module_is_hidden_by_a_name_of_its_package():
    assert shadows(SOURCES) == [], "give the module another name than what it holds"


def test_a_circle_is_found():
    modules = {
        "lipviz": (True, ""),
        "lipviz.a": (True, "from lipviz.a.first import f"),
        "lipviz.a.first": (False, "def f():\n    from lipviz.b import second"),
        "lipviz.b": (True, ""),
        "lipviz.b.second": (False, "import lipviz.c"),
        "lipviz.c": (False, "from .a.first import f"),
        "lipviz.d": (False, "from lipviz import c"),
    }
    assert cycles(modules) == [{"lipviz.a.first", "lipviz.b.second", "lipviz.c"}]
    modules["lipviz.c"] = (False, "from .a import g")
    assert len(cycles(modules)) == 1  # by way of the package's own file
    modules["lipviz.c"] = (False, "")
    assert cycles(modules) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from lipviz.b.second import _g", ["lipviz.a.first imports lipviz.b.second._g"]),
        ("def f():\n    from ..b import _g", ["lipviz.a.first imports lipviz.b._g"]),
        ("from lipviz.b import second as s\ns._g()", ["lipviz.a.first uses lipviz.b.second._g"]),
        ("from lipviz.a.other import _g\nfrom . import other\nother._g\nother.__doc__", []),
        ("from lipviz.b.second import g, __version__\nfrom lipviz import _version\n_version.__version__", []),
    ],
)
def test_a_private_name_of_another_package_is_found(source, found):
    modules = {
        **{"lipviz": (True, ""), "lipviz._version": (False, ""), "lipviz.a": (True, ""), "lipviz.b": (True, "")},
        **{"lipviz.a.first": (False, source), "lipviz.a.other": (False, ""), "lipviz.b.second": (False, "")},
    }
    assert private_names(modules) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from lipviz.a.first import first", ["lipviz.a hides its module first behind a name of lipviz.a.first"]),
        ("from .first import g as first", ["lipviz.a hides its module first behind a name of lipviz.a.first"]),
        ("def first():\n    pass", ["lipviz.a hides its module first behind a name of lipviz.a"]),
        ("from lipviz.a import first\nfrom lipviz.a.first import g", []),
    ],
)
def test_a_hidden_module_is_found(source, found):
    assert shadows({"lipviz": (True, ""), "lipviz.a": (True, source), "lipviz.a.first": (False, "")}) == found
