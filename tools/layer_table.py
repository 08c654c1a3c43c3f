"""Which layer when: the singular values of each constrained layer, what it costs, and what networks of it reach.

    python -m tools.layer_table            # measures the kinds that the files do not have, and writes the page
    python -m tools.layer_table --again    # measures all of them again

The kinds are those of `lipviz.measure.LAYER_KINDS`. Costs and trained networks come with lipviz, as
`lipviz/toys/kind_costs.json` and `kind_runs.json`: the explorer of kinds shows them as well. The page is
`docs/layers.md`. Singular values are those of the whole layer for a random raw kernel (Glorot), in float64, for k = 1;
of a residual block, those of its Jacobian at a random input.
"""

import argparse
import contextlib
from pathlib import Path

import keras
import numpy as np

from lipviz import data, measure, toys
from lipviz.command.marked import filled
from lipviz.toys.kind_runs import write_kind_costs, write_kind_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "layers.md"
BEGIN, END = "<!-- written by `python -m tools.layer_table`{} -->", "<!-- end of the table{} -->"
HEAD = (
    "| layer | construction | singular values: smallest, median, largest | cost of a step | when |\n" + 5 * "|---" + "|"
)
DEPTHS = {True: (1, 2, 4, 8), False: (1, 2, 4)}  # of dense networks, and of convolutional ones
COMPARED = (*measure.DENSE_KINDS, *measure.CONVOLUTION_KINDS)  # in networks
SHOWN = (1, 4)  # of these depths
EPSILONS = (0.1, 0.25)


def spectrum(kind):
    """Smallest, median and largest singular value, as words."""
    layer = kind.make(64 if kind.is_dense else 8, kernel_initializer=keras.initializers.GlorotUniform(0))
    layer.build((None, 64) if kind.is_dense else (None, 8, 8, 8))
    values = np.asarray(measure.measure_layer(layer).spectrum.used)
    return f"{values[-1]:.2f}, {np.median(values):.2f}, {values[0]:.2f}"


def measure_costs(again):
    """Complete the file of costs."""
    costs = {} if again else dict(toys.kind_costs())
    for kind in measure.LAYER_KINDS:
        if kind.title not in costs:
            costs[kind.title] = measure.step_cost(kind).ratio
            print(f"{kind.title}: {costs[kind.title]:.1f}", flush=True)
    titles = [kind.title for kind in measure.LAYER_KINDS]
    write_kind_costs({title: costs[title] for title in titles})


def train(again):
    """Complete the file of runs, after each of them."""
    train_set, test_set = data.digits()
    runs = {} if again else {(run.kind, run.depth): run for run in toys.kind_table()}
    for kind in COMPARED:
        for depth in DEPTHS[kind.is_dense]:
            if (kind, depth) not in runs:
                run = runs[kind, depth] = toys.kind_run(train_set, test_set, kind, depth=depth, dataset="digits")
                print(f"{kind.title}, {depth}: {run.accuracy:.3f}, {run.mean_radius:.3f}", flush=True)
                order = [key for other in COMPARED for key in runs if key[0] == other]
                write_kind_table([runs[key] for key in order])


def table():
    """The rows of the first table."""
    costs = toys.kind_costs()
    rows = [
        f"| `{kind.title}` | {kind.construction} | {spectrum(kind)} | {costs[kind.title]:.1f} | {kind.when} |"
        for kind in measure.LAYER_KINDS
    ]
    return "\n".join([HEAD, *rows])


def networks():
    """The rows of the second table."""
    columns = [f"{what}, {depth} hidden" for depth in SHOWN for what in ("accuracy", *(f"at {e}" for e in EPSILONS))]
    rows = [f"| layer | {' | '.join(columns)} |", (len(columns) + 1) * "|---" + "|"]
    found = [toys.compare_kinds(COMPARED, depth, epsilons=EPSILONS) for depth in SHOWN]
    for place, kind in enumerate(COMPARED):
        cells = [f"`{kind.title}`", *(cell for one in found for cell in _shares(one, place))]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _shares(compared, place):
    """Accuracy and certified accuracies of a network as words, if it has the depth that was asked for."""
    shares = (compared.accuracy[place], *compared.certified[place])
    run = compared.runs[place]
    is_there = run is not None and run.depth == compared.depth
    return [f"{100 * share:.1f} %" if is_there else "not trained" for share in shares]


def write_page():
    """Replace both tables of the page."""
    tables = {"": table(), ": networks": networks()}
    text = PAGE.read_text(encoding="utf-8")
    for suffix, made in tables.items():
        text = filled(text, BEGIN.format(suffix), END.format(suffix), made)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", action="store_true", help="measure all kinds again")
    again = parser.parse_args().again
    with contextlib.suppress(KeyboardInterrupt):  # what was measured is kept
        measure_costs(again)
        train(again)
        write_page()
