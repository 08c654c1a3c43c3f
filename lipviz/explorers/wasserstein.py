"""The distance of two clouds, estimated by a 1-Lipschitz network that learns the potential between them."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import call, literal, picture_of
from lipviz.explorers.shell.controls import choice, slider, toggle
from lipviz.explorers.shell.extending import extended
from lipviz.explorers.shell.motion import step_slider
from lipviz.explorers.shell.result_cache import ResultCache
from lipviz.explorers.shell.toys import (
    ACTIVATION_NAMES,
    KEPT_TRAINERS,
    activation_choice,
    between_pictures,
    bounds_of,
    clouds,
    training_code,
    width_slider,
)
from lipviz.losses import HKR, kr
from lipviz.measure import Transport, TransportMoment, transport_moment, wasserstein_distance
from lipviz.measure.fields import planar
from lipviz.plots import plot_potential, plot_transport_cost, plot_transport_moment, plot_wasserstein_training
from lipviz.plots.alt import alt_text
from lipviz.plots.style import number
from lipviz.toys.training import ToyTrainer, WassersteinTraining, wasserstein_training
from lipviz.types import ArrayLike

_CLOUDS = [
    ("two squares", "squares"),
    ("two Gaussians", "gaussians"),
    ("two moons", "moons"),
    ("a cloud, and it moved", "shifted"),
]
_VIEWS = [("potential of a network", "potential"), ("motion: optimal transport", "motion")]
_WAY = 100  # percent
_OF_NETWORK = ("activation", "width", "depth", "alpha", "min_margin", "steps")

_RATE = 0.01  # learning rate of the first step


@dataclasses.dataclass(frozen=True, eq=False)
class _Transported(WassersteinTraining):
    """The progress of a potential, and the transport that it is compared with."""

    transport: Transport | None = None


class WassersteinExplorer(Explorer):
    """Train the Kantorovich-Rubinstein potential between two clouds, and see how close its estimate gets.

    Args:
        x: Your own first cloud, of shape (n, 2), in addition to those that the explorer offers. It is shown first.
        y: Your own second cloud, of shape (m, 2).

    Clouds that cannot be used (NaN, other shapes) give a message in the explorer.
    """

    title = "Wasserstein explorer: the distance of two clouds"
    help_text = (
        "A 1-Lipschitz network f learns to maximize mean f(x) − mean f(y). The maximum over all 1-Lipschitz functions "
        "is the Wasserstein-1 distance. Press Start, or change a setting, to train again."
    )
    panels = 2
    essentials = ("clouds", "distance", "alpha", "view", "step")
    has_work = works_at_once = True
    restarts = frozenset(
        ("clouds", "distance", "noise", "seed", "activation", "width", "depth", "alpha", "min_margin", "steps")
    )

    def __init__(self, x: ArrayLike | None = None, y: ArrayLike | None = None):
        self._own = None if x is None and y is None else _own_clouds(x, y)
        self._transports = ResultCache(self._transport, 8)
        self._trainers = functools.lru_cache(KEPT_TRAINERS)(_trainer)
        self._run: tuple | None = None
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        own = [("yours", "yours")] if self._own is not None else []
        return {
            "Clouds": {
                "clouds": choice("Clouds", own + _CLOUDS, "The clouds whose distance is measured"),
                "distance": slider("Distance", 2.0, 0.0, 4.0, 0.1, "Between the centers, in units of the input"),
                "noise": slider("Noise", 0.3, 0.05, 1.0, 0.05, "How far points scatter, in units of the input"),
                "seed": slider("Seed", 0, 0, 20, 1, "Another seed gives other points and other initial weights"),
                "arrows": toggle("Optimal transport", True, "Show it as lines between the clouds"),
            },
            "Network": {
                "activation": activation_choice(),
                "width": width_slider(),
                "depth": slider("Hidden layers", 2, 1, 6, 1, "Number of hidden layers"),
            },
            "Loss (HKR)": {
                "alpha": slider("Hinge weight α", 0.0, 0.0, 20.0, 0.5, "With 0 only the distance counts (alpha)"),
                "min_margin": slider(
                    "Margin", 1.0, 0.0, 3.0, 0.1, "The hinge penalizes outputs nearer to 0 than half of it (min_margin)"
                ),
                "steps": slider("Training steps", 300, 50, 1000, 50, "Steps of Adam, on all points at once"),
            },
            "Picture": {
                "view": choice("Picture", _VIEWS, "What the picture shows"),
                "step": step_slider("Way (%)", _WAY, 2, "Share of its way that each point has gone", _last_step),
            },
        }

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        unused = {"yours": {"distance", "noise"}, "squares": {"noise"}}.get(state["clouds"], set())
        unused |= {"arrows", *_OF_NETWORK} if state["view"] == "motion" else {"step"}
        return set(state) - unused - (set() if state["alpha"] else {"min_margin"})

    def forget(self) -> None:
        self._run = None

    def _current(self, clouds, distance, noise, seed, activation, width, depth, alpha, min_margin):
        """The clouds and the trainer of a state, which are kept until `forget`."""
        if self._run is None:
            transport = self._transports(clouds, distance, noise, seed)
            trainer = self._trainers(activation, width, depth)
            trainer.set_loss(alpha=alpha, min_margin=min_margin)
            trainer.restart(seed)
            self._run = trainer, transport, _frame(transport.x, transport.y)
        return self._run

    def _transport(self, kind, distance, noise, seed):
        return wasserstein_distance(*self._clouds(kind, distance, noise, seed))

    def _clouds(self, kind, distance, noise, seed):
        if kind != "yours":
            return clouds(kind, distance, noise, seed)
        if isinstance(self._own, Exception):
            raise self._own
        return self._own

    def compute(self, steps: int, arrows: bool, view: str, step: int, **state: Any) -> _Transported | TransportMoment:
        if view == "motion":
            transport = self._transports(*(state[name] for name in ("clouds", "distance", "noise", "seed")))
            return transport_moment(transport, min(step / _WAY, 1.0))
        trainer, transport, bounds = self._current(**state)
        data = wasserstein_training(
            trainer,
            transport.x,
            transport.y,
            transport.distance,
            alpha=state["alpha"],
            min_margin=state["min_margin"],
            steps=steps,
            bounds=bounds,
            name=ACTIVATION_NAMES[state["activation"]],
        )
        return extended(_Transported, data, transport=transport)

    def work(
        self, steps: int, arrows: bool, view: str, step: int, **state: Any
    ) -> Iterator[tuple[float, _Transported | TransportMoment]]:
        if view == "motion":  # which shows no network: it is trained when it is asked for
            return
        self.progress("Compiling a step of the training …")
        trainer, transport, _ = self._current(**state)
        points = np.concatenate([transport.x, transport.y])
        labels = np.repeat([[1.0], [0.0]], [len(transport.x), len(transport.y)], axis=0)
        for done in trainer.pieces(points, labels, steps, between_pictures(steps)):
            shown = {name: self.state[name] for name in ("view", "step")}  # they may change meanwhile
            yield done / steps, self.compute(steps, arrows, **shown, **state)

    def waits(self, name: str, state: Mapping[str, Any]) -> bool:
        return super().waits(name, state) and state["view"] != "motion"

    def preview(self, data: _Transported, state: Mapping[str, Any]) -> _Transported | None:
        """The clouds of the state on the present potential, without the transport, which takes longer to find."""
        x, y = self._clouds(*(state[name] for name in ("clouds", "distance", "noise", "seed")))
        if np.array_equal(x, data.potential.x) and np.array_equal(y, data.potential.y):
            return None
        return dataclasses.replace(data, potential=dataclasses.replace(data.potential, x=x, y=y), transport=None)

    def draw(self, data: _Transported | TransportMoment, state: Mapping[str, Any]) -> None:
        left, right = self.figure.axes
        if isinstance(data, TransportMoment):
            plot_transport_moment(data, ax=left)
            plot_transport_cost(data, ax=right)
            return
        transport = data.transport if state["arrows"] else None
        plot_potential(data.potential, ax=left, transport=transport)
        plot_wasserstein_training(data.training, ax=right)

    def alt_text(self, data: _Transported | TransportMoment) -> str:
        return alt_text(data)

    def statement(self, data: _Transported | TransportMoment) -> str:
        if isinstance(data, TransportMoment):
            return _moment_in_words(data)
        training = data.training
        words = f"The network is {number(training.k)}-Lipschitz, so its estimate {number(training.estimates[-1])} is "
        times = number(training.k)
        bound = "the exact distance" if times == "1" else f"{times} times the exact distance"
        words += f"at most {bound} {number(training.exact)}."
        if training.exact > 0:
            share = math.floor(1000 * training.reached) / 10
            words += f" After {training.steps[-1]} of {data.steps} steps it is {share} % of that."
        if data.alpha > 0:
            words += (
                f" The hinge penalizes outputs between ±{number(data.min_margin / 2)}, which may lower the estimate: "
                f"{100 * data.inside:.1f} % of the points lie there."
            )
        return words

    def numbers(self, data: _Transported | TransportMoment) -> list[tuple[str, str]]:
        if isinstance(data, TransportMoment):
            return _of_moment(data)
        training = data.training
        return [
            ("steps", f"{training.steps[-1]} of {data.steps}"),
            ("estimate, mean f(x) − mean f(y)", number(training.estimates[-1], 5)),
            ("exact Wasserstein-1 distance", number(training.exact, 5)),
            ("certified Lipschitz constant, at most", number(training.k, 5)),
            ("points within half the margin", f"{100 * data.inside:.1f} %"),
            ("points on their side of 0", f"{100 * data.accuracy:.1f} %"),
        ]

    def table(self, data: _Transported | TransportMoment) -> tuple[list[str], list[list[Any]]]:
        """The estimate after each number of steps, or where each mass is on its way."""
        if isinstance(data, TransportMoment):
            values = np.column_stack([data.points, data.transport.masses, data.share * data.transport.lengths])
            return ["first coordinate", "second coordinate", "mass", "moved"], values.tolist()
        training = data.training
        rows = zip(training.steps.tolist(), training.estimates.tolist(), strict=True)
        return ["steps", "estimate", "exact"], [[*row, training.exact] for row in rows]

    def code_lines(self, data: _Transported | TransportMoment, state: Mapping[str, Any]) -> list[str]:
        if isinstance(data, TransportMoment):
            panels = [f"plots.plot_transport_{kind}(result, ax={{ax}})" for kind in ("moment", "cost")]
            return [
                *_clouds_code(**state),
                "transport = measure.wasserstein_distance(x, y)",
                f"result = measure.transport_moment(transport, {data.share!r})",
                *picture_of(panels),
            ]
        network = {name: state[name] for name in ("activation", "width", "depth")}
        hinge = {"alpha": data.alpha, "min_margin": data.min_margin}
        field = data.potential
        shown = {**hinge, "steps": data.steps, "bounds": bounds_of(field), "name": field.name}
        arrows = ", transport=transport" if state["arrows"] else ""
        return [
            "from lipviz.toys.training import ToyTrainer, wasserstein_training",
            *_clouds_code(**state),
            "transport = measure.wasserstein_distance(x, y)",
            call("loss = losses.HKR", **hinge),
            call("trainer = ToyTrainer", "loss", "watch=losses.kr", **network, learning_rate=_RATE),
            f"trainer.restart(seed={state['seed']})",
            "labels = np.repeat([[1.0], [0.0]], [len(x), len(y)], axis=0)",
            *training_code("np.concatenate([x, y]), labels", int(data.training.steps[-1]), data.steps),
            call("result = wasserstein_training", "trainer", "x", "y", "transport.distance", **shown),
            *picture_of(
                [
                    f"plots.plot_potential(result.potential, ax={{ax}}{arrows})",
                    "plots.plot_wasserstein_training(result.training, ax={ax})",
                ]
            ),
        ]


def _clouds_code(clouds, distance, noise, seed, **_others):
    if clouds == "yours":
        return ["x, y = np.asarray(x), np.asarray(y)"]
    made = call("clouds", literal(clouds), distance=distance, noise=noise, seed=seed)
    return ["from lipviz.explorers.shell.toys import clouds", f"x, y = {made}"]


def _last_step(data):
    return _WAY if isinstance(data, TransportMoment) else None


def _moment_in_words(data):
    transport = data.transport
    words = f"After {100 * data.share:.0f} % of its straight way, a point has moved {number(data.moved, 4)} on average"
    if data.share == 1:
        return f"{words}: the Wasserstein-1 distance {number(transport.distance, 4)}. No other plan moves less."
    left = number(transport.distance - data.moved, 4)
    return f"{words}, and {left} are left of the Wasserstein-1 distance {number(transport.distance, 4)}."


def _of_moment(data):
    transport = data.transport
    return [
        ("mean distance moved", number(data.moved, 5)),
        ("exact Wasserstein-1 distance", number(transport.distance, 5)),
        ("longest way of a point", number(float(transport.lengths.max()), 5)),
        ("pairs of the plan", str(len(transport.pairs))),
    ]


def _trainer(activation, width, depth):
    return ToyTrainer(HKR(alpha=0.0), activation, width, depth, learning_rate=_RATE, watch=kr)


def _frame(x, y):
    """The part of the plane that is shown: a square, so that distances look the same in all directions."""
    points = np.concatenate([x, y])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    half = 0.6 * float(np.ptp(points, axis=0).max()) or 1.0
    return [(center - half, center + half) for center in middle]


def _own_clouds(x, y):
    """Two clouds, or the error that says why there are none."""
    try:
        if x is None or y is None:
            raise ValueError("Expected two clouds, x and y. Received: one of them")
        return planar(x, "The cloud x"), planar(y, "The cloud y")
    except (ValueError, TypeError) as error:
        return error
