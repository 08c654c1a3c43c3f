"""Semidefinite bounds of chains of convolutions, frequency by frequency.

Zero padding is not periodic, and the matrix of a convolution of images is too large. But let every image lie on a torus
that is larger than the image and the reach of its kernels, with zeros around it. A periodic convolution computes the
same values where the image has pixels. What it computes elsewhere is multiplied by 0. To multiply a pixel by 0 or 1
behind a function with slopes between α ≤ 0 and β is a function of the same kind, for that pixel. So the semidefinite
bound of the periodic network (see `semidefinite`) holds for the padded one. With multipliers that are the same for all
pixels, its matrices are block circulant: one block of channels × channels for each frequency.

The state of a layer is a covariance S: the change v of its values satisfies vᴴ S⁻¹ v ≤ ‖v_0‖², where v_0 is the change
of the input. Any larger S is as valid. Steps change it as follows, with K the symbol of a kernel:

* a convolution: K S Kᴴ;
* a stride s: the mean over the s frequencies that fall together, along each axis;
* a function with multipliers Λ: (2Λ − N B N)⁻¹ with N = (α + β)Λ and B = (S⁻¹ + 2αβ Λ)⁻¹.

Each is computed in float64, and a multiple of I is added that covers its rounding.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.sparse.linalg as sla

from lipviz.normalizers.threads import one_blas_thread
from lipviz.operators.convolution import Convolution
from lipviz.operators.linear import Diagonal
from lipviz.types import Array

_EPS = float(np.finfo(np.float64).eps)
_INSIDE = 1 - 1e-5  # see `semidefinite`
_NEARLY_LINEAR = 1e-5
_SPARE = 1e-9  # part of a covariance that is given for the error of a matrix
_ENTRIES = 2**23  # most entries of all covariances of a layer, 128 MiB


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution step.

    Attributes:
        convolution: The `Convolution`.
        kernel: Its kernel without groups, of shape (*size, in, out).
    """

    convolution: Convolution
    kernel: Array

    @property
    def room(self) -> list[int]:
        """Least size of a torus for each axis: the image, and zeros as far as patches reach over it."""
        c = self.convolution
        axes = zip(c.sizes, c.counts, c.strides, c.dilations, c.before, c.kernel.shape, strict=False)
        return [n + max(b, (m - 1) * s + (k - 1) * d + 1 - b - n, 0) for n, m, s, d, b, k in axes]

    @property
    def is_contained(self) -> bool:
        """Whether patches at places without an output read no pixel, so that a periodic convolution gives 0 there."""
        c = self.convolution
        axes = zip(c.sizes, c.counts, c.strides, c.dilations, c.before, c.kernel.shape, strict=False)
        return all((k - 1) * d - b < s and m * s - b >= n for n, m, s, d, b, k in axes)


@dataclasses.dataclass(frozen=True, eq=False)
class Scale:
    """A step that multiplies each channel by a factor, of shape (channels,)."""

    factors: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Slopes:
    """A function with slopes of each channel between `low` ≤ 0 and `high` > 0, both of shape (channels,)."""

    low: Array
    high: Array


Step = Kernel | Scale | Slopes


def image_steps(operator: sla.LinearOperator, shape: Sequence[int]) -> list[Step] | None:
    """The steps of an operator on images, or None where it has others than convolutions and factors of channels.

    Args:
        operator: SciPy `LinearOperator`.
        shape: Shape of its input, with the channels last.
    """
    if isinstance(operator, Convolution):
        fits = operator.sizes and not operator.channels_first and operator.input_shape == tuple(shape)
        return [Kernel(operator, _ungrouped(operator))] if fits else None
    if isinstance(operator, Diagonal):
        factors = operator.values.reshape(-1, shape[-1])
        return [Scale(factors[0])] if np.all(factors == factors[0]) else None
    if type(operator).__name__ != "_ProductLinearOperator":
        return None
    outer, inner = operator.args
    first = image_steps(inner, shape)
    behind = None if first is None else image_steps(outer, _behind(first, shape))
    if first is None or behind is None:
        return None
    # A patch that reads pixels where the next step would read zeros is multiplied by 0, as by a function.
    last = next((step for step in reversed(first) if isinstance(step, Kernel)), None)
    channels = _behind(first, shape)[-1]
    masked = last is not None and not last.is_contained and any(isinstance(step, Kernel) for step in behind)
    return [*first, *([Slopes(np.zeros(channels), np.ones(channels))] if masked else []), *behind]


def _behind(steps, shape):
    kernels = [step.convolution for step in steps if isinstance(step, Kernel)]
    return kernels[-1].output_shape if kernels else tuple(shape)


def _ungrouped(convolution):
    *size, inner, outer = convolution.kernel.shape
    groups = convolution.groups
    if groups == 1:
        return convolution.kernel
    kernel = np.zeros((*size, inner * groups, outer))
    for group, part in enumerate(convolution.parts):
        step = outer // groups
        kernel[..., group * inner : (group + 1) * inner, group * step : (group + 1) * step] = part
    return kernel


class Covariance:
    """The state of the last layer of a chain of `Step`s.

    Args:
        steps: The steps, in the order of computation.
        shape: Shape of the input, with the channels last.
        most: Most multiplications, counting channels³ for each frequency of each step; 3e8 take about 3 seconds.

    Attributes:
        grid: Sizes of the torus.
        values: The covariances, complex, of shape (*grid, channels, channels).

    Raises:
        PeriodicError: If the torus is too large, or a proof fails.
    """

    def __init__(self, steps: Sequence[Step], shape: Sequence[int], most: float = 3e8):
        self._left = most
        kernels = [step for step in steps if isinstance(step, Kernel)]
        self.grid = _torus(kernels, shape[:-1])
        self.values = np.broadcast_to(np.eye(shape[-1], dtype=np.complex128), (*self.grid, shape[-1], shape[-1]))
        with one_blas_thread():
            for step in steps:
                self._check_size(step)
                {Kernel: self._convolve, Scale: self._scale, Slopes: self._pass}[type(step)](step)

    def _check_size(self, step):
        channels = max(step.kernel.shape[-2:]) if isinstance(step, Kernel) else self.values.shape[-1]
        count = math.prod(self.grid)
        self._left -= count * float(channels) ** 3
        if count * channels**2 > _ENTRIES or self._left < 0:
            raise PeriodicError(f"{count} frequencies of {channels} channels are too many")

    # --- steps ---

    def _convolve(self, step):
        convolution, kernel = step.convolution, step.kernel
        symbol, error, size = _symbol(kernel, convolution.dilations, self.grid)
        found = symbol @ self.values @ _adjoint(symbol)
        unit = 8 * (max(kernel.shape[-2:]) + 8) * _EPS
        before = _largest(self.values)
        self._settle(found, (2 * size * error + error**2 + unit * size**2) * before)
        for axis, stride in enumerate(convolution.strides):
            self._decimate(axis, stride)

    def _decimate(self, axis, stride):
        """Keep one of `stride` places of an axis: the mean over the frequencies that fall together."""
        if stride == 1:
            return
        short = self.grid[axis] // stride
        shape = (*self.grid[:axis], stride, short, *self.grid[axis + 1 :], *self.values.shape[-2:])
        self.grid = (*self.grid[:axis], short, *self.grid[axis + 1 :])
        self._settle(self.values.reshape(shape).mean(axis=axis), 2 * stride * _EPS * _largest(self.values))

    def _scale(self, step):
        found = step.factors[:, None] * self.values * step.factors
        self._settle(found, 32 * _EPS * float(np.square(step.factors).max()) * _largest(self.values))

    def _pass(self, step):
        largest = float(np.linalg.eigvalsh(self.values)[..., -1].max())
        if not largest > 0 or not math.isfinite(largest):
            raise PeriodicError("a value does not depend on the input")
        high, width = step.high, np.maximum(step.high - step.low, _NEARLY_LINEAR * step.high)
        multipliers = _INSIDE / (largest * high * width)
        inner = self._transformed(2 * step.low * high * multipliers)
        n = (step.low + high) * multipliers
        x = -n[:, None] * inner * n
        places = np.arange(len(n))
        x[..., places, places] += 2 * multipliers
        off = 16 * _EPS * (2 * float(multipliers.max()) + float(np.square(n).max()) * _largest(inner))
        self.values = _inverse_above(x, off)

    def _transformed(self, c):
        """An upper bound of (S⁻¹ + C)⁻¹ for a diagonal C ≤ 0; with −C = K², it is S + S K (I − K S K)⁻¹ K S."""
        if not c.any():
            return self.values
        k = np.sqrt(-c)
        size = _largest(self.values)
        inner = np.eye(len(k)) - k[:, None] * self.values * k
        most = float(-c.min())
        inverse = _inverse_above(inner, 16 * _EPS * (1 + most * size))
        side = self.values * k
        found = self.values + side @ inverse @ _adjoint(side)
        unit = 16 * (len(k) + 8) * _EPS
        return _above(found, unit * (size + size**2 * most * _largest(inverse)))

    def _settle(self, found, error):
        self.values = _above(found, error)

    # --- ends ---

    def norm(self) -> float:
        """The Lipschitz constant of the chain, proved."""
        channels = self.values.shape[-1]
        largest = float(np.linalg.eigvalsh(self.values)[..., -1].max()) + 16 * channels * _EPS * _largest(self.values)
        return math.sqrt(max(largest, 0.0)) * (1 + 4 * _EPS)

    def factor(self, matrix: Array, error: float, shape: Sequence[int]) -> Array:
        """A matrix F for which F Fᵀ is at least W S Wᵀ, for a matrix W of the values of the last layer.

        So W v = F u for some u with ‖u‖ ≤ ‖v_0‖: the chain goes on as if F were its first matrix. With an error E of W,
        (W + E) S (W + E)ᵀ is at most (1 + t) W S Wᵀ + (1 + 1/t) E S Eᵀ, for every t > 0.

        Args:
            matrix: W of shape (outputs, entries).
            error: A bound of ‖W − exact matrix‖ in l2.
            shape: Shape of the values of the last layer, with the channels last.

        Returns:
            F, lower triangular, of shape (outputs, outputs).
        """
        images = matrix.reshape(len(matrix), *shape)
        axes = tuple(range(1, len(shape)))
        rows = np.fft.fftn(images, self.grid, axes=axes)
        count, channels = math.prod(self.grid), shape[-1]
        rows = rows.reshape(len(matrix), count, channels)
        left = np.moveaxis(rows, 0, 1).conj() @ self.values.reshape(count, channels, channels)
        left = np.moveaxis(left, 1, 0).reshape(len(matrix), -1)
        found = (left @ rows.reshape(len(matrix), -1).T).real / count
        size, largest = float(np.linalg.norm(matrix)), _largest(self.values)
        off = 16 * (channels * count + 8 * math.log2(count + 2) + 8) * _EPS * size**2 * largest
        found = (1 + _SPARE) * (found + found.T) / 2
        off += (1 + 1 / _SPARE) * error**2 * largest
        backward = 8 * (len(matrix) + 8) * _EPS * (float(np.trace(found)) + off)
        try:
            lower = np.linalg.cholesky(found + (off + backward) * np.eye(len(matrix)))
        except np.linalg.LinAlgError as reason:
            raise PeriodicError("the covariance of the first dense layer is not positive") from reason
        return lower


class PeriodicError(Exception):
    """A chain has no bound on a torus; the message says why."""


def _torus(kernels, sizes):
    """The smallest torus on which all layers have room, and whose sizes the strides divide."""
    grid = []
    for axis, size in enumerate(sizes):
        strides, need = 1, [size]
        for kernel in kernels:
            need.append(kernel.room[axis] * strides)
            strides *= kernel.convolution.strides[axis]
            need.append(kernel.convolution.counts[axis] * strides)
        grid.append(-(-max(need) // strides) * strides)
    return tuple(grid)


def _symbol(kernel, dilations, grid):
    """The symbol of a kernel at all frequencies, (*grid, out, in), a bound of its error, and one of its norm.

    The place where patches begin only multiplies it by a phase.
    """
    result = np.zeros((*grid, kernel.shape[-1], kernel.shape[-2]), np.complex128)
    total = 0.0
    for tap in np.ndindex(*kernel.shape[:-2]):
        turns = np.zeros(grid)
        for axis, (t, d, n) in enumerate(zip(tap, dilations, grid, strict=True)):
            shape = [n if i == axis else 1 for i in range(len(grid))]
            turns = turns + ((t * d * np.arange(n)) % n / n).reshape(shape)
        matrix = kernel[tap].T
        result += np.exp(2j * np.pi * turns)[..., None, None] * matrix
        total += float(np.linalg.norm(matrix))
    taps = math.prod(kernel.shape[:-2])
    return result, 4 * (taps + 24) * _EPS * total, total


def _adjoint(matrices):
    return np.conj(np.swapaxes(matrices, -1, -2))


def _largest(matrices):
    """The largest Frobenius norm."""
    return float(np.sqrt(np.square(np.abs(matrices)).sum(axis=(-2, -1)).max()))


def _above(matrices, error):
    """Hermitian matrices plus twice an error times I."""
    result = (matrices + _adjoint(matrices)) / 2
    places = np.arange(result.shape[-1])
    result[..., places, places] += 2 * error
    return result


def _inverse_above(matrices, error):
    """Upper bounds of the inverses of matrices X that are known up to an error.

    With a computed inverse S of a computed X̂ and r ≥ ‖I − X S‖ < 1, ‖X⁻¹ − S‖ ≤ ‖S‖ r/(1 − r).
    """
    side = matrices.shape[-1]
    places = np.arange(side)
    lowered = matrices.copy()
    lowered[..., places, places] -= 2 * error + 16 * (side + 8) * side * _EPS * _largest(matrices)
    try:
        np.linalg.cholesky((lowered + _adjoint(lowered)) / 2)  # proves that all X are positive definite
        inverse = np.linalg.inv(matrices)
    except np.linalg.LinAlgError as reason:
        raise PeriodicError("the multipliers prove nothing") from reason
    inverse = (inverse + _adjoint(inverse)) / 2
    size = _largest(inverse)
    residual = matrices @ inverse
    residual[..., places, places] -= 1
    r = _largest(residual) + (8 * (side + 8) * _EPS * _largest(matrices) + error) * size
    if not r < 0.5:
        raise PeriodicError("a matrix is too close to a singular one")
    return _above(inverse, size * r / (1 - r))
