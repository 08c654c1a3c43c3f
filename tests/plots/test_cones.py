"""The plot of a graph and a cone, by the data in its artists."""

import numpy as np
import pytest
from matplotlib.path import Path

from lipviz import plots
from lipviz.measure import lipschitz_cone

STEEP = lipschitz_cone(lambda x: np.tanh(4 * x), 0.1, 1.5, name="tanh 4x")
WIDE = lipschitz_cone(np.abs, -1.0, 2.0, name="|x|")
FLAT = lipschitz_cone(np.zeros_like, 0.0, 0.0, name="0")


@pytest.mark.parametrize("data", [STEEP, WIDE, lipschitz_cone(np.abs, 0.5, 0.0)])
def test_the_grey_area_holds_the_points_that_are_drawn_as_inside(data):
    ax = plots.plot_lipschitz_cone(data)
    lines = {line.get_gid(): line for line in ax.lines}
    halves = [Path(patch.get_xy()) for patch in ax.patches]
    points = np.column_stack([data.x, data.y])
    covered = np.any([half.contains_points(points) for half in halves], axis=0)
    clear = np.abs(np.abs(data.y - data.value) - data.k * np.abs(data.x - data.place)) > 1e-9  # not on a side
    assert clear.any()
    np.testing.assert_array_equal(covered[clear], data.inside[clear])
    drawn = lines["inside"].get_ydata()
    np.testing.assert_array_equal(~np.isnan(drawn), data.inside)
    np.testing.assert_array_equal(lines["graph"].get_ydata(), data.y)
    (x0, x1), (y0, y1) = (lines["secant"].get_data(orig=True)[axis] for axis in (0, 1))
    assert abs((y1 - y0) / (x1 - x0)) == pytest.approx(data.steepest)
    corners = [np.array(ax.get_xlim())[[0, 0, 1, 1]], np.array(ax.get_ylim())[[0, 1, 0, 1]]]
    beyond = np.abs(corners[1] - data.value) > data.k * np.abs(corners[0] - data.place)
    inner = np.column_stack(corners) * 0.999
    np.testing.assert_array_equal(np.any([half.contains_points(inner) for half in halves], axis=0), beyond)


def test_the_words_say_whether_the_graph_enters():
    assert "The graph enters the cone, as far as x = " in plots.alt_text(STEEP)
    assert plots.alt_text(WIDE).endswith("The graph lies outside of the cone.")
    assert "±2 opens upwards and downwards at the point x = -1 of the graph of |x|" in plots.alt_text(WIDE)
