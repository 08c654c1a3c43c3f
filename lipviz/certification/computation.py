"""A model as a list of maps whose form is known: affine maps, elementwise functions, sorting in groups.

`graph` gives a bound for each step and forgets what the step computes. Here a step keeps its form, so that steps can be
merged, bounded together, or bounded near one input. Every value is a vector, flattened as Keras does, of one sample.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import scipy.sparse
import scipy.sparse.linalg as sla
from keras import ops

from lipviz import layers as lip
from lipviz.certification import merging, rounding
from lipviz.certification.graph import Step, Trace, check_certifiable, input_flows, reason_and_flows
from lipviz.certification.merging import Flow
from lipviz.layers import ConstrainedKernel
from lipviz.operators.linear import NotLinearError, linear_operator, moving_operator
from lipviz.operators.precision import float64_scope
from lipviz.operators.used_weights import residual_shares
from lipviz.rules.algebra import computes_as
from lipviz.rules.bound import Bound
from lipviz.rules.functions import named_slopes
from lipviz.rules.pointwise import broadcast_shape
from lipviz.rules.registry import activation_bound, find_rule, layer_bound, layer_bounds, why_unknown
from lipviz.rules.used import as_computed, as_float64, used_factor
from lipviz.types import Array, Shape


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """An input of the model."""


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
    """y = Σ A_i x_i + b.

    Attributes:
        parts: A SciPy `LinearOperator` A_i of shape (outputs, entries of x_i) for each source.
        offset: b of shape (outputs,), float64.
    """

    parts: tuple[sla.LinearOperator, ...]
    offset: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Pointwise:
    """y_i = φ(x_i), one function for all entries.

    Attributes:
        name: Name of the function in `keras.activations`; "" for another.
        values: Function of a float64 array of shape (n, entries) that returns φ of it, of the same shape and dtype.
        bound: Bound of its Lipschitz constant.
        slopes: Its smallest and its largest slope, with their signs: two floats, or arrays of shape (entries,).
        sides: Of a function with one slope for negative and one for positive x: both slopes, each a number or an array
            of shape (entries,), which may differ from entry to entry; else None.
    """

    name: str
    values: Callable[[Array], Array]
    bound: Bound
    slopes: tuple[float | Array, float | Array]
    sides: tuple[Any, Any] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Sorting:
    """Each group of entries is sorted in ascending order, and multiplied by a factor.

    Attributes:
        groups: Places of the entries of each group, of shape (groups, entries of a group), integers.
        factor: The factor, at least 0.
    """

    groups: Array
    factor: float


@dataclasses.dataclass(frozen=True, eq=False)
class Splitting:
    """The positive and the negative parts of all entries: y = k·relu(x) at some places, y = k·relu(−x) at others.

    Attributes:
        positive: Places of the positive parts, of shape (entries,), integers.
        negative: Places of the negative parts, of shape (entries,), integers.
        factor: The factor k, at least 0.
    """

    positive: Array
    negative: Array
    factor: float


@dataclasses.dataclass(frozen=True, eq=False)
class Opaque:
    """A step whose form is not known, but which may have a bound.

    Attributes:
        why: Why its form is not known, in a few words.
        bound: Function of (norm, exact) that returns its `Bound` with respect to all its sources together; infinite
            where it is not known.
        values: Function of a float64 array of shape (n, entries) for each source that returns the value, (n, entries).
    """

    why: str
    bound: Callable[[float, bool], Bound]
    values: Callable[..., Array]


Form = Entry | Affine | Pointwise | Sorting | Splitting | Opaque


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One value of a model, and how it is computed.

    Attributes:
        name: Name of the layer or operation, as in the table of `certify`.
        kind: Its class.
        form: What computes the value.
        sources: Numbers of the nodes that it is computed from.
        shape: Its shape, without the batch.
        gains: Its gains by the bounds of single steps, see `merging`, of shape (inputs,).
        dtype: Its dtype.
        op: The layer, operation or activation function that computes it; None for an input.
    """

    name: str
    kind: str
    form: Form
    sources: tuple[int, ...]
    shape: tuple[int, ...]
    gains: Array
    dtype: str
    op: Any = None

    @property
    def size(self) -> int:
        """Number of its entries."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Computation:
    """All nodes of a model, each after its sources.

    Attributes:
        nodes: The nodes. The inputs of the model come first, each an `Entry`.
        outputs: Numbers of the nodes that the model returns.
        number_of: Function of a flow of the trace that returns the number of the node that computes it.
        flows: The `Flow` of each node in the trace that it was read from. The gains of a value between a linear map and
            the activation of the same layer are not known there, and are infinite.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    number_of: Callable[[Flow], int] = dataclasses.field(repr=False)
    flows: tuple[Flow, ...] = dataclasses.field(default=(), repr=False)

    def values(self, *inputs: Array) -> list[Array]:
        """The values of all nodes for n samples, in float64.

        Args:
            *inputs: An array of shape (n, ...) for each input of the model.

        Returns:
            A list of arrays of shape (n, entries), one for each node.
        """
        found = [np.asarray(x, np.float64).reshape(len(x), -1) for x in inputs]
        for node in self.nodes[len(inputs) :]:
            found.append(_value(node.form, node.size, [found[source] for source in node.sources]))
        return found


def _value(form, size, sources):
    """The value of a node, of shape (n, entries), from those of its sources."""
    if isinstance(form, Affine):
        return sum((part @ x.T).T for part, x in zip(form.parts, sources, strict=True)) + form.offset
    if isinstance(form, Sorting):
        result = np.empty_like(sources[0])
        result[:, form.groups] = form.factor * np.sort(sources[0][:, form.groups], axis=-1)
        return result
    if isinstance(form, Splitting):
        result = np.empty((len(sources[0]), size))
        result[:, form.positive] = form.factor * np.maximum(sources[0], 0.0)
        result[:, form.negative] = form.factor * np.maximum(-sources[0], 0.0)
        return result
    return form.values(*sources)


class UnknownFormError(ValueError):
    """A model has a graph that cannot be seen, or sizes that are not known; the message says which."""


def computation(model: keras.layers.Layer, input_shape: Shape | None = None) -> Computation:
    """The `Computation` of a built Keras model or layer, with the weights that inference uses.

    Args:
        model: Built Keras model or layer.
        input_shape: See `certify`. All sizes must be known.

    Raises:
        UnknownFormError: If its graph cannot be seen, or a size is not known.
        TypeError: See `certify`.
        ValueError: See `certify`.
    """
    check_certifiable(model)
    inputs, trace = input_flows(model, input_shape), Trace(2, only_graph=True)
    outputs = trace.follow(model, inputs)
    return of_trace(trace, inputs, outputs)


def of_trace(trace: Trace, inputs: Any, outputs: Any) -> Computation:
    """The `Computation` that a `Trace` followed, from the flows that entered the model to those that left it.

    Raises:
        UnknownFormError: If a part of the graph was not seen, or a size is not known.
    """
    entering = keras.tree.flatten(inputs)
    builder = _Builder(trace, len(entering))
    for number, flow in enumerate(entering):
        builder.add(f"input {number}", "Input", Entry(), (), flow)
    for step, leaving in trace.visits:
        builder.enter(step, leaving)
    numbers = tuple(builder.number(flow) for flow in keras.tree.flatten(outputs))
    return Computation(tuple(builder.nodes), numbers, builder.number, tuple(builder.flows))


class _Builder:
    """The nodes so far, and the numbers of the flows that they compute."""

    def __init__(self, trace, inputs):
        self.nodes: list[Node] = []
        self._same, self._between, self._numbers = trace.same, trace.between, {}
        self._inputs = inputs
        self.flows: list[Flow] = []  # they also stay alive, so that no id is used again

    def number(self, flow):
        """Number of the node that computes a flow."""
        while id(flow) in self._same:
            flow = self._same[id(flow)]
        if id(flow) not in self._numbers:
            raise UnknownFormError("A part of the model's graph cannot be seen.")
        return self._numbers[id(flow)]

    def add(self, name, kind, form, sources, flow, op=None, gains=None):
        """Add the node that computes a flow, and return its number."""
        shape = tuple(flow.shape[1:])
        if None in shape:
            raise UnknownFormError(f"'{name}' has the shape {shape}: the form of a step needs all sizes.")
        dtype = keras.backend.standardize_dtype(flow.tensor.dtype)
        gains = (flow.gains if gains is None else gains)[: self._inputs]
        self.nodes.append(Node(name, kind, form, tuple(sources), shape, gains, dtype, op))
        self._numbers[id(flow)] = len(self.nodes) - 1
        self.flows.append(flow)
        return len(self.nodes) - 1

    def enter(self, step, leaving):
        """Add the nodes of a step: for each value it returns one, and one more for an activation of its own."""
        kind, name = type(step.op).__name__, step.op.name
        sources = [self.number(flow) for flow in _taken(step)]
        for output, flow in enumerate(leaving):
            form, before, op = _form(step, output), sources, step.op
            if isinstance(form, Affine) and _has_activation(step.op):
                shape = (None, *_linear_shape(step.op, step.flows[0]))
                middle = Flow(keras.KerasTensor(shape, flow.tensor.dtype), np.full(np.shape(flow.gains), np.inf))
                gains = self._between.get(id(flow), flow.gains)
                before, op = [self.add(name, kind, form, sources, middle, op, gains)], op.activation
                form = _of_activation(op, middle)
            self.add(name, kind, form, before, flow, op)


def _taken(step):
    """The flows that a step depends on, a list."""
    return reason_and_flows(step)[1] if isinstance(step.op, keras.layers.Layer) else step.flows


def _has_activation(op):
    found = find_rule(op) if isinstance(op, keras.layers.Layer) else None
    plain = (None, keras.activations.linear)
    return found is not None and found.linear and getattr(op, "activation", None) not in plain


# --- the form of a step ---


def _form(step, output):
    """The form of the value that a step returns, given by its number among several."""
    if not all(keras.backend.is_float_dtype(flow.tensor.dtype) for flow in step.flows):
        return _opaque(step, output, "it takes whole numbers")
    if not isinstance(step.op, keras.layers.Layer):
        build = _OPERATIONS.get(type(step.op).__name__)
        known = build is not None and type(step.op).__module__.startswith("keras.")
        bounded = known and _operation_bound(step, 2).upper < math.inf
        return build(step, output) if build is not None and bounded else _opaque(step, output, "its form is not known")
    reason, flows = reason_and_flows(step)
    if reason is not None:
        return _opaque(step, output, reason.method)
    if len(flows) != 1:
        return _of_merge(step, flows, output)
    return _of_layer(step, flows[0], output)


def _of_layer(step, flow, output=0):
    layer, shape = step.op, flow.shape[1:]
    found = find_rule(layer)
    why = why_unknown(layer, found, shape)
    if why is not None or found is None:
        return _opaque(step, output, str(why))
    if found.linear:
        try:
            operator = linear_operator(layer, shape)
        except (NotLinearError, ValueError) as error:
            return _opaque(step, output, str(error))
        return Affine((operator,), _offset(layer, _linear_shape(layer, flow)))
    build = next((build for cls, build in _LAYERS.items() if isinstance(layer, cls) and computes_as(layer, cls)), None)
    if build is None or found.bound(layer, shape, 2, False).upper == math.inf:
        return _opaque(step, output, "its form is not known")
    return build(step, flow)


def _of_activation(activation, flow):
    """The form of the activation of a layer, a function or a layer."""
    if isinstance(activation, keras.layers.Layer):
        return _of_layer(Step(activation, (flow,), {}, flow, {}), flow)
    shape = flow.shape[1:]
    name = getattr(activation, "__name__", "")
    bound = activation_bound(activation, shape, 2)
    if name in _NOT_ELEMENTWISE or bound.upper == math.inf:
        return Opaque(
            f"the form of {name or 'its activation'} is not known",
            lambda norm, exact: activation_bound(activation, shape, norm),
            _values(activation, shape),
        )
    return Pointwise(name, _values(activation, shape), bound, named_slopes(name) or _both_ways(bound))


def _both_ways(bound):
    return -bound.upper, bound.upper


def _of_merge(step, flows, output):
    """The form of a layer of several inputs."""
    op = step.op
    build = next((build for cls, build in _MERGES.items() if isinstance(op, cls) and computes_as(op, cls)), None)
    if build is None or merging.merge(op, flows, 2).bound.upper == math.inf:
        return _opaque(step, output, "its form is not known")
    return build(step, output)


def _opaque(step, output, why):
    """The form of a step that only a bound is known of."""
    flows = _taken(step)

    def values(*arrays):
        given = {id(flow): x.reshape(-1, *flow.shape[1:]) for flow, x in zip(flows, arrays, strict=True)}
        return _run(step, given, output).reshape(len(arrays[0]), -1).astype(np.float64)

    return Opaque(why, lambda norm, exact: _bound(step, norm, exact), values)


def _bound(step, norm, exact):
    """Bound of a step with respect to all its sources together."""
    if not isinstance(step.op, keras.layers.Layer):
        return _operation_bound(step, norm)
    reason, flows = reason_and_flows(step)
    if reason is not None:
        return reason
    if len(flows) != 1:
        return merging.merge(step.op, flows, norm).bound
    whole = not keras.backend.is_float_dtype(flows[0].tensor.dtype)
    first, *others = (bound for _, bound in layer_bounds(step.op, flows[0].shape[1:], norm, exact, whole))
    for bound in others:
        first = bound.after(first)
    return first


def _operation_bound(step, norm):
    return merging.operate(step.op, step.args, step.kwargs, step.spec, norm).bound


def _run(step, given, output=0):
    """A value that a step returns for arrays in the place of its flows: a dict by the flows' ids."""

    def tensor(leaf):
        return ops.convert_to_tensor(given[id(leaf)]) if isinstance(leaf, Flow) else leaf

    with float64_scope():
        results = rounding.at_zero(step.op, *keras.tree.map_structure(tensor, (step.args, step.kwargs)))
        return np.asarray(ops.convert_to_numpy(keras.tree.flatten(results)[output]))


# --- affine forms ---


def _linear_shape(layer, flow):
    """Shape of the output of a linear layer before its activation, which may change the number of channels."""
    states: Any = super(ConstrainedKernel, layer) if isinstance(layer, ConstrainedKernel) else layer
    return tuple(states.compute_output_shape((1, *flow.shape[1:])))[1:]


def _offset(layer, shape):
    """The bias of a linear layer at each entry of its output, of shape (entries,)."""
    bias = getattr(layer, "bias", None)
    if bias is None or not getattr(layer, "use_bias", True):
        return np.zeros(math.prod(shape))
    values = as_computed(layer, bias, f"The bias of '{layer.name}'")
    first = getattr(layer, "data_format", None) == "channels_first"
    values = values.reshape((-1,) + (1,) * (len(shape) - 1)) if first else values
    return np.broadcast_to(values, shape).reshape(-1).copy()


def _batch_normalization(step, flow):
    layer, shape = step.op, flow.shape[1:]
    operator = linear_operator(layer, shape)
    axis = layer.axis if layer.axis < 0 else layer.axis - 1 - len(shape)
    spread = (-1,) + (1,) * (-axis - 1)
    mean, beta = (
        np.broadcast_to(as_float64(value, f"A weight of '{layer.name}'").reshape(spread), shape).reshape(-1)
        for value in (layer.moving_mean, layer.beta if layer.center else np.zeros(shape[axis]))
    )
    return Affine((operator,), beta - operator @ mean)


def _selection(step, output=0):
    """A step that copies, drops or moves entries: it is run on the numbers of the entries."""
    flows = _taken(step)
    sizes = [flow.size for flow in flows]
    starts = np.cumsum([1, *sizes])  # 0 marks entries that the step adds
    given = {
        id(flow): np.arange(start, start + size, dtype=np.int32).reshape(1, *flow.shape[1:])
        for flow, start, size in zip(flows, starts, sizes, strict=False)
    }
    places = _run(step, given, output).reshape(-1).astype(np.int64)
    parts = tuple(_chosen(places - start, size) for start, size in zip(starts, sizes, strict=False))
    return Affine(parts, np.zeros(len(places)))


def _selected(step, flow):
    return _selection(step)


def _moved(step, flow):
    """A layer of lipviz that moves entries, and multiplies by k."""
    operator = moving_operator(step.op, flow.shape[1:])
    return Affine((operator,), np.zeros(operator.shape[0]))


def _padding(step, output):
    """Padding by a number, which is an offset: the numbers of entries are padded by zeros."""
    places = _selection(dataclasses.replace(step, args=step.args[:1], kwargs={}), output)
    (flow,) = step.flows
    return Affine(places.parts, _run(step, {id(flow): np.zeros((1, *flow.shape[1:]))}, output).reshape(-1))


def _chosen(places, size):
    """The operator that takes entry `places[i]` into entry i, and 0 where there is no such place."""
    (rows,) = np.nonzero((places >= 0) & (places < size))
    matrix = scipy.sparse.csr_array((np.ones(len(rows)), (rows, places[rows])), shape=(len(places), size))
    return sla.aslinearoperator(matrix)


def _sum(step, output):
    """A sum, a difference or a mean of values, which are broadcast to one shape."""
    flows = _taken(step)
    share = 1 / len(flows) if isinstance(step.op, keras.layers.Average) else 1.0
    subtracts = type(step.op).__name__ == "Subtract"
    return _weighted(step, flows, [-share if subtracts and number else share for number in range(len(flows))], output)


def _sum_of_values(step, output):
    """A sum or difference by `keras.ops` of two values; of a value and a constant, its form is not known."""
    if len(step.flows) != 2 or len(step.args) != 2:
        return _opaque(step, output, "it adds a constant")
    return _sum(step, output)


def _residual(step, output):
    return _weighted(step, _taken(step), residual_shares(step.op), output)


def _weighted(step, flows, factors, output):
    shape = tuple(keras.tree.flatten(step.spec)[output].shape)[1:]
    return Affine(
        tuple(factor * _spread(flow, shape) for flow, factor in zip(flows, factors, strict=True)),
        np.zeros(math.prod(shape)),
    )


def _spread(flow, shape):
    """The operator that broadcasts a value to a shape."""
    places = np.broadcast_to(np.arange(flow.size).reshape(flow.shape[1:]), shape)
    return _chosen(places.reshape(-1), flow.size)


# --- other forms ---


def _sorting(step, flow):
    layer, shape = step.op, tuple(flow.shape)
    axis = layer.channel_axis % len(shape) - 1
    size = layer.group_size(shape)
    places = np.arange(flow.size).reshape(shape[1:])
    groups = np.moveaxis(places, axis, -1).reshape(-1, size)
    return Sorting(groups, used_factor(layer))


def _splitting(step, flow):
    layer, shape = step.op, tuple(flow.shape)
    doubled = tuple(keras.tree.flatten(step.spec)[0].shape)[1:]
    places = np.arange(math.prod(doubled)).reshape(doubled)
    positive, negative = np.split(places, 2, axis=layer.channel_axis % len(shape) - 1)
    return Splitting(positive.reshape(-1), negative.reshape(-1), used_factor(layer))


def _signs(step, flow):
    """X or |x|, times k: linear on both sides of 0."""
    layer, shape = step.op, tuple(flow.shape)
    k = used_factor(layer)
    spread = [1] * len(shape)
    spread[layer.channel_axis] = -1
    negative = np.copysign(k, layer.slopes(shape)).reshape(spread)
    negative = np.broadcast_to(negative, (1, *shape[1:])).reshape(-1)
    return Pointwise("", _values(layer, shape[1:]), layer_bound(layer, shape[1:], 2), (negative, k), (negative, k))


def _elementwise(step, flow):
    layer, shape = step.op, flow.shape[1:]
    if isinstance(layer, keras.layers.Activation):
        return _of_activation(layer.activation, flow)
    if isinstance(layer, keras.layers.PReLU) and broadcast_shape(layer, shape) != tuple(shape):
        return _opaque(step, 0, "it broadcasts its input")
    plain = isinstance(layer, keras.layers.ReLU) and not layer.negative_slope and layer.max_value is None
    bound = layer_bound(layer, shape, 2)
    return Pointwise(
        "relu" if plain else "",
        _values(layer, shape),
        bound,
        _slopes_of_layer(layer, shape, bound),
        _sides(layer, shape),
    )


_WIDENED = 2.0**-7  # more than half precision rounds a slope by


def _slopes_of_layer(layer, shape, bound):
    """The slopes of an activation that is a layer, with room for any rounding of its arguments."""
    if isinstance(layer, keras.layers.PReLU):
        k = layer.k_coef_lip if isinstance(layer, lip.PReLUlip) else math.inf
        falling = np.clip(as_float64(layer.alpha, f"The slopes of '{layer.name}'"), -k, k)
        falling = np.broadcast_to(falling, shape).reshape(-1)
        return _wider(np.minimum(falling, min(1.0, k)), np.maximum(falling, min(1.0, k)), bound)
    own = layer.alpha if isinstance(layer, keras.layers.ELU) else layer.negative_slope
    flat = isinstance(layer, keras.layers.ELU) or getattr(layer, "max_value", None) is not None
    slopes = (float(own), 1.0, *((0.0,) if flat else ()))
    return _wider(min(slopes), max(slopes), bound)


def _wider(low, high, bound):
    """Slopes that hold however the layer rounds them."""
    low, high = low - _WIDENED * np.abs(low), high + _WIDENED * np.abs(high)
    return np.maximum(low, -bound.upper), np.minimum(high, bound.upper)


def _sides(layer, shape):
    """Slopes of a layer for negative and for positive entries; None where they are not known here."""
    if isinstance(layer, keras.layers.LeakyReLU):
        return float(layer.negative_slope), 1.0
    if not isinstance(layer, keras.layers.PReLU) or isinstance(layer, lip.PReLUlip):
        return None
    alpha = as_computed(layer, layer.alpha, f"The slopes of '{layer.name}'")
    fits = np.broadcast_shapes(alpha.shape, shape) == tuple(shape)
    return (np.broadcast_to(alpha, shape).reshape(-1), 1.0) if fits else None


def _values(function, shape):
    """An elementwise function of tensors, or a layer, as one of arrays of shape (n, entries)."""

    def values(x):
        with float64_scope():
            result = function(ops.convert_to_tensor(np.asarray(x, np.float64).reshape(-1, *shape)))
            return np.asarray(ops.convert_to_numpy(result), np.float64).reshape(len(x), -1)

    return values


def _function(step, output):
    """A function of `keras.ops` with its default arguments."""
    name = merging.SLOPED[type(step.op).__name__]
    (flow,) = step.flows
    if any(getattr(step.op, argument, None) for argument in ("negative_slope", "max_value", "threshold")):
        return _opaque(step, output, "its arguments are not the default ones")
    values, slopes = _values(step.op, flow.shape[1:]), named_slopes(name) or (-math.inf, math.inf)
    if getattr(step.op, "approximate", False):  # the gelu by tanh has the same bounds, and other slopes in between
        name = ""
    return Pointwise(name, values, _operation_bound(step, 2), slopes)


_NOT_ELEMENTWISE = ("softmax", "log_softmax", "sparsemax", "glu")

_LAYERS = {
    keras.layers.BatchNormalization: _batch_normalization,
    **dict.fromkeys(
        (
            keras.layers.Flatten,
            keras.layers.Reshape,
            keras.layers.Permute,
            keras.layers.Identity,
            keras.layers.ActivityRegularization,
            keras.layers.ZeroPadding1D,
            keras.layers.ZeroPadding2D,
            keras.layers.ZeroPadding3D,
            keras.layers.Cropping1D,
            keras.layers.Cropping2D,
            keras.layers.Cropping3D,
            keras.layers.RepeatVector,
            keras.layers.Dropout,
            keras.layers.AlphaDropout,
            keras.layers.GaussianDropout,
            keras.layers.GaussianNoise,
            keras.layers.SpatialDropout1D,
            keras.layers.SpatialDropout2D,
            keras.layers.SpatialDropout3D,
        ),
        _selected,
    ),
    **dict.fromkeys((lip.InvertibleDownSampling, lip.InvertibleUpSampling, lip.SpatialShift), _moved),
    lip.GroupSort: _sorting,
    lip.MaxMin: _splitting,
    lip.BetaAbs: _signs,
    **dict.fromkeys(
        (
            keras.layers.Activation,
            keras.layers.ReLU,
            keras.layers.LeakyReLU,
            keras.layers.ELU,
            keras.layers.PReLU,
            lip.PReLUlip,
        ),
        _elementwise,
    ),
}
_MERGES = {
    **dict.fromkeys((keras.layers.Add, keras.layers.Subtract, keras.layers.Average), _sum),
    keras.layers.Concatenate: _selection,
    lip.LipResidual: _residual,
}
_OPERATIONS = {
    **dict.fromkeys(
        (
            *("Reshape", "Ravel", "Transpose", "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze", "Flip", "Roll", "Copy"),
            *("Concatenate", "Stack", "GetItem", "Split"),
        ),
        _selection,
    ),
    "Pad": _padding,
    **dict.fromkeys(("Add", "Subtract"), _sum_of_values),
    **dict.fromkeys(merging.SLOPED, _function),
}
