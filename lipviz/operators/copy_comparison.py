"""Compares a copy with its original by their attributes and graphs, without running them.

Weights are not compared, as they are assigned. A copy may lack what a layer computes with but does not save, such as
an argument that its `get_config` leaves out. So each attribute that `call` mentions is compared with that of the copy,
and each step of a graph, with its arguments, too.

A difference does not always change the result: a layer may count its calls. It is only a reason to run both models.
"""

import types
from functools import cached_property

import keras
import numpy as np

from lipviz.copies import layer_pairs
from lipviz.keras_internals import Call, KerasFunctional, graph_calls, is_bookkeeping
from lipviz.rules.algebra import used_names

_FLOATS = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")
_DEPTH = 4  # of nested objects, down to which attributes are compared
_CLOSE = 1e-6  # relative difference of numbers, which one of the two may hold in float32
# Attributes of every layer, model or operation of Keras. No configuration needs to hold them.
_any = keras.Input((1,))
_THEIRS = frozenset().union(
    *map(vars, (keras.layers.Layer(), keras.Sequential(), keras.Model(_any, _any), keras.Operation()))
)
# These are compared as layers or variables, or have no effect on what is computed.
_ELSEWHERE = (
    *(keras.Operation, keras.Variable, keras.KerasTensor, keras.DTypePolicy, keras.InputSpec),
    *(keras.random.SeedGenerator, keras.initializers.Initializer, keras.regularizers.Regularizer),
)


def difference(original: keras.layers.Layer, copy: keras.layers.Layer) -> str | None:
    """Describe the first difference of a copy from its original, or return None.

    Args:
        original: Keras model or layer.
        copy: One that was made from its configuration, perhaps in another float dtype.
    """
    for layer, counterpart in layer_pairs(original, copy):
        if type(layer) is not type(counterpart):
            return f"'{layer.name}' is a {type(counterpart).__name__}"
        cls: type = type(layer)
        names = (vars(layer).keys() | vars(counterpart).keys()) & used_names(cls)
        for name in names:
            if not _is_theirs(name) and not _alike(_value(layer, name), _value(counterpart, name)):
                return f"'{layer.name}' has another {name}"
        if isinstance(layer, KerasFunctional) and not _alike(_steps(layer), _steps(counterpart)):
            return f"the graph of '{layer.name}' has other steps"
    return None


def _is_theirs(name):
    return name in _THEIRS or is_bookkeeping(name)


def _value(thing, name):
    value = vars(thing).get(name)
    return None if value is False else value  # False counts as not set


def _steps(model):
    """The steps of a graph: for each layer or operation, by name, its calls and its own attributes."""
    calls: dict[int, list[Call]] = {id(operation): [] for operation in model.operations}
    for call in graph_calls(model):
        calls[id(call.operation)].append(call)
    places = {
        id(tensor): (call.operation.name, i, j)
        for own in calls.values()
        for i, call in enumerate(own)
        for j, tensor in enumerate(call.outputs)
    }

    def described(leaf):
        return places.get(id(leaf), "an input") if isinstance(leaf, keras.KerasTensor) else leaf

    steps = {}
    for operation in model.operations:
        given = [[list(call.args), call.kwargs] for call in calls[id(operation)]]
        own = {} if isinstance(operation, keras.layers.Layer) else vars(operation)
        steps[operation.name] = [
            keras.tree.map_structure(described, given),
            {name: value for name, value in own.items() if not _is_theirs(name)},
        ]
    return steps


def _alike(a, b, depth=_DEPTH):
    """Whether two attributes are the same, apart from the float dtype in which they are held."""
    if a is b:
        return True
    for kinds, compare in _COMPARED:
        if isinstance(a, kinds) or isinstance(b, kinds):
            return isinstance(a, kinds) and isinstance(b, kinds) and compare(a, b, depth)
    if type(a) is not type(b) or depth == 0 or not hasattr(a, "__dict__"):
        return False
    return _same_items(_kept(a), _kept(b), depth)


def _kept(thing):
    """Attributes of an object, without its cached properties."""
    own = vars(thing).items()
    return {name: value for name, value in own if not isinstance(getattr(type(thing), name, None), cached_property)}


def _same_items(a, b, depth):
    return a.keys() == b.keys() and all(_alike(a[key], b[key], depth - 1) for key in a)


def _same_sequence(a, b, depth):
    return len(a) == len(b) and all(_alike(one, other, depth - 1) for one, other in zip(a, b, strict=True))


def _same_words(a, b, depth):
    return a == b or (a in _FLOATS and b in _FLOATS)


def _same_code(a, b, depth):
    """Whether two functions have the same code, and equal defaults and closures."""
    try:
        first, second = ([cell.cell_contents for cell in function.__closure__ or ()] for function in (a, b))
    except ValueError:  # a cell that is not filled yet
        return False
    return a.__code__ is b.__code__ and _alike(a.__defaults__, b.__defaults__, depth) and _alike(first, second, depth)


def _same_method(a, b, depth):
    return a.__func__ is b.__func__


def _same_numbers(a, b, depth):
    try:
        a, b = (np.asarray(value) if np.isscalar(value) else np.asarray(_in_numpy(value)) for value in (a, b))
        is_float = "f" in (a.dtype.kind, b.dtype.kind)
        if a.shape != b.shape or not is_float:
            return np.array_equal(a, b)
        a, b = a.astype(np.float64), b.astype(np.float64)
        return np.allclose(a, b, rtol=_CLOSE, atol=0, equal_nan=True)
    except Exception:  # of the backend: sparse and ragged tensors cannot be converted
        return False


def _in_numpy(value):
    return value if isinstance(value, np.ndarray) else keras.ops.convert_to_numpy(value)


class _Tensor(type):
    """Metaclass of a class whose instances are the tensors of the backend."""

    def __instancecheck__(cls, value):
        return keras.ops.is_tensor(value)


class _BackendTensor(metaclass=_Tensor):
    pass


_COMPARED = (
    (_ELSEWHERE, lambda a, b, depth: type(a) is type(b)),
    ((str,), _same_words),
    ((bool, int, float, complex, np.generic, np.ndarray, _BackendTensor), _same_numbers),
    ((dict,), _same_items),
    ((list, tuple), _same_sequence),
    ((set, frozenset), lambda a, b, depth: a == b),
    ((types.FunctionType,), _same_code),
    ((types.MethodType,), _same_method),
)
