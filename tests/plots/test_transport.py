"""Plots of transport and potentials, by the data in their artists."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lipviz import plots
from lipviz.measure.transport import PotentialField, transport_moment, wasserstein_distance
from lipviz.plots.transport import plot_potential, plot_wasserstein_training
from lipviz.toys.kantorovich_rubinstein import KRTraining
from tests.plots.pictures import left_title

X, Y = np.array([[2.0, 0.0], [3.0, 1.0], [2.5, 0.0]]), np.array([[0.0, 0.0], [0.0, 1.0]])
X0, X1 = np.linspace(-1, 4, 11), np.linspace(-1, 2, 7)


def potential(scale=1.0):
    field = np.tile(scale * X0, (7, 1))
    return PotentialField("net", X0, X1, field, X, Y, scale * 2.5)


def training(name="net", reached=0.9, k=1.0, exact=2.0, count=50):
    steps = np.arange(count)
    return KRTraining(name, steps, k * exact * reached * (1 - 1.1 * np.exp(-steps / 5)), exact, k)


def artists(ax):
    return {artist.get_gid(): artist for artist in ax.get_children() if artist.get_gid()}


PLOTS = [
    (plot_potential, potential()),
    (plot_potential, potential(0.0)),
    (plot_wasserstein_training, training()),
    (plot_wasserstein_training, [training("a"), training("b", 0.5), training("c", 0.1)]),
]


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given_and_stays_inside(plot, data):
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot(data, ax=right) is right
    assert not left.get_title(loc="left")
    ax = plot(data)
    assert "input" in ax.get_ylabel()
    FigureCanvasAgg(ax.figure).draw()
    texts = [left_title(ax), ax.xaxis.label, ax.yaxis.label, ax.get_legend(), *ax.texts]
    texts += [scale.yaxis.label for scale in ax.child_axes]
    for box in [text.get_window_extent() for text in texts]:
        assert box.x0 >= -1
        assert box.x1 <= ax.figure.bbox.x1 + 1
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before


def test_the_potential_with_its_clouds_and_transport():
    data, plan = potential(), wasserstein_distance(X, Y)
    ax = plot_potential(data, transport=plan)
    found = artists(ax)
    np.testing.assert_array_equal(found["field"].get_array(), data.potential)
    assert found["field"].get_clim() == (-1, 4)
    np.testing.assert_array_equal(found["points 1"].get_xydata(), X)
    np.testing.assert_array_equal(found["points 0"].get_xydata(), Y)
    arrows = found["transport"]
    np.testing.assert_array_equal(arrows.get_offsets(), X[plan.pairs[:, 0]])
    np.testing.assert_allclose(np.column_stack([arrows.U, arrows.V]), (Y[plan.pairs[:, 1]] - X[plan.pairs[:, 0]]))
    assert sorted(text.get_text() for text in ax.get_legend().get_texts()) == ["cloud x", "cloud y"]
    levels = found["levels"].levels
    np.testing.assert_allclose(np.diff(levels), levels[1] - levels[0])
    assert "estimate 2.5" in ax.get_title(loc="left")
    plot_potential(potential(2.0), ax=ax)
    assert "transport" not in artists(ax)
    assert artists(ax)["field"].get_clim() == (-2, 8)
    assert "levels" not in artists(plot_potential(potential(0.0)))


def test_the_transport_belongs_to_the_clouds():
    with pytest.raises(ValueError, match="same clouds"):
        plot_potential(potential(), transport=wasserstein_distance(X + 1, Y))
    with pytest.raises(ValueError, match="same clouds"):
        plot_potential(potential(), transport=wasserstein_distance(X[:1], Y))


def test_estimates_beside_the_exact_distance():
    data = training(k=3.0)
    ax = plot_wasserstein_training(data)
    lines = {line.get_gid(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["estimate 0"].get_ydata(), data.estimates)
    np.testing.assert_allclose(lines["exact"].get_ydata(), 6)
    assert lines["exact"].get_label() == "exact × k"
    (text,) = ax.texts
    assert text.get_text() == f"net reached {np.floor(1000 * data.reached) / 10:.1f} %"
    plot_wasserstein_training(training(k=3.0, reached=0.5), ax=ax)
    assert len(ax.texts) == 1
    assert "49.9 %" in text.get_text()
    low, high = plot_wasserstein_training(data).get_ylim()
    assert low < data.estimates.min() < 6 < high


@pytest.mark.parametrize("data", [[], [training(), training(exact=3.0)], [training()] * 7])
def test_trainings_belong_together(data):
    with pytest.raises(ValueError, match="one to 6"):
        plot_wasserstein_training(data)


def test_lines_differ_without_their_colour():
    ax = plot_wasserstein_training([training(f"{i}") for i in range(6)])
    looks = [(line.get_linestyle(), line.get_marker()) for line in ax.lines]
    assert len(set(looks)) == 7


def test_words():
    assert "k is 1: 89.9 % reached" in plots.alt_text(training())
    assert "reached" not in plots.alt_text(training(exact=0.0))
    assert "3 points and a cloud y of 2" in plots.alt_text(potential())
    assert "3 points to 2" in plots.alt_text(wasserstein_distance(X, Y))
    assert "after 25 % of their ways" in plots.alt_text(transport_moment(wasserstein_distance(X, Y), 0.25))


def test_a_motion_needs_a_plane():
    with pytest.raises(ValueError, match="dimension 1"):
        plots.plot_transport_moment(transport_moment(wasserstein_distance([0.0], [1.0]), 0.5))
