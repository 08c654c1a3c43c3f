"""Bounds by the symbol K̂(ω) of a convolution in float64 NumPy; the proofs are in `lipviz.normalizers.fourier`."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from lipviz.normalizers._operations import in_numpy
from lipviz.normalizers.gram import GramIteration
from lipviz.normalizers.polyphase import Axis
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_SYMBOLS = 2**21  # complex entries at a time, 32 MiB
_EIGENVALUES = 5e9  # frequencies times channels³ up to which the last candidates are decomposed
_FEW_EIGENVALUES = 3e5  # the same, before squaring has removed candidates
_SLACK = 1e-4  # of a logarithm, far above the rounding of squares in float32

TWISTS = (0.0, math.pi)  # with these, ω and −ω are both on the grid


def halved(grids: Sequence[Array], twists: Sequence[float]) -> list[Array]:
    """The grids with half of the first axis: for a real kernel, ω and −ω have the same σ."""
    if not grids:
        return []
    n = len(grids[0])
    return [grids[0][: n // 2 + 1 if twists[0] == 0 else (n + 1) // 2], *grids[1:]]


def twisted(axes: Sequence[Axis]) -> list[Array]:
    """Frequencies of each axis for φ = π, and one half of them for the first axis."""
    full = [(2 * np.pi * np.arange(axis.size) + np.pi) / axis.size for axis in axes]
    return halved(full, (math.pi,) * len(axes))


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
    largest = -1.0
    place: tuple[float, ...] | None = None
    rounding = 4 * (sum(kernel.shape[-2:]) + 8 * math.prod(kernel.shape[:-2])) * _EPS
    for first, symbols in symbols_on(kernel, axes, needed):
        rows, columns = symbols.shape[-2:]
        adjoint = symbols.conj().transpose(0, 2, 1)
        grams = adjoint @ symbols if rows >= columns else symbols @ adjoint
        value, number = largest_eigenvalue(grams, largest)
        if value > largest:
            largest = value
            index = np.unravel_index(first + number, [len(grid) for grid in needed]) if needed else ()
            place = tuple(grid[i] for grid, i in zip(needed, index, strict=True))
        if math.sqrt(largest) * (1 + rounding) >= ceiling:
            return math.inf, None
    return math.sqrt(max(largest, 0.0)) * (1 + rounding), place


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


def largest_eigenvalue(grams: Array, floor: float) -> tuple[float, int]:
    """The largest eigenvalue of many positive semi-definite matrices, or a bound of it, and its index.

    Repeated squaring bounds the λ1 of each matrix on both sides, ‖Aᵍ‖²/tr(Aᵍ) ≤ λ1ᵍ ≤ ‖Aᵍ‖ (Frobenius norms; the upper
    bound is the Gram iteration of Delattre et al. 2023). Matrices that cannot have the largest eigenvalue are removed,
    and the eigenvalues of the others are computed.

    Args:
        grams: Array of shape (n, c, c), Hermitian.
        floor: Matrices whose eigenvalues are all below it are left out.

    Returns:
        The tuple (value, index); the value is at most `floor` if no eigenvalue exceeds it.
    """
    side = grams.shape[-1]
    if side == 1:
        values = grams[:, 0, 0].real
        index = int(np.argmax(values))
        return float(values[index]), index
    traces = np.einsum("nii->n", grams).real
    scale = traces.max(initial=0.0)
    if scale == 0:
        return 0.0, 0
    # λ1 lies between tr/n and tr.
    (alive,) = np.nonzero(traces >= 0.99 / side * scale)
    # Single precision is enough to choose matrices. Their eigenvalues are computed in double precision.
    with in_numpy():
        iteration = GramIteration(*_parts(grams[alive] / scale))
        for squarings in range(9):
            upper = iteration.upper
            least = max(
                float(iteration.lower.max(initial=-math.inf)), math.log(floor / scale) if floor > 0 else -math.inf
            )
            (kept,) = np.nonzero(upper >= least - _SLACK)
            if not len(kept):
                return floor, 0
            alive, upper = alive[kept], upper[kept]
            if _is_few(len(alive), side, squarings):
                values = np.linalg.eigvalsh(grams[alive])[:, -1]
                index = int(np.argmax(values))
                return float(values[index]), int(alive[index])
            if squarings < 8:
                iteration.keep(kept)
                iteration.square()
    index = int(np.argmax(upper))
    return float(scale) * math.exp(upper[index] + _SLACK), int(alive[index])


def _is_few(count, side, squarings):
    """Whether so few matrices are left that the eigenvalues of all are computed."""
    return count * float(side) ** 3 <= (_EIGENVALUES if squarings >= 4 else _FEW_EIGENVALUES)


def _parts(matrices):
    """Real and, of complex matrices, imaginary part in float32."""
    parts = (matrices.real, matrices.imag) if np.iscomplexobj(matrices) else (matrices,)
    return [np.ascontiguousarray(part, np.float32) for part in parts]


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
