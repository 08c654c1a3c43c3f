"""A playground: an ordinary and a constrained network learn the same points, which you drag, draw and erase."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

from lipviz import data
from lipviz.explorers.shell.canvas import challenges
from lipviz.explorers.shell.canvas import points as pts
from lipviz.explorers.shell.canvas.explorer import CanvasExplorer
from lipviz.explorers.shell.canvas.widget import Look, network_words
from lipviz.explorers.shell.code import Raw, call, literal, picture_of
from lipviz.explorers.shell.controls import choice, log_slider, slider, toggle
from lipviz.explorers.shell.threads import undisturbed
from lipviz.explorers.shell.toys import KEPT_TRAINERS, TOY_SETS, activation_choice, gaussian_std
from lipviz.explorers.shell.work import RUNNING
from lipviz.plots import plot_decision_field
from lipviz.plots.style import number
from lipviz.toys.side_by_side import EXTENT, HKR_ALPHA, KINDS, NetworkView, Pair, PlaceReading, SideBySide
from lipviz.types import Array, ArrayLike

_LEARNED, _DRAWN, _UNSEEN = 80, 400, 200  # points of a toy set: learned from, drawn, and shown to no network
_MOONS_CENTER = (0.5, 0.25)
_CIRCLE = 1.5  # radius of the outer circle
_LOSSES = 100  # of a curve on the page
_NO_CHALLENGE = "none"


class Playground(CanvasExplorer):
    """Two networks learn the same points side by side: an ordinary and a constrained one.

    Drag points, draw and erase them. The discs around them, in which the decision is certified not to change, follow.
    Three challenges have a task with a goal, which is checked while you work on it.

    Args:
        x: Your own points, of shape (n, 2), at most 1,000.
        y: Their labels, of shape (n,), of two kinds.
        csv: Path of a file with such points instead: rows of two coordinates and a label.

    Points that cannot be used (NaN, other shapes, a single kind of label, too many) give a message in the explorer.

    Attributes:
        points: The tuple (points of shape (n, 2), classes of shape (n,)) that is shown at present.
    """

    title = "Playground: two networks on the same points"
    help_text = (
        "Two networks learn the same points. Inside of each disc, a decision is certified not to change. Drag a point, "
        "or press Start to train anew."
    )
    panels = 2
    essentials = ("data", "activation", "k", "tau", "margin")
    has_work = works_at_once = True
    restarts = frozenset(("data", "noise", "seed", "activation", "width", "depth", "k", "loss"))

    def __init__(
        self, x: ArrayLike | None = None, y: ArrayLike | None = None, csv: str | os.PathLike[str] | None = None
    ):
        first, words = _given(x, y, csv)
        self._first = first
        self._pairs = functools.lru_cache(KEPT_TRAINERS)(Pair)
        self._pair: Pair | None = None
        self._points = self._settled = np.zeros((0, 3))  # as shown, and as the state has them
        self._source: dict[str, Any] | None = None
        self._unseen: tuple[Array, Array] | None = None
        self._before_edits: dict[str, Any] = {}
        self._place: Array | None = None
        self._moved: Array | None = None  # as `Look` has it
        self._waits = False
        self._task = widgets.HTML()
        super().__init__()
        self._canvas.challenges = [[value, text] for text, value in self.controls["challenge"].options]
        self._canvas.on_look(self._look, self._open, self._choose)
        self._tell(words)

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        return {
            "Data": {
                "data": choice(
                    "Points", [*TOY_SETS, ("your own", "own")],
                    "The points to learn from; your own, as soon as you change one",
                    None if self._first is None else "own",
                ),
                "noise": slider("Noise", 0.1, 0.0, 0.4, 0.02, "How far points scatter, in units of the input"),
                "seed": slider("Seed", 0, 0, 20, 1, "Another seed gives other points and other initial weights"),
                "own": pts.PointsControl("" if self._first is None else pts.text_of(self._first)),
                "challenge": _challenge_choice(),
            },
            "Networks": {
                "activation": activation_choice(),
                "depth": slider("Hidden layers", 2, 1, 5, 1, "Hidden layers of both networks"),
                "width": slider("Width", 16, 2, 32, 2, "Channels of each hidden layer"),
                "k": log_slider("Lipschitz constant k", 1.0, -1, 1, "The largest one of the constrained network"),
            },
            "Training": {
                "loss": choice(
                    "Loss",
                    [("crossentropy", "crossentropy"), ("HKR", "hkr")],
                    "Crossentropy looks at points near the boundary; HKR wants the classes far apart",
                ),
                "tau": log_slider(
                    "Inverse temperature τ", 10.0, 0, 2,
                    "The larger, the more the loss depends on points near the boundary",
                ),
                "margin": slider("Margin", 0.5, 0.1, 2.0, 0.1, "Distance of the two classes' scores that HKR wants"),
                "rate": log_slider("Learning rate", 0.02, -3, -1, "Of Adam, for the steps to come"),
                "steps": slider("Training steps", 300, 100, 5000, 100, "Steps after which the training ends"),
                "speed": choice(
                    "Speed", [(f"{n} steps a picture", n) for n in (1, 2, 5, 10, 20)],
                    "Steps of training between two pictures", 5,
                ),
            },
            "Picture": {
                "discs": toggle("Certified discs", True, "No move inside of a disc changes the decision of its point"),
                "moves": toggle("Attacker's steps", True, "The shortest step found that changes a point's decision"),
            },
        }  # fmt: skip

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        unused = {"margin" if state["loss"] == "crossentropy" else "tau"}
        return set(state) - unused - ({"noise"} if state["data"] == "own" else set())

    @property
    def points(self) -> tuple[Array, Array]:
        return self._points[:, :2], self._points[:, 2].astype(np.int64)

    # --- what is computed ---

    def reset(self) -> None:
        """Return to the initial state, without what a page has moved and not let go."""
        if not np.array_equal(self._points, self._settled):  # else a page keeps the point that was chosen
            self.stop()
            self._source = None
        super().reset()

    def forget(self) -> None:
        self._pair = None

    def compute(self, **state: Any) -> SideBySide:
        pair = self._current(**state)
        self._load(state)
        return pair.view(*self.points, self._unseen)

    def _current(self, activation, width, depth, k, loss, seed, tau, margin, **_others):
        """The networks of a state, which are kept until `forget`."""
        if self._pair is None:
            pair = self._pairs(activation, width, depth, k, loss)
            pair.restart(seed)
            self._pair = pair
        self._pair.set_loss(tau, margin)
        return self._pair

    def _load(self, state):
        """Take over the points that a state names, unless they are there, or are edited at present."""
        source = _source_of(state)
        if source == self._source:
            return
        self._source, self._before_edits = source, {name: state[name] for name in ("data", "own")}
        self._points, self._unseen = _points_of(**source)
        self._settled, self._moved = self._points, None
        self._canvas.give(self._points)

    def work(self, **state: Any) -> Iterator[tuple[float, SideBySide]]:
        self.progress("Compiling a step of the training …")
        pair = self._current(**state)
        self._load(state)
        done = 0
        # All of this may be changed meanwhile.
        while done < self.state["steps"]:
            now = self.state
            pair.set_loss(now["tau"], now["margin"])
            pair.learn(*self.points, min(now["speed"], now["steps"] - done), now["rate"])
            done = len(pair.learners[0].trainer.losses)
            yield min(1.0, done / now["steps"]), self.compute(**now)

    # --- what a page tells ---

    def _look(self, look: Look):
        self._place, self._moved = look.place, look.moved
        if look.points is not None:
            self._points = look.points
            self._unseen = self._unseen if look.given else None
        try:
            is_new = look.points is not None
            if look.settled and not np.array_equal(self._points, self._settled):
                is_new = True
                with self._lock:  # so that no step of a training sees half of the new state
                    self._settle(look)
            if self.work_state == RUNNING:
                self._waits = True  # the next picture answers
            else:
                self._answer_page(is_new, look.settled)
        except Exception as error:  # of any kind: the reader must see it here, not only in a log
            self._show_error(error)

    def _answer_page(self, is_new, is_settled):
        with self._lock, undisturbed():
            if self.data is None or self.error is not None or is_new:
                self._is_dragged = not is_settled
                self._respond(self.state)
            else:
                self._canvas.show(self.answer(self.data, self._shown_state))

    def _settle(self, look):
        """Keep edited points in the state."""
        before = self._before_edits
        values = before if look.given else {"data": "own", "own": pts.text_of(self._points)}
        with self._quiet():
            for name, value in values.items():
                self.controls[name].value = value
        self._source = _source_of(self.state)
        if look.given:
            self._points, self._unseen = _points_of(**self._source)
        self._settled = self._points
        self._canvas.keep(self._points)

    def _open(self, name, size, text):
        """Take over the points of a file that a reader has opened."""
        try:
            pts.check_size(name, size)
            points, words = pts.placed(*pts.from_csv(text or ""))
        except (ValueError, TypeError) as error:
            self._tell(f"{name} cannot be used, and the points stay as they are. {error}")
            return
        self.state = {"data": "own", "own": pts.text_of(points)}
        self._tell(words)

    def _above_stage(self):
        return [self._task]

    def _choose(self, challenge):
        """Open the challenge that a reader has chosen on the page."""
        self.state = {"challenge": challenge}

    def _take(self, challenge):
        """Set what a challenge begins with, and return the names of the controls that count as changed."""
        if challenge == _NO_CHALLENGE:
            return {"challenge"}
        presets = {**self._defaults, "own": "", **challenges.CHALLENGES[challenge].presets, "challenge": challenge}
        with self._quiet():
            for name, value in presets.items():
                self.controls[name].value = value
        return {"challenge", *self.restarts}

    def _respond_to(self, changed):
        if changed == {"challenge"}:  # else the other values belong to it, as in a shared state
            changed = self._take(self.state["challenge"])
        state = self.state
        if "data" in changed and state["data"] == "own" and not state["own"]:
            with self._quiet():  # the points that are there become the reader's own
                self.controls["own"].value = pts.text_of(self._points)
        super()._respond_to(changed)

    def _show_worker(self, state):
        super()._show_worker(state)
        if state != RUNNING and self._waits:
            self._waits = False
            self.refresh()

    # --- what is shown ---

    def _judged(self, data, state):
        """The open challenge and its verdict, or (None, None)."""
        challenge = challenges.CHALLENGES.get(state["challenge"])
        if challenge is None:
            return None, None
        are_given = np.array_equal(self._points, self._settled)
        return challenge, challenge.verdict(challenges.Moment(state, data, are_given, self._moved_point()))

    def _moved_point(self):
        """The chosen point as a challenge takes it, or None."""
        if self._moved is None or self._pair is None:
            return None
        start, end = self._moved[:4].reshape(2, 2)
        return challenges.moved_of(self._pair.scores(np.array([start, end])), start, end, self._moved[4])

    def answer(self, data: SideBySide, state: Mapping[str, Any]) -> dict[str, Any]:
        challenge, verdict = self._judged(data, state)
        self._task.value = challenges.box(challenge, verdict)
        place = self._place
        readings = None if place is None or self._pair is None else self._pair.reading(place)
        return {
            "places": _flat(data),
            "networks": {kind: _words_of(view) for kind, view in zip(KINDS, data.views, strict=True)},
            "discs": state["discs"],
            "moves": state["moves"],
            "place": None if place is None else place.tolist(),
            "reading": None if readings is None else [_reading(one) for one in readings],
            "challenge": state["challenge"],
            "done": verdict.words if verdict is not None and verdict.done else None,
        }

    def draw(self, data: SideBySide, state: Mapping[str, Any]) -> None:
        for view, ax in zip(data.views, self.figure.axes, strict=True):
            field = view.field if state["discs"] else dataclasses.replace(view.field, certified=None)
            plot_decision_field(field, ax=ax)

    def alt_text(self, data: SideBySide) -> str:
        points = f"{len(data.ordinary.right)} points of two classes"
        return f"Two networks side by side on {points}, after {data.steps} steps. " + " ".join(
            f"The {kind} network is right at {view.right.sum()} of them; its certified discs have radii of at most "
            f"{number(float(view.radii.max(initial=0)))}, half of them at most {number(_median(view))}."
            for kind, view in zip(KINDS, data.views, strict=True)
        )

    def statement(self, data: SideBySide) -> str:
        if not len(data.ordinary.right):
            return "There are no points: draw some, with “add ●” and “add ■”."
        ordinary, constrained = (f"{view.right.sum()} of {len(view.right)} points" for view in data.views)
        words = f"After {data.steps} steps, the ordinary network is right at {ordinary}, the constrained one at "
        words += f"{constrained}."
        lengths = [
            f"{number(_median(view))} in the {kind} one"
            for kind, view in zip(KINDS, data.views, strict=True)
            if _median(view) > 0
        ]
        if lengths:
            words += f" Half of the points keep their class for every move shorter than {', and than '.join(lengths)}."
        return words

    def numbers(self, data: SideBySide) -> list[tuple[str, str]]:
        rows = [("steps", str(data.steps))]
        for name, values in _rows(data):
            rows += [(f"{name}, {kind}", value) for kind, value in zip(KINDS, values, strict=True) if value]
        return rows

    def table(self, data: SideBySide) -> tuple[list[str], list[list[Any]]]:
        """The points, with what both networks say of them."""
        columns, cells = ["x0", "x1", "class"], [*self._shown_points(data)]
        for kind, view in zip(KINDS, data.views, strict=True):
            columns += [f"right_{kind}", f"certified_radius_{kind}", f"attack_{kind}"]
            cells += [view.right.astype(int), view.radii, view.moves[:, 2]]
        return columns, [[cell.item() for cell in row] for row in zip(*cells, strict=True)]

    def _shown_points(self, data):
        field = data.ordinary.field
        if field.points is None:
            return np.zeros((3, 0))
        return (*field.points.T, field.labels)

    # --- code ---

    def code_lines(self, data: SideBySide, state: Mapping[str, Any]) -> list[str]:
        loss = f"losses.TauBinaryCrossentropy({state['tau']!r})"
        if state["loss"] == "hkr":
            loss = f"losses.HKR({HKR_ALPHA!r}, min_margin={state['margin']!r})"
        shared = {name: state[name] for name in ("activation", "width", "depth")}
        bounds = f"(({-EXTENT}, {EXTENT}), ({-EXTENT}, {EXTENT}))"
        training = [
            f"    network.compile(keras.optimizers.Adam({state['rate']!r}), {loss})",
            f"    network.fit(x, y[:, None], batch_size=len(x), epochs={data.steps}, shuffle=False, verbose=0)",
        ]
        return [
            *self._points_code(state),
            "",
            "networks = {",
            f"    {literal(KINDS[0])}: {call('toys.toy_network', **shared, constrained=False, seed=state['seed'])},",
            f"    {literal(KINDS[1])}: {call('toys.toy_network', **shared, k=state['k'], seed=state['seed'])},",
            "}",
            "result = {}",
            "for name, network in networks.items():",
            *(training if data.steps else []),
            "    bound = certification.certify(network)",
            f"    field = measure.decision_field(network, {bounds}, 48, x, y, bound, name)",
            "    result[name] = field",
            *picture_of(
                [f"plots.plot_decision_field(result[{literal(kind)}], ax={{ax}})" for kind in KINDS],
                f"plots.alt_text(result[{literal(KINDS[1])}])",
            ),
        ]

    def _points_code(self, state):
        x, y = self.points
        if state["data"] == "own":
            return [_array("x", x.tolist()), _array("y", y.tolist())]
        made = _toy_call(state["data"], state["noise"], state["seed"])
        return [f"(x, y), _ = {made}", f"x = np.round(np.clip({_MOVED_CODE[state['data']]}, -2, 2), 3)"]


def _challenge_choice():
    """The control of the challenge, which is not visible: it is chosen on the canvas."""
    options = [("No challenge", _NO_CHALLENGE), *((one.name, key) for key, one in challenges.CHALLENGES.items())]
    control = choice("Challenge", options, "A task with a goal, which is checked")
    control.layout.display = "none"
    return control


# --- points ---


def _given(x, y, csv):
    """Points that were given to the explorer, or None; and words about them."""
    if x is None and y is None and csv is None:
        return None, ""
    try:
        if csv is not None:
            x, y = pts.from_file(csv)
        if x is None or y is None:
            raise ValueError("Expected points `x` with labels `y`. Received only one of them")
        return pts.placed(x, y)
    except (ValueError, TypeError, OSError) as error:
        return None, f"Your points cannot be used. {error}"


def _source_of(state):
    """What determines the points of a state."""
    if state["data"] == "own":
        return {"data": "own", "own": state["own"]}
    return {name: state[name] for name in ("data", "noise", "seed")}


def _points_of(data, own="", noise=0.0, seed=0):
    """Points of shape (n, 3), and others that no network learns from, or None."""
    if data == "own":
        return pts.points_of(own), None
    (x, y), (unseen, classes) = _toy(data, noise, seed)
    unseen = _moved(data, unseen[:_UNSEEN]), classes[:_UNSEEN]
    return np.column_stack([_moved(data, x), y]), unseen


_MOVED_CODE = {
    "moons": f"x.astype(float) - {_MOONS_CENTER}",
    "circles": f"{_CIRCLE} * x.astype(float)",
    "gaussians": "x.astype(float)",
}


def _moved(kind, x):
    """Points of a toy set where they fill the picture, with three decimals."""
    x = np.asarray(x, np.float64)
    moved = {"moons": x - _MOONS_CENTER, "circles": _CIRCLE * x, "gaussians": x}[kind]
    return np.round(np.clip(moved, -EXTENT, EXTENT), 3)


def _toy_arguments(kind, noise, seed):
    of_kind = {"distance": 2.0, "std": gaussian_std(noise)} if kind == "gaussians" else {"noise": noise}
    return of_kind | {"test_fraction": 1 - _LEARNED / _DRAWN, "seed": seed}


def _toy(kind, noise, seed):
    functions: dict[str, Callable[..., Any]] = {
        "moons": data.two_moons,
        "circles": data.circles,
        "gaussians": data.gaussians,
    }
    return functions[kind](_DRAWN, **_toy_arguments(kind, noise, seed))


def _toy_call(kind, noise, seed):
    name = {"moons": "two_moons"}.get(kind, kind)
    return call(f"data.{name}", str(_DRAWN), **_toy_arguments(kind, noise, seed))


def _array(name, values):
    return call(f"{name} = np.array", *(literal(Raw(values)) for values in [str(values)]))


# --- what a page is told ---


def _flat(data):
    field = data.ordinary.field
    if field.points is None:
        return b""
    return np.column_stack([field.points, field.labels]).astype(np.float64).tobytes()


def _words_of(view: NetworkView):
    losses = view.losses[:: -(-len(view.losses) // _LOSSES) or 1]
    return network_words(
        scores=view.field.logits[:, :, 0],
        right=view.right,
        radii=view.radii,
        moves=view.moves,
        losses=losses.tolist(),
        loss=float(view.losses[-1]) if len(view.losses) else None,
        unseen=view.unseen_accuracy,
        constant=view.constant,
    )


def _reading(reading: PlaceReading):
    values = [reading.score, reading.radius, *reading.move.tolist()]
    return [value if np.isfinite(value) else None for value in values]


# --- numbers ---


def _median(view):
    return float(np.median(view.radii)) if len(view.radii) else 0.0


def _rows(data):
    """Names and values, as text, of both networks."""
    views = data.views
    yield "right", [f"{view.right.sum()} of {len(view.right)}" for view in views]
    yield "right, unseen", ["" if v.unseen_accuracy is None else f"{100 * v.unseen_accuracy:.1f} %" for v in views]
    yield "loss", [number(view.losses[-1], 4) if len(view.losses) else "" for view in views]
    yield "Lipschitz constant, at most", [number(view.constant, 5) for view in views]
    yield "certified radius, median", [number(_median(view)) for view in views]
    yield "certified radius, smallest", [number(float(view.radii.min(initial=np.inf))) for view in views]
