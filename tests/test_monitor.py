"""The training monitor: what it sees, where it shows it, and that training does not notice."""

import csv
import io
import itertools
import random
import re
import signal

import keras
import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image
from rich.console import Console

from lipviz import losses, measure
from lipviz.layers import FrobeniusDense
from lipviz.measure.training_log import TrainingLog, hkr_terms, used_extremes
from lipviz.model import Sequential
from lipviz.monitor import TrainingMonitor, displays
from lipviz.monitor import callback as callback_module
from lipviz.monitor.displays import Lines, Notebook, RichTerminal, sparkline
from lipviz.monitor.progress import Progress, duration

X = np.random.default_rng(0).standard_normal((24, 4)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def constrained(eager=True):
    keras.utils.set_random_seed(3)
    model = Sequential([keras.Input((4,)), FrobeniusDense(3, disjoint_neurons=False, name="first"), FrobeniusDense(1)])
    loss = losses.HKR(alpha=5.0, min_margin=0.5)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["mae"], run_eagerly=eager)
    return model


def plain(rate=0.1, dropout=0.0, eager=True):
    """A network without a constraint; eager, as compiling takes most of the time of so short a training."""
    keras.utils.set_random_seed(3)
    stack = [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dropout(dropout), keras.layers.Dense(1)]
    model = keras.Sequential(stack[:2] + (stack[2:3] if dropout else []) + stack[3:])
    model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=eager)
    return model


def quiet(*arguments, **settings):
    """A monitor that shows nothing: drawing takes time."""
    monitor = TrainingMonitor(*arguments, mode="terminal", **settings)
    monitor._chosen_displays = list
    return monitor


def fit(model, *monitors, epochs=2, **settings):
    settings = {"verbose": 0, "batch_size": 8, **settings}
    return model.fit(X, Y, epochs=epochs, callbacks=list(monitors), **settings)


@pytest.fixture(scope="module")
def monitored(tmp_path_factory):
    """A constrained model after two calls of `fit` with everything that there is to see, and what Keras saw."""
    folder = tmp_path_factory.mktemp("monitored")
    model, monitor = constrained(), TrainingMonitor(X, Y, mode="files", folder=folder, samples=10)
    histories = [fit(model, monitor, validation_data=(X, Y)), fit(model, monitor, epochs=1)]
    return model, monitor, histories, folder


# --- training does not notice ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: constrained(eager=False), id="constrained"),
        pytest.param(lambda: plain(dropout=0.3), id="dropout", marks=pytest.mark.nightly),
    ],
)
def test_training_is_the_same_with_a_monitor(make):
    weights, draws = [], []
    for monitors in ([], [quiet(X, Y)]):
        model = make()
        fit(model, *monitors, validation_data=(X, Y))
        weights.append(model.get_weights())
        draws.append((random.random(), np.random.random(), np.asarray(keras.random.normal((2,))).tolist()))  # noqa: NPY002
    for without, with_monitor in zip(*weights, strict=True):
        np.testing.assert_array_equal(with_monitor, without)
    assert draws[0] == draws[1]


@pytest.mark.slow
def test_pyplot_and_the_handler_of_interrupts_are_left_alone(monitored):
    assert pyplot.get_fignums() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- the log ---


@pytest.mark.slow
def test_the_log_has_what_keras_reported(monitored):
    _, monitor, (first, second), _ = monitored
    log = monitor.log
    assert isinstance(log, TrainingLog)
    assert list(log.metrics)[:2] == ["loss", "val_loss"]
    for name, values in first.history.items():
        np.testing.assert_allclose(log.metrics[name][:2], values)
    np.testing.assert_allclose(log.metrics["loss"][2:], second.history["loss"])
    assert np.isnan(log.metrics["val_loss"][2])
    assert log.not_finite == {}
    assert log.epochs.tolist() == [1, 2, 3]
    assert log.starts == (0, 2)
    assert log.steps.tolist() == [3, 6, 9]
    assert log.steps_per_epoch == 3
    assert (np.diff(log.seconds) > 0).all()
    assert (log.status, log.notes) == ("finished", ())
    assert monitor.overhead > 0


def test_the_loss_within_epochs(monitored):
    log = monitored[1].log
    assert log.batches.tolist() == list(range(1, 10))
    np.testing.assert_allclose(log.batch_losses[2::3], log.metrics["loss"], rtol=1e-5)
    np.testing.assert_allclose(log.batch_epochs, np.arange(1, 10) / 3)


def test_the_measurements_are_those_of_the_model(monitored):
    model, monitor, _, _ = monitored
    log = monitor.log
    # `fit` refreshes afterwards: what was used in the last step is one step older.
    assert set(log.spectra) == set(used_extremes(model)) == set(log.factors)
    for values in log.spectra.values():
        assert values.shape == (3, 2)
        assert (values <= 1 + 1e-6).all()
    assert log.gradients.norms.shape == (3, 10)
    assert log.gradients.norms.max() <= 1 + 1e-6
    assert np.isfinite([log.kr, log.hinge]).all()


def test_each_epoch_is_measured_with_the_weights_of_its_end():
    model, monitor = plain(), quiet(X)
    seen = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: (
            seen.append(measure.input_gradient_norms(model, X).norms)
            if keras.backend.backend() == "tensorflow"
            else None
        )
    )
    fit(model, monitor, keep, epochs=2)
    log = monitor.log
    if seen:
        np.testing.assert_allclose(log.gradients.norms, seen, rtol=1e-12)
    last = measure.singular_values(model)
    for layer in last:
        np.testing.assert_allclose(log.spectra[layer.name][-1], [layer.largest, layer.smallest], rtol=1e-12)
    assert log.factors == {}
    assert log.kr is None
    assert log.hinge is None


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_generator_of_unknown_length():
    def batches():
        for start in range(0, 24, 8):
            yield X[start : start + 8], Y[start : start + 8]

    model, monitor = plain(), quiet(spectra=False)
    model.fit(batches(), epochs=1, verbose=0, shuffle=False, callbacks=[monitor])
    assert monitor.log.steps_per_epoch == 3
    assert monitor.log.batch_epochs[-1] == 1.0
    assert monitor.log.spectra == {}


def test_another_model_begins_another_log():
    monitor = quiet()
    fit(plain(), monitor, epochs=2)
    fit(plain(), monitor, epochs=1)
    assert len(monitor.log) == 1


def test_a_loss_that_is_not_finite_is_said_and_training_goes_on():
    model = plain(rate=1e30)
    monitor = quiet(X)
    with np.errstate(all="ignore"):
        fit(model, monitor, epochs=3)
    log = monitor.log
    assert log.status == "finished"
    assert len(log) == 3
    assert log.not_finite["loss"] == 1
    assert "weights" in log.not_finite
    assert any("loss: NaN or infinite in epoch 1" in words for words in monitor._progress().remarks)


def test_a_model_that_cannot_be_measured_is_trained_and_the_log_says_why():
    one, other = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([one, other], keras.layers.Add()([one, keras.layers.Dense(4)(other)]))
    model.compile("sgd", "mse")
    monitor = quiet(X)
    model.fit([X, X], X, epochs=1, verbose=0, callbacks=[monitor])
    assert monitor.log.gradients is None
    assert "Gradient norms are left out" in monitor.log.notes[0]


def test_a_model_without_a_kernel():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Flatten()])
    assert used_extremes(model) == {}


# --- terms of the loss ---

SCORES = np.random.default_rng(1).standard_normal((12, 3))
HOT = np.eye(3)[np.arange(12) % 3]


@pytest.mark.parametrize(
    ("loss", "whole"),
    [
        (losses.MulticlassHKR(alpha=7.0, min_margin=0.4), lambda kr, hinge: 7 * hinge - kr),
        (losses.SoftHKRMulticlassLoss(alpha=0.3), lambda kr, hinge: 0.3 * hinge - 0.7 * kr),
        (losses.LseHKRMulticlassLoss(alpha=0.6), lambda kr, hinge: 0.6 * hinge - 0.4 * kr),
        (losses.MulticlassKR(), lambda kr, hinge: kr),
        (losses.MulticlassHinge(0.3), lambda kr, hinge: hinge),
        (losses.CategoricalHinge(0.3), lambda kr, hinge: hinge),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_terms_make_up_their_loss(loss, whole):
    before = [np.asarray(variable) for variable in loss.variables]
    terms = hkr_terms(loss, HOT, SCORES)
    np.testing.assert_array_equal([np.asarray(variable) for variable in loss.variables], before)
    if isinstance(loss, losses.SoftHKRMulticlassLoss):
        loss.alpha_mean.assign(1.0)  # the running mean stays
    assert whole(*terms) == pytest.approx(float(np.mean(loss(HOT, SCORES))), rel=1e-5)


def test_other_losses_have_no_terms():
    assert hkr_terms(keras.losses.MeanSquaredError(), HOT, SCORES) is None
    assert hkr_terms(losses.TauCategoricalCrossentropy(1.0), HOT, SCORES) is None


# --- the end ---


class Cut(keras.callbacks.Callback):
    def __init__(self, cut):
        super().__init__()
        self.cut = cut

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            self.cut()


def raise_error():
    raise RuntimeError("disk full")


def test_an_interrupt_draws_the_last_picture(tmp_path):
    model, monitor = plain(), TrainingMonitor(mode="files", folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(model, monitor, Cut(lambda: signal.raise_signal(signal.SIGINT)))
    assert monitor.log.status == "interrupted"
    assert monitor.log.batches.tolist() == [1, 2]
    with Image.open(tmp_path / "training.png") as image:
        assert image.size[0] > 100
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert str(monitor._progress()).startswith("Interrupted in epoch 1 of 2, batch 2")
    fit(model, monitor, epochs=1)
    assert (monitor.log.status, len(monitor.log)) == ("finished", 1)


def test_an_interrupt_that_is_handled_does_not_end_the_monitor():
    monitor, heard = quiet(), []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        fit(plain(), monitor, Cut(lambda: signal.raise_signal(signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [1, 1]
    assert monitor.log.status == "finished"


@pytest.mark.slow
def test_a_fit_that_failed_is_closed_by_the_next():
    model, monitor = plain(), quiet()
    with pytest.raises(RuntimeError, match="disk full"):
        fit(model, monitor, Cut(raise_error))
    assert monitor.log.status == "running"
    fit(model, monitor, epochs=1)
    assert monitor.log.status == "finished"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_display_that_fails_is_left_out_and_training_goes_on(tmp_path):
    (tmp_path / "file").write_text("in the way")
    monitor = TrainingMonitor(mode="files", folder=tmp_path / "file")
    with pytest.warns(RuntimeWarning, match="Files shows nothing any more"):
        fit(plain(), monitor)
    assert (monitor.log.status, len(monitor.log)) == ("finished", 2)


# --- files ---


def test_files_hold_everything(monitored):
    _, monitor, _, folder = monitored
    assert {path.name for path in folder.iterdir()} == {
        "training.csv", "training_batches.csv", "training.png", "training.svg",
    }  # fmt: skip
    with (folder / "training.csv").open(encoding="utf-8") as stream:
        columns, *rows = csv.reader(stream)
    assert columns == monitor.log.table()[0]
    np.testing.assert_allclose(np.array(rows, float), np.array(monitor.log.table()[1], float))
    assert {"epoch", "loss", "kr", "hinge", "gradient norm, median", "sigma max, first"} <= set(columns)
    with Image.open(folder / "training.png") as image:
        assert "Training of" in image.text["Description"]
    assert "<svg" in (folder / "training.svg").read_text(encoding="utf-8")


def test_a_crash_loses_no_epoch(tmp_path):
    def crash():
        assert len((tmp_path / "training.csv").read_text(encoding="utf-8").splitlines()) == 2
        raise RuntimeError("crash")

    class Second(Cut):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.cut()

        def on_train_batch_end(self, batch, logs=None):
            pass

    with pytest.raises(RuntimeError, match=r"^crash$"):
        fit(plain(), TrainingMonitor(mode="files", folder=tmp_path), Second(crash))


# --- terminal ---


def test_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(callback_module, "terminal", Lines)
    fit(plain(), TrainingMonitor(mode="terminal"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/2  loss ")
    assert "largest σ" in lines[0]
    assert lines[2].startswith("Finished: 2 of 2 epochs")


def test_a_pipe_gets_plain_lines():
    assert isinstance(displays.terminal(), Lines)


def test_a_terminal_gets_a_table_in_place(monkeypatch):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    monkeypatch.setattr(callback_module, "terminal", lambda: RichTerminal(console))
    monitor = TrainingMonitor(mode="terminal")
    fit(plain(), monitor, epochs=3)
    text = stream.getvalue()
    assert "Finished: 3 of 3 epochs" in text
    assert re.search(rf"loss +{sparkline(monitor.log.metrics['loss'])} ", text)
    assert text.rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_sparkline():
    assert sparkline([0, 2, 7, np.nan]) == "▁▃█×"
    assert sparkline([]) == ""
    assert sparkline([3, 3]) == "▁▁"
    assert len(sparkline(range(100))) == 24


# --- notebook ---


class Handle:
    def __init__(self, shown, object_):
        self.shown = shown
        self.own = [object_]
        shown.append(self)

    def update(self, object_):
        self.own.append(object_)


@pytest.mark.slow
def test_a_notebook_has_one_bar_and_one_picture_updated_in_place(monkeypatch):
    import IPython.display

    handles = []
    monkeypatch.setattr(IPython.display, "display", lambda object_, display_id: Handle(handles, object_))
    monkeypatch.setattr(callback_module, "_TICK", 0.0)
    model, monitor = constrained(), TrainingMonitor(mode="notebook", every=1e-3)
    monkeypatch.setattr(callback_module, "_WAIT_PER_DRAWING", 0)
    fit(model, monitor, epochs=3)
    assert len(handles) == 2
    bar, picture = handles
    assert len(bar.own) > 5
    assert len(picture.own) > 3
    page = picture.own[-1]._repr_html_()
    assert page.count("<img") == 3
    assert 'alt="Training of' in page
    assert repr(picture.own[-1]).startswith("Training of")
    assert '<progress max="1" value="1.0000"' in bar.own[-1]._repr_html_()
    figure = monitor._displays[0]._kept.figure
    fit(model, monitor, epochs=1)
    assert monitor._displays[0]._kept.figure is figure
    assert len(handles) == 4
    assert pyplot.get_fignums() == []


def test_a_remark_is_an_alert_with_its_text_escaped():
    progress = Progress(1, 2, 3, None, 4.0, None, "running", ("<b>NaN</b>",))
    assert 'role="alert"' in displays._bar_html(progress)
    assert "&lt;b&gt;NaN" in displays._bar_html(progress)


def test_auto_finds_its_place(monkeypatch, tmp_path):
    assert isinstance(TrainingMonitor()._chosen_displays()[0], Lines)
    assert [type(d).__name__ for d in TrainingMonitor(folder=tmp_path)._chosen_displays()] == ["Files"]
    monkeypatch.setattr(callback_module, "_in_notebook", lambda: True)
    assert [type(d).__name__ for d in TrainingMonitor(folder=tmp_path)._chosen_displays()] == ["Notebook", "Files"]
    assert isinstance(TrainingMonitor()._chosen_displays()[0], Notebook)


# --- progress ---


def test_progress_in_words():
    steps = Progress(2, 4, 5, 10, 30.0, 42.4, "running")
    assert steps.share == pytest.approx(0.375)
    assert str(steps) == "Epoch 2 of 4, batch 5 of 10, 0:30 so far, 0:42 left"
    unknown = Progress(1, 4, 5, None, 30.0, None, "running")
    assert unknown.share == 0
    assert str(unknown) == "Epoch 1 of 4, batch 5, 0:30 so far"
    assert [duration(seconds) for seconds in (0, 59.6, 3723)] == ["0:00", "1:00", "1:02:03"]


# --- configuration ---


def test_a_monitor_can_be_rebuilt(tmp_path):
    monitor = TrainingMonitor(X[:3], Y[:3], mode="files", folder=tmp_path, every=0.5, output=0, spectra=False)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(monitor))
    assert isinstance(again, TrainingMonitor)
    assert again.get_config() == monitor.get_config()
    np.testing.assert_array_equal(again.x, X[:3])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "window"}, "window"),
        ({"mode": "files"}, "folder"),
        ({"every": 0}, "every"),
        ({"samples": 0}, "samples"),
        ({"samples": 2.5}, "samples"),
        ({"spectra": "yes"}, "spectra"),
        ({"y": Y}, "sample"),
        ({"x": X, "y": Y[:3]}, "24"),
        ({"x": X[:0]}, "at least one"),
        ({"x": X[0]}, "shape"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        TrainingMonitor(**arguments)


def test_many_batches_are_thinned():
    from lipviz.monitor import record as record_module

    record = record_module.Record(plain(), None, None, None, False)
    record.begin()
    for step in range(5000):
        record.batch(1, float(step))
    log = record.log("running", None)
    assert 512 <= len(log.batches) <= 1024
    assert all(b == loss + 1 for b, loss in zip(log.batches, log.batch_losses, strict=True))
    assert len(set(np.diff(log.batches))) == 1
    assert all(a < b for a, b in itertools.pairwise(log.batches))
