"""Thumbnails of explorers: there for each, small, and made from the explorer itself."""

import numpy as np
import pytest
from PIL import Image

from lipviz import explorers
from lipviz.plots import new_figure
from tools import thumbnails


@pytest.mark.lists
@pytest.mark.parametrize("entry", explorers.entries(), ids=lambda entry: entry.name)
def test_each_explorer_has_one_with_words(entry):
    assert entry.thumbnail.is_file(), f"run `python -m tools.thumbnails {entry.name}`"
    assert entry.thumbnail.stat().st_size <= thumbnails.MOST_BYTES
    assert 40 < len(entry.shows) < 120
    assert entry.shows.endswith(".")
    with Image.open(entry.thumbnail) as image:
        assert image.size == thumbnails.SIZE
        assert np.std(np.asarray(image.convert("L"))) > 10  # something is drawn


def test_none_is_left_of_an_explorer_that_is_gone():
    files = {path.name for path in explorers.entries()[0].thumbnail.parent.iterdir()}
    assert files == {entry.thumbnail.name for entry in explorers.entries()}


def test_one_is_made_from_its_explorer(tmp_path):
    thumbnails.write(tmp_path, ["activations"])
    (path,) = tmp_path.iterdir()
    assert path.name == explorers.find("activations").thumbnail.name
    assert path.stat().st_size <= thumbnails.MOST_BYTES
    with Image.open(path) as made:
        assert made.size == thumbnails.SIZE
        assert np.std(np.asarray(made.convert("L"))) > 10


@pytest.mark.parametrize("upside_down", [False, True])
def test_what_has_an_aspect_is_cut_and_not_stretched(upside_down):
    (ax,) = (figure := new_figure()).axes
    ax.set_aspect("equal")
    ax.set(xlim=(0, 4), ylim=(3, -1) if upside_down else (-1, 3))
    thumbnails._fill(figure, ax)
    bottom, top = ax.get_ylim()
    assert (bottom > top) == upside_down
    assert (bottom + top) / 2 == pytest.approx(1)
    assert abs(top - bottom) / 4 == pytest.approx(thumbnails.SIZE[1] / thumbnails.SIZE[0])


def test_a_part_of_a_logarithmic_panel_is_that_part():
    (ax,) = new_figure().axes
    ax.set(xscale="log", xlim=(1, 100), ylim=(0, 10))
    thumbnails._show_part(ax, 0.5, 0, 1, 0.4)
    assert ax.get_xlim() == pytest.approx((10, 100))
    assert ax.get_ylim() == pytest.approx((0, 4))
