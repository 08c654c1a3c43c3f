"""Poolings and resamplings: their explicit matrices and Jacobians in float64, and NumPy written out."""

import inspect
import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lipviz.layers.base_layer import LipschitzLayer
from lipviz.layers.pooling import (
    InvertibleDownSampling,
    InvertibleUpSampling,
    ScaledAveragePooling2D,
    ScaledGlobalAveragePooling2D,
    ScaledGlobalL2NormPooling2D,
    ScaledL2NormPooling2D,
)
from tests.support import examples, finite_differences, gradient, tensor

RNG = np.random.default_rng(0)
WINDOWS = (ScaledAveragePooling2D, ScaledL2NormPooling2D)
GLOBAL = (ScaledGlobalAveragePooling2D, ScaledGlobalL2NormPooling2D)
AVERAGES = (ScaledAveragePooling2D, ScaledGlobalAveragePooling2D)
NORMS = (ScaledL2NormPooling2D, ScaledGlobalL2NormPooling2D)
SAMPLINGS = (InvertibleDownSampling, InvertibleUpSampling)
FORMATS = ("channels_last", "channels_first")


def make(cls, **arguments):
    return cls(2, **arguments) if cls in SAMPLINGS else cls(**arguments)


every = pytest.mark.parametrize("cls", [*WINDOWS, *GLOBAL, *SAMPLINGS])


# --- shared with the tests of the other layers ---


def matrix(layer, shape):
    """The matrix of a linear layer, (outputs, inputs), from a batch of unit vectors."""
    size = int(np.prod(shape))
    return np.array(layer(tensor(np.eye(size).reshape(size, *shape), layer.compute_dtype))).reshape(size, -1).T


def jacobian(function, x):
    """The Jacobian at one sample, (outputs, inputs). One copy of it for each output, so that one gradient suffices."""
    outputs = int(np.prod(function(tensor(x, x.dtype)).shape))
    pick = np.eye(outputs).astype(x.dtype)
    many = np.repeat(x, outputs, axis=0)
    return gradient(lambda v: ops.sum(ops.reshape(function(v), pick.shape) * pick), many).reshape(outputs, -1)


def late_error():
    """The error about a size that a model meets when it runs. JAX traces with that size, and our own checks see it."""
    if keras.backend.backend() != "tensorflow":
        return ValueError
    import tensorflow as tf

    return tf.errors.InvalidArgumentError


def check_round_trips(layer, x, path, refill=lambda shape: np.abs(RNG.standard_normal(shape)) / 4):
    """Config, clone, and `.keras` file of a model with the layer: equal configs, predictions equal to the bit."""
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
    xs = x if isinstance(x, list) else [x]
    inputs = [keras.Input(value.shape[1:]) for value in xs]
    inputs = inputs if isinstance(x, list) else inputs[0]
    model = keras.Model(inputs, layer(inputs))
    model.set_weights([refill(weight.shape) for weight in model.get_weights()])
    want = np.array(model(x, training=False))
    assert want.shape[1:] == model.output_shape[1:]
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    model.save(path)
    for again in (clone, keras.saving.load_model(path)):
        assert again.layers[-1].get_config() == layer.get_config()
        np.testing.assert_array_equal(np.array(again(x, training=False)), want)


# --- what they compute ---


def windows(x, rows, columns):
    """(batch, new height, new width, entries of a window, channels), written out."""
    b, h, w, c = x.shape
    out = np.zeros((b, h // rows, w // columns, rows * columns, c), x.dtype)
    for i in range(h // rows):
        for j in range(w // columns):
            window = x[:, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            out[:, i, j] = window.reshape(b, -1, c)
    return out


def first(x):
    """Channels last to channels first."""
    return np.moveaxis(np.asarray(x), -1, 1)


@settings(max_examples=examples(40))
@given(
    st.sampled_from([((2, 2), "channels_last"), ((2, 3), "channels_first")]),  # JAX compiles for each
    st.sampled_from([1.0, 0.3, 2]),
    st.sampled_from([0, 1e-6, 0.5]),
    st.integers(-40, 40),
    st.integers(0, 2**16),
)
def test_poolings_are_what_numpy_computes(form, k, eps, power, seed):
    (pool, data_format), sizes = form, (5, 7)  # which leaves a row, and a column, out
    x = np.random.default_rng(seed).standard_normal((2, *sizes, 3)) * 10.0**power
    split, size = windows(x, *pool), np.prod(pool)
    move = first if data_format == "channels_first" else np.asarray
    shared = {"data_format": data_format, "k_coef_lip": k, "dtype": "float64"}
    cases = [
        (ScaledAveragePooling2D(pool, **shared), move(split.mean(3) * np.sqrt(size))),
        (ScaledL2NormPooling2D(pool, eps_grad_sqrt=eps, **shared), move(np.sqrt(np.sum(split**2, 3) + size * eps))),
        (ScaledGlobalAveragePooling2D(**shared), x.mean((1, 2)) * np.sqrt(np.prod(sizes))),
        (ScaledGlobalL2NormPooling2D(eps_grad_sqrt=eps, **shared), np.sqrt(np.sum(x**2, (1, 2)) + eps)),
    ]
    for layer, want in cases:
        got = np.array(layer(move(x)))
        np.testing.assert_allclose(got, k * want, rtol=1e-12, atol=1e-14 * 10.0**power)
        assert got.shape == tuple(layer.compute_output_shape(move(x).shape))


def unshuffled(x, rows, columns):
    """PyTorch's PixelUnshuffle, entry by entry, channels last."""
    b, h, w, c = x.shape
    out = np.zeros((b, h // rows, w // columns, c * rows * columns), x.dtype)
    for channel, i, j in np.ndindex(c, rows, columns):
        out[..., (channel * rows + i) * columns + j] = x[:, i::rows, j::columns, channel]
    return out


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("pool", [2, (2, 3), [3, 1]])
def test_resampling_is_pixel_unshuffle_and_its_inverse(pool, data_format, dtype):
    x = RNG.standard_normal((2, 6, 12, 3)).astype(dtype)
    move = first if data_format == "channels_first" else np.asarray
    down, up = (cls(pool, data_format, dtype=dtype) for cls in SAMPLINGS)
    rows, columns = down.pool_size
    small = down(move(x))
    np.testing.assert_array_equal(np.array(small), move(unshuffled(x, rows, columns)))
    np.testing.assert_array_equal(np.array(up(small)), move(x))
    assert tuple(small.shape) == down.compute_output_shape(move(x).shape)
    assert up.compute_output_shape(small.shape) == move(x).shape
    assert keras.backend.standardize_dtype(small.dtype) == dtype


def test_a_channels_slot_of_the_small_image():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    small = np.array(InvertibleDownSampling(2)(x))[0]
    np.testing.assert_array_equal(small[0, 0], [0, 1, 4, 5])
    np.testing.assert_array_equal(small[1, 1], [10, 11, 14, 15])


# --- constants ---


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("k", [1.0, 0.2, 3.0])
@pytest.mark.parametrize("cls", [*AVERAGES, *SAMPLINGS])
def test_all_singular_values_of_linear_layers_are_k(cls, k, data_format):
    shape = (4, 4, 4) if cls in SAMPLINGS else (5, 4, 2) if data_format == "channels_last" else (2, 5, 4)
    layer = make(cls, k_coef_lip=k, data_format=data_format, dtype="float64")
    np.testing.assert_allclose(np.linalg.svd(matrix(layer, shape), compute_uv=False), k, rtol=1e-14)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("cls", NORMS)
def test_norms_keep_the_norm_of_gradients(cls, data_format):
    layer = make(cls, k_coef_lip=2.5, data_format=data_format, eps_grad_sqrt=0, dtype="float64")
    normal = RNG.standard_normal((1, 4, 4, 2))
    zeros = normal * np.eye(2).repeat(2, 0).repeat(2, 1).reshape(1, 4, 4, 1)  # in two windows of four
    for x in (normal, 1e-100 * normal, 1e100 * normal, np.ones_like(normal), zeros):
        x = first(x) if data_format == "channels_first" else x
        got = jacobian(layer, x)
        active = got.any(axis=1)
        np.testing.assert_allclose((got @ got.T)[active][:, active], 2.5**2 * np.eye(active.sum()), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(active, np.array(layer(x)).ravel() > 0)


@pytest.mark.parametrize("cls", NORMS)
def test_no_gradient_of_a_norm_exceeds_k(cls):
    shape = (1, 2, 2, 1)
    scales = (0, 1e-45, 4e-23, 1e-19, 3e-16, 1e-15, 1e-3, 1.0, 1e18)
    x = np.concatenate([s * v for s in scales for v in (np.ones(shape), *RNG.standard_normal((4, *shape)))])
    for eps, dtype in itertools.product((0, 1e-300, 1e-40, 1e-6, 0.1), ("float32", "float64")):
        layer = make(cls, eps_grad_sqrt=eps, dtype=dtype)
        got = gradient(lambda v, layer=layer: ops.sum(layer(v)), x.astype(dtype))  # one output per sample
        assert np.linalg.norm(got.reshape(len(x), -1), axis=1).max() <= 1 + 4 * np.finfo(dtype).eps  # no NaN
        np.testing.assert_array_equal(got[:5], 0)


@pytest.mark.parametrize("cls", NORMS)
def test_gradients_are_those_of_finite_differences(cls):
    layer = make(cls, eps_grad_sqrt=0.01, k_coef_lip=2.0, dtype="float64")
    x = RNG.standard_normal((1, 4, 4, 1))
    weights = RNG.standard_normal(layer(x).shape)

    def value(v):
        return ops.sum(layer(v) * weights)

    np.testing.assert_allclose(gradient(value, x), finite_differences(value, x), atol=1e-8)


@every
def test_k_can_change(cls):
    x = RNG.standard_normal((2, 4, 4, 4)).astype("float32")
    layer = make(cls)
    assert isinstance(layer, LipschitzLayer)
    assert layer.k_coef_lip == 1
    before = np.array(layer(x))
    layer.set_klip_factor(0.5)  # a power of two: nothing is rounded
    np.testing.assert_array_equal(np.array(layer(x)), before / 2)


# --- the ends of a dtype ---


@pytest.mark.parametrize("cls", NORMS)
def test_what_the_docstring_says_of_huge_and_tiny_entries(cls):
    norm = make(cls, eps_grad_sqrt=0)
    for scale in (1e18, 1.0, 1e-8, 1e-12):
        x = np.full((1, 2, 2, 1), scale, "float32")
        np.testing.assert_allclose(np.array(norm(x)).ravel(), 2 * scale, rtol=1e-3 if scale < 1e-8 else 1e-6)
    assert np.isinf(np.array(norm(np.full((1, 2, 2, 1), 1e20, "float32")))).all()
    assert not np.array(norm(np.full((1, 2, 2, 1), 1e-17, "float32"))).any()
    assert not np.array(norm(np.zeros((1, 2, 2, 1)))).any()
    for eps in (0, 1e-6):
        assert np.isnan(np.array(make(cls, eps_grad_sqrt=eps)(np.full((1, 2, 2, 1), np.nan)))).all()


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("cls", [*WINDOWS, *GLOBAL])
def test_half_precision_is_added_up_in_float32(cls, dtype):
    layer, exact = make(cls, dtype=dtype), make(cls, dtype="float64")
    half = layer.compute_dtype
    for scale in (30000.0, 1.0, 1e-4):  # four squares of the first, and its sum, overflow float16
        x = np.full((1, 2, 2, 2), scale)
        got = layer(tensor(x, half))
        assert keras.backend.standardize_dtype(got.dtype) == half
        got, want = (np.array(ops.cast(value, "float64")) for value in (got, exact(tensor(tensor(x, half), "float64"))))
        np.testing.assert_allclose(got, want, rtol=2**-11 if half == "float16" else 2**-8)


# --- manners ---


@every
def test_round_trips(cls, tmp_path):
    x = RNG.standard_normal((2, 4, 4, 4)).astype("float32")
    given = {"eps_grad_sqrt": 0.125} if cls in NORMS else {}
    layer = make(cls, k_coef_lip=0.7, dtype="float32", name="here", **given)
    check_round_trips(layer, x, tmp_path / "model.keras")
    config = layer.get_config()
    assert given.items() <= config.items()
    assert (config["k_coef_lip"], config["name"], config["data_format"]) == (0.7, "here", "channels_last")


@pytest.mark.covered_by_day
@pytest.mark.parametrize("data_format", FORMATS)
@every
def test_unknown_sizes(cls, data_format):
    last = data_format == "channels_last"
    inputs = keras.Input((None, None, 4) if last else (4, None, None))
    layer = make(cls, data_format=data_format)
    model = keras.Model(inputs, layer(inputs))
    x = RNG.standard_normal((3, 4, 6, 4) if last else (3, 4, 4, 6)).astype("float32")
    got = model.predict(x, verbose=0)
    np.testing.assert_allclose(got, np.array(layer(x)), rtol=1e-6)
    known = [b is None or a == b for a, b in zip(got.shape, model.output_shape, strict=True)]
    assert all(known)
    assert model.output_shape.count(None) == (1 if cls in GLOBAL else 3)


@pytest.mark.parametrize("batch", [2, 4])  # 4 · 5 rows are also 5 · 2 · 2
def test_late_sizes_that_do_not_divide_are_an_error(batch):
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, InvertibleDownSampling(2)(inputs))
    with pytest.raises(ValueError, match=r"a height that 2 divides\. Received: 5"):
        model.predict(np.ones((batch, 5, 4, 1)), verbose=0)
    for height in (4, 6):  # after a second size, TensorFlow traces for any
        model.predict(np.ones((batch, height, 4, 1)), verbose=0)
    with pytest.raises(late_error(), match=r"divides|reshape"):
        model.predict(np.ones((batch, 5, 4, 1)), verbose=0)


@pytest.mark.parametrize("cls", GLOBAL)
def test_keepdims(cls):
    x = RNG.standard_normal((2, 3, 4, 5)).astype("float32")
    for data_format, shape in (("channels_last", (2, 1, 1, 5)), ("channels_first", (2, 3, 1, 1))):
        kept, flat = (cls(data_format=data_format, keepdims=keepdims) for keepdims in (True, False))
        assert kept.get_config()["keepdims"] is True
        assert kept(x).shape == shape == kept.compute_output_shape(x.shape)
        np.testing.assert_array_equal(np.array(kept(x)).ravel(), np.array(flat(x)).ravel())


def test_the_data_format_of_keras_is_the_default():
    assert keras.config.image_data_format() == "channels_last"
    keras.config.set_image_data_format("channels_first")
    try:
        layers = [cls() for cls in (*WINDOWS, *GLOBAL)] + [cls(2, None) for cls in SAMPLINGS]
        assert {layer.data_format for layer in layers} == {"channels_first"}
        assert InvertibleDownSampling(2).data_format == "channels_last"  # named by the signature
    finally:
        keras.config.set_image_data_format("channels_last")


def test_arguments_come_in_the_references_order():
    names = {cls: list(inspect.signature(cls.__init__).parameters)[1:] for cls in (*WINDOWS, *GLOBAL, *SAMPLINGS)}
    pool = ["pool_size", "strides", "padding", "data_format", "k_coef_lip"]
    assert names[ScaledAveragePooling2D] == [*pool, "kwargs"]
    assert names[ScaledL2NormPooling2D] == [*pool, "eps_grad_sqrt", "kwargs"]
    assert names[ScaledGlobalAveragePooling2D] == ["data_format", "k_coef_lip", "kwargs"]
    assert names[ScaledGlobalL2NormPooling2D] == ["data_format", "k_coef_lip", "eps_grad_sqrt", "kwargs"]
    for cls in SAMPLINGS:
        assert names[cls] == ["pool_size", "data_format", "name", "dtype", "k_coef_lip", "kwargs"]
    assert ScaledAveragePooling2D((2, 3), (2, 3), "VALID").strides == (2, 3)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: ScaledAveragePooling2D(2, strides=1), r"`strides` to be None or the pool_size \(2, 2\)"),
        (lambda: ScaledL2NormPooling2D((2, 3), strides=(3, 2)), r"Received: strides=\(3, 2\)"),
        (lambda: ScaledAveragePooling2D(padding="same"), "expects padding='valid'"),
        (lambda: ScaledL2NormPooling2D(padding=None), "expects padding='valid'"),
        (lambda: ScaledAveragePooling2D(0), "pool_size"),
        (lambda: ScaledAveragePooling2D((2, 2, 2)), "pool_size"),
        (lambda: ScaledAveragePooling2D(data_format="last"), "data_format"),
        (lambda: ScaledGlobalAveragePooling2D("last"), "data_format"),
        (lambda: ScaledGlobalAveragePooling2D(k_coef_lip=-1), "k_coef_lip"),
        (lambda: ScaledAveragePooling2D(k_coef_lip=float("nan")), "k_coef_lip"),
        (lambda: ScaledL2NormPooling2D(eps_grad_sqrt=-1e-6), "`eps_grad_sqrt` must be a finite number of at least 0"),
        (lambda: ScaledGlobalL2NormPooling2D(eps_grad_sqrt=float("nan")), "eps_grad_sqrt"),
        (lambda: ScaledL2NormPooling2D(eps_grad_sqrt="small"), "eps_grad_sqrt"),
        (lambda: ScaledL2NormPooling2D(eps_grad_sqrt=None), "eps_grad_sqrt"),
        (lambda: InvertibleDownSampling(0), "`pool_size` must be a positive integer, or two"),
        (lambda: InvertibleDownSampling(2.0), "pool_size"),
        (lambda: InvertibleUpSampling((2, True)), "pool_size"),
        (lambda: InvertibleUpSampling((2, 2, 2)), "pool_size"),
        (lambda: InvertibleUpSampling("2"), "pool_size"),
        (lambda: InvertibleDownSampling(2, "last"), "data_format"),
        (lambda: InvertibleDownSampling(2, k_coef_lip=0), "k_coef_lip"),
        (lambda: InvertibleDownSampling(2)(np.ones((1, 5, 4, 1))), "a height that 2 divides. Received: 5"),
        (lambda: InvertibleDownSampling((1, 3))(np.ones((1, 5, 4, 1))), "a width that 3 divides. Received: 4"),
        (lambda: InvertibleDownSampling(2)(keras.Input((None, 3, 1))), "a width that 2 divides. Received: 3"),
        (lambda: InvertibleUpSampling(2)(np.ones((1, 4, 4, 6))), "a number of channels that 4 divides. Received: 6"),
        (lambda: InvertibleUpSampling(2)(np.ones((1, 4, 4))), "expected ndim=4"),
        (lambda: InvertibleUpSampling(2).compute_output_shape((1, 4, 4)), "four axes"),
        (lambda: ScaledAveragePooling2D(4)(keras.Input((3, 8, 1))), "."),
    ],
)
def test_bad_input_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()
