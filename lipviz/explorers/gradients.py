"""Norms of gradients through the depth of a network."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import keras
import numpy as np

from lipviz import certification, measure
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import call, literal, picture_of
from lipviz.explorers.shell.controls import choice, slider
from lipviz.explorers.shell.motion import step_slider
from lipviz.explorers.shell.result_cache import ResultCache
from lipviz.measure import GradientPassage
from lipviz.plots import (
    alt_text,
    plot_gradient_depth,
    plot_gradient_flow,
    plot_gradient_norms,
    plot_gradient_passage,
    plot_gradient_passage_norms,
)
from lipviz.plots.gradient_histograms import TOP, plot_log_norms
from lipviz.plots.style import number, x_limits, y_limits
from lipviz.types import ArrayLike

_NAMES = {
    "relu": "ReLU",
    "groupsort2": "GroupSort2",
    "fullsort": "FullSort",
    "abs": "absolute value",
    "leaky_relu": "leaky ReLU",
    "elu": "ELU",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "linear": "none (linear)",
}
_VIEWS = [("gradients at all depths", "depth"), ("motion: layer by layer", "motion")]
_SAMPLES = 64
_MOST_STEPS = 200  # of the reader's network, that can be scrubbed
_MOST_OUTPUTS = 10  # that can be chosen one by one


@dataclasses.dataclass(frozen=True, eq=False)
class _Gradients:
    """Data of both panels: gradients through layers or against depth, and their norms at the input."""

    way: measure.GradientDepth | measure.GradientFlow
    norms: tuple
    certified: float | None = None


class GradientDepthExplorer(Explorer):
    """See what is left of a gradient after many layers: in random networks, and in a network of your own.

    Args:
        model: Built Keras model with one input and one output, in addition to the random networks. It is shown first.
            It is measured again when its weights have changed: call `refresh()` after training.
        x: Samples of its inputs, of shape (n, ...). Required with a model.

    A model that cannot be measured gives a message in the explorer.
    """

    title = "Gradient explorer: what is left of a gradient after many layers"
    help_text = (
        "The left panel shows the norm of a gradient against depth: its median, and 5 to 95 % of the samples as a "
        "band. The right panel shows the distribution of the norms at the input. Choose two activations and "
        "a depth."
    )
    panels = 2
    essentials: tuple[str, ...] = ("first", "depth", "view", "step")

    def __init__(self, model: keras.Model | None = None, x: ArrayLike | None = None):
        self._model, self._x = model, x
        if model is not None or x is not None:
            self.essentials = ("network", "first", "output", "view", "step")
        self._meters: dict[int | None, measure.GradientMeter] = {}
        self._known: dict[tuple, _Gradients] = {}
        self._random = ResultCache(_random_networks)
        self._flows = ResultCache(_random_flows)
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        own = [] if self._model is None and self._x is None else [(f"yours: {_name(self._model)}", "yours")]
        options = [(text, name) for name, text in _NAMES.items()]
        return {
            "Network": {
                "network": choice("Network", [*own, ("random, orthogonal layers", "random")], "What is measured"),
                "first": choice("Activation", options, "After each layer"),
                "second": choice("Compared with", options, "After each layer of the other network", "groupsort2"),
                "output": choice("Output", self._outputs(), "The output of your model whose gradient is measured"),
            },
            "Size": {
                "depth": slider("Depth", 50, 2, 50, 1, "Number of layers of the deepest network"),
                "width": slider("Width", 64, 2, 128, 2, "Neurons of each layer"),
                "seed": slider("Seed", 0, 0, 20, 1, "Of kernels, inputs and output directions"),
            },
            "Picture": {
                "view": choice("Picture", _VIEWS, "What the picture shows"),
                "step": step_slider("Layers passed", _MOST_STEPS, 1, "From the output on", _last_step),
            },
        }

    def _outputs(self):
        size = int(np.prod((getattr(self._model, "output_shape", None) or (None, 0))[1:], dtype=object) or 0)
        single = [(f"output {i}", i) for i in range(min(size, _MOST_OUTPUTS))]
        return [("random directions", "random"), *single]

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        own = {"network", "output", "view", "step"} | ({"seed"} if state["output"] == "random" else set())
        used = own if state["network"] == "yours" else set(state) - {"output"}
        return used - ({"step"} if state["view"] != "motion" else set())

    def measured(
        self, network: str, view: str, step: int, output: str | int, **state: Any
    ) -> _Gradients | tuple[measure.GradientFlow, ...] | None:
        return self._of_random(view, **state) if network == "random" else None

    def _of_random(self, view, first, second, depth, width, seed):
        measured = self._flows if view == "motion" else self._random
        return measured(tuple(dict.fromkeys((first, second))), depth, width, seed)

    def compute(
        self, network: str, output: str | int, seed: int, view: str, step: int, **state: Any
    ) -> _Gradients | GradientPassage:
        if network == "random":
            found = self._of_random(view, seed=seed, **state)
            return measure.gradient_passage(found, step) if view == "motion" else found
        if self._model is None or self._x is None:
            raise ValueError("Expected a model and samples of its inputs: GradientDepthExplorer(model, x).")
        found = self._of_own(self._x, output, seed if output == "random" else 0)
        return measure.gradient_passage(found.way, step) if view == "motion" else found

    def _of_own(self, x, output, seed):
        """The measurement of the reader's model, made once for its present weights."""
        if not isinstance(self._model, keras.Model):
            raise TypeError(f"Expected a Keras model. Received: {type(self._model).__name__}")
        key = (_digest(self._model), output, seed)
        if key not in self._known:
            chosen = None if output == "random" else output
            if chosen not in self._meters:
                self._meters[chosen] = measure.GradientMeter(self._model, x, chosen, compiled=False)
            flow = measure.gradient_flow(self._model, x, chosen, seed=seed)
            self._known[key] = _Gradients(flow, (self._meters[chosen].measure(),), _certified(self._model, chosen))
        return self._known[key]

    def draw(self, data: _Gradients | GradientPassage, state: Mapping[str, Any]) -> None:
        left, right = self.figure.axes
        if isinstance(data, GradientPassage):
            labels = [_NAMES.get(flow.name, flow.name) for flow in data.flows]
            plot_gradient_passage(data, ax=left, labels=labels)
            plot_gradient_passage_norms(data, ax=right, labels=labels)
            return
        if isinstance(data.way, measure.GradientFlow):
            plot_gradient_flow(data.way, ax=left)
            plot_gradient_norms(list(data.norms), ax=right, constant=data.certified)
            return
        plot_gradient_depth(data.way, ax=left, labels=[_NAMES[name] for name in data.way.activations])
        # The limits mostly stay: this is fast, and pictures can be compared.
        depth = int(data.way.depths[-1])
        bottom, end = _bottom(depth), 10 * math.ceil(depth / 10)
        y_limits(left, bottom, TOP)
        x_limits(left, -0.02 * end, 1.03 * end)
        plot_log_norms(data.norms, ax=right, bottom=bottom)

    def alt_text(self, data: _Gradients | GradientPassage) -> str:
        if isinstance(data, GradientPassage):
            return alt_text(data)
        return " ".join([alt_text(data.way), *(alt_text(norms) for norms in data.norms)])

    def statement(self, data: _Gradients | GradientPassage) -> str:
        if isinstance(data, GradientPassage):
            return _passage_in_words(data)
        if isinstance(data.way, measure.GradientFlow):
            return self._of_flow(data)
        depth, median = int(data.way.depths[-1]), data.way.median[:, -1]
        words = " and ".join(
            f"{_NAMES[name]} leaves {_share(value)}" for name, value in zip(data.way.activations, median, strict=True)
        )
        return f"After {depth} layers that keep every length, {words} of a gradient of norm 1 (median). " + _why(data)

    def _of_flow(self, data):
        norms, median = data.norms[0], float(data.way.median[0])
        words = (
            f"From the output to the input of '{norms.name}', a gradient keeps {_share(median)} of its norm "
            f"(median of {data.way.norms.shape[1]} samples)."
        )
        if data.certified is None:
            return words
        share = norms.largest / data.certified if data.certified > 0 else 1.0
        return (
            f"{words} The largest norm of {norms.output} is {number(norms.largest, 4)}, {100 * share:.0f} % of the "
            f"certified constant {number(data.certified, 4)}."
        )

    def numbers(self, data: _Gradients | GradientPassage) -> list[tuple[str, str]]:
        if isinstance(data, GradientPassage):
            return [row for order in range(len(data.flows)) for row in _of_passage(data, order)]
        rows = []
        for norms in data.norms:
            low, middle, high = norms.quantile((0.05, 0.5, 0.95))
            rows += [
                (f"{norms.name}: median at the input", number(middle, 5)),
                (f"{norms.name}: 5 to 95 % of samples", f"{number(low)} to {number(high)}"),
            ]
        if data.certified is not None:
            rows.append(("certified Lipschitz constant", number(data.certified, 5)))
        return rows

    def table(self, data: _Gradients | GradientPassage) -> tuple[list[str], list[list[Any]]]:
        quantiles = ("5 %", "median", "95 %")
        if isinstance(data, GradientPassage):
            columns = ["layers passed", *(f"{flow.name} {q}" for flow in data.flows for q in quantiles)]
            values = np.concatenate([flow.quantile((0.05, 0.5, 0.95)) for flow in data.flows])[:, ::-1]
            return columns, [[passed, *row] for passed, row in enumerate(values.T.tolist())]
        values = data.way.quantile((0.05, 0.5, 0.95))
        if isinstance(data.way, measure.GradientFlow):
            rows = [[place, *values[:, i].tolist()] for i, place in enumerate(data.way.places)]
            return ["place", *quantiles], rows
        columns = ["depth", *(f"{name} {q}" for name in data.way.activations for q in quantiles)]
        return columns, [[int(depth), *values[:, :, i].T.ravel().tolist()] for i, depth in enumerate(data.way.depths)]

    def code_lines(self, data: _Gradients | GradientPassage, state: Mapping[str, Any]) -> list[str]:
        if isinstance(data, GradientPassage):
            return _passage_code(data, state)
        return _own_code(data, **state) if state["network"] == "yours" else _random_code(data.way)


def _own_code(data, output, seed, **_random):
    chosen = None if output == "random" else output
    constant = "" if data.certified is None else f", constant={data.certified!r}"
    return [
        call("result = measure.gradient_flow", "model", "x", output=chosen, seed=seed if chosen is None else 0),
        call("norms = measure.input_gradient_norms", "model", "x", output=chosen),
        *picture_of(
            ["plots.plot_gradient_flow(result, ax={ax})", f"plots.plot_gradient_norms([norms], ax={{ax}}{constant})"]
        ),
    ]


def _passage_code(data, state):
    if state["network"] == "yours":
        chosen = None if state["output"] == "random" else state["output"]
        settings = {"output": chosen, "seed": state["seed"] if chosen is None else 0}
        made = call("flows = measure.gradient_flow", "model", "x", **settings)
    else:
        names = literal([flow.name for flow in data.flows])
        settings = {name: state[name] for name in ("depth", "width")}
        made = call("flows = measure.random_gradient_flows", names, **settings, samples=_SAMPLES, seed=state["seed"])
    labels = literal([_NAMES.get(flow.name, flow.name) for flow in data.flows])
    panels = [f"plots.plot_gradient_passage{kind}(result, ax={{ax}}, labels=labels)" for kind in ("", "_norms")]
    return [made, f"result = measure.gradient_passage(flows, {data.step})", f"labels = {labels}", *picture_of(panels)]


def _random_code(way):
    depth, labels = int(way.depths[-1]), [_NAMES[name] for name in way.activations]
    settings = {"depths": way.depths.tolist(), "width": way.width, "samples": way.norms.shape[2], "seed": way.seed}
    return [
        "from lipviz.plots.gradient_histograms import plot_log_norms",
        call("result = measure.gradient_depth", literal(list(way.activations)), **settings),
        f"labels = {literal(labels)}",
        "norms = [",
        f'    measure.GradientNorms(label, "a random direction at depth {depth}", last, last[:, None])',
        "    for label, last in zip(labels, result.norms[:, -1])",
        "]",
        *picture_of(
            [
                "plots.plot_gradient_depth(result, ax={ax}, labels=labels)",
                f"plot_log_norms(norms, ax={{ax}}, bottom={_bottom(depth)!r})",
            ]
        ),
    ]


def _bottom(depth):
    """Lower end of the axis of norms of a depth: with ReLU, norms fall by 1000 in about 18 layers."""
    return 10.0 ** (-3 * math.ceil(depth / 18))


def _random_networks(activations, depth, width, seed):
    depths = np.unique(np.linspace(1, depth, min(depth, 9)).round().astype(int)).tolist()
    way = measure.gradient_depth(activations, depths, width, _SAMPLES, seed)
    last = way.norms[:, -1]
    names = [_NAMES[name] for name in way.activations]
    return _Gradients(
        way,
        tuple(
            measure.GradientNorms(name, f"a random direction at depth {depth}", norms, norms[:, None])
            for name, norms in zip(names, last, strict=True)
        ),
    )


def _random_flows(activations, depth, width, seed):
    return measure.random_gradient_flows(activations, depth, width, _SAMPLES, seed)


def _last_step(data):
    return data.steps if isinstance(data, GradientPassage) else None


def _passage_in_words(data):
    left = " and ".join(
        f"{_NAMES.get(flow.name, flow.name)} leaves {_share(float(np.median(norms)))}"
        for flow, norms in zip(data.flows, data.norms, strict=True)
    )
    where = "At the output" if data.step == 0 else f"After {data.step} of {data.steps} layers, from the output on"
    return f"{where}, {left} of the gradient (median)."


def _of_passage(data, order):
    flow, gains = data.flows[order], data.gains[order]
    low, middle, high = np.quantile(data.norms[order], (0.05, 0.5, 0.95))
    name = _NAMES.get(flow.name, flow.name)
    known = gains[np.isfinite(gains)]
    return [
        (f"{name}: median norm at '{data.places[order]}'", number(middle, 5)),
        (f"{name}: 5 to 95 % of samples", f"{number(low)} to {number(high)}"),
        (f"{name}: kept by this layer, median", number(float(np.median(known)), 4) if len(known) else "–"),
    ]


def _name(model):
    return getattr(model, "name", type(model).__name__)


def _digest(model):
    """A digest of all weights."""
    state = hashlib.sha256()
    for weight in model.weights:
        state.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return state.hexdigest()


def _certified(model, output):
    """Proved Lipschitz constant of the whole model, which bounds that of each output; None where there is none."""
    try:
        bound = certification.certify(model, search=False).upper_bound
    except (ValueError, TypeError):
        return None
    return bound if np.isfinite(bound) else None


def _share(value):
    return f"{100 * value:.0f} %" if value >= 0.095 else f"{number(value, 2)}"


def _why(data):
    names = data.way.activations
    if "relu" in names:
        depth, median = int(data.way.depths[-1]), float(data.way.median[names.index("relu"), -1])
        if median == 0:
            return "The ReLUs cut off all of it."
        return (
            f"ReLU passes on {median ** (1 / depth):.2f} of it per layer; in wide networks √½, since it cuts off half."
        )
    kept = [name for name in names if name in ("groupsort2", "fullsort", "abs", "linear")]
    if kept and np.allclose(data.way.norms[[names.index(name) for name in kept]], 1, atol=1e-9):
        return f"{' and '.join(_NAMES[name] for name in kept)}: the Jacobian of each layer is orthogonal."
    return "Each layer loses some, and losses multiply."
