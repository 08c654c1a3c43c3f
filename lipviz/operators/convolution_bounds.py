"""Proved bounds on the norm of a convolution, and its whole spectrum, in float64.

A power or Lanczos iteration knows a norm from below only, and a plain FFT of an image's size is no bound at all: zero
padding is not circular, and σ may be twice what the FFT says. What is proved here rests on three facts:

* *Polyphase.* A convolution of stride s reads entry o·s + t·d of the padded image. With t·d = p·s + r, that is entry
  o + p of the image's r-th phase: a convolution of stride 1 on s times the channels (Vaidyanathan 1993, Multirate
  systems and filter banks, chapter 4).
* *Compression.* A circulant matrix of size N whose entries are multiplied by exp(iφ) where they wrap around holds the
  matrix of the convolution, once no entry of it wraps: it is a block of the circulant, so its norm is no larger. The
  circulant's is max σ(K̂(ω)) over ω = (2πj + φ)/N, for every φ that one likes, one per axis. For few outputs the
  section of `lipviz.normalizers.fourier` is closer.
* *Cholesky.* Where the factorization of t²I − AᵀA runs through in floating point, the matrix has no eigenvalue below
  minus its backward error (Rump 2006, Verification of positive definiteness, BIT 46): ‖A‖ ≤ t up to that.
"""

import collections
import dataclasses
import itertools
import math
import time

import numpy as np
import scipy.linalg
import scipy.sparse.linalg as sla

from lipviz import normalizers as nm
from lipviz.layers.unconstrained import PadConv2D
from lipviz.normalizers import fourier
from lipviz.operators.convolution import Convolution
from lipviz.operators.linear import input_shape, linear_operator
from lipviz.operators.singular_values import EXPLICIT_SIDE, explicit_matrix
from lipviz.operators.used_weights import used_kernel
from lipviz.operators.weights import as_float64

MODES = ("fast", "exact")
EXACT_SIDE = 2000  # smaller side up to which "exact" decomposes an explicit matrix
SECTION_OUTPUTS = 600  # of a channel, for the bound by a section
SECTION_OPERATIONS = 1e8  # frequencies times channels³ for the same: a second
FAST_SIDE = 600  # the same for "fast": a tenth of a second
CHOLESKY_ENTRIES = 2**27  # of the band, 1 GiB
CHOLESKY_OPERATIONS = 3e11  # multiplications, about ten seconds on two cores

_EPS = float(np.finfo(np.float64).eps)
_EXPLICIT_SIZE = 2**25  # entries of an explicit matrix


@dataclasses.dataclass(frozen=True)
class ConvolutionBound:
    """What is proved of the norm of a convolution: lower ≤ norm ≤ upper.

    Attributes:
        lower: ‖Ax‖/‖x‖ of some x, less what rounding may have added.
        upper: Proved upper bound, with a margin for the rounding of its own computation.
        method: What proved the upper bound: "zero", "explicit", "coverage", "circulant", "section" or "Cholesky"; with
            the reason where an exact one was asked for and could not be had.
        milliseconds: Time it took.
    """

    lower: float
    upper: float
    method: str
    milliseconds: float

    @property
    def gap(self):
        """upper/lower − 1: how far the upper bound is from the norm at most. Infinite where the lower one is 0."""
        if self.upper == self.lower:
            return 0.0
        return self.upper / self.lower - 1 if self.lower > 0 else math.inf


def convolution_bound(operator, mode="fast"):
    """Bound the norm of a zero-padded convolution from both sides; the upper bound is proved, see this module.

    * "fast": the smallest of σ(W)·√patches (coverage, see `lipviz.layers.convolutional`), of the circulants with φ in
      {0, π} on each axis, and of a section for up to 600 outputs; an explicit matrix where its smaller side is at most
      600. Within 3 % of the norm for images of twice the kernel's size and more, 0.2 % at 28×28 for 3×3.
    * "exact": an explicit matrix where its smaller side is at most 2000, else Lanczos' method from below and a banded
      Cholesky factorization from above: within 0.1 %. Where that would take more than 1 GiB or 3e11 multiplications
      (large images of many channels), the bound is the fast one, and `method` says so.

    Args:
        operator: `Convolution`, of any number of axes, stride, padding, dilation and groups, or its transpose.
        mode: "fast" or "exact".

    Returns:
        A `ConvolutionBound`.

    Raises:
        TypeError: If `operator` is not a convolution.
        ValueError: If the mode is not known, or the kernel holds NaN or Inf.
    """
    if mode not in MODES:
        raise ValueError(f"`mode` must be one of {MODES}. Received: mode={mode!r}")
    start = time.perf_counter()
    operator, scale = _scaled(_untransposed(operator))
    if scale == 0:
        return ConvolutionBound(0.0, 0.0, "zero", 1e3 * (time.perf_counter() - start))
    lower, upper, proof = 0.0, 0.0, "zero"
    # The norm of a direct sum is the largest of its blocks': one whose simple bound is below that is left out.
    for simple, block in sorted(((_coverage(b), b) for b in operator.blocks()), key=lambda pair: -pair[0]):
        if simple > lower:
            low, high, method = (_fast if mode == "fast" else _exact)(block, simple)
            lower = max(lower, low)
        else:
            high, method = simple, "coverage"
        if high > upper:
            upper, proof = high, method
    return ConvolutionBound(lower * scale, upper * scale, proof, 1e3 * (time.perf_counter() - start))


def _untransposed(operator):
    """The convolution that an operator is, or whose transpose it is."""
    found = operator
    # SciPy does not take a transpose of a transpose for the operator itself; transposes have one argument.
    while not isinstance(found, Convolution) and len(getattr(found, "args", ())) == 1:
        found = found.args[0]
    if not isinstance(found, Convolution):
        raise TypeError(f"Expected a `Convolution`, or the transpose of one. Received: {type(operator).__name__}")
    return found


def _scaled(operator):
    """The operator over a power of two such that its largest entry is about 1, and that power; 0 for a zero kernel."""
    kernel = as_float64(operator.kernel, "The kernel")
    largest = np.abs(kernel).max(initial=0.0)
    if largest == 0:
        return operator, 0.0
    exponent = int(np.frexp(largest)[1])
    return _like(operator, np.ldexp(kernel, -exponent)), math.ldexp(1.0, exponent)


def _like(operator, kernel):
    """The same convolution with another kernel."""
    return Convolution(kernel, operator.sizes, operator.strides, operator.padding, operator.dilations, operator.groups)


# --- "fast" ---


def _fast(block, simple, steps=14):
    """Lower bound, upper bound and method for one group; `simple` is its coverage bound."""
    if min(block.shape) <= FAST_SIDE:
        return _explicit(block)
    circulant, start = _circulant(block)
    found = [(simple, "coverage"), (circulant, "circulant"), (_section(block), "section")]
    upper, method = min(found, key=lambda pair: pair[0])
    return min(_lanczos(block, start, steps), upper), upper, method


def _explicit(block):
    """From all eigenvalues of the smaller Gram matrix."""
    tall = block if block.shape[0] >= block.shape[1] else block.T
    gram = explicit_matrix(tall.T @ tall)
    norm = math.sqrt(max(np.linalg.eigvalsh(gram)[-1], 0.0))
    # LAPACK's eigenvalues are those of a matrix that is off by a small multiple of n ε; the Gram matrix is a sum of
    # as many products as a patch has entries.
    margin = 4 * (len(gram) + _terms(block)) * _EPS
    return norm * (1 - margin), norm * (1 + margin), "explicit"


def _terms(block):
    """Largest number of products that an output is the sum of, either way."""
    return math.prod(block.kernel.shape[:-2]) * max(block.kernel.shape[-2:])


def _coverage(block):
    """σ(W)·√P, with P the largest number of patches that share an entry, counted."""
    axes = zip(block.sizes, block.kernel.shape[:-2], block.strides, block.dilations, strict=True)
    patches = math.prod(nm.shared_patches(n, k, s, block.padding, d) for n, k, s, d in axes)
    return _matrix_norm(block.kernel) * math.sqrt(patches)


def _matrix_norm(kernel):
    """σ of the matrix (taps · in, out) of a kernel, from above."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    largest = max(np.linalg.eigvalsh(gram)[-1], 0.0)
    return math.sqrt(largest) * (1 + 4 * sum(matrix.shape) * _EPS)


def _axes(block):
    geometry = zip(
        block.kernel.shape[:-2], block.strides, block.dilations, block.sizes, block.counts, block.before, strict=True
    )
    return [fourier.polyphase(*values) for values in geometry]


def _circulant(block):
    """The smallest norm of the circulants that hold a block, and a start for Lanczos' method."""
    axes = _axes(block)
    sizes = [axis.size for axis in axes]
    best, place = math.inf, None
    for twists in itertools.product((0.0, np.pi), repeat=len(axes)):
        grids = [(2 * np.pi * np.arange(n) + twist) / n for n, twist in zip(sizes, twists, strict=True)]
        found, where = fourier.largest_symbol(block.kernel, axes, grids, fourier.halved(grids, twists), best)
        if found < best:
            best, place = found, where
    return best, _wave(block, axes, place)


def _section(block):
    """The bound by the section's matrix on the window of outputs; infinite where it would take long."""
    axes = fourier.roomy(_axes(block), block.counts)
    channels = min(block.kernel.shape[-1], block.kernel.shape[-2] * math.prod(len(axis.values) for axis in axes))
    work = math.prod(axis.size for axis in axes) * channels**3
    if math.prod(block.counts) > SECTION_OUTPUTS or work > SECTION_OPERATIONS:
        return math.inf
    grids = fourier.twisted(axes)
    return fourier.section_norm(block.kernel, axes, grids, fourier.features_of(axes, grids, block.counts))


# --- from below ---


def _wave(block, axes, place):
    """An image that is nearly the first singular vector: the circulant's, faded out towards the borders."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((*block.sizes, block.kernel.shape[-2]))
    if place is None:
        return noise.ravel()
    ((_, symbols),) = fourier.symbols_on(block.kernel, axes, [np.array([omega]) for omega in place])
    vector = np.linalg.svd(symbols[0], full_matrices=False)[0][:, 0].conj()
    vector = vector.reshape(*(len(axis.values) for axis in axes), -1)
    wave = np.ones(block.sizes)
    indices = []
    for number, (axis, omega, size, stride, before) in enumerate(
        zip(axes, place, block.sizes, block.strides, block.before, strict=True)
    ):
        entries, phases = np.divmod(np.arange(size) + before, stride)
        known = np.isin(phases, axis.values)
        factor = np.exp(1j * omega * entries) * np.sin(np.pi * (np.arange(size) + 1) / (size + 1)) * known
        shape = [-1 if i == number else 1 for i in range(len(axes))]
        wave = wave * factor.reshape(shape)
        indices.append(np.searchsorted(axis.values, phases).clip(max=len(axis.values) - 1).reshape(shape))
    image = (wave[..., None] * vector[tuple(indices)]).real
    return (image + 1e-3 * (np.abs(image).max() or 1.0) * noise).ravel()


def _lanczos(block, start, steps):
    """‖Ax‖/‖x‖ for the best x of a Krylov space: a lower bound of the norm, whatever rounding does to the space."""
    basis, images, direction = [], [], start
    for _ in range(min(steps, len(start))):
        size = np.linalg.norm(direction)
        for _ in range(2 if basis else 0):  # once is not enough
            known = np.array(basis)
            direction = direction - known.T @ (known @ direction)
        length = np.linalg.norm(direction)
        if length <= 1e-12 * size:
            break
        basis.append(direction / length)
        images.append(block @ basis[-1])
        direction = block.T @ images[-1]
    images = np.array(images)
    return _ratio(block, np.array(basis).T @ np.linalg.eigh(images @ images.T)[1][:, -1])


def _ratio(block, x):
    """‖Ax‖/‖x‖, less its rounding."""
    length = np.linalg.norm(x)
    if length == 0:
        return 0.0
    return float(np.linalg.norm(block @ x) / length) * (1 - 4 * _terms(block) * _EPS)


# --- "exact" ---


def _exact(block, simple):
    """Lower bound, upper bound and method for one group."""
    if min(block.shape) <= EXACT_SIDE:
        return _explicit(block)
    lower, upper, method = _fast(block, simple, steps=40)
    if upper <= lower * (1 + 2e-4):
        return lower, upper, method
    plan = _Band(_ordered(block))
    if plan.entries > CHOLESKY_ENTRIES or plan.operations > CHOLESKY_OPERATIONS:
        return lower, upper, f"{method}, too large for Cholesky"
    gram = plan.gram()
    for room in (2e-4, 8e-4, 5e-3):
        bound = _proved(gram, lower * (1 + room), plan)
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


class _Band:
    """The smaller-banded Gram matrix of a convolution, of images or of outputs, entries ordered (pixels, channels).

    Attributes:
        side: Its size.
        width: Its half-bandwidth: entries further from the diagonal are zero.
    """

    def __init__(self, block):
        self.block = block
        sides = [self._extent(block, outputs) for outputs in (False, True)]
        self.outputs = sides[1][0] * sides[1][1] ** 2 < sides[0][0] * sides[0][1] ** 2
        self.side, self.width = sides[self.outputs]

    @staticmethod
    def _extent(block, outputs):
        """Size and half-bandwidth."""
        sizes, channels = (block.counts if outputs else block.sizes), block.kernel.shape[-1 if outputs else -2]
        far = 0
        for size, k, stride, dilation in zip(
            sizes, block.kernel.shape[:-2], block.strides, block.dilations, strict=True
        ):
            reach = (k - 1) * dilation // (stride if outputs else 1)
            far = far * size + min(reach, size - 1)
        side = math.prod(sizes) * channels
        return side, min((far + 1) * channels - 1, side - 1)

    @property
    def entries(self):
        """Numbers to hold."""
        return self.side * (self.width + 1)

    @property
    def operations(self):
        """Multiplications of its Cholesky factorization."""
        return self.side * float(self.width) ** 2

    @property
    def rounding(self):
        """Bound of ‖computed − exact‖ of the Gram matrix: γ_m ‖ ``|A|`` ‖², and ‖B‖² ≤ ‖B‖₁ ‖B‖_∞."""
        magnitudes = _like(self.block, np.abs(self.block.kernel))
        rows, columns = magnitudes @ np.ones(magnitudes.shape[1]), magnitudes.T @ np.ones(magnitudes.shape[0])
        return 2 * (_terms(self.block) + 2) * _EPS * rows.max() * columns.max()

    def gram(self):
        """The lower half as LAPACK stores bands: an array of shape (width + 1, side)."""
        sizes = self.block.counts if self.outputs else self.block.sizes
        channels = self.block.kernel.shape[-1 if self.outputs else -2]
        band = np.zeros((self.width + 1, math.prod(sizes), channels))
        lanes = np.arange(channels)
        below = lanes[:, None] - lanes[None, :]  # row − column, less that of the pixels
        for far, blocks in self._blocks(sizes, channels).items():
            rows = far * channels + below
            for row, column in zip(*np.nonzero(rows >= 0), strict=True):
                band[rows[row, column], :, column] = blocks[:, row, column]
        return band.reshape(self.width + 1, -1)

    def _blocks(self, sizes, channels):
        """For each distance of two pixels, the block (row channels, column channels) of each pixel: {int: array}."""
        kernel, taps = self.block.kernel, list(np.ndindex(*self.block.kernel.shape[:-2]))
        found = collections.defaultdict(lambda: np.zeros((*sizes, channels, channels)))
        for one, other in itertools.product(taps, taps):
            ends = self._pairs(one, other)
            if ends is None:
                continue
            step, places = ends
            if step < (0,) * len(step):  # the upper half
                continue
            product = kernel[other].T @ kernel[one] if self.outputs else kernel[other] @ kernel[one].T
            found[step][places] += product
        flat = {}
        for step, blocks in found.items():
            far = 0
            for size, way in zip(sizes, step, strict=True):
                far = far * size + way
            blocks = blocks.reshape(-1, channels, channels)
            flat[far] = flat[far] + blocks if far in flat else blocks  # two steps may have one distance
        return flat

    def _pairs(self, one, other):
        """Where two taps meet: from a pixel to the other the step, and which pixels it starts from, as slices.

        Of images: both taps of an output exist. Of outputs: both read one pixel, that exists.
        """
        steps, places = [], []
        block = self.block
        for size, count, stride, dilation, before, t, u in zip(
            block.sizes, block.counts, block.strides, block.dilations, block.before, one, other, strict=True
        ):
            if self.outputs:
                step, rest = divmod((t - u) * dilation, stride)
                first = max(0, -step, -((t * dilation - before) // stride))
                last = min(count - 1, count - 1 - step, (size - 1 - t * dilation + before) // stride)
                place = slice(first, last + 1)
            else:
                step, rest = (u - t) * dilation, 0
                near, far = sorted((t * dilation - before, u * dilation - before))
                first, last = max(0, -(near // stride)), min(count - 1, (size - 1 - far) // stride)
                start = t * dilation - before
                place = slice(first * stride + start, last * stride + start + 1, stride)
            if rest or last < first:
                return None
            steps.append(step)
            places.append(place)
        return tuple(steps), tuple(places)


def _proved(gram, t, plan):
    """A bound of ‖A‖ that the Cholesky factorization of t²I − AᵀA proves, or None where it breaks down."""
    band = -gram
    band[0] += t * t
    diagonal = band[0].max()
    try:
        scipy.linalg.cholesky_banded(band, overwrite_ab=True, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None
    # Rump: the factor is that of a matrix off by at most γ √(aᵢᵢ aⱼⱼ) in entry (i, j), zero outside of the band.
    gamma = (plan.width + 3) * _EPS / (1 - (plan.width + 3) * _EPS)
    backward = 2 * gamma * diagonal * min(2 * plan.width + 1, plan.side)
    return math.sqrt(t * t * (1 + 4 * _EPS) + backward + plan.rounding) * (1 + 4 * _EPS)


# --- images of any size ---


def size_free_bound(kernel, strides=None, dilations=None, groups=1, points=None):
    """Bound the norm of a convolution for images of every size, with every zero padding.

    The smaller of two. Coverage: σ(W) times the root of the largest number of patches that share an entry,
    ceil(k/stride) along an axis. And the supremum of σ(K̂(ω)) over all ω, whose compressions all these
    convolutions are, so that it is also the limit for large images. From a grid of N points on an axis it follows
    by a comparison: for fixed unit vectors, vᴴK̂(ω)u is of exponential type D = (P − 1)/2 after a shift, P taps in
    polyphase form. Such a function, real and largest at ω*, is at least M cos(D(ω − ω*)) within π/2D (Duffin and
    Schaeffer 1938, Some properties of functions of exponential type), and a grid has a point within π/N. Hence, axis
    by axis, the supremum is at most max over the grid / Π cos(π D/N); compare Pfister and Bresler (2018), Bounding
    multivariate trigonometric polynomials.

    Args:
        kernel: Array of shape ``(*kernel size, in / groups, out)``; that of a transposed convolution as it is held.
        strides: One per axis; all 1 by default.
        dilations: One per axis; all 1 by default.
        groups: Number of groups.
        points: N, the same for all axes; by default 16 for each entry of reach, at least 32: less than 1 % of loss.

    Returns:
        A float.

    Raises:
        ValueError: If shapes do not fit, the kernel holds NaN or Inf, or there are too few points.
    """
    kernel = as_float64(kernel, "The kernel")
    # A size at which nothing is cut off checks the arguments.
    rank = kernel.ndim - 2
    operator = Convolution(kernel, (1,) * rank, strides, "same", dilations, groups)
    operator, scale = _scaled(operator)
    if scale == 0:
        return 0.0
    return scale * max(_size_free(part, operator.strides, operator.dilations, points) for part in _groups(operator))


def _groups(operator):
    return np.split(operator.kernel, operator.groups, axis=-1)


def _size_free(kernel, strides, dilations, points):
    # With stride 1 a dilation only stretches the frequencies.
    steps = [(s, 1 if s == 1 else d) for s, d in zip(strides, dilations, strict=True)]
    axes = [fourier.polyphase(k, *step) for k, step in zip(kernel.shape[:-2], steps, strict=True)]
    # On an image without end those taps meet in an entry that read the same phase.
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
    bound, _ = fourier.largest_symbol(kernel, axes, grids, fourier.halved(grids, [0.0] * len(grids)))
    return min(simple, bound * factor)


# --- all singular values ---


def conv_singular_values(layer):
    """All singular values of a convolution, descending: min(outputs, inputs) of them.

    By Fourier transform where that is exact: circular padding with odd kernels, and strides that divide the image
    (Sedghi, Gupta and Long 2019, The singular values of convolutional layers). Else from explicit matrices, one per
    group.

    Args:
        layer: Built Keras layer, see `linear_operator`, or an operator of SciPy such as `Convolution`.

    Returns:
        A float64 array.

    Raises:
        TypeError: If the layer's type is not known to be linear.
        ValueError: If no group has a side of at most 2048, or the layer is not built for a known size.
    """
    if isinstance(layer, sla.LinearOperator):
        operator = layer
    elif _is_circular(layer):
        return _circular_values(layer)
    else:
        operator = linear_operator(layer)
    parts = _parts(operator)
    values = np.concatenate([np.tile(_values(part), times) for part, times in parts])
    # Entries that no patch reads have none of their own.
    values = np.concatenate([values, np.zeros(max(0, min(operator.shape) - len(values)))])
    return np.sort(values)[::-1][: min(operator.shape)]


def _is_circular(layer):
    """Whether a layer is block circulant in polyphase form."""
    if type(layer) is not PadConv2D or layer.padding != "circular":
        return False
    spatial = _spatial_sizes(layer)
    odd = all((k - 1) * d % 2 == 0 for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True))
    return odd and all(n % s == 0 for n, s in zip(spatial, layer.strides, strict=True))


def _spatial_sizes(layer):
    shape = input_shape(layer)
    return shape[1:] if layer.data_format == "channels_first" else shape[:-1]


def _circular_values(layer):
    kernel, groups = used_kernel(layer), getattr(layer, "groups", 1)
    axes, grids = [], []
    for k, s, d, n in zip(layer.kernel_size, layer.strides, layer.dilation_rate, _spatial_sizes(layer), strict=True):
        axes.append(fourier.polyphase(k, s, d))
        grids.append(2 * np.pi * np.arange(n // s) / (n // s))
    values = []
    for part in np.split(kernel, groups, axis=-1):
        for _, symbols in fourier.symbols_on(part, axes, grids):
            values.append(np.linalg.svd(symbols, compute_uv=False).ravel())
    values = np.concatenate(values)
    places = math.prod(len(grid) for grid in grids)
    inputs = places * math.prod(layer.strides) * kernel.shape[-2] * groups
    full = min(inputs, places * kernel.shape[-1])
    values = np.concatenate([values, np.zeros(max(0, full - len(values)))])
    return np.sort(values)[::-1]


def _parts(operator):
    """Operators of which a direct sum consists, each with how often."""
    try:
        operator = _untransposed(operator)
    except TypeError:
        return [(operator, 1)]
    kernels = collections.Counter(part.tobytes() for part in _groups(operator))
    shape = _groups(operator)[0].shape
    alone = math.prod(shape[:-2]) == 1 and set(operator.strides) <= {1}
    parts = []
    for data, times in kernels.items():
        kernel = np.frombuffer(data).reshape(shape)
        if alone:  # pixels do not meet
            parts.append((Convolution(kernel.reshape(shape[-2:])), times * math.prod(operator.sizes)))
        else:
            geometry = (operator.sizes, operator.strides, operator.padding, operator.dilations)
            parts.append((Convolution(kernel, *geometry), times))
    return parts


def _values(operator):
    side = min(operator.shape)
    if side > EXPLICIT_SIDE or math.prod(operator.shape) > 4 * _EXPLICIT_SIZE:
        raise ValueError(
            f"All singular values of an operator of shape {operator.shape} are too many to compute: expected a side of "
            f"at most {EXPLICIT_SIDE}. Build the layer for smaller images, or ask for the largest one "
            "(`convolution_bound`) or both extremes (`extreme_singular_values`)."
        )
    return np.linalg.svd(explicit_matrix(operator), compute_uv=False)
