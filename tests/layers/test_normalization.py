"""Centerings and the division for all channels: NumPy written out, constants, running statistics, modes."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lipviz.layers.base_layer import LipschitzLayer
from lipviz.layers.normalization import BatchCentering, BatchLipNorm, LayerCentering
from tests.layers.test_pooling import check_round_trips, matrix
from tests.support import examples, finite_differences, gradient, tensor

RNG = np.random.default_rng(0)
BATCH = (BatchCentering, BatchLipNorm)
every = pytest.mark.parametrize("cls", [LayerCentering, *BATCH])
of_batches = pytest.mark.parametrize("cls", BATCH)
FORMS = [((4, 3), "channels_last"), ((4, 3, 5), "channels_first"), ((4, 2, 5, 3), "channels_last")]


def value(variable):
    return np.array(ops.convert_to_numpy(variable))


def built(cls, shape=(None, 3), **arguments):
    layer = cls(**{"dtype": "float64", **arguments})
    layer.build(shape)
    return layer


# --- what they compute ---


@pytest.mark.slow
@settings(max_examples=examples(30))
@given(st.sampled_from(FORMS), st.sampled_from([1.0, 0.3]), st.integers(-3, 3), st.integers(0, 2**16))
def test_they_are_what_numpy_computes(form, k, power, seed):
    shape, data_format = form
    rng = np.random.default_rng(seed)
    x = 10.0**power * rng.standard_normal(shape) + rng.integers(-5, 5)
    axis = 1 if data_format == "channels_first" else len(shape) - 1
    spatial = tuple(i for i in range(1, len(shape)) if i != axis)
    rest, per_channel = (0, *spatial), [3 if i == axis else 1 for i in range(len(shape))]
    bias, mean, variance = rng.standard_normal(3), rng.standard_normal(3), rng.random(3)
    shift = bias.reshape(per_channel)
    shared = {"data_format": data_format, "k_coef_lip": k, "shape": shape}
    close = {"rtol": 1e-11, "atol": 1e-11 * 10.0 ** max(power, 0)}

    if spatial:
        layer = built(LayerCentering, **shared)
        layer.bias.assign(bias)
        want = k * (x - x.mean(spatial, keepdims=True)) + shift
        for training in (False, True):
            np.testing.assert_allclose(value(layer(x, training=training)), want, **close)

    for cls in BATCH:
        layer = built(cls, momentum=0.8, **shared)
        layer.bias.assign(bias)
        layer.moving_mean.assign(mean)
        scale_of_batch = scale = k
        if cls is BatchLipNorm:
            layer.moving_variance.assign(variance)
            scale_of_batch = k / np.sqrt(x.var(rest).max() + 1e-3)
            scale = k / np.sqrt(variance.max() + 1e-3)
        want = scale * (x - mean.reshape(per_channel)) + shift
        for bare in (layer(x), layer(x, training=False)):
            np.testing.assert_allclose(value(bare), want, **close)
        np.testing.assert_array_equal(value(layer.moving_mean), mean)  # inference leaves it alone
        want = scale_of_batch * (x - x.mean(rest, keepdims=True)) + shift
        np.testing.assert_allclose(value(layer(x, training=True)), want, **close)
        np.testing.assert_allclose(value(layer.moving_mean), 0.8 * mean + 0.2 * x.mean(rest), **close)
        if cls is BatchLipNorm:
            np.testing.assert_allclose(value(layer.moving_variance), 0.8 * variance + 0.2 * x.var(rest), rtol=1e-11)
        assert layer.compute_output_shape(shape) == shape


def test_no_bias():
    for cls in (LayerCentering, *BATCH):
        layer = built(cls, (None, 4, 3), use_bias=False)
        assert layer.bias is None
        assert not layer.trainable_weights


# --- constants ---


@pytest.mark.parametrize("k", [1.0, 0.4])
@pytest.mark.parametrize(("shape", "data_format"), [((3, 2, 2), "channels_last"), ((2, 5), "channels_first")])
def test_layer_centering_is_an_orthogonal_projection(shape, data_format, k):
    layer = built(LayerCentering, (None, *shape), data_format=data_format, k_coef_lip=k)
    got = np.sort(np.linalg.svd(matrix(layer, shape), compute_uv=False))
    np.testing.assert_allclose(got[2:], k, rtol=1e-13)
    np.testing.assert_allclose(got[:2], 0, atol=1e-15)  # one constant image per channel


@of_batches
def test_the_constant_at_inference_is_attained_everywhere(cls):
    layer = built(cls, (None, 2, 3), k_coef_lip=0.4)
    constants = {0.4}
    if cls is BatchLipNorm:
        layer.moving_variance.assign([0.01, 0.25, 0.04])
        assert layer.lip_constant == pytest.approx(0.4 / np.sqrt(0.251), rel=1e-13)
        constants = {layer.lip_constant}
    layer.moving_mean.assign([1.0, -2.0, 3.0])
    slope = matrix(layer, (2, 3)) - value(layer(np.zeros((1, 2, 3)))).reshape(-1, 1)
    np.testing.assert_allclose(np.linalg.svd(slope, compute_uv=False), constants.pop(), rtol=1e-13)


def test_whether_k_bounds_the_division():
    layer = BatchLipNorm(k_coef_lip=2.0, epsilon=0.01)
    assert not layer.is_sound
    with pytest.raises(ValueError, match="has no constant yet"):
        _ = layer.lip_constant
    layer.build((None, 2))
    assert layer.is_sound
    assert layer.lip_constant == pytest.approx(2 / np.sqrt(1.01), rel=1e-6)  # its variances are in float32
    layer.moving_variance.assign([0.0, 0.0])
    assert not layer.is_sound
    assert layer.lip_constant == pytest.approx(2 / np.sqrt(0.01))  # the largest there is
    layer.set_klip_factor(1.0)
    assert layer.lip_constant == pytest.approx(10)
    assert BatchCentering().is_sound
    assert isinstance(LayerCentering(), LipschitzLayer)


def test_on_a_whole_batch_centering_projects():
    layer = built(BatchCentering)
    x = np.eye(12).reshape(12, 4, 3)
    columns = [value(layer(batch, training=True)).ravel() for batch in x]
    got = np.sort(np.linalg.svd(np.stack(columns, 1), compute_uv=False))
    np.testing.assert_allclose(got[3:], 1, rtol=1e-13)
    np.testing.assert_allclose(got[:3], 0, atol=1e-15)


@pytest.mark.parametrize("training", [False, True])
@every
def test_gradients_are_those_of_finite_differences(cls, training):
    layer = built(cls, (None, 2, 2))
    x = RNG.standard_normal((2, 2, 2)) * [1, 2]
    weights = RNG.standard_normal(x.shape)

    def of(v):
        return ops.sum(layer(v, training=training) * weights)

    np.testing.assert_allclose(gradient(of, x), finite_differences(of, x), atol=1e-7)


# --- degenerate batches ---


@of_batches
def test_a_batch_of_one_and_constant_channels_become_the_bias(cls):
    for x in (RNG.standard_normal((1, 3)), np.full((2, 2, 3), -7e3)):
        layer = cls(bias_initializer="ones", dtype="float32")
        np.testing.assert_array_equal(value(layer(x, training=True)), 1)
        assert np.isfinite(gradient(lambda v, layer=layer: ops.sum(layer(v, training=True) ** 2), x)).all()


def test_an_image_of_one_pixel_becomes_the_bias():
    np.testing.assert_array_equal(value(LayerCentering(bias_initializer="ones")(np.full((2, 1, 1, 3), 5.0))), 1)


@of_batches
def test_statistics_outlive_a_batch_that_is_not_finite(cls):
    layer = built(cls, momentum=0.5)
    x = RNG.standard_normal((4, 3))
    x[1, 0], x[2, 1] = np.nan, np.inf
    got = value(layer(x, training=True))
    assert np.isnan(got[:, 0]).all()  # it is not hidden
    assert value(layer.moving_mean)[:2].tolist() == [0, 0]
    assert value(layer.moving_mean)[2] == pytest.approx(x[:, 2].mean() / 2)
    assert np.isfinite(value(layer(np.ones((2, 3))))).all()


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "mixed_bfloat16"])
@every
def test_half_precision_has_statistics_in_float32(cls, dtype):
    layer, exact = cls(dtype=dtype), cls(dtype="float64")
    x = tensor(300 * RNG.standard_normal((64, 2, 3)) + 200, layer.compute_dtype)  # squares overflow float16
    wide = tensor(x, "float64")
    for training in (True, False):
        got, want = layer(x, training=training), exact(wide, training=training)
        assert keras.backend.standardize_dtype(got.dtype) == layer.compute_dtype
        bits = 2**-10 if layer.compute_dtype == "float16" else 2**-7
        np.testing.assert_allclose(value(ops.cast(got, "float64")), value(want), rtol=bits, atol=1e-3)
    if cls in BATCH:
        assert layer.moving_mean.dtype == "float32"
        np.testing.assert_allclose(value(layer.moving_mean), value(exact.moving_mean), rtol=1e-5)


# --- modes and manners ---


@of_batches
def test_fit_trains_and_predict_uses_what_it_saw(cls):
    x = 2 * RNG.standard_normal((64, 3)) + [1.0, -2.0, 5.0]
    layer = cls(momentum=0.0)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile("sgd", "mse")
    model.fit(x, x, batch_size=64, verbose=0)
    np.testing.assert_allclose(value(layer.moving_mean), x.mean(0), rtol=1e-5)
    assert value(layer.bias).any()
    if cls is BatchLipNorm:
        np.testing.assert_allclose(value(layer.moving_variance), x.var(0), rtol=1e-5)
    before = layer.get_weights()
    alone, together = model.predict(x[:1], verbose=0), model.predict(x, verbose=0)
    np.testing.assert_allclose(alone, together[:1], rtol=1e-5, atol=1e-6)  # a sample by itself
    assert all(map(np.array_equal, before, layer.get_weights()))


@of_batches
def test_frozen_layers_use_running_statistics(cls):
    layer = built(cls)
    layer.trainable = False
    x = RNG.standard_normal((8, 3)) + 4
    np.testing.assert_array_equal(value(layer(x, training=True)), value(layer(x, training=False)))
    assert not value(layer.moving_mean).any()


@every
def test_round_trips(cls, tmp_path):
    x = RNG.standard_normal((2, 4, 4, 3)).astype("float32")
    given = {"bias_constraint": "non_neg", "bias_regularizer": "l2", "k_coef_lip": 0.7, "data_format": "channels_last"}
    if cls in BATCH:
        given["momentum"] = 0.25
    if cls is BatchLipNorm:
        given["epsilon"] = 0.5
    layer = cls(**given, name="here")
    check_round_trips(layer, x, tmp_path / "model.keras")
    assert all(layer.get_config()[name] == value for name, value in given.items() if not name.startswith("bias"))


@every
def test_unknown_sizes(cls):
    for data_format, shape in (("channels_last", (None, None, 3)), ("channels_first", (3, None, None))):
        inputs = keras.Input(shape)
        layer = cls(data_format=data_format)
        model = keras.Model(inputs, layer(inputs))
        assert model.output_shape == (None, *shape)
        x = RNG.standard_normal((2, *(size or 4 for size in shape))).astype("float32")
        np.testing.assert_allclose(model.predict(x, verbose=0), value(layer(x)), atol=1e-6)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: LayerCentering("last"), "data_format"),
        (lambda: LayerCentering(k_coef_lip=0), "k_coef_lip"),
        (lambda: BatchCentering(momentum=1.5), r"`momentum` must lie in \[0, 1\]"),
        (lambda: BatchCentering(momentum=float("nan")), "momentum"),
        (lambda: BatchCentering(momentum="fast"), "momentum"),
        (lambda: BatchLipNorm(momentum=True), "momentum"),
        (lambda: BatchLipNorm(epsilon=0), "epsilon"),
        (lambda: LayerCentering().build((None, 3)), "at least 3 axes"),
        (lambda: BatchCentering().build((None,)), "at least 2 axes"),
        (lambda: BatchLipNorm()(keras.Input((3, None))), "known number of channels"),
        (lambda: built(BatchCentering)(np.ones((2, 4))), "expected axis -1 of input shape to have value 3"),
    ],
)
def test_bad_input_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()
