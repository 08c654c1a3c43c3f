"""Tests whether a layer computes the same as a class whose algebra is known.

A subclass may add names, arguments and documentation. The result of `call` depends on every method, property and class
attribute that it mentions, and on what these mention. If a subclass, or an attribute of an instance, replaces one of
them, the layer counts as one that computes something else.
"""

import dis
import functools
import types
from collections.abc import Iterable
from typing import Any

import keras

from lipviz.layers import ConstrainedKernel
from lipviz.parametrizations import Parametrization
from lipviz.types import Shape

_RUN = ("call", "__call__", "__getattribute__", "__getattr__")
# They run around `call` and change no number. What they set up is checked where `call` uses it.
_AROUND = frozenset(
    (
        *("__init__", "__new__", "__class__", "__name__", "__doc__", "__module__", "__dict__"),
        *("build", "quantize", "add_weight", "add_loss", "losses", "weights", "trainable_weights", "trainable"),
        *("compute_output_shape", "compute_mask", "supports_masking", "get_config", "name", "path"),
    )
)


def computes_as(layer: keras.layers.Layer, known: type) -> bool:
    """Whether a layer runs the same code as one of its classes at inference.

    Args:
        layer: Keras layer or model.
        known: One of its classes.
    """
    own: type = type(layer)
    if not _adds_nothing(own, known) or _shadows(layer):
        return False
    return not isinstance(layer, ConstrainedKernel) or _uses_its_kernel(layer.parametrization)


def constrained_class(layer: keras.layers.Layer) -> type[Any] | None:
    """The lipviz class that a constrained layer computes as, or None. Its `vanilla_class` has the rule of the layer."""
    for cls in type(layer).__mro__:
        if cls.__module__.startswith("lipviz.layers.") and getattr(cls, "vanilla_class", None) is not None:
            return cls if computes_as(layer, cls) else None
    return None


def is_linear_otherwise(layer: keras.layers.Layer) -> bool:
    """Whether a constrained layer differs from `ConstrainedKernel` only in its `linear`, whose matrix can be probed."""
    cls = type(layer)
    names = mentioned(cls, ("call", cls.kernel_name), (*_AROUND, "linear", "kernel_name"))
    same = _agree(cls, ConstrainedKernel, names, strict=False) and cls.__call__ is keras.layers.Layer.__call__
    return same and not _shadows(layer) and _uses_its_kernel(layer.parametrization)


def states_its_shape(layer: keras.layers.Layer, known: type[keras.layers.Layer], shape: Shape) -> bool:
    """Whether `compute_output_shape` of a layer gives the same shape as that of a class that the layer computes as.

    Args:
        layer: Keras layer.
        known: The class, see `computes_as`.
        shape: Shape of its input, without the batch.
    """
    if type(layer).compute_output_shape is known.compute_output_shape:
        return True
    ours, theirs = (cls.compute_output_shape(layer, (1, *shape)) for cls in (type(layer), known))
    return tuple(ours) == tuple(theirs)


def _uses_its_kernel(parametrization):
    """Whether a parametrization returns the result of its `used` at inference; it may override `used`."""
    cls = type(parametrization)
    same = all(_found(cls, name) is _found(Parametrization, name) for name in ("call", "__call__"))
    return same and "call" not in vars(parametrization)


def _shadows(layer):
    """Whether an attribute of an instance takes the place of a method that `call` uses."""
    cls: type = type(layer)
    hidden = [name for name in vars(layer) if isinstance(getattr(cls, name, None), types.FunctionType)]
    return bool(hidden) and not used_names(cls).isdisjoint(hidden)  # `used_names` takes milliseconds


@functools.lru_cache(maxsize=1024)
def _adds_nothing(cls, known):
    return cls is known or _agree(cls, known, used_names(cls))


@functools.lru_cache(maxsize=1024)
def used_names(cls: type) -> frozenset[str]:
    """Names of all attributes that a layer of this class may read when it runs."""
    run = (*_RUN, cls.kernel_name) if issubclass(cls, ConstrainedKernel) else _RUN
    return frozenset(mentioned(cls, run, _AROUND) | {*run, "compute_output_spec"})


def _agree(cls, known, names, strict=True):
    """Whether two classes define each name alike. If not `strict`, names that the second class lacks do not count."""
    for name in names:
        ours, theirs = _found(cls, name), _found(known, name)
        if ours is not theirs and (strict or theirs is not None):
            return False
    return True


def _found(cls, name):
    return next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)


def mentioned(cls: type, names: Iterable[str], but: Iterable[str]) -> set[str]:
    """Names that methods and properties of a class mention, directly or through each other.

    Args:
        cls: The class.
        names: Names to start from.
        but: Names that are not followed.

    Returns:
        A set of names. Some may be attributes of other objects.
    """
    seen, left = set(), set(names)
    while left:
        name = left.pop()
        seen.add(name)
        for function in _functions(_found_all(cls, name)):
            left |= _names(function.__code__) - seen - set(but)
    return seen


def _found_all(cls, name):
    return [base.__dict__[name] for base in cls.__mro__ if name in base.__dict__]


def _functions(values):
    for value in values:
        parts = [value.fget, value.fset] if isinstance(value, property) else [getattr(value, "__func__", value)]
        for part in parts:
            while part is not None:
                if hasattr(part, "__code__"):
                    yield part
                part = getattr(part, "__wrapped__", None)


def _names(code):
    """Attributes that a code object reads, nested functions included; without those of modules and other globals."""
    names, of_global = set(), False
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            if not of_global:
                names.add(step.argval)
        else:
            of_global = step.opname == "LOAD_GLOBAL"
    if "getattr" in code.co_names:
        names.update(const for const in code.co_consts if isinstance(const, str) and const.isidentifier())
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return names.union(*map(_names, inner))
