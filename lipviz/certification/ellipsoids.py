"""Ellipsoids that hold all differences of a network's values, in proved floating point.

If ‖δ‖ ≤ 1 for the difference δ of two inputs, and the differences of some values are z = Jδ, then z zᵀ ≤ Q for a matrix
Q. Only Q is followed, never J. A linear map G makes G Q Gᵀ of it. A step of which only ranges of slopes are known is
written as y = Tz + Fe with ‖e_g‖ ≤ ‖(Hz)_g‖ for groups g of entries of e. By the S-lemma, for all numbers θ_g > 0 with
Θ − H Q Hᵀ > 0, where Θ is the diagonal matrix of them,

    y yᵀ ≤ T (Q + Q Hᵀ (Θ − H Q Hᵀ)⁻¹ H Q) Tᵀ + F Θ Fᵀ.

With the best θ this is the bound of semidefinite programming (LipSDP-Neuron for slopes of single neurons), but each θ
gives a sound one. Where a slope is known, H is 0, and so are the steps' parts of the bound: Q becomes J Jᵀ.

What is proved holds in exact arithmetic for the matrices as stored: every rounding is bounded in norm and added to the
diagonal. The inverse is replaced by an approximation whose residual is bounded. A Cholesky factorization proves that
Θ − H Q Hᵀ is positive.

References:
    Fazlyab et al. (2019), Efficient and accurate estimation of Lipschitz constants for deep neural networks (LipSDP).
    Xu and Sivaranjani (2024), ECLipsE: efficient compositional Lipschitz constant estimation for deep neural networks.
    Rump (2006), Verification of positive definiteness, BIT 46.
"""

import dataclasses
import math

import numpy as np
import scipy.linalg

from lipviz.certification.placed import Placed
from lipviz.normalizers import positive
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_TINY = 1e-290  # above all that underflows in sums of products of numbers up to 1
_NEAR = 1e-4  # how near Θ comes to where Θ − H Q Hᵀ is singular
_FLOOR = 1e-10  # of the largest θ
_ROOM = 1e-8  # of the largest entry of Θ − H Q Hᵀ, by which the smallest eigenvalue is proved to exceed 0


@dataclasses.dataclass(frozen=True, eq=False)
class Ellipsoid:
    """z zᵀ ≤ 4^exponent · matrix for all differences z per unit of the input's difference.

    Attributes:
        matrix: float64 array of shape (entries, entries), symmetric, of entries up to about 1 in magnitude.
        exponent: An integer, so that no scale of weights overflows or underflows.
    """

    matrix: Array
    exponent: int

    @property
    def widths(self) -> Array:
        """Bounds of ``|z_i|`` of shape (entries,): how far each value moves at most per unit."""
        squares = np.maximum(np.diagonal(self.matrix), 0.0)
        squares = np.where(np.isnan(squares), np.inf, squares)
        with np.errstate(over="ignore"):
            return np.ldexp(np.sqrt(squares) * (1 + 4 * _EPS), self.exponent)


class Linear:
    """A linear step, with what the proof of its ellipsoid needs: made once, used for many ellipsoids.

    Args:
        matrix: Its matrix G, a float64 array of shape (outputs, entries).
        error: Bound in l2 of the error of the matrix.

    Attributes:
        scaled: G divided by a power of two, so that its largest entry is in [½, 1).
        exponent: The exponent of that.
        square: ‖G‖² of the scaled matrix, in the Frobenius norm.
        off: Bound of ‖(G + E)(G + E)ᵀ − G Gᵀ‖ of the scaled matrix, for an error E.
    """

    def __init__(self, matrix: Array, error: float = 0.0):
        self.scaled, self.exponent = scaled(matrix)
        size, error = _size(self.scaled), math.ldexp(error, -self.exponent)
        self.square = size**2
        self.off = (2 * size + error) * error * (1 + 1e-9)


@dataclasses.dataclass(frozen=True, eq=False)
class Bend:
    """A step y = Tz + Fe with ‖e_g‖ ≤ ‖(Hz)_g‖, see the module.

    Each entry of its matrices may be off by a few roundings of its own.

    Attributes:
        fixed: T, of shape (outputs, entries of z).
        free: F, of shape (outputs, entries of e).
        reach: H, of shape (rows, entries of z).
        groups: The number of the group of each row of H, of shape (rows,).
        owners: The number of the group of each entry of e, of shape (entries of e,).
        names: A number for each group, of shape (groups,), which stays the same in other balls.
    """

    fixed: Placed
    free: Placed
    reach: Placed
    groups: Array
    owners: Array
    names: Array

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.names)


def ball(matrix: Array, error: float = 0.0) -> Ellipsoid:
    """The ellipsoid of a linear map of the unit ball.

    Args:
        matrix: The map, a float64 array of shape (outputs, inputs).
        error: Bound in l2 of the error of the matrix.
    """
    step = Linear(matrix, error)
    rounding = _norm_rounding(matrix.shape[1], step.square) + step.off
    return _ellipsoid(step.scaled @ step.scaled.T, rounding, step.exponent)


def enclosing(matrix: Array, error: float, exponent: int) -> Ellipsoid:
    """The ellipsoid of a symmetric matrix that is known up to an error in norm, times 4^exponent.

    Args:
        matrix: float64 array of shape (entries, entries). Each entry may be off by a few roundings of its own, too.
        error: Bound of the error.
        exponent: An integer.
    """
    return _ellipsoid(matrix, error + 8 * _EPS * _size(matrix), exponent)


def times(ellipsoid: Ellipsoid, factor: float) -> Ellipsoid:
    """The ellipsoid of z times a finite factor of at least 0."""
    share, exponent = math.frexp(factor)
    return enclosing(ellipsoid.matrix * share**2, 0.0, ellipsoid.exponent + exponent)


def mapped(ellipsoid: Ellipsoid, step: Linear) -> Ellipsoid:
    """The ellipsoid of G z for a linear step.

    Args:
        ellipsoid: Of z.
        step: The step.
    """
    size = _size(ellipsoid.matrix)
    result = step.scaled @ (step.scaled @ ellipsoid.matrix).T
    rounding = _norm_rounding(2 * step.scaled.shape[1], step.square * size) + step.off * size
    return _ellipsoid(result, rounding, ellipsoid.exponent + step.exponent)


def bent(ellipsoid: Ellipsoid, bend: Bend, ratios: Array) -> tuple[Ellipsoid | None, Array, Array | None]:
    """The ellipsoid behind a `Bend`.

    Args:
        ellipsoid: Of z.
        bend: The step.
        ratios: See `theta_of`. Where they do not make Θ − H Q Hᵀ positive, larger ones are tried.

    Returns:
        The tuple (ellipsoid, the ratios that were used, (Θ − H Q Hᵀ)⁻¹ H Q nearly). The ellipsoid and the last are
        None where nothing is proved.
    """
    rows, inner = products(ellipsoid.matrix, bend)
    theta, ratios = theta_of(inner, bend, ratios)
    for factor in (1.0, None, 2.0, 16.0):
        factor = max(largest_quotient(inner, theta[bend.groups]), 1.0) if factor is None else factor
        found, y = _with_theta(ellipsoid, bend, factor * theta, rows, inner)
        if found is not None:
            return found, factor * ratios, y
    return None, ratios, None


def largest_quotient(inner: Array, theta: Array) -> float:
    """The factor by which Θ must be multiplied so that Θ − H Q Hᵀ is positive, nearly singular.

    Args:
        inner: H Q Hᵀ.
        theta: θ of each row of H.
    """
    roots = np.sqrt(theta)
    try:
        largest = float(np.linalg.eigvalsh(inner / roots / roots[:, None])[-1])
    except np.linalg.LinAlgError:
        return 1.0
    return largest * (1 + _NEAR)


def theta_of(inner: Array, bend: Bend, ratios: Array) -> tuple[Array, Array]:
    """θ of each group, positive, from its ratio to the diagonal of H Q Hᵀ.

    Args:
        inner: H Q Hᵀ.
        bend: The step.
        ratios: Of shape (groups,). NaN takes twice what makes Θ − H Q Hᵀ diagonally dominant.

    Returns:
        The tuple (θ, all ratios).
    """
    sizes = np.bincount(bend.groups, np.maximum(np.diagonal(inner), 0.0), bend.count)
    sizes = np.maximum(sizes, max(_FLOOR * sizes.max(initial=0.0), 1e-200))
    open_ = np.isnan(ratios)
    if open_.any():
        sums = np.zeros(bend.count)
        np.maximum.at(sums, bend.groups, np.abs(inner).sum(axis=1))
        dominant = 2 * sums + 1e-6 * sizes.max(initial=0.0)  # best for a single neuron with slopes from 0 to 1
        ratios = np.where(open_, dominant / sizes, ratios)
    return ratios * sizes, ratios


def _with_theta(ellipsoid, bend, theta, rows, inner):
    """The ellipsoid behind a `Bend` for some θ, and y; None where Θ − H Q Hᵀ is not proved to be positive."""
    q, size = ellipsoid.matrix, _size(ellipsoid.matrix)
    added, rounding, y = _added(rows, inner, size, bend, theta[bend.groups]) if bend.count else (0.0, 0.0, rows)
    if added is None:
        return None, None
    total = q + added
    total.flat[:: len(total) + 1] += rounding + 4 * _EPS * (size + _size(total))
    result = bend.fixed.congruent(total)
    off = _norm_rounding(2 * bend.fixed.terms, bend.fixed.square * _size(total))
    if bend.count:
        spread = theta[bend.owners]
        result += bend.free.spread(spread)
        off += _norm_rounding(2 * bend.free.terms, bend.free.square * _size(spread))
    return _ellipsoid(result, off + 4 * _EPS * _size(result), ellipsoid.exponent), y


def _added(rows, inner, size, bend, theta):
    """Q Hᵀ y for y = (Θ − H Q Hᵀ)⁻¹ H Q, a bound of its error in norm, and y; (None, 0, None) without a proof."""
    terms, reach = bend.reach.terms, bend.reach.square
    off = _norm_rounding(2 * terms, reach * size) + 4 * _EPS * _size(theta)
    shifted = np.diag(theta) - inner
    largest = float(np.abs(shifted).max())
    room = _ROOM * largest
    lower = positive.cholesky(shifted) if positive.is_above(shifted, room, off) else None
    if lower is None:
        return None, 0.0, None
    y = scipy.linalg.lapack.dpotrs(lower, rows, lower=1)[0]
    y_norm, magnitudes = _size(y), _size(rows) + math.sqrt(reach) * size
    residual = _size(rows - shifted @ y) * (1 + 4 * _EPS * len(theta)) + off * y_norm
    residual += _norm_rounding(len(theta) + 2 * terms, y_norm * _size(shifted) + magnitudes)
    error = y_norm * residual + residual**2 / room + _norm_rounding(len(theta) + 2 * terms, y_norm * magnitudes)
    product = rows.T @ y
    return (product + product.T) / 2, error * (1 + 1e-6), y


def products(q: Array, bend: Bend) -> tuple[Array, Array]:
    """The matrices H Q and H Q Hᵀ."""
    rows = bend.reach @ q
    return rows, bend.reach @ rows.T


def scaled(matrix: Array) -> tuple[Array, int]:
    """A matrix divided by a power of two, so that its largest entry is in [½, 1), and the exponent of that."""
    largest = float(np.abs(matrix).max(initial=0.0))
    exponent = math.frexp(largest)[1] if largest else 0
    return np.ldexp(matrix, -exponent), exponent


def _size(array):
    """The Frobenius norm of an array, as a float. NumPy's own function takes longer than this for small arrays."""
    return math.sqrt(np.vdot(array, array))


def _ellipsoid(matrix, rounding, exponent):
    """An ellipsoid of a computed matrix that is off by at most a rounding in norm, with entries up to about 1."""
    matrix = matrix + matrix.T
    matrix *= 0.5
    matrix.flat[:: len(matrix) + 1] += rounding + 2 * _EPS * _size(matrix) + _TINY
    largest = float(np.abs(matrix).max())
    shift = math.frexp(largest)[1] // 2 if math.isfinite(largest) else 0
    return Ellipsoid(np.ldexp(matrix, -2 * shift) if shift else matrix, exponent + shift)


def _norm_rounding(terms, sizes):
    """Bound of the norm of the rounding of sums of products: γ of so many terms times the size of the magnitudes."""
    return 2 * (terms + 4) * _EPS * float(sizes) + _TINY
