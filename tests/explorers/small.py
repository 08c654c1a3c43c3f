"""Explorers that are as small as they get."""

import threading

import numpy as np

from lipviz import measure, operators, plots
from lipviz.explorers.shell import base
from lipviz.explorers.shell.base import Explorer

# The state of `Small` when it opens.
DEFAULTS = {"size": 4, "smallest": 0.1, "share": 0.5, "seed": 0, "spectrum": "even"}


class Small(Explorer):
    """The spectrum of a random kernel; a seed of 13 brings bad luck, one of 14 a bug."""

    title = "Small <explorer>"
    help_text = "Move it."

    def make_controls(self):
        self.computed = []
        return {
            "Kernel": {
                "size": base.slider("size", 4, 1, 9, 1, "Rows and columns"),
                "smallest": base.log_slider("smallest σ", 0.1, -3, 0, "Smallest singular value"),
                "share": base.slider("share", 0.5, 0.0, 1.0, 0.1, "Of nothing"),
            },
            "Draw": {
                "seed": base.slider("seed", 0, 0, 20, 1, "Another draw"),
                "spectrum": base.choice("spectrum", [("even", "even"), ("one", "one small")], "How values lie"),
            },
        }

    def enabled(self, state):
        return set(state) - ({"smallest"} if state["size"] == 1 else set())

    def compute(self, size, smallest, share, seed, spectrum):
        self.computed.append((size, seed))
        if seed == 13:
            raise ValueError("`seed` must not be 13 <today>. Received: 13")
        if seed == 14:
            raise KeyError("forgotten")
        return measure.singular_values(operators.random_kernel(size, size, smallest, spectrum, seed))

    def draw(self, data, state):
        plots.plot_singular_values(data, ax=self.figure.axes[0])

    def alt_text(self, data):
        return plots.alt_text(data)

    def statement(self, data):
        return f"σ < {data.largest:.1f} & more."

    def numbers(self, data):
        return [("smallest", f"{data.smallest:.4f}")]


class Working(Small):
    """Counts up to five; `gate` holds it back, and a seed of 14 breaks it."""

    has_work = True
    restarts = frozenset({"seed"})

    def __init__(self):
        self.gate, self.forgotten, self.worked = threading.Event(), 0, []
        self.gate.set()
        super().__init__()

    def forget(self):
        self.forgotten += 1

    def work(self, size, seed, **state):
        for i in range(1, 6):
            assert self.gate.wait(300)
            if seed == 15:
                raise KeyError("halfway")
            self.worked.append((seed, i))
            yield i / 5, measure.singular_values(np.eye(i))
