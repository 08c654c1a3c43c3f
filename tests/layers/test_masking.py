"""Masks pass each layer as they pass the layer of Keras that it stands for."""

import keras
import numpy as np
import pytest

from lipviz import layers as lip

K = keras.layers
SERIES = (6, 4)
# A layer over (batch, steps, channels), and the one of Keras whose way with masks it has.
LIKE = {
    "SpectralDense": (lambda: lip.SpectralDense(3), lambda: K.Dense(3)),
    "FrobeniusDense": (lambda: lip.FrobeniusDense(3), lambda: K.Dense(3)),
    "GroupSort": (lambda: lip.GroupSort(2), lambda: K.ReLU()),
    "GroupSort2": (lambda: lip.GroupSort2(), lambda: K.ReLU()),
    "FullSort": (lambda: lip.FullSort(), lambda: K.ReLU()),
    "MaxMin": (lambda: lip.MaxMin(), lambda: K.ReLU()),
    "Householder": (lambda: lip.Householder(), lambda: K.ReLU()),
    "BetaAbs": (lambda: lip.BetaAbs(), lambda: K.ReLU()),
    "PReLUlip": (lambda: lip.PReLUlip(), lambda: K.PReLU()),
}


def masked(layer):
    """What a layer makes of a series whose last steps are zeros that are masked, and the mask behind it."""
    inputs = keras.Input(SERIES)
    hidden = layer(K.Masking()(inputs))
    mask = getattr(hidden, "_keras_mask", None)
    x = np.random.default_rng(0).standard_normal((2, *SERIES)).astype("float32")
    x[0, 3:] = 0
    model = keras.Model(inputs, hidden if mask is None else [hidden, mask])
    outputs = model(x, training=False)
    values, mask = outputs if isinstance(outputs, list | tuple) else (outputs, None)
    return keras.ops.convert_to_numpy(values), mask if mask is None else keras.ops.convert_to_numpy(mask)


@pytest.mark.parametrize("name", LIKE)
def test_masks_pass_as_in_keras(name):
    ours, theirs = (make() for make in LIKE[name])
    assert ours.supports_masking == theirs.supports_masking
    values, mask = masked(ours)
    _, expected = masked(theirs)
    assert expected is not None
    np.testing.assert_array_equal(mask, expected)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("make", [lambda: lip.SpectralConv1D(3, 3), lambda: K.Conv1D(3, 3)])
def test_convolutions_lose_a_mask_and_say_so(make):
    with pytest.warns(UserWarning, match="does not support masking"):
        _, mask = masked(make())
    assert mask is None


@pytest.mark.parametrize("name", ["SpectralDense", "GroupSort2", "MaxMin", "Householder"])
def test_a_mean_over_what_is_not_masked(name):
    """The mask reaches a layer behind that uses it."""
    layer = LIKE[name][0]()
    inputs = keras.Input(SERIES)
    model = keras.Model(inputs, K.GlobalAveragePooling1D()(layer(K.Masking()(inputs))))
    x = np.random.default_rng(0).standard_normal((1, *SERIES)).astype("float32")
    x[0, 3:] = 0
    got = keras.ops.convert_to_numpy(model(x, training=False))
    want = keras.ops.convert_to_numpy(layer(x[:, :3], training=False)).mean(axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
