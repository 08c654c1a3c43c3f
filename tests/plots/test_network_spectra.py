"""Plots of the spectra of networks, by the data in their artists."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from lipviz import plots
from lipviz.measure.network_spectra import JacobianSpectra
from lipviz.measure.spectra import LayerSpectrum, NetworkSpectrum
from lipviz.plots.network_spectra import plot_jacobian_spectra
from tests.plots.test_robustness import test_text_stays_inside_of_the_figure_and_apart as text_stays_apart

RNG = np.random.default_rng(0)


def spectra(count=6, samples=20, largest=1.0):
    values = np.sort(largest * RNG.uniform(0.1, 1, (samples, count)), axis=1)[:, ::-1]
    return JacobianSpectra("net", (count, count + 2), values)


def drawn(ax):
    return {artist.get_gid(): artist for artist in ax.get_children() if artist.get_gid()}


def test_a_plot_draws_on_the_axes_it_is_given_and_names_everything():
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot_jacobian_spectra(spectra(), ax=right) is right
    assert not drawn(left)
    assert right.get_title(loc="left")
    assert "rank" in right.get_xlabel()
    assert "no unit" in right.get_ylabel()
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["5–95 % of samples", "extremes", "median"]
    text_stays_apart(plot_jacobian_spectra, spectra())
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before


def test_lines_show_quantiles_rank_by_rank():
    data = spectra()
    found = drawn(plot_jacobian_spectra(data))
    for name, q in (("least", 0), ("median", 0.5), ("most", 1)):
        np.testing.assert_array_equal(found[name].get_xdata(), np.arange(1, 7))
        np.testing.assert_array_equal(found[name].get_ydata(), np.quantile(data.values, q, axis=0))
    corners = {tuple(point) for point in found["band"].get_paths()[0].vertices}
    for q in (0.05, 0.95):
        assert set(zip(np.arange(1.0, 7), np.quantile(data.values, q, axis=0), strict=True)) <= corners
    assert len({(line.get_linestyle(), line.get_marker()) for line in (found["median"], found["most"])}) == 2


@pytest.mark.parametrize("values", [np.zeros((3, 4)), np.ones((1, 1)), [[1e12, 1, 0]], np.full((2, 2), 1e-9)])
def test_the_axis_holds_any_spectrum(values):
    values = np.asarray(values)
    data = JacobianSpectra("net", values.shape, values)
    ax = plot_jacobian_spectra(data)
    low, high = ax.get_ylim()
    assert 0 < low < high
    assert high > max(1, values.max())
    plots.picture(ax, plots.alt_text(data))


def test_words_for_it():
    words = plots.alt_text(spectra(6, 20))
    assert "6 × 8, at 20 samples" in words


def test_spectra_of_operators_have_the_plot_of_spectra():
    layer = LayerSpectrum("conv", (60, 40), np.ones(40), np.ones(40) / 2, np.ones(40), 1.0, "operator")
    ax = plots.plot_singular_values(NetworkSpectrum("net", (layer, layer)))
    assert len([name for name in drawn(ax) if name.startswith("used")]) == 2
    assert "60 × 40 (operator)" in plots.alt_text(layer)
