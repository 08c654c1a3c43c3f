"""Measure models in float64, so that the rounding of a lower precision is not taken for a property of the model."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

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
from lipviz.types import Array, ArrayLike

_FLOATS = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")


@contextlib.contextmanager
def float64_scope() -> Iterator[None]:
    """A context in which JAX computes in float64; the other backends always can."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    enable = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with enable(True):
        yield


def float64_copy(model: keras.Model) -> keras.Model:
    """Copy a model into float64: the same layers, and the same weights that its inference uses.

    The constrained kernels are copied as stored, not computed again, so that the copy differs from the model by
    the rounding of its operations only. On JAX, call the copy inside `float64_scope()`. There, Keras computes
    a few functions, such as tanh and softmax, in float32 for every input, and the copy is as exact as they are (1e-7).

    State outside of the weights, such as the statistics of `Normalization` or a vocabulary, is copied as Keras saves
    it. Everything else that a layer computes with is compared. Where it differs, both models are run on random inputs,
    and their outputs are compared within a bound of the rounding.

    Args:
        model: Built Keras model, of lipviz or not, that can be rebuilt from its `get_config`.

    Returns:
        A model of the same class, not compiled. It shares nothing with `model`, which is not changed.

    Raises:
        TypeError: If it is no Keras model.
        ValueError: If it is not built, a weight holds NaN or Inf, or the copy does not compute what the model does.
    """
    return copy_in(model, "float64")


def copy_in(model: keras.Model, policy: str) -> keras.Model:
    """Copy a model into another precision; see `float64_copy`.

    Args:
        model: Built Keras model, of lipviz or not, that can be rebuilt from its `get_config`.
        policy: "float64", "float32", "mixed_float16" or "mixed_bfloat16". A mixed policy keeps the weights and the
            inputs as they are, and rounds both when it computes.

    Returns:
        A model of the same class, not compiled. It shares nothing with `model`, which is not changed.

    Raises:
        TypeError: See `float64_copy`.
        ValueError: See `float64_copy`.
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
        warnings.simplefilter("ignore", UserWarning)  # the model gave the same warnings when it was made
        config, held = with_functions(model.get_config(), model)
        try:
            with held:
                copy = _from_config(type(model), _in_policy(config, policy))
        except ValueError as error:
            raise NotCopiedError(f"'{model.name}' cannot be rebuilt from its configuration: {error}") from error
        for layer in [copy, *inner_layers(copy)]:
            # Keras gives these the global policy, and they compute nothing in it.
            if isinstance(layer, keras.Model | keras.layers.InputLayer):
                layer.dtype_policy = policy
        take_state(copy, model)  # not `set_weights`, which would refresh wbar
    differs = copy_comparison.difference(model, copy)
    if differs is not None:
        check_same_function(model, copy, f"The copy in {policy}, in which {differs},", float64_scope)
    return copy


def check_varies(model: keras.Model) -> None:
    """Raise ValueError unless the inputs of a model are floating-point numbers, which have gradients.

    Args:
        model: Keras model. A model whose inputs are not known before it is called is not checked.
    """
    for tensor in getattr(model, "inputs", None) or ():
        if not keras.backend.is_float_dtype(tensor.dtype):
            raise ValueError(
                f"Expected a model whose inputs are floating-point numbers, which can change gradually. Received: "
                f"'{model.name}' with an input of dtype {tensor.dtype}. Use the part of the model after the layer that "
                "converts it, such as an Embedding or a Rescaling."
            )


def sync_copy(copy: keras.Model, model: keras.Model) -> None:
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


def _in_policy(config, policy):
    """A serialized configuration in which every floating dtype is replaced by a policy, nested layers included.

    A mixed policy is no dtype of tensors: it replaces those of layers only, whose configurations say "trainable".
    """
    if isinstance(config, list | tuple):
        return type(config)(_in_policy(item, policy) for item in config)
    if not isinstance(config, dict):
        return config
    replaced = "trainable" in config or not policy.startswith("mixed")
    return {
        key: _dtype(value, policy) if key == "dtype" and replaced else _in_policy(value, policy)
        for key, value in config.items()
    }


def _dtype(value, policy):
    name = value["config"].get("name") if isinstance(value, dict) else value
    return policy if name in _FLOATS else value


class NotInFloat64Error(ValueError):
    """A backend cannot compute a model in float64 on this machine."""


def settled(network: keras.Model) -> contextlib.AbstractContextManager[None]:
    """A context to run a `float64_copy` that is not trained: its constrained kernels are used as they were copied.

    Args:
        network: A copy as `float64_copy` and `sync_copy` leave it. Constrained kernels that were not copied are checked
            as usual.
    """
    return known_current([each for each in parametrizations(network) if each.has_taken_over])


def at_inference(network: keras.Model, x: ArrayLike) -> Any:
    """Outputs of a model in float64 at inference, in the structure that the model returns.

    Args:
        network: Model in float64.
        x: Array of shape (n, ...).

    Raises:
        NotInFloat64Error: If the backend cannot compute one of its layers in float64, as TensorFlow cannot for poolings
            of volumes on CPUs.
    """
    with float64_scope():
        try:
            with settled(network):
                return network(x, training=False)
        except (TypeError, ValueError, NotImplementedError):  # their messages say enough
            raise
        except Exception as error:  # its class depends on the backend
            reason = str(error).strip().split("\n")[0]
            raise NotInFloat64Error(f"'{network.name}' cannot be computed in float64 here: {reason}") from error


def outputs(network: keras.Model, x: Array, batch_size: int = 1024) -> Array:
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
    """A `float64_copy` of a model that follows the weights of the model, without being rebuilt.

    Args:
        model: Built Keras model.

    Attributes:
        model: The model.
        network: The copy, with the weights that the model had when the copy was made or last synced.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.network = float64_copy(model)

    def sync(self) -> None:
        """Write the present variables of the model into the copy, see `sync_copy`."""
        sync_copy(self.network, self.model)

    def outputs(self, x: Array) -> Array:
        """Outputs of the model as it is now, in float64: of shape (n, number of outputs)."""
        self.sync()
        return outputs(self.network, x)


def __getattr__(name):
    return _moved.name_of(__name__, name)
