"""Matrices of few entries, each given by its place: quick to make and to multiply with, for one use.

They are made anew for each ball around each input, so SciPy's sparse matrices would take longer to make than to use.
"""

import functools

import numpy as np
import scipy.sparse

from lipviz.types import Array

_SLOTS = 4  # entries of a row up to which products are sums of copied rows


class Placed:
    """A sparse matrix.

    Args:
        rows: The row of each entry, integers of shape (entries,).
        columns: The column of each entry.
        values: The entries, float64.
        shape: Shape of the matrix.
        single: Whether no row and no column has two entries.
        is_diagonal: Whether the entries are those of the diagonal, all of them, in order.
    """

    def __init__(
        self,
        rows: Array,
        columns: Array,
        values: Array,
        shape: tuple[int, int],
        single: bool = False,
        is_diagonal: bool = False,
    ):
        self.rows, self.columns, self.values = rows, columns, values
        self.shape, self.single, self.is_diagonal = shape, single, is_diagonal

    @functools.cached_property
    def _csr(self):
        """The matrix for SciPy; entries of the same place are added."""
        return scipy.sparse.csr_array((self.values, (self.rows, self.columns)), shape=self.shape)

    @functools.cached_property
    def _slots(self):
        """The first entries of all rows, the second ones, ...: (rows, columns, values of shape (rows, 1)) of each."""
        order = np.argsort(self.rows, kind="stable")
        rows, columns, values = self.rows[order], self.columns[order], self.values[order, None]
        places = np.arange(len(rows)) - np.searchsorted(rows, rows)
        chosen = (places == place for place in range(self.terms))
        return [(rows[each], columns[each], values[each]) for each in chosen]

    @functools.cached_property
    def T(self) -> "Placed":
        """The transpose."""
        return Placed(self.columns, self.rows, self.values, self.shape[::-1], self.single, self.is_diagonal)

    def __matmul__(self, x: Array) -> Array:
        if x.ndim == 1:
            return np.bincount(self.rows, self.values * x[self.columns], self.shape[0])
        if self.is_diagonal:
            return self.values[:, None] * x
        if self.single:
            result = np.zeros((self.shape[0], x.shape[1]))
            result[self.rows] = self.values[:, None] * x.take(self.columns, axis=0)
            return result
        if self.terms > _SLOTS:
            return self._csr @ x
        result = np.zeros((self.shape[0], x.shape[1]))
        for place, (rows, columns, values) in enumerate(self._slots):
            part = x.take(columns, axis=0)
            part *= values
            if place == 0 and len(rows) == len(result):  # the first entry of each row, in order
                result = part
            else:
                result[rows] += part
        return result

    def congruent(self, x: Array) -> Array:
        """A X Aᵀ for a symmetric X."""
        if self.is_diagonal:
            return self.values[:, None] * x * self.values
        return self @ (self @ x).T

    def spread(self, diagonal: Array) -> Array:
        """A D Aᵀ for a diagonal matrix D, given by its diagonal."""
        result = np.zeros((self.shape[0],) * 2)
        if self.single:
            result[self.rows, self.rows] = np.square(self.values) * diagonal[self.columns]
            return result
        dense = np.zeros(self.shape[::-1])
        np.add.at(dense, (self.columns, self.rows), self.values * diagonal[self.columns])
        return self @ dense

    def gathered(self, x: Array) -> Array:
        """The diagonal of Aᵀ X A for a symmetric X."""
        if self.single:
            result = np.zeros(self.shape[1])
            result[self.columns] = np.square(self.values) * x[self.rows, self.rows]
            return result
        pulled = self.T @ x
        return np.bincount(self.columns, self.values * pulled[self.columns, self.rows], self.shape[1])

    @functools.cached_property
    def square(self) -> float:
        """Bound of ‖ ``|A|`` ‖²: the product of the largest row sum and column sum of magnitudes."""
        magnitudes = np.abs(self.values)
        if self.single:
            return float(magnitudes.max(initial=0.0)) ** 2 * (1 + 1e-12)
        sums = (np.bincount(self.rows, magnitudes), np.bincount(self.columns, magnitudes))
        return float(sums[0].max(initial=0.0) * sums[1].max(initial=0.0)) * (1 + 1e-12)

    @functools.cached_property
    def terms(self) -> int:
        """Largest number of entries in a row."""
        return min(len(self.rows), 1) if self.single else int(np.bincount(self.rows).max(initial=0))


def diagonal(values: Array) -> Placed:
    """A diagonal matrix."""
    places = np.arange(len(values))
    return Placed(places, places, values, (len(values), len(values)), single=True, is_diagonal=True)


def stacked(first: Placed, second: Placed) -> Placed:
    """Two matrices of as many columns, one above the other. No column has an entry in both if both are single."""
    rows = np.concatenate([first.rows, second.rows + first.shape[0]])
    columns, values = (
        np.concatenate([getattr(each, name) for each in (first, second)]) for name in ("columns", "values")
    )
    single = first.single and second.single and not np.isin(first.columns, second.columns).any()
    return Placed(rows, columns, values, (first.shape[0] + second.shape[0], first.shape[1]), single)


def moved(matrix: Placed, places: Array, count: int, distinct: bool) -> Placed:
    """A matrix whose columns stand at other places among `count` columns."""
    shape = (matrix.shape[0], count)
    return Placed(matrix.rows, places[matrix.columns], matrix.values, shape, matrix.single and distinct)
