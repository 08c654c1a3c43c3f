"""The table of rules by layer class: which rule a layer has, and which bound it gives."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from lipviz.layers import ConstrainedKernel
from lipviz.rules.algebra import computes_as, constrained_class, is_linear_otherwise, states_its_shape
from lipviz.rules.bound import Bound, exactly, unknown
from lipviz.rules.functions import function_bound
from lipviz.rules.used import HALF, known_input_shape, rounded
from lipviz.types import Shape, Tensor


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule for the layers of a class.

    Attributes:
        bound: Function of (layer, shape, norm, exact) that returns a `Bound`. `shape` is that of the input, without the
            batch and with None for unknown sizes; `exact` allows minutes for a tight bound.
        linear: Whether the layer is a linear map, with the matrix of `operators.linear_operator`, plus a shift and its
            `activation`. The rule bounds the linear map only; the activation has a bound of its own.
        whole: Whether the rule also holds for inputs of whole numbers: the layer only moves or compares them, or
            converts them to floating-point numbers before it computes.
        keeps_dtype: Whether the layer returns whole numbers where it gets them, although Keras states the dtype of the
            layer.
        fixed: Whether the rule reads only arguments of the layer, neither weights nor a matrix. Its bound then holds
            before the layer is built, and after any training.
    """

    bound: Callable[..., Bound]
    linear: bool = False
    whole: bool = False
    keeps_dtype: bool = False
    fixed: bool = False


RULES: dict[type, Rule] = {}


def rule(*classes: type, **properties: bool) -> Callable[[Callable[..., Bound]], Callable[..., Bound]]:
    """Decorator that makes a function the `Rule.bound` of some layer classes; `properties` are its other attributes."""

    def enter(function):
        RULES.update(dict.fromkeys(classes, Rule(function, **properties)))
        return function

    return enter


def register_bound(
    layer_class: type[keras.layers.Layer],
    rule: Callable[[keras.layers.Layer, Shape, float], float | tuple[float, float] | Bound] | None = None,
) -> Callable[..., Any]:
    """Tell `certify` the Lipschitz constant of a layer class of your own.

    Args:
        layer_class: Subclass of `keras.layers.Layer`, with one input. The rule also holds for its subclasses, unless
            they override `call`, or what `call` uses. It does not hold where a layer is called with more than its
            input, or uses a mask.
        rule: Function of (layer, input_shape, norm) that returns a sound upper bound of the layer's Lipschitz constant
            at inference, as a float, a pair (lower, upper), or a `Bound`; `math.inf` where it knows none. `input_shape`
            is a tuple without the batch, with None for unknown sizes; `norm` is 1, 2 or `math.inf`, and measures both
            input and output. With None, `register_bound` returns a decorator.

    Returns:
        The rule, unchanged, or the decorator.

    Raises:
        TypeError: If `layer_class` is no layer class, or the rule is not callable.

    Example::

        @lipviz.register_bound(Halve)
        def halve(layer, input_shape, norm):
            return 0.5
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise TypeError(f"`layer_class` must be a subclass of keras.layers.Layer. Received: {layer_class!r}")
    if rule is None:
        return lambda function: register_bound(layer_class, function)
    if not callable(rule):
        raise TypeError(f"`rule` must be a function of (layer, input_shape, norm). Received: {rule!r}")

    def registered(layer, shape, norm, exact):
        return _as_bound(rule(layer, shape, norm), layer)

    RULES[layer_class] = Rule(registered, whole=True)
    return rule


def _as_bound(value, layer):
    if isinstance(value, Bound):
        return value
    lower, upper = value if isinstance(value, tuple) else (0.0, value)
    if not isinstance(upper, int | float) or math.isnan(upper) or upper < 0:
        raise ValueError(
            f"The rule registered for {type(layer).__name__} must return a number of at least 0. Received: {value!r}"
        )
    return Bound(lower, upper, "registered rule")


def find_rule(layer: keras.layers.Layer) -> Rule | None:
    """The `Rule` of a layer: that of its nearest class with one, if the layer computes as that class does; else None.

    lipviz's constrained layers have the rule of their Keras base class, which reads the kernel that inference uses. A
    constrained layer of yours, with a `linear` of its own, has the rule of `ConstrainedKernel`.
    """
    known = _known(layer)
    if known in RULES and known is not ConstrainedKernel:
        return RULES[known] if computes_as(layer, known) else None
    if known is None:
        return None
    ours = constrained_class(layer)
    if ours is not None:
        return RULES.get(ours.vanilla_class)
    return RULES.get(ConstrainedKernel) if is_linear_otherwise(layer) else None


def _known(layer):
    """The nearest class of a layer that has a rule, or is one of lipviz's constrained layers; None if there is none."""
    return next((cls for cls in type(layer).__mro__ if cls in RULES or _is_ours(cls)), None)


def _is_ours(cls):
    return issubclass(cls, ConstrainedKernel) and cls.__module__.startswith("lipviz.layers.")


def layer_bounds(
    layer: keras.layers.Layer, shape: Shape, norm: float, exact: bool = False, whole: bool = False
) -> Iterator[tuple[str, Bound]]:
    """Bounds of a layer with one input, and of its activation, where the rule of the layer leaves that out.

    Args:
        layer: Keras layer.
        shape: Shape of its input, without the batch.
        norm: 1, 2 or `math.inf`.
        exact: Whether minutes may be spent on a tight bound.
        whole: Whether its input holds whole numbers.

    Yields:
        Tuples (words that follow the layer's name, `Bound`), in the order in which they are computed.
    """
    found = find_rule(layer)
    problem = why_unknown(layer, found, shape, whole)
    if found is None or problem is not None:
        yield "", unknown(str(problem))
        return
    yield "", found.bound(layer, shape, norm, exact)
    activation = getattr(layer, "activation", None) if found.linear else None
    if activation not in (None, keras.activations.linear):
        name = getattr(activation, "name", None) or getattr(activation, "__name__", "activation")
        behind = tuple(layer.compute_output_shape((1, *shape)))[1:]
        yield f" · {name}", activation_bound(activation, behind, norm)


def layer_bound(layer: keras.layers.Layer, shape: Shape, norm: float, exact: bool = False) -> Bound:
    """The `Bound` of a layer with one input and its activation: the composition of all `layer_bounds`."""
    first, *others = (bound for _, bound in layer_bounds(layer, shape, norm, exact))
    for bound in others:
        first = bound.after(first)
    return first


def activation_bound(activation: Callable[..., Tensor] | None, shape: Shape, norm: float) -> Bound:
    """Lipschitz constant of the `activation` of a layer.

    Args:
        activation: Function, Keras layer, or None.
        shape: Shape of its input, without the batch.
        norm: 1, 2 or `math.inf`.

    Returns:
        A `Bound`, infinite where it is not known.
    """
    if activation is None:
        return exactly(1.0, "linear")
    if isinstance(activation, keras.layers.Layer):
        return layer_bound(activation, shape, norm)
    return function_bound(activation, shape, norm)


def why_unknown(layer: keras.layers.Layer, found: Rule | None, shape: Shape, whole: bool = False) -> str | None:
    """Why a layer has no bound by the rule that was found for it, or has no rule; None where the rule applies."""
    known = _known(layer)
    if found is None:
        differs = f", which computes otherwise than {known.__name__}" if known not in (None, type(layer)) else ""
        return f"no rule for {type(layer).__name__}{differs}"
    if not keras.backend.is_float_dtype(layer.compute_dtype):
        return f"it rounds to {layer.compute_dtype}, which is not continuous"
    if known is not ConstrainedKernel and not states_its_shape(layer, known, shape):
        return "its `compute_output_shape` does not give the shape that it computes"
    bias = getattr(layer, "bias", None) if found.linear and layer.compute_dtype in HALF else None
    if bias is not None and not np.isfinite(rounded(bias, layer.compute_dtype)).all():
        return f"its bias is too large for {layer.compute_dtype}"
    if whole and not found.whole:
        return "it computes with whole numbers, which wrap around: convert them, as by Rescaling(1.0)"
    return None


def is_linear(layer: keras.layers.Layer) -> bool:
    """Whether the rule of a layer is that of a linear map and a shift, before the layer's activation."""
    found = find_rule(layer)
    return found is not None and found.linear


def never_stretches(layer: keras.layers.Layer) -> bool:
    """Whether the arguments of a layer make it 1-Lipschitz in l2, for all values of its weights.

    Args:
        layer: Keras layer, built or not.
    """
    if isinstance(getattr(layer, "activation", None), keras.layers.Layer):
        return isinstance(layer, keras.layers.Activation) and never_stretches(layer.activation)
    found = find_rule(layer)
    if found is None or not found.fixed:
        return False
    shape = sample_shape(layer, known_input_shape(layer))
    return why_unknown(layer, found, shape) is None and found.bound(layer, shape, 2, False).upper <= 1


def sample_shape(layer: keras.layers.Layer, shape: Shape | Sequence[Shape] | None) -> Shape:
    """A shape without its batch. For None, and for shapes of several inputs, the shape of an image of unknown size."""
    sizes = [size for size in shape or () if not isinstance(size, tuple | list)]
    if shape is not None and len(sizes) == len(shape):
        return tuple(sizes[1:])
    rank = getattr(getattr(layer, "input_spec", None), "ndim", None) or 4
    return (None,) * (rank - 1)
