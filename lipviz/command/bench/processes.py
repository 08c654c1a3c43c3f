"""What needs a process of its own: the time of an import, the peak of memory."""

import json
import os
import subprocess
import sys

from lipviz.command.bench.timing import take_turns

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
step = networks.training_step(networks.compiled(networks.cnn({kind!r}), False), {batch})
for _ in range({steps}):
    step()
print(json.dumps(peak() - start))
"""


def imports(repeats=5):
    """Timings of `import keras` and `import lipviz`, each in a new process."""
    calls = {name: lambda name=name: _run(f"import {name}") for name in ("keras", "lipviz")}
    return take_turns(calls, repeats, least=0.0)


def memory(kinds=("plain", "lipviz"), batch=256, steps=20):
    """Peak of the resident memory above that of the import, in bytes, of some training steps of the CNN."""
    programs = {kind: _MEMORY.format(kind=kind, batch=batch, steps=steps) for kind in kinds}
    return {kind: json.loads(_run(program).splitlines()[-1]) for kind, program in programs.items()}


def _run(program):
    # `-P`: not a `keras` or `lipviz` that happens to lie in the working directory, but what is installed.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"A process of the benchmark failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
