"""Models: the bound after any fit, sharing out k, condensing, exporting, saving."""

import gc
import warnings

import keras
import numpy as np
import pytest

import lipviz
from lipviz import Model, Sequential, vanillaModel
from lipviz.keras_internals import compiled_metrics, inner_layers
from lipviz.layers import ConstrainedKernel, FrobeniusDense, GroupSort2, MaxMin, SpectralDense
from lipviz.model import refresh
from tests.support import predicted, singular_values

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 8)).astype("float32")
Y = RNG.standard_normal((64, 3)).astype("float32")


def small(k=1.0, **arguments):
    return Sequential(
        [
            keras.Input((8,)),
            SpectralDense(16, activation=GroupSort2(), **arguments),
            MaxMin(),
            FrobeniusDense(3, disjoint_neurons=False),
        ],
        k_coef_lip=k,
    )


def constrained(model):
    return [layer for layer in inner_layers(model) if isinstance(layer, ConstrainedKernel)]


def assert_fresh(model):
    for layer in constrained(model):
        assert singular_values(layer.wbar)[0] <= layer.k_coef_lip
        kept = np.array(layer.wbar)
        layer.refresh()
        np.testing.assert_array_equal(layer.wbar, kept)


# --- the bound after fit ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "k", "arguments"),
    [
        (keras.optimizers.Adam(1e-1), 1.0, {}),
        pytest.param(keras.optimizers.SGD(10.0), 1.0, {}, marks=pytest.mark.nightly),
        pytest.param(keras.optimizers.Adam(1e-1), 1e-3, {"eps_bjorck": None}, marks=pytest.mark.nightly),
        (keras.optimizers.SGD(10.0), 1e3, {"beta_bjorck": 0.05, "maxiter_bjorck": 2, "maxiter_spectral": 0}),
    ],
)
def test_after_any_fit_no_layer_exceeds_its_bound(optimizer, k, arguments):
    model = small(k, **arguments)
    model.compile(optimizer, "mae")  # its gradient does not grow with k
    history = model.fit(X, Y, epochs=3, batch_size=16, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert_fresh(model)
    share = k ** (1 / 3)
    assert [layer.k_coef_lip for layer in constrained(model)] == pytest.approx([share] * 2)


@pytest.mark.slow
def test_eager_steps_keep_the_bound():
    model = small()
    model.compile(keras.optimizers.Adam(1e-1), "mse", run_eagerly=True)
    model.fit(X, Y, epochs=1, batch_size=32, verbose=0)
    assert_fresh(model)


@pytest.mark.slow
def test_the_stored_wbar_of_a_plain_keras_model_is_sound_and_refreshable():
    model = keras.Sequential([keras.Input((8,)), SpectralDense(16), GroupSort2(), SpectralDense(3)])
    model.compile(keras.optimizers.Adam(1e-1), "mse")
    model.fit(X, Y, epochs=2, verbose=0)
    for layer in constrained(model):
        assert singular_values(layer.wbar)[0] <= 1
    refresh(model)
    assert_fresh(model)


@pytest.mark.slow
def test_an_interrupt_leaves_a_fresh_model():
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    model = small()
    model.compile(keras.optimizers.Adam(1e-1), "mse")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=8, verbose=0, callbacks=[Interrupt()])
    assert_fresh(model)


@pytest.mark.slow
def test_training_that_diverges_warns_and_keeps_the_last_finite_state():
    model = small()
    model.compile(keras.optimizers.SGD(1.0), lambda y, p: keras.ops.mean(p) * np.nan)
    with pytest.warns(RuntimeWarning, match="predictions are not finite either"):
        model.fit(X, Y, epochs=1, verbose=0)
    assert np.isnan(np.asarray(model(X))).all()
    for layer in constrained(model):
        assert np.isfinite(np.array(layer.wbar)).all()
    with pytest.raises(ValueError, match="entries are NaN or Inf"):
        model.condense()
    with pytest.raises(ValueError, match="entries are NaN or Inf"):
        model.vanilla_export()


@pytest.mark.nightly
def test_fit_learns_what_a_plain_network_learns():
    rotation = np.linalg.qr(RNG.standard_normal((8, 8)))[0][:, :3]
    model = Sequential([keras.Input((8,)), SpectralDense(3, use_bias=False)])
    model.compile(keras.optimizers.Adam(3e-2), "mse")
    model.fit(X, X @ rotation, epochs=50, batch_size=8, verbose=0)
    # The loss is 0 there, and steps end in rounding: 1e-6 to 2e-6 for each of twelve seeds.
    np.testing.assert_allclose(model.layers[0].wbar, rotation, atol=1e-4)


# --- sharing out k ---


@pytest.mark.slow
def test_k_is_shared_out_and_reaches_a_compiled_step():
    model = Sequential([keras.Input((8,)), SpectralDense(4), GroupSort2()], k_coef_lip=4.0)
    assert [layer.k_coef_lip for layer in model.layers] == [2.0, 2.0]
    model.compile("sgd", "mse")
    model.fit(X, Y[:, :1].repeat(4, 1), epochs=1, verbose=0)
    before = model.predict(X, verbose=0)
    model.layers[0].bias.assign(np.zeros(4))
    before = model.predict(X, verbose=0)
    model.set_klip_factor(16.0)
    np.testing.assert_allclose(model.predict(X, verbose=0), 4 * before, rtol=1e-4, atol=1e-5)
    model.fit(X, Y[:, :1].repeat(4, 1), epochs=1, verbose=0)
    np.testing.assert_allclose(singular_values(model.layers[0].wbar), 4.0, rtol=1e-4)


def test_add_and_pop_keep_k():
    model = Sequential(k_coef_lip=8.0)
    for layer in (keras.Input((8,)), SpectralDense(4), SpectralDense(4), SpectralDense(3)):
        model.add(layer)
    assert [layer.k_coef_lip for layer in model.layers] == pytest.approx([2.0] * 3)
    model.pop()
    assert [layer.k_coef_lip for layer in model.layers] == pytest.approx([8**0.5] * 2)
    assert model.k_coef_lip == 8.0


def test_no_stack_changes_k_behind_the_back_of_another():
    model = Sequential([keras.Input((8,)), SpectralDense(4, name="shared"), SpectralDense(3)])
    shared = model.layers[0]
    with pytest.raises(
        ValueError, match=r"Layer 'shared' belongs to the model .* k_coef_lip=1\. .* would change that to"
    ):
        Sequential([shared, SpectralDense(2)], k_coef_lip=10.0)
    other = Sequential([shared, SpectralDense(2)])  # the same share
    for change in (lambda: other.set_klip_factor(10.0), lambda: other.set_klip_factor(0.1)):
        with pytest.raises(ValueError, match="belongs to the model"):
            change()
        assert [other.k_coef_lip, *(layer.k_coef_lip for layer in other.layers)] == [1.0, 1.0, 1.0]
    model.set_klip_factor(4.0)  # its owner may
    assert shared.k_coef_lip == 2.0
    with pytest.raises(ValueError, match="belongs to the model"):
        other.add(SpectralDense(5))
    assert len(other.layers) == 2
    assert lipviz.certify(model, search=False).upper_bound <= 4.0


@pytest.mark.slow
def test_a_stack_that_is_gone_or_let_go_of_a_layer_holds_it_no_more():
    layers = [SpectralDense(4), SpectralDense(3)]
    model = Sequential([keras.Input((8,)), *layers])
    model.pop()
    Sequential([layers[1]], k_coef_lip=3.0)
    assert layers[1].k_coef_lip == 3.0
    del model
    gc.collect()
    Sequential([keras.Input((8,)), layers[0]], k_coef_lip=5.0)
    assert layers[0].k_coef_lip == 5.0


def test_nested_stacks_share_out_their_share():
    inner = Sequential([SpectralDense(4), SpectralDense(4)], name="inner")
    outer = Sequential([keras.Input((8,)), inner, SpectralDense(3)], k_coef_lip=16.0)
    assert [layer.k_coef_lip for layer in inner.layers] == [2.0, 2.0]
    with pytest.raises(ValueError, match="Layer 'inner' belongs to the model"):
        Sequential([inner], k_coef_lip=3.0)
    assert outer.k_coef_lip == 16.0


def test_a_share_that_a_layer_cannot_take_changes_nothing():
    model = Sequential([keras.Input((4,)), SpectralDense(4), SpectralDense(3, dtype="float16")])
    with pytest.raises(ValueError, match="float16"):
        model.set_klip_factor(1e20)
    assert [model.k_coef_lip, *(layer.k_coef_lip for layer in model.layers)] == [1.0, 1.0, 1.0]


def test_deep_stacks_are_not_recomputed_layer_by_layer(monkeypatch):
    refreshed = []
    monkeypatch.setattr(SpectralDense, "refresh", lambda self: refreshed.append(self.name))
    model = Sequential([keras.Input((4,))])
    for _ in range(4):
        model.add(SpectralDense(4))
    assert refreshed == []
    model.set_klip_factor(16.0)
    assert len(refreshed) == 4


def test_what_is_not_known_is_named_once():
    with pytest.warns(UserWarning, match="Layer") as caught:
        model = Sequential([keras.Input((8,)), keras.layers.Dense(4, name="free"), SpectralDense(4, k_coef_lip=3.0)])
    assert [str(w.message) for w in caught if "Layer" in str(w.message)] == [
        "Layer 'free' (Dense) is not known to be 1-Lipschitz.",
        f"Layer '{model.layers[1].name}' came with k_coef_lip=3.0; this model gives it 1.",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_klip_factor(2.0)
        Sequential(
            [
                keras.Input((8, 8, 2)),
                keras.layers.MaxPooling2D(2),
                keras.layers.ReLU(),
                keras.layers.Activation("tanh"),
                keras.layers.Flatten(),
                keras.layers.Reshape((4, 8)),
                keras.layers.Softmax(),
                GroupSort2(),
            ]
        )


class Louder(keras.layers.ReLU):
    """A subclass that computes something else."""

    def call(self, inputs):
        return 7 * super().call(inputs)


def test_the_rules_say_what_is_known():
    kl = keras.layers
    known = [kl.LeakyReLU(0.5), kl.ZeroPadding2D(1), kl.Permute((2, 1, 3)), kl.Rescaling(1 / 255), kl.ELU()]
    known += [kl.GlobalMaxPooling2D(), kl.Activation("softplus"), kl.Activation(kl.LeakyReLU(0.1))]
    unknown = [kl.MaxPooling2D(3, strides=1), kl.Activation("gelu"), kl.Rescaling(9), kl.ReLU(threshold=1.0), Louder()]
    unknown += [kl.LeakyReLU(2.0), kl.PReLU(), kl.BatchNormalization(), kl.Conv2D(2, 3), kl.Softmax(axis=0)]
    for layers in ([keras.Input((8, 8, 2))], []):  # built, and not
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for layer in [*known, *unknown]:
                Sequential([*layers, type(layer).from_config(layer.get_config())])
        kinds = [str(warning.message).split("(")[1].split(")")[0] for warning in caught]
        assert kinds == [type(layer).__name__ for layer in unknown]


@pytest.mark.parametrize("k", [0, -1, np.nan, "2", None])
def test_bad_factors(k):
    with pytest.raises(ValueError, match="k_coef_lip"):
        Sequential([SpectralDense(2)], k_coef_lip=k)


# --- copies ---


def nested():
    inner = small(k=2.0)
    inputs = keras.Input((8,))
    shared = SpectralDense(3, name="shared")
    outputs = keras.layers.Add()([inner(inputs), shared(inputs), shared(keras.layers.ReLU()(inputs))])
    return Model(inputs, outputs)


@pytest.mark.slow
@pytest.mark.parametrize("make", [small, nested])
def test_every_copy_predicts_the_same(make, tmp_path):
    model = make()
    model.compile(keras.optimizers.Adam(1e-1), "mse")
    model.fit(X, Y, epochs=2, verbose=0)
    want = predicted(model, X)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert isinstance(model, Sequential | Model)
    np.testing.assert_array_equal(predicted(loaded, X), want)
    loaded.fit(X, Y, epochs=1, verbose=0)
    assert_fresh(loaded)

    config = type(model).from_config(model.get_config())
    config.set_weights(model.get_weights())
    np.testing.assert_allclose(predicted(config, X), want, rtol=1e-5, atol=1e-5)

    for export in (model.vanilla_export(), vanillaModel(model)):
        assert not constrained(export)
        assert not type(export).__module__.startswith("lipviz")
        np.testing.assert_allclose(predicted(export, X), want, rtol=1e-6, atol=2e-6)
    names, originals = ([layer.name for layer in m.layers if layer.weights] for m in (export, model))
    assert names == originals

    model.condense()
    for layer in constrained(model):
        np.testing.assert_array_equal(layer.kernel, layer.wbar)
    np.testing.assert_allclose(predicted(model, X), want, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(model(X), want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("wrap", [lambda layer: layer, keras.layers.TimeDistributed], ids=["alone", "wrapped"])
def test_an_export_keeps_a_dtype_policy_that_a_configuration_leaves_out(wrap):
    """That of a SpatialDropout1D names the dtype of its variables, which in mixed precision is not the policy."""
    dropout = wrap(keras.layers.SpatialDropout1D(0.5, dtype="mixed_float16"))
    shape = (3, 2) if dropout.name.startswith("spatial") else (4, 3, 2)
    model = keras.Sequential([keras.Input(shape), dropout])
    x = np.float32(np.random.default_rng(0).standard_normal((2, *shape)))
    export = lipviz.vanillaModel(model)
    policies = [[layer.dtype_policy.name for layer in inner_layers(one)[1:]] for one in (model, export)]
    assert policies[0] == policies[1]
    np.testing.assert_array_equal(export(x), model(x))


def test_set_weights_refreshes():
    model, other = small(), small()
    weights = other.get_weights()
    for index, value in enumerate(weights):
        if value.shape == (8, 16):  # the first kernel and its wbar
            weights[index] = 7 * RNG.standard_normal((8, 16))
    model.set_weights(weights)
    assert_fresh(model)


@pytest.mark.slow
def test_subclasses_of_model():
    class Graph(Model):
        def __init__(self):
            inputs = keras.Input((8,))
            super().__init__(inputs=inputs, outputs=SpectralDense(3)(inputs))

    graph = Graph()
    np.testing.assert_allclose(graph.vanilla_export()(X), graph.predict(X, verbose=0), atol=1e-6)

    @keras.saving.register_keras_serializable("tests")
    class Mine(Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = SpectralDense(3)

        def call(self, inputs, training=None):
            return self.dense(inputs, training=training)

    model = Mine()
    model.compile(keras.optimizers.Adam(1e-1), "mse")
    model.fit(X, Y, epochs=1, verbose=0)
    assert_fresh(model)
    with pytest.raises(ValueError, match="graph cannot be seen"):
        model.vanilla_export()


def test_exports_that_cannot_be():
    with pytest.raises(TypeError, match="Keras model"):
        vanillaModel(SpectralDense(3))
    with pytest.raises(ValueError, match="must be built"):
        Sequential([SpectralDense(3)]).vanilla_export()


@pytest.mark.slow
def test_an_export_with_a_loss_that_cannot_be_serialized():
    model = small()
    model.compile("sgd", lambda y, p: keras.ops.mean(keras.ops.square(y - p)))
    model.fit(X, Y, epochs=1, verbose=0)
    np.testing.assert_allclose(model.vanilla_export()(X), model.predict(X, verbose=0), atol=1e-5)


@pytest.mark.parametrize("name", ["fit", "evaluate", "predict", "export"])
def test_signatures_are_those_of_keras_with_types(name):
    import inspect

    signatures = [inspect.signature(getattr(cls, name)) for cls in (Sequential, keras.Sequential)]
    ours, theirs = ([p.replace(annotation=p.empty) for p in each.parameters.values()] for each in signatures)
    assert ours == theirs
    assert lipviz.Sequential is Sequential


Y_ONE_HOT = np.eye(2)[[0, 1, 1, 0]]


@pytest.mark.covered_by_day
@pytest.mark.parametrize("kind", [Sequential, keras.Sequential])
@pytest.mark.parametrize(
    ("targets", "metric"),
    [(Y_ONE_HOT, None), (Y_ONE_HOT, "CategoricalAccuracy"), (np.array([0, 1, 1, 0]), "SparseCategoricalAccuracy")],
)
@pytest.mark.parametrize("as_dataset", [False, True])
def test_a_step_is_traced_once(kind, targets, metric, as_dataset):
    """Keras's own model traces it twice: the first time variables of optimizer and metrics are created."""
    calls = []

    class Counting(keras.layers.Dense):
        def call(self, inputs):
            calls.append(1)
            return super().call(inputs)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Layer .* is not known to be 1-Lipschitz", UserWarning)
        model = kind([keras.Input((2,)), Counting(2, activation="softmax")])
    loss = "categorical_crossentropy" if targets.ndim == 2 else "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=["accuracy"] if metric else None)
    data = (np.zeros((4, 2)), targets)
    if as_dataset:
        tf = pytest.importorskip("tensorflow")
        data = (tf.data.Dataset.from_tensor_slices(data).batch(4),)
    calls.clear()
    history = model.fit(*data, verbose=0, shuffle=False).history
    if keras.backend.backend() == "tensorflow":
        assert len(calls) == (1 if kind is Sequential else 2)
    chosen = [type(m).__name__ for m in compiled_metrics(model).metrics] if metric else [None]
    assert chosen == [metric]
    # Of inputs of 0 both classes are as likely, and of the two the first is chosen.
    found, want = history["accuracy" if metric else "loss"][0], 0.5 if metric else np.log(2)
    assert found == pytest.approx(want)


def subclassed():
    class Own(Model):
        def __init__(self):
            super().__init__()
            self.layer = SpectralDense(2)

        def call(self, inputs):
            return self.layer(inputs)

    model = Own()
    model(np.zeros((4, 2)))
    return model


def relabelled(kind):
    """A model whose step hands its metrics other targets than `fit` got."""

    class Own(kind):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            return super().compute_metrics(x, keras.ops.argmax(y, axis=-1), y_pred, sample_weight)

    return Own([keras.Input((2,)), SpectralDense(2)])


@pytest.mark.slow
def test_a_subclassed_model_trains_with_metrics_again_and_again():
    model = subclassed()
    for _ in range(2):
        model.compile("sgd", "mse", metrics=["mae"])
        # All rows are equal, and no number is nearer than 0.5 to 0, 1, 1 and 0 in the mean.
        assert model.fit(np.ones((4, 2)), Y_ONE_HOT, verbose=0).history["mae"][0] >= 0.5 - 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Sequential, keras.Sequential])
def test_a_metric_is_the_one_for_the_targets_that_it_gets(kind):
    model = relabelled(kind)
    model.compile("sgd", "mse", metrics=["accuracy"])
    model.fit(np.ones((4, 2)), Y_ONE_HOT, verbose=0)
    assert [type(m).__name__ for m in compiled_metrics(model).metrics] == ["SparseCategoricalAccuracy"]


def test_what_is_wrong_with_targets_is_said_by_keras():
    tf = pytest.importorskip("tensorflow")
    model = Sequential([keras.Input((2,)), SpectralDense(2)])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    with pytest.raises(ValueError, match=r"[Ii]nput"):  # a batch was forgotten
        model.fit(tf.data.Dataset.from_tensor_slices((np.ones((4, 2)), np.ones(4))), shuffle=False, verbose=0)
    with pytest.raises(TypeError, match=r"fit\(\) got multiple values"):
        model.fit(np.ones((4, 2)), Y_ONE_HOT, x=np.ones((4, 2)))


@pytest.mark.slow
def test_nobody_waits_for_the_thread_that_tunes_a_dataset(monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow's trainer makes a `tf.data.Dataset` of arrays")
    import tensorflow as tf

    iterated, original = [], tf.distribute.Strategy.experimental_distribute_dataset

    def noted(strategy, dataset, *arguments):
        iterated.append(dataset.options().autotune.enabled)
        return original(strategy, dataset, *arguments)

    monkeypatch.setattr(tf.distribute.Strategy, "experimental_distribute_dataset", noted)
    model = Sequential([keras.Input((3,)), SpectralDense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 3), "float32"), np.ones((4, 1), "float32")
    model.fit(x, y, validation_data=(x, y), verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x=x, verbose=0)
    assert iterated == 4 * [False]
    iterated.clear()
    dataset = tf.data.Dataset.from_tensors((x, y))  # of a user, whose functions TensorFlow may run side by side
    model.fit(dataset, shuffle=False, verbose=0)
    model.fit(x, y, validation_data=dataset, verbose=0)
    model.evaluate(x=dataset, verbose=0)
    model.predict(dataset, verbose=0)
    assert iterated
    assert not any(enabled is False for enabled in iterated)
    assert model.distribute_strategy is tf.distribute.get_strategy()
