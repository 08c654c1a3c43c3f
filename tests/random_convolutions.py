"""Random convolutions, their exact matrices, and the bounds of `lipviz.operators.convolution_bounds` on them.

For tests/operators/test_convolution_bounds.py, and for the longer search of tools/conv_bounds.py.
"""

import contextlib
import math
import time

import numpy as np

from lipviz.operators import Convolution, convolution_bound, explicit_matrix, size_free_bound
from lipviz.operators import convolution_bounds as convolutions
from tests.support import convolution_matrix, make_kernel

KINDS = ("gaussian", "gaussian", "orthogonal", "ones", "checkerboard", "rank_one", "single", "twins", "zero")


def kernel_of(kind, shape, seed=0):
    """A kernel of shape (*taps, in, out) that is friendly, or nasty for a Fourier transform."""
    if kind == "checkerboard":
        signs = np.indices(shape[:-2]).sum(axis=0) % 2
        return np.broadcast_to((1.0 - 2 * signs)[..., None, None], shape)
    return make_kernel(kind, (math.prod(shape[:-1]), shape[-1]), seed=seed).reshape(shape)


def random_convolution(seed):
    """A small convolution of one, two or three axes: any stride, dilation, padding, group and scale."""
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([1, 2, 2, 2, 2, 3]))
    taps = rng.integers(1, 4 if rank == 3 else 6, rank)
    strides = rng.integers(1, 4, rank) if rng.random() < 0.5 else np.ones(rank, int)
    dilations = rng.integers(1, 4, rank) if rng.random() < 0.2 else np.ones(rank, int)
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    padding = str(rng.choice(["same", "valid", "causal"] if rank == 1 else ["same", "valid"]))
    sizes = rng.integers(1, 5 if rank == 3 else 10, rank)
    if padding == "valid":
        sizes = np.maximum(sizes, (taps - 1) * dilations + 1)
    channels = rng.integers(1, 5, 2)
    shape = (*map(int, taps), int(channels[0]), int(channels[1]) * groups)
    kernel = kernel_of(str(rng.choice(KINDS)), shape, seed) * 10.0 ** rng.integers(-12, 13)
    return Convolution(kernel, sizes.tolist(), strides.tolist(), padding, dilations.tolist(), groups)


def matrix_of(operator):
    """Its explicit matrix, from the entry-by-entry definition where that knows the padding."""
    if operator.padding == "causal":
        return explicit_matrix(operator)
    *taps, channels, filters = operator.kernel.shape
    spread = [(k - 1) * d + 1 for k, d in zip(taps, operator.dilations, strict=True)]
    kernel = np.zeros((*spread, channels * operator.groups, filters))
    each = filters // operator.groups
    for group in range(operator.groups):
        into, out = slice(group * channels, (group + 1) * channels), slice(group * each, (group + 1) * each)
        kernel[(*(slice(None, None, d) for d in operator.dilations), into, out)] = operator.kernel[..., out]
    return convolution_matrix(kernel, operator.sizes, operator.strides, operator.padding)


@contextlib.contextmanager
def no_explicit_matrix():
    """Let no bound come from an explicit matrix, however small."""
    kept = convolutions.FAST_SIDE, convolutions.EXACT_SIDE
    convolutions.FAST_SIDE = convolutions.EXACT_SIDE = 0
    try:
        yield
    finally:
        convolutions.FAST_SIDE, convolutions.EXACT_SIDE = kept


def bounds_of(operator):
    """Lower and upper bounds by name, without explicit matrices, each with its milliseconds."""
    with no_explicit_matrix():
        found = {mode: convolution_bound(operator, mode) for mode in convolutions.MODES}
    start = time.perf_counter()
    free = size_free_bound(operator.kernel, operator.strides, operator.dilations, operator.groups)
    bounds = {mode: (bound.lower, bound.upper, bound.milliseconds) for mode, bound in found.items()}
    bounds["size_free"] = (0.0, free, 1e3 * (time.perf_counter() - start))
    return bounds


def is_broken(lower, upper, norm):
    """Whether a norm is not between its bounds, but for the rounding of the SVD that it is from."""
    return not (lower <= norm * (1 + 1e-9) and upper >= norm * (1 - 1e-12))
