"""Measure what a step of training on several workers costs, and project it to more of them on paper.

    python -m tools.distributed_cost [--workers N ...] [--rows N ...] [--widths N ...] [--steps N] [--json FILE]

The network is that of lesson 08, its layers `width` times as wide. All workers are processes of this machine. Each row
of the table is one size of the part of a batch that a worker takes. Of all steps after the first three, the fastest
counts, and the processor time of worker 0 is the median. The same part costs the same, however many workers there are:
what more workers need beyond one is the exchange.

The projection takes the time of an image and the constant time from one worker, and the exchange from a ring: each
worker sends and receives 2 (W − 1) / W times the bytes of all gradients, in 2 (W − 1) messages.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lipviz.command.workers import start_workers

PROJECTED = (1, 2, 4, 8, 16, 32, 64)
UNTIMED = 3  # steps that compile


def network(width):
    """The network of lesson 08, wider."""
    import keras

    from lipviz import Sequential
    from lipviz.layers import FrobeniusDense, GroupSort2, ScaledL2NormPooling2D, SpectralConv2D, SpectralDense
    from lipviz.losses import TauSparseCategoricalCrossentropy

    model = Sequential(
        [
            keras.Input((28, 28, 1)),
            SpectralConv2D(16 * width, 3, bound="tight", activation=GroupSort2()),
            ScaledL2NormPooling2D(2),
            SpectralConv2D(32 * width, 3, bound="tight", activation=GroupSort2()),
            ScaledL2NormPooling2D(2),
            keras.layers.Flatten(),
            SpectralDense(128 * width, activation=GroupSort2()),
            FrobeniusDense(10),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), TauSparseCategoricalCrossentropy(3.0))
    model.optimizer.build(model.trainable_variables)
    return model


def work(path, rows, widths, steps):
    """What each worker runs: measure all sizes, and let worker 0 write them down."""
    import keras

    from lipviz import distributed

    workers = distributed.connect()
    rng = np.random.default_rng(0)
    found = []
    for width in widths:
        with workers.scope():
            keras.utils.set_random_seed(0)
            model = network(width)
            step = workers.step(model)
            with workers.keeping_state(model, step):
                for count in rows:
                    part = (rng.random((count, 28, 28, 1), np.float32), rng.integers(10, size=count).astype(np.int32))
                    seconds, of_processor = measured(lambda part=part, step=step: step(lambda _: part), steps)
                    found.append(
                        {
                            "workers": workers.count,
                            "width": width,
                            "rows": count,
                            "parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
                            "seconds": seconds,
                            "processor_seconds": of_processor,
                        }
                    )
    if workers.index == 0:
        Path(path).write_text(json.dumps(found))


def measured(step, steps):
    """The fastest step in seconds, and the median of its processor time."""
    seconds, of_processor = [], []
    for _ in range(UNTIMED + steps):
        began, computed = time.perf_counter(), time.process_time()
        for value in step().values():
            float(np.asarray(value))
        seconds.append(time.perf_counter() - began)
        of_processor.append(time.process_time() - computed)
    return min(seconds[UNTIMED:]), float(np.median(of_processor[UNTIMED:]))


def constants(found):
    """Processor seconds of an image and of a step without images, by width, from one worker."""
    fitted = {}
    for width in sorted({one["width"] for one in found}):
        alone = [one for one in found if one["width"] == width and one["workers"] == 1]
        if len(alone) > 1:
            image, constant = np.polyfit([o["rows"] for o in alone], [o["processor_seconds"] for o in alone], 1)
            fitted[width] = (float(image), float(constant), alone[0]["parameters"])
    return fitted


def projected(image, constant, parameters, batch, workers, bandwidth, latency):
    """Seconds of a step on so many workers, on paper."""
    exchange = 2 * (workers - 1) / workers * 4 * parameters / bandwidth + 2 * (workers - 1) * latency
    return image * batch / workers + constant + exchange


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", type=int, nargs="+", default=[32, 64, 128], help="samples of a worker in a batch")
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=4096, help="whole batch of the projection")
    parser.add_argument("--bandwidth", type=float, default=1.25e9, help="bytes per second; default: 10 Gbit/s")
    parser.add_argument("--latency", type=float, default=5e-5, help="seconds for a message; default: 50 µs")
    parser.add_argument("--json", type=Path, help="write the measurements to this file")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.rows, given.widths, given.steps)
        return 0
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in given.workers:
            path = Path(folder, f"{count}.json")
            lists = [f"--{name}={value}" for name, value in (("steps", given.steps), ("work", path))]
            lists += ["--rows", *map(str, given.rows), "--widths", *map(str, given.widths)]
            if status := start_workers(count, Path(__file__), lists):
                return status
            found += json.loads(path.read_text())
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    print("workers  width  rows  parameters  ms a step  ms of a processor")
    for one in found:
        print(
            f"{one['workers']:7} {one['width']:6} {one['rows']:5} {one['parameters']:11,} {1e3 * one['seconds']:10.1f} "
            f"{1e3 * one['processor_seconds']:18.1f}"
        )
    for width, (image, constant, parameters) in constants(found).items():
        print(f"width {width}: {1e3 * image:.3f} ms for an image, {1e3 * constant:.1f} ms for a step without images")
        times = {
            w: projected(image, constant, parameters, given.batch, w, given.bandwidth, given.latency) for w in PROJECTED
        }
        print(
            f"  on paper, batch {given.batch}:",
            ", ".join(f"{w}: {1e3 * t:.0f} ms, {times[1] / t:.1f}×" for w, t in times.items()),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
