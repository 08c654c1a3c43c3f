"""Norms of gradients of random networks against their depth, in NumPy.

The networks are chains of random orthogonal kernels and activations. The norms show what an activation alone does to
gradients (Anil, Lucas and Grosse 2019, Sorting out Lipschitz function approximation, section 3).
"""

import dataclasses
import functools

import numpy as np

from lipviz import normalizers as nm
from lipviz.measure.gradients import GradientFlow, Samples
from lipviz.operators.samples import unit_vectors
from lipviz.types import ArrayLike

_KERNELS = 2**25  # entries of random kernels, 256 MiB


@dataclasses.dataclass(frozen=True, eq=False)
class GradientDepth(Samples):
    """Norms of input gradients of random networks, for A activations and D depths.

    Attributes:
        activations: Their names.
        depths: Numbers of layers, increasing, of shape (D,).
        norms: Of shape (A, D, n).
        width: Number of neurons of a layer.
        seed: Seed of kernels, inputs and output directions.
    """

    activations: tuple[str, ...]
    depths: np.ndarray
    norms: np.ndarray = dataclasses.field(repr=False)
    width: int
    seed: int


def gradient_depth(
    activations: str | list[str] | tuple[str, ...] = ("relu", "groupsort2"),
    depths: ArrayLike = (1, 2, 5, 10, 15, 20, 30, 40, 50),
    width: int = 64,
    samples: int = 64,
    seed: int = 0,
) -> GradientDepth:
    """Norms of input gradients of random networks of orthogonal layers, against their depth.

    A network of depth d has d layers, and then the product with a random unit vector. Each layer is a random orthogonal
    kernel, like that of a converged `SpectralDense`, and an activation. Networks share their first layers, and
    activations share the kernels. Inputs are standard normal. The computation uses float64 NumPy. For the default
    arguments it takes about ten milliseconds, once the kernels are drawn. Norms are about 2^(−d/2) with ReLU, and 1
    with an activation that sorts.

    Args:
        activations: Names of activations, see `DEPTH_ACTIVATIONS`.
        depths: Numbers of layers, at least 1 each, in any order.
        width: Number of neurons of a layer; even for "groupsort2".
        samples: Number of inputs, each with an output direction of its own.
        seed: Seed of kernels, inputs and directions.

    Returns:
        A `GradientDepth`.

    Raises:
        TypeError: If the activations are no list of names.
        ValueError: If an activation is not known, or a number is out of range.
    """
    names, depths, kernels, x, covectors = _random_networks(activations, depths, width, samples, seed)
    norms = [_norms_of_prefixes(DEPTH_ACTIVATIONS[name], kernels, depths, x, covectors) for name in names]
    return GradientDepth(names, np.asarray(depths), np.array(norms), width, seed)


def random_gradient_flows(
    activations: str | list[str] | tuple[str, ...] = ("relu", "groupsort2"),
    depth: int = 50,
    width: int = 64,
    samples: int = 64,
    seed: int = 0,
) -> tuple[GradientFlow, ...]:
    """Follow gradients back through random networks of orthogonal layers, layer by layer.

    The networks are those of `gradient_depth`, so the norms at the input are those of its depth `depth`.

    Args:
        activations: See `gradient_depth`.
        depth: Number of layers, at least 1.
        width: See `gradient_depth`.
        samples: See `gradient_depth`.
        seed: See `gradient_depth`.

    Returns:
        A `GradientFlow` for each activation, whose name it has.

    Raises:
        TypeError: See `gradient_depth`.
        ValueError: See `gradient_depth`.
    """
    names, _, kernels, x, covectors = _random_networks(activations, depth, width, samples, seed)
    places = ("input", *(f"layer {layer + 1}" for layer in range(len(kernels))))
    return tuple(
        GradientFlow(name, "a random direction", places, _norms_along(DEPTH_ACTIVATIONS[name], kernels, x, covectors))
        for name in names
    )


def _random_networks(activations, depths, width, samples, seed):
    """Checked names and depths, and kernels, inputs and output directions of the networks."""
    names = _checked_activations(activations)
    depths = np.unique([_at_least_one("depths", depth) for depth in np.ravel(depths).tolist()])
    width, samples = _at_least_one("width", width), _at_least_one("samples", samples)
    seed = nm.check_count("seed", seed)
    if len(depths) == 0 or depths[-1] * width**2 > _KERNELS or depths.sum() * width * samples > _KERNELS:
        raise ValueError(
            f"Expected one depth or more, and at most {_KERNELS} numbers in all kernels and gradients. "
            f"Received: depths={depths.tolist()}, width={width}, samples={samples}"
        )
    if width % 2 and "groupsort2" in names:
        raise ValueError(f"'groupsort2' sorts pairs: expected an even width. Received: width={width}")
    rng = np.random.default_rng((seed, 1))
    x, covectors = rng.standard_normal((samples, width)), unit_vectors(rng.standard_normal((samples, width)))
    return names, depths, _orthogonal_kernels(int(depths[-1]), width, seed), x, covectors


def _pullbacks(activation, kernels, x):
    """Functions that propagate gradients back through the activation of each layer."""
    found = []
    for kernel in kernels:
        x, pullback = activation(x @ kernel)
        found.append(pullback)
    return found


def _norms_along(activation, kernels, x, covectors):
    """Norms of a gradient at the input and after each layer: (layers + 1, samples)."""
    norms, gradients = [np.linalg.norm(covectors, axis=1)], covectors[None]
    for kernel, pullback in zip(kernels[::-1], _pullbacks(activation, kernels, x)[::-1], strict=True):
        gradients = pullback(gradients) @ kernel.T
        norms.append(np.linalg.norm(gradients[0], axis=1))
    return np.array(norms[::-1])


def _norms_of_prefixes(activation, kernels, depths, x, covectors):
    """Norms of the gradients of the first d layers, for each depth d: (depths, samples)."""
    pullbacks = _pullbacks(activation, kernels, x)
    backwards = np.ascontiguousarray(kernels.swapaxes(1, 2))  # products with transposed views take twice as long
    # Backwards, for networks of all depths at once: each joins at its own last layer.
    gradients = np.repeat(covectors[None], len(depths), axis=0)
    for layer in range(len(kernels), 0, -1):
        deep = slice(int(np.searchsorted(depths, layer)), None)
        # Depth by depth: the threads of one large product wait for each other on a busy machine.
        np.matmul(pullbacks[layer - 1](gradients[deep]), backwards[layer - 1], out=gradients[deep])
    return np.linalg.norm(gradients, axis=2)


@functools.lru_cache(maxsize=8)
def _orthogonal_kernels(count, width, seed):
    """Random orthogonal matrices, uniform ones, of shape (count, width, width)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, width, width)))
    q *= np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    q.flags.writeable = False
    return q


def _pointwise(value, slope):
    """An activation that acts on each entry by itself; `slope` takes z and the value."""

    def run(z):
        a = value(z)
        slopes = slope(z, a)
        return a, lambda gradients: gradients * slopes

    return run


def _sort_pairs(z):
    swap = (z[:, ::2] > z[:, 1::2]).ravel()
    order = np.arange(z.size) ^ np.repeat(swap, 2)  # in all of z: the neighbour of an even place is the next one
    return _permuted(z, order, order)


def _sort_all(z):
    order = (np.argsort(z, axis=1, kind="stable") + z.shape[1] * np.arange(len(z))[:, None]).ravel()
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return _permuted(z, order, back)


def _permuted(z, order, back):
    def pullback(gradients):
        return gradients.reshape(-1, z.size).take(back, axis=1).reshape(gradients.shape)

    return z.take(order).reshape(z.shape), pullback


def _elu(z):
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def _sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


# Name → function that takes z and returns its activation, and a function that propagates gradients back.
DEPTH_ACTIVATIONS = {
    "linear": _pointwise(lambda z: z, lambda z, a: 1.0),
    "relu": _pointwise(lambda z: np.maximum(z, 0), lambda z, a: (z > 0).astype(float)),
    "leaky_relu": _pointwise(lambda z: np.where(z > 0, z, 0.2 * z), lambda z, a: np.where(z > 0, 1, 0.2)),
    "elu": _pointwise(_elu, lambda z, a: np.where(z > 0, 1, a + 1)),
    "tanh": _pointwise(np.tanh, lambda z, a: 1 - a**2),
    "sigmoid": _pointwise(_sigmoid, lambda z, a: a * (1 - a)),
    "abs": _pointwise(np.abs, lambda z, a: np.sign(z)),
    "groupsort2": _sort_pairs,
    "fullsort": _sort_all,
}


# --- checks ---


def _at_least_one(name, value):
    if nm.check_count(name, value) < 1:
        raise ValueError(f"`{name}` must be at least 1. Received: {name}={value!r}")
    return int(value)


def _checked_activations(activations):
    if isinstance(activations, str):
        activations = (activations,)
    if not isinstance(activations, list | tuple) or not all(isinstance(name, str) for name in activations):
        raise TypeError(f"`activations` must be a list of names. Received: {activations!r}")
    unknown = [name for name in activations if name not in DEPTH_ACTIVATIONS]
    if unknown or not activations or len(set(activations)) < len(activations):
        raise ValueError(
            f"`activations` must be different ones of {', '.join(DEPTH_ACTIVATIONS)}. Received: {list(activations)}"
        )
    return tuple(activations)
