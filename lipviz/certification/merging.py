"""Rules of layers with several inputs, such as sums and concatenations, and of operations, such as `x + y`.

Each value of the graph has a vector v of gains, with an entry for each input of the model: if the inputs change by δ_i
in norm, the value changes by at most Σ v_i δ_i. The gains of a sum are the sum of the gains of its terms. The gains of
a concatenation are the root of the sum of their squares (Minkowski), in l∞ the largest, and in l1 the sum.
"""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from lipviz import layers as lip
from lipviz.certification.constants import why_not_finite
from lipviz.certification.sizes import Shapes, are_one_together
from lipviz.operators.used_weights import residual_shares
from lipviz.rules import activations
from lipviz.rules.algebra import computes_as
from lipviz.rules.bound import ISOMETRY, Bound, exactly, not_rounded_to_0, root_of_squares, unknown
from lipviz.rules.functions import largest_slope, named_function, softmax_bound
from lipviz.rules.used import as_float64, largest_rounding, roundings
from lipviz.types import Array, Shape


@dataclasses.dataclass(frozen=True, eq=False)
class Flow:
    """A value of a model's graph.

    Attributes:
        tensor: Symbolic tensor: its shape, with the batch, and its dtype.
        gains: How much a change of each of the model's inputs changes it, of shape (inputs,). Where rounding is
            followed, two more entries a and b: in float64, the value has an error of at most a + b‖x‖.
        at_zero: Where rounding is followed, the value itself where all inputs are 0, a tensor.
        mask: The mask that Keras passes on with the value, a symbolic tensor; None where there is none.
        shapes: Its `lipviz.certification.sizes.Shapes`; None where they are not needed.
    """

    tensor: keras.KerasTensor
    gains: Array
    at_zero: Any = None
    mask: Any = None
    shapes: Shapes | None = None

    @property
    def shape(self) -> Shape:
        return tuple(self.tensor.shape)

    @property
    def size(self) -> int | None:
        """Number of entries of a sample; None where it is not known."""
        sizes = self.shape[1:]
        known = [size for size in sizes if size is not None]
        return math.prod(known) if len(known) == len(sizes) else None


@dataclasses.dataclass(frozen=True)
class Merged:
    """The result of the rule of a node.

    Attributes:
        gains: Gains of the node's output.
        bound: Constant of the node with respect to all its inputs together, for the table.
    """

    gains: Array
    bound: Bound

    def without_singular_values(self) -> "Merged":
        """A copy whose singular values are not known."""
        return Merged(self.gains, dataclasses.replace(self.bound, singular_values=None))


def _combined(flows, factors, norm):
    """Gains of a concatenation of several values, each times a factor."""
    together = np.stack([times(flow.gains, factor) for flow, factor in zip(flows, factors, strict=True)])
    if norm == 2:
        return root_of_squares(together, axis=0)
    return together.max(axis=0) if norm == math.inf else together.sum(axis=0)


def _weighted(flows, factors, norm, method):
    """Result for a sum of values, each times a factor. Its constant is the dual norm of the factors."""
    parts = (times(flow.gains, factor) for factor, flow in zip(factors, flows, strict=True))
    gains = sum(parts, np.zeros_like(flows[0].gains))
    root = math.sqrt(sum(f * f for f in factors))
    dual = {1: max(factors), 2: root, math.inf: sum(factors)}[norm]
    return Merged(gains, exactly(dual, method, (root, root)))


# Rules of layers: functions of (layer, flows, factors by which broadcasting stretches them, norm).


def _sum(layer, flows, factors, norm):
    return _weighted(flows, factors, norm, "sum")


def _average(layer, flows, factors, norm):
    return _weighted(flows, [factor / len(flows) for factor in factors], norm, "mean")


def _side_by_side(layer, flows, factors, norm):
    axis = getattr(layer, "axis", -1)
    if axis % max(len(flows[0].shape), 1) == 0:
        raise UnboundedError("it joins along the batch")
    return Merged(_combined(flows, factors, norm), exactly(1.0, "concatenation", ISOMETRY))


def _extremum(layer, flows, factors, norm):
    """Entry by entry, the maximum changes by no more than the larger of the changes."""
    return Merged(_combined(flows, factors, norm), exactly(max(factors), "maximum", ISOMETRY))


def _residual(layer, flows, factors, norm):
    shares = [share * factor for share, factor in zip(residual_shares(layer), factors, strict=True)]
    return _weighted(flows, shares, norm, "convex combination")


class UnboundedError(Exception):
    """A node has no bound; the message says why."""


def _or_infinite(function, *args, flows):
    """Result of a rule, or infinite gains with the reason why there is none."""
    try:
        return function(*args)
    except UnboundedError as reason:
        return Merged(np.full_like(flows[0].gains, math.inf), unknown(str(reason)))


MERGES = {
    keras.layers.Add: _sum,
    keras.layers.Subtract: _sum,
    keras.layers.Average: _average,
    keras.layers.Concatenate: _side_by_side,
    keras.layers.Maximum: _extremum,
    keras.layers.Minimum: _extremum,
    lip.LipResidual: _residual,
}


_WHOLE_MERGES = (keras.layers.Concatenate, keras.layers.Maximum, keras.layers.Minimum)  # they compute no new numbers


def merge(layer: keras.layers.Layer, flows: list[Flow], norm: float) -> Merged:
    """Gains of the output of a layer of several inputs.

    Args:
        layer: Keras layer.
        flows: List of `Flow`.
        norm: 1, 2 or `math.inf`.

    Returns:
        A `Merged`, infinite for a layer that is not known.
    """
    return _or_infinite(_merge, layer, flows, norm, flows=flows)


def _merge(layer, flows, norm):
    if not all(keras.backend.is_float_dtype(flow.tensor.dtype) for flow in flows) and not isinstance(
        layer, _WHOLE_MERGES
    ):
        raise UnboundedError("it computes with whole numbers, which wrap around: convert them to floating point before")
    if not keras.backend.is_float_dtype(layer.compute_dtype):
        raise UnboundedError(f"it rounds to {layer.compute_dtype}, which is not continuous")
    for cls, rule in MERGES.items():
        if isinstance(layer, cls) and computes_as(layer, cls):
            if rule is _side_by_side:
                return rule(layer, flows, [1.0] * len(flows), norm)
            shape = tuple(layer.compute_output_spec([flow.tensor for flow in flows]).shape)
            merged = rule(layer, flows, _copies(flows, shape, norm), norm)
            is_broadcast = any(flow.shape != shape for flow in flows)
            return merged.without_singular_values() if is_broadcast else merged
    raise UnboundedError(f"no rule for {type(layer).__name__}")


def _copies(flows, shape, norm):
    """Factors by which broadcasting to a shape stretches several values, since it copies their entries."""
    for axis, size in enumerate(shape[1:], 1):
        unknown_here = [flow for flow in flows if len(flow.shape) == len(shape) and flow.shape[axis] is None]
        if size is None and not all(_is_one_size(unknown_here[0], flow, axis - 1) for flow in unknown_here[1:]):
            raise UnboundedError(
                "it adds or compares values whose sizes are not known, and may differ, so that one is broadcast: "
                "certify it with an `input_shape` without None"
            )
    return [_copied(flow, shape, norm) for flow in flows]


def _is_one_size(first, second, axis):
    return first is second or (
        None not in (first.shapes, second.shapes) and are_one_together(first.shapes, second.shapes, axis)
    )


def _copied(flow, shape, norm):
    if flow.shape == shape:
        return 1.0
    pairs = list(zip(flow.shape[1:], shape[1:], strict=False))
    fits = all(a == b or (a == 1 and b is not None) for a, b in pairs)
    if len(flow.shape) != len(shape) or flow.shape[0] != shape[0] or not fits:
        raise UnboundedError(f"it broadcasts {flow.shape} to {shape}")
    copies = math.prod(b for a, b in pairs if a != b)
    return {1: float(copies), 2: math.sqrt(copies), math.inf: 1.0}[norm]


# --- operations of keras.ops, by the name of their class ---

_SAME_ENTRIES = (
    "Reshape",
    "Ravel",
    "Transpose",
    "Swapaxes",
    "Moveaxis",
    "ExpandDims",
    "Squeeze",
    "Flip",
    "Roll",
    "Copy",
)
_ONE_LIPSCHITZ = (
    "Absolute",
    "Abs",
    "Negative",
    "Sin",
    "Cos",
    "Arctan",
    "StopGradient",
)


def operate(
    operation: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, norm: float
) -> Merged:
    """Gains of the output of an operation of `keras.ops`.

    Args:
        operation: `keras.Operation`.
        args: Its positional arguments, with a `Flow` for each tensor of the graph.
        kwargs: Its keyword arguments.
        output: What it returns, symbolic tensors.
        norm: 1, 2 or `math.inf`.

    Returns:
        A `Merged`, infinite where the operation or its use is not known, or a constant is not finite.
    """
    flows = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, Flow)]
    return _or_infinite(_operate, operation, flows, args, kwargs, keras.tree.flatten(output)[0], norm, flows=flows)


def _operate(operation, flows, args, kwargs, output, norm):
    name = type(operation).__name__
    rule = OPERATIONS.get(name)
    if not type(operation).__module__.startswith("keras.") or rule is None:
        raise UnboundedError(f"the operation {name} is not known")
    if not all(keras.backend.is_float_dtype(flow.tensor.dtype) for flow in flows):
        converts = name in _CONVERTING and keras.backend.is_float_dtype(output.dtype)
        if name not in _WHOLE and not converts:
            raise UnboundedError("it computes with whole numbers, which wrap around: convert them before")
    constants = [leaf for leaf in keras.tree.flatten((args, kwargs)) if not isinstance(leaf, Flow)]
    why = why_not_finite(operation, constants, keras.backend.standardize_dtype(output.dtype))
    if why is not None:
        raise UnboundedError(why)
    return rule(operation, flows, args, output, norm)


def _scaled(flow, bound):
    return Merged(times(flow.gains, bound.upper), bound)


def times(gains: Array, upper: float | Array) -> Array:
    """Gains times the upper bound of a step; 0 where either is 0, even if the other is infinite."""
    counts = (gains != 0) & (np.asarray(upper) != 0)
    with np.errstate(over="ignore", under="ignore"):
        products = np.multiply(gains, upper, out=np.zeros(counts.shape), where=counts)
    return np.where(counts, not_rounded_to_0(products), 0.0)


def _rearranged(operation, flows, args, output, norm):
    (flow,) = flows
    before, after = flow.size, _size(output)
    keeps_batch = tuple(output.shape)[:1] == flow.shape[:1] and not _moves_batch(operation, flow)
    if not keeps_batch or before is None or before != after:
        raise UnboundedError("it may mix samples of a batch, or its size is not known")
    return _scaled(flow, exactly(1.0, "same entries"))


def _moves_batch(operation, flow):
    """Whether an operation touches the first axis."""
    name = type(operation).__name__
    rank = len(flow.shape)
    if name == "Transpose":
        return operation.axes is None or operation.axes[0] % rank != 0
    if name == "Swapaxes":
        return 0 in (operation.axis1 % rank, operation.axis2 % rank)
    if name == "Moveaxis":
        places = [*np.atleast_1d(operation.source), *np.atleast_1d(operation.destination)]
        return any(int(place) % rank == 0 for place in places)
    if name in ("Flip", "Roll"):
        return operation.axis is None or any(int(axis) % rank == 0 for axis in np.atleast_1d(operation.axis))
    if name == "ExpandDims":
        return any(int(axis) % (rank + 1) == 0 for axis in np.atleast_1d(operation.axis))
    if name == "Reshape":  # the size shows whether (-1, n) keeps samples apart: each must have n entries
        return False
    return name == "Ravel"


def _size(tensor):
    sizes = tuple(tensor.shape)[1:]
    return None if None in sizes else math.prod(sizes)


def _slope(operation, flows, args, output, norm):
    (flow,) = flows
    return _scaled(flow, named_function(activations.OPERATIONS[type(operation).__name__], flow.shape[1:], norm))


def _one_lipschitz(operation, flows, args, output, norm):
    (flow,) = flows
    return _scaled(flow, exactly(1.0, "largest slope"))


def _leaky(operation, flows, args, output, norm):
    (flow,) = flows
    return _scaled(flow, largest_slope(1.0, float(largest_rounding(operation.negative_slope, output.dtype))))


def _elu(operation, flows, args, output, norm):
    (flow,) = flows
    return _scaled(flow, largest_slope(1.0, float(largest_rounding(operation.alpha, output.dtype))))


def _relu(operation, flows, args, output, norm):
    (flow,) = flows
    if operation.threshold:
        raise UnboundedError("a ReLU with a threshold is not continuous there")
    return _scaled(flow, largest_slope(1.0, float(largest_rounding(operation.negative_slope, output.dtype))))


def _soft_shrink(operation, flows, args, output, norm):
    (flow,) = flows
    if not operation.threshold >= 0:
        raise UnboundedError("with a negative threshold it is not continuous")
    return _scaled(flow, exactly(1.0, "largest slope"))


def _squareplus(operation, flows, args, output, norm):
    (flow,) = flows
    if not operation.b >= 0:
        raise UnboundedError("its slope is not bounded where x² + b is 0, for b < 0")
    return _scaled(flow, exactly(1.0, "largest slope"))


def _clipped(operation, flows, args, output, norm):
    (flow,) = flows
    if np.ndim(operation.x_min) or np.ndim(operation.x_max):
        raise UnboundedError("it clips at arrays, with which the value may be broadcast")
    return _scaled(flow, exactly(1.0, "largest slope"))


def _softmax(operation, flows, args, output, norm):
    (flow,) = flows
    axis = operation.axis
    if not isinstance(axis, int) or axis % len(flow.shape) == 0:
        raise UnboundedError("a softmax along the batch")
    return _scaled(flow, softmax_bound([flow.shape[axis]]))


def _cast(operation, flows, args, output, norm):
    (flow,) = flows
    if "float" not in str(output.dtype):
        raise UnboundedError(f"a conversion to {output.dtype} is not continuous")
    return _scaled(flow, exactly(1.0, "conversion"))


def _sliced(operation, flows, args, output, norm):
    (flow,) = flows
    key = args[1] if len(args) > 1 else None
    key = tuple(key) if isinstance(key, tuple | list) else (key,)  # a copy by its configuration has a list
    selects = [part for part in key if not (part is Ellipsis or part is None)]
    plain = all(isinstance(part, slice | int) and not isinstance(part, bool) for part in selects)
    all_samples = isinstance(key[0], slice) and key[0] == slice(None)
    if not plain or not (all_samples or (key[0] is Ellipsis and len(selects) < len(flow.shape))):
        raise UnboundedError("it selects along the batch, or by an array")
    return _scaled(flow, Bound(0.0, 1.0, "selection"))


def _split(operation, flows, args, output, norm):
    (flow,) = flows
    if operation.axis % len(flow.shape) == 0:
        raise UnboundedError("it splits the batch")
    return _scaled(flow, exactly(1.0, "selection"))


def _reduced(operation, flows, args, output, norm):
    """Sum or mean over n entries: its matrix has rows of n ones, or of n times 1/n."""
    (flow,) = flows
    axes = operation.axis
    rank = len(flow.shape)
    if axes is None or any(int(axis) % rank == 0 for axis in np.atleast_1d(axes)):
        raise UnboundedError("it reduces along the batch")
    sizes = [flow.shape[int(axis)] for axis in np.atleast_1d(axes)]
    if None in sizes:
        raise UnboundedError("it reduces over a size that is not known")
    count = math.prod(sizes)
    total = {1: 1.0, 2: math.sqrt(count), math.inf: float(count)}[norm]
    name = type(operation).__name__
    if name in ("Max", "Min"):
        return _scaled(flow, exactly(1.0, "maximum"))
    return _scaled(flow, exactly(total if name == "Sum" else total / count, name.lower()))


def _added(operation, flows, args, output, norm):
    """Sum or difference of two values, or of a value and a constant, which is a shift."""
    factors = _copies(flows, tuple(output.shape), norm)
    if len(flows) > 1:
        return _sum(operation, flows, factors, norm)
    return _scaled(flows[0], exactly(factors[0], "shift"))


def _multiplied(operation, flows, args, output, norm):
    if len(flows) != 1 or len(args) != 2:
        raise UnboundedError("a product of two values has no global bound")
    by, of = (args[1], args[0]) if isinstance(args[0], Flow) else (args[0], args[1])
    divides = type(operation).__name__ in ("Divide", "TrueDivide")
    if divides and not isinstance(args[0], Flow):
        raise UnboundedError("a division by a value has no global bound")
    factors = np.abs(roundings(as_float64(by, "A factor"), keras.backend.standardize_dtype(output.dtype)))
    (copies,) = _copies([of], tuple(output.shape), norm)
    with np.errstate(divide="ignore"):
        factor = float((1 / factors if divides else factors).max())
    if not math.isfinite(factor):
        raise UnboundedError("its factor is not finite")
    return _scaled(of, exactly(factor, "factor") if copies == 1 else Bound(0.0, factor * copies, "factor"))


def _stacked(operation, flows, args, output, norm):
    axis = operation.axis % len(output.shape)
    if axis == 0:
        raise UnboundedError("it joins along the batch")
    return Merged(_combined(flows, [1.0] * len(flows), norm), exactly(1.0, "concatenation"))


def _larger(operation, flows, args, output, norm):
    """Maximum or minimum, entry by entry, of two values, or of a value and a constant."""
    return _extremum(operation, flows, _copies(flows, tuple(output.shape), norm), norm)


def _padded(operation, flows, args, output, norm):
    (flow,) = flows
    width = np.asarray(operation.pad_width)
    if operation.mode != "constant" or np.ndim(width) != 2 or width[0].any():
        raise UnboundedError("it pads by copies, or along the batch")
    return _scaled(flow, exactly(1.0, "same entries"))


# Operations that are bounded for whole numbers, too: they move or compare them, or convert them before they compute.
_WHOLE = {*_SAME_ENTRIES, "Concatenate", "Stack", "Maximum", "Minimum", "Max", "Min", "GetItem", "Split"}
_WHOLE |= {"Pad", "Cast"}
_CONVERTING = {"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Mean"}

OPERATIONS = {
    **dict.fromkeys(_SAME_ENTRIES, _rearranged),
    **dict.fromkeys(activations.OPERATIONS, _slope),
    **dict.fromkeys(_ONE_LIPSCHITZ, _one_lipschitz),
    **dict.fromkeys(("Add", "Subtract"), _added),
    **dict.fromkeys(("Multiply", "Divide", "TrueDivide"), _multiplied),
    **dict.fromkeys(("Concatenate", "Stack"), _stacked),
    **dict.fromkeys(("Maximum", "Minimum"), _larger),
    **dict.fromkeys(("Sum", "Mean", "Max", "Min"), _reduced),
    "SoftShrink": _soft_shrink,
    "Squareplus": _squareplus,
    "Clip": _clipped,
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "ReLU": _relu,
    "Softmax": _softmax,
    "Cast": _cast,
    "GetItem": _sliced,
    "Split": _split,
    "Pad": _padded,
}
