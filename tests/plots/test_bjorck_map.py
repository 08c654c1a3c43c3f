"""Plots of Björck's iteration on spectra, by the data in their artists."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from lipviz import plots
from lipviz.measure.bjorck_map import bjorck_iterations_map, bjorck_moment, bjorck_paths
from lipviz.plots import style
from lipviz.plots.bjorck_map import plot_bjorck_map, plot_bjorck_paths
from tests.plots.test_robustness import test_text_stays_inside_of_the_figure_and_apart as text_stays_apart

PATHS = bjorck_paths(betas=(0.1, 0.5, 2.5), eps=(1e-1, 1e-3))
START = bjorck_moment([0.9, 0.4], 0.0)
KERNEL = bjorck_moment([1.0], 1.0, beta=0.2)
LATER = bjorck_moment([1.0, 0.5, 0.1], 3.5, iterations=4)
MAP = bjorck_iterations_map(np.linspace(0.1, 1.2, 12), np.geomspace(0.01, 3, 14))


def drawn(ax):
    return {artist.get_gid(): artist for artist in ax.get_children() if artist.get_gid()}


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize(("plot", "data"), [(plot_bjorck_paths, PATHS), (plot_bjorck_map, MAP)])
def test_a_plot_draws_on_the_axes_it_is_given_and_names_everything(plot, data):
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot(data, ax=right) is right
    assert not drawn(left)
    assert len(right.figure.axes) == 2  # a colour bar is no panel
    assert right.get_title(loc="left")
    assert right.get_xlabel()
    assert "no unit" in right.get_ylabel()
    assert texts(right)
    text_stays_apart(plot, data)
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before


# --- paths ---


@pytest.mark.slow
def test_paths_show_errors_and_where_layers_stop():
    for norm, errors in (("frobenius", PATHS.frobenius_errors), ("spectral", PATHS.errors)):
        ax = plot_bjorck_paths(PATHS, norm=norm)
        lines = drawn(ax)
        assert norm[1:] in ax.get_ylabel()
        for i in range(3):
            for j in range(3):
                line = lines[f"error {i} {j}"]
                np.testing.assert_array_equal(line.get_xdata(), np.arange(16))
                np.testing.assert_array_equal(line.get_ydata(), np.minimum(errors[i, j], 1e4))
                assert line.get_color() == style.PALETTE[i]
            np.testing.assert_array_equal(lines[f"stop {i} 1"].get_xdata(), PATHS.stops[i, :, 1])
        assert len({(lines[f"error {i} {j}"].get_linestyle(), i) for i in range(3) for j in range(3)}) == 9
        assert ax.get_yscale() == "log"
    assert texts(ax) == [
        "β = 0.1", "β = 0.5", "β = 2.5", "even", "geometric", "one small", "stops at eps = 0.1", "stops at eps = 1e-3"
    ]  # fmt: skip


def test_paths_of_one_spectrum_and_no_iteration():
    ax = plot_bjorck_paths(bjorck_paths([0.5], iterations=0, eps=()))
    assert texts(ax) == ["β = 0.5"]
    plots.picture(ax, "x")


def test_more_paths_than_can_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="at most 5"):
        plot_bjorck_paths(bjorck_paths(betas=np.linspace(0.1, 0.5, 6)))
    with pytest.raises(ValueError, match="norm='max'"):
        plot_bjorck_paths(PATHS, norm="max")


# --- the map ---


def test_the_map_shows_counts_and_what_has_none():
    ax = plot_bjorck_map(MAP)
    found = drawn(ax)
    cells = found["iterations"].get_array()
    assert cells.shape == MAP.iterations.T.shape
    np.testing.assert_array_equal(np.ma.getmaskarray(cells), ~MAP.reached.T)
    np.testing.assert_array_equal(cells.compressed(), MAP.iterations.T[MAP.reached.T])
    assert found["iterations"].cmap.name.startswith("cividis")
    corners = found["iterations"].get_coordinates()
    betas, sigmas = np.meshgrid(MAP.betas, MAP.sigmas)
    assert (corners[:-1, :-1, 0] < betas).all()
    assert (corners[1:, 1:, 1] > sigmas).all()
    masks = {"diverges": MAP.diverges, "not reached": ~MAP.reached & ~MAP.diverges, "flipped": MAP.flipped}
    for name, mask in masks.items():
        path = found[name].get_path()
        inside = path.contains_points(np.stack([betas.ravel(), sigmas.ravel()], 1)).reshape(betas.shape)
        np.testing.assert_array_equal(inside, mask.T)
        assert found[name].get_hatch()
    assert len({found[name].get_hatch() for name in masks}) == 3
    assert texts(ax) == list(masks)
    np.testing.assert_allclose(found["limit"].get_ydata()[[0, -1]], MAP.limits[[0, -1]])
    assert set(found["half"].get_xdata()) == {0.5}
    assert "iterations" in ax.child_axes[0].get_ylabel()
    assert ax.get_yscale() == "log"
    assert "contour label" in found


def test_another_map_on_the_same_axes_keeps_the_frame():
    ax = plot_bjorck_map(MAP)
    position, count = ax.get_position().bounds, len(ax.get_children())
    bar = ax.child_axes[0]
    assert plot_bjorck_map(MAP, ax=ax) is ax
    assert (ax.get_position().bounds, len(ax.get_children())) == (position, count)
    assert ax.child_axes == [bar]
    other = bjorck_iterations_map(np.linspace(0.1, 0.5, 5), np.linspace(0.2, 1, 6), tol=1e-2, maxiter=100)
    plot_bjorck_map(other, ax=ax)
    assert drawn(ax)["iterations"].get_array().shape == (6, 5)
    assert len(ax.child_axes) == 1
    assert ax.child_axes != [bar]
    fresh = plot_bjorck_map(other)
    assert ax.get_title(loc="left") == fresh.get_title(loc="left")
    assert (ax.get_yscale(), ax.get_xlim(), ax.get_ylim()) == ("linear", fresh.get_xlim(), fresh.get_ylim())
    assert plot_bjorck_map(MAP, ax=ax).get_yscale() == "log"
    plots.picture(ax, "x")


@pytest.mark.parametrize(
    "data",
    [
        bjorck_iterations_map([0.1, 0.2], [0.0, 0.5]),
        bjorck_iterations_map([2.5, 3.0], [0.3, 0.4, 7.0]),
        bjorck_iterations_map([0.1, 0.5], [0.9, 1.0], maxiter=0),
        bjorck_iterations_map([0.4, 0.5], [0.99, 1.0], tol=1.0),
    ],
    ids=["zero", "nothing arrives", "no iteration", "all there already"],
)
def test_maps_without_some_of_it(data):
    ax = plot_bjorck_map(data)
    plots.picture(ax, plots.alt_text(data))
    assert ax.get_ylim() == (data.sigmas[0], data.sigmas[-1])


def test_a_map_needs_an_area():
    with pytest.raises(ValueError, match="two step sizes"):
        plot_bjorck_map(bjorck_iterations_map([0.5], [0.1, 0.2]))


def test_a_live_figure_follows_the_map():
    figure = plots.new_figure(2)
    plot_bjorck_paths(PATHS, ax=figure.axes[0])
    plot_bjorck_map(MAP, ax=figure.axes[1])
    live = plots.LiveFigure(figure)
    first = live.panels("words")
    assert [panel.alt for panel in first] == ["words", ""]
    plot_bjorck_map(bjorck_iterations_map(MAP.betas, MAP.sigmas, maxiter=7), ax=figure.axes[1])
    second = live.panels("words")
    assert first[1].png != second[1].png


# --- words ---


def test_words_for_both():
    words = plots.alt_text(PATHS)
    assert "15 iterations" in words
    assert words.count("it diverges") == 3
    words = plots.alt_text(MAP)
    assert "from 0.1 to 1.2" in words
    for part in ("diverges", "does not converge in time", "converges to −1"):
        assert part in words
    assert "where it converges" not in plots.alt_text(bjorck_iterations_map([2.5, 3.0], [0.3, 7.0]))


# --- one moment ---


def test_the_moment_in_words():
    assert "unit circle" in plots.alt_text(START)
    assert "iteration 2.5 of 4" in plots.alt_text(LATER)
    assert f"and {LATER.now.min():.3g}" in plots.alt_text(LATER)


def test_the_cobweb_is_on_the_map():
    x, y = drawn(plots.plot_bjorck_cobweb(LATER))["path"].get_data()
    path = LATER.path.min(axis=1)
    np.testing.assert_allclose(x, [path[0], path[0], path[1], path[1], path[2], path[2]])
    np.testing.assert_allclose(y, [path[0], path[1], path[1], path[2], path[2], LATER.now.min()])
    np.testing.assert_allclose(path[1:], 1.5 * path[:-1] - 0.5 * path[:-1] ** 3)
