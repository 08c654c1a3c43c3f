import itertools

import keras
import numpy as np
import pytest

import lipviz
from lipviz import layers, operators
from lipviz.measure import DEPTH_ACTIVATIONS, gradient_depth, gradients, random_gradient_flows, random_networks
from lipviz.measure.gradients import (
    GradientFlow,
    GradientMeter,
    gradient_flow,
    gradient_history,
    gradient_passage,
    input_gradient_norms,
)
from lipviz.operators import autodiff
from lipviz.operators.precision import float64_scope, outputs
from tests.support import tensor

JAX = keras.backend.backend() == "jax"
CURVE = "leaky_relu" if JAX else "softplus"  # which Keras computes in float32 there
RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 4))


def orthogonal(*sizes, activation=None, name="net"):
    """A chain of dense layers whose kernels have singular values of 1 only, each with an activation behind it."""
    steps, kernels = [keras.Input((sizes[0],))], []
    for rows, columns in itertools.pairwise(sizes):
        steps.append(keras.layers.Dense(columns))
        kernels.append(operators.random_kernel(rows, columns, 1.0, seed=rows + columns))
        if activation is not None:
            steps.append(activation())
    model = keras.Sequential(steps, name=name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.kernel.assign(kernels.pop(0))
    return model


def curved():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, CURVE), keras.layers.Dense(3)], name="curved")


@pytest.fixture(scope="module")
def smooth():
    keras.utils.set_random_seed(0)
    return curved()


def jacobian_by_differences(model, x, step=1e-6):
    """Jacobians of the float64 copy by central differences, (n, outputs, inputs)."""
    network = operators.float64_copy(model)
    columns = []
    for index in range(x[0].size):
        move = np.zeros(x[0].size)
        move[index] = step
        move = move.reshape(1, *x.shape[1:])
        columns.append((outputs(network, x + move) - outputs(network, x - move)) / (2 * step))
    return np.stack(columns, axis=2)


# --- with respect to the input ---


@pytest.mark.slow
def test_norms_are_those_of_finite_differences(smooth):
    jacobians = jacobian_by_differences(smooth, X)
    tolerance = {"rtol": 1e-8}
    data = input_gradient_norms(smooth, X)
    assert (data.name, data.output, len(data)) == ("curved", "all 3 outputs", 5)
    np.testing.assert_allclose(data.rows, np.linalg.norm(jacobians, axis=2), **tolerance)
    np.testing.assert_allclose(data.norms, np.linalg.norm(jacobians, 2, axis=(1, 2)), **tolerance)
    np.testing.assert_allclose(data.norms, operators.jacobian_norms(smooth, X), rtol=1e-12)
    one = input_gradient_norms(smooth, X, output=1)
    np.testing.assert_allclose(one.norms, data.rows[:, 1], rtol=1e-12)
    assert one.output == "output 1"
    projected = input_gradient_norms(smooth, X, output=[1.0, 0, -2])
    np.testing.assert_allclose(
        projected.norms, np.linalg.norm(jacobians[:, 0] - 2 * jacobians[:, 2], axis=1), **tolerance
    )
    assert data.largest == data.norms.max()
    assert data.median == np.median(data.norms)


def test_a_linear_network_has_one_jacobian():
    model = orthogonal(4, 6, 2)
    w = np.asarray(model.layers[0].kernel, np.float64) @ np.asarray(model.layers[1].kernel, np.float64)
    data = input_gradient_norms(model, X)
    np.testing.assert_allclose(data.norms, np.linalg.norm(w, 2), rtol=1e-12)
    np.testing.assert_allclose(data.rows, np.tile(np.linalg.norm(w, axis=0), (5, 1)), rtol=1e-12)


def test_an_orthogonal_network_keeps_every_gradient():
    model = orthogonal(4, 4, 4, activation=layers.GroupSort2)
    np.testing.assert_allclose(input_gradient_norms(model, X).rows, 1, atol=1e-6)  # kernels in float32


def test_images_and_one_output():
    model = keras.Sequential(
        [
            keras.Input((4, 3, 2)),
            keras.layers.Conv2D(2, 2, activation=CURVE),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    x = RNG.standard_normal((3, 4, 3, 2))
    data = input_gradient_norms(model, x)
    assert data.output == "the output"
    jacobians = jacobian_by_differences(model, x)
    np.testing.assert_allclose(data.norms, np.linalg.norm(jacobians[:, 0], axis=1), rtol=1e-7)
    np.testing.assert_array_equal(data.rows[:, 0], data.norms)


def test_a_flat_network_has_no_gradient():
    model = orthogonal(4, 2)
    model.layers[0].kernel.assign(np.zeros((4, 2)))
    assert (input_gradient_norms(model, X).norms == 0).all()


def test_groups_of_samples_are_put_together(smooth, monkeypatch):
    whole = input_gradient_norms(smooth, X)
    flow = gradient_flow(smooth, X)
    for module in (gradients, autodiff):
        monkeypatch.setattr(module, "GRADIENTS", 45)  # two samples at a time
    np.testing.assert_allclose(input_gradient_norms(smooth, X).rows, whole.rows, rtol=1e-12)
    np.testing.assert_allclose(gradient_flow(smooth, X).norms, flow.norms, rtol=1e-12)


@pytest.mark.slow
def test_a_meter_follows_training():
    keras.utils.set_random_seed(0)
    steps = [layers.SpectralDense(4, activation="relu", maxiter_bjorck=2), layers.SpectralDense(1, maxiter_bjorck=2)]
    model = lipviz.Sequential([keras.Input((4,)), *steps])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    meter = GradientMeter(model, X)
    measured = []

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            measured.append(meter.measure())

    x = RNG.standard_normal((16, 4)).astype("float32")
    model.fit(x, 3 * x[:, :1], epochs=2, batch_size=8, verbose=0, callbacks=[Record()])
    after = meter.measure()
    np.testing.assert_allclose(after.norms, input_gradient_norms(model, X).norms, rtol=1e-12)
    history = gradient_history([*measured, after], epochs=[1, 2, 5])
    assert history.norms.shape == (3, 5)
    assert len(history) == 3
    assert (history.norms <= 1).all()
    assert np.any(history.norms[0] != history.norms[1])
    np.testing.assert_array_equal(history.median, np.median(history.norms, axis=1))
    np.testing.assert_array_equal(history.quantile([0, 1]), [history.norms.min(1), history.norms.max(1)])

    model.layers[0].wbar.assign(np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="wbar"):
        meter.measure()


def test_a_history_needs_measurements_that_fit():
    one, other = (gradients.GradientNorms("a", "the output", np.ones(n), np.ones((n, 1))) for n in (3, 4))
    assert gradient_history([one, one]).epochs.tolist() == [1, 2]
    for arguments, error, words in [
        (([],), ValueError, "one measurement"),
        (([one, other],), ValueError, r"\[3, 4\]"),
        (([one, "x"],), TypeError, "str"),
        (([one, one], [2, 1]), ValueError, "increasing"),
        (([one, one], [1]), ValueError, "2 increasing"),
        (([one], [np.nan]), ValueError, "epochs"),
    ]:
        with pytest.raises(error, match=words):
            gradient_history(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"model": keras.layers.Dense(2)}, TypeError, "Keras model"),
        ({"model": keras.Sequential([keras.layers.Dense(2)])}, ValueError, "built"),
        ({"x": np.zeros((0, 4))}, ValueError, "at least one"),
        ({"x": np.zeros((2, 5))}, ValueError, r"\(n, 4\)"),
        ({"x": np.zeros(4)}, ValueError, r"\(n, ...\)"),
        ({"x": np.full((2, 4), np.nan)}, ValueError, "8 of 8"),
        ({"x": [["a"] * 4]}, TypeError, "real numbers"),
        ({"output": 3}, ValueError, "0, …, 2"),
        ({"output": -1}, ValueError, "0, …, 2"),
        ({"output": True}, ValueError, "output=True"),
        ({"output": "some"}, ValueError, "some"),
        ({"output": [1.0, 2.0]}, ValueError, r"\(3,\)"),
        ({"output": [1.0, 2.0, np.inf]}, ValueError, "finite"),
    ],
)
def test_bad_input_is_named(smooth, arguments, error, words):
    for function in (input_gradient_norms, gradient_flow):
        with pytest.raises(error, match=words):
            function(**{"model": smooth, "x": X, **arguments})


def test_models_of_several_outputs_and_weights_that_are_not_finite_are_refused():
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])
    with pytest.raises(ValueError, match="one of its outputs"):
        input_gradient_norms(two, X)
    broken = orthogonal(4, 2)
    broken.layers[0].kernel.assign(np.full((4, 2), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        input_gradient_norms(broken, X)
    with pytest.raises(ValueError, match="choice of one"):
        input_gradient_norms(keras.Sequential([keras.Input((1,)), keras.layers.Dense(4097)]), np.ones((1, 1)))


# --- through the layers ---


def test_a_gradient_flows_back_as_the_chain_rule_says(smooth):
    data = gradient_flow(smooth, X, output=2)
    assert data.places == ("input", *(layer.name for layer in smooth.layers))
    assert data.norms.shape == (3, 5)
    np.testing.assert_array_equal(data.norms[-1], 1)
    w = np.asarray(smooth.layers[1].kernel, np.float64)
    np.testing.assert_allclose(data.norms[1], np.linalg.norm(w[:, 2]), rtol=1e-12)
    np.testing.assert_allclose(data.norms[0], input_gradient_norms(smooth, X, output=2).norms, rtol=1e-12)
    scaled = gradient_flow(smooth, X, output=[0, 0, -7.0])  # relative to the direction's own norm
    np.testing.assert_allclose(scaled.norms, data.norms, rtol=1e-12)
    assert (data.output, scaled.output, len(data)) == ("output 2", "a projection", 3)


def test_an_orthogonal_chain_keeps_it_and_relu_does_not():
    depth = 6
    kept = gradient_flow(orthogonal(*[8] * depth, activation=layers.GroupSort2), RNG.standard_normal((20, 8)))
    np.testing.assert_allclose(kept.norms, 1, atol=1e-5)
    lost = gradient_flow(orthogonal(*[8] * depth, activation=keras.layers.ReLU), RNG.standard_normal((20, 8)))
    assert (np.diff(lost.norms, axis=0) >= -1e-6).all()
    assert lost.median[0] < 0.5
    assert lost.output == "random directions"
    again = gradient_flow(orthogonal(*[8] * depth, activation=keras.layers.ReLU), np.ones((1, 8)), seed=1)
    assert again.norms.shape == (2 * (depth - 1) + 1, 1)


def test_a_graph_with_branches_and_a_model_inside():
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, use_bias=False, name="shared")
    x = shared(inputs)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="inside"), keras.layers.Dropout(0.9)])
    x = keras.layers.Add(name="sum")([shared(inner(x)), inputs])
    model = keras.Model(inputs, 2 * x, name="graph")
    data = gradient_flow(model, X, output=0)
    assert data.places[:4] == ("input", "shared", "inside", inner.layers[1].name)
    assert data.places[4:6] == ("shared (2)", "sum")
    np.testing.assert_allclose(data.norms[0], input_gradient_norms(model, X, output=0).norms, rtol=1e-12)
    np.testing.assert_allclose(data.norms[5], 2, rtol=1e-12)
    np.testing.assert_array_equal(data.norms[-1], 1)
    w = np.asarray(shared.kernel, np.float64)
    np.testing.assert_allclose(data.norms[3], 2 * np.linalg.norm(w[:, 0]), rtol=1e-12)  # dropout does nothing


def test_a_model_without_a_graph_or_direction_is_refused(smooth):
    class Own(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = keras.layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    own = Own(name="own")
    own(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"Sequential or functional.*own"):
        gradient_flow(own, X)
    for output in ("all", np.zeros(3)):
        with pytest.raises(ValueError, match="one direction"):
            gradient_flow(smooth, X, output=output)


# --- against depth ---

OF_KERAS = {
    "linear": lambda: keras.activations.linear,
    "relu": lambda: keras.activations.relu,
    "leaky_relu": lambda: keras.activations.leaky_relu,
    "elu": lambda: keras.activations.elu,
    "tanh": lambda: keras.activations.tanh,
    "sigmoid": lambda: keras.activations.sigmoid,
    "abs": lambda: keras.ops.abs,
    "groupsort2": layers.GroupSort2,
    "fullsort": layers.FullSort,
}


@pytest.mark.parametrize("name", DEPTH_ACTIVATIONS)
def test_an_activation_is_that_of_keras(name):
    z = 2 * RNG.standard_normal((6, 8))
    gradients_behind = RNG.standard_normal((3, 6, 8))
    function = OF_KERAS[name]()
    if isinstance(function, keras.layers.Layer):
        function.dtype_policy = keras.dtype_policies.get("float64")
    value, pullback = DEPTH_ACTIVATIONS[name](z)
    with float64_scope():
        want = np.asarray(keras.ops.convert_to_numpy(function(tensor(z, "float64"))))
    np.testing.assert_allclose(value, want, atol=1e-6 if JAX else 1e-14)
    step, moves = 1e-6, RNG.standard_normal((6, 8))
    slope = (DEPTH_ACTIVATIONS[name](z + step * moves)[0] - DEPTH_ACTIVATIONS[name](z - step * moves)[0]) / (2 * step)
    np.testing.assert_allclose(
        np.sum(pullback(gradients_behind) * moves, axis=(1, 2)),
        np.sum(gradients_behind * slope, axis=(1, 2)),
        rtol=1e-6,
        atol=1e-8,
    )


@pytest.mark.parametrize("activation", ["tanh", "groupsort2", "relu"])
def test_the_norms_are_those_of_the_networks(activation):
    """Networks made of Keras's layers with the same kernels, differentiated by the backend."""
    width, samples = 6, 4
    data = gradient_depth([activation], (3, 1), width, samples, seed=5)
    assert data.depths.tolist() == [1, 3]
    kernels = random_networks._orthogonal_kernels(3, width, 5)
    rng = np.random.default_rng((5, 1))
    x, directions = rng.standard_normal((samples, width)), rng.standard_normal((samples, width))
    for row, depth in enumerate(data.depths):
        steps = [keras.layers.Dense(width, activation=OF_KERAS[activation](), dtype="float64") for _ in range(depth)]
        with float64_scope():
            model = keras.Sequential([keras.Input((width,), dtype="float64"), *steps])
            for layer, kernel in zip(steps, kernels, strict=False):
                layer.kernel.assign(kernel)
        for i in range(samples):
            unit = directions[i] / np.linalg.norm(directions[i])
            norms = input_gradient_norms(model, x[i : i + 1], output=unit).norms
            np.testing.assert_allclose(data.norms[0, row, i], norms[0], rtol=1e-5 if JAX else 1e-10)


def test_what_activations_do_to_gradients():
    data = gradient_depth(["linear", "groupsort2", "fullsort", "abs", "relu", "tanh"], (1, 5, 20), samples=200)
    assert data.norms.shape == (6, 3, 200)
    np.testing.assert_allclose(data.norms[:4], 1, rtol=1e-12)
    relu, tanh = data.median[4], data.median[5]
    assert (np.diff(relu) < 0).all()
    assert (np.diff(tanh) < 0).all()
    assert (data.norms[4:] <= 1 + 1e-12).all()
    assert data.quantile([0.1, 0.9]).shape == (2, 6, 3)


def test_relu_passes_half_of_the_square_of_a_gradient():
    """In each layer, so that the median falls like 2^(-depth / 2)."""
    depths = np.array([1, 5, 20])
    found = np.log([gradient_depth("relu", depths, 64, 50, seed=seed).median[0] for seed in range(10)]).mean(axis=0)
    # The share that passes has a Beta(16, 16) distribution, and its root a deviation of 1/2√33 in its logarithm. That
    # adds up over the layers like a sum of draws, of which the mean of ten networks has a tenth of the variance.
    deviation = np.sqrt(depths / 10) / (2 * np.sqrt(33))
    assert (np.abs(found + depths / 2 * np.log(2)) < 3 * deviation).all()


def test_shallow_networks_are_the_first_layers_of_deep_ones():
    deep = gradient_depth("relu", (2, 3, 7), 8, 5)
    shallow = gradient_depth(("relu",), [3], 8, 5)
    assert deep.activations == shallow.activations == ("relu",)
    # Kernels of another number are drawn in the same order.
    np.testing.assert_allclose(deep.norms[0, 1], shallow.norms[0, 0], rtol=1e-12)
    assert np.any(gradient_depth("relu", [3], 8, 5, seed=1).norms != shallow.norms)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"activations": []}, ValueError, "different ones"),
        ({"activations": ["relu", "relu"]}, ValueError, "different ones"),
        ({"activations": ["swish"]}, ValueError, "swish"),
        ({"activations": 3}, TypeError, "list of names"),
        ({"depths": []}, ValueError, "one depth"),
        ({"depths": [0]}, ValueError, "depths"),
        ({"depths": [2.5]}, ValueError, "depths"),
        ({"depths": [10**9]}, ValueError, "at most"),
        ({"width": 0}, ValueError, "width"),
        ({"width": 7}, ValueError, "even width"),
        ({"samples": 0}, ValueError, "samples"),
        ({"seed": -1}, ValueError, "at least 0"),
    ],
)
def test_bad_settings_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        gradient_depth(**arguments)


# --- on their way back ---


def test_random_flows_are_those_of_explicit_jacobians():
    flows = random_gradient_flows(["relu", "groupsort2", "tanh"], depth=4, width=6, samples=3, seed=5)
    kernels = random_networks._orthogonal_kernels(4, 6, 5)
    rng = np.random.default_rng((5, 1))
    x, covectors = rng.standard_normal((3, 6)), rng.standard_normal((3, 6))
    for flow in flows:
        assert flow.places == ("input", "layer 1", "layer 2", "layer 3", "layer 4")
        np.testing.assert_allclose(flow.norms[-1], 1)
        for sample, covector in enumerate(covectors / np.linalg.norm(covectors, axis=1, keepdims=True)):
            value, jacobians = x[sample], []
            for kernel in kernels:
                value, pullback = DEPTH_ACTIVATIONS[flow.name]((value @ kernel)[None])
                value = value[0]
                jacobians.append(np.stack([pullback(row[None, None])[0, 0] for row in np.eye(6)]) @ kernel.T)
            for place, jacobian in reversed(list(enumerate(jacobians))):
                covector = covector @ jacobian
                np.testing.assert_allclose(flow.norms[place, sample], np.linalg.norm(covector), rtol=1e-12)


def test_random_flows_end_where_the_deepest_network_does():
    flows = random_gradient_flows(["relu", "fullsort"], depth=7, width=4, samples=9, seed=1)
    deepest = gradient_depth(["relu", "fullsort"], [3, 7], width=4, samples=9, seed=1)
    np.testing.assert_allclose([flow.norms[0] for flow in flows], deepest.norms[:, 1], rtol=1e-12)


def test_a_passage_stops_at_a_place():
    flow = GradientFlow("net", "output 0", ("input", "a", "b"), np.array([[0.0, 0.0], [0.0, 0.5], [1.0, 1.0]]))
    start, middle, end = (gradient_passage(flow, step) for step in (0, 1, 9))
    assert (start.step, middle.step, end.step, end.steps) == (0, 1, 2, 2)
    assert [passage.places for passage in (start, middle, end)] == [("b",), ("a",), ("input",)]
    np.testing.assert_array_equal(middle.norms, [[0.0, 0.5]])
    np.testing.assert_array_equal(start.gains, [[np.nan, np.nan]])
    np.testing.assert_array_equal(middle.gains, [[0.0, 0.5]])
    np.testing.assert_array_equal(end.gains, [[np.nan, 0.0]])


@pytest.mark.parametrize(
    ("flows", "step", "words"),
    [
        ([], 0, "one flow or more"),
        (random_gradient_flows("relu", 2, 2) + random_gradient_flows("relu", 3, 2), 0, "same shape"),
        (random_gradient_flows("relu", 2, 2), -1, "step"),
        (random_gradient_flows("relu", 2, 2), 0.5, "step"),
    ],
)
def test_a_passage_that_cannot_be(flows, step, words):
    with pytest.raises(ValueError, match=words):
        gradient_passage(flows, step)
