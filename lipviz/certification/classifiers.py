"""Lipschitz constants of the differences of a classifier's logits, and the model that ends with its logits."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from lipviz.certification.computation import Computation, of_trace
from lipviz.certification.graph import Trace, check_certifiable, input_flows
from lipviz.certification.merging import Flow
from lipviz.certification.tight import Method, tighter
from lipviz.certification.upper_bounds import check_method
from lipviz.operators.precision import float64_copy
from lipviz.operators.used_weights import used_kernel
from lipviz.rules.bound import root_of_squares
from lipviz.rules.registry import find_rule
from lipviz.types import Array, Shape

LOOKED_THROUGH = (keras.activations.softmax, keras.activations.sigmoid)


def pairwise_bounds(model: keras.Model, input_shape: Shape | None = None, *, method: Method = "auto") -> Array:
    """Lipschitz constants in l2 of the differences f_i − f_j of a classifier's logits.

    If the last layer is dense, with columns w_i, the constant is ‖w_i − w_j‖ times that of all layers before it: √2·L
    for orthonormal columns, 2·L for columns of opposite directions, and what its columns give for `disjoint_neurons`.
    Otherwise it is √2·L, with the constant L of all outputs together. A bound of several steps with the last one is
    applied to each difference of logits, see `method` of `certify`.

    Softmaxes and sigmoids at the end are skipped, since they do not change which output is the largest. With one
    output, one sigmoid is skipped: it is above ½ where the logit is positive. A softmax of one output is not skipped:
    it is 1 for every logit.

    Args:
        model: Built Keras model with one input and outputs of shape (batch, C).
        input_shape: See `certify`.
        method: See `certify`.

    Returns:
        A float64 array of shape (C, C), symmetric with zeros on its diagonal, with the constant of f_i − f_j in entry
        (i, j). For C = 1, an array of shape (1, 1) with the constant of f.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: See `certify`; and if the model's output is not of shape (batch, C).
    """
    check_certifiable(model)
    method = check_method(method)
    inputs, trace = input_flows(model, input_shape), Trace(2, method == "tight")
    outputs = trace.follow(model, inputs)
    return _pairwise(trace, inputs, outputs, _head(trace, outputs), method)


def pairwise_bounds_and_errors(
    network: keras.Model, input_shape: Shape, method: Method = "auto"
) -> tuple[Array, float, float]:
    """The `pairwise_bounds` of a `logits_model`, and a bound of the rounding errors of its logits in float64.

    Args:
        network: What `logits_model` returned.
        input_shape: Shape of an input without the batch, all sizes known.
        method: See `certify`.

    Returns:
        The tuple (bounds, a, b): the logits of x, as one vector, have an error of at most a + b‖x‖ in l2, see
        `rounding`. Both a and b are infinite where a layer is not known.

    Raises:
        ValueError: See `pairwise_bounds`.
    """
    check_certifiable(network)
    inputs, trace = input_flows(network, input_shape, rounds=True), Trace(2, method == "tight", rounds=True)
    outputs = trace.follow(network, inputs)
    head = _head(trace, outputs)
    constant, slope = head.logits.gains[-2:]
    return _pairwise(trace, inputs, outputs, head, method), float(constant), float(slope)


def logits_computation(network: keras.Model, input_shape: Shape, method: Method = "auto") -> tuple[Computation, int]:
    """The steps of a `logits_model`, with the bounds and the rounding of the values between them.

    Args:
        network: What `logits_model` returned.
        input_shape: Shape of an input without the batch, all sizes known.
        method: How the bounds of single steps are computed, see `certify`.

    Returns:
        The tuple (`Computation`, number of the node of the logits).

    Raises:
        ValueError: See `pairwise_bounds`, and `computation`.
    """
    inputs, trace = input_flows(network, input_shape, rounds=True), Trace(2, method == "tight", rounds=True)
    found = of_trace(trace, inputs, [_head(trace, trace.follow(network, inputs)).logits])
    return found, found.outputs[0]


def _pairwise(trace, inputs, outputs, head, method):
    together, _ = tighter(trace, inputs, outputs, method, head.logits, head.layer is not None)
    alone = _by_last_layer(head, len(keras.tree.flatten(inputs)))
    if together is None or together.differences is None:
        return alone
    return np.minimum(alone, together.differences)


def _by_last_layer(head, inputs):
    count = head.logits.shape[1]
    before = float(root_of_squares(head.before.gains[:inputs]))
    if head.layer is None:
        differences = np.full((count, count), 1.0 if count == 1 else math.sqrt(2))
    else:
        kernel = used_kernel(head.layer)
        # A single output is compared with 0.
        other = kernel[:, None, :] if count > 1 else 0.0
        differences = root_of_squares(kernel[:, :, None] - other, axis=0) * (1 + 1e-12)
    if count > 1:
        np.fill_diagonal(differences, 0.0)
    with np.errstate(invalid="ignore"):  # 0 times infinity
        return np.where(differences == 0, 0.0, differences * before)


def ending(trace: Trace, outputs: Any) -> list[keras.layers.Layer]:
    """The layers whose softmaxes or sigmoids end a classifier and leave its decision, the last one first.

    Args:
        trace: The `Trace` that followed the classifier.
        outputs: The flows that it returned.

    Raises:
        ValueError: If there is not one output of shape (batch, C).
    """
    return _head(trace, outputs).ended


def logits_model(model: keras.Model) -> keras.Model:
    """Copy a classifier into float64, without a softmax or sigmoid at its end; see `float64_copy`.

    Args:
        model: Built Keras model with outputs of shape (batch, C).

    Returns:
        A Keras model, whose outputs are the logits that `pairwise_bounds` bounds. Call it inside `float64_scope()`.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: See `pairwise_bounds`.
    """
    copy = float64_copy(model)
    trace = Trace(2, only_graph=True)
    for layer in _head(trace, trace.follow(copy, input_flows(copy))).ended:
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
        logits: The flow of the logits, before a softmax or sigmoid that ends the model.
    """

    ended: list[keras.layers.Layer]
    before: Flow
    layer: keras.layers.Layer | None
    logits: Flow


def _head(trace, outputs):
    """How a model ends. In a `logits_model` no further softmax or sigmoid is skipped."""
    flows = keras.tree.flatten(outputs)
    if len(flows) != 1 or flows[0].tensor is None or len(flows[0].shape) != 2 or flows[0].shape[1] is None:
        shapes = [getattr(flow.tensor, "shape", None) for flow in flows]
        raise ValueError(f"Expected a model with one output of shape (batch, classes). Received: {shapes}")
    (flow,) = flows
    count = flow.shape[1]
    uses = [maker for maker, _ in trace.makers.values()]
    ended: list[keras.layers.Layer] = []
    stripped = False
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
        # With one output, a sigmoid before the last one is not skipped: the last is then above ½ everywhere.
        if not passed and (not _is_monotone(layer, count) or (stripped and count == 1)):
            break
        ended += [] if passed else [layer]
        flow, stripped = before, True
    return _Head(ended, flow, None, flow)


_PLAIN_DENSE = keras.layers.Dense(1)


def _keeps_decisions(activation, count):
    """Whether the largest output, or a single output above or below ½, still tells the decision of the logits."""
    return activation is keras.activations.sigmoid or (activation is keras.activations.softmax and count > 1)


def _is_monotone(layer, count):
    if type(layer) is keras.layers.Softmax:
        return layer.axis in (-1, 1) and count > 1
    return type(layer) is keras.layers.Activation and _keeps_decisions(layer.activation, count)
