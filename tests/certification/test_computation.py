"""The form of each step of a model computes what the model computes."""

import keras
import numpy as np
import pytest
from keras import layers as kl

from lipviz import layers as lip
from lipviz.certification.computation import UnknownFormError, computation
from lipviz.certification.forms import Opaque
from lipviz.operators.precision import at_inference, float64_copy, float64_scope


def _chain(shape, *steps):
    return keras.Sequential([keras.Input(shape), *steps])


def _block():
    inputs = keras.Input((6, 5, 4))
    y = kl.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    y = kl.BatchNormalization()(kl.Conv2D(4, 3, padding="same")(y))
    z = kl.Subtract()([inputs, kl.Average()([y, inputs])])
    z = kl.Concatenate()([z, y])
    z = kl.Maximum()([z, keras.ops.flip(z, axis=1)])
    return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(lip.LipResidual()([z, z[:, :, ::-1]]))))


def _nested():
    inner = _chain((5,), kl.Dense(5, activation="tanh"), kl.Softmax())
    inputs = [keras.Input((5,)), keras.Input((2,))]
    return keras.Model(inputs, [kl.Dense(2)(kl.Concatenate()([inner(inputs[0]), inputs[1]])), inner(inputs[0])])


def _padded():
    inputs = keras.Input((3, 2))
    y = kl.Concatenate()([keras.ops.pad(inputs, ((0, 0), (1, 0), (2, 1)), constant_values=c) for c in (0, 1, 2.5)])
    return keras.Model(inputs, kl.Dense(2)(keras.ops.gelu(y[:, 1:])))


def _constants():
    inputs = keras.Input((4, 6, 2))
    y = keras.ops.mean(2.5 - (inputs / 255.0 - np.array([0.1, 0.7])) * 0.1, axis=2) + keras.ops.sum(-inputs, axis=-2)
    return keras.Model(inputs, kl.TimeDistributed(kl.Dense(3, "relu"))(y))


MODELS = {
    "dense": lambda: _chain((5,), kl.Dense(7, activation="gelu"), kl.LeakyReLU(), kl.Dense(3, "softplus")),
    "images": lambda: _chain(
        (7, 6, 2),
        kl.ZeroPadding2D((1, 2)),
        kl.Conv2D(4, 3, strides=2, activation="elu"),
        kl.BatchNormalization(),
        kl.AveragePooling2D(2, padding="same"),
        kl.Permute((2, 1, 3)),
        kl.Flatten(),
        kl.Dropout(0.5),
        kl.PReLU(),
        kl.Dense(2, "softmax"),
    ),
    "channels first": lambda: _chain(
        (4, 6, 6),
        lip.GroupSort(2, "channels_first"),
        lip.MaxMin("channels_first", k_coef_lip=2.0),
        kl.GlobalAveragePooling2D("channels_first"),
    ),
    "ours": lambda: _chain(
        (8, 8, 1),
        lip.SpectralConv2D(4, 3, activation=lip.GroupSort2()),
        lip.ScaledL2NormPooling2D(),
        lip.Householder(),
        kl.Flatten(),
        lip.SpectralDense(6, activation=lip.MaxMin()),
        lip.FrobeniusDense(2),
    ),
    "numbers": lambda: _chain(
        (4, 6, 2),
        kl.Rescaling(1 / 255, offset=-0.3),
        kl.Rescaling([0.1, 3.0], offset=[0.2, -0.7]),
        kl.Normalization(),
        kl.Normalization(mean=0.3, variance=0.2, invert=True),
        kl.UpSampling2D((2, 1)),
        kl.UpSampling2D(2, interpolation="bilinear"),
        lip.BatchCentering(k_coef_lip=0.1),
        lip.LayerCentering(k_coef_lip=1.1),
        lip.BatchLipNorm(),
        lip.InvertibleDownSampling(2, k_coef_lip=0.3),
        lip.InvertibleUpSampling(2),
        kl.SpectralNormalization(kl.Conv2D(3, 3, activation="relu")),
        kl.Flatten(),
    ),
    "constants": _constants,
    "branches": _block,
    "nested": _nested,
    "padded": _padded,
}
# Models with means or batch normalizations, which Keras computes in float32 on JAX: 16 roundings to that are allowed.
IN_FLOAT32 = {"images", "channels first", "branches", "constants"} if keras.backend.backend() == "jax" else set()


@pytest.mark.parametrize("name", MODELS)
def test_the_forms_compute_what_the_model_does(name):
    keras.utils.set_random_seed(3)
    model = MODELS[name]()
    rng = np.random.default_rng(5)
    for weight in model.weights:  # biases, means and variances that are not 0 or 1
        weight.assign(np.abs(rng.normal(0.5, 0.4, weight.shape)))
    for layer in model.layers:
        if isinstance(layer, kl.Normalization):
            layer.finalize_state()
    wide = float64_copy(model)
    x = [rng.normal(size=(3, *t.shape[1:])) for t in keras.tree.flatten(wide.inputs)]
    found = computation(wide)
    values = found.values(*x)
    with float64_scope():
        expected = keras.tree.flatten(at_inference(wide, x if len(x) > 1 else x[0]))
    assert len(found.outputs) == len(expected)
    room = max(16 * 2.0**-24 if name in IN_FLOAT32 else 1e-9, 2 * max(getattr(n.form, "off", 0.0) for n in found.nodes))
    for number, tensor in zip(found.outputs, expected, strict=True):
        np.testing.assert_allclose(values[number], np.asarray(tensor).reshape(3, -1), rtol=room, atol=room)


def test_only_steps_without_a_form_are_opaque():
    opaque = {node.name for node in computation(MODELS["branches"]()).nodes if isinstance(node.form, Opaque)}
    assert [name.rstrip("_0123456789") for name in opaque] == ["maximum"]


@pytest.mark.parametrize("name", ["numbers", "constants", "padded"])
def test_scales_shifts_and_moves_have_forms(name):
    assert not [node.name for node in computation(MODELS[name]()).nodes if isinstance(node.form, Opaque)]


def test_an_opaque_step_keeps_its_bound():
    (node,) = (n for n in computation(MODELS["ours"]()).nodes if isinstance(n.form, Opaque) and "pool" in n.name)
    assert node.form.bound(2, False).upper == 1.0


def test_a_graph_with_unknown_sizes_or_parts_is_refused():
    with pytest.raises(UnknownFormError, match="needs all sizes"):
        computation(_chain((None, None, 2), kl.Conv2D(2, 3)))
    assert computation(_chain((None, None, 2), kl.Conv2D(2, 3)), (5, 5, 2)).nodes[1].shape == (3, 3, 2)
