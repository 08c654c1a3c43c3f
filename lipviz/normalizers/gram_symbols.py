"""Gram matrices of a convolution's symbol at many frequencies, from correlations of its kernel.

The symbol K̂(ω) = Σ exp(iω·shift) K[tap] is a polynomial, and so is its Gram matrix G(ω) = Σ_d exp(iω·d) R_d: R_d is the
sum of K[t]ᵀK[u] over the pairs of taps whose shifts differ by d. The products of matrices are computed once for all
frequencies. Each frequency costs only a sum over the differences d.
"""

import collections
import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

from lipviz.normalizers.polyphase import Axis
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_MOST_PAIRS = 4096  # pairs of taps up to which correlations are computed
_MOST_ENTRIES = 2**24  # of these correlations, 128 MiB for each of two arrays


class GramSymbol:
    """K̂ᴴK̂ or K̂K̂ᴴ, whichever is smaller, as a function of the frequency.

    Args:
        kernel: Array of shape ``(*taps, in, out)``.
        axes: The `Axis` of each.

    Attributes:
        side: Size of the Gram matrix.
    """

    def __init__(self, kernel: Array, axes: Sequence[Axis]):
        self._kernel = kernel.reshape(-1, *kernel.shape[-2:])
        self._shifts = _products([axis.shifts for axis in axes])
        self._phases = np.zeros(len(self._kernel), int)
        for axis, own in zip(axes, _products([axis.phases for axis in axes]).T, strict=True):
            self._phases = self._phases * len(axis.values) + own
        self._count = math.prod(len(axis.values) for axis in axes)
        channels, filters = kernel.shape[-2:]
        self._of_rows = self._count * channels < filters
        self.side = min(self._count * channels, filters)

    @property
    def rounding(self) -> float:
        """Bound of the rounding of a Gram matrix, in norm."""
        together = np.zeros((self._count, *self._kernel.shape[1:]))
        np.add.at(together, self._phases, np.abs(self._kernel))
        sums = together.reshape(-1, together.shape[-1])
        # ‖B‖² ≤ ‖B‖₁ ‖B‖_∞ for the magnitudes B; products of kernels, then waves, then sums over differences of taps.
        squared = float(sums.sum(axis=0).max(initial=0.0) * sums.sum(axis=1).max(initial=0.0))
        return 4 * (sum(self._kernel.shape[1:]) + 16 * len(self._kernel)) * _EPS * squared

    def at(self, frequencies: Array) -> Array:
        """The Gram matrices at some frequencies.

        Args:
            frequencies: Array of shape (n, axes).

        Returns:
            An array of shape (n, side, side), complex128; float64 if it is constant.
        """
        if not self._has_few_taps:
            return self._directly(frequencies)
        differences, even, odd = self._correlations
        if self.is_constant:
            return np.broadcast_to(even, (len(frequencies), self.side, self.side))
        angles = frequencies @ differences.T
        grams = np.empty((len(frequencies), self.side**2), complex)
        grams.real = np.cos(angles) @ even.reshape(len(even), -1)
        grams.imag = np.sin(angles) @ odd.reshape(len(odd), -1)
        return grams.reshape(-1, self.side, self.side)

    @property
    def is_constant(self) -> bool:
        """Whether it is the same matrix for all frequencies: that of a single tap."""
        return len(self._kernel) == 1

    @property
    def _has_few_taps(self):
        """Whether correlations take little memory, and few steps of Python."""
        differences = math.prod(2 * int(np.ptp(shifts)) + 1 for shifts in self._shifts.T) // 2 + 1
        return len(self._kernel) ** 2 <= _MOST_PAIRS and differences * self.side**2 <= _MOST_ENTRIES

    @functools.cached_property
    def _correlations(self):
        """Differences d ≥ 0, with R_d + R_dᵀ (R_0 for d = 0) and R_d − R_dᵀ; R_−d is the transpose of R_d."""
        pairs = collections.defaultdict(list)
        for t, u in itertools.product(range(len(self._kernel)), repeat=2):
            if self._of_rows or self._phases[t] == self._phases[u]:
                difference = tuple(self._shifts[u] - self._shifts[t])
                if difference >= (0,) * len(difference):
                    pairs[difference].append((t, u))
        correlate = self._correlated_rows if self._of_rows else self._correlated_columns
        found = {difference: correlate(np.array(both).T) for difference, both in sorted(pairs.items())}
        even = np.stack([part + part.T if any(difference) else part for difference, part in found.items()])
        odd = np.stack([part - part.T for part in found.values()])
        return np.array(list(found), float).reshape(len(found), -1), even, odd

    def _correlated_columns(self, pairs):
        """Σ K[t]ᵀK[u] over pairs of taps."""
        first, second = (self._kernel[taps].reshape(-1, self.side) for taps in pairs)
        return first.T @ second

    def _correlated_rows(self, pairs):
        """Σ K[u]K[t]ᵀ over pairs of taps (t, u), each in the block of their phases."""
        blocks = np.zeros((self._count, self._count, *[self._kernel.shape[1]] * 2))
        for t, u in pairs.T:
            blocks[self._phases[u], self._phases[t]] += self._kernel[u] @ self._kernel[t].T
        return blocks.transpose(0, 2, 1, 3).reshape(self.side, self.side)

    def _directly(self, frequencies):
        """The Gram matrices from the symbol: for many taps, whose pairs are too many."""
        symbols = np.empty((len(frequencies), self._count, *self._kernel.shape[1:]), complex)
        for phase in range(self._count):
            taps = self._phases == phase
            angles = frequencies @ self._shifts[taps].T.astype(float)
            matrix = self._kernel[taps].reshape(angles.shape[1], -1)
            shape = (len(frequencies), *self._kernel.shape[1:])
            symbols[:, phase].real = (np.cos(angles) @ matrix).reshape(shape)
            symbols[:, phase].imag = (np.sin(angles) @ matrix).reshape(shape)
        symbols = symbols.reshape(len(frequencies), -1, self._kernel.shape[-1])
        adjoint = symbols.conj().transpose(0, 2, 1)
        return symbols @ adjoint if self._of_rows else adjoint @ symbols


def _products(values):
    """Combinations of one entry of each array, of shape (combinations, arrays)."""
    combinations = list(itertools.product(*values))
    return np.array(combinations, int).reshape(len(combinations), len(values))
