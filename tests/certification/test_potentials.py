"""Residual blocks of plain models that are gradient steps of potentials, against Jacobians in float64."""

import keras
import numpy as np
import pytest

from lipviz import certify, vanillaModel
from lipviz.certification.computation import computation
from lipviz.certification.potentials import block_before, multiple_of_identity
from lipviz.layers import SLLConv2D, SLLDense
from lipviz.operators.linear import Diagonal
from lipviz.operators.singular_values import explicit_matrix

K = keras.layers
RNG = np.random.default_rng(0)


def upper(model, **arguments):
    return certify(model, search=False, **arguments).upper_bound


def dense_block(w, back, activation="relu", subtracts=False, bias=None):
    """x + G φ(Wᵀx + b) of plain layers, with W of shape (inputs, hidden) and G of shape (inputs, hidden)."""
    x = keras.Input((w.shape[0],))
    there, behind = K.Dense(w.shape[1], activation), K.Dense(w.shape[0])
    value = behind(there(x))
    model = keras.Model(x, K.Subtract()([x, value]) if subtracts else K.Add()([value, x]))
    there.kernel.assign(w)
    there.bias.assign(RNG.standard_normal(w.shape[1]) if bias is None else bias)
    behind.kernel.assign(-back.T if subtracts else back.T)
    behind.bias.assign(RNG.standard_normal(w.shape[0]))
    return model


def largest_jacobian(w, back, low, high, draws=200):
    """The largest norm of I + G D Wᵀ over random D, and those at the ends."""
    found = []
    for number in range(draws):
        d = RNG.uniform(low, high, w.shape[1]) if number % 2 else RNG.choice([low, high], w.shape[1])
        found.append(np.linalg.norm(np.eye(len(w)) + (back * d) @ w.T, 2))
    found += [np.linalg.norm(np.eye(len(w)) + (back * d) @ w.T, 2) for d in (low, high)]
    return max(found)


@pytest.mark.covered_by_day
@pytest.mark.parametrize("subtracts", [False, True])
@pytest.mark.parametrize(
    ("activation", "low", "high"), [("relu", 0, 1), ("leaky_relu", 0.2, 1), ("gelu", -0.129, 1.129)]
)
@pytest.mark.parametrize("scale", [0.3, 1.0, 1.5])
def test_the_bound_is_that_of_the_formula_and_no_jacobian_exceeds_it(subtracts, activation, low, high, scale):
    w = RNG.standard_normal((5, 4))
    w = scale * w / np.linalg.norm(w, 2)
    weights = RNG.uniform(0.5, 2, 4)
    w = w.astype("float32").astype(float)
    back = (-w * weights).astype("float32").astype(float)
    found = upper(dense_block(w, back, activation, subtracts))
    square = np.linalg.norm(w * np.sqrt(weights), 2) ** 2
    expected = max(1 - min(low, 0) * square, high * square - 1)
    assert found == pytest.approx(expected, rel=1e-3 if activation == "gelu" else 1e-6)
    assert largest_jacobian(w, back, low, high) <= found


@pytest.mark.parametrize(
    ("change", "is_block"),
    [("none", True), ("small", True), ("sign", False), ("other", False), ("zero", True)],
)
def test_a_way_back_that_is_no_transpose_is_no_block(change, is_block):
    w = RNG.standard_normal((5, 4)).astype("float32").astype(float) / 4
    back = {
        "none": -w,
        "small": -w + 1e-4 * RNG.standard_normal(w.shape),
        "sign": w,
        "other": RNG.standard_normal(w.shape),
        "zero": 0 * w,
    }[change]
    model = dense_block(w, back)
    read = computation(model)
    block = block_before(read.nodes, read.outputs[0])
    assert (block is not None) == is_block
    if block is not None:
        assert block.start == 0
        assert largest_jacobian(w, back, 0, 1) <= block.bound <= 1.01
        assert len(block.nodes) == 4


def test_a_hand_written_block_of_the_paper_has_the_constant_1():
    """x − 2W T⁻¹ σ(Wᵀx + b), with T from weights q, as in Araujo et al. (2023)."""
    w, q = RNG.standard_normal((6, 4)), RNG.uniform(0.1, 2, 4)
    t = (np.abs(w.T @ w) * q).sum(axis=1) / q
    model = dense_block(w, -2 * w / t)
    assert 1 <= upper(model) <= 1 + 1e-6  # its kernels are rounded to float32
    assert upper(model, method="product") > 1.5


def test_every_export_of_a_block_has_its_constant():
    for block, shape in (
        (SLLDense(9, k_coef_lip=0.3), (4,)),
        (SLLDense(2, "tanh"), (3, 4)),
        (SLLConv2D(5, (3, 2), k_coef_lip=2.0), (4, 5, 3)),
        (SLLDense(40, k_coef_lip=2.0), (9, 9, 30)),  # whose matrix would be too large
        (SLLConv2D(24, 3, data_format="channels_last"), (14, 14, 16)),
    ):
        model = keras.Sequential([keras.Input(shape), block])
        block.kernel.assign(RNG.standard_normal(block.kernel.shape))
        assert upper(vanillaModel(model)) <= block.k_coef_lip * (1 + 1e-7)  # Keras rounds k to float32


def test_blocks_in_sequence_have_the_product():
    model = keras.Sequential([keras.Input((6,)), SLLDense(8), SLLDense(3, "tanh"), SLLDense(5, k_coef_lip=2.0)])
    plain = vanillaModel(model)
    assert upper(plain) <= 2 * (1 + 1e-9)
    assert upper(plain, method="product") > 3
    found = certify(plain, search=False)
    assert [row.method for row in found.stretches] == 3 * ["convex potential"]
    assert upper(plain, norm=1) == upper(plain, norm=1, method="product")


def test_multiples_of_the_identity():
    x = keras.Input((3,))
    read = computation(keras.Model(x, K.Subtract()([K.Identity()(x), x])))
    form = read.nodes[read.outputs[0]].form
    assert [multiple_of_identity(part) for part in form.parts] == [1.0, -1.0]
    swapped = computation(keras.Model(x, keras.ops.flip(x, axis=-1))).nodes[-1].form.parts[0]
    assert multiple_of_identity(swapped) is None
    assert multiple_of_identity(Diagonal(np.array([1.0, 2.0]))) is None
    assert np.array_equal(explicit_matrix(swapped), np.eye(3)[::-1])


@pytest.mark.parametrize(("factors", "is_block"), [([0.1] * 4, True), ([0.1, 0.1, 0.1, 0.1001], False)])
def test_factors_that_a_backend_rounds_one_by_one_make_no_block(factors, is_block):
    """Used factors may be smaller than those of the form: by one share in all entries, or by several."""
    w = RNG.standard_normal((4, 5)).astype("float32").astype(float)
    x = keras.Input((4,))
    there, behind = K.Dense(5, "relu"), K.Dense(4)
    model = keras.Model(x, x + K.Rescaling(factors)(behind(there(x))))
    there.kernel.assign(w)
    behind.kernel.assign(-w.T)
    read = computation(model)
    block = block_before(read.nodes, read.outputs[0])
    assert (block is not None) == is_block
    if block is not None:
        for used in (0.1, float(np.float32(0.1))):
            assert largest_jacobian(w, -used * w, 0, 1) <= block.bound
