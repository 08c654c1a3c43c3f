"""Plots of images and what attacks or gradients say of them, by the data in their artists."""

import dataclasses
import itertools

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lipviz import plots
from lipviz.measure.saliency_maps import AdversarialPairs, Saliency
from lipviz.plots.saliency import plot_adversarial_pairs, plot_saliency
from tests.plots.pictures import left_title

RNG = np.random.default_rng(0)


def saliency(count=4, shape=(6, 5, 1), rivals=True):
    maps = RNG.standard_normal((count, *shape))
    classes = np.arange(count)
    return Saliency(RNG.uniform(size=(count, *shape)), maps, np.ones(count), classes, classes + 1 if rivals else None)


def pairs(count=3, shape=(6, 5), radii=True):
    inputs = RNG.uniform(size=(count, *shape))
    number = np.arange(count)
    success = number % 2 == 0
    distances = np.full(count, 0.5)
    radii = np.full(count, 0.25) if radii else None
    return AdversarialPairs(number, inputs, inputs + 0.1, number, number + 1, success, distances, radii)


def tiles(ax):
    return {image.get_gid(): image for image in ax.images}


PLOTS = [
    (plot_saliency, saliency()),
    (plot_saliency, saliency(1, (4, 4))),
    (plot_saliency, saliency(2, (4, 4, 3), rivals=False)),
    (plot_adversarial_pairs, pairs()),
    (plot_adversarial_pairs, pairs(1, (4, 4, 1), radii=False)),
    (plot_adversarial_pairs, pairs(8, (8, 8, 3))),
]


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given_and_text_stays_apart(plot, data):
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot(data, ax=right) is right
    assert not left.images
    ax = plot(data)
    FigureCanvasAgg(ax.figure).draw()
    (scale,) = ax.child_axes
    assert "input" in scale.get_ylabel()
    texts = [left_title(ax), *ax.get_xticklabels(), *ax.get_yticklabels(), scale.yaxis.label]
    boxes = [text.get_window_extent() for text in texts]
    for box in boxes:
        assert box.x0 >= -1
        assert box.x1 <= ax.figure.bbox.x1 + 1
        assert box.y0 >= -1
        assert box.y1 <= ax.figure.bbox.y1 + 1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before


def test_maps_have_symmetric_limits():
    data = saliency()
    ax = plot_saliency(data)
    found = tiles(ax)
    assert len(found) == 8
    limit = np.abs(data.maps).max()
    for place in range(4):
        np.testing.assert_array_equal(found[f"image {place}"].get_array(), data.inputs[place, ..., 0])
        np.testing.assert_array_equal(found[f"map {place}"].get_array(), data.maps[place, ..., 0])
        assert found[f"map {place}"].get_clim() == (-limit, limit)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["image", "gradient"]
    assert ax.get_xticklabels()[1].get_text() == "class 1 − 2\nnorm 1"
    assert ax.get_xticklabels()[1].get_text() != plot_saliency(saliency(rivals=False)).get_xticklabels()[1].get_text()


def test_channels_of_maps_are_added_up():
    data = saliency(1, (4, 4, 3))
    np.testing.assert_allclose(tiles(plot_saliency(data))["map 0"].get_array(), data.maps[0].sum(axis=-1))


def test_pairs_say_how_far_and_what_is_certified():
    data = pairs()
    ax = plot_adversarial_pairs(data)
    found = tiles(ax)
    assert len(found) == 9
    np.testing.assert_allclose(found["change 1"].get_array(), data.changes[1])
    assert found["image 0"].get_clim() == found["attacked 0"].get_clim()
    words = [text.get_text() for text in ax.get_xticklabels()]
    assert words[0] == "0 → 1\ncertified 0.25\nattack 0.5"
    assert words[1] == "1, withstood\ncertified 0.25\ntried 0.5"
    assert "certified" not in plot_adversarial_pairs(pairs(radii=False)).get_xticklabels()[0].get_text()


def test_names_of_classes_are_in_the_picture_and_in_its_words():
    names = ("sneaker", "boot", "coat")  # and a class without a name
    named = dataclasses.replace(pairs(), class_names=names)
    words = plots.alt_text(named)
    assert "sample 0: sneaker becomes boot by" in words
    assert "sample 1: boot withstood" in words
    assert "sample 2: coat becomes 3 by" in words
    assert "class 0 becomes 1 by" in plots.alt_text(pairs())
    assert plot_adversarial_pairs(named).get_xticklabels()[0].get_text().startswith("sneaker → \nboot\n")
    captions = [
        plot_saliency(data).get_xticklabels()[2].get_text()
        for data in (saliency(), dataclasses.replace(saliency(), class_names=names))
    ]
    assert captions == ["class 2 − 3\nnorm 1", "coat\n− 3\nnorm 1"]


@pytest.mark.parametrize(("plot", "make"), [(plot_saliency, saliency), (plot_adversarial_pairs, pairs)])
def test_other_images_on_the_same_axes_replace_them(plot, make):
    ax = plot(make(3))
    data = make(2)
    plot(data, ax=ax)
    assert len(ax.child_axes) == 1
    np.testing.assert_array_equal(tiles(ax)["image 1"].get_array(), np.reshape(data.inputs[1], (6, 5)))
    assert len(ax.get_xticklabels()) == 2


def test_the_first_ones_are_shown():
    assert len(tiles(plot_saliency(saliency(20)))) == 16
    assert len(tiles(plot_saliency(saliency(20), most=2))) == 4


@pytest.mark.parametrize(("plot", "make"), [(plot_saliency, saliency), (plot_adversarial_pairs, pairs)])
def test_a_title_of_your_own_tells_two_networks_apart(plot, make):
    ax = plot(make(), title="Ordinary network")
    assert ax.get_title(loc="left") == "Ordinary network"
    assert plot(make()).get_title(loc="left") not in ("", "Ordinary network")


@pytest.mark.parametrize("shape", [(6,), (4, 4, 2), (2, 4, 4, 1)])
def test_other_samples_are_no_images(shape):
    with pytest.raises(ValueError, match="images of shape"):
        plot_saliency(saliency(2, shape))


def test_words():
    assert "4 images and the gradients of their margin" in plots.alt_text(saliency())
    words = plots.alt_text(pairs())
    assert "sample 0: class 0 becomes 1 by a change of norm 0.5, certified up to 0.25" in words
    assert "class 1 withstood" in words
