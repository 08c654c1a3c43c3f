"""Sorting activations against NumPy's sort, their Jacobians, and their manners."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipviz import activations
from lipviz.layers import FullSort, GroupSort, GroupSort2, MaxMin
from tests.support import examples, gradient

RNG = np.random.default_rng(0)


def sorted_in_groups(x, n, axis=-1):
    x = np.moveaxis(x, axis, -1)
    out = np.sort(x.reshape(*x.shape[:-1], -1, n), axis=-1).reshape(x.shape)
    return np.moveaxis(out, -1, axis)


@settings(max_examples=examples(40))
@given(
    st.sampled_from([2, 3, 4, None]),
    st.sampled_from(["channels_last", "channels_first"]),
    st.integers(2, 4),
    st.integers(0, 2**16),
)
def test_group_sort_is_exactly_a_sort(n, data_format, ndim, seed):
    axis = 1 if data_format == "channels_first" else ndim - 1
    shape = [3, 2, 2, 2][:ndim]
    shape[axis] = 12
    x = np.random.default_rng(seed).integers(-3, 3, shape).astype("float32")  # many ties
    x = x * np.float32(2) ** np.random.default_rng(seed + 1).integers(-90, 90)
    got = GroupSort(n, data_format)(x)
    np.testing.assert_array_equal(got, sorted_in_groups(x, n or 12, axis))


@pytest.mark.parametrize("layer", [GroupSort2(), FullSort(), GroupSort(3), GroupSort(100), MaxMin()])
def test_the_jacobian_keeps_norms_at_ties_too(layer):
    for x in (RNG.standard_normal((1, 6)), np.zeros((1, 6)), np.ones((1, 6)), np.array([[1.0, 1, 2, 2, 0, 0]])):
        x = x.astype("float32")
        width = layer.compute_output_shape((1, 6))[-1]
        jacobian = np.concatenate([gradient(lambda v, row=row: layer(v)[0, row], x) for row in range(width)])
        largest = np.linalg.svd(jacobian, compute_uv=False)[0]
        assert largest <= 1
        if not isinstance(layer, MaxMin):
            np.testing.assert_array_equal(jacobian.sum(axis=0), 1)  # a permutation
            np.testing.assert_array_equal(jacobian.sum(axis=1), 1)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_maxmin_keeps_both_signs(data_format):
    x = RNG.standard_normal((2, 3, 5)).astype("float32")
    layer = MaxMin(data_format)
    got = np.array(layer(x))
    axis = 1 if data_format == "channels_first" else -1
    np.testing.assert_array_equal(got, np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis))
    assert got.shape == layer.compute_output_shape(x.shape)
    assert np.linalg.norm(got) == pytest.approx(np.linalg.norm(x))


@pytest.mark.parametrize("layer", [GroupSort(2, k_coef_lip=3.0), MaxMin(k_coef_lip=3.0)])
def test_k_multiplies_and_configs_survive(layer):
    x = RNG.standard_normal((4, 6)).astype("float32")
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(x), layer(x))
    layer.set_klip_factor(1.0)
    np.testing.assert_allclose(np.array(again(x)), 3 * np.array(layer(x)), rtol=1e-6)


@pytest.mark.parametrize("cls", [GroupSort2, FullSort])
def test_fixed_groups(cls):
    config = cls(name="here").get_config()
    assert cls.from_config(config).get_config() == config
    with pytest.raises(ValueError, match="fixed at n="):
        cls(n=3)


def test_unknown_lengths_are_allowed_but_for_the_channels():
    for data_format, shape in (("channels_last", (None, None, None, 4)), ("channels_first", (None, 4, None, None))):
        inputs = keras.Input(shape[1:])
        model = keras.Model(inputs, GroupSort2(data_format=data_format)(inputs))
        assert model.output_shape == shape
        x = RNG.standard_normal([2 if length is None else length for length in shape]).astype("float32")
        axis = -1 if data_format == "channels_last" else 1
        np.testing.assert_array_equal(model.predict(x, verbose=0), sorted_in_groups(x, 2, axis))
    with pytest.raises(ValueError, match="known number of channels"):
        GroupSort2()(keras.Input((4, None)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupSort(0), "`n`"),
        (lambda: GroupSort(-2), "`n`"),
        (lambda: GroupSort(2.0), "`n`"),
        (lambda: GroupSort(2, "last"), "data_format"),
        (lambda: MaxMin("channels_lst"), "data_format"),
        (lambda: GroupSort(2, k_coef_lip=0), "k_coef_lip"),
        (lambda: GroupSort2()(np.ones((1, 5))), "n=2 divides. Received: 5 channels"),
        (lambda: GroupSort(4)(np.ones((1, 6))), "n=4 divides. Received: 6 channels"),
        (lambda: GroupSort2()(np.ones(4)), "batch axis"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        make()


def test_the_references_module_name():
    assert activations.GroupSort2 is GroupSort2
