"""A classifier as it is deployed: its logits in a floating-point arithmetic, and how far they are from exact ones."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from lipviz.certification.arithmetic import Arithmetic, check_machine, numbers_of
from lipviz.certification.classifiers import ending, pairwise_bounds
from lipviz.certification.computation import Computation, of_trace
from lipviz.certification.forms import Affine
from lipviz.certification.graph import Trace, input_flows
from lipviz.certification.local import LocalBounds
from lipviz.certification.local_radii import LocalRadii
from lipviz.certification.running import Running, UnknownRoundingError
from lipviz.certification.running_errors import Steps
from lipviz.certification.running_sums import AffineStep
from lipviz.certification.tight import Method
from lipviz.keras_internals import inner_layers
from lipviz.model import parametrizations
from lipviz.operators.linear import is_plain
from lipviz.operators.precision import copy_in, settled
from lipviz.operators.used_weights import used_kernel
from lipviz.types import Array, Shape

_POLICIES = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
_ENDING = 40  # in units of u: logits that differ by less may become equal outputs of a softmax, or ½ of a sigmoid
_UP = 1 + 1e-6
# Errors of float64 relative to the bounds of those of float32, which are linear in u, with much room.
_FLOAT64 = 1e-6


class Deployed:
    """The logits of a classifier that is computed in an arithmetic.

    The exact function beside it has the same weights, rounded as the arithmetic rounds them.

    Args:
        model: Built Keras classifier. If it computes in another dtype than `arithmetic.dtype`, a copy that computes in
            that dtype takes its place.
        arithmetic: The `Arithmetic`.
        shape: Shape of a sample.

    Attributes:
        network: The model, or that copy.
        least: Difference of two logits, or magnitude of the single one, below which the end of the model may return
            the same for both.
        classes: Number of logits C.

    Raises:
        UnknownRoundingError: If a layer rounds in a way that has no bound here.
        ValueError: If the machine is set to fewer digits, or the model ends in a way that may hide its decision.
    """

    def __init__(self, model: keras.Model, arithmetic: Arithmetic, shape: Shape):
        check_machine()
        self.arithmetic = arithmetic
        self.network = in_arithmetic(model, arithmetic)
        with settled(self.network):
            self._computed, ended = _to_logits(self.network, shape)
            self.classes = self._computed.nodes[self._number].size
            self._steps = Steps(self._computed, arithmetic)
            self._differences = self._of_last_layer()
        self._local: LocalBounds | None = None
        self.least = _ENDING * numbers_of(ended).unit if ended else 0.0

    @property
    def _number(self):
        return self._computed.outputs[0]

    def bounds(self, shape: Shape, method: Method = "auto") -> Array:
        """`pairwise_bounds` of the exact function."""
        with settled(self.network):
            return pairwise_bounds(self.network, shape, method=method)

    def localize(self, shape: Shape, method: Method) -> bool:
        """Prepare `near`, if that is possible.

        Args:
            shape: Shape of a sample.
            method: How the steps that are not bounded near samples are bounded, see `certify`.

        Returns:
            Whether it is: whether the last steps are small enough, and compute what their forms say.
        """
        with settled(self.network):
            found, _ = _to_logits(self.network, shape, Trace(2, method == "tight"))
            bounds = LocalBounds(found, found.outputs[0], method=method)
        if bounds.region is not None and all(map(self._steps.has_form, bounds.region.computed)):
            self._local = bounds
        return self._local is not None

    def near(self, x: Array) -> LocalRadii:
        """Radii of the exact function by balls that grow, where `localize` returned True.

        Args:
            x: Samples of one of the `batches`, (n, ...), float64.
        """
        return LocalRadii(self._local, lambda rows: self._near(x[rows]))

    def _near(self, x):
        bounds: Any = self._local
        states = self._steps.run(x, np.zeros((len(x), 1)))
        errors = [states[number].total[:, 0] for number in bounds.region.base if self._computed.nodes[number].sources]
        base = _FLOAT64 * np.sqrt(sum(map(np.square, errors), np.zeros(len(x))))
        return bounds.near_values([None if state is None else state.values for state in states], base)

    def batches(self, x: Array) -> list[slice]:
        """Slices of the samples that are computed at once."""
        return [slice(start, start + self._steps.rows) for start in range(0, len(x), self._steps.rows)]

    def scores(self, x: Array) -> Array:
        """Exact logits, (n, C), from float64."""
        return self._steps.run(x)[self._number].values

    def errors(self, x: Array, radii: Array, chosen: Array) -> tuple[Array, Array]:
        """How far computed differences of logits f_c − f_j are from exact ones, for all inputs in balls of K radii.

        Args:
            x: Samples, (n, ...), float64.
            radii: Radii of balls around each, (n, K), finite.
            chosen: The class c of each sample, (n,).

        Returns:
            The tuple (errors of f_c − f_j, of shape (n, C, K), with one output of f; whether numbers may overflow,
            (n, K)).
        """
        states = self._steps.run(x, radii)
        logits = states[self._number]
        with np.errstate(all="ignore"):  # see `Steps.run`
            errors = self._by_entries(logits, chosen)
            if self._differences is not None:
                errors = np.minimum(errors, self._by_columns(states, chosen))
        small = 4 * numbers_of(logits.dtype).tiny  # a last step that compares may set the logits to 0
        return _UP * (errors + small), logits.overflows

    def _by_entries(self, logits: Running, chosen):
        each, rows = logits.entries[:, :, None], np.arange(len(chosen))
        if self.classes == 1:
            return np.minimum(each + logits.rest[:, None], logits.total[:, None])
        root = math.sqrt(2)
        pairs = each + each[rows, chosen][:, None] + root * logits.rest[:, None]
        return np.minimum(pairs, root * logits.total[:, None])

    def _of_last_layer(self):
        """Norms of the columns of a last dense layer, (C,), and of their differences, (C, C); None for another layer.

        Of one output, the only entry of the second is the norm of the column itself.
        """
        node, step = self._computed.nodes[self._number], self._steps.steps[self._number]
        (source, *_) = node.sources
        is_vector = len(self._computed.nodes[source].shape) == 1
        if not (isinstance(step, AffineStep) and isinstance(node.form, Affine) and is_vector):
            return None
        if not is_plain(node.op, (keras.layers.Dense,)):
            return None
        kernel = used_kernel(node.op)
        norms = np.linalg.norm(kernel, axis=0)
        other = kernel[:, None, :] if self.classes > 1 else 0.0
        return norms, np.linalg.norm(kernel[:, :, None] - other, axis=0)

    def _by_columns(self, states, chosen):
        """Errors of differences by the columns of the last dense layer."""
        step: Any = self._steps.steps[self._number]
        (source,) = self._computed.nodes[self._number].sources
        hidden, (norms, differences) = step.taken(states[source]), self._differences
        ball = (hidden.change + hidden.total)[:, None]
        own = step.growth * (step.term_sizes(hidden)[:, :, None] + norms[:, None] * ball)
        own = own + step.tiny[:, None] + step.flushed(hidden.total, hidden)[:, None]
        if step.late:
            results = np.abs(states[self._number].values) + step.offset_sizes
            own = own + step.late * (results[:, :, None] + norms[:, None] * ball + own)
            own = own + 2 * numbers_of(step.dtype).tiny
        if self.classes == 1:
            return own + norms[:, None] * hidden.total[:, None]
        both = own + own[np.arange(len(chosen)), chosen][:, None]
        return both + differences[chosen][:, :, None] * hidden.total[:, None]


def in_arithmetic(model: keras.Model, arithmetic: Arithmetic) -> keras.Model:
    """A model that computes in the dtype of an arithmetic: the model itself if it does, otherwise a copy.

    A model does so if its layers compute in that dtype or, some of them, in float32.

    Raises:
        ValueError: If a constrained kernel is out of date, or an inner model rounds its input.
    """
    for each in parametrizations(model):
        if not each.is_current_now():
            raise ValueError(
                f"The constrained kernels of '{model.name}' are not those of its present weights, so each call "
                "computes them anew, with rounding errors of its own. Expected lipviz.model.refresh(model) first."
            )
    computing = [layer for layer in inner_layers(model) if not isinstance(layer, _IDLE)]
    dtypes = {layer.compute_dtype for layer in computing if keras.backend.is_float_dtype(layer.compute_dtype)}
    is_deployed = arithmetic.dtype in dtypes and dtypes <= {arithmetic.dtype, "float32"}
    network = model if is_deployed else copy_in(model, _POLICIES[arithmetic.dtype])
    for layer in inner_layers(network):
        halves = [tensor for tensor in getattr(layer, "inputs", None) or () if "float16" in str(tensor.dtype)]
        if isinstance(layer, keras.Model) and halves:
            raise UnknownRoundingError(f"The inner model '{layer.name}' converts its input to {halves[0].dtype}.")
    return network


def _to_logits(network, shape, trace=None) -> tuple[Computation, str]:
    """The computation of the logits, and the dtype of the softmax or sigmoid that follows them, or ""."""
    inputs, trace = input_flows(network, shape), trace or Trace(2, only_graph=True)
    outputs = trace.follow(network, inputs)
    ended = ending(trace, outputs)
    computed = of_trace(trace, inputs, outputs)
    (number,) = computed.outputs
    if not ended:
        return computed, ""
    last = computed.nodes[number]
    saturates = last.size > 1 and getattr(ended[0], "activation", None) is keras.activations.sigmoid
    if len(ended) > 1 or saturates:
        raise ValueError(
            f"The end of '{network.name}' may return equal numbers for different logits when it is rounded: "
            f"{', '.join(repr(layer.name) for layer in ended)}. Expected one softmax, or a sigmoid of one output, or "
            "a model that ends with its logits."
        )
    (before,) = last.sources
    return dataclasses.replace(computed, outputs=(before,)), last.dtype


_IDLE = (keras.Model, keras.layers.InputLayer)
