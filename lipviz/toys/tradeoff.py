"""Accuracy against robustness of a 1-Lipschitz classifier, which the parameter of its loss decides.

A 1-Lipschitz network cannot enlarge its margins by larger weights. So the parameter of the loss says how much margins
count: the inverse temperature τ of a crossentropy, or the weight α of the hinge in HKR. Large τ or α favour accuracy;
small ones favour large margins, and so large certified radii (Béthune et al. 2022, Pay attention to your loss, section
4).
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lipviz import _moved
from lipviz import normalizers as nm
from lipviz.certification.radii import certified_radius
from lipviz.certification.results import check_epsilons
from lipviz.losses import HKR, MulticlassHKR, TauBinaryCrossentropy, TauCategoricalCrossentropy
from lipviz.rules.used import as_float64
from lipviz.toys.networks import class_targets, toy_network, training
from lipviz.toys.run_files import read_rows, write_rows
from lipviz.types import Array, ArrayLike

LOSSES = {"crossentropy": "τ", "hkr": "α"}
EPSILONS = tuple(np.round(np.linspace(0, 1.5, 31), 3).tolist())
TABLE = Path(__file__).with_name("tradeoff_digits.json")


@dataclasses.dataclass(frozen=True, eq=False)
class TradeoffRun:
    """One network, trained with one loss, and its results on a test set.

    Attributes:
        dataset: Name of the data.
        loss: "crossentropy" (with inverse temperature τ) or "hkr".
        loss_parameter: τ of the crossentropy, or α of HKR.
        min_margin: Margin of the hinge of HKR, in the units of the logits; the crossentropy does not use it.
        activation: See `toy_network`.
        width: See `toy_network`.
        depth: See `toy_network`.
        steps: Full-batch steps of the whole training.
        step: Full-batch steps so far.
        learning_rate: That of the first step.
        seed: Seed of all weights.
        samples: Number of test samples.
        accuracy: Share of the test samples that are classified correctly.
        mean_radius: Mean certified radius of the test samples, in the units of the input (l2 norm); a misclassified one
            counts 0.
        median_radius: Median of the same radii.
        epsilons: Sizes of changes, of shape (m,).
        certified: Certified accuracy at each ε, of shape (m,).
    """

    dataset: str
    loss: str
    loss_parameter: float
    min_margin: float
    activation: str
    width: int
    depth: int
    steps: int
    step: int
    learning_rate: float
    seed: int
    samples: int
    accuracy: float
    mean_radius: float
    median_radius: float
    epsilons: np.ndarray = dataclasses.field(repr=False)
    certified: np.ndarray = dataclasses.field(repr=False)

    def certified_at(self, epsilon: float) -> float:
        """Certified accuracy at ε, interpolated linearly between the measured ones; NaN above all of them."""
        return float(np.interp(epsilon, self.epsilons, self.certified, right=np.nan))

    @property
    def loss_parameter_label(self) -> str:
        """The loss's parameter as text, such as "τ = 10"."""
        return f"{LOSSES[self.loss]} = {self.loss_parameter:.3g}"

    @property
    def dial(self) -> float:
        """Old name of `loss_parameter`, for one release."""
        _moved.warn("TradeoffRun.dial", "TradeoffRun.loss_parameter", 2)
        return self.loss_parameter

    @property
    def dial_name(self) -> str:
        """Old name of `loss_parameter_label`, for one release."""
        _moved.warn("TradeoffRun.dial_name", "TradeoffRun.loss_parameter_label", 2)
        return self.loss_parameter_label


_renamed = _moved.renamed_argument("dial", "loss_parameter")
TradeoffRun.__init__ = _renamed(TradeoffRun.__init__)  # type: ignore[method-assign]  # one that `dataclass` made


@dataclasses.dataclass(frozen=True, eq=False)
class Tradeoff:
    """Runs on the same data, to be compared.

    Attributes:
        runs: Tuple of `TradeoffRun`.
        chosen: Number of the selected run; None where none is selected.
        live: Numbers of the runs that were trained now, not taken from a table.
        epsilon: Size of a change at which certified accuracy is compared; None compares mean certified radii.
    """

    runs: tuple[TradeoffRun, ...] = dataclasses.field(repr=False)
    chosen: int | None = None
    live: tuple[int, ...] = ()
    epsilon: float | None = None

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def accuracy(self) -> Array:
        """Accuracy of each run, of shape (runs,)."""
        return np.array([run.accuracy for run in self.runs])

    @property
    def robustness(self) -> Array:
        """Mean certified radius, or certified accuracy at ε, of each run: of shape (runs,)."""
        if self.epsilon is None:
            return np.array([run.mean_radius for run in self.runs])
        return np.array([run.certified_at(self.epsilon) for run in self.runs])

    @property
    def frontier(self) -> Array:
        """Numbers of the runs that no other beats in both, from the least robust to the most: an integer array."""
        # From the most robust on: each must be more accurate than all that were more robust.
        order = np.lexsort((-self.accuracy, -self.robustness))
        best, kept = -np.inf, []
        for run in order:
            if self.accuracy[run] > best:
                best = self.accuracy[run]
                kept.append(run)
        return np.array(kept[::-1], int)


# --- runs ---


@_renamed
def tradeoff_run(train: Sequence[ArrayLike], test: Sequence[ArrayLike], **settings: Any) -> TradeoffRun:
    """Train a small 1-Lipschitz network with one loss, and measure accuracy and certified radii on a test set.

    Args:
        train: Samples and labels (x, y) to train on, see `tradeoff_steps`.
        test: Samples and labels to measure on.
        **settings: Those of `tradeoff_steps`.

    Returns:
        A `TradeoffRun`.

    Raises:
        TypeError: See `tradeoff_steps`.
        ValueError: See `tradeoff_steps`.
    """
    for last in tradeoff_steps(train, test, **settings):
        run = last
    return run


@_renamed
def tradeoff_steps(
    train: Sequence[ArrayLike],
    test: Sequence[ArrayLike],
    *,
    loss: Literal["crossentropy", "hkr"] = "crossentropy",
    loss_parameter: float = 10.0,
    min_margin: float = 1.0,
    activation: str = "groupsort2",
    width: int = 64,
    depth: int = 2,
    steps: int = 200,
    every: int | None = None,
    learning_rate: float = 0.02,
    epsilons: ArrayLike = EPSILONS,
    dataset: str = "",
    seed: int = 0,
) -> Iterator[TradeoffRun]:
    """Train as `tradeoff_run` does, and yield the result every few steps, to be drawn during training.

    Args:
        train: Samples of shape (n, ...), which are flattened, and labels: class numbers of shape (n,).
        test: Samples and labels to measure on.
        loss: "crossentropy" for `TauCategoricalCrossentropy` (of two classes `TauBinaryCrossentropy`), or "hkr" for
            `MulticlassHKR` (`HKR`).
        loss_parameter: τ or α, positive.
        min_margin: Margin of the hinge of HKR, positive.
        activation: See `toy_network`.
        width: See `toy_network`.
        depth: See `toy_network`.
        steps: Number of full-batch steps of Adam.
        every: Number of steps between two results; None yields only the last one.
        learning_rate: Learning rate of the first step; it falls to 0 along a cosine.
        epsilons: Sizes of changes at which accuracy is certified, ascending.
        dataset: Name of the data, for legends.
        seed: Seed of all weights.

    Returns:
        An iterator of `TradeoffRun`. The caller may stop at any time.

    Raises:
        TypeError: If samples or labels do not hold real numbers.
        ValueError: If an argument is out of range or data do not fit (raised at once); or training diverged.
    """
    x, y = _data(train, "train")
    x_test, y_test = _data(test, "test")
    if x.shape[1] != x_test.shape[1]:
        raise ValueError(f"Expected test samples with {x.shape[1]} entries. Received: {x_test.shape[1]}")
    sizes = check_epsilons(epsilons)
    if (np.diff(sizes) <= 0).any():
        raise ValueError(f"`epsilons` must be ascending. Received: {sizes}")
    targets = class_targets(y, len(x))
    objective = _loss(loss, loss_parameter, min_margin, targets.shape[1])
    network = toy_network(activation, width, depth, inputs=x.shape[1], outputs=targets.shape[1], seed=seed)
    start = TradeoffRun(
        dataset, loss, float(loss_parameter), float(min_margin), activation, width, depth, steps, 0,
        float(learning_rate), seed, len(x_test), np.nan, np.nan, np.nan, sizes, np.full(len(sizes), np.nan),
    )  # fmt: skip
    made = training(network, x, targets, objective, steps, steps if every is None else every, learning_rate)
    return _measured(network, made, start, x_test, y_test)


def _measured(network, made, start, x, y):
    for losses in made:
        radii = certified_radius(network, x, y)
        yield dataclasses.replace(
            start,
            step=len(losses),
            accuracy=radii.accuracy,
            mean_radius=radii.mean_radius,
            median_radius=radii.median_radius,
            certified=radii.accuracy_at(start.epsilons).certified,
        )


def _data(pair, name):
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(f"`{name}` must be a pair of samples and labels. Received: {type(pair).__name__}")
    x = as_float64(pair[0], f"The samples of `{name}`")
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"Expected samples of shape (n, ...), at least one, in `{name}`. Received: {x.shape}")
    return x.reshape(len(x), -1), as_float64(pair[1], f"The labels of `{name}`")


def _loss(loss, parameter, min_margin, outputs):
    if loss not in LOSSES:
        raise ValueError(f"`loss` must be one of {', '.join(map(repr, LOSSES))}. Received: {loss!r}")
    parameter = nm.check_positive("loss_parameter", parameter)
    min_margin = nm.check_positive("min_margin", min_margin)
    if loss == "crossentropy":
        return (TauBinaryCrossentropy if outputs == 1 else TauCategoricalCrossentropy)(parameter)
    return (HKR if outputs == 1 else MulticlassHKR)(alpha=parameter, min_margin=min_margin)


# --- the table of runs ---


def tradeoff_table() -> tuple[TradeoffRun, ...]:
    """The runs on scikit-learn's digits that come with lipviz.

    ``python -m lipviz.explorers.tradeoff_table`` makes them again.

    Returns:
        A tuple of `TradeoffRun`.
    """
    return read_runs(TABLE)


def write_runs(runs: Iterable[TradeoffRun], path: str | os.PathLike[str] = TABLE) -> None:
    """Write runs as JSON, one a line.

    Args:
        runs: `TradeoffRun`s.
        path: File to write; by default the table that comes with lipviz.
    """
    write_rows(map(vars, runs), path)


def read_runs(path: str | os.PathLike[str]) -> tuple[TradeoffRun, ...]:
    """Read what `write_runs` wrote.

    Args:
        path: File.

    Returns:
        A tuple of `TradeoffRun`.
    """
    rows = read_rows(path)
    for row in rows:
        if "dial" in row:  # as the last release wrote it
            row["loss_parameter"] = row.pop("dial")
    return tuple(TradeoffRun(**row) for row in rows)
