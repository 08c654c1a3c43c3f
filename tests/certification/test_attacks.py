"""Attacks: they find what is there, never inside of a certified radius, and what they report is what float64 says."""

import logging
import math

import keras
import numpy as np
import pytest

import lipviz
from lipviz import certification, data, layers, losses
from lipviz.certification import attacks
from lipviz.operators.precision import outputs

RNG = np.random.default_rng(0)


def linear(kernel, bias=0.0):
    """A Keras model f(x) = x K + b."""
    kernel = np.asarray(kernel, "float32")
    model = keras.Sequential([keras.layers.Input((kernel.shape[0],)), keras.layers.Dense(kernel.shape[1])])
    model.layers[0].set_weights([kernel, np.broadcast_to(np.float32(bias), kernel.shape[1]).copy()])
    return model


def network(*hidden, shape=(8, 8, 1)):
    model = lipviz.Sequential([keras.layers.Input(shape), *hidden])
    model.compile(keras.optimizers.Adam(5e-3), losses.TauSparseCategoricalCrossentropy(tau=20.0))
    return model


@pytest.fixture(scope="module")
def ten():
    """A network for ten digits, and test images; every tenth label is wrong, however well the network learned."""
    keras.utils.set_random_seed(0)
    (x_train, y_train), (x, y) = data.digits(n_test=50)
    model = network(
        layers.SpectralConv2D(8, 3, activation=layers.GroupSort2()),
        keras.layers.Flatten(),
        layers.SpectralDense(32, activation=layers.GroupSort2()),
        layers.FrobeniusDense(10),
    )
    model.fit(x_train, y_train, epochs=4, batch_size=64, verbose=0)
    y = y.copy()
    y[::10] = (certification.certified_radius(model, x[::10]).predicted + 1) % 10
    return model, x, y


@pytest.fixture(scope="module")
def two():
    """A network of one output, even digits against odd ones, and test images."""
    keras.utils.set_random_seed(0)
    (x_train, y_train), (x, y) = data.digits(n_test=50)
    model = network(
        keras.layers.Flatten(),
        layers.SpectralDense(64, activation=layers.GroupSort2()),
        layers.SpectralDense(64, activation=layers.GroupSort2()),
        layers.FrobeniusDense(1),
    )
    model.compile(keras.optimizers.Adam(5e-3), losses.HKR(alpha=10.0))
    model.fit(x_train, y_train % 2, epochs=4, batch_size=64, verbose=0)
    return model, x, y % 2


# --- where the smallest change is known ---


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [1, 3])
def test_attacks_on_a_linear_model_arrive_at_its_radius(outputs):
    rng = np.random.default_rng(outputs)
    kernel, x = rng.standard_normal((5, outputs)).astype("float32"), rng.standard_normal((20, 5))
    model = linear(kernel, 0.3)
    radii = certification.certified_radius(model, x).radii
    limits = np.concatenate([0.999 * radii, 1.001 * radii])
    found = certification.attack(model, np.concatenate([x, x]), epsilon=limits)
    assert not found.success[:20].any()
    # Of several other classes it climbs the highest, and need not arrive where another one is nearer.
    if outputs == 1:
        climbs = np.full(20, True)
    else:
        scores = x @ kernel.astype(float)
        rows, best = np.arange(20), scores.argmax(axis=1)
        ways = np.linalg.norm(kernel[:, best, None] - kernel[:, None, :], axis=0).astype(float)
        distances = (scores[rows, best, None] - scores) / np.where(ways > 0, ways, 1)
        scores[rows, best], distances[rows, best] = -np.inf, np.inf
        climbs = scores.argmax(axis=1) == distances.argmin(axis=1)
    assert climbs.sum() >= 10
    assert found.success[20:][climbs].all()
    np.testing.assert_allclose(found.distances[20:], radii, rtol=2e-3)
    smallest = certification.attack(model, x, method="deepfool")
    assert smallest.success.all()
    np.testing.assert_allclose(smallest.distances, radii, rtol=1e-4)
    assert (smallest.distances >= radii).all()


@pytest.mark.slow
def test_an_attack_that_sees_decisions_only_comes_close():
    model, x = linear([[3.0], [4.0]], -1.0), np.array([[1.0, 0.5], [-1.0, 0.2], [0.3, -1.0]])
    found = certification.attack(model, x, method="hopskipjump", steps=10)
    radii = certification.certified_radius(model, x).radii
    assert found.success.all()
    assert (found.distances >= radii).all()
    # The farthest of the three, in ten runs with other seeds: 0.1 %, and three standard deviations are 0.3 % more.
    np.testing.assert_allclose(found.distances, radii, rtol=5e-3)


# --- certificates hold ---


@pytest.mark.slow
@pytest.mark.parametrize(("which", "starts"), [("ten", 1), pytest.param("two", 2, marks=pytest.mark.nightly)])
def test_no_certified_point_is_flipped_inside_of_its_radius(which, starts, request):
    model, x, y = request.getfixturevalue(which)
    certified = certification.certified_radius(model, x, y)
    rows = np.flatnonzero(certified.radii)
    assert len(rows) > 30
    x, y, radii = x[rows], y[rows], certified.radii[rows]
    factors = np.resize([0.5, 0.9, 0.99, 0.999], len(rows))
    # Against radii that are too large, the same attack breaks them: it could have found a false certificate. It attacks
    # both at once, because each attack traces the network.
    limits = np.concatenate([factors * radii, 5 * factors * radii])
    found = certification.attack(model, *(np.concatenate([v, v]) for v in (x, y)), limits, steps=15, starts=starts)
    inside, outside = found.success[: len(rows)], found.success[len(rows) :]
    assert not inside.any()
    assert outside.mean() > 0.5
    assert (found.found >= np.concatenate([radii, radii])).all()


@pytest.mark.slow
def test_no_random_change_inside_of_a_radius_moves_a_decision(ten):
    model, x, y = ten
    certified = certification.certified_radius(model, x, y)
    rows = np.flatnonzero(certified.radii)
    radii = certified.radii[rows]
    assert len(rows) > 30
    assert radii.mean() > 0.05
    network, rng = certification.logits_model(model), np.random.default_rng(0)
    for _ in range(20):
        # Towards another image, plus noise: directions in which a decision does change.
        ways = rng.permutation(x[rows]) - x[rows] + 0.1 * rng.standard_normal(x[rows].shape)
        units = ways / np.linalg.norm(ways.reshape(len(rows), -1), axis=1)[:, None, None, None]
        moved = x[rows] + 0.999 * radii[:, None, None, None] * units
        np.testing.assert_array_equal(outputs(network, moved).argmax(axis=1), certified.predicted[rows])


@pytest.mark.slow
def test_the_smallest_changes_lie_outside_of_the_radii(ten):
    model, x, y = ten
    radii = certification.certified_radius(model, x, y).radii
    found = certification.attack(model, x, y, method="deepfool", steps=6)
    assert found.success_rate > 0.5
    assert (found.found >= radii).all()
    # Certificates are no empty promise: some radius is more than a third of what an attack needs.
    assert (found.found[radii > 0] / radii[radii > 0]).min() < 3


# --- what is reported ---


@pytest.fixture(scope="module")
def attacked(ten):
    """An attack on the network for ten digits."""
    return certification.attack(*ten, epsilon=1.0, steps=15)


@pytest.mark.slow
def test_what_is_reported_is_what_float64_says(ten, attacked):
    (model, x, y), found = ten, attacked
    assert len(found) == len(x)
    assert found.method == "pgd"
    assert found.inputs.shape == x.shape
    assert found.inputs.dtype == found.distances.dtype == np.float64
    clean = certification.certified_radius(model, x, y)
    np.testing.assert_array_equal(found.before, clean.predicted)
    np.testing.assert_array_equal(found.after, certification.certified_radius(model, found.inputs).predicted)
    np.testing.assert_array_equal(found.success, found.after != y)
    moved = (found.inputs - x.astype(float)).reshape(len(x), -1)
    np.testing.assert_array_equal(found.distances, np.linalg.norm(moved, axis=1))
    assert (found.distances <= 1).all()
    np.testing.assert_array_equal(found.epsilon, np.ones(len(x)))
    wrong = ~clean.correct
    assert wrong[::10].all()
    assert found.success[wrong].all()
    np.testing.assert_array_equal(found.distances[wrong], 0)


@pytest.mark.slow
def test_a_change_is_cut_back_to_the_first_wrong_decision(two):
    model, x, _ = two
    found = certification.attack(model, x, epsilon=3.0, steps=15)
    rows = np.flatnonzero(found.success)
    assert len(rows) > 20
    back = x[rows] + (1 - 1e-4) * (found.inputs[rows] - x[rows])
    np.testing.assert_array_equal(certification.certified_radius(model, back).predicted, found.before[rows])


@pytest.mark.slow
def test_accuracy_under_attack_lies_above_the_certified_one(ten, attacked):
    (model, x, y), found = ten, attacked
    certified = certification.certified_accuracy(model, x, y, [0.0, 0.1, 0.3, 1.0])
    both = certified.beside(found)
    assert (both.empirical >= certified.certified).all()
    assert both.empirical[0] == certified.accuracy
    assert both.empirical[-1] < 0.5
    assert (np.diff(both.empirical) <= 0).all()
    np.testing.assert_array_equal(both.empirical, [np.mean(found.found > e) for e in certified.epsilons])
    with pytest.raises(ValueError, match="50 samples"):
        certified.beside(certification.attack(linear([[1.0]]), np.ones((5, 1)), epsilon=1.0, steps=1))


def test_a_limit_counts_for_attacks_that_have_none_of_their_own():
    model, x = linear([[1.0]]), np.array([[1.0], [3.0]])
    found = certification.attack(model, x, method="deepfool", epsilon=2.0)
    np.testing.assert_array_equal(found.success, [True, False])
    assert found.distances[1] > 2
    assert found.found[1] == math.inf
    assert found.success_rate == 0.5


@pytest.mark.slow
def test_limits_may_differ_and_be_tiny():
    model, x = linear([[1.0]]), np.array([[1e-9], [1.0], [1e6]])
    limits = 1.01 * x[:, 0]
    found = certification.attack(model, x, epsilon=limits)
    assert found.success.all()
    np.testing.assert_allclose(found.distances, x[:, 0], rtol=1e-5)
    assert not certification.attack(model, x, epsilon=0.99 * x[:, 0]).success.any()


@pytest.mark.slow
def test_the_same_seed_finds_the_same():
    model, x = linear(RNG.standard_normal((5, 3))), RNG.standard_normal((20, 5))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    level = logging.getLogger("art").level
    found = [certification.attack(model, x, epsilon=1.0, steps=2, starts=2, seed=seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(found[0].inputs, found[1].inputs)
    assert (found[0].inputs != found[2].inputs).any()
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    assert logging.getLogger("art").level == level


@pytest.mark.slow
def test_attacks_leave_the_model_alone(two):
    model, x, _ = two
    before, trainable = model.get_weights(), len(model.trainable_weights)
    certification.attack(model, x[:4], epsilon=1.0, steps=2)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(model.trainable_weights) == trainable


@pytest.mark.slow
def test_more_samples_than_fit_at_a_time(monkeypatch):
    monkeypatch.setattr(attacks._Pgd, "most", 8)
    model, x = linear([[1.0]]), np.linspace(0.1, 1, 19)[:, None]
    found = certification.attack(model, x, epsilon=1.01 * x[:, 0])
    assert found.success.all()


@pytest.mark.slow
def test_where_the_gradient_vanishes_nothing_is_found():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2)])
    model.layers[0].set_weights([np.ones((2, 3)), np.full(3, -10.0)])
    model.layers[1].set_weights([np.ones((3, 2)), np.array([1.0, 0.0])])
    for method in ("pgd", "deepfool"):
        found = certification.attack(model, np.zeros((2, 2)), epsilon=1.0, method=method)
        assert not found.success.any()
        assert np.isfinite(found.inputs).all()


# --- what is refused ---


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "magic"},
        {"steps": 0},
        {"steps": 2.5},
        {"starts": 0},
        {"epsilon": 0},
        {"epsilon": -1},
        {"epsilon": math.nan},
        {"epsilon": math.inf},
        {"epsilon": [1.0, 2.0]},
        {"epsilon": None},
    ],
)
def test_bad_settings_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        certification.attack(linear(np.ones((2, 2))), np.ones((3, 2)), **{"epsilon": 1.0, **settings})


def test_bad_models_samples_and_labels_are_named():
    model = linear(np.ones((2, 2)))
    with pytest.raises(TypeError, match="Keras model"):
        certification.attack(None, np.ones((3, 2)), epsilon=1)
    with pytest.raises(ValueError, match="NaN"):
        certification.attack(model, np.full((3, 2), np.nan), epsilon=1)
    with pytest.raises(ValueError, match="from 0 to 1"):
        certification.attack(model, np.ones((3, 2)), [0, 1, 2], epsilon=1)
