"""Plots of kinds of layers: what is drawn is what was measured."""

import numpy as np
import pytest

from lipviz import plots
from lipviz.measure import CONVOLUTION_KINDS, DENSE_KINDS, KindSpectra
from lipviz.toys import KindComparison
from tests.toys.test_kind_runs import run


def spectra(kinds=DENSE_KINDS[:3], depth=2, low=0.2, count=9):
    values = tuple(np.linspace(1, low + 0.1 * place, count) for place in range(len(kinds)))
    return KindSpectra(tuple(kinds), (), depth, low, "same", (count,), values, np.linspace(1, low, count))


def networks(kinds=DENSE_KINDS[:3], missing=(), depth=2, epsilons=(0.1, 0.5), costs=(1.5, 4.0, 2.0)):
    runs = tuple(
        None if place in missing else run(kind, depth + place, 0.9 - 0.1 * place) for place, kind in enumerate(kinds)
    )
    return KindComparison(tuple(kinds), runs, np.array(costs[: len(kinds)]), depth, np.array(epsilons))


def labels(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def test_each_kind_has_a_row_of_all_its_singular_values():
    data = spectra()
    ax = plots.plot_kind_spectra(data)
    lines = {line.get_gid(): line.get_xydata() for line in ax.lines}
    for place, values in enumerate(data.values):
        np.testing.assert_array_equal(lines[f"kind {place}"][:, 0], values)
        np.testing.assert_allclose(np.abs(lines[f"kind {place}"][:, 1] - place).max(), 0.36 * 8 / 9)
    assert labels(ax) == [kind.label for kind in data.kinds]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first kind is on top
    assert "2 layers" in ax.get_title(loc="left")


def test_each_network_has_its_shares_in_a_row():
    data = networks(missing=(1,))
    ax = plots.plot_kind_accuracy(data)
    lines = {line.get_gid(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["share 0"].get_xdata(), data.accuracy)
    np.testing.assert_array_equal(lines["share 2"].get_xdata(), data.certified[:, 1])
    looks = {(lines[f"share {which}"].get_color(), lines[f"share {which}"].get_marker()) for which in range(3)}
    assert len({color for color, _ in looks}) == len({marker for _, marker in looks}) == 3
    assert [text.get_text() for text in ax.texts] == ["", "not trained", ""]
    assert "2–4 hidden layers" in ax.get_xlabel()
    with pytest.raises(ValueError, match="at most 4 sizes"):
        plots.plot_kind_accuracy(networks(epsilons=(0.1, 0.2, 0.3, 0.4, 0.5)))


def test_each_cost_is_a_bar():
    ax = plots.plot_kind_costs(networks(costs=(1.5, np.nan, 2.0)))
    assert [bar.get_width() for bar in ax.patches] == [1.5, 0.0, 2.0]
    assert [text.get_text() for text in ax.texts] == ["1.5", "not measured", "2.0"]


def test_the_words_say_what_the_pictures_show():
    words = plots.alt_text(spectra()) + plots.alt_text(networks(CONVOLUTION_KINDS[:2], missing=(0,)))
    for part in ("a stack of 2 layers", "SpectralDense 1 to 0.2, median 0.6", "SpectralConv2D not trained"):
        assert part in words
    assert "SpectralConv2D(bound='tight') 80 %, certified 72 / 40 %, a step costs 4.0" in words
