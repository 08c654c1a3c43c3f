"""Follows a model's graph: what each step can stretch, what it rounds, and which sizes and masks are behind it."""

import dataclasses
import functools
import inspect
import time

import keras
import numpy as np

from lipviz.certification import masks as masking
from lipviz.certification import rounding, sizes
from lipviz.certification.results import LayerBound
from lipviz.certification.rules import entering, merging
from lipviz.certification.rules.merging import Flow
from lipviz.certification.rules.pointwise import activation_bound, broadcast_shape
from lipviz.certification.rules.registry import (
    activation_of,
    behind,
    find_rule,
    is_float,
    takes_whole_numbers,
    unknown,
    why_unknown,
)
from lipviz.copies import in_order
from lipviz.model import Functional, Sequential
from lipviz.operators.algebra import KerasFunctional, computes_as
from lipviz.operators.weights import to_numpy

_REMEDY = "give it a bound by lipviz.register_bound"


class Trace:
    """Follows a model's graph with a `Flow` for each value, and writes down what each step can stretch.

    Args:
        norm: 1, 2 or `math.inf`.
        exact: See `certify`.
        only_graph: Whether to leave out the bounds of layers of one input.
        rounds: Whether to follow what float64 rounds as well, see `rounding`; the model must be in float64.
    """

    def __init__(self, norm, exact, only_graph=False, rounds=False):
        self.norm, self.exact = norm, exact
        self.only_graph, self.rounds = only_graph, rounds
        self.rows = []
        self.makers = {}  # from the id of a Flow to (layer, the Flow it came from); both stay alive in `flows`
        self.flows = []
        self._known = {}

    def model(self, model, inputs, prefix="", others=None):
        """The flows that leave a model, in the structure of its outputs.

        Args:
            model: Keras model.
            inputs: Flows in the structure of its inputs.
            prefix: Of the names of its layers.
            others: The other arguments that it is called with, a dict; optional.
        """
        others = dict(others or {})
        if not (_is_sequential(model) or _is_functional(model)):
            return self._opaque(model, inputs, prefix, others)
        inputs = _masked(inputs, others.pop("mask", None))
        if _is_sequential(model):
            (flow,) = self._entered(prefix, model, keras.tree.flatten(inputs)[:1])
            for layer in model.layers:
                flow = self.visit(prefix, layer, flow)
            return flow
        return model._run_through_graph(
            self._entered(prefix, model, in_order(model, inputs)),
            operation_fn=lambda op: functools.partial(self.visit, prefix, op),
        )

    def _entered(self, prefix, model, flows):
        """What the layers of a model are given, and a row where Keras converts it in a way that has no bound."""
        start = time.perf_counter()
        taken = entering.entered(model, flows)
        for _, bound in taken:
            if bound is not None:
                self._row(f"{prefix}input", type(model).__name__, bound, start)
        return [flow for flow, _ in taken]

    def _opaque(self, model, inputs, prefix, others):
        """A model whose own `call` computes: only a registered bound can speak of it."""
        flows = _flows((inputs, others))
        start = time.perf_counter()
        bound = self._of_opaque(model, inputs, flows, others)
        self._row(prefix + model.name, type(model).__name__, bound, start)
        gains = _times(flows, bound)
        if not prefix:
            return Flow(None, gains)
        spec = _output_spec(model, *_part("tensor", ((inputs,), others)))
        results = errors = None
        if self.rounds:
            results = rounding.at_zero(model, *_part("at_zero", ((inputs,), others)))
            errors = rounding.of_layer(model, flows, keras.tree.flatten(results), [bound.upper])
        masks = self._masks_behind(model, inputs, others, spec)
        return self._leaving(
            spec, gains, flows, results, errors, masks, _shapes_behind(model, flows, (inputs,), others)
        )

    def _of_opaque(self, model, inputs, flows, others):
        rule = find_rule(model)
        if rule is None or len(flows) > 1:
            return unknown(f"a subclassed {type(model).__name__}, whose graph cannot be seen: {_REMEDY}")
        return _not_of_its_input(model, inputs, others) or rule(model, flows[0].shape[1:], self.norm, self.exact)

    def _leaving(self, spec, gains, flows, results, errors, masks, shapes, layer=None):
        """The flows behind a step, in the structure of `spec`; `layer` made them from one input and no more."""
        if errors is not None:
            gains = rounding.with_errors(gains, flows, keras.tree.flatten(results), errors)
        tensors = keras.tree.flatten(spec)
        at_zero = [None] * len(tensors) if results is None else keras.tree.flatten(results)
        parts = zip(tensors, [gains] * len(tensors), at_zero, masks, map(shapes, range(len(tensors))), strict=True)
        leaving = [Flow(*part) for part in parts]
        self.flows += leaving
        if layer is not None:
            self.makers |= {id(flow): (layer, flows[0]) for flow in leaving}
        return keras.tree.pack_sequence_as(spec, leaving)

    def visit(self, prefix, op, *args, **kwargs):
        """What `op` makes of its arguments."""
        if isinstance(op, keras.layers.Layer):
            inputs, others = _arguments(op, args, kwargs)
            if isinstance(op, keras.Model):
                return self.model(op, inputs, f"{prefix}{op.name}/", others)
        spec = _output_spec(op, *_part("tensor", (args, kwargs)))
        results = rounding.at_zero(op, *_part("at_zero", (args, kwargs))) if self.rounds else None
        flows = _flows((args, kwargs))
        shapes = _shapes_behind(op, flows, args, kwargs)
        if not isinstance(op, keras.layers.Layer):
            gains, errors = self._operation(prefix, op, args, kwargs, spec, flows, results)
            masks = masking.behind_operation(op, flows, keras.tree.flatten(spec))
            return self._leaving(spec, gains, flows, results, errors, masks, shapes)
        reason = _not_of_its_input(op, inputs, others)
        if reason is None:  # a mask that is not used counts for nothing
            flows = _flows((inputs, {name: value for name, value in others.items() if name != "mask"}))
        gains, errors = self._step(prefix, op, flows, results, reason)
        masks = self._masks_behind(op, inputs, others, spec)
        return self._leaving(spec, gains, flows, results, errors, masks, shapes, op if reason is None else None)

    def _masks_behind(self, layer, inputs, others, spec):
        masks = others.get("mask")
        if masks is None:
            masks = keras.tree.map_structure(lambda leaf: getattr(leaf, "mask", None), inputs)
        tensors = _part("tensor", inputs)
        return masking.behind_layer(layer, tensors, _part("tensor", masks), keras.tree.flatten(spec))

    def _operation(self, prefix, op, args, kwargs, spec, flows, results):
        """Gains behind an operation of `keras.ops`, and its errors, for `rounding.with_errors`."""
        start = time.perf_counter()
        merged = merging.operate(op, args, kwargs, spec, self.norm)
        self._row(prefix + op.name, type(op).__name__, merged.bound, start)
        if not self.rounds:
            return merged.gains, None
        return merged.gains, rounding.of_operation(op, flows, keras.tree.flatten(results), merged.bound.upper)

    def _step(self, prefix, layer, flows, results, reason):
        """The same behind a layer. `reason` is the bound of one that is not a function of its input alone, or None."""
        flat = keras.tree.flatten(results)
        if reason is None and len(flows) == 1:
            gains, uppers = self._layer(prefix, layer, flows[0])
            return gains, rounding.of_layer(layer, flows, flat, uppers) if self.rounds else None
        start = time.perf_counter()
        merged = (
            merging.merge(layer, flows, self.norm) if reason is None else merging.Merged(_times(flows, reason), reason)
        )
        self._row(prefix + layer.name, type(layer).__name__, _explained(merged.bound), start)
        return merged.gains, rounding.of_operation(layer, flows, flat, merged.bound.upper) if self.rounds else None

    def _layer(self, prefix, layer, flow):
        """Gains behind a layer of one input, and the upper bounds of its steps."""
        start = time.perf_counter()
        gains, uppers = flow.gains, []
        for suffix, bound in self._steps(layer, flow):
            self._row(prefix + layer.name + suffix, type(layer).__name__, bound, start)
            gains = _times([Flow(None, gains)], bound)
            uppers.append(bound.upper)
            start = time.perf_counter()
        return gains, uppers

    def _steps(self, layer, flow):
        """Bounds of a layer of one input, and of the activation behind it."""
        if self.only_graph:
            return [("", unknown("not asked for"))]
        shape, whole = flow.shape[1:], not is_float(flow.tensor.dtype)
        key = (id(layer), shape, whole)
        if key not in self._known:
            self._known[key] = list(self._bounds(layer, shape, whole))
        return self._known[key]

    def _bounds(self, layer, shape, whole):
        rule = find_rule(layer)
        problem = why_unknown(layer, rule, shape)
        if problem is not None:
            yield "", _explained(unknown(problem))
            return
        if whole and not takes_whole_numbers(rule):
            yield "", unknown("it computes with whole numbers, which wrap around: convert them, as by Rescaling(1.0)")
            return
        yield "", rule(layer, shape, self.norm, self.exact)
        activation = activation_of(layer, rule)
        if activation is not None:
            label = getattr(activation, "name", None) or getattr(activation, "__name__", "activation")
            yield f" · {label}", activation_bound(activation, behind(layer, shape), self.norm)

    def _row(self, name, kind, bound, start):
        milliseconds = 1000 * (time.perf_counter() - start)
        self.rows.append(LayerBound(name, kind, bound.lower, bound.upper, bound.method, milliseconds))


def _is_sequential(model):
    return _computes_as_one_of(model, (keras.Sequential, Sequential))


def _is_functional(model):
    return _computes_as_one_of(model, (KerasFunctional, Functional))


def _computes_as_one_of(model, classes):
    return any(isinstance(model, cls) and computes_as(model, cls) for cls in classes)


def _flows(structure):
    return [leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, Flow)]


def _shapes_behind(op, flows, args, kwargs):
    """A function from the number of an output of a step to its `Shapes`."""
    stated = functools.partial(_output_spec, op)
    return lambda output: sizes.behind(flows, args, kwargs, lambda known: stated(*known), output)


def _part(name, structure):
    """A structure with an attribute of each `Flow` in its place."""
    return keras.tree.map_structure(lambda leaf: getattr(leaf, name) if isinstance(leaf, Flow) else leaf, structure)


def _arguments(layer, args, kwargs):
    """What a layer is called with: its first argument, and a dict of the others but for None and `training`."""
    given = inspect.signature(layer.call).bind(*args, **kwargs)
    first, *names = given.arguments
    others = {name: given.arguments[name] for name in names}
    others |= others.pop("kwargs", {})
    others.pop("training", None)
    return given.arguments[first], {
        name: value for name, value in others.items() if any(leaf is not None for leaf in keras.tree.flatten(value))
    }


def _masked(inputs, masks):
    """Flows that a model is called with, with the masks that it is called with."""
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


def _not_of_its_input(layer, inputs, others):
    """An infinite bound for a layer whose result hangs on more than the values of its inputs, else None."""
    masked = "mask" in others or any(flow.mask is not None for flow in _flows(inputs))
    if masked and masking.uses(layer):
        return unknown("it uses a mask, which jumps where that is computed from data")
    more = sorted(others.keys() - {"mask"}) if find_rule(layer) else None
    return unknown(f"it is called with more than its rule knows of: {', '.join(more)}") if more else None


def _explained(bound):
    """An infinite bound of a layer without a rule says what to do about it."""
    return unknown(f"{bound.method}: {_REMEDY}") if bound.method.startswith("no rule for") else bound


def _times(flows, bound):
    return merging.times(sum(flow.gains for flow in flows), bound.upper)


def _output_spec(op, args, kwargs):
    try:
        spec = op.compute_output_spec(*args, **kwargs)
    except Exception as error:
        shapes = [tuple(x.shape) for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
        raise ValueError(
            f"'{op.name}' ({type(op).__name__}) does not take inputs of the shape(s) {shapes}: {error}"
        ) from error
    if isinstance(op, _BROADCASTING):  # Keras states the shape of the input, also where the layer's numbers widen it
        shape = broadcast_shape(op, tuple(spec.shape)[1:])
        return spec if shape is None else keras.KerasTensor((spec.shape[0], *shape), spec.dtype)
    return spec


_BROADCASTING = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.PReLU)


def traced(model, input_shape, norm, exact=False, only_graph=False, rounds=False):
    """The trace of a model, its input flows, and its outputs."""
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"certify expects a Keras model or layer. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"'{model.name}' must be built before it is certified: call it on data, or `build` it.")
    for weight in model.weights:
        value = to_numpy(weight)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"The weight '{weight.path}' holds NaN or Inf: nothing can be certified.")
    shapes = _input_shapes(model, input_shape)
    dtypes = input_dtypes(model, len(shapes))
    units = np.eye(len(shapes), len(shapes) + 2 * rounds)
    flows = [
        Flow(
            keras.KerasTensor((None, *shape), dtype),
            unit,
            np.zeros((1, *shape), dtype) if rounds else None,
            None,
            known,
        )
        for shape, dtype, unit, known in zip(shapes, dtypes, units, sizes.of_inputs(shapes), strict=True)
    ]
    trace = Trace(norm, exact, only_graph, rounds)
    if isinstance(model, keras.Model):
        outputs = trace.model(model, flows if len(flows) > 1 else flows[0])
    else:
        outputs = trace.visit("", model, flows if len(flows) > 1 else flows[0])
    return trace, flows, outputs


def input_dtypes(model, count=1):
    """Dtypes of the inputs of a model, a list; a layer that states none takes `count` of what it computes in."""
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


def fits(shapes, known):
    """Whether shapes are some known ones, where both state a size. All are lists of tuples, without the batch."""
    return len(shapes) == len(known) and all(
        len(shape) == len(other) and all(None in (a, b) or a == b for a, b in zip(shape, other, strict=True))
        for shape, other in zip(shapes, known, strict=True)
    )


def _built_shapes(model):
    inputs = getattr(model, "inputs", None)
    if inputs:
        return [tuple(tensor.shape[1:]) for tensor in keras.tree.flatten(inputs)]
    shape = (model.get_build_config() or {}).get("input_shape")
    if not shape:
        return None
    several = isinstance(shape[0], list | tuple)
    return [tuple(part[1:]) for part in (shape if several else [shape])]
