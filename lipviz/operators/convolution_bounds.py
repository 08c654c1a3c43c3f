"""Proved bounds on the norm of a convolution, in float64.

A power or Lanczos iteration bounds a norm from below only. A plain FFT of an image's size gives no bound at all: zero
padding is not circular, and σ may be twice the value that the FFT gives. The bounds here are proved by three facts:

* *Polyphase.* A convolution of stride s reads entry o·s + t·d of the padded image. With t·d = p·s + r, that is entry
  o + p of the image's r-th phase: a convolution of stride 1 on s times the channels (Vaidyanathan 1993, Multirate
  systems and filter banks, chapter 4).
* *Compression.* Take a circulant matrix of size N, and multiply the entries that wrap around by exp(iφ). If N is so
  large that no entry of the convolution wraps, its matrix is a block of the circulant, so its norm is no larger. The
  norm of the circulant is max σ(K̂(ω)) over ω = (2πj + φ)/N, for every choice of φ, one per axis. For few outputs the
  section of `lipviz.normalizers.fourier` gives a closer bound.
* *Cholesky.* If the factorization of t²I − AᵀA succeeds in floating point, the matrix has no eigenvalue below
  minus its backward error (Rump 2006, Verification of positive definiteness, BIT 46): ‖A‖ ≤ t up to that.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy.sparse.linalg as sla

from lipviz import _moved
from lipviz import normalizers as nm
from lipviz.normalizers import symbols
from lipviz.normalizers.polyphase import enlarged, polyphase
from lipviz.normalizers.threads import one_blas_thread
from lipviz.operators.autocorrelation import autocorrelation_bound
from lipviz.operators.cholesky import Band, proved
from lipviz.operators.convolution import Convolution, untransposed
from lipviz.operators.singular_values import explicit_matrix, proved_norm
from lipviz.rules.used import as_float64
from lipviz.types import ArrayLike

MODES = ("fast", "exact")
EXACT_SIDE = 2000  # smaller side up to which "exact" decomposes an explicit matrix
SECTION_OUTPUTS = 600  # most outputs of a channel for the bound by a section
SECTION_OPERATIONS = 1e8  # most frequencies times channels³ for that bound: a second
PROVED_SIDE = 64  # smaller side of a kernel as a matrix above which its norm is proved, not decomposed
FAST_SIDE = 600  # smaller side up to which "fast" decomposes one: a tenth of a second
LONG_PRODUCT = 1e8  # multiplications of a product from which on Lanczos' method may end early
CHOLESKY_ENTRIES = 2**27  # most entries of the band, 1 GiB
CHOLESKY_OPERATIONS = 3e11  # most multiplications, about ten seconds on two cores

_EPS = float(np.finfo(np.float64).eps)


@dataclasses.dataclass(frozen=True)
class ConvolutionNormBounds:
    """Proved bounds of the norm of a convolution: lower ≤ norm ≤ upper.

    Attributes:
        lower: ‖Ax‖/‖x‖ of some x, less what rounding may have added.
        upper: Proved upper bound, with a margin for the rounding of its own computation.
        method: What proved the upper bound: "zero", "explicit", "coverage", "autocorrelation", "circulant", "section"
            or "Cholesky"; with the reason where an exact bound was asked for and is not possible.
        milliseconds: Time it took.
    """

    lower: float
    upper: float
    method: str
    milliseconds: float

    @property
    def gap(self) -> float:
        """upper/lower − 1: how far the upper bound is from the norm at most. Infinite where the lower one is 0."""
        if self.upper == self.lower:
            return 0.0
        return self.upper / self.lower - 1 if self.lower > 0 else math.inf


def convolution_bound(operator: sla.LinearOperator, mode: Literal["fast", "exact"] = "fast") -> ConvolutionNormBounds:
    """Bound the norm of a zero-padded convolution from both sides; the upper bound is proved, see this module.

    * "fast": the smallest of σ(W)·√patches (coverage, see `lipviz.layers.convolutional`), of the sums of the
      autocorrelation (`lipviz.operators.autocorrelation`), of the circulants with φ in {0, π} on each axis, and of a
      section for up to 600 outputs; an explicit matrix where its smaller side is at most
      600. Within 3 % of the norm for images of twice the kernel's size and more, 0.2 % at 28×28 for 3×3.
    * "exact": an explicit matrix where its smaller side is at most 2000, else Lanczos' method from below and a banded
      Cholesky factorization from above: within 0.02 % as a rule, and within 0.5 % if Lanczos' method has not converged.
      Where that would take more than 1 GiB or 3e11 multiplications (large images of many channels), the bound is the
      fast one, and `method` says so.

    Args:
        operator: `Convolution`, of any number of axes, stride, padding, dilation and groups, or its transpose.
        mode: "fast" or "exact".

    Returns:
        A `ConvolutionNormBounds`.

    Raises:
        TypeError: If `operator` is not a convolution.
        ValueError: If the mode is not known, or the kernel holds NaN or Inf.
    """
    if mode not in MODES:
        raise ValueError(f"`mode` must be one of {MODES}. Received: mode={mode!r}")
    start = time.perf_counter()
    operator, scale = _scaled(untransposed(operator))
    with one_blas_thread():
        lower, upper, proof = _of_blocks(operator, _fast if mode == "fast" else _exact) if scale else (0.0, 0.0, "zero")
    return ConvolutionNormBounds(lower * scale, upper * scale, proof, 1e3 * (time.perf_counter() - start))


def _of_blocks(operator, bounds_of):
    """Lower bound, upper bound and method; `bounds_of` gives them for one block and its coverage bound."""
    lower, upper, proof = 0.0, 0.0, "zero"
    # The norm of a direct sum is the largest norm of its blocks: a block whose simple bound is below that is skipped.
    for simple, block in sorted(((_coverage(b), b) for b in _blocks(operator)), key=lambda pair: -pair[0]):
        if simple > lower:
            low, high, method = bounds_of(block, simple)
            lower = max(lower, low)
        else:
            high, method = simple, "coverage"
        if high > upper:
            upper, proof = high, method
    return lower, upper, proof


def _blocks(operator):
    """Operators whose largest norm is that of a convolution. With one tap each output reads a single pixel."""
    blocks = operator.blocks()
    if math.prod(operator.kernel.shape[:-2]) > 1:
        return blocks
    return [Convolution(block.kernel.reshape(block.kernel.shape[-2:])) for block in blocks]


def _scaled(operator):
    """The operator over a power of two, so that its largest entry is about 1, and that power; 0 for a zero kernel."""
    kernel = as_float64(operator.kernel, "The kernel")
    largest = np.abs(kernel).max(initial=0.0)
    if largest == 0:
        return operator, 0.0
    exponent = int(np.frexp(largest)[1])
    return operator.with_kernel(np.ldexp(kernel, -exponent)), math.ldexp(1.0, exponent)


# --- "fast" ---


def _fast(block, simple, steps=14):
    """Lower bound, upper bound and method for one group; `simple` is its coverage bound."""
    if min(block.shape) <= FAST_SIDE:
        return _explicit(block)
    if not block.sizes and simple > 0:
        return (*proved_norm(block.kernel), "Cholesky")
    circulant, start = _circulant(block)
    free = autocorrelation_bound(block.kernel, block.strides, block.dilations)
    found = [(simple, "coverage"), (circulant, "circulant"), (_section(block), "section"), (free, "autocorrelation")]
    upper, method = min(found, key=lambda pair: pair[0])
    return min(_lanczos(block, start, steps), upper), upper, method


def _explicit(block):
    """Lower bound, upper bound and method, from all eigenvalues of the smaller Gram matrix."""
    tall = block if block.shape[0] >= block.shape[1] else block.T
    gram = explicit_matrix(tall.T @ tall)
    norm = math.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0))
    # LAPACK's eigenvalues are those of a matrix that is off by a small multiple of n ε; the Gram matrix is a sum of
    # as many products as a patch has entries.
    margin = 4 * (len(gram) + block.terms) * _EPS
    return norm * (1 - margin), norm * (1 + margin), "explicit"


def _coverage(block):
    """σ(W)·√P, with P the largest number of patches that share an entry, counted."""
    axes = zip(block.sizes, block.kernel.shape[:-2], block.strides, block.dilations, strict=True)
    patches = math.prod(nm.shared_patches(n, k, s, block.padding, d) for n, k, s, d in axes)
    return _matrix_norm(block.kernel) * math.sqrt(patches)


def _matrix_norm(kernel):
    """Upper bound of the norm of a kernel as a matrix of shape (taps · in, out)."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    if min(matrix.shape) > PROVED_SIDE:
        return proved_norm(matrix)[1]
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    largest = max(np.linalg.eigvalsh(gram)[-1], 0.0)
    return math.sqrt(largest) * (1 + 4 * sum(matrix.shape) * _EPS)


def _axes(block):
    geometry = zip(
        block.kernel.shape[:-2], block.strides, block.dilations, block.sizes, block.counts, block.before, strict=True
    )
    return [polyphase(*values) for values in geometry]


def _circulant(block):
    """The smallest norm of the circulants that contain a block, and a start for Lanczos' method."""
    axes = _axes(block)
    bound, place = symbols.smallest_circulant(block.kernel, axes)
    return bound, _wave(block, axes, place)


def _section(block):
    """The bound by the section's matrix on the window of outputs; infinite where it would take long."""
    axes = enlarged(_axes(block), block.counts)
    channels = min(block.kernel.shape[-1], block.kernel.shape[-2] * math.prod(len(axis.values) for axis in axes))
    work = math.prod(axis.size for axis in axes) * channels**3
    if math.prod(block.counts) > SECTION_OUTPUTS or work > SECTION_OPERATIONS:
        return math.inf
    grids = symbols.twisted(axes)
    return symbols.section_norm(block.kernel, axes, grids, symbols.features_of(axes, grids, block.counts))


# --- from below ---


def _wave(block, axes, place):
    """An image near the first singular vector: the singular vector of the circulant, faded out towards the borders."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((*block.sizes, block.kernel.shape[-2]))
    if place is None:
        return noise.ravel()
    ((_, found),) = symbols.symbols_on(block.kernel, axes, [np.array([omega]) for omega in place])
    vector = _first_vector(found[0]).conj()
    vector = vector * np.exp(-0.5j * np.angle((vector**2).sum()))  # the real part is as large as it can be
    vector = vector.reshape(*(len(axis.values) for axis in axes), -1)
    wave = np.ones(block.sizes)
    indices = []
    for number, (axis, omega, size, stride, before) in enumerate(
        zip(axes, place, block.sizes, block.strides, block.before, strict=True)
    ):
        entries, phases = np.divmod(np.arange(size) + before, stride)
        known = np.isin(phases, axis.values)
        waves = np.exp(1j * omega * (entries - entries.mean()))  # with the phase 0 in the middle
        factor = waves * np.sin(np.pi * (np.arange(size) + 1) / (size + 1)) * known
        shape = [-1 if i == number else 1 for i in range(len(axes))]
        wave = wave * factor.reshape(shape)
        indices.append(np.searchsorted(axis.values, phases).clip(max=len(axis.values) - 1).reshape(shape))
    image = (wave[..., None] * vector[tuple(indices)]).real
    return (image + 1e-3 * (np.abs(image).max() or 1.0) * noise).ravel()


def _first_vector(matrix, steps=30):
    """A unit vector near the first left singular vector, by power iteration."""
    vector = np.random.default_rng(0).standard_normal(len(matrix))
    for _ in range(steps):
        vector = matrix @ (matrix.conj().T @ vector)
        vector = vector / (np.linalg.norm(vector) or 1.0)
    return vector


def _lanczos(block, start, steps):
    """‖Ax‖/‖x‖ for the best x of a Krylov space: a lower bound of the norm, whatever rounding does to the space.

    Where a product takes long, the search ends once a step gains less than 0.1 %.
    """
    steps = min(steps, len(start))
    basis, images = np.empty((steps, len(start))), np.empty((steps, block.shape[0]))
    direction, square, count = start, 0.0, 0
    for number in range(steps):
        size = np.linalg.norm(direction)
        for _ in range(2 if number else 0):  # to orthogonalize once is not enough
            direction = direction - basis[:number].T @ (basis[:number] @ direction)
        length = np.linalg.norm(direction)
        if length <= 1e-12 * size:
            break
        basis[number] = direction / length
        images[number] = block @ basis[number]
        count = number + 1
        before, square = square, np.linalg.eigvalsh(images[:count] @ images[:count].T)[-1]
        if block.operations > LONG_PRODUCT and square <= before * 1.002:
            break
        direction = block.T @ images[number]
    rows = images[:count]
    return _ratio(block, basis[:count].T @ np.linalg.eigh(rows @ rows.T)[1][:, -1])


def _ratio(block, x):
    """‖Ax‖/‖x‖, less its rounding."""
    length = np.linalg.norm(x)
    if length == 0:
        return 0.0
    return float(np.linalg.norm(block @ x) / length) * (1 - 4 * block.terms * _EPS)


# --- "exact" ---


def _exact(block, simple):
    """Lower bound, upper bound and method for one group."""
    if min(block.shape) <= EXACT_SIDE:
        return _explicit(block)
    lower, upper, method = _fast(block, simple, steps=40)
    if upper <= lower * (1 + 2e-4):
        return lower, upper, method
    plan = Band(_ordered(block))
    if plan.entries > CHOLESKY_ENTRIES or plan.operations > CHOLESKY_OPERATIONS:
        return lower, upper, f"{method}, too large for Cholesky"
    gram = plan.gram()
    for room in (2e-4, 8e-4, 5e-3):
        bound = proved(gram, lower * (1 + room), plan)
        if bound is not None:
            return lower, min(bound, upper), "Cholesky"
        if lower * (1 + room) > upper:
            break
    return lower, upper, f"{method}, Cholesky did not succeed"


def _ordered(block):
    """The same convolution with its longest axis first, where the Gram matrix has the narrowest band."""
    order = sorted(range(len(block.sizes)), key=lambda axis: -block.sizes[axis])
    rank = len(order)
    return Convolution(
        block.kernel.transpose(*order, rank, rank + 1),
        [block.sizes[axis] for axis in order],
        [block.strides[axis] for axis in order],
        block.padding,
        [block.dilations[axis] for axis in order],
    )


# --- images of any size ---


def size_free_bound(
    kernel: ArrayLike,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
    points: int | None = None,
) -> float:
    """Bound the norm of a convolution for images of every size, with every zero padding.

    The result is the smallest of three bounds.

    * The sums of the autocorrelation, see `lipviz.operators.autocorrelation`.
    * Coverage: σ(W) times the root of the largest number of patches that share an entry, ceil(k/stride) along an axis.
    * The supremum of σ(K̂(ω)) over all ω. All these convolutions are compressions of one operator with that norm, which
      is also the limit for large images. A grid of N points on each axis bounds the supremum. For fixed unit vectors u
      and v, vᴴK̂(ω)u is, after a shift, of exponential type D = (P − 1)/2, with P taps in polyphase form. If such a
      function is real and has its maximum M at ω*, it is at least M cos(D(ω − ω*)) within π/2D of ω* (Duffin and
      Schaeffer 1938, Some properties of functions of exponential type). The grid has a point within π/N of ω*. Hence,
      axis by axis, the supremum is at most max over the grid / Π cos(π D/N); compare Pfister and Bresler (2018),
      Bounding multivariate trigonometric polynomials.

    Args:
        kernel: Array of shape ``(*kernel size, in / groups, out)``; of a transposed convolution as the layer holds it.
        strides: One per axis; all 1 by default.
        dilations: One per axis; all 1 by default.
        groups: Number of groups.
        points: N, the same for all axes. By default 16 times the reach of the kernel, and at least 32, so that less
            than 1 % is lost.

    Returns:
        A float.

    Raises:
        ValueError: If shapes do not fit, the kernel holds NaN or Inf, or there are too few points.
    """
    kernel = as_float64(kernel, "The kernel")
    # This checks the arguments: with padding="same", no size is too small.
    rank = kernel.ndim - 2
    operator = Convolution(kernel, (1,) * rank, strides, "same", dilations, groups)
    operator, scale = _scaled(operator)
    if scale == 0:
        return 0.0
    with one_blas_thread():
        return scale * max(_size_free(part, operator.strides, operator.dilations, points) for part in operator.parts)


def _size_free(kernel, strides, dilations, points):
    # With stride 1 a dilation only stretches the frequencies.
    steps = [(s, 1 if s == 1 else d) for s, d in zip(strides, dilations, strict=True)]
    axes = [polyphase(k, *step) for k, step in zip(kernel.shape[:-2], steps, strict=True)]
    # On an infinite image, taps that read the same phase share an entry.
    patches = math.prod(int(np.bincount(axis.phases).max()) for axis in axes)
    simple = _matrix_norm(kernel) * math.sqrt(patches)
    factor, grids = 1.0, []
    for axis in axes:
        spread = int(axis.shifts.max())  # P − 1
        count = max(32, 16 * spread) if points is None else points
        if spread == 0:
            count = 1
        if count <= spread:
            raise ValueError(f"`points` must exceed the kernel's reach of {spread}. Received: points={points!r}")
        factor /= math.cos(math.pi * spread / (2 * count))
        grids.append(2 * np.pi * np.arange(count) / count)
    bound, _ = symbols.largest_symbol(kernel, axes, grids, symbols.halved(grids, [0.0] * len(grids)))
    return min(simple, bound * factor, autocorrelation_bound(kernel, strides, dilations))


def __getattr__(name):
    return _moved.name_of(__name__, name)
