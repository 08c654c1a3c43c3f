"""The same small network with layers of several kinds: accuracy and certified accuracy after the same training."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

import lipviz.model
from lipviz import layers
from lipviz import normalizers as nm
from lipviz.certification.radii import certified_radius
from lipviz.certification.results import check_epsilons
from lipviz.losses import OffsetCategoricalCrossentropy
from lipviz.measure.layer_kinds import LAYER_KINDS, LayerKind
from lipviz.rules.used import as_float64
from lipviz.toys.networks import check_weight_seed, class_targets, training
from lipviz.toys.run_files import read_rows, write_rows
from lipviz.types import Array, ArrayLike

WIDTH, CHANNELS = 64, 8
KIND_EPSILONS = tuple(np.round(np.linspace(0, 1.5, 31), 3).tolist())
RUNS, COSTS = (Path(__file__).with_name(f"kind_{what}.json") for what in ("runs", "costs"))


@dataclasses.dataclass(frozen=True, eq=False)
class KindRun:
    """A network with hidden layers of one kind, and its results on a test set.

    Attributes:
        kind: Its `LayerKind`.
        dataset: Name of the data.
        depth: Number of hidden layers.
        steps: Full-batch steps of the whole training.
        step: Full-batch steps so far.
        seed: Seed of all weights.
        samples: Number of test samples.
        accuracy: Share of the test samples that are classified correctly.
        mean_radius: Mean certified radius of the test samples, in the units of the input (l2 norm); a misclassified one
            counts 0.
        epsilons: Sizes of changes, of shape (m,).
        certified: Certified accuracy at each ε, of shape (m,).
    """

    kind: LayerKind
    dataset: str
    depth: int
    steps: int
    step: int
    seed: int
    samples: int
    accuracy: float
    mean_radius: float
    epsilons: np.ndarray = dataclasses.field(repr=False)
    certified: np.ndarray = dataclasses.field(repr=False)

    def certified_at(self, epsilon: float) -> float:
        """Certified accuracy at ε, interpolated linearly between the measured ones; NaN above all of them."""
        return float(np.interp(epsilon, self.epsilons, self.certified, right=np.nan))


@dataclasses.dataclass(frozen=True, eq=False)
class KindComparison:
    """Networks with hidden layers of n kinds, side by side.

    Attributes:
        kinds: The n kinds, each a `LayerKind`.
        runs: The `KindRun` of each; None where there is none.
        costs: CPU time of a training step of the layer alone, as a multiple of the plain layer's, of shape (n,); NaN
            where it is not known.
        depth: Number of hidden layers that was asked for. A run has the nearest one that was trained.
        epsilons: Sizes of changes to compare at, of shape (m,).
    """

    kinds: tuple[LayerKind, ...]
    runs: tuple[KindRun | None, ...]
    costs: np.ndarray = dataclasses.field(repr=False)
    depth: int
    epsilons: np.ndarray

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def accuracy(self) -> Array:
        """Accuracy of each network, of shape (n,); NaN where there is none."""
        return np.array([np.nan if run is None else run.accuracy for run in self.runs])

    @property
    def certified(self) -> Array:
        """Certified accuracy of each network at each ε, of shape (n, m); NaN where there is none."""
        return np.array(
            [[np.nan if run is None else run.certified_at(eps) for eps in self.epsilons] for run in self.runs]
        ).reshape(len(self), len(self.epsilons))


# --- networks ---


def kind_network(
    kind: LayerKind, depth: int = 2, *, inputs: Sequence[int] = (64,), outputs: int = 10, seed: int = 0
) -> keras.Model:
    """Build a 1-Lipschitz network whose hidden layers are of one kind; all else is the same for every kind.

    Dense: `depth` layers of 64 units. Convolutional: a 1×1 convolution to 8 channels, and `depth` convolutions of 3×3,
    with the padding of the kind.
    Behind each follows `GroupSort2`, but for residual blocks, which have their activation inside. The last layer is a
    `SpectralDense`.

    Args:
        kind: The kind of the hidden layers.
        depth: Number of hidden layers, at least 1.
        inputs: Shape of an input: (entries,) for dense kinds, (height, width, channels) for convolutions.
        outputs: Number of outputs.
        seed: Seed of all weights.

    Returns:
        A built `lipviz.Sequential`.

    Raises:
        ValueError: If an argument is out of range; if the shape does not fit the kind, or a dense residual block.
    """
    for name, value in (("depth", depth), ("outputs", outputs)):
        if nm.check_count(name, value) < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {name}={value!r}")
    rank = 1 if kind.is_dense else 3
    if len(inputs) != rank:
        raise ValueError(f"Expected `inputs` of {rank} sizes for {kind.title}. Received: inputs={tuple(inputs)!r}")
    seed, count = check_weight_seed(seed), WIDTH if kind.is_dense else CHANNELS
    first = [] if kind.is_dense else [layers.SpectralConv2D(count, 1, kernel_initializer=_start(seed))]
    if kind.is_dense and tuple(inputs) != (count,):
        first = [layers.SpectralDense(count, kernel_initializer=_start(seed))]
    stack = [keras.Input(tuple(inputs)), *first]
    for place in range(1, depth + 1):
        stack.append(kind.make(count, kernel_initializer=_start(seed + place)))
        stack += [] if kind.is_block else [layers.GroupSort2()]
    stack += [] if kind.is_dense else [keras.layers.Flatten()]
    stack.append(layers.SpectralDense(outputs, kernel_initializer=_start(seed + depth + 1)))
    return lipviz.model.Sequential(stack, name=f"{kind.layer}_{depth}")


def _start(seed):
    return keras.initializers.Orthogonal(seed=seed)


# --- runs ---


def kind_run(train: Sequence[ArrayLike], test: Sequence[ArrayLike], kind: LayerKind, **settings: Any) -> KindRun:
    """Train a small network with hidden layers of one kind, and measure accuracy and certified radii on a test set.

    Args:
        train: See `kind_steps`.
        test: See `kind_steps`.
        kind: See `kind_steps`.
        **settings: Those of `kind_steps`.

    Returns:
        A `KindRun`.

    Raises:
        TypeError: See `kind_steps`.
        ValueError: See `kind_steps`.
    """
    for last in kind_steps(train, test, kind, **settings):
        run = last
    return run


def kind_steps(
    train: Sequence[ArrayLike],
    test: Sequence[ArrayLike],
    kind: LayerKind,
    *,
    depth: int = 2,
    tau: float = 20.0,
    offset: float = 0.5,
    steps: int = 150,
    every: int | None = None,
    learning_rate: float = 0.02,
    epsilons: ArrayLike = KIND_EPSILONS,
    dataset: str = "",
    seed: int = 0,
) -> Iterator[KindRun]:
    """Train as `kind_run` does, and yield the result every few steps, to be drawn during training.

    Args:
        train: Images of shape (n, height, width, channels), of at least three classes, and labels: class numbers of
            shape (n,). For dense kinds, images are flattened.
        test: Samples and labels to measure on.
        kind: The kind of the hidden layers.
        depth: See `kind_network`.
        tau: Inverse temperature of the loss, an `OffsetCategoricalCrossentropy`.
        offset: The lead that the loss asks for.
        steps: Number of full-batch steps of Adam.
        every: Number of steps between two results; None yields only the last one.
        learning_rate: Learning rate of the first step; it falls to 0 along a cosine.
        epsilons: Sizes of changes at which accuracy is certified, ascending.
        dataset: Name of the data.
        seed: Seed of all weights.

    Returns:
        An iterator of `KindRun`. The caller may stop at any time.

    Raises:
        TypeError: If samples or labels do not hold real numbers.
        ValueError: If an argument is out of range or data do not fit (raised at once); or training diverged.
    """
    (x, y), (x_test, y_test) = (_data(pair, name, kind) for pair, name in ((train, "train"), (test, "test")))
    if x.shape[1:] != x_test.shape[1:]:
        raise ValueError(f"Expected test samples of shape {x.shape[1:]}. Received: {x_test.shape[1:]}")
    sizes = check_epsilons(epsilons)
    targets = class_targets(y, len(x))
    if targets.shape[1] < 3:
        raise ValueError(f"Expected labels of at least three classes. Received: {len(np.unique(y))}")
    network = kind_network(kind, depth, inputs=x.shape[1:], outputs=targets.shape[1], seed=seed)
    loss = OffsetCategoricalCrossentropy(tau, offset)
    made = training(network, x, targets, loss, steps, steps if every is None else every, learning_rate)
    start = KindRun(
        kind, dataset, depth, steps, 0, seed, len(x_test), np.nan, np.nan, sizes, np.full(len(sizes), np.nan)
    )
    return _measured(network, made, start, x_test, y_test)


def _measured(network, made, start, x, y):
    for losses in made:
        radii = certified_radius(network, x, y)
        yield dataclasses.replace(
            start,
            step=len(losses),
            accuracy=radii.accuracy,
            mean_radius=radii.mean_radius,
            certified=radii.accuracy_at(start.epsilons).certified,
        )


def _data(pair, name, kind):
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(f"`{name}` must be a pair of samples and labels. Received: {type(pair).__name__}")
    x = as_float64(pair[0], f"The samples of `{name}`")
    if x.size == 0 or (x.ndim != 4 and not (kind.is_dense and x.ndim > 1)):
        raise ValueError(
            f"Expected images (n, height, width, channels), at least one, in `{name}`. Received: {x.shape}"
        )
    return x.reshape(len(x), -1) if kind.is_dense else x, as_float64(pair[1], f"The labels of `{name}`")


# --- comparisons ---


def compare_kinds(
    kinds: Sequence[LayerKind],
    depth: int = 2,
    *,
    runs: Sequence[KindRun] | None = None,
    costs: Mapping[str, float] | None = None,
    epsilons: ArrayLike = (0.1, 0.25, 0.5),
) -> KindComparison:
    """Put the networks of several kinds side by side.

    Args:
        kinds: The kinds, each a `LayerKind`.
        depth: Number of hidden layers. Of each kind, the run with the nearest number is taken, by ratio; of several
            such runs the last one.
        runs: The `KindRun` of each network to choose from; by default those of `kind_table`.
        costs: Costs of a step by the title of the kind; by default `kind_costs`.
        epsilons: Sizes of changes to compare at.

    Returns:
        A `KindComparison`.

    Raises:
        ValueError: If `depth` or `epsilons` is out of range.
    """
    if nm.check_count("depth", depth) < 1:
        raise ValueError(f"`depth` must be at least 1. Received: {depth!r}")
    runs, costs = kind_table() if runs is None else runs, kind_costs() if costs is None else costs
    found = tuple(_nearest([run for run in runs if run.kind == kind], depth) for kind in kinds)
    times = np.array([costs.get(kind.title, np.nan) for kind in kinds], float)
    return KindComparison(tuple(kinds), found, times, int(depth), check_epsilons(epsilons))


def _nearest(runs, depth):
    """The last of the runs whose depth is nearest by ratio; None of none."""
    return min(reversed(runs), key=lambda run: abs(np.log(run.depth / depth)), default=None)


@functools.cache
def kind_table() -> tuple[KindRun, ...]:
    """The runs on scikit-learn's digits that come with lipviz; ``python -m tools.layer_table`` makes them.

    Returns:
        A tuple of `KindRun`.
    """
    known = {kind.title: kind for kind in LAYER_KINDS}
    rows = read_rows(RUNS) if RUNS.exists() else []
    return tuple(KindRun(**{**row, "kind": known[row["kind"]]}) for row in rows if row["kind"] in known)


def write_kind_table(runs: Iterable[KindRun], path: str | os.PathLike[str] = RUNS) -> None:
    """Write runs as JSON, one a line.

    Args:
        runs: The `KindRun` of each network.
        path: File to write; by default the table that comes with lipviz.
    """
    write_rows([{**vars(run), "kind": run.kind.title} for run in runs], path)
    kind_table.cache_clear()


@functools.cache
def kind_costs() -> Mapping[str, float]:
    """CPU time of a training step of each kind over that of the plain layer, see `lipviz.measure.step_cost`.

    It comes with lipviz, measured on two CPU cores by ``python -m tools.layer_table``.

    Returns:
        A mapping from the title of a kind to a number.
    """
    rows = read_rows(COSTS) if COSTS.exists() else []
    return MappingProxyType({row["kind"]: row["ratio"] for row in rows})


def write_kind_costs(costs: Mapping[str, float], path: str | os.PathLike[str] = COSTS) -> None:
    """Write costs as JSON, one a line.

    Args:
        costs: Costs by the title of the kind.
        path: File to write; by default the one that comes with lipviz.
    """
    write_rows([{"kind": title, "ratio": ratio} for title, ratio in costs.items()], path)
    kind_costs.cache_clear()
