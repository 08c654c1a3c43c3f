"""Plots of certified radii and accuracies, by the data in their artists."""

import dataclasses
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lipviz import certification, plots
from tests.plots.pictures import left_title

RNG = np.random.default_rng(0)


def accuracy(empirical=True, count=7):
    epsilons = np.linspace(0, 1.2, count)
    left = 0.9 * np.exp(-epsilons)
    return certification.CertifiedAccuracy(epsilons, left**2, 0.91, 100, left if empirical else None)


def radii(values=None):
    values = RNG.exponential(0.3, 200) if values is None else np.asarray(values, float)
    zeros = np.zeros(len(values), int)
    return certification.CertifiedRadii(values, zeros, values, None, np.ones((2, 2)))


def drawn(ax):
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


PLOTS = [
    (plots.plot_certified_accuracy, accuracy()),
    (plots.plot_certified_accuracy, accuracy(empirical=False)),
    (plots.plot_certified_accuracies, {"τ = 1": accuracy(), "τ = 10": accuracy(empirical=False, count=4)}),
    (plots.plot_radii, radii()),
    (plots.plot_radii, radii([0.5, 0.1, np.inf, 0.0])),
]


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given_and_names_everything(plot, data):
    left, right = Figure().subplots(1, 2)
    assert plot(data, ax=right) is right
    assert not left.lines
    assert right.lines
    for text in (right.get_title(loc="left"), right.get_xlabel(), right.get_ylabel()):
        assert text
    assert "units of the input" in right.get_xlabel()
    assert right.get_legend().get_texts()


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_text_stays_inside_of_the_figure_and_apart(plot, data):
    ax = plot(data)
    FigureCanvasAgg(ax.figure).draw()
    frame = ax.figure.bbox
    texts = [left_title(ax), ax.xaxis.label, ax.yaxis.label, ax.get_legend()]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        places = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        texts += [label for place, label in places if low <= place <= high]
    boxes = [text.get_window_extent() for text in texts]
    for box in boxes:
        assert box.x0 >= frame.x0 - 1
        assert box.x1 <= frame.x1 + 1
        assert box.y0 >= frame.y0 - 1
        assert box.y1 <= frame.y1 + 1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_accuracy_shows_what_is_certified_and_what_attacks_left():
    data = accuracy()
    ax = plots.plot_certified_accuracy(data)
    lines = drawn(ax)
    assert list(lines) == ["certified", "empirical"]
    for name, line in lines.items():
        np.testing.assert_array_equal(line.get_xdata(), data.epsilons)
        np.testing.assert_array_equal(line.get_ydata(), getattr(data, name))
    level = [line for line in ax.lines if not line.get_gid()]
    assert [list(line.get_ydata()) for line in level] == [[0.91, 0.91]]
    looks = {(line.get_linestyle(), line.get_marker(), line.get_color()) for line in lines.values()}
    assert len(looks) == 2
    low, high = ax.get_ylim()
    assert low <= 0 < 1 <= high


def test_accuracy_without_an_attack_shows_one_line():
    assert list(drawn(plots.plot_certified_accuracy(accuracy(empirical=False)))) == ["certified"]


def test_sizes_are_put_in_order():
    data = certification.CertifiedAccuracy(np.array([1.0, 0.0, 0.5]), np.array([0.1, 0.9, 0.4]), 0.9, 10)
    line = drawn(plots.plot_certified_accuracy(data))["certified"]
    np.testing.assert_array_equal(line.get_xdata(), [0, 0.5, 1])
    np.testing.assert_array_equal(line.get_ydata(), [0.9, 0.4, 0.1])


def test_one_size_of_zero_has_a_frame():
    data = certification.CertifiedAccuracy(np.array([0.0]), np.array([0.9]), 0.9, 10)
    low, high = plots.plot_certified_accuracy(data).get_xlim()
    assert low < 0 < high


def test_radii_are_counted():
    data = radii()
    ax = plots.plot_radii(data)
    (stairs,) = [patch for patch in ax.patches if patch.get_gid() == "radii"]
    values, edges, _ = stairs.get_data()
    assert values.sum() == 200
    counts, _ = np.histogram(data.radii, edges)
    np.testing.assert_array_equal(values, counts)
    np.testing.assert_array_equal(drawn(ax)["median"].get_xdata(), 2 * [np.median(data.radii)])
    assert ax.get_ylim()[1] > values.max()


def test_infinite_radii_are_said_to_be_left_out():
    ax = plots.plot_radii(radii([0.5, 0.1, np.inf, 0.0]))
    assert "1 infinite" in ax.get_legend().get_texts()[0].get_text()
    (stairs,) = [patch for patch in ax.patches if patch.get_gid() == "radii"]
    assert stairs.get_data()[0].sum() == 3
    plots.picture(plots.plot_radii(radii([np.inf])), "x")
    plots.picture(plots.plot_radii(radii([0.0, 0.0])), "x")


def test_words_for_both():
    words = plots.alt_text(accuracy(count=3))
    assert "0.91 without one" in words
    assert words.count("certified") == words.count("under attack") == 3
    assert "under attack" not in plots.alt_text(accuracy(empirical=False))
    words = plots.alt_text(radii([0.5, 0.1, np.inf, 0.0, 0.0]))
    assert "5 samples: from 0 to inf, median 0.1, 2 of them 0" in words


def test_networks_are_told_apart_by_colour_marker_and_dash_and_their_epsilons_are_sorted():
    networks = {f"τ = {number}": accuracy(count=5 + number) for number in range(5)}
    first = networks["τ = 0"]
    networks["τ = 0"] = dataclasses.replace(first, epsilons=first.epsilons[::-1], certified=first.certified[::-1])
    ax = plots.plot_certified_accuracies(networks)
    lines = list(drawn(ax).values())
    np.testing.assert_array_equal(lines[0].get_xydata(), np.transpose([first.epsilons, first.certified]))
    for look in ("get_color", "get_marker", "_dash_pattern"):
        seen = [getattr(line, look) for line in lines]
        assert len({str(one() if callable(one) else one) for one in seen}) == 5
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(networks)
    for wrong in ({}, {**networks, "τ = 5": first}):
        with pytest.raises(ValueError, match="one to 5 networks"):
            plots.plot_certified_accuracies(wrong)
