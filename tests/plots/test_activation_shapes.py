"""Plots of activations, by the data in their artists."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from lipviz import layers, plots
from lipviz.measure.activation_shapes import activation_shape
from lipviz.plots.activation_shapes import (
    plot_activation_jacobian,
    plot_activation_outputs,
    plot_activation_plane,
)

SORTED = activation_shape(layers.FullSort(), 2, points=21, name="FullSort")
DOUBLED = activation_shape(layers.MaxMin(), 2, points=21, seed=1, name="MaxMin")
WIDE = activation_shape("relu", 4, points=21, seed=2)
PLOTS = [(plot_activation_outputs, SORTED), (plot_activation_jacobian, DOUBLED), (plot_activation_plane, DOUBLED)]


def drawn(ax):
    return {artist.get_gid(): artist for artist in ax.get_children() if artist.get_gid()}


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given_and_names_everything(plot, data):
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot(data, ax=right, place=0.5) is right
    assert not drawn(left)
    assert right.get_title(loc="left")
    assert right.get_xlabel()
    assert right.get_ylabel()
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before
    assert "MaxMin" in plots.alt_text(DOUBLED)
    assert "lattice" in plots.alt_text(DOUBLED)
    assert "lattice" not in plots.alt_text(WIDE)


def test_lines_show_the_outputs_and_the_jacobian():
    ax = plot_activation_outputs(SORTED, place=1.0)
    for order in range(2):
        np.testing.assert_array_equal(drawn(ax)[f"output {order}"].get_ydata(), SORTED.outputs[:, order])
        assert drawn(ax)[f"output {order}"].get_marker() == f"${order + 1}$"
    assert np.isnan(drawn(ax)["output 2"].get_ydata()).all()
    np.testing.assert_array_equal(drawn(ax)["place"].get_xdata(), [1, 1])
    assert "FullSort" in drawn(ax)["name"].get_text()
    ax = plot_activation_jacobian(WIDE)
    for gid, values in (("largest", WIDE.values[:, 0]), ("smallest", WIDE.values[:, -1]), ("kept", WIDE.kept),
                        ("relu", WIDE.kept_by_relu)):  # fmt: skip
        np.testing.assert_array_equal(drawn(ax)[gid].get_ydata(), values)
    looks = {(drawn(ax)[gid].get_linestyle(), drawn(ax)[gid].get_marker()) for gid in ("largest", "smallest", "kept")}
    assert len(looks) == 3
    assert np.isnan(drawn(ax)["place"].get_xdata()).all()


def test_the_plane_shows_images():
    ax = plot_activation_plane(SORTED, place=0.0)
    found = drawn(ax)
    for order in range(2):
        xy = found[f"lattice {order}"].get_xydata()
        np.testing.assert_array_equal(xy[~np.isnan(xy[:, 0])], SORTED.plane.images[order].reshape(-1, 2))
    np.testing.assert_array_equal(found["letter"].get_xydata(), SORTED.plane.letter)
    np.testing.assert_array_equal(found["letter image"].get_xydata(), SORTED.plane.letter_image)
    np.testing.assert_array_equal(found["place"].get_xydata()[0], SORTED.outputs[SORTED.nearest(0.0)])
    assert ax.get_aspect() == 1
    assert "2 of 4" in drawn(plot_activation_plane(DOUBLED))["name"].get_text()
    with pytest.raises(ValueError, match="two channels"):
        plot_activation_plane(WIDE)


def test_more_outputs_than_lines():
    many = activation_shape(layers.MaxMin(), 9, points=5)
    assert len([gid for gid in drawn(plot_activation_outputs(many)) if gid.startswith("output")]) == 16
