"""Plots of fields on the plane, by the data in their artists."""

import dataclasses
import io

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lipviz import certification, plots
from lipviz.measure.fields import DecisionField, LinearRegions
from lipviz.plots import fields as pf
from tests.plots.pictures import left_title

X0, X1 = np.linspace(-2, 2, 9), np.linspace(-1, 1, 7)


def decision(classes=1, points=True, certified=True, name="net", scale=1.0):
    across, up = np.meshgrid(X0, X1)
    logits = np.stack([across] if classes == 1 else [across * np.cos(i) + up * np.sin(i) for i in range(classes)], -1)
    logits = scale * logits
    predicted = (logits[..., 0] > 0).astype(int) if classes == 1 else logits.argmax(axis=2)
    margins = np.abs(logits[..., 0]) if classes == 1 else np.ptp(np.sort(logits, axis=2)[..., -2:], axis=2)
    x = np.array([[1.0, 0.5], [-1.0, 0.2], [0.1, -0.5], [1.5, 0.0]]) if points else None
    y = np.array([1, 0, 0, 1]) if points else None
    radii = np.array([1.0, 0.5, 0.0, np.inf])
    radii = certification.CertifiedRadii(radii, y, radii, y, np.ones((2, 2))) if certified and points else None
    return DecisionField(name, X0, X1, logits, predicted, margins, x, y, radii)


def regions(count=3):
    labels = np.tile(np.arange(9) * count // 9, (7, 1))
    return LinearRegions("net", X0, X1, labels, np.bincount(labels.ravel()) / 63, np.linspace(0.2, 1, count))


def artists(ax):
    return {artist.get_gid(): artist for artist in ax.get_children() if artist.get_gid()}


def pixels(ax):
    stream = io.BytesIO()
    ax.figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("RGB"))


PLOTS = [
    (pf.plot_decision_field, decision()),
    (pf.plot_decision_field, decision(points=False)),
    (pf.plot_decision_field, decision(3)),
    (pf.plot_decision_field, decision(7, points=False)),
    (pf.plot_decision_field, decision(scale=0.0)),
    (pf.plot_linear_regions, regions()),
    (pf.plot_linear_regions, regions(1)),
]


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given_and_names_everything(plot, data):
    before = (pyplot.get_fignums(), dict(pyplot.rcParams))
    left, right = Figure().subplots(1, 2)
    assert plot(data, ax=right) is right
    assert not left.images
    assert right.get_title(loc="left").startswith("net")
    assert "units of the input" in right.get_xlabel()
    assert "units of the input" in right.get_ylabel()
    np.testing.assert_allclose([*right.get_xlim(), *right.get_ylim()], [-2, 2, -1, 1])
    assert right.get_aspect() == 1
    assert (pyplot.get_fignums(), dict(pyplot.rcParams)) == before


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_everything_stays_inside_of_the_figure(plot, data):
    ax = plot(data)
    FigureCanvasAgg(ax.figure).draw()
    texts = [left_title(ax), ax.xaxis.label, ax.yaxis.label, *([ax.get_legend()] if ax.get_legend() else [])]
    texts += [scale.yaxis.label for scale in ax.child_axes]
    for box in [text.get_window_extent() for text in texts]:
        assert box.x0 >= -1
        assert box.x1 <= ax.figure.bbox.x1 + 1
        assert box.y0 >= -1
        assert box.y1 <= ax.figure.bbox.y1 + 1


def test_one_logit_is_a_field_with_its_boundary_and_discs():
    data = decision()
    ax = pf.plot_decision_field(data)
    found = artists(ax)
    np.testing.assert_array_equal(found["field"].get_array(), data.logits[..., 0])
    assert found["field"].get_clim() == (-2, 2)
    np.testing.assert_allclose(found["boundary"].get_paths()[0].vertices[:, 0], 0, atol=1e-12)
    np.testing.assert_array_equal(found["discs"].get_offsets(), data.points[:2])
    np.testing.assert_allclose(found["discs"].get_widths(), [2, 1])
    for label in (0, 1):
        line = found[f"points {label}"]
        np.testing.assert_array_equal(line.get_xydata(), data.points[data.labels == label])
        assert line.get_color() in plots.PALETTE
    assert found["points 0"].get_marker() != found["points 1"].get_marker()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["class 0", "class 1"]
    (scale,) = ax.child_axes
    assert scale.get_ylim() == (-2, 2)
    assert "logit" in scale.get_ylabel()


def test_what_lies_below_many_discs_can_be_seen():
    count = 300
    y, radii = np.ones(count, int), np.ones(count)
    crowd = dataclasses.replace(
        decision(),
        points=np.tile([0.5, 0.0], (count, 1)),
        labels=y,
        certified=certification.CertifiedRadii(radii, y, radii, y, np.ones((2, 2))),
    )
    few, many = (artists(pf.plot_decision_field(data))["discs"].get_facecolor() for data in (decision(), crowd))
    assert (1 - many[0, 3]) ** count >= 0.5 - 1e-9
    assert few[0, 3] == 0.1


def test_pixels_are_centred_at_the_grid_points():
    left, right, bottom, top = artists(pf.plot_decision_field(decision()))["field"].get_extent()
    np.testing.assert_allclose([left, right, bottom, top], [-2.25, 2.25, -7 / 6, 7 / 6])


def test_classes_have_colours_that_fade_with_the_margin():
    data = decision(3, points=False)
    found = artists(pf.plot_decision_field(data))
    shown = found["field"].get_array()
    assert shown.shape == (7, 9, 3)
    for label in np.unique(data.predicted):
        inside = data.predicted == label
        order = np.argsort(data.margins[inside])
        assert (np.diff(shown[inside].sum(axis=1)[order]) <= 1e-9).all()
    assert sum(name.startswith("boundary") for name in found) == len(np.unique(data.predicted)) - 1
    assert sum(name.startswith("key") for name in found) == 3


def test_a_field_without_a_boundary_or_samples():
    found = artists(pf.plot_decision_field(decision(points=False, scale=0.0)))
    assert set(found) == {"field", "scale"}


def test_several_fields_share_one_scale():
    fields = [decision(name=f"net {i}", scale=i) for i in (1, 3, 2, 1)]
    figure = pf.plot_decision_fields(fields, columns=3)
    *panels, bar = figure.axes
    assert [ax.get_title(loc="left") for ax in panels] == ["net 1", "net 3", "net 2", "net 1"]
    assert {artists(ax)["field"].get_clim() for ax in panels} == {(-10, 10)}
    assert "logit" in bar.get_ylabel()
    assert not any(ax.child_axes or ax.get_legend() for ax in panels)
    assert len(pf.plot_decision_fields([decision(3)]).axes) == 1
    for wrong in ([], [decision(), decision(3)]):
        with pytest.raises(ValueError, match="one field or more"):
            pf.plot_decision_fields(wrong)


def test_regions_have_dark_borders():
    ax = pf.plot_linear_regions(regions())
    assert "3 linear regions" in ax.get_title(loc="left")
    shown = artists(ax)["field"].get_array()
    dark = shown.max(axis=2) < 0.1
    np.testing.assert_array_equal(np.flatnonzero(dark.all(axis=0)), [2, 5])
    assert len(np.unique(shown[~dark], axis=0)) == 3
    by_slope = pf.plot_linear_regions(regions(), by="slope")
    assert "Jacobian" in by_slope.child_axes[0].get_ylabel()
    with pytest.raises(ValueError, match="shape"):
        pf.plot_linear_regions(regions(), by="shape")


def test_words():
    words = plots.alt_text(decision())
    assert "4 samples, of which 100 %" in words
    assert "from 0 to inf" in words
    assert "class 1 on 44 %" in words
    assert "samples" not in plots.alt_text(decision(points=False))
    assert "3, the largest on 33.3 %" in plots.alt_text(regions())
