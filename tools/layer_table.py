"""Which layer when: the singular values of each constrained layer, and what a training step with it costs.

    python -m tools.layer_table

writes the table of `docs/layers.md`. Singular values are those of the whole layer for a random raw kernel (Glorot), in
float64, for k = 1; of a residual block, those of its Jacobian at a random input. The cost is the CPU time of a training
step of a network of this layer alone, over that of the plain layer of Keras with the same shape: medians of steps taken
in turns, so that both see the same load of the machine.
"""

import statistics
import time
from pathlib import Path

import keras
import numpy as np

from lipviz import layers, measure

PAGE = Path(__file__).resolve().parents[1] / "docs" / "layers.md"
BEGIN, END = "<!-- written by `python -m tools.layer_table` -->", "<!-- end of the table -->"
HEAD = (
    "| layer | construction | singular values: smallest, median, largest | cost of a step | when |\n" + 5 * "|---" + "|"
)

# Name, arguments, construction, and what it is good for.
ROWS = (
    ("SpectralDense", {}, "Björck's iteration: the nearest orthogonal matrix", "the default: keeps every gradient"),
    ("CayleyDense", {}, "Cayley transform: one linear system", "exactly orthogonal at every step; square: rotations"),
    ("BRODense", {}, "I − 2V(VᵀV + εI)⁻¹Vᵀ, of low rank", "the same, from a quarter of the numbers, for wide layers"),
    ("AOLDense", {}, "columns over row sums of the Gram matrix", "wide layers where cost matters; lets a norm shrink"),
    ("FrobeniusDense", {"disjoint_neurons": False}, "over the Frobenius norm", "a last layer of one unit"),
    ("SLLDense", {}, "x − 2Vσ(Vᵀx + b), V almost orthogonal", "depth: a residual block with its activation"),
    ("SpectralConv2D", {}, "Björck's iteration, over √(patches per pixel)", "the default, for images of any size"),
    ("SpectralConv2D", {"bound": "tight"}, "the same, over a bound by Fourier transform", "norms near k, fixed sizes"),
    ("AOLConv2D", {}, "channels over sums of the autocorrelation", "images of any size, few channels"),
    ("AOCConv2D", {}, "orthogonal matrix and factors [P, I − P]", "keeps every gradient but at the border; strides"),
    ("FrobeniusConv2D", {}, "over the Frobenius norm", "comparisons"),
    ("SLLConv2D", {}, "x − 2Vσ(Vᵀx + b), V almost orthogonal", "depth: a residual block with its activation"),
)
WIDTH, CHANNELS = 256, 32
TURNS, STEPS = 15, 4


def made(name, count, plain=False, **arguments):
    """A layer with `count` outputs, or hidden units, that keeps the number of channels."""
    is_dense = name.endswith("Dense")
    kind = getattr(keras.layers, "Dense" if is_dense else "Conv2D") if plain else getattr(layers, name)
    shape = {"units": count} if is_dense else {"filters": count, "kernel_size": 3, "padding": "same"}
    return kind(**shape, kernel_initializer=keras.initializers.GlorotUniform(0), **({} if plain else arguments))


def spectrum(name, arguments):
    """Smallest, median and largest singular value, as words."""
    layer = made(name, 64 if name.endswith("Dense") else 8, **arguments)
    layer.build((None, 64) if name.endswith("Dense") else (None, 8, 8, 8))
    values = np.asarray(measure.measure_layer(layer).spectrum.used)
    return f"{values[-1]:.2f}, {np.median(values):.2f}, {values[0]:.2f}"


class Step:
    """A compiled training step of a network of one layer."""

    def __init__(self, name, plain, arguments):
        is_dense = name.endswith("Dense")
        shape = (WIDTH,) if is_dense else (16, 16, CHANNELS)
        layer = made(name, shape[-1], plain, **arguments)
        self.model = keras.Sequential([keras.Input(shape), layer])
        self.model.compile("sgd", "mse")
        x = np.random.default_rng(0).standard_normal((256 if is_dense else 32, *shape)).astype("float32")
        self.batch = keras.ops.convert_to_tensor(x)
        self.run()

    def run(self):
        """CPU seconds of a few steps."""
        start = time.process_time()
        for _ in range(STEPS):
            self.model.train_on_batch(self.batch, self.batch)
        return time.process_time() - start


def cost(name, arguments):
    """CPU time of a step over that of the plain layer."""
    ours, plain = Step(name, False, arguments), Step(name, True, {})
    pairs = [(ours.run(), plain.run()) for _ in range(TURNS)]
    return statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)


def table():
    """The rows, measured."""
    rows = []
    for name, arguments, construction, when in ROWS:
        given = "".join(f", {key}={value!r}" for key, value in arguments.items())
        title = f"`{name}({given[2:]})`" if given else f"`{name}`"
        rows.append(
            f"| {title} | {construction} | {spectrum(name, arguments)} | {cost(name, arguments):.1f} | {when} |"
        )
        print(rows[-1], flush=True)
    return "\n".join([HEAD, *rows])


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")
