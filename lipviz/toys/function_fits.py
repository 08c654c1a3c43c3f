"""Small networks fitted to functions of one number.

A 1-Lipschitz network of ReLUs cannot even represent |x|: wherever a ReLU cuts off, the gradient loses norm, and a
network that keeps slope 1 everywhere must be linear. Activations that sort or reflect keep norms, and can.

Reference: Anil, Lucas and Grosse (2019), Sorting out Lipschitz function approximation, theorems 1 to 3.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.operators.precision import SyncedFloat64Copy
from lipviz.rules.used import as_float64
from lipviz.toys.networks import check_name, toy_network, training
from lipviz.types import Array, ArrayLike


def _sawtooth(x):
    return np.abs(x - np.round(x))


# Functions of slope 1 and −1 that can be fitted by name.
TARGETS = {"abs": np.abs, "sawtooth": _sawtooth}


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionFit:
    """A network fitted to a function of one number.

    Attributes:
        activation: Name of the activation.
        target_name: Name of the function.
        constrained: Whether the network is held to k.
        k: Lipschitz constant that it is held to.
        width: Number of channels of a hidden layer.
        depth: Number of hidden layers.
        x: Where both are compared, ascending, of shape (n,).
        target: Values of the function, of shape (n,).
        prediction: Values of the network, in float64, of shape (n,).
        losses: Mean squared error before each step so far, of shape (steps,).
        steps: Number of steps that it will have made in the end.
    """

    activation: str
    target_name: str
    constrained: bool
    k: float
    width: int
    depth: int
    x: np.ndarray = dataclasses.field(repr=False)
    target: np.ndarray = dataclasses.field(repr=False)
    prediction: np.ndarray = dataclasses.field(repr=False)
    losses: np.ndarray = dataclasses.field(repr=False)
    steps: int

    @property
    def error(self) -> float:
        """Root of the mean squared difference of prediction and target."""
        return float(np.sqrt(np.mean((self.prediction - self.target) ** 2)))

    @property
    def largest_error(self) -> float:
        """Largest difference of prediction and target."""
        return float(np.abs(self.prediction - self.target).max())

    @property
    def slope(self) -> float:
        """Steepest slope of the prediction between neighbouring x; at most k where the network is k-Lipschitz."""
        return float(np.abs(np.diff(self.prediction) / np.diff(self.x)).max())


def fit_function(
    target: Literal["abs", "sawtooth"] | Callable[[Array], ArrayLike] = "abs",
    activation: str = "groupsort2",
    width: int = 16,
    depth: int = 3,
    **settings: Any,
) -> FunctionFit:
    """Fit a network to a function of one number, by full-batch steps of Adam on the mean squared error.

    Args:
        target: "abs", ``|x|``; "sawtooth", the distance of x to the nearest whole number; or a function that takes an
            array of shape (n,) and returns one.
        activation: See `toy_network`.
        width: See `toy_network`.
        depth: See `toy_network`.
        **settings: Those of `fit_steps`.

    Returns:
        A `FunctionFit`.

    Raises:
        TypeError: See `fit_steps`.
        ValueError: See `fit_steps`.
    """
    fits = fit_steps(target, activation, width, depth, **settings)
    for last in fits:
        fit = last
    return fit


def fit_steps(
    target: Literal["abs", "sawtooth"] | Callable[[Array], ArrayLike] = "abs",
    activation: str = "groupsort2",
    width: int = 16,
    depth: int = 3,
    *,
    k: float = 1.0,
    constrained: bool = True,
    steps: int = 400,
    every: int | None = None,
    learning_rate: float = 0.01,
    bounds: ArrayLike = (-1.0, 1.0),
    points: int = 257,
    seed: int = 0,
) -> Iterator[FunctionFit]:
    """Fit as `fit_function` does, and show how far it is every few steps: for drawing while it learns.

    Args:
        target: See `fit_function`.
        activation: See `toy_network`.
        width: See `toy_network`.
        depth: See `toy_network`.
        k: See `toy_network`.
        constrained: See `toy_network`.
        steps: Number of steps.
        every: Number of steps between two results; None gives the last one only.
        learning_rate: That of the first step; it falls to 0 along a cosine.
        bounds: Interval (lowest, highest) of x.
        points: Number of points of the interval, evenly spaced, at least 2.
        seed: Seed of all weights.

    Returns:
        An iterator of `FunctionFit`. It may be left at any time.

    Raises:
        TypeError: If the target does not give real numbers.
        ValueError: If an argument is out of range, or the target gives NaN, Inf or another shape (all at once); or
            training diverged (in the iteration).
    """
    low, high = _interval(bounds)
    if nm.check_count("points", points) < 2:
        raise ValueError(f"`points` must be at least 2. Received: points={points}")
    x = np.linspace(low, high, points)
    name, values = _target(target, x)
    model = toy_network(activation, width, depth, inputs=1, k=k, constrained=constrained, seed=seed)
    every = steps if every is None else every
    losses = training(model, x[:, None], values[:, None], keras.losses.MeanSquaredError(), steps, every, learning_rate)
    start = FunctionFit(activation, name, constrained, float(k), width, depth, x, values, values, np.zeros(0), steps)
    return _fits(SyncedFloat64Copy(model), losses, start)


def _fits(copy, training_losses, start):
    for losses in training_losses:
        yield dataclasses.replace(start, prediction=copy.outputs(start.x[:, None])[:, 0], losses=losses)


# --- checks ---


def _interval(bounds):
    ends = as_float64(bounds, "`bounds`")
    if ends.shape != (2,) or not ends[0] < ends[1]:
        raise ValueError(f"`bounds` must be (lowest, highest) of an interval. Received: {bounds!r}")
    return ends


def _target(target, x):
    """Name of a function, and its values."""
    if callable(target):
        name, function = getattr(target, "__name__", type(target).__name__), target
    else:
        check_name("target", target, TARGETS)
        name, function = target, TARGETS[target]
    values = as_float64(function(x), f"The target '{name}'")
    if values.shape != x.shape:
        raise ValueError(f"Expected a target that maps shape {x.shape} to the same. Received shape: {values.shape}")
    return name, values
