"""A layer of one's own whose trained weight is no `kernel`: the mechanism asks the layer for the name."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import Sequential, measure
from lipviz.certification import certify
from lipviz.layers import ConstrainedKernel, SpectralDense
from lipviz.operators import kernels
from lipviz.parametrizations import FrobeniusParametrization
from lipviz.rules.algebra import computes_as
from tests.support import predicted, singular_values

RNG = np.random.default_rng(0)


@keras.saving.register_keras_serializable("tests")
class Mixing(keras.layers.Layer):
    """A dense layer with other names."""

    def __init__(self, units, mix_initializer="orthogonal", mix_regularizer=None, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.mix_initializer = keras.initializers.get(mix_initializer)
        self.mix_regularizer = keras.regularizers.get(mix_regularizer)
        self.activation, self.bias = keras.activations.get(activation), None

    def build(self, input_shape):
        self.mixing = self.add_weight(
            shape=(input_shape[-1], self.units),
            initializer=self.mix_initializer,
            regularizer=self.mix_regularizer,
            name="mixing",
        )

    def call(self, inputs):
        return ops.matmul(inputs, self.mixing)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        own = {
            "units": self.units,
            "mix_initializer": keras.initializers.serialize(self.mix_initializer),
            "mix_regularizer": keras.regularizers.serialize(self.mix_regularizer),
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tests")
class ConstrainedMixing(ConstrainedKernel, Mixing):
    vanilla_class = Mixing
    parametrization_class = FrobeniusParametrization
    kernel_name = "mixing"
    kernel_prefix = "mix"

    def linear(self, inputs, kernel):
        return ops.matmul(inputs, kernel)


def network(**arguments):
    return Sequential([keras.Input((5,)), ConstrainedMixing(3, **arguments)], k_coef_lip=2.0)


def test_training_saving_and_export(tmp_path):
    model = network(mix_regularizer="l2")
    layer, x = model.layers[0], RNG.standard_normal((8, 5)).astype("float32")
    before = np.array(layer.mixing)
    model.compile("sgd", "mse")
    model.train_on_batch(x, x[:, :3])
    assert not np.array_equal(layer.mixing, before)
    layer.refresh()
    assert singular_values(layer.wbar)[0] <= 2
    np.testing.assert_allclose(np.linalg.norm(layer.wbar), 2, rtol=1e-5)
    want = predicted(model, x)

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.layers[0].mixing, layer.mixing)
    np.testing.assert_array_equal(predicted(loaded, x), want)
    export = layer.vanilla_export()
    assert type(export) is Mixing
    assert export.mix_regularizer is None
    np.testing.assert_allclose(export(x), want, atol=1e-6)
    layer.condense()
    np.testing.assert_array_equal(layer.mixing, layer.wbar)


def test_what_is_stored_is_compared_under_its_name():
    layer = network().layers[0]
    layer.mixing.assign(10 * np.eye(5, 3))
    x = RNG.standard_normal((2, 5)).astype("float32")
    np.testing.assert_allclose(layer(x), x[:, :3] * 2 / 3**0.5, rtol=1e-5)


def test_it_is_constrained_in_full_precision():
    layer = network(dtype="mixed_float16").layers[0]
    layer(np.ones((2, 5), "float16"), training=True)  # within which a weight of Keras is rounded
    stored = np.array(layer.wbar)
    layer.refresh()
    np.testing.assert_allclose(stored, layer.wbar, rtol=1e-6)


def test_measurements_and_certificates_find_it():
    model = network()
    layer = model.layers[0]
    np.testing.assert_array_equal(kernels(layer)[layer.name], layer.mixing)
    spectrum = measure.singular_values(layer)
    np.testing.assert_allclose(spectrum.raw, np.linalg.svd(np.array(layer.mixing, np.float64), compute_uv=False))
    assert certify(model).upper_bound == pytest.approx(singular_values(layer.wbar)[0], rel=1e-6)


class Doubled(SpectralDense):
    @property
    def kernel(self):
        return 2 * self._kernel


def test_a_kernel_that_a_subclass_computes_is_no_known_one():
    assert not computes_as(Doubled(2), SpectralDense)
    assert computes_as(SpectralDense(2), SpectralDense)
