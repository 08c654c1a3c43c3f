"""The same network with layers of several kinds: what it is made of, what a run says, and the tables."""

import dataclasses

import numpy as np
import pytest

from lipviz import data, layers
from lipviz.certification.upper_bounds import upper_bound
from lipviz.measure import CONVOLUTION_KINDS, DENSE_KINDS, LAYER_KINDS, layer_kind
from lipviz.toys import kind_runs
from lipviz.toys.kind_runs import (
    KIND_EPSILONS,
    KindRun,
    compare_kinds,
    kind_costs,
    kind_network,
    kind_run,
    kind_steps,
    kind_table,
    write_kind_costs,
    write_kind_table,
)

TRAIN, TEST = data.digits(120, 60)
AOL, SLL, CONV = (layer_kind(title) for title in ("AOLDense", "SLLDense", "AOLConv2D"))


def run(kind=AOL, depth=2, accuracy=0.9, **values):
    given = {
        "dataset": "d", "steps": 4, "step": 4, "seed": 0, "samples": 10, "mean_radius": 0.3,
        "epsilons": np.array([0.0, 1.0]), "certified": np.array([accuracy, 0.0]),
    }  # fmt: skip
    return KindRun(kind=kind, depth=depth, accuracy=accuracy, **{**given, **values})


# --- networks ---


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SLL, CONV], ids=lambda kind: kind.title)
def test_only_the_hidden_layers_are_of_the_kind(kind):
    network = kind_network(kind, 2, inputs=(64,) if kind.is_dense else (8, 8, 1))
    hidden = [layer for layer in network.layers if type(layer) is getattr(layers, kind.layer)]
    assert len(hidden) == 2
    assert sum(isinstance(layer, layers.GroupSort2) for layer in network.layers) == (0 if kind.is_block else 2)
    assert isinstance(network.layers[-1], layers.SpectralDense)
    assert upper_bound(network) <= 1 + 1e-6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depth": 0}, "`depth` must be at least 1"),
        ({"outputs": 0}, "`outputs` must be at least 1"),
        ({"inputs": (8, 8, 1)}, "`inputs` of 1 sizes for AOLDense"),
        ({"seed": -1}, "seed"),
    ],
)
def test_networks_that_do_not_exist_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        kind_network(AOL, **arguments)


# --- runs ---


@pytest.mark.slow
def test_a_run_says_how_it_was_made_and_what_it_reached():
    first, last = kind_steps(TRAIN, TEST, SLL, depth=1, steps=4, every=2, dataset="digits")
    assert (first.step, last.step, last.steps, last.samples, last.depth) == (2, 4, 4, 60, 1)
    assert last.kind is SLL
    assert last.certified[0] == pytest.approx(last.accuracy, abs=1e-9)
    assert (np.diff(last.certified) <= 0).all()
    assert last.certified_at(5.0) != last.certified_at(5.0)  # above all measured ones


@pytest.mark.slow
def test_convolutions_learn_images():
    made = kind_run(TRAIN, TEST, CONV, depth=1, steps=2)
    assert made.kind is CONV
    assert 0 <= made.accuracy <= 1


@pytest.mark.parametrize(
    ("train", "test", "kind", "words"),
    [
        (TRAIN, (TEST[0][:, :4], TEST[1]), CONV, r"test samples of shape \(8, 8, 1\)"),
        (TRAIN[0], TEST, AOL, "`train` must be a pair"),
        (TRAIN, (TEST[0].reshape(60, 64), TEST[1]), CONV, r"Expected images .* in `test`\. Received: \(60, 64\)"),
        ((TRAIN[0], TRAIN[1] % 2), TEST, AOL, "at least three classes. Received: 2"),
    ],
)
def test_data_that_do_not_fit_are_refused(train, test, kind, words):
    with pytest.raises(ValueError, match=words):
        kind_steps(train, test, kind)


# --- comparisons ---


def test_the_run_of_the_nearest_depth_is_chosen():
    runs = [run(depth=1, accuracy=0.1), run(depth=4, accuracy=0.4), run(SLL, 8), run(depth=4, accuracy=0.5)]
    for depth, accuracy in ((1, 0.1), (3, 0.5), (16, 0.5)):
        found = compare_kinds([AOL, SLL, CONV], depth, runs=runs, costs={SLL.title: 2.0}, epsilons=(0.5,))
        np.testing.assert_allclose(found.accuracy, [accuracy, 0.9, np.nan])
        np.testing.assert_allclose(found.certified, [[accuracy / 2], [0.45], [np.nan]])
        np.testing.assert_array_equal(found.costs, [np.nan, 2.0, np.nan])
    assert len(found) == 3
    with pytest.raises(ValueError, match="`depth`"):
        compare_kinds([AOL], 0)


def test_tables_can_be_written_and_read(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(kind_runs, "RUNS", tmp_path / "runs.json")
        patch.setattr(kind_runs, "COSTS", tmp_path / "costs.json")
        write_kind_table([run(), run(CONV, 1)], kind_runs.RUNS)
        write_kind_costs({"AOLDense": 1.5}, kind_runs.COSTS)
        first, second = kind_table()
        assert dict(kind_costs()) == {"AOLDense": 1.5}
        assert (first.kind, second.kind) == (AOL, CONV)
        for field in dataclasses.fields(first):
            np.testing.assert_array_equal(getattr(first, field.name), getattr(run(), field.name))
    kind_table.cache_clear()
    kind_costs.cache_clear()


@pytest.mark.lists
def test_every_kind_is_measured():
    assert {kind.title for kind in LAYER_KINDS} == set(kind_costs()), "python -m tools.layer_table"
    compared = {kind.title for kind in (*DENSE_KINDS, *CONVOLUTION_KINDS)}
    assert compared == {one.kind.title for one in kind_table()}, "python -m tools.layer_table"
    for one in kind_table():
        assert one.step == one.steps
        np.testing.assert_allclose(one.epsilons, KIND_EPSILONS)
