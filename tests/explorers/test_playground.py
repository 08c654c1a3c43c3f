"""The playground: what its networks learn, what is seen of them, and what a page and a file tell it."""

import base64
import html
import json
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from lipviz import certified_radius, toys
from lipviz.explorers import Playground, playground
from lipviz.explorers.shell.canvas import challenges, widget
from lipviz.explorers.shell.canvas import points as pts
from lipviz.explorers.shell.canvas.challenges import CHALLENGES
from lipviz.toys.side_by_side import KINDS
from tests.support import living_widgets, predicted

EXPLORER = Playground
UNTRAINED = {"width": 4, "depth": 1, "steps": 100, "noise": 0.0}


@pytest.fixture(scope="module")
def trained(shared):
    """After some steps; shown to several tests, which do not change it."""
    shared.reset()
    shared._set({**UNTRAINED, "speed": 20})
    shared._forget()
    shared.step()
    assert not shared.wait(300)
    assert shared.error is None
    shared.stop()
    assert shared.wait(300)
    return shared


def models(explorer):
    return [learner.trainer.model for learner in explorer._pair.learners]


def tell(explorer, points=None, *, settled=True, given=False, place=None, number=1, version=None, moved=None):
    """What a page says of its points."""
    version = explorer._canvas.points["version"] if version is None else version
    content = {
        "kind": "look", "page": "one", "number": number, "version": version, "settled": settled, "given": given,
        "points": None if points is None else np.asarray(points).tolist(), "place": place, "moved": moved,
    }  # fmt: skip
    send(explorer, content)


def send(explorer, content):
    explorer._canvas._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


def shown(explorer, kind, name):
    """What the page gets of a network."""
    kinds = {"right": np.uint8, "scores": np.float32}
    return np.frombuffer(explorer._canvas.answer["networks"][kind][name], kinds.get(name, np.float64))


def radii(model, x, y):
    return certified_radius(model, x, y, method="product").radii


# --- what is seen ---


@pytest.mark.slow
def test_radii_on_screen_are_certified_radii(trained):
    x, y = trained.points
    assert trained.data.steps == 20
    for kind, model in zip(KINDS, models(trained), strict=True):
        exact = radii(model, x, y)
        assert (exact > 0).any()
        np.testing.assert_allclose(shown(trained, kind, "radii"), exact, rtol=1e-12)
        np.testing.assert_array_equal(shown(trained, kind, "right"), exact > 0)


@pytest.mark.slow
def test_the_grid_on_screen_begins_at_the_top_left(trained):
    for kind, model in zip(KINDS, models(trained), strict=True):
        scores = shown(trained, kind, "scores")
        corners = model.predict_on_batch(np.array([[-2, 2], [2, 2], [-2, -2]], "float32"))[:, 0]
        np.testing.assert_allclose(scores[[0, 47, -48]], corners, atol=1e-5)


@pytest.mark.slow
def test_the_attackers_steps_change_decisions_and_no_disc_reaches_their_ends(trained):
    x, y = trained.points
    for view, model in zip(trained.data.views, models(trained), strict=True):
        ends, lengths = view.moves[:, :2], view.moves[:, 2]
        found = np.isfinite(lengths)
        assert found.any()
        np.testing.assert_allclose(lengths[found], np.linalg.norm(ends - x, axis=1)[found])
        assert (lengths[found] >= radii(model, x, None if y is None else y)[found]).all()
        before, after = (certified_radius(model, part).predicted for part in (x[found], ends[found]))
        assert (before != after).all()


@pytest.mark.slow
def test_words_and_numbers_say_what_is_shown(trained):
    data = trained.data
    words = trained.statement(data)
    assert f"After {data.steps} steps" in words
    assert f"ordinary network is right at {data.ordinary.right.sum()} of 80 points, the constrained one at" in words
    assert dict(trained.numbers(data))["right, constrained"] == f"{data.constrained.right.sum()} of 80"
    assert trained.static().alt == trained.alt_text(data)
    assert [ax.get_title(loc="left") for ax in trained.figure.axes] == ["ordinary", "constrained"]
    columns, rows = trained.table(data)
    assert columns[5:7] == ["attack_ordinary", "right_constrained"]
    np.testing.assert_array_equal(np.array(rows)[:, 7], data.constrained.radii)


# --- training ---


@pytest.mark.nightly
def test_a_step_is_traced_once_for_all_numbers_of_points_and_rates(explorer):
    """And it takes the means over the points, not over what fills up a batch."""
    pair = toys.side_by_side.Pair(width=2, depth=1, loss="hkr")
    traced, first = [], None
    for learner in pair.learners:
        step = learner.trainer.model.train_step if keras.backend.backend() == "tensorflow" else None
        if step is not None:
            learner.trainer.model.train_step = lambda *given, step=step: traced.append(1) or step(*given)
    x = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    y = (x[:, 0] > 0.3).astype(int)
    for count, rate, margin in ((100, 0.02, 0.5), (99, 0.001, 0.5), (7, 0.1, 2.0)):
        pair.set_loss(10.0, margin)
        for learner in pair.learners:
            scores = learner._certifier.logits(x[:count])[:, 0]
            learner.learn(x[:count], y[:count], 1, rate)
            signs = np.where(y[:count] > 0, 1, -1)
            kr = scores[signs > 0].mean() - scores[signs < 0].mean()
            loss = 10 * np.maximum(margin / 2 - signs * scores, 0).mean() - kr
            assert learner.trainer.losses[-1] == pytest.approx(loss, rel=1e-4, abs=1e-5)
        first = first or len(traced)  # a first trace may make the variables of the optimizer
    assert len(traced) == first


def test_the_crossentropy_is_the_mean_over_the_points(explorer):
    x, y = explorer.points
    pair = explorer._pair
    pair.set_loss(3.0, 0.5)
    for learner in pair.learners:
        scores = learner._certifier.logits(x)[:, 0]
        learner.learn(x, y, 1, 1e-9)
        loss = np.logaddexp(0, -3.0 * np.where(y > 0, scores, -scores)).mean() / 3.0
        assert learner.trainer.losses[-1] == pytest.approx(loss, rel=1e-5)


@pytest.mark.nightly
def test_the_code_trains_what_is_seen(trained, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "compile", _eagerly(keras.Model.compile))
        made = {}
        exec(compile(trained.code(), "code of the playground", "exec"), made)
    np.testing.assert_allclose(made["x"], trained.points[0], atol=1e-9)
    for kind, view in zip(KINDS, trained.data.views, strict=True):
        np.testing.assert_allclose(made["result"][kind].radii, view.radii, rtol=2e-3, atol=1e-4)
    assert "plots.picture(" in trained.code().splitlines()[-1]


def _eagerly(compile_):
    return lambda *given, **named: compile_(*given, **named, run_eagerly=True)


def test_without_points_there_is_a_sentence_and_nothing_is_lost(explorer):
    tell(explorer, np.zeros((0, 3)))
    assert explorer.error is None
    assert "no points" in explorer.statement(explorer.data)
    explorer.start()
    assert explorer.wait(300)
    assert "There are no points to train on" in explorer._alert.value
    tell(explorer, [[0, 0, 1], [1, 0, 0]])
    assert explorer._alert.value == ""
    assert len(explorer.points[1]) == 2


# --- what a page tells ---


def test_a_dragged_point_gets_its_radius_and_the_state_follows_at_the_end(explorer):
    before = explorer.state
    points = np.column_stack(explorer.points)
    points[3, :2] = [1.25, -0.5]
    tell(explorer, points, settled=False, place=[1.25, -0.5], number=7)
    answer = explorer._canvas.answer
    assert answer["answered"] == {"one": 7}
    np.testing.assert_array_equal(np.frombuffer(answer["places"]).reshape(-1, 3), points)
    x, y = points[:, :2], points[:, 2]
    for i, (kind, model) in enumerate(zip(KINDS, models(explorer), strict=True)):
        np.testing.assert_allclose(shown(explorer, kind, "radii"), radii(model, x, y), rtol=1e-12)
        score, radius = answer["reading"][i][:2]
        assert radius == pytest.approx(radii(model, x[3:4], None)[0], rel=1e-12)
        assert (score > 0) == certified_radius(model, x[3:4]).predicted[0]
    assert explorer.state == before
    tell(explorer, None, settled=True, number=8)
    assert explorer.state["data"] == "own"
    np.testing.assert_array_equal(pts.points_of(explorer.state["own"]), points)
    assert "np.array(" in explorer.code()
    assert explorer.controls["noise"].disabled
    json.dumps(explorer.state)


def test_what_is_read_at_a_viewed_point_is_what_is_computed_anew(explorer):
    pair, (x, y) = explorer._pair, explorer.points

    def anew(place):
        for learner in pair.learners:
            learner._viewed = None
        return pair.reading(place)

    def assert_same(found, wanted):
        for one, other in zip(found, wanted, strict=True):
            assert (one.score, one.radius) == pytest.approx((other.score, other.radius), rel=1e-12)
            np.testing.assert_allclose(one.move, other.move, rtol=1e-12)

    pair.view(x, y)
    assert_same(pair.reading(x[3]), anew(x[3]))
    pair.view(x, y)
    before = pair.reading(x[3])
    pair.restart(1)
    after = pair.reading(x[3])
    assert after[0].score != before[0].score
    assert_same(after, anew(x[3]))


def test_points_that_are_taken_back_are_those_of_the_toy_again(explorer):
    before, points = explorer.state, np.column_stack(explorer.points)
    tell(explorer, points[:-1])
    assert explorer.data.ordinary.unseen_accuracy is None
    tell(explorer, points, given=True, number=2)
    assert explorer.state == before
    assert explorer.data.ordinary.unseen_accuracy is not None


def test_a_page_that_has_not_got_the_newest_points_changes_nothing(explorer):
    points = np.column_stack(explorer.points)
    explorer.state = {"seed": 1}
    explorer.stop()
    assert explorer.wait(300)
    now = np.column_stack(explorer.points)
    assert not np.array_equal(now, points)
    tell(explorer, points[:3], version=explorer._canvas.points["version"] - 1, number=5)
    np.testing.assert_array_equal(np.column_stack(explorer.points), now)
    assert explorer._canvas.answer["answered"]["one"] == 5


def test_edits_go_into_the_training_and_do_not_end_it(explorer):
    explorer.state = {"speed": 1}
    explorer.step()
    assert not explorer.wait(300)
    points = np.column_stack(explorer.points)[:50]
    tell(explorer, points)
    assert explorer.work_state == "paused"
    explorer.step()
    assert not explorer.wait(300)
    assert explorer.data.steps == 2
    assert len(explorer.data.ordinary.radii) == 50
    explorer.reset()
    assert len(explorer.points[1]) == 80


def test_a_state_with_own_points_makes_a_round_trip(explorer):
    explorer.restore({"data": "own", "own": "250.-1000.1_0.500.0", **UNTRAINED})
    explorer.stop()
    assert explorer.wait(300)
    np.testing.assert_array_equal(np.column_stack(explorer.points), [[0.25, -1, 1], [0, 0.5, 0]])
    np.testing.assert_array_equal(np.frombuffer(explorer._canvas.points["places"]), [0.25, -1, 1, 0, 0.5, 0])
    explorer.restore({"own": "9999.0.1"})
    assert "inside of the picture" in explorer._notice.value
    assert len(explorer.points[1]) == 2


def test_toy_points_become_ones_own_where_these_are_asked_for(explorer):
    points = np.column_stack(explorer.points)
    explorer.controls["data"].value = "own"
    explorer.stop()
    assert explorer.wait(300)
    np.testing.assert_array_equal(np.column_stack(explorer.points), points)


@pytest.mark.parametrize("values", [{"width": 0}, {"depth": 0}, {"own": "nonsense"}, {"own": 3}, {"k": float("nan")}])
def test_a_state_that_cannot_be_gets_a_sentence(explorer, values):
    before = explorer.state
    explorer.state = values
    assert re.search("takes|must be", str(explorer.error))
    assert explorer.state == before
    explorer.refresh()


# --- challenges ---


def view_of(radii, right, losses=(0.5,)):
    """What a challenge looks at of a network."""
    return SimpleNamespace(radii=np.array(radii), right=np.array(right), losses=np.array(losses))


def verdict(name, constrained=None, *, moved=None, are_given=True, **state):
    """What a challenge says of a constrained network, in its own state with some changes."""
    challenge = CHALLENGES[name]
    data = SimpleNamespace(constrained=constrained)
    values = {"depth": 2, "width": 16, "margin": 0.5, **challenge.presets, **state}
    return challenge.verdict(challenges.Moment(values, data, are_given, moved))


def test_discs_are_large_enough_only_where_all_points_are_right():
    good = view_of([0.15, 0.3], [True, True])
    assert verdict("disc", good).done
    assert "smallest radius is 0.150" in verdict("disc", good).words
    assert verdict("disc", view_of([0.0, 0.3], [False, True])).words == "1 point is on the wrong side."
    small = verdict("disc", view_of([0.14999, 0.3], [True, True]))
    assert (small.done, small.words) == (False, "All points are correct. The smallest radius is 0.149.")
    assert "Try a smaller one" in verdict("disc", view_of([0.1], [True]), tau=100.0).words
    for changes in ({"are_given": False}, {"noise": 0.0}, {"data": "moons"}, {"seed": 1}):
        changed = verdict("disc", good, **changes)
        assert not changed.done
        assert "not those of the challenge" in changed.words


def test_relu_is_left_behind_only_with_everything_else_as_it_was():
    good = view_of([0.1], [True], [0.5, 0.0059])
    assert verdict("relu", good, activation="maxmin").done
    assert not verdict("relu", view_of([0.1], [True], [0.006])).done
    assert "not learned" in verdict("relu", view_of([0.1], [True], [])).words
    assert not verdict("relu", good, are_given=False).done
    for name, value in {"depth": 3, "width": 32, "k": 2.0, "loss": "hkr", "tau": 20.0}.items():
        assert "were changed" in verdict("relu", good, **{name: value}).words


@pytest.mark.parametrize(
    ("scores", "end", "words"),
    [
        ([[1, -1], [1, 1]], [0.0, 0.09], None),
        ([[1, -1], [1, 1]], [0.0, 0.1], "the step is 0.100 long"),
        ([[1, 1], [1, 1]], [0.0, 0.05], "still decides correctly, 0.050 away"),
        ([[1, -1], [1, -1]], [0.0, 0.05], "Both networks are fooled"),
        ([[-1, -1], [1, 1]], [0.0, 0.05], "The ordinary network was wrong about this point before"),
        ([[1, -1], [-1, 1]], [0.0, 0.05], "The constrained network was wrong about this point before"),
    ],
)
def test_the_ordinary_network_is_fooled_by_a_short_step_of_a_point_that_was_right(scores, end, words):
    moved = challenges.moved_of(np.array(scores), np.zeros(2), np.array(end), 1)
    found = verdict("fool", moved=moved)
    assert found.done == (words is None)
    assert (words or "A step of 0.090 fools") in found.words
    mirrored = challenges.moved_of(-np.array(scores), np.zeros(2), np.array(end), 0)
    assert verdict("fool", moved=mirrored) == found
    assert "Choose a point" in verdict("fool").words


@pytest.fixture
def untrained(explorer, monkeypatch):
    """The explorer, where nothing begins to train by itself."""
    monkeypatch.setattr(explorer, "start", lambda: None)
    return explorer


def test_a_challenge_begins_with_its_own_state(untrained, monkeypatch):
    explorer = untrained
    monkeypatch.setattr(explorer, "refresh", lambda: None)  # its network is larger than what the other tests build
    explorer._set({"tau": 2.0})
    send(explorer, {"kind": "challenge", "name": "fool"})
    assert explorer.state == explorer._defaults | dict(CHALLENGES["fool"].presets) | {"challenge": "fool"}
    send(explorer, {"kind": "challenge", "name": "none"})
    assert explorer.state["width"] == 32  # all else stays


def test_a_moved_point_is_judged_on_the_page(untrained):
    explorer = untrained
    explorer.restore({"challenge": "fool", "width": 4, "depth": 1, "noise": 0.25})
    assert "Choose a point and move it." in explorer._task.value
    answer = explorer._canvas.answer
    assert (answer["challenge"], answer["done"]) == ("fool", None)
    points = np.column_stack(explorer.points)
    start, points[3, :2] = points[3, :2].copy(), [0.5, 0.5]
    tell(explorer, points, settled=False, moved=[*start, *points[3]])
    scores = [predicted(model, np.array([start, [0.5, 0.5]], "float32"))[:, 0] for model in models(explorer)]
    moved = challenges.moved_of(np.array(scores), start, points[3, :2], points[3, 2])
    assert verdict("fool", moved=moved).words in html.unescape(explorer._task.value)
    tell(explorer, None, settled=False)
    assert "Choose a point and move it." in explorer._task.value
    send(explorer, {"kind": "challenge", "name": "none"})
    assert explorer._task.value == ""


def test_a_shared_state_with_a_challenge_keeps_its_other_values(untrained):
    explorer = untrained
    explorer.restore({**CHALLENGES["disc"].presets, "challenge": "disc", "tau": 7.0, "width": 4, "depth": 1})
    assert (explorer.state["challenge"], explorer.state["tau"]) == ("disc", 7.0)
    points = np.column_stack(explorer.points)
    tell(explorer, points[:-1])
    assert "not those of the challenge" in explorer._task.value
    tell(explorer, points, given=True, number=2)
    assert "not those of the challenge" not in explorer._task.value


@pytest.mark.slow
@pytest.mark.nightly
def test_each_goal_is_missed_at_first_and_can_be_reached():
    pair, before = toys.side_by_side.Pair(), toys.side_by_side.Pair("relu")
    points = playground._points_of("circles", noise=0.04)[0]

    def trained(pair, tau):
        pair.restart(0)
        pair.set_loss(tau, 0.5)
        pair.learn(points[:, :2], points[:, 2], 300)
        return pair.view(points[:, :2], points[:, 2]).constrained

    assert not verdict("disc", trained(pair, 1.0)).done
    good = trained(pair, 10.0)
    assert verdict("disc", good).done
    assert verdict("relu", good, activation="groupsort2").done
    assert not verdict("relu", trained(before, 10.0)).done


# --- files and arrays ---

ROWS = "0, 0, 1\n1, 0, 2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,0,a\n1,x,b", "Row 2: expected two finite numbers. Received: 1, x"),
        ("x,y,label\n0,0,a\n1,nan,b", "Row 3: expected two finite numbers. Received: 1, nan"),
        ("0 0 1\n1 inf 0", "Row 2: expected two finite numbers"),
        ("0,0,1\n1,0,1", "Expected labels of two kinds. Received: 1, 1.0"),
        ("0,0,a\n1,0,b\n2,0,c\n3,0,d", "Received: 4, a, b, c, …"),
        ("0;0\n1;1", "Row 1: expected two numbers and a label. Received: 0, 0"),
        ("", "Expected rows of two numbers and a label. Received: none"),
        ("a,b,c\n", "Received: none"),
        ("0,0,1\n" * 1001, "Expected at most 1,000 points. Received: 1,001 rows"),
        (None, "Expected a file of at most 1 MB"),
    ],
)
def test_a_file_that_cannot_be_used_gets_a_sentence_and_nothing_is_lost(explorer, text, words):
    before = np.column_stack(explorer.points)
    size = 30_000_000 if text is None else len(text)
    send(explorer, {"kind": "file", "name": "<b>.csv", "size": size, "text": text})
    assert words in explorer._notice.value
    assert "&lt;b&gt;.csv cannot be used" in explorer._notice.value
    np.testing.assert_array_equal(np.column_stack(explorer.points), before)


def test_a_million_rows_are_refused_at_once(tmp_path):
    path = tmp_path / "large.csv"
    path.write_text("0.5,0.5,1\n" * 1_000_000)
    with pytest.raises(ValueError, match=r"at most 1 MB, with at most 1,000 points. Received: large.csv with 10.0 MB"):
        pts.from_file(path)
    with pytest.raises(ValueError, match=r"Received: 1,000,000. Take some of them, such as x\[::1000\]"):
        pts.placed(np.zeros((1_000_000, 2)), np.arange(1_000_000) % 2)


@pytest.mark.parametrize(
    "text",
    [
        "x0,x1,label\n-1,0.5,no\n1,-0.5,yes\n",
        "# points\n-1;0.5;0\n\n1;-0.5;1",
        "-1\t0.5\t0\r\n1\t-0.5\t1",
        "-1 .5 2\n1 -.5 3",
    ],
)
def test_files_of_several_kinds_are_read(text):
    points, words = pts.placed(*pts.from_csv(text))
    np.testing.assert_array_equal(points, [[-1, 0.5, 0], [1, -0.5, 1]])
    assert words == ""


def test_points_elsewhere_are_moved_and_scaled_alike_along_both_axes():
    x = np.array([[100.0, 0.0], [420.0, 32.0], [260.0, -10.0]])
    points, words = pts.placed(x, [1, 0, 1])
    assert np.abs(points[:, :2]).max() == 1.6
    np.testing.assert_allclose(np.diff(points[:, :2], axis=0) * 100, np.diff(x, axis=0), atol=0.2)
    assert "a length of 1 there is 100 of your units" in words
    np.testing.assert_array_equal(pts.placed(np.zeros((2, 2)), [0, 1])[0][:, :2], 0)


def test_points_survive_the_way_through_text():
    points = np.array([[-2, 1.999, 1], [0.001, -0.5, 0]])
    np.testing.assert_array_equal(pts.points_of(pts.text_of(points)), points)
    for text in ("1.1", "2001.0.1", "0.0.2", "a.0.1", "0.0.1_", "_".join(["0.0.1"] * 1001)):
        with pytest.raises(ValueError, match="Expected"):
            pts.points_of(text)


@pytest.mark.slow
def test_own_points_and_a_file_can_be_given_and_closing_leaves_nothing(tmp_path):
    before = living_widgets()
    explorer = Playground([[0.0, 0.0], [300.0, 0.0]], ["a", "b"])
    assert explorer.state["data"] == "own"
    np.testing.assert_array_equal(explorer.points[0], [[-1.6, 0], [1.6, 0]])
    assert "moved and scaled" in explorer._notice.value
    explorer.reset()
    np.testing.assert_array_equal(explorer.points[1], [0, 1])
    explorer.close()
    assert living_widgets() == before

    path = tmp_path / "points.csv"
    path.write_text("0,0,1\n0,nan,0")
    explorer = Playground(csv=path)
    assert "Your points cannot be used. Row 2" in explorer._notice.value
    assert explorer.state["data"] == "moons"
    explorer.close()


# --- the widget ---


def test_the_script_holds_each_module_once_and_after_those_that_it_imports():
    script = widget._script()
    modules = json.loads(re.search(r"of (\[\[.*\]\])\) \{", script)[1])
    names = [name for name, _ in modules]
    assert len(names) == len(set(names))
    assert names[-1] == "explorers/shell/canvas/canvas.js"
    assert "playground/page/panel.js" in names
    for place, (_, text) in enumerate(modules):
        assert 'from "."' not in text
        for other in re.findall(r'from "(.*?)"', text):
            assert other.removeprefix("module:") in names[:place]
    assert len(script) < 100_000


def test_of_messages_that_wait_the_newest_counts_with_the_last_points(explorer, monkeypatch):
    waiting = []
    monkeypatch.setattr(widget, "soon", waiting.append)
    points = np.column_stack(explorer.points)
    tell(explorer, points[:9], settled=False, number=1)
    tell(explorer, points[:8], settled=False, number=2)
    tell(explorer, None, settled=False, place=[0.0, 1.0], number=3)
    assert len(waiting) == 1
    waiting[0]()
    assert len(explorer.points[1]) == 8
    assert explorer._canvas.answer["place"] == [0.0, 1.0]
    assert explorer._canvas.answer["answered"]["one"] == 3
    monkeypatch.setattr(explorer, "_defaults", explorer.state)
    explorer.reset()  # takes back also what a page has not let go
    np.testing.assert_array_equal(np.column_stack(explorer.points), points)


def test_a_kept_picture_is_the_present_one(explorer):
    first = explorer.shown_picture
    assert base64.b64decode(re.search('base64,([^"]+)', first)[1]).startswith(b"\x89PNG")
    tell(explorer, np.column_stack(explorer.points)[:20])
    assert explorer.shown_picture != first
