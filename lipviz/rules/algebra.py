"""Whether a layer computes as a class does whose algebra is known: a subclass may add names, arguments and words.

What `call` does hangs on every method, property and class attribute that it mentions, and on what these mention. A
subclass, or an attribute of an instance, that takes the place of one of them computes something else.
"""

import dis
import functools
import types

import keras

from lipviz.layers import ConstrainedKernel
from lipviz.parametrizations import Parametrization

_RUN = ("call", "__call__", "__getattribute__", "__getattr__")
# Methods that run around `call` and change no number: what they set up is read where it is used.
_AROUND = frozenset(
    (
        *("__init__", "__new__", "__class__", "__name__", "__doc__", "__module__", "__dict__"),
        *("build", "quantize", "add_weight", "add_loss", "losses", "weights", "trainable_weights", "trainable"),
        *("compute_output_shape", "compute_mask", "supports_masking", "get_config", "name", "path"),
    )
)


def computes_as(layer, known):
    """Whether a layer runs the very code that a class does, at inference.

    Args:
        layer: Keras layer or model.
        known: One of its classes.
    """
    if not _adds_nothing(type(layer), known) or _shadows(layer):
        return False
    return not isinstance(layer, ConstrainedKernel) or _uses_its_kernel(layer.parametrization)


def constrained_class(layer):
    """The class of lipviz whose algebra a constrained layer has, or None; its `vanilla_class` names that algebra."""
    for cls in type(layer).__mro__:
        if cls.__module__.startswith("lipviz.layers.") and getattr(cls, "vanilla_class", None) is not None:
            return cls if computes_as(layer, cls) else None
    return None


def is_linear_otherwise(layer):
    """Whether a constrained layer differs from `ConstrainedKernel` in its `linear` only, which can be probed."""
    cls = type(layer)
    names = mentioned(cls, ("call", cls.kernel_name), (*_AROUND, "linear", "kernel_name"))
    same = _agree(cls, ConstrainedKernel, names, strict=False) and cls.__call__ is keras.layers.Layer.__call__
    return same and not _shadows(layer) and _uses_its_kernel(layer.parametrization)


def states_its_shape(layer, known, shape):
    """Whether a layer that computes as a class does states the shape of its output as that does, too.

    Args:
        layer: Keras layer.
        known: That class.
        shape: Shape of its input, without the batch.
    """
    if type(layer).compute_output_shape is known.compute_output_shape:
        return True
    ours, theirs = (cls.compute_output_shape(layer, (1, *shape)) for cls in (type(layer), known))
    return tuple(ours) == tuple(theirs)


def _uses_its_kernel(parametrization):
    """Whether a parametrization returns at inference what its `used` gives, however it computes that."""
    cls = type(parametrization)
    same = all(_found(cls, name) is _found(Parametrization, name) for name in ("call", "__call__"))
    return same and "call" not in vars(parametrization)


def _shadows(layer):
    """Whether an attribute of an instance takes the place of a method that `call` uses."""
    cls = type(layer)
    hidden = [name for name in vars(layer) if isinstance(getattr(cls, name, None), types.FunctionType)]
    return bool(hidden) and not used_names(cls).isdisjoint(hidden)  # the second takes milliseconds


@functools.lru_cache(maxsize=1024)
def _adds_nothing(cls, known):
    return cls is known or _agree(cls, known, used_names(cls))


@functools.lru_cache(maxsize=1024)
def used_names(cls):
    """All names that a run of a layer of a class may read from it."""
    run = (*_RUN, cls.kernel_name) if issubclass(cls, ConstrainedKernel) else _RUN
    return frozenset(mentioned(cls, run, _AROUND) | {*run, "compute_output_spec"})


def _agree(cls, known, names, strict=True):
    """Whether each name means the same in two classes; if not `strict`, also where the second one has none."""
    for name in names:
        ours, theirs = _found(cls, name), _found(known, name)
        if ours is not theirs and (strict or theirs is not None):
            return False
    return True


def _found(cls, name):
    return next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)


def mentioned(cls, names, but):
    """The names that methods and properties of a class mention, and those that these mention, and so on.

    Args:
        cls: The class.
        names: Names to start from.
        but: Names that are not followed.

    Returns:
        A set of names, whatever they belong to.
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
    """Attributes that a piece of code reads, of anything but modules and other globals; nested functions included."""
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
