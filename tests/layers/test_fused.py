"""Functions that XLA compiles in steps on TensorFlow's CPU: against NumPy in float64, and where they are used."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz.compiled import compiled_where_traced
from lipviz.layers import GroupSort2, ScaledL2NormPooling2D

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow compiles functions by themselves"
)
EPS = 1e-3
SHAPE = (3, 5, 7, 6)  # neither size is divided by the windows
WINDOWS = (2, 3)


def swaps(x):
    """For each entry, whether its pair is out of order; channels last."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    return np.repeat(pairs[..., 0] > pairs[..., 1], 2, axis=-1)


def exchanged(x, y):
    """The entries of y, exchanged where the pairs of x are out of order."""
    return np.where(swaps(x), y.reshape(*y.shape[:-1], -1, 2)[..., ::-1].reshape(y.shape), y)


def window_sums(x):
    (rows, columns), (n, height, width, channels) = WINDOWS, x.shape
    x = x[:, : height // rows * rows, : width // columns * columns]
    return x.reshape(n, height // rows, rows, width // columns, columns, channels).sum(axis=(2, 4))


def spread(y):
    """Each entry of the outputs at all places of its window, with zeros at places in no window."""
    y = np.repeat(np.repeat(y, WINDOWS[0], axis=1), WINDOWS[1], axis=2)
    return np.pad(y, [(0, size - own) for size, own in zip(SHAPE, y.shape[:3] + SHAPE[3:], strict=True)])


class Sort:
    """Value, product with the transposed Jacobian, and the gradient of its scalar product with v."""

    def __init__(self, k=1.0):
        self.layer, self.k = lambda data_format: GroupSort2(data_format=data_format, k_coef_lip=k), k

    def value(self, x):
        return self.k * exchanged(x, x)

    def moved(self, x, v):
        """The derivative of the value in the direction v."""
        return self.k * exchanged(x, v)

    def pulled(self, x, upstream):
        return self.k * exchanged(x, upstream)

    def again(self, x, upstream, v):
        return np.zeros_like(x), self.k * exchanged(x, v)


class Norm:
    def __init__(self, k=1.0):
        def layer(data_format):
            return ScaledL2NormPooling2D(WINDOWS, data_format=data_format, k_coef_lip=k, eps_grad_sqrt=EPS)

        self.layer, self.k = layer, k

    def root(self, x):
        return np.sqrt(window_sums(x**2) + np.prod(WINDOWS) * EPS)

    def value(self, x):
        return self.k * self.root(x)

    def pulled(self, x, upstream):
        return self.k * x * spread(upstream / self.root(x))

    def again(self, x, upstream, v):
        root, along = self.root(x), window_sums(x * v)
        by_x = v * spread(upstream / root) - x * spread(upstream * along / root**3)
        return self.k * by_x, self.k * along / root


class Both:
    def __init__(self, k=1.0):
        self.sort, self.norm = Sort(k), Norm(k)

    def layer(self, data_format):
        return keras.Sequential([self.sort.layer(data_format), self.norm.layer(data_format)])

    def value(self, x):
        return self.norm.value(self.sort.value(x))

    def pulled(self, x, upstream):
        return self.sort.pulled(x, self.norm.pulled(self.sort.value(x), upstream))

    def again(self, x, upstream, v):  # the permutation is constant
        by_x, by_upstream = self.norm.again(self.sort.value(x), upstream, self.sort.moved(x, v))
        return self.sort.pulled(x, by_x), by_upstream


def in_format(x, data_format):
    return x if data_format == "channels_last" else np.moveaxis(x, -1, 1)


def back(x, data_format):
    return np.asarray(x) if data_format == "channels_last" else np.moveaxis(np.asarray(x), 1, -1)


def traced(layer, x, upstream, v):
    """Value, gradient and second gradients in a graph in which functions are compiled, and the graph."""
    import tensorflow as tf

    def run(x, upstream, v):
        with tf.GradientTape() as outer:
            outer.watch((x, upstream))
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = layer(x)
            pulled = inner.gradient(y, x, upstream)
        return y, pulled, *outer.gradient(pulled, (x, upstream), v, unconnected_gradients="zero")

    with compiled_where_traced():
        function = tf.function(run, autograph=False).get_concrete_function(x, upstream, v)
    return function(x, upstream, v), function.graph


def calls(graph):
    """Names of the calls of functions whose results the outputs of a graph need."""
    needed, waiting = set(), [tensor.op for tensor in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name not in needed:
            needed.add(operation.name)
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return [name for name in needed if "PartitionedCall" in graph.get_operation_by_name(name).type]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("kind", [Sort(), Norm(3.0), Both(0.5)], ids=lambda kind: type(kind).__name__)
def test_compiled_functions_are_those_of_numpy_and_differentiate_twice(kind, data_format):
    rng = np.random.default_rng(0)
    x = np.round(2 * rng.standard_normal(SHAPE)) / 2  # many ties
    upstream = rng.standard_normal(kind.value(x).shape)
    v = rng.standard_normal(SHAPE)
    layer = kind.layer(data_format)
    layer.build(in_format(x, data_format).shape)
    arguments = [ops.convert_to_tensor(in_format(each, data_format).astype("float32")) for each in (x, upstream, v)]
    results, graph = traced(layer, *arguments)
    wanted = (kind.value(x), kind.pulled(x, upstream), *kind.again(x, upstream, v))
    for got, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(back(got, data_format), want, rtol=2e-5, atol=2e-6)
    assert len(calls(graph)) == 2  # the value and the gradient: the two layers of `Both` are one function
