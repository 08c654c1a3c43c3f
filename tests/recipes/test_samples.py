"""The data of a recipe: what is taken, and what is refused with advice."""

import numpy as np
import pytest

from lipviz.recipes.samples import Samples, check_seed

X = np.random.default_rng(0).uniform(size=(12, 4, 4, 1))
Y = np.arange(12) % 3


@pytest.mark.parametrize(
    "labels",
    [
        Y.tolist(),
        Y[:, None],
        Y.astype("float32"),
        Y.astype("uint8"),
        np.eye(3)[Y],
        2 * np.eye(3)[Y] - 1,
        np.eye(3)[Y].astype(bool),
    ],
)
def test_labels_in_every_form_are_the_same(labels):
    samples = Samples.of(X.tolist(), labels)
    assert samples.x.dtype == np.float32
    assert samples.shape == (4, 4, 1)
    np.testing.assert_array_equal(samples.labels, Y)
    np.testing.assert_array_equal(samples.hot, np.eye(3)[Y])


def test_one_hot_labels_may_have_classes_without_samples():
    assert Samples.of(X, np.eye(5)[Y]).classes == 5
    assert Samples.of(X, Y).classes == 3


def with_value(value, place=(3, 0, 0, 0)):
    x = X.copy()
    x[place] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X[..., 0], Y, r"\[..., None\]"),
        (np.moveaxis(np.ones((12, 32, 32, 3)), -1, 1), Y, r"moveaxis\(x, 1, -1\)"),
        (X[:9], Y[:9], "at least 10"),
        (X[:0], Y[:0], "at least 10"),
        (X.reshape(-1), Y, "rows"),
        (np.zeros((12, 0)), Y, "rows"),
        (with_value(np.nan), Y, "NaN or Inf in 1 samples, the first is 3"),
        (with_value(-np.inf), Y, "NaN or Inf"),
        (255 * X, Y, "x / 255"),
        (np.ones_like(X), Y, "copies of one sample"),
        (X, Y[:-1], r"\(12,\)"),
        (X, np.ones((12, 3, 1)), "one-hot"),
        (X, np.where(Y == 1, np.nan, Y), "NaN"),
        (X, 2 * (Y > 0) - 1, "Received: -1.*return_inverse"),
        (X, Y + 0.5, "whole numbers"),
        (X, np.zeros(12), "two classes"),
        (X, 100 * Y, "for 12 samples"),
        (X, np.ones((12, 3)), "single 1"),
        (X, np.full((12, 3), 1 / 3), "single 1"),
    ],
)
def test_wrong_data_are_refused_with_advice(x, y, words):
    with pytest.raises(ValueError, match=words):
        Samples.of(x, y)


@pytest.mark.parametrize(("x", "y"), [(X.astype(str), Y), (X, np.array(["a", "b", "c"])[Y]), (X + 1j, Y)])
def test_what_is_no_number_is_refused(x, y):
    with pytest.raises(TypeError, match="real numbers"):
        Samples.of(x, y)


def test_names_of_classes_come_with_advice():
    with pytest.raises(TypeError, match="return_inverse"):
        Samples.of(X, np.array(["a", "b", "c"])[Y])


def test_rows_may_be_large():
    assert Samples.of(1e4 * X.reshape(12, -1), Y).shape == (16,)


def test_a_split_is_a_partition_that_the_seed_repeats():
    samples = Samples.of(X, Y)
    more, less = samples.split(0.25, 3)
    assert (len(more), len(less)) == (9, 3)
    both = np.concatenate([more.x, less.x]).reshape(12, -1)
    order = np.lexsort(both.T)
    np.testing.assert_array_equal(both[order], samples.x.reshape(12, -1)[np.lexsort(samples.x.reshape(12, -1).T)])
    np.testing.assert_array_equal(samples.split(0.25, 3)[1].x, less.x)
    assert any((samples.split(0.25, seed)[1].x != less.x).any() for seed in range(4))


def test_the_distance_of_classes_is_that_of_all_pairs():
    samples = Samples.of(X, Y)
    points = samples.x.reshape(12, -1).astype(np.float64)
    pairs = np.linalg.norm(points[:, None] - points, axis=-1)
    nearest = [pairs[i, Y[i] != Y].min() for i in range(12)]
    assert samples.distance_of_classes(0) == pytest.approx(np.median(nearest), rel=1e-12)


@pytest.mark.parametrize("seed", [None, -1, 0.5, True, 2**32, "0"])
def test_a_wrong_seed_is_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        check_seed(seed)
