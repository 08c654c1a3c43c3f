"""Bounds of a symbol over many frequencies: Gram matrices, and their largest eigenvalue with a proof."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lipviz.normalizers import gram_symbols
from lipviz.normalizers import largest_eigenvalue as eigenvalues
from lipviz.normalizers import symbols as symbol_bounds
from lipviz.normalizers.gram_symbols import GramSymbol
from lipviz.normalizers.largest_eigenvalue import is_below, largest_eigenvalue, proved_eigenvalue
from lipviz.normalizers.polyphase import polyphase
from lipviz.normalizers.symbols import largest_symbol, smallest_circulant
from tests.support import examples

RNG = np.random.default_rng(0)


def grams(count, side, is_complex=True):
    roots = RNG.standard_normal((count, side, side)) + is_complex * 1j * RNG.standard_normal((count, side, side))
    matrices = roots @ roots.conj().transpose(0, 2, 1)
    return matrices if is_complex else np.ascontiguousarray(matrices.real)


def random_symbol(seed):
    """A kernel and its axes: up to three, with strides, dilations, and even sizes."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(0, 4))
    taps, strides, dilations = (rng.integers(1, 5, rank).tolist() for _ in range(3))
    kernel = rng.standard_normal((*taps, *rng.integers(1, 7, 2)))
    return kernel, [polyphase(*axis) for axis in zip(taps, strides, dilations, strict=True)]


def symbol_at(kernel, axes, frequency):
    """K̂(ω) by its definition, tap by tap."""
    sums = np.zeros((*(len(axis.values) for axis in axes), *kernel.shape[-2:]), complex)
    for tap in np.ndindex(*kernel.shape[:-2]):
        shift = sum(omega * axis.shifts[t] for omega, axis, t in zip(frequency, axes, tap, strict=True))
        sums[tuple(axis.phases[t] for axis, t in zip(axes, tap, strict=True))] += np.exp(1j * shift) * kernel[tap]
    return sums.reshape(-1, kernel.shape[-1])


@given(st.integers(0, 10**6), st.booleans())
def test_a_gram_matrix_is_that_of_the_symbol(seed, many_taps):
    """From correlations of the kernel, and from the symbol itself."""
    kernel, axes = random_symbol(seed)
    frequencies = np.random.default_rng(seed).uniform(-4, 4, (3, len(axes)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gram_symbols, "_MOST_PAIRS", 0 if many_taps else 4096)
        symbol = GramSymbol(kernel, axes)
        found = symbol.at(frequencies)
    for gram, frequency in zip(found, frequencies, strict=True):
        matrix = symbol_at(kernel, axes, frequency)
        adjoint = matrix.conj().T
        exact = matrix @ adjoint if len(matrix) < len(adjoint) else adjoint @ matrix
        assert gram.shape == exact.shape == (symbol.side, symbol.side)
        assert np.linalg.norm(gram - exact, 2) <= symbol.rounding < 1e-9 * (1 + np.linalg.norm(kernel) ** 2)


@given(st.integers(0, 10**6))
def test_the_bound_over_a_grid_is_the_largest_of_all(seed):
    kernel, axes = random_symbol(seed)
    grids = [2 * np.pi * np.arange(n) / n for n in (4, 5, 3)[: len(axes)]]
    norms = {point: np.linalg.norm(symbol_at(kernel, axes, point), 2) for point in itertools.product(*grids)}
    largest = max(norms.values())
    found, place = largest_symbol(kernel, axes, grids, grids)
    assert largest * (1 - 1e-14) <= found <= largest * (1 + 1e-8)
    assert norms[place] == pytest.approx(largest, rel=1e-8)
    assert largest_symbol(kernel, axes, grids, grids, largest * (1 - 1e-7)) == (np.inf, None)
    assert largest_symbol(kernel, axes, grids, grids, largest * (1 + 1e-7)) == (found, place)


@pytest.mark.slow
@settings(max_examples=examples(30))
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
@example(28, True, False)  # the largest values are not near each other
@example(40, True, False)
def test_the_smallest_circulant_is_that_of_the_best_turn(seed, is_long, takes_long):
    kernel, axes = random_symbol(seed)
    if is_long:  # so long that a coarse grid is searched first
        kernel = np.random.default_rng(seed).standard_normal((3, 3, 6, 6))
        axes = [polyphase(3, 1, 1)] * 2
    rest = 9 if is_long else 4 - len(axes)
    axes = [dataclasses.replace(axis, size=int(axis.shifts.max()) + 1 + rest) for axis in axes]
    largest = []
    for twists in itertools.product((0, np.pi), repeat=len(axes)):
        grids = [(2 * np.pi * np.arange(a.size) + twist) / a.size for a, twist in zip(axes, twists, strict=True)]
        symbols = np.array([symbol_at(kernel, axes, point) for point in itertools.product(*grids)])
        largest.append(np.linalg.norm(symbols, 2, axis=(1, 2)).max())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symbol_bounds, "_LONG", 0 if takes_long else 1e9)
        found, place = smallest_circulant(kernel, axes)
    assert min(largest) * (1 - 1e-14) <= found <= min(largest) * (1.0011 if takes_long else 1 + 1e-8)
    assert np.linalg.norm(symbol_at(kernel, axes, place), 2) == pytest.approx(found, rel=1e-8)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("ceiling", [np.inf, 1.0])
def test_cores_that_share_a_grid_find_what_one_finds(count, ceiling, monkeypatch):
    kernel = np.random.default_rng(3).standard_normal((3, 3, 12, 12))
    axes = [dataclasses.replace(polyphase(3, 1, 1), size=15)] * 2
    grids = symbol_bounds.twisted(axes)
    monkeypatch.setattr(symbol_bounds, "_SYMBOLS", 16 * 12**2)
    alone = largest_symbol(kernel, axes, grids, grids, ceiling)
    parts, are_below = [], symbol_bounds.are_below
    monkeypatch.setattr(symbol_bounds, "_SHARED", 12)
    monkeypatch.setattr(symbol_bounds, "cores", lambda: count)
    monkeypatch.setattr(symbol_bounds, "are_below", lambda *given: parts.append(len(given[0])) or are_below(*given))
    assert largest_symbol(kernel, axes, grids, grids, ceiling) == alone
    assert 16 // count in parts  # they did share it


@pytest.mark.parametrize("is_complex", [True, False])
@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("side", [1, 3, 24, 60])
def test_the_largest_eigenvalue_of_many_matrices(side, count, is_complex):
    matrices = grams(count, side, is_complex)
    exact = np.linalg.eigvalsh(matrices)[:, -1]
    value, index = largest_eigenvalue(matrices, 0.0)
    assert exact.max() <= value <= exact.max() * (1 + 2e-9)
    assert index == exact.argmax()
    assert largest_eigenvalue(matrices, 2 * exact.max()) == (2 * exact.max(), None)


@pytest.mark.parametrize("matrix", [np.eye(20), np.zeros((20, 20)), np.diag([1.0, *[0.0] * 19])])
@pytest.mark.parametrize("dtype", [float, complex])
def test_the_largest_eigenvalue_where_lanczos_method_has_little_to_do(matrix, dtype):
    value, _ = largest_eigenvalue(matrix.astype(dtype)[None], 0.0)
    assert np.max(matrix) <= value <= np.max(matrix) * (1 + 1e-8)


def test_an_eigenvalue_that_lanczos_method_does_not_find_is_still_bounded(monkeypatch):
    (matrix,) = grams(1, 30)
    exact = np.linalg.eigvalsh(matrix)[-1]
    for wrong in (0.0, 0.5 * exact):
        monkeypatch.setattr(eigenvalues, "lanczos_eigenvalue", lambda matrix, wrong=wrong: wrong)
        assert exact <= proved_eigenvalue(matrix) <= exact * (1 + 1e-9)


@pytest.mark.parametrize("is_complex", [True, False])
def test_nothing_below_the_largest_eigenvalue_is_proved(is_complex):
    for matrix in grams(5, 40, is_complex):
        exact = np.linalg.eigvalsh(matrix)[-1]
        assert not is_below(matrix, exact * (1 - 1e-12))
        assert not is_below(matrix, exact)
        assert is_below(matrix, exact * (1 + 1e-9))
        assert not is_below(matrix, 0.0)
