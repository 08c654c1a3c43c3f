"""An ordinary and a constrained network that learn the same points of the plane, and what is seen of both."""

import dataclasses

import keras
import numpy as np
from scipy.spatial import cKDTree

from lipviz.certification.moving_radii import MovingRadii
from lipviz.losses import HKR, TauBinaryCrossentropy
from lipviz.measure.fields import DecisionField, decision_field
from lipviz.toys.training import ToyTrainer
from lipviz.types import Array, ArrayLike

KINDS = ("ordinary", "constrained")
LOSSES = ("crossentropy", "hkr")
EXTENT = 2.0  # the part of the plane that is shown is [−EXTENT, EXTENT]²
HKR_ALPHA = 10.0
_BOUNDS = ((-EXTENT, EXTENT), (-EXTENT, EXTENT))
# How far to go from a point to the nearest place of the boundary that a grid shows, as shares of that distance.
_SHARES = np.array([0.92, 0.97, 0.99, 1.0, 1.01, 1.03, 1.1, 1.3])
# Batches are filled up to one of these sizes, so that a step is compiled once for all numbers of points.
_SIZES = (256, 1024)


# --- what is seen ---


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkView:
    """What is seen of a network at a moment of its training.

    Attributes:
        field: Its `DecisionField` with the points and their certified radii; without them where there are no points.
        losses: Loss before each step so far, of shape (steps so far,).
        constant: Upper bound of its Lipschitz constant, certified.
        moves: End and length of the shortest move found for each point that changes its decision, of shape (n, 3); NaN
            where none was found. The decision at the end differs, so a shorter radius can be certified at most.
        unseen_accuracy: Share of points that it has not learned from which are decided rightly; None without them.
    """

    field: DecisionField
    losses: np.ndarray = dataclasses.field(repr=False)
    constant: float
    moves: np.ndarray = dataclasses.field(repr=False)
    unseen_accuracy: float | None

    @property
    def radii(self) -> Array:
        """Certified radius of each point, of shape (n,); 0 for one that is decided wrongly."""
        return np.zeros(0) if self.field.radii is None else self.field.radii

    @property
    def right(self) -> Array:
        """Whether each point is decided rightly, of shape (n,)."""
        certified = self.field.certified
        return np.zeros(0, bool) if certified is None else certified.predicted == certified.labels


@dataclasses.dataclass(frozen=True, eq=False)
class SideBySide:
    """Both networks at the same moment.

    Attributes:
        ordinary: `NetworkView` of the ordinary network.
        constrained: That of the constrained one.
    """

    ordinary: NetworkView
    constrained: NetworkView

    @property
    def views(self) -> tuple[NetworkView, NetworkView]:
        """Both, the ordinary one first."""
        return self.ordinary, self.constrained

    @property
    def steps(self) -> int:
        """Number of steps of training so far."""
        return len(self.constrained.losses)


@dataclasses.dataclass(frozen=True)
class PlaceReading:
    """What a network says of a place.

    Attributes:
        score: Its logit, whose sign decides.
        radius: Certified radius.
        move: End and length of the shortest move found that changes the decision, of shape (3,); NaN for none.
    """

    score: float
    radius: float
    move: np.ndarray = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class _Viewed:
    """Points of shape (n, 2), with their scores of shape (n, 1) and moves of shape (n, 3)."""

    points: Array
    scores: Array
    moves: Array

    def at(self, place):
        """Scores and moves of the point at a place, of shapes (1, 1) and (1, 3); None where there is none."""
        (found,) = np.nonzero((self.points == place).all(axis=1))
        return None if not len(found) else (self.scores[found[:1]], self.moves[found[:1]])


# --- the networks ---


class Learner:
    """A network that learns points which may change meanwhile.

    Args:
        trainer: `ToyTrainer` with one output.
        name: Name for titles.
        resolution: Number of points along each axis of the grid that is shown.
    """

    def __init__(self, trainer: ToyTrainer, name: str = "network", resolution: int = 48) -> None:
        self.trainer, self._name, self._resolution = trainer, name, resolution
        self._certifier = MovingRadii(trainer.plain)
        self._field: DecisionField | None = None
        self._boundary: cKDTree | None = None
        self._viewed: _Viewed | None = None

    def _forget(self):
        self._certifier.refresh()
        self._field = self._viewed = None

    def restart(self, seed: int = 0) -> None:
        """Start again with the initial weights of a seed."""
        self.trainer.restart(seed)
        self._forget()

    def learn(self, x: ArrayLike, y: ArrayLike, steps: int = 1, rate: float = 0.02) -> None:
        """Take some steps of Adam on all points at once.

        Args:
            x: Points of shape (n, 2).
            y: Their classes, 0 and 1, of shape (n,).
            steps: Number of steps.
            rate: Learning rate.

        Raises:
            ValueError: If there are no points, or training diverged.
        """
        x, targets, weights = _filled_up(np.asarray(x), np.asarray(y))
        end = len(self.trainer.losses) + steps
        for _ in self.trainer.pieces(x, targets, end, steps, rate=rate, weights=weights):
            pass
        self._forget()

    @property
    def field(self) -> DecisionField:
        """Present `DecisionField`, without points."""
        if self._field is None:
            self._field = decision_field(self.trainer.plain, _BOUNDS, self._resolution, name=self._name)
            self._boundary = _boundary_of(self._field)
        return self._field

    def view(self, x: Array, y: Array, unseen: tuple[Array, Array] | None = None) -> NetworkView:
        """What is seen of the network now.

        Args:
            x: Points of shape (n, 2).
            y: Their classes, 0 and 1, of shape (n,).
            unseen: Points and classes that it has not learned from, or None.

        Returns:
            A `NetworkView`.
        """
        field, moves, accuracy = self.field, np.zeros((0, 3)), None
        others = np.zeros((0, 2)) if unseen is None else unseen[0]
        ends, scores = self._scores(x, others)
        if len(x):
            certified = self._certifier.radii(x, y, scores[: len(x)])
            field = dataclasses.replace(field, points=x, labels=certified.labels, certified=certified)
            moves = _shortest(x, ends, scores[:, 0] > 0)
            self._viewed = _Viewed(np.array(x), scores[: len(x)], moves)
        if unseen is not None:
            accuracy = float(np.mean((scores[-len(others) :, 0] > 0) == unseen[1]))
        return NetworkView(field, np.array(self.trainer.losses), self._certifier.constant, moves, accuracy)

    def reading(self, place: Array) -> PlaceReading:
        """What the network says of a place, of shape (2,). Of a point that was just viewed it is known already."""
        x = np.asarray(place, np.float64)[None]
        scores, moves = (self._viewed and self._viewed.at(x)) or self._scores_and_moves(x)
        radius = self._certifier.radii(x, scores=scores).radii[0]
        return PlaceReading(float(scores[0, 0]), float(radius), moves[0])

    def _scores_and_moves(self, x):
        ends, scores = self._scores(x)
        return scores[: len(x)], _shortest(x, ends, scores[:, 0] > 0)

    def scores(self, places: Array) -> Array:
        """Logits of places of shape (n, 2), of shape (n,)."""
        return self._certifier.logits(places)[:, 0]

    def _scores(self, x, others=()):
        """Ends of moves of points, and logits: of the points, of all ends, and of other places. One call takes less."""
        ends = self._ends(x)
        places = np.concatenate([x, ends.reshape(-1, 2), np.reshape(others, (-1, 2))])
        return ends, self._certifier.logits(places) if len(places) else np.zeros((0, 1))

    def _ends(self, x):
        """Places at and around the nearest place of the boundary, of shape (n, m, 2); m is 0 if the grid shows none."""
        if self.field is not None and self._boundary is None:
            return np.zeros((len(x), 0, 2))
        way = self._boundary.data[self._boundary.query(x)[1]] - x
        return x[:, None] + _SHARES[:, None] * way[:, None]


def _filled_up(x, y):
    """Points, labels and weights of a batch of one of few sizes; the points that fill it up have the weight 0.

    Labels are ±n divided by the number of points of their class, as losses take them for `multi_gpu`, since those that
    compare means of classes count only these.
    """
    count = len(y)
    if not count:
        raise ValueError("There are no points to train on: add some.")
    size = next((size for size in _SIZES if size >= count), count)
    counts = np.maximum(np.bincount(y.astype(int), minlength=2), 1)
    labels = np.where(y > 0, count / counts[1], -count / counts[0])
    rest = size - count
    weights = np.concatenate([np.full(count, size / count), np.zeros(rest)])
    return np.pad(x, ((0, rest), (0, 0))), np.pad(labels, (0, rest))[:, None], weights


def _boundary_of(field):
    """A tree of the places on the lines of a grid where the score is 0, by linear interpolation; None without any."""
    scores = field.logits[:, :, 0].astype(np.float64)
    x0, x1 = np.meshgrid(field.x0, field.x1)
    places = np.concatenate([_crossings(scores, x0, x1), _crossings(scores.T, x0.T, x1.T)])
    return cKDTree(places) if len(places) else None


def _crossings(scores, x0, x1):
    """Where the score is 0 between neighbours of a row, of shape (m, 2)."""
    left, right = scores[:, :-1], scores[:, 1:]
    at = (left > 0) != (right > 0)
    share = (left[at] / (left[at] - right[at]))[:, None]
    start, end = (np.column_stack([x0[:, part][at], x1[:, part][at]]) for part in (slice(-1), slice(1, None)))
    return start + share * (end - start)


def _shortest(x, ends, signs):
    """End and length of the shortest of the moves to some ends that change the sign, of shape (n, 3); NaN for none.

    Args:
        x: Points, of shape (n, 2).
        ends: Of shape (n, m, 2), those of each point in the order of their distances.
        signs: Whether the score is positive, at the points and then at all ends.
    """
    count, many = ends.shape[:2]
    if not many:
        return np.full((count, 3), np.nan)
    changes = signs[count : count + count * many].reshape(count, many) != signs[:count, None]
    found = ends[np.arange(count), changes.argmax(axis=1)]
    moves = np.column_stack([found, np.linalg.norm(found - x, axis=1)])
    return np.where(changes.any(axis=1)[:, None], moves, np.nan)


class Pair:
    """An ordinary and a constrained network with the same settings.

    Args:
        activation: See `toy_network`.
        width: See `toy_network`.
        depth: See `toy_network`.
        k: Lipschitz constant of the constrained network.
        loss: "crossentropy" (`TauBinaryCrossentropy`) or "hkr" (`HKR`, with α = 10).

    Attributes:
        learners: The `Learner` of each, the ordinary one first.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self, activation: str = "groupsort2", width: int = 16, depth: int = 2, k: float = 1.0, loss: str = LOSSES[0]
    ) -> None:
        self._loss = loss
        trainers = [
            ToyTrainer(_loss(loss), activation, width, depth, k=k, constrained=kind == "constrained") for kind in KINDS
        ]
        self.learners = tuple(Learner(trainer, kind) for trainer, kind in zip(trainers, KINDS, strict=True))
        self._set: tuple[float, float] | None = None

    def restart(self, seed: int = 0) -> None:
        """Start both again with the initial weights of a seed."""
        for learner in self.learners:
            learner.restart(seed)

    def set_loss(self, tau: float, margin: float) -> None:
        """Set the inverse temperature of the crossentropy, or the margin of HKR, for the steps to come."""
        if self._set == (tau, margin):  # on JAX a step is compiled anew
            return
        self._set = tau, margin
        number = {"tau": tau} if self._loss == "crossentropy" else {"min_margin": margin}
        for learner in self.learners:
            learner.trainer.set_loss(**number)

    def learn(self, x: ArrayLike, y: ArrayLike, steps: int = 1, rate: float = 0.02) -> None:
        """Take some steps with both, see `Learner.learn`."""
        for learner in self.learners:
            learner.learn(x, y, steps, rate)

    def view(self, x: Array, y: Array, unseen: tuple[Array, Array] | None = None) -> SideBySide:
        """What is seen of both now, see `Learner.view`."""
        return SideBySide(*(learner.view(x, y, unseen) for learner in self.learners))

    def scores(self, places: Array) -> Array:
        """Logits of places of shape (n, 2), of shape (2, n): of the ordinary network, and of the constrained one."""
        return np.stack([learner.scores(places) for learner in self.learners])

    def reading(self, place: Array) -> tuple[PlaceReading, PlaceReading]:
        """What both say of a place, see `Learner.reading`."""
        ordinary, constrained = (learner.reading(place) for learner in self.learners)
        return ordinary, constrained


def _loss(name) -> keras.losses.Loss:
    if name not in LOSSES:
        raise ValueError(f"`loss` must be one of {', '.join(map(repr, LOSSES))}. Received: {name!r}")
    return TauBinaryCrossentropy(10.0) if name == "crossentropy" else HKR(HKR_ALPHA, 0.5, multi_gpu=True)
