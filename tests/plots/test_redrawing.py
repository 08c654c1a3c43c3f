"""Plots drawn over others: on Axes that showed something else a picture is that on new Axes."""

import importlib
import inspect
import itertools
import pkgutil

import numpy as np
import pytest

from lipviz import layers, plots
from lipviz.certification import Certificate
from lipviz.measure import gradient_depth, gradient_passage, random_gradient_flows
from lipviz.measure.bjorck_map import bjorck_iterations_map, bjorck_paths
from lipviz.measure.claims import sample_kernel
from lipviz.measure.convolution_motion import convolution_power
from lipviz.measure.transport import transport_moment, wasserstein_distance
from lipviz.plots import layer_measurement, style, toy_training
from tests.plots import test_activation_shapes as shapes
from tests.plots import test_bjorck_map as maps
from tests.plots import test_certification as certification
from tests.plots import test_cones as cones
from tests.plots import test_convolutions as convolutions
from tests.plots import test_fields as fields
from tests.plots import test_function_fits as function_fits
from tests.plots import test_gradients as gradients
from tests.plots import test_layer_kinds as kinds
from tests.plots import test_layer_measurement as measurements
from tests.plots import test_network_spectra as network_spectra
from tests.plots import test_plots as spectra
from tests.plots import test_robustness as robustness
from tests.plots import test_saliency as saliency
from tests.plots import test_training as trainings
from tests.plots import test_transport as transport
from tests.plots.fooled_images import fooled
from tests.plots.pictures import described

LOSS = type("Losses", (), {"losses": np.geomspace(2, 0.1, 30), "steps": 50})
EMPTY = type("Losses", (), {"losses": np.zeros(0), "steps": 300})
NAN = trainings.log(metrics={"loss": np.full(4, np.nan)}, batch_losses=np.full(22, np.nan), not_finite={"loss": 1})
STEEP = trainings.log(
    metrics={"loss": np.geomspace(1000, 1, 4), "acc": np.geomspace(1, 1e-3, 4)}, not_finite={"loss": 3}
)
BARE = trainings.log(**trainings.BARE)
FLOWS = random_gradient_flows(("relu", "groupsort2"), 6, 8, 20)
PASSAGES = gradient_passage(FLOWS, 0), gradient_passage(FLOWS[:1], 4), gradient_passage(FLOWS, 6)
POWERS = (
    convolution_power(sample_kernel("random", 3, 1, 16, orthogonal=True), 6, iterations=5).at(2),
    convolution_power(sample_kernel("random", 3, 2, 2), 7, iterations=4).at(4),
    convolution_power(np.zeros((3, 3, 1, 1)), 5, iterations=3).at(0),
)
PLAN = wasserstein_distance(transport.X, transport.Y)

# For each plot, data that differ in all that its picture may depend on: (data, further arguments).
CASES = {
    plots.plot_singular_values: [
        (spectra.layer(), {}),
        (spectra.layer(constrained=False, count=40), {}),
        (spectra.layer(k=0.25), {}),
        (spectra.network(3), {}),
        (spectra.network(20, constrained=False), {}),
        (spectra.convergence(), {}),
    ],
    plots.plot_bjorck_convergence: [
        (spectra.convergence(0.1), {}),
        (spectra.convergence(0.4, maxiter_bjorck=40), {}),
        (spectra.convergence(maxiter_bjorck=0), {}),
    ],
    plots.plot_bjorck_paths: [
        (maps.PATHS, {}),
        (bjorck_paths(betas=(0.2, 0.3), eps=(1e-2,), iterations=20), {}),
        (maps.PATHS, {"norm": "spectral"}),
        (bjorck_paths([0.5], iterations=0, eps=()), {}),
    ],
    plots.plot_bjorck_map: [
        (maps.MAP, {}),
        (maps.MAP, {"place": (0.3, 0.2)}),
        (bjorck_iterations_map(np.linspace(0.1, 0.5, 5), np.linspace(0.2, 1, 6), tol=1e-2, maxiter=100), {}),
        (bjorck_iterations_map([0.1, 0.2], [0.0, 0.5]), {}),
    ],
    plots.plot_lipschitz_cone: [(cones.STEEP, {}), (cones.WIDE, {}), (cones.FLAT, {})],
    plots.plot_bjorck_circle: [(maps.START, {}), (maps.KERNEL, {}), (maps.LATER, {})],
    plots.plot_bjorck_cobweb: [(maps.START, {}), (maps.KERNEL, {}), (maps.LATER, {})],
    plots.plot_activation_outputs: [
        (shapes.SORTED, {"place": 0.5}),
        (shapes.WIDE, {}),
        (shapes.DOUBLED, {"place": -1.0}),
    ],
    plots.plot_activation_jacobian: [(shapes.SORTED, {"place": 0.5}), (shapes.WIDE, {}), (shapes.DOUBLED, {})],
    plots.plot_activation_plane: [(shapes.SORTED, {"place": 0.5}), (shapes.DOUBLED, {})],
    plots.plot_certificate: [
        (Certificate("net", np.inf, 0.25, certification.ROWS, 2, (8, 8, 1)), {}),
        (Certificate("other", 1.6, 0.0, certification.ROWS[:1], 1, (8,)), {}),
    ],
    plots.plot_depth_bounds: [
        (certification.depths(), {}),
        (certification.depths(found=None, norm=1), {}),
        (certification.depths(product=(1, 500), together=(1, 300), found=(1, 0)), {}),
    ],
    plots.plot_certified_accuracy: [(robustness.accuracy(), {}), (robustness.accuracy(empirical=False, count=4), {})],
    plots.plot_certified_accuracies: [
        ({"τ = 1": robustness.accuracy(), "τ = 3": robustness.accuracy(empirical=False, count=4)}, {}),
        ({"τ = 3": robustness.accuracy(count=4)}, {}),
    ],
    plots.plot_radii: [
        (robustness.radii(), {}),
        (robustness.radii([0.5, 0.1, np.inf, 0.0]), {}),
        (robustness.radii([np.inf]), {}),
    ],
    plots.plot_certified_image: [
        (trainings.image(), {}),
        (trainings.image(attacked=False, saliency=None, index=4), {}),
        (trainings.image(image=np.full((3, 3, 3), 0.5), attacked=False, label=None), {}),
    ],
    plots.plot_class_distances: [
        (trainings.image(), {}),
        (trainings.image(distances=np.array([0.0, np.inf, 3.0, 1.0]), predicted=0, epsilon=2.0), {}),
    ],
    plots.plot_certified_curve: [
        (trainings.image(), {}),
        (trainings.image(attacked=False, curve=None, reach=3.0), {}),
        (trainings.image(bound="local", radius=4.0), {}),
    ],
    plots.plot_convolution_claims: [(convolutions.LYING, {}), (convolutions.HOLDING, {}), (convolutions.ZERO, {})],
    plots.plot_convolution_gains: [(convolutions.LYING, {}), (convolutions.HOLDING, {}), (convolutions.ZERO, {})],
    plots.plot_convolution_spectrum: [(convolutions.LYING, {}), (convolutions.ZERO, {})],
    plots.plot_worst_image: [(POWERS[0], {}), (POWERS[1], {}), (POWERS[2], {})],
    plots.plot_convolution_power: [
        (POWERS[0], {"claims": convolutions.LYING}),
        (POWERS[1], {"claims": convolutions.HOLDING}),
        (POWERS[2], {"claims": convolutions.ZERO}),
    ],
    plots.plot_decision_field: [
        (fields.decision(), {}),
        (fields.decision(name="other", scale=3.0, certified=False), {"limit": 7.0}),
        (fields.decision(points=False, scale=0.0), {}),
        (fields.decision(3), {}),
        (fields.decision(7, points=False), {}),
    ],
    plots.plot_linear_regions: [
        (fields.regions(), {}),
        (fields.regions(1), {}),
        (fields.regions(), {"by": "slope"}),
    ],
    plots.plot_fooled_image: [
        (fooled(), {}),
        (fooled(), {"place": 0}),
        (fooled(), {"place": 1}),
        (fooled(2.0, predicted=(0, 2), seed=1), {"place": 1}),
        (fooled(names=("a", "b"), index=3), {"place": 0}),
    ],
    plots.plot_function_fit: [
        (function_fits.fit(), {}),
        (function_fits.fit("groupsort2", 0.9), {}),
        (function_fits.ALL, {}),
        ([function_fits.fit(), function_fits.fit(constrained=False)], {}),
        (function_fits.fit(target=np.zeros_like, name="zero"), {}),
    ],
    plots.plot_log_norms: [
        (measurements.NORMS, {}),
        ([measurements.norms("c", 0.1)], {"bottom": 1e-3}),
        ([measurements.norms("c", 0.1), measurements.norms("a", 0.2)], {}),
    ],
    plots.plot_gradient_norms: [
        (gradients.norms(), {}),
        ([gradients.norms(), gradients.norms("b", 0.5)], {"constant": [1.0, 2.0]}),
        (gradients.norms("b", 0.0), {"constant": 1.0}),
    ],
    plots.plot_gradient_flow: [(gradients.flow(), {}), ([gradients.flow(), gradients.flow("b", 9, 1e-6)], {})],
    plots.plot_gradient_passage: [(PASSAGES[0], {}), (PASSAGES[1], {"labels": ["a"]}), (PASSAGES[2], {})],
    plots.plot_gradient_passage_norms: [(PASSAGES[0], {}), (PASSAGES[1], {"labels": ["a"]}), (PASSAGES[2], {})],
    plots.plot_gradient_depth: [
        (gradient_depth(("relu", "groupsort2"), (1, 3, 8), 8, 20), {}),
        (gradient_depth(("groupsort2", "relu"), (1, 3, 8), 4, 20), {"labels": ["GroupSort2", "ReLU"]}),
        (gradient_depth(("relu", "groupsort2", "tanh", "elu"), (1, 5), 8, 20), {}),
    ],
    plots.plot_gradient_history: [
        (gradients.history(), {}),
        ([gradients.history(), gradients.history("b", 9)], {}),
        (gradients.history("c"), {"labels": ["median"]}),
    ],
    plots.plot_jacobian_spectra: [(network_spectra.spectra(), {}), (network_spectra.spectra(30, 4, 7.0), {})],
    layer_measurement.plot_layer_spectrum: [
        (data, {}) for data in (measurements.DENSE, measurements.POOLING, measurements.PLAIN)
    ],
    layer_measurement.plot_layer_gains: [
        (data, {}) for data in (measurements.DENSE, measurements.POOLING, measurements.PLAIN)
    ],
    plots.plot_kind_spectra: [
        (kinds.spectra(), {}),
        (kinds.spectra(kinds.CONVOLUTION_KINDS, depth=1, low=0.01, count=20), {}),
        (kinds.spectra(kinds.DENSE_KINDS[:1]), {}),
    ],
    plots.plot_kind_accuracy: [
        (kinds.networks(), {}),
        (kinds.networks(kinds.CONVOLUTION_KINDS[:2], missing=(0,), depth=1, epsilons=(0.3,)), {}),
        (kinds.networks(missing=(0, 1, 2)), {}),
    ],
    plots.plot_kind_costs: [
        (kinds.networks(), {}),
        (kinds.networks(kinds.CONVOLUTION_KINDS[:2], costs=(np.nan, 9.0)), {}),
    ],
    plots.plot_saliency: [
        (saliency.saliency(), {}),
        (saliency.saliency(2, (4, 4, 3), rivals=False), {"title": "Mine"}),
        (saliency.saliency(1, (4, 4)), {}),
    ],
    plots.plot_adversarial_pairs: [
        (saliency.pairs(), {}),
        (saliency.pairs(1, (4, 4, 1), radii=False), {}),
        (saliency.pairs(8, (8, 8, 3)), {"most": 2}),
    ],
    toy_training.plot_toy_loss: [(LOSS, {}), (EMPTY, {})],
    plots.plot_tradeoff: [
        (trainings.compared(chosen=1, live=(3,)), {}),
        (trainings.compared(epsilon=0.5), {}),
        (trainings.Tradeoff(()), {}),
    ],
    plots.plot_tradeoff_curves: [
        (trainings.compared(chosen=0, epsilon=0.5), {}),
        (trainings.compared(), {}),
        (trainings.Tradeoff(()), {}),
    ],
    plots.plot_training_loss: [(data, {}) for data in (trainings.log(), trainings.log(7), BARE, STEEP, NAN)],
    plots.plot_training_metrics: [
        (trainings.log(), {}),
        (STEEP, {}),
        (trainings.log(metrics={f"m{i}": np.ones(4) for i in range(9)}), {}),
    ],
    plots.plot_training_terms: [(trainings.log(), {}), (trainings.log(hinge=None, kr=np.geomspace(1, 1e4, 4)), {})],
    plots.plot_training_spectra: [
        (trainings.log(), {}),
        (trainings.log(spectra={f"layer_{i}": np.ones((4, 2)) for i in range(9)}), {}),
    ],
    plots.plot_transport_moment: [(transport_moment(PLAN, share), {}) for share in (0.0, 0.3, 1.0)],
    plots.plot_transport_cost: [(transport_moment(PLAN, share), {}) for share in (0.0, 0.3, 1.0)],
    plots.plot_potential: [
        (transport.potential(), {"transport": PLAN}),
        (transport.potential(2.0), {}),
        (transport.potential(0.0), {"transport": PLAN}),
    ],
    plots.plot_wasserstein_training: [
        (transport.training(), {}),
        (transport.training("other", k=3.0, reached=0.5, count=9), {}),
        ([transport.training("a"), transport.training("b", 0.5), transport.training("c", 0.1)], {}),
        (transport.training(exact=0.0), {}),
    ],
}
# Steps of a slider: nothing comes or goes, so everything moves.
STEPS = [
    (plots.plot_singular_values, spectra.convergence(0.1), spectra.convergence(0.4)),
    (plots.plot_bjorck_convergence, spectra.convergence(0.1), spectra.convergence(0.4)),
    (plots.plot_activation_outputs, shapes.SORTED, shapes.DOUBLED),
    (plots.plot_activation_jacobian, shapes.SORTED, shapes.WIDE),
    (plots.plot_activation_plane, shapes.SORTED, shapes.DOUBLED),
    (plots.plot_class_distances, trainings.image(), trainings.image(epsilon=2.0)),
    (plots.plot_certified_image, trainings.image(), trainings.image(index=9)),
    (plots.plot_certified_curve, trainings.image(), trainings.image(attacked=False, epsilon=2.0)),
    (plots.plot_lipschitz_cone, cones.STEEP, cones.WIDE),
    (plots.plot_convolution_gains, convolutions.LYING, convolutions.ZERO),
    (plots.plot_convolution_spectrum, convolutions.LYING, convolutions.ZERO),
    (plots.plot_convolution_claims, convolutions.LYING, convolutions.HOLDING),
    (plots.plot_depth_bounds, certification.depths(), certification.depths((1, 9, 9, 20), (1, 9, 6, 7))),
    (plots.plot_fooled_image, fooled(), fooled(0.7, seed=1)),
    (plots.plot_function_fit, function_fits.fit(), function_fits.fit(shrink=0.9)),
    (plots.plot_gradient_depth, gradients.DEPTH, gradient_depth(gradients.DEPTH.activations, (2, 12), 6, 30)),
    (plots.plot_gradient_flow, gradients.flow(), gradients.flow("a", 7, 1e-5)),
    (plots.plot_gradient_history, gradients.history(), gradients.history("a", 12)),
    (plots.plot_jacobian_spectra, network_spectra.spectra(), network_spectra.spectra(30, 4, 7.0)),
    (plots.plot_kind_spectra, kinds.spectra(), kinds.spectra(depth=5, low=0.01)),
    (plots.plot_kind_accuracy, kinds.networks(), kinds.networks(depth=5)),
    (plots.plot_kind_costs, kinds.networks(), kinds.networks(costs=(3.0, 1.0, 7.0))),
    (plots.plot_log_norms, measurements.NORMS, [measurements.norms("a", 0.1), measurements.norms("b", 1e-3)]),
    (layer_measurement.plot_layer_gains, measurements.DENSE, measurements.POOLING),
    (layer_measurement.plot_layer_spectrum, measurements.DENSE, measurements.measured(layers.SpectralDense(3), 5)),
    (plots.plot_tradeoff, trainings.compared(chosen=1), trainings.compared(epsilon=0.5, live=(3,))),
    (plots.plot_tradeoff_curves, trainings.compared(chosen=1), trainings.compared(epsilon=0.5)),
    (plots.plot_training_loss, trainings.log(3), trainings.log(5)),
    (plots.plot_wasserstein_training, transport.training(), transport.training(reached=0.5, count=9)),
    (toy_training.plot_toy_loss, EMPTY, LOSS),
]
NO_AXES = {"plot_decision_fields", "plot_training_log"}  # plots of whole figures


@pytest.fixture
def ax():
    return new_axes()


def new_axes():
    (ax,) = plots.new_figure().axes
    return ax


def differences(ax, words):
    return [pair for pair in itertools.zip_longest(described(ax), words) if pair[0] != pair[1]]


@pytest.mark.lists
def test_every_plot_has_data_here():
    modules = [importlib.import_module(f"lipviz.plots.{found.name}") for found in pkgutil.iter_modules(plots.__path__)]
    found = {name for module in modules for name in vars(module) if name.startswith("plot_")}
    expected = {plot.__name__ for plot in CASES} | NO_AXES
    assert found == expected, "enter data of the plot in CASES of this file, and a step of a slider in STEPS"


@pytest.mark.lists
def test_every_measurement_that_is_drawn_has_words():
    kinds = {type(data) for cases in CASES.values() for data, _ in cases if type(data).__module__.startswith("lipviz.")}
    assert len(kinds) > 20
    wordless = {kind.__name__ for kind in kinds if plots.alt_text.dispatch(kind) is plots.alt_text.dispatch(object)}
    assert not wordless, "say in the plot's module, by @alt_text.register, what the picture shows"


def walk(count):
    """Numbers below `count` in an order in which each of them comes right after itself, and after each other one."""
    yield from (0, 0)
    for first in range(count - 1):
        for second in range(first + 1, count):
            yield from (second, first)
        yield from (first + 1, first + 1)


@pytest.mark.parametrize("plot", CASES, ids=lambda plot: plot.__name__)
def test_on_axes_with_other_data_a_picture_is_that_on_new_axes(plot, ax):
    fresh = [described(plot(data, ax=new_axes(), **arguments)) for data, arguments in CASES[plot]]
    assert len({str(words) for words in fresh}) == len(fresh)  # the data do differ
    before = None
    for place in walk(len(fresh)):
        data, arguments = CASES[plot][place]
        assert plot(data, ax=ax, **arguments) is ax
        assert not differences(ax, fresh[place]), f"data {place} over data {before}"
        before = place


@pytest.mark.nightly
def test_on_axes_with_another_plot_a_picture_is_that_on_new_axes(ax):
    drawings = [(plot, *case) for plot, cases in CASES.items() for case in cases[:1]]
    before = "nothing"
    for place in np.random.default_rng(0).permutation(len(drawings)):
        plot, data, arguments = drawings[place]
        plot(data, ax=ax, **arguments)
        assert not differences(ax, described(plot(data, ax=new_axes(), **arguments))), f"{plot.__name__} over {before}"
        before = plot.__name__


@pytest.mark.parametrize(("plot", "old", "new"), STEPS)
def test_a_step_of_a_slider_moves_artists(plot, old, new):
    ax = plot(old)
    before = ax.get_children()
    plot(new, ax=ax)
    assert ax.get_children() == before


def test_pictures_of_a_live_figure_are_those_on_new_axes():
    """Above all the legend, which is drawn once: here its words stay, and its colours change."""
    kept = plots.new_figure()
    live = plots.LiveFigure(kept)
    for color, marker in (("#0072B2", "o"), ("#D55E00", "s"), ("#0072B2", "o")):
        fresh = plots.new_figure()
        for figure in (kept, fresh):
            with style.drawing(figure.axes[0], title="One", xlabel="x", ylabel="y") as ax:
                style.line(ax, "line", [0, 1], [0, 1], color=color, marker=marker, label="one")
                style.level(ax, 0.5, color=color)
                ax.set_xlim(0, 1)
                ax.set_ylim(0, 1)
                style.legend(ax)
        (moved,), (new,) = live.panels("x"), plots.LiveFigure(fresh).panels("x")
        np.testing.assert_allclose(spectra.pixels(moved), spectra.pixels(new), atol=40)  # palettes differ


def test_data_on_a_known_background_keep_their_aspect():
    figure = plots.new_figure(2)
    live = plots.LiveFigure(figure)
    shown = []
    for _ in range(2):
        plots.plot_decision_field(fields.decision(), ax=figure.axes[0])  # narrowed, and the aspect narrows it further
        shown.append(spectra.pixels(live.panels("x")[0]))
    np.testing.assert_array_equal(*shown)


@pytest.mark.parametrize(("low", "high", "count"), [(1e-9, 2.0, 5), (0.02, 1.0, 6), (1.0, 0.02, 6)])
def test_a_logarithmic_axis_has_labels_whatever_limits_it_gets_afterwards(low, high, count):
    ax = plots.plot_singular_values(spectra.layer())
    ax.set_ylim(low, high)
    assert sum(min(low, high) <= tick <= max(low, high) for tick in ax.get_yticks()) == count


# --- what others do on the same Axes ---


def test_what_others_have_drawn_stays_while_the_plot_is_the_same(ax):
    theirs = ax.plot([0, 5], [1, 1])[0]
    for data in (spectra.layer(), spectra.layer(count=9), spectra.network(2)):
        plots.plot_singular_values(data, ax=ax)
        assert theirs in ax.lines
    plots.plot_radii(robustness.radii(), ax=ax)
    assert theirs not in ax.lines


def test_what_others_have_removed_is_drawn_again(ax):
    plots.plot_singular_values(spectra.layer(), ax=ax)
    words = described(ax)

    def forget_title():
        ax.set_title("mine", loc="left")

    for spoil in (ax.clear, lambda: ax.lines[1].remove(), lambda: ax.get_legend().remove(), forget_title):
        spoil()
        plots.plot_singular_values(spectra.layer(), ax=ax)
        assert not differences(ax, words)


def test_a_drawing_that_fails_is_made_good_by_the_next(ax):
    labels = {"title": "x", "xlabel": "x", "ylabel": "y"}
    for is_last in (False, True):
        with style.drawing(ax, **labels):
            style.line(ax, "a", [0, 1], [0, 1], label="a", color="red")
            if not is_last:
                style.legend(ax)
        if not is_last:
            with pytest.raises(ValueError, match="shape"), style.drawing(ax, **labels):
                style.line(ax, "b", [1, 2], [1, 2, 3], color="red")
    fresh = new_axes()
    with style.drawing(fresh, **labels):
        style.line(fresh, "a", [0, 1], [0, 1], label="a", color="red")
    assert not differences(ax, described(fresh))


def test_what_could_not_be_drawn_again_is_refused(ax):
    labels = {"title": "x", "xlabel": "x", "ylabel": "y"}
    with style.drawing(ax, **labels), pytest.raises(RuntimeError, match="already"):
        plots.plot_radii(robustness.radii(), ax=ax)
    with pytest.raises(RuntimeError, match="setup"), style.drawing(ax, **labels):
        style.log_scale(ax, [np.ones(2)])
    with pytest.raises(ValueError, match="colour of the line 'a'"), style.drawing(ax, **labels):
        style.line(ax, "a", [0], [0], marker="o")
    with pytest.warns(DeprecationWarning, match="use `setup`"), style.drawing(ax, **labels, dress=(style.log_y,)):
        pass
    with style.drawing(ax, **labels, setup=(style.log_y,)):
        style.log_scale(ax, [np.ones(2)])
    assert ax.get_yscale() == "log"


def test_without_a_drawing_a_line_moves_by_its_name(ax):
    line = style.line(ax, "a", [0, 1], [0, 1], color="red")
    other = style.line(ax, "b", [0, 1], [1, 1], color="red")
    assert style.line(ax, "a", [0, 2], [0, 3], color="red") is line
    np.testing.assert_array_equal(line.get_xydata(), [[0, 0], [2, 3]])
    assert list(ax.lines) == [line, other]


# --- the argument of version 0.1 ---


@pytest.mark.parametrize("update", [True, False])
def test_update_is_taken_for_one_release_more_and_does_nothing(ax, update):
    (plot, (data, _)) = plots.plot_bjorck_convergence, CASES[plots.plot_bjorck_convergence][0]
    with pytest.warns(DeprecationWarning, match="`plot_bjorck_convergence` needs no `update`"):
        plot(data, ax=ax, update=update)
    assert not differences(ax, described(plot(data)))
    with pytest.warns(DeprecationWarning, match="`line` needs no"):
        style.line(ax, "a", [0], [0], update=update)
    assert "update" not in str(inspect.signature(plot))
