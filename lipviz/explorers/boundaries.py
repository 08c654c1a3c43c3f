"""The boundary between classes, which a small network learns while you watch."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

from lipviz.certification.scores import class_numbers
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import call, picture_of
from lipviz.explorers.shell.controls import choice, log_slider, slider, toggle
from lipviz.explorers.shell.toys import (
    ACTIVATION_NAMES,
    KEPT_TRAINERS,
    POINTS,
    TOY_SETS,
    activation_choice,
    between_pictures,
    bounds_of,
    gaussian_std,
    labelled_points,
    training_code,
    width_slider,
)
from lipviz.losses import TauBinaryCrossentropy, TauCategoricalCrossentropy
from lipviz.measure.fields import planar
from lipviz.plots import plot_decision_field
from lipviz.plots.alt import alt_text
from lipviz.plots.style import number
from lipviz.plots.toy_training import plot_toy_loss
from lipviz.toys.training import BoundaryTraining, ToyTrainer, boundary_training
from lipviz.types import ArrayLike


class BoundaryExplorer(Explorer):
    """Train a classifier of points of the plane, and see its decisions and certified discs move.

    Args:
        x: Your own points, of shape (n, 2), in addition to those that the explorer offers. They are shown first.
        y: Their class numbers, of shape (n,).

    Points that cannot be used (NaN, other shapes, a single class) give a message in the explorer.
    """

    title = "Boundary explorer: the boundary between classes"
    help_text = (
        "A small network learns to separate classes. Around each sample lies a disc in which its decision is certified "
        "not to change. Press Start, or change a setting of the data or the network, to train again."
    )
    panels = 2
    essentials = ("points", "constrained", "k", "discs")
    has_work = works_at_once = True
    restarts = frozenset(
        ("points", "noise", "activation", "width", "depth", "constrained", "k", "tau", "steps", "seed")
    )

    def __init__(self, x: ArrayLike | None = None, y: ArrayLike | None = None):
        self._own = None if x is None and y is None else _own_points(x, y)
        self._trainers = functools.lru_cache(KEPT_TRAINERS)(_trainer)
        self._run: tuple | None = None
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        own = [("yours", "yours")] if self._own is not None else []
        return {
            "Data": {
                "points": choice("Points", own + TOY_SETS, "The points to learn from"),
                "noise": slider("Noise", 0.1, 0.0, 0.4, 0.02, "How far points scatter, in units of the input"),
                "seed": slider("Seed", 0, 0, 20, 1, "Another seed gives other points and other initial weights"),
                "discs": toggle("Certified discs", True, "Show the certified radius of each sample"),
            },
            "Network": {
                "activation": activation_choice(),
                "width": width_slider(),
                "depth": slider("Hidden layers", 2, 1, 6, 1, "Number of hidden layers"),
                "constrained": toggle(
                    "Constrained", True, "Constrain the network to k; otherwise its layers are plain Dense"
                ),
                "k": log_slider(
                    "Lipschitz constant k", 1.0, -1, 1, "The largest one of a constrained network (k_coef_lip)"
                ),
            },
            "Training": {
                "tau": log_slider(
                    "Inverse temperature τ",
                    10.0,
                    0,
                    2,
                    "The larger, the more the loss depends on samples near the boundary (tau)",
                ),
                "steps": slider("Training steps", 300, 50, 1000, 50, "Steps of Adam, on all samples at once"),
            },
        }

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        unused = {"noise"} if state["points"] == "yours" else set()
        return set(state) - unused - (set() if state["constrained"] else {"k"})

    def forget(self) -> None:
        self._run = None

    def _current(self, points, noise, seed, activation, width, depth, constrained, k, tau):
        """The samples and the trainer of a state, which are kept until `forget`."""
        if self._run is None:
            train, test = self._points(points, noise, seed)
            classes = int(train[1].max()) + 1
            key = (activation, width, depth, constrained, k if constrained else 1.0, 1 if classes == 2 else classes)
            trainer = self._trainers(*key)
            trainer.set_loss(tau=tau)
            trainer.restart(seed)
            self._run = trainer, train, test, _frame(np.concatenate([train[0], test[0]]))
        return self._run

    def _points(self, points, noise, seed):
        if points != "yours":
            return labelled_points(points, noise, seed)
        if isinstance(self._own, Exception):
            raise self._own
        return self._own, (np.zeros((0, 2)), np.zeros(0))

    def compute(self, discs: bool, steps: int, **state: Any) -> BoundaryTraining:
        trainer, (x, y), test, bounds = self._current(**state)
        kind = "constrained" if state["constrained"] else "plain"
        name = f"{ACTIVATION_NAMES[state['activation']]}, {kind}"
        return boundary_training(trainer, x, y, test, steps=steps, certified=discs, bounds=bounds, name=name)

    def work(self, steps: int, discs: bool, **state: Any) -> Iterator[tuple[float, BoundaryTraining]]:
        self.progress("Compiling a step of the training …")
        trainer, (x, y), *_ = self._current(**state)
        outputs = trainer.model.output_shape[1]
        targets = y[:, None] if outputs == 1 else np.eye(outputs)[y]
        for step in trainer.pieces(x, targets, steps, between_pictures(steps)):
            # Discs may have been switched on or off since the start.
            yield step / steps, self.compute(**state, steps=steps, discs=self.state["discs"])

    def preview(self, data: BoundaryTraining, state: Mapping[str, Any]) -> BoundaryTraining | None:
        """The samples of the state on the present field, without discs, which would be those of other samples."""
        (x, y), _ = self._points(state["points"], state["noise"], state["seed"])
        if data.field.points is not None and np.array_equal(x, data.field.points):
            return None
        return dataclasses.replace(data, field=dataclasses.replace(data.field, points=x, labels=y, certified=None))

    def draw(self, data: BoundaryTraining, state: Mapping[str, Any]) -> None:
        left, right = self.figure.axes
        plot_decision_field(data.field, ax=left)
        plot_toy_loss(data, ax=right)

    def alt_text(self, data: BoundaryTraining) -> str:
        return alt_text(data)

    def statement(self, data: BoundaryTraining) -> str:
        words = f"After {len(data.losses)} of {data.steps} steps, {_percent(data.accuracy)} of the samples are right"
        words += "." if data.test_accuracy is None else f", and {_percent(data.test_accuracy)} of those held back."
        words += f" A change of the input changes the output by at most {number(data.constant)} times its length."
        median = 0.0 if data.field.radii is None else float(np.median(data.field.radii))
        if median > 0:
            words += f" So half of the samples stay right for every change shorter than {number(median)}."
        return words

    def numbers(self, data: BoundaryTraining) -> list[tuple[str, str]]:
        rows = [("steps", f"{len(data.losses)} of {data.steps}")]
        rows += [("loss", number(data.losses[-1], 4))] if len(data.losses) else []
        rows += [("accuracy, training samples", _percent(data.accuracy))]
        rows += [] if data.test_accuracy is None else [("accuracy, held back", _percent(data.test_accuracy))]
        rows += [("certified Lipschitz constant, at most", number(data.constant, 5))]
        if data.field.radii is not None:
            radii = data.field.radii
            rows += [
                ("certified radius, median", number(float(np.median(radii)))),
                ("certified radius, largest", number(float(radii.max()))),
            ]
        return rows

    def table(self, data: BoundaryTraining) -> tuple[list[str], list[list[Any]]]:
        """The samples, with their predicted classes and certified radii."""
        field: Any = data.field  # which has points, with their classes
        certified = field.certified
        columns = ["x0", "x1", "class"] + (["predicted", "certified_radius"] if certified is not None else [])
        cells = [*field.points.T, field.labels]
        cells += [] if certified is None else [certified.predicted, certified.radii]
        return columns, [[cell.item() for cell in row] for row in zip(*cells, strict=True)]

    def code_lines(self, data: BoundaryTraining, state: Mapping[str, Any]) -> list[str]:
        field: Any = data.field
        outputs = 1 if field.classes == 2 else field.classes
        network = {name: state[name] for name in ("activation", "width", "depth")}
        network |= {"outputs": outputs, "k": state["k"] if state["constrained"] else 1.0}
        loss = f"losses.Tau{'Binary' if outputs == 1 else 'Categorical'}Crossentropy({state['tau']!r})"
        targets = "train[1][:, None]" if outputs == 1 else f"np.eye({outputs})[train[1]]"
        shown = {"steps": data.steps, "certified": state["discs"], "bounds": bounds_of(field), "name": field.name}
        return [
            "from lipviz.toys.training import ToyTrainer, boundary_training",
            *self._points_code(**state),
            call("trainer = ToyTrainer", loss, **network, constrained=state["constrained"]),
            f"trainer.restart(seed={state['seed']})",
            *training_code(f"train[0], {targets}", len(data.losses), data.steps),
            call("result = boundary_training", "trainer", "*train", "test", **shown),
            *picture_of(["plots.plot_decision_field(result.field, ax={ax})", "plot_toy_loss(result, ax={ax})"]),
            "from lipviz.plots.toy_training import plot_toy_loss",
        ]

    def _points_code(self, points, noise, seed, **_others):
        if points == "yours":
            return ["train, test = (np.asarray(x), np.asarray(y)), None"]
        kind = {"moons": "two_moons"}.get(points, points)
        of_kind = {"distance": 2.0, "std": gaussian_std(noise)} if points == "gaussians" else {"noise": noise}
        return [call(f"train, test = data.{kind}", str(POINTS), **of_kind, seed=seed)]


def _trainer(activation, width, depth, constrained, k, outputs):
    loss = TauBinaryCrossentropy(10.0) if outputs == 1 else TauCategoricalCrossentropy(10.0)
    return ToyTrainer(loss, activation, width, depth, outputs=outputs, k=k, constrained=constrained)


def _frame(points):
    """The part of the plane that is shown: a square, so that all points fit and discs are round."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    half = 0.6 * float(np.ptp(points, axis=0).max()) or 1.0
    return [(center - half, center + half) for center in middle]


def _own_points(x, y):
    """Points and class numbers, or the error that says why there are none."""
    try:
        x = planar(x, "The points x")
        if y is None:
            raise ValueError("Expected class numbers `y` of the points x. Received: y=None")
        largest = int(np.max(np.asarray(y, np.float64), initial=0))
        y = class_numbers(y, len(x), max(2, largest + 1))
        if y.max() < 1:
            raise ValueError("Expected points of two classes or more. Received: a single class")
    except (ValueError, TypeError) as error:
        return error
    return x, y


def _percent(share):
    return f"{100 * share:.1f} %"
