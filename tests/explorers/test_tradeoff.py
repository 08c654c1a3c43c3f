import re

import numpy as np
import pytest

from lipviz import data
from lipviz.explorers import tradeoff_table as table_module
from lipviz.explorers.tradeoff import TradeoffExplorer
from lipviz.toys.tradeoff import read_runs, tradeoff_table

TRAIN, TEST = data.digits(80, 40)


EXPLORER = TradeoffExplorer
ONE_IMAGE = True  # the tests look at data, words and artists


def words(explorer):
    return re.sub(r"<[^>]*>", " ", explorer._results.value)


def chosen(explorer):
    return explorer.data.runs[explorer.data.chosen]


def test_it_starts_with_the_table(explorer):
    assert len(explorer.data) == len(tradeoff_table())
    assert explorer.work_state == "idle"
    assert (chosen(explorer).loss, chosen(explorer).loss_parameter) == ("crossentropy", 1.0)
    assert f"{100 * chosen(explorer).accuracy:.1f} %" in words(explorer)


@pytest.mark.parametrize(
    ("state", "parameter"),
    [({"tau": 80.0}, 100.0), ({"loss": "hkr", "alpha": 2.0, "margin": 0.3}, 1.0), ({"tau": 0.1}, 0.1)],
)
def test_the_nearest_run_is_chosen(explorer, state, parameter):
    explorer.state = state
    assert explorer.error is None
    assert chosen(explorer).loss_parameter == parameter
    assert chosen(explorer).loss == state.get("loss", "crossentropy")
    if "margin" in state:
        assert chosen(explorer).min_margin == 0.3


def test_what_is_said_of_the_frontier_is_true(explorer):
    for tau in (0.1, 1.0, 10.0, 100.0):
        for by_radius in (True, False):
            explorer.state = {"tau": tau, "by_radius": by_radius}
            seen = explorer.data
            better = (seen.accuracy > seen.accuracy[seen.chosen]) & (seen.robustness > seen.robustness[seen.chosen])
            said = re.search(r"(\d+) runs? (?:is|are) better in both", words(explorer))
            assert (int(said[1]) if said else 0) == better.sum()


def test_controls_that_do_not_matter_are_greyed_out(explorer):
    assert {name for name, control in explorer.controls.items() if control.disabled} == {"alpha", "margin", "epsilon"}
    explorer.state = {"loss": "hkr", "by_radius": False}
    assert {name for name, control in explorer.controls.items() if control.disabled} == {"tau"}


def test_robustness_is_compared_at_an_epsilon(explorer):
    explorer.state = {"by_radius": False, "epsilon": 0.25}
    np.testing.assert_allclose(explorer.data.robustness, [run.certified_at(0.25) for run in explorer.data.runs])


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
def test_a_live_run_is_added_and_dropped_by_a_reset():
    explorer = TradeoffExplorer(TRAIN, TEST)
    assert len(explorer.data) == 0
    assert "press Start" in words(explorer)
    explorer.state = {"width": 8, "steps": 20, "loss": "hkr"}
    explorer.start()
    assert explorer.wait(300)
    assert explorer.error is None
    assert explorer.data.live == (0,)
    assert (chosen(explorer).step, chosen(explorer).loss_parameter, chosen(explorer).dataset) == (20, 10.0, "yours")
    explorer.state = {"alpha": 20.0}
    assert len(explorer.data) == 1  # moving a control keeps it
    columns, rows = explorer.table(explorer.data)
    assert len(rows) == 1
    assert len(columns) == len(rows[0])
    explorer.reset()
    assert len(explorer.data) == 0
    explorer.close()


def test_data_that_cannot_be_used_are_explained():
    explorer = TradeoffExplorer((np.zeros((3, 4)), [0, 1, 2]), (np.zeros((3, 5)), [0, 1, 2]))
    explorer.start()
    explorer.wait(300)
    assert "with 4 entries" in explorer._alert.value
    explorer.close()
    with pytest.raises(ValueError, match="together"):
        TradeoffExplorer(TRAIN)


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
def test_the_table_is_made_by_a_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table_module, "LOSSES", (("crossentropy", 3.0, 1.0),))
    monkeypatch.setattr(table_module, "SEEDS", (5,))
    monkeypatch.setattr(table_module, "SETTINGS", {"width": 8, "depth": 1, "steps": 2})
    monkeypatch.setattr(table_module.runs.__wrapped__, "__defaults__", (table_module.LOSSES, table_module.SEEDS))
    table_module.main(tmp_path / "runs.json")
    (run,) = read_runs(tmp_path / "runs.json")
    assert (run.loss_parameter, run.seed, run.dataset, run.step) == (3.0, 5, "digits", 2)
    assert "τ = 3, seed 5" in capsys.readouterr().out
