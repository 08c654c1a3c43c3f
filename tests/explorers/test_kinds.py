"""The explorer of kinds of layers."""

import re

import numpy as np
import pytest

from lipviz import data
from lipviz.explorers.kinds import LayerKindExplorer
from lipviz.measure import CONVOLUTION_KINDS, DENSE_KINDS
from lipviz.toys import kind_costs, kind_table

EXPLORER = LayerKindExplorer
ONE_IMAGE = True  # the tests look at data, words and artists
ALL = (*DENSE_KINDS, *CONVOLUTION_KINDS)
TRAIN, TEST = data.digits(120, 60)


def words(explorer):
    return re.sub(r"<[^>]*>", " ", explorer._results.value)


def boxes(explorer):
    return [name for name, control in explorer.controls.items() if isinstance(control.value, bool)]


def test_it_opens_with_all_dense_kinds_and_the_networks_that_come_with_lipviz(explorer):
    shown = explorer.data
    assert shown.spectra.kinds == shown.networks.kinds == DENSE_KINDS
    known = {(run.kind, run.depth): run for run in kind_table()}
    for kind, run, cost in zip(DENSE_KINDS, shown.networks.runs, shown.networks.costs, strict=True):
        assert run is known[kind, 4]
        assert cost == kind_costs()[kind.title]
    assert shown.live == ()


def test_each_kind_has_a_box_that_can_be_reached_by_keys(explorer):
    described = [explorer.controls[name].description for name in boxes(explorer)]
    assert [words.partition(",")[0] for words in described] == [kind.layer for kind in ALL]
    assert len(set(described)) == len(ALL)
    name = boxes(explorer)[0]
    explorer.controls[name].value = False
    assert explorer.data.spectra.kinds == DENSE_KINDS[1:]
    explorer.state = dict.fromkeys(boxes(explorer), False)
    assert str(explorer.error) == "Choose at least one kind of dense layers."
    assert explorer.data.spectra.kinds == DENSE_KINDS[1:]  # the last good picture stays


def test_what_is_said_of_the_spectra_is_true(explorer):
    explorer.state = {"depth": 4, "smallest": 0.01}
    shown = explorer.data.spectra
    said = re.search(r"all singular values are 1 \(within 0.001\) for (.*?)\. ", words(explorer))[1]
    for kind, values in zip(shown.kinds, shown.values, strict=True):
        assert (kind.title in re.split(r", | and ", said)) == (values[-1] > 0.999)
    worst = shown.kinds[int(shown.gain.argmin())].title
    assert f"{worst} leaves" in words(explorer)


def test_what_is_said_of_the_networks_is_true(explorer):
    explorer.state = {"depth": 8}
    found = explorer.data.networks
    best = max(found.runs, key=lambda run: run.certified_at(0.25))
    assert f"the one of {best.kind.title} has the most images" in words(explorer)
    assert f"{100 * best.certified_at(0.25):.1f} %" in words(explorer)


def test_a_padding_leaves_out_the_kinds_that_do_not_have_it(explorer):
    assert explorer.controls["padding"].disabled
    explorer.state = {"family": "convolutions", "padding": "circular"}
    assert not explorer.controls["padding"].disabled
    assert [kind.layer for kind in explorer.data.spectra.kinds] == ["AOCConv2D", "BROConv2D"]
    assert "SLLConv2D cannot have this padding" in words(explorer)
    explorer.state = {"padding": "valid", "depth": 3}
    assert "no room for 3 convolutions" in str(explorer.error)
    explorer.state = {"padding": "same", "depth": 1}
    assert [*explorer.data.spectra.kinds] == [kind for kind in CONVOLUTION_KINDS if kind.padding == "same"]


def test_the_table_has_a_row_for_each_kind(explorer):
    columns, rows = explorer.table(explorer.data)
    assert [row[0] for row in rows] == [kind.title for kind in DENSE_KINDS]
    place = columns.index("certified_at_0.25")
    np.testing.assert_allclose([row[place] for row in rows], explorer.data.networks.certified[:, 1])


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
def test_networks_are_trained_here_and_dropped_by_a_reset():
    explorer = LayerKindExplorer(TRAIN, TEST)
    assert "No network is trained yet: press Start" in words(explorer)
    explorer.controls["steps"].min = 2
    kept = ("aol_dense", "sll_dense")
    explorer.state = {"steps": 2, "depth": 1} | {name: name in kept for name in boxes(explorer)}
    explorer.start()
    assert explorer.wait(300)
    assert explorer.error is None
    assert explorer.data.live == ("AOLDense", "SLLDense")
    assert all((run.dataset, run.step, run.samples) == ("yours", 2, 60) for run in explorer.data.networks.runs)
    explorer.state = {"depth": 2}
    assert explorer.data.networks.runs[0].depth == 1  # the nearest that was trained
    explorer.reset()
    assert explorer.data.networks.runs == (None,) * len(DENSE_KINDS)
    explorer.close()


def test_data_of_ones_own_come_in_pairs():
    with pytest.raises(ValueError, match="together"):
        LayerKindExplorer(TRAIN)
