"""Check the installation: versions of packages, the backend and device of Keras, and the data sets that are here."""

import dataclasses
import importlib
import importlib.metadata
import os
import platform
import sys
import warnings
from collections.abc import Callable

from lipviz import _extras
from lipviz._version import __version__
from lipviz.command import grammars

# The name of each distribution, and the module that must be importable. Keras's backend is checked separately.
PACKAGES = {name: module for name, module in _extras.CORE.items() if name != "tensorflow"} | _extras.LAB
PARTS = (
    *("layers", "model", "operators", "certification", "measure", "toys", "data", "course"),
    *("plots", "monitor", "explorers"),
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was checked.
        text: what was found, or what to do.
        broken: whether lipviz cannot work like this.
        missing: whether it, or what it needs, comes with the extra `lab` and is not installed.
    """

    name: str
    text: str
    broken: bool = False
    missing: bool = False


def examine() -> dict[str, list[Finding]]:
    """Imports all that lipviz needs, and returns by part what it found. Never raises."""
    # TensorFlow's log does not belong into the report.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    grammars.compile_when_used()
    return {
        "Versions": [
            Finding("python", f"{platform.python_version()} ({sys.executable})"),
            Finding("lipviz", __version__),
            *(_package(name, module) for name, module in PACKAGES.items()),
        ],
        "Keras computes with": [_look("backend", _backend), _look("GPU", _gpus)],
        "Parts of lipviz": [_part(name) for name in PARTS],
        "Data sets": _data_sets(),
    }


def _look(name: str, find: Callable[..., str], *arguments: str) -> Finding:
    # A broken package can raise any exception, and the report must say so.
    try:
        return Finding(name, find(*arguments))
    except Exception as error:
        return Finding(name, f"BROKEN: {type(error).__name__}: {error}", broken=True)


def _package(name, module):
    if name in _extras.LAB and not _extras.is_here(module):
        return Finding(name, "missing: the extra lab brings it", missing=True)
    return _look(name, _version, name, module)


def _part(name):
    absent = _extras.missing(f"lipviz.{name}")
    if absent:
        return Finding(name, f"missing: needs {', '.join(absent)}", missing=True)
    return _look(name, _imports, f"lipviz.{name}")


def _imports(module):
    importlib.import_module(module)
    return "imports"


def _version(name, module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what else could be installed
        importlib.import_module(module)
    return importlib.metadata.version(name)


def _backend():
    import keras

    name = keras.backend.backend()
    # Keras has imported the backend under this name.
    return f"{name} {getattr(sys.modules.get(name), '__version__', '')}".rstrip()


def _gpus():
    import keras

    devices = keras.distribution.list_devices("gpu")
    return ", ".join(devices) if devices else "none; every lesson runs on the CPU in the time that it states"


def _data_sets():
    try:
        from lipviz import data

        sets = data.availability()
    except Exception as error:
        return [Finding("all", f"BROKEN: {type(error).__name__}: {error}", broken=True)]
    # A missing data set is no fault of the installation: the lessons that need it say so.
    return [Finding(s.name, f"here ({s.source})" if s.available else f"missing: {s.hint}") for s in sets]
