"""Convolutions on a circle, frequency by frequency: there their matrix is block diagonal, and nothing is cut.

On a circle of n pixels, a convolution with the taps K_d is K̂(ω) = Σ_d K_d e^(iωd) at each of the frequencies
ω = 2πj/n, one per axis. Its singular values are those of all these matrices. As the taps are real, K̂(−ω) is the complex
conjugate of K̂(ω), so that half of the frequencies is enough.

*Block reflector* (Lai et al. 2025). For taps V_d of shape (channels, r) and ε ≥ 0, let

    K̂(ω) = I − 2 V̂ (V̂ᴴV̂ + εI)⁻¹ V̂ᴴ,    V̂ = V̂(ω).

Proof, as for matrices (`lipviz.normalizers.orthogonal`): with the singular values s of V̂, this Hermitian matrix has the
eigenvalues 1 − 2s²/(s² + ε) in ]−1, 1], and otherwise 1. So its norm is at most 1; for ε = 0 it is unitary. Rows or
columns that are left out do not change that. The taps K_d are real, and are as many as there are pixels.

A complex matrix A + iB is computed as the real one [[A, −B], [B, A]], which has its singular values, each twice.

Reference: Lai et al. (2025), Enhancing certified robustness via block reflector orthogonal layers and logit annealing
loss, section 4.
"""

import dataclasses
import functools

import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from lipviz.normalizers.bounds import unit_scaled
from lipviz.normalizers.orthogonal import corrected, reflector_epsilon, shrunk, solved, turned
from lipviz.types import Array, ArrayLike, Tensor


@dataclasses.dataclass(frozen=True)
class Circle:
    """Images of two axes that are closed to circles, and half of their frequencies.

    It is the `operator_norm` of a parametrization whose kernels have a tap for each pixel.

    Args:
        sizes: Height and width, positive.
    """

    sizes: tuple[int, int]

    @property
    def taps(self) -> tuple[int, int]:
        """The sizes of a kernel with a tap for each pixel, with the pixel itself in the middle: odd."""
        height, width = (n + 1 - n % 2 for n in self.sizes)
        return height, width

    @property
    def frequencies(self) -> tuple[int, int]:
        """Numbers of frequencies along height and width: all, and half."""
        return self.sizes[0], self.sizes[1] // 2 + 1

    @functools.cached_property
    def middle(self) -> tuple[Array, Array]:
        """Distances of the taps of a kernel from its middle, an array for each axis."""
        first, second = (np.arange(n) - n // 2 for n in self.sizes)
        return first, second

    def waves(self, axis: int, places: Array, dtype: str) -> tuple[Tensor, Tensor]:
        """cos(ωd) and sin(ωd) of all frequencies ω of an axis, of shape (frequencies, places).

        Args:
            axis: 0 or 1.
            places: Whole numbers d.
            dtype: "float32" or "float64".
        """
        turns = np.outer(np.arange(self.frequencies[axis]), places) % self.sizes[axis]
        angles = 2 * np.pi / self.sizes[axis] * turns
        return ops.convert_to_tensor(np.cos(angles), dtype), ops.convert_to_tensor(np.sin(angles), dtype)

    def symbol(self, taps: Tensor, places: tuple[Array, Array]) -> tuple[Tensor, Tensor]:
        """K̂(ω) = Σ_d K_d e^(iωd): real and imaginary part, of shape (height, frequencies, rows, columns).

        Args:
            taps: The taps, of shape (taps, taps, rows, columns), float32 or float64.
            places: The d of each tap, an array for each axis.
        """
        dtype = standardize_dtype(taps.dtype)
        cosine, sine = self.waves(1, places[1], dtype)
        along = [ops.einsum("fw,hwrc->hfrc", wave, taps) for wave in (cosine, sine)]
        cosine, sine = self.waves(0, places[0], dtype)
        real, imaginary = ([ops.einsum("gh,hfrc->gfrc", wave, part) for wave in (cosine, sine)] for part in along)
        return real[0] - imaginary[1], real[1] + imaginary[0]

    def taps_of(self, symbol: tuple[Tensor, Tensor]) -> Tensor:
        """The taps K_d of a symbol, (``*taps``, rows, columns), as `PadConv2D` takes them: zeros fill up even sizes."""
        dtype = standardize_dtype(symbol[0].dtype)
        cosine, sine = self.waves(0, self.middle[0], dtype)
        real, imaginary = ([ops.einsum("gh,gfrc->hfrc", wave, part) for wave in (cosine, sine)] for part in symbol)
        along = real[0] + imaginary[1], imaginary[0] - real[1]  # times e^(−iωd)
        cosine, sine = (wave * self.weights(dtype) for wave in self.waves(1, self.middle[1], dtype))
        taps = ops.einsum("fw,hfrc->hwrc", cosine, along[0]) + ops.einsum("fw,hfrc->hwrc", sine, along[1])
        rest = [(0, most - n) for most, n in zip(self.taps, self.sizes, strict=True)]
        return ops.pad(taps, [*rest, (0, 0), (0, 0)]) if any(n for _, n in rest) else taps

    def weights(self, dtype: str) -> Tensor:
        """How often each frequency of the width counts in a mean: once where −ω is the same, else twice; (f, 1)."""
        width = self.sizes[1]
        counts = np.full((self.frequencies[1], 1), 2.0)
        counts[0] = 1.0
        if width % 2 == 0:
            counts[-1] = 1.0
        return ops.convert_to_tensor(counts / (self.sizes[0] * width), dtype)

    def basis(self, axis: int, dtype: str) -> Tensor:
        """An orthonormal real Fourier basis of an axis, of shape (2, frequencies ω ≥ 0, pixels): cosines, then sines.

        The sine of ω = 0 is a row of zeros, and so is that of ω = π.

        Args:
            axis: 0 or 1.
            dtype: "float32" or "float64".
        """
        size = self.sizes[axis]
        frequencies = np.arange(size // 2 + 1)
        turns = np.outer(frequencies, np.arange(size)) % size
        lengths = np.where(2 * frequencies % size == 0, size, size / 2) ** 0.5
        waves = np.stack([np.cos(2 * np.pi / size * turns), np.sin(2 * np.pi / size * turns)]) / lengths[:, None]
        waves[1, 2 * frequencies % size == 0] = 0.0
        return ops.convert_to_tensor(waves, dtype)

    def blocks(self, kernel: Tensor) -> Tensor:
        """The convolution as a real matrix at each pair of frequencies ω ≥ 0, between waves of `basis`.

        A tap at the distance d turns the pair (cos ωx, sin ωx) by the angle ωd. So with c = cos ωd, s = sin ωd and
        J = [[0, −1], [1, 0]], a kernel is Σ_d K_d ⊗ (c I + s J) ⊗ (c′ I + s′ J) for the angles of height and width.

        Args:
            kernel: Tensor (``*taps``, in, out) as `taps_of` returns it.

        Returns:
            A tensor (pairs of frequencies, 4 in, 4 out). Its rows and columns are cosine and sine of the height, of the
            width, and channels.
        """
        dtype, (height, width) = standardize_dtype(kernel.dtype), self.sizes
        rows, columns = kernel.shape[-2:]
        angles = [
            2 * np.pi / n * (np.outer(np.arange(n // 2 + 1), places) % n)
            for n, places in zip(self.sizes, self.middle, strict=True)
        ]
        down, along = (ops.convert_to_tensor(np.stack([np.cos(a), np.sin(a)]), dtype) for a in angles)
        sums = ops.einsum("qfw,hwrc->qfhrc", along, kernel[:height, :width])
        sums = ops.reshape(ops.einsum("pgh,qfhrc->pqgfrc", down, sums), (4, -1, rows, columns))
        # Where each product of cosines and sines stands in the matrix, and with which sign.
        turns = np.stack([np.eye(2), [[0, -1], [1, 0]]])
        signs = np.einsum("pab,qcd->pqacbd", turns, turns).reshape(4, 4, 4)
        spread = ops.einsum("pab,pnrc->narbc", ops.convert_to_tensor(signs, dtype), sums)
        return ops.reshape(spread, (-1, 4 * rows, 4 * columns))

    def convolved(self, images: Tensor, kernel: Tensor) -> Tensor:
        """The convolution on the circle of a kernel as `taps_of` returns it.

        Args:
            images: Tensor (batch, height, width, in), float32 or float64.
            kernel: Tensor (``*taps``, in, out) of the same dtype.

        Returns:
            A tensor (batch, height, width, out).
        """
        height, width = self.sizes
        high, wide = (n // 2 + 1 for n in self.sizes)
        count, (rows, columns) = ops.shape(images)[0], kernel.shape[-2:]
        dtype = standardize_dtype(images.dtype)
        down = ops.reshape(self.basis(0, dtype), (2 * high, height))  # cosines of all frequencies, then sines
        along = ops.reshape(ops.swapaxes(self.basis(1, dtype), 0, 1), (2 * wide, width))  # both of each frequency
        waves = ops.matmul(along, images)
        waves = ops.matmul(down, ops.reshape(waves, (count, height, 2 * wide * rows)))
        waves = ops.swapaxes(ops.reshape(waves, (2 * count, high * wide, 2 * rows)), 0, 1)
        products = ops.matmul(ops.reshape(waves, (high * wide, count, 4 * rows)), self.blocks(kernel))
        back = ops.swapaxes(ops.reshape(products, (high * wide, 2 * count, 2 * columns)), 0, 1)
        back = ops.matmul(turned(down), ops.reshape(back, (count, 2 * high, 2 * wide * columns)))
        return ops.matmul(turned(along), ops.reshape(back, (count, height, 2 * wide, columns)))

    # --- the operator_norm of a parametrization ---

    def unit(self, kernel: Tensor) -> Tensor:
        """The kernel itself, whose convolution has a norm of at most 1 by construction."""
        return kernel

    def exact(self, wbar: ArrayLike) -> float:
        """The norm of the convolution with a kernel as `taps_of` returns it, in float64 NumPy."""
        height, width = self.sizes
        found = np.fft.rfft2(np.asarray(wbar, np.float64)[:height, :width], axes=(0, 1))
        found = found if found.shape[-2] >= found.shape[-1] else found.swapaxes(-1, -2)
        gram = found.conj().swapaxes(-1, -2) @ found
        return float(np.sqrt(max(np.linalg.eigvalsh(gram).max(initial=0.0), 0.0)))


def circular_reflector(v: Tensor, circle: Circle, rows: int, columns: int, eps: float = 1e-6) -> Tensor:
    """The kernel of a convolution that reflects at every frequency of a circle.

    Args:
        v: Taps V, of shape (taps, taps, max(rows, columns), r), float32 or float64.
        circle: The images.
        rows: Number of input channels.
        columns: Number of output channels.
        eps: ε, relative to the mean over all frequencies of the squared lengths of V̂'s columns. It is at least what
            rounding needs.

    Returns:
        A tensor (``*circle.taps``, rows, columns). All singular values of the convolution are 1, up to ε and rounding,
        where no singular value of V̂ is far below the others. For V = 0 it is the identity.
    """
    v, _ = unit_scaled(v)
    real, imaginary = circle.symbol(v, (np.arange(v.shape[0]), np.arange(v.shape[1])))
    count = v.shape[-1]
    wide = _embedded(real, imaginary)
    gram = ops.matmul(turned(wide), wide)
    mean = ops.sum(ops.square(v)) / count
    epsilon = reflector_epsilon(gram, eps * mean)
    right = ops.concatenate([turned(real[..., :columns, :]), -turned(imaginary[..., :columns, :])], axis=-2)
    inner = solved(gram + epsilon * ops.eye(2 * count, dtype=v.dtype), right)
    products = 2.0 * ops.matmul(_embedded(real[..., :rows, :], imaginary[..., :rows, :]), inner)
    real, imaginary = ops.eye(rows, columns, dtype=v.dtype) - products[..., :rows, :], -products[..., rows:, :]
    unitary = corrected(_embedded(real, imaginary))
    taps = circle.taps_of((unitary[..., :rows, :columns], unitary[..., rows:, :columns]))
    return shrunk(taps, (4 * max(circle.sizes) * rows, columns))


def _embedded(real, imaginary):
    """The real matrix of a complex one."""
    first, second = (ops.concatenate(pair, axis=-1) for pair in ((real, -imaginary), (imaginary, real)))
    return ops.concatenate([first, second], axis=-2)
