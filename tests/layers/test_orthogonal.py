"""Orthogonal layers by the Cayley transform and by block reflectors, against their formulas in float64 NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lipviz import certify
from lipviz import normalizers as nm
from lipviz.layers import AOCConv2D, BRODense, CayleyDense
from lipviz.normalizers import orthogonal
from lipviz.operators.precision import float64_scope
from tests.support import (
    examples,
    finite_differences,
    gradient,
    kernels,
    make_kernel,
    singular_values,
    tensor,
    with_spectrum,
)

RNG = np.random.default_rng(0)
SHAPES = [(5, 3), (3, 5), (4, 4), (1, 6), (1, 1)]
shapes = pytest.mark.parametrize("shape", SHAPES)


def in_float64(function, w, *arguments):
    with float64_scope():
        return np.array(function(tensor(w, "float64"), *arguments))


def transformed(w):
    """The Cayley transform in NumPy."""
    if w.shape[0] < w.shape[1]:
        return transformed(w.T).T
    n = w.shape[1]
    skew = w[:n] - w[:n].T + w[n:].T @ w[n:]
    inverse = np.linalg.inv(np.eye(n) + skew)
    return np.concatenate([(np.eye(n) - skew) @ inverse, -2 * w[n:] @ inverse])


def reflected(v, rows, columns, eps):
    """The block reflector in NumPy, and the step of Björck that follows, which ε makes visible."""
    epsilon = eps * np.square(v).sum() / v.shape[1]
    whole = np.eye(len(v)) - 2 * v @ np.linalg.inv(v.T @ v + epsilon * np.eye(v.shape[1])) @ v.T
    q = whole[:rows, :columns]
    return 1.5 * q - 0.5 * q @ q.T @ q


# --- Cayley ---


@shapes
def test_the_formula_of_the_transform(shape):
    w = RNG.standard_normal(shape)
    np.testing.assert_allclose(in_float64(nm.cayley, w), transformed(w), atol=1e-13)


@given(kernels())
@settings(max_examples=examples(25))
def test_every_transform_is_orthogonal_and_no_norm_exceeds_1(w):
    values = singular_values(np.array(nm.cayley(tensor(w))))
    assert 1 - 1e-5 < values[-1] <= values[0] <= 1


def test_square_transforms_are_rotations_and_zero_is_the_identity():
    for seed in range(3):
        found = in_float64(nm.cayley, make_kernel("gaussian", (4, 4), 1.0, seed))
        assert np.linalg.det(found) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(in_float64(nm.cayley, np.zeros((5, 3))), np.eye(5, 3), atol=1e-13)


# --- block reflectors ---


@shapes
@pytest.mark.parametrize("eps", [1e-9, 0.1])
def test_the_formula_of_the_reflector(shape, eps):
    v = RNG.standard_normal((max(shape), max(max(shape) // 2, 1)))
    np.testing.assert_allclose(in_float64(nm.block_reflector, v, *shape, eps), reflected(v, *shape, eps), atol=1e-12)


@given(kernels((1, 2, 5, 8)), st.integers(1, 8), st.booleans())
@settings(max_examples=examples(25))
def test_no_reflector_has_a_norm_above_1(v, other, is_wide):
    v = v if v.shape[0] >= v.shape[1] else v.T
    shape = (min(other, len(v)), len(v))
    found = np.array(nm.block_reflector(tensor(v), *(shape if is_wide else shape[::-1])))
    assert np.isfinite(found).all()
    assert singular_values(found)[0] <= 1


@pytest.mark.parametrize("rank", [16, 32, 64])
@pytest.mark.parametrize("distance", [1e-5, 1e-3, 1e-2])
def test_columns_that_are_nearly_parallel_give_no_norm_above_1(rank, distance):
    """The Gram matrix is then singular up to rounding."""
    rng = np.random.default_rng(0)
    for directions in (np.ones((64, rank)), rng.standard_normal((64, 1)) * rng.standard_normal((1, rank))):
        v = directions + distance * rng.standard_normal((64, rank))
        assert singular_values(np.array(nm.block_reflector(tensor(v), 64, 64)))[0] <= 1


@pytest.mark.parametrize("shape", [(64, 64), (128, 32)])
def test_the_least_epsilon_is_five_times_what_rounding_needed(monkeypatch, shape):
    """Without it, norms of 1e5 were measured; so worst cases are given a reserve. See `normalizers.orthogonal`."""
    monkeypatch.setattr(orthogonal, "_ROUNDING", orthogonal._ROUNDING / 5)
    rng = np.random.default_rng(0)
    half = rng.standard_normal((shape[0], shape[1] // 2)) @ rng.standard_normal((shape[1] // 2, shape[1]))
    for v in (
        rng.standard_normal(shape),
        np.ones(shape) + 1e-3 * rng.standard_normal(shape),
        np.ones(shape) + 1e-5 * rng.standard_normal(shape),
        rng.standard_normal((shape[0], 1)) * rng.standard_normal((1, shape[1])),
        half,
        with_spectrum(shape, np.logspace(0, -6, shape[1])),
    ):
        assert singular_values(np.array(nm.block_reflector(tensor(v), shape[0], shape[0])))[0] <= 1


def test_a_singular_value_of_a_tenth_leaves_a_reflector_orthogonal():
    v = with_spectrum((256, 64), np.array([0.1, *np.ones(63)]))
    assert singular_values(np.array(nm.block_reflector(tensor(v), 256, 256)))[-1] >= 1 - 1e-5


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_reflectors_are_orthogonal_where_the_columns_are_independent(rank):
    v = with_spectrum((6, rank), np.linspace(0.5, 1, rank))
    found = in_float64(nm.block_reflector, v, 6, 6, 1e-9)
    np.testing.assert_allclose(found @ found, np.eye(6), atol=1e-12)
    assert np.trace(found) == pytest.approx(6 - 2 * rank, abs=1e-7)
    np.testing.assert_allclose(found @ v, -v, atol=1e-7)


# --- both ---


@pytest.mark.parametrize("function", [nm.cayley, lambda v: nm.block_reflector(v, 4, 3), lambda v: nm.cayley(30 * v)])
def test_gradients(function):
    w, weights = RNG.standard_normal((4, 2)), RNG.standard_normal((4, 3))

    def value(v):
        found = function(ops.convert_to_tensor(v))
        return ops.sum(found * weights[:, : found.shape[1]])

    with float64_scope():
        np.testing.assert_allclose(gradient(value, w), finite_differences(value, w), atol=1e-6)


@pytest.mark.parametrize("cls", [CayleyDense, BRODense])
@pytest.mark.parametrize("inputs", [3, 6])
def test_a_layer_is_orthogonal_after_a_step_and_condensing_changes_nothing(cls, inputs):
    layer = cls(4, k_coef_lip=0.7)
    layer.build((None, inputs))
    layer.kernel.assign(layer.kernel + RNG.standard_normal(layer.kernel.shape))
    kernel, x = np.array(layer.kernel), tensor(RNG.standard_normal((2, inputs)))
    before = np.array(layer(x))
    layer.condense()
    np.testing.assert_array_equal(np.array(layer.kernel), kernel)
    np.testing.assert_allclose(np.array(layer(x)), before, atol=1e-6)
    np.testing.assert_allclose(np.array(layer.vanilla_export()(x)), before, atol=1e-6)
    assert layer.wbar.shape == (inputs, 4)
    np.testing.assert_allclose(singular_values(layer.wbar), 0.7, rtol=1e-5)
    assert singular_values(layer.wbar)[0] <= 0.7 * (1 + 1e-13)
    assert certify(layer, (inputs,), search=False).upper_bound <= 0.7 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("inputs", "units", "rank", "expected"), [(8, 4, None, (8, 2)), (2, 3, None, (3, 1)), (2, 6, 6, (6, 6))]
)
def test_the_raw_kernel_of_a_reflector_has_the_shape_of_v(inputs, units, rank, expected):
    layer = BRODense(units, rank_reflector=rank)
    layer.build((None, inputs))
    assert layer.kernel.shape == expected
    assert layer.get_config()["rank_reflector"] == rank
    if rank == 6:
        np.testing.assert_allclose(np.array(layer.wbar), -np.eye(inputs, units), atol=1e-5)


def test_what_a_reflector_cannot_take_is_said():
    for rank in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="rank_reflector"):
            BRODense(3, rank_reflector=rank)
    with pytest.raises(ValueError, match="at most 4, the larger number of inputs and outputs"):
        BRODense(3, rank_reflector=5).build((None, 4))
    with pytest.raises(ValueError, match="eps_reflector"):
        BRODense(3, eps_reflector=0.0)


@pytest.mark.parametrize("entry", [np.nan, np.inf])
@pytest.mark.parametrize("convolution", [False, True])
def test_a_training_that_diverges_gives_nan_and_no_error(entry, convolution):
    """As with other layers: the loss shows it, and callbacks such as TerminateOnNaN end the training."""
    layers = [AOCConv2D(3, 3)] if convolution else [CayleyDense(3), BRODense(3)]
    shape = (None, 4, 4, 2) if convolution else (None, 2)
    for layer in layers:
        layer.build(shape)
        layer.kernel.assign(np.full(layer.kernel.shape, entry))
        assert np.isnan(np.array(layer(np.ones((1, *shape[1:]), "float32"), training=True))).all()
