"""Affine steps as one map: the map is that of the steps, and its sums bound those of its matrix."""

import keras
import numpy as np
import pytest
import scipy.sparse
from keras import layers as kl
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from lipviz.certification.computation import computation
from lipviz.certification.joint import Joint, Joints, sums_of
from lipviz.operators.convolution import Convolution
from lipviz.operators.linear import Diagonal
from lipviz.operators.singular_values import explicit_matrix

RNG = np.random.default_rng(0)
CONVOLUTION = Convolution(RNG.normal(size=(3, 3, 2, 2)), (4, 4), padding="same")
MATRIX = RNG.normal(size=(32, 32))
OPERATORS = {
    "a convolution": (CONVOLUTION, 1),
    "its transpose": (CONVOLUTION.T, 1),
    "a matrix": (aslinearoperator(MATRIX), 1),
    "its transpose as SciPy makes it": (aslinearoperator(MATRIX).T, 1),
    "a diagonal": (Diagonal(RNG.normal(size=32)), 1),
    "a multiple of the identity": (Diagonal(np.full(32, -2.0)), 0),
    "a selection": (aslinearoperator(scipy.sparse.csr_array(np.eye(40, 32))), 0),
    "copies": (aslinearoperator(scipy.sparse.csr_array(np.ones((3, 1)))), 1),
    "a product": (aslinearoperator(MATRIX) @ CONVOLUTION, 2),
    "a multiple": (0.5 * CONVOLUTION, 1),
    "a sum": (Diagonal(np.ones(32)) + CONVOLUTION, 2),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_sums_bound_those_of_the_matrix(name):
    operator, mixing = OPERATORS[name]
    sums, matrix = sums_of(operator), explicit_matrix(operator)
    assert np.abs(matrix).sum(axis=0).max() <= sums.columns * (1 + 1e-12)
    assert np.abs(matrix).sum(axis=1).max() <= sums.rows * (1 + 1e-12)
    assert sums.mixing == mixing
    assert 0 < sums.error(2) < 1e-11 * (sums.columns + sums.rows)


def test_an_operator_of_unknown_parts_has_no_sums():
    unknown = LinearOperator((2, 2), matvec=lambda x: x, dtype=np.float64)
    for operator in (unknown, unknown @ Diagonal(np.ones(2)), 2 * unknown, unknown + unknown):
        assert sums_of(operator) is None
        joint = Joint(operator, (1,), 1)
        assert not joint.fits
        assert joint.bound(2) == np.inf


def test_steps_that_meet_are_one_map():
    x = keras.Input((3, 4))
    y = kl.Flatten()(x)
    z = kl.Add()([kl.Dense(12)(y), y])
    model = keras.Model(x, kl.Subtract()([z, kl.Dense(12)(kl.Reshape((12,))(x))]))
    found = computation(model)
    joints = Joints(found)
    (number,) = found.outputs
    ((start, joint),) = joints.of(number).items()
    assert start == 0
    kernels = [np.asarray(layer.kernel, float) for layer in model.layers if isinstance(layer, kl.Dense)]
    np.testing.assert_allclose(joint.matrix, (kernels[0] + np.eye(12) - kernels[1]).T, atol=1e-12)
    assert {found.nodes[n].kind for n in joint.nodes} == {"Flatten", "Dense", "Add", "Reshape", "Subtract"}


def test_a_long_sum_is_cut_before_it_doubles_at_every_step():
    x = y = keras.Input((2,))
    for _ in range(20):
        y = kl.Add()([y, kl.Dense(2)(y)])
    found = computation(keras.Model(x, y))
    joints = Joints(found)
    assert max(joint.length for node in range(1, len(found.nodes)) for joint in joints.of(node).values()) <= 70


def test_differences_are_those_of_rows():
    joint = Joint(aslinearoperator(MATRIX[:3]), (1,), 1)
    expected = np.linalg.norm(MATRIX[:3, None] - MATRIX[:3], axis=-1)
    found = joint.differences()
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert (found >= expected).all()
    assert Joint(aslinearoperator(MATRIX[:1]), (1,), 1).differences()[0, 0] == pytest.approx(np.linalg.norm(MATRIX[0]))
