"""What the numerical tests share: kernels to try, exact spectra, and gradients on every backend."""

import keras
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops

KINDS = ("gaussian", "spectrum", "rank_one", "ones", "zero", "single", "orthogonal", "twins")


def living_widgets():
    """Ids of all widgets that are not closed. ipywidgets has no public name for them."""
    from ipywidgets.widgets import widget

    assert hasattr(widget, "_instances"), "See where `Widget.open` (ipywidgets/widgets/widget.py) enters a widget now."
    return set(widget._instances)


def examples(count, at_night=None):
    """Number of hypothesis examples; a tenth on JAX, which compiles every operation for every new shape.

    Where the profile (see tests/conftest.py) has more than the usual hundred, these are more by the same factor, or
    `at_night`: where an example takes long, the day has few.
    """
    factor = settings.default.max_examples // 100
    if factor > 1 and at_night is not None:
        count, factor = at_night, 1
    return (count if keras.backend.backend() == "tensorflow" else max(2, count // 10)) * factor


def predicted(model, x):
    """What a model predicts, computed eagerly: a function that is traced for each copy takes seconds."""
    return ops.convert_to_numpy(model(x))


def singular_values(w):
    """Exact singular values in float64, largest first."""
    w = np.asarray(w, np.float64)
    return np.linalg.svd(w.reshape(-1, w.shape[-1]), compute_uv=False)


def with_spectrum(shape, values, seed=0):
    """A float64 matrix with the given singular values."""
    rng = np.random.default_rng(seed)
    size = min(shape)
    left = np.linalg.qr(rng.standard_normal((shape[0], size)))[0]
    right = np.linalg.qr(rng.standard_normal((shape[1], size)))[0]
    return (left * np.asarray(values)) @ right.T


def make_kernel(kind, shape, scale=1.0, seed=0):
    """A float64 matrix of a kind that is known to be friendly, or nasty."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    if kind == "gaussian":
        w = rng.standard_normal(shape)
    elif kind == "spectrum":
        w = with_spectrum(shape, np.logspace(-4, 0, min(shape)), seed)
    elif kind == "rank_one":
        w = np.outer(rng.standard_normal(rows), rng.standard_normal(columns))
    elif kind == "ones":
        w = np.ones(shape)
    elif kind == "zero":
        w = np.zeros(shape)
    elif kind == "single":
        w = np.zeros(shape)
        w[rng.integers(rows), rng.integers(columns)] = -1.0
    elif kind == "orthogonal":
        w = with_spectrum(shape, np.ones(min(shape)), seed)
    else:
        w = np.repeat(rng.standard_normal((rows, 1)), columns, axis=1) + 1e-6 * rng.standard_normal(shape)
    return scale * w


def kernels(sides=(1, 2, 5, 8, 24)):
    """Strategy for float64 matrices: every kind, shape and scale. Few sides, since JAX compiles for each shape."""
    sides = st.sampled_from(sides)
    return st.builds(
        lambda kind, shape, power, seed: make_kernel(kind, shape, 10.0**power, seed),
        st.sampled_from(KINDS),
        st.tuples(sides, sides),
        st.integers(-12, 12),
        st.integers(0, 2**16),
    )


def gradient(function, x):
    """Gradient of a scalar function of one array, as NumPy, on the backend in use."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda v: function(v))(ops.convert_to_tensor(x)))
    import tensorflow as tf

    tensor = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = function(tensor)
    return tape.gradient(value, tensor).numpy()


def finite_differences(function, x, step=1e-6):
    """Central differences of a scalar function of one float64 array."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        move = np.zeros_like(x)
        move[index] = step
        result[index] = (float(function(x + move)) - float(function(x - move))) / (2 * step)
    return result


def tensor(x, dtype="float32"):
    """A backend tensor of an array."""
    return ops.convert_to_tensor(np.asarray(x), dtype=dtype)


def convolution_matrix(kernel, sizes, strides, padding, transposed=False):
    """The explicit float64 matrix of a convolution, entry by entry: (outputs, inputs), channels last.

    Args:
        kernel: Array of shape (*kernel sizes, in, out); of a transposed convolution, (*kernel sizes, out, in).
        sizes: Spatial sizes of the input.
        strides: Strides, one per axis.
        padding: "same" (as TensorFlow pads) or "valid".
        transposed: Whether it is the adjoint of the convolution that reads its output.
    """
    kernel = np.asarray(kernel, np.float64)
    reach = kernel.shape[:-2]
    axes = list(zip(sizes, reach, strides, strict=True))
    if transposed:
        large = [n * s + (max(k - s, 0) if padding == "valid" else 0) for n, k, s in axes]
        return convolution_matrix(kernel, large, strides, padding).T
    if padding == "same":
        counts = [-(-n // s) for n, k, s in axes]
        before = [max((c - 1) * s + k - n, 0) // 2 for c, (n, k, s) in zip(counts, axes, strict=True)]
    else:
        counts, before = [(n - k) // s + 1 for n, k, s in axes], [0] * len(axes)
    matrix = np.zeros((*counts, kernel.shape[-1], *sizes, kernel.shape[-2]))
    for out in np.ndindex(*counts):
        for tap in np.ndindex(*reach):
            at = tuple(o * s + t - b for o, s, t, b in zip(out, strides, tap, before, strict=True))
            if all(0 <= i < n for i, n in zip(at, sizes, strict=True)):
                matrix[(*out, slice(None), *at, slice(None))] += kernel[tap].T
    return matrix.reshape(np.prod(counts) * kernel.shape[-1], -1)
