"""All singular values of layers of several kinds with the same raw kernel, one by one and in a stack."""

import dataclasses
import functools
import math
import threading
from collections.abc import Sequence

import numpy as np

from lipviz import normalizers as nm
from lipviz.measure.layer_kinds import DENSE_KINDS, LayerKind
from lipviz.normalizers.threads import one_blas_thread
from lipviz.operators.linear import linear_operator, probed
from lipviz.operators.weights import random_kernel
from lipviz.parametrizations import unfilled
from lipviz.types import Array

WIDTH = 64  # inputs and outputs of a dense layer
IMAGE, CHANNELS, KERNEL_SIZE = 6, 4, 3  # of a convolution
PADDINGS = ("same", "valid", "circular")
_LOCK = threading.Lock()
_PERMUTED_INPUTS = 1  # of the input at which blocks are linearized, beside the seed


@dataclasses.dataclass(frozen=True, eq=False)
class KindSpectra:
    """Singular values of stacks of layers, one stack for each kind.

    All layers of a stack have the same kernel. Between two of them, the channels are permuted at random, as a sorting
    activation does. A residual block is linearized at a random input, which all stacks share.

    Attributes:
        kinds: The n kinds, as given, but for those that do not take the padding.
        left_out: Those that do not take it.
        depth: Number of layers of a stack.
        smallest: Smallest singular value of the raw kernel as a matrix; the largest is 1.
        padding: Of convolutions.
        input_shape: Shape of an input, without the batch.
        values: For each kind the singular values of its stack as a map, descending, float64.
        raw: Singular values of the raw kernel as a matrix, descending, float64.
    """

    kinds: tuple[LayerKind, ...]
    left_out: tuple[LayerKind, ...]
    depth: int
    smallest: float
    padding: str
    input_shape: tuple[int, ...]
    values: tuple[np.ndarray, ...] = dataclasses.field(repr=False)
    raw: np.ndarray = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def largest(self) -> Array:
        """Largest singular value of each stack, of shape (n,). It is the Lipschitz constant of a linear stack."""
        return np.array([values[0] for values in self.values])

    @property
    def median(self) -> Array:
        """Median singular value of each stack, of shape (n,)."""
        return np.array([np.median(values) for values in self.values])

    @property
    def gain(self) -> Array:
        """Root of the mean squared singular value over the inputs, of shape (n,).

        A random change of the input, of the length 1, has this length behind the stack, in the mean of squares.
        """
        inputs = math.prod(self.input_shape)
        return np.array([np.linalg.norm(values) / math.sqrt(inputs) for values in self.values])


def kind_spectra(
    kinds: Sequence[LayerKind] = DENSE_KINDS,
    *,
    depth: int = 1,
    smallest: float = 0.1,
    padding: str = "same",
    seed: int = 0,
) -> KindSpectra:
    """Decompose stacks of layers, one for each of several kinds, which all start from the same raw kernel.

    Dense layers map 64 to 64 numbers, convolutions 4 to 4 channels of images of 6 × 6 with kernels of 3 × 3. All have
    the constant k = 1. A kind whose raw kernel has another shape takes one of its shape, with the same extremes.

    Args:
        kinds: Items of `LayerKind`, all dense or all convolutions.
        depth: Number of layers of a stack, at least 1.
        smallest: Smallest singular value of the raw kernel as a matrix, in [0, 1]. The others lie evenly up to 1.
        padding: Of convolutions: "same", "valid" or "circular". Kinds that do not take it are left out.
        seed: Seed of the raw kernel, the permutations and the input.

    Returns:
        A `KindSpectra`. Singular values are exact to about 1e-15 for the float32 kernels that the layers use.

    Raises:
        TypeError: If an element of `kinds` is no `LayerKind`.
        ValueError: If an argument is out of range; if there is no kind, or there are dense ones and convolutions; or
            if convolutions without padding leave nothing of an image.
    """
    kinds = _checked(kinds)
    if nm.check_count("depth", depth) < 1:
        raise ValueError(f"`depth` must be at least 1. Received: {depth!r}")
    if not 0 <= smallest <= 1:
        raise ValueError(f"`smallest` must be in [0, 1]. Received: {smallest!r}")
    if padding not in PADDINGS:
        raise ValueError(f"`padding` must be one of {', '.join(map(repr, PADDINGS))}. Received: {padding!r}")
    seed = nm.check_count("seed", seed)
    shape = (WIDTH,) if kinds[0].is_dense else (IMAGE, IMAGE, CHANNELS)
    shapes = [shape, *_next_shapes(shape, padding, depth)]
    used = tuple(kind for kind in kinds if kind.is_dense or _takes(kind, padding))
    if not used:
        raise ValueError(f"Expected a kind that takes padding={padding!r}. Received: {_titles(kinds)}")
    with one_blas_thread():
        values = tuple(_values(kind, float(smallest), padding, seed, shapes) for kind in used)
    rows = math.prod(shape) if kinds[0].is_dense else KERNEL_SIZE**2 * CHANNELS
    raw = np.linspace(1.0, smallest, min(rows, shape[-1]))
    left_out = tuple(kind for kind in kinds if kind not in used)
    return KindSpectra(used, left_out, int(depth), float(smallest), padding, shape, values, raw)


def _checked(kinds):
    kinds = tuple(kinds)
    for kind in kinds:
        if not isinstance(kind, LayerKind):
            raise TypeError(f"`kinds` must hold LayerKinds. Received: {kind!r}")
    if len({kind.is_dense for kind in kinds}) != 1:
        raise ValueError(f"Expected kinds that are all dense or all convolutions. Received: {_titles(kinds)}")
    return kinds


def _titles(kinds):
    return ", ".join(kind.title for kind in kinds) or "none"


def _next_shapes(shape, padding, depth):
    """Shapes behind each layer of a stack; those of a convolution without padding shrink."""
    if padding != "valid" or len(shape) == 1:
        return [shape] * depth
    most = (IMAGE - 1) // (KERNEL_SIZE - 1)
    if depth > most:
        raise ValueError(
            f"An image of {IMAGE} × {IMAGE} has no room for {depth} convolutions of {KERNEL_SIZE} × {KERNEL_SIZE} "
            f"without padding. Expected a depth of at most {most}, or another padding."
        )
    sizes = [IMAGE - (KERNEL_SIZE - 1) * place for place in range(1, depth + 1)]
    return [(size, size, shape[-1]) for size in sizes]


@functools.cache
def _takes(kind, padding):
    try:
        kind.make(CHANNELS, KERNEL_SIZE, padding)
    except ValueError:
        return False
    return True


# --- one layer ---


@functools.lru_cache(maxsize=512)
def _matrix(kind: LayerKind, smallest: float, padding: str, seed: int, shape: tuple[int, ...]) -> Array:
    """Matrix of a layer's linear map; of a residual block, that from its input to the hidden values."""
    with _LOCK:  # all threads share the layers that are kept
        layer = _blank(kind, padding)
        size = tuple(layer.raw_kernel.shape)
        raw = random_kernel(math.prod(size[:-1]), size[-1], smallest, seed=seed)
        layer.raw_kernel.assign(raw.reshape(size))
        if hasattr(layer.parametrization, "u"):  # else Keras's global seed decides where the power iteration starts
            start = layer.parametrization.u
            start.assign(np.random.default_rng(seed).standard_normal(start.shape))
        layer.refresh()
        operator = probed(layer, shape) if kind.is_block else linear_operator(layer, shape)
        matrix = operator @ np.eye(operator.shape[1])
    matrix.flags.writeable = False
    return matrix


@functools.lru_cache(maxsize=32)
def _blank(kind, padding):
    """A layer whose `wbar` waits for a `refresh`: to build one takes longer than to constrain its kernel."""
    layer = kind.make(WIDTH if kind.is_dense else CHANNELS, KERNEL_SIZE, padding, dtype="float32")
    with unfilled():
        layer.build((None, WIDTH) if kind.is_dense else (None, IMAGE, IMAGE, CHANNELS))
    return layer


# --- a stack ---


def _values(kind, smallest, padding, seed, shapes):
    stack = [_matrix(kind, smallest, padding, seed, before) for before in shapes[:-1]]
    values = np.linalg.svd(_stacked(kind, stack, shapes, seed), compute_uv=False)
    values.flags.writeable = False
    return values


def _stacked(kind, stack, shapes, seed):
    """Matrix of a stack. The permutations and the input are the same for all kinds."""
    rng = np.random.default_rng([seed, _PERMUTED_INPUTS])
    x = rng.standard_normal(math.prod(shapes[0]))
    product = np.eye(len(x))
    for place, (matrix, behind) in enumerate(zip(stack, shapes[1:], strict=True)):
        if kind.is_block:
            matrix = np.eye(len(x)) - 2 * matrix.T @ ((matrix @ x > 0)[:, None] * matrix)
        order = _permutation(rng, behind) if place < len(stack) - 1 else slice(None)
        product, x = (matrix @ product)[order], (matrix @ x)[order]
    return product


def _permutation(rng, shape):
    """Order of the entries of an array of a shape, whose last axis is permuted in each place by itself."""
    places = np.arange(math.prod(shape)).reshape(-1, shape[-1])
    return rng.permuted(places, axis=1).reshape(-1)
