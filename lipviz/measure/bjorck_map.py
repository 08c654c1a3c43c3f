"""Björck's iteration on singular values alone: every one goes its own way, s → (1+β)s − βs³, exactly.

W_t = U diag(s_t) Vᵀ with the same U and V for every t, so that no matrix is needed to know how a spectrum moves. The
fixed points are −1, 0 and 1, and ``|s|`` = √((2+β)/β) only changes its sign:

* Up to β = 0.5 the map takes [0, 1] into itself: what starts below 1 arrives from below.
* From 0.5 to 1 iterates overshoot 1 and swing around it, and still arrive, since the slope at 1 is 1 − 2β.
* From 1 on, 1 repels: no iterate settles. From 2 on nearly all leave every bound.
* From s = √((1+β)/β) on, the next iterate is negative: it may arrive at −1, which is orthogonal, but is not the
  orthogonal matrix that lies nearest. Beyond √((2+β)/β) iterates grow without end.

Reference: Björck and Bowie (1971), An iterative algorithm for computing the best estimate of an orthogonal matrix.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from lipviz import normalizers as nm
from lipviz.certification.results import check_epsilons
from lipviz.operators.weights import SPECTRA, random_kernel
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike

_Values = TypeVar("_Values", float, Array)

_LOST = 1e50  # beyond, the next cube may overflow
_CONFIRMED = 16  # further iterations that what has arrived must stay there for: where 1 repels, some pass by chance


@dataclasses.dataclass(frozen=True, eq=False)
class BjorckPaths:
    """How far spectra are from orthogonality after 0, 1, … iterations, for B step sizes and S starting spectra.

    Attributes:
        betas: Step sizes β, of shape (B,).
        names: Names of the starting spectra, S of them.
        starts: The starting spectra, a tuple of S arrays.
        errors: ‖I − WᵀW‖₂ = max ``|1 − s²|``, of shape (B, S, iterations + 1); infinite once an iterate is lost.
        frobenius_errors: ‖I − WᵀW‖_F of the smaller Gram matrix, of the same shape.
        increments: ‖W_t − W_{t−1}‖_F, which eps_bjorck of a layer is compared with, of shape (B, S, iterations).
        eps: Tolerances, of shape (E,).
        stops: Iteration after which a layer with this eps_bjorck stops, of shape (B, S, E); `iterations` where
            it would go on.
    """

    betas: np.ndarray
    names: tuple[str, ...]
    starts: tuple[np.ndarray, ...] = dataclasses.field(repr=False)
    errors: np.ndarray = dataclasses.field(repr=False)
    frobenius_errors: np.ndarray = dataclasses.field(repr=False)
    increments: np.ndarray = dataclasses.field(repr=False)
    eps: np.ndarray
    stops: np.ndarray = dataclasses.field(repr=False)

    @property
    def iterations(self) -> int:
        """Number of iterations."""
        return self.increments.shape[-1]

    def iterations_to(self, tol: float) -> Array:
        """Iterations until ‖I − WᵀW‖₂ ≤ tol for good.

        Args:
            tol: Positive number.

        Returns:
            Integers of shape (B, S); −1 where the paths end before.

        Raises:
            ValueError: If `tol` is out of range.
        """
        outside = ~(self.errors <= nm.check_positive("tol", tol))
        last = outside.shape[-1] - 1 - outside[..., ::-1].argmax(axis=-1)
        needed = np.where(outside.any(axis=-1), last + 1, 0)
        return np.where(needed > self.iterations, -1, needed)


@dataclasses.dataclass(frozen=True, eq=False)
class BjorckMap:
    """Iterations that a singular value σ needs until ``|1 − σ²|`` ≤ tol for good, for B step sizes and S values.

    For good means for 16 more iterations at least.

    A matrix needs as many as that of its singular values which needs the most: its smallest, σmin, where β ≤ 0.5 and
    σ1 ≤ 1, as in the layers.

    Attributes:
        betas: Step sizes β, increasing, of shape (B,).
        sigmas: Singular values that are started from, increasing, of shape (S,).
        iterations: Integers of shape (B, S); −1 where it is not reached within `maxiter`.
        diverges: Where iterates grow without end, of shape (B, S).
        flipped: Where −1 is reached, not 1: the result is orthogonal, but has turned a direction over. (B, S).
        tol: The tolerance.
        maxiter: Largest number of iterations.
    """

    betas: np.ndarray = dataclasses.field(repr=False)
    sigmas: np.ndarray = dataclasses.field(repr=False)
    iterations: np.ndarray = dataclasses.field(repr=False)
    diverges: np.ndarray = dataclasses.field(repr=False)
    flipped: np.ndarray = dataclasses.field(repr=False)
    tol: float
    maxiter: int

    @property
    def reached(self) -> Array:
        """Where the tolerance is reached, of shape (B, S)."""
        return self.iterations >= 0

    @property
    def limits(self) -> Array:
        """√((2+β)/β), beyond which every start diverges, of shape (B,)."""
        return divergence_limit(self.betas)


def divergence_limit(beta: _Values) -> _Values:
    """Where Björck's iteration stops being one: from a singular value beyond √((2+β)/β) it grows without end.

    Args:
        beta: Step size β, a number or an array.

    Returns:
        The same.
    """
    return np.sqrt((2 + beta) / beta)


def bjorck_paths(
    starts: Mapping[str, ArrayLike] | Sequence[str] | ArrayLike | None = None,
    betas: ArrayLike = (0.5,),
    iterations: int = 15,
    eps: ArrayLike = (nm.DEFAULT_EPS_BJORCK,),
    smallest: float = 0.1,
    count: int = 32,
) -> BjorckPaths:
    """Follow spectra through Björck's iteration, in float64 NumPy: milliseconds.

    Args:
        starts: Starting spectra: a dict from name to singular values of shape (n,), one such array, or a list of kinds
            of spectrum of `random_kernel`; all of these by default.
        betas: Step sizes β, positive: a number or an array of shape (B,). Layers allow ]0, 0.5].
        iterations: Number of iterations.
        eps: Tolerances eps_bjorck, positive: a number or an array of shape (E,). An empty one asks for none.
        smallest: Smallest singular value of the kinds of `random_kernel`.
        count: Number of singular values of these.

    Returns:
        A `BjorckPaths`.

    Raises:
        TypeError: If an argument does not hold real numbers.
        ValueError: If an argument is out of range, or a spectrum holds NaN or Inf, or nothing.
    """
    spectra = _checked_starts(starts, smallest, count)
    sizes = _positive(betas, "betas")
    tolerances = np.zeros(0) if np.size(eps) == 0 else _positive(eps, "eps")
    iterations = nm.check_count("iterations", iterations)
    followed = [_followed(values, sizes, iterations) for values in spectra.values()]
    errors, frobenius, increments = (np.stack(parts, axis=1) for parts in zip(*followed, strict=True))
    small = increments[..., None, :] < tolerances[:, None]
    stops = np.where(small.any(axis=-1), small.argmax(axis=-1) + 1, iterations) if iterations else 0 * small.sum(-1)
    stops, names, starts = stops.astype(np.int64), tuple(spectra), tuple(spectra.values())
    return BjorckPaths(sizes, names, starts, errors, frobenius, increments, tolerances, stops)


def bjorck_iterations_map(
    betas: ArrayLike | None = None, sigmas: ArrayLike | None = None, tol: float = 1e-3, maxiter: int = 50
) -> BjorckMap:
    """Count the iterations that Björck needs, over a grid of step sizes and singular values: milliseconds.

    Args:
        betas: Step sizes β, positive and increasing, of shape (B,); 70 from 0.05 to 1.2 by default.
        sigmas: Singular values to start from, at least 0 and increasing, of shape (S,); 72 from 0.001 to 3 by default,
            evenly on a logarithmic scale.
        tol: Tolerance of ``|1 − σ²|``, which is ‖I − WᵀW‖₂.
        maxiter: Largest number of iterations.

    Returns:
        A `BjorckMap`.

    Raises:
        TypeError: If an argument does not hold real numbers.
        ValueError: If an argument is out of range.
    """
    sizes = _increasing(_positive(np.linspace(0.05, 1.2, 70) if betas is None else betas, "betas"), "betas")
    starts = np.geomspace(1e-3, 3, 72) if sigmas is None else check_epsilons(sigmas, "sigmas")
    starts = _increasing(starts, "sigmas")
    tol, maxiter = nm.check_positive("tol", tol), nm.check_count("maxiter", maxiter)

    values, step = np.broadcast_to(starts, (len(sizes), len(starts))), sizes[:, None]
    # A hair beyond the limit, on which values swing until rounding throws them off it.
    limit = divergence_limit(step) * (1 + 1e-12)
    needed, diverges = np.zeros(values.shape, np.int64), values > limit
    for iteration in range(maxiter + 1 + _CONFIRMED):
        needed[~(np.abs(1 - values**2) <= tol)] = iteration + 1
        values = _next(values, step)
        diverges |= np.abs(values) > limit
    reached = needed <= maxiter
    return BjorckMap(sizes, starts, np.where(reached, needed, -1), diverges, reached & (values < 0), tol, maxiter)


def _next(values, beta):
    """One iteration; what is lost becomes infinite."""
    lost = np.abs(values) > _LOST
    kept = np.where(lost, 0.0, values)
    return np.where(lost, np.inf, kept + beta * (kept - kept**3))


def _followed(start, betas, iterations):
    """Errors in both norms of shape (B, iterations + 1), and lengths of the steps, (B, iterations)."""
    path = [np.repeat(start[None], len(betas), axis=0)]
    for _ in range(iterations):
        path.append(_next(path[-1], betas[:, None]))
    values = np.stack(path, axis=1)
    is_lost = np.abs(values) > _LOST
    kept = np.where(is_lost, 0.0, values)
    gaps = np.where(is_lost, np.inf, np.abs(1 - kept**2))
    moves = np.where(is_lost[:, :-1], np.inf, betas[:, None, None] * (kept - kept**3)[:, :-1])
    with np.errstate(over="ignore"):  # a sum of squares of what is nearly lost
        return gaps.max(axis=-1), np.linalg.norm(gaps, axis=-1), np.linalg.norm(moves, axis=-1)


# --- checks ---


def _positive(values, owner):
    values = check_epsilons(values, owner)
    if not values.all():
        raise ValueError(f"`{owner}` must be above 0. Received: {values}")
    return values


def _increasing(values, owner):
    if not np.all(np.diff(values) > 0):
        raise ValueError(f"`{owner}` must increase. Received: {values}")
    return values


def _checked_starts(starts, smallest, count):
    if starts is None or (isinstance(starts, list | tuple) and all(isinstance(kind, str) for kind in starts)):
        kinds = SPECTRA if starts is None else starts
        starts = {kind: _drawn(kind, smallest, count) for kind in kinds}
    elif not isinstance(starts, Mapping):
        starts = {"spectrum": starts}
    if not starts:
        raise ValueError("Expected at least one starting spectrum. Received: none")
    checked = {}
    for name, values in starts.items():
        values = np.atleast_1d(as_float64(values, f"The starting spectrum '{name}'"))
        if values.ndim != 1 or values.size == 0 or (values < 0).any():
            raise ValueError(
                f"The starting spectrum '{name}' must hold singular values, of shape (n,) and at least 0. "
                f"Received: shape {values.shape}, smallest {values.min(initial=0):.3g}"
            )
        checked[str(name)] = values
    return checked


def _drawn(kind, smallest, count):
    """The spectrum of a `random_kernel`, with its checks."""
    return np.linalg.svd(random_kernel(count, count, smallest, kind), compute_uv=False)
