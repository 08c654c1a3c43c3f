"""Benchmarks of single parts: activations and poolings against those of Keras, and constraints of kernels."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

import lipviz.layers as own
from lipviz import normalizers as nm
from lipviz.command.bench.timing import Timing, take_turns
from lipviz.compiled import compiled_where_traced
from lipviz.types import Array, Tensor

SHAPES = ((128, 128), (512, 512), (1568, 128), (3 * 3 * 64, 64))
ACTIVATIONS: dict[str, Callable[[], Callable[[Any], Any]]] = {
    "−x": lambda: ops.negative,  # reads and writes each entry once, as little as any function outside of another one
    "GroupSort2": own.GroupSort2,
    "FullSort": own.FullSort,
    "MaxMin": own.MaxMin,
    "Householder": own.Householder,
    "BetaAbs": own.BetaAbs,
    "PReLUlip": own.PReLUlip,
}
POOLINGS = {
    "ScaledAveragePooling2D": own.ScaledAveragePooling2D,
    "ScaledL2NormPooling2D": own.ScaledL2NormPooling2D,
    "InvertibleDownSampling": own.InvertibleDownSampling,
}


WAYS = ("forward", "with gradient")


def activations(
    repeats: int, jit_compile: bool, shape: tuple[int, ...] = (256, 28, 28, 16)
) -> Iterator[tuple[str, dict[str, Timing]]]:
    """Pairs (name, timings) of activations against ReLU, forward and with the gradient."""
    layers = {"ReLU": keras.layers.ReLU(), **{name: make() for name, make in ACTIVATIONS.items()}}
    yield from _compared(layers, noise(shape), repeats, jit_compile)


def poolings(
    repeats: int, jit_compile: bool, shape: tuple[int, ...] = (256, 28, 28, 16)
) -> Iterator[tuple[str, dict[str, Timing]]]:
    """Pairs (name, timings) of 2×2 poolings against average pooling, forward and with the gradient."""
    layers = {"average": keras.layers.AveragePooling2D((2, 2)), **{n: make((2, 2)) for n, make in POOLINGS.items()}}
    yield from _compared(layers, noise(shape), repeats, jit_compile)


def kernels(
    repeats: int, jit_compile: bool, shapes: Iterable[tuple[int, int]] = SHAPES, batch: int = 256
) -> Iterator[tuple[str, dict[str, Timing]]]:
    """Pairs (name, timings) of the constraints of kernels against the product of a batch with the kernel.

    The kernels are nearly orthogonal, as they are early in training.
    """
    for shape in shapes:
        kernel = np.linalg.qr(noise(shape))[0] + 0.02 * noise(shape, seed=1)
        inputs = ops.convert_to_tensor(noise((batch, shape[0]), seed=2))
        functions: dict[str, Callable[[Any], Any]] = {
            f"product with {batch} inputs": functools.partial(ops.matmul, inputs),
            "constraint": constraint(shape[1]),
        }
        for way, timings in _compared(functions, kernel, repeats, jit_compile):
            yield f"{shape[0]}×{shape[1]}, {way}", timings


def convergence(
    tolerances: Iterable[float] = (1e-3, 1e-5), shapes: Iterable[tuple[int, int]] = SHAPES, repeats: int = 5
) -> Iterator[tuple[str, int | None, dict[str, Timing]]]:
    """Triples (name, iterations, timings) of the way to a nearly orthogonal matrix, against an SVD.

    The distance is ‖WᵀW − I‖ in the spectral norm. Kernels are Gaussian; square ones have a singular value near 0, so
    they keep only 3/4 of their columns. If rounding errors do not allow the tolerance, iterations are None and timings
    are empty.
    """
    for rows, columns in shapes:
        columns = columns if columns < rows else 3 * columns // 4
        kernel = noise((rows, columns))
        for tolerance in tolerances:
            iterations = _iterations(kernel, tolerance)
            name = f"{rows}×{columns}, ‖WᵀW − I‖ ≤ {tolerance:g}"
            if iterations is None:
                yield name, None, {}
                continue
            calls: dict[str, Callable[[], Any]] = {
                "SVD of NumPy": functools.partial(_polar, kernel),
                "lipviz": call_of(constraint(columns, 1e-9, iterations), "forward", kernel),
            }
            yield name, iterations, take_turns(calls, repeats)


def noise(shape: tuple[int, ...], seed: int = 0) -> Array:
    """A Gaussian array, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def constraint(
    columns: int, eps: float = nm.DEFAULT_EPS_BJORCK, maxiter: int = nm.DEFAULT_MAXITER_BJORCK
) -> Callable[[Tensor], Tensor]:
    """The function from a kernel to the nearly orthogonal one that a `SpectralDense` layer uses."""
    u = ops.convert_to_tensor(noise((1, columns), seed=3))
    return lambda kernel: nm.sound_orthogonalization(kernel, u, eps_bjorck=eps, maxiter_bjorck=maxiter)[0]


def call_of(function: Callable[[Any], Any], way: str, values: Array, jit_compile: bool = False) -> Callable[[], Any]:
    """A function of no arguments that runs a layer or a function, compiled by the backend as in a model.

    Args:
        function: Keras layer or function of one tensor.
        way: "forward", or "with gradient", which also computes the product of a fixed vector with the Jacobian.
        values: The input.
        jit_compile: Whether XLA compiles it on TensorFlow.
    """
    inputs = ops.convert_to_tensor(values.astype("float32"))
    outputs = function(inputs)  # builds a layer
    if way == "with gradient":
        function = pulling_back(function, ops.convert_to_tensor(noise(outputs.shape, seed=4)))
    run = compiled(function, jit_compile)
    with compiled_where_traced():  # as in a step
        run(inputs)
    return lambda: wait(run(inputs))


def _compared(functions, values, repeats, jit_compile):
    for way in WAYS:
        calls = {name: call_of(function, way, values, jit_compile) for name, function in functions.items()}
        yield way, take_turns(calls, repeats)


def _iterations(kernel, tolerance, most=60):
    for maxiter in range(1, most):
        w = ops.convert_to_numpy(constraint(kernel.shape[1], 1e-9, maxiter)(ops.convert_to_tensor(kernel)))
        if np.abs(np.linalg.eigvalsh((w.T @ w).astype("float64")) - 1).max() <= tolerance:
            return maxiter
    return None


def _polar(kernel):
    u, _, vt = np.linalg.svd(kernel, full_matrices=False)
    return u @ vt


def compiled(function: Callable[..., Any], jit_compile: bool) -> Callable[..., Any]:
    """A function of tensors, compiled by the backend as in a model."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False, jit_compile=bool(jit_compile))


def pulling_back(function: Callable[[Any], Any], weights: Tensor) -> Callable[[Any], Any]:
    """A function of x that returns y = function(x), and the gradient of <weights, y>."""
    if keras.backend.backend() == "jax":
        import jax

        def both(x):
            y, pull = jax.vjp(function, x)
            return y, pull(weights)[0]

    else:
        import tensorflow as tf

        def both(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
            return y, tape.gradient(y, x, output_gradients=weights)

    return both


def wait(outputs: Any) -> Any:
    """Wait for outputs of JAX, which returns before they are computed."""
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        if hasattr(output, "block_until_ready"):
            output.block_until_ready()
    return outputs
