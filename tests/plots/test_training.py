"""Plots of a training, of runs to compare, and of one image, by the data in their artists."""

import dataclasses
import itertools

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lipviz import plots
from lipviz.certification import Attack, CertifiedAccuracy
from lipviz.measure import GradientHistory
from lipviz.measure.certified_image import CertifiedImage
from lipviz.measure.training_log import TrainingLog
from lipviz.plots import certified_image as image_plots
from lipviz.plots import tradeoff as tradeoff_plots
from lipviz.plots import training
from lipviz.toys.tradeoff import Tradeoff, TradeoffRun
from tests.plots.pictures import left_title

RNG = np.random.default_rng(0)


def log(epochs=4, **values):
    """The log of a training with all kinds of numbers."""
    shares = np.linspace(0.5, 0.9, epochs)
    given = {
        "name": "net",
        "epochs": np.arange(1, epochs + 1),
        "seconds": np.arange(1.0, epochs + 1),
        "steps": 5 * np.arange(1, epochs + 1),
        "metrics": {"loss": 1 - shares, "val_loss": 1.1 - shares, "accuracy": shares, "val_accuracy": 0.9 * shares},
        "batches": np.arange(1, 5 * epochs + 3),
        "batch_losses": np.linspace(2, 0.2, 5 * epochs + 2),
        "steps_per_epoch": 5,
        "kr": np.linspace(0, 3, epochs),
        "hinge": np.linspace(2, 0.5, epochs),
        "gradients": GradientHistory("net", "all", np.arange(1, epochs + 1), RNG.random((epochs, 7)))
        if epochs
        else None,
        "spectra": {"first": np.full((epochs, 2), 1.0), "second": np.full((epochs, 2), [1.0, 0.3])},
        "factors": {"first": 1.0},
        "not_finite": {},
        "starts": (0,),
        "status": "finished",
        "notes": (),
    }
    return TrainingLog(**{**given, **values})


BARE = {"kr": None, "hinge": None, "gradients": None, "spectra": {}, "metrics": {"loss": np.arange(4.0)}}


def drawn(ax):
    return {artist.get_gid(): artist for artist in ax.get_children() if artist.get_gid()}


def run(accuracy=0.9, radius=0.5, loss="hkr", **values):
    epsilons = np.linspace(0, 1, 5)
    given = dict.fromkeys((field.name for field in dataclasses.fields(TradeoffRun)), 1)
    given |= {"loss": loss, "accuracy": accuracy, "mean_radius": radius, "epsilons": epsilons, "loss_parameter": 2.0}
    return TradeoffRun(**{**given, "certified": accuracy * (1 - epsilons), **values})


def compared(**values):
    return Tradeoff((run(0.9, 0.4), run(0.8, 0.6), run(0.7, 0.5, "crossentropy"), run(0.95, 0.2)), **values)


def image(attacked=True, success=True, **values):
    after = np.array([2 if success else 1])
    ends = np.ones((1, 4)), np.array([success]), np.array([0.7]), np.array([1]), after
    attack = Attack(*ends, "pgd", np.ones(1))
    given = {
        "model": "net",
        "index": 3,
        "image": RNG.random((2, 2)),
        "label": 1,
        "logits": np.array([0.0, 1.0, 0.2]),
        "distances": np.array([0.8, 0.0, 0.6]),
        "predicted": 1,
        "rival": 2,
        "radius": 0.6,
        "saliency": RNG.standard_normal((2, 2)),
        "epsilon": 0.5,
        "attack": attack if attacked else None,
        "attacked": np.ones((2, 2)) if attacked else None,
        "attacked_logits": np.zeros(3) if attacked else None,
        "curve": CertifiedAccuracy(np.linspace(0, 1, 4), np.array([1, 0.8, 0.5, 0.0]), 1.0, 9),
        "reach": 0.9,
    }
    return CertifiedImage(**{**given, **values})


PLOTS = [
    (training.plot_training_loss, log()),
    (training.plot_training_loss, log(0, metrics={}, kr=None, hinge=None)),
    (training.plot_training_metrics, log()),
    (training.plot_training_terms, log()),
    (training.plot_training_spectra, log()),
    (tradeoff_plots.plot_tradeoff, compared(chosen=1, live=(3,))),
    (tradeoff_plots.plot_tradeoff, compared(epsilon=0.5)),
    (tradeoff_plots.plot_tradeoff_curves, compared(chosen=0, epsilon=0.5)),
    (image_plots.plot_class_distances, image()),
    (image_plots.plot_certified_curve, image()),
]


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_a_plot_draws_on_the_axes_it_is_given_and_names_them(plot, data):
    before = pyplot.get_fignums()
    left, right = Figure().subplots(1, 2)
    assert plot(data, ax=right) is right
    assert not drawn(left)
    assert drawn(right)
    assert right.get_title(loc="left")
    assert right.get_xlabel()
    assert right.get_ylabel()
    assert pyplot.get_fignums() == before
    assert len(plots.alt_text(data)) > 20


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_lines_differ_without_their_colour(plot, data):
    looks = [
        (line.get_linestyle(), line.get_marker())
        for line in plot(data).lines
        if line.get_gid() and not line.get_label().startswith("_")
    ]
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize(("plot", "data"), PLOTS)
def test_text_stays_inside_and_nothing_overlaps(plot, data):
    ax = plot(data)
    FigureCanvasAgg(ax.figure).draw()
    legend = ax.get_legend()
    boxes = [text.get_window_extent() for text in (left_title(ax), ax.xaxis.label, ax.yaxis.label)]
    boxes += [legend.get_window_extent()] if legend else []
    for box in boxes:
        assert ax.figure.bbox.x0 - 1 <= box.x0 < box.x1 <= ax.figure.bbox.x1 + 1
        assert ax.figure.bbox.y0 - 1 <= box.y0 < box.y1 <= ax.figure.bbox.y1 + 1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


# --- training ---


@pytest.mark.slow
def test_a_log_has_a_panel_for_all_that_it_holds():
    figure = training.plot_training_log(log())
    assert training.training_panels(log()) == ("loss", "metrics", "terms", "gradients", "spectra")
    assert len(figure.axes) == 5
    assert len(training.plot_training_log(log(**BARE)).axes) == 1
    with pytest.raises(ValueError, match="5 panels"):
        training.plot_training_log(log(), figure=plots.new_figure(2))
    boxes = [ax.get_position() for ax in figure.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_a_log_is_updated_in_place():
    figure = training.plot_training_log(log(3))
    lines = [drawn(ax) for ax in figure.axes]
    training.plot_training_log(log(5), figure=figure)
    assert all(drawn(ax) == before for ax, before in zip(figure.axes, lines, strict=True))  # the very same artists
    np.testing.assert_array_equal(drawn(figure.axes[0])["loss"].get_xdata(), np.arange(1, 6))


def test_new_metrics_and_other_scales_are_drawn_anew():
    ax = training.plot_training_loss(log(2, metrics={"loss": np.array([2.0, 1.0])}))
    training.plot_training_loss(log(), ax=ax)
    assert "val_loss" in drawn(ax)
    assert ax.get_yscale() == "linear"
    training.plot_training_loss(log(metrics={"loss": np.geomspace(1000, 1, 4)}), ax=ax)
    assert ax.get_yscale() == "log"


def test_the_loss_has_its_values_within_epochs_with_a_gap_at_each_end():
    data = log()
    line = drawn(training.plot_training_loss(data))["running"]
    gaps = np.isnan(line.get_ydata())
    assert gaps.sum() == 4
    np.testing.assert_array_equal(line.get_ydata()[~gaps], data.batch_losses)
    np.testing.assert_allclose(line.get_xdata()[~gaps], data.batches / 5)


def test_what_is_not_finite_is_marked_and_said():
    metrics = {"loss": np.array([1.0, 0.5, np.nan, np.nan])}
    data = log(metrics=metrics, not_finite={"loss": 3, "weights": 4})
    lines = drawn(training.plot_training_loss(data))
    assert list(lines["broken"].get_xdata()) == [3, 4]
    np.testing.assert_array_equal(lines["loss"].get_xdata(), [1, 2])
    assert "loss NaN or infinite from epoch 3 on" in plots.alt_text(data)
    nothing = log(metrics={"loss": np.full(4, np.nan)}, batch_losses=np.full(22, np.nan), not_finite={"loss": 1})
    plots.picture(training.plot_training_log(nothing), plots.alt_text(nothing))
    assert "without a finite value" in plots.alt_text(nothing)


def test_missing_validations_leave_no_hole():
    values = np.array([np.nan, 0.4, np.nan, 0.6])
    line = drawn(training.plot_training_loss(log(metrics={"loss": np.ones(4), "val_loss": values})))["val_loss"]
    np.testing.assert_array_equal(line.get_xydata(), [[2, 0.4], [4, 0.6]])


def test_rounding_looks_flat():
    data = log(spectra={"dense": 1 - 1e-7 * RNG.random((4, 2))})
    low, high = training.plot_training_spectra(data).get_ylim()
    assert high - low >= 0.1 * 0.999


def test_many_metrics_and_layers_stay_readable():
    data = log(
        metrics={f"m{i}": np.ones(4) for i in range(9)}, spectra={f"layer_{i}": np.ones((4, 2)) for i in range(20)}
    )
    ax = training.plot_training_metrics(data)
    assert len(drawn(ax)) == 5
    assert "5 of 9" in ax.get_title(loc="left")
    texts = [text.get_text() for text in training.plot_training_spectra(data).get_legend().get_texts()]
    assert texts == ["layer_0", "layer_19"]


# --- runs ---


def test_runs_are_points_and_the_frontier_is_a_staircase():
    data = compared(chosen=1, live=(3,))
    lines = drawn(tradeoff_plots.plot_tradeoff(data))
    np.testing.assert_array_equal(lines["hkr"].get_xydata(), [[0.4, 0.9], [0.6, 0.8]])
    np.testing.assert_array_equal(lines["crossentropy"].get_xydata(), [[0.5, 0.7]])
    np.testing.assert_array_equal(lines["live"].get_xydata(), [[0.2, 0.95]])
    np.testing.assert_array_equal(lines["chosen"].get_xydata(), [[0.6, 0.8]])
    corners = [[0, 0.95], [0.2, 0.95], [0.4, 0.9], [0.6, 0.8], [0.6, 0]]
    np.testing.assert_array_equal(lines["frontier"].get_xydata(), corners)


def test_no_runs_at_all():
    for plot in (tradeoff_plots.plot_tradeoff, tradeoff_plots.plot_tradeoff_curves):
        plots.picture(plot(Tradeoff(())), plots.alt_text(Tradeoff(())))


# --- one image ---


def test_an_image_stands_beside_its_gradient_and_its_adversarial_example():
    data = image()
    ax = image_plots.plot_certified_image(data)
    tiles = {artist.get_gid(): artist for artist in ax.images}
    assert list(tiles) == ["image", "gradient", "attacked", "change"]
    np.testing.assert_array_equal(tiles["image"].get_array(), data.image)
    np.testing.assert_array_equal(tiles["change"].get_array(), data.attacked - data.image)
    words = [text.get_text() for text in ax.texts]
    assert words == ["no. 3: class 1, label 1", "gradient (1 − 2)", "attacked: class 2", "change, norm 0.7"]
    image_plots.plot_certified_image(image(attacked=False, saliency=None), ax=ax)
    assert [artist.get_gid() for artist in ax.images] == ["image"]
    assert ax.get_xlim()[1] < 1.2  # alone, it has the whole panel
    assert "not attacked yet" in ax.texts[2].get_text()
    assert "still class 1" in image_plots.plot_certified_image(image(success=False)).texts[2].get_text()


@pytest.mark.slow
def test_captions_stay_in_the_figure():
    ax = image_plots.plot_certified_image(image(index=1234, predicted=10, label=10))
    FigureCanvasAgg(ax.figure).draw()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert all(box.x1 <= ax.figure.bbox.x1 for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_marks_lie_at_epsilon_radius_and_attack():
    lines = drawn(image_plots.plot_certified_curve(image()))
    assert [lines[gid].get_xdata()[0] for gid in ("epsilon", "radius", "found")] == [0.5, 0.6, 0.7]
    assert np.isnan(drawn(image_plots.plot_certified_curve(image(success=False)))["found"].get_xdata()).all()
    distances = drawn(image_plots.plot_class_distances(image()))["distances"]
    np.testing.assert_array_equal(distances.get_xydata(), [[0, 0.8], [2, 0.6]])


def test_colours_and_unknown_labels():
    data = image(image=RNG.random((2, 2, 3)), saliency=RNG.random((2, 2, 3)), attacked=False, label=None, curve=None)
    ax = image_plots.plot_certified_image(data)
    assert ax.images[0].get_array().shape == (2, 2, 3)
    assert "label" not in plots.alt_text(data)
    plots.picture(image_plots.plot_certified_curve(data), "x")
