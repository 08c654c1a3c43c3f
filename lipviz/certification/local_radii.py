"""Certified radii by balls that grow around each sample.

A ball grows in shells. If the difference of two logits is L_k-Lipschitz in the ball of radius r_k, it falls by at most
Σ L_k (r_k − r_{k−1}) within the last of them: a point of a shell is nearer than r_k − r_{k−1} to the ball inside.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

from lipviz.certification import ellipsoids
from lipviz.certification.classifiers import logits_computation
from lipviz.certification.computation import UnknownFormError
from lipviz.certification.local import LocalBounds, Near
from lipviz.certification.tight import Method
from lipviz.normalizers.threads import one_blas_thread
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_UP = 1 + 1e-12  # covers a few roundings of numbers of one sign
_BATCH = 64
_SHELLS = 8
_ROUNDS = 2  # improvements of θ for a shell, which begins with those of the shell before
_SHARE = 0.5  # of the distance that the last constants allow, which the next shell takes
_LAST = 0.7  # the same for the last shell
_FURTHER = 4.0  # times the radius so far, at most, for the next shell
_ENOUGH = 1.001  # times the radius so far: a shell that cannot gain more is not worth its time
_SHARPNESS = 6.0  # power by which the logits count that fall to 0 first
_PATIENCE = 2.0  # seconds before a terminal shows how far it is


class LocalRadii:
    """Certified radii of samples, from bounds near each of them.

    Args:
        bounds: The `LocalBounds` of the logits; None where there are none, and radii are those of all inputs.
        near: Function of the numbers of some samples that returns what is bounded near each of them.
    """

    def __init__(self, bounds: LocalBounds | None, near: Callable[[Array], Iterable[Near]]):
        self._bounds = bounds
        self._near_some = near

    @classmethod
    def of_network(cls, network: keras.Model, x: Array, method: Method = "auto") -> "LocalRadii":
        """Of a network in float64.

        Args:
            network: What `logits_model` returned.
            x: Samples of shape (n, ...), float64.
            method: How the steps that are not bounded near samples are bounded, see `certify`.
        """
        bounds: Any = None
        with contextlib.suppress(UnknownFormError):
            bounds = LocalBounds(*logits_computation(network, x.shape[1:], method), method=method)
        return cls(bounds, lambda rows: bounds.near(x[rows]))

    def grown(self, radii: Array, predicted: Array, gaps: Array, growth: Array, known: Array, wanted: Array) -> Array:
        """Radii of at least those that are given.

        Args:
            radii: Radii that `known` proves, of shape (n,).
            predicted: The class of each sample, of shape (n,).
            gaps: How far each logit is below that of the class at least, of shape (n, C); of one logit, its magnitude.
            growth: What the rounding of the changed sample adds to the constants of these, of shape (n, C).
            known: Constants that hold everywhere, of shape (n, C).
            wanted: Whether a radius is asked for, of shape (n,).

        Returns:
            An array of shape (n,).
        """
        result = radii.copy()
        if self._bounds is None or self._bounds.region is None:
            return result
        rows = np.flatnonzero(wanted & (radii > 0) & np.isfinite(radii))
        with one_blas_thread(), _progress(len(rows)) as tell:
            for number, (row, near) in enumerate(self._near(rows)):
                others = np.arange(gaps.shape[1]) != (predicted[row] if gaps.shape[1] > 1 else -1)
                gap, grow, constants = (array[row][others] for array in (gaps, growth, known))
                rivals = differences(predicted[row], gaps.shape[1])
                result[row] = _radius(near, rivals, gap, grow, constants, radii[row])
                tell(number + 1)
        return result

    def _near(self, rows):
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            yield from zip(batch, self._near_some(batch), strict=True)


@contextlib.contextmanager
def _progress(count: int) -> Iterator[Callable[[int], None]]:
    """A function that shows on a terminal how many samples are done, once that takes time."""
    began, shown = time.perf_counter(), False

    def tell(done):
        nonlocal shown
        seconds = time.perf_counter() - began
        if seconds > _PATIENCE and sys.stderr.isatty() and (done % 8 == 0 or done == count):
            shown = True
            left = seconds / done * (count - done)
            print(f"\r{done} of {count} samples, {left:.0f} s left \x1b[K", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _radius(near, rows, gaps, growth, known, radius):
    """The radius of a ball in which no difference of logits falls to 0, at least the one that is known.

    Args:
        near: The logits near the sample.
        rows: The differences, as rows of shape (differences, logits).
        gaps: What each of them is at least at the sample, positive, of shape (differences,).
        growth: What is added to the constant of each, for the rounding of the changed sample.
        known: Constants of the differences that hold everywhere.
        radius: The radius that these prove.
    """
    proved, inner, limit = radius, 0.0, math.inf
    reach = max(radius / 2, 1e-9 * float(gaps.min()), 1e-12)
    step = ellipsoids.Linear(rows)
    for shell in range(_SHELLS):
        before = near.state
        constants = _of_differences(near, reach, step, rows, gaps, known) + growth
        left = gaps * (1 - 4 * _EPS) - constants * (reach - inner) * _UP
        ahead = float(np.divide(gaps, constants, out=np.full(len(gaps), np.inf), where=constants > 0).min())
        if (left > 0).all():
            ahead -= reach - inner
            inner, gaps, proved = reach, left, max(proved, reach)
        else:
            near.state, limit = before, reach
            proved = max(proved, min(inner + ahead * (1 - 1e-12), reach))
        if inner + ahead <= proved * _ENOUGH:  # larger balls have larger constants
            break
        begin = max(inner, proved) if limit < math.inf else inner
        share = _LAST if shell == _SHELLS - 2 else _SHARE
        reach = min(begin + share * min(limit - begin, ahead), _FURTHER * begin)
        if reach <= inner:
            break
    return proved


def _of_differences(near, radius, step, rows, gaps, known):
    """Constants of the differences of logits in a ball."""

    def goal(q):
        squares = np.maximum(np.einsum("ij,ij->i", rows @ q, rows), 0.0)
        worst = np.sqrt(squares) / gaps
        shares = (worst / max(worst.max(), 1e-300)) ** _SHARPNESS / np.square(gaps / gaps.min())
        return float(worst.max()), (rows.T * shares) @ rows

    best = known
    for ellipsoid in near.ellipsoids(radius, goal, _ROUNDS):
        widths = ellipsoids.mapped(ellipsoid, step).widths
        with np.errstate(all="ignore"):  # what is not finite proves nothing
            best = np.fmin(best, widths * near.factor * _UP)
    return best


def differences(predicted: int, count: int) -> Array:
    """The rows that subtract each other logit from the predicted one; of one logit, the logit itself."""
    if count == 1:
        return np.ones((1, 1))
    rows = -np.eye(count)
    rows[:, predicted] += 1
    return np.delete(rows, predicted, axis=0)
