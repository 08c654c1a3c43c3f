"""Follows a model's graph: the bound of each step, its rounding errors, and the sizes and masks that it returns."""

import dataclasses
import functools
import inspect
import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from lipviz.certification import input_conversion, merging, rounding, sizes
from lipviz.certification import masks as masking
from lipviz.certification.merging import Flow
from lipviz.certification.results import LayerBound
from lipviz.copies import in_order
from lipviz.keras_internals import KerasFunctional, run_graph
from lipviz.model import Functional, Sequential
from lipviz.rules.algebra import computes_as
from lipviz.rules.bound import Bound, unknown
from lipviz.rules.pointwise import broadcast_shape
from lipviz.rules.registry import find_rule, layer_bounds
from lipviz.rules.used import known_input_shape
from lipviz.types import Array, DType, Shape

_REMEDY = "give it a bound by lipviz.register_bound"
_NOT_ASKED = (("", unknown("not asked for")),)


class Trace:
    """Follows a model's graph with a `Flow` for each value, and records the bound of each step.

    Args:
        norm: 1, 2 or `math.inf`.
        exact: See `certify`.
        only_graph: Whether to leave out the bounds of layers of one input.
        rounds: Whether to follow the rounding errors of float64 as well, see `rounding`; the model must be in float64.

    Attributes:
        rows: A `LayerBound` for each step.
        makers: From the id of a flow to (the layer that made it from its input alone, the flow that it came from).
        taken: From the id of a layer to what it takes: a list of shapes, with the batch, for each time it is used.
        products: About how many products with kernels the model computes per sample; unknown sizes count as 1.
        visits: A tuple (`Step`, the flows that it returns, a list) for each layer and operation, as they are computed.
        same: From the id of a flow to the flow whose values it has, where only its dtype or mask differs.
        between: From the id of a flow that a layer returns to its gains before the layer's own activation.
    """

    def __init__(self, norm: float, exact: bool = False, only_graph: bool = False, rounds: bool = False):
        self.norm, self.exact = norm, exact
        self.only_graph, self.rounds = only_graph, rounds
        self.rows: list[LayerBound] = []
        self.makers: dict[int, tuple[keras.Operation, Flow]] = {}
        self.taken: dict[int, list[list[Shape]]] = {}
        self.products = 0
        self.visits: list[tuple[Step, list[Flow]]] = []
        self.same: dict[int, Flow] = {}
        self.between: dict[int, Array] = {}
        self._alive: list[Flow] = []  # all flows, so that no id is used again
        self._since = 0.0  # when the step of the next row began

    def follow(
        self, model: keras.layers.Layer, inputs: Any, prefix: str = "", others: dict[str, Any] | None = None
    ) -> Any:
        """The flows that leave a model or a layer, in the structure of its outputs.

        Args:
            model: Keras model or layer.
            inputs: Flows in the structure of its inputs, see `input_flows`.
            prefix: What the names of its layers begin with.
            others: The other arguments that it is called with, a dict; optional.
        """
        if not isinstance(model, keras.Model):
            return self.visit(prefix, model, inputs)
        others, is_sequential = dict(others or {}), _is_sequential(model)
        if not (is_sequential or _is_functional(model)):
            return self._opaque(prefix, Step(model, (inputs,), others, inputs, others))
        inputs = self._as_same(inputs, _masked(inputs, others.pop("mask", None)))
        if not is_sequential:
            entered = self._entered(prefix, model, in_order(model, inputs))
            return run_graph(model, entered, functools.partial(self.visit, prefix))
        (flow,) = self._entered(prefix, model, keras.tree.flatten(inputs)[:1])
        for layer in model.layers:
            flow = self.visit(prefix, layer, flow)
        return flow

    def visit(self, prefix: str, op: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        """The flows that `op` returns for its arguments, in the structure of its outputs."""
        if not isinstance(op, keras.layers.Layer):
            return self._operation(prefix, Step(op, args, kwargs))
        step = Step(op, args, kwargs, *_arguments(op, args, kwargs))
        if isinstance(op, keras.Model):
            return self.follow(op, step.inputs, f"{prefix}{op.name}/", step.others)
        reason, flows = reason_and_flows(step)
        self._begin(step, flows)
        if reason is not None or len(flows) != 1:
            return self._merge(prefix, step, reason, flows)
        (flow,), gains = flows, flows[0].gains
        uppers: list[float] = []
        bounds = layer_bounds(
            op, flow.shape[1:], self.norm, self.exact, not keras.backend.is_float_dtype(flow.tensor.dtype)
        )
        for words, bound in _NOT_ASKED if self.only_graph else bounds:
            self._row(prefix + op.name + words, op, bound)
            gains, uppers = merging.times(gains, bound.upper), [*uppers, bound.upper]
        leaving = self._leaving(step, gains, flows, rounding.of_layer, uppers, flow)
        if len(uppers) > 1:
            self.between[id(keras.tree.flatten(leaving)[0])] = merging.times(flow.gains, uppers[0])
        return leaving

    def _operation(self, prefix, step):
        """The flows that an operation of `keras.ops` returns."""
        self._begin(step, step.flows)
        merged = merging.operate(step.op, step.args, step.kwargs, step.spec, self.norm)
        self._row(prefix + step.op.name, step.op, merged.bound)
        return self._leaving(step, merged.gains, step.flows, rounding.of_operation, merged.bound.upper)

    def _merge(self, prefix, step, reason, flows):
        """The flows that a layer of several inputs returns, or one without a bound, for which `reason` is a `Bound`."""
        merged = _of_reason(reason, flows) if reason is not None else merging.merge(step.op, flows, self.norm)
        self._row(prefix + step.op.name, step.op, merged.bound)
        maker = None if reason is not None else flows[0]
        return self._leaving(step, merged.gains, flows, rounding.of_operation, merged.bound.upper, maker)

    def _opaque(self, prefix, step):
        """The flows that a model with a `call` of its own returns; only a registered rule can bound it."""
        self._since = time.perf_counter()
        bound = _of_opaque(step, self.norm, self.exact)
        self._row(prefix + step.op.name, step.op, bound)
        gains = _times(step.flows, bound)
        return self._leaving(step, gains, step.flows, rounding.of_layer, [bound.upper]) if prefix else Flow(None, gains)

    def _entered(self, prefix, model, flows):
        """The flows that the layers of a model get; adds a row where Keras converts one in a way that has no bound."""
        self._since = time.perf_counter()
        taken = input_conversion.converted(model, flows)
        for _, bound in taken:
            if bound is not None:
                self._row(f"{prefix}input", model, bound)
        entered = [flow for flow, _ in taken]
        return entered if any(bound is not None for _, bound in taken) else self._as_same(flows, entered)

    def _as_same(self, before, after):
        """Note that flows have the values of others, both in one structure, and return the former."""
        for old, new in zip(keras.tree.flatten(before), keras.tree.flatten(after), strict=True):
            if new is not old:
                self._alive.append(new)
                self.same[id(new)] = old
        return after

    def _begin(self, step, flows):
        self.taken.setdefault(id(step.op), []).append([flow.shape for flow in flows])
        step.spec  # noqa: B018 - raises an error if shapes do not fit
        self._since = time.perf_counter()

    def _row(self, name, op, bound):
        milliseconds, self._since = 1000 * (time.perf_counter() - self._since), time.perf_counter()
        method = f"{bound.method}: {_REMEDY}" if bound.method.startswith("no rule for") else bound.method
        self.rows.append(LayerBound(name, type(op).__name__, bound.lower, bound.upper, method, milliseconds))

    def _leaving(self, step, gains, flows, errors_of, uppers, maker=None):
        """The flows that a step returns, in the structure of its outputs.

        Args:
            step: The `Step`.
            gains: Gains of its outputs.
            flows: The flows that it takes.
            errors_of: `rounding.of_layer` or `rounding.of_operation`.
            uppers: Its upper bounds, as `errors_of` takes them.
            maker: The only flow that it depends on, or None.
        """
        self.products += step.products
        at_zero = [None] * len(keras.tree.flatten(step.spec))
        if self.rounds:
            at_zero = keras.tree.flatten(step.at_zero())
            gains = rounding.with_errors(gains, flows, at_zero, errors_of(step.op, flows, at_zero, uppers))
        parts = zip(keras.tree.flatten(step.spec), at_zero, step.masks(), strict=True)
        leaving = [Flow(spec, gains, zero, mask, step.shapes(i)) for i, (spec, zero, mask) in enumerate(parts)]
        self._alive += leaving
        self.visits.append((step, leaving))
        if maker is not None:
            self.makers |= {id(flow): (step.op, maker) for flow in leaving}
        return keras.tree.pack_sequence_as(step.spec, leaving)


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A layer or an operation of a graph, and what it is called with.

    Attributes:
        op: Keras layer or operation.
        args: Its arguments, with a `Flow` for each value of the graph.
        kwargs: Its keyword arguments.
        inputs: Of a layer, the first argument.
        others: Of a layer, the other arguments that are not None, without `training`: a dict.
    """

    op: keras.Operation
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: Any = None
    others: dict[str, Any] | None = None

    @functools.cached_property
    def flows(self) -> list[Flow]:
        """All values that it takes, a list."""
        return _flows((self.args, self.kwargs))

    @functools.cached_property
    def spec(self) -> Any:
        """The symbolic tensors that it returns, according to Keras."""
        return _output_spec(self.op, *_part("tensor", (self.args, self.kwargs)))

    @property
    def products(self) -> int:
        """Products with its kernels for one sample, if it applies each kernel to every pixel of its output."""
        names = ("kernel", "depthwise_kernel", "pointwise_kernel")
        shapes = [tuple(getattr(getattr(self.op, name, None), "shape", (0,))) for name in names]
        entries = sum(map(math.prod, shapes))
        if not entries:
            return 0
        sizes = [size or 1 for size in keras.tree.flatten(self.spec)[0].shape[1:]]
        channels = sizes[0 if getattr(self.op, "data_format", None) == "channels_first" else -1]
        return entries * math.prod(sizes) // max(channels, 1)

    def at_zero(self) -> Any:
        """The tensors that it returns where all inputs of the model are 0."""
        return rounding.at_zero(self.op, *_part("at_zero", (self.args, self.kwargs)))

    def masks(self) -> list[Any]:
        """The masks that Keras attaches to its outputs, a list."""
        spec = keras.tree.flatten(self.spec)
        if not isinstance(self.op, keras.layers.Layer):
            return masking.behind_operation(self.op, self.flows, spec)
        masks = (self.others or {}).get("mask")
        if masks is None:
            masks = keras.tree.map_structure(lambda leaf: getattr(leaf, "mask", None), self.inputs)
        return masking.behind_layer(self.op, _part("tensor", self.inputs), _part("tensor", masks), spec)

    def shapes(self, output: int) -> sizes.Shapes:
        """The `Shapes` of an output, given by its number."""
        return sizes.behind(self.flows, self.args, self.kwargs, lambda known: _output_spec(self.op, *known), output)


def reason_and_flows(step: Step) -> tuple[Bound | None, list[Flow]]:
    """An infinite bound with the reason, if a layer depends on more than its inputs, else None; and its inputs."""
    others = step.others or {}
    masked = "mask" in others or any(flow.mask is not None for flow in _flows(step.inputs))
    if masked and masking.uses(step.op):
        return unknown("it uses a mask, which is not continuous where it is computed from data"), step.flows
    others = {name: value for name, value in others.items() if name != "mask"}  # an unused mask has no effect
    if others and find_rule(step.op):
        return unknown(f"it is called with more than its rule knows of: {', '.join(sorted(others))}"), step.flows
    return None, _flows((step.inputs, others))


def _of_opaque(step, norm, exact):
    rule = find_rule(step.op)
    if rule is None or len(step.flows) > 1:
        return unknown(f"a subclassed {type(step.op).__name__}, whose graph cannot be seen: {_REMEDY}")
    reason, (flow,) = reason_and_flows(step)
    return reason or rule.bound(step.op, flow.shape[1:], norm, exact)


def _of_reason(reason, flows):
    return merging.Merged(_times(flows, reason), reason)


def _is_sequential(model):
    return _computes_as_one_of(model, (keras.Sequential, Sequential))


def _is_functional(model):
    return _computes_as_one_of(model, (KerasFunctional, Functional))


def _computes_as_one_of(model, classes):
    return any(isinstance(model, cls) and computes_as(model, cls) for cls in classes)


def _flows(structure):
    return [leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, Flow)]


def _part(name, structure):
    """A structure in which each `Flow` is replaced by one of its attributes."""
    return keras.tree.map_structure(lambda leaf: getattr(leaf, name) if isinstance(leaf, Flow) else leaf, structure)


def _arguments(layer, args, kwargs):
    """What a layer is called with: its first argument, and a dict of the others, without None and `training`."""
    given = inspect.signature(layer.call).bind(*args, **kwargs)
    first, *names = given.arguments
    others = {name: given.arguments[name] for name in names}
    others |= others.pop("kwargs", {})
    others.pop("training", None)
    return given.arguments[first], {
        name: value for name, value in others.items() if any(leaf is not None for leaf in keras.tree.flatten(value))
    }


def _masked(inputs, masks):
    """The input flows of a model, with the masks that are passed to it."""
    if masks is None:
        return inputs
    flat = keras.tree.flatten(inputs)
    return keras.tree.pack_sequence_as(
        inputs,
        [
            flow if mask is None else dataclasses.replace(flow, mask=_part("tensor", mask))
            for flow, mask in zip(flat, keras.tree.flatten(masks), strict=True)
        ],
    )


def _times(flows, bound):
    return merging.times(sum(flow.gains for flow in flows), bound.upper)


def _output_spec(op, args, kwargs):
    keeps_whole_numbers = _keeps_whole_numbers(op, args, kwargs)
    try:
        spec = op.compute_output_spec(*args, **kwargs)
    except Exception as error:
        shapes = [tuple(x.shape) for x in _tensors(args, kwargs)]
        raise ValueError(
            f"'{op.name}' ({type(op).__name__}) does not take inputs of the shape(s) {shapes}: {error}"
        ) from error
    if keeps_whole_numbers:
        dtype = _tensors(args, kwargs)[0].dtype
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, dtype), spec)
    if isinstance(op, _BROADCASTING):  # Keras states the shape of the input, also where the layer's numbers widen it
        shape = broadcast_shape(op, tuple(spec.shape)[1:])
        return spec if shape is None else keras.KerasTensor((spec.shape[0], *shape), spec.dtype)
    return spec


def _tensors(args, kwargs):
    return [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]


def _keeps_whole_numbers(op, args, kwargs):
    """Whether the output holds whole numbers, because the input does, although Keras states the layer's dtype."""
    tensors = _tensors(args, kwargs)
    if not isinstance(op, keras.layers.Layer) or not tensors or keras.backend.is_float_dtype(tensors[0].dtype):
        return False
    found = find_rule(op)
    return found is not None and found.keeps_dtype


_BROADCASTING = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.PReLU)


def check_certifiable(model: keras.layers.Layer) -> None:
    """Raise TypeError or ValueError unless it is a built Keras model or layer whose weights are finite."""
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"certify expects a Keras model or layer. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"'{model.name}' must be built before it is certified: call it on data, or `build` it.")
    for weight in model.weights:
        value = np.asarray(weight)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"The weight '{weight.path}' holds NaN or Inf: nothing can be certified.")


def input_flows(
    model: keras.layers.Layer, input_shape: Shape | Sequence[Shape] | None = None, rounds: bool = False
) -> Flow | list[Flow]:
    """The flows that enter a model or layer, for `Trace.follow`.

    Args:
        model: Built Keras model or layer.
        input_shape: See `certify`.
        rounds: As for `Trace`.

    Returns:
        A `Flow`, or a list of them for several inputs.

    Raises:
        ValueError: If the shape does not fit, or is not known.
    """
    shapes = _input_shapes(model, input_shape)
    units = np.eye(len(shapes), len(shapes) + 2 * rounds)
    parts = zip(shapes, input_dtypes(model, len(shapes)), units, sizes.of_inputs(shapes), strict=True)
    flows = [Flow(keras.KerasTensor((None, *shape), dtype), unit, shapes=known) for shape, dtype, unit, known in parts]
    if rounds:
        flows = [dataclasses.replace(flow, at_zero=np.zeros((1, *flow.shape[1:]), flow.tensor.dtype)) for flow in flows]
    return flows if len(flows) > 1 else flows[0]


def input_dtypes(model: keras.layers.Layer, count: int = 1) -> list[DType]:
    """Dtypes of the inputs of a model, a list; for a layer that states none, its compute dtype, `count` times."""
    inputs = getattr(model, "inputs", None)
    if inputs:
        return [tensor.dtype for tensor in keras.tree.flatten(inputs)]
    return [keras.backend.standardize_dtype(model.compute_dtype)] * count


def _input_shapes(model, input_shape):
    """Shapes of all inputs, without the batch."""
    known = _built_shapes(model)
    if input_shape is None:
        if known is None:
            raise ValueError(f"The shape of the input of '{model.name}' is not known. Expected `input_shape`.")
        return known
    if not isinstance(input_shape, list | tuple):
        raise _shape_error(input_shape)
    several = len(input_shape) > 0 and all(isinstance(part, list | tuple) for part in input_shape)
    shapes = [tuple(part) for part in (input_shape if several else [input_shape])]
    for size in (size for shape in shapes for size in shape):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1):
            raise _shape_error(input_shape)
    if known is not None and not fits(shapes, known):
        raise ValueError(f"`input_shape` must fit the model's input {known}. Received: input_shape={input_shape!r}")
    return shapes


def _shape_error(received):
    return ValueError(
        "`input_shape` must be a tuple of positive integers, or None for unknown sizes, without the batch. "
        f"Received: input_shape={received!r}"
    )


def fits(shapes: Sequence[Shape], known: Sequence[Shape]) -> bool:
    """Whether shapes equal known ones wherever both have a size. Both are lists of tuples, without the batch."""
    return len(shapes) == len(known) and all(
        len(shape) == len(other) and all(None in (a, b) or a == b for a, b in zip(shape, other, strict=True))
        for shape, other in zip(shapes, known, strict=True)
    )


def _built_shapes(model):
    inputs = getattr(model, "inputs", None)
    if inputs:
        return [tuple(tensor.shape[1:]) for tensor in keras.tree.flatten(inputs)]
    shape: Any = known_input_shape(model)  # one, or several
    if not shape:
        return None
    several = isinstance(shape[0], list | tuple)
    return [tuple(part[1:]) for part in (shape if several else [shape])]
