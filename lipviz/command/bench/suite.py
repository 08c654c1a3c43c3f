"""The sections of the benchmark."""

import functools
import os
import platform
from collections.abc import Callable, Iterable
from typing import Any

import keras

from lipviz import measure
from lipviz._version import __version__
from lipviz.command.bench import floor, networks, parts, processes
from lipviz.command.bench.peers import find_peer
from lipviz.command.bench.report import Report, Row, Section
from lipviz.command.bench.timing import compared, take_turns


def run(
    sections: Iterable[str] | None = None,
    *,
    repeats: int = 20,
    batch: int = 256,
    jit_compile: bool = False,
    peer: str | None = None,
    progress: Callable[[str], None] = lambda title: None,
) -> Report:
    """Run the benchmark.

    Args:
        sections: Names from `SECTIONS`; all by default.
        repeats: Number of rounds of each comparison.
        batch: Size of a batch.
        jit_compile: Whether XLA compiles models and parts, where the backend has the choice (TensorFlow).
        peer: Name of a peer for the section "networks", see `lipviz.command.bench.peers`; None for none.
        progress: Function of the name of a section, called when the section begins.

    Returns:
        A `Report`.

    Raises:
        ValueError: If a section or the peer is not known, or a number is not positive.
    """
    sections = tuple(SECTIONS if sections is None else sections)
    unknown = [name for name in sections if name not in SECTIONS]
    if unknown:
        raise ValueError(f"Expected sections out of {', '.join(SECTIONS)}. Received: {', '.join(unknown)}")
    if repeats < 1 or batch < 1:
        raise ValueError(f"`repeats` and `batch` must be positive. Received: repeats={repeats!r}, batch={batch!r}")
    options: dict[str, Any] = {"repeats": repeats, "batch": batch, "jit_compile": jit_compile}
    options["peer"] = None if peer is None else (peer, find_peer(peer))
    done = []
    for name in sections:
        progress(name)
        done.append(SECTIONS[name](**options))
    return Report(_setting(repeats, batch, jit_compile), tuple(done))


def _setting(repeats, batch, jit_compile):
    return {
        "lipviz": __version__,
        "Keras": keras.__version__,
        "backend": keras.backend.backend(),
        "device": ", ".join(keras.distribution.list_devices()),
        "cores": os.cpu_count(),
        "Python": platform.python_version(),
        "jit_compile": networks.chosen_jit(jit_compile),
        "batch": batch,
        "rounds": repeats,
    }


def _row(name, timings):
    base, *others = timings
    ratios = {f"{other} / {base}": timings[other].ratio for other in others}
    return Row(name, timings, ratios)


def _networks(repeats, batch, jit_compile, peer):
    rows = []
    for network in ("cnn", "mlp"):
        make = getattr(networks, network)
        kinds = ("plain", "lipviz", "sorting", "constrained")
        models = {kind: networks.compiled(make(kind), jit_compile) for kind in kinds}
        steps = {kind: networks.training_step(model, batch) for kind, model in models.items()}
        plain = None
        if peer is not None:
            steps[peer[0]], plain = peer[1](network, batch, jit_compile)
            if plain is not None:
                steps[f"plain, for {peer[0]}"] = plain
        row = _row(f"{network.upper()}, training step", take_turns(steps, repeats))
        if plain is not None:  # a peer is compared with its own framework
            times = row.values
            row.ratios[f"{peer[0]} / plain"] = times[peer[0]].ratio / times[f"plain, for {peer[0]}"].ratio
            row.ratios.pop(f"plain, for {peer[0]} / plain")
        rows.append(row)
    title = "Training step (sorting: plain except for GroupSort2; constrained: plain except for the constraints)"
    return Section(title, "ms", tuple(rows))


def _floor(repeats, batch, jit_compile, peer):
    timings = floor.timings(repeats, batch)
    call = timings["call"].ratio
    rows = []
    for name, timing in timings.items():
        is_step = name in floor.STEPS
        ratio = timing.ratio if is_step else timing.ratio - call
        label = f"step, {name}" if is_step else f"part, {name}"
        rows.append(Row(label, {"processor": timing}, {"over the plain step": ratio}))
    title = "Processor time of a training step of the MLP, and of its parts (ratios of parts: without the call)"
    return Section(title, "ms", tuple(rows))


def _prediction(repeats, batch, jit_compile, peer):
    rows = []
    for network in ("cnn", "mlp"):
        make = getattr(networks, network)
        models = {kind: networks.compiled(make(kind), jit_compile) for kind in ("plain", "lipviz")}
        models["export"] = models["lipviz"].vanilla_export()
        timings = take_turns({kind: networks.prediction(model, batch) for kind, model in models.items()}, repeats)
        row = _row(f"{network.upper()}, predict_on_batch", timings)
        row.ratios["lipviz / export"] = timings["lipviz"].ratio / timings["export"].ratio
        rows.append(row)
        rows.append(_predict_row(network, batch, jit_compile, repeats))
    return Section("Inference (export: the model's own vanilla_export)", "ms", tuple(rows))


def _predict_row(network, batch, jit_compile, repeats):
    """`predict` of an export, of a lipviz model, of its layers in a plain model, and of those with changed kernels."""
    make = functools.partial(getattr(networks, network), "lipviz")
    model = make()
    models = {
        "export": model.vanilla_export(),
        "lipviz": model,
        "in keras.Sequential": networks.in_plain_model(make()),
        "kernels moved": networks.in_plain_model(make(), moved=True),
    }
    steps = {name: networks.predictions(networks.compiled(each, jit_compile), batch) for name, each in models.items()}
    return _row(f"{network.upper()}, predict of 16 batches", take_turns(steps, repeats))


def _batches(repeats, batch, jit_compile, peer):
    rows = []
    for size in (batch // 8 or 1, batch, 4 * batch):
        models = {kind: networks.compiled(networks.cnn(kind), jit_compile) for kind in ("plain", "constrained")}
        timings = take_turns({kind: networks.training_step(model, size) for kind, model in models.items()}, repeats)
        row = _row(f"CNN, batch {size}", timings)
        row.values["cost of the constraints"] = timings["constrained"].seconds - timings["plain"].seconds
        rows.append(row)
    return Section("The constraints' cost does not grow with the batch", "ms", tuple(rows))


def _activations(repeats, batch, jit_compile, peer):
    rows = [_row(name, timings) for name, timings in parts.activations(repeats, jit_compile, (batch, 28, 28, 16))]
    return Section(f"Activations on {batch}×28×28×16", "ms", tuple(rows))


def _poolings(repeats, batch, jit_compile, peer):
    rows = [_row(name, timings) for name, timings in parts.poolings(repeats, jit_compile, (batch, 28, 28, 16))]
    return Section(f"2×2 poolings on {batch}×28×28×16", "ms", tuple(rows))


def _kernels(repeats, batch, jit_compile, peer):
    rows = [_row(name, timings) for name, timings in parts.kernels(repeats, jit_compile, batch=batch)]
    return Section(
        "Constraint of a kernel (normalization and Björck), against a plain layer's product", "ms", tuple(rows)
    )


def _layers(repeats, batch, jit_compile, peer):
    rows = []
    for kind in measure.LAYER_KINDS:
        cost = measure.step_cost(kind, repeats, batch=batch, jit_compile=networks.chosen_jit(jit_compile))
        timings = compared({"plain": cost.plain_seconds, "lipviz": cost.seconds})
        rows.append(Row(kind.title, timings, {"lipviz / plain": timings["lipviz"].ratio}))
    title = f"Processor time of a training step of one layer, beside the plain one (dense 256 → 256, batch {batch}; 3×3"
    return Section(f"{title}, 32 → 32 on 16×16, batch {max(batch // 8, 1)})", "ms", tuple(rows))


def _convergence(repeats, batch, jit_compile, peer):
    rows = []
    for name, iterations, timings in parts.convergence(repeats=max(3, repeats // 4)):
        if iterations is None:
            rows.append(Row(f"{name}: out of reach", {}, {}))
        else:
            rows.append(_row(f"{name}: {iterations} iterations", timings))
    return Section("Time to orthogonality, of a Gaussian kernel", "ms", tuple(rows))


def _memory(repeats, batch, jit_compile, peer):
    rows = tuple(_memory_row(name, batch, width) for name, width in (("CNN", 1), ("CNN, 4 times as wide", 4)))
    return Section(f"Resident memory of 20 training steps, peak above import, batch {batch}", "MiB", rows)


def _memory_row(name, batch, width):
    """Plain steps also in a process in which XLA runs: its memory does not depend on the network."""
    bases = ("plain", "plain, XLA started") if keras.backend.backend() == "tensorflow" else ("plain",)
    peaks = processes.memory((*bases, "lipviz"), batch=batch, width=width)
    ratios = {f"lipviz / {base}": peaks["lipviz"] / peaks[base] for base in bases}
    return Row(name, {kind: peak // 2**20 for kind, peak in peaks.items()}, ratios)


def _imports(repeats, batch, jit_compile, peer):
    timings = processes.imports(max(3, repeats // 4))
    return Section("Import, in a new process", "ms", (_row("import", timings),))


SECTIONS = {
    "networks": _networks,
    "floor": _floor,
    "prediction": _prediction,
    "batches": _batches,
    "activations": _activations,
    "poolings": _poolings,
    "layers": _layers,
    "kernels": _kernels,
    "convergence": _convergence,
    "memory": _memory,
    "imports": _imports,
}
