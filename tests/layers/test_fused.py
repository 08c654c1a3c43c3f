"""Functions that XLA compiles in steps on TensorFlow's CPU: against NumPy in float64, and where they are used."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import compiled
from lipviz.compiled import compiled_where_traced
from lipviz.layers import GroupSort, GroupSort2, Householder, MaxMin, PReLUlip, ScaledL2NormPooling2D
from lipviz.layers._fused import comparators, has_network

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow compiles functions by themselves"
)
EPS = 1e-3
SHAPES = {"whole windows": (3, 4, 6, 6), "rows and columns left over": (3, 5, 7, 6)}
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


def spread(y, shape):
    """Each entry of the outputs at all places of its window, with zeros at places in no window."""
    y = np.repeat(np.repeat(y, WINDOWS[0], axis=1), WINDOWS[1], axis=2)
    return np.pad(y, [(0, size - own) for size, own in zip(shape, y.shape, strict=True)])


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
        return self.k * x * spread(upstream / self.root(x), x.shape)

    def again(self, x, upstream, v):
        root, along = self.root(x), window_sums(x * v)
        by_x = v * spread(upstream / root, x.shape) - x * spread(upstream * along / root**3, x.shape)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "data_format", "size"),
    [
        (Sort(), "channels_last", "whole windows"),
        pytest.param(Sort(3.0), "channels_first", "rows and columns left over", marks=pytest.mark.nightly),
        (Norm(3.0), "channels_last", "rows and columns left over"),
        pytest.param(Norm(), "channels_first", "whole windows", marks=pytest.mark.nightly),
        pytest.param(Both(), "channels_last", "whole windows", marks=pytest.mark.nightly),
        pytest.param(Both(0.5), "channels_last", "whole windows", marks=pytest.mark.nightly),
        (Both(0.5), "channels_last", "rows and columns left over"),
        (Both(2.0), "channels_first", "rows and columns left over"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sort | Norm | Both) else value,
)
def test_compiled_functions_are_those_of_numpy_and_differentiate_twice(kind, data_format, size):
    rng = np.random.default_rng(0)
    x = np.round(2 * rng.standard_normal(SHAPES[size])) / 2  # many ties
    upstream = rng.standard_normal(kind.value(x).shape)
    v = rng.standard_normal(x.shape)
    layer = kind.layer(data_format)
    layer.build(in_format(x, data_format).shape)
    arguments = [ops.convert_to_tensor(in_format(each, data_format).astype("float32")) for each in (x, upstream, v)]
    results, graph = traced(layer, *arguments)
    wanted = (kind.value(x), kind.pulled(x, upstream), *kind.again(x, upstream, v))
    for got, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(back(got, data_format), want, rtol=2e-5, atol=2e-6)
    assert len(calls(graph)) == 2  # the value and the gradient: the two layers of `Both` are one function


# --- activations that are linear between kinks ---


def sorted_in_groups(x, n):
    return np.sort(x.reshape(*x.shape[:-1], -1, n), axis=-1).reshape(x.shape)


def max_min(x):
    return np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=-1)


def reflected(x, theta):
    (z1, z2), (sine, cosine) = np.split(x, 2, axis=-1), (np.sin(theta / 2), np.cos(theta / 2))
    twice = 2 * np.maximum(z1 * sine - z2 * cosine, 0)
    return np.concatenate([z1 - twice * sine, z2 + twice * cosine], axis=-1)


def with_slopes(x, slopes):
    return np.where(x > 0, x, x * slopes)


def slope(function, x, direction, step=1e-6):
    """Derivative of a function in a direction, by differences in float64: exact but for rounding where it is linear."""
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


def pulled(function, x, upstream):
    """Gradient of the scalar product of a function with `upstream`."""
    units = np.eye(x.size).reshape(-1, *x.shape)
    return np.reshape([(slope(function, x, unit) * upstream).sum() for unit in units], x.shape)


def graph_of_learned(layer, x, upstream, v):
    """Value, gradients by x and the weights, and those of the gradient by x, in a graph that compiles functions."""
    import tensorflow as tf

    def run(x, upstream, v):
        weights = [weight.value for weight in layer.trainable_variables]
        with tf.GradientTape() as outer:
            outer.watch(upstream)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = layer(x)
            by_x, *by_weights = inner.gradient(y, [x, *weights], upstream)
        again = outer.gradient(by_x, [upstream, *weights], v, unconnected_gradients="zero")
        return y, by_x, by_weights, again

    with compiled_where_traced():
        function = tf.function(run, autograph=False).get_concrete_function(x, upstream, v)
    assert len(calls(function.graph)) >= 2, "it is not compiled"
    return function(x, upstream, v)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (GroupSort(3), lambda x: sorted_in_groups(x, 3)),
        (MaxMin(), max_min),
        (Householder(theta_initializer=keras.initializers.RandomUniform(-3, 3, seed=0)), reflected),
        (PReLUlip(alpha_initializer=keras.initializers.RandomUniform(-1, 1, seed=0)), with_slopes),
        (PReLUlip(alpha_initializer=keras.initializers.RandomUniform(-1, 1, seed=0), shared_axes=[1]), with_slopes),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_compiled_activations_are_those_of_numpy_and_differentiate_twice(layer, function):
    rng = np.random.default_rng(1)
    x, v = np.float32(rng.standard_normal((2, 2, 3, 12)))
    layer.build(x.shape)
    weights = [np.float64(weight) for weight in layer.trainable_variables]
    upstream = rng.standard_normal(function(x, *weights).shape)
    tensors = [ops.convert_to_tensor(np.float32(each)) for each in (x, upstream, v)]
    y, by_x, by_weights, (by_upstream, *mixed) = graph_of_learned(layer, *tensors)
    x = np.float64(x)
    close = {"rtol": 1e-4, "atol": 2e-5}
    np.testing.assert_allclose(y, function(x, *weights), **close)
    np.testing.assert_allclose(by_x, pulled(lambda x: function(x, *weights), x, upstream), **close)
    np.testing.assert_allclose(by_upstream, slope(lambda x: function(x, *weights), x, v), **close)
    for weight, got, got_mixed in zip(weights, by_weights, mixed, strict=True):
        np.testing.assert_allclose(got, pulled(lambda w: function(x, w), weight, upstream), **close)
        along = pulled(lambda w: slope(lambda x: function(x, w), x, v, step=1e-4), weight, upstream)
        np.testing.assert_allclose(got_mixed, along, **close)


# --- entries, dtypes and sizes that are special ---


def compiled_call(layer, x, wanted=True):
    """What a layer returns in a graph, with or without compiled functions, and the gradient of its sum of squares."""
    import tensorflow as tf

    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * y)
        return y, tape.gradient(loss, x)

    with compiled_where_traced(wanted):
        function = tf.function(run, autograph=False).get_concrete_function(x)
    assert (calls(function.graph) != []) == wanted
    return [np.float64(each) for each in function(x)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nan_and_infinity_and_every_dtype_are_as_without_xla(dtype):
    x = np.random.default_rng(0).standard_normal((4, 4, 6, 6))
    x[0, 0, 0, :4], x[1, 0, 0] = [np.nan, 1, np.inf, -np.inf], 0
    x = ops.cast(x, dtype)
    layers = [keras.Sequential([GroupSort2(dtype=dtype), ScaledL2NormPooling2D(WINDOWS, dtype=dtype)])]
    layers += [GroupSort2(), GroupSort(3), MaxMin()] if dtype == "float32" else []
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype, 1e-6)
    for layer in layers:
        for got, want in zip(compiled_call(layer, x), compiled_call(layer, x, wanted=False), strict=True):
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def test_one_trace_serves_batches_of_every_size():
    import tensorflow as tf

    layer = keras.Sequential([GroupSort2(), ScaledL2NormPooling2D(WINDOWS)])
    with compiled_where_traced():
        function = tf.function(layer, input_signature=[tf.TensorSpec((None, 4, 6, 6))], autograph=False)
        function.get_concrete_function()
    for size in (3, 1, 0):
        x = np.random.default_rng(0).standard_normal((size, 4, 6, 6)).astype("float32")
        np.testing.assert_allclose(function(x), layer(x), rtol=1e-6)


# --- where functions are compiled, and where not ---


class Asking(keras.layers.Layer):
    """Notes, whenever it is called, whether it may compile."""

    def __init__(self):
        super().__init__()
        self.answers = set()

    def call(self, x):
        self.answers.add(compiled.may_compile(self, x))
        return x


def test_functions_are_compiled_in_steps_and_in_training_only(monkeypatch):
    import tensorflow as tf

    layer = Asking()
    model = keras.Sequential([keras.Input((64,)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=False)
    x, y = np.ones((2, 64)), np.ones((2, 1))

    def answers(run, *args, **kwargs):
        layer.answers.clear()
        run(*args, **kwargs)
        return set(layer.answers)

    assert answers(model.train_on_batch, x, y) == {True}
    assert answers(model.predict_on_batch, x) == {True}
    assert answers(model, x) == {False}
    assert answers(tf.function(lambda x: model(x, training=True), autograph=False), x) == {True}
    assert answers(tf.function(lambda x: model(x), autograph=False), x) == {False}
    unknown = keras.Sequential([keras.Input((None, 64)), layer])
    assert answers(unknown.predict_on_batch, np.ones((2, 3, 64))) == {True}  # here the size is known
    assert answers(tf.function(model, input_signature=[tf.TensorSpec((None, 64))]).get_concrete_function) == {False}
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0", "gpu:0"])
    assert answers(tf.function(lambda x: model(x, training=True), autograph=False), x) == {False}


def test_a_tensorflow_without_xla_runs_the_operations(monkeypatch):
    import tensorflow as tf

    def broken(*args, **kwargs):
        if kwargs.get("jit_compile"):
            raise ValueError("XLA is not linked into this TensorFlow")
        return function(*args, **kwargs)

    function = tf.function
    compiled._xla_works.cache_clear()
    monkeypatch.setattr(tf, "function", broken)
    try:
        x = np.random.default_rng(0).standard_normal((2, 64)).astype("float32")
        traced = function(GroupSort2(), autograph=False)
        with compiled_where_traced():
            np.testing.assert_array_equal(traced(x), sorted_in_groups(x, 2))
    finally:
        compiled._xla_works.cache_clear()


def test_a_sort_whose_result_is_used_twice_is_computed_for_both():
    inputs = keras.Input((4, 6, 6))
    y = GroupSort2()(inputs)
    pooled = keras.layers.UpSampling2D(WINDOWS)(ScaledL2NormPooling2D(WINDOWS)(y))
    model = keras.Model(inputs, keras.layers.Add()([y, pooled]))
    x = ops.convert_to_tensor(np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype("float32"))
    for got, want in zip(compiled_call(model, x), compiled_call(model, x, wanted=False), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_exports_of_a_model_that_has_been_trained_contain_no_xla(tmp_path):
    import tensorflow as tf

    model = keras.Sequential([keras.Input((4, 6, 6)), GroupSort2(), ScaledL2NormPooling2D(WINDOWS), MaxMin()])
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype("float32")
    want = model.predict_on_batch(x)
    model.export(tmp_path / "saved", verbose=False)
    assert b"_XlaMustCompile" not in (tmp_path / "saved" / "saved_model.pb").read_bytes()
    np.testing.assert_allclose(tf.saved_model.load(tmp_path / "saved").serve(x), want, rtol=1e-6)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras").predict_on_batch(x), want)


def test_networks_sort_groups_of_every_size():
    assert has_network(8)
    for n in filter(has_network, range(100)):
        x = np.random.default_rng(n).integers(0, 4, (200, n))
        for i, j in comparators(n):
            x[:, [i, j]] = np.sort(x[:, [i, j]], axis=1)
        assert (np.diff(x, axis=1) >= 0).all()
