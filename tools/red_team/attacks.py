"""Looks for pairs of inputs that a function stretches much: along Jacobians, at random, and where it may jump."""

import math

import numpy as np

NORMS = (1, 2, math.inf)
MOST = 48  # entries that a Jacobian moves


def steepest(jacobian):
    """Directions that a matrix (outputs, inputs) stretches most in l1, l2 and l∞."""
    column = np.eye(jacobian.shape[1])[np.abs(jacobian).sum(axis=0).argmax()]
    signs = np.sign(jacobian[np.abs(jacobian).sum(axis=1).argmax()])
    return np.stack([column, np.linalg.svd(jacobian)[2][0], np.where(signs == 0, 1.0, signs)])


def jacobian(function, point, step, rng):
    """Central differences of a function of rows at a point, (outputs, entries), and the entries that were moved."""
    size = len(point)
    moved = np.arange(size) if size <= MOST else np.sort(rng.choice(size, MOST, replace=False))
    units = np.eye(size)[moved] * step
    values = function(np.concatenate([point + units, point - units]))
    return ((values[: len(moved)] - values[len(moved) :]) / (2 * step)).T, moved


def starting_points(size, rng, count=24):
    """Points near and far, of whole numbers (ties), with zeros (masks), and constant ones."""
    points = 10.0 ** rng.uniform(-3, 2, (count, 1)) * rng.standard_normal((count, size))
    points[::4] = np.round(points[::4])
    points[1::4] *= rng.random((len(points[1::4]), size)) < 0.5
    points[2] = points[2, 0]
    points[0] = 0.0
    return points


def first_pairs(size, rng):
    """Pairs of inputs, the same number of each: apart, close, differing in a run of entries that is 0 on one side."""
    points = starting_points(size, rng)
    other = points[rng.permutation(len(points))]
    close = points + 10.0 ** rng.uniform(-7, -1, (len(points), 1)) * rng.standard_normal(points.shape)
    cut = points.copy()
    for row in cut:
        start = rng.integers(size)
        row[start : start + rng.integers(1, size + 1)] = 0.0
    touched = cut + 1e-6 * rng.standard_normal(points.shape)
    tied = np.round(points * 2) / 2
    around = tied + 1e-5 * rng.choice([-1.0, 0.0, 1.0], points.shape)
    left = np.concatenate([points, points, points, cut, tied])
    right = np.concatenate([other, close, cut, touched, around])
    return left, right


class Ratios:
    """The largest ratio ‖f(x) − f(y)‖ / ‖x − y‖ found, by norm.

    Args:
        function: Function of rows (n, inputs) to rows (n, outputs).
        snap: Function that makes rows what the model takes: whole numbers stay in their range.
        unit: What an output is rounded by, relative to its size.
    """

    def __init__(self, function, snap, unit):
        self.function, self.snap, self.unit = function, snap, unit
        self.best = dict.fromkeys(NORMS, (0.0, None, None))

    def add(self, left, right, least=0.0):
        """Take pairs into account, and return their ratios in l2, net of rounding."""
        left, right = self.snap(left), self.snap(right)
        with np.errstate(all="ignore"):
            values = self.function(np.concatenate([left, right]))
            there, here = values[len(left) :], values[: len(left)]
            for norm in NORMS:
                distance = np.linalg.norm(left - right, norm, axis=1)
                sizes = np.linalg.norm(here, norm, axis=1) + np.linalg.norm(there, norm, axis=1)
                stretch = np.linalg.norm(here - there, norm, axis=1) - self.unit * sizes
                ratios = np.where(
                    (distance > least) & np.isfinite(stretch), stretch / np.where(distance, distance, 1), 0
                )
                if ratios.max() > self.best[norm][0]:
                    self.best[norm] = (ratios.max(), left[ratios.argmax()], right[ratios.argmax()])
                if norm == 2:
                    found = ratios
        return found


def search(function, size, snap, rng, coarse=False, rounds=2):
    """Search for the pairs that a function stretches most.

    Args:
        function: See `Ratios`.
        size: Number of inputs.
        snap: See `Ratios`.
        rng: Generator.
        coarse: Whether it computes in float32.
        rounds: Number of Jacobians.

    Returns:
        A dict from norm to (ratio, x, y).
    """
    ratios = Ratios(function, snap, 1e-5 if coarse else 1e-13)
    left, right = first_pairs(size, rng)
    found = ratios.add(left, right, 1e-3 if coarse else 0.0)
    order = np.argsort(found)[::-1]
    for row in order[:rounds]:
        step = 1e-2 if coarse else 10.0 ** rng.uniform(-5, -1)
        point = snap(left[row : row + 1])[0]
        step = max(step, 1.0) if np.array_equal(snap(point[None] + 0.4), point[None]) else step
        slopes, moved = jacobian(function, point, step, rng)
        if not np.isfinite(slopes).all() or slopes.size == 0:
            continue
        directions = np.zeros((3, size))
        directions[:, moved] = steepest(slopes)
        ends = np.concatenate([directions * length for length in (step, 1e-2, 1.0)])
        ratios.add(point + ends, point - ends)
    return ratios.best
