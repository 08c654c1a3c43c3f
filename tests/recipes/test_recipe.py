"""Recipes: their choices, what depends on them, the training by them, and its report."""

import dataclasses
import functools
import json
import signal

import keras
import numpy as np
import pytest

from lipviz import certification, data, recipes
from lipviz.recipes import LOSSES, Recipe, choosing, fitting, networks
from lipviz.recipes.samples import Samples
from tests.support import predicted

RNG = np.random.default_rng(0)
SMALL = Recipe((6, 6, 1), 3, radius=0.2, epochs=2, batch_size=8)


# --- networks ---


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 28, 1), [16, 32]),
        ((32, 32, 3), [16, 32]),
        ((8, 8, 1), [16, 32]),
        ((7, 9, 1), [16]),
        ((3, 40, 1), []),
        ((64, 48, 3), [16, 32, 64]),
        ((224, 224, 3), [16, 32, 64, 128, 128]),
    ],
)
def test_images_are_halved_until_they_are_small(shape, expected):
    assert networks.filters(shape, 1) == expected
    assert networks.filters(shape, 3) == [3 * count for count in expected]


@pytest.mark.slow
@pytest.mark.parametrize("layer", networks.CONVOLUTIONS + networks.DENSE)
def test_each_layer_makes_a_network_whose_outputs_are_lipschitz(layer):
    recipe = dataclasses.replace(SMALL, layer=layer)
    model = recipe.build()
    x = RNG.uniform(size=(2, 6, 6, 1)).astype("float32")
    assert predicted(model, x).shape == (2, 3)
    assert networks.layers_of_kind(layer)[layer in networks.DENSE] in [type(each).__name__ for each in model.layers]
    pairs = certification.pairwise_bounds(model)
    assert np.all(pairs <= 2 * (1 + 1e-5))  # of two outputs that are 1-Lipschitz each


def test_a_convolution_brings_dense_layers_of_its_kind():
    assert networks.layers_of_kind("AOLConv2D") == ("AOLConv2D", "AOLDense")
    assert networks.layers_of_kind("AOCConv2D") == ("AOCConv2D", "SpectralDense")
    assert networks.layers_of_kind("CayleyDense") == ("SpectralConv2D", "CayleyDense")


@pytest.mark.parametrize("shape", [(1,), (7, 5, 2), (3, 3, 1)])
def test_networks_for_odd_shapes(shape):
    recipe = Recipe(shape, 2, radius=1.0, epochs=1, layer="SpectralDense", last="SpectralDense")
    assert predicted(recipe.build(), np.zeros((3, *shape), "float32")).shape == (3, 2)


def test_series_are_halved_by_strides():
    recipe = Recipe((20, 2), 3, radius=0.5, epochs=1, layer="SpectralConv1D")
    assert networks.filters((20, 2), 1) == [16, 32]
    assert [layer.strides for layer in recipe.build().layers if hasattr(layer, "strides")] == [(2,), (2,)]
    assert "SpectralConv1D 16 - 32, each with stride 2" in str(recipe)
    assert np.all(certification.pairwise_bounds(recipe.build()) <= 2 * (1 + 1e-5))
    chosen = recipes.choose(RNG.standard_normal((20, 30, 2)), np.arange(20) % 2, epochs=1)
    assert (chosen.layer, chosen.input_shape) == ("SpectralConv1D", (30, 2))
    assert networks.layers_of_kind("AOLDense", 1) == ("SpectralConv1D", "AOLDense")
    with pytest.raises(ValueError, match="SpectralConv1D"):
        dataclasses.replace(recipe, layer="SpectralConv2D")


# --- losses ---


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_keeps_its_proportions(name):
    y, scores = np.eye(4, dtype="float32")[RNG.integers(0, 4, 9)], RNG.standard_normal((9, 4)).astype("float32")
    losses = [LOSSES[name].loss(**LOSSES[name].settings(radius)) for radius in (0.5, 4.0)]
    small, large = float(losses[0](y, scores)), float(losses[1](y, 8 * scores))
    assert np.isfinite(small)
    assert large == pytest.approx(8 * small, rel=1e-4)


# --- fields ---


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("input_shape", (6, 6, 1, 1), "features"),
        ("input_shape", [6], "features"),
        ("input_shape", (0,), "features"),
        ("classes", 1, "at least 2"),
        ("epochs", 0, "at least 1"),
        ("epochs", 1.5, "integer"),
        ("batch_size", -1, "integer"),
        ("radius", 0, "radius"),
        ("radius", float("nan"), "radius"),
        ("learning_rate", -1.0, "learning_rate"),
        ("layer", "AOLConv", "Did you mean 'AOLConv2D'"),
        ("layer", "PReLUlip", "SpectralConv2D"),
        ("last", "Dense", "FrobeniusDense"),
        ("loss", "offsetx", "Did you mean 'offset'"),
        ("loss", None, "annealing"),
        ("loss_arguments", {"alpha": 1.0}, "may hold tau, offset"),
        ("loss_arguments", {"tau": -1.0}, "tau"),
        ("optimizer", "sgd", "adam, muon"),
        ("schedule", "linear", "constant, cosine"),
        ("shift", 6, "smaller"),
        ("method", "exact", "tight"),
        ("seed", None, "seed"),
    ],
)
def test_a_wrong_field_is_refused(field, value, words):
    with pytest.raises((ValueError, TypeError), match=words):
        dataclasses.replace(SMALL, **{field: value})


@pytest.mark.parametrize(("field", "value"), [("layer", "SpectralConv2D"), ("shift", 1)])
def test_what_only_images_have_is_refused_for_rows(field, value):
    with pytest.raises(ValueError, match=field):
        Recipe((5,), 2, **{"layer": "SpectralDense", "radius": 1.0, "epochs": 1, field: value})


def test_the_settings_of_the_loss_follow_the_radius():
    assert SMALL.make_loss().get_config()["offset"] == pytest.approx(LOSSES["offset"].settings(0.2)["offset"])
    changed = dataclasses.replace(SMALL, radius=0.4, loss_arguments={"tau": 3.0})
    assert changed.make_loss().get_config()["tau"] == pytest.approx(3.0)
    assert changed.make_loss().get_config()["offset"] == pytest.approx(LOSSES["offset"].settings(0.4)["offset"])


# --- choices ---


def test_a_recipe_says_what_it_chose_and_why():
    x, y = RNG.uniform(size=(100, 6, 6, 2)), RNG.integers(0, 3, 100)
    recipe = recipes.choose(x, y, loss="emma")
    words = str(recipe)
    assert recipe.is_of_images
    assert recipe.radius == float(f"{Samples.of(x, y).distance_of_classes(0) / 10:.2g}")
    assert recipe.epochs * -(-100 // recipe.batch_size) == pytest.approx(1200, abs=recipe.batch_size)
    for part in ("6×6×2", "3 classes", "SpectralConv2D", "emma(tau=", "as you said", "nearest sample"):
        assert part in words
    lines = str(dataclasses.replace(recipe, loss="hkr", epochs=3)).splitlines()
    assert [line.split()[0] for line in lines if line.endswith("changed")] == ["loss", "epochs"]


def test_rows_get_dense_layers():
    recipe = recipes.choose(RNG.standard_normal((40, 5)), np.arange(40) % 2, epochs=7, radius=2, seed=3)
    assert (recipe.layer, recipe.epochs, recipe.radius, recipe.seed) == ("SpectralDense", 7, 2.0, 3)
    assert "convolutions" not in str(recipe)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epochs": 2, "minutes": 1}, "not both"),
        ({"epochs": 0}, "epochs"),
        ({"minutes": 0}, "minutes"),
        ({"minutes": float("inf")}, "minutes"),
        ({"radius": -1}, "radius"),
        ({"layer": "SpectralConv2D"}, "SpectralDense"),
        ({"loss": "mse"}, "offset"),
        ({"seed": None}, "seed"),
    ],
)
def test_a_wrong_choice_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        recipes.choose(RNG.standard_normal((20, 3)), np.arange(20) % 2, **arguments)


def test_copies_in_several_classes_need_a_radius():
    x = np.repeat(RNG.standard_normal((10, 3)), 2, axis=0)
    with pytest.raises(ValueError, match="copy in another class"):
        recipes.choose(x, np.arange(20) % 2)


def test_minutes_become_epochs(monkeypatch):
    class Model:
        now = 0.0

        def train_on_batch(self, x, y):
            assert x.shape == (8, 3)
            Model.now += 2.0

    monkeypatch.setattr(Recipe, "compiled", lambda self, samples: Model())
    monkeypatch.setattr(choosing.time, "perf_counter", lambda: Model.now)
    x, y = RNG.standard_normal((40, 3)), np.arange(40) % 2  # 5 steps of 2 seconds in an epoch
    recipe = recipes.choose(x, y, minutes=1.0)
    assert recipe.epochs == 6
    assert "1 minutes, as you said, at 2e+03 ms a step" in str(recipe)
    assert recipes.choose(x, y, minutes=0.01).epochs == 1


# --- training ---


def test_the_learning_rate_rises_and_falls():
    rate = fitting.learning_rate("cosine", 0.02, 100)
    found = np.array([float(rate(step)) for step in (0, 5, 10, 55, 100)])
    np.testing.assert_allclose(found, [0.002, 0.011, 0.02, 0.01, 0.0], atol=1e-8)
    assert fitting.learning_rate("constant", 0.02, 100) == 0.02


def test_images_are_moved():
    images, shifts = RNG.uniform(size=(30, 5, 4, 2)), RNG.integers(-2, 3, (30, 2))
    for image, (down, right), found in zip(images, shifts, fitting.moved(images, shifts), strict=True):
        expected = np.zeros_like(image)
        for row in range(5):
            for column in range(4):
                if 0 <= row + down < 5 and 0 <= column + right < 4:
                    expected[row + down, column + right] = image[row, column]
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(fitting.moved(images, 0 * shifts), images)


def test_batches_of_moved_images_hold_each_image_once_an_epoch():
    labels = np.arange(11) % 2
    x = np.zeros((11, 5, 5, 1))
    x[:, 2, 2, 0] = np.arange(1, 12)
    samples = Samples.of(x, labels)

    def epochs(seed):
        batches = fitting.ShiftedBatches(samples, 4, 1, seed)
        assert len(batches) == 3
        for _ in range(2):
            yield [batches[i] for i in range(3)]
            batches.on_epoch_end()

    first, second = epochs(0)
    for epoch in (first, second):
        names = np.concatenate([images.max(axis=(1, 2, 3)) for images, _ in epoch])
        assert sorted(names) == list(range(1, 12))
        hot = np.concatenate([labels for _, labels in epoch])
        np.testing.assert_array_equal(hot.argmax(axis=1), labels[names.astype(int) - 1])
    assert any((a != b).any() for (a, _), (b, _) in zip(first, second, strict=True))
    again, _ = epochs(0)
    assert all((a == b).all() for (a, _), (b, _) in zip(first, again, strict=True))


@pytest.fixture(scope="module")
def trained():
    (x, y), test = data.gaussians(300, classes=3, distance=4.0, std=0.7)
    return recipes.train_classifier(x, y, test, epochs=3, radius=0.5, verbose=0), (x, y), test


@pytest.mark.slow
def test_a_trained_classifier_comes_with_a_report(trained):
    (model, report), (x, _), (x_test, y_test) = trained
    logits = model.predict(x_test, verbose=0)
    assert report.accuracy == pytest.approx(np.mean(logits.argmax(axis=1) == y_test))
    assert report.accuracy > 0.9
    shares = report.certified_at([0.0, 0.25, 0.5, 1.0])
    assert shares == sorted(shares, reverse=True)
    assert shares[2] > 0.3
    again = certification.certified_radius(model, x_test, y_test)
    np.testing.assert_array_equal(again.radii, report.radii.radii)
    assert (report.epochs, report.trained, report.interrupted) == (3, len(x), False)
    figures = json.loads(json.dumps(report.to_dict()))
    assert figures["certified"]["0.5"] == shares[2]
    assert f"{report.accuracy:.4f}" in str(report)
    assert report.constant <= float(str(report).rpartition("at most ")[2]) <= report.constant * (1 + 1e-5)


@pytest.mark.nightly
def test_a_seed_repeats_a_training_and_another_does_not(trained):
    (model, report), (x, y), test = trained
    same = report.recipe.train(x, np.eye(3)[y], test, verbose=0).model
    for one, other in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    other = dataclasses.replace(report.recipe, seed=1).build()
    assert any((a != b).any() for a, b in zip(other.get_weights(), report.recipe.build().get_weights(), strict=True))


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C after some steps of all epochs together."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_ctrl_c_ends_a_training_and_keeps_the_model(tmp_path, monkeypatch):
    x, y = RNG.uniform(size=(40, 6, 6, 1)), np.arange(40) % 3
    recipe = dataclasses.replace(SMALL, shift=1, epochs=50)
    with monkeypatch.context() as patch:  # to trace a step takes longer than the seven steps
        patch.setattr(keras.Model, "compile", functools.partialmethod(keras.Model.compile, run_eagerly=True))
        model, report = recipe.train(x, y, verbose=0, callbacks=[Interrupt(7)])
    assert report.interrupted
    assert report.epochs == 7 / 5  # 36 samples in batches of 8; 4 are held back
    assert len(report.radii) == 4
    assert "1.4 of 50 epochs, ended by Ctrl-C" in str(report)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(predicted(loaded, x), predicted(model, x), atol=1e-6)
    assert type(loaded.optimizer).__module__ == "lipviz.optimizers"


def test_samples_that_do_not_fit_are_refused_before_the_training():
    x, y = RNG.uniform(size=(20, 6, 6, 1)), np.arange(20) % 3
    for given in ((x[:, :5], y), (x, np.arange(20) % 4)):
        with pytest.raises(ValueError, match=r"shape \(6, 6, 1\), in at most 3 classes"):
            SMALL.train(*given)
        with pytest.raises(ValueError, match="validation_data"):
            SMALL.train(x, y, given)
    with pytest.raises(ValueError, match="pair"):
        SMALL.train(x, y, x)
