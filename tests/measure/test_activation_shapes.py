"""Activations along lines, against NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from lipviz import layers
from lipviz.measure.activation_shapes import RANGE, ActivationProbe, activation_shape

TOLERANCE = 1e-6  # JAX computes a few functions in float32


def sort_pairs(x):
    return np.sort(x.reshape(len(x), -1, 2), axis=2).reshape(x.shape)


def householder(angle):
    def reflect(x):
        z1, z2 = np.split(x, 2, axis=1)
        twice = 2 * np.maximum(z1 * np.sin(angle / 2) - z2 * np.cos(angle / 2), 0)
        return np.concatenate([z1 - twice * np.sin(angle / 2), z2 + twice * np.cos(angle / 2)], axis=1)

    return reflect


# What acts, its parameters, the same in NumPy, and whether it keeps all lengths.
CASES = [
    (layers.GroupSort2(), {}, sort_pairs, True),
    (layers.FullSort(), {}, lambda x: np.sort(x, axis=1), True),
    (layers.MaxMin(), {}, lambda x: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1), True),
    (layers.Householder(), {"angle": 2.0}, householder(2.0), True),
    (layers.PReLUlip(), {"slope": -1.0}, np.abs, True),
    (layers.PReLUlip(), {"slope": 0.5}, lambda x: np.where(x > 0, x, 0.5 * x), False),
    ("relu", {}, lambda x: np.maximum(x, 0), False),
    ("tanh", {}, np.tanh, False),
    (ops.abs, {}, np.abs, True),
]


@pytest.mark.parametrize(("activation", "settings", "expected", "keeps"), CASES)
def test_outputs_and_jacobians_are_those_of_the_function(activation, settings, expected, keeps):
    data = activation_shape(activation, 4, points=41, seed=3, **settings)
    np.testing.assert_allclose(data.outputs, expected(data.inputs), atol=TOLERANCE)
    step = 1e-6
    moves = [(expected(data.inputs + step * unit) - expected(data.inputs - step * unit)) / (2 * step)
             for unit in np.eye(4)]  # fmt: skip
    jacobians = np.stack(moves, axis=2)
    np.testing.assert_allclose(data.values, np.linalg.svd(jacobians, compute_uv=False), atol=1e-5)
    rows = np.linalg.norm(jacobians, axis=(1, 2)) / np.sqrt(jacobians.shape[1])
    np.testing.assert_allclose(data.kept, rows, atol=1e-5)
    np.testing.assert_allclose(data.kept_by_relu, np.sqrt((data.inputs > 0).mean(1)))
    assert bool(data.is_isometry.all()) is keeps
    assert data.shape == jacobians.shape[1:]


def test_a_random_gradient_keeps_what_is_said():
    data = activation_shape("relu", 6, points=21, seed=1)
    directions = np.random.default_rng(0).standard_normal((20_000, 6))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for x, kept in zip(data.inputs, data.kept, strict=True):
        assert np.sqrt(np.mean(np.sum((directions * (x > 0)) ** 2, axis=1))) == pytest.approx(kept, abs=0.01)


def test_the_line_is_straight_and_its_places_are_found():
    data = activation_shape("relu", 3, points=31, seed=2)
    np.testing.assert_allclose(np.diff(data.inputs, 2, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(np.diff(data.inputs, axis=0), axis=1), np.diff(data.places))
    assert (data.places[0], data.places[-1]) == (-RANGE, RANGE)
    assert data.nearest(-RANGE) == 0
    assert data.places[data.nearest(0.01)] == pytest.approx(0, abs=1e-12)
    other = activation_shape("relu", 3, points=31, seed=3)
    assert np.abs(other.inputs - data.inputs).max() > 0.1


def test_the_plane_of_two_channels():
    data = activation_shape(layers.FullSort(), 2, points=11)
    plane = data.plane
    np.testing.assert_allclose(plane.images, np.sort(plane.lines, axis=-1))
    np.testing.assert_allclose(plane.letter_image, np.sort(plane.letter, axis=-1))
    np.testing.assert_array_equal(plane.lines[0][..., 1], plane.lines[0][:, :1, 1].repeat(97, axis=1))
    assert activation_shape(layers.FullSort(), 3, points=11).plane is None
    assert activation_shape(layers.MaxMin(), 2, points=11).plane.outputs == 4


def test_a_probe_measures_again():
    probe = ActivationProbe(layers.Householder(), 2, points=11, name="mine")
    first = probe.measure(angle=1.0)
    second = probe.measure(angle=3.0, seed=1)
    assert (first.name, second.name) == ("mine", "mine")
    np.testing.assert_allclose(second.outputs, householder(3.0)(second.inputs), atol=TOLERANCE)
    np.testing.assert_allclose(probe.measure(angle=1.0).outputs, first.outputs, atol=1e-12)


def test_a_layer_of_ones_own_is_left_as_it_is():
    fresh, built = keras.layers.PReLU(), layers.PReLUlip()
    activation_shape(fresh, 3, points=5)
    assert not fresh.built
    built.build((None, 3))
    built.alpha.assign(np.full(3, 0.25))
    data = activation_shape(built, 3, points=21)
    np.testing.assert_allclose(data.outputs, np.where(data.inputs > 0, data.inputs, 0.25 * data.inputs), atol=1e-12)
    activation_shape(built, 3, slope=0.9, points=5)
    np.testing.assert_allclose(np.asarray(built.alpha), 0.25)


def test_what_is_no_activation_is_refused():
    built = layers.PReLUlip()
    built.build((None, 3))
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.ReLU()])
    for activation, channels, error, message in (
        (built, 4, ValueError, r"shape \(3,\). Expected \(4,\)"),
        (layers.GroupSort2(), 3, ValueError, "divides"),
        ("no such thing", 2, ValueError, "no such thing"),
        (7, 2, TypeError, "Received: 7"),
        (model, 2, TypeError, "model"),
        ("relu", 0, ValueError, "channels=0"),
        ("relu", 65, ValueError, "at most 64"),
        (keras.layers.RepeatVector(2), 2, ValueError, "of vectors"),
        (lambda x: x / 0, 2, ValueError, "finite"),
    ):
        with np.errstate(all="ignore"), pytest.raises(error, match=message):
            activation_shape(activation, channels, points=5)
    with pytest.raises(ValueError, match="points=1"):
        activation_shape("relu", 2, points=1)
    with pytest.raises(ValueError, match="theta"):
        activation_shape(layers.Householder(), 2, points=5, angle=float("nan"))
