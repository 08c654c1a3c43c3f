"""The command that measures how many readers a machine can have."""

import json

import pytest

from tools.load import __main__ as load
from tools.load import page

ROW = {
    **{"server": "lipviz app", "lesson": None, "explorer": "bjorck", "settings": {}, "date": "2026-11-30"},
    **{
        "processors": "2, some",
        "note": "",
        "readers": 5,
        "opened": {"median": 9.6, "largest": 12.4},
        "moves": 100,
        "opening_processor_seconds": 5.04,
    },
    **{"milliseconds": {"median": 40.2, "p95": 61.7, "largest": 99.9}, "wrong": 0, "failed": 0},
    **{"processor_milliseconds": [23.4, 6.1], "processors_busy": 0.31},
    **{"kernel_mib": 386, "all_kernels_mib": 1930, "server_mib": 68},
}


@pytest.mark.parametrize(
    ("wanted", "there", "each", "free", "count"),
    [
        (30, 0, 400, 24_000, 30),
        (30, 0, 400, 5_024, 10),  # 1,024 stay free
        (30, 10, 400, 5_024, 20),
        (30, 10, 400, 100, 10),  # those who are there stay
        (5, 10, 400, 24_000, 10),
    ],
)
def test_no_more_readers_come_than_the_memory_allows(wanted, there, each, free, count):
    assert load.that_fit(wanted, there, each, free) == count


def test_a_run_is_a_table_and_of_two_equal_rows_the_newer_counts():
    rows = [ROW | {"readers": 10}, ROW | {"moves": 7}, ROW, ROW | {"settings": {"MALLOC_ARENA_MAX": "2"}}]
    first, second = page.tables(rows).split("\n\n**")
    assert [line.split(" | ")[0] for line in first.splitlines()[4:]] == ["| 5", "| 10"]
    assert "| 5 | 10, 12 | 5.0 | 40 | 62 | 100 | 100 | 0 | 0 | 23, 6 | 0.3 | 386 | 1,930 | 68 |" in first
    assert "`MALLOC_ARENA_MAX=2`" in second


def test_the_page_has_the_tables_of_the_data_file():
    assert page.tables(page.rows()) in page.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [["--readers", "0"], ["--set", "MALLOC"], ["--pause", "-1"], ["--explorer", "none"]])
def test_bad_arguments_are_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        load.parsed(words)
    assert "expected" in capsys.readouterr().err or "none" in words


@pytest.mark.nightly
def test_two_readers_move_a_slider_and_see_the_right_pictures(capsys, monkeypatch):
    kept = []
    monkeypatch.setattr(page, "keep", kept.append)
    monkeypatch.setattr(page, "write", lambda: None)
    assert load.main(["--readers", "2", "--moves", "3", "--pause", "0.1", "--write"]) == 0
    (row,) = json.loads(json.dumps(kept))
    assert (row["readers"], row["moves"], row["wrong"], row["failed"]) == (2, 6, 0, 0)
    assert 0 < row["milliseconds"]["median"] <= row["milliseconds"]["p95"] <= row["milliseconds"]["largest"]
    assert row["all_kernels_mib"] > 2 * 100
    assert "2 | " in capsys.readouterr().out
