"""The private names of Keras that lipviz uses. Each is used by one function of this module, and nowhere else.

A release of Keras may change a private name without notice. `tests/test_private_names.py` has a test for each function.
If a name changes, its test says where to look and what to change. If you need another private name, add a function here
and a test for it.
"""

import contextlib
import dataclasses
import functools
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import keras

# The class of `keras.Model(inputs, outputs)`, for which Keras has no public name.
KerasFunctional = type(keras.Model(_any := keras.Input((1,)), keras.layers.Identity()(_any)))


# --- layers ---


def inner_layers(layer: keras.Layer, deep: bool = True) -> list[keras.Layer]:
    """List the layers inside a layer or model, each once.

    The public attribute `layers` exists for models only, and leaves out the input layer of a `Sequential`. The layers
    inside wrappers and custom layers are in `Layer._flatten_layers`.

    Args:
        layer: Keras layer or model; it is not itself in the list.
        deep: Whether to list the layers inside those layers as well, directly after them.

    Returns:
        A list of layers. With `deep=False` it has the order in which they were attached.
    """
    return layer._flatten_layers(include_self=False, recursive=deep)


def outermost_layer(layer: keras.Layer) -> keras.Layer:
    """The layer or model that was called first and whose call led to the present call of a layer.

    Keras has no public way to find it. It is in the object that `Layer._get_call_context` returns.

    Args:
        layer: Keras layer, within its `call`.

    Returns:
        A layer; `layer` itself, if it was called directly.
    """
    return layer._get_call_context().entry_layer


def is_training(layer: keras.Layer) -> bool:
    """Whether the present call of a layer is part of a training: `training` is True in the call that led to it.

    Keras passes `training` on to layers whose `call` has this argument, and has no public way for the others. It is in
    the object that `Layer._get_call_context` returns.

    Args:
        layer: Keras layer, within its `call`.
    """
    return layer._get_call_context().get_value("training") is True


# Graphs in which a gradient was registered, and which may get more of them while they are traced.
_traced: weakref.WeakSet[Any] = weakref.WeakSet()
_traced_lock = threading.Lock()


def with_noted_graph(result: Any) -> Any:
    """Note the graph of a result, for `release_gradients`.

    Args:
        result: What a function with a custom gradient returned: a tensor, or a tuple or list of tensors.

    Returns:
        The same object. Outside of graphs of TensorFlow, nothing is noted.
    """
    tensor = result[0] if isinstance(result, tuple | list) else result
    graph = getattr(getattr(tensor, "op", None), "graph", None)
    if graph is not None:
        with _traced_lock:
            _traced.add(graph)
    return result


def release_gradients() -> None:
    """Let the gradients that are registered for graphs go when these graphs go, from now on.

    TensorFlow keeps the gradient of each `ops.custom_gradient` by name in a registry, for as long as the process lives,
    and each holds its graph. So each model that was trained leaves its graphs behind: 12 MB for a small CNN. After this
    call, the graphs that `with_noted_graph` has met hold their gradients themselves, and the registry only refers to
    them. TensorFlow has no public way to take a name out of its registry. So only lessons call it, between two cells,
    and explorers on a page, when they are closed.
    """
    with _traced_lock:  # another thread may be training
        graphs = list(_traced)
    for graph in graphs:
        names = (one.node_def.attr["_gradient_op_type"].s.decode() for one in graph.get_operations() if _is_named(one))
        for name in names:
            _release(graph, name)


def _is_named(operation):
    return operation.type == "IdentityN" and "_gradient_op_type" in operation.node_def.attr


def _release(graph, name):
    from tensorflow.python.framework import ops as framework

    registered = framework.gradient_registry._registry
    if not hasattr(graph, "lipviz_gradients"):
        graph.lipviz_gradients = {}  # these and the graph hold each other, and nothing else holds them
    gradients = graph.lipviz_gradients
    if name in gradients or name not in registered:
        return
    gradients[name] = registered[name]["type"]
    referred = weakref.ref(graph)

    def gradient(*arguments):
        alive = referred()
        if alive is None:
            raise LookupError(f"The graph whose gradient {name!r} is asked for no longer exists.")
        return alive.lipviz_gradients[name](*arguments)

    registered[name]["type"] = gradient
    weakref.finalize(graph, registered.pop, name, None)


def output_shape_argument(layer: keras.layers.Lambda) -> Any:
    """The argument `output_shape` of a `keras.layers.Lambda`: a tuple, a function or None.

    Unlike the other arguments, it has no public attribute. The configuration has the code of a function, and not the
    function.
    """
    return layer._output_shape


def is_bookkeeping(name: str) -> bool:
    """Whether Keras or TensorFlow sets an attribute of this name in layers, for its own use.

    Neither documents these attributes. Keras keeps the arguments of layers without a `get_config` in `_auto_config`; if
    it cannot, it says so in `_auto_config_error_args`. The names of TensorFlow's attributes begin with `_self_`.

    Args:
        name: Name of an attribute.
    """
    return name.startswith(("_auto_config", "_self_"))


# Attributes that TensorFlow's export sets in every layer, as if it were a model.
STEP_FUNCTIONS = ("train_function", "test_function", "predict_function")


@functools.cache
def attributes_of_models() -> frozenset[str]:
    """Names of the attributes that Keras itself sets in models, including those set by compiling and running.

    Keras documents some of them, such as `optimizer`, but has no list. Compiling a model sets most of them. Running it
    sets a few more, which are listed here.

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
        args: Its positional arguments, with a symbolic tensor for each value of the graph.
        kwargs: Its keyword arguments, with symbolic tensors too.
        inputs: List of the symbolic tensors in `args` and `kwargs`. For an input layer it is empty.
        outputs: List of the symbolic tensors that the call returned.
    """

    operation: keras.Operation
    args: tuple
    kwargs: dict
    inputs: list
    outputs: list

    def filled(self, values: Mapping[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its args and kwargs with values, where `values` is a dict from the id of a symbolic tensor to its value."""
        if not self.kwargs and len(self.args) == 1 and isinstance(self.args[0], keras.KerasTensor):
            return (values[id(self.args[0])],), {}  # fast, and true of nearly every call

        def value(leaf):
            return values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

        return keras.tree.map_structure(value, (self.args, self.kwargs))


def graph_calls(model: keras.Model) -> list[Call]:
    """The calls in the graph of a functional model, in an order in which they can be run.

    The public attribute `model.operations` lists each operation once, without its calls. The calls are in
    `Function._nodes_by_depth`. If models share a layer, only its calls in this model are there.

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
    """Run the graph of a functional model on values of any kind.

    Keras's public functions only run it on tensors, or copy it (`keras.models.clone_model`).

    Args:
        model: Functional Keras model, of lipviz or not.
        inputs: Values in the structure of its inputs.
        step: Function that takes a layer or operation and the arguments of its call, and returns values in the
            structure of its outputs.

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
    """The symbolic inputs of all calls of a layer, in all graphs.

    The public attribute `layer.input` has those of the first call only. All are in `Operation._inbound_nodes`.

    Args:
        layer: Keras layer or operation.

    Returns:
        A list with a list of symbolic tensors for each call.
    """
    return [node.arguments.keras_tensors for node in layer._inbound_nodes]


def replace_base(cls: type, old: type, new: type) -> type:
    """Replace the base class `old` by `new`, in a class and in those of its bases that derive from `old`.

    A model that is constructed from inputs and outputs is functional. For subclasses of `keras.Model`, Keras ensures
    that by replacing their base (`inject_functional_model_class`), but only the base `keras.Model`. Python can replace
    a base if the instances of both have the same layout in memory.

    Args:
        cls: Class that derives from `old`, and not from `new`.
        old: Base class.
        new: Class that derives from `old`.

    Returns:
        The class; `new` if the class is `old` itself.
    """
    if cls is old:
        return new
    if not issubclass(cls, new):
        cls.__bases__ = tuple(replace_base(base, old, new) if issubclass(base, old) else base for base in cls.__bases__)
    return cls


# --- training and files ---


def is_graph_of_step(name: str | None) -> bool:
    """Whether TensorFlow traces a graph of this name for `fit`, `evaluate` or `predict`, their steps on batches too.

    There is no public sign of it. The names are those of functions within the methods `_make_function` and
    `make_predict_function` of the `Trainer`.

    Args:
        name: Name of a graph, or of one around it.
    """
    return name in ("one_step_on_data", "one_step_on_data_distributed", "multi_step_on_data")


def compiled_metrics(model: keras.Model) -> keras.Metric | None:
    """The metric that updates all metrics that `compile` received, or None.

    The public list `model.metrics` contains it among others, but its class has no public name. `Trainer` keeps it in
    `_compile_metrics`.
    """
    return getattr(model, "_compile_metrics", None)


def build_metrics(model: keras.Model, targets: Any) -> None:
    """Creates the variables of the metrics before the first step, if the model has one output of known shape.

    Without them, Keras traces the first step twice. Where a metric cannot take the targets, Keras will raise its own
    error in the step.

    Args:
        model: A model that is compiled, or not.
        targets: What has the shape and the dtype of the targets; anything else changes nothing.
    """
    metrics = compiled_metrics(model)
    outputs: Any = getattr(model, "outputs", None) or ()
    if metrics is None or metrics.built or len(outputs) != 1:
        return
    with contextlib.suppress(Exception):
        dtype = keras.backend.standardize_dtype(targets.dtype)
        metrics.build(keras.KerasTensor(tuple(targets.shape), dtype), outputs[0])


def is_distributed(model: keras.Model) -> bool:
    """Whether a model was made within the scope of a strategy of TensorFlow.

    The public attribute `distribute_strategy` does not say so: without a strategy, it is the default strategy. The
    private `_distribute_strategy` of TensorFlow's trainer is None then. A model without this attribute, as on other
    backends, counts as distributed.
    """
    return getattr(model, "_distribute_strategy", model) is not None


def set_direction_up(metric: keras.Metric) -> None:
    """Mark a metric as one whose larger values are better, for callbacks with `mode="auto"`.

    `EarlyStopping` and `ModelCheckpoint` know this of Keras's own metrics, and there is no public way to mark others.
    They read the private `metric._direction`.
    """
    metric._direction = "up"


class RestoredVariable(keras.Variable):
    """A variable with a method `restore`, which runs when a `tf.train.Checkpoint` restores it.

    Restoring does not call `assign`. TensorFlow calls the private `_restore_from_tensors`, which other backends neither
    have nor call.
    """

    def restore(self, tensors: Mapping[str, Any]) -> Any:
        """Take the value from a checkpoint.

        Args:
            tensors: Dict of tensors, as TensorFlow has read it.
        """
        return super()._restore_from_tensors(tensors)

    def _restore_from_tensors(self, restored_tensors):
        return self.restore(restored_tensors)
