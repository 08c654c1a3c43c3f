"""The plot of a certificate, by the data in its artists."""

import math

import keras
import numpy as np
import pytest

import lipviz
from lipviz import layers as lip
from lipviz import plots
from lipviz.certification import Certificate, LayerBound
from lipviz.measure import DepthBounds

ROWS = (
    LayerBound("conv", "Conv2D", 1.5, 1.6, "circulant", 1.0),
    LayerBound("conv · relu", "Conv2D", 1.0, 1.0, "largest slope", 0.0),
    LayerBound("mystery", "Mystery", 0.0, math.inf, "no rule", 0.0),
    LayerBound("a_layer_with_a_name_that_goes_on_and_on_and_on", "Dense", 0.001, 0.002, "SVD", 0.0),
)

STEPS = ("dense", "relu", "mystery")


def depths(product=(1, 8, 8, np.inf), together=(1, 8, 4, np.inf), found=(1, 2, 0, 3), norm=2):
    found = None if found is None else np.array(found, float)
    steps = STEPS[: len(product) - 1]
    return DepthBounds("net", steps, np.array(product, float), np.array(together, float), found, norm, "auto")


def artist(ax, gid):
    return next(child for child in ax.get_children() if child.get_gid() == gid)


def test_bounds_are_drawn_where_they_are():
    ax = plots.plot_certificate(Certificate("net", math.inf, 0.25, ROWS, 2, (8, 8, 1)))
    assert list(artist(ax, "lower").get_xdata()) == [1.5, 1.0, 0.001, 0.25]
    assert list(artist(ax, "lower").get_ydata()) == [0, 1, 3, 4]
    assert list(artist(ax, "upper").get_xdata()) == [1.6, 1.0, 0.002]
    assert list(artist(ax, "unbounded").get_ydata()) == [2, 4]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[0] == "conv"
    assert labels[-1] == "whole model"
    assert max(map(len, labels)) <= 34
    assert "l2 norm" in ax.get_xlabel()
    assert "net" in ax.get_title(loc="left")
    low, high = ax.get_xlim()
    assert low < 0.001
    assert high > 1.6


def test_a_real_certificate_on_given_axes_and_in_words():
    model = lipviz.Sequential([keras.Input((5,)), lip.SpectralDense(4), lip.GroupSort2()])
    certificate = lipviz.certify(model, norm="inf", search=False)
    (ax,) = plots.new_figure().axes
    assert plots.plot_certificate(certificate, ax=ax) is ax
    assert "l∞ norm" in ax.get_xlabel()
    words = plots.alt_text(certificate)
    assert "spectral_dense" in words
    assert "The whole model from 0 to" in words


@pytest.mark.parametrize("count", [1, 30])
def test_text_stays_inside_of_the_figure(count):
    ax = plots.plot_certificate(Certificate("net", 1.6**count, 0.0, ROWS[:1] * count, 1, (8,)))
    figure = ax.figure
    figure.draw_without_rendering()
    box = ax.get_tightbbox()
    width, height = figure.canvas.get_width_height()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height


# --- by depth ---


def test_bounds_by_depth_are_drawn_where_they_are():
    ax = plots.plot_depth_bounds(depths())
    assert artist(ax, "product").get_xdata().tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(artist(ax, "product").get_ydata(), [1, 8, 8, np.nan])
    np.testing.assert_array_equal(artist(ax, "together").get_ydata(), [1, 8, 4, np.nan])
    np.testing.assert_array_equal(artist(ax, "found").get_ydata(), [1, 2, np.nan, 3])
    assert ax.get_yscale() == "log"
    assert "l2 norm" in ax.get_ylabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["product", "steps together", "search"]


def test_bounds_by_depth_in_words():
    words = plots.alt_text(depths(product=(1, 8, 16), together=(1, 8, 4), found=None))
    assert "after 2 steps the product of single steps is 16, and several steps together give 4." in words
    assert "loses most at step 2, 'relu': a factor of 4." in words
    assert "search" not in words
    words = plots.alt_text(depths(product=(1, np.inf), together=(1, np.inf), found=(1, 2), norm=math.inf))
    assert "l∞ norm" in words
    assert "after 1 step the product of single steps is infinite" in words
    assert "a search found 2. The product loses nothing." in words
    assert "a factor of infinity." in plots.alt_text(depths(product=(1, np.inf), together=(1, 3), found=None))
