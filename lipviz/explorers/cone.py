"""The cone of a Lipschitz constant: drag it along a graph, and see whether the graph stays outside."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import ipywidgets as widgets
import numpy as np

from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import call, picture_of
from lipviz.explorers.shell.controls import choice, slider
from lipviz.measure.cones import LipschitzCone, lipschitz_cone
from lipviz.plots import alt_text
from lipviz.plots.cones import plot_lipschitz_cone
from lipviz.plots.style import number
from lipviz.types import Array

# Name, function, and the same as code.
_FUNCTIONS: dict[str, tuple[str, Callable[[Array], Array], str]] = {
    "waves": ("x + ½ sin 3x", lambda x: x + np.sin(3 * x) / 2, "x + np.sin(3 * x) / 2"),
    "absolute": ("|x|", np.abs, "np.abs(x)"),
    "root": ("√|x|", lambda x: np.sqrt(np.abs(x)), "np.sqrt(np.abs(x))"),
    "step": ("tanh 4x", lambda x: np.tanh(4 * x), "np.tanh(4 * x)"),
}


class ConeExplorer(Explorer):
    """Drag a double cone along the graph of a function, and change the slope k of its sides.

    The function is k-Lipschitz if its graph stays outside of the cones at all of its points.
    """

    title = "Cone: what a Lipschitz constant forbids"
    help_text = (
        "A k-Lipschitz function has no point in the grey cone, wherever it stands on the graph. Drag it along the "
        "graph, on the picture or by the slider, and change its slope k."
    )
    essentials = ("function", "place", "k")
    grips = MappingProxyType({0: "place"})

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        functions = [(title, name) for name, (title, *_) in _FUNCTIONS.items()]
        return {
            "Graph": {"function": choice("Function f", functions, "The function of one number whose graph is drawn")},
            "Cone": {
                "place": slider("Point x", 0.5, -2.0, 2.0, 0.05, "Where the cone stands on the graph"),
                "k": slider("Slope k of the cone", 2.5, 0.0, 8.0, 0.1, "The Lipschitz constant that is claimed"),
            },
        }

    def compute(self, function: str, place: float, k: float) -> LipschitzCone:
        title, values, _ = _FUNCTIONS[function]
        return lipschitz_cone(values, place, k, name=title)

    def draw(self, data: LipschitzCone, state: Mapping[str, Any]) -> None:
        plot_lipschitz_cone(data, ax=self.figure.axes[0])

    def alt_text(self, data: LipschitzCone) -> str:
        return alt_text(data)

    def statement(self, data: LipschitzCone) -> str:
        k = number(data.k)
        if data.is_outside:
            return (
                f"The graph stays outside of the cone at this point: here no secant is steeper than "
                f"{number(data.steepest)}, and k is {k}. This says nothing of the cones at other points."
            )
        return (
            f"The graph enters the cone: the secant to x = {number(data.end)} has the steepness "
            f"{number(data.steepest)}, which is more than {k}. So f is not {k}-Lipschitz."
        )

    def numbers(self, data: LipschitzCone) -> list[tuple[str, str]]:
        return [
            ("the point", f"x = {number(data.place)}, f(x) = {number(data.value)}"),
            ("steepest secant through it", number(data.steepest, 5)),
            ("its other end", f"x = {number(data.end)}"),
            ("slope k of the cone", number(data.k)),
            ("share of the graph in the cone", f"{100 * data.inside.mean():.0f} %"),
        ]

    def code_lines(self, data: LipschitzCone, state: Mapping[str, Any]) -> list[str]:
        title, _, written = _FUNCTIONS[state["function"]]
        function = f"lambda x: {written}"
        made = call("result = measure.lipschitz_cone", function, repr(data.place), repr(data.k), name=title)
        return [made, *picture_of(["plots.plot_lipschitz_cone(result, ax={ax})"])]
