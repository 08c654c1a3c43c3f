"""Padded convolutions: the padding against NumPy's, the convolution against one written out."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz.layers.activations import PReLUlip
from lipviz.layers.base_layer import LipschitzLayer
from lipviz.layers.unconstrained import PADDINGS, PadConv2D, pad2d
from tests.layers.test_pooling import check_round_trips, late_error
from tests.support import convolution_matrix, finite_differences, gradient, tensor

RNG = np.random.default_rng(0)
NUMPY = {"circular": "wrap"}
padded = pytest.mark.parametrize("mode", PADDINGS)


def reference(layer, x):
    """What the layer computes, channels last: NumPy's padding, then the explicit matrix of a "valid" convolution."""
    (p, q), dilation = layer.pads, layer.dilation_rate
    x = np.pad(np.asarray(x, "float64"), [(0, 0), (p, p), (q, q), (0, 0)], NUMPY.get(layer.padding, layer.padding))
    kernel = np.array(layer.kernel)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape, dilation, strict=False)]
    spread = np.zeros((*reach, *kernel.shape[2:]))
    spread[:: dilation[0], :: dilation[1]] = kernel
    out = x.reshape(len(x), -1) @ convolution_matrix(spread, x.shape[1:3], layer.strides, "valid").T
    sizes = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:3], reach, layer.strides, strict=True)]
    return out.reshape(len(x), *sizes, -1) + np.array(layer.bias)


# --- the padding ---


@padded
def test_pad2d_is_numpys_pad(mode):
    x = RNG.standard_normal((2, 4, 3, 2))
    for pads, pairs in (((1, 2), ((1, 1), (2, 2))), ([(3, 0), (0, 2)], ((3, 0), (0, 2))), ((0, 0), ((0, 0), (0, 0)))):
        want = np.pad(x, [(0, 0), *pairs, (0, 0)], NUMPY.get(mode, mode))
        np.testing.assert_array_equal(np.array(pad2d(tensor(x, "float64"), pads, mode)), want)
        first = pad2d(tensor(np.moveaxis(x, -1, 1), "float64"), pads, mode, "channels_first")
        np.testing.assert_array_equal(np.array(first), np.moveaxis(want, -1, 1))


@padded
def test_as_many_pixels_as_there_are(mode):
    x = RNG.standard_normal((1, 3, 3, 1))
    most = 2 if mode == "reflect" else 3
    want = np.pad(x, [(0, 0), (most, most), (most, most), (0, 0)], NUMPY.get(mode, mode))
    np.testing.assert_array_equal(np.array(pad2d(tensor(x, "float64"), (most, most), mode)), want)
    if mode != "constant":
        with pytest.raises(ValueError, match=f"'{mode}' by {most + 1} pixels needs images of at least"):
            pad2d(tensor(x), (0, most + 1), mode)


# --- the convolution ---


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3},
        {"kernel_size": (2, 5), "strides": (2, 1)},
        {"kernel_size": (3, 2), "dilation_rate": 2},
    ],
)
@padded
def test_the_layer_is_what_numpy_computes(mode, arguments, data_format):
    x = RNG.standard_normal((2, 5, 6, 2))
    dtype = "float32" if data_format == "channels_first" else "float64"  # TensorFlow has no other on a CPU
    layer = PadConv2D(3, padding=mode, data_format=data_format, dtype=dtype, **arguments)
    given = np.moveaxis(x, -1, 1) if data_format == "channels_first" else x
    layer.build(given.shape)
    layer.bias.assign([1.0, 2.0, 3.0])
    want = reference(layer, x)
    got = np.array(layer(given))
    assert got.shape == layer.compute_output_shape(given.shape)
    got = np.moveaxis(got, 1, -1) if data_format == "channels_first" else got
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize(("arguments", "sizes"), [({"kernel_size": 3}, (5, 6)), ({"kernel_size": 5}, (5, 6))])
def test_constant_is_same_for_odd_kernels(arguments, sizes):
    constant, same = (PadConv2D(3, padding=padding, **arguments) for padding in ("constant", "same"))
    x = RNG.standard_normal((2, *sizes, 2)).astype("float32")
    constant.build(x.shape)
    same.build(x.shape)
    same.set_weights(constant.get_weights())
    assert constant.compute_output_shape(x.shape) == (2, *sizes, 3)
    np.testing.assert_allclose(np.array(constant(x)), np.array(same(x)), atol=1e-6)


@padded
def test_gradients_are_those_of_finite_differences(mode):
    layer = PadConv2D(2, 3, padding=mode, dtype="float64")
    x = RNG.standard_normal((1, 3, 3, 1))
    weights = RNG.standard_normal(layer(x).shape)

    def value(v):
        return ops.sum(layer(v) * weights)

    np.testing.assert_allclose(gradient(value, x), finite_differences(value, x), atol=1e-8)


# --- leaving ---


@pytest.mark.parametrize("activation", [None, "relu", "learned"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_vanilla_export(padding, activation):
    if activation == "learned":
        activation = PReLUlip(alpha_initializer="ones", shared_axes=[1, 2])
    layer = PadConv2D(4, 3, padding=padding, activation=activation, name="here", dtype="float64")
    x = RNG.standard_normal((2, 5, 5, 2))
    layer(x)
    layer.set_weights([RNG.standard_normal(weight.shape) / 9 for weight in layer.get_weights()])
    plain = layer.vanilla_export()
    assert type(plain) is keras.layers.Conv2D
    assert (plain.name, plain.padding) == ("here", padding)
    np.testing.assert_array_equal(np.array(plain(x)), np.array(layer(x)))
    before = np.array(layer(x))
    plain.kernel.assign(plain.kernel * 0)
    np.testing.assert_array_equal(np.array(layer(x)), before)  # the two share nothing
    assert not isinstance(layer, LipschitzLayer)


@padded
def test_other_paddings_cannot_be_exported(mode):
    layer = PadConv2D(2, 3, padding=mode, use_bias=False)
    with pytest.raises(ValueError, match="has no kernel yet"):
        layer.vanilla_export()
    layer.build((None, 4, 4, 1))
    with pytest.raises(ValueError, match=f"cannot become a Conv2D.*Received: padding='{mode}'"):
        layer.vanilla_export()


# --- manners ---


@pytest.mark.parametrize("padding", ["same", "Reflect", "circular"])
def test_round_trips(padding, tmp_path):
    x = RNG.standard_normal((2, 5, 5, 2)).astype("float32")
    layer = PadConv2D(4, (3, 2), padding=padding, activation="relu", kernel_regularizer="l2", name="here")
    check_round_trips(layer, x, tmp_path / "model.keras")
    assert layer.get_config()["padding"] == padding.lower()
    assert PadConv2D(4, 3, padding=padding, groups=2).get_config()["groups"] == 2


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "circular"])
def test_unknown_sizes(mode):
    for data_format, shape in (("channels_last", (None, None, 2)), ("channels_first", (2, None, None))):
        inputs = keras.Input(shape)
        layer = PadConv2D(3, 5, padding=mode, data_format=data_format)
        model = keras.Model(inputs, layer(inputs))
        assert model.output_shape == (None, *(3 if size else None for size in shape))
        x = RNG.standard_normal((2, *(size or 4 for size in shape))).astype("float32")
        np.testing.assert_allclose(model.predict(x, verbose=0), np.array(layer(x)), atol=1e-6)
    with pytest.raises(late_error(), match=r"needs images|paddings must be|Expected (begin|size)"):
        model.predict(np.ones((2, 2, 1, 1)), verbose=0)


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "mixed_bfloat16"])
def test_half_precision(dtype):
    layer = PadConv2D(3, 3, padding="circular", dtype=dtype)
    x = RNG.standard_normal((2, 4, 4, 2))
    got = layer(x)
    assert keras.backend.standardize_dtype(got.dtype) == layer.compute_dtype
    atol = 2e-2 if layer.compute_dtype == "float16" else 2e-1
    np.testing.assert_allclose(np.array(ops.cast(got, "float32")), reference(layer, x), atol=atol)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: PadConv2D(3, 3, padding="mirror"), r"`padding` must be one of .*Received: 'mirror'"),
        (lambda: PadConv2D(3, 3, padding=None), "`padding` must be one of"),
        (lambda: PadConv2D(3, 0), "kernel_size"),
        (lambda: PadConv2D(3, 5, padding="reflect").build((None, 2, 8, 1)), "at least 3. Received a size of 2"),
        (lambda: PadConv2D(3, 5, padding="circular")(keras.Input((8, 1, 1))), "at least 2. Received a size of 1"),
        (lambda: PadConv2D(3, 7, padding="symmetric")(np.ones((1, 8, 2, 1))), "at least 3. Received a size of 2"),
        (lambda: pad2d(np.ones((1, 2, 2, 1)), (1, 1), "wrap"), "`mode` must be one of"),
        (lambda: pad2d(np.ones((2, 2, 1)), (1, 1)), "four axes"),
        (lambda: pad2d(np.ones((1, 2, 2, 1)), 1), "`pads` must be two counts"),
        (lambda: pad2d(np.ones((1, 2, 2, 1)), (1, -1)), "`pads` must be two counts"),
        (lambda: pad2d(np.ones((1, 2, 2, 1)), (1, 0.5)), "`pads` must be two counts"),
        (lambda: pad2d(np.ones((1, 2, 2, 1)), ((1, 1), (1, 1, 1))), "`pads` must be two counts"),
        (lambda: pad2d(np.ones((1, 2, 2, 1)), (1, 1), data_format="last"), "data_format"),
    ],
)
def test_bad_input_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()
