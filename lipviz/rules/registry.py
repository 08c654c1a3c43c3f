"""The table from layer classes to rules, and what a rule returns."""

import dataclasses
import math
import numbers

import keras

from lipviz.layers import ConstrainedKernel
from lipviz.rules.algebra import computes_as, constrained_class, is_linear_otherwise, states_its_shape

NORMS = (1, 2, math.inf)

# What SVDs and sums in float64 may be off by, with room to spare, relative to the result.
ROUNDING = 1e-12

_RULES = {}
_LINEAR = set()
_WHOLE = set()


@dataclasses.dataclass(frozen=True)
class Bound:
    """The Lipschitz constant of a map, from below and from above.

    Attributes:
        lower: A number that the constant is at least.
        upper: A number that the constant is at most; `math.inf` where nothing is known.
        method: How the upper one was found, in a few words.
    """

    lower: float
    upper: float
    method: str

    def __post_init__(self):
        lower, upper = float(self.lower), float(self.upper)
        if not 0 <= lower <= upper * (1 + 2 * ROUNDING):
            raise ValueError(f"Expected 0 <= lower <= upper. Received: lower={lower}, upper={upper} ({self.method})")
        object.__setattr__(self, "lower", min(lower, upper))
        object.__setattr__(self, "upper", upper)

    @property
    def attained(self):
        """Whether the upper bound is the constant itself, to 1e-6."""
        return self.upper < math.inf and self.lower >= self.upper * (1 - 1e-6)

    def after(self, other, method=None):
        """Bound of a composition whose inner map has the bound `other`: nothing is known from below."""
        product = 0.0 if 0 in (self.upper, other.upper) else self.upper * other.upper
        return Bound(0.0, product, method or f"{other.method} · {self.method}")


def exactly(value, method):
    """A `Bound` whose two sides agree."""
    return Bound(value, value, method)


def computed(value, method):
    """A `Bound` around a value computed in float64."""
    return Bound(value * (1 - ROUNDING), value * (1 + ROUNDING), method)


def unknown(why):
    """A `Bound` of infinity."""
    return Bound(0.0, math.inf, why)


def check_norm(norm):
    """Return the norm as 1, 2 or `math.inf`; "inf" is understood.

    Raises:
        ValueError: If it is something else.
    """
    value = math.inf if isinstance(norm, str) and norm.strip().lower() in ("inf", "infinity", "∞") else norm
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or value not in NORMS:
        raise ValueError(f"`norm` must be 1, 2 or 'inf'. Received: norm={norm!r}")
    return math.inf if value == math.inf else int(value)


def register_bound(layer_class, rule=None):
    """Tell `certify` the Lipschitz constant of a layer class of your own.

    Args:
        layer_class: Subclass of `keras.layers.Layer`, with one input. Its subclasses are included, unless they override
            `call`, or what `call` uses. A layer that is called with more than its input, or uses a mask, is not.
        rule: Function of (layer, input_shape, norm) that returns a sound upper bound of the layer's Lipschitz constant
            at inference, as a float, a pair (lower, upper), or a `Bound`; `math.inf` where it knows none. `input_shape`
            is a tuple without the batch, with None for unknown sizes; `norm` is 1, 2 or `math.inf`, in which both
            input and output are measured. None returns a decorator.

    Returns:
        The rule, unchanged.

    Raises:
        TypeError: If `layer_class` is no layer class, or the rule cannot be called.

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

    _RULES[layer_class] = registered
    _WHOLE.add(registered)
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


def rule(*classes, linear=False, whole=False):
    """Decorator that enters a rule of ours, a function of (layer, shape, norm, exact), for some classes.

    Args:
        *classes: Layer classes.
        linear: Whether it speaks of the linear part only, and the layer's `activation` follows.
        whole: Whether it also holds for inputs of whole numbers: the layer only moves or compares them, or converts
            them to floating-point numbers before it computes.
    """

    def enter(function):
        _RULES.update(dict.fromkeys(classes, function))
        if linear:
            _LINEAR.add(function)
        if whole:
            _WHOLE.add(function)
        return function

    return enter


def find_rule(layer):
    """The rule for a layer: that of the nearest class with one, if the layer computes as that does; else None.

    lipviz's constrained layers have the rule of their Keras base, which reads the kernel that they use. One of somebody
    else's that is linear in a way of its own has that of `ConstrainedKernel`.
    """
    known = _known(layer)
    if known in _RULES and known is not ConstrainedKernel:
        return _RULES[known] if computes_as(layer, known) else None
    if known is None:
        return None
    ours = constrained_class(layer)
    if ours is not None:
        return _RULES.get(ours.vanilla_class)
    return _RULES[ConstrainedKernel] if is_linear_otherwise(layer) else None


def _known(layer):
    """The nearest class of a layer that has a rule, or is one of lipviz's constrained layers; None where none is."""
    return next((cls for cls in type(layer).__mro__ if cls in _RULES or _is_ours(cls)), None)


def _is_ours(cls):
    return issubclass(cls, ConstrainedKernel) and cls.__module__.startswith("lipviz.layers.")


def takes_whole_numbers(found):
    """Whether a rule also holds where the inputs are whole numbers."""
    return found in _WHOLE


def is_linear(found):
    """Whether a rule speaks of the linear part of a layer only."""
    return found in _LINEAR


def is_float(dtype):
    """Whether a dtype is one of floating-point numbers."""
    return "float" in str(dtype)


def layer_bound(layer, shape, norm, exact=False):
    """Bound of one layer by its rule, with its activation, where the rule leaves that out."""
    from lipviz.rules.pointwise import activation_bound

    found = find_rule(layer)
    problem = why_unknown(layer, found, shape)
    if problem is not None:
        return unknown(problem)
    bound = found(layer, shape, norm, exact)
    activation = activation_of(layer, found)
    return bound if activation is None else activation_bound(activation, behind(layer, shape), norm).after(bound)


def why_unknown(layer, found, shape):
    """Why the rule that was found for a layer, if there is one, does not speak of it; None where it does."""
    known = _known(layer)
    if found is None:
        differs = f", which computes otherwise than {known.__name__}" if known not in (None, type(layer)) else ""
        return f"no rule for {type(layer).__name__}{differs}"
    if not is_float(layer.compute_dtype):
        return f"it rounds to {layer.compute_dtype}, which jumps"
    if known is not ConstrainedKernel and not states_its_shape(layer, known, shape):
        return "it states a shape of its output that is not that of what it computes"
    return None


def activation_of(layer, found):
    """The activation that a layer's rule leaves out; None where there is none."""
    activation = getattr(layer, "activation", None) if found in _LINEAR else None
    return None if activation is keras.activations.linear else activation


def behind(layer, shape):
    """Shape of a layer's output, without the batch."""
    return tuple(layer.compute_output_shape((1, *shape)))[1:]
