"""Models of Lipschitz layers. They distribute k over layers, keep `wbar` up to date, condense and export."""

import contextlib
import contextvars
import inspect
import math
import os
import sys
import typing
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Self, TypeAlias, TypeVar

import keras
import numpy as np

from lipviz import normalizers as nm
from lipviz.export import vanillaModel
from lipviz.keras_internals import KerasFunctional, build_metrics, inner_layers, is_distributed, replace_base
from lipviz.layers.base_layer import Condensable, ConstrainedKernel, LipschitzLayer
from lipviz.parametrizations import Parametrization, are_known_current, known_current
from lipviz.types import ArrayLike

__all__ = [
    "STEP_NOTES",
    "Functional",
    "Model",
    "Sequential",
    "layers_from_config",
    "parametrizations",
    "refresh",
    "vanillaModel",
]

# From a Lipschitz layer to the first stack that gave it a share of k.
_owners: weakref.WeakKeyDictionary[keras.Layer, weakref.ref[keras.Model]] = weakref.WeakKeyDictionary()


def _owner(layer):
    """The stack that first gave a layer its share of k, or None if there is none (any more)."""
    reference = _owners.get(layer)
    return None if reference is None else reference()


# Attributes in which a model keeps the factors that its steps were compiled with, and the compiled steps.
STEP_NOTES = ("_compiled_factors", "_made")

# Whether the constructor of a stack leaves the factors of its layers as they are, since they come from a file.
_keeps_factors = contextvars.ContextVar("lipviz_keeps_factors", default=False)


# The models that read arrays now.
_reads_arrays: contextvars.ContextVar[tuple[keras.Model, ...]] = contextvars.ContextVar(
    "lipviz_reads_arrays", default=()
)


@contextlib.contextmanager
def _within_reading(model):
    token = _reads_arrays.set((model, *_reads_arrays.get()) if model is not None else ())
    try:
        yield
    finally:
        _reads_arrays.reset(token)


class _Untuned:
    """A strategy of TensorFlow whose datasets are not tuned at run time.

    A dataset has a thread that tunes its parallelism, in periods that double from 10 ms. When its iterator is deleted,
    TensorFlow wakes this thread to end it. If the thread looks before TensorFlow has noted that it shall end, it sleeps
    for the rest of its period, and the caller waits. An epoch of a second takes up to a second longer then. Arrays in
    memory need no such thread.

    Args:
        strategy: Strategy that does everything else.
    """

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def experimental_distribute_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The strategy's own, for a dataset without that thread."""
        options = type(dataset.options())()  # `tf.data.Options`
        options.autotune.enabled = False
        return self._strategy.experimental_distribute_dataset(dataset.with_options(options), *args, **kwargs)


def _never_stretches(layer):
    from lipviz.rules.registry import never_stretches  # imported only if a stack needs it

    return never_stretches(layer)


def _second(batch):
    """The targets of a batch's structure, or None."""
    return batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None


def _layers_of(model, kind):
    """All layers of a kind, nested models included, each once."""
    return [layer for layer in inner_layers(model) if isinstance(layer, kind)]


def parametrizations(model: keras.Model) -> list[Parametrization]:
    """The parametrizations of all built layers of a model, nested ones included, as a list."""
    return [layer.parametrization for layer in _layers_of(model, ConstrainedKernel) if layer.built]


def refresh(model: keras.Model) -> None:
    """Bring the `wbar` of every constrained layer of any Keras model up to date with its kernel.

    `lipviz.Sequential` and `lipviz.Model` call this at the end of `fit` and in `set_weights`, and saving and loading a
    file do the same. After a custom training loop, or `fit` of a plain `keras.Model`, the kernels are one optimizer
    step ahead of `wbar`. Inference detects this, and constrains the kernels in each call, until this function, or a
    call of the model with `training=True`, stores the result. Storing it changes no output, and makes inference faster.

    Args:
        model: Built Keras model.

    Raises:
        ValueError: If a kernel holds NaN or Inf; the other layers are refreshed nevertheless.
    """
    problems = []
    for layer in _layers_of(model, ConstrainedKernel):
        if layer.built:
            try:
                layer.refresh()
            except ValueError as error:
                problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))


# Types of the arguments of the methods of `keras.Model` that are wrapped here.
_TYPES = {
    "self": inspect.Parameter.empty,
    "batch_size": int | None,
    "callbacks": list[keras.callbacks.Callback] | None,
    "class_weight": dict[int, float] | None,
    "epochs": int,
    "filepath": str | os.PathLike[str],
    "format": str,
    "initial_epoch": int,
    "return_dict": bool,
    "shuffle": bool,
    "steps": int | None,
    "steps_per_epoch": int | None,
    "validation_batch_size": int | None,
    "validation_freq": int | Collection[int],
    "validation_split": float,
    "validation_steps": int | None,
}
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _with_signature_of(method: Callable[..., Any], result: Any) -> Callable[[_Method], _Method]:
    """Decorator: Shift-Tab shows the arguments of a method of Keras, with their types and that of the result."""
    signature = inspect.signature(method)
    typed = [each.replace(annotation=_TYPES.get(each.name, Any)) for each in signature.parameters.values()]

    def decorate(function: _Method) -> _Method:
        vars(function)["__signature__"] = signature.replace(parameters=typed, return_annotation=result)
        return function

    return decorate


if typing.TYPE_CHECKING:  # type checkers find there what Keras gives to the classes that the mixin is part of
    _Mixin: TypeAlias = keras.Model
else:
    _Mixin = object


@Condensable.register
class _LipschitzModel(_Mixin):
    """What `Sequential` and `Model` have in common."""

    @_with_signature_of(keras.Model.fit, keras.callbacks.History)
    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train, as Keras's `fit`. Afterwards, even after an interrupt, every `wbar` belongs to its kernel.

        If training diverged to NaN, a warning says so. The predictions are then NaN, too.
        """
        given = {**kwargs, **dict(zip(("x", "y"), args, strict=False))}
        self._build_metrics(given.get("x"), given.get("y"))
        try:
            with self._untuned(given.get("x"), given.get("validation_data")):
                return super().fit(*args, **kwargs)
        finally:
            self._refresh_after_fit(interrupted=sys.exc_info()[0] is not None)

    def _refresh_after_fit(self, interrupted):
        if interrupted:  # by the user or by an error, which must reach the user in whatever state it left the model
            with contextlib.suppress(Exception):
                if hasattr(self, "jax_state_sync"):
                    self.jax_state_sync()
                refresh(self)
            return
        try:
            refresh(self)
        except ValueError as error:
            warnings.warn(
                f"Training left weights that are not finite, so predictions are not finite either.\n{error}",
                RuntimeWarning,
                stacklevel=3,
            )

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        super().set_weights(weights)
        refresh(self)

    @_with_signature_of(keras.Model.export, None)
    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Export, as Keras's `export`, after a `refresh`. On TensorFlow, the result constrains nothing itself."""
        if self.built:
            refresh(self)
        with self._compared():
            return super().export(*args, **kwargs)

    @property
    def metrics_variables(self) -> list[keras.Variable]:
        """Keras's own, and the variables of the losses: a step on JAX reads only what its model lists."""
        losses = keras.tree.flatten(getattr(self, "loss", None)) if self.compiled else ()
        held = [v for loss in losses if isinstance(loss, keras.Loss) for v in getattr(loss, "variables", ())]
        return [*super().metrics_variables, *{id(v): v for v in held}.values()]  # each once

    def condense(self) -> None:
        """Condense every layer, see `ConstrainedKernel.condense`.

        Raises:
            ValueError: If a layer is not built or a kernel holds NaN or Inf.
        """
        for layer in _layers_of(self, Condensable):
            if not isinstance(layer, keras.Model):
                layer.condense()

    def vanilla_export(self) -> keras.Model:
        """Return a plain Keras model with the same predictions, see `vanillaModel`."""
        return vanillaModel(self)

    # Keras compiles a step once. The factor of an activation is a Python number, which the step would not read again.
    def make_train_function(self, force: bool = False) -> Callable[..., Any]:
        self._build_optimizer()
        return super().make_train_function(force=self._factors_changed("train") or force)

    def _build_optimizer(self):
        """Create the optimizer's variables before the first step, which TensorFlow would trace twice otherwise."""
        optimizer = getattr(self, "optimizer", None)
        if self.built and optimizer is not None and not optimizer.built and self.trainable_variables:
            optimizer.build(self.trainable_variables)

    def _build_metrics(self, x, y):
        """Create the metrics' variables before the first step, too, if their targets and outputs are known."""
        # Keras itself does so on other backends, and within a strategy of TensorFlow.
        if keras.backend.backend() != "tensorflow" or is_distributed(self):
            return
        if not self._has_steps_of_keras():
            return
        if y is None:
            targets = _second(getattr(x, "element_spec", None))  # of a tf.data.Dataset
        else:
            targets = y if isinstance(y, np.ndarray) or keras.ops.is_tensor(y) else None
        build_metrics(self, targets)

    def _has_steps_of_keras(self):
        """Whether metrics get the targets of `fit` and the outputs of the graph: no method is overridden."""
        own = type(self)
        same = all(getattr(own, name) is getattr(keras.Model, name) for name in ("train_step", "compute_metrics"))
        return same and own.call in (keras.Sequential.call, KerasFunctional.call)

    def make_test_function(self, force: bool = False) -> Callable[..., Any]:
        return self._make("test", super().make_test_function, force)

    def make_predict_function(self, force: bool = False) -> Callable[..., Any]:
        return self._make("predict", super().make_predict_function, force)

    def _make(self, step, make, force):
        """Let Keras make the function of a step: one that compares kernels, or one that does not need to."""
        attribute, made = f"{step}_function", self.__dict__.setdefault("_made", {}).setdefault(step, {})
        if self._factors_changed(step) or force or getattr(self, attribute) is None:  # None after `compile`
            made.clear()
        knows = are_known_current(()) and are_known_current(parametrizations(self))  # the first is quick
        setattr(self, attribute, made.get(knows))
        make()
        made[knows] = getattr(self, attribute)
        return made[knows]

    @_with_signature_of(keras.Model.predict, Any)
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict, as Keras's `predict`. On TensorFlow, it checks `wbar` once, not in each batch."""
        with self._compared(), self._untuned(*args[:1], kwargs.get("x")):
            return super().predict(*args, **kwargs)

    @_with_signature_of(keras.Model.evaluate, Any)
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate, as Keras's `evaluate`. On TensorFlow, it checks `wbar` once, as `predict` does."""
        with self._compared(), self._untuned(*args[:1], kwargs.get("x")):
            return super().evaluate(*args, **kwargs)

    def _compared(self):
        """Context manager for runs in which no kernel changes: all `wbar`, or none, are used unchecked.

        On JAX, none are: a step that JAX compiled within this context would also run outside of it.
        """
        if keras.backend.backend() != "tensorflow":
            return contextlib.nullcontext()
        own = parametrizations(self)
        return known_current(own if all(each.is_current_now() for each in own) else ())

    @property
    def distribute_strategy(self) -> Any:
        """Keras's own, a strategy of TensorFlow. While arrays are read, it is one that leaves their reading untuned."""
        strategy = super().distribute_strategy
        return _Untuned(strategy) if self in _reads_arrays.get() else strategy

    def _untuned(self, *data):
        """Context manager for a run on data that Keras makes a `tf.data.Dataset` of, see `_Untuned`."""
        own = keras.backend.backend() == "tensorflow" and not is_distributed(self)
        reads = own and not any(hasattr(each, "element_spec") for each in data)
        return _within_reading(self if reads else None)

    def _factors_changed(self, step):
        factors = tuple(layer.k_coef_lip for layer in _layers_of(self, LipschitzLayer))
        compiled = self.__dict__.setdefault("_compiled_factors", {})
        changed = step in compiled and compiled[step] != factors
        compiled[step] = factors
        return changed


@keras.saving.register_keras_serializable("lipviz")
class Sequential(_LipschitzModel, LipschitzLayer, keras.Sequential):
    """A stack of layers whose Lipschitz constant is k: each of its n Lipschitz layers gets k^(1/n).

    If a layer has a factor of its own, the stack's share replaces it, and a warning says so. Another warning names each
    layer that is not known to be 1-Lipschitz, once. A layer that has its share from another stack can be added only if
    this stack's share is the same, so that the constant of the other stack does not change.

    Args:
        layers: List of layers, optional.
        name: Name of the model.
        k_coef_lip: Lipschitz constant of the whole, positive.

    Raises:
        ValueError: If k is not positive and finite, or a layer has another share from another stack.
    """

    def __init__(
        self, layers: Iterable[keras.Layer] | None = None, name: str | None = None, k_coef_lip: float = 1.0
    ) -> None:
        self._sharing = False
        super().__init__(name=name)
        for layer in layers or ():
            self.add(layer, rebuild=False)
        self._warned: set[str] = set()
        self._sharing = True
        came_with = _factors(self.layers)
        self._share_out(k_coef_lip)
        if self.layers:  # now they are built, each constrained once, for its share
            super().add(super().pop(rebuild=False))
        self._warn_about(came_with, stacklevel=3)

    def add(self, layer: keras.Layer, rebuild: bool = True) -> None:
        super().add(layer, rebuild=rebuild)
        if not self._sharing:
            return
        try:
            self.set_klip_factor(self.k_coef_lip, added=self.layers[-1:])
        except ValueError:
            super().pop(rebuild=rebuild)  # it did not join
            raise

    def pop(self, rebuild: bool = True) -> keras.Layer | None:
        layer = super().pop(rebuild=rebuild)
        if layer is not None and _owner(layer) is self:
            _owners.pop(layer)
        self.set_klip_factor(self.k_coef_lip, added=())
        return layer

    def set_klip_factor(self, klip_factor: float, added: Sequence[keras.Layer] | None = None) -> None:
        """Change k, and give every Lipschitz layer its new share k^(1/n).

        Args:
            klip_factor: Lipschitz constant of the whole stack.
            added: Layers whose own factor has not been replaced before; all by default.

        Raises:
            ValueError: If k is not positive and finite, a layer's dtype cannot multiply by its share, or a layer has
                another share from another stack. Nothing is changed then.
        """
        came_with = _factors(self.layers if added is None else added)
        self._share_out(klip_factor)
        self._warn_about(came_with, stacklevel=4)

    def _share_out(self, klip_factor):
        share, changed = self._changes(klip_factor)
        LipschitzLayer.set_klip_factor(self, klip_factor)
        for layer in changed:  # each change recomputes a wbar
            layer.set_klip_factor(share)
        for layer in self._lipschitz_layers():
            if _owner(layer) is None:
                _owners[layer] = weakref.ref(self)

    def _lipschitz_layers(self):
        return [layer for layer in self.layers if isinstance(layer, LipschitzLayer)]

    def _changes(self, klip_factor):
        """The share of each Lipschitz layer, and those whose factor differs; ValueError where one cannot change."""
        klip_factor = nm.check_factor("k_coef_lip", klip_factor)
        lipschitz = self._lipschitz_layers()
        share = klip_factor ** (1 / len(lipschitz)) if lipschitz else klip_factor
        changed = [] if _keeps_factors.get() else [layer for layer in lipschitz if layer.k_coef_lip != share]
        for layer in changed:
            self._check_share(layer, share)
        return share, changed

    def _check_share(self, layer, share):
        """Raise ValueError if a layer cannot have a share, or has another one from another stack."""
        owner = _owner(layer)
        if owner not in (None, self):
            raise ValueError(
                f"Layer '{layer.name}' belongs to the model '{owner.name}', which gives it k_coef_lip="
                f"{layer.k_coef_lip:.6g}. Received: the model '{self.name}', which would change that to {share:.6g}. "
                "Give it a copy of the layer, or a k_coef_lip with the same share."
            )
        nm.check_factor("k_coef_lip", share, *layer._factor_dtypes())
        if isinstance(layer, Sequential):
            layer._changes(share)

    def _warn_about(self, came_with, stacklevel):
        """Warn once of each layer whose factor was replaced, or which is not known to keep its constant."""
        for layer, own in came_with:
            message = None if layer.name in self._warned else _warning(layer, own)
            self._warned.add(layer.name)
            if message:
                warnings.warn(message, UserWarning, stacklevel=stacklevel)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k_coef_lip": self.k_coef_lip}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        layers, shape = layers_from_config(config, custom_objects), config.get("build_input_shape")
        token = _keeps_factors.set(True)
        try:
            model = cls(layers=layers, name=config["name"], k_coef_lip=config.get("k_coef_lip", 1.0))
        finally:
            _keeps_factors.reset(token)
        if shape and not model.built:  # a file of an older Keras may have no input layer
            model.build(shape)
        return model


def _factors(layers):
    """Pairs of each layer with its factor now, or None."""
    return [(layer, getattr(layer, "k_coef_lip", None)) for layer in layers]


def _warning(layer, own):
    """The warning of a stack about a layer that had the factor `own`, or None."""
    if not isinstance(layer, LipschitzLayer):
        is_known = _never_stretches(layer)
        return None if is_known else f"Layer '{layer.name}' ({type(layer).__name__}) is not known to be 1-Lipschitz."
    if getattr(layer, "bound", None) == "unsound_average":
        return f"Layer '{layer.name}' has the factor bound='unsound_average': its norm exceeds its k."
    if own != 1 and not math.isclose(own, layer.k_coef_lip):
        return f"Layer '{layer.name}' came with k_coef_lip={own}; this model gives it {layer.k_coef_lip:.6g}."
    return None


class _Unbuilt(keras.Sequential):
    """A stack that is never built as a whole."""

    def add(self, layer: keras.Layer, rebuild: bool = True) -> None:
        super().add(layer, rebuild=False)


def layers_from_config(config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> list[keras.Layer]:
    """Make the layers of a Sequential model, for its constructor.

    Keras's own `from_config` builds the stack again after each layer, which takes seconds for a hundred layers.

    Args:
        config: What `get_config` of a `keras.Sequential` returned, of lipviz or not.
        custom_objects: Classes and functions by name, optional.

    Returns:
        A list of layers, with the input layer, if there is one.

    Raises:
        ValueError: If the configuration has no name.
    """
    config = {key: value for key, value in config.items() if key != "build_input_shape"}
    unbuilt = _Unbuilt.from_config(config, custom_objects=custom_objects)
    return inner_layers(unbuilt, deep=False)  # unlike `unbuilt.layers`, with the input layer


@keras.saving.register_keras_serializable("lipviz")
class Model(_LipschitzModel, keras.Model):
    """`keras.Model` that refreshes `wbar` at the end of `fit`, condenses and exports.

    Use it as `Model(inputs, outputs)` or as a base class. Unlike `Sequential` it does not distribute a factor: in a
    graph with branches, k^(1/n) has no meaning.
    """

    def __new__(cls, *args, **kwargs):
        return super().__new__(Functional if cls is Model and _is_graph(args, kwargs) else cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if _is_graph(args, kwargs):
            # Keras would replace the bases of `Model` itself, and so change every other subclass too.
            replace_base(type(self), Model, Functional)
            KerasFunctional.__init__(self, *args, **kwargs)
        else:
            super().__init__(*args, **kwargs)


@keras.saving.register_keras_serializable("lipviz")
class Functional(Model, KerasFunctional):
    """What `Model(inputs, outputs)` returns."""


def _is_graph(args, kwargs):
    """Whether a model is constructed from inputs and outputs, rather than subclassed."""
    return len(args) + sum(name in kwargs for name in ("inputs", "outputs")) >= 2
