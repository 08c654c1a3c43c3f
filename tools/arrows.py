"""The packages of lipviz: what each is for, and what each may import. No other file states this.

    python -m tools.arrows

rewrites the table in `docs/architecture.md`. `tests/test_imports.py` compares the sources with this file.
"""

import ast
from pathlib import Path

from lipviz.command.marked import filled

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lipviz"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- written by `python -m tools.arrows` -->", "<!-- end of the table -->"

# In order: a package may import those of earlier lines, and none of its own line or of later ones.
LAYERS = (
    {
        "_version": "the version",
        "_moved": "import paths of the last release, which warn of the new ones",
        "types": "names of types for signatures",
        "keras_internals": "private names of Keras that lipviz needs: one function for each",
        "_lessons": "the lessons of a folder: their headers, exercises and predictions",
        "_extras": "which part needs which package of an extra, and the error for a missing one",
        "_files": "write a file that is whole or not there",
    },
    {
        "normalizers": "numerics on kernels, as functions without state: in `keras.ops` or, for measurements, in NumPy",
        "_memory": "give memory that nothing uses back to the operating system",
    },
    {"compiled": "functions that XLA compiles, each by itself, in steps that TensorFlow runs on a CPU"},
    {"parametrizations": "compute constrained kernels from raw ones; own variables `u`, `sig`, `wbar`, `origin`, `k`"},
    {
        "initializers": "initial kernels that satisfy a constraint",
        "constraints": "change a kernel after each step, so that it satisfies a constraint",
        "regularizers": "losses that are small where a kernel nearly satisfies a constraint",
    },
    {"layers": "the layers; a constrained one has a Keras base class, a parametrization and a linear map"},
    {"activations": "the activations of `layers`, under the module name of deel-lip"},
    {"rules": "bounds of how much a layer can stretch: one rule per class, which reads arguments and a few weights"},
    {"copies": "copy the state of a model to its copy, and compare both on random inputs"},
    {"export": "`vanillaModel`: copy a model into plain Keras layers"},
    {"model": "`Sequential`, `Model`: divide k among layers, update `wbar`"},
    {
        "losses": "loss functions, and a Keras class for each",
        "optimizers": "Muon, whose steps are orthogonal, for constrained kernels of any shape",
    },
    {"metrics": "metric functions, and a Keras class for each"},
    {"operators": "the exact linear map of a layer: matrices, singular values and Jacobians in float64"},
    {"certification": "proved bounds along the graph of a model, certificates, radii; attacks that test them"},
    {"measure": "measurements: functions of models and arrays that return frozen dataclasses of NumPy arrays"},
    {"toys": "small networks and functions that train them, for lessons and explorers"},
    {"recipes": "choose, train and measure a classifier with certificates, for a data set and a budget"},
    {
        "distributed": "training on several machines by TensorFlow or JAX; checkpoints that survive a lost worker",
        "callbacks": "the callbacks of deel-lip",
        "utils": "the measurements of deel-lip",
        "compute_layer_sv": "the singular values of layers, with the functions of deel-lip",
    },
    {"plots": "plots of what `measure` and `toys` return; compute nothing, import no Keras"},
    {"reports": "what is proved about a classifier, as a page and as a file of figures"},
    {"monitor": "a Keras callback that shows a training while `fit` runs: in a notebook, a terminal, or files"},
    {"explorers": "widgets with controls for a measurement and its plot; no other package imports ipywidgets"},
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}

# Packages outside of this order: what each is for, and what it may import beside its own modules.
_COMMANDS = ("benching", "certifying", "lab", "lecturers", "listing", "opening", "reporting", "workers")
APART = {
    "": ("imports a package when it is first used", set(HEIGHT)),
    "data": ("data sets, and data of your own from tables, folders of images and arrays", {"_version", "_extras"}),
    "course": (
        "the exercises and predictions of the lessons, the checks of their answers, and what a reader has done",
        {n for n in HEIGHT if HEIGHT[n] <= HEIGHT["toys"]} | {"explorers"},
    ),
    "command": ("the parts of the `lipviz` command", set()),
    "command.grammars": ("lets JupyterLab and Voilà start sooner", set()),
    "command.language": ("tells JupyterLab the language of a lesson", set()),
    "command.lab": ("opens the course in JupyterLab", {"_files", "_version", "_lessons", "command.grammars"}),
    "command.import_messages": ("hides the messages that TensorFlow prints when it is imported", set()),
    "command.doctor": ("examines an installation", {"_version", "_extras", "command.grammars", "data"}),
    "command.app": (
        "serves explorers as web pages",
        {"explorers", "command.grammars", "command.lab", "command.app_server"},
    ),
    "command.app_server": ("the server of these pages", {"explorers"}),
    "command.teaching": (
        "for lecturers: slides, the key to the exercises, assignments, teaching plans",
        {"_lessons", "course", "command.lab"},
    ),
    "command.lecturers": (
        "reads the arguments of the commands for lecturers",
        {"_extras", "command.import_messages", "command.lab", "command.teaching"},
    ),
    "command.values": ("reads the values of arguments", set()),
    "command.marked": ("fills the place in a page that is kept for a table", set()),
    "command.workers": ("starts workers of a training script on this machine", {"command.values"}),
    "command.reporting": (
        "reads the arguments of the command that reports",
        {"_extras", "command.import_messages", "command.report", "command.values"},
    ),
    "command.report": (
        "reads a model and data, and writes a report about them",
        {"certification", "data", "recipes", "reports"},
    ),
    "command.playground": ("serves the playground", {"command.lab"}),
    "command.bench": (
        "measures lipviz, plain Keras and other libraries: the time of parts, and the accuracy of certified networks",
        {
            *(
                "",
                "_version",
                "certification",
                "command.cli",
                "command.marked",
                "compiled",
                "data",
                "layers",
                "measure",
                "model",
                "normalizers",
            ),
            "recipes",
        },
    ),
    "command.opening": (
        "reads the arguments of what opens the course, explorers and the playground",
        {"_extras", "command.app", "command.lab", "command.playground", "command.values"},
    ),
    "command.listing": (
        "reads the arguments of what lists the lessons and the installation",
        {"_extras", "command.doctor", "command.import_messages", "command.lab", "command.lecturers"},
    ),
    "command.certifying": (
        "reads the arguments of the command that certifies a file",
        {"certification", "command.import_messages", "command.values"},
    ),
    "command.benching": (
        "reads the arguments of the benchmarks",
        {"_extras", "command.bench", "command.import_messages", "command.values"},
    ),
    "command.cli": (
        "runs the command: finds the subcommand, and says what went wrong in one line",
        {"_version", "_extras", *(f"command.{name}" for name in _COMMANDS)},
    ),
}
# `data` imports nothing of this order, so what trains on data sets and what shows them may import it.
MAY_IMPORT = {name: {*allowed, "types"} for name, (_, allowed) in APART.items()} | {
    name: {lower for lower in HEIGHT if HEIGHT[lower] < HEIGHT[name]}
    | ({"data"} if name in ("explorers", "recipes") else set())
    for name in HEIGHT
}
# What lipviz/__init__.py hands out, and the package that it is of.
FROM_ROOT = {"Model": "model", "Sequential": "model", "vanillaModel": "model", "__version__": "_version"}


def package_of(names):
    """The package that a module or a name lies in, given as names below `lipviz`."""
    return ".".join(names[:2]) if names[0] == "command" else names[0]


def imported(tree, module):
    """Yields line number and full name of everything that `module`, a tuple of names, imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Each leading dot goes up by one.
            base = module[: len(module) - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((node.lineno, ".".join((*base, alias.name))) for alias in node.names)
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            # importlib.import_module("...") and __import__("...")
            yield from (
                (node.lineno, argument.value)
                for argument in node.args[:1]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )


def sources():
    """{module as a tuple of names: its path} of all modules of lipviz."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if "notebooks" not in path.relative_to(PACKAGE).parts)
    return {("lipviz", *path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


def table():
    """The table of all packages: what each is for, and which others it imports now."""
    imports = {name: set() for name in (*HEIGHT, *APART)}
    for module, path in sources().items():
        of = package_of(module[1:]).removesuffix("__init__").removesuffix(".")
        for _, name in imported(ast.parse(path.read_text(encoding="utf-8")), module):
            top, *rest = name.split(".")
            if top == "lipviz" and rest:
                imports[of].add(FROM_ROOT.get(rest[0], package_of(rest)))
    words = {name: words for names in LAYERS for name, words in names.items()}
    words |= {name: words for name, (words, _) in APART.items() if name}
    lines = ["| package | what it is for | what it imports of lipviz |", "|---|---|---|"]
    for name, sentence in words.items():
        others = sorted(other for other in imports[name] - {name} if not other.startswith("_") and other in MAY_IMPORT)
        lines.append(f"| `{name}` | {sentence} | {', '.join(f'`{other}`' for other in others) or 'nothing'} |")
    return "\n".join(line for line in lines if not line.startswith("| `_"))


def page():
    """The page with the table that is true now."""
    return filled(PAGE.read_text(encoding="utf-8"), BEGIN, END, table())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
