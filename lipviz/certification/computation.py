"""A model as a list of maps whose form is known: affine maps, elementwise functions, sorting in groups.

`graph` gives a bound for each step and forgets what the step computes. Here a step keeps its form (`forms`), so that
steps can be merged, bounded together, or bounded near one input.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from lipviz.certification.forms import Affine, Entry, Form, value_of
from lipviz.certification.graph import Trace, check_certifiable, input_flows
from lipviz.certification.merging import Flow
from lipviz.certification.step_forms import form_of, of_activation
from lipviz.certification.step_values import linear_shape, taken, unwrapped
from lipviz.rules.registry import find_rule
from lipviz.types import Array, Shape


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
        """The values of all nodes for n samples, in float64; steps without a form compute in the dtype of their layer.

        Args:
            *inputs: An array of shape (n, ...) for each input of the model.

        Returns:
            A list of arrays of shape (n, entries), one for each node.
        """
        found = [np.asarray(x, np.float64).reshape(len(x), -1) for x in inputs]
        for node in self.nodes[len(inputs) :]:
            found.append(value_of(node.form, node.size, [found[source] for source in node.sources]))
        return found


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
        kind, name, step = type(step.op).__name__, step.op.name, unwrapped(step)
        sources = [self.number(flow) for flow in taken(step)]
        for output, flow in enumerate(leaving):
            form, before, op = form_of(step, output), sources, step.op
            if isinstance(form, Affine) and _has_activation(step.op):
                shape = (None, *linear_shape(step.op, step.flows[0]))
                middle = Flow(keras.KerasTensor(shape, flow.tensor.dtype), np.full(np.shape(flow.gains), np.inf))
                gains = self._between.get(id(flow), flow.gains)
                before, op = [self.add(name, kind, form, sources, middle, op, gains)], op.activation
                form = of_activation(op, middle)
            self.add(name, kind, form, before, flow, op)


def _has_activation(op):
    found = find_rule(op) if isinstance(op, keras.layers.Layer) else None
    plain = (None, keras.activations.linear)
    return found is not None and found.linear and getattr(op, "activation", None) not in plain
