"""Lines of code as text: calls of lipviz with the values of an explorer's controls, and the imports that they need."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

_WIDTH = 88  # characters of a line, which fit a notebook's cell
_PARTS = ("certification", "data", "explorers", "layers", "losses", "measure", "operators", "plots", "toys")
_OTHERS = {"keras": "import keras", "np": "import numpy as np"}
_PANELS = {1: ("left",), 2: ("left", "right"), 3: ("left", "middle", "right")}


class Raw(str):
    """Code, where `literal` expects a value."""


def literal(value: Any) -> str:
    """A value as code, with strings in double quotes."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)


def call(function: str, *arguments: str, **named: Any) -> str:
    """A call as code; one that is too long for a line has its arguments on lines of their own.

    Args:
        function: What stands before the bracket, such as "result = measure.bjorck_convergence".
        *arguments: Code of arguments, such as "kernel" or "ax=left".
        **named: Values of further arguments by name.
    """
    parts = [*arguments, *(f"{name}={literal(value)}" for name, value in named.items())]
    row = ", ".join(parts)
    if len(function) + len(row) + 2 <= _WIDTH:
        return f"{function}({row})"
    if len(row) + 4 <= _WIDTH:
        return f"{function}(\n    {row}\n)"
    return f"{function}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def picture_of(plots: Sequence[str], alt: str = "plots.alt_text(result)") -> list[str]:
    """Lines that draw a figure and show it with its alternative text.

    Args:
        plots: For each panel the code of a call that draws it, in which `{ax}` stands for its Axes.
        alt: Code of the alternative text.
    """
    names = _PANELS[len(plots)]
    return [
        "",
        f"figure = plots.new_figure({len(plots)})",
        f"{', '.join(names)}{',' if len(names) == 1 else ''} = figure.axes",
        *(plot.replace("{ax}", name) for plot, name in zip(plots, names, strict=True)),
        call("plots.picture", "figure", alt),
    ]


def program(lines: Iterable[str]) -> str:
    """Lines as a program: the imports that stand among them come first, with those of lipviz, Keras and NumPy."""
    lines = list(lines)
    own = [line for line in lines if line.startswith(("from ", "import "))]
    text = "\n".join(line for line in lines if line not in own).strip("\n")
    used = [part for part in _PARTS if _is_used(part, text)]
    imports = sorted({line for name, line in _OTHERS.items() if _is_used(name, text)})
    first = [f"from lipviz import {', '.join(used)}"] if used else []
    blocks = ["\n".join(imports), "\n".join([*first, *sorted(set(own))]), text]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _is_used(name, text):
    return re.search(rf"(?<![\w.\"']){name}\.\w", text) is not None
