"""Norms of gradients of a model: with respect to its input, and with respect to each of its layers.

A k-Lipschitz network has gradients of norm at most k; one that preserves gradient norms has gradients of norm k nearly
everywhere. ReLU halves the square of a random gradient on average. An activation that sorts only permutes the gradient
(Anil, Lucas and Grosse 2019, Sorting out Lipschitz function approximation, section 3).

Everything is measured in float64. On JAX, Keras computes a few functions, such as tanh, in float32. Norms of gradients
through these functions are then off by about 1e-7.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator
from typing import Literal

import keras
import numpy as np
from keras import ops

from lipviz import _moved
from lipviz import normalizers as nm
from lipviz.keras_internals import KerasFunctional, run_graph
from lipviz.operators.autodiff import GRADIENTS, ROWS, Gradients, Jacobians, padded
from lipviz.operators.precision import SyncedFloat64Copy, check_varies, float64_copy, float64_scope, outputs
from lipviz.operators.samples import checked_samples, unit_vectors
from lipviz.rules.used import as_float64
from lipviz.types import Array, ArrayLike


class Samples:
    """Base class of distributions over samples: `norms` has one entry for each sample along its last axis."""

    norms: np.ndarray

    def quantile(self, q: ArrayLike) -> Array:
        """Quantiles over the samples.

        Args:
            q: Number in [0, 1], or an array of them.

        Returns:
            A float64 array of the shape of `q`, then that of `norms` without its last axis; a NumPy number where both
            shapes are ().
        """
        return np.quantile(self.norms, np.asarray(q, float), axis=-1)

    @property
    def median(self) -> Array:
        """Median over the samples."""
        return self.quantile(0.5)


@dataclasses.dataclass(frozen=True, eq=False)
class GradientNorms(Samples):
    """Norm of the gradient of a model's output with respect to its input, at each of n samples.

    Attributes:
        name: Name of the model.
        output: Which output, in words.
        norms: Of shape (n,). If there are several outputs, it is the largest singular value of the Jacobian.
        rows: Norm of the gradient of each output, of shape (n, outputs).
    """

    name: str
    output: str
    norms: np.ndarray = dataclasses.field(repr=False)
    rows: np.ndarray = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.norms)

    @property
    def largest(self) -> float:
        """Largest norm."""
        return float(self.norms.max())


@dataclasses.dataclass(frozen=True, eq=False)
class GradientHistory(Samples):
    """Norms of input gradients after each of E epochs.

    Attributes:
        name: Name of the model.
        output: Which output, in words.
        epochs: Numbers of the epochs, of shape (E,).
        norms: Of shape (E, n).
    """

    name: str
    output: str
    epochs: np.ndarray
    norms: np.ndarray = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.epochs)


@dataclasses.dataclass(frozen=True, eq=False)
class GradientFlow(Samples):
    """Norms of a gradient that is propagated back through one network, relative to its norm at the output.

    Attributes:
        name: Name of the model.
        output: Which output, in words.
        places: "input", then the steps of the network in their order; the last one is its output. L + 1 in all.
        norms: Norm of the gradient with respect to the value at each place, of shape (L + 1, n); 1 at the last.
    """

    name: str
    output: str
    places: tuple[str, ...]
    norms: np.ndarray = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.places)


@dataclasses.dataclass(frozen=True, eq=False)
class GradientPassage:
    """Gradients on their way back through F networks of equally many steps, where they have passed some of these.

    Attributes:
        flows: The whole ways, a tuple of F `GradientFlow`.
        step: Number of steps that are passed, from 0 at the output to `steps` at the input.
        norms: Norms at this place relative to those at the output, of shape (F, n).
        gains: Norms at this place relative to those before the last step that was passed, of shape (F, n); NaN where
            nothing was left, and at the output.
    """

    flows: tuple[GradientFlow, ...] = dataclasses.field(repr=False)
    step: int
    norms: np.ndarray = dataclasses.field(repr=False)
    gains: np.ndarray = dataclasses.field(repr=False)

    @property
    def steps(self) -> int:
        """Number of steps from the output to the input."""
        return len(self.flows[0]) - 1

    @property
    def places(self) -> tuple[str, ...]:
        """Where the gradients are: a name for each network."""
        return tuple(flow.places[-1 - self.step] for flow in self.flows)


# --- with respect to the input ---


class GradientMeter:
    """Measures a model's input gradients at fixed samples, repeatedly while it trains.

    It keeps a `float64_copy` of the model. Each measurement writes the weights that inference uses into the copy, as
    they are stored. The first measurement compiles the gradient, and all others use the compiled one.

    Args:
        model: Built Keras model with one input and one output.
        x: Samples of shape (n, ...), in the model's units.
        output: Which output. None or "all": all of them, each on its own, and together as the largest singular value
            of the Jacobian. An integer: that entry of the flattened output, such as the logit of a class. An array of
            shape (outputs,): the scalar product of the output with it.
        compiled: Whether to compile. For a single measurement of a small model, compiling costs more than it saves.

    Raises:
        TypeError: If `model` is no Keras model, or `x` or `output` does not hold real numbers.
        ValueError: If the model is not built, has several inputs or outputs, an input of whole numbers or weights that
            are not finite, if `x` is empty, not finite or of another shape than the model's input, or if there is no
            such output.
    """

    def __init__(
        self, model: keras.Model, x: ArrayLike, output: ArrayLike | Literal["all"] | None = None, compiled: bool = True
    ) -> None:
        self._copy = SyncedFloat64Copy(model)
        check_varies(model)
        samples, network = checked_samples(model, x), self._copy.network
        covectors, self._words = _covectors(output, outputs(network, samples[:1]).shape[1])
        self._jacobians = Jacobians(network, samples, covectors, compiled)

    def jacobians(self) -> Iterator[Array]:
        """Gradients of the outputs at all samples, a group of samples at a time.

        Yields:
            Float64 arrays of shape (samples, outputs, inputs).

        Raises:
            ValueError: If a weight holds NaN or Inf.
        """
        self._copy.sync()
        yield from self._jacobians.groups()

    def measure(self) -> GradientNorms:
        """Measure the model as it is now.

        Returns:
            A `GradientNorms`.

        Raises:
            ValueError: If a weight holds NaN or Inf.
        """
        norms, rows = [], []
        for jacobian in self.jacobians():
            rows.append(np.linalg.norm(jacobian, axis=2))
            norms.append(rows[-1][:, 0] if jacobian.shape[1] == 1 else np.linalg.norm(jacobian, 2, axis=(1, 2)))
        return GradientNorms(self._copy.model.name, self._words, np.concatenate(norms), np.concatenate(rows))


def input_gradient_norms(
    model: keras.Model, x: ArrayLike, output: ArrayLike | Literal["all"] | None = None
) -> GradientNorms:
    """Norm of the gradient of a model's output with respect to its input, at each sample.

    At a kink it is the gradient of the branch that the backend takes. Each norm is a lower bound of the Lipschitz
    constant.

    Args:
        model: Built Keras model with one input and one output.
        x: Samples of shape (n, ...), in the model's units.
        output: Which output, see `GradientMeter`; all by default.

    Returns:
        A `GradientNorms`, exact to about 1e-15 relative.

    Raises:
        TypeError: See `GradientMeter`.
        ValueError: See `GradientMeter`.
    """
    return GradientMeter(model, x, output, compiled=False).measure()


def gradient_history(measured: Iterable[GradientNorms], epochs: ArrayLike | None = None) -> GradientHistory:
    """Join the measurements of a `GradientMeter`, one for each epoch.

    Args:
        measured: List of `GradientNorms` of one model at the same samples, in order.
        epochs: Numbers of the epochs, increasing, one for each; 1, 2, … by default.

    Returns:
        A `GradientHistory`.

    Raises:
        TypeError: If it is no list of `GradientNorms`, or the epochs are no real numbers.
        ValueError: If it is empty, or counts of samples or epochs differ.
    """
    measured = list(measured)
    if not all(isinstance(norms, GradientNorms) for norms in measured):
        raise TypeError(f"Expected a list of GradientNorms. Received: {[type(norms).__name__ for norms in measured]}")
    counts = {len(norms) for norms in measured}
    if len(counts) != 1:
        raise ValueError(f"Expected one measurement or more, of the same samples. Received counts: {sorted(counts)}")
    epochs = np.arange(1, len(measured) + 1) if epochs is None else as_float64(epochs, "The epochs")
    if epochs.shape != (len(measured),) or not (np.diff(epochs) > 0).all():
        raise ValueError(f"Expected {len(measured)} increasing epochs, one for each measurement. Received: {epochs}")
    return GradientHistory(measured[0].name, measured[0].output, epochs, np.stack([m.norms for m in measured]))


# --- through the layers ---


def gradient_flow(
    model: keras.Model, x: ArrayLike, output: ArrayLike | None = None, seed: int | None = 0
) -> GradientFlow:
    """Follow a gradient back through one network: its norm at the output of each layer, relative to that at the end.

    Args:
        model: Built Keras model with one input and one output, Sequential or functional, nested ones included. An
            activation inside a layer belongs to the step of the layer.
        x: Samples of shape (n, ...), in the model's units.
        output: An integer or an array of shape (outputs,), see `GradientMeter`; None takes a random direction of the
            outputs for each sample.
        seed: Seed of these directions; None draws other ones each time.

    Returns:
        A `GradientFlow`. It holds the places of all branches of the network, in the order of the graph.

    Raises:
        TypeError: See `GradientMeter`.
        ValueError: See `GradientMeter`; or if the model computes in a `call` of its own, or the direction is 0.
    """
    rng = np.random.default_rng(nm.check_seed("seed", seed))
    network, samples = float64_copy(model), checked_samples(model, x)
    check_varies(model)
    if not _has_graph(network):
        raise ValueError(f"Expected a Sequential or functional model. Received: {type(model).__name__} '{model.name}'")
    size = outputs(network, samples[:1]).shape[1]
    if output is None:
        covectors = unit_vectors(rng.standard_normal((len(samples), size)))
        words = "random directions"
    else:
        covectors, words = _covectors(output, size)
        if len(covectors) > 1 or not covectors.any():
            raise ValueError(f"Expected one direction of the outputs that is not 0. Received: output={output!r}")
        covectors = np.repeat(unit_vectors(covectors), len(samples), axis=0)
    with float64_scope():
        shapes, places = _values_along(network, samples[:1])
        group = max(1, min(len(samples), GRADIENTS // sum(map(math.prod, shapes))))
        taps = _Taps(network, shapes, group, size)
        norms = []
        for start in range(0, len(samples), group):
            points, real = padded(samples[start : start + group], group)
            norms.append(taps.norms(points, padded(covectors[start : start + group], group)[0])[:, :real])
    return GradientFlow(model.name, words, places, np.concatenate(norms, axis=1))


class _Taps(Gradients):
    """Gradients with respect to all values along a network, each with respect to an offset that is added to the value.

    Args:
        network: Sequential or functional model in float64.
        shapes: Shapes of the values, see `_values_along`.
        group: Number of samples.
        size: Number of outputs.
    """

    def __init__(self, network, shapes, group, size):
        super().__init__(network, [(group, *shapes[0]), (group, size)], [(group, *shape) for shape in shapes])

    def value(self, given, offsets):
        (points, covectors), left = given, iter(offsets)
        values = _walk(self.network, points + next(left), lambda op, y: y + next(left))
        return ops.sum(ops.reshape(values, covectors.shape) * covectors)

    def norms(self, points, covectors):
        """Norms of all gradients, of shape (places, samples)."""
        found = self.at(points, covectors)
        return np.array([np.linalg.norm(values.reshape(len(values), -1), axis=1) for values in found])


def _values_along(network, point):
    """Shapes of all values along a network for one sample, and their places: the input, and the result of each step."""
    seen = [("input", point.shape[1:])]

    def see(op, value):
        seen.append((op.name, tuple(value.shape[1:])))
        return value

    _walk(network, ops.convert_to_tensor(point), see)
    return [shape for _, shape in seen], _told_apart([name for name, _ in seen])


def _has_graph(model):
    sequential = isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call
    return sequential or (isinstance(model, KerasFunctional) and type(model).call is KerasFunctional.call)


def _walk(model, inputs, see):
    """Run a network at inference step by step; `see(op, value)` returns what the next step receives."""
    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            inputs = _step(see, layer, inputs)
        return inputs
    found = run_graph(model, inputs, functools.partial(_step, see))
    leaves = keras.tree.flatten(found)
    return leaves[0] if len(leaves) == 1 else found


def _step(see, op, *args, **kwargs):
    if isinstance(op, keras.Model) and _has_graph(op):
        return _walk(op, args[0], see)
    if isinstance(op, keras.layers.Layer):
        kwargs["training"] = False
    value = op(*args, **kwargs)
    return value if isinstance(value, list | tuple | dict) else see(op, value)


def _told_apart(names):
    """The names, with a number from the second use of a layer on."""
    return tuple(
        name if names[:i].count(name) == 0 else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)
    )


def gradient_passage(flows: GradientFlow | Iterable[GradientFlow], step: int) -> GradientPassage:
    """Stop gradients on their way back from the output, at the same place of each network.

    Args:
        flows: `GradientFlow`, or several, of equally many places and samples.
        step: Number of steps that the gradients have passed; from the number of all steps on they are at the input.

    Returns:
        A `GradientPassage`.

    Raises:
        ValueError: If there is no flow, flows differ in their sizes, or the step is negative or no whole number.
    """
    flows = (flows,) if isinstance(flows, GradientFlow) else tuple(flows)
    if len({flow.norms.shape for flow in flows}) != 1:
        shapes = [flow.norms.shape for flow in flows]
        raise ValueError(f"Expected one flow or more, of the same shape. Received shapes: {shapes}")
    step = min(nm.check_count("step", step), len(flows[0]) - 1)
    norms = np.stack([flow.norms[-1 - step] for flow in flows])
    before = np.stack([flow.norms[-step] for flow in flows]) if step else np.zeros_like(norms)
    gains = np.divide(norms, before, out=np.full_like(norms, np.nan), where=before > 0)
    return GradientPassage(flows, step, norms, gains)


# --- checks ---


def _covectors(output, size):
    """Directions of the outputs, of shape (directions, size), and a description of them."""
    if output is None or (isinstance(output, str) and output == "all"):
        if size > ROWS:
            raise ValueError(f"Expected at most {ROWS} outputs, or the choice of one by `output`. Received: {size}")
        return np.eye(size), "the output" if size == 1 else f"all {size} outputs"
    if isinstance(output, str | bool):
        raise ValueError(f"`output` must be None, 'all', an integer or an array. Received: output={output!r}")
    if isinstance(output, int | np.integer):
        if not 0 <= output < size:
            raise ValueError(f"`output` must lie in 0, …, {size - 1}. Received: output={output}")
        return np.eye(1, size, int(output)), f"output {output}"
    projection = as_float64(output, "`output`")
    if projection.shape != (size,):
        raise ValueError(f"`output` must have the shape ({size},) of an output. Received shape: {projection.shape}")
    return projection[None], "a projection"


def __getattr__(name):
    return _moved.name_of(__name__, name)
