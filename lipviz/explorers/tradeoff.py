"""Accuracy against robustness for each parameter of a loss: runs that come with lipviz, and runs of your own."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

from lipviz import data as data_sets
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import call, picture_of
from lipviz.explorers.shell.controls import choice, log_slider, slider, toggle
from lipviz.plots import alt_text
from lipviz.plots.style import number
from lipviz.plots.tradeoff import plot_tradeoff, plot_tradeoff_curves
from lipviz.toys.tradeoff import Tradeoff, TradeoffRun, tradeoff_steps, tradeoff_table
from lipviz.types import Array

_LOSS_NAMES = {"crossentropy": "crossentropy with inverse temperature", "hkr": "HKR"}
_PICTURES = 10  # per training: for each, the whole test set is certified
_FEWEST = 10  # least number of steps between two pictures


class TradeoffExplorer(Explorer):
    """Choose a loss and its parameter, see what networks reach that were trained with it, and train another one.

    Args:
        train: Your own samples and labels (x, y), as of `lipviz.data.digits`; labels are class numbers of shape (n,).
            By default scikit-learn's digits, for which lipviz comes with a table of runs.
        test: Samples and labels to measure on, with `train`.
        runs: A list of `TradeoffRun` to begin with; by default that table, or none for data of your own.
    """

    title = "Trade-off explorer: accuracy against robustness"
    help_text = (
        "Every point is a 1-Lipschitz network, trained with one loss. Choose a loss and its parameter to see the "
        "nearest run. Press Start to train a network with exactly these settings."
    )
    panels = 2
    essentials = ("loss", "tau", "alpha", "by_radius", "epsilon")
    has_work = True

    def __init__(
        self,
        train: tuple[Array, Array] | None = None,
        test: tuple[Array, Array] | None = None,
        runs: Iterable[TradeoffRun] | None = None,
    ):
        if (train is None) != (test is None):
            raise ValueError("Expected `train` and `test` together. Received one of them.")
        self._train, self._test = train, test
        self._has_own_runs = runs is not None
        self._table = tuple(runs) if runs is not None else tradeoff_table() if train is None else ()
        self._made_here: list[TradeoffRun] = []
        self._under_way: TradeoffRun | None = None
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        return {
            "Loss": {
                "loss": choice(
                    "Loss", [(name, loss) for loss, name in _LOSS_NAMES.items()], "The loss that is minimized"
                ),
                "tau": log_slider(
                    "Inverse temperature τ",
                    1.0,
                    -1,
                    2,
                    "The larger, the more the loss depends on samples near the boundary (tau)",
                ),
                "alpha": log_slider(
                    "Hinge weight α", 10.0, 0, 2, "Of the hinge, which penalizes samples without the margin (alpha)"
                ),
                "margin": slider("Margin", 1.0, 0.1, 2.0, 0.1, "Of the hinge, in units of the input (min_margin)"),
            },
            "Comparison": {
                "by_radius": toggle("By mean radius", True, "Compare mean certified radii, or certified accuracy at ε"),
                "epsilon": slider(
                    "Change ε", 0.5, 0.05, 1.5, 0.05, "Size of the change, l2 norm, in units of the input"
                ),
            },
            "Training (Start)": {
                "width": slider("Width", 64, 8, 128, 8, "Neurons of a hidden layer"),
                "steps": slider("Training steps", 200, 20, 400, 20, "Steps of Adam, on all samples at once"),
                "seed": slider("Seed", 0, 0, 20, 1, "Another seed gives other initial weights"),
            },
        }

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        unused = {"alpha", "margin"} if state["loss"] == "crossentropy" else {"tau"}
        return set(state) - unused - ({"epsilon"} if state["by_radius"] else set())

    def forget(self) -> None:
        self._under_way = None

    def reset(self) -> None:
        """Return to the initial state, without the runs that were trained here."""
        self.stop()
        self._made_here.clear()
        super().reset()

    def compute(
        self, loss: str, tau: float, alpha: float, margin: float, by_radius: bool, epsilon: float, **_training: Any
    ) -> Tradeoff:
        live = self._made_here + ([] if self._under_way is None else [self._under_way])
        runs = (*self._table, *live)
        if self._under_way is not None:
            chosen = len(runs) - 1
        else:
            chosen = _nearest(runs, loss, tau if loss == "crossentropy" else alpha, margin)
        return Tradeoff(runs, chosen, tuple(range(len(self._table), len(runs))), None if by_radius else epsilon)

    def work(
        self,
        loss: str,
        tau: float,
        alpha: float,
        margin: float,
        by_radius: bool,
        epsilon: float,
        steps: int,
        **training: Any,
    ) -> Iterator[tuple[float, Tradeoff]]:
        self.progress("Compiling a step of the training …")
        train, test = data_sets.digits() if self._train is None else (self._train, self._test)
        pieces = tradeoff_steps(
            train,
            test,
            loss=loss,
            loss_parameter=tau if loss == "crossentropy" else alpha,
            min_margin=1.0 if loss == "crossentropy" else margin,
            steps=steps,
            every=max(_FEWEST, steps // _PICTURES),
            dataset="digits" if self._train is None else "yours",
            **training,
        )
        for run in pieces:
            self._under_way = run
            if run.step == steps:
                self._under_way = None
                self._made_here.append(run)
                # The new run is the chosen one, even if the table has an equal run.
                last = dataclasses.replace(
                    self.compute(**self.state), chosen=len(self._table) + len(self._made_here) - 1
                )
                yield 1.0, last
            else:
                yield run.step / steps, self.compute(**self.state)

    def draw(self, data: Tradeoff, state: Mapping[str, Any]) -> None:
        left, right = self.figure.axes
        plot_tradeoff(data, ax=left)
        plot_tradeoff_curves(data, ax=right)

    def alt_text(self, data: Tradeoff) -> str:
        return alt_text(data)

    def statement(self, data: Tradeoff) -> str:
        if data.chosen is None:
            return "There is no run with this loss yet: press Start to train one."
        run = data.runs[data.chosen]
        words = f"{_LOSS_NAMES[run.loss][:1].upper()}{_LOSS_NAMES[run.loss][1:]}, {_setting(run)}: "
        if run.step < run.steps:
            words += f"after {run.step} of {run.steps} steps "
        words += (
            f"{100 * run.accuracy:.1f} % of {run.samples} test samples are right, and the mean certified radius is "
            f"{number(run.mean_radius)}, where wrong ones count 0. "
        )
        better = (data.accuracy > run.accuracy) & (data.robustness > data.robustness[data.chosen])
        if not better.any():
            return words + "No run here is better in both: it lies on the frontier."
        count = int(better.sum())
        return words + f"{count} {'run is' if count == 1 else 'runs are'} better in both accuracy and robustness."

    def numbers(self, data: Tradeoff) -> list[tuple[str, str]]:
        if data.chosen is None:
            return []
        run = data.runs[data.chosen]
        rows = [
            ("setting", _setting(run)),
            ("accuracy", f"{100 * run.accuracy:.2f} %"),
            ("mean certified radius", number(run.mean_radius, 4)),
            ("median certified radius", number(run.median_radius, 4)),
        ]
        rows += [(f"certified at {eps}", f"{100 * run.certified_at(eps):.1f} %") for eps in (0.25, 0.5, 1.0)]
        return [*rows, ("steps, seed", f"{run.step}, {run.seed}"), ("runs on the frontier", str(len(data.frontier)))]

    def table(self, data: Tradeoff) -> tuple[list[str], list[list[Any]]]:
        """All runs: settings, accuracy and radii."""
        names = ["dataset", "loss", "loss_parameter", "min_margin", "activation", "width", "depth", "step", "seed"]
        names += ["accuracy", "mean_radius", "median_radius"]
        return names, [[getattr(run, name) for name in names] for run in data.runs]

    def code_lines(self, data: Tradeoff, state: Mapping[str, Any]) -> list[str]:
        chosen = "" if data.chosen is None else f"  # chosen: {_setting(data.runs[data.chosen])}"
        shown = {"chosen": data.chosen, "live": data.live, "epsilon": data.epsilon}
        return [
            *self._table_code(bool(data.live)),
            *(line for number in data.live for line in self._run_code(data.runs[number])),
            call("result = toys.Tradeoff", "tuple(runs)", **shown) + chosen,
            *picture_of([f"plots.plot_tradeoff{kind}(result, ax={{ax}})" for kind in ("", "_curves")]),
        ]

    def _table_code(self, is_training):
        made = ["train, test = data.digits()"] if is_training and self._train is None else []
        runs = "list(runs)" if self._has_own_runs else "list(toys.tradeoff_table())" if self._train is None else "[]"
        return [*made, f"runs = {runs}"]

    def _run_code(self, run):
        names = ("loss", "loss_parameter", "min_margin", "activation", "width", "depth", "steps", "learning_rate")
        settings = {name: getattr(run, name) for name in (*names, "dataset", "seed")}
        if run.step == run.steps:
            return [call("run = toys.tradeoff_run", "train", "test", **settings), "runs.append(run)"]
        return [
            call("steps = toys.tradeoff_steps", "train", "test", **settings, every=run.step),
            "runs.append(next(steps))",
        ]


def _setting(run):
    return run.loss_parameter_label + (f", margin {number(run.min_margin)}" if run.loss == "hkr" else "")


def _nearest(runs, loss, parameter, margin):
    """Number of the run of a loss with the nearest parameters, by their ratios; the last of equal ones, or None."""
    distances = [
        abs(np.log(run.loss_parameter / parameter)) + (abs(np.log(run.min_margin / margin)) if loss == "hkr" else 0.0)
        if run.loss == loss
        else np.inf
        for run in runs
    ]
    if not np.isfinite(distances).any():
        return None
    return int(np.flatnonzero(np.array(distances) == min(distances))[-1])
