"""Makes the table of runs that comes with lipviz: ``python -m lipviz.explorers.tradeoff_table [FILE]``.

Two losses, eight and nine settings of each, two seeds: some four minutes on two CPU cores.
"""

import sys

from lipviz import _moved, data
from lipviz.toys.tradeoff import TABLE, tradeoff_run, write_runs

# (loss, its parameter, margin of the hinge)
LOSSES = (
    *(("crossentropy", tau, 1.0) for tau in (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)),
    *(("hkr", alpha, margin) for margin in (0.3, 1.0, 2.0) for alpha in (1.0, 10.0, 100.0)),
)
SEEDS = (0, 1)
SETTINGS = {"activation": "groupsort2", "width": 64, "depth": 2, "steps": 200, "learning_rate": 0.02}


@_moved.renamed_argument("dials", "losses")
def runs(losses=LOSSES, seeds=SEEDS, **settings):
    """The runs of the table, one after the other, as they are finished.

    Args:
        losses: Tuples (loss, its parameter, margin of the hinge).
        seeds: Seeds of the weights.
        **settings: Of `tradeoff_steps`, in the place of those of the table.

    Yields:
        `TradeoffRun`s on scikit-learn's digits.
    """
    train, test = data.digits()
    for loss, parameter, margin in losses:
        for seed in seeds:
            chosen = {"loss": loss, "loss_parameter": parameter, "min_margin": margin, "seed": seed}
            yield tradeoff_run(train, test, dataset="digits", **{**SETTINGS, **chosen, **settings})


def main(path=TABLE):
    """Make the table, and write it."""
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
