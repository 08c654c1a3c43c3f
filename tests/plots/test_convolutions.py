"""Plots of claims about convolutions, by the data in their artists."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from lipviz import plots
from lipviz.measure.claims import convolution_claims, sample_kernel
from lipviz.plots.convolutions import plot_convolution_claims, plot_convolution_gains, plot_convolution_spectrum

LYING = convolution_claims(sample_kernel("random", 3, 1, 16, orthogonal=True), 6)
HOLDING = convolution_claims(sample_kernel("random", 3, 2, 2), 7, spectrum=False)
ZERO = convolution_claims(np.zeros((3, 3, 1, 1)), 5)
PLOTS = [plot_convolution_claims, plot_convolution_gains, plot_convolution_spectrum]


def drawn(ax):
    return {artist.get_gid(): artist for artist in ax.get_children() if artist.get_gid()}


@pytest.mark.parametrize("plot", PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given_and_names_everything(plot):
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot(LYING, ax=right) is right
    assert not drawn(left)
    assert right.get_title(loc="left")
    assert right.get_xlabel()
    assert right.get_ylabel() or plot is plot_convolution_claims  # its bars have names
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before
    plots.picture(plot(ZERO), "x")


def test_bars_show_what_the_claims_leave():
    ax = plot_convolution_claims(LYING)
    for place, (name, after, lies) in enumerate(zip(LYING.methods, LYING.after, LYING.is_below_norm, strict=True)):
        bar = drawn(ax)[f"after {place}"]
        assert bar.get_width() == after
        assert bool(bar.get_hatch()) is bool(lies)
        assert drawn(ax)[f"value {place}"].get_text() == f"{after:.3f}"
        assert any(text.get_text().startswith(name) for text in ax.texts)
        assert ("too large" in drawn(ax)[f"verdict {place}"].get_text()) is bool(lies)
    assert LYING.is_below_norm.any()
    assert ax.get_xlim()[1] > LYING.after.max()
    assert "too large" in plots.alt_text(LYING)
    assert "too large" not in plots.alt_text(HOLDING)


def test_gains_and_spectrum():
    found = drawn(plot_convolution_gains(HOLDING))
    np.testing.assert_array_equal(found["gains"].get_ydata(), HOLDING.gains)
    np.testing.assert_array_equal(found["grid"].get_xdata(), HOLDING.grid_frequencies)
    np.testing.assert_array_equal(found["grid"].get_ydata(), HOLDING.grid_gains)
    assert found["norm"].get_ydata()[0] == HOLDING.norm
    found = drawn(plot_convolution_spectrum(LYING))
    np.testing.assert_array_equal(found["spectrum"].get_ydata(), LYING.spectrum)
    assert found["kernel"].get_ydata()[0] == LYING.kernel_norm
    with pytest.raises(ValueError, match="too many"):
        plot_convolution_spectrum(HOLDING)
