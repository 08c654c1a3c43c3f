"""Plots of single layers and of norms decades apart, by the data in their artists."""

import keras
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from lipviz import layers, plots
from lipviz.measure import GradientNorms
from lipviz.measure.layer_measurement import measure_layer
from lipviz.plots.gradient_histograms import plot_log_norms
from lipviz.plots.layer_measurement import plot_layer_gains, plot_layer_spectrum


def measured(layer, *shape):
    layer.build((None, *shape))
    return measure_layer(layer)


DENSE = measured(layers.SpectralDense(4, k_coef_lip=2.0), 6)
POOLING = measured(layers.ScaledAveragePooling2D(2), 4, 4, 1)
PLAIN = measured(keras.layers.Dense(4), 6)
RNG = np.random.default_rng(0)


def norms(name, scale):
    values = scale * RNG.uniform(0.1, 1, 60)
    return GradientNorms(name, "the output", values, values[:, None])


NORMS = [norms("a", 1.0), norms("b", 1e-12)]


def drawn(ax):
    return {artist.get_gid(): artist for artist in ax.get_children() if artist.get_gid()}


@pytest.mark.parametrize(
    ("plot", "data"), [(plot_layer_spectrum, DENSE), (plot_layer_gains, POOLING), (plot_log_norms, NORMS)]
)
def test_a_plot_draws_on_the_axes_it_is_given_and_names_everything(plot, data):
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot(data, ax=right) is right
    assert not drawn(left)
    assert right.get_title(loc="left")
    assert right.get_xlabel()
    assert right.get_ylabel()
    assert right.get_legend().get_texts()
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before


def test_spectra():
    ax = plot_layer_spectrum(DENSE)
    np.testing.assert_array_equal(drawn(ax)["constrained"].get_ydata(), DENSE.spectrum.constrained)
    np.testing.assert_array_equal(drawn(ax)["k"].get_ydata(), [2, 2])
    ax = plot_layer_spectrum(POOLING)
    np.testing.assert_array_equal(drawn(ax)["raw"].get_ydata(), POOLING.spectrum.used)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["the layer"]
    ax = plot_layer_spectrum(PLAIN)
    assert np.isnan(drawn(ax)["k"].get_ydata()).all()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["kernel, without a constraint"]
    assert drawn(ax)["raw"].get_color() == drawn(plot_layer_spectrum(DENSE))["constrained"].get_color()


@pytest.mark.parametrize(
    ("layer", "last"), [(layers.SpectralDense(4), "after Björck"), (layers.FrobeniusDense(4), "constrained")]
)
def test_only_kernels_that_the_iteration_changed_are_said_to_be_so(layer, last):
    legend = plot_layer_spectrum(measured(layer, 6)).get_legend()
    assert [text.get_text() for text in legend.get_texts()][-1] == last


@pytest.mark.parametrize("data", [DENSE, POOLING, PLAIN])
def test_gains_and_bounds(data):
    ax = plot_layer_gains(data)
    steps = drawn(ax)["gains"].get_data()
    np.testing.assert_allclose(steps.values, 100 * np.histogram(data.gains, steps.edges)[0] / len(data.gains))
    assert steps.values.sum() == pytest.approx(100)
    assert drawn(ax)["largest"].get_xdata()[0] == data.largest
    assert drawn(ax)["certified"].get_xdata()[0] == data.bound.upper
    assert (data.k is None) == bool(np.isnan(drawn(ax)["k"].get_xdata()[0]))
    assert ax.get_xlim()[1] > data.largest
    assert data.kind in plots.alt_text(data)


def test_norms_decades_apart_are_all_counted():
    ax = plot_log_norms(NORMS, bottom=1e-9)
    for order in range(2):
        assert drawn(ax)[f"norms {order}"].get_data().values.sum() == 60
    assert drawn(ax)["norms 1"].get_data().values[0] == 60
    for data, message in (([], "Received: 0"), (NORMS * 3, "Received: 6"), ([norms("c", 9.0)], "up to 2")):
        with pytest.raises(ValueError, match=message):
            plot_log_norms(data)
    with pytest.raises(ValueError, match="bottom"):
        plot_log_norms(NORMS, bottom=0)
