"""Copies of models: they get all state of their original, and their outputs are compared with its outputs."""

import contextlib
import itertools
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

from lipviz.keras_internals import KerasFunctional, graph_calls, inner_layers, output_shape_argument
from lipviz.layers.base_layer import ConstrainedKernel
from lipviz.parametrizations import Parametrization
from lipviz.types import Array


class NotCopiedError(ValueError):
    """A copy lacks something that its original computes with."""


# --- state ---


def layer_pairs(
    original: keras.Layer, copy: keras.Layer, instead: Mapping[int, keras.Layer] | None = None
) -> Iterator[tuple[keras.Layer, keras.Layer]]:
    """Yield each layer of a model with the corresponding layer of a copy; first the two models themselves.

    Args:
        original: Keras model or layer.
        copy: Model or layer that was made from the configuration of `original`.
        instead: Dict from the id of a layer to another layer, which the copy has a copy of in its place; optional.

    Raises:
        NotCopiedError: If the two do not have the same layers.
    """
    original = (instead or {}).get(id(original), original)
    yield original, copy
    ours, theirs = _inside(original), _inside(copy)
    if len(ours) != len(theirs):
        raise NotCopiedError(
            f"'{original.name}' cannot be copied: it holds {len(ours)} layers, and what its configuration describes "
            f"holds {len(theirs)}."
        )
    names = {layer.name: layer for layer in theirs}
    if len(names) == len(theirs) and names.keys() == {layer.name for layer in ours}:  # a graph may change the order
        theirs = [names[layer.name] for layer in ours]
    for ours_one, theirs_one in zip(ours, theirs, strict=True):
        yield from layer_pairs(ours_one, theirs_one, instead)


def _inside(layer):
    return inner_layers(layer, deep=False)


def variable_pairs(
    original: keras.Layer, copy: keras.Layer, instead: Mapping[int, keras.Layer] | None = None
) -> Iterator[tuple[keras.Variable, keras.Variable]]:
    """Yield each variable of a model with that of its copy, see `layer_pairs`. Those of random seeds are included.

    Raises:
        NotCopiedError: If the two do not have the same variables.
    """
    for layer, counterpart in layer_pairs(original, copy, instead):
        yield from _own_pairs(layer, counterpart)


def _own_pairs(layer, counterpart):
    ours, theirs = _own_variables(layer), _own_variables(counterpart)
    shapes, others = ([tuple(v.shape) for v in variables] for variables in (ours, theirs))
    if shapes != others:
        raise NotCopiedError(
            f"'{layer.name}' cannot be copied: its variables have the shapes {shapes}, and those of what its "
            f"configuration describes {others}."
        )
    return zip(ours, theirs, strict=True)


def _own_variables(layer):
    """Variables of a layer, random seeds included, without those of the layers inside."""
    inside = {id(variable) for child in _inside(layer) for variable in child.variables}
    return [variable for variable in layer.variables if id(variable) not in inside]


def take_state(copy: keras.Layer, original: keras.Layer, instead: Mapping[int, keras.Layer] | None = None) -> None:
    """Give a copy the state of its original: variables, and what layers save besides variables.

    Some layers have more state than variables, such as the mean of `Normalization` or a vocabulary. They override
    Keras's `load_own_variables`, or have `load_assets`. Such a layer saves and loads here as it does with a file.

    Args:
        copy: Built model or layer that was made from the configuration of `original`.
        original: Built model or layer.
        instead: See `layer_pairs`.

    Raises:
        NotCopiedError: If the two do not have the same layers and variables.
    """
    for layer, counterpart in layer_pairs(original, copy, instead):
        if not counterpart.built and layer.built:
            counterpart.build_from_config(layer.get_build_config())
        if not isinstance(layer, ConstrainedKernel | Parametrization):  # all of their state is variables
            _load(counterpart, layer)
        for source, target in _own_pairs(layer, counterpart):
            target.assign(_value(source, target.dtype))
        if isinstance(layer, Parametrization):
            counterpart.take_over(layer)


def _load(counterpart, layer):
    if type(layer).load_own_variables is not keras.layers.Layer.load_own_variables:
        store: dict[str, Any] = {}
        layer.save_own_variables(store)
        counterpart.load_own_variables({name: _value(value) for name, value in store.items()})
    if hasattr(layer, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            counterpart.load_assets(folder)


def _value(variable, dtype=None):
    """Copy of a value in memory of its own. Assigning a tensor would share its buffer, which JAX may reuse."""
    value = np.asarray(variable)
    if dtype not in (None, value.dtype.name):
        return value.astype(dtype)
    return value.astype(np.float32) if value.dtype.name == "bfloat16" and dtype is None else np.array(value)


def in_order(model: keras.Model, inputs: Any) -> list[Any]:
    """List what a functional model is called with, in the order of its inputs. The keys of a dict are their names.

    Args:
        model: Functional model.
        inputs: What it is called with: a structure of tensors, or of other objects in their place.

    Returns:
        A list.
    """
    own = model.input
    if isinstance(inputs, dict) and not isinstance(own, dict):
        inputs = [inputs[tensor.name] for tensor in keras.tree.flatten(own)]
    return keras.tree.flatten(inputs)


# --- functions ---

_HELD = "lipviz_held"  # the class that stands for a `Lambda` in a configuration


def with_functions(config: dict[str, Any], original: keras.Layer) -> tuple[dict[str, Any], AbstractContextManager[Any]]:
    """Put the Python functions of a model or layer into a copy of its configuration.

    Keras saves only the name of a Python function, or its code without the global names that the code uses. It refuses
    to run such code.

    Args:
        config: What `get_config` of the original returned; it is not changed.
        original: Keras model or layer.

    Returns:
        The tuple (configuration, context manager within which the copy is made).

    Raises:
        NotCopiedError: If two layers with different functions cannot be told apart by their names and configurations.
    """
    holders = [layer for layer in (original, *inner_layers(original)) if _is_lambda(layer) or _functions(layer)]
    lambdas = [layer for layer in holders if _is_lambda(layer)]

    class Held:
        """Makes the copy of the `Lambda` whose number a configuration holds."""

        @classmethod
        def from_config(cls, config):
            return same_lambda(lambdas[config["number"]], config["dtype"])

    if holders:
        config = _replaced(config, original, holders, lambdas)
    return config, keras.saving.custom_object_scope({_HELD: Held})


def same_lambda(layer: keras.layers.Lambda, dtype: Any = None) -> keras.layers.Lambda:
    """Copy a `Lambda` with the same function. Keras would rebuild the function without the global names it uses.

    Args:
        layer: The `Lambda`.
        dtype: Serialized dtype policy of the copy; that of the layer by default.
    """
    config = {key: value for key, value in keras.layers.Layer.get_config(layer).items() if key != "dtype"}
    dtype = layer.dtype_policy if dtype is None else keras.dtype_policies.get(dtype)
    return keras.layers.Lambda(
        layer.function,
        output_shape=output_shape_argument(layer),
        mask=layer.mask,
        arguments=layer.arguments,
        dtype=dtype,
        **config,
    )


def _is_lambda(layer):
    return type(layer) is keras.layers.Lambda


def _functions(layer):
    """Dict from the name of an argument to the Python function that a layer received there as an activation."""
    names = [name for name in ("activation", "recurrent_activation") if hasattr(layer, name)]
    given = {name: getattr(layer, name) for name in names}
    return {
        name: function
        for name, function in given.items()
        if isinstance(function, types.FunctionType) and not function.__module__.startswith("keras.")
    }


def _replaced(config, layer, holders, lambdas):
    """Copy of a configuration of `layer`, or around it, with functions in it, and a number for each `Lambda`."""
    if isinstance(config, list | tuple):
        return type(config)(_replaced(item, None, holders, lambdas) for item in config)
    if not isinstance(config, dict):
        return config
    inner = config.get("config")
    if isinstance(inner, dict) and "class_name" in config:
        found = _holder(config["class_name"], inner, holders)
        if found is not None and _is_lambda(found):
            number = next(number for number, one in enumerate(lambdas) if one is found)
            inner = {"number": number, "dtype": inner["dtype"]}
            return {**config, "module": None, "class_name": "Held", "registered_name": _HELD, "config": inner}
        return {**config, "config": _replaced(inner, found, holders, lambdas)}
    functions = {} if layer is None else {name: f for name, f in _functions(layer).items() if name in config}
    rest = {key: value for key, value in config.items() if key not in functions}
    return {**{key: _replaced(value, None, holders, lambdas) for key, value in rest.items()}, **functions}


def _holder(class_name, config, holders):
    """The one of `holders` that a configuration describes, or None."""
    found = [one for one in holders if (type(one).__name__, one.name) == (class_name, config.get("name"))]
    if len(found) > 1:
        found = [one for one in found if one.get_config() == config]
    kept = {(getattr(one, "function", None), *_functions(one).values()) for one in found}
    if len(kept) > 1:
        raise NotCopiedError(
            f"Layers with different functions need different names. Received: '{config['name']}' twice"
        )
    return found[0] if found else None


# --- comparison ---

_SIZES = (8, 16, 32, 64, 1)  # tried in the place of one that is not known
_RANGES = (256, 16, 2)  # of integers
_EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def check_same_function(
    model: keras.Model,
    copy: keras.Model,
    what: str,
    scope: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> None:
    """Run a model and its copy in inference on random inputs, and compare the outputs.

    No state changes: what a run would store, such as the next seed, is discarded. Rounding may make the outputs differ.
    A difference of up to 64·eps of the coarsest dtype, times the largest output, is always allowed. If it is larger,
    three runs of the copy measure how much rounding changes its outputs: in each, every weight and every input is
    moved up or down by its eps. A sum of n terms is rounded n times, so n times the measured change is allowed.

    Args:
        model: Built Keras model.
        copy: A model that should compute the same, perhaps in another dtype.
        what: Name of the copy in messages.
        scope: Function that returns the context manager within which the copy runs.

    Raises:
        NotCopiedError: If the outputs differ by more than that.
    """
    drawn = _drawn(model)
    if drawn is None:
        _warn(f"{what} could not be compared with '{model.name}': no input was found at which that runs.")
        return
    inputs, wanted = drawn
    with scope():
        try:
            got = _run(copy, inputs)
        except Exception as error:  # every backend has its own: a CPU may not run what a GPU does
            reason = str(error).strip().split("\n")[0]
            _warn(f"{what} could not be compared with '{model.name}': it does not run here ({reason}).")
            return
        eps = _coarsest(model)
        problem = _difference(wanted, got, [64 * eps * _largest(values) for values in wanted])
        if problem is not None:
            problem = _difference(wanted, got, _carried(copy, inputs, got, eps))
    if problem is not None:
        raise NotCopiedError(
            f"{what} does not compute what '{model.name}' does: {problem}. Something that the model computes with is "
            "in none of what a copy is made of: `get_config`, variables, `save_own_variables` and `save_assets`."
        )


def _warn(message):
    warnings.warn(message, UserWarning, stacklevel=4)


def _drawn(model):
    """Inputs on which a model runs, and its outputs; finite ones, if there are any. None if no inputs are found."""
    specs = _input_specs(model)
    leaves = keras.tree.flatten(specs)
    if not leaves:
        return None
    sizes = _SIZES if any(None in leaf.shape[1:] for leaf in leaves) else _SIZES[:1]
    ranges = _RANGES if any("float" not in leaf.dtype for leaf in leaves) else _RANGES[:1]
    partly = None
    for high, size, positive in itertools.product(ranges, sizes, (False, True)):
        draw = _Draw(model, size, high, positive)
        try:
            inputs = keras.tree.map_structure(draw, specs)
            outputs = _run(model, inputs)
        except Exception:  # of the backend: these do not fit
            continue
        share = [np.isfinite(values).mean() if values.dtype.kind == "f" else 1.0 for values in outputs if values.size]
        if share and min(share) == 1.0:
            return inputs, outputs
        if partly is None and share and max(share) > 0:
            partly = inputs, outputs
    return partly


def _input_specs(model):
    """The inputs of a model as symbolic tensors, in the structure that it takes; [] if that is not known."""
    if getattr(model, "inputs", None):
        return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    shape = (model.get_build_config() or {}).get("input_shape")
    if not shape or not all(size is None or isinstance(size, int) for size in shape):
        return []
    return keras.KerasTensor(tuple(shape), keras.backend.standardize_dtype(model.compute_dtype))


class _Draw:
    """Draws an input: numbers of few bits, which every dtype represents exactly, and zeros at the end, for masks."""

    def __init__(self, model: keras.Model, size: int, high: int, positive: bool) -> None:
        self._rng = np.random.default_rng(0)
        self._size, self._high, self._positive = size, high, positive
        self._model = model

    def __call__(self, spec: Any) -> Array:
        shape = [self._size if size is None else size for size in spec.shape]
        values: Array
        if spec.shape and spec.shape[0] is None:
            shape[0] = 2
        if spec.dtype == "string":
            return self._rng.choice(self._words(), shape)
        if "float" in spec.dtype:
            values = np.clip(np.round(self._rng.normal(scale=8.0, size=shape)), -32, 32) / 8
            values = np.abs(values) + 0.125 if self._positive else values
        else:
            values = self._rng.integers(0, 2 if spec.dtype == "bool" else self._high, shape)
        if len(shape) > 1 and shape[1] > 1 and not self._positive:
            values[-1, -(shape[1] // 4 or 1) :] = 0
        return values.astype("float32" if spec.dtype == "bfloat16" else spec.dtype)

    def _words(self):
        """The words that the lookup layers know, and one that they do not know."""
        lookups = [layer for layer in inner_layers(self._model) if hasattr(layer, "get_vocabulary")]
        return ["lipviz", *(str(word) for layer in lookups for word in layer.get_vocabulary())]


def _run(model, inputs):
    """Outputs of a model in inference as a list of arrays; numbers in float64."""
    with keras.StatelessScope(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user sees the warnings of the model when the user runs it
        outputs = keras.tree.flatten(model(inputs, training=False))
        return [_numbers(np.asarray(keras.ops.convert_to_numpy(values))) for values in outputs]


def _numbers(values):
    is_number = values.dtype.kind in "fiub" or values.dtype.name == "bfloat16"
    return values.astype(np.float64) if is_number else values


def _coarsest(model):
    """The eps of the coarsest float dtype in which a part of a model is computed."""
    dtypes = {layer.compute_dtype for layer in (model, *inner_layers(model))}
    calls = graph_calls(model) if isinstance(model, KerasFunctional) else ()
    dtypes |= {tensor.dtype for call in calls for tensor in call.outputs}
    eps = [_EPS.get(dtype, 2.0**-2) for dtype in dtypes if "float" in str(dtype)]  # others have eight bits or fewer
    if keras.backend.backend() == "jax":  # a few functions of Keras compute float64 in float32 there
        eps.append(_EPS["float32"])
    if any("cpu" not in device.lower() for device in keras.distribution.list_devices()):
        eps.append(_EPS["bfloat16"])  # accelerators may multiply float32 in bfloat16
    return max(eps, default=0.0)


def _largest(values):
    if values.dtype.kind != "f":
        return 0.0
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max(initial=0.0))


def _difference(wanted, got, allowed):
    """Describe the first output that differs by more than is allowed, or return None."""
    if [values.shape for values in wanted] != [values.shape for values in got]:
        return f"its outputs have the shapes {[v.shape for v in got]}, not {[v.shape for v in wanted]}"
    for want, have, most in zip(wanted, got, allowed, strict=True):
        if want.dtype.kind != "f":
            if not np.array_equal(want, have):
                return "its outputs are different"
            continue
        finite = np.isfinite(want)
        with np.errstate(invalid="ignore"):
            apart = np.where(finite, np.abs(np.nan_to_num(have, nan=np.inf) - np.where(finite, want, 0)), 0.0)
        if apart.size and not apart.max() <= most:
            where = np.unravel_index(apart.argmax(), apart.shape)
            return f"{want[where]:.9g} becomes {have[where]:.9g}, and rounding explains {most:.2g}"
    return None


def _carried(copy, inputs, outputs, eps):
    """How far rounding by `eps` can move each output, see `check_same_function`."""
    rng = np.random.default_rng(0)
    variables = [v for v in copy.variables if "float" in keras.backend.standardize_dtype(v.dtype)]
    kept = [_value(v) for v in variables]
    terms = max([16, *(v.size // v.shape[-1] for v in kept if v.ndim and v.size)])
    step = max(eps, _EPS.get(copy.compute_dtype, eps))

    def moved(values):
        if getattr(values, "dtype", np.dtype(object)).kind != "f":
            return values
        return values * (1 + step * rng.choice([-1, 1], values.shape))

    most = [0.0] * len(outputs)
    try:
        for _ in range(3):
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(moved(value).astype(value.dtype))
            runs = _run(copy, keras.tree.map_structure(moved, inputs))
            for i, (run, value) in enumerate(zip(runs, outputs, strict=True)):
                if run.dtype.kind == "f":
                    with np.errstate(invalid="ignore"):
                        most[i] = max(most[i], _largest(run - value))
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)
    return [terms * response for response in most]
