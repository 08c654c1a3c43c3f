"""The numbers θ of `ellipsoids`, chosen so that the last ellipsoid is small. Nothing here is a proof.

The bound is convex in θ. At the best θ both parts of its derivative agree for every group of entries, and each round
moves θ towards that. θ is written as ratios to the diagonal of H Q Hᵀ, which change little from one ball to the next.
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg

from lipviz.certification.ellipsoids import Bend, Linear, largest_quotient, products, theta_of
from lipviz.types import Array

_STEP = 0.5  # power of the quotient of both derivatives, for √θ; with 1, a single neuron would swing
_KEPT = 1.1  # factor by which θ may be corrected after a move
_SHARPNESS = 6.0  # power by which the largest eigenvalues count most
_MOST = 10.0  # factor by which θ changes at most in a round


def settled(
    start: Array,
    steps: Sequence[Linear | Bend],
    ratios: Sequence[Array | None],
    goal: Callable[[Array], tuple[float, Array]],
    rounds: int,
    first: tuple[Array, Sequence[Array | None]] | None = None,
) -> list[Array | None]:
    """Better ratios for the steps of a chain.

    Args:
        start: The matrix Q before the first step.
        steps: A `Linear` for each linear step, a `Bend` for each other one.
        ratios: The ratios so far: an array for each `Bend`, None for each `Linear`.
        goal: Function of the last Q that returns (a number that shall be small, its derivative with respect to Q up to
            a factor, a positive semi-definite matrix).
        rounds: How often they are improved.
        first: The tuple (the last Q, the y of `ellipsoids.bent` for each step) with these ratios, if they are known.

    Returns:
        A list like `ratios`, with the smallest goal that was found.
    """
    if first is None or any(isinstance(step, Bend) and _is_opaque(step) for step in steps):
        last = _Pass(start, steps, ratios)
    else:
        last = _Pass.known(*first, steps, ratios)
    best, found = np.inf, list(last.ratios)
    for number in range(rounds + 1):
        if not np.isfinite(last.q).all():
            break
        value, weights = goal(last.q)
        if value < best:
            best, found = value, list(last.ratios)
        if number < rounds:
            last = _moved(start, steps, last, weights)
    return found


def largest_eigenvalue(q: Array) -> tuple[float, Array]:
    """A goal: the largest eigenvalue, with the derivative of a mean that counts the largest ones most."""
    values, vectors = np.linalg.eigh(q)
    shares = np.maximum(values / max(values[-1], 1e-300), 0.0) ** _SHARPNESS
    return float(values[-1]), (vectors * shares) @ vectors.T


def _moved(start, steps, last, weights):
    """The pass with ratios that are better to first order; a shorter move where Θ − H Q Hᵀ would not be positive."""
    quotients, move = last.quotients(weights), _STEP
    while True:
        ratios = [
            None if old is None else old * np.clip(quotient ** (move / 2), 1 / _MOST, _MOST)
            for old, quotient in zip(last.ratios, quotients, strict=True)
        ]
        found = _Pass(start, steps, ratios)
        if found.kept or move < 0.1:
            return found
        move /= 2


class _Pass:
    """Q through all steps, and what derivatives need.

    Attributes:
        q: The last Q.
        ratios: The ratios that were used.
        kept: Whether they are nearly those that were given, apart from NaN.
    """

    def __init__(self, start, steps, ratios):
        self.q, self.kept = start, True
        self.ratios: list[Array | None] = []
        self._steps = steps
        self._solved: list[Array | None] = []
        for step, ratio in zip(steps, ratios, strict=True):
            if isinstance(step, Bend):
                self._bend(step, ratio)
            else:
                self.q = step.scaled @ (step.scaled @ self.q).T
                self.ratios.append(None)
                self._solved.append(None)

    @classmethod
    def known(cls, q, solved, steps, ratios):
        """A pass whose results are known."""
        result = cls(q, (), ())
        result._steps, result._solved, result.ratios = steps, solved, ratios
        return result

    def _bend(self, bend, ratio):
        rows, inner = products(self.q, bend)
        if _is_opaque(bend):
            theta, used = theta_of(inner, bend, np.ones(1))
            factor = largest_quotient(inner, theta[bend.groups])
            self.ratios.append(factor * used)
            self._solved.append(inner)
            self.q = bend.free.spread((factor * theta)[bend.owners])
            return
        theta, used = theta_of(inner, bend, ratio)
        y = _solution(theta[bend.groups], inner, rows)
        if y is None:
            factor = max(largest_quotient(inner, theta[bend.groups]), 1.0)
            self.kept = self.kept and factor < _KEPT
            theta, used = factor * theta, factor * used
            y = _solution(theta[bend.groups], inner, rows)
        y = np.full(rows.shape, np.nan) if y is None else y
        self.ratios.append(used)
        self._solved.append(y)
        self.q = bend.fixed.congruent(self.q + rows.T @ y) + bend.free.spread(theta[bend.owners])

    def quotients(self, weights):
        """For each `Bend`, the derivative by which θ should grow over that by which it should shrink."""
        found = []
        for step, solved in zip(self._steps[::-1], self._solved[::-1], strict=True):
            if isinstance(step, Bend):
                quotient, weights = _backward(step, solved, weights)
                found.append(quotient)
            else:
                weights = step.scaled.T @ weights @ step.scaled
                found.append(None)
        return found[::-1]


def _is_opaque(bend):
    """Whether only a bound of the step is known. Then the best θ is the largest eigenvalue of H Q Hᵀ."""
    return bend.count == 1 and not len(bend.fixed.values)


def _solution(theta, inner, rows):
    """(Θ − H Q Hᵀ)⁻¹ H Q; None where it is not positive."""
    if not len(theta):
        return rows
    lower, failed = scipy.linalg.lapack.dpotrf(np.diag(theta) - inner, lower=1, overwrite_a=1)
    return None if failed else scipy.linalg.lapack.dpotrs(lower, rows, lower=1)[0]


def _backward(bend, y, weights):
    """Quotients of the groups of a `Bend`, and the weights of the Q before it."""
    if _is_opaque(bend):
        _, derivative = largest_eigenvalue(y)
        total = float(bend.free.gathered(weights).sum())
        return np.ones(1), bend.reach.T.congruent(total / max(np.trace(derivative), 1e-300) * derivative)
    before = bend.fixed.T.congruent(weights)
    if not bend.count:
        return np.ones(0), before
    pulled = y @ before
    shrink = np.bincount(bend.owners, bend.free.gathered(weights), bend.count)
    grow = np.bincount(bend.groups, np.einsum("ij,ij->i", pulled, y), bend.count)
    along = bend.reach.T @ pulled
    weights = before + along + along.T + bend.reach.T.congruent(pulled @ y.T)
    tiny = 1e-12 * max(grow.max(), shrink.max()) + 1e-300
    return (grow + tiny) / (shrink + tiny), weights
