"""Bounds of the first steps of a model, against their number: by the product, by several steps together, by search."""

import dataclasses
from typing import Any

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.certification.graph import Trace, check_certifiable, input_flows
from lipviz.certification.tight import Method, tighter
from lipviz.certification.upper_bounds import certify, check_method, constant_of
from lipviz.operators.precision import float64_copy, float64_scope
from lipviz.rules.bound import check_norm
from lipviz.types import Array, ArrayLike, Norm, Shape


@dataclasses.dataclass(frozen=True, eq=False)
class DepthBounds:
    """Bounds of the Lipschitz constants of the first d steps of a model, for d = 0, …, D.

    The first d steps map the input to what step d returns. In a model with branches, that is the value of one branch.

    Attributes:
        model: Name of the model.
        steps: Names of its D layers and operations, in the order of computation.
        product: Upper bounds from those of single steps, of shape (D + 1,); infinite behind a step without a bound.
        together: Upper bounds where several steps are bounded together, of shape (D + 1,), at most `product`.
        found: Largest ratios ‖f(x) − f(y)‖ / ‖x − y‖ that searches found, of shape (D + 1,); 0 where no search is
            possible; None without searches.
        norm: 1, 2 or `math.inf`: the norm of inputs and of outputs.
        method: What was bounded together, see `certify`.
        notes: Remarks for the reader, whole sentences.
    """

    model: str
    steps: tuple[str, ...]
    product: np.ndarray = dataclasses.field(repr=False)
    together: np.ndarray = dataclasses.field(repr=False)
    found: np.ndarray | None = dataclasses.field(repr=False)
    norm: float
    method: Method
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def excess(self) -> Array:
        """How many times larger the product is than the bound of several steps together, of shape (D + 1,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = self.product / self.together
        return np.where(self.product == self.together, 1.0, quotient)

    @property
    def losses(self) -> Array:
        """Factor by which each step makes `excess` larger, of shape (D,): 1 where the product loses nothing."""
        excess = self.excess
        with np.errstate(invalid="ignore"):
            return np.where(excess[1:] == excess[:-1], 1.0, excess[1:] / excess[:-1])


def depth_bounds(
    model: keras.layers.Layer,
    input_shape: Shape | None = None,
    *,
    norm: Norm = 2,
    method: Method = "auto",
    search: bool = False,
    samples: ArrayLike | None = None,
    seed: int | None = 0,
) -> DepthBounds:
    """Bound the Lipschitz constant of the first d steps of a model, for each d.

    The graph is followed once. The bound of several steps together is computed for each depth. It is at most the one
    that `certify` finds for the part of the model that ends there.

    Args:
        model: See `certify`.
        input_shape: See `certify`.
        norm: 1, 2 or "inf".
        method: "auto" or "tight", see `certify`. With "tight", each depth can take seconds.
        search: Whether to search for a large ratio at each depth. It is possible where `certify` searches, and takes
            about a second for each depth.
        samples: Inputs of shape (n, ...) that the searches start from; standard normal by default.
        seed: Seed of the searches; None draws anew in every call.

    Returns:
        A `DepthBounds`.

    Raises:
        TypeError: See `certify`.
        ValueError: See `certify`.
    """
    norm, seed, method = check_norm(norm), nm.check_seed("seed", seed), check_method(method)
    check_certifiable(model)
    inputs, trace = input_flows(model, input_shape), Trace(norm, method == "tight")
    outputs = trace.follow(model, inputs)
    product = [1.0, *(constant_of([flow.gains for flow in leaving], norm) for _, leaving in trace.visits)]
    together, why_not = tighter(trace, inputs, outputs, method, everywhere=True)
    bounds = product
    if together is not None:
        bounds = [1.0, *(constant_of(map(together.gains_of, leaving), norm) for _, leaving in trace.visits)]
    notes = (f"Nothing is bounded together: {why_not}.",) if why_not else ()
    found = None
    if search:
        settings = {"norm": norm, "method": method, "samples": samples, "seed": seed}
        found, why = _searched(model, input_shape, settings)
        notes += why
    return DepthBounds(
        model=model.name,
        steps=tuple(step.op.name for step, _ in trace.visits),
        product=np.array(product),
        together=np.minimum(product, bounds),
        found=found,
        norm=norm,
        method=method,
        notes=notes,
    )


def _searched(model, input_shape, settings):
    """Ratios for all depths, of shape (D + 1,), or None; and the notes of `certify` on the whole model."""
    whole = certify(model, input_shape, **settings)
    if not whole.lower_bound:
        return None, whole.notes
    parts = [certify(part, **settings).lower_bound for part in prefixes(model, input_shape)[:-1]]
    return np.array([1.0, *parts, whole.lower_bound]), whole.notes


def prefixes(model: keras.Model, input_shape: Shape | None = None) -> list[keras.Model]:
    """The parts of a model of one input that end at each of its steps, in float64.

    Args:
        model: Built Keras model.
        input_shape: See `certify`.

    Returns:
        A list of functional models. They share layers with each other, and nothing with the model.
    """
    copy = float64_copy(model)  # calls add to the graph of a layer, so none may be a layer of the model
    (entering,) = keras.tree.flatten(input_flows(copy, input_shape))
    trace = Trace(2, only_graph=True)
    trace.follow(copy, entering)
    with float64_scope():
        entry = keras.Input(entering.shape[1:], dtype=entering.tensor.dtype)
        values: dict[int, Any] = {id(entering): entry}
        ends = [_called(step, leaving, values, trace.same) for step, leaving in trace.visits]
        return [keras.Model(entry, end, name=f"part_{depth}") for depth, end in enumerate(ends, 1)]


def _called(step, leaving, values, same):
    """Call a step on symbolic tensors, and note what it returns."""

    def value(leaf):
        while id(leaf) in same:
            leaf = same[id(leaf)]
        return values.get(id(leaf), leaf)

    args, kwargs = keras.tree.map_structure(value, (step.args, step.kwargs))
    returned = step.op(*args, **kwargs)
    values |= dict(zip(map(id, leaving), keras.tree.flatten(returned), strict=True))
    return returned
