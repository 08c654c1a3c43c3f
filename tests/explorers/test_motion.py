"""Step sliders and their players, and what each process shows at a step."""

import ipywidgets as widgets
import numpy as np
import pytest

from lipviz import measure, operators
from lipviz.explorers import BjorckExplorer, ConvolutionExplorer, GradientDepthExplorer, WassersteinExplorer
from lipviz.explorers.shell import page
from lipviz.explorers.shell.motion import fit, step_slider, widen
from tests.support import convolution_matrix, living_widgets, with_spectrum


def made(step=1, limit=20):
    return step_slider("step", limit, step, "Of a process", end_of=lambda data: data)


# --- the mechanism ---


@pytest.mark.parametrize(("step", "kind"), [(1, widgets.IntSlider), (0.25, widgets.FloatSlider)])
def test_the_slider_is_of_its_kind_and_answers_while_it_moves(step, kind):
    control = made(step)
    assert isinstance(control, kind)
    assert control.continuous_update
    assert (control.description, control.tooltip) == ("step", "Of a process")


def test_nothing_plays_by_itself():
    player = made().player
    assert not player.clock.playing
    assert not player.clock.repeat


def test_it_ends_where_the_process_ends():
    control = made()
    control.value = 12
    fit([control, widgets.IntSlider()], 7)
    assert (control.max, control.value, control.player.clock.max, control.player.clock.value) == (7, 7, 7, 7)
    fit([control], None)  # nothing of a process is shown
    assert control.max == 7
    fit([control], 0)
    assert control.max == 1  # a slider needs two places
    fit([control], 99)
    assert control.max == 20


def test_it_takes_a_step_of_a_longer_process():
    control = made()
    fit([control], 7)
    widen([control, widgets.IntSlider()])
    control.value = 15
    assert (control.value, control.max, control.player.clock.value) == (15, 20, 15)
    fit([control], 9)
    assert control.value == 9


@pytest.mark.parametrize("step", [1, 0.25])
def test_the_clock_moves_the_slider_and_starts_from_where_it_was_put(step):
    control = made(step)
    clock = control.player.clock
    assert clock.max == 20 / step
    clock.set_state({"value": 3})  # as the page does at each tick
    assert control.value == 3 * step
    control.set_state({"value": 5})
    assert clock.value == 5 / step


def test_the_button_plays_and_pauses_and_says_so():
    player = made().player
    assert player.button.description == "Play"
    player.button.click()
    assert player.clock.playing
    assert player.button.description == "Pause"
    player.clock.set_state({"playing": False})  # the page has come to the end
    assert player.button.description == "Play"


def test_speeds_are_times_of_a_frame():
    player = made().player
    times = []
    for speed in ("slow", "normal", "fast"):
        player.speed.label = speed
        times.append(player.clock.interval)
    assert times == [200, 100, 50]


def test_a_disabled_step_is_hidden_and_stops():
    control = made()
    control.player.toggle()
    control.disabled = True
    assert not control.player.clock.playing
    assert control.shown_as.layout.display == "none"
    control.disabled = False
    assert control.shown_as.layout.display == ""
    assert not control.player.clock.playing


def test_a_player_leaves_no_widget_behind():
    before = living_widgets()
    control = made()
    for widget in page.all_widgets(control.shown_as):
        widget.close()
    assert living_widgets() == before


# --- Björck ---


@pytest.fixture(scope="module")
def bjorck():
    explorer = BjorckExplorer()
    explorer.state = {"view": "motion", "rows": 9, "columns": 6, "smallest": 0.05, "beta_bjorck": 0.4}
    yield explorer
    explorer.close()


def lines(ax):
    return {line.get_gid(): line.get_xydata() for line in ax.lines}


def test_the_player_is_on_the_page_while_there_is_something_to_play(bjorck):
    shown = list(page.all_widgets(bjorck.widget))
    assert bjorck.controls["step"].player.clock in shown
    assert not bjorck.controls["step"].disabled
    bjorck.state = {"view": "convergence"}
    assert bjorck.controls["step"].disabled
    bjorck.state = {"view": "motion"}


@pytest.mark.parametrize("done", [0, 1, 4])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_scrubbed_step_is_the_state_of_the_iteration(bjorck, done, share):
    bjorck.controls["step"].set_state({"value": round(1 + done + share, 7)})
    assert bjorck.error is None
    w = with_spectrum((9, 6), bjorck.data.normalized)
    for _ in range(done):
        w = w + 0.4 * (w - w @ w.T @ w)
    w = w + share * 0.4 * (w - w @ w.T @ w)
    expected = np.sort(np.linalg.svd(w, compute_uv=False))
    left, right = map(lines, bjorck.figure.axes)
    np.testing.assert_allclose(np.sort(left["spectrum"][:, 1]), expected, rtol=1e-12)
    np.testing.assert_allclose(np.sort(right["values"][:, 1]), expected, rtol=1e-12)
    assert left["now"][:, 1].max() == pytest.approx(expected[0], rel=1e-9)  # half axes of the ellipse
    assert np.ptp(left["now"][:, 0]) == pytest.approx(2 * expected[-1], rel=1e-9)
    assert f"{expected[0]:.7f}" in dict(bjorck.numbers(bjorck.data)).values()


def test_the_process_begins_with_a_circle_and_ends_with_what_the_layer_computed(bjorck):
    bjorck.state = {"step": 0.0}
    np.testing.assert_array_equal(bjorck.data.moment.now, 1.0)
    bjorck.state = {"step": 51.0}
    assert bjorck.error is None
    assert bjorck.state["step"] == bjorck.controls["step"].max == 1 + bjorck.data.iterations
    margin = bjorck.data.constrained[0] / bjorck.data.moment.now[0]
    # The layer computes in float32, and leaves a margin for its rounding.
    np.testing.assert_allclose(bjorck.data.moment.now * margin, bjorck.data.constrained, atol=1e-6)


def test_the_axes_stay_while_it_plays(bjorck):
    limits = set()
    for step in (0.0, 0.5, 1.0, 2.3, 6.0):
        bjorck.state = {"step": step}
        limits.add(tuple((ax.get_xlim(), ax.get_ylim(), ax.get_title(loc="left")) for ax in bjorck.figure.axes))
    assert len(limits) == 1


def test_the_map_marks_the_kernel():
    explorer = BjorckExplorer(operators.random_kernel(5, 5, 0.2))
    explorer.state = {"view": "map", "beta_bjorck": 0.3}
    assert explorer.error is None
    ((beta, sigma),) = lines(explorer.figure.axes[1])["place"]
    assert (beta, sigma) == (0.3, explorer.data.normalized[-1])
    data = explorer.data.map
    needed = measure.bjorck_iterations_map([beta], [sigma], data.tol, data.maxiter).iterations.item()
    cell = data.iterations[np.abs(data.betas - beta).argmin(), np.abs(data.sigmas - sigma).argmin()]
    assert abs(needed - cell) <= 1
    explorer.close()


# --- transport ---


@pytest.fixture(scope="module")
def transport():
    rng = np.random.default_rng(0)
    explorer = WassersteinExplorer(rng.standard_normal((7, 2)), rng.standard_normal((5, 2)) + 2)
    explorer.state = {"view": "motion"}
    yield explorer
    explorer.close()


@pytest.mark.slow
def test_points_go_along_the_plan_and_the_cost_is_that_of_the_measure(transport):
    plan = measure.wasserstein_distance(*transport._own)
    for percent in (0, 30, 100):
        transport.controls["step"].set_state({"value": percent})
        assert transport.error is None
        left, right = map(lines, transport.figure.axes)
        starts, ends = plan.x[plan.pairs[:, 0]], plan.y[plan.pairs[:, 1]]
        np.testing.assert_allclose(left["points"], starts + percent / 100 * (ends - starts), atol=1e-12)
        np.testing.assert_allclose(right["so far"][:, 1], percent / 100 * plan.distance, rtol=1e-12)
        heights, edges, _ = next(p for p in transport.figure.axes[1].patches if p.get_gid() == "moved").get_data()
        assert np.sum(heights * np.diff(edges)) == pytest.approx(percent / 100 * plan.distance, abs=1e-12)
    assert f"the Wasserstein-1 distance {plan.distance:.4g}" in transport.statement(transport.data)


@pytest.mark.slow
def test_the_motion_of_points_trains_no_network(transport):
    transport.start()
    assert transport.wait(60)
    assert transport._run is None
    assert transport.error is None
    assert transport.controls["alpha"].disabled
    columns, rows = transport.table(transport.data)
    assert len(rows) == len(transport.data.points)
    assert len(columns) == len(rows[0])


# --- gradients ---


def test_a_gradient_is_shown_where_it_is():
    explorer = GradientDepthExplorer()
    explorer.state = {"view": "motion", "depth": 6, "width": 8, "first": "relu", "second": "tanh", "step": 200}
    assert explorer.state["step"] == explorer.controls["step"].max == 6
    whole = measure.gradient_depth(("relu", "tanh"), (6,), 8, 64, 0)
    np.testing.assert_allclose(explorer.data.norms, whole.norms[:, 0], rtol=1e-12)
    explorer.controls["step"].set_state({"value": 2})
    assert explorer.error is None
    flows = measure.random_gradient_flows(("relu", "tanh"), 6, 8, 64, 0)
    for order, flow in enumerate(flows):
        left = lines(explorer.figure.axes[0])
        np.testing.assert_allclose(
            left[f"median {order}"], np.c_[:3, np.median(flow.norms, axis=1)[:-4:-1]], rtol=1e-12
        )
        np.testing.assert_allclose(left[f"now {order}"], [[2, np.median(flow.norms[4])]], rtol=1e-12)
        counts, edges, _ = next(
            p for p in explorer.figure.axes[1].patches if p.get_gid() == f"norms {order}"
        ).get_data()
        np.testing.assert_array_equal(counts, np.histogram(flow.norms[4], edges)[0])
    assert counts.sum() == 64
    columns, rows = explorer.table(explorer.data)
    assert len(rows) == 7
    assert rows[0][1:] == pytest.approx([1.0] * 6)
    assert len(columns) == 7
    explorer.close()


# --- a convolution ---


def test_the_worst_image_is_found_step_by_step():
    explorer = ConvolutionExplorer()
    explorer.state = {
        "view": "motion",
        "image": 5,
        "channels": 2,
        "filters": 3,
        "kernel": "smooth",
        "orthogonal": False,
    }
    kernel = measure.sample_kernel("smooth", 3, 2, 3)
    matrix = convolution_matrix(kernel, (5, 5), (1, 1), "same")
    x = np.random.default_rng(0).standard_normal(50)
    channel = np.square(np.linalg.svd(matrix)[2][0].reshape(5, 5, 2)).sum(axis=(0, 1)).argmax()
    for step in range(3):
        explorer.controls["step"].set_state({"value": step})
        assert explorer.error is None
        x = x / np.linalg.norm(x)
        image = next(image for image in explorer.figure.axes[0].images if image.get_gid() == "image")
        np.testing.assert_allclose(image.get_array(), x.reshape(5, 5, 2)[..., channel], rtol=0, atol=1e-12)
        ((place, gain),) = lines(explorer.figure.axes[1])["now"]
        assert (place, gain) == (step, pytest.approx(np.linalg.norm(matrix @ x), rel=1e-12))
        x = matrix.T @ (matrix @ x)
    explorer.state = {"step": 40}
    assert explorer.data.moment.gain == pytest.approx(explorer.data.norm, rel=1e-3)
    explorer.close()


def test_an_image_disproves_a_claim_that_is_too_small():
    explorer = ConvolutionExplorer()
    explorer.state = {"kernel": "random", "image": 8, "view": "motion", "step": 40}
    assert "So the image disproves the claim 2.7500 of the reference's average." in explorer.statement(explorer.data)
    np.testing.assert_allclose(lines(explorer.figure.axes[1])["false"][:2, 1], 2.75)
    np.testing.assert_allclose(lines(explorer.figure.axes[1])["norm"][:, 1], explorer.data.norm)
    explorer.state = {"kernel": "edge", "filters": 1, "padding": "valid"}
    assert explorer.error is None
    assert explorer.controls["seed"].disabled
    explorer.close()
