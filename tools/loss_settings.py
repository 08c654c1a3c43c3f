"""How the settings of the losses were chosen: each loss with several settings, measured on validation images.

    python -m tools.loss_settings                # trains what the file does not have, and writes the table
    python -m tools.loss_settings --only emma    # only these losses
    python -m tools.loss_settings --seeds 0 1    # with these seeds

It trains the centre of the benchmark, see `docs/benchmark.md`, for 5 epochs on the first 50,000 images of Fashion-MNIST
and measures it on the last 10,000 of the training set. Rows are appended to `docs/loss_settings.jsonl`, so the command
may be ended at any time. `lipviz.recipes.LOSSES` has the settings with the largest certified accuracy at 0.5 among all
with an accuracy of .895 or more; of a loss that never reaches this, the settings with the largest accuracy.
"""

import argparse
import statistics
from pathlib import Path

from lipviz.command.bench.certified import measuring, page, plan, rows
from lipviz.command.marked import filled
from lipviz.data import fashion_mnist
from lipviz.recipes import LOSSES

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILE, PAGE = DOCS / "loss_settings.jsonl", DOCS / "benchmark.md"
BEGIN, END = "<!-- written by `python -m tools.loss_settings` -->", "<!-- end of the settings -->"
R = plan.RADIUS
_OF_OFFSET = (
    *((10, 1.25), (6, 1.25), (4, 1.25), (2.5, 1.25), (6, 1.1), (4, 1.1), (2.5, 1.1)),
    *((10, 1), (2.5, 1), (1.5, 1), (2.5, 0.8), (1.5, 0.8)),
)
GRID = {
    "offset": [{"tau": t / R, "offset": o * R} for t, o in _OF_OFFSET],
    "annealing": [
        {"temperature": t * R, "offset": o * R, "gamma": g}
        for t, o, g in ((0.1, 1.25, 5.0), (0.1, 1.25, 2.0), (0.2, 1.25, 5.0), (0.2, 1, 5.0), (0.2, 1, 2.0))
    ],
    "emma": [
        {"tau": t / R, "offset": o * R}
        for t, o in ((6, 1), (10, 1.25), (6, 1.25), (4, 1.25), (10, 1.75), (4, 1.75), (10, 2.5))
    ],
    "crossentropy": [{"tau": t / R} for t in (1, 2, 4)],
    "hkr": [{"alpha": a, "min_margin": m * R} for a, m in ((10.0, 2), (100.0, 2), (1000.0, 2), (1000.0, 1))],
    "lse_hkr": [{"alpha": a, "min_margin": m * R} for a, m in ((0.9, 2), (0.98, 2), (0.995, 2), (0.995, 1))],
    "soft_hkr": [
        {"alpha": a, "min_margin": m * R, "temperature": 0.5 / R}
        for a, m in ((0.9, 2), (0.98, 2), (0.995, 2), (0.995, 1))
    ],
    "margin": [{"min_margin": m * R} for m in (1, 1.5, 2)],
}
"""Settings for the radius of the benchmark. Lengths are multiples of it, as in `LOSSES`."""
SIZES = ("36/255", "0.5")
ENOUGH = 0.895  # accuracy
_HEAD = ["loss", "settings", "seeds", "accuracy", *(f"certified at {size}" for size in SIZES)]


def run_of(loss, settings, seed):
    """The network of a loss with these settings."""
    return plan.Run(plan.recipe_of("5", loss=loss, loss_arguments=settings, seed=seed), "5", validated=True)


def train(losses, seeds):
    """Append the rows that the file does not have."""
    images, there = fashion_mnist(), {row["hash"] for row in rows.read(FILE)}
    for seed in seeds:
        for loss in losses:
            for settings in GRID[loss]:
                run = run_of(loss, settings, seed)
                if run.hash not in there:
                    row = measuring.measured(run, images)
                    rows.append(FILE, row)
                    print(f"{loss}, {_words(settings)}, seed {seed}: {page.in_short(row)}", flush=True)


def figures(loss):
    """What settings of a loss reach: in words → (seeds, accuracy, certified at 36/255 and at 0.5), medians."""
    found = {_words(settings): [] for settings in GRID[loss]}
    for row in rows.read(FILE):
        words = _words(row["settings"]["loss_settings"])
        if row["loss"] == loss and words in found:
            found[words].append(row)
    return {words: _medians(there) for words, there in found.items() if there}


def _medians(there):
    shares = zip(*([row["accuracy"], *(row["certified"][size] for size in SIZES)] for row in there), strict=True)
    return sorted({row["seed"] for row in there}), *map(statistics.median, shares)


def best(loss):
    """The settings that the rule chooses, in words."""
    found = figures(loss)
    return max(found, key=lambda words: _rank(*found[words][1:]))


def _rank(accuracy, _, certified):
    return (True, certified, accuracy) if accuracy >= ENOUGH else (False, accuracy, certified)


def table():
    """All settings, with a star at those that the rule chooses."""
    lines = [_HEAD, ["---"] * 3 + ["--:"] * 3]
    for loss in GRID:
        for words, (seeds, *shares) in figures(loss).items():
            star = " *" if words == best(loss) else ""
            numbers = (f"{share:.3f}".removeprefix("0") for share in shares)
            lines.append([loss, words + star, ", ".join(map(str, seeds)), *numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(settings):
    return ", ".join(f"{name} {value:.4g}" for name, value in settings.items())


def is_used(loss):
    """Whether `LOSSES` has the settings that the rule chooses."""
    return _words(LOSSES[loss].settings(R)) == best(loss)


def write():
    """Put the table into the page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), BEGIN, END, table()), encoding="utf-8")


def main():
    """Train, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(LOSSES), default=list(LOSSES), help="names of losses")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    arguments = parser.parse_args()
    train(arguments.only, arguments.seeds)
    write()


if __name__ == "__main__":
    main()
