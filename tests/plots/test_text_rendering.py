"""Letters that are copied, against those that Matplotlib draws."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox

from lipviz import plots
from lipviz.plots import text_rendering
from lipviz.plots.text_rendering import CachedTextRenderer

WIDTH, HEIGHT = 300, 200


def paper(kind):
    """A renderer on white paper."""
    renderer = kind(WIDTH, HEIGHT, 100)
    corners = Path([(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT), (0, 0)])
    gc = renderer.new_gc()
    gc.set_linewidth(0)
    renderer.draw_path(gc, corners, Affine2D(), (1, 1, 1, 1))
    return renderer


def written(kind, texts, color=(0.1, 0.3, 0.8, 1.0), alpha=None, clip=None):
    """Pixels of texts: tuples (x, y, words, size, angle, is mathematics)."""
    renderer = paper(kind)
    for x, y, words, size, angle, ismath in texts:
        gc = renderer.new_gc()
        gc.set_foreground(color, isRGBA=True)
        gc.set_alpha(alpha)
        gc.set_clip_rectangle(clip)
        renderer.draw_text(gc, x, y, words, FontProperties(size=size), angle, ismath)
    return np.asarray(renderer.buffer_rgba())[..., :3].astype(int)


# A stamp is rounded to whole levels four times, where Matplotlib rounds once: its colour, its opacity, the product of
# both, and the sum with the paper.
LEVELS = 4


def same(texts, **look):
    copied = written(CachedTextRenderer, texts, **look)
    assert (copied < 200).any()
    np.testing.assert_allclose(copied, written(RendererAgg, texts, **look), rtol=0, atol=LEVELS)


@pytest.mark.parametrize("angle", [0, 90, 33, 180, -45])
def test_copies_look_like_what_was_drawn(angle):
    same([(x, y, "gain, ‖I − WᵀW‖ Ág", 11, angle, False) for x, y in ((150, 100), (120, 80), (150, 100), (8, 180))])


def test_mathematics_too():
    same([(20, 50 * i, r"$\mathdefault{10^{-3}}$", 14, 0, True) for i in (1, 2, 3)])


def test_what_crosses_the_border_is_whole_elsewhere():
    words = "beyond the border"
    same([(-30, 60, words, 12, 0, False), (240, 198, words, 12, 0, False), (60, 100, words, 12, 0, False)])


def test_a_clip_holds():
    texts, clip = [(20, 60, "clipped words", 12, 0, False)] * 2, Bbox.from_bounds(60, 20, 40, 150)
    copied, drawn = (written(kind, texts, clip=clip) for kind in (CachedTextRenderer, RendererAgg))
    inside = slice(61, 100)  # its edges may differ by a pixel
    np.testing.assert_allclose(copied[:, inside], drawn[:, inside], rtol=0, atol=LEVELS)
    assert (copied[:, inside] < 200).any()
    assert (copied[:, :60] == 255).all()
    assert (copied[:, 101:] == 255).all()


@pytest.mark.parametrize(
    "look", [{"alpha": 0.4}, {"color": (1.0, 0.0, 0.0, 0.3)}, {"color": (1.0, 0.0, 0.0, 1.0)}, {"color": (0, 0.5, 0)}]
)
def test_every_colour(look):
    same([(20, 60, "colour", 12, 0, False), (20, 100, "colour", 12, 0, False)], **look)


def test_sizes_weights_and_words_are_told_apart():
    for first, second in (((9, "normal", "a"), (10, "normal", "a")), ((9, "normal", "a"), (9, "bold", "a")),
                          ((9, "normal", "a"), (9, "normal", "b"))):  # fmt: skip
        renderer, pixels = paper(CachedTextRenderer), []
        for size, weight, words in (first, second):
            before = np.array(renderer.buffer_rgba()).astype(int)
            renderer.draw_text(renderer.new_gc(), 50, 100, words, FontProperties(size=size, weight=weight), 0)
            pixels.append(np.asarray(renderer.buffer_rgba()).astype(int) - before)
        assert not np.array_equal(*pixels)


def test_between_pixels_a_text_moves_to_the_next_one():
    np.testing.assert_array_equal(
        written(CachedTextRenderer, [(50.4, 60.3, "words", 12, 0, False)]),
        written(CachedTextRenderer, [(50, 60, "words", 12, 0, False)]),
    )


@pytest.mark.parametrize("words", ["", "  "])
def test_what_has_no_ink_leaves_none(words):
    assert (written(CachedTextRenderer, [(50, 60, words, 12, 0, False)] * 2) == 255).all()


def test_a_text_is_drawn_once_and_old_ones_go(monkeypatch):
    drawn = []
    plain = RendererAgg.draw_text
    monkeypatch.setattr(RendererAgg, "draw_text", lambda self, *args: (drawn.append(args[3]), plain(self, *args)))
    monkeypatch.setattr(text_rendering, "_KEPT_TEXTS", 2)
    renderer = paper(CachedTextRenderer)
    for words in ("a", "b", "a", "c", "a", "b"):  # "b" went when "c" came: "a" had been used after it
        renderer.draw_text(renderer.new_gc(), 20, 50, words, FontProperties(size=10), 0)
    assert drawn == ["a", "b", "c", "b"]


def test_a_text_of_special_features_is_left_to_matplotlib():
    renderers = [paper(kind) for kind in (CachedTextRenderer, RendererAgg)]
    for renderer in renderers:
        figure = plots.new_figure()
        text = Text(20.3, 50.2, "office fi", figure=figure)
        text.set_fontfeatures(("-liga",))
        text.draw(renderer)
    first, second = (np.asarray(renderer.buffer_rgba()) for renderer in renderers)
    np.testing.assert_array_equal(first, second)


def test_a_piece_is_drawn_once_and_stamped_where_it_was(monkeypatch):
    calls = []

    def words(renderer):
        calls.append(renderer)
        renderer.draw_text(renderer.new_gc(), 40, 120, "a legend", FontProperties(size=10), 0)

    monkeypatch.setattr(text_rendering, "_KEPT_PIECES", 1)
    copied = paper(CachedTextRenderer)
    copied.draw_once("key", words)
    expected = written(CachedTextRenderer, [(40, 120, "a legend", 10, 0, False)], color=(0, 0, 0, 1))
    np.testing.assert_allclose(np.asarray(copied.buffer_rgba())[..., :3].astype(int), expected, rtol=0, atol=LEVELS)
    copied.clear()
    copied.draw_once("key", words)
    assert len(calls) == 1
    assert np.asarray(copied.buffer_rgba())[105:125, 40:80, 3].any()
    for key in ("other", "key"):  # the first one went when the other came
        copied.draw_once(key, words)
    assert len(calls) == 3
    copied.draw_once("empty", lambda renderer: None)


@pytest.mark.parametrize(("size", "words"), [(9, "one line"), (11, "two\nlines, Ág"), (14, "$10^3$")])
def test_a_text_is_as_high_as_matplotlib_says(size, words):
    figure = plots.new_figure()
    text = Text(20, 50, words, figure=figure, fontsize=size)
    extents = [text.get_window_extent(paper(kind)).bounds for kind in (CachedTextRenderer, RendererAgg)]
    assert extents[0] == pytest.approx(extents[1])
