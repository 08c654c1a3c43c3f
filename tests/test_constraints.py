"""Constraints: what they promise in float64, on friendly and nasty kernels, and their life in a layer."""

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops

from lipviz import constraints
from tests.support import examples, kernels, singular_values, tensor

ALL = (
    constraints.WeightClipConstraint(0.5),
    constraints.AutoWeightClipConstraint(2.0),
    constraints.FrobeniusConstraint(1e-3),
    constraints.SpectralConstraint(2.0, eps_bjorck=None, u=np.ones((1, 2))),
)


def applied(constraint, w, dtype="float32"):
    return np.asarray(ops.convert_to_numpy(ops.cast(constraint(tensor(w, dtype)), "float32")), np.float64)


@pytest.mark.slow
@hypothesis.settings(max_examples=examples(25))
@hypothesis.given(kernels((1, 2, 24)), st.sampled_from([0.3, 1.0, 7.0]), st.booleans())
def test_spectral_is_at_most_k(w, k, orthogonal):
    constraint = constraints.SpectralConstraint(k, eps_bjorck=1e-3 if orthogonal else None)
    assert singular_values(applied(constraint, w))[0] <= k


@hypothesis.settings(max_examples=examples(60))
@hypothesis.given(kernels((1, 2, 5, 24)))
def test_frobenius_is_at_most_one(w):
    assert np.linalg.norm(applied(constraints.FrobeniusConstraint(), w)) <= 1


@hypothesis.settings(max_examples=examples(30))
@hypothesis.given(kernels((1, 5, 24)), st.sampled_from([0.3, 1.0, 7.0]))
def test_clipping_is_that_of_numpy(w, c):
    np.testing.assert_array_equal(
        applied(constraints.WeightClipConstraint(c), w), np.clip(np.float32(w), -np.float32(c), np.float32(c))
    )
    clipped = applied(constraints.AutoWeightClipConstraint(c), w)
    bound = 1 / (np.sqrt(w.size) * c)
    np.testing.assert_allclose(clipped, np.clip(np.float32(w), -bound, bound), rtol=2e-6)
    assert np.linalg.norm(clipped) <= 1 / c


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(9, 4), (3, 3, 2, 4), (64, 64)])
def test_bounds_survive_rounding_to_half_precision(dtype, shape):
    w = np.random.default_rng(0).standard_normal(shape)
    assert singular_values(applied(constraints.SpectralConstraint(), w, dtype))[0] <= 1
    assert np.linalg.norm(applied(constraints.FrobeniusConstraint(), w, dtype)) <= 1
    assert np.linalg.norm(applied(constraints.AutoWeightClipConstraint(), 100 * w, dtype)) <= 1


def test_spectral_reaches_k_with_every_singular_value():
    w = np.random.default_rng(0).standard_normal((3, 3, 2, 6))
    values = singular_values(applied(constraints.SpectralConstraint(3.0), w))
    np.testing.assert_allclose(values, 3.0, rtol=1e-3)


def test_spectral_starts_its_power_iteration_where_it_is_told():
    w = np.diag([1.0, 0.999, 0.5])
    first = applied(constraints.SpectralConstraint(eps_bjorck=None, u=np.array([[1.0, 0.0, 0.0]])), w)
    np.testing.assert_allclose(singular_values(first), [1.0, 0.999, 0.5], rtol=1e-5)


@pytest.mark.parametrize("constraint", ALL, ids=lambda c: type(c).__name__)
def test_zero_stays_zero_and_finite(constraint):
    np.testing.assert_array_equal(applied(constraint, np.zeros((3, 2))), np.zeros((3, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(value):
    w = np.array([[value, 1.0], [1.0, 1.0]])
    for constraint in (constraints.FrobeniusConstraint(), constraints.SpectralConstraint()):
        assert np.isnan(applied(constraint, w)).any()


def test_frobenius_divides_by_norm_plus_eps():
    w = np.array([[3.0, 4.0]])
    np.testing.assert_allclose(applied(constraints.FrobeniusConstraint(5.0), w), w / 10, rtol=1e-5)
    np.testing.assert_allclose(applied(constraints.FrobeniusConstraint(), 1e-20 * w), 1e-13 * w, rtol=1e-5)


@pytest.mark.parametrize("constraint", ALL, ids=lambda c: type(c).__name__)
def test_config_round_trip(constraint):
    copy = keras.constraints.deserialize(keras.constraints.serialize(constraint))
    assert type(copy) is type(constraint)
    assert copy.get_config() == constraint.get_config()
    w = np.random.default_rng(0).standard_normal((3, 2))
    np.testing.assert_array_equal(applied(copy, w), applied(constraint, w))


def test_a_layer_trains_under_them_and_is_saved(tmp_path):
    x, y = np.random.default_rng(0).standard_normal((2, 32, 4)).astype("float32")
    layers = [keras.layers.Dense(4, kernel_constraint=constraint) for constraint in ALL[:3]]
    layers.append(keras.layers.Dense(2, kernel_constraint=ALL[3]))
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(4, bias_constraint=ALL[0])])
    model.compile(keras.optimizers.Adam(0.5), "mse", run_eagerly=True)
    model.fit(x, y, verbose=0)
    kernels = [ops.convert_to_numpy(layer.kernel).astype(np.float64) for layer in model.layers]
    assert np.abs(kernels[0]).max() <= 0.5
    assert np.linalg.norm(kernels[1]) <= 0.5
    assert np.linalg.norm(kernels[2]) <= 1
    # Without Björck the bound of σ1 is at most that of six squarings, σ1 · rank^(1/256).
    assert 2 * 2 ** (-1 / 256) * (1 - 1e-5) < singular_values(kernels[3])[0] <= 2
    assert np.abs(ops.convert_to_numpy(model.layers[4].bias)).max() <= 0.5

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    found = [layer.kernel_constraint.get_config() for layer in loaded.layers[:4]]
    assert found == [constraint.get_config() for constraint in ALL]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constraints.WeightClipConstraint(0), "`c` must be a positive finite number"),
        (lambda: constraints.WeightClipConstraint("2"), "`c` must be"),
        (lambda: constraints.AutoWeightClipConstraint(-1), "`scale` must be"),
        (lambda: constraints.FrobeniusConstraint(float("inf")), "`eps` must be"),
        (lambda: constraints.SpectralConstraint(0), "`k_coef_lip` must be"),
        (lambda: constraints.SpectralConstraint(eps_spectral=0), "`eps_spectral` must be"),
        (lambda: constraints.SpectralConstraint(eps_bjorck=-1), "`eps_bjorck` must be"),
        (lambda: constraints.SpectralConstraint(beta_bjorck=0.6), "`beta` of Björck must lie"),
        (lambda: constraints.SpectralConstraint(u=[1.0, 2.0]), r"of shape \(1, out\)"),
        (lambda: constraints.SpectralConstraint()(np.ones(3)), "two axes or more"),
        (lambda: constraints.SpectralConstraint(u=[[1.0, 2.0]])(np.ones((3, 3))), r"must have the shape \(1, 3\)"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
