"""Plots of gradients, by the data in their artists."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from lipviz import plots
from lipviz.measure import GradientFlow, GradientHistory, GradientNorms, gradient_depth, gradient_passage
from lipviz.plots import style
from lipviz.plots.gradients import (
    plot_gradient_depth,
    plot_gradient_flow,
    plot_gradient_history,
    plot_gradient_norms,
)
from tests.plots.test_robustness import test_text_stays_inside_of_the_figure_and_apart as text_stays_apart

RNG = np.random.default_rng(0)


def norms(name="a", scale=1.0, count=200):
    values = scale * RNG.uniform(0.1, 1, count)
    return GradientNorms(name, "the output", values, values[:, None])


def flow(name="a", places=5, lowest=0.1):
    values = np.geomspace(lowest, 1, places)[:, None] * RNG.uniform(0.9, 1.1, (places, 30))
    return GradientFlow(name, "output 1", ("input", *(f"layer_{i}" for i in range(places - 1))), values)


def history(name="a", epochs=6):
    return GradientHistory(name, "the output", np.arange(1, epochs + 1), RNG.uniform(0.1, 1, (epochs, 40)))


DEPTH = gradient_depth(("relu", "groupsort2", "tanh"), (1, 3, 8), 8, 20)
PLOTS = [
    (plot_gradient_norms, norms()),
    (plot_gradient_norms, [norms(), norms("b", 0.5)]),
    (plot_gradient_flow, flow()),
    (plot_gradient_flow, [flow(), flow("b", 9)]),
    (plot_gradient_depth, DEPTH),
    (plot_gradient_depth, gradient_depth(("relu", "groupsort2", "tanh", "elu"), (1, 5), 8, 20)),
    (plot_gradient_history, history()),
    (plot_gradient_history, [history(), history("b", 9)]),
]


def drawn(ax):
    return {artist.get_gid(): artist for artist in ax.get_children() if artist.get_gid()}


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given_and_names_everything(plot, data):
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot(data, ax=right) is right
    assert not drawn(left)
    assert right.get_title(loc="left")
    assert right.get_xlabel()
    assert right.get_ylabel()
    assert texts(right)
    if len(texts(right)) <= 3:
        text_stays_apart(plot, data)
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before


def bands(x, values, ax, order):
    """Assert that a line shows the medians, and its band the quantiles."""
    found = drawn(ax)
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95), axis=-1)
    np.testing.assert_array_equal(found[f"median {order}"].get_xdata(), x)
    np.testing.assert_array_equal(found[f"median {order}"].get_ydata(), middle)
    corners = {tuple(point) for point in found[f"band {order}"].get_paths()[0].vertices}
    floor = ax.get_ylim()[0] / 10
    for line in (low, high):
        assert {(a, max(b, floor)) for a, b in zip(x, line, strict=True)} <= corners


def test_lines_show_medians_and_quantiles():
    ax = plot_gradient_depth(DEPTH)
    for order in range(3):
        bands(DEPTH.depths, DEPTH.norms[order], ax, order)
    assert texts(ax) == list(DEPTH.activations)
    assert drawn(ax)["beside title"].get_text() == "width 8"
    assert texts(plot_gradient_depth(DEPTH, labels=["a", "b", "c"])) == ["a", "b", "c"]
    one, other = flow(), flow("b", 9)
    ax = plot_gradient_flow([one, other], labels=["ReLU", "GroupSort"])
    bands(np.arange(5), one.norms, ax, 0)
    bands(np.arange(9), other.norms, ax, 1)
    assert texts(ax) == ["ReLU", "GroupSort"]
    data = history()
    ax = plot_gradient_history(data)
    bands(data.epochs, data.norms, ax, 0)
    assert texts(ax) == ["a"]
    assert ax.get_yscale() == "log"


def test_lines_differ_without_their_colour():
    ax = plot_gradient_depth(gradient_depth(("relu", "groupsort2", "tanh", "elu", "abs"), (1, 2), 4, 3))
    lines = [line for name, line in drawn(ax).items() if name.startswith("median")]
    assert len({(str(line._dash_pattern), line.get_marker()) for line in lines}) == 5
    assert sorted(line.get_color() for line in lines) == sorted(style.PALETTE)
    relu, groupsort = (style.ACTIVATIONS[name][1]["color"] for name in ("relu", "groupsort2"))
    assert [line.get_color() for line in lines[:2]] == [relu, groupsort]


def test_zeros_have_a_place_below_the_frame():
    data = GradientHistory("a", "the output", np.array([1]), np.zeros((1, 4)))
    plots.picture(plot_gradient_history(data), "x")
    values = np.ones((2, 10))
    values[0, :8] = 0
    ax = plot_gradient_flow(GradientFlow("a", "output 0", ("input", "last"), values))
    plots.picture(ax, "x")
    assert np.isfinite(drawn(ax)["band 0"].get_paths()[0].vertices).all()


# --- the histogram ---


def test_models_are_counted_in_the_same_bins():
    one, other = norms(), norms("b", 0.5, 80)
    ax = plot_gradient_norms([one, other], constant=1.0, labels=["first", "second"])
    steps = [drawn(ax)[f"norms {i}"].get_data() for i in range(2)]
    np.testing.assert_array_equal(steps[0].edges, steps[1].edges)
    for data, step in zip((one, other), steps, strict=True):
        np.testing.assert_array_equal(step.values, np.histogram(data.norms, step.edges)[0])
        assert step.values.sum() == len(data)
    assert texts(ax) == ["first", "second", "certified 1"]
    np.testing.assert_array_equal(drawn(ax)["constant 0"].get_xdata(), [1, 1])
    low, high = ax.get_xlim()
    assert low < 0 < 1 < high
    assert ax.get_ylim()[1] > max(steps[0].values.max(), steps[1].values.max())


def test_constants_of_each_model():
    ax = plot_gradient_norms([norms(), norms("b", 0.5)], constant=[1, 3])
    assert [drawn(ax)[f"constant {i}"].get_xdata()[0] for i in range(2)] == [1, 3]
    assert [drawn(ax)[f"constant {i}"].get_color() for i in range(2)] == list(style.PALETTE[:2])
    assert ax.get_xlim()[1] > 3


@pytest.mark.parametrize("values", [np.zeros(3), np.ones(50), [1e-12, 1e12]])
def test_a_histogram_of_what_is_all_alike_or_far_apart(values):
    values = np.asarray(values)
    ax = plot_gradient_norms(GradientNorms("a", "the output", values, values[:, None]))
    assert drawn(ax)["norms 0"].get_data().values.sum() == len(values)
    plots.picture(ax, "x")


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="0 models"):
        plot_gradient_norms([])
    with pytest.raises(ValueError, match="6 models"):
        plot_gradient_norms([norms()] * 6)
    with pytest.raises(ValueError, match="3 constants"):
        plot_gradient_norms([norms()] * 2, constant=[1, 2, 3])
    for plot, data in ((plot_gradient_flow, flow()), (plot_gradient_history, history())):
        with pytest.raises(ValueError, match="2 labels"):
            plot(data, labels=["a", "b"])
        with pytest.raises(ValueError, match="0 with"):
            plot([])


def test_words_for_all():
    assert "of 'a' with respect to its input, at 200 samples" in plots.alt_text(norms())
    data = flow()
    words = plots.alt_text(data)
    assert f"input {style.number(np.median(data.norms[0]))};" in words
    assert f"layer_3 {style.number(np.median(data.norms[-1]))}." in words
    words = plots.alt_text(DEPTH)
    assert "groupsort2: 1 at depth 1, 1 at depth 8" in words
    assert "6 epochs" in plots.alt_text(history())


@pytest.mark.parametrize("places", [1, 2, 10, 11, 60])
def test_of_a_deep_network_ten_places_are_told_its_ends_among_them(places):
    data = flow(places=places)
    told = plots.alt_text(data).removesuffix(".").split(": ")[-1].split("; ")
    assert len(told) == min(places, 10)
    assert told[0] == f"input {style.number(data.median[0])}"
    assert told[-1] == f"{data.places[-1]} {style.number(data.median[-1])}"
    known = zip(data.places, data.median, strict=True)
    assert set(told) <= {f"{name} {style.number(median)}" for name, median in known}


# --- on their way back ---


def test_a_passage_keeps_its_axes_and_says_where_it_is():
    norms = np.geomspace(1e-20, 5, 12).reshape(4, 3)
    flow = GradientFlow("net", "output 0", ("input", "a", "b", "c"), norms)
    limits = set()
    for step in range(4):
        data = gradient_passage(flow, step)
        left, right = plots.plot_gradient_passage(data), plots.plot_gradient_passage_norms(data)
        limits.add((left.get_xlim(), left.get_ylim(), right.get_xlim(), right.get_ylim()))
        counted = next(patch for patch in right.patches if patch.get_gid() == "norms 0").get_data().values
        assert counted.sum() == 3  # also those that lie below the axis
    assert len(limits) == 1
    assert left.get_ylim() == (1e-15, 10)
    assert "after 3 of 3 layers" in plots.alt_text(data)
    assert "net at 'input'" in plots.alt_text(data)


def test_a_passage_has_a_label_for_each_network():
    data = gradient_passage(GradientFlow("net", "output 0", ("input", "a"), np.ones((2, 3))), 1)
    for plot in (plots.plot_gradient_passage, plots.plot_gradient_passage_norms):
        with pytest.raises(ValueError, match="with 2 labels"):
            plot(data, labels=["a", "b"])
