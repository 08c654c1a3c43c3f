"""Jacobians with intervals as entries: they hold all slopes of a network in a ball, for bounds in l1 and l∞.

A matrix is known by its centre C and a radius R ≥ 0 for each entry. Roundings are added to the radii.
"""

import dataclasses
import math

import numpy as np

from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_TINY = 1e-290


@dataclasses.dataclass(frozen=True, eq=False)
class Enclosure:
    """All matrices J with ``|J − centre| ≤ radius`` in each entry.

    Attributes:
        centre: float64 array of shape (entries, inputs).
        radius: Of the same shape, at least 0.
    """

    centre: Array
    radius: Array

    @property
    def magnitudes(self) -> Array:
        """The largest magnitude of each entry."""
        return (np.abs(self.centre) + self.radius) * (1 + 4 * _EPS)

    def widths(self, norm: float) -> Array:
        """How far each value moves at most, in a ball of radius 1 of the l1 or l∞ norm: of shape (entries,)."""
        if norm == 1:
            return self.magnitudes.max(axis=1, initial=0.0)
        return self.magnitudes.sum(axis=1) * _outward(self.centre.shape[1])

    def norm(self, norm: float) -> float:
        """Bound of the l1 or l∞ norm of the matrices."""
        sums = self.magnitudes.sum(axis=0 if norm == 1 else 1)
        return float(sums.max(initial=0.0) * _outward(max(self.centre.shape)))


def known(matrix: Array, off: float = 0.0) -> Enclosure:
    """A matrix whose entries are known up to a relative error."""
    return Enclosure(matrix, off * (1 + 4 * _EPS) * np.abs(matrix))


def mapped(sources: list[Enclosure], matrices: list[Array], off: float = 0.0) -> Enclosure:
    """Σ A_i J_i for matrices A_i, whose entries are known up to a relative error, and enclosures of J_i."""
    centre = sum(matrix @ each.centre for each, matrix in zip(sources, matrices, strict=True))
    terms = sum(matrix.shape[1] for matrix in matrices) + len(matrices)
    radius = sum(
        np.abs(matrix) @ ((1 + off) * each.radius + (2 * (terms + 4) * _EPS + off) * np.abs(each.centre))
        for each, matrix in zip(sources, matrices, strict=True)
    )
    return Enclosure(centre, radius * _outward(terms) + _TINY)


def sloped(source: Enclosure, low: Array, high: Array) -> Enclosure:
    """diag(s) J for all slopes s between two arrays of shape (entries,)."""
    least, most = _ends(source)
    corners = [slope[:, None] * end for slope in (low, high) for end in (least, most)]
    return _between(np.minimum.reduce(corners), np.maximum.reduce(corners))


def mixed(source: Enclosure, groups: Array, factor: float) -> Enclosure:
    """Rows that are a factor times a mean, with any weights, of the rows of their group, (groups, size)."""
    least, most = np.empty(source.centre.shape), np.empty(source.centre.shape)
    first, last = _ends(source)
    least[groups] = factor * first[groups].min(axis=1, keepdims=True)
    most[groups] = factor * last[groups].max(axis=1, keepdims=True)
    return _between(least, most)


def _ends(enclosure):
    """Lower and upper ends of the intervals, rounded outward."""
    off = 2 * _EPS * np.abs(enclosure.centre) + enclosure.radius * (1 + 4 * _EPS)
    return enclosure.centre - off, enclosure.centre + off


def _between(least, most):
    """All matrices between two whose entries are rounded."""
    centre = (least + most) / 2
    radius = (most - least) / 2 + 4 * _EPS * np.maximum(np.abs(least), np.abs(most))
    return Enclosure(centre, radius * _outward(1) + _TINY)


def _outward(terms):
    """Factor that covers the rounding of a sum of so many terms of one sign."""
    return 1 + 4 * (terms + 4) * _EPS


def is_finite(enclosure: Enclosure) -> bool:
    """Whether all of its numbers are finite."""
    return math.isfinite(float(enclosure.magnitudes.max(initial=0.0)))
