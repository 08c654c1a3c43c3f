"""Which layer when: the singular values of each constrained layer, and what a training step with it costs.

    python -m tools.layer_table

writes the table of `docs/layers.md`. Singular values are those of the whole layer for a random raw kernel (Glorot), in
float64, for k = 1; of a residual block, those of its Jacobian at a random input. The layers and their costs are those
of `lipviz bench layers`.
"""

from pathlib import Path

import numpy as np

from lipviz import measure
from lipviz.command.bench import kinds

PAGE = Path(__file__).resolve().parents[1] / "docs" / "layers.md"
BEGIN, END = "<!-- written by `python -m tools.layer_table` -->", "<!-- end of the table -->"
HEAD = (
    "| layer | construction | singular values: smallest, median, largest | cost of a step | when |\n" + 5 * "|---" + "|"
)

# How a layer of the bench is constructed, and what it is good for.
WORDS = {
    "SpectralDense": ("Björck's iteration: the nearest orthogonal matrix", "the default: keeps every gradient"),
    "CayleyDense": ("Cayley transform: one linear system", "exactly orthogonal at every step; square: rotations"),
    "BRODense": ("I − 2V(VᵀV + εI)⁻¹Vᵀ, of low rank", "the same, from a quarter of the numbers, for wide layers"),
    "AOLDense": ("columns over row sums of the Gram matrix", "wide layers where cost matters; lets a norm shrink"),
    "FrobeniusDense(disjoint_neurons=False)": ("over the Frobenius norm", "a last layer of one unit"),
    "SLLDense": ("x − 2Vσ(Vᵀx + b), V almost orthogonal", "depth: a residual block with its activation"),
    "SpectralConv2D": ("Björck's iteration, over √(patches per pixel)", "the default, for images of any size"),
    "SpectralConv2D(bound='tight')": ("the same, over a bound by Fourier transform", "norms near k, fixed sizes"),
    "SpectralConv2DTranspose": ("the adjoint of a `SpectralConv2D`", "larger images: decoders"),
    "AOLConv2D": ("channels over sums of the autocorrelation", "images of any size, few channels"),
    "AOCConv2D": ("orthogonal matrix and factors [P, I − P]", "keeps every gradient but at the border; strides"),
    "AOCConv2DTranspose": ("the adjoint of an `AOCConv2D`", "larger images without a loss"),
    "BROConv2D": ("I − 2V(VᵀV + εI)⁻¹Vᵀ at every frequency", "circular images of one size, large neighbourhoods"),
    "FrobeniusConv2D": ("over the Frobenius norm", "comparisons"),
    "SLLConv2D": ("x − 2Vσ(Vᵀx + b), V almost orthogonal", "depth: a residual block with its activation"),
}
SMALL = {"Dense": (64,), "Conv2D": (8, 8, 8)}  # shapes of inputs for the singular values
ROUNDS = 15


def spectrum(name, arguments, shape):
    """Smallest, median and largest singular value, as words."""
    layer = kinds.made(name, shape[-1], arguments)
    layer.build((None, *shape))
    values = np.asarray(measure.measure_layer(layer).spectrum.used)
    return f"{values[-1]:.2f}, {np.median(values):.2f}, {values[0]:.2f}"


def table():
    """The rows, measured."""
    rows = []
    for group, costs in zip(kinds.GROUPS, kinds.timings(ROUNDS, 256, False), strict=True):
        for name, arguments in kinds.GROUPS[group][0]:
            title = kinds.title(name, arguments)
            construction, when = WORDS[title]
            values = spectrum(name, arguments, SMALL[group])
            rows.append(f"| `{title}` | {construction} | {values} | {costs[title].ratio:.1f} | {when} |")
            print(rows[-1], flush=True)
    return "\n".join([HEAD, *rows])


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")
