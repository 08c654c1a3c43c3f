"""Matrices of few entries, against explicit ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipviz.certification import placed
from lipviz.certification.placed import Placed


def dense(matrix):
    """The matrix as an array; entries of the same place are added."""
    result = np.zeros(matrix.shape)
    np.add.at(result, (matrix.rows, matrix.columns), matrix.values)
    return result


@st.composite
def matrices(draw):
    """Matrices with any number of entries in a row, from none to more than are copied one by one."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    kind = draw(st.sampled_from(["any", "all rows twice", "single", "diagonal", "none"]))
    if kind == "diagonal":
        return placed.diagonal(rng.standard_normal(shape[0]))
    if kind == "single":
        count = draw(st.integers(0, min(shape)))
        places = (rng.permutation(n)[:count] for n in shape)
        return Placed(*places, rng.standard_normal(count), shape, single=True)
    count = {"any": draw(st.integers(0, 30)), "none": 0}.get(kind, 2 * shape[0])
    rows = (
        rng.permutation(np.tile(np.arange(shape[0]), 2))
        if kind == "all rows twice"
        else rng.integers(0, shape[0], count)
    )
    return Placed(rows, rng.integers(0, shape[1], count), rng.standard_normal(count), shape)


def close(found, expected):
    """Whether two arrays agree up to a few roundings of sums of at most 36 products of numbers of about 1 to 10."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@given(matrices(), st.integers(0, 2**32 - 1))
def test_products_are_those_of_the_explicit_matrix(matrix, seed):
    rng, a = np.random.default_rng(seed), dense(matrix)
    outputs, x = matrix.shape[0], rng.standard_normal((matrix.shape[1], 4))
    close(matrix @ x, a @ x)
    close(matrix @ x[:, 0], a @ x[:, 0])
    y = rng.standard_normal((outputs, 3))
    close(matrix.T @ y, a.T @ y)
    close(matrix @ np.asfortranarray(x), a @ x)


@given(matrices(), st.integers(0, 2**32 - 1))
def test_products_of_both_sides_are_those_of_the_explicit_matrix(matrix, seed):
    rng, a = np.random.default_rng(seed), dense(matrix)
    (outputs, inputs) = matrix.shape
    x, y = (m + m.T for m in (rng.standard_normal((inputs, inputs)), rng.standard_normal((outputs, outputs))))
    diagonal = rng.standard_normal(inputs)
    close(matrix.congruent(x), a @ x @ a.T)
    close(matrix.spread(diagonal), a @ np.diag(diagonal) @ a.T)
    close(matrix.gathered(y), np.diagonal(a.T @ y @ a))


@given(matrices())
def test_the_bounds_of_sizes_hold(matrix):
    magnitudes = dense(Placed(matrix.rows, matrix.columns, np.abs(matrix.values), matrix.shape))
    assert np.linalg.norm(magnitudes, 2) ** 2 <= matrix.square * (1 + 1e-12)
    assert matrix.terms == max(np.bincount(matrix.rows, minlength=1))


@pytest.mark.parametrize("distinct", [True, False])
def test_columns_move_and_matrices_stand_above_each_other(distinct):
    first, second = placed.diagonal(np.array([1.0, 2.0])), placed.diagonal(np.array([3.0, 4.0]))
    places = np.array([2, 0]) if distinct else np.array([1, 1])
    found = placed.moved(first, places, 3, distinct)
    expected = np.zeros((2, 3))
    expected[np.arange(2), places] = [1.0, 2.0]
    close(dense(found), expected)
    close(found @ np.arange(6.0).reshape(3, 2), expected @ np.arange(6.0).reshape(3, 2))
    both = placed.stacked(first, second)
    close(both.congruent(np.ones((2, 2))), dense(both) @ np.ones((2, 2)) @ dense(both).T)
