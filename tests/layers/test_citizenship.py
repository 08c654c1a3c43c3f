"""Every layer × settings, pairwise: one short fit each, and then all that Keras can do with a layer.

A case trains a small network, and asks whether every copy of it predicts the same: made from the config, loaded from a
file, cloned and given the weights of a file, exported; called as a function, eagerly, compiled. Iterations are few:
what they converge to is asked elsewhere.
"""

import functools
import inspect
from collections import OrderedDict

import keras
import numpy as np
import pytest
from allpairspy import AllPairs

from lipviz import Sequential, layers, vanillaModel
from lipviz.layers import GroupSort2, Householder, MaxMin, PReLUlip

IMAGE, SERIES, VECTOR = (6, 4, 2), (6, 2), (4,)
CONVOLUTION = {"filters": 4, "kernel_size": 3, "kernel_initializer": "orthogonal"}
DENSE = {"units": 4, "kernel_initializer": "orthogonal"}
QUICK = {"maxiter_bjorck": 2, "maxiter_spectral": 1}

# What each layer needs, and the shape of a sample.
WITH_KERNEL = {
    "SpectralDense": (DENSE | QUICK, VECTOR),
    "FrobeniusDense": (DENSE, VECTOR),
    "SpectralConv1D": (CONVOLUTION | QUICK, SERIES),
    "SpectralConv2D": (CONVOLUTION | QUICK, IMAGE),
    "SpectralConv2DTranspose": (CONVOLUTION | QUICK, IMAGE),
    "FrobeniusConv2D": (CONVOLUTION, IMAGE),
}
WITHOUT = {
    "GroupSort": ({}, IMAGE),
    "GroupSort2": ({}, IMAGE),
    "FullSort": ({}, VECTOR),
    "MaxMin": ({}, IMAGE),
    "Householder": ({}, IMAGE),
    "PReLUlip": ({}, IMAGE),
    "ScaledAveragePooling2D": ({}, IMAGE),
    "ScaledL2NormPooling2D": ({}, IMAGE),
    "ScaledGlobalAveragePooling2D": ({}, IMAGE),
    "ScaledGlobalL2NormPooling2D": ({}, IMAGE),
    "InvertibleDownSampling": ({"pool_size": 2}, IMAGE),
    "InvertibleUpSampling": ({"pool_size": 2}, (2, 2, 8)),
    "LayerCentering": ({}, IMAGE),
    "BatchCentering": ({}, IMAGE),
    "BatchLipNorm": ({}, IMAGE),
    "PadConv2D": ({"filters": 2, "kernel_size": 3}, IMAGE),
}

# What is combined; a layer without a setting leaves it out.
COMMON = {
    "dtype": [None, "float64", "mixed_bfloat16"],
    "k_coef_lip": [1.0, 0.3, 7.0],
    "data_format": ["channels_last", "channels_first"],
    "how": [{}, {"jit_compile": True}, {"run_eagerly": True}],
}
SETTINGS_WITH_KERNEL = {
    "name": list(WITH_KERNEL),
    "activation": [None, "tanh", GroupSort2, MaxMin, Householder, PReLUlip],
    **COMMON,
    "dtype": [None, "float64", "mixed_bfloat16", "mixed_float16"],
    "use_bias": [True, False],
    "kernel_regularizer": [None, "l2"],
    "eps_bjorck": [1e-3, None],
    "beta_bjorck": [0.5, 0.05],
    "disjoint_neurons": [True, False],
    "strides": [1, 2],
    "padding": ["same", "valid"],
    "bound": ["coverage", "tight"],
}
SETTINGS_WITHOUT = {
    "name": list(WITHOUT),
    **COMMON,
    "n": [None, 2],
    "eps_grad_sqrt": [1e-6, 0.0],
}
# In training they use the statistics of the batch: a bare call is no prediction.
OF_THE_BATCH = ("BatchCentering", "BatchLipNorm")


def pairwise(settings):
    """Combinations of settings in which every pair of two values occurs; on JAX, where all compiles, every fifth."""
    cases = [dict(zip(settings, values, strict=True)) for values in AllPairs(OrderedDict(settings), is_possible)]
    return cases[:: 1 if keras.backend.backend() == "tensorflow" else 5]


def is_possible(values):
    """Keras itself cannot add a regularizer in float64 to a loss in float32."""
    return not ("float64" in values and "l2" in values)


def case_id(case):
    return " ".join(getattr(value, "__name__", str(value)) for value in case.values())


def taken(cls, settings):
    """The settings that a layer's constructor takes."""
    known = inspect.signature(cls.__init__).parameters
    also = {"dtype"} | ({"n"} if cls is layers.GroupSort else set())
    return {key: value for key, value in settings.items() if key in known or key in also}


def sorted_along_channels(activation, data_format):
    """An activation that is a layer acts on the channels, wherever they are."""
    if not isinstance(activation, type):
        return activation
    return activation() if activation is PReLUlip else activation(data_format=data_format)


def trained(name, how, **settings):
    """A model with that layer after a short fit, the layer, and data."""
    needed, shape = (WITH_KERNEL | WITHOUT)[name]
    cls = getattr(layers, name)
    arguments = needed | taken(cls, settings)
    data_format = arguments.get("data_format", "channels_last")
    if "activation" in arguments:
        arguments["activation"] = sorted_along_channels(arguments["activation"], data_format)
    if data_format == "channels_first" and len(shape) > 1:
        shape = (shape[-1], *shape[:-1])
    layer = cls(**arguments)
    chain = [keras.Input(shape), layer, keras.layers.Flatten(dtype=layer.dtype_policy)]
    if name in WITH_KERNEL:
        model = Sequential(chain, k_coef_lip=layer.k_coef_lip)
    else:  # with something to train
        model = keras.Sequential([*chain, keras.layers.Dense(2, dtype=layer.dtype_policy)])
    model.compile(keras.optimizers.SGD(1e-2), "mae", **how)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, *shape)).astype("float32")
    y = rng.standard_normal((8, *model.output_shape[1:]))
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    return model, layer, x


def predicted(model, x):
    """What a model predicts, computed eagerly."""
    return keras.ops.convert_to_numpy(keras.ops.cast(model(x, training=False), "float64"))


def runs_as_plain(layer):
    """Whether Keras's own convolution takes what ours takes always: on TensorFlow's CPUs, channels first."""
    is_first = getattr(layer, "data_format", None) == "channels_first"
    return not (is_first and hasattr(layer, "filters")) or layer.compute_dtype in dtypes_with_channels_first()


@functools.cache
def dtypes_with_channels_first():
    """The dtypes in which exports with channels first are compared: float32; none where TensorFlow has no oneDNN."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        try:
            tf.nn.conv2d(tf.ones((1, 1, 2, 2)), tf.ones((1, 1, 1, 1)), 1, "VALID", data_format="NCHW")
        except tf.errors.UnimplementedError:
            return ()
    return ("float32",)


def close(got, want, dtype):
    """Equal but for the order of operations."""
    scale = max(1.0, np.abs(want).max())
    got = keras.ops.convert_to_numpy(keras.ops.cast(got, "float64"))
    tolerance = {"bfloat16": 2e-2, "float16": 2e-3}.get(dtype, 1e-6)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("case", pairwise(SETTINGS_WITH_KERNEL) + pairwise(SETTINGS_WITHOUT), ids=case_id)
def test_every_copy_predicts_the_same(case, tmp_path):
    model, layer, x = trained(**case)
    want = predicted(model, x)
    assert np.isfinite(want).all()
    close(model.predict(x, verbose=0), want, layer.compute_dtype)

    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(predicted(loaded, x), want)

    model.save_weights(tmp_path / "model.weights.h5")
    clone = keras.models.clone_model(model)
    clone.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(predicted(clone, x), want)

    plain = vanillaModel(model)
    plain.save(tmp_path / "plain.keras")
    reloaded = keras.models.load_model(tmp_path / "plain.keras", safe_mode=True)
    if runs_as_plain(layer):
        close(predicted(plain, x), want, layer.compute_dtype)
        np.testing.assert_array_equal(predicted(reloaded, x), predicted(plain, x))

    if case["name"] not in OF_THE_BATCH:
        close(model(x), want, layer.compute_dtype)


def test_no_layer_is_left_out():
    bases = {"LipschitzLayer", "Condensable", "ConstrainedKernel"}
    of_two_inputs = {"LipResidual"}  # see its own test
    assert set(layers.__all__) - bases - of_two_inputs == {*WITH_KERNEL, *WITHOUT}
