"""Plots, by the data in their artists."""

import importlib
import io
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from PIL import Image

import lipviz
from lipviz import measure, operators, plots
from lipviz.plots import style
from lipviz.plots.text_rendering import CachedTextRenderer
from tests.plots.pictures import left_title

SOURCES = Path(lipviz.__file__).parent


def convergence(beta=0.5, **settings):
    return measure.bjorck_convergence(operators.random_kernel(12, 9, 0.05), beta_bjorck=beta, repeats=1, **settings)


def layer(name="dense", constrained=True, count=6, **values):
    raw = np.linspace(3, 0.3, count)
    spectra = {"normalized": raw / 3, "constrained": np.ones(count)} if constrained else {}
    spectra = {"normalized": None, "constrained": None, **spectra}
    given = {"name": name, "shape": (8, count), "raw": raw, "k": 1.0, "view": "matrix", **spectra, **values}
    return measure.LayerSpectrum(**given)


def network(layers, **values):
    return measure.NetworkSpectrum("net", tuple(layer(f"layer_{i}", **values) for i in range(layers)))


def drawn(ax):
    """Lines of data by name."""
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


# --- what every plot keeps to ---

PLOTS = [
    (plots.plot_singular_values, layer()),
    (plots.plot_singular_values, layer(constrained=False)),
    (plots.plot_singular_values, network(3)),
    (plots.plot_singular_values, convergence()),
    (plots.plot_bjorck_convergence, convergence()),
]


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given(plot, data):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot(data, ax=right) is right
    assert not left.lines
    assert right.lines


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_a_plot_names_its_axes_and_units_and_lines(plot, data):
    ax = plot(data)
    assert ax.get_title(loc="left")
    assert ax.get_xlabel()
    assert "no unit" in ax.get_ylabel()
    assert ax.get_legend().get_texts()
    assert all(line.get_label() for line in drawn(ax).values())


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_lines_differ_without_their_colour(plot, data):
    looks = [(line.get_linestyle(), line.get_marker()) for line in drawn(plot(data)).values()]
    raw = [look for look in looks if look == (":", "")]  # of a network: they go with the layer's own line
    others = [look for look in looks if look not in raw]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_text_and_data_stay_inside_of_the_figure(plot, data):
    ax = plot(data)
    figure = ax.figure
    FigureCanvasAgg(figure).draw()
    frame = figure.bbox
    legend = ax.get_legend()
    labels = {axis: _labels_in_view(axis) for axis in (ax.xaxis, ax.yaxis)}
    for text in [left_title(ax), ax.xaxis.label, ax.yaxis.label, legend, *itertools.chain(*labels.values())]:
        box = text.get_window_extent()
        assert box.x0 >= frame.x0 - 1
        assert box.x1 <= frame.x1 + 1
        assert box.y0 >= frame.y0 - 1
        assert box.y1 <= frame.y1 + 1
    boxes = [left_title(ax).get_window_extent(), legend.get_window_extent(), ax.yaxis.label.get_window_extent()]
    boxes += [text.get_window_extent() for text in itertools.chain(*labels.values())]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def _labels_in_view(axis):
    low, high = axis.get_view_interval()
    ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    return [label for place, label in ticks if low <= place <= high]


def test_the_palette_is_that_of_okabe_and_ito():
    okabe_ito = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#000000"}
    assert set(plots.PALETTE) <= okabe_ito
    assert {line.get_color() for line in drawn(plots.plot_singular_values(network(3))).values()} <= okabe_ito


def test_no_source_speaks_to_pyplot():
    for path in [*SOURCES.glob("plots/*.py"), *SOURCES.glob("explorers/**/*.py")]:
        assert "matplotlib.pyplot" not in path.read_text(encoding="utf-8"), path


def test_no_plot_touches_the_state_of_pyplot():
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    for plot, data in PLOTS:
        plots.picture(plot(data), plots.alt_text(data))
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before


# --- singular values ---


def test_one_kernel_shows_its_three_spectra():
    data = convergence()
    lines = drawn(plots.plot_singular_values(data))
    assert list(lines) == ["raw", "normalized", "constrained"]
    for name, line in lines.items():
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 10))
        np.testing.assert_array_equal(line.get_ydata(), getattr(data, name))


def test_a_kernel_without_constraint_shows_one():
    assert list(drawn(plots.plot_singular_values(layer(constrained=False)))) == ["raw"]


def test_a_network_shows_every_layer():
    ax = plots.plot_singular_values(network(3))
    assert len(drawn(ax)) == 6
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["layer_0", "layer_1", "layer_2", "raw kernels"]
    np.testing.assert_array_equal(drawn(ax)["used 1"].get_ydata(), np.ones(6))
    assert len(drawn(plots.plot_singular_values(network(3, constrained=False)))) == 3


def test_a_line_marks_k():
    level = [line for line in plots.plot_singular_values(layer(k=0.25)).lines if not line.get_gid()]
    assert [list(line.get_ydata()) for line in level] == [[0.25, 0.25]]


def test_a_deep_network_names_its_ends_only():
    ax = plots.plot_singular_values(network(20))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["layer_0", "layer_19", "raw kernels"]


@pytest.mark.parametrize("count", [1, 2, 9, 64, 500])
def test_ranks_are_whole_numbers_from_one(count):
    ax = plots.plot_singular_values(layer(count=count))
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert ticks
    assert all(tick == int(tick) and tick >= 1 for tick in ticks)
    assert low < 1 <= count < high


@pytest.mark.parametrize(
    "raw",
    [np.zeros(3), np.array([1e12, 1, 0]), np.full(3, 1e-12), np.array([1 - 1e-6, 1 - 2e-6, 0.5])],
    ids=["zero", "wide range", "tiny", "just below one"],
)
def test_the_axis_holds_any_spectrum(raw):
    ax = plots.plot_singular_values(layer(constrained=False, raw=raw, count=3))
    low, high = ax.get_ylim()
    assert 0 < low < high
    assert high > 1
    assert high > raw.max()
    assert high / low >= 9.99
    plots.picture(ax, "x")


# --- convergence ---


def test_convergence_shows_errors_steps_and_limits():
    data = convergence(maxiter_bjorck=12, eps_bjorck=1e-3)
    ax = plots.plot_bjorck_convergence(data)
    lines = drawn(ax)
    np.testing.assert_array_equal(lines["error"].get_xdata(), np.arange(data.iterations + 1))
    np.testing.assert_array_equal(lines["error"].get_ydata(), data.errors)
    np.testing.assert_array_equal(lines["increment"].get_xdata(), np.arange(1, data.iterations + 1))
    np.testing.assert_array_equal(lines["increment"].get_ydata(), data.increments)
    np.testing.assert_array_equal(lines["limits"].get_xdata(), [0, 12, 12])
    np.testing.assert_array_equal(lines["limits"].get_ydata()[:2], [1e-3, 1e-3])
    assert ax.get_yscale() == "log"
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_convergence_without_an_iteration():
    ax = plots.plot_bjorck_convergence(convergence(maxiter_bjorck=0))
    assert len(drawn(ax)["increment"].get_xdata()) == 0
    plots.picture(ax, "x")


# --- moving what was drawn ---


@pytest.mark.slow
def test_a_live_figure_shows_what_a_fresh_one_would():
    def shown(live, figure, data):
        left, right = figure.axes
        plots.plot_singular_values(data, ax=left)
        plots.plot_bjorck_convergence(data, ax=right)
        return [pixels(panel) for panel in live.panels("words")]

    kept = plots.new_figure(2)
    live = plots.LiveFigure(kept)
    # The same frame, another frame, and back: settings that move lines only, and such that move limits.
    for settings in [{"beta": 0.5}, {"beta": 0.3}, {"maxiter_bjorck": 40}, {"beta": 0.3}]:
        data = convergence(**settings)
        fresh = plots.new_figure(2)
        moved = shown(live, kept, data)
        new = shown(plots.LiveFigure(fresh), fresh, data)
        for a, b in zip(moved, new, strict=True):
            assert a.shape == b.shape == (350, 460, 3)
            # Palettes may differ by a shade.
            assert np.abs(a.astype(int) - b).mean() < 1
            assert (np.abs(a.astype(int) - b).max(axis=2) > 60).mean() < 1e-3
        new = np.concatenate(new, axis=1).astype(int)
        assert np.abs(new - rendered(fresh, CachedTextRenderer)).mean() < 1
        # Files have their letters between pixels, here they stand on whole ones.
        difference = (new - rendered(fresh, RendererAgg)).astype(float)
        assert np.abs(scipy.ndimage.uniform_filter(difference, (5, 5, 0))).mean() < 1


def rendered(figure, renderer):
    """Pixels of a whole figure as a renderer draws it."""
    made = renderer(*figure.canvas.get_width_height(), figure.dpi)
    for ax in figure.axes:
        for artist in ax.get_children():
            artist.set_animated(False)
    figure.draw(made)
    return np.asarray(made.buffer_rgba())[..., :3].astype(int)


def test_backgrounds_go_that_were_not_used_for_longest(monkeypatch):
    # The function of that name hides the module.
    monkeypatch.setattr(importlib.import_module("lipviz.plots.rendering"), "_FRAMES", 2)
    figure = plots.new_figure()
    (ax,) = figure.axes
    drawn_anew = []
    draw = ax.draw
    monkeypatch.setattr(ax, "draw", lambda renderer: (drawn_anew.append(ax.get_xlim()[1]), draw(renderer)))
    live = plots.LiveFigure(figure)
    pictures = {}
    for end in (1, 2, 1, 3, 1, 2):  # 3 drives out 2: 1 came by again in between
        ax.set_xlim(0, end)
        (panel,) = live.panels("x")
        assert pictures.setdefault(end, panel.png) == panel.png
    assert drawn_anew == [1, 2, 3, 2]


@pytest.mark.parametrize("color", [*style.PALETTE, style.GREY])
def test_a_colour_that_comes_later_is_shown_as_it_is(color):
    figure = plots.new_figure()
    (ax,) = figure.axes
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    bar = ax.barh(0.5, 0.0, height=0.5, gid="bar", color="#FFFFFF")[0]
    live = plots.LiveFigure(figure)
    live.panels("x")  # the colours of the background are chosen here
    bar.set_width(0.8)
    for share in (1.0, 0.5):
        expected = np.array(to_rgb(color)) * share + 1 - share
        bar.set_facecolor(expected)
        (panel,) = live.panels("x")
        assert np.abs(pixels(panel)[170, 180] - 255 * expected).max() < 10


def test_a_legend_is_drawn_once(monkeypatch):
    drawn = []
    draw = Legend.draw
    monkeypatch.setattr(Legend, "draw", lambda self, renderer: (drawn.append(self), draw(self, renderer)))
    figure = plots.new_figure()
    (ax,) = figure.axes
    plots.plot_singular_values(layer(), ax=ax)
    live = plots.LiveFigure(figure)
    pictures = []
    for end in (10, 20, 30):
        ax.set_xlim(0, end)
        (panel,) = live.panels("x")
        pictures.append(pixels(panel)[30:50].astype(int))
    assert len(drawn) == 1
    assert (pictures[0] < 120).sum() > 100
    assert np.abs(pictures[0] - pictures[2]).max() < 40
    assert not ax.get_legend().get_animated()  # files have it, too


def test_a_legend_that_is_hidden_later_is_gone():
    figure, fresh = plots.new_figure(), plots.new_figure()
    for figure_ in (figure, fresh):
        plots.plot_singular_values(layer(), ax=figure_.axes[0])
    live = plots.LiveFigure(figure)
    live.panels("x")
    for figure_ in (figure, fresh):
        figure_.axes[0].get_legend().set_visible(False)
        figure_.axes[0].set_xlim(0, 20)
    (hidden,), (expected,) = live.panels("x"), plots.LiveFigure(fresh).panels("x")
    assert np.abs(pixels(hidden).astype(int) - pixels(expected)).max() < 40


@pytest.mark.parametrize("width", [2.1, 4.2, 4.3])
def test_every_width_has_a_palette(width):
    figure = Figure(figsize=(width, 2), dpi=100)
    figure.subplots()
    (panel,) = plots.LiveFigure(figure).panels("x")
    assert pixels(panel).shape[1] == round(100 * width)


def test_only_the_first_panel_has_the_words():
    figure = plots.new_figure(3)
    assert [panel.alt for panel in plots.LiveFigure(figure).panels("words")] == ["words", "", ""]


# --- pictures and words ---


def test_a_picture_carries_its_words():
    picture = plots.picture(plots.plot_singular_values(layer()), 'a "sharp" <picture>')
    html = picture._repr_html_()
    assert 'alt="a &quot;sharp&quot; &lt;picture&gt;"' in html
    assert 'src="data:image/png;base64,' in html
    assert "max-width:100%" in html
    assert pixels(picture).shape == (700, 920, 3)
    assert picture.width == 460


def test_a_caption_stands_below_its_picture():
    figure = plots.new_figure()
    plain = plots.picture(figure, "x").to_html("border:0")
    assert "figure" not in plain
    assert plain.endswith(';border:0">')
    made = plots.picture(figure, "x", caption='σ < 1 & "more"')
    before, after = made.to_html("border:0").split(plain)
    assert before == '<figure style="margin:0;max-width:460px">'
    assert after == "<figcaption>σ &lt; 1 &amp; &quot;more&quot;</figcaption></figure>"
    assert made._repr_html_() == made.to_html()


def test_a_picture_needs_words():
    with pytest.raises(ValueError, match="alternative text"):
        plots.picture(plots.new_figure(), "  ")


def test_words_for_every_measurement():
    one = plots.alt_text(layer())
    assert "'dense'" in one
    assert "8 × 6" in one
    assert "from 3 down to 0.3" in one
    assert "from 1 down to 1" in one
    plain = plots.alt_text(layer(constrained=False, view="reshaped kernel"))
    assert "reshaped kernel" in plain
    assert "uses" not in plain
    assert plots.alt_text(network(3)).count("Raw kernel") == 3
    data = convergence()
    words = plots.alt_text(data)
    assert f"in {data.iterations} iterations" in words
    assert "12 × 9" in words
    assert "last step" not in plots.alt_text(convergence(maxiter_bjorck=0))
    with pytest.raises(TypeError, match="list"):
        plots.alt_text([1, 2])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.0, "1"),
        (64, "64"),
        (0.999999, "1"),
        (0.05, "0.05"),
        (1e-3, "1e-3"),
        (2.54e-4, "2.54e-4"),
        (2.5e-4, "2.5e-4"),
        (1e12, "1e12"),
        (-3e-9, "-3e-9"),
    ],
)
def test_numbers_are_short(value, text):
    assert style.number(value) == text


def test_whatever_has_words_has_them_once_the_package_is_imported():
    package = Path(plots.__file__)
    entering = [path.stem for path in package.parent.glob("*.py") if "@alt_text.register" in path.read_text("utf-8")]
    imports = package.read_text("utf-8")
    assert len(entering) > 10
    assert [
        name for name in entering if not re.search(rf"^from lipviz\.plots(\.| import ){name}\b", imports, re.M)
    ] == []
