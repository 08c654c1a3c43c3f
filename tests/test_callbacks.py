"""Callbacks in `fit`, on the backend in use: what they change, write and report, and what they refuse."""

import struct

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import callbacks, losses
from lipviz.layers import FrobeniusDense
from lipviz.model import Model, Sequential

JAX = keras.backend.backend() == "jax"
X = np.random.default_rng(0).standard_normal((12, 4)).astype("float32")
Y = np.sign(X[:, :1])


def kernel_of(layer, name="kernel"):
    return np.array(ops.convert_to_numpy(ops.convert_to_tensor(getattr(layer, name))), np.float64)


def make(kind=Sequential, loss="hkr", **compiled):
    """A small network of lipviz layers, whose Frobenius norms are quick to build."""
    layers = [FrobeniusDense(3, disjoint_neurons=False, name="first"), FrobeniusDense(1, name="last")]
    if kind is Sequential:
        model = Sequential([keras.Input((4,)), *layers])
    else:
        inputs = keras.Input((4,))
        model = kind(inputs, layers[1](layers[0](inputs)))
    loss = losses.HKR(alpha=5.0, min_margin=1.0) if loss == "hkr" else loss
    model.compile(keras.optimizers.SGD(0.5), loss, **compiled)
    return model


def fit(model, *used, epochs=2, batch_size=4):
    return model.fit(X, Y, batch_size=batch_size, epochs=epochs, callbacks=list(used), verbose=0, shuffle=False)


def make_plain(kind=Model, loss="hkr", **compiled):
    """A network without a constraint, for what only its loss matters to."""
    inputs = keras.Input((4,))
    layer = keras.layers.Dense(1) if kind is not Sequential else FrobeniusDense(1)
    model = Sequential([inputs, layer]) if kind is Sequential else kind(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(0.5), losses.HKR(alpha=5.0) if loss == "hkr" else loss, **compiled)
    return model


class Recorder(keras.callbacks.Callback):
    """Keeps what `read(model)` returns after each batch and each epoch."""

    def __init__(self, read):
        super().__init__()
        self.read, self.batches, self.epochs = read, [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(self.read(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.read(self.model))


# --- condensing ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "on_epoch", "on_batch"),
    [(Sequential, True, False), (keras.Model, False, True), (keras.Model, False, False)],
)
def test_condensing_makes_free_kernels_the_constrained_ones(kind, on_epoch, on_batch):
    model = make(kind)
    recorder = Recorder(lambda m: [np.linalg.norm(kernel_of(m.get_layer(name))) for name in ("first", "last")])
    fit(model, callbacks.CondenseCallback(on_epoch, on_batch), recorder)
    batches = np.abs(np.array(recorder.batches) - 1).max(axis=1) < 1e-5
    epochs = np.abs(np.array(recorder.epochs) - 1).max(axis=1) < 1e-5
    assert (batches == on_batch).all()
    assert (epochs == (on_epoch or on_batch)).all()


def test_condensing_keeps_the_weights_that_training_goes_on_from():
    model = make()
    fit(model, callbacks.CondenseCallback(on_batch=True), epochs=1)
    for layer in model.layers:
        np.testing.assert_allclose(kernel_of(layer), kernel_of(layer, "wbar"), rtol=1e-5)
    before = kernel_of(model.layers[0])
    fit(model, epochs=1)
    assert np.abs(kernel_of(model.layers[0]) - before).max() > 1e-4


# --- watching ---


def events(folder):
    """All values that TensorBoard would read, as {tag: {step: array}}."""
    tf = pytest.importorskip("tensorflow", reason="event files are read with TensorFlow")
    from tensorflow.core.util import event_pb2

    found, plugins = {}, {}
    for path in sorted((folder / "metrics").iterdir()):
        data = path.read_bytes()
        while data:  # a record: its length, a checksum, the event, a checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
                plugins[value.tag] = value.metadata.plugin_data.plugin_name or plugins[value.tag]
    return found, plugins


@pytest.mark.slow
@pytest.mark.parametrize("target", ["kernel", "wbar"])
def test_the_largest_singular_value_is_written(tmp_path, target):
    model = make()
    monitor = callbacks.MonitorCallback(["first", "last"], tmp_path, target, on_batch=True)
    recorder = Recorder(lambda m: np.linalg.norm(kernel_of(m.get_layer("first"), target), 2))
    fit(model, monitor, recorder)
    found, plugins = events(tmp_path)
    assert set(found) == {
        f"{when}_{target}_sigma_max/{name}" for when in ("batch", "epoch") for name in ("first", "last")
    }
    assert set(plugins.values()) == {"scalars"}
    batches, epochs = (found[f"{when}_{target}_sigma_max/first"] for when in ("batch", "epoch"))
    assert list(batches) == [1, 2, 3, 4, 5, 6]
    assert list(epochs) == [0, 1]
    np.testing.assert_allclose(list(batches.values()), recorder.batches, rtol=1e-6)
    np.testing.assert_allclose(list(epochs.values()), recorder.epochs, rtol=1e-6)


@pytest.mark.slow
def test_all_singular_values_are_written_as_a_histogram(tmp_path):
    model = make()
    fit(model, callbacks.MonitorCallback(["first"], str(tmp_path), what="all"), epochs=1)
    found, plugins = events(tmp_path)
    assert plugins == {"epoch_kernel_sigma/first": "histograms"}
    buckets = found["epoch_kernel_sigma/first"][0]
    values = np.linalg.svd(kernel_of(model.layers[0]), compute_uv=False)
    assert buckets.shape == (3, 3)
    assert buckets[:, 2].sum() == len(values)
    np.testing.assert_allclose((buckets[0, 0], buckets[-1, 1]), (values[-1], values[0]), rtol=1e-6)


def test_a_diverged_kernel_is_written_as_nan(tmp_path):
    model = make(keras.Model, "mse")
    model.get_layer("first").kernel.assign(np.full((4, 3), np.nan))
    with pytest.warns(RuntimeWarning, match="The kernel of 'first' holds NaN or Inf"):
        fit(model, callbacks.MonitorCallback(["first"], tmp_path), epochs=2)
    assert np.isnan(list(events(tmp_path)[0]["epoch_kernel_sigma_max/first"].values())).all()


def test_names_are_checked_before_training(tmp_path):
    model = make()
    before = kernel_of(model.layers[0])
    with pytest.raises(ValueError, match=r"no layers \['frist'\] with a kernel. There are: first, last"):
        fit(model, callbacks.MonitorCallback(["first", "frist"], tmp_path))
    np.testing.assert_array_equal(kernel_of(model.layers[0]), before)
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="plain")])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"\['plain'\] have no wbar"):
        fit(plain, callbacks.MonitorCallback(["plain"], tmp_path, "wbar"))


# --- scheduling ---


def alpha_of(model):
    return float(ops.convert_to_numpy(model.loss.alpha))


@pytest.mark.parametrize("kind", [Sequential, Model])
def test_the_number_follows_the_broken_line(kind):
    model = make_plain(kind)
    scheduler = callbacks.LossParamScheduler("alpha", [10.0, 0.0, 4.0], [0, 2, 4])
    recorder = Recorder(alpha_of)
    fit(model, scheduler, recorder)
    np.testing.assert_allclose(recorder.batches, [10, 5, 0, 2, 4, 4])
    assert scheduler.step == 6
    assert alpha_of(model) == 4


def test_it_counts_on_over_calls_and_starts_where_it_is_told():
    model = make_plain()
    scheduler = callbacks.LossParamScheduler("alpha", [0.0, 10.0], [0, 10], step=2)
    recorder = Recorder(alpha_of)
    for _ in range(2):
        fit(model, scheduler, recorder, epochs=1)
    np.testing.assert_allclose(recorder.batches, [2, 3, 4, 5, 6, 7])


def test_several_steps_per_execution_are_counted_as_several():
    model = make_plain(steps_per_execution=2)
    scheduler = callbacks.LossParamScheduler("alpha", [0.0, 10.0], [0, 10])
    fit(model, scheduler, epochs=1, batch_size=2)
    assert scheduler.step == 6
    assert alpha_of(model) == 4


def test_a_compiled_step_computes_with_the_number_of_its_step():
    alphas = [0.0, 50.0, 100.0]
    model = make_plain()
    model.optimizer.learning_rate = 0.0
    expected = []
    for index, alpha in enumerate(alphas):
        x, y = X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]
        values = losses.hkr(y, model(x, training=False), alpha, 1.0)
        expected.append(float(ops.convert_to_numpy(ops.mean(values))))
    history = fit(model, callbacks.LossParamScheduler("alpha", alphas, [0, 1, 2]), epochs=1).history
    np.testing.assert_allclose(history["loss"][0], np.mean(expected), rtol=1e-4)


def test_all_losses_that_have_the_number_are_set():
    inputs = keras.Input((4,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b", "c")}
    model = Model(inputs, outputs)
    model.compile("sgd", {"a": losses.HKR(1.0), "b": losses.HKR(2.0), "c": losses.KR()})
    scheduler = callbacks.LossParamScheduler("alpha", [7.0], [0])
    scheduler.set_model(model)
    scheduler.on_train_begin()
    assert {name: float(ops.convert_to_numpy(model.loss[name].alpha)) for name in ("a", "b")} == {"a": 7, "b": 7}


@pytest.mark.skipif(not JAX, reason="only JAX compiles a loss's variables into a step that does not list them")
def test_a_model_that_does_not_see_the_change_is_warned_of():
    scheduler = callbacks.LossParamScheduler("alpha", [7.0], [0])
    with pytest.warns(UserWarning, match="'alpha' will not change: on JAX, a compiled step of Functional"):
        fit(make_plain(keras.Model), scheduler, epochs=1)
    fit(make_plain(keras.Model, run_eagerly=True), scheduler, epochs=1)  # a warning would be an error


# --- reporting ---


def test_the_number_is_printed_and_in_the_history(capsys):
    model = make_plain()
    scheduler = callbacks.LossParamScheduler("alpha", [0.0, 9.0], [0, 9])
    history = fit(model, scheduler, callbacks.LossParamLog("alpha", rate=2), epochs=3).history
    np.testing.assert_allclose(history["alpha"], [2, 5, 8])
    assert capsys.readouterr().out.split("\n") == ["", "HKR alpha: 2", "", "HKR alpha: 8", ""]


@pytest.mark.parametrize(
    ("callback", "loss"),
    [
        (callbacks.LossParamScheduler("tau", [1.0], [0]), "hkr"),
        (callbacks.LossParamScheduler("name", [1.0], [0]), "crossentropy"),
        (callbacks.LossParamLog("tau"), "mse"),
    ],
)
def test_a_loss_without_the_number_is_refused_before_training(callback, loss):
    loss = keras.losses.BinaryCrossentropy() if loss == "crossentropy" else loss
    message = f"variable '{callback.param_name}'.*" + (
        "with alpha, min_margin" if loss == "hkr" else "with no variables"
    )
    with pytest.raises(ValueError, match=message):
        fit(make_plain(keras.Model, loss), callback)


# --- configurations ---

ALL = (
    callbacks.CondenseCallback(False, True),
    callbacks.MonitorCallback(["first"], "logs", "wbar", "all", False, True),
    callbacks.LossParamScheduler("alpha", [1.0, 2.0], [0.0, 5.0], 3),
    callbacks.LossParamLog("alpha", 2),
)


@pytest.mark.parametrize("callback", ALL, ids=lambda c: type(c).__name__)
def test_config_round_trip(callback):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(callback))
    assert type(copy) is type(callback)
    assert copy.get_config() == callback.get_config()


@pytest.mark.parametrize(
    ("construct", "error", "message"),
    [
        (lambda: callbacks.CondenseCallback("yes"), ValueError, "`on_epoch` must be"),
        (lambda: callbacks.MonitorCallback("first", "logs"), ValueError, "list of names"),
        (lambda: callbacks.MonitorCallback([], "logs"), ValueError, "list of names"),
        (lambda: callbacks.MonitorCallback(["first"], "logs", "bias"), ValueError, "`target` must be"),
        (lambda: callbacks.MonitorCallback(["first"], "logs", what="min"), ValueError, "`what` must be"),
        (lambda: callbacks.MonitorCallback(["first"], "logs", on_batch=1), ValueError, "`on_batch` must be"),
        (lambda: callbacks.LossParamScheduler(3, [1], [0]), TypeError, "`param_name` must be"),
        (lambda: callbacks.LossParamScheduler("alpha", [1, 2], [0]), ValueError, "equally many"),
        (lambda: callbacks.LossParamScheduler("alpha", [], []), ValueError, "equally many"),
        (lambda: callbacks.LossParamScheduler("alpha", [1, 2], [3, 3]), ValueError, "`xp` increasing"),
        (lambda: callbacks.LossParamScheduler("alpha", [np.inf], [0]), ValueError, "must be finite"),
        (lambda: callbacks.LossParamScheduler("alpha", [1], [0], -1), ValueError, "`step` must be"),
        (lambda: callbacks.LossParamLog("alpha", 0), ValueError, "`rate` must be"),
    ],
)
def test_bad_arguments_are_refused(construct, error, message):
    with pytest.raises(error, match=message):
        construct()
