"""What activations do to vectors, and to gradients."""

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np
from keras import ops

from lipviz import layers
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import call, literal, picture_of
from lipviz.explorers.shell.controls import choice, slider
from lipviz.explorers.shell.extending import extended
from lipviz.explorers.shell.result_cache import ResultCache
from lipviz.measure.activation_shapes import RANGE, ActivationProbe, ActivationShape
from lipviz.plots import alt_text
from lipviz.plots.activation_shapes import (
    plot_activation_jacobian,
    plot_activation_outputs,
    plot_activation_plane,
)
from lipviz.plots.style import number

# Text, and a function that makes the activation for groups of n; lipviz's own layers come first.
_ACTIVATIONS: dict[str, tuple[str, Callable[[int], Any]]] = {
    "groupsort2": ("GroupSort2", lambda n: layers.GroupSort2()),
    "groupsort": ("GroupSort (n)", lambda n: layers.GroupSort(n)),
    "fullsort": ("FullSort", lambda n: layers.FullSort()),
    "maxmin": ("MaxMin", lambda n: layers.MaxMin()),
    "householder": ("Householder (θ)", lambda n: layers.Householder()),
    "betaabs": ("BetaAbs", lambda n: layers.BetaAbs()),
    "prelulip": ("PReLUlip (slope)", lambda n: layers.PReLUlip()),
    "relu": ("ReLU", lambda n: "relu"),
    "leaky_relu": ("leaky ReLU", lambda n: "leaky_relu"),
    "elu": ("ELU", lambda n: "elu"),
    "tanh": ("tanh", lambda n: "tanh"),
    "sigmoid": ("sigmoid", lambda n: "sigmoid"),
    "abs": ("absolute value", lambda n: ops.abs),
    "linear": ("none (linear)", lambda n: "linear"),
}

# The same as code; the others are names that Keras knows.
_CODE = {
    "yours": "activation",
    "groupsort2": "layers.GroupSort2()",
    "groupsort": "layers.GroupSort({n})",
    "fullsort": "layers.FullSort()",
    "maxmin": "layers.MaxMin()",
    "householder": "layers.Householder()",
    "betaabs": "layers.BetaAbs()",
    "prelulip": "layers.PReLUlip()",
    "abs": "keras.ops.abs",
}


@dataclasses.dataclass(frozen=True, eq=False)
class _Placed(ActivationShape):
    """A shape, and the chosen place on its line."""

    place: float = 0.0


class ActivationExplorer(Explorer):
    """Choose an activation, and see what it does to its inputs along a line, or to a picture of the plane.

    Args:
        activation: Your own activation, in addition to those that the explorer offers: a Keras layer that acts on
            vectors, a function on tensors, or a name that Keras knows. It is shown first.

    An activation that cannot be used gives a message in the explorer.
    """

    title = "Activation explorer: sorting keeps what a ReLU cuts off"
    help_text = (
        "The inputs lie on a random line. The left panel shows the outputs, the right panel by how much the activation "
        "stretches small changes of the input. Choose another activation, or a picture of the whole plane."
    )
    panels = 2
    essentials = ("activation", "group", "angle", "slope", "view", "place")

    def __init__(self, activation: Any = None):
        self._own = activation
        self._probe = functools.lru_cache(maxsize=32)(self._new_probe)
        self._known, self._probing = ResultCache(self._measure), threading.Lock()
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        own = [] if self._own is None else [(f"yours: {_name(self._own)}", "yours")]
        return {
            "Activation": {
                "activation": choice(
                    "Activation",
                    [*own, *((text, name) for name, (text, _) in _ACTIVATIONS.items())],
                    "The activation to look at",
                ),
                "group": slider("Group size n", 2, 1, 8, 1, "Neighbouring channels that GroupSort sorts together (n)"),
                "angle": slider(
                    "Angle θ (°)", 90, 0, 360, 5, "Twice the angle of Householder's mirror line; 90 sorts pairs (theta)"
                ),
                "slope": slider("Slope", 0.25, -1.0, 1.0, 0.05, "Of PReLUlip, for negative inputs"),
            },
            "Inputs": {
                "view": choice(
                    "Left panel",
                    [("outputs along a line", "line"), ("picture of the plane", "plane")],
                    "The picture of the plane has two channels",
                ),
                "channels": slider("Channels", 4, 1, 8, 1, "Of the input"),
                "place": slider(
                    "Place t", 1.0, -RANGE, RANGE, 0.05, "The place on the line that the statement is about"
                ),
                "seed": slider("Seed", 0, 0, 20, 1, "Another seed gives another line"),
            },
        }

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        of = {"group": "groupsort", "angle": "householder", "slope": "prelulip"}
        unused = {name for name, activation in of.items() if state["activation"] != activation}
        return set(state) - unused - ({"channels"} if state["view"] == "plane" else set())

    def measured(self, activation: str, **state: Any) -> ActivationShape | None:
        return None if activation == "yours" else self._shape(activation, **state)

    def _shape(self, activation, group, angle, slope, view, channels, seed, **_place):
        group = group if activation == "groupsort" else None
        angle = angle if activation == "householder" else None
        slope = slope if activation == "prelulip" else None
        return self._known(activation, 2 if view == "plane" else channels, seed, group, angle, slope)

    def compute(self, view: str, place: float, **state: Any) -> _Placed:
        shape = self._shape(view=view, **state)
        if view == "plane" and shape.plane is None:
            raise ValueError(f"A picture of the plane needs two outputs or more. Received: {shape.shape[0]}")
        return extended(_Placed, shape, place=place)

    def _new_probe(self, activation, channels, group):
        if activation == "yours":
            return ActivationProbe(self._own, channels, name=_name(self._own))
        text, make = _ACTIVATIONS[activation]
        name = text.split(" (")[0] if group is None else f"GroupSort({group})"
        return ActivationProbe(make(group), channels, name=name)

    def _measure(self, activation, channels, seed, group, angle, slope):
        angle = None if angle is None else np.deg2rad(angle)
        with self._probing:  # a probe is kept, and gets new settings
            return self._probe(activation, channels, group).measure(angle, slope, seed)

    def draw(self, data: _Placed, state: Mapping[str, Any]) -> None:
        left, right = self.figure.axes
        plot = plot_activation_plane if state["view"] == "plane" else plot_activation_outputs
        plot(data, ax=left, place=data.place)
        plot_activation_jacobian(data, ax=right, place=data.place)

    def alt_text(self, data: _Placed) -> str:
        return alt_text(data)

    def statement(self, data: _Placed) -> str:
        index = data.nearest(data.place)
        return f"At t = {data.place:.2f}, {_here(data, index)} {_along(data)}"

    def numbers(self, data: _Placed) -> list[tuple[str, str]]:
        index = data.nearest(data.place)
        values = data.values[index]
        return [
            ("shape of the Jacobian", " × ".join(map(str, data.shape))),
            (f"largest singular value at t = {data.place:.2f}", f"{values[0]:.7f}"),
            (f"smallest singular value at t = {data.place:.2f}", f"{values[-1]:.7f}"),
            ("a random gradient keeps there (r.m.s.)", f"{100 * data.kept[index]:.1f} %"),
            ("largest singular value on the line", f"{data.values.max():.7f}"),
            ("smallest singular value on the line", f"{data.values.min():.7f}"),
            ("a random gradient keeps on the line (mean)", f"{100 * data.kept.mean():.1f} %"),
        ]

    def table(self, data: _Placed) -> tuple[list[str], list[list[Any]]]:
        outputs, inputs = data.shape
        columns = ["t", *(f"input {i + 1}" for i in range(inputs)), *(f"output {i + 1}" for i in range(outputs))]
        columns += ["largest singular value", "smallest singular value", "share of a random gradient's norm"]
        ends = data.values[:, [0, -1]]
        return columns, np.column_stack([data.places, data.inputs, data.outputs, ends, data.kept]).tolist()

    def code_lines(self, data: _Placed, state: Mapping[str, Any]) -> list[str]:
        activation, settings = state["activation"], {"seed": state["seed"], "name": data.name}
        if activation == "householder":
            settings["angle"] = float(np.deg2rad(state["angle"]))
        if activation == "prelulip":
            settings["slope"] = state["slope"]
        left = "plane" if state["view"] == "plane" else "outputs"
        made = _CODE.get(activation, literal(activation)).format(n=state["group"])
        return [
            call("result = measure.activation_shape", made, str(data.inputs.shape[1]), **settings),
            *picture_of(
                [
                    f"plots.plot_activation_{kind}(result, ax={{ax}}, place={data.place!r})"
                    for kind in (left, "jacobian")
                ]
            ),
        ]


def _name(activation):
    return getattr(activation, "name", None) or getattr(activation, "__name__", None) or str(activation)


def _here(data, index):
    """Whether the Jacobian is orthogonal at a place, and what follows, in words."""
    outputs, inputs = data.shape
    share = f"{100 * data.kept[index]:.0f} %"
    if data.is_isometry[index] and outputs == inputs:
        return "the Jacobian is orthogonal: all its singular values are 1, and a gradient keeps all of its norm."
    if data.is_isometry[index]:
        return (
            f"the Jacobian has {inputs} orthonormal columns: no small change of the input is shortened. Of its "
            f"{outputs} outputs some do not move, so a random gradient keeps {share} of its norm."
        )
    values = data.values[index]
    dead = int((values < 1e-9).sum())
    flat = f" {dead} of {len(values)} directions are cut off." if dead else ""
    return (
        f"the Jacobian is not orthogonal: singular values from {number(values[-1])} to {number(values[0])}.{flat} "
        f"A random gradient keeps {share} of its norm."
    )


def _along(data):
    if data.is_isometry.all():
        return "The same holds all along this line, except perhaps at kinks between the measured places."
    return (
        f"On this line it keeps the length of every small change at {100 * data.is_isometry.mean():.0f} % of the "
        f"places, and on average {100 * data.kept.mean():.0f} % of a random gradient."
    )
