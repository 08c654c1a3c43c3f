"""Inputs of whole numbers: Keras leaves them as they are, and lipviz's layers compute with them as with floats."""

import keras
import numpy as np
import pytest
from keras import ops

import lipviz
from lipviz import layers
from tests.layers.citizenship import OTHERS, WITH_KERNEL, WITHOUT

SMALLEST, LARGEST = {"int32": -9, "uint8": 0, "bool": 0}, {"int32": 9, "uint8": 255, "bool": 1}


def numbers(dtype, shape):
    return np.random.default_rng(0).integers(SMALLEST[dtype], LARGEST[dtype] + 1, (3, *shape)).astype(dtype)


@pytest.mark.parametrize("name", [*WITH_KERNEL, *OTHERS, *(name for name in WITHOUT if name != "PadConv2D")])
def test_whole_numbers_are_taken_as_floats(name):
    arguments, shape = {**WITH_KERNEL, **OTHERS, **WITHOUT}[name]
    layer = getattr(layers, name)(k_coef_lip=2.5, **arguments)
    for dtype in SMALLEST:
        x = numbers(dtype, shape)
        found, expected = layer(x), layer(x.astype("float32"))
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(ops.convert_to_numpy(found), ops.convert_to_numpy(expected), err_msg=dtype)


def test_whole_numbers_are_mixed_as_floats():
    layer = layers.LipResidual(k_coef_lip=2.5)
    for dtype in SMALLEST:
        x, y = numbers(dtype, (4,)), numbers(dtype, (4,))[::-1]
        found, expected = layer([x, y]), layer([x.astype("float32"), y.astype("float32")])
        np.testing.assert_array_equal(ops.convert_to_numpy(found), ops.convert_to_numpy(expected), err_msg=dtype)


@pytest.mark.parametrize("norm", [1, 2, "inf"])
@pytest.mark.parametrize(
    "name", ["GroupSort", "MaxMin", "BetaAbs", "Householder", "SpatialShift", "LayerCentering", "BatchCentering"]
)
def test_a_certificate_holds_for_whole_numbers(name, norm):
    arguments, shape = (WITHOUT | OTHERS)[name]
    inputs = keras.Input(shape, dtype="uint8")
    model = keras.Model(inputs, getattr(layers, name)(k_coef_lip=2.5, **arguments)(inputs))
    bound = lipviz.certify(model, norm=norm, search=False).upper_bound
    assert np.isfinite(bound)
    x, y = (numbers("uint8", (200, *shape))[n] for n in (0, 1))
    order = np.inf if norm == "inf" else norm
    rows = [ops.convert_to_numpy(model(values)).reshape(200, -1).astype(np.float64) for values in (x, y)]
    stretched = np.linalg.norm(rows[0] - rows[1], order, axis=1)
    distances = np.linalg.norm((x.astype(float) - y.astype(float)).reshape(200, -1), order, axis=1)
    assert (stretched <= bound * distances * (1 + 1e-5)).all()
