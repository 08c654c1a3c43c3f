"""The norm of a convolution, the norms that several methods claim, and the gain at each frequency.

Each method gives a number. A kernel is divided by it, so that its convolution becomes 1-Lipschitz. Where the number is
smaller than the norm, the claim is false: the Lipschitz constant after the division is norm / number, which is above 1.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy.sparse.linalg as sla

from lipviz import _moved
from lipviz import normalizers as nm
from lipviz.layers.base_convolution import averaged_factor, coverage_factor
from lipviz.normalizers.fourier import FourierBound
from lipviz.normalizers.polyphase import polyphase
from lipviz.normalizers.symbols import symbols_on
from lipviz.operators.convolution import Convolution
from lipviz.operators.singular_values import explicit_matrix
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike

KERNEL_KINDS = ("all ones", "random", "smooth", "checkerboard", "edge")
SPECTRUM_SIDE = 600  # smaller side up to which all singular values are computed
_EXPLICIT_SIDE = 200  # up to here the norm comes from a matrix, above from Lanczos' method
_FREQUENCIES = 48  # on half of an axis
_ROUNDING = 1e-9  # relative; a claim that is below the norm by less than this counts as true

METHODS = ("counting patches", "lipviz's Fourier bound", "plain FFT", "reference's average")


@dataclasses.dataclass(frozen=True, eq=False)
class ConvolutionClaims:
    """The norm of a 2-D convolution, the norms that several methods claim, and the gain at each frequency.

    Attributes:
        kernel_size: (height, width) of the kernel.
        channels: (in, out).
        image: (height, width) of the image.
        strides: Two numbers.
        padding: "same" or "valid".
        kernel_norm: Largest singular value of the kernel's matrix (height · width · in, out).
        norm: The convolution's norm, to 1e-9.
        methods: Names of the methods.
        claims: Number that each method divides the kernel by, of shape (methods,).
        is_proved: Whether the number of a method is an upper bound for every kernel, of shape (methods,).
        frequencies: Along the height, in cycles per output pixel, from 0 to ½, of shape (F,).
        gains: Largest gain at each frequency on an unbounded image, over a grid of frequencies along the width, of
            shape (F,). It is at most 0.5 % too small for kernels of up to 7 taps.
        grid_frequencies: Frequencies of an FFT of the image's size, of shape (G,).
        grid_gains: Largest gain at each of them, over the frequencies of the FFT along the width, of shape (G,).
        spectrum: All singular values, descending; None where they are too many or were not asked for.
    """

    kernel_size: tuple[int, int]
    channels: tuple[int, int]
    image: tuple[int, int]
    strides: tuple[int, int]
    padding: str
    kernel_norm: float
    norm: float
    methods: tuple[str, ...]
    claims: np.ndarray
    is_proved: np.ndarray
    frequencies: np.ndarray = dataclasses.field(repr=False)
    gains: np.ndarray = dataclasses.field(repr=False)
    grid_frequencies: np.ndarray = dataclasses.field(repr=False)
    grid_gains: np.ndarray = dataclasses.field(repr=False)
    spectrum: np.ndarray | None = dataclasses.field(repr=False)

    @property
    def after(self) -> Array:
        """Norm of the convolution after its kernel is divided by each claim, of shape (methods,); 1 is the aim."""
        return np.divide(self.norm, self.claims, out=np.zeros_like(self.claims), where=self.claims > 0)

    @property
    def is_below_norm(self) -> Array:
        """Which claims are below the norm, of shape (methods,)."""
        return self.claims < self.norm * (1 - _ROUNDING)

    @property
    def lies(self) -> Array:
        """Old name of `is_below_norm`, for one release."""
        _moved.warn("ConvolutionClaims.lies", "ConvolutionClaims.is_below_norm", 2)
        return self.is_below_norm


def convolution_claims(
    kernel: ArrayLike,
    image: int | Sequence[int] = (8, 8),
    strides: int | Sequence[int] = 1,
    padding: Literal["same", "valid"] = "same",
    spectrum: bool = True,
) -> ConvolutionClaims:
    """Measure the norm of a 2-D convolution with zero padding, and compare the claims of several methods with it.

    - "counting patches": σ(W)·√P, with the largest number P of patches that share a pixel: `bound="coverage"`.
    - "lipviz's Fourier bound": that of `lipviz.normalizers.fourier`: `bound="tight"`.
    - "plain FFT": the largest gain at the frequencies of an FFT of the image's size, as if padding were circular.
    - "reference's average": σ(W) times the root of the average number of patches per pixel:
      `bound="unsound_average"`.

    Args:
        kernel: Array of shape (height, width, in, out).
        image: Size of the image, one number or two.
        strides: One number or two.
        padding: "same" or "valid".
        spectrum: Whether to compute all singular values, where the smaller side is at most 600.

    Returns:
        A `ConvolutionClaims`.

    Raises:
        TypeError: If the kernel does not hold real numbers.
        ValueError: If the kernel has another number of axes, no entry, or holds NaN or Inf; if an argument is out of
            range, or the image is smaller than a kernel without padding.
    """
    operator, unit = checked_convolution(kernel, image, strides, padding)
    kernel, image, strides = operator.kernel, operator.sizes, operator.strides
    kernel_norm = float(np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2))
    grids = [_frequencies(count) for count in operator.counts]
    fine = [np.pi * np.arange(_FREQUENCIES + 1) / _FREQUENCIES, _frequencies(_points(kernel.shape[1], strides[1]))]
    grid_gains = _gains(kernel, strides, grids)
    geometry = (image, kernel.shape[:2], strides)
    factors = coverage_factor(*geometry, padding), averaged_factor(*geometry)
    tight = FourierBound(kernel.shape[:2], image, strides, padding).exact(kernel)
    claims = [kernel_norm / factors[0], float(tight), grid_gains.max(), kernel_norm / factors[1]]
    is_small = min(operator.shape) <= SPECTRUM_SIDE
    values = _all_values(operator) if spectrum and is_small else None
    return ConvolutionClaims(
        kernel_size=kernel.shape[:2],
        channels=kernel.shape[2:],
        image=(image[0], image[1]),
        strides=(strides[0], strides[1]),
        padding=padding,
        kernel_norm=kernel_norm * unit,
        norm=unit * (largest_singular_value(operator) if values is None else float(values[0])),
        methods=METHODS,
        claims=np.array(claims) * unit,
        is_proved=np.array([True, True, False, False]),
        frequencies=fine[0] / (2 * np.pi),
        gains=_gains(kernel, strides, fine) * unit,
        grid_frequencies=grids[0][: len(grids[0]) // 2 + 1] / (2 * np.pi),
        grid_gains=grid_gains[: len(grids[0]) // 2 + 1] * unit,
        spectrum=None if values is None else values * unit,
    )


def checked_convolution(
    kernel: ArrayLike, image: int | Sequence[int], strides: int | Sequence[int], padding: str
) -> tuple[Convolution, float]:
    """The operator of a checked kernel divided by a power of two, so that no square under- or overflows; and the power.

    Args:
        kernel: See `convolution_claims`.
        image: See `convolution_claims`.
        strides: See `convolution_claims`.
        padding: See `convolution_claims`.

    Raises:
        TypeError: See `convolution_claims`.
        ValueError: See `convolution_claims`.
    """
    kernel = as_float64(kernel, "The kernel")
    if kernel.ndim != 4 or kernel.size == 0:
        raise ValueError(f"Expected a kernel of shape (height, width, in, out). Received shape: {kernel.shape}")
    image, strides = _pair("image", image), _pair("strides", strides)
    unit = _power_of_two(kernel)
    return Convolution(kernel / unit, image, strides, _checked_padding(padding)), unit


def _pair(name, value) -> tuple[int, int]:
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(pair) != 2 or any(nm.check_count(name, number) < 1 for number in pair):
        raise ValueError(f"`{name}` must be a whole number of at least 1, or two of them. Received: {name}={value!r}")
    return int(pair[0]), int(pair[1])


def _checked_padding(padding):
    if padding not in ("same", "valid"):
        raise ValueError(f"`padding` must be 'same' or 'valid'. Received: padding={padding!r}")
    return padding


def largest_singular_value(operator: sla.LinearOperator) -> float:
    """Largest singular value of an operator, to 1e-9: by its Gram matrix up to a side of 200, else by Lanczos' method.

    `extreme_singular_values` computes the smallest as well, which takes most of its time. This is a measurement;
    `convolution_bound` gives an upper bound that is proved.

    Args:
        operator: SciPy `LinearOperator`.

    Returns:
        A float.
    """
    tall = operator if operator.shape[0] >= operator.shape[1] else operator.T
    start = np.random.default_rng(0).standard_normal(tall.shape[1])
    image = tall @ start
    if not np.any(image):
        return 0.0
    unit = _power_of_two(image)
    tall = (1 / unit) * tall
    if tall.shape[1] <= _EXPLICIT_SIDE:
        return unit * float(_all_values(tall)[0])
    settings = {"which": "LA", "return_eigenvectors": False, "tol": 1e-9, "v0": start, "ncv": 32}
    return unit * math.sqrt(max(float(sla.eigsh(tall.T @ tall, k=1, **settings)[0]), 0.0))


def _power_of_two(values) -> float:
    """A power of two near the largest magnitude: divisions by it do not round. 1 where all is zero."""
    return 2.0 ** np.clip(np.frexp(np.abs(values).max())[1], -1000, 1000)


def _all_values(operator):
    tall = operator if operator.shape[0] >= operator.shape[1] else operator.T
    squares = np.linalg.eigvalsh(explicit_matrix(tall.T @ tall))
    return np.sqrt(np.maximum(squares[::-1], 0.0))


def _points(taps, stride):
    """Number of frequencies on which the largest gain is at most 0.5 % too small, up to a reach of 6.

    With a reach of D outputs, N frequencies find at least cos(πD/2N) of the largest gain, see `size_free_bound`.
    """
    return int(np.clip(16 * ((taps - 1) // stride), 4, 2 * _FREQUENCIES))


def _frequencies(count):
    return 2 * np.pi * np.arange(count) / count


def _gains(kernel, strides, grids):
    """Largest σ(K̂(ω)) at each frequency of the first axis, over all those of the second."""
    axes = [polyphase(taps, stride, 1) for taps, stride in zip(kernel.shape[:2], strides, strict=True)]
    values = []
    for _, symbols in symbols_on(kernel, axes, grids):
        adjoint = symbols.conj().transpose(0, 2, 1)
        grams = symbols @ adjoint if symbols.shape[1] < symbols.shape[2] else adjoint @ symbols
        values.append(_largest_eigenvalues(grams))
    squares = np.concatenate(values).reshape(len(grids[0]), len(grids[1]))
    return np.sqrt(np.maximum(squares.max(axis=1), 0.0))


def _largest_eigenvalues(grams):
    """Largest eigenvalue of each of many Hermitian matrices, of shape (n, side, side)."""
    if grams.shape[1] > 2:
        return np.linalg.eigvalsh(grams)[:, -1]
    first, last = grams[:, 0, 0].real, grams[:, -1, -1].real  # a formula takes a tenth of the time
    return (first + last) / 2 + (np.hypot((first - last) / 2, np.abs(grams[:, 0, 1])) if grams.shape[1] == 2 else 0)


def sample_kernel(
    kind: Literal["all ones", "random", "smooth", "checkerboard", "edge"] = "random",
    size: int = 3,
    channels: int = 1,
    filters: int = 1,
    orthogonal: bool = False,
    seed: int | None = 0,
) -> Array:
    """Make a 2-D kernel whose matrix has the norm 1.

    Args:
        kind: "all ones", equal entries; "random", normal numbers; "smooth", a blur with random weights between
            channels, as trained kernels often are; "checkerboard", the signs of a chess board; "edge", a difference of
            neighbours along the width.
        size: Height and width.
        channels: Input channels.
        filters: Output channels.
        orthogonal: Whether to make all singular values of its matrix that are not zero 1, as Björck does.
        seed: Seed of "random" and "smooth"; None draws another kernel each time.

    Returns:
        A float64 array of shape (size, size, channels, filters).

    Raises:
        ValueError: If an argument is out of range.
    """
    if kind not in KERNEL_KINDS:
        raise ValueError(f"`kind` must be one of {KERNEL_KINDS}. Received: {kind!r}")
    for name, value in (("size", size), ("channels", channels), ("filters", filters)):
        if nm.check_count(name, value) < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {name}={value!r}")
    rng = np.random.default_rng(nm.check_seed("seed", seed))
    shape = (size, size, channels, filters)
    if kind == "random":
        kernel = rng.standard_normal(shape)
    else:
        mixed = rng.standard_normal((channels, filters)) if kind == "smooth" else np.ones((channels, filters))
        kernel = _pattern(kind, size)[:, :, None, None] * mixed
        if kind == "smooth":
            kernel = kernel + 0.1 * kernel.std() * rng.standard_normal(shape)
    left, values, right = np.linalg.svd(kernel.reshape(-1, filters), full_matrices=False)
    values = (values > 1e-9 * values[0]).astype(float) if orthogonal else values / values[0]
    return ((left * values) @ right).reshape(shape)


def _pattern(kind, size):
    places = np.arange(size)
    if kind == "all ones":
        return np.ones((size, size))
    if kind == "checkerboard":
        return (-1.0) ** (places[:, None] + places)
    if kind == "edge":
        return np.ones((size, 1)) * np.sign(places - (size - 1) / 2 + (0.5 if size == 1 else 0))
    row = np.array([math.comb(size - 1, place) for place in places], float)
    return np.outer(row, row)


def __getattr__(name):
    return _moved.name_of(__name__, name)
