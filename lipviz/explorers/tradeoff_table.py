"""Makes the table of runs that comes with lipviz: ``python -m lipviz.explorers.tradeoff_table [FILE]``.

Two losses, with eight and nine settings, and two seeds: about four minutes on two CPU cores.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from lipviz import _moved, data
from lipviz.toys.tradeoff import TABLE, TradeoffRun, tradeoff_run, write_runs

# (loss, its parameter, margin of the hinge)
LOSSES = (
    *(("crossentropy", tau, 1.0) for tau in (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)),
    *(("hkr", alpha, margin) for margin in (0.3, 1.0, 2.0) for alpha in (1.0, 10.0, 100.0)),
)
SEEDS = (0, 1)
SETTINGS: dict[str, Any] = {"activation": "groupsort2", "width": 64, "depth": 2, "steps": 200, "learning_rate": 0.02}


@_moved.renamed_argument("dials", "losses")
def runs(
    losses: Iterable[tuple[str, float, float]] = LOSSES, seeds: Iterable[int] = SEEDS, **settings: Any
) -> Iterator[TradeoffRun]:
    """The runs of the table, one after the other, each when it is finished.

    Args:
        losses: Tuples (loss, its parameter, margin of the hinge).
        seeds: Seeds of the weights.
        **settings: Arguments of `tradeoff_steps`, in place of those of the table.

    Yields:
        `TradeoffRun`s on scikit-learn's digits.
    """
    train, test = data.digits()
    for loss, parameter, margin in losses:
        for seed in seeds:
            chosen: dict[str, Any] = {"loss": loss, "loss_parameter": parameter, "min_margin": margin, "seed": seed}
            yield tradeoff_run(train, test, dataset="digits", **{**SETTINGS, **chosen, **settings})


def main(path: str | os.PathLike[str] = TABLE) -> None:
    """Make the table, and write it to a file."""
    made = []
    for run in runs():
        made.append(run)
        print(
            f"{run.loss}, {run.loss_parameter_label}, seed {run.seed}: accuracy {run.accuracy:.3f}, "
            f"radius {run.mean_radius:.3f}"
        )
    write_runs(made, path)


def __getattr__(name):
    return _moved.name_of(__name__, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
