"""Measure in float64 what a model computes in less, so that rounding is not taken for the model's doing."""

import contextlib
import warnings

import keras
import numpy as np
from keras import ops

from lipviz import _moved
from lipviz.copies import NotCopiedError, check_same_function, take_state, variable_pairs, with_functions
from lipviz.keras_internals import inner_layers
from lipviz.model import layers_from_config, parametrizations
from lipviz.operators import copy_comparison
from lipviz.parametrizations import known_current, unfilled
from lipviz.rules.used import as_float64, to_numpy

_FLOATS = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")


@contextlib.contextmanager
def float64_scope():
    """Let JAX compute in float64 in here; the other backends always can."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    enable = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with enable(True):
        yield


def float64_copy(model):
    """Copy a model into float64: the same layers, and the very weights that its inference uses.

    The constrained kernels are copied as stored, not computed again, so that the copy differs from the model by
    the rounding of its operations only. On JAX, call the copy inside `float64_scope()`; there Keras computes a few
    functions, such as tanh and softmax, in float32 whatever it is given, and the copy is as exact as they are (1e-7).

    State outside of the weights, such as the statistics of `Normalization` or a vocabulary, is copied in the way in
    which Keras saves it. What else a layer computes with is compared; where that differs, both models are run on drawn
    inputs, and compared within a bound from rounding.

    Args:
        model: Built Keras model, of lipviz or not, that can be rebuilt from its `get_config`.

    Returns:
        A model of the same class, not compiled. It shares nothing with `model`, which is not changed.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it is not built, a weight holds NaN or Inf, or the copy does not compute what the model does.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"float64_copy expects a Keras model. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"Model '{model.name}' must be built before it is measured: call it on data, or `build` it.")
    for weight in model.weights:
        value = to_numpy(weight)
        if value.dtype.kind not in "iub" and not np.isfinite(value.astype(np.float64)).all():
            raise ValueError(f"The weight '{weight.path}' holds NaN or Inf: what it computes cannot be measured.")
    with float64_scope(), unfilled(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what the model warned of when it was made
        config, held = with_functions(model.get_config(), model)
        try:
            with held:
                copy = _from_config(type(model), _in_float64(config))
        except ValueError as error:
            raise NotCopiedError(f"'{model.name}' cannot be rebuilt from its configuration: {error}") from error
        for layer in [copy, *inner_layers(copy)]:
            # They have theirs from the policy of the day, and compute nothing in it.
            if isinstance(layer, keras.Model | keras.layers.InputLayer):
                layer.dtype_policy = "float64"
        take_state(copy, model)  # not `set_weights`, which would refresh wbar
    differs = copy_comparison.difference(model, copy)
    if differs is not None:
        check_same_function(model, copy, f"The copy in float64, in which {differs},", float64_scope)
    return copy


def check_varies(model):
    """Raise ValueError unless the inputs of a model are floating-point numbers, by which it can be differentiated.

    Args:
        model: Keras model. One whose inputs are not known before it is called takes what it is given.
    """
    for tensor in getattr(model, "inputs", None) or ():
        if not keras.backend.is_float_dtype(tensor.dtype):
            raise ValueError(
                f"Expected a model whose inputs are floating-point numbers, which can change by a little. Received: "
                f"'{model.name}' with an input of dtype {tensor.dtype}. Begin behind what converts it, such as an "
                "Embedding or a Rescaling."
            )


def sync_copy(copy, model):
    """Write the present variables of a model, weights and seeds, into its `float64_copy`.

    Args:
        copy: `float64_copy` of the model.
        model: Built Keras model.

    Raises:
        ValueError: If a weight holds NaN or Inf.
    """
    with float64_scope():
        for source, target in variable_pairs(model, copy):
            value = to_numpy(source)
            if value.dtype.kind not in "iub":
                value = as_float64(value, f"The weight '{source.path}'")
            target.assign(value.astype(target.dtype))


def _from_config(kind, config):
    if kind is keras.Sequential:
        return keras.Sequential(layers_from_config(config), name=config["name"])
    return kind.from_config(config)


def _in_float64(config):
    """A serialized configuration in which every floating dtype is float64, nested layers included."""
    if isinstance(config, list | tuple):
        return type(config)(_in_float64(item) for item in config)
    if not isinstance(config, dict):
        return config
    return {key: _dtype(value) if key == "dtype" else _in_float64(value) for key, value in config.items()}


def _dtype(value):
    name = value["config"].get("name") if isinstance(value, dict) else value
    return "float64" if name in _FLOATS else value


class NotInFloat64Error(ValueError):
    """A backend cannot compute a model in float64 on this machine."""


def settled(network):
    """The context in which a `float64_copy` that nobody trains runs: its constrained kernels are taken as copied.

    Args:
        network: A copy as `float64_copy` and `sync_copy` leave it. What is no copy is compared as always.
    """
    return known_current([each for each in parametrizations(network) if each.has_taken_over])


def at_inference(network, x):
    """What a model in float64 makes of samples at inference, in the structure of its outputs.

    Args:
        network: Model in float64.
        x: Array of shape (n, ...).

    Raises:
        NotInFloat64Error: If the backend has no float64 form of one of its layers, as TensorFlow has none of poolings
            of volumes on CPUs.
    """
    with float64_scope():
        try:
            with settled(network):
                return network(x, training=False)
        except (TypeError, ValueError, NotImplementedError):  # which speak for themselves
            raise
        except Exception as error:  # each backend has classes of its own
            reason = str(error).strip().split("\n")[0]
            raise NotInFloat64Error(f"'{network.name}' cannot be computed in float64 here: {reason}") from error


def outputs(network, x, batch_size=1024):
    """Outputs of a `float64_copy` in inference, flattened.

    Args:
        network: Model in float64.
        x: Array of shape (n, ...).
        batch_size: Samples at a time.

    Returns:
        A float64 array of shape (n, number of outputs).

    Raises:
        NotInFloat64Error: See `at_inference`.
    """
    with float64_scope():
        parts = [at_inference(network, x[i : i + batch_size]) for i in range(0, len(x), batch_size)]
        return np.concatenate([ops.convert_to_numpy(part).reshape(len(part), -1) for part in parts])


class SyncedFloat64Copy:
    """A `float64_copy` of a model that takes over its present weights, without being rebuilt.

    Args:
        model: Built Keras model.

    Attributes:
        model: The model.
        network: The copy, with the weights of when it was made or last synced.
    """

    def __init__(self, model):
        self.model = model
        self.network = float64_copy(model)

    def sync(self):
        """Write the present variables of the model into the copy, see `sync_copy`."""
        sync_copy(self.network, self.model)

    def outputs(self, x):
        """Outputs of the model as it is now, in float64: of shape (n, number of outputs)."""
        self.sync()
        return outputs(self.network, x)


def __getattr__(name):
    return _moved.name_of(__name__, name)
