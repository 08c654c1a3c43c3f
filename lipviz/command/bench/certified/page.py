"""The tables of `docs/benchmark.md`, from the rows of a data file."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lipviz.command import marked
from lipviz.command.bench.certified import plan
from lipviz.command.bench.certified.plan import BUDGETS, EPSILONS, budget_in_words

BEGIN, END = "<!-- written by `lipviz bench certified --markdown` -->", "<!-- end of the tables -->"
_HEAD = [
    *("layer", "loss", "seeds", "accuracy"),
    *(f"certified at {name}" for name in EPSILONS),
    *("mean radius", "DeepFool, PGD at 0.5", "minutes"),
]
SEEDS = (0, 1, 2)


def text_of(path: Path) -> str:
    """The page as it is; markers alone if there is none."""
    text = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}\n{END}\n"
    try:
        marked.place(text, BEGIN, END)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return text


def written(text: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A page with the tables of these rows between its markers."""
    return marked.filled(text, BEGIN, END, tables(rows))


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for each budget, and one for what was measured on validation. Missing figures are said to be missing."""
    planned = [row for row in rows if plan.is_planned(row)]
    tests = [row for row in planned if row["measured_on"] == "test images"]
    others = [row for row in planned if row["measured_on"] != "test images"]
    parts = [_table(budget_in_words(budget).capitalize(), budget, tests) for budget in BUDGETS]
    if others:
        title = f"Five epochs, measured on {others[0]['measured_on']}"
        parts.append(_table(title, "5", others, is_complete=False))
    return "\n\n".join(parts)


def _table(title, budget, rows, is_complete=True):
    groups: dict[tuple[str, str, str], list] = {}
    if is_complete and budget == "5":
        centre = [plan.Run(plan.recipe_of("5", **point), "5") for point in plan.star()]
        groups = {("lipviz", run.layer, run.recipe.loss): [] for run in centre}
    for row in rows:
        if row["budget"] == budget:
            groups.setdefault((row["library"], row["layer"], row["loss"]), []).append(row)
    lines = [_line(*key, found, is_complete) for key, found in groups.items()]
    body = [_HEAD, ["---"] * 3 + ["--:"] * (len(_HEAD) - 3), *lines] if lines else []
    shown = "\n".join(f"| {' | '.join(line)} |" for line in body)
    return f"## {title}\n\n{shown or 'Not measured yet.'}"


def _line(library, layer, loss, rows, is_complete):
    name = f"`{layer}`" if library == "lipviz" else f"{library}, `{layer}`"
    if not rows:
        return [name, loss, "missing", *[""] * (len(_HEAD) - 3)]
    rows = _latest(rows)
    seeds = ", ".join(str(seed) for seed in sorted(rows))
    absent = [str(seed) for seed in SEEDS if seed not in rows]
    if absent and is_complete:
        seeds += f" ({', '.join(absent)} missing)"
    found = list(rows.values())
    return [
        *(name, loss, seeds),
        _spread([row["accuracy"] for row in found]),
        *(_spread([row["certified"][size] for row in found]) for size in EPSILONS),
        _spread([row["mean_radius"] for row in found if "mean_radius" in row]),
        f"{_spread([row['deepfool']['0.5'] for row in found])}, {_spread([row['pgd']['0.5'] for row in found])}",
        _spread([row.get("processor_seconds", row["seconds"]) / 60 for row in found], ".1f"),
    ]


def _latest(rows):
    """The last row of each seed: another library may have rows with several settings."""
    return {row["seed"]: row for row in rows}


def _spread(values, digits=".3f"):
    """Median, with the smallest and the largest value if there are several."""
    if not values:
        return ""
    words = [_short(value, digits) for value in (statistics.median(values), min(values), max(values))]
    return words[0] if len(values) == 1 else f"{words[0]} ({words[1]} to {words[2]})"


def _short(value, digits):
    return f"{value:{digits}}".removeprefix("0") if digits == ".3f" and 0 <= value < 1 else f"{value:{digits}}"


def in_short(row: Mapping[str, Any]) -> str:
    """The figures of a row, in one line."""
    shares = ", ".join(f"{share:.4f} at {size}" for size, share in row["certified"].items())
    return f"accuracy {row['accuracy']:.4f}, certified {shares}"
