"""Each part alone: activations and poolings against Keras's, constrained kernels by shape."""

import functools

import keras
import numpy as np
from keras import ops

import lipviz.layers as own
from lipviz import normalizers as nm
from lipviz.command.bench.timing import take_turns

SHAPES = ((128, 128), (512, 512), (1568, 128), (3 * 3 * 64, 64))
ACTIVATIONS = {
    "GroupSort2": own.GroupSort2,
    "FullSort": own.FullSort,
    "MaxMin": own.MaxMin,
    "Householder": own.Householder,
    "PReLUlip": own.PReLUlip,
}
POOLINGS = {
    "ScaledAveragePooling2D": own.ScaledAveragePooling2D,
    "ScaledL2NormPooling2D": own.ScaledL2NormPooling2D,
    "InvertibleDownSampling": own.InvertibleDownSampling,
}


WAYS = ("forward", "with gradient")


def activations(repeats, jit_compile, shape=(256, 28, 28, 16)):
    """Pairs (name, timings) of activations against ReLU, forward and with the gradient."""
    layers = {"ReLU": keras.layers.ReLU(), **{name: make() for name, make in ACTIVATIONS.items()}}
    yield from _compared(layers, noise(shape), repeats, jit_compile)


def poolings(repeats, jit_compile, shape=(256, 28, 28, 16)):
    """Pairs (name, timings) of 2×2 poolings against average pooling, forward and with the gradient."""
    layers = {"average": keras.layers.AveragePooling2D((2, 2)), **{n: make((2, 2)) for n, make in POOLINGS.items()}}
    yield from _compared(layers, noise(shape), repeats, jit_compile)


def kernels(repeats, jit_compile, shapes=SHAPES, batch=256):
    """Pairs (name, timings) of kernels' constraints against the product of a batch with the kernel.

    The kernels are nearly orthogonal, as they are early in training.
    """
    for shape in shapes:
        kernel = np.linalg.qr(noise(shape))[0] + 0.02 * noise(shape, seed=1)
        inputs = ops.convert_to_tensor(noise((batch, shape[0]), seed=2))
        functions = {
            f"product with {batch} inputs": lambda w, inputs=inputs: ops.matmul(inputs, w),
            "constraint": constraint(shape[1]),
        }
        for way, timings in _compared(functions, kernel, repeats, jit_compile):
            yield f"{shape[0]}×{shape[1]}, {way}", timings


def convergence(tolerances=(1e-3, 1e-5), shapes=SHAPES, repeats=5):
    """Triples (name, iterations, timings) of what it takes to come near an orthogonal matrix, against an SVD.

    The distance is ‖WᵀW − I‖ in the spectral norm, of a Gaussian kernel (of 3/4 of the columns, where it is square:
    square ones have a singular value near 0). Where rounding keeps it away, there are no iterations (None) and no
    timings.
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
            calls = {
                "SVD of NumPy": functools.partial(_polar, kernel),
                "lipviz": call_of(constraint(columns, 1e-9, iterations), "forward", kernel),
            }
            yield name, iterations, take_turns(calls, repeats)


def noise(shape, seed=0):
    """A Gaussian array, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def constraint(columns, eps=nm.DEFAULT_EPS_BJORCK, maxiter=nm.DEFAULT_MAXITER_BJORCK):
    """The function from a kernel to the orthogonal one that a `SpectralDense` layer uses."""
    u = ops.convert_to_tensor(noise((1, columns), seed=3))
    return lambda kernel: nm.sound_orthogonalization(kernel, u, eps_bjorck=eps, maxiter_bjorck=maxiter)[0]


def call_of(function, way, values, jit_compile=False):
    """A function of no arguments that runs a layer or a function, compiled by the backend as within a model.

    Args:
        function: Keras layer or function of one tensor.
        way: "forward", or "with gradient": also the product of a fixed vector with the Jacobian.
        values: The input, an array.
        jit_compile: Whether XLA compiles it on TensorFlow.
    """
    values = ops.convert_to_tensor(values.astype("float32"))
    outputs = function(values)  # builds a layer
    if way == "with gradient":
        function = _pulling_back(function, ops.convert_to_tensor(noise(outputs.shape, seed=4)))
    run = _compiled(function, jit_compile)
    return lambda: _wait(run(values))


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


def _compiled(function, jit_compile):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False, jit_compile=bool(jit_compile))


def _pulling_back(function, weights):
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


def _wait(outputs):
    """JAX returns before the work is done."""
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        if hasattr(output, "block_until_ready"):
            output.block_until_ready()
    return outputs
