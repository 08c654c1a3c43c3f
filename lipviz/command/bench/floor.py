"""What a training step of the MLP must take at least, in processor time: parts that no faster form can leave out.

An exact constraint of a kernel W with the gradient G of its result multiplies by W or G, at their full size, five
times: WᵀW, the result W·S with S = f(WᵀW), and for the gradient WᵀG, G·S and W·T. Between them it needs S and T, and
so at least as much work as a Cholesky factorization of WᵀW. What lipviz does there is a decomposition into eigenvectors
and six products of that size, or fourteen products (`lipviz.normalizers.polar`).

Processor time adds up the cores. Unlike the time of a step, it does not depend on what runs side by side.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

import lipviz.layers as own
from lipviz.command.bench import networks, parts
from lipviz.command.bench.timing import Timing, take_turns
from lipviz.compiled import compiled_where_traced

KERNELS = ((2, 256), (256, 128), (128, 64), (64, 1))  # of `networks.mlp`
STEPS = ("plain", "lipviz", "sorting")
_SMALL_PRODUCTS = 14  # of the size of WᵀW, see `lipviz.normalizers.polar`


def timings(repeats: int, batch: int = 256) -> dict[str, Timing]:
    """Processor times of training steps and of parts; ratios are to the plain step.

    Args:
        repeats: Number of rounds.
        batch: Size of a batch.

    Returns:
        A dict from names to `Timing`. "call" is the call of an empty function, which each part includes.
    """
    steps = {kind: networks.training_step(networks.compiled(networks.mlp(kind), False), batch) for kind in STEPS}
    calls = {name: _call(part) for name, part in _PARTS.items()}
    activations = {name: _activations(layer, batch) for name, layer in _ACTIVATIONS.items()}
    return take_turns({**steps, **calls, **activations}, repeats, clock_of_processor=True)


_ACTIVATIONS: dict[str, Callable[[], keras.Layer]] = {"ReLU": keras.layers.ReLU, "GroupSort2": own.GroupSort2}


def _call(part):
    """A function without arguments that computes a part for all kernels."""
    tensors = [ops.convert_to_tensor(parts.noise(shape) / max(shape) ** 0.5) for shape in KERNELS]
    run = parts.compiled(lambda *kernels: tuple(part(_tall(w)) for w in kernels), False)
    return lambda: parts.wait(run(*tensors))


def _activations(layer, batch):
    """The three activations of the network, with their gradients, as a function without arguments."""
    inputs = [ops.convert_to_tensor(parts.noise((batch, columns))) for _, columns in KERNELS[:-1]]
    pulling = [parts.pulling_back(layer(), x) for x in inputs]
    run = parts.compiled(lambda *xs: tuple(pull(x)[1] for pull, x in zip(pulling, xs, strict=True)), False)
    with compiled_where_traced():  # as in a step
        run(*inputs)
    return lambda: parts.wait(run(*inputs))


def _tall(w):
    return ops.transpose(w) if w.shape[0] < w.shape[1] else w


def _products(w):
    """The five products at the full size of the kernel."""
    gram = ops.matmul(ops.transpose(w), w)
    out = ops.matmul(w, gram)
    inner = ops.matmul(ops.transpose(w), out)
    return ops.matmul(out, gram) + ops.matmul(w, inner)


def _small_products(w):
    gram = power = w[: w.shape[1]]
    for _ in range(_SMALL_PRODUCTS):
        power = ops.matmul(power, gram)
    return power


_PARTS: dict[str, Callable[[Any], Any]] = {
    "call": lambda w: w[:1, :1] + 1,
    "five products": _products,
    "Cholesky": lambda w: ops.cholesky(_positive(w)),
    "decomposition": lambda w: ops.eigh(_positive(w))[1],
    "small products": _small_products,
}


def _positive(w):
    """A positive definite matrix of the size of WᵀW, without a product."""
    square = w[: w.shape[1]]
    return square + ops.transpose(square) + 8 * ops.eye(w.shape[1])
