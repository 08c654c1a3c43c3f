"""Radii of balls that grow are at least those of all inputs, and no attack gets inside."""

import sys

import keras
import numpy as np
import pytest
from keras import layers as kl

from lipviz import layers as lip
from lipviz.certification import certified_radius, local_radii, logits_model
from lipviz.certification.arithmetic import as_arithmetic
from lipviz.certification.classifiers import logits_computation
from lipviz.certification.computation import UnknownFormError
from lipviz.certification.deployed import in_arithmetic
from lipviz.certification.local import Near
from lipviz.normalizers.threads import one_blas_thread


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(8)  # layers draw the seeds of their weights as they are made


def _made(shape, *steps):
    model, rng = keras.Sequential([keras.Input(shape), *steps]), np.random.default_rng(5)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


MODELS = {
    "relu": lambda: _made((6,), kl.Dense(12, "relu"), kl.Dense(10, "relu"), kl.Dense(4)),
    "one output": lambda: _made((6,), kl.Dense(12, "relu"), kl.Dense(10, "tanh"), kl.Dense(1, "sigmoid")),
    "sorting": lambda: _made(
        (6,), kl.Dense(12), lip.GroupSort2(), kl.Dense(8), lip.MaxMin(), kl.Dense(3), kl.Softmax()
    ),
    "images": lambda: _made(
        (5, 5, 1), kl.Conv2D(3, 3, activation="relu"), kl.MaxPooling2D(), kl.Flatten(), kl.Dense(3)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_no_attack_gets_inside_a_local_radius(name):
    model, rng = MODELS[name](), np.random.default_rng(3)
    x = rng.standard_normal((6, *model.input_shape[1:]))
    everywhere, near = certified_radius(model, x), certified_radius(model, x, local=True)
    assert (near.radii >= everywhere.radii).all()
    assert near.radii.mean() > 1.1 * everywhere.radii.mean()
    np.testing.assert_array_equal(near.bounds, everywhere.bounds)
    found, output = logits_computation(logits_model(model), x.shape[1:])
    for row, radius, decision in zip(x, near.radii, near.predicted, strict=True):
        assert not _flipped(lambda points: found.values(points)[output], row, radius * 0.999999, decision, rng)


@pytest.mark.covered_by_day
@pytest.mark.parametrize("arithmetic", ["float32", "float16"])
@pytest.mark.parametrize("name", MODELS)
def test_no_attack_on_the_deployed_network_gets_inside_its_local_radius(name, arithmetic):
    model, rng = MODELS[name](), np.random.default_rng(3)
    x = rng.standard_normal((4, *model.input_shape[1:]))
    everywhere, near = (certified_radius(model, x, arithmetic=arithmetic, local=each) for each in (False, True))
    assert (near.radii >= everywhere.radii).all()
    assert near.radii.mean() > 1.1 * everywhere.radii.mean()
    assert near.origin.arithmetic == everywhere.origin.arithmetic
    network, middle = in_arithmetic(model, as_arithmetic(arithmetic)), 0.5 if name == "one output" else 0.0

    def scores(points):
        return np.asarray(network(points.astype("float32"), training=False), np.float64) - middle

    for row, radius, decision in zip(x, near.radii, near.predicted, strict=True):
        assert not _flipped(scores, row, radius * 0.99999, decision, rng, steps=5)


def test_a_margin_that_rounding_uses_up_leaves_no_local_radius():
    """f(x) = (x + 2^24) − 2^24 is x in exact numbers, and float32 has only even numbers near 2^24."""
    model, large = _made((1,), kl.Dense(1), kl.Dense(1)), np.array([2.0**24])
    model.set_weights([np.ones((1, 1)), large, np.ones((1, 1)), -large])
    x = np.array([[3.0]])
    assert certified_radius(model, x).radii[0] > 2.9
    assert certified_radius(model, x, arithmetic="float32", local=True).radii[0] == 0


@pytest.mark.parametrize("layer", [kl.LeakyReLU(0.1), kl.PReLU()])
def test_slopes_that_a_dtype_rounds_leave_the_radii_of_a_deployed_network(layer):
    model, x = _made((4,), kl.Dense(6, "relu"), layer, kl.Dense(3)), np.random.default_rng(1).standard_normal((3, 4))
    everywhere, near = (certified_radius(model, x, arithmetic="float32", local=each) for each in (False, True))
    np.testing.assert_array_equal(near.radii, everywhere.radii)


def _flipped(scores, x, radius, decision, rng, steps=12, count=24):
    """Whether an ascent of the rivals' margins, by random directions, changes the decision inside a ball."""
    points = x + radius * _unit(rng.standard_normal((count, *x.shape)))
    for _ in range(steps):
        moves = _unit(rng.standard_normal((count, *x.shape))) * radius * rng.choice([0.5, 0.1, 0.02])
        tried = x + _clipped(points + moves - x, radius)
        better = _margin(scores(tried), decision) < _margin(scores(points), decision)
        points[better] = tried[better]
    return bool((_margin(scores(points), decision) < 0).any())


def _unit(moves):
    return moves / np.sqrt(np.square(moves).sum(axis=tuple(range(1, moves.ndim)), keepdims=True))


def _clipped(moves, radius):
    sizes = np.sqrt(np.square(moves).sum(axis=tuple(range(1, moves.ndim)), keepdims=True))
    return moves * np.minimum(1.0, radius / np.maximum(sizes, 1e-300))


def _margin(values, decision):
    if values.shape[1] == 1:
        return values[:, 0] * (1 if decision else -1)
    return values[:, decision] - np.delete(values, decision, axis=1).max(axis=1)


def test_a_neuron_that_is_dead_in_the_ball_costs_nothing():
    """f(x) = 1 − 3 relu(x − 1) changes its sign at 4/3; the bound of all inputs proves 1/3."""
    model = _made((1,), kl.Dense(1, "relu"), kl.Dense(1))
    model.set_weights([np.array([[1.0]]), np.array([-1.0]), np.array([[-3.0]]), np.array([1.0])])
    (everywhere,), (near,) = (certified_radius(model, np.zeros((1, 1)), local=each).radii for each in (False, True))
    assert everywhere == pytest.approx(1 / 3, rel=1e-6)
    assert 0.9 < near < 4 / 3


def test_a_linear_model_has_its_distance_to_the_boundary():
    model = _made((4,), kl.Dense(3))
    x = np.random.default_rng(1).standard_normal((9, 4))
    near, everywhere = (certified_radius(model, x, local=each).radii for each in (True, False))
    np.testing.assert_allclose(near, everywhere, rtol=1e-9)


def test_samples_that_are_wrong_or_tied_keep_a_radius_of_0():
    model = _made((4,), kl.Dense(5, "relu"), kl.Dense(2))
    x = np.random.default_rng(1).standard_normal((5, 4))
    wrong = 1 - certified_radius(model, x).predicted
    assert (certified_radius(model, x, wrong, local=True).radii == 0).all()
    model.layers[1].set_weights([np.ones((5, 2)), np.zeros(2)])
    assert (certified_radius(model, x, local=True).radii == 0).all()


@pytest.mark.nightly
def test_a_network_that_is_too_large_keeps_its_radii():
    model = _made((3,), kl.Dense(700, "relu"), kl.Reshape((700, 1)), kl.GlobalMaxPooling1D(), kl.Dense(2))
    x = np.random.default_rng(1).standard_normal((2, 3))
    near, everywhere = (certified_radius(model, x, local=each).radii for each in (True, False))
    assert (near >= everywhere).all()


@pytest.mark.nightly
def test_what_is_before_a_large_image_is_bounded_together():
    """Only what is behind `Flatten` is small enough; before it, the bound of the chain takes the product's place."""
    rng = np.random.default_rng(4)
    model = _made(
        (16, 16, 1),
        *(kl.Conv2D(6, 3, activation="relu"), kl.Conv2D(6, 3, activation="relu"), kl.AveragePooling2D(2)),
        *(kl.Flatten(), kl.Dense(8, "relu"), kl.Dense(3)),
    )
    x = rng.standard_normal((3, 16, 16, 1))
    everywhere, near = (certified_radius(model, x, local=each).radii for each in (False, True))
    product = certified_radius(model, x, method="product", local=True).radii
    assert (near >= everywhere).all()
    assert near.mean() > 1.2 * max(everywhere.mean(), product.mean())
    found, output = logits_computation(logits_model(model), x.shape[1:])
    decisions = found.values(x)[output].argmax(axis=1)
    for row, radius, decision in zip(x, near, decisions, strict=True):
        assert not _flipped(lambda points: found.values(points)[output], row, radius * 0.999999, decision, rng)


def test_a_graph_that_cannot_be_seen_keeps_its_radii(monkeypatch):
    model, x = MODELS["relu"](), np.random.default_rng(3).standard_normal((2, 6))

    def unseen(*arguments):
        raise UnknownFormError("A part of the model's graph cannot be seen.")

    everywhere = certified_radius(model, x)
    monkeypatch.setattr(local_radii, "logits_computation", unseen)
    np.testing.assert_array_equal(certified_radius(model, x, local=True).radii, everywhere.radii)


def test_an_interrupt_ends_the_work_and_frees_the_libraries(monkeypatch):
    model, x = MODELS["relu"](), np.random.default_rng(3).standard_normal((3, 6))

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Near, "ellipsoids", interrupt)
    with pytest.raises(KeyboardInterrupt):
        certified_radius(model, x, local=True)
    monkeypatch.undo()
    with one_blas_thread():
        assert (certified_radius(model, x, local=True).radii > 0).all()


def test_a_terminal_shows_how_far_it_is(monkeypatch, capsys):
    model, x = MODELS["relu"](), np.random.default_rng(3).standard_normal((8, 6))
    certified_radius(model, x, local=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(local_radii, "_PATIENCE", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    certified_radius(model, x, local=True)
    shown = capsys.readouterr().err
    assert "8 of 8 samples, 0 s left" in shown
    assert shown.endswith("\r\x1b[K")
