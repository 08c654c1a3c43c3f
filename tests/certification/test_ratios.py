import contextlib

import keras
import numpy as np
import pytest

import lipviz
from lipviz import certification, layers, operators, parametrizations
from lipviz.normalizers import sound
from lipviz.operators.precision import float64_scope, outputs


def samples(*shape):
    return np.random.default_rng(0).uniform(size=shape).astype("float32")


def lipschitz_network(k=1.0):
    return lipviz.Sequential(
        [
            keras.layers.Input((4, 4, 1)),
            keras.layers.Flatten(),
            layers.SpectralDense(16, activation=layers.GroupSort2()),
            layers.SpectralDense(16, activation=layers.FullSort()),
            layers.SpectralDense(3),
        ],
        k_coef_lip=k,
    )


def plain_network():
    return keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)])


def numpy_outputs(model, x):
    """A plain network of ReLU and linear layers in float64."""
    h = np.asarray(x, np.float64)
    for layer in model.layers:
        h = h @ np.asarray(layer.kernel, np.float64) + np.asarray(layer.bias, np.float64)
        h = np.maximum(h, 0) if layer.activation is keras.activations.relu else h
    return h


def linear(kernel):
    model = keras.Sequential([keras.layers.Input((kernel.shape[0],)), keras.layers.Dense(kernel.shape[1])])
    model.layers[0].kernel.assign(kernel)
    return model


# --- the copy in float64 ---


def test_the_copy_computes_in_float64():
    model, x = plain_network(), samples(5, 6)
    copy = operators.float64_copy(model)
    assert {str(weight.dtype) for weight in copy.weights} == {"float64"}
    np.testing.assert_allclose(outputs(copy, x), numpy_outputs(model, x), rtol=1e-14, atol=1e-15)


@pytest.mark.filterwarnings("ignore:Layer .* is not known to be 1-Lipschitz")  # it has a `__call__` of its own
@pytest.mark.parametrize("kind", [keras.Sequential, lipviz.Sequential])
def test_a_stack_is_copied_in_a_time_that_grows_with_its_layers(kind):
    def calls(count):
        model = kind([keras.Input((4,)), *(Counted() for _ in range(count))])
        Counted.calls = 0
        copy = operators.float64_copy(model)
        assert type(copy) is kind
        assert copy.name == model.name
        assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
        return Counted.calls

    assert calls(40) == 10 * calls(4) > 0


@keras.saving.register_keras_serializable("tests")
class Counted(keras.layers.ReLU):
    """Counts how often one of them is called."""

    calls = 0

    def __call__(self, *args, **kwargs):
        Counted.calls += 1
        return super().__call__(*args, **kwargs)


def test_the_copy_uses_the_very_kernels_that_inference_uses():
    model = lipschitz_network()
    model.layers[1].kernel.assign(model.layers[1].kernel * 0.5 + 0.1)  # wbar is one step old now
    before = model.get_weights()
    copy = operators.float64_copy(model)
    for layer, twin in zip(model.layers[1:], copy.layers[1:], strict=True):
        np.testing.assert_array_equal(np.asarray(layer.used_kernel()), np.asarray(twin.wbar))
        assert str(twin.wbar.dtype) == "float64"
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    x = samples(3, 4, 4, 1)
    np.testing.assert_allclose(outputs(copy, x), np.asarray(model(x, training=False)), atol=1e-6)
    with float64_scope():
        assert "float64" in str(copy(x, training=False).dtype)


def test_nothing_is_orthogonalized_for_a_copy(monkeypatch):
    model = lipschitz_network(k=2.0)
    calls = []
    found = sound._orthogonalized
    monkeypatch.setattr(sound, "_orthogonalized", lambda *a: calls.append(1) or found(*a))
    copy = operators.float64_copy(model)
    assert not calls
    for layer, twin in zip(model.layers[1:], copy.layers[1:], strict=True):
        for weight, value in zip(twin.weights, layer.get_weights(), strict=True):
            is_factor = weight is twin.parametrization.k  # the copy's comes from the setting, exact in float64
            np.testing.assert_array_equal(np.asarray(weight).astype(value.dtype if is_factor else "float64"), value)
        twin.refresh()  # the copy's own numerics are at work again
        np.testing.assert_allclose(np.asarray(twin.wbar), np.asarray(layer.wbar), atol=1e-5)
    assert len(calls) == 3


@pytest.mark.parametrize("name", ["SpectralDense", "FrobeniusDense", "SpectralConv2D", "FrobeniusConv2D"])
def test_layers_built_unfilled_wait_for_their_weights(name):
    arguments = {"filters": 3, "kernel_size": 3} if "Conv" in name else {"units": 3}
    make = getattr(layers, name)
    with contextlib.suppress(KeyError), parametrizations.unfilled():
        layer = make(**arguments, bias_initializer="ones")
        layer.build((None, 5, 5, 2))
        raise KeyError
    assert not np.asarray(layer.kernel).any()
    assert not np.asarray(layer.wbar).any()
    assert np.asarray(layer.bias).all()
    other = make(**arguments)  # the context is over, also after an error
    other.build((None, 5, 5, 2))
    assert np.asarray(other.wbar).any()
    layer.set_weights(other.get_weights())
    np.testing.assert_allclose(np.asarray(layer.wbar), np.asarray(other.wbar), atol=1e-6)


def test_the_copy_of_a_nested_trained_functional_model():
    inner = keras.Sequential([keras.layers.Input((4,)), layers.SpectralDense(4), keras.layers.Dropout(0.5)])
    x = keras.layers.Input((4,))
    model = keras.Model(x, keras.layers.Add()([inner(x), keras.layers.BatchNormalization()(x)]))
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    model.fit(samples(8, 4), samples(8, 4), verbose=0)
    got = outputs(operators.float64_copy(model), samples(3, 4))
    np.testing.assert_allclose(got, np.asarray(model(samples(3, 4), training=False)), atol=1e-6)


def test_the_copy_of_a_mixed_precision_model():
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(3, dtype="mixed_bfloat16")])
    np.testing.assert_allclose(
        outputs(operators.float64_copy(model), samples(4, 6)), numpy_outputs(model, samples(4, 6)), atol=1e-14
    )


def test_the_copy_of_a_model_that_was_built_by_a_call():
    model = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(2)])
    x = samples(5, 6)
    model(x)
    np.testing.assert_allclose(outputs(operators.float64_copy(model), x), numpy_outputs(model, x), atol=1e-14)


def test_what_cannot_be_copied_says_why():
    with pytest.raises(TypeError, match="Dense"):
        operators.float64_copy(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="built"):
        operators.float64_copy(keras.Sequential([keras.layers.Dense(2)]))
    model = plain_network()
    model.layers[0].bias.assign(np.full(8, np.nan))
    with pytest.raises(ValueError, match=r"bias.*NaN"):
        operators.float64_copy(model)


# --- secants ---


def test_secants_are_those_of_numpy():
    model, x = plain_network(), samples(30, 6)
    found = certification.secant_ratios(model, x, pairs=500)
    assert found.ratios.shape == (500,)
    i, j = found.pairs.T
    assert (i != j).all()
    y, x = numpy_outputs(model, x), x.astype(np.float64)
    expected = np.linalg.norm(y[i] - y[j], axis=1) / np.linalg.norm(x[i] - x[j], axis=1)
    np.testing.assert_allclose(found.ratios, expected, rtol=1e-12)
    assert found.largest == found.ratios.max()
    a, b = found.largest_pair
    assert found.ratios[((i == a) & (j == b))][0] == found.largest


def test_secants_of_a_lipschitz_network_stay_below_its_constant():
    assert certification.secant_ratios(lipschitz_network(0.5), samples(100, 4, 4, 1)).largest <= 0.5


def test_equal_samples_are_no_pair():
    x = np.zeros((10, 6))
    x[3] = 1
    found = certification.secant_ratios(plain_network(), x, pairs=50)
    assert ((found.pairs == 3).sum(axis=1) == 1).all()


def test_a_seed_is_a_draw():
    model, x = plain_network(), samples(30, 6)
    first, again, other = (certification.secant_ratios(model, x, pairs=9, seed=seed).pairs for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# --- ascent ---


def test_the_ascent_finds_the_norm_of_a_linear_map():
    kernel = operators.random_kernel(9, 5, 0.1, "even").astype("float32") * 3
    found = certification.gradient_ascent_ratio(linear(kernel), samples(20, 9), steps=60)
    exact = np.linalg.norm(kernel.astype(np.float64), 2)
    assert found.largest == pytest.approx(exact, rel=1e-6)
    assert found.largest <= exact * (1 + 1e-12)
    np.testing.assert_allclose(
        np.linalg.norm((found.x - found.y) @ kernel) / np.linalg.norm(found.x - found.y), exact, rtol=1e-6
    )


@pytest.mark.slow
def test_the_ascent_of_a_lipschitz_network_comes_close_and_never_over():
    found = certification.gradient_ascent_ratio(lipschitz_network(3.0), samples(40, 4, 4, 1), steps=20)
    assert 0.999 * 3 < found.largest <= 3 * (1 + 1e-9)
    assert found.x.shape == found.y.shape == (4, 4, 1)
    assert found.path.shape == (21,)
    assert (np.diff(found.path) >= 0).all()
    assert found.path[-1] == found.largest == found.ratios.max()


def test_the_ascent_moves_where_the_slope_is():
    # Constant left of 1, slope 5 right of it; all samples lie on the flat side, some just below the kink.
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, "relu")])
    model.layers[0].set_weights([np.array([[5.0]]), np.array([-5.0])])
    x = np.array([[0.2], [0.5], [0.999]])
    assert certification.secant_ratios(model, x, pairs=50).largest == 0
    assert certification.gradient_ascent_ratio(model, x, steps=30, radius=0.05).largest == pytest.approx(5, rel=1e-9)


def test_the_ascent_beats_the_secants_of_the_data():
    model, x = plain_network(), samples(50, 6)
    found = certification.gradient_ascent_ratio(model, x)
    assert found.largest > certification.secant_ratios(model, x).largest
    ends = np.stack([found.x, found.y])
    y = numpy_outputs(model, ends)
    assert found.largest == pytest.approx(np.linalg.norm(y[0] - y[1]) / np.linalg.norm(ends[0] - ends[1]), rel=1e-9)


def test_the_ascent_leaves_the_model_alone():
    model = lipschitz_network()
    before, trainable = model.get_weights(), len(model.trainable_weights)
    certification.gradient_ascent_ratio(model, samples(5, 4, 4, 1), steps=1, starts=2)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(model.trainable_weights) == trainable


@pytest.mark.parametrize("function", [certification.secant_ratios, certification.gradient_ascent_ratio])
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.full((3, 6), np.nan), ValueError, "NaN"),
        (np.ones((3, 6)), ValueError, "differ"),
        (np.ones((1, 6)), ValueError, "two samples"),
        (np.ones(6), ValueError, "two samples"),
        (["a", "b"], TypeError, "real numbers"),
    ],
)
def test_bad_samples_are_named(function, x, error, words):
    with pytest.raises(error, match=words):
        function(plain_network(), x)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (certification.secant_ratios, {"pairs": 0}),
        (certification.gradient_ascent_ratio, {"starts": 0}),
        (certification.gradient_ascent_ratio, {"steps": -1}),
        (certification.gradient_ascent_ratio, {"radius": 0}),
    ],
)
def test_bad_arguments_are_named(function, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        function(plain_network(), samples(4, 6), **arguments)
