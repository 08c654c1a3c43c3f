"""Export of models to plain Keras layers."""

import warnings
from typing import Any

import keras

from lipviz.copies import check_same_function, same_lambda, take_state, with_functions
from lipviz.keras_internals import KerasFunctional, inner_layers
from lipviz.layers.base_layer import Condensable


def vanillaModel(model: keras.Model) -> keras.Model:
    """Copy a model into plain Keras layers with the same predictions.

    Nested models are copied as well, and so are constrained layers inside wrappers such as `TimeDistributed`. Shared
    layers stay shared, and operators and arguments of calls stay in the graph. State besides the weights, such as the
    statistics of `Normalization` or a vocabulary, is copied in the way that Keras saves it.

    The model and its copy then run on random inputs, and their outputs are compared, up to rounding. If no inputs are
    found on which the model runs, or the copy cannot run on this machine, a warning says that nothing was compared.

    Args:
        model: Built Sequential or functional model, of lipviz or of Keras, with lipviz layers.

    Returns:
        A `keras.Sequential` or functional `keras.Model`, not compiled. Activations such as `GroupSort2` stay what
        they are.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If the model is not built, is subclassed (its graph cannot be seen), a kernel is not finite, or the
            copy does not compute what the model does, because something that the model uses cannot be copied.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"vanillaModel expects a Keras model. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"Model '{model.name}' must be built before it is exported: call it on data, or `build` it.")
    with warnings.catch_warnings():  # Keras warns that functions cannot be saved, but nothing is saved here
        warnings.filterwarnings("ignore", message="The object being serialized includes a `lambda`")
        copy = _Export().model(model)
    check_same_function(model, copy, "The plain copy")
    return copy


class _Export:
    """One export. It makes one plain layer for each layer, however often that is used."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}  # from the id of a layer or operation to its copy
        self._kept: list[Any] = []
        self._inside: dict[int, Any] = {}  # those of them that a wrapper describes in its configuration
        self._pairs: list[tuple[keras.Layer, keras.Layer]] = []

    def model(self, model: keras.Model) -> keras.Model:
        """A plain model of a Sequential or functional one."""
        copy = self._graph(model)
        for layer, clone in self._pairs:
            take_state(clone, layer, self._inside)
        return copy

    def _graph(self, model):
        if isinstance(model, keras.Sequential):
            layers = inner_layers(model, deep=False)  # unlike `model.layers`, with the input layer
            return keras.Sequential([self.plain(layer) for layer in layers], name=model.name)
        if isinstance(model, KerasFunctional):
            graph = keras.Model(model.input, model.output, name=model.name)  # a plain class, not compiled
            optional = {id(layer.output) for layer in _input_layers(graph) if layer.optional}
            inputs = keras.tree.map_structure(lambda x: _same_input(x, optional=id(x) in optional), model.input)
            return keras.models.clone_model(graph, input_tensors=inputs, clone_function=self.plain)
        raise ValueError(
            f"vanillaModel expects a Sequential or functional model. Received '{model.name}', a subclassed "
            f"{type(model).__name__} whose graph cannot be seen: export its layers by their own `vanilla_export`."
        )

    def plain(self, operation: keras.Operation) -> Any:
        """The copy of a layer, or of an operation of `keras.ops`."""
        if id(operation) not in self._made:
            self._kept.append(operation)
            self._made[id(operation)] = self._plain(operation)
        return self._made[id(operation)]

    def _plain(self, operation):
        if not isinstance(operation, keras.layers.Layer):
            return _same_operation(operation)
        if isinstance(operation, keras.Model):
            return self._graph(operation)
        if isinstance(operation, Condensable):
            return operation.vanilla_export()
        if type(operation) is keras.layers.Lambda:
            return same_lambda(operation)
        config, held = with_functions(operation.get_config(), operation)
        inside = [layer for layer in inner_layers(operation) if isinstance(layer, Condensable)]
        with held:
            clone = type(operation).from_config(self._plain_inside(config, inside) if inside else config)
        _give_policies(operation, clone)
        self._pairs.append((operation, clone))
        return clone

    def _plain_inside(self, config, layers):
        """The configuration of a wrapper, with plain layers where it describes one of `layers`."""
        if isinstance(config, list | tuple):
            return type(config)(self._plain_inside(item, layers) for item in config)
        if not isinstance(config, dict):
            return config
        for layer in layers:
            if _describes(config, layer):
                self._inside[id(layer)] = self.plain(layer)
                return keras.saving.serialize_keras_object(self._inside[id(layer)])
        return {key: self._plain_inside(value, layers) for key, value in config.items()}


def _give_policies(layer, clone):
    """Give a copy the dtype policies of its layer: the configurations of some layers of Keras leave them out."""
    pairs = zip([layer, *inner_layers(layer)], [clone, *inner_layers(clone)], strict=False)
    for old, new in pairs:
        if (type(old), old.name) == (type(new), new.name) and old.dtype_policy != new.dtype_policy:
            new.dtype_policy = old.dtype_policy


def _describes(config, layer):
    """Whether a dict out of a configuration is that of a layer, as far as its class and its name say."""
    own = config.get("config")
    return isinstance(own, dict) and (own.get("name"), config.get("class_name")) == (layer.name, type(layer).__name__)


def _input_layers(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.InputLayer)]


def _same_input(tensor, optional):
    return keras.Input(
        batch_shape=tensor.shape,
        dtype=tensor.dtype,
        name=tensor.name,
        sparse=tensor.sparse,
        optional=optional,
    )


def _same_operation(operation):
    """Copy an operation, which has no state; return the operation itself if its configuration cannot rebuild it."""
    try:
        return type(operation).from_config(operation.get_config())
    except Exception:
        return operation
