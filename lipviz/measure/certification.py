"""A Lipschitz constant that can be trusted: bounds of every layer, put together along the graph of a model."""

import dataclasses
import functools
import inspect
import math
import time

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.copies import NotCopiedError, in_order
from lipviz.measure import masks as masking
from lipviz.measure import rounding, sizes
from lipviz.measure.algebra import computes_as
from lipviz.measure.bounds import entering, merging
from lipviz.measure.bounds.merging import Flow
from lipviz.measure.bounds.pointwise import activation_bound, broadcast_shape
from lipviz.measure.bounds.registry import (
    activation_of,
    behind,
    check_norm,
    find_rule,
    is_float,
    takes_whole_numbers,
    unknown,
    why_unknown,
)
from lipviz.measure.certificate import Certificate, LayerBound
from lipviz.measure.kernels import as_float64, to_numpy
from lipviz.measure.model_file import load_model_file
from lipviz.measure.operators import used_kernel
from lipviz.measure.precision import NotInFloat64Error, float64_copy
from lipviz.measure.provenance import data_of, origin_of
from lipviz.measure.ratios import gradient_ascent_ratio
from lipviz.model import Functional, Sequential

_Functional = type(keras.Model(_any := keras.Input((1,)), keras.layers.Identity()(_any)))  # it has no public name
_HALF = ("float16", "bfloat16")
_SEARCH = {"steps": 30, "starts": 16}
_DRAWN = 64  # samples that the search starts from by default, standard normal
_REMEDY = "give it a bound by lipviz.register_bound"


# --- along the graph ---


class _Trace:
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
    return _computes_as_one_of(model, (_Functional, Functional))


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


# --- what users call ---


def certify(model, input_shape=None, *, norm=2, exact=False, search=True, samples=None, seed=0):
    """Bound a model's Lipschitz constant from above, for all inputs, and from below.

    Every layer's constant is bounded with the weights that inference uses: `wbar` of lipviz's layers, rounded where a
    layer computes in half precision. Bounds multiply along a chain and add up where branches are added; a
    concatenation takes the root of the sum of squares. Convolutions are bounded at the size of their images, with
    their padding and strides.

    Args:
        model: Built Keras model of known layers, Sequential or functional, nested ones and lipviz's included; or a
            layer.
        input_shape: Shape of an input without the batch; that of the model by default. With None for its sizes, bounds
            hold for images of every size, and are looser.
        norm: 1, 2 or "inf". In l2 everything is known; in l1 and l∞ the table says what is not.
        exact: Whether to spend seconds on each convolution for a gap below 0.1 %.
        search: Whether to look for a lower bound, by gradient ascent on ‖f(x) − f(y)‖ / ‖x − y‖ in float64, in the l2
            norm only. Takes seconds.
        samples: Inputs of shape (n, ...) that the search starts from; standard normal by default.
        seed: Seed of the search.

    Returns:
        A `Certificate`. Its upper bound is infinite where a layer is not known, and the table says which.

    Raises:
        TypeError: If `model` is no Keras model or layer.
        ValueError: If the model is not built, a weight holds NaN or Inf, `input_shape` does not fit, an argument is out
            of range, or the search beats the bound by more than rounding explains, which only a wrong registered rule
            can cause.

    References:
        Szegedy et al. (2014), Intriguing properties of neural networks, section 4.3 (products of norms).
    """
    norm, seed = check_norm(norm), nm.check_seed("seed", seed)
    trace, inputs, outputs = _traced(model, input_shape, norm, exact)
    samples = None if samples is None else _checked_samples(samples, inputs)
    gains = [flow.gains for flow in keras.tree.flatten(outputs)]
    upper = _joint(gains, norm)
    shapes = tuple(flow.shape[1:] for flow in inputs)
    notes = list(_notes(model, trace))
    lower = 0.0
    if search:
        lower, why = _searched(model, shapes, norm, samples, seed, upper)
        notes += [why] if why else []
    return Certificate(
        model=model.name,
        upper_bound=upper,
        lower_bound=min(lower, upper),
        layers=tuple(trace.rows),
        norm=norm,
        input_shape=shapes[0] if len(shapes) == 1 else shapes,
        notes=tuple(notes),
        origin=origin_of(model, exact, _search_settings(samples, seed) if lower else None),
    )


def upper_bound(model, input_shape=None):
    """The upper bound that `certify` finds in l2, a float, for loops that need nothing else.

    It takes no hashes of the model, which for a small network are half of the time.

    Args:
        model: See `certify`.
        input_shape: See `certify`.

    Raises:
        TypeError: See `certify`.
        ValueError: See `certify`.
    """
    _, _, outputs = _traced(model, input_shape, 2)
    return _joint([flow.gains for flow in keras.tree.flatten(outputs)], 2)


def _search_settings(samples, seed):
    start = {"drawn": _DRAWN} if samples is None else dataclasses.asdict(data_of(samples))
    return {**_SEARCH, "seed": int(seed), "samples": start}


def _traced(model, input_shape, norm, exact=False, only_graph=False, rounds=False):
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
    dtypes = _input_dtypes(model, len(shapes))
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
    trace = _Trace(norm, exact, only_graph, rounds)
    if isinstance(model, keras.Model):
        outputs = trace.model(model, flows if len(flows) > 1 else flows[0])
    else:
        outputs = trace.visit("", model, flows if len(flows) > 1 else flows[0])
    return trace, flows, outputs


def _input_dtypes(model, count=1):
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
    if known is not None and not _fits(shapes, known):
        raise ValueError(f"`input_shape` must fit the model's input {known}. Received: input_shape={input_shape!r}")
    return shapes


def _shape_error(received):
    return ValueError(
        "`input_shape` must be a tuple of positive integers, or None for unknown sizes, without the batch. "
        f"Received: input_shape={received!r}"
    )


def _fits(shapes, known):
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


def _joint(gains, norm):
    """Constant of all outputs together with respect to all inputs together."""
    together = np.stack(gains)
    if norm == 2:
        value = np.linalg.norm(together, 2) if np.isfinite(together).all() else math.inf
    elif norm == math.inf:
        value = together.sum(axis=1).max()
    else:
        value = together.sum(axis=0).max()
    return float(value)


def _notes(model, trace):
    unbounded = [row for row in trace.rows if row.upper == math.inf]
    if unbounded:
        yield "Without a bound: " + "; ".join(f"'{row.name}' ({row.method})" for row in unbounded) + "."
    half = sorted({layer.compute_dtype for layer in model._flatten_layers() if layer.compute_dtype in _HALF})
    if half:
        yield (
            f"It computes in {' and '.join(half)}: the bounds are those of the weights as rounded to that, and do not "
            "cover the rounding of what is computed with them."
        )


def _checked_samples(samples, inputs):
    samples = as_float64(samples, "The samples")
    if not _fits([samples.shape[1:]], [inputs[0].shape[1:]]):
        expected = ("n", *inputs[0].shape[1:])
        raise ValueError(f"`samples` must have the shape {expected}. Received shape: {samples.shape}")
    return samples


def _searched(model, shapes, norm, samples, seed, upper):
    """A lower bound by search, and words where there is none, or where rounding disturbs it."""
    why = None
    if norm != 2:
        why = "the search knows the l2 norm only"
    elif len(shapes) > 1 or len(keras.tree.flatten(getattr(model, "outputs", None) or [0])) > 1:
        why = "the search needs a model of one input and one output"
    elif not isinstance(model, keras.Model):
        why = "the search needs a model, not a layer"
    elif any(layer.compute_dtype in _HALF for layer in model._flatten_layers()):
        why = "the search computes in float64, and the model in half precision"
    elif not is_float(_input_dtypes(model)[0]):
        why = f"the search needs inputs that vary, and these are of dtype {_input_dtypes(model)[0]}"
    elif samples is None and None in shapes[0]:
        why = "the search needs a known input shape, or samples"
    if why is not None:
        return 0.0, f"No lower bound: {why}."
    if samples is None:
        samples = np.random.default_rng(seed).standard_normal((_DRAWN, *shapes[0]))
    try:
        found = gradient_ascent_ratio(model, samples, **_SEARCH, seed=seed)
    except (TypeError, NotImplementedError, NotCopiedError, NotInFloat64Error) as error:  # there is no copy to search
        reason = str(error).strip().split("\n")[0]
        return 0.0, f"No lower bound: {reason}"
    if found.largest <= upper * (1 + 1e-9):
        return found.largest, None
    sure = max(found.largest - _noise(model, found), 0.0)
    if sure > upper * (1 + 1e-9):
        raise ValueError(
            f"The search found a pair of inputs that '{model.name}' stretches by {found.largest}, above the bound "
            f"{upper}, and more than rounding explains: a rule given to register_bound is too small."
        )
    return sure, (
        f"The search found a ratio of {found.largest:.6g}, above the bound: its outputs are so large beside their "
        "differences that rounding in float64 explains it. The lower bound is what is left without that."
    )


def _noise(model, found):
    """What rounding may add to the ratio of a pair, twice the error of an output over the distance."""
    _, _, outputs = _traced(float64_copy(model), found.x.shape, 2, rounds=True)
    constant, slope = keras.tree.flatten(outputs)[0].gains[-2:]
    x, y = found.x.reshape(-1), found.y.reshape(-1)
    errors = 2 * constant + slope * (np.linalg.norm(x) + np.linalg.norm(y))
    return errors / np.linalg.norm(x - y)


# --- differences of outputs ---

_LOOKED_THROUGH = (keras.activations.softmax, keras.activations.sigmoid)


def pairwise_bounds(model, input_shape=None):
    """Lipschitz constants in l2 of the differences f_i − f_j of a classifier's logits.

    Where the last layer is dense, with columns w_i, that is ‖w_i − w_j‖ times the constant of all that lies before: for
    orthonormal columns √2·L, for columns of opposite directions 2·L, for `disjoint_neurons` whatever its columns
    are. Elsewhere √2·L, with L that of all outputs together. Softmaxes and sigmoids at the end are looked through: they
    do not change which output is the largest. Of one output, one sigmoid is: it lies above ½ where the logit is
    positive; a softmax is not, which is 1 whatever the logit.

    Args:
        model: Built Keras model with one input and outputs of shape (batch, C).
        input_shape: See `certify`.

    Returns:
        A float64 array of shape (C, C), symmetric with zeros on its diagonal, of which entry (i, j) is the constant of
        f_i − f_j; for C = 1 of shape (1, 1), the constant of f.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: See `certify`; and if the model's output is not of shape (batch, C).
    """
    trace, inputs, outputs = _traced(model, input_shape, 2)
    return _pairwise(_head(trace, outputs), len(inputs))


def pairwise_bounds_and_errors(network, input_shape):
    """The `pairwise_bounds` of a `logits_model`, and what its logits in float64 are off by.

    Args:
        network: What `logits_model` returned.
        input_shape: Shape of an input without the batch, all sizes known.

    Returns:
        The tuple (bounds, a, b): the logits of x, as one vector, are off by at most a + b‖x‖ in l2, see `rounding`.
        Both are infinite where a layer is not known.

    Raises:
        ValueError: See `pairwise_bounds`.
    """
    trace, inputs, outputs = _traced(network, input_shape, 2, rounds=True)
    head = _head(trace, outputs)
    constant, slope = head.logits.gains[-2:]
    return _pairwise(head, len(inputs)), float(constant), float(slope)


def _pairwise(head, inputs):
    count = head.logits.shape[1]
    before = float(np.linalg.norm(head.before.gains[:inputs]))
    if head.layer is None:
        differences = np.full((count, count), 1.0 if count == 1 else math.sqrt(2))
    else:
        kernel = used_kernel(head.layer)
        # Of a single output with 0, where there is no other.
        other = kernel[:, None, :] if count > 1 else 0.0
        differences = np.linalg.norm(kernel[:, :, None] - other, axis=0) * (1 + 1e-12)
    if count > 1:
        np.fill_diagonal(differences, 0.0)
    with np.errstate(invalid="ignore"):  # 0 times infinity
        return np.where(differences == 0, 0.0, differences * before)


def logits_model(model):
    """Copy a classifier into float64, without a softmax or sigmoid at its end; see `float64_copy`.

    Args:
        model: Built Keras model with outputs of shape (batch, C).

    Returns:
        A Keras model, whose outputs are what `pairwise_bounds` speaks of. Call it inside `float64_scope()`.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: See `pairwise_bounds`.
    """
    copy = float64_copy(model)
    trace, _, outputs = _traced(copy, None, 2, only_graph=True)
    for layer in _head(trace, outputs).ended:
        if isinstance(layer, keras.layers.Softmax):
            layer.call = lambda inputs, mask=None: inputs
        else:
            layer.activation = keras.activations.linear
        layer._ended_a_model = True
    return copy


@dataclasses.dataclass(frozen=True)
class _Head:
    """How a classifier ends.

    Attributes:
        ended: The layers whose softmax or sigmoid ends it.
        before: The flow before its last dense layer; where the last layer is not dense, the logits.
        layer: That dense layer, or None.
        logits: The flow that is looked at in the place of the outputs.
    """

    ended: list
    before: Flow
    layer: keras.layers.Layer | None
    logits: Flow


def _head(trace, outputs):
    """How a model ends. Of a `logits_model` nothing more is looked through."""
    flows = keras.tree.flatten(outputs)
    if len(flows) != 1 or flows[0].tensor is None or len(flows[0].shape) != 2 or flows[0].shape[1] is None:
        shapes = [getattr(flow.tensor, "shape", None) for flow in flows]
        raise ValueError(f"Expected a model with one output of shape (batch, classes). Received: {shapes}")
    (flow,) = flows
    count = flow.shape[1]
    uses = [maker for maker, _ in trace.makers.values()]
    ended, stripped = [], False
    while id(flow) in trace.makers:
        layer, before = trace.makers[id(flow)]
        if uses.count(layer) > 1 or not isinstance(layer, keras.layers.Layer):
            break
        passed = getattr(layer, "_ended_a_model", False)
        if isinstance(layer, keras.layers.Dense) and find_rule(layer) is find_rule(_PLAIN_DENSE):
            if not stripped and _keeps_decisions(layer.activation, count):
                return _Head([layer], before, layer, flow)
            is_linear = layer.activation is keras.activations.linear
            return _Head(ended, before if is_linear else flow, layer if is_linear else None, flow)
        # Of one output a second sigmoid is not looked through: the first is above ½ everywhere.
        if not passed and (not _is_monotone(layer, count) or (stripped and count == 1)):
            break
        ended += [] if passed else [layer]
        flow, stripped = before, True
    return _Head(ended, flow, None, flow)


_PLAIN_DENSE = keras.layers.Dense(1)


def _keeps_decisions(activation, count):
    """Whether the largest output, or the side of ½ that the one output lies on, tells those of the logits."""
    return activation is keras.activations.sigmoid or (activation is keras.activations.softmax and count > 1)


def _is_monotone(layer, count):
    if type(layer) is keras.layers.Softmax:
        return layer.axis in (-1, 1) and count > 1
    return type(layer) is keras.layers.Activation and _keeps_decisions(layer.activation, count)


def certify_file(path, input_shape=None, **settings):
    """Certify a model that was saved to a `.keras` file, which is loaded in safe mode: code inside it is refused.

    Args:
        path: Path of the file.
        input_shape: See `certify`.
        **settings: The other arguments of `certify`.

    Returns:
        A `Certificate`.

    Raises:
        FileNotFoundError: If there is no such file.
        IsADirectoryError: If it is a folder.
        ValueError: If it is empty, damaged, no model, or one that runs code of its own; and see `certify`.
    """
    return certify(load_model_file(path), input_shape, **settings)
