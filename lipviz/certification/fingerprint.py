"""Hashes that tell whether two models are the same function at inference. A certificate names its model by them.

A model has three hashes. The configuration is its graph, and the class and settings of each step. Names of layers, what
only training sees (initializers, regularizers, `trainable`, seeds, compilation) and the size of the batch are left out.
The weights are the variables, and what layers save beside them, such as a vocabulary. The constrained kernels are those
that inference uses. They are derived from raw kernels and settings, but not bit by bit: a training step and `refresh`
round in different ways.

Equal hashes mean the same function. Different hashes need not mean different functions: nothing is known then.
"""

import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lipviz.keras_internals import (
    STEP_FUNCTIONS,
    Call,
    KerasFunctional,
    attributes_of_models,
    graph_calls,
    inner_layers,
    is_bookkeeping,
)
from lipviz.layers import ConstrainedKernel
from lipviz.model import STEP_NOTES
from lipviz.parametrizations import Parametrization
from lipviz.rules.algebra import used_names
from lipviz.rules.used import to_numpy
from lipviz.types import ArrayLike

_IDENTITY = keras.layers.Identity()
_OF_EVERY_LAYER = frozenset(vars(_IDENTITY))
_OF_TRAINING = ("_initializer", "_regularizer", "_constraint", "seed")
_PLAIN = (bool, int, float, str, np.generic, np.ndarray)


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Hashes of a model, SHA-256 in hexadecimal digits.

    Attributes:
        configuration: Hash of the graph, and of the class and settings of each step.
        weights: Hash of the variables, and of what layers save beside them; of constrained layers, of the raw kernels.
        constrained: Hash of the constrained kernels that inference uses.
    """

    configuration: str
    weights: str
    constrained: str


def fingerprint(model: keras.layers.Layer) -> Fingerprint:
    """The hashes of a model.

    Of a layer of your own, the hashes cover `get_config`, variables, `save_own_variables`, `save_assets`, and
    attributes that are numbers, strings or arrays. They do not cover other attributes, nor the code of its methods.

    Args:
        model: Built Keras model or layer.

    Returns:
        A `Fingerprint`.

    Raises:
        Exception: Whatever a `get_config` of the model raises; TypeError where its result cannot be serialized.
    """
    return _Walk().of(model)


def array_hash(values: ArrayLike) -> str:
    """SHA-256 of an array: of its dtype, its shape and its values, in hexadecimal digits."""
    digest = hashlib.sha256()
    _add_array(digest, to_numpy(values))
    return digest.hexdigest()


# --- along the model ---


class _Walk:
    """Visits each layer of a model once, however often it is used."""

    def __init__(self):
        self._known = {}  # by identity: layers need not be hashable

    def of(self, layer):
        """The `Fingerprint` of a layer or model."""
        if id(layer) not in self._known:
            self._known[id(layer)] = self._made(layer)
        return self._known[id(layer)]

    def _made(self, layer):
        if isinstance(layer, keras.Sequential) and type(layer).call is keras.Sequential.call:
            inputs = [_input(tensor) for tensor in getattr(layer, "inputs", None) or ()]
            return self._joined({"inputs": inputs}, [], layer.layers)
        if isinstance(layer, KerasFunctional) and type(layer).call is KerasFunctional.call:
            graph = _Graph(layer)
            return self._joined(graph.described(), [], graph.operations)
        return self._single(layer)

    def _joined(self, described, arrays, parts):
        """The fingerprint of a description, arrays and parts together."""
        inside = [self.of(part) for part in parts]
        configuration = hashlib.sha256(_as_json([described, [part.configuration for part in inside]]))
        weights = hashlib.sha256()
        for array in arrays:
            _add_array(weights, array)
        constrained = hashlib.sha256()
        for part in inside:
            weights.update(part.weights.encode())
            constrained.update(part.constrained.encode())
        return Fingerprint(configuration.hexdigest(), weights.hexdigest(), constrained.hexdigest())

    def _single(self, layer):
        """The fingerprint of a layer with a `call` of its own, or of an operation, which has no weights."""
        described = {"class": _class_name(type(layer)), "config": _settings(type(layer), layer.get_config())}
        if not isinstance(layer, keras.layers.Layer):
            return self._joined(described, [], [])
        inside = inner_layers(layer, deep=False)
        inside = [part for part in inside if not isinstance(part, Parametrization)]
        described["built for"] = _without_batch(layer.get_build_config() or {})
        described["attributes"] = _attributes(layer)
        described["assets"] = _assets(layer)
        found = self._joined(described, _own_arrays(layer), inside)
        if not layer.built or not isinstance(layer, ConstrainedKernel):
            return found
        return dataclasses.replace(found, constrained=array_hash(layer.used_kernel()) + found.constrained)


class _Graph:
    """A functional model as a list of calls, each after the calls that it needs.

    Names, and the order in which layers were created, make no difference.

    Attributes:
        operations: The layers and operations that are called, in that order.
    """

    def __init__(self, model):
        self._model = model
        self._inputs = keras.tree.flatten(model.input)
        self._made_by = {id(x): (call, i) for call in graph_calls(model) for i, x in enumerate(call.outputs)}
        self._places = {id(self._call(tensor)): i for i, tensor in enumerate(self._inputs)}
        self._calls: list[Call] = []
        for tensor in keras.tree.flatten(model.output):
            self._visit(tensor)
        self.operations = [call.operation for call in self._calls]

    def _call(self, tensor):
        return self._made_by[id(tensor)][0]

    def _visit(self, tensor):
        waiting = [self._call(tensor)]
        while waiting:
            call = waiting[-1]
            needed = [] if id(call) in self._places else call.inputs
            missing = [found for found in map(self._call, needed) if id(found) not in self._places]
            if missing:
                waiting.append(missing[0])
                continue
            waiting.pop()
            if id(call) not in self._places:
                self._places[id(call)] = len(self._inputs) + len(self._calls)
                self._calls.append(call)

    def described(self):
        """Everything but the operations, in the types of JSON."""
        return {
            "inputs": [_input(tensor) for tensor in self._inputs],
            # A model that is called with a dict finds its inputs by their names.
            "names": [self._call(x).operation.name for x in self._inputs] if len(self._inputs) > 1 else [],
            "taken": _plain(self._model.input, self._reference),
            "calls": [_plain([call.args, call.kwargs], self._reference) for call in self._calls],
            "returned": _plain(self._model.output, self._reference),
        }

    def _reference(self, tensor):
        call, output = self._made_by[id(tensor)]
        return {"of call": self._places[id(call)], "output": output}


def _input(tensor):
    return [list(tensor.shape[1:]), tensor.dtype]


# --- one layer ---


def _class_name(kind):
    name = keras.saving.get_registered_name(kind)
    return f"keras>{name}" if _package(kind) == "keras" else name


def _package(kind):
    return kind.__module__.split(".")[0]


def _settings(kind, config):
    """The parts of a configuration that can change the function at inference."""
    config = {key: value for key, value in config.items() if key not in ("name", "trainable") and value is not None}
    if _package(kind) in ("keras", "lipviz"):
        config = {key: value for key, value in config.items() if not key.endswith(_OF_TRAINING)}
    return _plain(config)


def _attributes(layer):
    """Attributes of a layer that are arrays; of a class of your own, those that are numbers or strings, too.

    For a class without a `get_config`, Keras returns the arguments of the constructor, even if attributes have changed.
    """
    kinds = (np.ndarray,) if _package(type(layer)) in ("keras", "lipviz") else _PLAIN
    names = [name for name in vars(layer) if not (is_bookkeeping(name) or _is_of_base(layer, name))]
    return {name: _plain(value) for name in sorted(names) if _consists_of(value := vars(layer)[name], kinds)}


def _is_of_base(layer, name):
    """Whether Keras or lipviz sets an attribute of that name in layers or models, and this layer does not read it."""
    if name in _OF_EVERY_LAYER:
        return True
    kept = {*attributes_of_models(), *STEP_NOTES} if isinstance(layer, keras.Model) else STEP_FUNCTIONS
    cls: type = type(layer)
    return name in kept and name not in used_names(cls)


def _consists_of(value, kinds):
    if isinstance(value, keras.Variable | keras.KerasTensor):
        return False
    if isinstance(value, list | tuple) and kinds is _PLAIN:
        return all(_consists_of(part, kinds) for part in value)
    if isinstance(value, dict) and kinds is _PLAIN:
        return all(_consists_of(part, kinds) for part in value.values())
    return isinstance(value, kinds) or _is_array(value) or (value is None and kinds is _PLAIN)


def _is_array(value):
    """Whether a value is an array or a tensor of any backend; Keras's own test takes thirty times as long."""
    return hasattr(type(value), "__array__") and not isinstance(value, keras.KerasTensor)


def _own_arrays(layer):
    """Values of a layer's own weights, random seeds left out, and of other arrays that it saves."""
    inside = {id(weight) for part in inner_layers(layer) for weight in part.weights}
    own = [weight for weight in layer.weights if id(weight) not in inside]
    if type(layer).save_own_variables is not keras.layers.Layer.save_own_variables:
        store: dict[str, Any] = {}
        known = {id(weight) for weight in own}
        layer.save_own_variables(store)
        own += [store[name] for name in sorted(store) if id(store[name]) not in known]
    return map(to_numpy, own)


def _assets(layer):
    """Hashes of the files that a layer saves, such as that of a vocabulary, by their names."""
    if not hasattr(layer, "save_assets"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        layer.save_assets(folder)
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _without_batch(config):
    """The build configuration of a layer, without the size of the batch."""
    if isinstance(config, dict):
        return {key: _without_batch(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        if all(size is None or isinstance(size, int | np.integer) for size in config):
            return [None if size is None else int(size) for size in config[1:]]
        return [_without_batch(part) for part in config]
    return _plain(config)


# --- bytes ---


def _add_array(digest, array):
    if array.dtype.kind in "OUS":  # words: the memory of an object array holds addresses only
        digest.update(_as_json(["words", list(array.shape), [str(word) for word in array.reshape(-1)]]))
        return
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    digest.update(_as_json([array.dtype.name, list(array.shape)]))
    digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")


def _as_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _plain(value, reference=None):
    """A value of a configuration in the types of JSON: 1.0 becomes 1, and tuples become lists.

    Args:
        value: The value.
        reference: Function that describes a symbolic tensor; None where there are none.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item(), reference)
    if isinstance(value, int | float):
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(value, list | tuple):
        return [_plain(part, reference) for part in value]
    if isinstance(value, dict):
        return _plain_dict(value, reference)
    if isinstance(value, keras.KerasTensor) and reference is not None:
        return reference(value)
    if isinstance(value, slice):
        return {"slice": _plain([value.start, value.stop, value.step], reference)}
    if _is_array(value):
        return {"array": array_hash(value)}
    if value is Ellipsis or isinstance(value, set | frozenset):
        return {"other": "..." if value is Ellipsis else sorted(map(str, value))}
    return _plain(keras.saving.serialize_keras_object(value), reference)


def _plain_dict(value, reference):
    if "class_name" not in value or "config" not in value:
        return {str(key): _plain(part, reference) for key, part in value.items()}
    config = value["config"]  # of an object that Keras has serialized
    if isinstance(config, dict) and "trainable" in config:  # a layer, whose name says nothing
        config = {key: part for key, part in config.items() if key not in ("name", "trainable")}
    if isinstance(config, dict) and "layers" in config:  # a model, which the walk visits itself
        config = "model"
    return {"class": value.get("registered_name") or value["class_name"], "config": _plain(config, reference)}
