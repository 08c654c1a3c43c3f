import keras
import numpy as np
import pytest

import lipviz
from lipviz import certification, losses
from lipviz.operators.precision import SyncedFloat64Copy
from lipviz.toys import function_fits, networks
from lipviz.toys.training import ToyTrainer
from tests.support import predicted

SMALL = {"width": 4, "depth": 1}


@pytest.fixture(scope="module")
def abs_fits():
    """The same small budget for an activation that cuts norms off, and one that keeps them."""
    return {name: function_fits.fit_function("abs", name, 8, 3, steps=150) for name in ("relu", "groupsort2")}


# --- networks ---


@pytest.mark.parametrize("activation", list(networks.ACTIVATIONS))
def test_a_toy_network_is_lipschitz_and_as_wide_as_it_says(activation):
    model = networks.toy_network(activation, 6, 2, inputs=3, outputs=2, k=2.0)
    assert isinstance(model, lipviz.Sequential)
    assert certification.certify(model, search=False).upper_bound <= 2 * (1 + 1e-5)
    assert [layer.output.shape[1] for layer in model.layers[1::2]] == [6, 6]
    assert len(model.layers) == 5


def test_a_plain_network_of_the_same_shape():
    model = networks.toy_network("relu", 6, 2, constrained=False)
    assert type(model) is keras.Sequential
    assert {type(layer) for layer in model.layers} == {keras.layers.Dense, keras.layers.ReLU}


def test_seeds_decide_on_all_weights():
    one, same, other = (networks.toy_network("groupsort2", **SMALL, seed=seed).get_weights() for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(one, other, strict=True))


def test_a_width_of_one():
    assert networks.toy_network("fullsort", 1, 1, inputs=1).output_shape == (None, 1)


# --- classifiers ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "outputs"),
    [
        ([0, 1, 0, 1], 1),
        pytest.param([[-1], [1], [-1], [1]], 1, marks=pytest.mark.nightly),
        pytest.param([0, 1, 2, 1], 3, marks=pytest.mark.nightly),
        ([[1, 0], [0, 1], [1, 0], [0, 1]], 2),
    ],
)
def test_labels_decide_on_the_outputs(labels, outputs):
    model = networks.toy_classifier(np.eye(4, 2), labels, "relu", **SMALL, constrained=False, steps=1)
    assert model.output_shape == (None, outputs)


@pytest.mark.slow
def test_a_classifier_learns_and_its_wbar_is_fresh():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.standard_normal((60, 2)) + 3 * y[:, None]
    model = networks.toy_classifier(x, y, **SMALL, steps=60, learning_rate=0.05)
    # Of ten seeds the mean is 0.98, and three standard deviations are 0.05. The line between the classes has 0.98.
    assert certification.certified_radius(model, x, y).accuracy > 0.93
    for layer in model.layers[::2]:
        held = np.asarray(layer.wbar)
        layer.refresh()
        np.testing.assert_allclose(np.asarray(layer.wbar), held, atol=1e-5)


@pytest.mark.nightly
def test_a_loss_of_ones_own():
    model = networks.toy_classifier(np.eye(4, 2), [0, 1, 0, 1], **SMALL, steps=1, loss=lipviz.losses.HKR(alpha=1.0))
    assert isinstance(model.loss, lipviz.losses.HKR)


# --- functions ---


@pytest.mark.nightly
@pytest.mark.slow
def test_sorting_fits_what_relu_cannot(abs_fits):
    relu, sorting = abs_fits["relu"], abs_fits["groupsort2"]
    # A ReLU is half the identity and half a function of slope 1. Of three in a chain of norm 1 an eighth is one line,
    # and 7/8 have slope 1: whatever the weights are, an eighth of |x|'s deviation from its mean is out of reach.
    least = np.abs(relu.x).std() / 8
    assert sorting.error < least <= relu.error
    for fit in abs_fits.values():
        assert fit.slope <= 1 + 1e-6
        assert fit.error == pytest.approx(np.sqrt(np.mean((fit.prediction - np.abs(fit.x)) ** 2)))
        assert fit.largest_error == np.abs(fit.prediction - fit.target).max() >= fit.error
        assert fit.losses.shape == (150,)
        assert fit.prediction.dtype == np.float64
        np.testing.assert_array_equal(fit.target, np.abs(fit.x))


@pytest.mark.nightly
def test_the_prediction_is_that_of_the_trained_weights(abs_fits):
    fit = abs_fits["relu"]
    # The rate of the last step is 1e-6, by which Adam moves each of some 180 weights: that is up to 2e-5 of an output,
    # beside an error of 0.1, so the last loss is that of the result.
    assert fit.error**2 == pytest.approx(fit.losses[-1], rel=1e-3)


@pytest.mark.slow
def test_fits_come_every_few_steps_and_may_be_left():
    seen = []
    for fit in function_fits.fit_steps(np.sin, "relu", **SMALL, steps=10, every=4, constrained=False):
        seen.append(fit)
    assert [len(fit.losses) for fit in seen] == [4, 8, 10]
    assert {fit.target_name for fit in seen} == {"sin"}
    np.testing.assert_array_equal(seen[1].losses[:4], seen[0].losses)
    assert np.any(seen[0].prediction != seen[2].prediction)
    assert not seen[0].constrained
    left = function_fits.fit_steps("sawtooth", "relu", **SMALL, steps=10**9, every=1, constrained=False)
    assert len(next(left).losses) == 1
    left.close()


def test_the_targets_have_slope_one():
    x = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(function_fits.TARGETS["abs"](x), np.abs(x))
    np.testing.assert_allclose(function_fits.TARGETS["sawtooth"](x), [0, 0.25, 0.5, 0.25, 0, 0.25, 0.5, 0.25, 0])


def test_a_synced_copy_has_the_weights_of_its_model():
    model = networks.toy_network("groupsort2", **SMALL)
    copy, x = SyncedFloat64Copy(model), np.eye(2)
    before = copy.outputs(x)
    model.layers[0].bias.assign(np.ones(4))
    assert np.any(copy.outputs(x) != before)
    np.testing.assert_allclose(copy.outputs(x), np.asarray(model(x, training=False)), atol=1e-6)


@pytest.mark.slow
def test_divergence_is_said():
    diverging = function_fits.fit_steps("abs", "relu", **SMALL, constrained=False, learning_rate=1e30, steps=50)
    with pytest.raises(ValueError, match="diverged"):
        list(diverging)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"activation": "tanh"}, ValueError, "groupsort2"),
        ({"activation": 3}, ValueError, "relu"),
        ({"target": "square"}, ValueError, "sawtooth"),
        ({"target": lambda x: x[:-1]}, ValueError, "shape"),
        ({"target": lambda x: x / 0.0 if x is None else np.full_like(x, np.nan)}, ValueError, "NaN"),
        ({"target": lambda x: np.array(["a"] * len(x))}, TypeError, "real numbers"),
        ({"width": 0}, ValueError, "width"),
        ({"width": 3}, ValueError, "even"),
        ({"depth": 0}, ValueError, "depth"),
        ({"k": -1.0}, ValueError, "`k`"),
        ({"steps": 0}, ValueError, "steps"),
        ({"every": 0}, ValueError, "every"),
        ({"learning_rate": 0}, ValueError, "learning_rate"),
        ({"points": 1}, ValueError, "points"),
        ({"bounds": (1.0, 1.0)}, ValueError, "bounds"),
        ({"bounds": (0.0, np.inf)}, ValueError, "bounds"),
        ({"seed": 0, "bounds": 3.0}, ValueError, "bounds"),
    ],
)
def test_bad_input_is_named_at_once(arguments, error, words):
    with pytest.raises(error, match=words):
        function_fits.fit_steps(**{"width": 4, "depth": 1, **arguments})


@pytest.mark.parametrize(
    ("x", "y", "error", "words"),
    [
        (np.zeros((0, 2)), [], ValueError, "at least one"),
        (np.zeros(4), [0, 1, 0, 1], ValueError, "shape"),
        (np.full((2, 2), np.nan), [0, 1], ValueError, "samples"),
        (np.eye(2), [0, 1, 1], ValueError, "labels"),
        (np.eye(2), [0, 2.5], ValueError, "labels"),
        (np.eye(2), ["a", "b"], TypeError, "labels"),
    ],
)
def test_bad_samples_are_named(x, y, error, words):
    with pytest.raises(error, match=words):
        networks.toy_classifier(x, y, **SMALL)


@pytest.mark.nightly
def test_a_training_goes_on_after_its_plain_copy_has_predicted():
    """On JAX, a step and a prediction take the memory of the weights that they are given."""
    trainer = ToyTrainer(losses.TauBinaryCrossentropy(10.0), width=2, depth=1)
    x = np.array([[0.0, 1.0], [1.0, 0.0]], "float32")
    for _ in trainer.pieces(x, [[0], [1]], steps=3, every=1):
        np.testing.assert_allclose(trainer.plain.predict_on_batch(x), predicted(trainer.model, x), atol=1e-5)
    assert len(trainer.losses) == 3
