"""Every layer × settings, pairwise: two steps of training each, and then all that Keras can do with a layer.

Of the layers without a kernel a third of the cases runs in each test run, and all at night.

A case trains a small network, and asks whether every copy of it predicts the same: made from the config, loaded from a
file, cloned and given the weights of a file, exported; called as a function, eagerly, compiled. Iterations are few:
what they converge to is asked elsewhere.
"""

import collections
import functools

import keras
import numpy as np
import pytest

from lipviz import layers, vanillaModel
from lipviz.model import refresh
from lipviz.operators.precision import float64_scope
from tests.layers.citizenship import OTHERS, WITH_KERNEL, WITHOUT, all_cases, case_id, cases_of_others, network

# In training they use the statistics of the batch: a bare call is no prediction.
OF_THE_BATCH = ("BatchCentering", "BatchLipNorm")
# So many cases has each layer without a kernel, for three dtypes and three ways of compiling.
CASES_WITHOUT = 3


def trained(how, **settings):
    """A model of a case after two steps of training, the layer, and data."""
    model, layer, shape = network(**settings)
    model.compile(keras.optimizers.SGD(1e-2), "mae", **how)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, *shape)).astype("float32")
    y = rng.standard_normal((8, *model.output_shape[1:])).astype("float32")
    for half in (slice(4), slice(4, 8)):  # `fit` takes longer, and has tests of its own
        model.train_on_batch(keras.ops.convert_to_tensor(x[half]), keras.ops.convert_to_tensor(y[half]))
    refresh(model)
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
    if dtype == "float64" and keras.backend.backend() == "tensorflow":  # on JAX Keras computes parts in float32
        tolerance = 1e-13
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


def parameters(cases):
    """Cases as parameters of pytest. The night has those that XLA compiles for seconds, and two of three others
    without a kernel: each of these layers keeps one, the next layer the one with other settings."""
    numbers = collections.Counter()
    for case in cases:
        name = case["name"]
        compiles_long = case["how"].get("jit_compile") and "Conv" in name
        is_spare = name in WITHOUT and (numbers[name] - list(WITHOUT).index(name)) % CASES_WITHOUT != 0
        numbers[name] += 1
        yield pytest.param(case, id=case_id(case), marks=pytest.mark.nightly if compiles_long or is_spare else ())


def all_parameters():
    by_day, at_night = cases_of_others()
    late = [pytest.param(case, id=case_id(case), marks=pytest.mark.nightly) for case in at_night]
    return [*parameters(all_cases()), *parameters(by_day), *late]


@pytest.mark.covered_by_day
@pytest.mark.slow
# Where TensorFlow has no oneDNN, it convolves no channels first on a CPU, see `runs_as_plain`.
@pytest.mark.filterwarnings("ignore:The plain copy could not be compared")
@pytest.mark.parametrize("case", all_parameters())
def test_every_copy_predicts_the_same(case, tmp_path):
    model, layer, x = trained(**case)
    want = predicted(model, x)
    assert np.isfinite(want).all()
    close(model.predict_on_batch(keras.ops.convert_to_tensor(x)), want, layer.compute_dtype)

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


@pytest.mark.parametrize("name", [*WITH_KERNEL, *OTHERS])
def test_the_linear_map_of_a_layer_in_half_precision_can_be_measured_in_float64(name):
    _, layer, shape = network(name, dtype="mixed_bfloat16", padding="circular" if name == "BROConv2D" else "same")
    if not hasattr(layer, "linear"):
        assert not isinstance(layer, layers.ConstrainedKernel)
        return
    x = np.random.default_rng(0).standard_normal((2, *shape))
    with float64_scope():
        kernel = keras.ops.convert_to_tensor(np.asarray(layer.used_kernel(), np.float64))
        found = layer.linear(keras.ops.convert_to_tensor(x), kernel)
        assert keras.backend.standardize_dtype(found.dtype) == "float64"
        double = layer.linear(keras.ops.convert_to_tensor(2 * x), kernel)
    np.testing.assert_array_equal(double, 2 * np.asarray(found))  # a rounded input or output may differ, too


@pytest.mark.lists
def test_no_layer_is_left_out():
    bases = {"LipschitzLayer", "Condensable", "ConstrainedKernel"}
    of_two_inputs = {"LipResidual"}  # see its own test
    expected = set(layers.__all__) - bases - of_two_inputs
    assert expected == {*WITH_KERNEL, *OTHERS, *WITHOUT}, "say in tests/layers/citizenship.py what the layer needs"
