"""The residual connection: its formula, its constant, its scalar."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz.layers.base_layer import LipschitzLayer
from lipviz.layers.residual import LipResidual
from tests.layers.test_pooling import check_round_trips, jacobian
from tests.support import finite_differences, gradient, tensor, with_spectrum

RNG = np.random.default_rng(0)
ALPHAS = (0.0, -1.5, 3.0, 50.0, -300.0)


def built(alpha=0.0, shape=(None, 3), **arguments):
    layer = LipResidual(dtype="float64", **arguments)
    layer.build([shape, shape])
    layer.alpha.assign(alpha)
    return layer


def test_it_starts_as_the_mean():
    x, y = RNG.standard_normal((2, 4, 3))
    layer = LipResidual()
    # Each entry is rounded to float32 and halved, and so is their sum: what cancels there leaves what was lost before.
    lost = np.finfo("float32").eps * (np.abs(x) + np.abs(y))
    assert (np.abs(np.array(layer([x, y])) - (x + y) / 2) <= lost).all()
    assert isinstance(layer, LipschitzLayer)
    assert [weight.shape for weight in layer.trainable_weights] == [()]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_formula_and_gradient(alpha):
    x, y = RNG.standard_normal((2, 4, 3))
    layer = built(alpha, k_coef_lip=0.7)
    a = 1 / (1 + np.exp(-alpha))
    np.testing.assert_allclose(np.array(layer([x, y])), 0.7 * (a * x + (1 - a) * y), rtol=1e-14, atol=1e-14)

    def value(v):  # stateless, so that the scalar is an argument
        return ops.sum(layer.stateless_call([v], [], [tensor(x, "float64"), tensor(y, "float64")])[0] ** 2)

    start = np.array(alpha)
    np.testing.assert_allclose(gradient(value, start), finite_differences(value, start), atol=1e-7)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_at_most_k_for_every_scalar(alpha):
    layer = built(alpha, k_coef_lip=2.0)
    x = RNG.standard_normal((1, 3))
    for inner in (np.eye(3), -np.eye(3), with_spectrum((3, 3), [1, 0.5, 1e-3]), with_spectrum((3, 3), [1, 1, 1])):
        norm = np.linalg.norm(jacobian(lambda v, inner=inner: layer([v, ops.matmul(v, inner)]), x), 2)
        assert norm <= 2 * (1 + 1e-14)
        if inner[0, 0] == 1:  # y = x attains it
            assert norm == pytest.approx(2, rel=1e-14)
    both = jacobian(lambda v: layer([v[:, :3], v[:, 3:]]), np.ones((1, 6)))
    a = 1 / (1 + np.exp(-alpha))
    assert np.linalg.norm(both, 2) == pytest.approx(2 * np.hypot(a, 1 - a), rel=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16"])
def test_half_precision(dtype):
    layer = LipResidual(dtype=dtype)
    x, y = (tensor(v, "float16") for v in RNG.standard_normal((2, 4, 3)))
    got = layer([x, y])
    assert keras.backend.standardize_dtype(got.dtype) == "float16"
    np.testing.assert_allclose(np.array(got), (np.array(x, "float32") + np.array(y)) / 2, atol=2e-3)


def test_round_trips(tmp_path):
    x, y = RNG.standard_normal((2, 4, 3)).astype("float32")
    check_round_trips(LipResidual(k_coef_lip=0.5, name="here"), [x, y], tmp_path / "model.keras")


def test_unknown_sizes_take_what_the_other_input_knows():
    assert LipResidual().compute_output_shape([(None, None, 3), (2, 4, None)]) == (2, 4, 3)
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, LipResidual()([inputs, keras.layers.Activation("tanh")(inputs)]))
    assert model.output_shape == (None, None, 3)
    x = RNG.standard_normal((2, 5, 3)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), (x + np.tanh(x)) / 2, atol=1e-6)


def test_the_scalar_is_learned():
    inputs = keras.Input((3,))
    layer = LipResidual()
    model = keras.Model(inputs, layer([inputs, -inputs]))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x = RNG.standard_normal((32, 3))
    model.fit(x, x, epochs=3, verbose=0)
    alpha = 0.0
    for _ in range(3):  # of the loss 4 (1 − a)² mean(x²), where a is the sigmoid of the scalar
        a = 1 / (1 + np.exp(-alpha))
        alpha += 0.5 * 8 * a * (1 - a) ** 2 * np.mean(x**2)
    assert float(ops.convert_to_numpy(layer.alpha)) == pytest.approx(alpha, rel=1e-5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: LipResidual(k_coef_lip=0), "k_coef_lip"),
        (lambda: LipResidual()(np.ones((2, 3))), r"a list of two inputs, \[x, y\]"),
        (lambda: built()(np.ones((2, 3))), r"a list of two inputs, \[x, y\]"),  # two rows are not two inputs
        (lambda: LipResidual()([np.ones((2, 3))]), "two inputs"),
        (lambda: LipResidual()([np.ones((2, 3))] * 3), "two inputs"),
        (lambda: LipResidual()([np.ones((2, 3)), np.ones((2, 1))]), r"shapes \(2, 3\) and \(2, 1\)"),
        (lambda: LipResidual()([np.ones((2, 3)), np.ones((2, 3, 1))]), "two inputs of one shape"),
        (lambda: built()([np.ones((2, 3)), np.ones((1, 3))]), "two inputs of one shape"),
    ],
)
def test_bad_input_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()
