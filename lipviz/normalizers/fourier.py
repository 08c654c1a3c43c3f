"""Upper bounds of the norm of a zero-padded convolution, by Fourier transform: differentiable, and in float64.

A plain FFT of the image's size gives no bound, since zero padding is not circular. These statements hold:

* *Polyphase.* A convolution of stride s reads entry o·s + t·d of the padded image. With t·d = p·s + r, that is entry
  o + p of the image's r-th phase: a convolution of stride 1 on s times the channels (Vaidyanathan 1993, Multirate
  systems and filter banks, chapter 4).
* *Compression.* Take a circulant matrix of size N whose entries are multiplied by exp(iφ) where they wrap around. If N
  is so large that no entry of the convolution's matrix wraps, that matrix is a block of the circulant, so its norm is
  no larger. The norm of the circulant is max σ(K̂(ω)) over ω = (2πj + φ)/N. This holds for every φ, one per axis.
* *Section.* For the transposed map y ↦ Aᵀy, outputs y lie on a window of the circulant: ‖Aᵀy‖² ≤ Σ_ω σ²(K̂(ω)) ‖ŷ(ω)‖².
  That is Σ_c y_cᵀ T y_c over the channels, with the Toeplitz matrix T(x, x') = Σ_ω σ² cos(ω(x − x'))/N^d over the
  positions in the window. So λ1(T) bounds ‖A‖². It is below max σ², since no y on a window has a single frequency.
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
from lipviz.normalizers.bounds import rounding_margin
from lipviz.normalizers.gram import GramIteration
from lipviz.normalizers.iterations import as_matrix
from lipviz.normalizers.patches import patch_coverage, patches_along
from lipviz.normalizers.polyphase import Axis, axis_up_to, enlarged
from lipviz.normalizers.symbols import TWISTS, features_of, halved, largest_symbol, section_norm, twisted
from lipviz.types import Array, ArrayLike, Tensor

_SECTION_SITES = 400  # outputs up to which the section's matrix is used; above, a circulant is within about 1 %
_SECTION_ROUNDING = 168  # units in the last place that the rounding of that matrix may cost: 2e-5 in float32
_TWISTED_SIZE = 24  # on a longer axis, one φ is as good as two, since its frequencies are so close


# --- the bound that the layers use, in keras.ops, for known sizes ---


@dataclasses.dataclass(frozen=True, eq=False)
class FourierBound:
    """An upper bound of the norm of a convolution on images up to a size, as a function of its kernel.

    For up to 400 outputs, the bound is that of the section (see the module); for more, that of the circulants, the
    smallest over φ. If `coverage`, the bound for a kernel whose matrix has a norm of at most 1, is smaller, it is used.
    The bound holds for every smaller image too: N is the largest that any of these images needs, and their sections are
    parts of this one.

    Args:
        kernel_size: Taps, one per axis.
        sizes: Sizes of the image, one per axis; of the input of a transposed convolution.
        strides: One per axis.
        padding: "same" or "valid".
        transposed: Whether the convolution is transposed, that is, the adjoint of one that reads its output.
    """

    kernel_size: tuple
    sizes: tuple
    strides: tuple
    padding: str
    transposed: bool = False

    @functools.cached_property
    def axes(self) -> list[Axis]:
        """The `Axis` of each axis. The bound by a section is tighter on a somewhat larger circulant."""
        geometry = zip(self.sizes, self.kernel_size, self.strides, strict=True)
        axes = [axis_up_to(*values, self.padding, self.transposed) for values in geometry]
        return enlarged(axes, self.counts) if self.is_section else axes

    @functools.cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of outputs of the convolution along each axis; of inputs, if it is transposed."""
        if self.transposed:
            return self.sizes
        axes = zip(self.sizes, self.kernel_size, self.strides, strict=True)
        return tuple(max(patches_along(n, k, s, self.padding)[0], 1) for n, k, s in axes)

    @functools.cached_property
    def is_section(self) -> bool:
        """Whether the outputs are few enough for the section's matrix."""
        return math.prod(self.counts) <= _SECTION_SITES

    @functools.cached_property
    def features(self) -> Array:
        """The features of the section's matrix, see `features_of`."""
        return features_of(self.axes, self.grids[0], self.counts)

    @functools.cached_property
    def coverage(self) -> float:
        """Largest ratio of the convolution's norm to that of the kernel's matrix: √(patches that share an entry)."""
        axes = zip(self.sizes, self.kernel_size, self.strides, strict=True)
        return math.sqrt(math.prod(patch_coverage(*axis, self.padding, self.transposed) for axis in axes))

    @functools.cached_property
    def grids(self) -> list[list[Array]]:
        """For each choice of φ, the frequencies of each axis to look at: a list of lists of arrays."""
        if self.is_section:  # the choice of φ hardly matters then
            return [twisted(self.axes)]
        choices = [TWISTS if axis.size <= _TWISTED_SIZE else TWISTS[:1] for axis in self.axes]
        grids = []
        for twists in itertools.product(*choices):
            axes = zip(self.axes, twists, strict=True)
            full = [(2 * np.pi * np.arange(axis.size) + twist) / axis.size for axis, twist in axes]
            grids.append(halved(full, twists))
        return grids

    @functools.cached_property
    def waves(self) -> Array:
        """Cosine and sine of ω·shift for every frequency and tap, at the phase that the tap reads.

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

    def unit(self, kernel: Tensor) -> Tensor:
        """Divide a kernel by a bound of the norm of its convolution; zero stays zero.

        The gradient is that of σ(K̂(ω)) at the frequency at which the bound was found, or for a section that of all
        σ(K̂(ω)), with the weights that they have in the section's largest eigenvalue.

        Args:
            kernel: Tensor of shape ``(*taps, in, out)`` whose matrix (taps · in, out) has a norm of at most 1, float32
                or float64. The norm is of the order of 1, unless the kernel is 0.

        Returns:
            A tensor of the kernel's shape.
        """
        matrix = as_matrix(kernel).shape
        dtype = standardize_dtype(kernel.dtype)
        # No circulant's norm is below that of the kernel's matrix (N ≥ P), whose entries' norm is at most 1.
        least = 0.5 / math.sqrt(min(matrix)) if min(matrix) else 1.0
        margin = 1 - 4 * rounding_margin(matrix, dtype)
        return kernel * (margin / ops.maximum(self.bound(kernel), least))

    def bound(self, kernel: Tensor) -> Tensor:
        """Bound the norm of the convolution of a kernel whose matrix has a norm of at most 1.

        Args:
            kernel: Tensor of shape ``(*taps, in, out)``, float32 or float64.

        Returns:
            A scalar tensor, with a gradient.
        """
        bound, moving = self._of_section(kernel) if self.is_section else self._of_circulants(kernel)
        return ops.where(bound < self.coverage, bound * moving, self.coverage)

    def _of_section(self, kernel):
        """The bound as a constant, and a factor of value 1 that has the bound's relative gradient."""
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
        # σ = ‖K̂v‖ at one frequency with a constant v: it has the derivative of a simple singular value.
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

    def exact(self, kernel: ArrayLike) -> float:
        """The same bound in float64 NumPy, for any kernel. It is tighter, since it needs no Gram iteration.

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

    Gram iteration runs on all of them, then on those with the largest bounds only. The others keep their bounds.

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
    """Pairs (frequencies to keep, squarings before that); the last keeps one frequency."""
    stages = [(count // 4, 3 if side <= 64 else 4), (count // 16, 2), (3, 2), (1, 4)]
    return [(min(max(kept, 1), count), squarings) for kept, squarings in stages]


def __getattr__(name):
    return _moved.name_of(__name__, name)
