"""Learn and explore Lipschitz-constrained neural networks.

Importing the package registers every layer with Keras, so that ``keras.models.load_model`` finds them. It
imports neither matplotlib nor ipywidgets: ``lipviz.plots``, ``lipviz.monitor`` and ``lipviz.explorers`` are loaded when
first used, and come with the extra ``lab``.
"""

import importlib
import sys
from pathlib import Path

from lipviz import _extras, _moved
from lipviz._version import __version__

_REGISTERED = ("constraints", "initializers", "layers", "losses", "metrics", "model", "optimizers", "regularizers")
_SUBMODULES = (
    *_REGISTERED,
    "activations",
    "callbacks",
    "certification",
    "compute_layer_sv",
    "course",
    "data",
    "distributed",
    "explorers",
    "measure",
    "monitor",
    "normalizers",
    "operators",
    "parametrizations",
    "plots",
    "recipes",
    "reports",
    "rules",
    "toys",
    "utils",
)
# Names that `lipviz` itself has, each with the module that defines it.
_FROM = {
    **dict.fromkeys(("Model", "Sequential"), "model"),
    "vanillaModel": "export",
    **dict.fromkeys(("certify", "certified_radius"), "certification"),
    "register_bound": "rules",
}

# Without what is not installed, so that `from lipviz import *` and `help(lipviz)` work all the same.
_PRESENT = tuple(name for name in _SUBMODULES if not _extras.missing(f"lipviz.{name}"))

__all__ = ["__version__", *_PRESENT, *_FROM]


_moved.install()


def __getattr__(name):
    if name in _SUBMODULES:
        return importlib.import_module(f"lipviz.{name}")
    if name in _FROM:
        return getattr(importlib.import_module(f"lipviz.{_FROM[name]}"), name)
    return _moved.name_of(__name__, name)


def __dir__():
    return sorted(__all__)


# The `lipviz` command does not import Keras here, so that `--version` is fast. Subcommands import it if they need it.
# A notebook server loads an extension of lipviz, and no layers. Keras would take 400 MiB there.
_LIGHT = ("lipviz", "jupyter-lab", "jupyter-labhub", "jupyter-notebook", "jupyter-server", "jupyterhub-singleuser")
if Path(sys.argv[0] if sys.argv else "").stem not in _LIGHT:
    for _name in _REGISTERED:
        importlib.import_module(f"lipviz.{_name}")
