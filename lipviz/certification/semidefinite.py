"""Semidefinite bounds of chains: affine map, elementwise function, affine map, and so on.

Let two inputs differ by v_0. Behind layer i the values differ by v_i = D_i W_i v_{i−1}, with a diagonal D_i whose
entries are slopes of the function: between α and β. For every diagonal Λ ≥ 0,

    (v_i − α W_i v_{i−1})ᵀ Λ (β W_i v_{i−1} − v_i) ≥ 0.

The multipliers Λ_1, …, Λ_{l−1} prove v_{l−1}ᵀ X v_{l−1} ≤ ‖v_0‖² for a matrix X, if ‖v_0‖² − v_{l−1}ᵀ X v_{l−1} minus
twice the sum of these terms is positive semi-definite as a quadratic form in (v_0, …, v_{l−1}). Its matrix is block
tridiagonal, with the blocks 2Λ_i + 2αβ W_{i+1}ᵀ Λ_{i+1} W_{i+1} on its diagonal and −(α + β) Λ_i W_i below, I in place
of 2Λ_0, and X subtracted from the last. Then the chain is Lipschitz with the root of the largest eigenvalue of
W_l X⁻¹ W_lᵀ. This is LipSDP-Neuron.

Multipliers are guessed: by a formula, one number for each layer (`fast`), or by descent from there (`improved`). How
they are found does not matter for the proof: a Cholesky factorization in floating point proves that the matrix is
positive definite, with a margin for every rounding (`proved_shape`).

References:
    Fazlyab, Robey, Hassani, Morari and Pappas (2019), Efficient and accurate estimation of Lipschitz constants for deep
        neural networks (LipSDP).
    Xu and Sivaranjani (2024), ECLipsE: Efficient compositional Lipschitz constant estimation for deep neural networks.
    Rump (2006), Verification of positive definiteness, BIT 46.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import scipy.linalg
import scipy.optimize

from lipviz.normalizers import positive
from lipviz.normalizers.threads import one_blas_thread
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_ROOMS = (1e-8, 1e-6, 1e-4)  # parts of X that are given up, until its proof succeeds
# While multipliers are improved: powers of the trace that stands for the largest eigenvalue, and weights of a barrier
# where slopes have both signs.
_PHASES = ((8, 1e-2), (64, 1e-4))
_INSIDE = 1 - 1e-5  # share of the best multipliers: with slopes of both signs, these are at the border
_TINY = 1e-200  # squares of constants below which a scaled chain counts as constant
_LINEAR = 1e4  # see `_capped`
_NEARLY_LINEAR = 1e-3  # least difference of two slopes, relative to the larger


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """Affine maps with elementwise functions between them.

    Attributes:
        matrices: W_1, …, W_l, float64 arrays of shape (outputs, inputs), l ≥ 2.
        errors: For each matrix, a bound of ‖W − exact matrix‖ in l2.
        slopes: For each function between two matrices, (smallest slopes, largest slopes) of its entries, float64
            arrays of shape (entries,), not both 0. Where both are equal, the function is linear.
        ties: For each function, the numbers of the multipliers of its entries, an integer array of shape (entries,):
            entries of one number share a multiplier. By default each has its own. Entries that share one need no
            slopes of their own: that D changes their norm by a factor of at most β is enough, if α = −β.
    """

    matrices: tuple[Array, ...]
    errors: tuple[float, ...]
    slopes: tuple[tuple[Array, Array], ...]
    ties: tuple[Array, ...] | None = None

    @property
    def numbers(self) -> tuple[Array, ...]:
        """The `ties`, also by default."""
        return tuple(np.arange(len(low)) for low, _ in self.slopes) if self.ties is None else self.ties

    def scaled(self) -> tuple["Chain", int]:
        """A chain whose matrices have entries of about 1, and e: the constant of this chain is 2^e times that of it."""
        exponents = [int(np.frexp(np.abs(w).max(initial=0.0))[1]) for w in self.matrices]
        parts = zip(self.matrices, self.errors, exponents, strict=True)
        matrices, errors = zip(*((np.ldexp(w, -e), float(np.ldexp(r, -e))) for w, r, e in parts), strict=True)
        return Chain(matrices, errors, self.slopes, self.ties), sum(exponents)


@dataclasses.dataclass(frozen=True, eq=False)
class Shape:
    """A proved bound of the values before the last matrix: v_{l−1}ᵀ X v_{l−1} ≤ ‖v_0‖².

    Attributes:
        matrix: T X T, float64, positive definite.
        scale: The diagonal of T, powers of two, of shape (entries,).
        smallest: A proved lower bound of the eigenvalues of T X T, positive.
    """

    matrix: Array
    scale: Array
    smallest: float

    def squares(self, matrix: Array, error: float = 0.0) -> tuple[Array, float, float]:
        """W X⁻¹ Wᵀ for the last matrix W, and bounds of its errors.

        For every Z, W X⁻¹ Wᵀ = W Z + Zᵀ Wᵀ − Zᵀ X Z + R X⁻¹ Rᵀ with R = W − Zᵀ X. With Z near X⁻¹ Wᵀ the last term is
        of second order, and the norm of R bounds it.

        Args:
            matrix: W of shape (outputs, entries).
            error: A bound of ‖W − exact matrix‖ in l2.

        Returns:
            The tuple (Q, e, d): a symmetric matrix Q with ‖W X⁻¹ Wᵀ − Q‖ ≤ e, and a bound d of ‖E X^(−1/2)‖ for the
            error E of W.
        """
        w = matrix * self.scale
        z = _inverse(self.matrix) @ w.T
        first, image = w @ z, self.matrix @ z
        found = first + first.T - z.T @ image
        sizes = [float(np.linalg.norm(part)) for part in (w, z, self.matrix)]
        unit = 4 * (len(z) + 8) * _EPS
        residual = np.linalg.norm(w.T - image) + unit * (sizes[0] + sizes[1] * sizes[2])
        off = residual**2 / self.smallest + unit * (2 * sizes[0] * sizes[1] + sizes[1] ** 2 * sizes[2])
        return (found + found.T) / 2, float(off) * 2, 2 * error * float(self.scale.max()) / math.sqrt(self.smallest)


def norm_of(squares: tuple[Array, float, float]) -> float:
    """The Lipschitz constant of a chain from its `Shape.squares`, proved."""
    found, off, shift = squares
    largest = max(float(np.linalg.eigvalsh(found)[-1]), 0.0) * (1 + 8 * len(found) * _EPS)
    return (math.sqrt(largest + off) + shift) * (1 + 8 * _EPS)


def differences_of(squares: tuple[Array, float, float]) -> Array:
    """The Lipschitz constants of the differences of outputs of a chain, of shape (outputs, outputs), proved."""
    found, off, shift = squares
    own = np.diagonal(found)
    sums = own[:, None] + own
    values = np.maximum(sums - 2 * found, 0.0) + 2 * off + 8 * _EPS * np.abs(sums)
    result = (np.sqrt(values) + math.sqrt(2) * shift) * (1 + 8 * _EPS)
    np.fill_diagonal(result, 0.0)
    return result


# --- multipliers ---


def fast(chain: Chain) -> list[Array] | None:
    """Multipliers by the formula of ECLipsE-Fast, a list of arrays of shape (entries,); None where it breaks down.

    With a the largest eigenvalue of A = W X⁻¹ Wᵀ and one number λ for a layer, the smallest eigenvalue of X is largest
    for λ = 1/(a β (β − α)), where it is 1/(a β²). Entries with slopes of their own have their own λ. Linear entries
    have a λ that is large, with the a of their block of A, and the others have the a of theirs, unless they may change
    the sign.

    Args:
        chain: The chain, scaled.
    """
    found: list[Array] = []
    inverse = None
    with one_blas_thread():
        for w, (low, high) in zip(chain.matrices, chain.slopes, strict=False):
            a = _image(w, inverse)
            largest = _largest(a, low == high)
            if (low < -high / 2).any():  # the block alone would leave nothing for the linear entries
                largest = np.full(len(a), np.linalg.eigvalsh(a)[-1])
            if not (largest > _TINY).all():
                return None
            found.append(_INSIDE / (largest * high * np.maximum(high - low, _NEARLY_LINEAR * high)))
            try:
                inverse = _inverse(_Step(a, (low, high), found[-1]).x)
            except np.linalg.LinAlgError:
                return None
    return found


def _largest(a, linear):
    """For each entry, the largest eigenvalue of the block of A of all linear entries, or of all others."""
    result = np.empty(len(a))
    for kind in (linear, ~linear):
        if kind.any():
            result[kind] = np.linalg.eigvalsh(a[np.ix_(kind, kind)])[-1]
    return result


def _image(w, inverse):
    """W X⁻¹ Wᵀ; X is I where its inverse is None."""
    a = w @ w.T if inverse is None else w @ inverse @ w.T
    return (a + a.T) / 2


def _inverse(matrix):
    """The inverse of a positive definite matrix; raises LinAlgError where it is not."""
    if not np.isfinite(matrix).all():
        raise np.linalg.LinAlgError
    factor = scipy.linalg.cho_factor(matrix, lower=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, np.eye(len(matrix)), check_finite=False)


class _Step:
    """X of a layer from A = W X⁻¹ Wᵀ of the layer before, and what the derivative needs.

    X = 2Λ − N B N with N = (α + β) Λ, B = (A⁻¹ + C)⁻¹ = (I + A C)⁻¹ A and C = 2αβ Λ. Raises LinAlgError where the
    multipliers prove nothing.
    """

    def __init__(self, a, slopes, multiplier):
        low, high = slopes
        self.plus, self.twice = low + high, 2 * low * high
        self.multiplier = multiplier
        self.n = self.plus * multiplier
        self.t, self.barrier = None, 0.0
        if np.any(self.twice):
            reach = np.sqrt(np.maximum(-self.twice * multiplier, 0.0))
            _inverse(np.eye(len(a)) - reach[:, None] * a * reach)  # fails unless A⁻¹ + C is positive definite
            inner = np.eye(len(a)) + a * (self.twice * multiplier)
            self.t = np.linalg.inv(inner)
            if reach.any():
                self.barrier = -float(np.linalg.slogdet(inner)[1])
        b = a if self.t is None else self.t @ a
        self.b = (b + b.T) / 2
        self.x = -self.n[:, None] * self.b * self.n
        self.x.flat[:: len(a) + 1] += 2 * multiplier

    def back(self, x_bar, weight):
        """From the derivative with respect to X, those with respect to Λ and A, and of the barrier times its weight.

        The barrier is −log det(I + A C) where slopes have both signs, else 0.
        """
        b_bar = -self.n[:, None] * x_bar * self.n
        own = 2 * np.diagonal(x_bar) - 2 * self.plus * np.einsum("ij,ij->i", self.b * self.n, x_bar)
        if self.t is None:
            return own, b_bar
        own = own - self.twice * np.einsum("ij,ij->i", self.b @ b_bar, self.b)
        bar = self.t.T @ b_bar @ self.t
        if self.barrier:
            c = self.twice * self.multiplier
            own = own - weight * self.twice * np.diagonal(self.b)
            bar = bar - weight * (c[:, None] * self.t + (c[:, None] * self.t).T) / 2
        return own, bar


def improved(chain: Chain, multipliers: list[Array], steps: int, centred: bool = False) -> list[Array]:
    """Multipliers that give a smaller bound, by descent (L-BFGS) on their logarithms.

    Args:
        chain: The chain, scaled.
        multipliers: Where the descent starts, for instance those of `fast`.
        steps: Number of steps.
        centred: Whether to minimize the mean square of the constants of all differences of two outputs, in place of the
            constant of all outputs together.
    """
    starts = np.cumsum([0, *(int(ties.max()) + 1 for ties in chain.numbers)])
    places = [start + ties for start, ties in zip(starts, chain.numbers, strict=False)]

    def parted(vector):
        return [np.exp(vector[place]) for place in places]

    def gathered(parts):
        return np.bincount(np.concatenate(places), np.concatenate(parts), starts[-1])

    # With slopes of both signs, those of `fast` are at the border of what proves anything: the descent starts inside.
    inside = 1.0 if all((low >= 0).all() for low, _ in chain.slopes) else 0.8
    own = [np.log(m) + (i + 1) * math.log(inside) for i, m in enumerate(multipliers)]
    best = gathered(own) / gathered([np.ones(len(m)) for m in multipliers])
    for power, weight in _PHASES:
        settings = (1 if centred else power, weight, centred)

        def objective(logs, settings=settings):
            value, slopes = _objective(chain, parted(logs), *settings)
            return value, gathered(slopes)

        best = _descended(objective, best, steps)
    return _capped(chain, parted(best))


def _capped(chain, multipliers):
    """Multipliers whose linear entries are at most `_LINEAR` over the largest eigenvalue of their block of A.

    They gain little beyond, and cost the proof its digits.
    """
    found: list[Array] = []
    inverse = None
    for w, (low, high), multiplier in zip(chain.matrices, chain.slopes, multipliers, strict=False):
        a, linear = _image(w, inverse), low == high
        if linear.any():
            most = _LINEAR / np.maximum(_largest(a, linear) * high**2, _TINY)
            multiplier = np.where(linear, np.minimum(multiplier, most), multiplier)
        found.append(multiplier)
        try:
            inverse = _inverse(_Step(a, (low, high), multiplier).x)
        except np.linalg.LinAlgError:
            return multipliers
    return found


def _descended(objective, start, steps):
    """The best point that a descent meets."""
    best, least = start, math.inf

    def value(point):
        nonlocal best, least
        found, slope = objective(point)
        if found < least:
            best, least = point.copy(), found
        return found, slope

    with one_blas_thread(), np.errstate(all="ignore"):  # a step may go far outside
        scipy.optimize.minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 20})
    return best


_INFEASIBLE = 1e3


def _objective(chain, multipliers, power, weight, centred):
    """Logarithm of what is minimized, and its derivatives with respect to the logarithms of the multipliers, a list."""
    steps, inverses = [], [None]
    for w, slopes, multiplier in zip(chain.matrices, chain.slopes, multipliers, strict=False):
        try:
            steps.append(_Step(_image(w, inverses[-1]), slopes, multiplier))
            inverses.append(_inverse(steps[-1].x))
        except np.linalg.LinAlgError:
            return _INFEASIBLE, [np.zeros(len(m)) for m in multipliers]
    last = chain.matrices[-1]
    if centred and len(last) > 1:
        last = last - last.mean(axis=0)
    value, bar = _size(_image(last, inverses[-1]), power)
    if not math.isfinite(value):
        return _INFEASIBLE, [np.zeros(len(m)) for m in multipliers]
    slopes = []
    for step, inverse, w in zip(reversed(steps), inverses[:0:-1], (last, *chain.matrices[-2:0:-1]), strict=True):
        side = w @ inverse
        own, bar = step.back(-side.T @ bar @ side, weight)
        slopes.append(own * step.multiplier)
    value += weight * sum(step.barrier for step in steps)
    return value, slopes[::-1]


def _size(squares, power):
    """log(trace(Q^p))/p, and its derivative."""
    scale = float(np.trace(squares))
    if not _TINY < scale < math.inf:
        return math.inf, squares
    values, vectors = np.linalg.eigh(squares / scale)
    powers = np.maximum(values, 0.0) ** (power - 1)
    total = float((powers * np.maximum(values, 0.0)).sum())
    return math.log(total) / power + math.log(scale), (vectors * (powers / (total * scale))) @ vectors.T


# --- proof ---


def proved_shape(chain: Chain, multipliers: list[Array]) -> Shape | None:
    """A proved `Shape` of a chain for multipliers, or None where the proof fails.

    Args:
        chain: The chain, scaled.
        multipliers: Positive float64 arrays of shape (entries,), one for each function.
    """
    finite = all(np.isfinite(m).all() and (m > 0).all() for m in multipliers)
    if not finite or not all(np.isfinite(w).all() for w in chain.matrices):
        return None
    with one_blas_thread():
        proof = _Proof(chain, multipliers)
        last = proof.factorized(None)
        for room in _ROOMS if last is not None else ():
            x = (1 - room) * last
            smallest = _smallest(x)
            if smallest is not None and proof.factorized(x) is not None:
                return Shape(x, proof.scales[-1], smallest)
    return None


class _Proof:
    """The block tridiagonal matrix of a chain and its multipliers, with X not yet subtracted.

    Rows and columns are scaled by powers of two so that the diagonal is about 1, which rounds nothing.

    Attributes:
        diagonals: The blocks on the diagonal; the first may be a vector, its diagonal.
        below: The blocks below.
        scales: Powers of two for each block of rows.
        margin: Bound of the norm of all errors: of the blocks, and of the factorization.
    """

    def __init__(self, chain, multipliers):
        self.scales = [_root(diagonal) for diagonal in _sizes(chain, multipliers)]
        self.diagonals, off_diagonal = map(list, zip(*self._diagonals(chain, multipliers), strict=True))
        self.below, off_below = map(list, zip(*self._below(chain, multipliers), strict=True))
        sizes = [len(scale) for scale in self.scales]
        widest = max(map(sum, zip(sizes, [*sizes[1:], 0], [*sizes[2:], 0, 0], strict=True)))
        largest = max(float(d.max() if d.ndim == 1 else np.diagonal(d).max()) for d in self.diagonals)
        # The factor is that of a matrix off by at most γ √(aᵢᵢ aⱼⱼ) in each entry, with γ of as many products as two
        # blocks have columns; a row meets three blocks.
        backward = 4 * (widest + 8) * _EPS * widest * max(largest, 1.0)
        self.margin = backward + max(off_diagonal) + 2 * max(off_below)

    def _diagonals(self, chain, multipliers):
        """The blocks 2Λ_i + 2αβ W_{i+1}ᵀ Λ_{i+1} W_{i+1}, and bounds of their errors."""
        own = [np.ones(len(self.scales[0])), *(2 * m for m in multipliers)]
        for number, (diagonal, scale) in enumerate(zip(own, self.scales, strict=True)):
            diagonal = diagonal * scale**2
            if number == len(multipliers) or not np.any(_twice(chain, number)):
                yield diagonal, 2 * _EPS * float(diagonal.max())
                continue
            factor = _twice(chain, number) * multipliers[number]
            w, error = chain.matrices[number] * scale, chain.errors[number] * float(scale.max())
            size = float(np.linalg.norm(np.sqrt(np.abs(factor))[:, None] * w))
            most = math.sqrt(float(np.abs(factor).max()))
            off = 2 * (len(factor) + 8) * _EPS * size**2 + 2 * most * error * (2 * size + most * error)
            yield np.diag(diagonal) + w.T @ (factor[:, None] * w), off + 4 * _EPS * float(diagonal.max())

    def _below(self, chain, multipliers):
        """The blocks −(α + β) Λ_i W_i, and bounds of their errors."""
        parts = zip(chain.matrices, chain.errors, chain.slopes, multipliers, self.scales, self.scales[1:], strict=False)
        for w, error, (low, high), multiplier, before, behind in parts:
            rows = (low + high) * multiplier * behind
            block = -rows[:, None] * (w * before)
            most = float(np.abs(rows).max()) * float(before.max())
            yield block, 8 * _EPS * float(np.linalg.norm(block)) + 2 * most * error

    def factorized(self, x):
        """What is left of the last block in the factorization, less X and the margin; None where it breaks down.

        Args:
            x: X, scaled; with None nothing is subtracted, neither X nor the last margin.
        """
        update = 0.0
        for diagonal, below in zip(self.diagonals, self.below, strict=False):
            update = self._eliminated(diagonal, update, below)
            if update is None:
                return None
        rest = np.diag(self.diagonals[-1]) - update
        if x is None:
            return (rest + rest.T) / 2
        return positive.cholesky(rest - x - self.margin * np.eye(len(x)))

    def _eliminated(self, diagonal, update, below):
        """What the factorization subtracts from the next block."""
        if diagonal.ndim == 1 and np.isscalar(update):
            left = diagonal - self.margin
            half = below / np.sqrt(left) if (left > 0).all() else None
        else:
            block = (np.diag(diagonal) if diagonal.ndim == 1 else diagonal) - update
            factor = positive.cholesky(block - self.margin * np.eye(len(block)))
            half = None if factor is None else _solved(factor, below)
        return None if half is None else half @ half.T


def _sizes(chain, multipliers):
    """Sizes of the diagonal of the matrix."""
    own = [np.ones(chain.matrices[0].shape[1]), *(2 * m for m in multipliers)]
    for number, m in enumerate(multipliers):
        own[number] = own[number] + np.abs(_twice(chain, number) * m) @ np.square(chain.matrices[number])
    return own


def _twice(chain, number):
    low, high = chain.slopes[number]
    return 2 * low * high


def _root(values):
    """Powers of two t with t² · values about 1."""
    return np.ldexp(1.0, -(np.frexp(values)[1] // 2))


def _solved(factor, below):
    return scipy.linalg.solve_triangular(factor, below.T, lower=True, check_finite=False).T


def _smallest(matrix):
    """A proved lower bound of the eigenvalues of a symmetric matrix, or None."""
    margin = 2 * positive.backward_error(matrix)
    return next((each for each in _smaller() if each > 4 * margin and positive.is_above(matrix, each, margin)), None)


def _smaller() -> Iterator[float]:
    return (10.0**-power for power in range(1, 13))
