"""Lipschitz constants at samples: against Jacobians that are known, on every path, and what is refused."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import losses, normalizers, utils
from lipviz.layers import FrobeniusDense, GroupSort
from lipviz.operators import autodiff

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 5)).astype("float32")


def linear(kernel):
    model = keras.Sequential([keras.Input((kernel.shape[0],)), keras.layers.Dense(kernel.shape[1])])
    model.layers[0].set_weights([kernel, RNG.standard_normal(kernel.shape[1])])
    return model


def exact_norms(weights, x):
    """Norms of the Jacobians of a network of dense layers with ReLU between them."""
    norms = []
    for point in x.astype(np.float64):
        jacobian = np.eye(len(point))
        for index, (kernel, bias) in enumerate(weights):
            point, jacobian = point @ kernel + bias, kernel.T @ jacobian
            if index < len(weights) - 1:
                jacobian, point = jacobian * (point > 0)[:, None], np.maximum(point, 0)
        norms.append(np.linalg.norm(jacobian, 2))
    return np.array(norms)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(6, "relu"), keras.layers.Dense(3)]
    )
    weights = [[np.asarray(ops.convert_to_numpy(w), np.float64) for w in layer.weights] for layer in model.layers]
    return model, weights


@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (2, 7)])
def test_of_a_matrix_it_is_the_largest_singular_value(shape):
    kernel = RNG.standard_normal(shape).astype("float32")
    found = utils.evaluate_lip_const(linear(kernel), X[:, : shape[0]])
    assert isinstance(found, float)
    np.testing.assert_allclose(found, np.linalg.norm(kernel.astype(np.float64), 2), rtol=1e-12)


def test_of_a_network_it_is_the_largest_norm_of_its_jacobians(network, monkeypatch):
    model, weights = network
    before = model.get_weights()
    expected = exact_norms(weights, X)
    np.testing.assert_allclose(autodiff.jacobian_norms(model, X), expected, rtol=1e-10)
    np.testing.assert_allclose(utils.evaluate_lip_const(model, X), expected.max(), rtol=1e-10)
    # In groups of samples, the last of which is not full.
    monkeypatch.setattr(autodiff, "GRADIENTS", 8 * 3 * 8)  # eight samples of three outputs
    np.testing.assert_allclose(autodiff.jacobian_norms(model, X), expected, rtol=1e-10)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.trainable


@pytest.mark.slow
def test_many_outputs_are_measured_by_a_power_iteration(network, monkeypatch):
    model, weights = network
    monkeypatch.setattr(autodiff, "ROWS", 2)
    expected = exact_norms(weights, X)
    found = autodiff.jacobian_norms(model, X, eps=1e-6, seed=0)
    assert (found <= expected * (1 + 1e-8)).all()
    np.testing.assert_allclose(found, expected, rtol=0.02)
    assert utils.evaluate_lip_const(model, X, 1e-6, 0) == found.max()
    # A network that is constant has nothing to iterate on.
    assert utils.evaluate_lip_const(linear(np.zeros((5, 3))), X) == 0


def test_a_lipschitz_network_keeps_its_constant():
    model = keras.Sequential([keras.Input((5,)), GroupSort(), FrobeniusDense(1)])
    assert 0.999 < utils.evaluate_lip_const(model, X) <= 1


def test_images():
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1, 1], kernel[1, 2] = 2.0, 1.0
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 3, padding="same", activation="relu"), keras.layers.Flatten()]
    )
    model.layers[0].set_weights([kernel, np.full(1, 100.0)])
    found = utils.evaluate_lip_const(model, RNG.standard_normal((3, 4, 4, 1)))
    np.testing.assert_allclose(found, np.linalg.norm(2 * np.eye(4) + np.eye(4, k=1), 2), rtol=1e-12)


def batches(count):
    for index in range(count):
        yield (index + 1) * X[:2], np.zeros(2)


def test_a_generator_gives_its_first_batch():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Multiply()([inputs, inputs]))  # its Jacobian is diag(2x)
    expected = 2 * np.abs(X[:2].astype(np.float64)).max()
    generator = batches(2)
    np.testing.assert_allclose(utils.evaluate_lip_const_gen(model, generator), expected, rtol=1e-12)
    np.testing.assert_allclose(utils.evaluate_lip_const_gen(model, generator), 2 * expected, rtol=1e-6)
    with pytest.raises(ValueError, match="no batch"):
        utils.evaluate_lip_const_gen(model, generator)
    np.testing.assert_allclose(utils.evaluate_lip_const_gen(model, [X[:2]]), expected, rtol=1e-12)


def test_two_functions_come_from_elsewhere():
    assert utils.process_labels_for_multi_gpu is losses.process_labels_for_multi_gpu
    assert utils.l2_normalize is normalizers.l2_normalize


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((keras.layers.Dense(2), X), TypeError, "expects a Keras model"),
        ((keras.Sequential([keras.layers.Dense(2)]), X), ValueError, "must be built"),
        ((linear(np.eye(5)), X[:0]), ValueError, "at least one"),
        ((linear(np.eye(5)), X[0]), ValueError, r"shape \(n, ...\)"),
        ((linear(np.eye(5)), np.full((1, 5), np.nan)), ValueError, "must be finite"),
        ((linear(np.eye(5)), [["a"]]), TypeError, "real numbers"),
        ((linear(np.eye(5)), X, 0), ValueError, "`eps` must be"),
        ((linear(np.full((5, 1), np.inf)), X), ValueError, "holds NaN or Inf"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        utils.evaluate_lip_const(*arguments)
