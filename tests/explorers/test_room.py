"""Explorers in the room that a page has for them: in narrow panels, all words can be read and none is cut off."""

import pytest
from matplotlib.text import Text

from lipviz import explorers
from lipviz.plots.style import NARROW_PANEL, PANEL

NARROWEST = 290  # CSS pixels of a panel, see the style sheet of explorers
LEGIBLE = 10  # CSS pixels
NAMES = (
    "activations",
    "bjorck",
    "cone",
    "convolutions",
    "gradients",
    "kinds",
    "layers",
    "tradeoff",
)  # those that train take long


@pytest.fixture(params=NAMES)
def explorer(request):
    explorer = explorers.find(request.param).load()()
    yield explorer
    explorer.close()


def shown_texts(figure):
    """Texts of a figure with their boxes in inches, from the left and from below."""
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    for ax in figure.axes:
        beyond = [*labels_beyond(ax, 0, ax.get_xticklabels()), *labels_beyond(ax, 1, ax.get_yticklabels())]
        for text in ax.findobj(Text):
            if text.get_visible() and text.get_text().strip() and text not in beyond:
                yield ax, text, text.get_window_extent(renderer).transformed(figure.dpi_scale_trans.inverted())


def labels_beyond(ax, axis, labels):
    """Tick labels beyond the limits of an axis, which are not drawn."""
    low, high = ax.get_window_extent().get_points()[:, axis] + (-1, 1)
    return [label for label in labels if not low < label.get_window_extent().get_points()[:, axis].mean() < high]


def test_words_in_a_narrow_panel_are_legible_and_whole(explorer):
    explorer._room.width = NARROWEST
    pixels_a_point = NARROWEST / NARROW_PANEL[0] / 72
    cut = []
    for ax, text, box in shown_texts(explorer.figure):
        left = NARROW_PANEL[0] * explorer.figure.axes.index(ax)
        assert text.get_fontsize() * pixels_a_point >= LEGIBLE, text.get_text()
        if box.x0 < left or box.x1 > left + NARROW_PANEL[0] or box.y0 < 0 or box.y1 > NARROW_PANEL[1]:
            cut.append((text.get_text(), box))
    assert not cut


def test_a_wide_panel_comes_back_only_with_some_more_room():
    explorer = explorers.find("bjorck").load()()
    try:
        for width, panel in ((300, NARROW_PANEL), (380, NARROW_PANEL), (400, PANEL), (380, PANEL), (0, PANEL)):
            explorer._room.width = width
            size = tuple(explorer.figure.get_size_inches())
            assert size == pytest.approx((2 * panel[0], panel[1])), width
            assert explorer._image.widths == [round(100 * panel[0])] * 2, width
    finally:
        explorer.close()
