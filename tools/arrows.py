"""The packages of lipviz: what each is for, and what each may import. The one place that says so.

    python -m tools.arrows

writes the table in `docs/architecture.md` anew. `tests/test_imports.py` holds the sources against this.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lipviz"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- written by `python -m tools.arrows` -->", "<!-- end of the table -->"

# From the lowest to the highest. A package may import what stands before its line, not what stands beside or after it.
LAYERS = (
    {
        "_version": "the version",
        "_moved": "import paths of the last release, which warn of the new ones",
        "types": "names of types for signatures",
        "keras_internals": "what Keras does not promise and lipviz needs: one function for each private name",
        "_extras": "which part needs which package of an extra, and the error that says what to type",
    },
    {"normalizers": "pure numerics on kernels, in `keras.ops` or, for measurements, in NumPy"},
    {"parametrizations": "raw kernel → constrained kernel; owns `u`, `sig`, `wbar`, `origin`, `k`"},
    {
        "initializers": "kernels that satisfy a constraint from the start",
        "constraints": "kernels that satisfy a constraint after each step",
        "regularizers": "losses that pull kernels towards a constraint",
    },
    {"layers": "a Keras base, a parametrization and one line of algebra"},
    {"activations": "the reference's name for the activations among the layers"},
    {"rules": "how much does a layer stretch? One rule per class, which reads arguments and a few weights"},
    {"copies": "gives a copy the state of its original, and compares the two on drawn inputs"},
    {"model": "`Sequential`, `Model`, `vanillaModel`: shares out k, keeps `wbar` fresh, exports"},
    {"losses": "a pure function and a thin class each"},
    {"metrics": "a pure function and a thin class each"},
    {"operators": "what linear map is this, exactly? Matrices, singular values and Jacobians in float64"},
    {"certification": "what is proved? Rules for layers, graphs, certificates, radii; attacks on all of these"},
    {"measure": "what is seen? Models and arrays in, frozen dataclasses of NumPy arrays out"},
    {"toys": "what is learned? Small networks and trainings"},
    {
        "callbacks": "the reference's callbacks",
        "utils": "the reference's measurements",
        "compute_layer_sv": "the reference's singular values of layers",
    },
    {"plots": "draws what `measure` and `toys` return; computes nothing, imports no Keras"},
    {"monitor": "draws while `fit` runs, as a Keras callback: in a notebook, a terminal, or files"},
    {"explorers": "controls → `measure` → `plots`, a file each, and a `shell`; only they import ipywidgets"},
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}

# Those that stand apart: what each is for, and what it may import beside its own modules.
_COMMANDS = ("app", "bench", "import_messages", "lab", "doctor")
APART = {
    "": ("hands the packages out when they are asked for", set(HEIGHT)),
    "data": ("data sets", {"_version", "_extras"}),
    "course": ("exercises of the lessons, and their checks", {n for n in HEIGHT if HEIGHT[n] <= HEIGHT["toys"]}),
    "command": ("the parts of the `lipviz` command", set()),
    "command.lab": ("opens the course in JupyterLab", {"_version"}),
    "command.import_messages": ("keeps TensorFlow's import messages from the terminal", set()),
    "command.doctor": ("examines an installation", {"_version", "_extras", "data"}),
    "command.app": ("serves explorers as pages of their own", {"explorers", "command.lab"}),
    "command.bench": (
        "times lipviz against plain Keras and peers",
        {"", "_version", "command.cli", "layers", "model", "normalizers"},
    ),
    "command.cli": (
        "the arguments of the command",
        {"_version", "_extras", "certification", *(f"command.{name}" for name in _COMMANDS)},
    ),
}
# Of the packages in layers, only explorers import one that stands apart.
MAY_IMPORT = {name: {*allowed, "types"} for name, (_, allowed) in APART.items()} | {
    name: {lower for lower in HEIGHT if HEIGHT[lower] < HEIGHT[name]} | ({"data"} if name == "explorers" else set())
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
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
