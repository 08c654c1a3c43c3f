"""How long an explorer takes from a changed control to its new picture, without a browser.

python -m tools.redraw_times [--moves 30] [NAME ...]

Of each explorer one control moves back and forth, over values that it has not had before where there are enough. No
network is trained: those that learn are shown as they are before their first step. Printed are medians of the
processor's time: of the whole change (compute, draw, render, and the words for the page), and of `draw` alone.
"""

import argparse
import itertools
import statistics
import time

from lipviz import explorers
from tools.pins.explorers import _digits_classifier

# For each explorer the control that moves, and its values.
MOVES = {
    "fooled": ("strength", [round(0.1 * i, 2) for i in range(30)]),
    "cone": ("place", [round(-2 + 0.1 * i, 2) for i in range(41)]),
    "bjorck": ("beta_bjorck", [round(0.2 + 0.01 * i, 2) for i in range(30)]),
    "layers": ("k", [10 ** (0.1 * i) for i in range(-5, 6)]),
    "activations": ("place", [round(-1.5 + 0.1 * i, 2) for i in range(30)]),
    "activations, plane": ("angle", list(range(0, 360, 10))),
    "gradients": ("depth", list(range(20, 50))),
    "boundaries": ("discs", [False, True]),
    "convolutions": ("image", list(range(4, 13))),
    "wasserstein": ("arrows", [False, True]),
    "certificates": ("image", list(range(30))),
    "tradeoff": ("epsilon", [round(0.1 + 0.05 * i, 2) for i in range(25)]),
}
STATES = {
    "activations, plane": {"view": "plane", "activation": "householder"},
    "tradeoff": {"by_radius": False},
    "layers": {"layer": "SpectralDense"},
}


def untrained(entry):
    """An explorer that starts no work."""
    kind = type(entry.class_name, (entry.load(),), {"start": lambda self, *_: None})
    return kind(*_digits_classifier()) if entry.name == "certificates" else kind()


def measure(name, moves):
    """Milliseconds of whole changes, and of `draw` in them."""
    explorer = untrained(explorers.find(name.split(",")[0]))
    explorer.state = STATES.get(name, {})
    whole, drawing, draw = [], [], explorer.draw

    def timed(*arguments, **named):
        start = time.process_time()
        draw(*arguments, **named)
        drawing.append(1000 * (time.process_time() - start))

    explorer.draw = timed
    control, values = MOVES[name]
    there_and_back = itertools.cycle([*values, *reversed(values[1:-1])])
    for value in itertools.islice(there_and_back, 3 + moves):
        start = time.process_time()
        explorer.state = {control: value}
        whole.append(1000 * (time.process_time() - start))
        if explorer.error is not None:
            raise explorer.error
    explorer.close()
    return whole[-moves:], drawing[-moves:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help="explorers; all by default")
    parser.add_argument("--moves", type=int, default=30)
    arguments = parser.parse_args()
    print(f"{'explorer':<22}{'whole change ms':>16}{'draw ms':>10}")
    for name in arguments.names or MOVES:
        whole, drawing = measure(name, arguments.moves)
        print(f"{name:<22}{statistics.median(whole):>16.1f}{statistics.median(drawing):>10.2f}", flush=True)


if __name__ == "__main__":
    main()
