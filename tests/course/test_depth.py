"""Exercises of lesson 05: values by another way, wrong functions, and what explanations claim."""

import keras
import numpy as np
import pytest

from lipviz import course, measure
from lipviz.course import depth
from lipviz.layers import InvertibleDownSampling


def test_a_thousandth_is_left_after_so_many_layers():
    left, layers = 1.0, 0
    while left >= 1e-3:
        left, layers = left * 0.5**0.5, layers + 1
    assert course.exercise("depth.vanish").solution == layers
    assert f"{0.5**25:.0e}" in course.exercise("depth.vanish").explanation


def test_random_relu_networks_do_what_the_exercise_says():
    """Half of the channels are on: of the square of a gradient, ½ passes on average.

    Spread evenly over all directions of n channels, what passes has the relative variance v = 3 / (n + 2). So its
    logarithm is lower than that of ½ by v/2 on average. The share of one gradient over 20 layers has the relative
    standard deviation √(v/20) / 2, and the median over several has less.
    """
    draws, layers, variance = 40, 20, 3 / (64 + 2)
    medians = [measure.gradient_depth(("relu",), (layers,), 64, seed=seed).median[0, 0] for seed in range(draws)]
    expected = 0.5**0.5 * np.exp(-variance / 4)
    error = expected * np.sqrt(variance / layers) / 2 / np.sqrt(draws)
    assert np.mean(np.power(medians, 1 / layers)) == pytest.approx(expected, abs=3 * error)


def test_so_many_directions_are_lost():
    pooling = keras.layers.AveragePooling2D(2)
    pixels = np.eye(64).reshape(64, 8, 8, 1)
    matrix = keras.ops.convert_to_numpy(pooling(pixels)).reshape(64, 16)
    assert course.exercise("depth.lost").solution == 64 - np.linalg.matrix_rank(matrix)
    checkerboard = (-1.0) ** np.indices((8, 8)).sum(axis=0).ravel()
    assert np.abs(checkerboard @ matrix).max() == 0


@pytest.mark.slow
def test_the_explorer_gives_the_answer_of_the_leak():
    from lipviz.explorers import GradientDepthExplorer

    explorer = GradientDepthExplorer()
    shares = {}
    for first in ("leaky_relu", "relu"):
        explorer.state = {"network": "random", "first": first, "second": "groupsort2", "depth": 50}
        assert explorer.error is None
        shares[first] = explorer.data.way.median[0, -1] ** (1 / 50)
    assert course.check("depth.leaky", shares["leaky_relu"])
    assert not course.check("depth.leaky", shares["relu"])


def test_a_leak_by_drawing_gradients():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((2000, 64))
    kept = gradients * np.where(rng.standard_normal((2000, 64)) > 0, 1, 0.2)
    share = np.sqrt(np.mean(np.sum(kept**2, axis=1)) / np.mean(np.sum(gradients**2, axis=1)))
    assert course.check("depth.leaky", share)


def by_slices(x, p):
    return np.concatenate([x[a::p, b::p] for a in range(p) for b in range(p)], axis=-1)


def by_the_layer(x, p):
    return keras.ops.convert_to_numpy(InvertibleDownSampling(p)(x[None]))[0]


def by_loops(x, p):
    rows = [[x[i : i + p, j : j + p].ravel() for j in range(0, x.shape[1], p)] for i in range(0, x.shape[0], p)]
    return np.array(rows)


@pytest.mark.parametrize("function", [by_slices, by_the_layer, by_loops])
def test_another_right_function_is_right(function):
    assert course.check("depth.downsample", function)


def test_down_sampling_is_a_permutation():
    units = np.eye(48).reshape(48, 4, 4, 3)
    matrix = np.array([depth.downsample(unit, 2).ravel() for unit in units])
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(48))


def reshaped(x, p):
    return x.reshape(x.shape[0] // p, x.shape[1] // p, -1)


def averaged(x, p):
    return np.repeat(by_slices(x, p).mean(axis=-1, keepdims=True), p * p * x.shape[2], axis=-1)


def mixed_up(x, p):
    return depth.downsample(x, p).swapaxes(0, 1)


def in_place(x, p):
    result = depth.downsample(x, p)
    x[:] = 0
    return result


WRONG_FUNCTIONS = [
    (reshaped, ["passes 2 of 6", "On an image of 4 × 4 × 1, p = 2: pixel (0, 0) does not hold rows 0 to 1"]),
    (averaged, ["passes 1 of 6", "its entries are not those of the image"]),
    (mixed_up, ["passes 1 of 6", "pixel (0, 1) does not hold rows 0 to 1 and columns 2 to 3"]),
    (lambda x, p: x[::p, ::p], ["shape is (2, 2, 1), expected (2, 2, 4)"]),
    (lambda x, p: x, ["passes 1 of 6", "shape is (4, 4, 1)"]),
    (in_place, ["in place"]),
    (lambda x: x, ["TypeError"]),
]


@pytest.mark.parametrize(("function", "words"), WRONG_FUNCTIONS)
def test_a_wrong_function_is_told_where_and_why_it_fails(function, words):
    result = course.check("depth.downsample", function)
    assert result.status is course.Status.WRONG
    for word in words:
        assert word in result.message
