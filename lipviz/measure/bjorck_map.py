"""Björck's iteration on singular values alone: each follows s → (1+β)s − βs³ exactly, independently of the others.

W_t = U diag(s_t) Vᵀ with the same U and V for every t, so the singular values can be followed without a matrix. The
fixed points are −1, 0 and 1. A value of magnitude √((2+β)/β) only changes its sign.

* Up to β = 0.5 the map takes [0, 1] into itself: values between 0 and 1 converge to 1 from below.
* For β from 0.5 to 1 iterates overshoot 1 and oscillate around it. They still converge, since the slope at 1 is 1 − 2β.
* From β = 1 on, the fixed point 1 is repelling: iterates do not converge. From β = 2 on nearly all grow without bound.
* From s = √((1+β)/β) on, the next iterate is negative and may converge to −1. The result is then an orthogonal matrix,
  but not the nearest one. Values above √((2+β)/β) grow without bound.

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

_LOST = 1e50  # above it, the next cube may overflow
_CONFIRMED = 16  # more iterations within the tolerance; where 1 is repelling, some values come near by chance


@dataclasses.dataclass(frozen=True, eq=False)
class BjorckPaths:
    """How far spectra are from orthogonality after 0, 1, … iterations, for B step sizes and S starting spectra.

    Attributes:
        betas: Step sizes β, of shape (B,).
        names: Names of the starting spectra, S of them.
        starts: The starting spectra, a tuple of S arrays.
        errors: ‖I − WᵀW‖₂ = max ``|1 − s²|``, of shape (B, S, iterations + 1); infinite once an iterate exceeds 1e50.
        frobenius_errors: ‖I − WᵀW‖_F of the smaller Gram matrix, of the same shape.
        increments: ‖W_t − W_{t−1}‖_F, which eps_bjorck of a layer is compared with, of shape (B, S, iterations).
        eps: Tolerances, of shape (E,).
        stops: Iteration after which a layer with this eps_bjorck stops, of shape (B, S, E); `iterations` where
            it would go on.
        values: The singular values after 0, 1, … iterations, a tuple of S arrays of shape (B, iterations + 1, n);
            infinite from the iterate on that exceeds 1e50. A value may become negative, see the module.
    """

    betas: np.ndarray
    names: tuple[str, ...]
    starts: tuple[np.ndarray, ...] = dataclasses.field(repr=False)
    errors: np.ndarray = dataclasses.field(repr=False)
    frobenius_errors: np.ndarray = dataclasses.field(repr=False)
    increments: np.ndarray = dataclasses.field(repr=False)
    eps: np.ndarray
    stops: np.ndarray = dataclasses.field(repr=False)
    values: tuple[np.ndarray, ...] = dataclasses.field(repr=False)

    @property
    def iterations(self) -> int:
        """Number of iterations."""
        return self.increments.shape[-1]

    def iterations_to(self, tol: float) -> Array:
        """Number of iterations after which ‖I − WᵀW‖₂ stays at most tol.

        Args:
            tol: Positive number.

        Returns:
            Integers of shape (B, S); −1 where the error is above tol at the end of a path.

        Raises:
            ValueError: If `tol` is out of range.
        """
        outside = ~(self.errors <= nm.check_positive("tol", tol))
        last = outside.shape[-1] - 1 - outside[..., ::-1].argmax(axis=-1)
        needed = np.where(outside.any(axis=-1), last + 1, 0)
        return np.where(needed > self.iterations, -1, needed)


@dataclasses.dataclass(frozen=True, eq=False)
class BjorckMap:
    """Number of iterations after which ``|1 − σ²|`` stays at most tol, for B step sizes and S singular values σ.

    It must stay there for at least 16 more iterations.

    A matrix needs as many iterations as the slowest of its singular values. That is the smallest one, σmin, where
    β ≤ 0.5 and σ1 ≤ 1, as in the layers.

    Attributes:
        betas: Step sizes β, increasing, of shape (B,).
        sigmas: Starting singular values, increasing, of shape (S,).
        iterations: Integers of shape (B, S); −1 where the tolerance is not reached within `maxiter`.
        diverges: Where iterates grow without bound, of shape (B, S).
        flipped: Where −1 is reached, not 1, of shape (B, S): the result is orthogonal, but reverses this direction.
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


@dataclasses.dataclass(frozen=True, eq=False)
class BjorckMoment:
    """The singular values of a kernel at one moment of what a layer does with it.

    Attributes:
        beta: Step size β.
        iterations: Number of Björck iterations in all.
        step: The moment, from 0 to 1 + `iterations`: up to 1 the kernel is applied, then Björck's iteration runs.
        path: Singular values after 0, 1, … whole iterations up to this moment, of shape (whole iterations + 1, n).
        now: Singular values at this moment, of shape (n,).
    """

    beta: float
    iterations: int
    step: float
    path: np.ndarray = dataclasses.field(repr=False)
    now: np.ndarray = dataclasses.field(repr=False)

    @property
    def iteration(self) -> float:
        """Björck iterations that are done, with the share of the present one."""
        return max(self.step - 1.0, 0.0)

    @property
    def error(self) -> float:
        """‖I − WᵀW‖_F of the smaller Gram matrix."""
        return float(np.linalg.norm(1 - self.now**2))


def divergence_limit(beta: _Values) -> _Values:
    """The limit √((2+β)/β): Björck's iteration diverges from singular values above it.

    Args:
        beta: Step size β, a number or an array.

    Returns:
        The limit, of the same shape.
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
    """Follow spectra through Björck's iteration, in float64 NumPy. This takes milliseconds.

    Args:
        starts: Starting spectra: a dict from name to singular values of shape (n,), one such array, or a list of kinds
            of spectrum of `random_kernel`; all of its kinds by default.
        betas: Step sizes β, positive: a number or an array of shape (B,). Layers allow ]0, 0.5].
        iterations: Number of iterations.
        eps: Tolerances eps_bjorck, positive: a number or an array of shape (E,), which may be empty.
        smallest: Smallest singular value of the kinds of `random_kernel`.
        count: Number of singular values of these kinds.

    Returns:
        A `BjorckPaths`.

    Raises:
        TypeError: If an argument does not hold real numbers.
        ValueError: If an argument is out of range, or a spectrum is empty or holds NaN or Inf.
    """
    spectra = _checked_starts(starts, smallest, count)
    sizes = _positive(betas, "betas")
    tolerances = np.zeros(0) if np.size(eps) == 0 else _positive(eps, "eps")
    iterations = nm.check_count("iterations", iterations)
    values = tuple(_followed(start, sizes, iterations) for start in spectra.values())
    measured = [_distances(path, sizes) for path in values]
    errors, frobenius, increments = (np.stack(parts, axis=1) for parts in zip(*measured, strict=True))
    small = increments[..., None, :] < tolerances[:, None]
    stops = np.where(small.any(axis=-1), small.argmax(axis=-1) + 1, iterations) if iterations else 0 * small.sum(-1)
    stops, names, starts = stops.astype(np.int64), tuple(spectra), tuple(spectra.values())
    return BjorckPaths(sizes, names, starts, errors, frobenius, increments, tolerances, stops, values)


def bjorck_moment(spectrum: ArrayLike, step: float, beta: float = 0.5, iterations: int = 15) -> BjorckMoment:
    """The singular values of a kernel at one moment of what a layer does with it, exact in float64.

    Args:
        spectrum: Singular values of the normalized kernel, of shape (n,), at least 0.
        step: At least 0, any real number: at 0 every singular value is 1, at 1 they are those of the kernel, and at
            1 + t those after t iterations. In between, it is a share of the way: of a step of Björck too, since a share
            u of a step with β is a step with uβ. From 1 + `iterations` on nothing changes.
        beta: Step size β, positive. Layers allow ]0, 0.5].
        iterations: Number of iterations.

    Returns:
        A `BjorckMoment`.

    Raises:
        TypeError: If an argument does not hold real numbers.
        ValueError: If an argument is out of range, or the spectrum is empty, not finite or grows without bound.
    """
    paths = bjorck_paths(spectrum, beta, iterations, eps=())
    if len(paths.betas) != 1:
        raise ValueError(f"Expected one step size `beta`. Received: {len(paths.betas)}")
    (step,) = check_epsilons([step], "step").tolist()
    step = min(step, 1.0 + paths.iterations)
    ((path,),) = paths.values
    if not np.isfinite(path).all():
        raise ValueError(
            f"From {paths.starts[0].max():.3g} Björck's iteration grows without bound, with beta={beta!r}."
        )
    done, share = divmod(max(step - 1.0, 0.0), 1.0)
    path = path[: int(done) + 2]
    before = path[int(done)]
    now = before + share * (path[-1] - before) if step >= 1 else 1.0 + step * (before - 1.0)
    return BjorckMoment(float(paths.betas[0]), paths.iterations, step, path[: int(done) + 1], now)


def bjorck_iterations_map(
    betas: ArrayLike | None = None, sigmas: ArrayLike | None = None, tol: float = 1e-3, maxiter: int = 50
) -> BjorckMap:
    """Count the iterations that Björck needs, over a grid of step sizes and singular values, in milliseconds.

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
    # Slightly above the limit: values on it alternate in sign until rounding moves them away.
    limit = divergence_limit(step) * (1 + 1e-12)
    needed, diverges = np.zeros(values.shape, np.int64), values > limit
    for iteration in range(maxiter + 1 + _CONFIRMED):
        needed[~(np.abs(1 - values**2) <= tol)] = iteration + 1
        values = _next(values, step)
        diverges |= np.abs(values) > limit
    reached = needed <= maxiter
    return BjorckMap(sizes, starts, np.where(reached, needed, -1), diverges, reached & (values < 0), tol, maxiter)


def _next(values, beta):
    """One iteration; values above 1e50 become infinite."""
    lost = np.abs(values) > _LOST
    kept = np.where(lost, 0.0, values)
    return np.where(lost, np.inf, kept + beta * (kept - kept**3))


def _followed(start, betas, iterations):
    """The values after 0, 1, … iterations, of shape (B, iterations + 1, n)."""
    path = [np.repeat(start[None], len(betas), axis=0)]
    for _ in range(iterations):
        path.append(_next(path[-1], betas[:, None]))
    return np.stack(path, axis=1)


def _distances(values, betas):
    """Errors in both norms of shape (B, iterations + 1), and lengths of the steps, (B, iterations)."""
    is_lost = np.abs(values) > _LOST
    kept = np.where(is_lost, 0.0, values)
    gaps = np.where(is_lost, np.inf, np.abs(1 - kept**2))
    moves = np.where(is_lost[:, :-1], np.inf, betas[:, None, None] * (kept - kept**3)[:, :-1])
    with np.errstate(over="ignore"):  # a sum of large squares
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
