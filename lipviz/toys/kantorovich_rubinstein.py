"""Training a 1-Lipschitz network to estimate the Wasserstein-1 distance, by the duality of Kantorovich and Rubinstein.

See `lipviz.measure.transport` for the duality, and for the exact distance that the estimate is compared with.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.certification.upper_bounds import upper_bound
from lipviz.losses import HKR
from lipviz.measure.transport import as_cloud, wasserstein_distance
from lipviz.operators.precision import SyncedFloat64Copy
from lipviz.toys.networks import check_weight_seed, toy_network, training
from lipviz.types import ArrayLike


@dataclasses.dataclass(frozen=True, eq=False)
class KRTraining:
    """How the estimate mean f(x) − mean f(y) of a network in training nears the exact distance.

    Attributes:
        name: Name of the network, or of its activation.
        steps: Number of steps made before each estimate: 0, 1, …, of shape (n,).
        estimates: Estimate at that moment, of shape (n,); all but the last in the precision of training, that one in
            float64.
        exact: The Wasserstein-1 distance between the samples.
        k: Upper bound of the network's Lipschitz constant, as certified at the end.
    """

    name: str
    steps: np.ndarray = dataclasses.field(repr=False)
    estimates: np.ndarray = dataclasses.field(repr=False)
    exact: float
    k: float

    @property
    def reached(self) -> float:
        """Last estimate as a share of k·W1: at most 1; NaN where the distance is 0."""
        limit = self.k * self.exact
        return float(self.estimates[-1] / limit) if 0 < limit < math.inf else math.nan


def kr_training(x: ArrayLike, y: ArrayLike, model: keras.Model | None = None, **settings: Any) -> KRTraining:
    """Train a 1-Lipschitz network on the loss of Kantorovich and Rubinstein, and record its estimate at each step.

    Args:
        x: First cloud, of shape (n, d).
        y: Second cloud, of shape (m, d).
        model: See `kr_steps`.
        **settings: Those of `kr_steps`.

    Returns:
        A `KRTraining`.

    Raises:
        TypeError: See `kr_steps`.
        ValueError: See `kr_steps`.
    """
    for last in kr_steps(x, y, model, **settings):
        result = last
    return result


def kr_steps(
    x: ArrayLike,
    y: ArrayLike,
    model: keras.Model | None = None,
    *,
    activation: str = "groupsort2",
    width: int = 32,
    depth: int = 2,
    k: float = 1.0,
    steps: int = 300,
    every: int | None = None,
    learning_rate: float = 0.01,
    exact: float | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Iterator[KRTraining]:
    """Train as `kr_training` does, and show how far it is every few steps: for drawing while it learns.

    Args:
        x: First cloud, of shape (n, d).
        y: Second cloud, of shape (m, d).
        model: Built Keras model with inputs (batch, d) and outputs (batch, 1), trained in place, so that
            `potential_field` can show it; it is compiled anew. None makes a `toy_network` of the next four.
        activation: See `toy_network`.
        width: See `toy_network`.
        depth: See `toy_network`.
        k: See `toy_network`.
        steps: Number of full-batch steps of Adam.
        every: Number of steps between two results; None gives the last one only.
        learning_rate: That of the first step; it falls to 0 along a cosine.
        exact: The Wasserstein-1 distance, where it is known already; None computes it.
        seed: Seed of the network's weights.
        name: Name for legends; by default that of the activation, or of the model.

    Returns:
        An iterator of `KRTraining`. It may be left at any time.

    Raises:
        TypeError: If `model` is no Keras model, or a cloud does not hold real numbers.
        ValueError: If an argument is out of range, or the model of other shapes (at once); or training diverged.
    """
    x, y, seed = as_cloud(x, "x"), as_cloud(y, "y"), check_weight_seed(seed)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"Expected clouds of one dimension. Received: x of {x.shape[1]}, y of {y.shape[1]}")
    name = name or (activation if model is None else getattr(model, "name", ""))
    if model is None:
        model = toy_network(activation, width, depth, inputs=x.shape[1], k=k, seed=seed)
    copy = SyncedFloat64Copy(model)
    samples = np.concatenate([x, y])
    _check_potential(model, copy, samples)
    exact = wasserstein_distance(x, y).distance if exact is None else nm.check_positive("exact", exact)
    labels = np.repeat([[1.0], [0.0]], [len(x), len(y)], axis=0)
    every = steps if every is None else every
    # Without its hinge, HKR is the negative of the estimate.
    losses = training(model, samples, labels, HKR(alpha=0.0), steps, every, learning_rate)
    return _estimates(model, copy, samples, len(x), losses, name, exact)


def _estimates(model, copy, samples, count, training_losses, name, exact):
    for losses in training_losses:
        values = copy.outputs(samples)[:, 0]
        estimates = np.append(-losses, values[:count].mean() - values[count:].mean())
        k = upper_bound(model, samples.shape[1:])
        yield KRTraining(name, np.arange(len(estimates)), estimates, exact, k)


def _check_potential(model, copy, samples):
    shapes = [tuple(tensor.shape[1:]) for tensor in getattr(model, "inputs", None) or ()]
    if shapes and shapes != [samples.shape[1:]]:
        raise ValueError(f"Expected a model with inputs of shape (batch, {samples.shape[1]}). Received: {shapes}")
    count = copy.outputs(samples[:1]).shape[1]
    if count != 1:
        raise ValueError(f"Expected a model with one output, the potential. Received: {count}")
