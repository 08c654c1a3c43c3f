"""Plots of fitted functions, by the data in their artists."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lipviz import plots
from lipviz.plots.function_fits import plot_function_fit
from lipviz.toys.function_fits import FunctionFit
from lipviz.toys.networks import ACTIVATIONS
from tests.plots.pictures import left_title

X = np.linspace(-1, 1, 21)


def fit(activation="relu", shrink=0.5, constrained=True, target=np.abs, name="abs"):
    return FunctionFit(
        activation, name, constrained, 1.0, 16, 3, X, target(X), shrink * target(X), np.linspace(1, 0.1, 30), 100
    )


def drawn(ax):
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


ALL = [fit(name, 0.1 * i) for i, name in enumerate(ACTIVATIONS)]


@pytest.mark.parametrize("data", [fit(), [fit()], ALL, [fit(), fit(constrained=False)]])
def test_a_plot_draws_on_the_axes_it_is_given_and_stays_inside(data):
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot_function_fit(data, ax=right) is right
    assert not left.lines
    ax = plot_function_fit(data)
    assert "|x|" in ax.get_title(loc="left")
    assert "no unit" in ax.get_xlabel()
    assert "no unit" in ax.get_ylabel()
    FigureCanvasAgg(ax.figure).draw()
    for text in (left_title(ax), ax.xaxis.label, ax.yaxis.label, ax.get_legend()):
        box = text.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= ax.figure.bbox.x1 + 1
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before


def test_lines_are_the_fits_and_the_target():
    ax = plot_function_fit(ALL)
    lines = drawn(ax)
    np.testing.assert_array_equal(lines["target"].get_xydata(), np.column_stack([X, np.abs(X)]))
    assert lines["target"].get_linestyle() == "--"
    for i, data in enumerate(ALL):
        np.testing.assert_array_equal(lines[f"fit {i}"].get_ydata(), data.prediction)
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines.values()}
    assert len(looks) == 7
    assert len({line.get_marker() for line in lines.values()}) == 7
    low, high = ax.get_ylim()
    assert low < 0 < 1 < high


def test_another_fit_moves_the_lines():
    ax = plot_function_fit(fit())
    line = drawn(ax)["fit 0"]
    plot_function_fit(fit(shrink=0.9), ax=ax)
    assert drawn(ax)["fit 0"] is line
    np.testing.assert_allclose(line.get_ydata(), 0.9 * np.abs(X))


def test_a_flat_target_has_a_frame():
    low, high = plot_function_fit(fit(target=np.zeros_like, name="zero")).get_ylim()
    assert low < 0 < high


@pytest.mark.parametrize("data", [[], [fit(), fit(target=np.sin, name="sin")]])
def test_fits_belong_together(data):
    with pytest.raises(ValueError, match="Expected"):
        plot_function_fit(data)


def test_words():
    words = plots.alt_text(fit())
    assert "1-Lipschitz network of ReLU after 30 steps" in words
    assert "steepest slope 0.5" in words
    assert "unconstrained" in plots.alt_text(fit(constrained=False))
