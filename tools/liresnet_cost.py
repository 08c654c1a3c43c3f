"""Compare what LiResNet costs on paper (`LiResNet.estimate`) with steps at two small scales.

    python -m tools.liresnet_cost [--repeats N] [--json FILE]

Each scale runs in a process of its own, with two sizes of the batch. The time of a step is that of a constant part, the
constraints, and of a part for each image. It is processor time, all cores together, which other processes disturb
less. What a multiply-add takes is computed from the smaller scale, and predicts the larger one. Memory is the growth of
the peak from the smaller batch to the larger one, divided by the difference of their activations on paper.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

SCALES = {
    "small": {"width": 32, "depth": 4, "units": 256, "dense_depth": 1},
    "larger": {"width": 48, "depth": 8, "units": 512, "dense_depth": 1},
}
BATCHES = (64, 256)


def measured(scale, repeats):
    """Processor seconds of a step and peak memory in bytes, for each size of the batch."""
    import keras
    import numpy as np

    from lipviz import losses
    from lipviz.recipes.liresnet import LiResNet

    keras.utils.set_random_seed(0)
    shape, classes = (32, 32, 3), 10
    model = LiResNet(**SCALES[scale]).build(shape, classes)
    loss = losses.EMMACategoricalCrossentropy(20.0, math.sqrt(2) * 36 / 255)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    rng = np.random.default_rng(0)
    found = []
    for batch in BATCHES:
        x = rng.uniform(size=(batch, *shape)).astype("float32")
        y = np.eye(classes, dtype="float32")[rng.integers(classes, size=batch)]
        seconds = []
        for _ in range(repeats + 1):
            began = time.process_time()
            model.train_on_batch(x, y)
            seconds.append(time.process_time() - began)
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found.append({"batch": batch, "seconds": float(np.median(seconds[1:])), "peak": peak})
    return found


def in_a_process(scale, repeats):
    code = "import json; from tools.liresnet_cost import measured; "
    code += f"print('\\n' + json.dumps(measured({scale!r}, {repeats})))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(scale, found):
    """The constant part and the part for each image of a step, and the memory for each image."""
    from lipviz.recipes.liresnet import LiResNet

    few, many = found
    images = many["batch"] - few["batch"]
    for_image = (many["seconds"] - few["seconds"]) / images
    cost = LiResNet(**SCALES[scale]).estimate(batch_size=many["batch"])
    return {
        "scale": scale,
        "image": for_image,
        "constant": few["seconds"] - few["batch"] * for_image,
        "image_multiply_adds": 3 * cost.multiply_adds,
        "constant_multiply_adds": cost.constraint_multiply_adds,
        "step": many["seconds"],
        "memory_over_paper": (many["peak"] - few["peak"]) / (4 * images * cost.activations),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="steps whose median is taken")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    rows = [row(scale, in_a_process(scale, arguments.repeats)) for scale in SCALES]
    print("scale    ms/image  10^9 multiply-adds/s  ms constant  10^9 multiply-adds/s  memory/paper")
    for one in rows:
        rates = [one[f"{part}_multiply_adds"] / one[part] / 1e9 for part in ("image", "constant")]
        print(
            f"{one['scale']:8} {1e3 * one['image']:8.2f} {rates[0]:21.1f} {1e3 * one['constant']:12.1f} "
            f"{rates[1]:21.1f} {one['memory_over_paper']:13.2f}"
        )
    first, second = rows
    parts = {"image": BATCHES[1], "constant": 1}
    predicted = sum(
        times * first[part] * second[f"{part}_multiply_adds"] / first[f"{part}_multiply_adds"]
        for part, times in parts.items()
    )
    print(f"a step of {BATCHES[1]} images at the larger scale: predicted {predicted:.2f} s, ", end="")
    print(f"measured {second['step']:.2f} s of processor time, {second['step'] / predicted:.2f} times as much")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
