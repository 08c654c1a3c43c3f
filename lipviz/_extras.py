"""Packages that only parts of lipviz need: which part needs which, and the one error that says what to type.

``pip install lipviz`` brings what layers, losses, certificates and measurements need, ``lipviz[lab]`` what is needed
to see and to play: plots, explorers, attacks and the course. ``lipviz[lab,teach]`` makes slides, too.
"""

import importlib.util
import sys

# What pyproject.toml lists: each distribution, and the module that it brings.
CORE = {
    "tensorflow": "tensorflow",
    "keras": "keras",
    "numpy": "numpy",
    "scipy": "scipy",
    "threadpoolctl": "threadpoolctl",
}
LAB = {
    "adversarial-robustness-toolbox": "art",
    "scikit-learn": "sklearn",
    "matplotlib": "matplotlib",
    "ipywidgets": "ipywidgets",
    "anywidget": "anywidget",
    "jupyterlab": "jupyterlab",
    "jupytext": "jupytext",
    "ipykernel": "ipykernel",
    "rich": "rich",
    "voila": "voila",
    "tqdm": "tqdm",
    "pyyaml": "yaml",
}
TRANSPORT = {"POT": "ot"}
TEACH = {"sphinx-revealjs": "sphinx_revealjs", "latex2mathml": "latex2mathml"}  # the first one brings reveal.js
EXTRAS = {"lab": LAB, "transport": TRANSPORT, "teach": TEACH}
# What Keras computes with, and imports where KERAS_BACKEND or its settings ask for it.
BACKENDS = ("tensorflow", "jax", "torch", "openvino")

_EXPLORERS = ("matplotlib", "ipykernel", "ipywidgets", "anywidget")
_LESSONS = (*_EXPLORERS, "art", "sklearn", "tqdm", "jupyterlab", "jupytext")
# What does not work without them, by the name that the reader knows it by. The commands need all that a lesson or an
# explorer may come to need, so that none begins and then stops.
NEEDS = {
    "lipviz.plots": ("matplotlib",),
    "lipviz.monitor": ("matplotlib",),
    "lipviz.explorers": _EXPLORERS,
    "lipviz.certification.attack": ("art",),
    "lipviz.data.two_moons": ("sklearn",),
    "lipviz.data.circles": ("sklearn",),
    "lipviz.data.digits": ("sklearn",),
    "lipviz.data.load": ("matplotlib",),  # of a folder: its images are read by Pillow, which matplotlib brings
    "lipviz lab": _LESSONS,
    "lipviz app": (*_EXPLORERS, "art", "sklearn", "voila"),
    "lipviz notebooks": ("yaml",),
    "lipviz slides": (*_LESSONS, "yaml", "sphinx_revealjs", "latex2mathml"),
    "lipviz assignment": ("jupyterlab", "yaml"),
}


class MissingExtraError(ModuleNotFoundError):
    """A package is not installed that an extra of lipviz brings; the message is one line that says what to type.

    Its `name` is that of the part: so `python -m lipviz.explorers.static` ends with the line too, without a traceback.
    """


def is_here(module: str) -> bool:
    """Says whether a module of the top level can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # what stands in sys.modules has no spec
        return False


def missing(part: str) -> list[str]:
    """Lists the distributions that a part of lipviz needs, a name of `NEEDS`, and that are not installed."""
    names = {module: name for extra in EXTRAS.values() for name, module in extra.items()}
    return [names[module] for module in NEEDS.get(part, ()) if not is_here(module)]


def command(extra: str) -> str:
    """What to type for an extra. pip takes it from the lipviz that is installed, wherever it is called."""
    return installing(f'"lipviz[{extra}]"')


def installing(package: str) -> str:
    """What to type for a package, with this Python."""
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    return f"{python} -m pip install {package}"


def need(part: str) -> None:
    """Refuses to go on where a part of lipviz lacks a package.

    Args:
        part: A name of `NEEDS`.

    Raises:
        MissingExtraError: If one is not installed.
    """
    absent = missing(part)
    if absent:
        words = " and ".join(filter(None, (", ".join(absent[:-1]), absent[-1])))
        are = "is" if len(absent) == 1 else "are"
        extras = "lab,teach" if set(absent) & set(TEACH) else "lab"
        message = f"{part} needs {words}, which {are} not installed. Type: {command(extras)}"
        raise MissingExtraError(message, name=part)
