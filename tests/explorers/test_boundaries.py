import json

import numpy as np
import pytest

from lipviz import data
from lipviz.explorers import BoundaryExplorer
from lipviz.explorers.shell import toys
from lipviz.explorers.shell.toys import labelled_points

EXPLORER = BoundaryExplorer
ONE_IMAGE = True  # the tests look at data, words and artists
UNTRAINED = {"width": 4, "depth": 1, "steps": 50}


@pytest.mark.slow
def test_it_starts_with_a_network_that_has_learnt_nothing(explorer):
    assert explorer.work_state == "idle"
    assert len(explorer.data.losses) == 0
    assert explorer.data.field.points.shape == (200, 2)
    assert "After 0 of 50 steps" in explorer.statement(explorer.data)
    json.dumps(explorer.state)


@pytest.mark.slow
def test_while_the_noise_is_dragged_the_samples_move_on_the_present_field(explorer):
    shown = explorer.preview(explorer.data, {**explorer.state, "noise": 0.3})
    np.testing.assert_array_equal(shown.field.points, labelled_points("moons", 0.3, 0)[0][0])
    assert shown.field.logits is explorer.data.field.logits
    assert shown.field.certified is None
    assert explorer.preview(explorer.data, {**explorer.state, "k": 2.0}) is None


@pytest.fixture(scope="module")
def trained(shared):
    """After training; shown to several tests, which do not change it."""
    shared.reset()
    shared.state = UNTRAINED
    assert shared.wait(300)
    assert shared.error is None
    return shared


@pytest.mark.slow
def test_training_lowers_the_loss_and_says_so(trained):
    data = trained.data
    assert len(data.losses) == 50
    assert data.losses[-1] < data.losses[0]
    scores = trained._run[0].model.predict_on_batch(data.field.points.astype("float32"))[:, 0]
    assert data.accuracy == np.mean((scores > 0) == data.field.labels)
    assert data.accuracy > 0.83 - 3 * 0.083  # three standard deviations less than the mean over the seeds 0 to 9
    assert f"{100 * data.accuracy:.1f} %" in trained.statement(data)
    assert "After 50 of 50 steps" in trained.alt_text(data)
    line = next(line for line in trained.figure.axes[1].lines if line.get_gid() == "loss")
    np.testing.assert_array_equal(line.get_ydata(), data.losses)
    columns, rows = trained.table(data)
    assert columns == ["x0", "x1", "class", "predicted", "certified_radius"]
    np.testing.assert_array_equal(np.array(rows)[:, 4], data.field.radii)


@pytest.mark.slow
def test_certified_discs_hold_one_decision(trained):
    field, rng = trained.data.field, np.random.default_rng(0)
    ways = rng.standard_normal(field.points.shape)
    ends = field.points + 0.999 * field.radii[:, None] * ways / np.linalg.norm(ways, axis=1, keepdims=True)
    model = trained._run[0].plain
    np.testing.assert_array_equal(model.predict_on_batch(ends.astype("float32"))[:, 0] > 0, field.certified.predicted)


@pytest.mark.slow
def test_the_plain_copy_computes_what_the_network_does(trained):
    trainer, x = trained._run[0], trained.data.field.points.astype("float32")
    np.testing.assert_allclose(trainer.plain.predict_on_batch(x), trainer.model.predict_on_batch(x), atol=1e-5)


@pytest.mark.slow
def test_the_constrained_network_keeps_its_constant_and_the_plain_one_has_another(explorer):
    assert 0.999**2 < explorer.data.constant <= 1.0  # two layers, each within a thousandth
    explorer.state = {"discs": False}
    explorer._set({"k": 2.0})
    explorer._forget()
    explorer.refresh()
    assert 2 * 0.999**2 < explorer.data.constant <= 2.0
    assert not explorer.controls["k"].disabled
    explorer._set({"constrained": False})
    explorer._forget()
    explorer.refresh()
    assert explorer.controls["k"].disabled
    kernels = [layer.kernel for layer in explorer._run[0].model.layers if hasattr(layer, "kernel")]
    product = np.prod([np.linalg.norm(np.asarray(kernel, np.float64), 2) for kernel in kernels])
    assert explorer.data.constant == pytest.approx(product, rel=1e-9)  # both in float64
    assert product != pytest.approx(2.0, rel=1e-2)
    assert explorer.error is None


@pytest.mark.slow
def test_a_step_makes_a_piece_and_pauses(explorer):
    explorer.step()
    assert not explorer.wait(300)
    assert explorer.work_state == "paused"
    made = len(explorer.data.losses)
    assert 0 < made < 50
    explorer.controls["discs"].value = False  # shows the network as it is
    assert explorer.data.field.radii is None
    assert len(explorer.data.losses) == made
    assert len(explorer.table(explorer.data)[0]) == 3
    explorer.step()
    explorer.wait(300)
    assert len(explorer.data.losses) == 2 * made
    assert explorer.data.field.radii is None
    explorer.reset()
    assert explorer.work_state == "idle"
    assert explorer.data.field.radii is not None
    assert len(explorer.data.losses) == 0


def first_losses(explorer, **values):
    """Losses of the first piece of training."""
    explorer.reset()
    explorer._set({**UNTRAINED, **values})
    explorer.step()
    assert not explorer.wait(300)
    losses = explorer.data.losses
    explorer.stop()
    assert explorer.wait(300)
    return losses


@pytest.mark.slow
def test_the_same_state_gives_the_same_training(explorer):
    first, other, again = (first_losses(explorer, seed=seed) for seed in (3, 4, 3))
    np.testing.assert_allclose(first, again, rtol=1e-4)
    assert not np.allclose(first, other)


@pytest.mark.slow
def test_the_inverse_temperature_reaches_the_loss(explorer):
    assert not np.isclose(first_losses(explorer)[0], first_losses(explorer, tau=1.0)[0])


@pytest.mark.parametrize("points", ["moons", "circles", "gaussians"])
def test_every_toy_has_two_classes_that_noise_mixes(points):
    (x, y), (test, _) = labelled_points(points, 0.0, 1)
    assert x.shape == (200, 2)
    assert test.shape == (50, 2)
    assert set(y.tolist()) == {0, 1}
    assert not np.allclose(labelled_points(points, 0.4, 1)[0][0], x)


@pytest.mark.nightly
def test_your_own_points_of_three_classes():
    (x, y), _ = data.gaussians(60, classes=3, seed=0)
    explorer = BoundaryExplorer(x, y)
    explorer.state = UNTRAINED
    assert explorer.wait(300)
    assert explorer.error is None
    assert explorer.controls["noise"].disabled
    assert explorer.data.field.classes == 3
    assert explorer.data.test_accuracy is None
    assert explorer.data.accuracy > 0.5
    explorer.close()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.full((4, 2), np.nan), [0, 1, 0, 1], "NaN"),
        (np.zeros((4, 3)), [0, 1, 0, 1], "(n, 2)"),
        (np.zeros((0, 2)), [], "(n, 2)"),
        (np.zeros((4, 2)), [0, 1], "labels of shape"),
        (np.zeros((4, 2)), [0, 0, 0, 0], "two classes"),
        (np.zeros((4, 2)), None, "class numbers"),
        (None, [0, 1], "The points x"),
        (np.zeros((4, 2)), [0, 1, 0.5, 1], "labels"),
    ],
)
def test_points_that_cannot_be_used_give_a_message(x, y, words, monkeypatch):
    monkeypatch.setattr(toys, "POINTS", 20)
    explorer = BoundaryExplorer(x, y)
    assert words in str(explorer.error)
    assert 'role="alert"' in explorer._alert.value
    explorer.close()
