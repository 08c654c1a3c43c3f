import keras
import numpy as np
import pytest

from lipviz import certification, layers, operators
from lipviz.measure import saliency_maps as sal
from lipviz.operators.precision import outputs

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def images():
    return RNG.uniform(size=(5, 4, 4, 1))


@pytest.fixture(scope="module")
def plain():
    keras.utils.set_random_seed(0)
    stack = [keras.layers.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(6, "relu")]
    return keras.Sequential([*stack, keras.layers.Dense(3)])


@pytest.fixture(scope="module")
def lipschitz():
    keras.utils.set_random_seed(0)
    stack = [keras.layers.Input((4, 4, 1)), keras.layers.Flatten()]
    return keras.Sequential([*stack, layers.SpectralDense(6, layers.GroupSort2()), layers.SpectralDense(1)])


def differences(function, x, step=1e-6):
    """Central differences of one value per sample."""
    result = np.zeros(x.shape)
    for index in np.ndindex(x.shape[1:]):
        move = np.zeros(x.shape)
        move[(slice(None), *index)] = step
        result[(slice(None), *index)] = (function(x + move) - function(x - move)) / (2 * step)
    return result


def test_the_margin_is_differentiated(plain, images):
    found = sal.saliency(plain, images)
    copy = operators.float64_copy(plain)
    scores = outputs(copy, images)
    rows = np.arange(5)
    np.testing.assert_array_equal(found.classes, scores.argmax(axis=1))
    np.testing.assert_array_equal(found.rivals, np.argsort(scores, axis=1)[:, -2])

    def margin(x):
        values = outputs(copy, x)
        return values[rows, found.classes] - values[rows, found.rivals]

    np.testing.assert_allclose(found.maps, differences(margin, images), atol=1e-7)
    np.testing.assert_allclose(found.norms, np.linalg.norm(found.maps.reshape(5, -1), axis=1))
    assert found.maps.dtype == np.float64
    assert len(found) == 5


@pytest.mark.parametrize("output", [1, [0, 1, 2, 1, 0], np.int64(2)])
def test_one_logit_of_many(plain, images, output):
    found = sal.saliency(plain, images, output)
    copy = operators.float64_copy(plain)
    chosen = np.broadcast_to(output, 5)
    want = differences(lambda x: outputs(copy, x)[np.arange(5), chosen], images)
    np.testing.assert_allclose(found.maps, want, atol=1e-7)
    np.testing.assert_array_equal(found.classes, chosen)
    assert found.rivals is None


def test_one_logit_alone_points_away_from_the_boundary(lipschitz, images):
    x = np.concatenate([images, -images])
    values = outputs(operators.float64_copy(lipschitz), x)[:, 0]
    found, signed = sal.saliency(lipschitz, x), sal.saliency(lipschitz, x, 0)
    sign = np.where(values > 0, 1.0, -1.0)
    np.testing.assert_array_equal(found.classes, values > 0)
    np.testing.assert_allclose(found.maps, sign[:, None, None, None] * signed.maps)
    # Layers that keep norms: the gradient has norm 1, up to the margins for rounding.
    np.testing.assert_allclose(found.norms, 1, atol=1e-3)
    assert (found.norms <= 1 + 1e-12).all()


def test_a_softmax_is_looked_through(plain, images):
    ended = keras.Sequential([*plain.layers, keras.layers.Softmax()])
    ended.build((None, 4, 4, 1))
    np.testing.assert_allclose(sal.saliency(ended, images).maps, sal.saliency(plain, images).maps, atol=1e-12)


def test_many_samples_go_in_parts(plain, images, monkeypatch):
    want = sal.saliency(plain, images).maps
    monkeypatch.setattr(sal, "GRADIENTS", 2 * (16 + 3))
    np.testing.assert_allclose(sal.saliency(plain, images).maps, want, atol=1e-12)


def test_the_model_stays_as_it_is(plain, images):
    before = plain.get_weights()
    sal.saliency(plain, images)
    assert plain.trainable
    for old, new in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("x", "output", "error", "words"),
    [
        (np.zeros((0, 4, 4, 1)), None, ValueError, "at least one"),
        (np.zeros((2, 4, 4)), None, ValueError, "shape"),
        (np.full((1, 4, 4, 1), np.nan), None, ValueError, "samples"),
        ("image", None, TypeError, "samples"),
        (np.zeros((2, 4, 4, 1)), 3, ValueError, "0 to 2"),
        (np.zeros((2, 4, 4, 1)), -1, ValueError, "output"),
        (np.zeros((2, 4, 4, 1)), 1.5, ValueError, "output"),
        (np.zeros((2, 4, 4, 1)), [0, 1, 2], ValueError, "2 samples"),
        (np.zeros((2, 4, 4, 1)), [0.0, 1.0], ValueError, "whole numbers"),
    ],
)
def test_bad_input_is_named(plain, x, output, error, words):
    with pytest.raises(error, match=words):
        sal.saliency(plain, x, output)


def test_models_that_cannot_be_measured():
    with pytest.raises(TypeError, match="Keras model"):
        sal.saliency(np.sin, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="built"):
        sal.saliency(keras.Sequential([keras.layers.Dense(1)]), np.zeros((1, 2)))


# --- pairs ---


def attacked(success, x):
    success = np.asarray(success)
    count = len(success)
    inputs = x + 0.1
    distances = np.linalg.norm((inputs - x).reshape(count, -1), axis=1)
    zeros = np.zeros(count, int)
    return certification.Attack(inputs, success, distances, zeros, zeros + success, "pgd", np.ones(count))


def test_pairs_are_those_that_were_found(images):
    found = attacked([False, True, False, True, True], images)
    radii = certification.CertifiedRadii(np.arange(5.0), np.zeros(5, int), np.arange(5.0), None, np.ones((2, 2)))
    pairs = sal.adversarial_pairs(found, images, radii)
    np.testing.assert_array_equal(pairs.indices, [1, 3, 4])
    np.testing.assert_array_equal(pairs.radii, [1, 3, 4])
    np.testing.assert_array_equal(pairs.inputs, images[[1, 3, 4]])
    np.testing.assert_allclose(pairs.changes, 0.1)
    np.testing.assert_array_equal(pairs.after, [1, 1, 1])
    assert len(pairs) == 3
    assert sal.adversarial_pairs(found, images).radii is None
    assert sal.adversarial_pairs(found, images, class_names=["a", "b"]).name(1) == "b"
    with pytest.raises(TypeError, match="sequence of strings"):
        sal.adversarial_pairs(found, images, class_names="ab")
    chosen = sal.adversarial_pairs(found, images, indices=[4, 0])
    np.testing.assert_array_equal(chosen.success, [True, False])
    none = sal.adversarial_pairs(attacked([False] * 5, images), images)
    assert len(none) == 5


@pytest.mark.parametrize("indices", [[5], [-1], [0.5], [], [[0]], "a"])
def test_bad_indices_are_named(images, indices):
    with pytest.raises(ValueError, match="indices"):
        sal.adversarial_pairs(attacked([True] * 5, images), images, indices=indices)


def test_pairs_of_other_samples_are_refused(images):
    found = attacked([True] * 5, images)
    with pytest.raises(ValueError, match="5 samples"):
        sal.adversarial_pairs(found, images[:3])
    radii = certification.CertifiedRadii(np.zeros(3), np.zeros(3, int), np.zeros(3), None, np.ones((2, 2)))
    with pytest.raises(ValueError, match="Received: 3"):
        sal.adversarial_pairs(found, images, radii)
