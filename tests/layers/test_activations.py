"""Activations against NumPy written out, their Jacobians, and their manners."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lipviz import activations
from lipviz.layers import FullSort, GroupSort, GroupSort2, MaxMin
from lipviz.layers.activations import BetaAbs, Householder, PReLUlip
from lipviz.layers.base_layer import LipschitzLayer
from tests.layers.test_pooling import check_round_trips, jacobian
from tests.support import examples, gradient, tensor

RNG = np.random.default_rng(0)


def sorted_in_groups(x, n, axis=-1):
    x = np.moveaxis(x, axis, -1)
    out = np.sort(x.reshape(*x.shape[:-1], -1, n), axis=-1).reshape(x.shape)
    return np.moveaxis(out, -1, axis)


@pytest.mark.slow
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
        # Its entries are 0, 1 and −1: nothing is rounded. MaxMin has no slope at 0.
        kept = (x[0] != 0) if isinstance(layer, MaxMin) else np.ones(6)
        np.testing.assert_array_equal(jacobian.T @ jacobian, np.diag(kept))
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


# --- Householder ---

# Keras computes a sine of float64 in float32 on JAX.
SINE = 1e-14 if keras.backend.backend() == "tensorflow" else 4e-7


def reflected(x, theta, axis):
    """Pair by pair, as the definition has it."""
    x = np.moveaxis(x, axis, -1)
    z1, z2 = np.split(x, 2, axis=-1)
    stay = z1 * np.sin(theta / 2) - z2 * np.cos(theta / 2) <= 0
    one = np.where(stay, z1, z1 * np.cos(theta) + z2 * np.sin(theta))
    two = np.where(stay, z2, z1 * np.sin(theta) - z2 * np.cos(theta))
    return np.moveaxis(np.concatenate([one, two], -1), -1, axis)


def lost(x, unit):
    """What rounding, of that unit, moves a pair by, at the most, as far as it is long.

    Each entry of v, v·z, 2 relu(v·z) v and the difference is rounded: ten times.
    """
    lengths = np.hypot(*np.split(x, 2, axis=-1))
    return 10 * unit * np.concatenate([lengths, lengths], -1)


def turned(theta, shape, **arguments):
    layer = Householder(**{"dtype": "float64", **arguments})
    layer.build(shape)
    layer.theta.assign(theta)
    return layer


@settings(max_examples=examples(40))
@given(
    st.sampled_from([((4, 2, 6), "channels_last"), ((4, 6, 2), "channels_first")]),
    st.sampled_from([1.0, 0.3]),
    st.sampled_from([0.01, 1.0]),
    st.integers(-30, 30),
    st.integers(0, 2**16),
)
def test_householder_is_its_definition(form, k, spread, power, seed):
    shape, data_format = form
    rng = np.random.default_rng(seed)
    x, theta = 10.0**power * rng.standard_normal(shape), spread * rng.standard_normal(3)
    layer = turned(theta, shape, data_format=data_format, k_coef_lip=k)
    got = np.array(layer(x))
    want = k * reflected(x, theta, 1 if data_format == "channels_first" else -1)
    np.testing.assert_allclose(got, want, rtol=0, atol=5 * SINE * np.abs(x).max())
    assert np.linalg.norm(got) == pytest.approx(k * np.linalg.norm(x), rel=1e-13)  # an isometry times k
    assert layer.compute_output_shape(shape) == shape


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_float16", "mixed_bfloat16"])
def test_householder_at_0_negates_to_the_last_bit(dtype):
    layer = Householder(dtype=dtype, theta_initializer="zeros")
    x = ops.cast(np.random.default_rng(3).standard_normal((50, 8)), layer.compute_dtype)
    got, x = (np.array(ops.cast(values, "float64")) for values in (layer(x), x))
    np.testing.assert_array_equal(got, np.hstack([x[:, :4], np.abs(x[:, 4:])]))


def test_householder_is_orthogonal_to_rounding():
    angles = np.linspace(-7, 7, 501).astype("float32")
    layer = turned(angles, (1, 1002), dtype="float32")
    away = np.hstack([np.sin(angles / 2), -np.cos(angles / 2)])[None]  # what each pair mirrors
    got = np.array(layer(away.astype("float32")), "float64")
    lengths = np.linalg.norm(got.reshape(2, -1), axis=0) / np.linalg.norm(away.astype("float32").reshape(2, -1), axis=0)
    np.testing.assert_allclose(lengths, 1.0, rtol=0, atol=10 * 2.0**-24)  # see `lost`


def test_householder_starts_as_a_sort():
    x = RNG.standard_normal((5, 8)).astype("float32")
    halves = np.split(x, 2, axis=1)
    want = np.concatenate([np.minimum(*halves), np.maximum(*halves)], 1)
    assert (np.abs(np.array(Householder()(x)) - want) <= lost(x, 2.0**-24)).all()


@pytest.mark.parametrize("k", [1.0, 0.2, 3.0])
def test_householder_keeps_gradients_times_k(k):
    for theta in ([0.0, 0.0, 0.0], [np.pi / 2, np.pi, -1.0], RNG.uniform(-9, 9, 3)):
        layer = turned(theta, (1, 6), k_coef_lip=k)
        for x in (RNG.standard_normal((1, 6)), np.zeros((1, 6)), np.ones((1, 6)), 1e-200 * np.ones((1, 6))):
            np.testing.assert_allclose(np.linalg.svd(jacobian(layer, x), compute_uv=False), k, rtol=1e-13)


def test_no_two_points_of_householder_grow_apart():
    layer = turned(RNG.uniform(-9, 9, 3), (1, 6))
    x = RNG.standard_normal((500, 6))
    y = x + RNG.standard_normal((500, 6)) * 10.0 ** RNG.integers(-6, 1, (500, 1))  # many across a line
    before, after = (np.linalg.norm(a - b, axis=1) for a, b in ((x, y), (np.array(layer(x)), np.array(layer(y)))))
    rounding = sum(np.linalg.norm(lost(points, 2.0**-53), axis=1) for points in (x, y))
    assert (after <= before + rounding).all()
    # One pair in twenty-five lies across a line and comes together: that none of 500 does has a chance of e⁻²⁰.
    assert (after < 0.9 * before).any()


def test_the_angles_of_householder_are_learned():
    layer = turned([0.3, 2.0, -1.0], (1, 6))
    x, weights, theta = RNG.standard_normal((4, 6)), RNG.standard_normal((4, 6)), np.array([0.3, 2.0, -1.0])
    assert layer.trainable_weights == [layer.theta]

    def value(v):
        return ops.sum(layer.stateless_call([v], [], tensor(x, "float64"))[0] * weights)

    (z1, z2), (w1, w2) = np.split(x, 2, axis=1), np.split(weights, 2, axis=1)
    moved = z1 * np.sin(theta / 2) - z2 * np.cos(theta / 2) > 0
    sine, cosine = np.sin(theta), np.cos(theta)
    slope = w1 * (z2 * cosine - z1 * sine) + w2 * (z1 * cosine + z2 * sine)  # of the definition, by hand
    np.testing.assert_allclose(gradient(value, theta), np.sum(moved * slope, axis=0), rtol=0, atol=50 * SINE)


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16"])
def test_householder_in_half_precision(dtype):
    x = RNG.standard_normal((5, 8)).astype("float16")
    got = Householder(dtype=dtype)(x)
    assert keras.backend.standardize_dtype(got.dtype) == "float16"
    x = x.astype("float64")
    assert (np.abs(np.array(got) - reflected(x, np.pi / 2, -1)) <= lost(x, 2.0**-11)).all()


# --- PReLUlip ---


@settings(max_examples=examples(40))
@given(st.sampled_from([0.2, 1.0, 3.0]), st.sampled_from([0.1, 1.0, 10.0]), st.integers(0, 2**16))
def test_prelulip_is_its_definition(k, spread, seed):
    rng = np.random.default_rng(seed)
    x, alpha = rng.standard_normal((4, 2, 3)), spread * rng.standard_normal((2, 3))
    layer = PReLUlip(k, dtype="float64")
    layer.build(x.shape)
    layer.alpha.assign(alpha)  # also beyond the limit
    want = np.where(x > 0, min(1, k) * x, np.clip(alpha, -k, k) * x)
    np.testing.assert_allclose(np.array(layer(x)), want, rtol=1e-15)
    y = np.roll(x, 1, axis=0)
    apart = np.abs(np.array(layer(x)) - np.array(layer(y)))
    # Two products are rounded, and the difference of neighbours hands that on whole.
    assert (apart <= k * (np.abs(x - y) + np.finfo("float64").eps * (np.abs(x) + np.abs(y)))).all()


@pytest.mark.parametrize("k", [0.2, 1.0, 3.0])
def test_prelulips_constant_is_the_larger_slope(k):
    layer = PReLUlip(k, alpha_initializer=keras.initializers.Constant(-99.0), dtype="float64")
    x = np.array([[-1.0, 2.0, 0.0, -1e-300]])
    np.testing.assert_allclose(jacobian(layer, x), np.diag([-k, min(1, k), -k, -k]), rtol=1e-15)


@pytest.mark.parametrize("k", [0.2, 3.0])
def test_slopes_stay_within_k_and_come_back(k):
    layer = PReLUlip(k, alpha_initializer=keras.initializers.Constant(50.0))
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = -np.ones((8, 3))
    model.fit(x, 99 * x, epochs=2, verbose=0)  # wants slopes of 99
    np.testing.assert_allclose(layer.get_weights()[0], k, rtol=1e-6)
    model.fit(x, -99 * x, epochs=1, verbose=0)  # wants -99: on the limit there is a gradient
    assert (layer.get_weights()[0] < k).all()
    assert (layer.get_weights()[0] >= -k).all()


def test_prelulip_with_another_k():
    layer = PReLUlip(2.0, alpha_initializer=keras.initializers.Constant(-1.5))
    x = np.array([[-1.0, 1.0]])
    np.testing.assert_allclose(np.array(layer(x)), [[1.5, 1]])
    layer.set_klip_factor(0.5)
    np.testing.assert_allclose(np.array(layer(x)), [[0.5, 0.5]])
    np.testing.assert_allclose(layer.get_weights()[0], -0.5)
    assert isinstance(layer, LipschitzLayer)
    assert isinstance(layer, keras.layers.PReLU)


def test_nan_slopes_and_entries_show():
    layer = PReLUlip()
    layer.build((None, 2))
    layer.alpha.assign([np.nan, 0.5])
    assert np.isnan(np.array(layer(-np.ones((1, 2))))).tolist() == [[True, False]]
    assert np.isnan(np.array(layer.alpha.constraint(layer.alpha))).tolist() == [True, False]
    assert np.isnan(np.array(layer(np.full((1, 2), np.nan)))).all()
    assert np.isnan(np.array(Householder()(np.array([[np.nan, 1.0]])))).any()


def test_shared_axes():
    x = RNG.standard_normal((2, 4, 5, 3)).astype("float32")
    layer = PReLUlip(alpha_initializer="ones", shared_axes=[1, 2])
    model = keras.Sequential([keras.Input((None, None, 3)), layer])
    assert layer.alpha.shape == (1, 1, 3)
    layer.alpha.assign(np.reshape([0.0, -1.0, 0.5], (1, 1, 3)))
    want = np.where(x > 0, x, x * np.array([0, -1, 0.5], "float32"))
    np.testing.assert_allclose(np.array(model(x)), want, rtol=1e-6)
    assert PReLUlip(shared_axes=1).shared_axes == [1]


@pytest.mark.parametrize(
    "layer",
    [
        Householder(k_coef_lip=0.7, theta_initializer=keras.initializers.RandomUniform(0, 1, seed=3), name="here"),
        Householder(),
        PReLUlip(0.7, alpha_regularizer="l2", name="here"),
        PReLUlip(shared_axes=[1]),
    ],
    ids=["angles", "default angles", "slopes", "shared slopes"],
)
def test_learned_activations_round_trip(layer, tmp_path):
    x = RNG.standard_normal((4, 3, 6)).astype("float32")
    check_round_trips(layer, x, tmp_path / "model.keras")
    json.dumps(layer.get_config())  # it holds nothing but words and numbers
    assert "alpha_constraint" not in layer.get_config()


def test_a_saved_householder_starts_as_it_was_told():
    layer = Householder(theta_initializer="zeros")
    again = Householder.from_config(layer.get_config())
    x = RNG.standard_normal((4, 6)).astype("float32")
    np.testing.assert_allclose(np.array(again(x)), reflected(x, np.zeros(3), -1), atol=1e-6)
    assert Householder().get_config()["theta_initializer"] is None


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: Householder("last"), "data_format"),
        (lambda: Householder(k_coef_lip=0), "k_coef_lip"),
        (lambda: Householder()(np.ones((1, 5))), "even number of channels. Received: 5 channels"),
        (lambda: Householder("channels_first")(np.ones((1, 3, 4))), "even number of channels. Received: 3 channels"),
        (lambda: Householder()(keras.Input((4, None))), "known number of channels"),
        (lambda: PReLUlip(0), "k_coef_lip"),
        (lambda: PReLUlip(alpha_constraint="non_neg"), "expected no `alpha_constraint`"),
        (lambda: PReLUlip(shared_axes=[0]), "`shared_axes` must be axes counted from 1"),
        (lambda: PReLUlip(shared_axes=[-1]), "`shared_axes`"),
        (lambda: PReLUlip(shared_axes=["1"]), "`shared_axes`"),
        (lambda: PReLUlip(shared_axes=[2])(np.ones((2, 3))), r"shared_axes=\[2\]. Received the input shape \(2, 3\)"),
        (lambda: PReLUlip()(keras.Input((None, 3))), "known sizes"),
        (lambda: PReLUlip().build((3,)), "batch axis"),
    ],
)
def test_bad_arguments_of_learned_activations_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [2, 6, 62, 96, 134])
@pytest.mark.parametrize("leading", [(2, 3, 4), (5,)])
def test_pairs_are_sorted_without_rounding(leading, channels, dtype):
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((*leading, channels)) * 10.0 ** rng.integers(-30, 30, (*leading, channels))
    x[0] = np.round(x[0])  # ties
    x[1, ..., :2] = -np.finfo(dtype).max / 4
    x = x.astype(dtype)
    layer = GroupSort2(dtype=dtype)
    np.testing.assert_array_equal(layer(x), sorted_in_groups(x, 2))
    weights = rng.standard_normal(x.shape)
    pulled = gradient(lambda v: keras.ops.sum(keras.ops.cast(layer(v), "float64") * weights), x)
    # Where a pair is swapped, so are the two weights that its gradients get.
    pairs = (-1, channels // 2, 2)
    first, second = x.reshape(pairs)[..., 0], x.reshape(pairs)[..., 1]
    routed = np.where((first > second)[..., None], weights.reshape(pairs)[..., ::-1], weights.reshape(pairs))
    np.testing.assert_array_equal(pulled.reshape(pairs), routed.astype(dtype))


# --- β-Abs ---


@pytest.mark.parametrize(
    ("beta", "channels", "count"), [(0.5, 5, 2), (0.29, 100, 29), (0, 3, 0), (1, 3, 3), (0.3, 1, 0)]
)
def test_magnitudes_of_the_first_channels(beta, channels, count):
    x = RNG.standard_normal((3, 2, channels)).astype("float32")
    want = np.concatenate([np.abs(x[..., :count]), x[..., count:]], axis=-1)
    np.testing.assert_array_equal(np.array(BetaAbs(beta)(x)), want)
    first = BetaAbs(beta, "channels_first")(np.moveaxis(x, -1, 1))
    np.testing.assert_array_equal(np.moveaxis(np.array(first), 1, -1), want)
    np.testing.assert_allclose(np.array(BetaAbs(beta, k_coef_lip=0.3)(x)), 0.3 * want, rtol=2e-7)


def test_signs_keep_the_norm_of_gradients_also_at_0_and_nan_stays_nan():
    x = np.array([[0.0, -1.0, 2.0, 0.0, -3.0, 1.0]])
    matrix = jacobian(BetaAbs(dtype="float64"), x)
    np.testing.assert_array_equal(np.abs(matrix), np.eye(6))
    np.testing.assert_array_equal(np.diagonal(matrix), [-1, -1, 1, 1, 1, 1])
    assert np.isnan(np.array(BetaAbs()(np.array([[np.nan, np.nan]], "float32")))).all()


def test_signs_between_rotations_sort_pairs():
    x = RNG.standard_normal((20, 2))
    turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)  # from (a, b) to their difference and their sum
    found = np.array(BetaAbs(0.5, dtype="float64")(x @ turn)) @ turn.T
    np.testing.assert_allclose(np.sort(found, axis=1), np.sort(x, axis=1), atol=1e-12)
    np.testing.assert_allclose(found[:, 0], x.max(axis=1), atol=1e-12)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan"), True, "half", None])
def test_a_share_that_is_none_is_refused(beta):
    with pytest.raises(ValueError, match="`beta` must be a number from 0 to 1"):
        BetaAbs(beta)
