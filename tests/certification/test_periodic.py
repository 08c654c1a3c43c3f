"""Bounds of chains of convolutions by frequencies: at least what the chain attains, near what its matrices give."""

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

from lipviz.certification import periodic, semidefinite
from lipviz.operators.convolution import Convolution
from lipviz.operators.linear import Diagonal
from lipviz.operators.singular_values import explicit_matrix

ROUTES = {  # strides, padding, dilations and kernel sizes of two convolutions of images of 7 × 6 or 8 × 8 pixels
    "same": ((8, 8), [(3, 1, "same", 1), (3, 1, "same", 1)]),
    "strides": ((8, 8), [(3, 2, "same", 1), (2, 2, "valid", 1)]),
    "odd sizes": ((7, 6), [(3, 2, "same", 1), (3, 1, "valid", 1)]),
    "dilations": ((7, 6), [(2, 1, "same", 2), (3, 1, "same", 1)]),
}

LOOSE = {"odd sizes": 1.8}  # its last image has two pixels, and the torus 36


def convolutions(name, seed=0):
    sizes, plan = ROUTES[name]
    rng = np.random.default_rng(seed)
    channels, found = [2, 3, 2], []
    for (size, stride, padding, dilation), before, after in zip(plan, channels, channels[1:], strict=False):
        kernel = rng.normal(size=(size, size, before, after))
        found.append(Convolution(kernel, sizes, (stride,) * 2, padding, (dilation,) * 2))
        sizes = found[-1].counts
    return found


def steps(operators, shape, slopes):
    found = []
    for number, operator in enumerate(operators):
        found += periodic.image_steps(operator, shape)
        shape = operator.output_shape
        if number < len(operators) - 1:
            found.append(periodic.Slopes(*(np.full(shape[-1], slope) for slope in slopes)))
    return found


def attained(matrices, slopes, seed=0):
    """The largest norm of the product of matrices with drawn slopes between them."""
    rng = np.random.default_rng(seed)
    best = 0.0
    for _ in range(40):
        product = matrices[0]
        for w in matrices[1:]:
            product = w @ (rng.choice(slopes, len(product))[:, None] * product)
        best = max(best, np.linalg.norm(product, 2))
    return best


def by_matrices(matrices, slopes):
    sizes = [len(w) for w in matrices[:-1]]
    chain = semidefinite.Chain(
        tuple(matrices), (0.0,) * len(matrices), tuple(tuple(np.full(n, s) for s in slopes) for n in sizes)
    )
    scaled, exponent = chain.scaled()
    shape = semidefinite.proved_shape(scaled, semidefinite.fast(scaled))
    return semidefinite.norm_of(shape.squares(scaled.matrices[-1])) * 2.0**exponent


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.13, 1.13)])
@pytest.mark.parametrize("name", ROUTES)
def test_the_bound_of_two_convolutions_holds_and_is_near_that_of_their_matrices(name, slopes):
    first, second = convolutions(name)
    found = periodic.Covariance(steps([first, second], first.input_shape, slopes), first.input_shape).norm()
    matrices = [explicit_matrix(first), explicit_matrix(second)]
    product = np.prod([np.linalg.norm(w, 2) for w in matrices]) * slopes[1]
    assert attained(matrices, slopes) <= found
    assert by_matrices(matrices, slopes) * 0.97 <= found <= by_matrices(matrices, slopes) * LOOSE.get(name, 1.2)
    assert found < LOOSE.get(name, 1.02) * product


@pytest.mark.parametrize("name", ROUTES)
def test_a_matrix_behind_convolutions_takes_their_covariance(name):
    (first, _), slopes = convolutions(name), (0.0, 1.0)
    parts = [*steps([first], first.input_shape, slopes), periodic.Slopes(np.zeros(3), np.ones(3))]
    w = np.random.default_rng(3).normal(size=(4, first.shape[0]))
    factor = periodic.Covariance(parts, first.input_shape).factor(w, 0.0, first.output_shape)
    found, matrices = np.linalg.norm(factor, 2), [explicit_matrix(first), w]
    assert attained(matrices, slopes) <= found
    assert by_matrices(matrices, slopes) * 0.97 <= found <= by_matrices(matrices, slopes) * 1.2


def test_without_functions_the_covariance_is_that_of_the_periodic_convolution():
    (first, _) = convolutions("strides")
    state = periodic.Covariance(periodic.image_steps(first, first.input_shape), first.input_shape)
    w = np.random.default_rng(3).normal(size=(4, first.shape[0]))
    factor = state.factor(w, 0.0, first.output_shape)
    # Periodic in a torus with room, it has the entries of a longer image: rows of W inside see no border.
    inside = w.reshape(4, *first.output_shape).copy()
    inside[:, [0, -1]] = inside[:, :, [0, -1]] = 0
    whole = state.factor(inside.reshape(4, -1), 0.0, first.output_shape)
    matrix = inside.reshape(4, -1) @ explicit_matrix(first)
    np.testing.assert_allclose(whole @ whole.T, matrix @ matrix.T, rtol=1e-8, atol=1e-8)
    assert np.linalg.eigvalsh(factor @ factor.T - (w @ explicit_matrix(first)) @ (w @ explicit_matrix(first)).T)[0] > 0


def test_convolutions_without_a_function_between_are_cut_off_at_the_border():
    first, second = convolutions("same")
    found = periodic.image_steps(second @ Diagonal(np.tile([1.0, 2.0, 0.5], 64)) @ first, first.input_shape)
    assert [type(step).__name__ for step in found] == ["Kernel", "Slopes", "Scale", "Kernel"]
    norm = periodic.Covariance(found, first.input_shape).norm()
    scaled = np.tile([1.0, 2.0, 0.5], 64)[:, None] * explicit_matrix(first)
    assert np.linalg.norm(explicit_matrix(second) @ scaled, 2) <= norm


def test_a_pooling_before_a_convolution_needs_no_cut():
    pool = Convolution(np.full((2, 2, 1, 2), 0.25), (8, 8), (2, 2), groups=2)
    behind = Convolution(np.ones((3, 3, 2, 1)), (4, 4), padding="same")
    found = periodic.image_steps(behind @ pool, pool.input_shape)
    assert [type(step).__name__ for step in found] == ["Kernel", "Kernel"]
    norm = periodic.Covariance(found, pool.input_shape).norm()
    assert np.linalg.norm(explicit_matrix(behind @ pool), 2) <= norm


def test_other_operators_are_no_image_steps():
    assert periodic.image_steps(aslinearoperator(np.eye(8)), (2, 2, 2)) is None
    assert periodic.image_steps(Diagonal(np.arange(8.0)), (2, 2, 2)) is None


def test_what_proves_nothing_is_refused():
    first, second = convolutions("same")
    for scale in (0.0, 1e-200, 1e200, np.nan):
        scaled = first.with_kernel(scale * first.kernel)
        parts = steps([scaled, second], first.input_shape, (0.0, 1.0))
        with np.errstate(all="ignore"), pytest.raises((periodic.PeriodicError, np.linalg.LinAlgError)):
            periodic.Covariance(parts, first.input_shape)
    huge = Convolution(np.ones((3, 3, 8, 64)), (256, 256), padding="same")
    parts = periodic.image_steps(huge, huge.input_shape)
    with pytest.raises(periodic.PeriodicError, match="too many"):
        periodic.Covariance(parts, huge.input_shape)
