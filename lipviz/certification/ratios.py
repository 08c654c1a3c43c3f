"""Ratios ‖f(x) − f(y)‖ / ‖x − y‖ of a network over pairs of inputs, and a search for the largest one.

Every ratio is a lower bound of the network's Lipschitz constant in the l2 norm: a ratio above k disproves k, but none
proves it. All are computed on a `float64_copy`, so that the rounding of logits is not taken for a violation.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from lipviz import normalizers as nm
from lipviz.operators.autodiff import Gradients
from lipviz.operators.precision import check_varies, float64_copy, float64_scope, outputs
from lipviz.operators.samples import unit_vectors
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike


@dataclasses.dataclass(frozen=True, eq=False)
class SecantRatios:
    """Ratios ‖f(x_i) − f(x_j)‖ / ‖x_i − x_j‖ over pairs of samples.

    Attributes:
        ratios: Of shape (pairs,), float64.
        pairs: Indices (i, j) into the samples, of shape (pairs, 2).
    """

    ratios: Array = dataclasses.field(repr=False)
    pairs: Array = dataclasses.field(repr=False)

    @property
    def largest(self) -> float:
        """Largest of the ratios."""
        return float(self.ratios.max())

    @property
    def largest_pair(self) -> tuple[int, int]:
        """Indices (i, j) of the pair with the largest ratio."""
        i, j = self.pairs[self.ratios.argmax()]
        return int(i), int(j)


@dataclasses.dataclass(frozen=True, eq=False)
class RatioAscent:
    """What the search for the largest ratio found.

    Attributes:
        path: Largest ratio seen up to each step, the start included, of shape (steps + 1,), float64.
        ratios: Largest ratio that each start arrived at, of shape (starts,).
        x: One end of the best pair, with the shape of a sample.
        y: The other end.
    """

    path: Array = dataclasses.field(repr=False)
    ratios: Array = dataclasses.field(repr=False)
    x: Array = dataclasses.field(repr=False)
    y: Array = dataclasses.field(repr=False)

    @property
    def largest(self) -> float:
        """Largest ratio found."""
        return float(self.ratios.max())


def secant_ratios(model: keras.Model, x: ArrayLike, pairs: int = 10_000, seed: int | None = 0) -> SecantRatios:
    """Ratios over random pairs of samples.

    Args:
        model: Built Keras model with one input and one output, see `float64_copy`.
        x: Samples of shape (n, ...), at least two that differ.
        pairs: Number of pairs, drawn with replacement; pairs of equal samples are drawn again.
        seed: Seed of the draw.

    Returns:
        A `SecantRatios`. The ratios are exact to about 1e-15·‖f‖ over the distance of a pair.

    Raises:
        TypeError: If `model` is no Keras model, or `x` does not hold real numbers.
        ValueError: If the model is not built, or `x` holds NaN or Inf or has no two samples that differ.
    """
    x = _samples(x)
    if nm.check_count("pairs", pairs) < 1:
        raise ValueError(f"`pairs` must be at least 1. Received: {pairs!r}")
    chosen = _different_pairs(x, pairs, np.random.default_rng(nm.check_seed("seed", seed)))
    y = outputs(float64_copy(model), x)
    return SecantRatios(_distances(y, chosen) / _distances(x, chosen), chosen)


def gradient_ascent_ratio(
    model: keras.Model,
    x: ArrayLike,
    steps: int = 50,
    starts: int = 32,
    radius: float | None = None,
    seed: int | None = 0,
) -> RatioAscent:
    """Search by gradient ascent for the pair of inputs that a network stretches most.

    A pair is (x, x + r·d) with a unit vector d and a fixed distance r. Each step replaces d by the direction of the
    gradient of ‖f(x + r·d) − f(x)‖ with respect to d, which is a power iteration on the Jacobian, and moves x along
    the gradient with respect to x. Starts are samples with random directions; the best pair of all is kept.

    Args:
        model: Built Keras model with one input and one output, see `float64_copy`.
        x: Samples of shape (n, ...) to start from, in the units of the model's input.
        steps: Number of steps.
        starts: Number of starts, drawn from `x` with replacement.
        radius: Distance r of a pair, in the units of `x`; 1 % of the median distance between samples by default.
            A small radius measures the Jacobian at a point, a large one the difference of distant points.
        seed: Seed of the starts.

    Returns:
        A `RatioAscent`. Ratios are exact to about 1e-15·‖f‖/r.

    Raises:
        TypeError: If `model` is no Keras model, or `x` does not hold real numbers.
        ValueError: If the model is not built, or its input is of whole numbers; if an argument is out of range, or `x`
            holds NaN or Inf or has no two samples that differ.
    """
    x = _samples(x)
    rng = np.random.default_rng(nm.check_seed("seed", seed))
    steps, starts = nm.check_count("steps", steps), nm.check_count("starts", starts)
    if starts < 1:
        raise ValueError(f"`starts` must be at least 1. Received: {starts!r}")
    spread = float(np.median(_distances(x, _different_pairs(x, 1000, rng))))
    radius = 0.01 * spread if radius is None else nm.check_positive("radius", radius)
    network = float64_copy(model)
    check_varies(model)

    points = x[rng.integers(len(x), size=starts)]
    directions = unit_vectors(rng.standard_normal(points.shape))
    ratios = _ratios(network, points, directions, radius)
    best = [points, directions, ratios]
    path = [ratios.max()]
    with float64_scope():
        gradients = _RatioGradients(network, points, radius)
        for step in range(steps):
            uphill_points, uphill_directions = gradients.at(points, directions)
            directions = unit_vectors(uphill_directions, directions)
            # Long moves first to reach other regions, short ones last to settle.
            points = points + 0.1 * spread * (1 - step / steps) * unit_vectors(uphill_points)
            ratios = _ratios(network, points, directions, radius)
            better = ratios > best[2]
            for kept, new in zip(best, (points, directions, ratios), strict=True):
                kept[better] = new[better]
            path.append(best[2].max())
    points, directions, ratios = best
    winner = ratios.argmax()
    return RatioAscent(
        path=np.array(path),
        ratios=ratios,
        x=points[winner],
        y=points[winner] + radius * directions[winner],
    )


# --- pairs ---


def _samples(x) -> Array:
    x = as_float64(x, "The samples")
    if x.ndim < 2 or len(x) < 2:
        raise ValueError(f"Expected at least two samples, of shape (n, ...). Received shape: {x.shape}")
    return x


def _different_pairs(x, count, rng):
    """Random pairs of samples that differ, of shape (count, 2)."""
    if not np.any(x != x[:1]):
        raise ValueError("Expected samples of which at least two differ. Received: equal ones only.")
    pairs = np.empty((0, 2), int)
    while len(pairs) < count:
        new = rng.integers(len(x), size=(count, 2))
        pairs = np.concatenate([pairs, new[_distances(x, new) > 0]])
    return pairs[:count]


def _distances(values, pairs):
    """Distances between the rows of all pairs, a few at a time."""
    values = values.reshape(len(values), -1)
    parts = np.array_split(pairs, max(1, pairs.shape[0] * values.shape[1] // 2**22))
    return np.concatenate([np.linalg.norm(values[part[:, 0]] - values[part[:, 1]], axis=1) for part in parts])


def _ratios(network, points, directions, radius):
    ends = points + radius * directions
    # The distance as it was rounded, which is what the network sees.
    distance = np.linalg.norm((ends - points).reshape(len(points), -1), axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        ratios = np.linalg.norm(outputs(network, ends) - outputs(network, points), axis=1) / distance
    return np.where(np.isfinite(ratios), ratios, 0.0)  # outputs that are not finite show nothing


class _RatioGradients(Gradients):
    """Gradients of Σ ‖f(x + r·d) − f(x)‖² / 2r² with respect to the points x and the directions d."""

    def __init__(self, network, points, radius):
        super().__init__(network, [points.shape] * 2, [points.shape] * 2, often=True)
        self._radius = radius

    def value(self, given, offsets):
        points, directions = (values + offset for values, offset in zip(given, offsets, strict=True))
        ends = points + self._radius * directions
        change = self.network(ends, training=False) - self.network(points, training=False)
        return ops.sum(ops.square(change)) / (2 * self._radius**2)
