"""The norm of a zero-padded convolution, from above, by Fourier transform: differentiable, and again in float64.

A plain FFT of an image's size is no bound, since zero padding is not circular. What holds:

* *Polyphase.* A convolution of stride s reads entry o·s + t·d of the padded image. With t·d = p·s + r, that is entry
  o + p of the image's r-th phase: a convolution of stride 1 on s times the channels (Vaidyanathan 1993, Multirate
  systems and filter banks, chapter 4).
* *Compression.* A circulant matrix of size N whose entries are multiplied by exp(iφ) where they wrap around holds the
  matrix of the convolution, once N is so large that no entry of it wraps: it is a block of the circulant, so its norm
  is no larger. The circulant's is max σ(K̂(ω)) over ω = (2πj + φ)/N, for every φ that one likes, one per axis.
* *Section.* Read the other way, y ↦ Aᵀy, outputs lie on a window of the circulant: ‖Aᵀy‖² ≤ Σ_ω σ²(K̂(ω)) ‖ŷ(ω)‖².
  That is Σ_c y_cᵀ T y_c over the channels, with the Toeplitz matrix T(x, x') = Σ_ω σ² cos(ω(x − x'))/N^d over the
  window's sites: λ1(T) bounds ‖A‖², and is below max σ², since no y on a window has a single frequency.
* *Gram iteration.* With G = K̂ᴴK̂ and q = 2ⁿ, λ1(G) ≤ ‖G^q‖_F^(1/q), at every step (Delattre et al. 2023, Efficient
  bound of Lipschitz constant for convolutional layers by Gram iteration).
"""

import dataclasses
import functools
import itertools
import math

import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from lipviz import _moved
from lipviz.normalizers._operations import in_numpy
from lipviz.normalizers.bounds import rounding_margin
from lipviz.normalizers.gram import GramIteration
from lipviz.normalizers.iterations import as_matrix
from lipviz.normalizers.patches import image_size, patch_coverage, patches_along

_EPS = float(np.finfo(np.float64).eps)
_SYMBOLS = 2**21  # complex entries at a time, 32 MiB
_EIGENVALUES = 5e9  # frequencies times channels³ up to which the last candidates are decomposed
_FEW_EIGENVALUES = 3e5  # the same, before squaring has had a chance to leave fewer
_SECTION_SITES = 400  # outputs up to which the section's matrix is set up; above, a circulant is within 1 % or so
_SECTION_ROUNDING = 168  # units in the last place that the rounding of that matrix may cost: 2e-5 in float32
_SLACK = 1e-4  # of a logarithm, far above the rounding of squares in float32
_TWISTED_SIZE = 24  # where an axis is longer, one φ is as good as two: its frequencies lie that close

TWISTS = (0.0, math.pi)  # with these, ω and −ω are both on the grid


# --- polyphase ---


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis in polyphase form: tap t reads phase `phases[t]` at `shifts[t]` entries from the output's own.

    Attributes:
        shifts: Array of ints, of shape (taps,).
        phases: The same, numbered from 0 without gaps.
        values: The phases' residues modulo the stride, of shape (number of phases,).
        size: Least size of a circulant that the axis fits into without wrapping.
    """

    shifts: np.ndarray
    phases: np.ndarray
    values: np.ndarray
    size: int = 0


def polyphase(taps, stride, dilation, size=None, count=0, before=0):
    """The polyphase form of an axis; `size` None leaves the circulant's open."""
    reach = np.arange(taps) * dilation
    values, phases = np.unique(reach % stride, return_inverse=True)
    shifts = reach // stride
    if size is None:
        return Axis(shifts, phases, values)
    least = 1
    for phase, value in enumerate(values):
        own = shifts[phases == phase]
        # Entries q of this phase, at q·stride + value − before of the image, that exist; outputs are 0 … count − 1.
        first, last = -(-(before - value) // stride), (size - 1 + before - value) // stride
        if first <= last:  # o + p − q is never a multiple of N but 0
            least = max(least, count + own.max() - first, last - own.min() + 1)
    return Axis(shifts, phases, values, int(least))


# --- in float64 ---


def halved(grids, twists):
    """Frequencies of the first axis whose conjugates are all others: ω and −ω have the same σ, for a real kernel."""
    if not grids:
        return []
    n = len(grids[0])
    return [grids[0][: n // 2 + 1 if twists[0] == 0 else (n + 1) // 2], *grids[1:]]


def largest_symbol(kernel, axes, grids, needed, ceiling=math.inf):
    """Upper bound of max σ(K̂(ω)) over a grid.

    Args:
        kernel: Array of shape ``(*taps, in, out)``.
        axes: The `Axis` of each.
        grids: All frequencies, one array per axis.
        needed: The frequencies that have to be looked at.
        ceiling: From here on the search ends: the result is infinite.

    Returns:
        The tuple (bound, frequency where it was found), the second None where nothing was.
    """
    largest, place = -1.0, None
    rounding = 4 * (sum(kernel.shape[-2:]) + 8 * math.prod(kernel.shape[:-2])) * _EPS
    for first, symbols in symbols_on(kernel, axes, needed):
        rows, columns = symbols.shape[-2:]
        adjoint = symbols.conj().transpose(0, 2, 1)
        grams = adjoint @ symbols if rows >= columns else symbols @ adjoint
        value, index = largest_eigenvalue(grams, largest)
        if value > largest:
            largest = value
            index = np.unravel_index(first + index, [len(grid) for grid in needed]) if needed else ()
            place = tuple(grid[i] for grid, i in zip(needed, index, strict=True))
        if math.sqrt(largest) * (1 + rounding) >= ceiling:
            return math.inf, None
    return math.sqrt(max(largest, 0.0)) * (1 + rounding), place


def enlarged(axes, counts):
    """The axes with somewhat larger circulants, on which a section is closer."""
    sizes = [count + int(axis.shifts.max()) for axis, count in zip(axes, counts, strict=True)]
    return [dataclasses.replace(axis, size=max(axis.size, n)) for axis, n in zip(axes, sizes, strict=True)]


def twisted(axes):
    """Frequencies of each axis for φ = π, of the first one half."""
    full = [(2 * np.pi * np.arange(axis.size) + np.pi) / axis.size for axis in axes]
    return halved(full, (math.pi,) * len(axes))


def features_of(axes, grids, counts):
    """The section's matrix is FᵀDF, with σ² of each frequency twice on the diagonal of D.

    Returns:
        A float64 array F of shape (2, frequencies, outputs): cosines and sines, over √(N^d).
    """
    wave = np.ones((1, 1), complex)
    for number, (axis, grid, count) in enumerate(zip(axes, grids, counts, strict=True)):
        own = np.exp(1j * np.outer(grid, np.arange(count))) / math.sqrt(axis.size)
        if number == 0 and len(grid) < axis.size:  # a frequency stands for its opposite too, unless it is that
            own *= np.sqrt(np.where(np.isclose(np.sin(grid), 0), 1.0, 2.0))[:, None]
        wave = np.einsum("fx,gy->fgxy", wave, own).reshape(len(wave) * len(own), -1)
    return np.stack([wave.real, wave.imag])


def section_norm(kernel, axes, grids, features):
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


def symbols_on(kernel, axes, grids):
    """Yields K̂(ω) = Σ exp(iω·shift) K[tap], of shape (frequencies, phases · in, out), with the first one's number."""
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


def largest_eigenvalue(grams, floor):
    """The largest eigenvalue of many positive semi-definite matrices, or a bound of it, and its index.

    Repeated squaring bounds each one's λ1 on both sides, ‖Aᵍ‖²/tr(Aᵍ) ≤ λ1ᵍ ≤ ‖Aᵍ‖ (Frobenius norms; the upper side is
    the Gram iteration of Delattre et al. 2023): matrices that cannot have the largest fall out, and what is left
    is decomposed.

    Args:
        grams: Array of shape (n, c, c), Hermitian.
        floor: Matrices whose eigenvalues are all below it are of no interest.

    Returns:
        The tuple (value, index); the value is `floor` or less where nothing exceeds it.
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
    # Single precision is enough to choose; what is chosen is decomposed in double.
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
    """Whether so few matrices are left that all are decomposed."""
    return count * float(side) ** 3 <= (_EIGENVALUES if squarings >= 4 else _FEW_EIGENVALUES)


def _parts(matrices):
    """Real and, of complex matrices, imaginary part in float32."""
    parts = (matrices.real, matrices.imag) if np.iscomplexobj(matrices) else (matrices,)
    return [np.ascontiguousarray(part, np.float32) for part in parts]


# --- what the layers use: the bound in keras.ops, at sizes that are known ---


@dataclasses.dataclass(frozen=True, eq=False)
class FourierBound:
    """An upper bound of the norm of a convolution on images up to a size, as a function of its kernel.

    The bound is that of this module's section for up to 400 outputs, that of the circulants, the smallest over φ, for
    more; or what `coverage` says of a kernel whose matrix has a norm of at most 1, if that is smaller. It holds for
    every smaller image too: N is the largest that any of them asks for, and their sections are parts of this one.

    Args:
        kernel_size: Taps, one per axis.
        sizes: Sizes of the image, one per axis; of the input of a transposed convolution.
        strides: One per axis.
        padding: "same" or "valid".
        transposed: Whether it is the adjoint of the convolution that reads its output.
    """

    kernel_size: tuple
    sizes: tuple
    strides: tuple
    padding: str
    transposed: bool = False

    @functools.cached_property
    def axes(self):
        """The `Axis` of each. A section is closer on a somewhat larger circulant."""
        geometry = zip(self.sizes, self.kernel_size, self.strides, strict=True)
        axes = [axis_up_to(*values, self.padding, self.transposed) for values in geometry]
        return enlarged(axes, self.counts) if self.is_section else axes

    @functools.cached_property
    def counts(self):
        """Outputs of the convolution along each axis, of a transposed one its inputs."""
        if self.transposed:
            return self.sizes
        axes = zip(self.sizes, self.kernel_size, self.strides, strict=True)
        return tuple(max(patches_along(n, k, s, self.padding)[0], 1) for n, k, s in axes)

    @functools.cached_property
    def is_section(self):
        """Whether the outputs are few enough for the section's matrix."""
        return math.prod(self.counts) <= _SECTION_SITES

    @functools.cached_property
    def features(self):
        """Those of the section's matrix, see `features_of`."""
        return features_of(self.axes, self.grids[0], self.counts)

    @functools.cached_property
    def coverage(self):
        """Norm of the convolution over that of the kernel's matrix, at the most: √(patches that share an entry)."""
        axes = zip(self.sizes, self.kernel_size, self.strides, strict=True)
        return math.sqrt(math.prod(patch_coverage(*axis, self.padding, self.transposed) for axis in axes))

    @functools.cached_property
    def grids(self):
        """For each choice of φ, the frequencies of each axis that have to be looked at: a list of lists of arrays."""
        if self.is_section:  # which φ hardly matters then
            return [twisted(self.axes)]
        choices = [TWISTS if axis.size <= _TWISTED_SIZE else TWISTS[:1] for axis in self.axes]
        grids = []
        for twists in itertools.product(*choices):
            axes = zip(self.axes, twists, strict=True)
            full = [(2 * np.pi * np.arange(axis.size) + twist) / axis.size for axis, twist in axes]
            grids.append(halved(full, twists))
        return grids

    @functools.cached_property
    def waves(self):
        """Cosine and sine of ω·shift for every frequency, at the phase that a tap reads.

        Returns:
            A float64 array of shape (2, choices of φ, frequencies, phases, taps). Choices with fewer frequencies than
            others repeat their first.
        """
        waves = [self._waves(grids) for grids in self.grids]
        most = max(wave.shape[1] for wave in waves)
        return np.stack([np.concatenate([w, np.repeat(w[:, :1], most - w.shape[1], axis=1)], axis=1) for w in waves], 1)

    def _waves(self, grids):
        wave = np.ones((1, 1, 1), complex)
        for axis, grid in zip(self.axes, grids, strict=True):
            own = np.exp(1j * np.outer(grid, axis.shifts))[:, None, :]
            own = own * (axis.phases == np.arange(len(axis.values))[:, None])
            shape = [a * b for a, b in zip(wave.shape, own.shape, strict=True)]
            wave = np.einsum("frt,gsu->fgrstu", wave, own).reshape(shape)
        return np.stack([wave.real, wave.imag])

    def unit(self, kernel):
        """Divide a kernel by a bound of the norm of its convolution; zero stays zero.

        The gradient is that of σ(K̂(ω)) at the frequency where the bound was found, or of all σ(K̂(ω)) with the weights
        that they have in the section's largest eigenvalue.

        Args:
            kernel: Tensor of shape ``(*taps, in, out)`` whose matrix (taps · in, out) has a norm of at most 1, float32
                or float64. It is of that order, unless it is 0.

        Returns:
            A tensor of the kernel's shape.
        """
        matrix = as_matrix(kernel).shape
        dtype = standardize_dtype(kernel.dtype)
        # No circulant's norm is below that of the kernel's matrix (N ≥ P), whose entries' norm is at most 1.
        least = 0.5 / math.sqrt(min(matrix)) if min(matrix) else 1.0
        margin = 1 - 4 * rounding_margin(matrix, dtype)
        return kernel * (margin / ops.maximum(self.bound(kernel), least))

    def bound(self, kernel):
        """Bound the norm of the convolution of a kernel whose matrix has a norm of at most 1.

        Args:
            kernel: Tensor of shape ``(*taps, in, out)``, float32 or float64.

        Returns:
            A scalar tensor, with a gradient.
        """
        bound, moving = self._of_section(kernel) if self.is_section else self._of_circulants(kernel)
        return ops.where(bound < self.coverage, bound * moving, self.coverage)

    def _of_section(self, kernel):
        """The bound as a constant, and a factor of 1 that has its relative gradient."""
        values, vectors = _gram_values(*self._symbols(ops.stop_gradient(kernel), self.waves[:, 0]))
        features = ops.convert_to_tensor(self.features, dtype=kernel.dtype)
        weighted = ops.reshape(features * ops.sqrt(values)[:, None], (-1, features.shape[-1]))
        section = ops.matmul(ops.transpose(weighted), weighted)
        iteration = GramIteration(section)
        iteration.square(9)
        (first,) = iteration.eigenvectors()
        shares = ops.sum(ops.square(ops.matmul(features, first[:, None])), axis=(0, 2))
        real, imaginary = self._symbols(kernel, self.waves[:, 0])
        squares = ops.sum(_squared_lengths(real, imaginary, *vectors), axis=(-2, -1))
        total = ops.sum(shares * squares)
        moving = ops.sqrt((total + 1e-30) / ops.stop_gradient(total + 1e-30))
        margin = _SECTION_ROUNDING * float(np.finfo(standardize_dtype(kernel.dtype)).eps)
        return ops.sqrt(ops.exp(iteration.upper)) * (1 + margin), moving

    def _of_circulants(self, kernel):
        """The same for the circulants."""
        bounds, places, vectors = _gram_bounds(*self._symbols(ops.stop_gradient(kernel), self.waves))
        best = ops.argmin(bounds)
        bound = ops.sqrt(ops.take(bounds, best))
        # σ = ‖K̂v‖ at one frequency, v being constant: the derivative of a simple singular value.
        waves = ops.convert_to_tensor(self.waves.reshape(2, -1, *self.waves.shape[3:]), dtype=kernel.dtype)
        place = best * self.waves.shape[2] + ops.take(places, best)
        real, imaginary = self._product(kernel, ops.take(waves, place, axis=1))
        squares = _squared_lengths(real, imaginary, *(ops.take(part, best, axis=0) for part in vectors))
        sigma = ops.sqrt(ops.sum(squares) + 1e-30)
        return bound, ops.where(sigma > 1e-12, sigma / ops.stop_gradient(ops.maximum(sigma, 1e-12)), 1.0)

    def _symbols(self, kernel, waves):
        return self._product(kernel, ops.convert_to_tensor(waves, dtype=kernel.dtype))

    @staticmethod
    def _product(kernel, waves):
        """Real and imaginary parts of K̂, of shape (..., rows, columns) with at least as many rows as columns."""
        channels, filters = kernel.shape[-2:]
        phases, taps = waves.shape[-2:]
        symbols = ops.matmul(waves, ops.reshape(kernel, (taps, channels * filters)))
        symbols = ops.reshape(symbols, (*waves.shape[:-2], phases * channels, filters))
        if phases * channels < filters:  # σ is that of the transpose
            symbols = ops.swapaxes(symbols, -1, -2)
        return symbols[0], symbols[1]

    def exact(self, kernel):
        """The same bound in float64 NumPy, of any kernel, and without what Gram iteration adds.

        Args:
            kernel: Array of shape ``(*taps, in, out)``.

        Returns:
            A float.
        """
        kernel = np.asarray(kernel, np.float64)
        best = float(np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2)) * self.coverage
        if self.is_section:
            return min(best, section_norm(kernel, self.axes, self.grids[0], self.features))
        for grids in self.grids:
            best = min(best, largest_symbol(kernel, self.axes, grids, grids, best)[0])
        return best


def axis_up_to(size, taps, stride, padding, transposed=False, dilation=1):
    """Polyphase form of an axis, whose circulant holds the convolution on images of `size` and of all smaller sizes."""
    axis = polyphase(taps, stride, dilation)
    least = int(axis.shifts.max()) + 1  # no tap falls onto another
    for length in range(1, size + 1):
        image = image_size(length, taps, stride, padding, transposed)
        count, before = patches_along(image, (taps - 1) * dilation + 1, stride, padding)
        if count > 0:
            least = max(least, polyphase(taps, stride, dilation, image, count, before).size)
    return dataclasses.replace(axis, size=least)


def _gram(real, imaginary):
    """K̂ᴴK̂ = P + iQ, with a symmetric P and an antisymmetric Q."""
    stacked = ops.concatenate([real, imaginary], axis=-2)
    turned = ops.concatenate([imaginary, -real], axis=-2)
    transposed = ops.swapaxes(stacked, -1, -2)
    return ops.matmul(transposed, stacked), ops.matmul(transposed, turned)


def _squared_lengths(real, imaginary, v_real, v_imaginary):
    """Squared entries of K̂v, of shape (..., rows, 1)."""
    v_real, v_imaginary = v_real[..., None], v_imaginary[..., None]
    squares = ops.square(ops.matmul(real, v_real) - ops.matmul(imaginary, v_imaginary))
    return squares + ops.square(ops.matmul(real, v_imaginary) + ops.matmul(imaginary, v_real))


def _gram_values(real, imaginary, squarings=9):
    """Bound λ1(K̂ᴴK̂) at every frequency.

    Args:
        real: Real part of K̂, of shape (frequencies, rows, columns).
        imaginary: Imaginary part, of the same shape.
        squarings: Number of squarings.

    Returns:
        The tuple (bounds of shape (frequencies,), real and imaginary part of the eigenvectors (frequencies, columns)).
    """
    p, q = _gram(real, imaginary)
    if p.shape[-1] == 1:
        ones = ops.ones_like(p[:, :, 0])
        return p[:, 0, 0], (ones, ops.zeros_like(ones))
    iteration = GramIteration(p, q)
    iteration.square(squarings)
    return ops.exp(iteration.upper), iteration.eigenvectors()


def _gram_bounds(real, imaginary):
    """Bound max λ1(K̂ᴴK̂) over frequencies, for several sets of them.

    Gram iteration on all of them, then on the most promising ones only: what is left behind keeps its bound.

    Args:
        real: Real part of K̂, of shape (sets, frequencies, rows, columns).
        imaginary: Imaginary part, of the same shape.

    Returns:
        The tuple (bounds of shape (sets,), numbers of the best frequencies of shape (sets,), real and imaginary
        part of their eigenvectors, of shape (sets, columns) each).
    """
    p, q = _gram(real, imaginary)
    (sets, count), side = p.shape[:2], p.shape[-1]
    if side == 1:
        values = p[:, :, 0, 0]
        ones = ops.ones_like(values[:, :1])
        return ops.max(values, axis=1), ops.argmax(values, axis=1), (ones, ops.zeros_like(ones))
    p, q = (ops.reshape(part, (sets * count, side, side)) for part in (p, q))
    places = ops.tile(ops.arange(count, dtype="int32"), [sets])
    iteration = GramIteration(p, q)
    left = ops.full((sets,), -1e30, p.dtype)
    for kept, squarings in _stages(count, side):
        iteration.square(squarings)
        bounds = ops.reshape(iteration.upper, (sets, -1))
        if kept < count:
            first, order = ops.top_k(bounds, kept + 1)
            left = ops.maximum(left, first[:, -1])
            order = order[:, :kept] + count * ops.arange(sets, dtype=order.dtype)[:, None]
            order = ops.reshape(order, (-1,))
            iteration.keep(order)
            places = ops.take(places, order, axis=0)
            bounds, count = first[:, :kept], kept
    bound = ops.exp(ops.maximum(left, bounds[:, 0]))
    return bound, places, iteration.eigenvectors()


def _stages(count, side):
    """How many frequencies go on after how many squarings; one at the end."""
    stages = [(count // 4, 3 if side <= 64 else 4), (count // 16, 2), (3, 2), (1, 4)]
    return [(min(max(kept, 1), count), squarings) for kept, squarings in stages]


def __getattr__(name):
    return _moved.name_of(__name__, name)
