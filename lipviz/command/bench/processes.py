"""Benchmarks that need a process of their own: the time of an import, and the peak of memory."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterable

from lipviz.command.bench.timing import Timing, take_turns

_MEMORY = """
import json, resource, sys
from pathlib import Path
import lipviz
from lipviz.command.bench import networks

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, `resource` begins with the peak of the process that started this one
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

start = peak()
if {starts_xla}:
    import tensorflow as tf
    tf.function(lambda x: x + x, jit_compile=True)(tf.zeros(()))
step = networks.training_step(networks.compiled(networks.cnn({kind!r}, width={width}), False), {batch})
for _ in range({steps}):
    step()
print(json.dumps(peak() - start))
"""


def imports(repeats: int = 5) -> dict[str, Timing]:
    """Timings of `import keras` and `import lipviz`, each in a new process."""
    calls = {name: functools.partial(_run, f"import {name}") for name in ("keras", "lipviz")}
    return take_turns(calls, repeats, least=0.0)


def memory(
    kinds: Iterable[str] = ("plain", "lipviz"), batch: int = 256, steps: int = 20, width: int = 1
) -> dict[str, int]:
    """Peak of the resident memory during training steps of the CNN, in bytes above the peak after the imports.

    Args:
        kinds: Kinds of the CNN, see `networks.cnn`; also "plain, XLA started", where TensorFlow's XLA has compiled a
            function of one number before.
        batch: Size of a batch.
        steps: Number of steps.
        width: See `networks.cnn`.
    """
    return {kind: _peak(kind, batch, steps, width) for kind in kinds}


def _peak(kind, batch, steps, width):
    kind, comma, _ = kind.partition(",")
    program = _MEMORY.format(kind=kind, batch=batch, steps=steps, width=width, starts_xla=bool(comma))
    return json.loads(_run(program).splitlines()[-1])


def _run(program):
    # `-P`: not a `keras` or `lipviz` that happens to lie in the working directory, but what is installed.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"A process of the benchmark failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
