"""Values of a network with bounds of their rounding errors, sample by sample, and how one rounding changes them.

All bounds are computed in float64 with about nine digits more than those of float32, and are rounded up by 1e-6.

Reference: Higham (2002), Accuracy and stability of numerical algorithms, chapters 3 and 4.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lipviz.certification.arithmetic import numbers_of
from lipviz.rules.bound import root_of_squares
from lipviz.types import Array

UP = 1 + 1e-6


class UnknownRoundingError(ValueError):
    """A step rounds in a way that has no bound here."""


@dataclasses.dataclass(frozen=True, eq=False)
class Running:
    """The values of a node for n samples, and bounds of the errors with which they are computed, in balls of K radii.

    Attributes:
        values: Exact values at the samples, (n, entries), float64.
        entries: Errors of entries, (n, entries). An error is at most this and, beside it, a vector of norm `rest`.
        rest: Norm of that vector, (n, K).
        total: Norm of the whole error, (n, K).
        change: Norm of how far the exact values change within the ball, (n, K).
        overflows: Whether a number may exceed the largest one, (n, K).
        dtype: The dtype that holds them.

    Where only values are computed, the rest is None.
    """

    values: Array
    entries: Any
    rest: Any
    total: Any
    change: Any
    overflows: Any
    dtype: str

    @property
    def is_bare(self) -> bool:
        """Whether only values are computed."""
        return self.entries is None

    def with_values(self, values: Array) -> "Running":
        """The same with other values."""
        return dataclasses.replace(self, values=values)


@dataclasses.dataclass(frozen=True, eq=False)
class Sizes:
    """Magnitudes of the terms that a step adds up.

    Attributes:
        terms: At the samples, without errors, (n, entries).
        erred: What the errors of entries add to them, (n, entries).
        of_rest: Norm of what the change and `rest` add, (n, K).
        of_total: Norm of what the change and `total` add, (n, K).
    """

    terms: Array
    erred: Array
    of_rest: Array
    of_total: Array


Step = Callable[..., Running]  # from the `Running` of each source of a node to that of the node


def entered(x: Array, radii: Array | None, dtype: str) -> Running:
    """The input of a network, which is rounded to its dtype.

    Args:
        x: Samples of shape (n, entries), float64.
        radii: Radii of balls around them, (n, K); None computes only values.
        dtype: The dtype.
    """
    if radii is None:
        return Running(x, None, None, None, None, None, dtype)
    none = np.zeros_like(radii)
    exact = Running(x, np.zeros_like(x), none, none, radii, np.zeros(radii.shape, bool), "int32")
    return cast(exact, dtype)


def cast(state: Running, dtype: str) -> Running:
    """A value that is rounded to a dtype, if that has fewer digits than its own."""
    old, new = numbers_of(state.dtype), numbers_of(dtype)
    if state.is_bare or (new.unit <= old.unit and new.largest >= old.largest):
        return dataclasses.replace(state, dtype=dtype)
    sizes = Sizes(np.abs(state.values), state.entries, state.change + state.rest, state.change + state.total)
    return rounded(state, sizes, new.unit, new.tiny, dtype)


def without_small(state: Running) -> Running:
    """A value whose small numbers become 0, or stay what they are; each entry loses no more than it has."""
    tiny = numbers_of(state.dtype).tiny
    lost = np.minimum(np.abs(state.values) + state.entries, tiny)
    at_sample = norms(np.minimum(np.abs(state.values), tiny))
    most = tiny * math.sqrt(state.values.shape[1])
    return dataclasses.replace(
        state,
        entries=UP * (state.entries + lost),
        rest=UP * (state.rest + np.minimum(state.change + state.rest, most)),
        total=UP * (state.total + np.minimum(at_sample + state.change + state.total, most)),
    )


def rounded(
    moved: Running,
    sizes: Sizes,
    growth: float,
    tiny: float | Array,
    dtype: str,
    flushed: tuple[float | Array, float | Array] = (0.0, 0.0),
    partial: float = 1.0,
) -> Running:
    """Add the errors of a step to those that it passes on.

    Args:
        moved: The `Running` of what the step returns if it does not round.
        sizes: The `Sizes` of its terms.
        growth: Relative error of its terms.
        tiny: Absolute error of each entry, by numbers that are set to 0: a number or an array (entries,).
        dtype: Dtype of what it returns.
        partial: How many times as large as all terms together a number may be that is computed on the way.
        flushed: Pair of norms of errors, by weights that are set to 0: beside `rest` and beside `total`, each (n, K).
    """
    if not growth < math.inf:
        return _lost(moved, dtype)
    own = np.broadcast_to(np.asarray(tiny, np.float64), moved.values.shape[1:])
    entries = UP * (moved.entries + growth * (sizes.terms + sizes.erred) + own)
    rest = UP * (moved.rest + growth * sizes.of_rest + flushed[0])
    total = moved.total + growth * (norms(sizes.terms) + sizes.of_total) + np.linalg.norm(own) + flushed[1]
    total = np.minimum(UP * total, UP * (norms(entries) + rest))
    top = (sizes.terms + sizes.erred).max(axis=1, initial=0.0)[:, None] + sizes.of_rest + own.max(initial=0.0)
    overflows = moved.overflows | ~(partial * ((1 + growth) * top + rest) < numbers_of(dtype).largest / 2)
    return Running(moved.values, entries, rest, total, moved.change, overflows, dtype)


def _lost(moved, dtype):
    """A step whose sums are too long for its dtype."""
    nothing = np.full_like(moved.rest, np.inf)
    every = np.ones_like(moved.overflows)
    return dataclasses.replace(moved, rest=nothing, total=nothing, overflows=every, dtype=dtype)


def sloped(x: Running, values: Array, entries: Array, bound: float) -> Running:
    """What a step of a Lipschitz constant returns if it does not round.

    Args:
        x: What it takes.
        values: Its exact values, (n, entries).
        entries: Errors of its entries from those of `x`, (n, entries).
        bound: Its Lipschitz constant.
    """
    return dataclasses.replace(
        x, values=values, entries=entries, rest=bound * x.rest, total=bound * x.total, change=bound * x.change
    )


def norms(rows: Array) -> Array:
    """Norms of rows, (n, 1)."""
    return root_of_squares(rows, axis=1)[:, None]
