"""Bounds by the symbol K̂(ω) of a convolution in float64 NumPy; the proofs are in `lipviz.normalizers.fourier`."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from lipviz.normalizers.gram_symbols import GramSymbol
from lipviz.normalizers.largest_eigenvalue import are_below, largest_eigenvalue
from lipviz.normalizers.polyphase import Axis
from lipviz.normalizers.threads import cores, side_by_side
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_SYMBOLS = 2**21  # complex entries at a time, 32 MiB
_SHARED = 96  # side from which on a matrix takes long enough for threads
_LEAST_EACH = 4  # frequencies that each thread has

_LONG = 2e9  # frequencies times channels³ from which on a choice of φ must promise to gain a little
_GAIN = 1e-3  # of the bound

TWISTS = (0.0, math.pi)  # with these, ω and −ω are both on the grid


def halved(grids: Sequence[Array], twists: Sequence[float]) -> list[Array]:
    """The grids with half of the first axis: for a real kernel, ω and −ω have the same σ."""
    if not grids:
        return []
    n = len(grids[0])
    return [grids[0][: n // 2 + 1 if twists[0] == 0 else (n + 1) // 2], *grids[1:]]


def twisted(axes: Sequence[Axis]) -> list[Array]:
    """Frequencies of each axis for φ = π, and one half of them for the first axis."""
    return _twisted(axes, (math.pi,) * len(axes))


def _twisted(axes, twists):
    full = [(2 * np.pi * np.arange(axis.size) + twist) / axis.size for axis, twist in zip(axes, twists, strict=True)]
    return halved(full, twists)


def largest_symbol(
    kernel: Array, axes: Sequence[Axis], grids: Sequence[Array], needed: Sequence[Array], ceiling: float = math.inf
) -> tuple[float, tuple[float, ...] | None]:
    """Upper bound of max σ(K̂(ω)) over a grid.

    Args:
        kernel: Array of shape ``(*taps, in, out)``.
        axes: The `Axis` of each.
        grids: All frequencies, one array per axis.
        needed: The frequencies to look at.
        ceiling: If the bound reaches this, the search ends, and the result is infinite.

    Returns:
        The tuple (bound, frequency at which it was found); the frequency is None if none was found.
    """
    symbol = GramSymbol(kernel, axes)
    square, place = _largest(symbol, _in_order(symbol, needed), ceiling**2)
    return _bound(symbol, square), place


def smallest_circulant(kernel: Array, axes: Sequence[Axis]) -> tuple[float, tuple[float, ...] | None]:
    """The smallest of the bounds max σ(K̂(ω)) over φ in {0, π}, one for each axis.

    Where σ is large on one grid, it is large nearby on the others. That is tried first, and most grids are given up.
    Grids that take long (256 channels on 14×14 pixels) are given up as well if they can gain no more than 0.1 %.

    Args:
        kernel: Array of shape ``(*taps, in, out)``.
        axes: The `Axis` of each.

    Returns:
        The tuple (bound, frequency at which it was found); the frequency is None for a kernel of zeros.
    """
    symbol, few = GramSymbol(kernel, axes), 2 ** len(axes)
    grids = [_twisted(axes, twists) for twists in itertools.product(TWISTS, repeat=len(axes))]
    best, near = _peak(symbol, axes, grids[0])
    place = near
    if best < math.inf:
        grids = grids[1:]
    orders = [_in_order(symbol, grid, near) for grid in grids]
    starts = [_largest(symbol, order[:few]) for order in orders]
    least = (1 - _GAIN) ** 2 if math.prod(axis.size for axis in axes) * symbol.side**3 / 2 > _LONG else 1.0
    for number in sorted(range(len(grids)), key=lambda number: starts[number][0]):
        square, where = _largest(symbol, orders[number][few:], best * least, *starts[number])
        best, place = (square, where) if square < best else (best, place)
    return _bound(symbol, best), place


def _peak(symbol, axes, grid):
    """σ² on a grid, if that is small, else infinity; and a frequency near which σ is largest."""
    counts = [min(4 * int(axis.shifts.max()) + 2, axis.size) for axis in axes]
    if all(count == axis.size for count, axis in zip(counts, axes, strict=True)):
        return _largest(symbol, _in_order(symbol, grid))
    coarse = halved([2 * np.pi * np.arange(count) / count for count in counts], (0.0,) * len(axes))
    place = _largest(symbol, _in_order(symbol, coarse))[1]
    around = math.prod(axis.size // count + 1 for axis, count in zip(axes, counts, strict=True))
    return math.inf, _largest(symbol, _in_order(symbol, grid, place)[:around])[1]


def _largest(symbol, frequencies, ceiling=math.inf, square=0.0, place=None):
    """Bound of σ² over frequencies, at least `square`, and its place; (∞, None) if it reaches the ceiling."""
    step = max(1, _SYMBOLS // symbol.side**2)
    for start in range(0, len(frequencies), step):
        if square >= ceiling:
            break
        for some in _not_below(symbol, frequencies[start : start + step], square):
            square, number = largest_eigenvalue(symbol.at(some), square)
            place = place if number is None else tuple(some[number].tolist())
    return (math.inf, None) if square >= ceiling else (square, place)


def _not_below(symbol, frequencies, square):
    """Parts of some frequencies, in order, without those at which all cores together proved σ² to be below a value."""
    count = cores()
    if count == 1 or symbol.side < _SHARED or len(frequencies) < _LEAST_EACH * count:
        return [frequencies]
    parts = np.array_split(frequencies, count)
    are_proved = side_by_side(lambda part: are_below(symbol.at(part), square), parts)
    return [part for part, is_proved in zip(parts, are_proved, strict=True) if not is_proved]


def _bound(symbol, square):
    return math.sqrt(square + symbol.rounding) * (1 + 4 * _EPS)


def _in_order(symbol, grids, near=None):
    """All frequencies of some grids, of shape (n, axes): those nearest to `near` first, or in random order."""
    if not grids or symbol.is_constant:
        return np.zeros((1, len(grids)))
    frequencies = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, len(grids))
    order = np.random.default_rng(0).permutation(len(frequencies))
    if near is not None:
        distances = np.abs(np.angle(np.exp(1j * (frequencies[order] - near)))).sum(axis=1)
        order = order[np.argsort(distances, kind="stable")]
    return frequencies[order]


def symbols_on(kernel: Array, axes: Sequence[Axis], grids: Sequence[Array]) -> Iterator[tuple[int, Array]]:
    """Yield K̂(ω) = Σ exp(iω·shift) K[tap], of shape (frequencies, phases · in, out), after the first one's number."""
    if not axes:
        yield 0, kernel[None]
        return
    waves = [np.exp(1j * np.outer(grid, axis.shifts)) for axis, grid in zip(axes, grids, strict=True)]
    waves = [
        wave[:, None, :] * (axis.phases == np.arange(len(axis.values))[:, None])
        for axis, wave in zip(axes, waves, strict=True)
    ]
    phases = math.prod(len(axis.values) for axis in axes)
    others = math.prod(len(grid) for grid in grids[1:])
    rows, filters = phases * kernel.shape[-2], kernel.shape[-1]
    step = max(1, _SYMBOLS // (others * rows * filters))
    letters = ["adg"[: len(axes)], "beh"[: len(axes)], "cfk"[: len(axes)]]
    factors = ",".join("".join(triple) for triple in zip(*letters, strict=True))
    formula = f"{factors},{letters[2]}xy->{letters[0]}{letters[1]}xy"
    for start in range(0, len(grids[0]), step):
        product = np.einsum(formula, waves[0][start : start + step], *waves[1:], kernel, optimize=True)
        yield start * others, product.reshape(-1, rows, filters)


def features_of(axes: Sequence[Axis], grids: Sequence[Array], counts: Sequence[int]) -> Array:
    """F in the section's matrix FᵀDF, where D is diagonal and has σ² of each frequency twice.

    Returns:
        A float64 array F of shape (2, frequencies, outputs): cosines and sines, over √(N^d).
    """
    wave = np.ones((1, 1), complex)
    for number, (axis, grid, count) in enumerate(zip(axes, grids, counts, strict=True)):
        own = np.exp(1j * np.outer(grid, np.arange(count))) / math.sqrt(axis.size)
        if number == 0 and len(grid) < axis.size:  # a frequency stands for its opposite too, if they differ
            own *= np.sqrt(np.where(np.isclose(np.sin(grid), 0), 1.0, 2.0))[:, None]
        wave = np.einsum("fx,gy->fgxy", wave, own).reshape(len(wave) * len(own), -1)
    return np.stack([wave.real, wave.imag])


def section_norm(kernel: Array, axes: Sequence[Axis], grids: Sequence[Array], features: Array) -> float:
    """The bound √λ1 of the section's matrix.

    Args:
        kernel: Array of shape ``(*taps, in, out)``.
        axes: The `Axis` of each.
        grids: Frequencies, see `twisted`.
        features: See `features_of`.

    Returns:
        A float.
    """
    sigmas = np.concatenate([np.linalg.norm(part, 2, axis=(1, 2)) for _, part in symbols_on(kernel, axes, grids)])
    weighted = (features * sigmas[:, None]).reshape(-1, features.shape[-1])
    rounding = 4 * (sum(kernel.shape[-2:]) + 8 * math.prod(kernel.shape[:-2]) + weighted.shape[0]) * _EPS
    return float(np.linalg.norm(weighted, 2)) * (1 + rounding)
