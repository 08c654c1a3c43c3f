"""A network on the plane: its logits, decisions and certified radii on a grid, and its linear regions."""

import dataclasses
import math
import numbers

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.certification.certificate import Certificate
from lipviz.certification.classifiers import LOOKED_THROUGH, logits_model
from lipviz.certification.radii import certified_radius
from lipviz.certification.results import CertifiedRadii
from lipviz.certification.scores import class_numbers, decisions, logits
from lipviz.measure.saliency_maps import input_gradients
from lipviz.operators.precision import check_varies
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike

_ROWS = 2**15  # points at a time
_MARGIN = 0.15  # of the extent of the samples, around them
_TOLERANCE = 1e-9  # relative to the largest: float64 values that differ by less count as equal


# --- results ---


@dataclasses.dataclass(frozen=True, eq=False)
class DecisionField:
    """The decisions of a classifier of points of the plane, on a grid.

    Attributes:
        name: Name of the network.
        x0: First coordinates of the grid, ascending, of shape (columns,).
        x1: Second coordinates, ascending, of shape (rows,).
        logits: At the grid points, of shape (rows, columns, C), in the precision that the model computes in.
        predicted: Predicted class, of shape (rows, columns); 0 or 1 with one logit.
        margins: Largest logit minus the second largest, or the magnitude of a single one, of shape (rows, columns).
        points: Samples, of shape (n, 2); None where none were given.
        labels: Their classes, of shape (n,); None where they are not known.
        certified: `CertifiedRadii` of the samples; None without a constant.
    """

    name: str
    x0: np.ndarray = dataclasses.field(repr=False)
    x1: np.ndarray = dataclasses.field(repr=False)
    logits: np.ndarray = dataclasses.field(repr=False)
    predicted: np.ndarray = dataclasses.field(repr=False)
    margins: np.ndarray = dataclasses.field(repr=False)
    points: np.ndarray | None = dataclasses.field(repr=False)
    labels: np.ndarray | None = dataclasses.field(repr=False)
    certified: CertifiedRadii | None = dataclasses.field(repr=False)

    @property
    def classes(self) -> int:
        """Number of classes; two with one logit."""
        return max(2, self.logits.shape[2])

    @property
    def radii(self) -> Array | None:
        """Certified radius of each sample, of shape (n,); None without a constant."""
        return None if self.certified is None else self.certified.radii


@dataclasses.dataclass(frozen=True, eq=False)
class LinearRegions:
    """The regions of the plane on which a piecewise linear network is affine, as found on a grid.

    Attributes:
        name: Name of the network.
        x0: First coordinates of the grid, ascending, of shape (columns,).
        x1: Second coordinates, ascending, of shape (rows,).
        labels: Number of the region of each grid point, of shape (rows, columns); the largest region is number 0.
        shares: Share of the grid points in each region, descending, of shape (count,).
        slopes: Largest singular value of the Jacobian in each region, of shape (count,).
    """

    name: str
    x0: np.ndarray = dataclasses.field(repr=False)
    x1: np.ndarray = dataclasses.field(repr=False)
    labels: np.ndarray = dataclasses.field(repr=False)
    shares: np.ndarray = dataclasses.field(repr=False)
    slopes: np.ndarray = dataclasses.field(repr=False)

    @property
    def count(self) -> int:
        """Number of different affine maps on the grid: a lower bound of the number of regions."""
        return len(self.shares)


# --- measurements ---


def decision_field(
    model: keras.Model,
    bounds: ArrayLike | None = None,
    resolution: int = 150,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    constant: Certificate | ArrayLike | None = None,
    name: str | None = None,
) -> DecisionField:
    """Evaluate a classifier of points of the plane on a grid, and certify samples.

    The compiled `predict_on_batch` of the model computes the grid, in batches of at most 32,768 points. A model that
    ends with a softmax or sigmoid is copied for its logits (`logits_model`), which takes longer.

    Args:
        model: Built Keras model, of lipviz or plain, with inputs of shape (batch, 2) and outputs of shape (batch, C).
            With C = 1 the sign of the logit decides.
        bounds: ((lowest, highest) of the first coordinate, those of the second), in the model's units; by default the
            box around the samples and 15 % more on each side, or ±2 without samples.
        resolution: Number of grid points along each axis, at least 2.
        x: Samples of shape (n, 2), optional.
        y: Their labels, see `certified_radius`, optional.
        constant: Lipschitz constant that certifies radii of the samples: a positive number, for all outputs together
            in the l2 norm; a `Certificate`; or the array of `pairwise_bounds`, which gives larger radii. None
            certifies no radii.
        name: Name for titles; that of the model by default.

    Returns:
        A `DecisionField`.

    Raises:
        TypeError: If `model` is no Keras model, or an array does not hold real numbers.
        ValueError: If the model is not built or of other shapes, gives NaN or Inf, or an argument is out of range.
    """
    check_planar(model)
    points = None if x is None else planar(x, "The samples")
    if y is not None and points is None:
        raise ValueError("Expected samples `x` with the labels `y`. Received: x=None")
    x0, x1, grid = grid_points(box_of(bounds, points), resolution)
    scores = predicted_outputs(model, grid)
    count = scores.shape[1]
    labels = certified = None
    if points is not None:
        labels = None if y is None else class_numbers(y, len(points), count)
        if constant is not None:
            certified = certified_radius(model, points, labels, bounds=_pairwise(constant, count))
    if count == 1:
        margins = np.abs(scores[:, 0])
    else:
        second, largest = np.partition(scores, (-2, -1), axis=1)[:, -2:].T
        margins = largest - second
    shape = (resolution, resolution)
    return DecisionField(
        name=model.name if name is None else name,
        x0=x0,
        x1=x1,
        logits=scores.reshape(*shape, count),
        predicted=decisions(scores).reshape(shape),
        margins=margins.reshape(shape),
        points=points,
        labels=labels,
        certified=certified,
    )


def linear_regions(
    model: keras.Model,
    bounds: ArrayLike = ((-2.0, 2.0), (-2.0, 2.0)),
    resolution: int = 150,
    name: str | None = None,
    seed: int | None = 0,
) -> LinearRegions:
    """Find the regions of the plane on which a network of piecewise linear activations is affine.

    At each point of a grid the gradient g and the offset c of a random mixture of the logits, g·x + c, are computed in
    float64. Points with the same g and c count as one region. Regions smaller than the grid's cells may be missed, and
    regions with the same affine map, such as two where all ReLUs are off, count once: the number is a lower bound. The
    grid is shifted by about 1 % of a cell, so that it does not lie on kinks such as the axes.

    Args:
        model: Built Keras model with inputs of shape (batch, 2) and outputs of shape (batch, C); a softmax or sigmoid
            at the end is left out.
        bounds: ((lowest, highest) of the first coordinate, those of the second).
        resolution: Number of grid points along each axis, at least 2.
        name: Name for titles; that of the model by default.
        seed: Seed of the mixture; None draws another one each time.

    Returns:
        A `LinearRegions`.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If the model is not built or of other shapes, or its activations are not piecewise linear, such as
            tanh; if weights are not finite, or an argument is out of range.
    """
    check_planar(model)
    rng = np.random.default_rng(nm.check_seed("seed", seed))
    box = box_of(bounds, None)
    x0, x1, _ = grid_points(box, resolution)
    extent = box[:, 1] - box[:, 0]
    shift = extent / resolution * np.array([math.sqrt(2), -math.sqrt(3)]) / 150
    x0, x1 = x0 + shift[0], x1 + shift[1]
    grid = _crossed(x0, x1)
    network = logits_model(model)
    count = logits(network, grid[:1]).shape[1]
    mixture = rng.standard_normal(count)
    size = np.abs(box).max()
    maps = _affine_maps(network, grid, mixture, size)
    # Smooth activations change their gradient with every step; piecewise linear ones at borders only.
    changes = np.abs(_affine_maps(network, grid + 1e-5 * extent, mixture, size) - maps).max(axis=1)
    scale = np.abs(maps).max() or 1.0
    if np.mean(changes > _TOLERANCE * scale) > 0.5:
        raise ValueError(
            "Expected a network of piecewise linear activations, such as ReLU or GroupSort2. "
            f"Received: '{model.name}', whose gradient changes everywhere"
        )
    labels, shares, first = _grouped(maps / scale @ rng.standard_normal(3))
    rows = input_gradients(network, np.repeat(grid[first], count, axis=0), np.tile(np.eye(count), (len(first), 1)))
    slopes = np.linalg.norm(rows.reshape(-1, count, 2), 2, axis=(1, 2))
    labels = labels.reshape(resolution, resolution)
    return LinearRegions(model.name if name is None else name, x0, x1, labels, shares, slopes)


def _affine_maps(network, grid, mixture, size):
    """Gradient times the size of the plane, and offset, of a mixture of the logits at each point: (n, 3)."""
    gradients = input_gradients(network, grid, np.tile(mixture, (len(grid), 1)))
    offsets = logits(network, grid) @ mixture - np.sum(gradients * grid, axis=1)
    return np.column_stack([size * gradients, offsets])


def _grouped(values):
    """Groups of equal values, largest group first: the label of each, the share of each, and a member of each."""
    order = np.argsort(values)
    jumps = np.diff(values[order]) > _TOLERANCE
    labels = np.empty(len(values), np.int64)
    labels[order] = np.concatenate([[0], np.cumsum(jumps)])
    counts = np.bincount(labels)
    by_size = np.argsort(-counts, kind="stable")
    rank = np.empty_like(by_size)
    rank[by_size] = np.arange(len(by_size))
    labels = rank[labels]
    _, first = np.unique(labels, return_index=True)
    return labels, counts[by_size] / len(values), first


# --- networks on the plane ---


def check_planar(model: keras.Model) -> None:
    """Check that a model is a built Keras model of points of the plane.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it is not built, or its inputs are not of shape (batch, 2) or no floating-point numbers.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a Keras model. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"Model '{model.name}' must be built before it is measured: call it on data, or `build` it.")
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    if shapes and (len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] not in (None, 2)):
        raise ValueError(f"Expected a model with inputs of shape (batch, 2). Received: '{model.name}' with {shapes}")
    check_varies(model)


def planar(x: ArrayLike, owner: str) -> Array:
    """Samples as finite float64 of shape (n, 2).

    Raises:
        TypeError: If they are not real numbers.
        ValueError: If there is no sample, one is not finite, or the shape is another.
    """
    x = as_float64(x, owner)
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise ValueError(f"{owner} must have the shape (n, 2), with at least one. Received shape: {x.shape}")
    return x


def grid_points(box: Array, resolution: int) -> tuple[Array, Array, Array]:
    """Coordinates of a grid along both axes, and its points row by row, of shape (resolution², 2).

    Raises:
        ValueError: If the resolution is no whole number of at least 2.
    """
    if nm.check_count("resolution", resolution) < 2:
        raise ValueError(f"`resolution` must be at least 2. Received: resolution={resolution}")
    x0, x1 = (np.linspace(low, high, resolution) for low, high in box)
    return x0, x1, _crossed(x0, x1)


def _crossed(x0, x1):
    return np.stack(np.meshgrid(x0, x1), axis=-1).reshape(-1, 2)


def box_of(bounds: ArrayLike | None, points: Array | None) -> Array:
    """Bounds as an array ((low, high), (low, high))."""
    if bounds is not None:
        box = as_float64(bounds, "`bounds`")
        if box.shape != (2, 2) or (box[:, 0] >= box[:, 1]).any():
            raise ValueError(f"`bounds` must be ((lowest, highest), (lowest, highest)). Received: {bounds!r}")
        return box
    if points is None:
        return np.array([[-2.0, 2.0], [-2.0, 2.0]])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * (max(high - low) or 1.0)
    return np.stack([low - margin, high + margin], axis=1)


def predicted_outputs(model: keras.Model, points: Array) -> Array:
    """Logits of a model at points, of shape (n, C), by its compiled prediction.

    Raises:
        ValueError: If it has several outputs, an output of another rank, or outputs that are NaN or Inf.
    """
    if _is_squashed(model):
        return logits(logits_model(model), points)
    points = points.astype("float64" if model.compute_dtype == "float64" else "float32")
    parts = [model.predict_on_batch(part) for part in np.array_split(points, -(-len(points) // _ROWS))]
    if isinstance(parts[0], list | tuple | dict) or np.ndim(parts[0]) != 2:
        kind = f"{len(parts[0])} outputs" if isinstance(parts[0], list | tuple | dict) else f"shape {parts[0].shape}"
        raise ValueError(f"Expected a model with one output of shape (batch, C). Received: {kind}")
    return as_float64(np.concatenate(parts), f"The outputs of '{model.name}'")


def _is_squashed(model):
    """Whether a softmax or sigmoid may end a model; `logits_model` then finds out exactly."""
    last = model
    while isinstance(last, keras.Model) and last.layers:
        last = last.layers[-1]
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) in LOOKED_THROUGH


def _pairwise(constant, count):
    """Lipschitz constants of the differences of logits, of shape (C, C), from a `constant` of any kind."""
    if isinstance(constant, Certificate):
        if constant.norm != 2:
            raise ValueError(f"Expected a certificate in the l2 norm. Received: norm {constant.norm}")
        constant = constant.upper_bound
        if constant == math.inf:
            raise ValueError("Expected a certificate with a finite bound. Received: an infinite one")
    elif not isinstance(constant, numbers.Real) and np.ndim(constant):
        return constant
    else:
        constant = nm.check_positive("constant", constant)
    if count == 1:
        return np.full((1, 1), constant)
    return math.sqrt(2) * constant * (1 - np.eye(count))
