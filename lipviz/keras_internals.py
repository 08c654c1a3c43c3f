"""What lipviz needs of Keras and Keras does not promise: each private name stands behind one function, here alone.

A release of Keras may change any of them without notice. `tests/test_private_names.py` has a test for each function,
which then says where to look and what to change. Whoever needs another private name adds a function here, and its test.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras

# The class of `keras.Model(inputs, outputs)`, of which Keras promises no name.
KerasFunctional = type(keras.Model(_any := keras.Input((1,)), keras.layers.Identity()(_any)))


# --- layers ---


def inner_layers(layer: keras.Layer, deep: bool = True) -> list[keras.Layer]:
    """The layers inside of a layer or model, each once.

    Keras promises `layers` of models, without the input layer of a `Sequential`. What wrappers and layers of your own
    hold is in `Layer._flatten_layers`.

    Args:
        layer: Keras layer or model; it is not itself in the list.
        deep: Whether to list what those layers hold as well, right behind them.

    Returns:
        A list of layers. Where it is not deep, they are in the order in which they were attached.
    """
    return layer._flatten_layers(include_self=False, recursive=deep)


def outermost_layer(layer: keras.Layer) -> keras.Layer:
    """The layer or model whose call is running and led to this layer's.

    Keras hands `training` down the calls, and promises no way to ask who was called first. It notes that in the object
    that `Layer._get_call_context` returns.

    Args:
        layer: Keras layer, within its `call`.

    Returns:
        A layer; this one, where it was called itself.
    """
    return layer._get_call_context().entry_layer


def output_shape_argument(layer: keras.layers.Lambda) -> Any:
    """What a `keras.layers.Lambda` was given as `output_shape`: a tuple, a function or None.

    Keras promises no attribute of that name, unlike those of the other arguments, and its configuration has no
    functions, but their code.
    """
    return layer._output_shape


def is_bookkeeping(name: str) -> bool:
    """Whether an attribute of that name is a note that Keras or TensorFlow makes in a layer, for its own use.

    Neither promises which attributes layers have. Keras keeps in `_auto_config` the arguments of layers without a
    `get_config`, and in `_auto_config_error_args` that it cannot. What TensorFlow notes begins with `_self_`.

    Args:
        name: Name of an attribute.
    """
    return name.startswith(("_auto_config", "_self_"))


# What TensorFlow's export leaves in every layer, as if it were a model.
STEP_FUNCTIONS = ("train_function", "test_function", "predict_function")


@functools.cache
def attributes_of_models() -> frozenset[str]:
    """Names of the attributes that Keras itself keeps in models, whether they were compiled and run or not.

    Keras promises some of them, such as `optimizer`, and no list. Compiling a model tells most; running one adds few.

    Returns:
        A frozenset of names.
    """
    model = keras.Model()
    model.compile("sgd", "mse")
    of_runs = {"stop_training", "stop_evaluating", "stop_predicting", "_eval_epoch_iterator"}
    of_runs |= {"_jax_state", "_jax_state_synced"}
    return frozenset(vars(model)) | of_runs


# --- graphs ---


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """A call of a layer or an operation in the graph of a functional model.

    Attributes:
        operation: What is called, a `keras.layers.Layer` or another `keras.Operation`.
        args: Its arguments, with a symbolic tensor for each value of the graph.
        kwargs: Its named ones.
        inputs: List of the symbolic tensors in both. An input layer, which is called when it is made, has none.
        outputs: List of the symbolic tensors that the call returned.
    """

    operation: keras.Operation
    args: tuple
    kwargs: dict
    inputs: list
    outputs: list

    def filled(self, values: Mapping[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its arguments and named ones, where `values` is a dict from the id of a symbolic tensor to its value."""
        if not self.kwargs and len(self.args) == 1 and isinstance(self.args[0], keras.KerasTensor):
            return (values[id(self.args[0])],), {}  # quick, and nearly every call

        def value(leaf):
            return values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

        return keras.tree.map_structure(value, (self.args, self.kwargs))


def graph_calls(model: keras.Model) -> list[Call]:
    """The calls in the graph of a functional model, in an order in which they can be run.

    Keras promises `model.operations`, each once, however often it is called and with whatever. The calls are in
    `Function._nodes_by_depth`. Those elsewhere of a layer that models share are left out.

    Args:
        model: Functional Keras model, of lipviz or not.

    Returns:
        A list of `Call`s, input layers included.
    """
    depths = model._nodes_by_depth
    return [_call(node) for depth in sorted(depths, reverse=True) for node in depths[depth]]


def _call(node):
    given = node.arguments
    return Call(node.operation, given.args, given.kwargs, given.keras_tensors, node.outputs)


def run_graph(model: keras.Model, inputs: Any, step: Callable[..., Any]) -> Any:
    """Follow the graph of a functional model with values of any kind.

    Keras promises only to run it on tensors, and to copy it (`keras.models.clone_model`).

    Args:
        model: Functional Keras model, of lipviz or not.
        inputs: Values in the structure of its inputs.
        step: Function of a layer or operation and what it is called with, that returns values in the structure of its
            outputs.

    Returns:
        Values in the structure of the model's outputs.
    """
    values = dict(zip(map(id, model.inputs), keras.tree.flatten(inputs), strict=True))
    for call in graph_calls(model):
        if call.inputs:
            args, kwargs = call.filled(values)
            returned = keras.tree.flatten(step(call.operation, *args, **kwargs))
            values.update(zip(map(id, call.outputs), returned, strict=True))
    return keras.tree.map_structure(lambda tensor: values[id(tensor)], model.output)


def call_inputs(layer: keras.Operation) -> list[list[keras.KerasTensor]]:
    """What a layer was called with, in whatever graphs.

    Keras promises `layer.input`, of the first call only. All of them are in `Operation._inbound_nodes`.

    Args:
        layer: Keras layer or operation.

    Returns:
        A list with a list of symbolic tensors for each call.
    """
    return [node.arguments.keras_tensors for node in layer._inbound_nodes]


def replace_base(cls: type, old: type, new: type) -> type:
    """Put `new` in the place of `old` among the bases of a class, and of those bases that derive from `old`.

    Keras promises that an instance of `keras.Model` is functional where it is constructed from inputs and outputs, and
    makes subclasses so in this way (`inject_functional_model_class`), for `keras.Model` alone. Python exchanges bases
    where instances have the same layout in memory.

    Args:
        cls: Class that derives from `old`, and not from `new`.
        old: Base class.
        new: Class that derives from `old`.

    Returns:
        The class, or `new` for `old` itself.
    """
    if cls is old:
        return new
    if not issubclass(cls, new):
        cls.__bases__ = tuple(replace_base(base, old, new) if issubclass(base, old) else base for base in cls.__bases__)
    return cls


# --- training and files ---


def compiled_metrics(model: keras.Model) -> keras.Metric | None:
    """The metrics that `compile` was given, as the one metric that updates them all, or None.

    Keras promises `model.metrics`, which has that one in it, among others and under no class that has a public name.
    `Trainer._compile_metrics` tells it apart.
    """
    return getattr(model, "_compile_metrics", None)


def is_distributed(model: keras.Model) -> bool:
    """Whether a model was made within the scope of a strategy of TensorFlow; on other backends it is not.

    Keras promises `distribute_strategy`, which is the default strategy where there is none, and so hides whether there
    is. `_distribute_strategy` of TensorFlow's trainer tells; a model without it counts as distributed.
    """
    return getattr(model, "_distribute_strategy", model) is not None


def set_direction_up(metric: keras.Metric) -> None:
    """Say of a metric that more is better, for callbacks with `mode="auto"`.

    Keras promises that `EarlyStopping` and `ModelCheckpoint` know that of its own metrics, and no way to say it of
    others. They read `metric._direction`.
    """
    metric._direction = "up"


class RestoredVariable(keras.Variable):
    """A variable that knows when a `tf.train.Checkpoint` restores it: that does not call `assign`.

    Keras promises only that checkpoints restore its variables. TensorFlow calls `_restore_from_tensors` for it, which
    other backends neither have nor call.
    """

    def restore(self, tensors: Mapping[str, Any]) -> Any:
        """Take the value of a checkpoint.

        Args:
            tensors: Dict of tensors, as TensorFlow has read it.
        """
        return super()._restore_from_tensors(tensors)

    def _restore_from_tensors(self, restored_tensors):
        return self.restore(restored_tensors)
