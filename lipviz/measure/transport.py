"""The Wasserstein-1 distance between two clouds: exact by optimal transport, and a lower bound by a network.

By the duality of Kantorovich and Rubinstein

    W1 = max over 1-Lipschitz f of  mean f(x) − mean f(y),

so every k-Lipschitz network gives a lower bound of k·W1, and training makes this bound as large as the network can. The
best f, the potential, falls with slope 1 along every path of the optimal transport.

Reference: Villani (2009), Optimal transport: old and new, theorem 5.10 and remark 6.5.
"""

import dataclasses
import functools
import math
import os
import warnings
from collections.abc import Sequence

import keras
import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist

from lipviz import _extras, _moved
from lipviz.measure.fields import box_of, check_planar, grid_points, planar, predicted_outputs
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike

_SMALLEST = 1e-13  # smaller masses are errors of rounding
_UNKNOWNS = 120_000  # of a linear program, which then takes some ten seconds


def __getattr__(name):
    return _moved.name_of(__name__, name)


# --- results ---


@dataclasses.dataclass(frozen=True, eq=False)
class Transport:
    """An optimal transport of one cloud to another: which mass goes where, and how far it goes on average.

    Attributes:
        distance: The Wasserstein-1 distance, in the units of the points.
        x: Points of the first cloud, of shape (n, d), float64.
        y: Points of the second cloud, of shape (m, d), float64.
        pairs: Indices (i, j): mass goes from x_i to y_j, of shape (pairs, 2).
        masses: Mass of each pair, of shape (pairs,), positive; their sum is 1.
        lengths: Distance between the points of each pair, of shape (pairs,).
    """

    distance: float
    x: np.ndarray = dataclasses.field(repr=False)
    y: np.ndarray = dataclasses.field(repr=False)
    pairs: np.ndarray = dataclasses.field(repr=False)
    masses: np.ndarray = dataclasses.field(repr=False)
    lengths: np.ndarray = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class TransportMoment:
    """An optimal transport on its way: each mass has gone a share of its straight line from x to y.

    Attributes:
        transport: The whole `Transport`.
        share: Share of the way, in [0, 1].
        points: Where the mass of each pair is, of shape (pairs, d).
        moved: Mean distance moved so far. It is the Wasserstein-1 distance between the first cloud and these points.
    """

    transport: Transport
    share: float
    points: np.ndarray = dataclasses.field(repr=False)
    moved: float


@dataclasses.dataclass(frozen=True, eq=False)
class PotentialField:
    """The output of a network on the plane, as the potential of Kantorovich and Rubinstein between two clouds.

    Attributes:
        name: Name of the network.
        x0: First coordinates of the grid, ascending, of shape (columns,).
        x1: Second coordinates, ascending, of shape (rows,).
        potential: Output of the network at the grid points, of shape (rows, columns).
        x: Points of the first cloud, where the potential is to be high, of shape (n, 2).
        y: Points of the second cloud, of shape (m, 2).
        estimate: mean f(x) − mean f(y): at most k·W1 for a k-Lipschitz network.
    """

    name: str
    x0: np.ndarray = dataclasses.field(repr=False)
    x1: np.ndarray = dataclasses.field(repr=False)
    potential: np.ndarray = dataclasses.field(repr=False)
    x: np.ndarray = dataclasses.field(repr=False)
    y: np.ndarray = dataclasses.field(repr=False)
    estimate: float


# --- the exact distance ---


def wasserstein_distance(x: ArrayLike, y: ArrayLike, weights: Sequence[ArrayLike | None] | None = None) -> Transport:
    """Wasserstein-1 distance between two clouds, exact, for the Euclidean distance between points.

    Computed by the network simplex of POT where that package is installed (2,000 points: a second). Without it, two
    clouds with the same number of points and equal weights are an assignment problem (400 points: a tenth of a second,
    2,000 points: twenty seconds); others are a linear program (200 points: seconds).

    Args:
        x: Points of shape (n, d), or (n, ...), which is flattened; (n,) for numbers.
        y: Points of shape (m, d), of the same dimension.
        weights: A pair of arrays, masses of shape (n,) and (m,), at least 0; each is divided by its sum. None gives
            all points of a cloud the same mass; it can stand for both arrays, or for one of the two.

    Returns:
        A `Transport`.

    Raises:
        ImportError: If the linear program would have more than 120,000 unknowns, and POT is not installed.
        TypeError: If an array does not hold real numbers.
        ValueError: If a cloud is empty or not finite, shapes do not agree, or a weight is negative or all are 0.
    """
    x, y = as_cloud(x, "x"), as_cloud(y, "y")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"Expected clouds of the same dimension. Received: x of {x.shape[1]}, y of {y.shape[1]}")
    a, b = _masses(weights, len(x), len(y))
    (from_x,), (from_y,) = np.nonzero(a), np.nonzero(b)
    costs = cdist(x[from_x], y[from_y])
    pairs, masses = _plan(costs, a[from_x], b[from_y])
    lengths = costs[pairs[:, 0], pairs[:, 1]]
    pairs = np.column_stack([from_x[pairs[:, 0]], from_y[pairs[:, 1]]])
    return Transport(float(masses @ lengths), x, y, pairs, masses, lengths)


def transport_moment(transport: Transport, share: float) -> TransportMoment:
    """Stop an optimal transport on its way, where each mass has gone the same share of its straight line.

    The points are a geodesic between the clouds: after a share s, their distance from the first cloud is s·W1 and that
    to the second (1 − s)·W1 (Villani 2009, corollary 7.22).

    Args:
        transport: `Transport` of `wasserstein_distance`.
        share: Share of the way, in [0, 1].

    Returns:
        A `TransportMoment`.

    Raises:
        ValueError: If the share is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"`share` must lie in [0, 1]. Received: share={share!r}")
    share = float(share)
    x, y = transport.x[transport.pairs[:, 0]], transport.y[transport.pairs[:, 1]]
    return TransportMoment(transport, share, (1 - share) * x + share * y, share * transport.distance)


# --- the potential of a network ---


def potential_field(
    model: keras.Model,
    x: ArrayLike,
    y: ArrayLike,
    bounds: ArrayLike | None = None,
    resolution: int = 150,
    name: str | None = None,
) -> PotentialField:
    """Evaluate a network on a grid of the plane, and its estimate of the distance between two clouds.

    Args:
        model: Built Keras model with inputs of shape (batch, 2) and outputs of shape (batch, 1).
        x: First cloud, of shape (n, 2), in the model's units.
        y: Second cloud, of shape (m, 2).
        bounds: See `decision_field`; by default the box around both clouds and 15 % more on each side.
        resolution: Number of grid points along each axis, at least 2.
        name: Name for titles; that of the model by default.

    Returns:
        A `PotentialField`, computed in the precision of the model.

    Raises:
        TypeError: If `model` is no Keras model, or a cloud does not hold real numbers.
        ValueError: If the model is not built or of other shapes, gives NaN or Inf, or an argument is out of range.
    """
    check_planar(model)
    x, y = planar(x, "The cloud x"), planar(y, "The cloud y")
    clouds = np.concatenate([x, y])
    x0, x1, grid = grid_points(box_of(bounds, clouds), resolution)
    values = predicted_outputs(model, np.concatenate([grid, clouds]))
    if values.shape[1] != 1:
        raise ValueError(f"Expected a model with one output, the potential. Received: {values.shape[1]}")
    field, high, low = np.split(values[:, 0], [len(grid), len(grid) + len(x)])
    return PotentialField(
        name=model.name if name is None else name,
        x0=x0,
        x1=x1,
        potential=field.reshape(resolution, resolution),
        x=x,
        y=y,
        estimate=float(high.mean() - low.mean()),
    )


# --- solvers ---


def _plan(costs, a, b):
    """Optimal plan for masses that are all positive: pairs (i, j) of shape (pairs, 2), and the mass of each."""
    emd = _network_simplex()
    if emd is not None:
        plan, log = emd(a, b, costs, numItermax=10**9, log=True)
        if log["warning"] is not None:
            raise ValueError(f"The optimal transport could not be computed: {log['warning']}")
    elif len(a) == len(b) and np.ptp(a) == np.ptp(b) == 0:
        rows, columns = linear_sum_assignment(costs)
        plan = sp.csr_array((a, (rows, columns)), shape=costs.shape).toarray()
    else:
        plan = _program(costs, a, b)
    pairs = np.argwhere(plan > _SMALLEST)
    masses = plan[pairs[:, 0], pairs[:, 1]]
    return pairs, masses / masses.sum()


@functools.cache
def _network_simplex():
    """`ot.emd` of POT, or None where it is not installed."""
    # POT imports every deep learning framework that is installed. Here it only needs NumPy.
    names = [f"POT_BACKEND_DISABLE_{name}" for name in ("PYTORCH", "JAX", "CUPY", "TENSORFLOW")]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of POT's source when it compiles it
            from ot import emd
    except ImportError:
        return None
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return emd


def _program(costs, a, b):
    """The plan as the solution of a linear program, one unknown for each pair of points."""
    rows, columns = costs.shape
    if costs.size > _UNKNOWNS:
        raise ImportError(
            f"Clouds of {rows} and {columns} weighted or unequal points need the package POT. Without it, up to "
            f"{_UNKNOWNS} pairs of points, or as many points of equal weight in both clouds. "
            f"Type: {_extras.command('transport')}"
        )
    out = sp.kron(sp.eye_array(rows), np.ones((1, columns)))
    into = sp.kron(np.ones((1, rows)), sp.eye_array(columns))
    # The last sum follows from the others; with it, rounding could make the program infeasible.
    sums, masses = sp.vstack([out, into], format="csc")[:-1], np.concatenate([a, b])[:-1]
    found = linprog(costs.ravel(), A_eq=sums, b_eq=masses, method="highs-ds")
    if found.x is None:
        raise ValueError(f"The optimal transport could not be computed: {found.message}")
    return found.x.reshape(rows, columns)


# --- clouds and masses ---


def as_cloud(points: ArrayLike, name: str) -> Array:
    """A cloud as float64 of shape (n, d); errors call it by `name`."""
    points = as_float64(points, f"The cloud {name}")
    if points.ndim < 1 or points.size == 0:
        raise ValueError(f"The cloud {name} must have the shape (n, d), with at least one. Received: {points.shape}")
    return points.reshape(len(points), -1)


def _masses(weights, *counts):
    """Masses of both clouds; the sum of each is 1."""
    if weights is None:
        weights = (None, None)
    if not isinstance(weights, tuple | list) or len(weights) != 2:
        raise ValueError("`weights` must be a pair: masses of x, masses of y. Received: " + type(weights).__name__)
    found = []
    for values, count in zip(weights, counts, strict=True):
        values = np.ones(count) if values is None else as_float64(values, "The weights")
        if values.shape != (count,) or (values < 0).any() or not values.sum() > 0:
            raise ValueError(
                f"Expected weights of shape ({count},), at least 0 and not all 0. Received shape: {values.shape}, "
                f"from {values.min(initial=math.inf):.3g} to {values.max(initial=-math.inf):.3g}"
            )
        found.append(values / values.sum())
    return found
