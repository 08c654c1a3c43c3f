"""Inference uses the constrained kernel of the kernel that is there, whoever assigned it, and changes nothing."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import lipviz
from lipviz.keras_internals import inner_layers
from lipviz.layers import ConstrainedKernel, FrobeniusDense, GroupSort2, SpectralConv2D, SpectralDense
from lipviz.model import refresh

RNG = np.random.default_rng(0)
IS_JAX = keras.backend.backend() == "jax"
X = RNG.standard_normal((6, 5, 5, 2)).astype("float32")
Y = RNG.standard_normal((6, 3)).astype("float32")
# Two orders of operations give the same kernel but for rounding, which a product of this size hands on.
CLOSE = {"rtol": 1e-5, "atol": 2e-6}
# By day a model of Keras alone: nothing of its training and saving is ours.
BY_DAY_OF_KERAS = pytest.mark.parametrize(
    "kind", [keras.Sequential, pytest.param(lipviz.Sequential, marks=pytest.mark.nightly)]
)


def numbers(x):
    return ops.convert_to_numpy(ops.convert_to_tensor(x))


def network(kind=keras.Sequential, k=1.0, convolution=True):
    """A network with each kind of constraint; no layer is linear in another's kernel.

    Its convolution takes most of the time to trace. What Keras does with weights is the same without it.
    """
    first = SpectralConv2D(4, 3, k_coef_lip=k, bound="tight", kernel_initializer="glorot_uniform")
    return kind(
        [
            keras.Input(X.shape[1:]),
            *([first] if convolution else ()),
            L.Flatten(),
            SpectralDense(4, k_coef_lip=k, kernel_initializer="glorot_uniform"),
            GroupSort2(),
            FrobeniusDense(3, k_coef_lip=k, disjoint_neurons=False),
        ]
    )


def constrained(model):
    return [layer for layer in (model, *inner_layers(model)) if isinstance(layer, ConstrainedKernel)]


def moved(model, seed=1):
    """Assign kernels that `wbar` was not made of, as an optimizer does."""
    rng = np.random.default_rng(seed)
    for layer in constrained(model):
        layer.kernel.assign(rng.standard_normal(layer.kernel.shape))
    return model


def state(model):
    return [numbers(variable) for variable in model.variables]


def after_refresh(model, x=X):
    """What the model predicts once its `wbar` are made anew, by the definition of `refresh`."""
    refresh(model)
    return numbers(model(x))


# --- inference ---


def by_graph(model):
    if IS_JAX:
        import jax

        return lambda x: jax.jit(lambda x: model(x))(x)
    import tensorflow as tf

    return tf.function(lambda x: model(x), autograph=False)


def by_xla(model):
    if IS_JAX:
        return by_graph(model)
    import tensorflow as tf

    return tf.function(lambda x: model(x), autograph=False, jit_compile=True)


def by_vmap(model):
    return lambda x: ops.vectorized_map(lambda row: model(row[None])[0], x)


WAYS = {
    "bare": lambda model: model,
    "training=False": lambda model: lambda x: model(x, training=False),
    "predict": lambda model: lambda x: model.predict(x, verbose=0),
    "graph": by_graph,
    "XLA": by_xla,
    "vectorized_map": by_vmap,
    "XLA's predict": lambda model: (model.compile(jit_compile=True), lambda x: model.predict_on_batch(x))[1],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    # "XLA's predict" is by XLA as well.
    [pytest.param(way, marks=pytest.mark.nightly if way in ("XLA", "vectorized_map") else ()) for way in WAYS],
)
def test_inference_constrains_the_kernel_that_is_there_and_stores_nothing(way):
    model = moved(network(convolution=way != "XLA's predict"))  # which XLA compiles already
    before = state(model)
    got = numbers(WAYS[way](model)(X))
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(got, after_refresh(model), **CLOSE)


@pytest.mark.slow
def test_a_compiled_predict_follows_every_change():
    model = network()
    for seed in range(3):
        got = model.predict_on_batch(moved(model, seed) and X)
        np.testing.assert_allclose(got, after_refresh(model), **CLOSE)
        np.testing.assert_allclose(model.predict_on_batch(X), got, **CLOSE)


@pytest.mark.parametrize("change", ["sign of one entry", "last bit", "two rows swapped", "all negated", "NaN and back"])
def test_every_change_of_bits_is_seen(change):
    layer = SpectralDense(4, use_bias=False)
    layer.build((None, 6))
    kernel = numbers(layer.kernel)
    assert bool(layer.parametrization.is_current(layer.kernel))
    other = kernel.copy()
    if change == "sign of one entry":
        other[2, 1] *= -1
    elif change == "last bit":
        other[2, 1] = np.nextafter(other[2, 1], np.float32(9))
    elif change == "two rows swapped":
        other[[0, 1]] = other[[1, 0]]
    elif change == "all negated":
        other = -other
    else:
        layer.kernel.assign(np.full_like(kernel, np.nan))
        assert not bool(layer.parametrization.is_current(layer.kernel))
        layer.kernel.assign(kernel)
        assert bool(layer.parametrization.is_current(layer.kernel))
        return
    layer.kernel.assign(other)
    assert not bool(layer.parametrization.is_current(layer.kernel))
    layer.refresh()
    assert bool(layer.parametrization.is_current(layer.kernel))


def test_measurements_see_what_inference_uses():
    model = moved(network())
    spectra = {s.name: s.constrained for s in lipviz.measure.singular_values(model).layers}
    bound = lipviz.certify(model, search=False).upper_bound
    refresh(model)
    for spectrum in lipviz.measure.singular_values(model).layers:
        np.testing.assert_allclose(spectra[spectrum.name], spectrum.constrained, atol=2e-6)
    assert bound == pytest.approx(lipviz.certify(model, search=False).upper_bound, rel=1e-5)


# --- gradients ---


def gradients(model, **arguments):
    """Of a loss by all trainable weights."""
    values, others = ([v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables))
    if IS_JAX:
        import jax

        def loss(values):
            return ops.sum(model.stateless_call(values, others, X, **arguments)[0] ** 3)

        return [numbers(g) for g in jax.grad(loss)(values)]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = ops.sum(model(X, **arguments) ** 3)
    return [numbers(g) for g in tape.gradient(loss, values)]


@pytest.mark.slow
def test_a_bare_call_differentiates_as_training_does():
    model = moved(network())
    stale = gradients(model)
    refresh(model)
    fresh, training = gradients(model), gradients(model, training=True)
    for got in (stale, fresh):
        for value, want in zip(got, training, strict=True):
            np.testing.assert_allclose(value, want, rtol=2e-4, atol=2e-4 * np.abs(want).max())


class _Without(keras.Model):
    """A model whose `call` takes no `training`, which Keras then never tells it."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def call(self, x):
        return self.body(x)


@pytest.mark.slow
@pytest.mark.parametrize("base", [keras.Model, pytest.param(lipviz.Model, marks=pytest.mark.nightly)])
def test_models_that_are_never_told_of_training_learn(base):
    model = type("Own", (base,), dict(vars(_Without)) | {"__init__": lambda self: base.__init__(self)})()
    model.body = network(convolution=False)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = [numbers(layer.kernel) for layer in constrained(model.body)]
    model.fit(X, Y, epochs=2, verbose=0)
    for layer, kernel in zip(constrained(model.body), before, strict=True):
        assert np.abs(numbers(layer.kernel) - kernel).max() > 1e-5
    got = numbers(model(X))
    np.testing.assert_allclose(got, after_refresh(model), **CLOSE)


# --- a bare call is inference ---


def test_a_bare_call_moves_no_statistics_behind_a_constrained_layer():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, L.Dropout(0.5)(L.BatchNormalization()(SpectralDense(5)(inputs))))
    x = 10 * RNG.standard_normal((4, 6)).astype("float32")
    before = state(model)
    np.testing.assert_array_equal(numbers(model(x)), numbers(model(x, training=False)))
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)
    ratio = np.linalg.norm(np.diff(numbers(model(x)), axis=0)) / np.linalg.norm(np.diff(x, axis=0))
    assert ratio <= lipviz.certify(model, search=False).upper_bound


def test_a_training_call_stores_the_kernel_that_it_used():
    model = moved(network())
    got = numbers(model(X, training=True))
    for layer in constrained(model):
        assert bool(layer.parametrization.is_current(layer.kernel))
    np.testing.assert_allclose(numbers(model(X)), got, **CLOSE)


# --- Keras's ways to assign weights ---


def fitted(kind=keras.Sequential, callbacks=(), optimizer=None, **arguments):
    model = network(kind, convolution=False)
    model.compile(optimizer or keras.optimizers.Adam(1e-2), "mse", run_eagerly=not IS_JAX)
    model.fit(X, Y, epochs=2, batch_size=3, verbose=0, callbacks=list(callbacks), **arguments)
    return model


@pytest.mark.covered_by_day
@pytest.mark.slow
@pytest.mark.parametrize("kind", [keras.Sequential, lipviz.Sequential])
@pytest.mark.parametrize("way", ["fit", "EMA", "EarlyStopping", "train_on_batch"])
def test_predictions_are_those_of_the_kernels(kind, way):
    optimizer = keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5) if way == "EMA" else None
    stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)
    model = fitted(kind, [stop] if way == "EarlyStopping" else [], optimizer)
    if way == "train_on_batch":
        model.train_on_batch(X, Y)
    got = numbers(model(X))
    np.testing.assert_allclose(got, after_refresh(model), **CLOSE)


@pytest.mark.slow
@BY_DAY_OF_KERAS
def test_validation_within_fit_sees_the_kernels_of_that_moment(kind):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model  # noqa: B018 - brings the weights up to date on JAX
            copy = network(kind, convolution=False)
            copy.set_weights(self.model.get_weights())
            want = np.mean((after_refresh(copy) - Y) ** 2)
            seen.append((logs["val_loss"], want))

    fitted(kind, [Look()], validation_data=(X, Y))
    assert len(seen) == 2
    for got, want in seen:
        assert got == pytest.approx(want, rel=1e-4)


@pytest.mark.slow
@BY_DAY_OF_KERAS
def test_a_checkpoint_holds_the_wbar_of_its_kernel(kind, tmp_path):
    path = tmp_path / "{epoch}.keras"
    fitted(kind, [keras.callbacks.ModelCheckpoint(str(path))])
    for epoch in (1, 2):
        loaded = keras.models.load_model(str(path).format(epoch=epoch))
        got = numbers(loaded(X))
        for layer in constrained(loaded):
            assert bool(layer.parametrization.is_current(layer.kernel))
        np.testing.assert_allclose(numbers(lipviz.vanillaModel(loaded)(X)), got, **CLOSE)
        np.testing.assert_array_equal(after_refresh(loaded), got)


@pytest.mark.parametrize("move", [False, True])
def test_what_is_saved_is_loaded_bit_for_bit(move, tmp_path):
    model = network()
    if move:
        moved(model)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(numbers(loaded(X)), numbers(model(X)))
    for old, new in zip(state(model), state(loaded), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_kernel_of_nan_is_saved_and_loaded(tmp_path):
    layer = SpectralDense(3)
    model = keras.Sequential([keras.Input((4,)), layer])
    layer.kernel.assign(np.full((4, 3), np.nan))
    model.save(tmp_path / "m.keras")
    assert np.isnan(numbers(keras.models.load_model(tmp_path / "m.keras")(np.ones((1, 4))))).all()


@pytest.mark.nightly
def test_a_plain_distributed_model_predicts_with_its_kernels():
    if IS_JAX:
        pytest.skip("MirroredStrategy is TensorFlow's")
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = network(convolution=False)
        model.compile(keras.optimizers.Adam(1e-2), "mse")
    model.train_on_batch(X, Y)
    got = model.predict(X, verbose=0)
    np.testing.assert_allclose(got, after_refresh(model), **CLOSE)


@pytest.mark.slow
@BY_DAY_OF_KERAS
def test_an_export_made_of_a_moved_model_serves_its_kernels(kind, tmp_path):
    if IS_JAX:
        pytest.skip("a SavedModel is written by TensorFlow")
    import tensorflow as tf

    model = moved(network(kind))
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    got = numbers(served.serve(X))
    np.testing.assert_allclose(got, after_refresh(model), **CLOSE)


# --- one constant ---


def pair(k=5.0, same_kernel=False):
    """Two layers with different k, and inputs."""
    layers = SpectralDense(4, k_coef_lip=k), SpectralDense(4)
    for layer in layers:
        layer.build((None, 6))
    if same_kernel:
        layers[1].kernel.assign(numbers(layers[0].kernel))
        layers[1].refresh()
    return layers


@pytest.mark.parametrize("same_kernel", [False, True])
@pytest.mark.parametrize("way", ["layer", "plain model", "lipviz model", "file", "by hand"])
def test_weights_bring_no_constant(way, same_kernel, tmp_path):
    donor, layer = pair(same_kernel=same_kernel)
    if way == "layer":
        layer.set_weights(donor.get_weights())
    elif way == "by hand":
        for target, source in zip(layer.variables, donor.variables, strict=True):
            target.assign(numbers(source))
    else:
        kind = lipviz.Sequential if way == "lipviz model" else keras.Sequential
        donor = keras.Sequential([keras.Input((6,)), donor])
        model = kind([keras.Input((6,)), layer])
        if way == "file":
            donor.save_weights(tmp_path / "a.weights.h5")
            model.load_weights(tmp_path / "a.weights.h5")
        else:
            model.set_weights(donor.get_weights())
    x = RNG.standard_normal((3, 6)).astype("float32")
    for training in (False, True, False):
        layer(x, training=training)
        assert layer.k_coef_lip == 1 == float(layer.parametrization.k)
        if way != "by hand":  # as on JAX at the end of a step: what it brings is a state of the whole layer
            assert np.linalg.norm(numbers(layer.used_kernel()).astype("float64"), 2) <= 1
    layer.refresh()
    assert np.linalg.norm(numbers(layer.wbar).astype("float64"), 2) <= 1


@pytest.mark.parametrize("k", [0.001, 0.8, 3.3])
def test_k_is_exact_in_float64(k):
    layer = SpectralDense(2, k_coef_lip=k, dtype="float64")
    layer.build((None, 3))
    assert numbers(layer.parametrization.k) == k  # not by way of float32
    assert np.linalg.norm(numbers(layer.wbar), 2) <= k
    layer.set_klip_factor(k / 3)
    assert numbers(layer.parametrization.k) == k / 3


@pytest.mark.nightly
@pytest.mark.skipif(IS_JAX, reason="a checkpoint of TensorFlow holds its own variables only")
def test_a_checkpoint_of_tensorflow_changes_no_k(tmp_path):
    import tensorflow as tf

    other, model = moved(network(k=3.0)), network(k=0.5)
    other(X, training=True)
    tf.train.Checkpoint(model=other).write(tmp_path / "checkpoint")
    tf.train.Checkpoint(model=model).restore(tmp_path / "checkpoint").expect_partial()
    for layer, source in zip(constrained(model), constrained(other), strict=True):
        np.testing.assert_array_equal(numbers(layer.kernel), numbers(source.kernel))
        assert layer.k_coef_lip == numbers(layer.parametrization.k) == 0.5
        # Far closer than 3 is to 0.5; both are computed by an iteration that stops at 1e-3 or before.
        np.testing.assert_allclose(numbers(layer.used_kernel()), numbers(source.used_kernel()) / 6, atol=1e-3)
    before = numbers(model(X))
    lipviz.model.refresh(model)
    np.testing.assert_allclose(numbers(model(X)), before, rtol=1e-5, atol=1e-6)


def test_k_reaches_a_compiled_step_of_a_plain_model():
    layer = SpectralDense(4, use_bias=False)
    model = keras.Sequential([keras.Input((6,)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.eye(6, dtype="float32")
    for k in (1.0, 3.0, 0.25):
        layer.set_klip_factor(k)
        for _ in range(2):
            model.train_on_batch(x, np.zeros((6, 4)))
            assert np.linalg.norm(model.predict_on_batch(x), 2) == pytest.approx(k, rel=1e-5)


# --- kernels that are compared once ---


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_predict_and_evaluate_compare_once_and_are_right_in_any_order(jit_compile):
    model = network(lipviz.Sequential, convolution=False)
    model.compile("sgd", "mse", jit_compile=jit_compile or IS_JAX)  # compiled: each function is made once and kept
    compared = []
    for layer in constrained(model):
        parametrization, found = layer.parametrization, layer.parametrization.is_current
        parametrization.is_current = lambda kernel, found=found: compared.append("in a batch") or found(kernel)
        found = parametrization.is_current_now
        parametrization.is_current_now = lambda found=found: compared.append("before") or found()
    for step in range(8):
        is_moved = step in (2, 5, 6)
        if is_moved:
            moved(model, step)
        if step == 7:
            refresh(model)
        compared.clear()
        many = model.predict(X, batch_size=2, verbose=0)
        if not is_moved and step in (0, 1) and not IS_JAX:
            assert compared.count("before") == 2  # each layer once
            assert "in a batch" not in compared
        loss = model.evaluate(X, Y, verbose=0)
        np.testing.assert_allclose(many, numbers(model(X)), **CLOSE)
        np.testing.assert_allclose(model.predict_on_batch(X), many, **CLOSE)
        assert loss == pytest.approx(np.mean((many - Y) ** 2), rel=1e-4)


@pytest.mark.slow
def test_a_fresh_model_is_exported_without_its_constraint(tmp_path):
    if IS_JAX:
        pytest.skip("a SavedModel is written by TensorFlow")
    import tensorflow as tf

    model = moved(network(lipviz.Sequential))
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    graph = served.signatures["serving_default"].graph.as_graph_def()
    used = {node.op for function in graph.library.function for node in function.node_def} | {n.op for n in graph.node}
    assert "SelfAdjointEigV2" not in used
    assert not {"If", "StatelessIf", "BitwiseXor"} & used
