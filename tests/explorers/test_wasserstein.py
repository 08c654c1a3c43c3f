import json

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from lipviz.explorers import WassersteinExplorer
from lipviz.explorers.shell.toys import clouds

EXPLORER = WassersteinExplorer
ONE_IMAGE = True  # the tests look at data, words and artists
UNTRAINED = {"width": 4, "depth": 1, "steps": 50}


@pytest.mark.slow
def test_while_the_distance_is_dragged_the_clouds_move(explorer):
    wider = {**explorer.state, "distance": 3.0}
    shown = explorer.preview(explorer.data, wider)
    np.testing.assert_array_equal(shown.potential.x, clouds("squares", 3.0, 0.3, 0)[0])
    assert shown.potential.potential is explorer.data.potential.potential
    assert shown.transport is None
    assert explorer.preview(explorer.data, {**explorer.state, "alpha": 2.0}) is None
    assert explorer.waits("distance", wider)
    assert not explorer.waits("distance", {**wider, "view": "motion"})  # which trains nothing


@pytest.mark.slow
def test_it_starts_with_the_exact_distance_and_an_estimate(explorer):
    x, y = explorer.data.potential.x, explorer.data.potential.y
    costs = cdist(x, y)
    assert explorer.data.training.exact == pytest.approx(costs[linear_sum_assignment(costs)].mean())
    assert explorer.data.training.estimates.shape == (1,)
    assert "After 0 of 50 steps" in explorer.statement(explorer.data)
    json.dumps(explorer.state)


@pytest.mark.nightly
def test_the_estimate_rises_and_stays_below_the_distance(explorer):
    explorer.start()
    assert explorer.wait(300)
    assert explorer.error is None
    training = explorer.data.training
    np.testing.assert_array_equal(training.steps, np.arange(51))
    assert training.estimates[-1] > training.estimates[0]
    model, clouds_ = explorer._run[0].model, (explorer.data.potential.x, explorer.data.potential.y)
    scores = [model.predict_on_batch(points.astype("float32")) for points in clouds_]
    # Two layers that each add up a few products, in float32: some units in the last place of the scores.
    rounding = 16 * float(np.finfo(np.float32).eps * np.abs(scores).max())
    assert training.estimates[-1] == pytest.approx(np.subtract(*np.mean(scores, axis=(1, 2))), abs=rounding)
    assert (training.estimates <= training.k * training.exact + 1e-5).all()
    columns, rows = explorer.table(explorer.data)
    assert columns == ["steps", "estimate", "exact"]
    assert rows[-1] == [50, training.estimates[-1], training.exact]
    line = next(line for line in explorer.figure.axes[1].lines if line.get_gid() == "estimate 0")
    np.testing.assert_array_equal(line.get_ydata(), training.estimates)


@pytest.mark.slow
def test_the_hinge_pushes_points_out_of_the_margin(explorer):
    assert explorer.controls["min_margin"].disabled
    explorer.state = {"alpha": 20.0, "min_margin": 1.0, "clouds": "gaussians", "noise": 0.2}
    explorer.wait(0)
    before = explorer.data.inside
    assert explorer.wait(300)
    assert not explorer.controls["min_margin"].disabled
    assert explorer.data.inside < before
    assert "±0.5" in explorer.statement(explorer.data)


@pytest.mark.slow
@pytest.mark.parametrize("distance", [1.5, 0.0])
def test_a_moved_cloud_is_as_far_as_it_was_moved(explorer, distance):
    explorer._set({"clouds": "shifted", "distance": distance})
    explorer._forget()
    explorer.refresh()
    assert explorer.error is None
    assert explorer.data.training.exact == pytest.approx(distance, abs=1e-12)
    assert explorer.statement(explorer.data)


@pytest.mark.slow
def test_arrows_come_and_go(explorer):
    def arrows():
        return [artist for artist in explorer.figure.axes[0].collections if artist.get_gid() == "transport"]

    assert len(arrows()) == 1
    explorer.controls["arrows"].value = False
    assert arrows() == []
    assert explorer.work_state == "idle"


@pytest.mark.parametrize("kind", ["squares", "gaussians", "moons", "shifted"])
def test_every_pair_of_clouds_parts_with_the_distance(kind):
    x, y = clouds(kind, 3.0, 0.2, 1)
    assert x.shape == y.shape == (150, 2)
    near = [np.linalg.norm(np.subtract(*(c.mean(axis=0) for c in clouds(kind, d, 0.2, 1)))) for d in (1.0, 3.0)]
    assert near[0] < near[1]


@pytest.mark.slow
def test_your_own_clouds():
    rng = np.random.default_rng(0)
    explorer = WassersteinExplorer(rng.standard_normal((20, 2)), rng.standard_normal((30, 2)) + 2)
    assert explorer.error is None
    assert explorer.state["clouds"] == "yours"
    assert explorer.data.training.exact > 1
    assert explorer.controls["distance"].disabled
    explorer.close()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.full((4, 2), np.inf), np.zeros((4, 2)), "The cloud x"),
        (np.zeros((4, 2)), np.zeros((4, 3)), "(n, 2)"),
        (np.zeros((4, 2)), None, "two clouds"),
        (np.zeros((0, 2)), np.zeros((4, 2)), "(n, 2)"),
    ],
)
def test_clouds_that_cannot_be_used_give_a_message(x, y, words):
    explorer = WassersteinExplorer(x, y)
    assert words in str(explorer.error)
    assert 'role="alert"' in explorer._alert.value
    explorer.close()
