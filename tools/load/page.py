"""The figures of `python -m tools.load`, kept in docs/load.jsonl, and the tables of docs/load.md."""

import json
from pathlib import Path

from tools.redraw_times import MOVES

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILE, PAGE = DOCS / "load.jsonl", DOCS / "load.md"
BEGIN, END = "<!-- written by `python -m tools.load --write` -->", "<!-- end of the tables -->"
EXPLORERS = {name for name in MOVES if "," not in name}
HEAD = (
    *("readers", "page opens, s: median, last", "processor, s a page", "move, ms: median", "95 %", "largest"),
    *("moves", "wrong", "failed", "processor, ms a move: kernel, server", "processors busy"),
    *("MiB: a kernel", "all kernels", "server"),
)
_SAME = ("server", "lesson", "explorer", "settings", "date", "processors", "note")


def cells(row):
    """The words of a row."""
    opened, took, used = row["opened"], row["milliseconds"], row["processor_milliseconds"]
    return (
        str(row["readers"]),
        f"{opened['median']:.0f}, {opened['largest']:.0f}",
        f"{row['opening_processor_seconds']:.1f}",
        *(f"{took[name]:.0f}" for name in ("median", "p95", "largest")),
        *(str(row[name]) for name in ("moves", "wrong", "failed")),
        ", ".join(f"{one:.0f}" for one in used),
        f"{row['processors_busy']:.1f}",
        *(f"{row[name]:,}" for name in ("kernel_mib", "all_kernels_mib", "server_mib")),
    )


def keep(row):
    """Appends a row to the data file."""
    with FILE.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def rows():
    """All rows of the data file."""
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()] if FILE.exists() else []


def tables(found):
    """A table for each run: rows that differ in the number of readers only; of two equal ones the newer counts."""
    groups = {}
    for row in found:
        groups.setdefault(json.dumps([row[name] for name in _SAME]), {})[row["readers"]] = row
    return "\n\n".join(_table([group[count] for count in sorted(group)]) for group in groups.values())


def _table(group):
    lines = [HEAD, ("--:",) * len(HEAD), *map(cells, group)]
    return "\n".join([_title(group[0]), "", *(f"| {' | '.join(line)} |" for line in lines)])


def _title(row):
    (count, _, name), words = row["processors"].partition(", "), [f"`{row['server']}`", f"`{row['explorer']}`"]
    words += [f"after lesson {row['lesson']}"] if row["lesson"] else []
    words += [f"`{name}={value}`" for name, value in row["settings"].items()]
    words += [row["date"], f"{count} processors ({name})"]
    words += [row["note"]] if row["note"] else []
    return f"**{', '.join(words)}**"


def write():
    """Puts the tables into the page."""
    before, found, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    if not found or END not in rest:
        raise SystemExit(f"{PAGE} has no place for the tables. Expected the lines {BEGIN} and {END}")
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(rows())}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
